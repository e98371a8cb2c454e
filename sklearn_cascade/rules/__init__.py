"""What a cascade does, on arrays: each rule is defined once, here."""

from sklearn_cascade.rules._combination import (
    COMBINATIONS,
    RunningAnswer,
    fill_abstained,
    geometric_mean,
)
from sklearn_cascade.rules._confidence import CONFIDENCES, compute_confidence, takes_over
from sklearn_cascade.rules._costs import (
    DEFAULT_UNIT,
    as_numbers,
    cumulative_costs,
    numbers_by_name,
    row_costs,
    within_limit,
    worst_case_cost,
)
from sklearn_cascade.rules._exits import (
    candidate_thresholds,
    exit_boundary,
    exit_stages,
    exits,
    threshold_at,
    tie_allowance,
)
from sklearn_cascade.rules._lead import (
    Lead,
    bound_margins,
    certain_margins,
    lead_score,
    stage_confidences,
)
from sklearn_cascade.rules._learned import (
    LOG_ODDS_EDGE,
    MAX_ONE_HOT,
    HeldOutStage,
    LearnedStage,
    class_table,
    confidence_features,
    pair_columns,
    proba_columns,
)
from sklearn_cascade.rules._probabilities import ROUNDING, abstentions, check_proba
from sklearn_cascade.rules._running_label import RunningLabel
from sklearn_cascade.rules._scoring import (
    ADDITIVE_SCORINGS,
    check_scoring,
    is_additive,
    is_count,
    row_gains,
    row_shares,
    row_values,
    score_answers,
    score_labels,
)
from sklearn_cascade.rules._weights import check_weights_of_rows

__all__ = [
    "ADDITIVE_SCORINGS",
    "COMBINATIONS",
    "CONFIDENCES",
    "DEFAULT_UNIT",
    "HeldOutStage",
    "LOG_ODDS_EDGE",
    "Lead",
    "LearnedStage",
    "MAX_ONE_HOT",
    "ROUNDING",
    "RunningAnswer",
    "RunningLabel",
    "abstentions",
    "as_numbers",
    "bound_margins",
    "candidate_thresholds",
    "certain_margins",
    "check_proba",
    "check_scoring",
    "check_weights_of_rows",
    "class_table",
    "compute_confidence",
    "confidence_features",
    "cumulative_costs",
    "exit_boundary",
    "exit_stages",
    "exits",
    "fill_abstained",
    "geometric_mean",
    "is_additive",
    "is_count",
    "lead_score",
    "numbers_by_name",
    "pair_columns",
    "proba_columns",
    "row_costs",
    "row_gains",
    "row_shares",
    "row_values",
    "score_answers",
    "score_labels",
    "stage_confidences",
    "takes_over",
    "threshold_at",
    "tie_allowance",
    "within_limit",
    "worst_case_cost",
]
