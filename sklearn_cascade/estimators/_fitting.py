"""Fitting a member: on which labels, with which metadata."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from sklearn_cascade._compat import routing_enabled, subset_params, take_rows, warn_caller
from sklearn_cascade.estimators._labels import Labels, class_columns, is_frozen, speaks_labels
from sklearn_cascade.exceptions import IgnoredWeightsWarning


class Member(NamedTuple):
    """One member as it is about to be fitted.

    Attributes
    ----------
    name : str
        Its name.
    estimator : classifier
        As the user gave it.
    frozen : bool
        Used as it is.
    on_labels : bool
        Fitted on the user's labels instead of codes.
    fit_params : dict
        Keywords for its ``fit``.
    """

    name: str
    estimator: object
    frozen: bool
    on_labels: bool
    fit_params: dict

    def fit(self, X, labels: Labels, rows: np.ndarray | None = None):
        """Return a clone fitted on all rows or on some, or the frozen member as it is.

        With it comes the committee's column of each of its own; None where they are equal.
        """
        if self.frozen:
            known = fitted_classes(self.name, self.estimator)
            return self.estimator, class_columns(known, labels.classes)
        y, codes, params = labels.y, labels.codes, self.fit_params
        if rows is not None:
            params = subset_params(X, params, rows)
            X, y, codes = take_rows(X, rows), y[rows], codes[rows]
        # A fold may lack a class; codes have no gaps all the same.
        present, codes = np.unique(codes, return_inverse=True)
        fitted = self._fit_clone(X, y if self.on_labels else codes, params)
        known = fitted_classes(self.name, fitted)
        if not self.on_labels:
            known = labels.seen[present][known.astype(int)]
        return fitted, class_columns(known, labels.classes)

    def _fit_clone(self, X, y, params):
        """Fit a clone; its error says which member it was."""
        fitted = clone(self.estimator)
        try:
            return fitted.fit(X, y, **params)
        except Exception as error:
            if sys.version_info >= (3, 11):
                error.add_note(f"This happened while the member {self.name!r} was fitted.")
            raise


def describe_members(owner, members, sample_weight, fit_params) -> list[Member]:
    """Look at each member before the fit: frozen or not, its labels, its share of the metadata."""
    params = _params_by_member(owner, members, sample_weight, fit_params)
    described = []
    for name, estimator in members:
        frozen = is_frozen(estimator)
        if frozen:
            _check_frozen_fitted(name, estimator)
        on_labels = frozen or speaks_labels(estimator)
        described.append(Member(name, estimator, frozen, on_labels, params[name]))
    return described


def fitted_classes(name: str, estimator) -> np.ndarray:
    """Return the labels a fitted member knows, in the order of its columns."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or np.ndim(classes) != 1:
        raise ValueError(
            f"estimators: {name!r} ({type(estimator).__name__}) has classes_={classes!r} once "
            f"fitted; expected the label of each column of its probabilities"
        )
    return np.asarray(classes)


def _check_frozen_fitted(name: str, estimator) -> None:
    """Raise, naming the member, where a frozen member was never fitted."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ValueError(
            f"estimators: {name!r} is frozen but not fitted, and frozen members are never fitted "
            f"here: fit it before it is wrapped, or give it unwrapped ({error})"
        ) from error


def _params_by_member(owner, members, sample_weight, fit_params) -> dict[str, dict]:
    """Return the keywords for each member's ``fit``, by routing or by hand."""
    if routing_enabled():
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        routed = process_routing(owner, "fit", **weight, **fit_params)
        return {
            name: dict(routed[name]["fit"])
            if sample_weight is None or hasattr(estimator, "get_metadata_routing")
            # It cannot ask for them: some libraries know nothing of routing.
            else _weight_keyword(name, estimator, sample_weight)
            for name, estimator in members
        }
    if sample_weight is None:
        return {name: {} for name, _ in members}
    params = {}
    for name, estimator in members:
        params[name] = _weight_keyword(name, estimator, sample_weight)
    return params


def _weight_keyword(name: str, estimator, sample_weight) -> dict:
    """Return the keyword that carries sample weights into a member's ``fit``, if it takes any."""
    if is_frozen(estimator):
        return {}
    if has_fit_parameter(estimator, "sample_weight"):
        return {"sample_weight": sample_weight}
    if isinstance(estimator, Pipeline) and has_fit_parameter(
        estimator.steps[-1][1], "sample_weight"
    ):
        return {f"{estimator.steps[-1][0]}__sample_weight": sample_weight}
    warn_caller(
        f"the member {name!r} ({type(estimator).__name__}) is fitted without the sample weights, "
        f"as its fit has no parameter sample_weight; metadata routing can bring them there",
        IgnoredWeightsWarning,
    )
    return {}
