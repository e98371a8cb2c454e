"""One cascade from held-out predictions: its combination, thresholds and confidence."""

from sklearn_cascade.tuning._fit_confidence import (
    N_TIMED,
    LearnedConfidence,
    as_learner,
    learn_confidences,
    seconds_to_judge,
)
from sklearn_cascade.tuning._sweep import (
    StageStatistics,
    prefix_answers,
    stage_statistics,
    sweep_thresholds,
)
from sklearn_cascade.tuning._tune import TuningResult, combinations_to_try, tune_cascade

__all__ = [
    "LearnedConfidence",
    "N_TIMED",
    "StageStatistics",
    "TuningResult",
    "as_learner",
    "combinations_to_try",
    "learn_confidences",
    "prefix_answers",
    "seconds_to_judge",
    "stage_statistics",
    "sweep_thresholds",
    "tune_cascade",
]
