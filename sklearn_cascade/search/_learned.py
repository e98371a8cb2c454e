"""Learning, from held-out rows, how likely the answer after each stage is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade.rules import (
    LearnedStage,
    RunningAnswer,
    class_table,
    confidence_features,
)

# Fewer rows teach a learner of a dozen features nothing.
MIN_ROWS = 100


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


class LearnedLadder(NamedTuple):
    """The confidences of one ladder, learned.

    Attributes
    ----------
    confidence : ndarray of shape (n_stages - 1, n_samples)
        Of each row by learners that did not see it.
    stages : list of LearnedStage
        Fitted on all rows, one per stage but the last.
    """

    confidence: np.ndarray
    stages: list[LearnedStage]


def learn_confidences(
    learned: LearnedConfidence,
    proba: Sequence[np.ndarray],
    y: np.ndarray,
    *,
    combine: str,
    weights: Sequence[float],
    sample_weight: np.ndarray,
    fold: np.ndarray,
    sample: np.ndarray,
) -> LearnedLadder:
    """Fit a learner after each stage but the last: on all rows, and on all folds but one.

    Parameters
    ----------
    learned : LearnedConfidence
        Which learner.
    proba : sequence of ndarray of shape (n_samples, n_classes)
        Held-out probabilities of each stage, in running order.
    y : ndarray of int of shape (n_samples,)
        Column of the true class.
    combine : {"mean", "last"}
        How the stages run so far are combined.
    weights : sequence of float
        Weight of each stage in the mean.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows.
    fold, sample : ndarray of int of shape (n_samples,)
        Fold of each row, and which sample it is where folds overlap.

    Returns
    -------
    ladder : LearnedLadder

    Raises
    ------
    ValueError
        If there are fewer than 100 rows, or folds leave no others.
    """
    n_rows = np.count_nonzero(sample_weight)
    if n_rows < MIN_ROWS:
        raise ValueError(
            f"confidence='learned' with {n_rows} held-out rows; expected at least {MIN_ROWS}, or "
            f"one of the other confidences, which learn nothing"
        )
    counted = sample_weight > 0
    running = RunningAnswer(combine, remember=True)
    sure, stages = np.empty((len(proba) - 1, len(y))), []
    for k in range(len(proba) - 1):
        answer = running.add(proba[k], weights[k])
        rows = _Rows(answer, running.said_else(), answer.argmax(axis=1) == y, sample_weight)
        stages.append(_fit(learned, rows.take(counted)))
        for held_out in np.unique(fold):
            these = fold == held_out
            others = counted & ~these & ~np.isin(sample, sample[these])
            if not others.any():
                raise ValueError("confidence='learned' needs at least two folds of other rows")
            part = rows.take(these)
            sure[k, these] = _fit(learned, rows.take(others))(part.proba, part.said)
    return LearnedLadder(sure, stages)


class _Rows(NamedTuple):
    """Answers after one stage, and whether they are right."""

    proba: np.ndarray
    said: list[tuple[np.ndarray, np.ndarray]]
    right: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> _Rows:
        """Return some of the rows."""
        said = [(sure[rows], own[rows]) for sure, own in self.said]
        return _Rows(self.proba[rows], said, self.right[rows], self.weight[rows])


def _fit(learned: LearnedConfidence, rows: _Rows) -> LearnedStage:
    """Fit one learner."""
    label, n_classes = rows.proba.argmax(axis=1), rows.proba.shape[1]
    table = class_table(label, rows.right, rows.weight, n_classes)
    features = confidence_features(rows.proba, rows.said, table)
    if rows.right.all() or not rows.right.any():
        # Nothing to tell apart: all rows are equally sure.
        share = (rows.right.sum() + 1) / (len(rows.right) + 2)
        return LearnedStage(table, np.zeros(features.shape[1]), float(np.log(share / (1 - share))))
    if learned.estimator is not None:
        model = clone(learned.estimator).fit(features, rows.right, sample_weight=rows.weight)
        return LearnedStage(table, None, 0.0, model)
    weight = rows.weight / rows.weight.mean()
    # Many rows, few features: Newton steps are fastest.
    scaler, logistic = StandardScaler(), LogisticRegression(solver="newton-cholesky")
    make_pipeline(scaler, logistic).fit(
        features, rows.right, logisticregression__sample_weight=weight
    )
    # One product instead of a pipeline, whose checks would take longer than most members.
    weights = logistic.coef_[0] / scaler.scale_
    return LearnedStage(table, weights, float(logistic.intercept_[0] - scaler.mean_ @ weights))
