"""A fitted estimator in the form that converts: wrappers taken off, in shallow copies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sklearn_cascade.export._spec import committee_of, is_committee, is_fitted
from sklearn_cascade.members import EnsemblePart, OnnxClassifier, PrefitClassifier


class Prepared(NamedTuple):
    """An estimator, prepared.

    Attributes
    ----------
    estimator : estimator
        Equal to what was given, or a shallow copy with other parts.
    copies : dict from int to estimator
        For each part that was replaced, by its ``id``, what stands for it.
    """

    estimator: object
    copies: dict[int, object]


class HistogramBoosting(HistGradientBoostingClassifier):
    """Twin of a boosting whose converter writes truth values, which protobuf 7 refuses."""


class TemperatureCalibrated(CalibratedClassifierCV):
    """Twin of a calibration by temperature, which skl2onnx takes for an isotonic one."""


def prepare(estimator, *, visit: Callable | None = None) -> Prepared:
    """Return the estimator in the form that converts; nothing given is changed.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    visit : callable, default=None
        Called with each committee; what it returns takes its place.
    """
    walk = _Walk(visit)
    return Prepared(walk.of(estimator), walk.replaced)


def is_own(estimator) -> bool:
    """Tell whether an estimator is of this package, with a converter of its own."""
    return is_committee(estimator) or isinstance(
        estimator, EnsemblePart | OnnxClassifier | PrefitClassifier
    )


def iter_estimators(estimator) -> list:
    """Return an estimator and all fitted parts within, wrappers taken off."""
    walk = _Walk(None)
    walk.of(estimator)
    return walk.met


def selects_by_name(estimator) -> bool:
    """Tell whether some part picks columns of a frame by their names."""
    return any(_selects_by_name(part) for part in iter_estimators(estimator))


def _selects_by_name(part) -> bool:
    """Tell whether one part, or a member of it, picks columns by their names."""
    if is_committee(part):
        return any(
            selects_by_name(stage.estimator) for stage in committee_of(part).fitted_.members.stages
        )
    if isinstance(part, EnsemblePart):
        return selects_by_name(part.ensemble)
    if isinstance(part, OnnxClassifier):
        return hasattr(part, "feature_names_in_")
    # Blank ones, which parameters hold, know no columns yet.
    fitted = getattr(part, "transformers_", ()) if isinstance(part, ColumnTransformer) else ()
    return any(_names_columns(columns) for _, _, columns in fitted)


class _Walk:
    """Goes through everything an estimator holds, and copies what leads to a change."""

    def __init__(self, visit: Callable | None) -> None:
        self._visit = visit
        self._done: dict[int, object] = {}
        # Objects met stay alive, so that no number is given twice.
        self.met: list = []
        self.replaced: dict[int, object] = {}

    def of(self, value):
        """Return what stands for a value."""
        if id(value) in self._done:
            return self._done[id(value)]
        if isinstance(value, list | tuple | dict):
            return self._container(value)
        if isinstance(value, np.ndarray | type):
            return value
        if not isinstance(value, BaseEstimator) and not _is_fitted_piece(value):
            if hasattr(value, "predict_proba"):
                self.met.append(value)
            return value
        if is_committee(value) and not is_fitted(value):
            return value
        self.met.append(value)
        self._done[id(value)] = value
        result = self._done[id(value)] = self._estimator(value)
        if result is not value:
            self.replaced[id(value)] = result
        return result

    def _estimator(self, value):
        """Return what stands for an estimator."""
        if type(value) is FrozenEstimator:
            return self.of(value.estimator)
        if is_own(value):
            return self._visit(value) if self._visit and is_committee(value) else value
        if hasattr(value, "best_estimator_") and hasattr(value, "cv_results_"):
            return self.of(value.best_estimator_)
        changed = {}
        for key, held in vars(value).items():
            new = self.of(held)
            if new is not held:
                changed[key] = new
        changed.update(_fixed_parameters(value))
        if isinstance(value, Pipeline):
            changed.update(_busy_steps(changed.get("steps", value.steps)))
        if type(value) is LinearDiscriminantAnalysis:
            return _as_logistic(value)
        twin = _twin_of(value)
        if not changed and twin is None:
            return value
        other = copy.copy(value)
        vars(other).update(changed)
        if twin is not None:
            other.__class__ = twin
        return other

    def _container(self, value):
        """Return what stands for a list, tuple or dict."""
        if isinstance(value, dict):
            pairs = {key: self.of(held) for key, held in value.items()}
            if all(pairs[key] is value[key] for key in value):
                return value
            other = copy.copy(value)
            other.update(pairs)
            return other
        items = [self.of(held) for held in value]
        if all(new is held for new, held in zip(items, value, strict=True)):
            return value
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)


def _is_fitted_piece(value) -> bool:
    """Tell whether a value is one of scikit-learn's fitted pieces that are no estimators."""
    module = type(value).__module__ or ""
    return module.startswith("sklearn.calibration") and hasattr(value, "__dict__")


def _twin_of(value) -> type | None:
    """Return the class with a converter that works; None where the own one's does."""
    if type(value) is HistGradientBoostingClassifier:
        return HistogramBoosting
    if type(value) is CalibratedClassifierCV and value.method == "temperature":
        return TemperatureCalibrated
    return None


def _as_logistic(discriminant: LinearDiscriminantAnalysis) -> LogisticRegression:
    """Return the logistic regression of the same probabilities.

    skl2onnx gets them wrong for two classes.
    """
    twin = LogisticRegression()
    for attribute in ("coef_", "intercept_", "classes_", "n_features_in_", "feature_names_in_"):
        if hasattr(discriminant, attribute):
            setattr(twin, attribute, getattr(discriminant, attribute))
    return twin


def _fixed_parameters(value) -> dict:
    """Return parameters that matter to the converter only, in the form it understands."""
    if not isinstance(value, VotingClassifier):
        return {}
    fixed = {"flatten_transform": False} if value.flatten_transform else {}
    if value.weights is not None:
        # Both without what was dropped: the copy may be prepared, or asked, in its turn.
        pairs = zip(value.estimators, value.weights, strict=True)
        kept = [(entry, weight) for entry, weight in pairs if not isinstance(entry[1], str)]
        fixed["estimators"] = [entry for entry, _ in kept]
        fixed["weights"] = np.asarray([weight for _, weight in kept], dtype=np.float64)
    return fixed


def _busy_steps(steps: list) -> dict:
    """Return a pipeline's steps without those that are switched off, if any is."""
    busy = [(name, step) for name, step in steps if step is not None and step != "passthrough"]
    return {} if len(busy) == len(steps) else {"steps": busy}


def _names_columns(columns) -> bool:
    """Tell whether a choice of columns is by name."""
    if isinstance(columns, str):
        return True
    if isinstance(columns, slice):
        return isinstance(columns.start, str) or isinstance(columns.stop, str)
    return np.iterable(columns) and any(isinstance(column, str) for column in columns)
