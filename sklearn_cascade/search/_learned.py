"""Learning, from held-out rows, how likely the answer after each stage is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_cascade.rules import LearnedStage, RunningAnswer, proba_columns
from sklearn_cascade.search._teaching import Lessons, Taught, teach


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
    stages : list of LearnedStage
        Fitted on all rows, one per stage judged.
    """

    confidence: np.ndarray
    stages: list[LearnedStage]


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
                (part, teach(learned.estimator, part, proba[0].shape[1]))
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


def _lessons(proba, y, way: str, weights, rest) -> Iterator[Lessons]:
    """Yield the answers after each stage; for the surest stage, that of each by itself."""
    running = RunningAnswer("mean" if way == "mean" else "last", remember=True)
    for stage, weight in zip(proba, weights, strict=True):
        answer = running.add(stage, weight)
        label = answer.argmax(axis=1)
        yield Lessons(proba_columns(answer), label, running.said_else(), label == y, *rest)


def _held_out(lessons: Lessons, taught: Taught) -> np.ndarray:
    """Return the confidence of each row by a learner that did not see it: (n_samples,)."""
    return taught.held_out(lessons.fold).judge(lessons.columns, lessons.label, lessons.said)
