"""Rows that a fit has used, remembered well enough to know them again."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from scipy.sparse import issparse
from scipy.stats import binom

from sklearn_cascade._compat import n_rows, take_rows

# Rows remembered, and numbers of each row looked at; both spread evenly.
_MOST_ROWS, _MOST_NUMBERS = 10_000, 256
# Chance that rows which are all new are taken for used ones.
_FALSE_ALARM = 1e-6


def fingerprints(X) -> np.ndarray | None:
    """Return one number per row, for some of the rows; None for rows that cannot be read.

    Equal rows have equal numbers, whether they come as an array or a frame.
    """
    n_samples = n_rows(X)
    if n_samples > _MOST_ROWS:
        X = take_rows(X, np.linspace(0, n_samples - 1, _MOST_ROWS).astype(int))
    try:
        return np.array([_number(row) for row in _as_bytes(X)], dtype=np.uint64)
    except (TypeError, ValueError, AttributeError):
        return None


def count_known(known: np.ndarray | None, X) -> tuple[int, int]:
    """Return how many of the rows looked at are surely known, and how many were looked at.

    Data with few distinct rows hold known ones by chance: about as many as there are twins among
    the known ones. Up to there nothing is sure, and the first number is zero.
    """
    new = None if known is None else fingerprints(X)
    if new is None:
        return 0, n_rows(X)
    distinct, counts = np.unique(known, return_counts=True)
    found = int(np.isin(new, distinct).sum())
    by_chance = min(1.0, 2 * (counts[counts > 1].sum() + 1) / len(known))
    sure = binom.sf(found - 1, len(new), by_chance) < _FALSE_ALARM
    return found if sure else 0, len(new)


def _as_bytes(X):
    """Yield the content of each row."""
    if issparse(X):
        rows = X.tocsr().sorted_indices()
        columns, values = rows.indices.astype(np.int64), rows.data.astype(np.float64)
        for row in map(slice, rows.indptr[:-1], rows.indptr[1:]):
            yield columns[row].tobytes() + values[row].tobytes()
        return
    array = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
    array = array.reshape(len(array), -1)
    array = array[:, :: max(1, -(-array.shape[1] // _MOST_NUMBERS))]
    if array.dtype.kind in "biuf":
        # Zero has two signs.
        for row in array.astype(np.float64) + 0.0:
            yield row.tobytes()
    else:
        for row in array:
            yield repr(row.tolist()).encode()


def _number(content: bytes) -> int:
    """Return a number that is equal for equal contents, in every process."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
