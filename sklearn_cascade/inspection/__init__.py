"""What it costs and why."""

from sklearn_cascade.inspection._latency import MeasuredCosts, measure_costs
from sklearn_cascade.inspection._prediction import CascadePrediction
from sklearn_cascade.inspection._report import ComputeReport, build_report
from sklearn_cascade.inspection._scorer import make_cost_scorer

__all__ = [
    "CascadePrediction",
    "ComputeReport",
    "MeasuredCosts",
    "build_report",
    "make_cost_scorer",
    "measure_costs",
]
