"""Answers to score: which metrics are sums over rows, and how any other scorer is applied."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer
from sklearn.utils.metaestimators import available_if


def _is_right(proba, y):
    """Return whether the most probable class is the true one."""
    return (proba.argmax(axis=1) == y).astype(np.float64)


def _log_of_truth(proba, y):
    """Return the log-probability of the true class, clipped as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    return np.log(np.clip(proba[np.arange(len(y)), y], eps, 1 - eps))


def _brier(proba, y):
    """Return the negative squared distance to the true class."""
    truth = proba[np.arange(len(y)), y]
    distance = np.einsum("ij,ij->i", proba, proba) - 2 * truth + 1
    # scikit-learn halves the binary score, so that it is the error of one probability.
    return -distance * (0.5 if proba.shape[1] == 2 else 1.0)


def _of_rows(y, sample_weight):
    """Weigh rows as they are."""
    return sample_weight


def _of_classes(y, sample_weight):
    """Weigh rows so that all classes that occur count alike."""
    of_class = np.bincount(y, weights=sample_weight)
    return sample_weight / np.maximum(of_class[y], np.finfo(float).tiny)


ADDITIVE_SCORINGS = {
    "accuracy": (_is_right, _of_rows),
    "balanced_accuracy": (_is_right, _of_classes),
    "neg_log_loss": (_log_of_truth, _of_rows),
    "neg_brier_score": (_brier, _of_rows),
}


def row_gains(
    scoring: str, proba: np.ndarray, y: np.ndarray, sample_weight: np.ndarray
) -> np.ndarray:
    """Return what each row adds to the score, so that the score is their sum.

    Parameters
    ----------
    scoring : {"accuracy", "balanced_accuracy", "neg_log_loss", "neg_brier_score"}
        As scikit-learn's scorers of the same names.
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    y : ndarray of int of shape (n_samples,)
        Column of the true class.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows, not all zero.

    Returns
    -------
    gain : ndarray of shape (n_samples,)
    """
    return row_values(scoring, proba, y) * row_shares(scoring, y, sample_weight)


def row_values(scoring: str, proba: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the part of a row's gain that depends on its answer: shape (n_samples,)."""
    return ADDITIVE_SCORINGS[scoring][0](proba, y)


def row_shares(scoring: str, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Return the part of a row's gain that depends on the other rows: shape (n_samples,)."""
    mass = ADDITIVE_SCORINGS[scoring][1](y, sample_weight)
    return mass / mass.sum()


def score_answers(
    scoring: str | Callable,
    proba: np.ndarray,
    y: np.ndarray,
    classes: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    X=None,
) -> float:
    """Score recorded probabilities with any scorer of scikit-learn's form.

    Parameters
    ----------
    scoring : str or callable
        Name of a scorer, or ``scorer(estimator, X, y)``.
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    y : ndarray of shape (n_samples,)
        True labels.
    classes : ndarray of shape (n_classes,)
        Label of each column.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows.
    X : object with n_samples rows, default=None
        Handed to the scorer, for one that looks at it; row numbers by default.

    Returns
    -------
    score : float
        Larger is better.

    Raises
    ------
    ValueError
        If the scorer takes no weights and some are given, or asks for other rows.
    """
    columns = _columns_of(y, classes) if is_additive(scoring) else None
    if columns is not None:
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        values, mass = ADDITIVE_SCORINGS[scoring]
        # Divided last, so that counts stay whole numbers and a perfect score is one.
        return float(np.average(values(proba, columns), weights=mass(columns, weight)))
    scorer = check_scoring(scoring, weighted=sample_weight is not None)
    X = np.arange(len(proba)) if X is None else X
    recorded = _RecordedAnswers(X, classes[proba.argmax(axis=1)], proba, classes)
    return _apply(scorer, recorded, y, sample_weight)


def score_labels(
    scoring: str | Callable,
    predicted: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
) -> float:
    """Score recorded labels, where no probabilities are known, with a scorer of labels.

    Parameters
    ----------
    scoring : str or callable
        Name of a scorer, or ``scorer(estimator, X, y)``.
    predicted, y : ndarray of shape (n_samples,)
        Predicted and true labels.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    score : float
        Larger is better.

    Raises
    ------
    ValueError
        If the scorer wants probabilities.
    """
    scorer = check_scoring(scoring, weighted=sample_weight is not None)
    recorded = _RecordedAnswers(np.arange(len(y)), predicted, None, np.unique(y))
    try:
        return _apply(scorer, recorded, y, sample_weight)
    except AttributeError as error:
        raise ValueError(
            f"scoring={scoring!r} wants probabilities, and only confidences and labels were "
            f"recorded; expected a scorer of labels, such as 'accuracy' or 'f1_macro'"
        ) from error


def is_additive(scoring: str | Callable) -> bool:
    """Tell whether a scoring is a sum over rows."""
    return isinstance(scoring, str) and scoring in ADDITIVE_SCORINGS


def is_count(scoring: str) -> bool:
    """Tell whether a row is worth one if its answer is right, else nothing."""
    return ADDITIVE_SCORINGS[scoring][0] is _is_right


def check_scoring(scoring: str | Callable, *, weighted: bool) -> Callable:
    """Return the scorer, or raise where there is none of the name or it takes no weights."""
    scorer = scoring if callable(scoring) else get_scorer(scoring)
    if weighted and not _takes_weights(scorer):
        raise ValueError(
            f"scoring={scoring!r} takes no sample_weight; where weights are given, expected a "
            f"scorer that does, such as one of sklearn.metrics.make_scorer"
        )
    return scorer


def _columns_of(y: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the column of each true label; None where a label is not among the classes."""
    columns = {label: column for column, label in enumerate(classes.tolist())}
    found = [columns.get(label, -1) for label in np.asarray(y).tolist()]
    return None if -1 in found else np.array(found, dtype=np.intp)


def _takes_weights(scorer: Callable) -> bool:
    """Tell whether a scorer can be called with sample weights."""
    parameters = signature(scorer).parameters
    return "sample_weight" in parameters or any(
        p.kind == p.VAR_KEYWORD for p in parameters.values()
    )


def _apply(scorer: Callable, recorded: _RecordedAnswers, y, sample_weight) -> float:
    """Return what a scorer says of recorded answers."""
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    return float(scorer(recorded, recorded.X, y, **weight))


class _RecordedAnswers(ClassifierMixin, BaseEstimator):
    """A fitted classifier that repeats what was answered before, for the very same X."""

    def __init__(self, X, labels, proba, classes):
        self.X = X
        self.labels = labels
        self.proba = proba
        self.classes = classes

    @property
    def classes_(self):
        return self.classes

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y=None):
        return self

    @available_if(lambda recorded: recorded.proba is not None)
    def predict_proba(self, X):
        return self._repeat(X, self.proba)

    def predict(self, X):
        return self._repeat(X, self.labels)

    def _repeat(self, X, answers):
        if X is not self.X:
            raise ValueError(
                f"the scorer asked for other rows than the {len(answers)} recorded ones; "
                f"expected a scorer that predicts for X as it is handed over"
            )
        return answers
