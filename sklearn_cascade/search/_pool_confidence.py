"""Learned confidences of the models of a pool, each fitted once, when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from sklearn_cascade.core._combination import ProbaCombiner
from sklearn_cascade.core._learned_confidence import ConfidenceModel, CrossFittedConfidence
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.tuning._fit_confidence import (
    N_TIMING_SAMPLES,
    FittedConfidence,
    LearnedConfidence,
    TrainingData,
    confidence_seconds,
    fit_stage_confidence,
)

# Rows that are learned from at most: some thirty weights gain nothing from more.
_MAX_ROWS = 200_000
_BLOCK_ROWS = 2**14
# How the confidence of any candidate of a search is computed.
AnyConfidence: TypeAlias = "str | Callable | PoolConfidenceModels"


class PoolConfidenceModels:
    """Estimate the probability that the output after some models of a pool is right.

    `fold` and `sample` (n_samples,) are the fold of each row, and which sample it is where folds
    overlap. With `costs_in_seconds` the seconds of the confidence are added to the costs.
    """

    def __init__(
        self,
        predictions: PoolPredictions,
        learned: LearnedConfidence,
        fold: np.ndarray,
        sample: np.ndarray,
        costs_in_seconds: bool = False,
    ) -> None:
        self._predictions, self._learned = predictions, learned
        self._fold, self._sample = fold, sample
        self._costs_in_seconds = costs_in_seconds
        self._seconds: float | None = None
        self._fitted: dict[tuple, FittedConfidence] = {}
        # Threads that need the same model wait for the first of them to fit it.
        self._locks: dict[tuple, Lock] = {}

    def held_out(self, combine: str, members: Sequence[int], rows: slice) -> CrossFittedConfidence:
        """Return the confidence of some rows, each by a model that was fitted without it."""
        return self._fit(combine, members).held_out(self._fold[rows])

    def stages(self, combine: str, members: Sequence[int]) -> list[ConfidenceModel]:
        """Return the models fitted on all rows, for each stage of a cascade that needs one."""
        n_needed = len(members) - (combine != "most_confident")
        return [self._fit(combine, members[:k]).model for k in range(1, n_needed + 1)]

    def costs(self, combine: str, n_stages: int) -> np.ndarray:
        """Return what the confidence adds to the cost of each stage: shape (n_stages,)."""
        return self.seconds(combine, n_stages) if self._costs_in_seconds else np.zeros(n_stages)

    def seconds(self, combine: str, n_stages: int) -> np.ndarray:
        """Return the seconds of the confidence for a row after each stage: shape (n_stages,).

        For probabilities only; timed once, after two models.
        """
        if self._seconds is None:
            members = tuple(range(min(2, self._predictions.n_models)))
            combiner = ProbaCombiner("mean", remember=True)
            for model in members:
                combiner.add(self._predictions.read(model, slice(0, N_TIMING_SAMPLES)))
            self._seconds = confidence_seconds(combiner, self._fit("mean", members).model)
        seconds = np.full(n_stages, self._seconds)
        if combine != "most_confident":
            seconds[-1] = 0.0
        return seconds

    def _fit(self, combine: str, members: Sequence[int]) -> FittedConfidence:
        """Return the models of the output once `members` have run."""
        # "most_confident" compares the same outputs that "last" keeps.
        combine = "mean" if combine == "mean" and len(members) > 1 else "last"
        key = (combine, *members)
        with self._locks.setdefault(key, Lock()):
            if key not in self._fitted:
                data = self._training_data(combine, members)
                n_labels = self._predictions.n_labels
                self._fitted[key] = fit_stage_confidence(self._learned.estimator, data, n_labels)
            return self._fitted[key]

    def _training_data(self, combine: str, members: Sequence[int]) -> TrainingData:
        """Return the outputs once some models have run, of evenly spaced blocks of rows."""
        predictions = self._predictions
        n_samples, parts = predictions.n_samples, []
        step = -(-n_samples // _MAX_ROWS)
        for start in range(0, n_samples, _BLOCK_ROWS)[::step]:
            rows = slice(start, min(start + _BLOCK_ROWS, n_samples))
            columns, label, previous = predictions.confidence_inputs(combine, members, rows)
            weight = predictions.sample_weight
            weight = np.ones(len(label)) if weight is None else weight[rows]
            flat = label, label == predictions.y[rows], weight, self._fold[rows], self._sample[rows]
            parts.append((columns, previous, flat))
        columns, previous, flat = zip(*parts, strict=True)
        label, *rest = (np.concatenate(part) for part in zip(*flat, strict=True))
        return TrainingData(
            [np.concatenate(column) for column in zip(*columns, strict=True)],
            label,
            [
                (np.concatenate(confidence), np.concatenate(labels))
                for stage in zip(*previous, strict=True)
                for confidence, labels in [zip(*stage, strict=True)]
            ],
            *rest,
        )


def rule_for(
    confidence: AnyConfidence, combine: str, members: Sequence[int], rows: slice, *, is_gate: bool
) -> Any:
    """Return the confidence rule of some rows once `members` have run; None where not needed."""
    if not isinstance(confidence, PoolConfidenceModels):
        return confidence
    if is_gate or combine == "most_confident":
        return confidence.held_out(combine, members, rows)
    return None
