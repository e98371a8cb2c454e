"""Fitted confidence models, which estimate the probability that an output is correct.

`ConfidenceModel` is what is fitted after one stage, `CrossFittedConfidence` one for each fold.
`LearnedConfidence`, which a user passes, and the fitting are in ``tuning/_fit_confidence.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr, expit, logit

# Up to this many classes each has a column of its own.
MAX_ONE_HOT_CLASSES = 20
# Log-odds are those of a probability clipped this far from zero and one.
LOG_ODDS_CLIP = 1e-6
# Rows that the average over all classes counts for, against those of one class.
_PRIOR_ROWS = 10
_N_TOP = 3
# For each of several stages: the confidence and the class of its own output, both (n_samples,).
StageOutputs = Sequence[tuple[np.ndarray, np.ndarray]]


class ConfidenceModel(NamedTuple):
    """The confidence after one stage, fitted on held-out rows.

    A logistic regression (`weights` and `intercept`), or any other fitted `model` in its place,
    on the features that `confidence_features` computes with `table`.
    """

    table: np.ndarray  # (n_classes, n_columns)
    weights: np.ndarray | None  # (n_features,); None where `model` is used
    intercept: float
    model: Any = None  # classifier with the classes False and True

    def __call__(self, proba: np.ndarray, previous: StageOutputs) -> np.ndarray:
        """Return the estimated probability that each output is correct: shape (n_samples,)."""
        return self.predict(proba_columns(proba), proba.argmax(axis=1), previous)

    def predict(
        self, columns: Sequence[np.ndarray], label: np.ndarray, previous: StageOutputs
    ) -> np.ndarray:
        """Return the same for an output given by its columns and its class."""
        features = confidence_features(columns, label, previous, self.table)
        if self.weights is not None:
            return np.asarray(expit(features @ self.weights + self.intercept))
        return np.asarray(self.model.predict_proba(features))[:, 1]


class CrossFittedConfidence(NamedTuple):
    """Confidence models for the rows they were fitted on: each row gets one that excluded it."""

    by_fold: dict[int, ConfidenceModel]  # fitted on all rows outside a fold
    fold: np.ndarray  # (n_samples,), int: fold of each row to predict

    def __call__(self, proba: np.ndarray, previous: StageOutputs) -> np.ndarray:
        """Return the estimated probability that each output is correct: shape (n_samples,)."""
        return self.predict(proba_columns(proba), proba.argmax(axis=1), previous)

    def predict(
        self, columns: Sequence[np.ndarray], label: np.ndarray, previous: StageOutputs
    ) -> np.ndarray:
        """Return the same for an output given by its columns and its class."""
        confidence = np.empty(len(label))
        for test_fold in np.unique(self.fold):
            rows = np.flatnonzero(self.fold == test_fold)
            confidence[rows] = self.by_fold[int(test_fold)].predict(
                [column[rows] for column in columns],
                label[rows],
                [(confidence_k[rows], label_k[rows]) for confidence_k, label_k in previous],
            )
        return confidence


def confidence_features(
    columns: Sequence[np.ndarray], label: np.ndarray, previous: StageOutputs, table: np.ndarray
) -> np.ndarray:
    """Return the features of a confidence model: shape (n_samples, n_features).

    They are the columns of the output so far (`proba_columns` or `pair_columns`); for each stage
    in `previous`, its own confidence and whether it agrees; and the row of `table` (n_classes,
    n_columns) for the predicted class `label` (n_samples,).
    """
    agreement = [
        column for confidence_k, label_k in previous for column in (confidence_k, label_k == label)
    ]
    # Among bare labels, those that were unknown at fit share the last row of the table.
    return np.column_stack([*columns, *agreement, table[np.minimum(label, len(table) - 1)]])


def proba_columns(proba: np.ndarray) -> list[np.ndarray]:
    """Return the columns that describe probabilities (n_samples, n_classes), each (n_samples,).

    The log-odds of the largest probability, the largest three, the margin, and the entropy over
    its maximum.
    """
    n_classes = proba.shape[1]
    n_top = min(_N_TOP, n_classes)
    top = -np.partition(-proba, range(n_top), axis=1)[:, :n_top]
    entropy = entr(proba).sum(axis=1) / np.log(n_classes)
    return [_log_odds(top[:, 0]), *top.T, top[:, 0] - top[:, 1], entropy]


def pair_columns(confidence: np.ndarray) -> list[np.ndarray]:
    """Return the columns that describe a bare confidence: its log-odds and itself, (n_samples,)."""
    return [_log_odds(confidence), confidence]


def _log_odds(share: np.ndarray) -> np.ndarray:
    """Return the log-odds, finite; values outside [0, 1] count as the nearer end."""
    return np.asarray(logit(np.clip(share, LOG_ODDS_CLIP, 1 - LOG_ODDS_CLIP)))


def class_table(
    label: np.ndarray, correct: np.ndarray, weight: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return what the features say about each predicted class: shape (n_classes, n_columns).

    The identity, or beyond twenty classes the share of correct predictions, shrunk towards that
    of all rows where there are few. `label` (the predicted class), `correct` and `weight` have
    shape (n_samples,).
    """
    if n_classes <= MAX_ONE_HOT_CLASSES:
        return np.eye(n_classes)
    share = np.average(correct, weights=weight)
    weight = weight / weight.mean()
    n_rows = np.bincount(label, weight, minlength=n_classes)
    n_correct = np.bincount(label, weight * correct, minlength=n_classes)
    return ((n_correct + _PRIOR_ROWS * share) / (n_rows + _PRIOR_ROWS))[:, None]
