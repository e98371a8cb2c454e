"""Learning, from held-out rows, how likely the answer after each stage is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklearn_cascade.core import (
    MAX_ONE_HOT,
    ConfidenceModel,
    CrossFittedConfidence,
    ProbaCombiner,
    class_table,
    confidence_features,
    proba_columns,
)

# Fewer rows teach a learner of a dozen features nothing.
MIN_ROWS = 100
# Rows on which the seconds of a learned confidence are taken, and calls.
N_TIMED, _N_REPEATS = 1000, 5


class LearnedConfidence(BaseEstimator):
    """Learn how likely the answer so far is right, and let that be the confidence.

    What ``confidence="learned"`` stands for, with a choice of the learner. After each stage the
    confidence is the estimated probability that the answer so far is the true class, from the
    sorted top probabilities, their margin and entropy, the predicted class, and what each stage
    said by itself (Jitkrittum et al., 2023 [1]_, estimate it from the first two). The learner is
    fitted on held-out rows; thresholds are tuned on what it says of rows that it did not see.

    Parameters
    ----------
    estimator : classifier, default=None
        Learner with ``predict_proba`` whose ``fit`` takes ``sample_weight``. None: a logistic
        regression on standardised features, which is fast and calibrated.

    See Also
    --------
    CascadeClassifier : Takes it as `confidence`.

    References
    ----------
    .. [1] W. Jitkrittum, N. Gupta, A. K. Menon, H. Narasimhan, A. Rawat, S. Kumar. "When Does
       Confidence-Based Cascade Deferral Suffice?" NeurIPS 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_cascade import CascadeClassifier, LearnedConfidence
    >>> X, y = load_digits(return_X_y=True)
    >>> cascade = CascadeClassifier(
    ...     [("nb", GaussianNB()), ("trees", ExtraTreesClassifier(random_state=0))],
    ...     costs=[1, 40],
    ...     confidence=LearnedConfidence(HistGradientBoostingClassifier(max_iter=20)),
    ... )
    >>> cascade.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    def __init__(self, estimator=None):
        self.estimator = estimator


def as_learner(confidence) -> LearnedConfidence | None:
    """Return the learner that a parameter stands for; None for any other confidence."""
    if isinstance(confidence, str) and confidence == "learned":
        return LearnedConfidence()
    return confidence if isinstance(confidence, LearnedConfidence) else None


class LearnedLadder(NamedTuple):
    """The confidences of one ladder, learned.

    Attributes
    ----------
    confidence : ndarray of shape (n_judged, n_samples)
        Of each row by learners that did not see it, after each stage that is judged: all but
        the last, and that one too where the surest stage answers.
    stages : list of ConfidenceModel
        Fitted on all rows, one per stage judged.
    """

    confidence: np.ndarray
    stages: list[ConfidenceModel]


def learn_confidences(
    learned: LearnedConfidence,
    proba: Sequence[np.ndarray],
    y: np.ndarray,
    *,
    ways: Sequence[str],
    weights: Sequence[float],
    sample_weight: np.ndarray,
    fold: np.ndarray,
    sample: np.ndarray,
) -> dict[str, LearnedLadder]:
    """Fit a learner after each stage that is judged: on all rows, and on all folds but one.

    Parameters
    ----------
    learned : LearnedConfidence
        Which learner.
    proba : sequence of ndarray of shape (n_samples, n_classes)
        Held-out probabilities of each stage, in running order.
    y : ndarray of int of shape (n_samples,)
        Column of the true class.
    ways : sequence of str
        Combinations.
    weights : sequence of float
        Weight of each stage in the mean.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows.
    fold, sample : ndarray of int of shape (n_samples,)
        Fold of each row, and which sample it is where folds overlap.

    Returns
    -------
    ladders : dict from str to LearnedLadder
        One per combination.

    Raises
    ------
    ValueError
        If there are fewer than 100 rows, or folds leave no others.
    """
    ladders = {}
    # The surest stage is one of those that the last one is taken from: learned once.
    for way in ("mean", "most_confident" if "most_confident" in ways else "last"):
        if way in ways:
            n_judged = len(proba) - (way != "most_confident")
            lessons = _lessons(proba, y, way, weights, (sample_weight, fold, sample))
            judged = [
                (part, fit(learned.estimator, part, proba[0].shape[1]))
                for part in islice(lessons, n_judged)
            ]
            ladders[way] = LearnedLadder(
                np.stack([_held_out(*pair) for pair in judged]),
                [taught.stage for _, taught in judged],
            )
    if "last" in ways and "most_confident" in ways:
        own = ladders["most_confident"]
        ladders["last"] = LearnedLadder(own.confidence[:-1], own.stages[:-1])
    return {way: ladders[way] for way in ways}


def _lessons(proba, y, way: str, weights, rest) -> Iterator[TrainingData]:
    """Yield the answers after each stage; for the surest stage, that of each by itself."""
    running = ProbaCombiner("mean" if way == "mean" else "last", remember=True)
    for stage, weight in zip(proba, weights, strict=True):
        answer = running.add(stage, weight)
        label = answer.argmax(axis=1)
        yield TrainingData(
            proba_columns(answer), label, running.previous_outputs(), label == y, *rest
        )


def _held_out(lessons: TrainingData, taught: FittedConfidence) -> np.ndarray:
    """Return the confidence of each row by a learner that did not see it: (n_samples,)."""
    return taught.held_out(lessons.fold).predict(lessons.columns, lessons.label, lessons.said)


class TrainingData(NamedTuple):
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

    def take(self, rows: np.ndarray) -> TrainingData:
        """Return some of the rows."""
        columns = [column[rows] for column in self.columns]
        said = [(sure[rows], own[rows]) for sure, own in self.said]
        return TrainingData(columns, self.label[rows], said, *(part[rows] for part in self[3:]))


class FittedConfidence(NamedTuple):
    """What was learned about the answers after one stage.

    Attributes
    ----------
    stage : ConfidenceModel
        From all rows.
    by_fold : dict from int to ConfidenceModel
        From all rows but those of a fold.
    """

    stage: ConfidenceModel
    by_fold: dict[int, ConfidenceModel]

    def held_out(self, fold: np.ndarray) -> CrossFittedConfidence:
        """Return what judges rows of the folds given: shape (n_samples,)."""
        # A fold that no row was drawn from had no part in the learning at all.
        folds = np.unique(fold).tolist()
        return CrossFittedConfidence({k: self.by_fold.get(k, self.stage) for k in folds}, fold)


def fit(learner, lessons: TrainingData, n_classes: int) -> FittedConfidence:
    """Fit a learner on all rows, and on all folds but one.

    Parameters
    ----------
    learner : classifier or None
        None: a logistic regression.
    lessons : TrainingData
        What to learn from.
    n_classes : int
        Number of classes.

    Returns
    -------
    taught : FittedConfidence

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
    return FittedConfidence(stage, by_fold)


def seconds_to_judge(running: ProbaCombiner, stage: ConfidenceModel) -> float:
    """Return the seconds that a learned confidence takes for a row of a batch."""
    seconds = []
    for _ in range(_N_REPEATS):
        start = perf_counter()
        running.confidence(stage)
        seconds.append(perf_counter() - start)
    return float(np.median(seconds)) / len(running.proba)


def _fit(
    learner, lessons: TrainingData, n_classes: int, near: ConfidenceModel | None = None
) -> ConfidenceModel:
    """Fit one learner; a logistic regression begins at one that is near."""
    right, weight = lessons.right, lessons.weight / lessons.weight.mean()
    table, features = _table(lessons, n_classes), _features(lessons, n_classes)
    if right.all() or not right.any():
        # Nothing to tell apart: all rows are equally sure.
        share = (right.sum() + 1) / (len(right) + 2)
        return ConfidenceModel(
            table, np.zeros(features.shape[1]), float(np.log(share / (1 - share)))
        )
    if learner is not None:
        return ConfidenceModel(
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
    return ConfidenceModel(table, weights, float(logistic.intercept_[0] - scaler.mean_ @ weights))


def _table(lessons: TrainingData, n_classes: int) -> np.ndarray:
    """Return what is told of each class: (n_classes, n_columns)."""
    return class_table(lessons.label, lessons.right, lessons.weight, n_classes)


def _features(lessons: TrainingData, n_classes: int) -> np.ndarray:
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
