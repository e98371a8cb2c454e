"""Fitting a member: on which labels, with which metadata."""

from __future__ import annotations

import sys
from numbers import Integral
from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from sklearn_cascade._compat import n_rows, routing_enabled, subset_params, take_rows, warn_caller
from sklearn_cascade.estimators._labels import (
    Labels,
    class_columns,
    is_frozen,
    needs_original_labels,
)
from sklearn_cascade.estimators._routing import Stage
from sklearn_cascade.exceptions import IgnoredWeightsWarning
from sklearn_cascade.members._parallel import gather, limit_to_worker, scatter

Splits = list[tuple[np.ndarray, np.ndarray]]


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
        on_labels = frozen or needs_original_labels(estimator)
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


class HeldOut(NamedTuple):
    """What the members said about rows that they did not see.

    Attributes
    ----------
    proba : list of ndarray of shape (n_held_out, n_classes)
        One per member.
    rows : ndarray of int of shape (n_held_out,)
        Position of each held-out row in X; a row may occur once per split that tests it.
    fold : ndarray of int of shape (n_held_out,)
        The split that held it out.
    """

    proba: list[np.ndarray]
    rows: np.ndarray
    fold: np.ndarray


class Fits(NamedTuple):
    """What the fits of all members left.

    Attributes
    ----------
    members : list of (classifier, ndarray of int or None)
        Each member fitted on all rows, frozen ones as they are, with the committee's column of
        each of its own.
    seconds : float
        What the fits on all rows took, added up.
    held_out : HeldOut or None
        With splits.
    """

    members: list[tuple]
    seconds: float
    held_out: HeldOut | None


def fit_all(
    members: list[Member],
    X,
    labels: Labels,
    splits: Splits | None = None,
    *,
    refit: bool = True,
    allow_abstain: bool = False,
    n_jobs=None,
) -> Fits:
    """Fit each trainable member on all rows, and once per fold; ask each frozen one once."""
    splits = splits or []
    places = [place for place, member in enumerate(members) if not member.frozen]
    fits = _in_order(places, [None] * refit + [*range(len(splits))])
    arguments = [X, labels, *splits, *(members[place] for place in places)]
    with scatter(arguments) as (given, known, *sent):
        split = {None: None, **dict(enumerate(sent[: len(splits)]))}
        member = dict(zip(places, sent[len(splits) :], strict=True))
        # Else several fits of a dear member would go to one worker in a batch.
        parallel = Parallel(n_jobs=n_jobs, batch_size=1)
        done = parallel(
            delayed(_fit)(member[place], place, given, known, split[fold], allow_abstain)
            for place, fold in fits
        )
    found = dict(zip(fits, done, strict=True))
    # What is lined up below need not be held twice.
    del done
    held_out = _hold_out(members, X, labels, splits, found, allow_abstain) if splits else None
    if not refit:
        return Fits([], 0.0, held_out)
    # Frozen members stay in this process: they may hold a connection, or be large.
    whole = [
        (*member.fit(X, labels), 0.0) if member.frozen else found[place, None]
        for place, member in enumerate(members)
    ]
    return Fits([each[:2] for each in whole], sum(each[2] for each in whole), held_out)


def _in_order(places: list[int], folds: list) -> list[tuple]:
    """Return the fits as pairs (member, fold).

    One of each member comes first, so that what cannot be fitted fails soon; then the others,
    from the last member back, as the dear ones stand last: none is left over for the end.
    """
    first = [(place, fold) for fold in folds[:1] for place in places]
    return first + [(place, fold) for place in reversed(places) for fold in folds[1:]]


def _fit(member, place: int, X, labels, split, allow_abstain: bool):
    """Return a member fitted on all rows with its seconds, or what it says of held-out rows."""
    member, X, labels, split = gather(member, X, labels, split)
    with limit_to_worker():
        if split is not None:
            return _answer(member, place, X, labels, split, allow_abstain)
        start = perf_counter()
        return (*member.fit(X, labels), perf_counter() - start)


def _hold_out(members, X, labels, splits: Splits, found: dict, allow_abstain: bool) -> HeldOut:
    """Line up what the members said of held-out rows; ask frozen ones for all rows."""
    rows = np.concatenate([test for _, test in splits])
    fold = np.repeat(np.arange(len(splits)), [len(test) for _, test in splits])
    # In the order of X, so that what a frozen member said of all rows is used as it is.
    order = np.argsort(rows, kind="stable")
    rows, fold = rows[order], fold[order]
    every_row_once = np.array_equal(rows, np.arange(n_rows(X)))
    proba = []
    for place, member in enumerate(members):
        if not member.frozen:
            parts = [found.pop((place, k)) for k in range(len(splits))]
            proba.append(np.concatenate(parts)[order])
            continue
        answer = _answer(member, place, X, labels, None, allow_abstain)
        proba.append(answer if every_row_once else answer[rows])
    return HeldOut(proba, rows, fold)


def _answer(member: Member, place: int, X, labels: Labels, split, allow_abstain: bool):
    """Return one member's probabilities for the test rows of a split, or for all rows."""
    train, part = None, X
    if split is not None:
        train, part = split[0], take_rows(X, split[1])
    fitted, columns = member.fit(X, labels, train)
    stage = Stage(place, member.name, fitted, columns, len(labels.classes), allow_abstain)
    return stage.predict_proba(part, n_rows(part))


def split_rows(owner, X, labels: Labels, params: dict) -> Splits:
    """Return (train, test) positions, with groups and the like routed to the splitter."""
    splitter = check_cv(owner.cv, labels.codes, classifier=True)
    if owner.random_state is not None and (owner.cv is None or isinstance(owner.cv, Integral)):
        splitter = StratifiedKFold(splitter.n_splits, shuffle=True, random_state=owner.random_state)
    largest = np.bincount(labels.codes).max()
    if isinstance(splitter, StratifiedKFold) and splitter.n_splits > largest:
        raise ValueError(
            f"cv={owner.cv!r} asks for {splitter.n_splits} folds, but no class has more than "
            f"{largest} rows; expected at most as many folds as rows of the largest class, or "
            f"thresholds that are given"
        )
    routed = {}
    if routing_enabled():
        routed = process_routing(owner, "fit", **params)["splitter"]["split"]
    splits = [
        (_positions(train), _positions(test))
        for train, test in splitter.split(X, labels.codes, **routed)
    ]
    if not splits or not sum(len(test) for _, test in splits):
        raise ValueError(f"cv={owner.cv!r} holds no rows out; expected at least one split")
    return splits


def _positions(rows) -> np.ndarray:
    """Return row positions, also of a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows
