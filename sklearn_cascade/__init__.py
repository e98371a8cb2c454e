"""Cascades and averaging ensembles of classifiers that make easy rows cheap, for scikit-learn."""

from sklearn_cascade._compat import imported_at_first_use as _imported_at_first_use
from sklearn_cascade.certification._noninferiority import (
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)
from sklearn_cascade.estimators._averaging import AveragingEnsemble
from sklearn_cascade.estimators._cascade import CascadeClassifier
from sklearn_cascade.inspection._certification_report import CertificationReport
from sklearn_cascade.inspection._cost_report import CascadePrediction, CostReport
from sklearn_cascade.inspection._ensemble_comparison import EnsembleComparison
from sklearn_cascade.inspection._latency import MeasuredCosts, measure_costs
from sklearn_cascade.inspection._scorer import make_cost_scorer
from sklearn_cascade.members._ensemble_parts import split_ensemble
from sklearn_cascade.members._prefit import PrefitClassifier
from sklearn_cascade.tuning._fit_confidence import LearnedConfidence

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

# What not every program needs, and would double the time of the import.
__getattr__ = _imported_at_first_use(
    __name__,
    {
        "ParetoFront": "sklearn_cascade.search._front",
        "CascadeSearchCV": "sklearn_cascade.estimators._search_cv",
        "ExitDisplay": "sklearn_cascade.inspection._exit_display",
        "ExitMonitor": "sklearn_cascade.inspection._monitor",
        "ExportReport": "sklearn_cascade.export._report",
        "LatencyReport": "sklearn_cascade.inspection._latency",
        "OnnxClassifier": "sklearn_cascade.members._onnx",
        "TradeoffDisplay": "sklearn_cascade.inspection._tradeoff_display",
        "latency_report": "sklearn_cascade.inspection._latency",
        "register_onnx_converter": "sklearn_cascade.export._skl2onnx",
        "search_cascades": "sklearn_cascade.search._search",
        "to_onnx": "sklearn_cascade.export._to_onnx",
    },
)


def __dir__():
    return sorted({*globals(), *__all__})
