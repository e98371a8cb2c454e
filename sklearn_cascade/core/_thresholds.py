"""The one comparison that decides whether a row exits, and the thresholds worth trying."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_LARGEST_ALLOWANCE = 1e-5
_SMALLEST_ALLOWANCE = 1e-6


def tie_tolerance(threshold: float | np.ndarray) -> float | np.ndarray:
    """Return how far below its threshold a confidence still exits.

    ``clip((1 - threshold) / 10, 1e-6, 1e-5)``. A typed 0.6 sits exactly on the lattice
    k / n_trees of a fully grown forest, and sums in float32 miss it by 6e-7; towards 1, where
    saturated nets keep much of their ranking, the allowance shrinks.
    """
    # Half the time of `clip`, and asked for very often.
    return np.minimum(np.maximum((1.0 - threshold) / 10.0, _SMALLEST_ALLOWANCE), _LARGEST_ALLOWANCE)


def effective_threshold(threshold: float | np.ndarray) -> float | np.ndarray:
    """Return the smallest confidence that exits: the threshold less its tie allowance."""
    return threshold - tie_tolerance(threshold)


def threshold_at(boundary: float | np.ndarray) -> float | np.ndarray:
    """Return the threshold whose exit boundary is the one given: inverse of `effective_threshold`."""
    # t - (1 - t) / 10 = b between the two ends of the clip, and a constant beyond them.
    return np.clip(
        (boundary + 0.1) / 1.1, boundary + _SMALLEST_ALLOWANCE, boundary + _LARGEST_ALLOWANCE
    )


def exits(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Tell which rows exit.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,)
        NaN never exits.
    threshold : float
        Infinity: no row exits; minus infinity: every row does.

    Returns
    -------
    exits : ndarray of bool of shape (n_samples,)
    """
    return confidence >= _known_boundary(threshold)


@lru_cache(maxsize=4096)
def _known_boundary(threshold: float) -> float:
    """Return the boundary of one threshold as a plain number; looked up, it takes no time."""
    return float(effective_threshold(threshold))


def exit_stages(confidences: Sequence[np.ndarray], thresholds: Sequence[float]) -> np.ndarray:
    """Return the stage that answers each row, had every stage seen every row.

    Parameters
    ----------
    confidences : sequence of ndarray of shape (n_samples,)
        Confidence after each stage but the last, at least one.
    thresholds : sequence of float
        One per stage but the last.

    Returns
    -------
    exit_stage : ndarray of int of shape (n_samples,)
        From 0 to ``len(thresholds)``.
    """
    stage = np.full(len(confidences[0]), len(thresholds))
    for k in reversed(range(len(thresholds))):
        stage[exits(confidences[k], thresholds[k])] = k
    return stage


def candidate_thresholds(
    confidence: np.ndarray, n_candidates: int, *, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Return thresholds that separate the observed confidences safely.

    Confidences closer than four tie allowances form one group, and the exit boundary lies
    midway between neighbouring groups, so that a batch, a single row, float32 and an exported
    file agree. With more groups than candidates, one boundary is taken in each quantile of the
    rows, by weight. Where confidences lie so dense that a quantile holds no gap of that
    width, its widest gap serves.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,)
        Observed confidences; NaN is ignored.
    n_candidates : int
        The most thresholds to return.
    sample_weight : ndarray of shape (n_samples,), default=None
        Positive weights of the rows.

    Returns
    -------
    thresholds : ndarray of shape (<= n_candidates,)
        Ascending and finite; empty where all rows are equally confident.
    """
    values, rank = _distinct_with_rank(confidence, sample_weight)
    if len(values) < 2 or n_candidates < 1:
        return np.empty(0)
    gap = np.diff(values)
    middle = values[:-1] + gap / 2
    # How many times the safe width a gap has; 1 is enough.
    with np.errstate(over="ignore"):
        width = gap / (4 * tie_tolerance(threshold_at(middle)))
    # Rounded, so that rows in another order, repeated or weighted, are cut alike.
    place = np.round(rank * n_candidates, 9)
    cell = np.minimum(place.astype(int), n_candidates - 1)
    safe = width >= 1
    chosen = np.flatnonzero(safe)
    if len(chosen) > n_candidates:
        chosen = _most_central(chosen, place, cell)
    dense = _widest_of_dense_cells(values, width, cell, safe)
    chosen = np.concatenate([chosen, dense[: n_candidates - len(chosen)]])
    return threshold_at(np.sort(middle[chosen]))


def _distinct_with_rank(
    confidence: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct finite values, ascending, and the share of weight up to each gap."""
    confidence = np.asarray(confidence, dtype=np.float64)
    known = np.isfinite(confidence)
    if sample_weight is None:
        values, count = np.unique(confidence[known], return_counts=True)
        below = np.cumsum(count.astype(np.float64))
    else:
        values, inverse = np.unique(confidence[known], return_inverse=True)
        below = np.cumsum(np.bincount(inverse, sample_weight[known], minlength=len(values)))
    return values, below[:-1] / below[-1] if len(values) else below


def _most_central(gaps: np.ndarray, place: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the gap nearest to the middle of each quantile cell, from those given."""
    distance = np.abs(place[gaps] - cell[gaps] - 0.5)
    order = gaps[np.lexsort((gaps, distance, cell[gaps]))]
    return order[np.unique(cell[order], return_index=True)[1]]


def _widest_of_dense_cells(
    values: np.ndarray, width: np.ndarray, cell: np.ndarray, safe: np.ndarray
) -> np.ndarray:
    """Return the widest gap of each cell that spans a safe width without holding a safe gap.

    A narrower cell is one point of a lattice with rounding noise, not to be cut. Widest first.
    """
    if safe.all():
        return np.empty(0, dtype=int)
    order = np.lexsort((np.arange(len(width)), -width, cell))
    cells, first = np.unique(cell[order], return_index=True)
    widest = order[first]
    start = np.searchsorted(cell, cells)
    stop = np.searchsorted(cell, cells, side="right")
    span = values[stop] - values[start]
    spacious = span >= 4 * tie_tolerance(threshold_at(values[start]))
    dense = widest[spacious & ~safe[widest]]
    return dense[np.argsort(-width[dense], kind="stable")]
