"""Every threshold vector of one ladder at once.

For thresholds indexed j_1, ..., j_k the rows that go past stage k, and what they gain by it, are
k-dimensional histograms with a cumulative sum along every axis; score and mean cost of all vectors
follow by broadcasting. The work is one pass over the rows for each stage, whatever the number
of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_cascade.rules import exit_boundary
from sklearn_cascade.search._prefixes import Ladder


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
    """Return the same as flat arrays, for any number of stages.

    Stages with a single candidate take no axis of their own: arrays have a few dozen at most.
    """
    rows = np.arange(ladder.gain.shape[1])
    cell = np.zeros(len(rows), dtype=np.intp)
    shape: tuple[int, ...] = ()
    score = np.asarray(ladder.gain[0].sum())
    cost = np.asarray(ladder.costs[0] * ladder.sample_weight.sum())
    for k, thresholds in enumerate(candidates):
        n_passed = _n_passed(ladder.confidence[k, rows], thresholds)
        # Rows that reach even the highest threshold exit here for good.
        stay = n_passed < len(thresholds)
        rows = rows[stay]
        cell = cell[stay] * len(thresholds) + n_passed[stay]
        if len(thresholds) > 1:
            shape = (*shape, len(thresholds))
            score, cost = score[..., None], cost[..., None]
        step = ladder.gain[k + 1, rows] - ladder.gain[k, rows]
        score = score + _cumulative_histogram(cell, step, shape)
        reached = _cumulative_histogram(cell, ladder.sample_weight[rows], shape)
        cost = cost + ladder.costs[k + 1] * reached
    return np.ravel(score), np.ravel(cost)


def _n_passed(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return how many of the ascending thresholds each row would exit at; NaN exits at none."""
    n_passed = np.searchsorted(exit_boundary(thresholds), confidence, side="right")
    n_passed[np.isnan(confidence)] = 0
    return n_passed


def _cumulative_histogram(
    cell: np.ndarray, weight: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return, for every index vector, the weight of the rows whose cell is nowhere beyond it."""
    histogram = np.bincount(cell, weights=weight, minlength=int(np.prod(shape))).reshape(shape)
    for axis in range(len(shape)):
        np.cumsum(histogram, axis=axis, out=histogram)
    return histogram
