"""Which cascade: held-out predictions in, the best operating points out; no estimator is seen."""

from sklearn_cascade._compat import imported_at_first_use
from sklearn_cascade.search._cautious_path import cautious_path
from sklearn_cascade.search._certificate import (
    RISKS,
    Risk,
    Step,
    descend,
    mean_cost_upper,
    rows_projected,
    worst_reference,
)
from sklearn_cascade.search._disagreement import binomial_upper, tune_lead
from sklearn_cascade.search._outcomes import Answers, Outcomes, collect_answers, compare

__all__ = [
    "Answers",
    "OperatingPoint",
    "Options",
    "Outcomes",
    "ParetoFront",
    "RISKS",
    "Risk",
    "Step",
    "add_cross_fitted_scores",
    "binomial_upper",
    "cautious_path",
    "check_constraints",
    "collect_answers",
    "compare",
    "cross_fit_choice",
    "descend",
    "find_fronts",
    "mean_cost_upper",
    "others_of",
    "prepare",
    "record",
    "replay",
    "rows_projected",
    "search_cascades",
    "tune_lead",
    "worst_reference",
]

__getattr__ = imported_at_first_use(
    __name__,
    {
        "OperatingPoint": "sklearn_cascade.search._front",
        "Options": "sklearn_cascade.search._strategy",
        "ParetoFront": "sklearn_cascade.search._front",
        "add_cross_fitted_scores": "sklearn_cascade.search._cross_fit",
        "check_constraints": "sklearn_cascade.search._front",
        "cross_fit_choice": "sklearn_cascade.search._cross_fit",
        "find_fronts": "sklearn_cascade.search._strategy",
        "others_of": "sklearn_cascade.search._cross_fit",
        "prepare": "sklearn_cascade.search._strategy",
        "record": "sklearn_cascade.search._predictions",
        "replay": "sklearn_cascade.search._cross_fit",
        "search_cascades": "sklearn_cascade.search._search",
    },
)
