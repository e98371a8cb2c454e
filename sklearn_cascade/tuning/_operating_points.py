"""Operating points of one ladder: candidate grids, the cheapest point that reaches a floor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import candidate_thresholds
from sklearn_cascade.core._pareto import SCORE_DECIMALS
from sklearn_cascade.tuning._sweep import StageStatistics, sweep_flat

# Thresholds tried for each stage, "always" and "never" among them.
N_LEVELS = 65
# Stages swept jointly: 65 ** 3 vectors take a few milliseconds and 2 MB an array.
_WINDOW = 3
_N_PASSES = 3
TOLERANCE = 10.0**-SCORE_DECIMALS


class OperatingPoint(NamedTuple):
    """Thresholds of one ladder with what they reach on the held-out rows.

    Attributes
    ----------
    thresholds : tuple of float
        One per stage but the last.
    score : float
        Larger is better.
    cost : float
        Mean cost of a row.
    """

    thresholds: tuple[float, ...]
    score: float
    cost: float

    def rank(self, floor: float) -> tuple[float, ...]:
        """Return a key that grows with merit: reach the floor, then be cheap, then be good.

        Short of the floor the score decides before the cost. Rounded, so that sums taken in
        another order rank the same.
        """
        cost = float(f"{self.cost:.10g}")
        score = round(self.score, SCORE_DECIMALS)
        if self.score >= floor - TOLERANCE:
            return (1, -cost, score)
        return (0, score, -cost)


def cheapest_point(ladder: StageStatistics, floor: float) -> OperatingPoint:
    """Return the cheapest thresholds whose score reaches the floor, or else the best score.

    Up to four stages every vector of a grid is looked at, then of finer grids around the best;
    more stages are swept three at a time.

    Parameters
    ----------
    ladder : StageStatistics
        At least two stages.
    floor : float
        Score to reach.

    Returns
    -------
    point : OperatingPoint
    """
    # From any stage alone, so that the floor is reached where a single exit reaches it.
    starts = [OperatingPoint(v, *ladder.evaluate(v)) for v in reversed(single_exits(ladder))]
    found = [_improve(ladder, max(starts, key=lambda point: point.rank(floor)), floor)]
    if ladder.n_stages - 1 > _WINDOW:
        found.append(_improve(ladder, starts[0], floor))
    return max(found, key=lambda point: point.rank(floor))


def single_exits(ladder: StageStatistics) -> list[tuple[float, ...]]:
    """Return the thresholds at which all rows exit at the same stage, for each stage in turn."""
    last = ladder.n_stages - 1
    return [(np.inf,) * k + (-np.inf,) * (last - k) for k in range(last + 1)]


def _improve(ladder: StageStatistics, best: OperatingPoint, floor: float) -> OperatingPoint:
    """Return the best point found from one by sweeping windows of stages, ever more finely."""
    # Later passes refine, so a coarser start serves where many windows are swept.
    n_levels = N_LEVELS if ladder.n_stages - 1 <= _WINDOW else N_LEVELS // 2
    candidates = threshold_grid(ladder, n_levels)
    for _ in range(_N_PASSES):
        before = best
        for window in _windows(ladder.n_stages - 1):
            trial = [
                candidates[k] if k in window else np.array([best.thresholds[k]])
                for k in range(ladder.n_stages - 1)
            ]
            found = _pick(*sweep_flat(ladder, trial), trial, floor)
            best = max(best, found, key=lambda point: point.rank(floor))
        if best.rank(floor) == before.rank(floor):
            break
        candidates = _grid_around(ladder, best.thresholds, candidates)
    return best


def front_points(ladder: StageStatistics, n_points: int) -> list[OperatingPoint]:
    """Return non-dominated points of one grid, by rising cost, thinned evenly.

    Parameters
    ----------
    ladder : StageStatistics
        At least two stages.
    n_points : int
        The most points to return.

    Returns
    -------
    points : list of OperatingPoint
    """
    n_stages = min(ladder.n_stages - 1, 17)
    n_levels = max(2, min(N_LEVELS, int(N_LEVELS ** (_WINDOW / n_stages))))
    candidates = threshold_grid(ladder, n_levels)
    for k in range(n_stages, ladder.n_stages - 1):
        candidates[k] = np.array([np.inf])
    score, cost = sweep_flat(ladder, candidates)
    # Rounded: costs that differ in the last bit are equal.
    order = np.lexsort((-score, np.round(cost / (cost.max() or 1.0), 12)))
    highest = np.maximum.accumulate(score[order])
    rising = np.flatnonzero(np.diff(highest, prepend=-np.inf) > TOLERANCE)
    if len(rising) > n_points:
        rising = rising[np.linspace(0, len(rising) - 1, n_points).astype(int)]
    return [_point_at(order[i], score, cost, candidates) for i in rising]


def threshold_grid(ladder: StageStatistics, n_levels: int) -> list[np.ndarray]:
    """Return the thresholds to try for each stage: always, up to n_levels - 2, never."""
    return [
        _bracket(candidate_thresholds(sure, n_levels - 2, sample_weight=ladder.sample_weight))
        for sure in ladder.confidence
    ]


def _bracket(thresholds: np.ndarray) -> np.ndarray:
    """Put "always exit" below and "never exit" above some thresholds."""
    return np.concatenate([[-np.inf], thresholds, [np.inf]])


def _windows(n_thresholds: int) -> Iterator[range]:
    """Yield the runs of neighbouring stages that are swept jointly."""
    for start in range(max(1, n_thresholds - _WINDOW + 1)):
        yield range(start, min(start + _WINDOW, n_thresholds))


def _grid_around(
    ladder: StageStatistics, thresholds: Sequence[float], candidates: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return finer candidates between the neighbours of each threshold, from the rows reached."""
    reached = ladder.exit_stages(thresholds)
    grids = []
    for k, threshold in enumerate(thresholds):
        place = int(np.searchsorted(candidates[k], threshold))
        low = candidates[k][max(place - 1, 0)]
        high = candidates[k][min(place + 1, len(candidates[k]) - 1)]
        sure = ladder.confidence[k]
        near = (reached >= k) & (sure >= low) & (sure <= high)
        finer = candidate_thresholds(
            sure[near], N_LEVELS - 3, sample_weight=ladder.sample_weight[near]
        )
        grids.append(np.unique(_bracket(np.concatenate([[low, threshold, high], finer]))))
    return grids


def _pick(
    score: np.ndarray, cost: np.ndarray, candidates: Sequence[np.ndarray], floor: float
) -> OperatingPoint:
    """Return the cheapest vector that reaches the floor; among equals the best, then the surest."""
    able = np.flatnonzero(score >= min(floor, score.max()) - TOLERANCE)
    lowest = cost[able].min()
    cheap = able[cost[able] <= lowest + TOLERANCE * abs(lowest)]
    best = cheap[score[cheap] >= score[cheap].max() - TOLERANCE]
    return _point_at(best[-1], score, cost, candidates)


def _point_at(
    place: int, score: np.ndarray, cost: np.ndarray, candidates: Sequence[np.ndarray]
) -> OperatingPoint:
    """Return the point at a flat position of the grid."""
    thresholds, rest = [], int(place)
    for values in reversed(candidates):
        rest, j = divmod(rest, len(values))
        thresholds.append(float(values[j]))
    return OperatingPoint(tuple(reversed(thresholds)), float(score[place]), float(cost[place]))
