"""One cascade from held-out predictions: its combination, thresholds and confidence."""

from sklearn_cascade.tuning._fit_confidence import (
    N_TIMED,
    LearnedConfidence,
    as_learner,
    learn_confidences,
    seconds_to_judge,
)
from sklearn_cascade.tuning._sweep import Ladder, build_ladder, prefix_answers, sweep_thresholds
from sklearn_cascade.tuning._tune import TunedLadder, tune_cascade, ways_of

__all__ = [
    "Ladder",
    "LearnedConfidence",
    "N_TIMED",
    "TunedLadder",
    "as_learner",
    "build_ladder",
    "learn_confidences",
    "prefix_answers",
    "seconds_to_judge",
    "sweep_thresholds",
    "tune_cascade",
    "ways_of",
]
