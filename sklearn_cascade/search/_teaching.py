"""Fitting what a learned confidence consists of: on all rows, and without each fold."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklearn_cascade.rules import (
    MAX_ONE_HOT,
    HeldOutStage,
    LearnedStage,
    RunningAnswer,
    class_table,
    confidence_features,
)

# Fewer rows teach a learner of a dozen features nothing.
MIN_ROWS = 100
# Rows on which the seconds of a learned confidence are taken, and calls.
N_TIMED, _N_REPEATS = 1000, 5


class Lessons(NamedTuple):
    """Answers after one stage, and whether they are right.

    Attributes
    ----------
    columns : sequence of ndarray of shape (n_samples,)
        What the answers tell of themselves.
    label : ndarray of int of shape (n_samples,)
        Their classes.
    said : list of pairs of ndarray of shape (n_samples,)
        Confidence and class of each stage whose own answer is another one.
    right : ndarray of bool of shape (n_samples,)
        Whether they are the true classes.
    weight : ndarray of shape (n_samples,)
        Weights of the rows, none below zero.
    fold : ndarray of int of shape (n_samples,)
        Fold of each row.
    sample : ndarray of int of shape (n_samples,)
        Which sample each row is, where folds overlap.
    """

    columns: Sequence[np.ndarray]
    label: np.ndarray
    said: list[tuple[np.ndarray, np.ndarray]]
    right: np.ndarray
    weight: np.ndarray
    fold: np.ndarray
    sample: np.ndarray

    def take(self, rows: np.ndarray) -> Lessons:
        """Return some of the rows."""
        columns = [column[rows] for column in self.columns]
        said = [(sure[rows], own[rows]) for sure, own in self.said]
        return Lessons(columns, self.label[rows], said, *(part[rows] for part in self[3:]))


class Taught(NamedTuple):
    """What was learned about the answers after one stage.

    Attributes
    ----------
    stage : LearnedStage
        From all rows.
    by_fold : dict from int to LearnedStage
        From all rows but those of a fold.
    """

    stage: LearnedStage
    by_fold: dict[int, LearnedStage]

    def held_out(self, fold: np.ndarray) -> HeldOutStage:
        """Return what judges rows of the folds given: shape (n_samples,)."""
        # A fold that no row was drawn from had no part in the learning at all.
        folds = np.unique(fold).tolist()
        return HeldOutStage({k: self.by_fold.get(k, self.stage) for k in folds}, fold)


def teach(learner, lessons: Lessons, n_classes: int) -> Taught:
    """Fit a learner on all rows, and on all folds but one.

    Parameters
    ----------
    learner : classifier or None
        None: a logistic regression.
    lessons : Lessons
        What to learn from.
    n_classes : int
        Number of classes.

    Returns
    -------
    taught : Taught

    Raises
    ------
    ValueError
        If there are fewer than 100 rows, or folds leave no others.
    """
    counted = lessons.weight > 0
    if counted.sum() < MIN_ROWS:
        raise ValueError(
            f"confidence='learned' with {counted.sum()} held-out rows; expected at least "
            f"{MIN_ROWS}, or one of the other confidences, which learn nothing"
        )
    stage, by_fold = _fit(learner, lessons.take(counted), n_classes), {}
    for held_out in np.unique(lessons.fold).tolist():
        these = lessons.fold == held_out
        others = counted & ~these & ~np.isin(lessons.sample, lessons.sample[these])
        if not others.any():
            raise ValueError("confidence='learned' needs at least two folds of other rows")
        by_fold[held_out] = _fit(learner, lessons.take(others), n_classes, near=stage)
    return Taught(stage, by_fold)


def seconds_to_judge(running: RunningAnswer, stage: LearnedStage) -> float:
    """Return the seconds that a learned confidence takes for a row of a batch."""
    seconds = []
    for _ in range(_N_REPEATS):
        start = perf_counter()
        running.how_sure(stage)
        seconds.append(perf_counter() - start)
    return float(np.median(seconds)) / len(running.proba)


def _fit(
    learner, lessons: Lessons, n_classes: int, near: LearnedStage | None = None
) -> LearnedStage:
    """Fit one learner; a logistic regression begins at one that is near."""
    right, weight = lessons.right, lessons.weight / lessons.weight.mean()
    table, features = _table(lessons, n_classes), _features(lessons, n_classes)
    if right.all() or not right.any():
        # Nothing to tell apart: all rows are equally sure.
        share = (right.sum() + 1) / (len(right) + 2)
        return LearnedStage(table, np.zeros(features.shape[1]), float(np.log(share / (1 - share))))
    if learner is not None:
        return LearnedStage(
            table, None, 0.0, clone(learner).fit(features, right, sample_weight=lessons.weight)
        )
    # Many rows, few features: Newton steps are fastest.
    scaler = StandardScaler().fit(features)
    logistic = LogisticRegression(solver="newton-cholesky", warm_start=True)
    if near is not None:
        logistic.coef_ = (near.weights * scaler.scale_)[None]
        logistic.intercept_ = np.array([near.intercept + scaler.mean_ @ near.weights])
    logistic.fit(scaler.transform(features), right, sample_weight=weight)
    # One product instead of a pipeline, whose checks would take longer than most members.
    weights = logistic.coef_[0] / scaler.scale_
    return LearnedStage(table, weights, float(logistic.intercept_[0] - scaler.mean_ @ weights))


def _table(lessons: Lessons, n_classes: int) -> np.ndarray:
    """Return what is told of each class: (n_classes, n_columns)."""
    return class_table(lessons.label, lessons.right, lessons.weight, n_classes)


def _features(lessons: Lessons, n_classes: int) -> np.ndarray:
    """Return what a learner is fitted on: (n_samples, n_features).

    A share of right answers that a row has part in tells its own outcome, so each fold is told
    that of the others; features of new rows are told that of all.
    """
    folds = np.unique(lessons.fold)
    if n_classes <= MAX_ONE_HOT or len(folds) < 2:
        table = _table(lessons, n_classes)
        return confidence_features(lessons.columns, lessons.label, lessons.said, table)
    parts = [np.flatnonzero(lessons.fold == fold) for fold in folds]
    features = []
    for fold, part in zip(folds, parts, strict=True):
        table, some = _table(lessons.take(lessons.fold != fold), n_classes), lessons.take(part)
        features.append(confidence_features(some.columns, some.label, some.said, table))
    return np.concatenate(features)[np.argsort(np.concatenate(parts))]
