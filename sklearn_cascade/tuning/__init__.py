"""One cascade from held-out predictions: its combination, thresholds and confidence."""

from sklearn_cascade.tuning._fit_confidence import (
    N_TIMING_SAMPLES,
    LearnedConfidence,
    as_learned_confidence,
    confidence_seconds,
    fit_confidences,
)
from sklearn_cascade.tuning._sweep import (
    StageStatistics,
    count_passed,
    prefix_probabilities,
    stage_statistics,
    sweep_thresholds,
)
from sklearn_cascade.tuning._tune import TuningResult, combinations_to_try, tune_cascade

__all__ = [
    "LearnedConfidence",
    "N_TIMING_SAMPLES",
    "StageStatistics",
    "TuningResult",
    "as_learned_confidence",
    "combinations_to_try",
    "confidence_seconds",
    "count_passed",
    "fit_confidences",
    "prefix_probabilities",
    "stage_statistics",
    "sweep_thresholds",
    "tune_cascade",
]
