"""Reports, measured costs, drift monitoring and displays of cascades and ensembles."""

from sklearn_cascade._compat import imported_at_first_use
from sklearn_cascade.inspection._certification_report import CertificationReport
from sklearn_cascade.inspection._cost_report import CascadePrediction, CostReport, build_report
from sklearn_cascade.inspection._ensemble_comparison import (
    EnsembleComparison,
    compare_with_ensemble,
)
from sklearn_cascade.inspection._latency import MeasuredCosts, measure_costs
from sklearn_cascade.inspection._scorer import make_cost_scorer
from sklearn_cascade.inspection._tables import Table, format_cost

__all__ = [
    "CascadePrediction",
    "CertificationReport",
    "CostReport",
    "EnsembleComparison",
    "ExitDisplay",
    "ExitMonitor",
    "LatencyReport",
    "MeasuredCosts",
    "Table",
    "TradeoffDisplay",
    "build_report",
    "compare_with_ensemble",
    "format_cost",
    "latency_report",
    "make_cost_scorer",
    "measure_costs",
]

__getattr__ = imported_at_first_use(
    __name__,
    {
        "ExitDisplay": "sklearn_cascade.inspection._exit_display",
        "ExitMonitor": "sklearn_cascade.inspection._monitor",
        "LatencyReport": "sklearn_cascade.inspection._latency",
        "TradeoffDisplay": "sklearn_cascade.inspection._tradeoff_display",
        "latency_report": "sklearn_cascade.inspection._latency",
    },
)
