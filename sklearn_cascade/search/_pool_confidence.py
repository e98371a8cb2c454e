"""Learned confidences of the prefixes of a pool, each fitted once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np

from sklearn_cascade.core import (
    ConfidenceModel,
    CrossFittedConfidence,
    ProbaCombiner,
    pair_columns,
    proba_columns,
)
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.tuning._fit_confidence import (
    N_TIMING_SAMPLES,
    FittedConfidence,
    LearnedConfidence,
    TrainingData,
    confidence_seconds,
    fit,
)

# Rows that are learned from at most: some thirty weights gain nothing from more.
_MOST_ROWS = 200_000
# Rows that are read in one go.
_BLOCK_ROWS = 2**14


class PoolConfidenceModels:
    """Tells how likely the answer after some models of a pool is right.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    learned : LearnedConfidence
        Which learner.
    fold, sample : ndarray of int of shape (n_samples,)
        Fold of each row, and which sample it is where folds overlap.
    billed : bool, default=False
        Whether costs are seconds, so that those of the confidence are among them.
    """

    def __init__(
        self,
        recordings: PoolPredictions,
        learned: LearnedConfidence,
        fold: np.ndarray,
        sample: np.ndarray,
        *,
        billed: bool = False,
    ) -> None:
        self._recordings, self._learned = recordings, learned
        self._fold, self._sample = fold, sample
        self._billed = billed
        self._seconds: float | None = None
        self._taught: dict[tuple, FittedConfidence] = {}
        # Threads that meet at a prefix wait for the first of them.
        self._locks: dict[tuple, Lock] = {}

    def held_out(self, way: str, members: Sequence[int], rows: slice) -> CrossFittedConfidence:
        """Return what judges some of the rows, each by a learner that did not see it."""
        return self._teach(way, members).held_out(self._fold[rows])

    def stages(self, way: str, members: Sequence[int]) -> list[ConfidenceModel]:
        """Return what was learned from all rows, for each stage of a cascade that is judged."""
        n_judged = len(members) - (way != "most_confident")
        return [self._teach(way, members[:k]).model for k in range(1, n_judged + 1)]

    def costs(self, way: str, n_stages: int) -> np.ndarray:
        """Return what the confidence adds to the cost of each stage: shape (n_stages,)."""
        return self.seconds(way, n_stages) if self._billed else np.zeros(n_stages)

    def seconds(self, way: str, n_stages: int) -> np.ndarray:
        """Return the seconds of the confidence for a row after each stage: shape (n_stages,).

        Probabilities are asked for; the time is taken once, of the answer after two models.
        """
        if self._seconds is None:
            self._seconds = self._measure()
        seconds = np.full(n_stages, self._seconds)
        if way != "most_confident":
            seconds[-1] = 0.0
        return seconds

    def _measure(self) -> float:
        """Return the seconds that the confidence after two models takes for a row."""
        members = tuple(range(min(2, self._recordings.n_models)))
        running = ProbaCombiner("mean", remember=True)
        for model in members:
            running.add(self._recordings.read_proba(model, slice(0, N_TIMING_SAMPLES)))
        return confidence_seconds(running, self._teach("mean", members).model)

    def _teach(self, way: str, members: Sequence[int]) -> FittedConfidence:
        """Return what is learned once some models have run."""
        # The surest stage is one of those that the last one is taken from.
        kind = "mean" if way == "mean" and len(members) > 1 else "last"
        key = (kind, *members)
        with self._locks.setdefault(key, Lock()):
            if key not in self._taught:
                lessons = self._lessons(kind, members)
                # Bare labels may turn out to be others than those known: one class more.
                n_classes = len(self._recordings.classes) + (self._recordings.proba is None)
                self._taught[key] = fit(self._learned.estimator, lessons, n_classes)
            return self._taught[key]

    def _lessons(self, kind: str, members: Sequence[int]) -> TrainingData:
        """Return the answers once some models have run, of an even choice of blocks of rows."""
        starts = range(0, self._recordings.n_samples, _BLOCK_ROWS)
        step = -(-self._recordings.n_samples // _MOST_ROWS)
        parts = [self._lesson(kind, members, start) for start in starts[::step]]
        columns, label, said, *rest = zip(*parts, strict=True)
        return TrainingData(
            [np.concatenate(column) for column in zip(*columns, strict=True)],
            np.concatenate(label),
            [
                tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
                for pairs in zip(*said, strict=True)
            ],
            *(np.concatenate(part) for part in rest),
        )

    def _lesson(self, kind: str, members: Sequence[int], start: int) -> TrainingData:
        """Return the answers to one block of rows."""
        recordings = self._recordings
        rows = slice(start, min(start + _BLOCK_ROWS, recordings.n_samples))
        if recordings.proba is None:
            *said, (sure, label) = [recordings.read_pair(model, rows) for model in members]
            columns = pair_columns(sure)
        else:
            running = ProbaCombiner(kind, remember=True)
            for model in members:
                running.add(recordings.read_proba(model, rows))
            said, label = running.previous_outputs(), running.proba.argmax(axis=1)
            columns = proba_columns(running.proba)
        weight = recordings.sample_weight
        weight = np.ones(len(label)) if weight is None else weight[rows]
        right = label == recordings.y[rows]
        return TrainingData(
            columns, label, said, right, weight, self._fold[rows], self._sample[rows]
        )
