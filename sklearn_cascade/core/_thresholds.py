"""Which rows exit: the comparison of confidence with threshold, and which thresholds to try."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_MAX_TOLERANCE = 1e-5
_MIN_TOLERANCE = 1e-6


def exits(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Return which rows exit: those whose confidence reaches the threshold (n_samples,).

    The comparison is defined here, with `effective_threshold`; `tuning._sweep.count_passed` and the
    GreaterOrEqual nodes of an ONNX file use the same number. A threshold of infinity lets no row
    exit, minus infinity every row; a confidence of NaN never exits.
    """
    return confidence >= _cached_effective_threshold(threshold)


def exit_stages(
    confidences: Sequence[np.ndarray] | np.ndarray, thresholds: Sequence[float]
) -> np.ndarray:
    """Return the stage at which each row exits, from 0 to ``len(thresholds)``: (n_samples,).

    `confidences` holds one array (n_samples,) for each stage but the last, at least one.
    """
    stage = np.full(len(confidences[0]), len(thresholds))
    for k in reversed(range(len(thresholds))):
        stage[exits(confidences[k], thresholds[k])] = k
    return stage


def effective_threshold(threshold: float | np.ndarray) -> float | np.ndarray:
    """Return the smallest confidence that exits: the threshold minus its tie tolerance."""
    return threshold - tie_tolerance(threshold)


def tie_tolerance(threshold: float | np.ndarray) -> float | np.ndarray:
    """Return how far below its threshold a confidence still exits.

    ``clip((1 - threshold) / 10, 1e-6, 1e-5)``. A typed 0.6 sits exactly on the lattice
    k / n_trees of a fully grown forest, and sums in float32 miss it by 6e-7. Towards 1, where
    the ranking of saturated nets depends on small differences, the tolerance shrinks.
    """
    # Half the time of `clip`, in a function that is called very often.
    return np.minimum(np.maximum((1.0 - threshold) / 10.0, _MIN_TOLERANCE), _MAX_TOLERANCE)


def threshold_at(effective: float | np.ndarray) -> float | np.ndarray:
    """Return the threshold that has this effective threshold, its inverse."""
    # t - (1 - t) / 10 = e between the two ends of the clip, and a constant beyond them.
    result: np.ndarray = np.clip(
        (effective + 0.1) / 1.1, effective + _MIN_TOLERANCE, effective + _MAX_TOLERANCE
    )
    return result


@lru_cache(maxsize=4096)
def _cached_effective_threshold(threshold: float) -> float:
    """Return the effective threshold as a plain number; a look-up takes next to no time."""
    return float(effective_threshold(threshold))


def candidate_thresholds(
    confidence: np.ndarray, n_candidates: int, *, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Return up to `n_candidates` thresholds that safely separate observed confidences.

    Confidences closer than four tie tolerances form one group, and the effective threshold lies
    midway between neighbouring groups, so that a batch, a single row, float32 and an exported
    file agree. With more groups than candidates, one threshold is taken from each quantile of
    the rows, by weight. Where confidences are so dense that a quantile holds no gap of that
    width, its widest gap serves. NaN is ignored. The thresholds are finite and ascend; there
    are none where all rows are equally confident.
    """
    values, rank = _distinct_with_rank(confidence, sample_weight)
    if len(values) < 2 or n_candidates < 1:
        return np.empty(0)
    gap = np.diff(values)
    middle = values[:-1] + gap / 2
    # In multiples of the safe width.
    with np.errstate(over="ignore"):
        width = gap / (4 * tie_tolerance(threshold_at(middle)))
    # Rounded, so that rows in another order, repeated or weighted, give the same cells.
    position = np.round(rank * n_candidates, 9)
    cell = np.minimum(position.astype(int), n_candidates - 1)
    safe = width >= 1
    chosen = np.flatnonzero(safe)
    if len(chosen) > n_candidates:
        # The gap nearest to the middle of each quantile.
        distance = np.abs(position[chosen] - cell[chosen] - 0.5)
        order = chosen[np.lexsort((chosen, distance, cell[chosen]))]
        chosen = order[np.unique(cell[order], return_index=True)[1]]
    dense = _widest_of_dense_cells(values, width, cell, safe)
    chosen = np.concatenate([chosen, dense[: n_candidates - len(chosen)]])
    return np.asarray(threshold_at(np.sort(middle[chosen])))


def _distinct_with_rank(
    confidence: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct finite values, ascending, and the share of weight below each gap."""
    confidence = np.asarray(confidence, dtype=np.float64)
    known = np.isfinite(confidence)
    if sample_weight is None:
        values, count = np.unique(confidence[known], return_counts=True)
        below = np.cumsum(count.astype(np.float64))
    else:
        values, inverse = np.unique(confidence[known], return_inverse=True)
        below = np.cumsum(np.bincount(inverse, sample_weight[known], minlength=len(values)))
    return values, below[:-1] / below[-1] if len(values) else below


def _widest_of_dense_cells(
    values: np.ndarray, width: np.ndarray, cell: np.ndarray, safe: np.ndarray
) -> np.ndarray:
    """Return the widest gap of each cell that spans a safe width but holds no safe gap.

    A narrower cell is one point of a lattice with rounding noise and is not cut. Widest first.
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
