"""Confidence and value of the answer after each set of models, over many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import RunningAnswer, compute_confidence, is_count, row_values
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._threads import map_in_threads

Key = tuple[int, ...]
# Probabilities of one model looked at in one go: running sums stay in the cache.
_BLOCK_SIZE = 2**17


class Statistics(NamedTuple):
    """What the thresholds of any committee depend on, for some rows.

    Attributes
    ----------
    place : dict from tuple of int to int
        Position of each prefix in the arrays. A prefix is the set of the models that make an
        answer, ascending; sets whose confidence is wanted come first.
    confidence : ndarray of shape (n_wanted, n_samples)
        Confidence of the answer.
    value : ndarray of shape (n_prefixes, n_samples)
        What the answer is worth, before the weight of the row.
    """

    place: dict[Key, int]
    confidence: np.ndarray
    value: np.ndarray


def prefix_of(combine: str, members: Sequence[int]) -> Key:
    """Return the models that make the answer once `members` have run."""
    return (members[-1],) if combine == "last" else tuple(sorted(members))


def block_size(recordings: Recordings, n_models: int) -> int:
    """Return how many rows of so many models are looked at in one go."""
    width = max(len(recordings.classes), 8)
    return max(32, _BLOCK_SIZE // width * 8 // max(8, n_models))


def blocks_of(
    recordings: Recordings, n_models: int, start: int = 0, stop: int | None = None
) -> list[slice]:
    """Return the pieces in which all rows, or a stretch of them, are read."""
    stop = recordings.n_samples if stop is None else stop
    step = block_size(recordings, n_models)
    return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]


def collect_statistics(
    recordings: Recordings,
    wanted: Sequence[Key],
    others: Sequence[Key],
    blocks: Sequence[slice],
    *,
    confidence: str | Callable,
    scoring: str,
    n_jobs: int,
) -> Statistics:
    """Read some rows of every model once, and work out the statistics of many prefixes.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    wanted, others : sequence of tuple of int
        Prefixes whose confidence is wanted, and those of which it is not.
    blocks : sequence of slice
        The rows, in pieces; statistics come in this order.
    confidence : str or callable
        Probabilities to confidence.
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
    reader = _PairReader if recordings.proba is None else _ProbaReader
    read = reader(recordings, statistics, confidence, scoring).read
    tasks = [
        (block, slice(stop - (block.stop - block.start), stop))
        for block, stop in zip(blocks, stops.tolist(), strict=True)
    ]
    map_in_threads(lambda task: read(*task), tasks, n_jobs)
    return statistics


class _PairReader:
    """Statistics of recorded confidences and labels: those of the single models."""

    def __init__(self, recordings, statistics, confidence, scoring):
        self._recordings, self._statistics = recordings, statistics

    def read(self, block, target):
        """Fill in the statistics of one block of rows."""
        _, sure, value = self._statistics
        for (model,), place in self._statistics.place.items():
            confidence, value[place, target] = self._recordings.read_pair(model, block)
            if place < len(sure):
                sure[place, target] = confidence


class _ProbaReader:
    """Statistics of averages: sets of models are visited depth first, one more model at a time."""

    def __init__(self, recordings, statistics, confidence, scoring):
        self._recordings, self._statistics = recordings, statistics
        self._confidence, self._scoring = confidence, scoring
        self._shortcut = confidence == "max_proba" and is_count(scoring)
        self._children: dict[Key, list[int]] = {}
        paths = {key[:length] for key in statistics.place for length in range(1, len(key) + 1)}
        for path in sorted(paths):
            self._children.setdefault(path[:-1], []).append(path[-1])
        self._models = sorted({path[-1] for path in paths})

    def read(self, block, target):
        """Fill in the statistics of one block of rows."""
        proba = {model: self._recordings.read_proba(model, block) for model in self._models}
        self._visit((), RunningAnswer("mean"), proba, self._recordings.y[block], target)

    def _visit(self, path, running, proba, y, target):
        """Add each further model to the running answer in turn."""
        for model in self._children.get(path, ()):
            longer = (*path, model)
            branch = running.branch()
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
        value[place, target] = row_values(self._scoring, answer, y)
        if is_wanted:
            sure[place, target] = compute_confidence(answer, self._confidence)
