"""Committees of classifiers that answer easy rows cheaply, for scikit-learn."""

from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier, CascadeSearchCV
from sklearn_cascade.export import ExportReport, register_onnx_converter, to_onnx
from sklearn_cascade.inspection import (
    CascadePrediction,
    CertificationReport,
    ComputeReport,
    ExitDisplay,
    ExitMonitor,
    LatencyReport,
    MeasuredCosts,
    TradeoffDisplay,
    WholeComparison,
    latency_report,
    make_cost_scorer,
    measure_costs,
)
from sklearn_cascade.members import OnnxClassifier, PrefitClassifier, split_ensemble
from sklearn_cascade.rules import (
    min_certification_rows,
    paired_loss_pvalue,
    paired_loss_upper,
)
from sklearn_cascade.search import CascadeFront, LearnedConfidence, search_cascades

__version__ = "0.1.0.dev0"

__all__ = [
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadeFront",
    "CascadePrediction",
    "CascadeSearchCV",
    "CertificationReport",
    "ComputeReport",
    "ExitDisplay",
    "ExitMonitor",
    "ExportReport",
    "LatencyReport",
    "LearnedConfidence",
    "MeasuredCosts",
    "OnnxClassifier",
    "PrefitClassifier",
    "TradeoffDisplay",
    "WholeComparison",
    "latency_report",
    "make_cost_scorer",
    "measure_costs",
    "min_certification_rows",
    "paired_loss_pvalue",
    "paired_loss_upper",
    "register_onnx_converter",
    "search_cascades",
    "split_ensemble",
    "to_onnx",
]
