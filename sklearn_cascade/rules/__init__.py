"""What a cascade does, on arrays: each rule is defined once, here."""

from sklearn_cascade.rules._combination import COMBINATIONS, RunningAnswer, geometric_mean
from sklearn_cascade.rules._confidence import CONFIDENCES, compute_confidence
from sklearn_cascade.rules._costs import DEFAULT_UNIT, cumulative_costs, row_costs, worst_case_cost
from sklearn_cascade.rules._exits import (
    candidate_thresholds,
    exit_boundary,
    exit_stages,
    exits,
    threshold_at,
    tie_allowance,
)
from sklearn_cascade.rules._probabilities import abstentions, check_proba
from sklearn_cascade.rules._scoring import ADDITIVE_SCORINGS, row_gains, score_answers

__all__ = [
    "ADDITIVE_SCORINGS",
    "COMBINATIONS",
    "CONFIDENCES",
    "DEFAULT_UNIT",
    "RunningAnswer",
    "abstentions",
    "candidate_thresholds",
    "check_proba",
    "compute_confidence",
    "cumulative_costs",
    "exit_boundary",
    "exit_stages",
    "exits",
    "geometric_mean",
    "row_costs",
    "row_gains",
    "score_answers",
    "threshold_at",
    "tie_allowance",
    "worst_case_cost",
]
