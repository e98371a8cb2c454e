"""Held-out probabilities of every member: fitted per fold, or asked once where frozen."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.parallel import Parallel, delayed

from sklearn_cascade._compat import n_rows, routing_enabled, take_rows
from sklearn_cascade.estimators._answers import Stage
from sklearn_cascade.estimators._fitting import Member
from sklearn_cascade.estimators._labels import Labels
from sklearn_cascade.members._transport import alone_in_worker, received, sent_once

Splits = list[tuple[np.ndarray, np.ndarray]]


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


def predict_out_of_fold(
    members: list[Member], X, labels: Labels, splits: Splits, *, allow_abstain: bool, n_jobs
) -> HeldOut:
    """Fit each trainable member once per fold; ask each frozen one once for all rows."""
    rows = np.concatenate([test for _, test in splits])
    fold = np.repeat(np.arange(len(splits)), [len(test) for _, test in splits])
    # In the order of X, so that what a frozen member said of all rows is used as it is.
    order = np.argsort(rows, kind="stable")
    rows, fold = rows[order], fold[order]
    # Frozen members stay in this process: they may hold a connection, or be large.
    places = [place for place, member in enumerate(members) if not member.frozen]
    trainable = [members[place] for place in places]
    with sent_once([X, labels, *splits, *trainable]) as (given, known, *sent):
        tasks = (
            delayed(_answer_in_worker)(member, place, given, known, split, allow_abstain)
            for member, place in zip(sent[len(splits) :], places, strict=True)
            for split in sent[: len(splits)]
        )
        # Else folds of the dear members, which come last, would go to one worker in a batch.
        answers = iter(Parallel(n_jobs=n_jobs, batch_size=1)(tasks))
    every_row_once = np.array_equal(rows, np.arange(n_rows(X)))
    proba = []
    for place, member in enumerate(members):
        if not member.frozen:
            proba.append(np.concatenate([next(answers) for _ in splits])[order])
            continue
        answer = _answer(member, place, X, labels, None, allow_abstain)
        proba.append(answer if every_row_once else answer[rows])
    return HeldOut(proba, rows, fold)


def _answer_in_worker(member, place: int, X, labels, split, allow_abstain: bool):
    """Return one member's probabilities for the test rows of a split."""
    member, X, labels, split = received(member, X, labels, split)
    with alone_in_worker():
        return _answer(member, place, X, labels, split, allow_abstain)


def _answer(member: Member, place: int, X, labels: Labels, split, allow_abstain: bool):
    """Return one member's probabilities for the test rows of a split, or for all rows."""
    train, part = None, X
    if split is not None:
        train, part = split[0], take_rows(X, split[1])
    fitted, columns = member.fit(X, labels, train)
    stage = Stage(place, member.name, fitted, columns, len(labels.classes), allow_abstain)
    return stage.ask(part, n_rows(part))


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
