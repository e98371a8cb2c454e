"""The held-out predictions of a pool of models: checked, in order of cost, read block by block."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.core._combination import LabelCombiner, ProbaCombiner, combine_stages
from sklearn_cascade.core._learned_confidence import pair_columns, proba_columns
from sklearn_cascade.core._probabilities import check_proba
from sklearn_cascade.core._samples import label_columns
from sklearn_cascade.core._scoring import (
    sample_scores,
    score_labels,
    score_probabilities,
    score_weights,
)
from sklearn_cascade.core._thresholds import exit_stages
from sklearn_cascade.core._validation import as_numbers

# Threads that read blocks in turn are at the end of one chunk and at the beginning of the next.
_MAX_CHUNKS_HELD = 2


class PoolPredictions(NamedTuple):
    """Held-out predictions of a pool of models, cheapest first.

    A model's predictions are its probabilities or, where there are none, a pair of arrays: its
    confidence and its label for each row. The methods below are the only code of the search that
    tells the two apart; elsewhere `has_proba` says whether there is anything to average.
    """

    names: tuple[str, ...]
    costs: np.ndarray  # (n_models,), of one row in each model, ascending
    y: np.ndarray  # (n_samples,), column of the true class
    classes: np.ndarray  # (n_classes,), label of each column; without columns, all that occur
    sample_weight: np.ndarray | None  # (n_samples,), positive; None where all are equal
    outputs: list[Any]  # per model (n_recorded, n_classes), or a pair of arrays (n_recorded,)
    has_proba: bool
    counted: np.ndarray | None  # (n_samples,), recorded rows of positive weight; None: all
    marginal_cost: Callable[[str, tuple[str, ...]], float] | None

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
        return len(self.outputs[0] if self.has_proba else self.outputs[0][0])

    @property
    def n_labels(self) -> int:
        """Number of labels to learn about: bare labels that never occurred count as one more."""
        return len(self.classes) + (not self.has_proba)

    def read(self, model: int, rows: slice) -> Any:
        """Return checked predictions of one model for some rows, as a combiner takes them.

        Probabilities (n_rows, n_classes), or confidence and column of the label, both (n_rows,).
        """
        name = self.names[model]
        if self.has_proba:
            block = self._read(self.outputs[model], rows)
            first = rows.start if self.counted is None else int(self.counted[rows.start])
            return check_proba(block, len(block), len(self.classes), member=name, first_row=first)
        confidence, label = (self._read(part, rows) for part in self.outputs[model])
        confidence = as_numbers(f"confidence of {name!r}", confidence)
        if not np.isfinite(confidence).all():
            raise ValueError(
                f"confidence of {name!r} holds {confidence[~np.isfinite(confidence)][0]}; expected "
                f"finite numbers (a very low one never exits early)"
            )
        return confidence, np.searchsorted(self.classes, label)

    def _read(self, recorded: Any, rows: slice) -> np.ndarray:
        """Return some of the rows that count, reading one contiguous piece."""
        if self.counted is None:
            return np.asarray(recorded[rows])
        wanted = self.counted[rows]
        return np.asarray(recorded[wanted[0] : wanted[-1] + 1])[wanted - wanted[0]]

    def combiner(self, combine: str, *, remember: bool = False) -> ProbaCombiner | LabelCombiner:
        """Return a combiner to which what `read` returns can be added."""
        return make_combiner(combine, has_proba=self.has_proba, remember=remember)

    def sample_scores(self, scoring: str, outputs: np.ndarray, rows: slice) -> np.ndarray:
        """Return what combined outputs are worth before the weight of the row: (n_rows,)."""
        if self.has_proba:
            return sample_scores(scoring, outputs, self.y[rows])
        return outputs == self.y[rows]

    def score(self, scoring: str | Callable, outputs: np.ndarray, rows: np.ndarray) -> float:
        """Return the score on some rows of combined outputs of all rows."""
        y = self.classes[self.y[rows]]
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        if self.has_proba:
            return score_probabilities(scoring, outputs[rows], y, self.classes, weight)
        return score_labels(scoring, self.classes[outputs[rows]], y, weight)

    def confidence_inputs(
        self, combine: str, members: Sequence[int], rows: slice
    ) -> tuple[list[np.ndarray], np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Return what a confidence is learned from once `members` have run, each (n_rows,).

        Columns that describe the combined outputs, their labels, and confidence and label of each
        earlier stage.
        """
        if not self.has_proba:
            *previous, (confidence, label) = [self.read(model, rows) for model in members]
            return pair_columns(confidence), label, previous
        combiner = ProbaCombiner(combine, remember=True)
        for model in members:
            outputs = combiner.add(self.read(model, rows))
        return proba_columns(outputs), outputs.argmax(axis=1), combiner.previous_outputs()

    def stage_costs(self, members: Sequence[int]) -> np.ndarray:
        """Return the cost of each stage of a cascade or ensemble, with shared work credited."""
        if self.marginal_cost is None:
            return self.costs[list(members)]
        names = [self.names[member] for member in members]
        costs = as_numbers(
            "marginal_cost",
            [self.marginal_cost(name, tuple(names[:k])) for k, name in enumerate(names)],
        )
        if not np.isfinite(costs).all() or (costs < 0).any():
            raise ValueError(
                f"marginal_cost returned {costs.tolist()} for {names}; expected finite numbers, "
                f"none below zero"
            )
        return costs


def make_combiner(
    combine: str, *, has_proba: bool, remember: bool = False
) -> ProbaCombiner | LabelCombiner:
    """Return a combiner of probabilities, or of (confidence, label) pairs."""
    return ProbaCombiner(combine, remember=remember) if has_proba else LabelCombiner(combine)


def exit_outputs(
    combiner: ProbaCombiner | LabelCombiner,
    outputs: Iterable[Any],
    confidences: Sequence[Any],
    thresholds: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the combined outputs that each row exits with, and the stage where: (n_samples,).

    Without thresholds all rows go through every stage.
    """
    steps = combine_stages(combiner, outputs, confidences, n_gates=len(thresholds))
    combined, confidence = zip(*steps, strict=True)
    if not len(thresholds):
        return combined[-1], np.full(len(combined[-1]), len(combined) - 1)
    stage = exit_stages(confidence[:-1], thresholds)
    return np.stack(combined)[stage, np.arange(len(stage))], stage


class RowSubset(NamedTuple):
    """Some rows, and what each counts in the score and in the mean cost."""

    rows: np.ndarray | None  # (n_rows,), ascending; None: all
    score_weight: np.ndarray | None  # (n_rows,), weights in the score; None: one each
    row_weight: np.ndarray | None  # (n_rows,), weights in the mean cost; None: one each
    score_scale: float  # the weighted sums are multiplied by these
    row_scale: float

    @property
    def scales(self) -> tuple[float, float]:
        """Both scales."""
        return self.score_scale, self.row_scale

    def among(self, sample: np.ndarray) -> RowSubset:
        """Return the part of it that is in a sample of rows, as positions in the sample."""
        if self.rows is None:
            return self._weighted(None, sample)
        rows = np.flatnonzero(np.isin(sample, self.rows))
        return self._weighted(rows, np.searchsorted(self.rows, sample[rows]))

    def between(self, start: int, stop: int) -> RowSubset:
        """Return the part of it that is in a block of rows, counted from the block's start."""
        if self.rows is None:
            return self._weighted(None, slice(start, stop))
        part = slice(*np.searchsorted(self.rows, [start, stop]))
        return self._weighted(self.rows[part] - start, part)

    def _weighted(self, rows: np.ndarray | None, part: slice | np.ndarray) -> RowSubset:
        """Return a subset of other rows with part of the weights."""
        return self._replace(
            rows=rows,
            score_weight=None if self.score_weight is None else self.score_weight[part],
            row_weight=None if self.row_weight is None else self.row_weight[part],
        )


def subset_rows(
    predictions: PoolPredictions, scoring: str, rows: np.ndarray | None = None
) -> RowSubset:
    """Return some of the rows, by default all, with their weights in the score and the cost."""
    y, weight = predictions.y, predictions.sample_weight
    if rows is not None:
        y, weight = y[rows], None if weight is None else weight[rows]
    row_weight = None if weight is None else weight / weight.sum()
    row_scale = 1.0 / len(y) if weight is None else 1.0
    if weight is None and scoring != "balanced_accuracy":
        return RowSubset(rows, None, row_weight, row_scale, row_scale)
    shares = score_weights(scoring, y, np.ones(len(y)) if weight is None else weight)
    return RowSubset(rows, shares, row_weight, 1.0, row_scale)


def check_predictions(
    proba: Sequence[Any],
    y: Any,
    *,
    names: Sequence[str],
    costs: np.ndarray,
    classes: Any = None,
    sample_weight: np.ndarray | None = None,
    marginal_cost: Callable[[str, tuple[str, ...]], float] | None = None,
) -> PoolPredictions:
    """Check what was recorded, and put the models in order of cost; nothing is copied.

    `proba` holds one array (n_samples, n_classes) or (confidence, label) pair per model. Names,
    costs (n_models,) and weights (n_samples,) have been checked before.
    """
    y = np.asarray(y)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y has shape {y.shape}; expected one label per row, at least one row")
    if y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError("y holds NaN; expected one label per row")
    order = [int(model) for model in np.argsort(costs, kind="stable")]
    outputs, names = [proba[model] for model in order], tuple(names[model] for model in order)
    are_pairs = [isinstance(entry, tuple) and len(entry) == 2 for entry in outputs]
    if any(are_pairs) and not all(are_pairs):
        raise ValueError(
            f"proba: {sum(are_pairs)} of {len(are_pairs)} entries are (confidence, predicted) "
            f"pairs; expected all of them, or none"
        )
    has_proba = not all(are_pairs)
    if has_proba:
        outputs = _check_matrices(outputs, names, len(y))
        classes, y = _columns_of(y, classes, outputs[0].shape[1])
    else:
        outputs = _check_pairs(outputs, names, y)
        classes = np.unique(np.concatenate([y, *(_unique_labels(label) for _, label in outputs)]))
        y = np.searchsorted(classes, y)
    counted = None
    if sample_weight is not None:
        positive = np.flatnonzero(sample_weight > 0)
        counted = None if len(positive) == len(y) else positive
        y, sample_weight = y[positive], sample_weight[positive]
        sample_weight = sample_weight if np.ptp(sample_weight) else None
    return PoolPredictions(
        names, costs[order], y, classes, sample_weight, outputs, has_proba, counted, marginal_cost
    )


def _check_pairs(entries: list[Any], names: Sequence[str], y: np.ndarray) -> list[Any]:
    """Return the pairs as arrays of one value per row, with labels of the same kind as y."""
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


def _check_matrices(entries: list[Any], names: Sequence[str], n_samples: int) -> list[Any]:
    """Return the probabilities as objects that all have the same shape."""
    matrices = [_as_array(entry) for entry in entries]
    width = matrices[0].shape[1] if len(matrices[0].shape) == 2 else "n_classes"
    for name, matrix in zip(names, matrices, strict=True):
        if tuple(matrix.shape) != (n_samples, width):
            raise ValueError(
                f"proba: {name!r} has shape {tuple(matrix.shape)}; expected ({n_samples}, "
                f"{width}): one row per row of y, one column per class"
            )
    return matrices


def _as_array(part: Any) -> Any:
    """Return anything with a shape as it is, so that memory maps and the like stay unread."""
    part = read_in_chunks(part)
    return part if hasattr(part, "shape") else np.asarray(part)


def _unique_labels(labels: Any) -> np.ndarray:
    """Return the labels that occur, sorted."""
    return labels.unique() if isinstance(labels, DaskRows) else np.unique(labels)


def _columns_of(y: np.ndarray, classes: Any, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of each column (n_classes,) and the column of each row's label."""
    seen, codes = np.unique(y, return_inverse=True)
    if classes is None:
        is_numbered = len(seen) != n_classes and y.dtype.kind in "iu"
        classes = np.arange(n_classes) if is_numbered else seen
    classes = np.asarray(classes)
    if classes.ndim != 1 or len(set(classes.tolist())) != n_classes:
        raise ValueError(
            f"classes={classes.tolist()!r} for probabilities of {n_classes} columns; expected "
            f"{n_classes} different labels, one per column"
        )
    columns = label_columns(seen, classes)
    if (columns < 0).any():
        raise ValueError(
            f"y holds labels {seen[columns < 0].tolist()[:5]} that are not in "
            f"classes={classes.tolist()[:10]}; expected the label of each of the {n_classes} "
            f"columns, in their order"
        )
    return classes, columns[codes]


class DaskRows:  # pragma: no cover, by tests/scale
    """The rows of a Dask array of one or two dimensions and known chunks.

    Each chunk is computed once per pass. A block that is read is much smaller than a chunk, which
    would otherwise be computed anew for each of its blocks; so the last chunks are held.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self._stops = np.cumsum(array.chunks[0])
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return int(self.shape[0])

    def __reduce__(self) -> tuple[type[DaskRows], tuple[Any]]:
        # Neither the lock nor the chunks held are pickled.
        return DaskRows, (self._array,)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        first = int(np.searchsorted(self._stops, start, side="right"))
        last = int(np.searchsorted(self._stops, stop, side="left"))
        pieces = []
        for index in range(first, last + 1):
            begin = int(self._stops[index - 1]) if index else 0
            pieces.append(self._chunk(index)[max(0, start - begin) : stop - begin])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def unique(self) -> np.ndarray:
        """Return the distinct values, sorted."""
        found = [np.unique(self._chunk(index)) for index in range(len(self._stops))]
        return np.unique(np.concatenate(found))

    def _chunk(self, index: int) -> np.ndarray:
        """Return the rows of one chunk."""
        with self._lock:
            if index not in self._held:
                # Make room before the new chunk is computed, so that no more are ever in memory.
                while len(self._held) >= _MAX_CHUNKS_HELD:
                    self._held.popitem(last=False)
                self._held[index] = np.asarray(self._array.blocks[index].compute())
            self._held.move_to_end(index)
            return self._held[index]


def read_in_chunks(part: Any) -> Any:  # pragma: no cover, by tests/scale
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
