"""Which cascade: held-out predictions in, the best operating points out; no estimator is seen."""

from sklearn_cascade._compat import imported_at_first_use

__all__ = [
    "OperatingPoint",
    "Options",
    "ParetoFront",
    "add_cross_fitted_scores",
    "check_constraints",
    "cross_fit_choice",
    "record",
    "replay",
    "run_search",
    "search_cascades",
    "training_rows",
    "validate_options",
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
        "run_search": "sklearn_cascade.search._strategy",
        "training_rows": "sklearn_cascade.search._cross_fit",
        "validate_options": "sklearn_cascade.search._strategy",
        "record": "sklearn_cascade.search._predictions",
        "replay": "sklearn_cascade.search._cross_fit",
        "search_cascades": "sklearn_cascade.search._search",
    },
)
