"""The search of many cascades: held-out predictions in, the Pareto front out; sees no estimator."""

from sklearn_cascade._compat import imported_at_first_use

__all__ = [
    "OperatingPoint",
    "Options",
    "ParetoFront",
    "add_cross_fitted_scores",
    "check_constraints",
    "check_predictions",
    "cross_fit_choice",
    "replay",
    "run_search",
    "search_cascades",
    "training_rows",
    "tuned_candidates",
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
        "check_predictions": "sklearn_cascade.search._predictions",
        "cross_fit_choice": "sklearn_cascade.search._cross_fit",
        "replay": "sklearn_cascade.search._cross_fit",
        "run_search": "sklearn_cascade.search._strategy",
        "search_cascades": "sklearn_cascade.search._search",
        "training_rows": "sklearn_cascade.search._cross_fit",
        "tuned_candidates": "sklearn_cascade.search._cross_fit",
        "validate_options": "sklearn_cascade.search._strategy",
    },
)
