"""What a fit does: fit every member, on all rows and in folds, then choose the policy.

`fit_all` fits the members on the right labels with the right metadata, and collects what they
predict for held-out rows; `choose_policy` takes these to tuning and returns the fitted cascade.
"""

from __future__ import annotations

import sys
from numbers import Integral
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from sklearn_cascade._compat import (
    n_rows,
    routing_enabled,
    subset_params,
    take_rows,
    warn_caller,
)
from sklearn_cascade.core._combination import ProbaCombiner
from sklearn_cascade.estimators._labels import (
    Labels,
    class_columns,
    is_frozen,
    needs_original_labels,
)
from sklearn_cascade.estimators._routing import Stage
from sklearn_cascade.estimators._state import (
    FittedCascade,
    FittedMembers,
    TuningFigures,
    make_policy,
)
from sklearn_cascade.exceptions import (
    IgnoredWeightsWarning,
    ScoreNotReachedWarning,
    UnseenClassWarning,
)
from sklearn_cascade.members._parallel import gather, limit_to_worker, scatter
from sklearn_cascade.tuning._fit_confidence import (
    N_TIMING_SAMPLES,
    as_learned_confidence,
    confidence_seconds,
    fit_confidences,
)
from sklearn_cascade.tuning._tune import combinations_to_try, tune_cascade

Splits = list[tuple[np.ndarray, np.ndarray]]


class MemberFit(NamedTuple):
    """One member as it is about to be fitted."""

    name: str
    estimator: object  # as the user gave it
    frozen: bool  # used as it is
    on_labels: bool  # fitted on the user's labels instead of codes
    fit_params: dict  # keywords for its ``fit``

    def fit(self, X, labels: Labels, rows: np.ndarray | None = None) -> tuple:
        """Return a clone fitted on all rows or on some, or the frozen member as it is.

        With it comes the cascade's column of each of its own; None where they are equal.
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
        fitted = clone(self.estimator)
        try:
            fitted = fitted.fit(X, y if self.on_labels else codes, **params)
        except Exception as error:
            if sys.version_info >= (3, 11):
                error.add_note(f"This happened while the member {self.name!r} was fitted.")
            raise
        known = fitted_classes(self.name, fitted)
        if not self.on_labels:
            known = labels.seen[present][known.astype(int)]
        return fitted, class_columns(known, labels.classes)


class HeldOut(NamedTuple):
    """What the members predict for rows that they were not fitted on."""

    proba: list[np.ndarray]  # one (n_held_out, n_classes) per member
    samples: np.ndarray  # (n_held_out,): index in X; it occurs once per split that tests it
    fold: np.ndarray  # (n_held_out,): the split that held it out


class Fits(NamedTuple):
    """What the fits of all members left."""

    # Each member fitted on all rows, frozen ones as they are, with the columns of its classes.
    members: list[tuple]
    seconds: float  # of the fits on all rows, added up
    held_out: HeldOut | None  # with splits


def fit_all(
    members: list[MemberFit],
    X,
    labels: Labels,
    splits: Splits | None = None,
    *,
    refit: bool = True,
    allow_abstain: bool = False,
    n_jobs=None,
) -> Fits:
    """Fit each trainable member on all rows, and once per fold; call each frozen one once."""
    splits = splits or []
    trainable = [position for position, member in enumerate(members) if not member.frozen]
    folds: list = [None] * refit + [*range(len(splits))]
    # One fit of each member comes first, so that what cannot be fitted fails soon; then the others,
    # from the last member back, as the expensive ones stand last: none is left over for the end.
    fits = [(position, fold) for fold in folds[:1] for position in trainable]
    fits += [(position, fold) for position in reversed(trainable) for fold in folds[1:]]
    arguments = [X, labels, *splits, *(members[position] for position in trainable)]
    with scatter(arguments) as (sent_X, sent_labels, *sent):
        split: dict = {None: None, **dict(enumerate(sent[: len(splits)]))}
        member = dict(zip(trainable, sent[len(splits) :], strict=True))
        # Otherwise several fits of an expensive member would go to one worker in a batch.
        parallel = Parallel(n_jobs=n_jobs, batch_size=1)
        results = parallel(
            delayed(_fit)(
                member[position], position, sent_X, sent_labels, split[fold], allow_abstain
            )
            for position, fold in fits
        )
    found = dict(zip(fits, results, strict=True))
    # What is lined up below need not be held twice.
    del results
    held_out = _hold_out(members, X, labels, splits, found, allow_abstain) if splits else None
    if not refit:
        return Fits([], 0.0, held_out)
    # Frozen members stay in this process: they may hold a connection, or be large.
    on_all_rows = [
        (*member.fit(X, labels), 0.0) if member.frozen else found[position, None]
        for position, member in enumerate(members)
    ]
    seconds = sum(fit[2] for fit in on_all_rows)
    return Fits([fit[:2] for fit in on_all_rows], seconds, held_out)


def choose_policy(
    cascade,
    members: FittedMembers,
    held_out: HeldOut,
    labels: Labels,
    sample_weight: np.ndarray | None,
    weights: Any,
    thresholds: np.ndarray | None,
) -> FittedCascade:
    """Return the fitted cascade with the combination and thresholds that held-out rows choose.

    A learned confidence is fitted first, for each combination that is tried; where the costs are
    measured, its seconds are part of them. Then `tune_cascade` chooses combination and thresholds,
    unless thresholds are given: then only the confidence is learned.
    """
    weight = np.ones(len(labels.y)) if sample_weight is None else sample_weight
    weight, y = weight[held_out.samples], labels.columns[held_out.samples]
    learner = as_learned_confidence(cascade.confidence)
    confidence, fitted_confidences, seconds = cascade.confidence, {}, None
    folds = {"sample_weight": weight, "fold": held_out.fold, "sample": held_out.samples}
    if learner is not None:
        combinations = (
            combinations_to_try(cascade.combine, comparable=True)
            if thresholds is None
            else ("mean" if cascade.combine == "auto" else cascade.combine,)
        )
        fitted_confidences = fit_confidences(
            learner, held_out.proba, y, combinations=combinations, weights=weights, **folds
        )
        confidence = {name: found.confidence for name, found in fitted_confidences.items()}
        seconds = _confidence_seconds(fitted_confidences, held_out.proba, weights)
        if isinstance(cascade.costs, str):
            members = members._replace(costs=members.costs + seconds)
    tuning = TuningFigures()
    if thresholds is None:
        tuned = tune_cascade(
            held_out.proba,
            y,
            members.costs,
            classes=labels.classes,
            combine=cascade.combine,
            confidence=confidence,
            weights=weights,
            scoring=cascade.scoring,
            class_shares=members.class_shares,
            **folds,
        )
        if not tuned.reaches_target:
            warn_caller(
                f"combine={cascade.combine!r} reaches {tuned.score:.6g} on held-out rows at best; "
                f"{tuned.target_score:.6g} is reached by one member alone, hence by combine='last' "
                f"or 'auto'",
                ScoreNotReachedWarning,
            )
        combine, thresholds = tuned.combine, np.array(tuned.thresholds)
        tuning = TuningFigures(
            tuned.score, tuned.cost, tuned.cross_fitted_score, tuned.cross_fitted_cost
        )
    else:
        # Thresholds are given, so exactly one combination was fitted.
        (combine,) = fitted_confidences
    chosen = cascade.confidence
    if fitted_confidences:
        chosen = list(fitted_confidences[combine].models)
        chosen += [None] * (len(members.stages) - len(chosen))
    policy = make_policy(members, combine, chosen, weights, thresholds)
    return FittedCascade(members, policy, seconds, tuning)


def plan_fits(owner, members: list[tuple], sample_weight, fit_params: dict) -> list[MemberFit]:
    """Look at each member before the fit: frozen or not, its labels, its share of the metadata."""
    params = _params_by_member(owner, members, sample_weight, fit_params)
    planned = []
    for name, estimator in members:
        frozen = is_frozen(estimator)
        if frozen:
            try:
                check_is_fitted(estimator)
            except NotFittedError as error:
                raise ValueError(
                    f"estimators: {name!r} is frozen but not fitted, and frozen members are never "
                    f"fitted here: fit it before it is wrapped, or give it unwrapped ({error})"
                ) from error
        on_labels = frozen or needs_original_labels(estimator)
        planned.append(MemberFit(name, estimator, frozen, on_labels, params[name]))
    return planned


def split_rows(owner, X, labels: Labels, params: dict) -> Splits:
    """Return (train, test) indices, with groups and the like routed to the splitter."""
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
        (_as_indices(train), _as_indices(test))
        for train, test in splitter.split(X, labels.codes, **routed)
    ]
    if not splits or not sum(len(test) for _, test in splits):
        raise ValueError(f"cv={owner.cv!r} holds no rows out; expected at least one split")
    return splits


def fitted_classes(name: str, estimator) -> np.ndarray:
    """Return the labels a fitted member knows, in the order of its columns."""
    classes = getattr(estimator, "classes_", None)
    if classes is None or np.ndim(classes) != 1:
        raise ValueError(
            f"estimators: {name!r} ({type(estimator).__name__}) has classes_={classes!r} once "
            f"fitted; expected the label of each column of its probabilities"
        )
    return np.asarray(classes)


def warn_of_unseen_classes(members: FittedMembers) -> None:
    """Warn for stages before the last that can never predict some class."""
    for stage in members.stages[:-1]:
        if stage.columns is not None and len(stage.columns) < len(members.classes):
            unseen = np.delete(members.classes, stage.columns).tolist()
            warn_caller(
                f"the member {stage.name!r} has never seen {unseen}: it will take their rows "
                f"for other classes, maybe confidently, so that they exit with a wrong answer",
                UnseenClassWarning,
            )


def _fit(member, position: int, X, labels, split, allow_abstain: bool):
    """Return a member fitted on all rows with its seconds, or its output for the held-out rows."""
    member, X, labels, split = gather(member, X, labels, split)
    with limit_to_worker():
        if split is not None:
            return _predict_held_out(member, position, X, labels, split, allow_abstain)
        start = perf_counter()
        return (*member.fit(X, labels), perf_counter() - start)


def _hold_out(members, X, labels, splits: Splits, found: dict, allow_abstain: bool) -> HeldOut:
    """Line up the outputs for held-out rows; call frozen members for all rows."""
    samples = np.concatenate([test for _, test in splits])
    fold = np.repeat(np.arange(len(splits)), [len(test) for _, test in splits])
    # In the order of X, so that the output of a frozen member for all rows is used as it is.
    order = np.argsort(samples, kind="stable")
    samples, fold = samples[order], fold[order]
    every_row_once = np.array_equal(samples, np.arange(n_rows(X)))
    proba = []
    for position, member in enumerate(members):
        if not member.frozen:
            parts = [found.pop((position, k)) for k in range(len(splits))]
            proba.append(np.concatenate(parts)[order])
            continue
        output = _predict_held_out(member, position, X, labels, None, allow_abstain)
        proba.append(output if every_row_once else output[samples])
    return HeldOut(proba, samples, fold)


def _predict_held_out(member: MemberFit, position: int, X, labels: Labels, split, allow_abstain):
    """Return one member's probabilities for the test rows of a split, or for all rows."""
    train, part = None, X
    if split is not None:
        train, part = split[0], take_rows(X, split[1])
    fitted, columns = member.fit(X, labels, train)
    stage = Stage(position, member.name, fitted, columns, len(labels.classes), allow_abstain)
    return stage.predict_proba(part, n_rows(part))


def _confidence_seconds(fitted_confidences: dict, proba, weights) -> np.ndarray:
    """Return the most seconds that a learned confidence takes for a row of a batch: (n_stages,)."""
    seconds = np.zeros(len(proba))
    for combine, found in fitted_confidences.items():
        combiner = ProbaCombiner("mean" if combine == "mean" else "last", remember=True)
        for k, model in enumerate(found.models):
            combiner.add(proba[k][:N_TIMING_SAMPLES], weights[k])
            seconds[k] = max(seconds[k], confidence_seconds(combiner, model))
    return seconds


def _params_by_member(owner, members, sample_weight, fit_params) -> dict[str, dict]:
    """Return the keywords for each member's ``fit``, by metadata routing or by inspection."""
    if not routing_enabled():
        return {
            name: {} if sample_weight is None else _weight_keyword(name, estimator, sample_weight)
            for name, estimator in members
        }
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    routed = process_routing(owner, "fit", **weight, **fit_params)
    return {
        name: dict(routed[name]["fit"])
        if sample_weight is None or hasattr(estimator, "get_metadata_routing")
        # It cannot request them: some libraries know nothing of routing.
        else _weight_keyword(name, estimator, sample_weight)
        for name, estimator in members
    }


def _weight_keyword(name: str, estimator, sample_weight) -> dict:
    """Return the keyword that carries sample weights into a member's ``fit``, if it takes any."""
    if is_frozen(estimator):
        return {}
    if has_fit_parameter(estimator, "sample_weight"):
        return {"sample_weight": sample_weight}
    if isinstance(estimator, Pipeline):
        last_name, last = estimator.steps[-1]
        if has_fit_parameter(last, "sample_weight"):
            return {f"{last_name}__sample_weight": sample_weight}
    warn_caller(
        f"the member {name!r} ({type(estimator).__name__}) is fitted without the sample weights, "
        f"as its fit has no parameter sample_weight; metadata routing can bring them there",
        IgnoredWeightsWarning,
    )
    return {}


def _as_indices(rows) -> np.ndarray:
    """Return indices of rows, also from a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows
