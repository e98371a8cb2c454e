"""Labels of the training rows, of the members and of the cascade, and how they line up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

# Parameters that name labels, as keys of a dict or as they are; the second ones are CatBoost's.
_KEYED_BY_LABELS = ("class_weight", "class_weights")
_LABELS = ("pos_label", "class_names")


class Labels(NamedTuple):
    """The labels of a fit."""

    y: np.ndarray  # (n_samples,): labels as the user gave them
    codes: np.ndarray  # (n_samples,): position of each label among `seen`
    seen: np.ndarray  # (n_seen,): distinct labels of `y`
    classes: np.ndarray  # (n_classes,): distinct labels of `y` and of all frozen members

    @property
    def columns(self) -> np.ndarray:
        """Column of each row's label among `classes`."""
        return np.searchsorted(self.classes, self.seen)[self.codes]

    def shares(self, sample_weight: np.ndarray | None) -> np.ndarray:
        """Return the share of each class in the training rows: shape (n_classes,)."""
        total = np.bincount(self.columns, weights=sample_weight, minlength=len(self.classes))
        return total / total.sum()


def encode_labels(y, frozen_classes: Sequence[np.ndarray]) -> Labels:
    """Check y and unite its labels with those of the frozen members."""
    assert_all_finite(y, input_name="y")
    if type_of_target(y).startswith("multilabel") or "multioutput" in type_of_target(y):
        raise NotImplementedError(
            f"y is {type_of_target(y)}; multilabel and multi-output classification are not "
            f"supported: expected one label per row"
        )
    check_classification_targets(y)
    encoder = LabelEncoder()
    codes = encoder.fit_transform(y)
    seen = encoder.classes_
    classes = unique_labels(seen, *frozen_classes) if frozen_classes else seen
    return Labels(seen[codes], codes, seen, classes)


def is_frozen(estimator) -> bool:
    """Tell whether a member is used as it is: cloning it returns the very same object."""
    own_clone = getattr(type(estimator), "__sklearn_clone__", None)
    if own_clone is None or own_clone is BaseEstimator.__sklearn_clone__:
        return False
    return clone(estimator) is estimator


def needs_original_labels(estimator) -> bool:
    """Tell whether a trainable member has to be fitted on the user's labels.

    Others are fitted on the codes 0, 1, ..., which every library accepts. Codes would mean nothing
    to a member that wraps a frozen one, or whose parameters name labels: ``class_weight``,
    ``pos_label`` (CatBoost: ``class_weights``, ``class_names``), also as values to search over.
    """
    params = estimator.get_params(deep=True)
    return any(_names_labels(key, value) for key, value in params.items())


def _names_labels(key: str, value) -> bool:
    """Tell whether a parameter, or a grid of its values, names labels or is a frozen model."""
    name = key.split("__")[-1]
    if isinstance(value, dict):
        return name in _KEYED_BY_LABELS or any(_names_labels(str(k), v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return any(_names_labels(key, item) for item in value)
    return (name in _LABELS and value is not None) or is_frozen(value)


def class_columns(known: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the column among `classes` of each label a member knows; None if they agree."""
    if len(known) == len(classes) and np.all(known == classes):
        return None
    return np.searchsorted(classes, known)


def align_columns(proba: np.ndarray, columns: np.ndarray, n_classes: int) -> np.ndarray:
    """Return a member's probabilities in the cascade's columns, zero for unknown classes."""
    aligned = np.zeros((proba.shape[0], n_classes))
    aligned[:, columns] = proba
    # A row of NaN stays one: "don't know" is about every class.
    aligned[np.isnan(proba[:, 0])] = np.nan
    return aligned
