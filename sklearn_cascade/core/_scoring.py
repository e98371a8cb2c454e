"""Predictions to scores: scorings that are sums over rows, and any other scorer."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer
from sklearn.utils.metaestimators import available_if

from sklearn_cascade.core._samples import label_columns


def score_contributions(
    scoring: str, proba: np.ndarray, y: np.ndarray, sample_weight: np.ndarray
) -> np.ndarray:
    """Return what each row adds to the score, which is their sum: shape (n_samples,).

    `scoring` is one of `ADDITIVE_SCORINGS`, named as scikit-learn's scorers; `proba` has shape
    (n_samples, n_classes), and `y` holds the column of each true class.
    """
    return sample_scores(scoring, proba, y) * score_weights(scoring, y, sample_weight)


def sample_scores(scoring: str, proba: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the score of each row by itself, such as one if it is correct: (n_samples,)."""
    return ADDITIVE_SCORINGS[scoring][0](proba, y)


def score_weights(scoring: str, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Return the weight of each row in the score, which sum to one: shape (n_samples,)."""
    weight = ADDITIVE_SCORINGS[scoring][1](y, sample_weight)
    return weight / weight.sum()


def is_additive(scoring: str | Callable) -> bool:
    """Return whether a scoring is a sum over rows."""
    return isinstance(scoring, str) and scoring in ADDITIVE_SCORINGS


def is_count(scoring: str) -> bool:
    """Return whether a row counts one if its prediction is correct, else nothing."""
    return ADDITIVE_SCORINGS[scoring][0] is _is_correct


def check_scoring(scoring: str | Callable, *, weighted: bool) -> Callable:
    """Return the scorer; raise if there is none of that name or it takes no weights."""
    scorer: Callable = scoring if callable(scoring) else get_scorer(scoring)
    parameters = signature(scorer).parameters
    takes_weights = "sample_weight" in parameters or any(
        p.kind == p.VAR_KEYWORD for p in parameters.values()
    )
    if weighted and not takes_weights:
        raise ValueError(
            f"scoring={scoring!r} takes no sample_weight; where weights are given, expected a "
            f"scorer that does, such as one of sklearn.metrics.make_scorer"
        )
    return scorer


def score_probabilities(
    scoring: str | Callable,
    proba: np.ndarray,
    y: np.ndarray,
    classes: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    X: Any = None,
) -> float:
    """Score recorded probabilities (n_samples, n_classes) with any scorer of scikit-learn's form.

    `scoring` is the name of a scorer or ``scorer(estimator, X, y)``, `y` holds true labels, and
    `classes` the label of each column. `X` is passed to the scorer, for one that uses it; row
    numbers by default. An error if weights are given to a scorer that takes none, or if it
    predicts for other rows.
    """
    columns = label_columns(y, classes) if is_additive(scoring) else None
    if columns is not None and (columns >= 0).all():
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        score_rows, weight_rows = ADDITIVE_SCORINGS[str(scoring)]
        # Divided last, so that counts stay whole numbers and a perfect score is one.
        return float(np.average(score_rows(proba, columns), weights=weight_rows(columns, weight)))
    scorer = check_scoring(scoring, weighted=sample_weight is not None)
    X = np.arange(len(proba)) if X is None else X
    recorded = _RecordedPredictions(X, classes[proba.argmax(axis=1)], proba, classes)
    return _apply(scorer, recorded, y, sample_weight)


def score_labels(
    scoring: str | Callable,
    predicted: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
) -> float:
    """Score recorded labels, without probabilities, with any scorer that needs only labels.

    `predicted` and `y` hold labels (n_samples,). An error if the scorer needs probabilities.
    """
    scorer = check_scoring(scoring, weighted=sample_weight is not None)
    recorded = _RecordedPredictions(np.arange(len(y)), predicted, None, np.unique(y))
    try:
        return _apply(scorer, recorded, y, sample_weight)
    except AttributeError as error:
        raise ValueError(
            f"scoring={scoring!r} wants probabilities, and only confidences and labels were "
            f"recorded; expected a scorer of labels, such as 'accuracy' or 'f1_macro'"
        ) from error


def _is_correct(proba: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return one where the most probable class is the true one, else zero."""
    return (proba.argmax(axis=1) == y).astype(np.float64)


def _log_of_truth(proba: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the log-probability of the true class, clipped as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    return np.asarray(np.log(np.clip(proba[np.arange(len(y)), y], eps, 1 - eps)))


def _brier(proba: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the negative squared distance to the true class."""
    truth = proba[np.arange(len(y)), y]
    distance = np.einsum("ij,ij->i", proba, proba) - 2 * truth + 1
    # scikit-learn halves the binary score, so that it is the error of one probability.
    return -distance * (0.5 if proba.shape[1] == 2 else 1.0)


def _weight_of_rows(y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Weight rows as given."""
    return sample_weight


def _weight_of_classes(y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Weight rows so that all classes that occur count the same."""
    of_class = np.bincount(y, weights=sample_weight)
    return sample_weight / np.maximum(of_class[y], np.finfo(float).tiny)


# What a row is worth by its output, and its weight in the score.
ADDITIVE_SCORINGS = {
    "accuracy": (_is_correct, _weight_of_rows),
    "balanced_accuracy": (_is_correct, _weight_of_classes),
    "neg_log_loss": (_log_of_truth, _weight_of_rows),
    "neg_brier_score": (_brier, _weight_of_rows),
}


def _apply(
    scorer: Callable,
    recorded: _RecordedPredictions,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> float:
    """Return the score of recorded predictions."""
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    return float(scorer(recorded, recorded.X, y, **weight))


class _RecordedPredictions(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier that returns recorded predictions, for the very same X."""

    def __init__(
        self, X: Any, labels: np.ndarray, proba: np.ndarray | None, classes: np.ndarray
    ) -> None:
        self.X = X
        self.labels = labels
        self.proba = proba
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        return self.classes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> _RecordedPredictions:
        return self

    @available_if(lambda recorded: recorded.proba is not None)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray | None:
        return self._recorded(X, self.proba)

    def predict(self, X: Any) -> np.ndarray | None:
        return self._recorded(X, self.labels)

    def _recorded(self, X: Any, predictions: np.ndarray | None) -> np.ndarray | None:
        if X is not self.X:
            raise ValueError(
                f"the scorer asked for other rows than the {len(self.labels)} recorded ones; "
                f"expected a scorer that predicts for X as it is handed over"
            )
        return predictions
