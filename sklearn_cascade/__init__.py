"""Committees of classifiers that answer easy rows cheaply, for scikit-learn."""

from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier, CascadeSearchCV
from sklearn_cascade.inspection import (
    CascadePrediction,
    ComputeReport,
    ExitDisplay,
    LatencyReport,
    MeasuredCosts,
    TradeoffDisplay,
    WholeComparison,
    latency_report,
    make_cost_scorer,
    measure_costs,
)
from sklearn_cascade.members import OnnxClassifier, PrefitClassifier, split_ensemble
from sklearn_cascade.search import CascadeFront, search_cascades

__version__ = "0.1.0.dev0"

__all__ = [
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadeFront",
    "CascadePrediction",
    "CascadeSearchCV",
    "ComputeReport",
    "ExitDisplay",
    "LatencyReport",
    "MeasuredCosts",
    "OnnxClassifier",
    "PrefitClassifier",
    "TradeoffDisplay",
    "WholeComparison",
    "latency_report",
    "make_cost_scorer",
    "measure_costs",
    "search_cascades",
    "split_ensemble",
]
