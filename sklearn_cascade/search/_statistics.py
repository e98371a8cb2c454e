"""Confidence and value of the answer after each set of models, over many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import (
    LabelCombiner,
    ProbaCombiner,
    compute_confidence,
    is_count,
    sample_scores,
)
from sklearn_cascade.search._pool_confidence import PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions

# The models that make an answer, ascending; or a combination and the models in running order.
Key = tuple[int, ...] | tuple[str | int, ...]
# Probabilities of one model looked at in one go: running sums stay in the cache.
_BLOCK_SIZE = 2**17


class Statistics(NamedTuple):
    """What the thresholds of any committee depend on, for some rows.

    Attributes
    ----------
    place : dict from tuple of int to int
        Position of each prefix in the arrays. A prefix is the set of the models that make an
        answer, ascending; where their order matters, too, the combination and the models in
        running order. Prefixes whose confidence is wanted come first.
    confidence : ndarray of shape (n_wanted, n_samples)
        Confidence of the answer.
    value : ndarray of shape (n_prefixes, n_samples)
        What the answer is worth, before the weight of the row.
    """

    place: dict[Key, int]
    confidence: np.ndarray
    value: np.ndarray


def prefix_of(combine: str, members: Sequence[int], learned: bool = False) -> Key:
    """Return what the answer and its confidence depend on once `members` have run."""
    if learned or combine == "most_confident":
        return (combine, *members)
    return (members[-1],) if combine == "last" else tuple(sorted(members))


def block_size(recordings: PoolPredictions, n_models: int) -> int:
    """Return how many rows of so many models are looked at in one go."""
    width = max(len(recordings.classes), 8)
    return max(32, _BLOCK_SIZE // width * 8 // max(8, n_models))


def blocks_of(
    recordings: PoolPredictions, n_models: int, start: int = 0, stop: int | None = None
) -> list[slice]:
    """Return the pieces in which all rows, or a stretch of them, are read."""
    stop = recordings.n_samples if stop is None else stop
    step = block_size(recordings, n_models)
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def collect_statistics(
    recordings: PoolPredictions,
    wanted: Sequence[Key],
    others: Sequence[Key],
    blocks: Sequence[slice],
    *,
    confidence: str | Callable | PoolConfidenceModels,
    scoring: str,
    n_jobs: int,
) -> Statistics:
    """Read some rows of every model once, and work out the statistics of many prefixes.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    wanted, others : sequence of tuple of int
        Prefixes whose confidence is wanted, and those of which it is not.
    blocks : sequence of slice
        The rows, in pieces; statistics come in this order.
    confidence : str, callable or PoolConfidenceModels
        How sure an answer is.
    scoring : str
        One of the scorings that are sums over rows.
    n_jobs : int
        Number of threads.

    Returns
    -------
    statistics : Statistics
    """
    place = {key: i for i, key in enumerate([*wanted, *others])}
    stops = np.cumsum([block.stop - block.start for block in blocks])
    dtype = np.int8 if is_count(scoring) else np.float64
    statistics = Statistics(
        place,
        np.empty((len(wanted), stops[-1])),
        np.empty((len(place), stops[-1]), dtype=dtype),
    )
    sets = _PairReader if recordings.proba is None else _ProbaReader
    readers = [
        reader(recordings, statistics, confidence, scoring) for reader in (sets, _OrderedReader)
    ]
    tasks = [
        (block, slice(stop - (block.stop - block.start), stop))
        for block, stop in zip(blocks, stops.tolist(), strict=True)
    ]

    def read(task):
        for reader in readers:
            reader.read(*task)

    map_in_threads(read, tasks, n_jobs)
    return statistics


class _PairReader:
    """Statistics of recorded confidences and labels: those of the single models."""

    def __init__(self, recordings, statistics, confidence, scoring):
        self._recordings, self._statistics = recordings, statistics

    def read(self, block, target):
        """Fill in the statistics of one block of rows."""
        _, sure, value = self._statistics
        for key, place in self._statistics.place.items():
            if is_ordered(key):
                continue
            confidence, label = self._recordings.read_pair(key[0], block)
            value[place, target] = label == self._recordings.y[block]
            if place < len(sure):
                sure[place, target] = confidence


class _ProbaReader:
    """Statistics of averages: sets of models are visited depth first, one more model at a time."""

    def __init__(self, recordings, statistics, confidence, scoring):
        self._recordings, self._statistics = recordings, statistics
        self._confidence, self._scoring = confidence, scoring
        self._shortcut = confidence == "max_proba" and is_count(scoring)
        self._children = tree_of(key for key in statistics.place if not is_ordered(key))
        self._models = sorted({model for models in self._children.values() for model in models})

    def read(self, block, target):
        """Fill in the statistics of one block of rows."""
        proba = {model: self._recordings.read_proba(model, block) for model in self._models}
        self._visit((), ProbaCombiner("mean"), proba, self._recordings.y[block], target)

    def _visit(self, path, running, proba, y, target):
        """Add each further model to the running answer in turn."""
        for model in self._children.get(path, ()):
            longer = (*path, model)
            branch = running.copy()
            total, mass = branch.add_unscaled(proba[model])
            place = self._statistics.place.get(longer)
            if place is not None:
                self._judge(total, mass, y, place, target)
            self._visit(longer, branch, proba, y, target)

    def _judge(self, total, mass, y, place, target):
        """Write down confidence and value of one answer, which is total over mass."""
        _, sure, value = self._statistics
        is_wanted = place < len(sure)
        if self._shortcut:
            # One look finds the class, and its probability is the largest.
            predicted = total.argmax(axis=1)
            value[place, target] = predicted == y
            if is_wanted:
                sure[place, target] = total[np.arange(len(y)), predicted] / mass
            return
        answer = total if mass == 1.0 else total / mass
        value[place, target] = sample_scores(self._scoring, answer, y)
        if is_wanted:
            sure[place, target] = compute_confidence(answer, self._confidence)


class _OrderedReader:
    """Statistics that depend on the order of the models: visited depth first, in that order."""

    def __init__(self, recordings, statistics, confidence, scoring):
        self._recordings, self._statistics = recordings, statistics
        self._confidence, self._scoring = confidence, scoring
        self._children = tree_of(key for key in statistics.place if is_ordered(key))

    def read(self, block, target):
        """Fill in the statistics of one block of rows."""
        said = StageRunner(self._recordings, self._confidence, block)
        for way in self._children.get((), ()):
            self._visit((way,), said.begin(way), said, target)

    def _visit(self, path, running, said, target):
        """Add each further model to the running answer in turn."""
        _, sure, value = self._statistics
        for model in self._children.get(path, ()):
            longer = (*path, model)
            place = self._statistics.place.get(longer)
            is_wanted = place is not None and place < len(sure)
            branch = running.copy()
            answer, confidence = said.add(branch, longer[0], longer[1:], judged=is_wanted)
            if place is not None:
                value[place, target] = said.values(self._scoring, answer)
            if is_wanted:
                sure[place, target] = confidence
            self._visit(longer, branch, said, target)


def is_ordered(key: Key) -> bool:
    """Tell whether a prefix names a combination and models in running order."""
    return isinstance(key[0], str)


def tree_of(keys: Iterable[Key]) -> dict[Key, list]:
    """Return what may follow each beginning of some prefixes."""
    paths = {key[:length] for key in keys for length in range(1, len(key) + 1)}
    children: dict[Key, list] = {}
    for path in sorted(paths):
        children.setdefault(path[:-1], []).append(path[-1])
    return children


class StageRunner:
    """What the models of a pool said of some rows, each read at first use.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    confidence : str, callable or PoolConfidenceModels
        How sure an answer is.
    block : slice
        The rows.
    """

    def __init__(
        self,
        recordings: PoolPredictions,
        confidence: str | Callable | PoolConfidenceModels,
        block: slice,
    ) -> None:
        self._recordings, self._block = recordings, block
        self._confidence = confidence
        self._said: dict = {}

    def begin(self, way: str) -> ProbaCombiner | LabelCombiner:
        """Return an answer to which stages are added."""
        if self._recordings.proba is None:
            return LabelCombiner(way)
        return ProbaCombiner(way, remember=isinstance(self._confidence, PoolConfidenceModels))

    def add(
        self,
        running: ProbaCombiner | LabelCombiner,
        way: str,
        members: Sequence[int],
        *,
        judged: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Take in the last of the members that have run.

        Returns the answer so far, probabilities or classes, and how sure it is where that is to
        be `judged`: shape (n_samples,).
        """
        confidence = self._confidence
        if isinstance(confidence, PoolConfidenceModels):
            known = judged or way == "most_confident"
            confidence = confidence.held_out(way, members, self._block) if known else None
        answer = running.add(self._read(members[-1]), 1.0, confidence)
        return answer, running.confidence(confidence) if judged else None

    def values(self, scoring: str, answer: np.ndarray) -> np.ndarray:
        """Return what each answer is worth, before the weight of the row: (n_samples,)."""
        y = self._recordings.y[self._block]
        return answer == y if answer.ndim == 1 else sample_scores(scoring, answer, y)

    def _read(self, model: int):
        """Return what one model said."""
        if model not in self._said:
            pairs = self._recordings.proba is None
            read = self._recordings.read_pair if pairs else self._recordings.read_proba
            self._said[model] = read(model, self._block)
        return self._said[model]


def map_in_threads(work: Callable, tasks: Sequence, n_jobs: int) -> list:
    """Return the result of each task, in order.

    Threads, since numpy lets go of the interpreter lock and nothing needs to be copied. Nothing
    outlives the call: what the tasks hold may be hundreds of megabytes.

    Parameters
    ----------
    work : callable
        Function of one task.
    tasks : sequence
        The tasks.
    n_jobs : int
        Number of threads.

    Returns
    -------
    results : list
    """
    if n_jobs == 1 or len(tasks) < 2:
        return [work(task) for task in tasks]
    with ThreadPoolExecutor(n_jobs) as threads:
        return list(threads.map(work, tasks))
