"""Committees of classifiers that answer easy rows cheaply, for scikit-learn."""

from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier
from sklearn_cascade.inspection import (
    CascadePrediction,
    ComputeReport,
    MeasuredCosts,
    make_cost_scorer,
    measure_costs,
)
from sklearn_cascade.members import PrefitClassifier

__version__ = "0.1.0.dev0"

__all__ = [
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadePrediction",
    "ComputeReport",
    "MeasuredCosts",
    "PrefitClassifier",
    "make_cost_scorer",
    "measure_costs",
]
