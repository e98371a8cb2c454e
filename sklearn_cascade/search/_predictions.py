"""What every model of a pool said about held-out rows, checked and in order of cost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import as_numbers, check_proba

# Threads that read blocks in turn are at the end of one chunk and at the beginning of the next.
_MOST_HELD = 2


class PoolPredictions(NamedTuple):
    """Held-out answers of a pool of models, cheapest first.

    Attributes
    ----------
    names : tuple of str
        One per model.
    costs : ndarray of shape (n_models,)
        Cost of one row in each model; ascending.
    y : ndarray of shape (n_samples,)
        Column of the true class.
    classes : ndarray of shape (n_classes,)
        Label of each column; without columns, all labels that occur.
    sample_weight : ndarray of shape (n_samples,) or None
        Positive weights; None where all are equal.
    proba : list of array of shape (n_recorded, n_classes) or None
        Probabilities of each model, read block by block.
    pairs : list of (confidence, predicted) or None
        Instead: arrays of shape (n_recorded,).
    counted : ndarray of int of shape (n_samples,) or None
        The recorded rows that have a weight above zero; None where all have.
    marginal_cost : callable or None
        ``marginal_cost(name, names already run)``: cost of a model where work is shared.
    """

    names: tuple[str, ...]
    costs: np.ndarray
    y: np.ndarray
    classes: np.ndarray
    sample_weight: np.ndarray | None
    proba: list | None
    pairs: list | None
    counted: np.ndarray | None
    marginal_cost: Callable | None

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.names)

    @property
    def n_samples(self) -> int:
        """Number of rows that count."""
        return len(self.y)

    @property
    def n_recorded(self) -> int:
        """Number of rows recorded, with those that do not count."""
        return len(self.pairs[0][0]) if self.proba is None else len(self.proba[0])

    def read_proba(self, model: int, rows: slice) -> np.ndarray:
        """Return checked probabilities of one model for some rows: (n_rows, n_classes)."""
        block = self._read(self.proba[model], rows)
        first = rows.start if self.counted is None else int(self.counted[rows.start])
        return check_proba(
            block, len(block), len(self.classes), member=self.names[model], first_row=first
        )

    def read_pair(self, model: int, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return confidence and class, as a position, that one model answered some rows with."""
        confidence, predicted = (self._read(part, rows) for part in self.pairs[model])
        confidence = as_numbers(f"confidence of {self.names[model]!r}", confidence)
        if not np.isfinite(confidence).all():
            raise ValueError(
                f"confidence of {self.names[model]!r} holds "
                f"{confidence[~np.isfinite(confidence)][0]}; expected finite numbers (a very low "
                f"one never exits early)"
            )
        return confidence, np.searchsorted(self.classes, predicted)

    def stage_costs(self, members: Sequence[int]) -> np.ndarray:
        """Return the cost of each stage of a committee, with shared work credited."""
        if self.marginal_cost is None:
            return self.costs[list(members)]
        names = [self.names[member] for member in members]
        costs = [self.marginal_cost(name, tuple(names[:k])) for k, name in enumerate(names)]
        costs = as_numbers("marginal_cost", costs)
        if not np.isfinite(costs).all() or (costs < 0).any():
            raise ValueError(
                f"marginal_cost returned {costs.tolist()} for {names}; expected finite numbers, none "
                f"below zero"
            )
        return costs

    def _read(self, recorded, rows: slice) -> np.ndarray:
        """Return some of the rows that count, reading one contiguous piece."""
        if self.counted is None:
            return np.asarray(recorded[rows])
        wanted = self.counted[rows]
        return np.asarray(recorded[wanted[0] : wanted[-1] + 1])[wanted - wanted[0]]


def record(
    proba,
    y,
    *,
    names,
    costs: np.ndarray,
    classes=None,
    sample_weight: np.ndarray | None = None,
    marginal_cost: Callable | None = None,
) -> PoolPredictions:
    """Check what was recorded and put the models in order of cost; the costs are checked.

    Parameters
    ----------
    proba : sequence of array of shape (n_samples, n_classes), or of (confidence, predicted)
        One entry per model. Nothing is copied.
    y : array-like of shape (n_samples,)
        True labels.
    names : sequence of str
        One per model.
    costs : ndarray of shape (n_models,)
        Cost of one row in each model.
    classes : array-like of shape (n_classes,), default=None
        Label of each column.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows, none below zero.
    marginal_cost : callable, default=None
        Cost of a model once others have run.

    Returns
    -------
    recordings : PoolPredictions
    """
    y = np.asarray(y)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y has shape {y.shape}; expected one label per row, at least one row")
    if y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError("y holds NaN; expected one label per row")
    order = [int(model) for model in np.argsort(costs, kind="stable")]
    entries = [proba[model] for model in order]
    names = tuple(names[model] for model in order)
    if _are_pairs(entries):
        pairs, proba = _check_pairs(entries, names, y), None
        classes = np.unique(np.concatenate([y, *(_distinct(said) for _, said in pairs)]))
        y = np.searchsorted(classes, y)
    else:
        pairs, proba = None, _check_matrices(entries, names, len(y))
        classes, y = _columns_of(y, classes, proba[0].shape[1])
    counted, sample_weight = _counted(sample_weight, len(y))
    if counted is not None:
        y = y[counted]
    return PoolPredictions(
        names, costs[order], y, classes, sample_weight, proba, pairs, counted, marginal_cost
    )


def _are_pairs(entries) -> bool:
    """Tell whether the entries are (confidence, predicted) pairs; all or none have to be."""
    pairs = [isinstance(entry, tuple) and len(entry) == 2 for entry in entries]
    if any(pairs) and not all(pairs):
        raise ValueError(
            f"proba: {sum(pairs)} of {len(pairs)} entries are (confidence, predicted) pairs; "
            f"expected all of them, or none"
        )
    return all(pairs)


def _check_pairs(entries, names, y: np.ndarray) -> list:
    """Return the pairs as arrays of one value per row, with labels of y's kind."""
    pairs = []
    for name, entry in zip(names, entries, strict=True):
        confidence, predicted = (_as_array(part) for part in entry)
        if confidence.shape != y.shape or predicted.shape != y.shape:
            raise ValueError(
                f"proba: the pair of {name!r} has shapes {confidence.shape} and "
                f"{predicted.shape}; expected one confidence and one label for each of the "
                f"{len(y)} rows of y"
            )
        if (predicted.dtype.kind in "US") != (y.dtype.kind in "US"):
            raise ValueError(
                f"proba: {name!r} predicted labels of type {predicted.dtype}, y holds {y.dtype}; "
                f"expected labels like those of y"
            )
        pairs.append((confidence, predicted))
    return pairs


def _check_matrices(entries, names, n_samples: int) -> list:
    """Return the probabilities as things with a shape, all of the same."""
    matrices = [_as_array(entry) for entry in entries]
    width = matrices[0].shape[1] if len(matrices[0].shape) == 2 else "n_classes"
    for name, matrix in zip(names, matrices, strict=True):
        if tuple(matrix.shape) != (n_samples, width):
            raise ValueError(
                f"proba: {name!r} has shape {tuple(matrix.shape)}; expected ({n_samples}, "
                f"{width}): one row per row of y, one column per class"
            )
    return matrices


def _as_array(part):
    """Return anything with a shape as it is, so that memory maps and the like stay unread."""
    part = read_in_chunks(part)
    return part if hasattr(part, "shape") else np.asarray(part)


def _distinct(labels) -> np.ndarray:
    """Return the labels that occur, sorted."""
    return labels.distinct() if isinstance(labels, DaskRows) else np.unique(labels)


def _columns_of(y: np.ndarray, classes, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of each column and the column of each row's label."""
    seen, codes = np.unique(y, return_inverse=True)
    if classes is None:
        classes = seen
        if len(seen) != n_classes and y.dtype.kind in "iu":
            classes = np.arange(n_classes)
    classes = np.asarray(classes)
    if classes.ndim != 1 or len(set(classes.tolist())) != n_classes:
        raise ValueError(
            f"classes={classes.tolist()!r} for probabilities of {n_classes} columns; expected "
            f"{n_classes} different labels, one per column"
        )
    column = {label: place for place, label in enumerate(classes.tolist())}
    missing = [label for label in seen.tolist() if label not in column]
    if missing:
        raise ValueError(
            f"y holds labels {missing[:5]} that are not in classes={classes.tolist()[:10]}; "
            f"expected the label of each of the {n_classes} columns, in their order"
        )
    return classes, np.array([column[label] for label in seen.tolist()])[codes]


def _counted(
    sample_weight: np.ndarray | None, n_samples: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the rows with a weight above zero, and the weights unless they are all equal."""
    if sample_weight is None:
        return None, None
    counted = np.flatnonzero(sample_weight > 0)
    weight = sample_weight[counted]
    return None if len(counted) == n_samples else counted, weight if np.ptp(weight) else None


class DaskRows:
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
        return DaskRows, (self._array,)

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
    return DaskRows(part)
