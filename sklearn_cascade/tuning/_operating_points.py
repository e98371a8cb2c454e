"""Operating points of one cascade: the cheapest that reaches a score, and a Pareto front.

They are `ThresholdPoint`s; the `OperatingPoint` of a search, with members, is in search/_front.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core._pareto import SCORE_DECIMALS
from sklearn_cascade.core._samples import evenly_spaced
from sklearn_cascade.core._thresholds import candidate_thresholds
from sklearn_cascade.tuning._sweep import StageStatistics, sweep_flat

# Thresholds tried for each stage, "always" and "never" among them.
N_LEVELS = 65
# Stages swept jointly: 65 ** 3 vectors take a few milliseconds and 2 MB an array.
_WINDOW = 3
_N_PASSES = 3
TOLERANCE = 10.0**-SCORE_DECIMALS


class ThresholdPoint(NamedTuple):
    """Thresholds of one cascade, with the score and mean cost they reach on held-out rows."""

    thresholds: tuple[float, ...]
    score: float
    cost: float

    def rank(self, target: float) -> tuple[float, ...]:
        """Return a key for sorting: points that reach the target, then cheap, then good ones.

        Short of the target the score decides before the cost. Rounded, so that sums taken in
        another order rank the same.
        """
        cost = float(f"{self.cost:.10g}")
        score = round(self.score, SCORE_DECIMALS)
        if self.score >= target - TOLERANCE:
            return (1, -cost, score)
        return (0, score, -cost)


def cheapest_point(statistics: StageStatistics, target: float) -> ThresholdPoint:
    """Return the cheapest thresholds whose score reaches the target, else those of the best score.

    Of at least two stages. Up to four stages every vector of a grid is tried, then finer grids
    around the best one; with more stages, three thresholds at a time.
    """
    # Start from all rows at one stage, so that the target is reached where one of these reaches it.
    starts = [
        ThresholdPoint(v, *statistics.evaluate(v)) for v in reversed(single_exits(statistics))
    ]
    found = [_improve(statistics, max(starts, key=lambda point: point.rank(target)), target)]
    if statistics.n_stages - 1 > _WINDOW:
        found.append(_improve(statistics, starts[0], target))
    return max(found, key=lambda point: point.rank(target))


def single_exits(statistics: StageStatistics) -> list[tuple[float, ...]]:
    """Return the thresholds at which all rows exit at the same stage, for each stage in turn."""
    last = statistics.n_stages - 1
    return [(np.inf,) * k + (-np.inf,) * (last - k) for k in range(last + 1)]


def _improve(statistics: StageStatistics, best: ThresholdPoint, target: float) -> ThresholdPoint:
    """Return the best point found from one by sweeping windows of stages, ever more finely."""
    n_thresholds = statistics.n_stages - 1
    # Later passes refine, so a coarser start is enough where many windows are swept.
    n_levels = N_LEVELS if n_thresholds <= _WINDOW else N_LEVELS // 2
    candidates = threshold_grid(statistics, n_levels)
    for _ in range(_N_PASSES):
        before = best
        for start in range(max(1, n_thresholds - _WINDOW + 1)):
            window = range(start, start + _WINDOW)
            trial = [
                candidates[k] if k in window else np.array([best.thresholds[k]])
                for k in range(n_thresholds)
            ]
            found = _cheapest_in_grid(*sweep_flat(statistics, trial), trial, target)
            best = max(best, found, key=lambda point: point.rank(target))
        if best.rank(target) == before.rank(target):
            break
        candidates = _grid_around(statistics, best.thresholds, candidates)
    return best


def pareto_points(statistics: StageStatistics, n_points: int) -> list[ThresholdPoint]:
    """Return at most `n_points` non-dominated points of one grid, by rising cost, evenly thinned.

    Of at least two stages.
    """
    n_swept = min(statistics.n_stages - 1, 17)
    n_levels = max(2, min(N_LEVELS, int(N_LEVELS ** (_WINDOW / n_swept))))
    candidates = threshold_grid(statistics, n_levels)
    for k in range(n_swept, statistics.n_stages - 1):
        candidates[k] = np.array([np.inf])
    score, cost = sweep_flat(statistics, candidates)
    # Rounded: costs that differ in the last bit are equal.
    order = np.lexsort((-score, np.round(cost / (cost.max() or 1.0), 12)))
    highest = np.maximum.accumulate(score[order])
    rising = np.flatnonzero(np.diff(highest, prepend=-np.inf) > TOLERANCE)
    kept = rising[evenly_spaced(len(rising), n_points)]
    return [_point_at(order[i], score, cost, candidates) for i in kept]


def threshold_grid(statistics: StageStatistics, n_levels: int) -> list[np.ndarray]:
    """Return the thresholds to try for each stage: always, up to n_levels - 2, never."""
    weight = statistics.sample_weight
    return [
        _with_always_and_never(candidate_thresholds(stage, n_levels - 2, sample_weight=weight))
        for stage in statistics.confidence
    ]


def _with_always_and_never(thresholds: np.ndarray) -> np.ndarray:
    """Return thresholds with "always exit" below and "never exit" above them."""
    return np.concatenate([[-np.inf], thresholds, [np.inf]])


def _grid_around(
    statistics: StageStatistics, thresholds: Sequence[float], candidates: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return finer candidates between the neighbours of each threshold, from the rows reached."""
    exit_stage = statistics.exit_stages(thresholds)
    grids = []
    for k, threshold in enumerate(thresholds):
        position = int(np.searchsorted(candidates[k], threshold))
        low = candidates[k][max(position - 1, 0)]
        high = candidates[k][min(position + 1, len(candidates[k]) - 1)]
        confidence = statistics.confidence[k]
        near = (exit_stage >= k) & (confidence >= low) & (confidence <= high)
        finer = candidate_thresholds(
            confidence[near], N_LEVELS - 3, sample_weight=statistics.sample_weight[near]
        )
        grid = np.concatenate([[low, threshold, high], finer])
        grids.append(np.unique(_with_always_and_never(grid)))
    return grids


def _cheapest_in_grid(
    score: np.ndarray, cost: np.ndarray, candidates: Sequence[np.ndarray], target: float
) -> ThresholdPoint:
    """Return the cheapest point that reaches the target.

    Among equals that of the best score, and then of the highest thresholds.
    """
    able = np.flatnonzero(score >= min(target, score.max()) - TOLERANCE)
    lowest = cost[able].min()
    cheap = able[cost[able] <= lowest + TOLERANCE * abs(lowest)]
    best = cheap[score[cheap] >= score[cheap].max() - TOLERANCE]
    return _point_at(best[-1], score, cost, candidates)


def _point_at(
    position: int, score: np.ndarray, cost: np.ndarray, candidates: Sequence[np.ndarray]
) -> ThresholdPoint:
    """Return the point at a flat position of the grid."""
    thresholds, rest = [], int(position)
    for values in reversed(candidates):
        rest, j = divmod(rest, len(values))
        thresholds.append(float(values[j]))
    return ThresholdPoint(
        tuple(reversed(thresholds)), float(score[position]), float(cost[position])
    )
