"""Confidence and score of the output after each set of models, over many rows at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.core._combination import LabelCombiner, ProbaCombiner
from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._scoring import is_count, sample_scores
from sklearn_cascade.search._candidates import Key
from sklearn_cascade.search._pool_confidence import AnyConfidence, PoolConfidenceModels, rule_for
from sklearn_cascade.search._predictions import PoolPredictions

# Probabilities of one model in one block: running sums stay in the cache.
_BLOCK_SIZE = 2**17


class Statistics(NamedTuple):
    """What the score and cost of any candidate at any thresholds depend on, for some rows."""

    position: dict[Key, int]  # row of each key in the arrays; those with a confidence come first
    confidence: np.ndarray  # (n_gates, n_samples)
    sample_score: np.ndarray  # (n_keys, n_samples), of the output, before the row's weight


def blocks_of(
    predictions: PoolPredictions, n_models: int, start: int = 0, stop: int | None = None
) -> list[slice]:
    """Return the blocks in which all rows, or those from start to stop, are read."""
    stop = predictions.n_samples if stop is None else stop
    width = max(len(predictions.classes), 8)
    step = max(32, _BLOCK_SIZE // width * 8 // max(8, n_models))
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def collect_statistics(
    predictions: PoolPredictions,
    gate_keys: Sequence[Key],
    other_keys: Sequence[Key],
    blocks: Sequence[slice],
    *,
    confidence: AnyConfidence,
    scoring: str,
    n_jobs: int,
) -> Statistics:
    """Read some blocks of rows of every model once, and return the statistics in their order.

    The confidence is computed for the gate keys only. `scoring` is a sum over rows.
    """
    index = {key: i for i, key in enumerate([*gate_keys, *other_keys])}
    stops = np.cumsum([block.stop - block.start for block in blocks]).tolist()
    statistics = Statistics(
        index,
        np.empty((len(gate_keys), stops[-1])),
        np.empty((len(index), stops[-1]), dtype=np.int8 if is_count(scoring) else np.float64),
    )
    set_reader = _SetReader if predictions.has_proba else _LabelReader
    readers = [
        reader(predictions, statistics, confidence, scoring)
        for reader in (set_reader, _OrderedReader)
    ]
    tasks = [
        (block, slice(stop - (block.stop - block.start), stop))
        for block, stop in zip(blocks, stops, strict=True)
    ]

    def read(task: tuple[slice, slice]) -> None:
        for reader in readers:
            reader.read(*task)

    map_in_threads(read, tasks, n_jobs)
    return statistics


class _Reader(ABC):
    """Fills in the statistics of one kind of keys, block by block; threads share it."""

    ordered = False

    def __init__(
        self,
        predictions: PoolPredictions,
        statistics: Statistics,
        confidence: AnyConfidence,
        scoring: str,
    ) -> None:
        self._predictions, self._statistics = predictions, statistics
        self._confidence, self._scoring = confidence, scoring
        self._keys = [key for key in statistics.position if isinstance(key[0], str) == self.ordered]
        self._children = _tree_of(self._keys)

    @abstractmethod
    def read(self, block: slice, target: slice) -> None:
        """Fill in the statistics of one block of rows."""


class _LabelReader(_Reader):
    """Reads recorded confidences and labels of single models."""

    def read(self, block: slice, target: slice) -> None:
        index, gate_confidence, sample_score = self._statistics
        for key in self._keys:
            confidence, label = self._predictions.read(int(key[0]), block)
            sample_score[index[key], target] = label == self._predictions.y[block]
            if index[key] < len(gate_confidence):
                gate_confidence[index[key], target] = confidence


class _SetReader(_Reader):
    """Reads averages: visits sets of models depth first, adding one more model at a time."""

    def read(self, block: slice, target: slice) -> None:
        models = {int(model) for key in self._keys for model in key}
        proba = {model: self._predictions.read(model, block) for model in models}
        self._visit((), ProbaCombiner("mean"), proba, self._predictions.y[block], target)

    def _visit(
        self,
        path: Key,
        combiner: ProbaCombiner,
        proba: dict[int, np.ndarray],
        y: np.ndarray,
        target: slice,
    ) -> None:
        """Add each further model to the mean of those on the path."""
        for model in self._children.get(path, ()):
            longer = (*path, model)
            branch = combiner.copy()
            total, weight = branch.add_unscaled(proba[model])
            row = self._statistics.position.get(longer)
            if row is not None:
                self._write(total, weight, y, row, target)
            self._visit(longer, branch, proba, y, target)

    def _write(
        self, total: np.ndarray, weight: Any, y: np.ndarray, row: int, target: slice
    ) -> None:
        """Write down confidence and score of the mean, which is total / weight."""
        _, gate_confidence, sample_score = self._statistics
        is_gate = row < len(gate_confidence)
        if self._confidence == "max_proba" and is_count(self._scoring):
            # One pass finds the label, and its probability is the largest.
            label = total.argmax(axis=1)
            sample_score[row, target] = label == y
            if is_gate:
                gate_confidence[row, target] = total[np.arange(len(y)), label] / weight
            return
        mean = total if weight == 1.0 else total / weight
        sample_score[row, target] = sample_scores(self._scoring, mean, y)
        if is_gate:
            assert not isinstance(self._confidence, PoolConfidenceModels)
            gate_confidence[row, target] = compute_confidence(mean, self._confidence)


class _OrderedReader(_Reader):
    """Reads what depends on the order of the models: visits them depth first in that order."""

    ordered = True

    def read(self, block: slice, target: slice) -> None:
        # Each model is read at first use.
        read = cache(lambda model: self._predictions.read(model, block))
        learned = isinstance(self._confidence, PoolConfidenceModels)
        for combine in self._children.get((), ()):
            combiner = self._predictions.combiner(combine, remember=learned)
            self._visit((combine,), combiner, read, block, target)

    def _visit(
        self,
        path: tuple,
        combiner: ProbaCombiner | LabelCombiner,
        read: Callable[[int], Any],
        block: slice,
        target: slice,
    ) -> None:
        """Add each further model to the stages on the path."""
        index, gate_confidence, sample_score = self._statistics
        for model in self._children.get(path, ()):
            longer = (*path, model)
            row = index.get(longer)
            is_gate = row is not None and row < len(gate_confidence)
            confidence = rule_for(self._confidence, longer[0], longer[1:], block, is_gate=is_gate)
            branch = combiner.copy()
            outputs = branch.add(read(model), 1.0, confidence)
            if row is not None:
                scores = self._predictions.sample_scores(self._scoring, outputs, block)
                sample_score[row, target] = scores
            if is_gate:
                gate_confidence[row, target] = branch.confidence(confidence)
            self._visit(longer, branch, read, block, target)


def _tree_of(keys: Iterable[Key]) -> dict[Key, list[Any]]:
    """Return what may follow each beginning of some keys."""
    paths = {key[:length] for key in keys for length in range(1, len(key) + 1)}
    children: dict[Key, list[Any]] = {}
    for path in sorted(paths):
        children.setdefault(path[:-1], []).append(path[-1])
    return children


def map_in_threads(work: Callable, tasks: Sequence, n_jobs: int) -> list[Any]:
    """Return the result of each task, in order.

    Threads, since numpy lets go of the interpreter lock and nothing needs to be copied. Nothing
    outlives the call: what the tasks hold may be hundreds of megabytes.
    """
    if n_jobs == 1 or len(tasks) < 2:
        return [work(task) for task in tasks]
    with ThreadPoolExecutor(n_jobs) as threads:
        return list(threads.map(work, tasks))
