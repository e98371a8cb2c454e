"""Which cascade: held-out predictions in, the best operating points out; no estimator is seen."""

from sklearn_cascade.search._disagreement import rows_needed, tune_lead
from sklearn_cascade.search._finding import Options, find_fronts
from sklearn_cascade.search._front import CascadeFront, FrontRow, check_constraints
from sklearn_cascade.search._prefixes import Ladder, build_ladder
from sklearn_cascade.search._recordings import record
from sklearn_cascade.search._replay import replay
from sklearn_cascade.search._search import search_cascades
from sklearn_cascade.search._sweep import sweep_thresholds
from sklearn_cascade.search._tuning import TunedLadder, tune_cascade

__all__ = [
    "CascadeFront",
    "FrontRow",
    "Ladder",
    "Options",
    "TunedLadder",
    "build_ladder",
    "check_constraints",
    "find_fronts",
    "record",
    "replay",
    "rows_needed",
    "search_cascades",
    "sweep_thresholds",
    "tune_cascade",
    "tune_lead",
]
