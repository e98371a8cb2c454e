"""Hashes of the rows that a fit has used, by which they are recognised later."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from scipy.sparse import issparse
from scipy.stats import binom

from sklearn_cascade._compat import n_rows, take_rows
from sklearn_cascade.core._samples import evenly_spaced

# Rows remembered, and numbers of each row that are hashed; both spread evenly.
_MAX_ROWS, _MAX_NUMBERS = 10_000, 256
# Probability that rows which are all new are taken for used ones.
_FALSE_ALARM = 1e-6


def hash_rows(X) -> np.ndarray | None:
    """Return one number per row (n_hashed,), for some of the rows; None where they are unreadable.

    Equal rows have equal numbers, whether they come as an array or a frame, and in every process.
    """
    n_samples = n_rows(X)
    if n_samples > _MAX_ROWS:
        X = take_rows(X, evenly_spaced(n_samples, _MAX_ROWS))
    try:
        digests = [blake2b(row, digest_size=8).digest() for row in _rows_as_bytes(X)]
    except (TypeError, ValueError, AttributeError):
        return None
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)


def count_used(used: np.ndarray | None, X) -> tuple[int, int]:
    """Return how many rows are among the used ones, and how many were compared.

    Data with few distinct rows contain used ones by chance, about as many as there are repeated
    rows among the used ones. If no more are found than chance explains, the first number is zero.
    """
    hashes = None if used is None else hash_rows(X)
    if used is None or hashes is None:
        return 0, n_rows(X)
    distinct, counts = np.unique(used, return_counts=True)
    found = int(np.isin(hashes, distinct).sum())
    by_chance = min(1.0, 2 * (counts[counts > 1].sum() + 1) / len(used))
    beyond_chance = binom.sf(found - 1, len(hashes), by_chance) < _FALSE_ALARM
    return found if beyond_chance else 0, len(hashes)


def _rows_as_bytes(X) -> Iterator[bytes]:
    """Yield the content of each row."""
    if issparse(X):
        matrix = X.tocsr().sorted_indices()
        columns, values = matrix.indices.astype(np.int64), matrix.data.astype(np.float64)
        for row in map(slice, matrix.indptr[:-1], matrix.indptr[1:]):
            yield columns[row].tobytes() + values[row].tobytes()
        return
    array = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
    array = array.reshape(len(array), -1)
    array = array[:, :: max(1, -(-array.shape[1] // _MAX_NUMBERS))]
    if array.dtype.kind in "biuf":
        # Adding zero, because zero has two signs.
        for row in array.astype(np.float64) + 0.0:
            yield row.tobytes()
    else:
        for row in array:
            yield repr(row.tolist()).encode()
