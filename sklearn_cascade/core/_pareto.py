"""Which points no other point beats, and a running answer to that for millions of them."""

from __future__ import annotations

import numpy as np

# Sums taken in another order differ by less; one row of ten million counts for more.
SCORE_DECIMALS = 10
# Of the cost over the dearest committee's.
COST_DECIMALS = 12
_N_BINS = 4096


class ParetoSet:
    """The best score at or below every cost, among the points seen so far.

    Parameters
    ----------
    highest_cost : float
        Few costs are above it, or none.
    """

    def __init__(self, highest_cost: float) -> None:
        self._scale = (_N_BINS - 1) / highest_cost if highest_cost > 0 else 0.0
        self._edges = np.arange(_N_BINS) / self._scale if self._scale else np.zeros(_N_BINS)
        self._floor = np.full(_N_BINS, -np.inf)
        self.cost = np.empty(0)
        self.score = np.empty(0)

    def best_at(self, cost: np.ndarray) -> np.ndarray:
        """Return the best score seen at no more than each cost; minus infinity where none is."""
        place = np.searchsorted(self.cost, cost, side="right")
        return np.concatenate([[-np.inf], self.score])[place]

    def survivors(self, score: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Return the positions that may not be beaten; quick, and none too few."""
        place = np.minimum(cost * self._scale, _N_BINS - 1).astype(np.intp)
        floor = self._floor[place]
        return np.flatnonzero(score > floor)

    def admit(self, score: np.ndarray, cost: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """Take in points; return the positions of those that nothing seen beats or equals.

        Among equal points the one of lowest rank is returned.
        """
        order = np.lexsort((rank, -score, cost))
        score, cost = score[order], cost[order]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(score)[:-1]])
        new = score > np.maximum(before, self.best_at(cost))
        if new.any():
            self._merge(score[new], cost[new])
        return order[new]

    def _merge(self, score: np.ndarray, cost: np.ndarray) -> None:
        """Put points in their place, and drop those they beat."""
        score = np.concatenate([self.score, score])
        cost = np.concatenate([self.cost, cost])
        order = np.lexsort((-score, cost))
        score, cost = score[order], cost[order]
        rising = score > np.concatenate([[-np.inf], np.maximum.accumulate(score)[:-1]])
        self.score, self.cost = score[rising], cost[rising]
        # What rounding may have moved a point by is left to `admit`.
        self._floor = self.best_at(self._edges) - 10.0**-SCORE_DECIMALS


def round_score(score: np.ndarray) -> np.ndarray:
    """Return scores rounded, so that those that differ by rounding are equal."""
    return np.round(score, SCORE_DECIMALS)


def round_cost(cost: np.ndarray, highest_cost: float) -> np.ndarray:
    """Return costs rounded, so that those that differ by rounding are equal."""
    unit = highest_cost or 1.0
    return np.round(cost / unit, COST_DECIMALS) * unit


def non_dominated(
    score: np.ndarray, cost: np.ndarray, worst: np.ndarray, rank: np.ndarray
) -> np.ndarray:
    """Return the positions that no other point beats in score, mean cost and worst-case cost.

    A point is beaten by one that is nowhere worse and somewhere better; among equal points the
    one of lowest rank stays. All figures are rounded.

    Parameters
    ----------
    score, cost, worst : ndarray of shape (n_points,)
        Larger scores and lower costs are better.
    rank : ndarray of int of shape (n_points,)
        Decides between equals.

    Returns
    -------
    positions : ndarray of int
        Ascending.
    """
    skyline = ParetoSet(float(cost.max(initial=0.0)))
    kept = [np.empty(0, dtype=np.intp)]
    # Nothing later can beat what is let in: it costs as much at worst, or more.
    for level in np.unique(worst):
        group = np.flatnonzero(worst == level)
        kept.append(group[skyline.admit(score[group], cost[group], rank[group])])
    return np.sort(np.concatenate(kept))
