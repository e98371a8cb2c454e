"""Cascades and averaging ensembles of classifiers that make easy rows cheap, for scikit-learn."""

from sklearn_cascade._compat import imported_at_first_use as _imported_at_first_use
from sklearn_cascade.certification import (
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)
from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier
from sklearn_cascade.inspection import (
    CascadePrediction,
    CertificationReport,
    CostReport,
    EnsembleComparison,
    MeasuredCosts,
    make_cost_scorer,
    measure_costs,
)
from sklearn_cascade.members import PrefitClassifier, split_ensemble
from sklearn_cascade.tuning import LearnedConfidence

__version__ = "0.1.0.dev0"

__all__ = [
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadePrediction",
    "CascadeSearchCV",
    "CertificationReport",
    "CostReport",
    "EnsembleComparison",
    "ExitDisplay",
    "ExitMonitor",
    "ExportReport",
    "LatencyReport",
    "LearnedConfidence",
    "MeasuredCosts",
    "OnnxClassifier",
    "ParetoFront",
    "PrefitClassifier",
    "TradeoffDisplay",
    "latency_report",
    "make_cost_scorer",
    "measure_costs",
    "min_certification_samples",
    "noninferiority_pvalue",
    "noninferiority_upper_bound",
    "register_onnx_converter",
    "search_cascades",
    "split_ensemble",
    "to_onnx",
]

# Rooms that not every program needs, and that would double the time of the import.
__getattr__ = _imported_at_first_use(
    __name__,
    {
        "ParetoFront": "sklearn_cascade.search",
        "CascadeSearchCV": "sklearn_cascade.estimators",
        "ExitDisplay": "sklearn_cascade.inspection",
        "ExitMonitor": "sklearn_cascade.inspection",
        "ExportReport": "sklearn_cascade.export",
        "LatencyReport": "sklearn_cascade.inspection",
        "OnnxClassifier": "sklearn_cascade.members",
        "TradeoffDisplay": "sklearn_cascade.inspection",
        "latency_report": "sklearn_cascade.inspection",
        "register_onnx_converter": "sklearn_cascade.export",
        "search_cascades": "sklearn_cascade.search",
        "to_onnx": "sklearn_cascade.export",
    },
)


def __dir__():
    return sorted({*globals(), *__all__})
