"""What a learned confidence looks at, and how sure it is: the probability of a right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import entr, expit, logit

# Up to this many classes each has a column of its own.
MAX_ONE_HOT = 20
# Rows that the average over all classes counts for, against those of one class.
_PRIOR_ROWS = 10
_N_TOP = 3
# The log-odds are those of a share this far from the ends.
LOG_ODDS_EDGE = 1e-6
# Of each stage that has run: its own largest probability and its own class, both (n_samples,).
Said = Sequence[tuple[np.ndarray, np.ndarray]]


class ConfidenceModel(NamedTuple):
    """How sure the answer after one stage is, learned from held-out rows.

    Attributes
    ----------
    table : ndarray of shape (n_classes, n_columns)
        What the features tell of each predicted class.
    weights : ndarray of shape (n_features,) or None
        Of a logistic regression; None where `model` stands in its place.
    intercept : float
        Its intercept.
    model : classifier or None
        Another learner, fitted on the features, with the classes False and True.
    """

    table: np.ndarray
    weights: np.ndarray | None
    intercept: float
    model: object = None

    def __call__(self, proba: np.ndarray, said: Said) -> np.ndarray:
        """Return the probability that an answer is right: shape (n_samples,)."""
        return self.predict(proba_columns(proba), proba.argmax(axis=1), said)

    def predict(self, columns: Sequence[np.ndarray], label: np.ndarray, said: Said) -> np.ndarray:
        """Return the same of an answer that is told by its columns and its class."""
        features = confidence_features(columns, label, said, self.table)
        if self.weights is not None:
            return expit(features @ self.weights + self.intercept)
        return np.asarray(self.model.predict_proba(features))[:, 1]


class CrossFittedConfidence(NamedTuple):
    """The same for the rows that were learned from: each by a learner that did not see it.

    Attributes
    ----------
    by_fold : dict from int to ConfidenceModel
        Learned from all rows but those of a fold.
    fold : ndarray of int of shape (n_samples,)
        Fold of each row that is judged.
    """

    by_fold: dict[int, ConfidenceModel]
    fold: np.ndarray

    def __call__(self, proba: np.ndarray, said: Said) -> np.ndarray:
        """Return the probability that an answer is right: shape (n_samples,)."""
        return self.predict(proba_columns(proba), proba.argmax(axis=1), said)

    def predict(self, columns: Sequence[np.ndarray], label: np.ndarray, said: Said) -> np.ndarray:
        """Return the same of an answer that is told by its columns and its class."""
        sure = np.empty(len(label))
        for held_out in np.unique(self.fold):
            rows = np.flatnonzero(self.fold == held_out)
            sure[rows] = self.by_fold[int(held_out)].predict(
                [column[rows] for column in columns],
                label[rows],
                [(other[rows], own[rows]) for other, own in said],
            )
        return sure


def confidence_features(
    columns: Sequence[np.ndarray], label: np.ndarray, said: Said, table: np.ndarray
) -> np.ndarray:
    """Return what a learned confidence looks at.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n_samples,)
        What the answer so far tells of itself: `proba_columns` or `pair_columns`.
    label : ndarray of int of shape (n_samples,)
        Its class.
    said : sequence of pairs of ndarray of shape (n_samples,)
        Largest probability and class of each stage whose own answer is another one.
    table : ndarray of shape (n_classes, n_columns)
        What is told of each predicted class.

    Returns
    -------
    features : ndarray of shape (n_samples, n_features)
        The columns; of each stage in `said` its largest probability and whether it agrees; the
        predicted class by the table.
    """
    others = [column for sure, own in said for column in (sure, own == label)]
    # Where labels are all there is, those that nobody knew share the last row.
    return np.column_stack([*columns, *others, table[np.minimum(label, len(table) - 1)]])


def proba_columns(proba: np.ndarray) -> list[np.ndarray]:
    """Return what probabilities tell of themselves.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        The answer so far.

    Returns
    -------
    columns : list of ndarray of shape (n_samples,)
        Log-odds of the largest probability, the largest three, the margin, and the entropy over
        its maximum.
    """
    n_classes = proba.shape[1]
    n_top = min(_N_TOP, n_classes)
    top = -np.partition(-proba, range(n_top), axis=1)[:, :n_top]
    entropy = entr(proba).sum(axis=1) / np.log(n_classes)
    return [_log_odds(top[:, 0]), *top.T, top[:, 0] - top[:, 1], entropy]


def pair_columns(sure: np.ndarray) -> list[np.ndarray]:
    """Return what a bare confidence tells: its log-odds and itself, each (n_samples,)."""
    return [_log_odds(sure), sure]


def _log_odds(share: np.ndarray) -> np.ndarray:
    """Return the log-odds, finite; what lies outside of [0, 1] counts as its end."""
    return logit(np.clip(share, LOG_ODDS_EDGE, 1 - LOG_ODDS_EDGE))


def class_table(
    label: np.ndarray, right: np.ndarray, weight: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return what features tell of each class: which it is, or how often it is right.

    Parameters
    ----------
    label : ndarray of int of shape (n_samples,)
        Predicted class.
    right : ndarray of bool of shape (n_samples,)
        Whether it is the true one.
    weight : ndarray of shape (n_samples,)
        Weights of the rows.
    n_classes : int
        Number of classes.

    Returns
    -------
    table : ndarray of shape (n_classes, n_columns)
        The identity, or beyond twenty classes the share of right answers, drawn to that of
        all rows where there are few.
    """
    if n_classes <= MAX_ONE_HOT:
        return np.eye(n_classes)
    share = np.average(right, weights=weight)
    weight = weight / weight.mean()
    n_rows = np.bincount(label, weight, minlength=n_classes)
    n_right = np.bincount(label, weight * right, minlength=n_classes)
    return ((n_right + _PRIOR_ROWS * share) / (n_rows + _PRIOR_ROWS))[:, None]
