"""Every threshold vector of one ladder at once.

For thresholds indexed j_1, ..., j_k the rows that go past stage k, and what they gain by it, are
k-dimensional histograms with a cumulative sum along every axis; score and mean cost of all vectors
follow by broadcasting. The work is one pass over the rows for each stage, whatever the number
of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import exit_boundary
from sklearn_cascade.search._prefixes import Ladder


class Swept(NamedTuple):
    """What every combination of thresholds of one ladder reaches.

    Attributes
    ----------
    score, cost : ndarray of shape (n_levels[0], ..., n_levels[-1])
        Sum of the gains, and mean cost of a row.
    reached : list of ndarray
        Share of the rows that go past each stage; entry k has the first k + 1 axes. Stages with
        a single level have no axis.
    """

    score: np.ndarray
    cost: np.ndarray
    reached: list[np.ndarray]


class CellSums:
    """Histograms of the rows over the thresholds they pass, which rows are added to in parts.

    Rows enter before the first stage, and after each stage but the last some of them are
    deferred.

    Parameters
    ----------
    value_scale, row_scale : float, default=1.0
        What all values, and all counts of rows, are multiplied by in the end: sums of whole
        numbers stay exact until then.

    Attributes
    ----------
    rows : slice or ndarray of int
        Those of the rows that entered last which some vector defers so far.
    """

    def __init__(self, value_scale: float = 1.0, row_scale: float = 1.0) -> None:
        self._scales = (value_scale, row_scale)
        self._first = 0.0
        self._total = 0.0
        self._n_levels: list[int] = []
        self._moved: list[np.ndarray] = []
        self._reached: list[np.ndarray] = []

    def enter(
        self,
        values: Sequence[np.ndarray],
        value_weight: np.ndarray | None = None,
        row_weight: np.ndarray | None = None,
    ) -> None:
        """Let some rows in.

        Parameters
        ----------
        values : sequence of ndarray of shape (n_samples,)
            For each stage, what a row is worth when answered there.
        value_weight, row_weight : ndarray of shape (n_samples,) or None
            Weights of the rows in the score and in the cost; None: one each.
        """
        n_samples = len(values[0])
        self._values, self._weights = values, (value_weight, row_weight)
        self._first += values[0].sum() if value_weight is None else values[0] @ value_weight
        self._total += n_samples if row_weight is None else row_weight.sum()
        self._stage = 0
        self._cell = np.zeros(n_samples, dtype=np.intp)
        self.rows: slice | np.ndarray = slice(None)

    def defer(self, n_levels: int, passed: np.ndarray) -> None:
        """Go on to the next stage.

        Parameters
        ----------
        n_levels : int
            Number of thresholds tried.
        passed : ndarray of int of shape (n_rows,)
            How many of them, ascending, each of `rows` would exit at. Rows that exit at all of
            them are done with.
        """
        stay = passed < n_levels
        if not stay.all():
            kept = np.flatnonzero(stay)
            self.rows = kept if isinstance(self.rows, slice) else self.rows[kept]
            self._cell, passed = self._cell[kept], passed[kept]
        self._cell = self._cell * n_levels + passed
        k, rows, (value_weight, row_weight) = self._stage, self.rows, self._weights
        step = self._values[k + 1][rows] - self._values[k][rows]
        if value_weight is not None:
            step = step * value_weight[rows]
        share = None if row_weight is None else row_weight[rows]
        if k == len(self._n_levels):
            self._n_levels.append(n_levels)
        self._stage, size = k + 1, int(np.prod(self._n_levels[: k + 1]))
        _accumulate(self._moved, k, np.bincount(self._cell, step, minlength=size))
        _accumulate(self._reached, k, np.bincount(self._cell, share, minlength=size))

    def leave(self) -> None:
        """Let go of the rows that entered last; their sums stay."""
        del self._values, self._weights, self._cell, self.rows

    def finish(self, costs: np.ndarray) -> Swept:
        """Return score and mean cost of every combination, from the cost of each stage."""
        value_scale, row_scale = self._scales
        score = np.asarray(self._first)
        cost = np.asarray(costs[0] * self._total * row_scale)
        shape: tuple[int, ...] = ()
        reached = []
        for k, n_levels in enumerate(self._n_levels):
            if n_levels > 1:
                # Arrays have a few dozen axes at most, so one that says nothing gets none.
                shape = (*shape, n_levels)
                score, cost = score[..., None], cost[..., None]
            score = score + _cumulate(self._moved[k].reshape(shape))
            reached.append(_cumulate(self._reached[k].reshape(shape)) * row_scale)
            cost = cost + costs[k + 1] * reached[k]
        return Swept(score * value_scale, cost, reached)


def count_passed(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return how many of the ascending thresholds each row would exit at; NaN exits at none."""
    passed = np.searchsorted(exit_boundary(thresholds), confidence, side="right")
    passed[np.isnan(confidence)] = 0
    return passed


def sweep_thresholds(
    ladder: Ladder, candidates: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of every combination of candidate thresholds.

    Parameters
    ----------
    ladder : Ladder
        Held-out confidences and gains, with ``n_stages`` stages.
    candidates : sequence of ndarray, one per stage but the last
        Thresholds to try, ascending; infinities are allowed at the ends.

    Returns
    -------
    score : ndarray of shape (len(candidates[0]), ..., len(candidates[-1]))
        Sum of the gains.
    cost : ndarray of the same shape
        Mean cost of a row, over the rows' shares.
    """
    shape = [len(thresholds) for thresholds in candidates]
    score, cost = sweep_flat(ladder, candidates)
    return score.reshape(shape), cost.reshape(shape)


def sweep_flat(ladder: Ladder, candidates: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as flat arrays, for any number of stages."""
    sums = CellSums()
    sums.enter(ladder.gain, row_weight=ladder.sample_weight)
    for sure, thresholds in zip(ladder.confidence, candidates, strict=True):
        sums.defer(len(thresholds), count_passed(sure[sums.rows], thresholds))
    swept = sums.finish(ladder.costs)
    return np.ravel(swept.score), np.ravel(swept.cost)


def _accumulate(sums: list[np.ndarray], k: int, part: np.ndarray) -> None:
    """Add a part to entry k, which it becomes if it is the first."""
    if k == len(sums):
        sums.append(part)
    else:
        sums[k] += part


def _cumulate(histogram: np.ndarray) -> np.ndarray:
    """Return, for every index vector, the sum of the cells that are nowhere beyond it."""
    for axis in range(histogram.ndim):
        np.cumsum(histogram, axis=axis, out=histogram)
    return histogram
