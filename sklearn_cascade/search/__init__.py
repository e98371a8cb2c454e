"""Which cascade: held-out predictions in, the best operating point out; no estimator is seen."""

from sklearn_cascade.search._prefixes import Ladder, build_ladder
from sklearn_cascade.search._sweep import sweep_thresholds
from sklearn_cascade.search._tuning import TunedLadder, tune_cascade

__all__ = ["Ladder", "TunedLadder", "build_ladder", "sweep_thresholds", "tune_cascade"]
