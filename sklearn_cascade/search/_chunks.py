"""Recordings that are computed when they are read: Dask arrays, one chunk of rows at a time."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

# Threads that read blocks in turn are at the end of one chunk and at the beginning of the next.
_MOST_HELD = 2


class ChunkedRows:
    """The rows of a Dask array, each of whose chunks is computed once per pass.

    A block that is read is much smaller than a chunk, which would be computed for each of its
    blocks anew; so the last chunks are held.

    Parameters
    ----------
    array : dask.array.Array
        Of one or two dimensions, with known chunks.
    """

    def __init__(self, array) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self._stops = np.cumsum(array.chunks[0])
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self):
        # Neither a lock nor what is held travels.
        return ChunkedRows, (self._array,)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        first = int(np.searchsorted(self._stops, start, side="right"))
        last = int(np.searchsorted(self._stops, stop, side="left"))
        pieces = []
        for place in range(first, last + 1):
            begin = int(self._stops[place - 1]) if place else 0
            pieces.append(self._chunk(place)[max(0, start - begin) : stop - begin])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def distinct(self) -> np.ndarray:
        """Return the distinct values, sorted."""
        found = [np.unique(self._chunk(place)) for place in range(len(self._stops))]
        return np.unique(np.concatenate(found))

    def _chunk(self, place: int) -> np.ndarray:
        """Return the rows of one chunk."""
        with self._lock:
            if place not in self._held:
                # Before the new one is there, so that no more than so many ever are.
                while len(self._held) >= _MOST_HELD:
                    self._held.popitem(last=False)
                self._held[place] = np.asarray(self._array.blocks[place].compute())
            self._held.move_to_end(place)
            return self._held[place]


def read_in_chunks(part):
    """Return a Dask array as rows that are read chunk by chunk, and anything else as it is."""
    if not hasattr(part, "__dask_graph__"):
        return part
    chunks = getattr(part, "chunks", None)
    if chunks is None or np.isnan(np.concatenate(list(chunks))).any():
        raise ValueError(
            f"proba holds a {type(part).__module__.split('.')[0]} {type(part).__name__} whose "
            f"number of rows is not known; expected a Dask array with known chunks: "
            f"frame.to_dask_array(lengths=True) or array.compute_chunk_sizes()"
        )
    return ChunkedRows(part)
