"""A fitted estimator in the form that skl2onnx converts: shallow copies without wrappers.

Frozen models and searches become the model within, and models whose converter is wrong become a
class with a converter of ours (see `_skl2onnx`). What the user fitted is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sklearn_cascade.export._spec import fitted_cascade, is_cascade, is_fitted, stages_of
from sklearn_cascade.members._ensemble_parts import EnsemblePart
from sklearn_cascade.members._onnx import OnnxClassifier
from sklearn_cascade.members._prefit import PrefitClassifier


class HistogramBoosting(HistGradientBoostingClassifier):
    """A boosting with a converter of ours: skl2onnx's writes booleans, refused by protobuf 7."""


class TemperatureCalibrated(CalibratedClassifierCV):
    """A calibration by temperature, which skl2onnx takes for an isotonic one."""


def prepare(estimator, *, replace_cascade: Callable | None = None):
    """Return a fitted estimator, or a shallow copy with other parts, in the form that converts.

    Each cascade or ensemble in it becomes what `replace_cascade` returns for it.
    """
    return _Preparer(replace_cascade).prepare(estimator)


def iter_estimators(estimator) -> list:
    """Return an estimator and all fitted parts within, without wrappers."""
    preparer = _Preparer(None)
    preparer.prepare(estimator)
    return preparer.found


def cascades_in(estimator) -> list:
    """Return the fitted cascades and ensembles within an estimator."""
    return [fitted_cascade(part) for part in iter_estimators(estimator) if is_cascade(part)]


def selects_by_name(estimator) -> bool:
    """Tell whether some part picks columns of a frame by their names."""
    return any(_selects_by_name(part) for part in iter_estimators(estimator))


def _selects_by_name(part) -> bool:
    """Tell whether one part, or a member of it, picks columns by their names."""
    if is_cascade(part):
        return any(selects_by_name(stage.estimator) for stage in stages_of(fitted_cascade(part)))
    if isinstance(part, EnsemblePart):
        return selects_by_name(part.ensemble)
    if isinstance(part, OnnxClassifier):
        return hasattr(part, "feature_names_in_")
    # An unfitted transformer, as parameters hold, has no columns yet.
    fitted = getattr(part, "transformers_", ()) if isinstance(part, ColumnTransformer) else ()
    return any(_are_names(columns) for _, _, columns in fitted)


def _are_names(columns) -> bool:
    """Tell whether a choice of columns is by name."""
    if isinstance(columns, slice):
        return isinstance(columns.start, str) or isinstance(columns.stop, str)
    if isinstance(columns, str):
        return True
    return np.iterable(columns) and any(isinstance(column, str) for column in columns)


class _Preparer:
    """Goes through everything that an estimator holds, and copies what contains a change."""

    def __init__(self, replace_cascade: Callable | None) -> None:
        self._replace_cascade = replace_cascade
        self._done: dict[int, object] = {}
        # The list also keeps the objects alive, so that no two get the same id.
        self.found: list = []

    def prepare(self, value):
        """Return the value, or what replaces it."""
        if id(value) in self._done:
            return self._done[id(value)]
        if isinstance(value, list | tuple | dict):
            return self._prepare_container(value)
        if isinstance(value, np.ndarray | type):
            return value
        # Calibrations hold fitted pieces that are no estimators.
        in_calibration = (type(value).__module__ or "").startswith("sklearn.calibration")
        if not isinstance(value, BaseEstimator) and not (
            in_calibration and hasattr(value, "__dict__")
        ):
            if hasattr(value, "predict_proba"):
                self.found.append(value)
            return value
        if is_cascade(value) and not is_fitted(value):
            return value
        self.found.append(value)
        self._done[id(value)] = value
        self._done[id(value)] = self._prepare_estimator(value)
        return self._done[id(value)]

    def _prepare_estimator(self, value):
        """Return the estimator, or what replaces it."""
        if type(value) is FrozenEstimator:
            return self.prepare(value.estimator)
        if is_cascade(value):
            return self._replace_cascade(value) if self._replace_cascade else value
        if isinstance(value, EnsemblePart | OnnxClassifier | PrefitClassifier):
            return value
        if hasattr(value, "best_estimator_") and hasattr(value, "cv_results_"):
            return self.prepare(value.best_estimator_)
        changed = {}
        for key, held in vars(value).items():
            new = self.prepare(held)
            if new is not held:
                changed[key] = new
        if isinstance(value, VotingClassifier):
            changed.update(_voting_parameters(value))
        if isinstance(value, Pipeline):
            steps = changed.get("steps", value.steps)
            active = [step for step in steps if step[1] is not None and step[1] != "passthrough"]
            if len(active) < len(steps):
                changed["steps"] = active
        if type(value) is LinearDiscriminantAnalysis:
            return _as_logistic(value)
        patched = None
        if type(value) is HistGradientBoostingClassifier:
            patched = HistogramBoosting
        if type(value) is CalibratedClassifierCV and value.method == "temperature":
            patched = TemperatureCalibrated
        if not changed and patched is None:
            return value
        other = copy.copy(value)
        vars(other).update(changed)
        if patched is not None:
            other.__class__ = patched
        return other

    def _prepare_container(self, value):
        """Return the list, tuple or dict, or a copy with other contents."""
        if isinstance(value, dict):
            pairs = {key: self.prepare(held) for key, held in value.items()}
            if all(pairs[key] is value[key] for key in value):
                return value
            other = copy.copy(value)
            other.update(pairs)
            return other
        items = [self.prepare(held) for held in value]
        if all(new is held for new, held in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _as_logistic(discriminant: LinearDiscriminantAnalysis) -> LogisticRegression:
    """Return the logistic regression with equal output; skl2onnx is wrong for two classes."""
    logistic = LogisticRegression()
    for attribute in ("coef_", "intercept_", "classes_", "n_features_in_", "feature_names_in_"):
        if hasattr(discriminant, attribute):
            setattr(logistic, attribute, getattr(discriminant, attribute))
    return logistic


def _voting_parameters(vote: VotingClassifier) -> dict:
    """Return parameters of a vote, of no effect after its fit, as the converter reads them."""
    changed: dict = {"flatten_transform": False} if vote.flatten_transform else {}
    if vote.weights is not None:
        # Entries and weights without dropped members: the copy may be prepared again, or called.
        pairs = zip(vote.estimators, vote.weights, strict=True)
        kept = [(entry, weight) for entry, weight in pairs if not isinstance(entry[1], str)]
        changed["estimators"] = [entry for entry, _ in kept]
        changed["weights"] = np.asarray([weight for _, weight in kept], dtype=np.float64)
    return changed
