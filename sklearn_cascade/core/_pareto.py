"""Pareto-optimal points: those that no other point dominates in score and cost."""

from __future__ import annotations

import numpy as np

# Sums taken in another order differ by less; one row of ten million counts for more.
SCORE_DECIMALS = 10
# Of the cost relative to the most expensive candidate's.
COST_DECIMALS = 12
_N_BINS = 4096


def non_dominated(
    score: np.ndarray, cost: np.ndarray, worst: np.ndarray, rank: np.ndarray
) -> np.ndarray:
    """Return the positions of the points that no other dominates, ascending.

    Points (n_points,) are compared by `score` (higher is better), mean `cost` and `worst`-case
    cost (lower is better), all rounded. A point is dominated by one that is nowhere worse and
    somewhere better; among equal points the one of lowest `rank` stays.
    """
    pareto = ParetoSet(float(cost.max(initial=0.0)))
    kept = [np.empty(0, dtype=np.intp)]
    # Later levels cost more at worst, so they cannot dominate what is admitted before them.
    for level in np.unique(worst):
        group = np.flatnonzero(worst == level)
        kept.append(group[pareto.admit(score[group], cost[group], rank[group])])
    return np.sort(np.concatenate(kept))


class ParetoSet:
    """The best score at or below every cost among the points seen so far, in any number.

    Few costs or none are above `highest_cost`.
    """

    def __init__(self, highest_cost: float) -> None:
        self._scale = (_N_BINS - 1) / highest_cost if highest_cost > 0 else 0.0
        self._edges = np.arange(_N_BINS) / self._scale if self._scale else np.zeros(_N_BINS)
        # Lower bound on the best score at each edge.
        self._score_at_edges = np.full(_N_BINS, -np.inf)
        self.cost = np.empty(0)
        self.score = np.empty(0)

    def best_at(self, cost: np.ndarray) -> np.ndarray:
        """Return the best score seen at no more than each cost; minus infinity if none."""
        position = np.searchsorted(self.cost, cost, side="right")
        return np.concatenate([[-np.inf], self.score])[position]

    def survivors(self, score: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Return the positions of points that may be Pareto-optimal: fast, and never too few."""
        bin_of_cost = np.minimum(cost * self._scale, _N_BINS - 1).astype(np.intp)
        return np.flatnonzero(score > self._score_at_edges[bin_of_cost])

    def admit(self, score: np.ndarray, cost: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """Add points; return the positions of those that no point seen dominates or equals.

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
        """Insert points in order of cost, and drop those they dominate."""
        score = np.concatenate([self.score, score])
        cost = np.concatenate([self.cost, cost])
        order = np.lexsort((-score, cost))
        score, cost = score[order], cost[order]
        rising = score > np.concatenate([[-np.inf], np.maximum.accumulate(score)[:-1]])
        self.score, self.cost = score[rising], cost[rising]
        # Points this close to the bound differ by rounding and are left to `admit`.
        self._score_at_edges = self.best_at(self._edges) - 10.0**-SCORE_DECIMALS


def round_score(score: np.ndarray) -> np.ndarray:
    """Return scores rounded, so that those that differ by rounding are equal."""
    return np.round(score, SCORE_DECIMALS)


def round_cost(cost: np.ndarray, highest_cost: float) -> np.ndarray:
    """Return costs rounded, so that those that differ by rounding are equal."""
    unit = highest_cost or 1.0
    return np.round(cost / unit, COST_DECIMALS) * unit
