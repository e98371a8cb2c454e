"""Fitting a learned confidence: how likely the output after each stage is correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklearn_cascade.core._combination import ProbaCombiner, combine_stages
from sklearn_cascade.core._learned_confidence import (
    MAX_ONE_HOT_CLASSES,
    ConfidenceModel,
    CrossFittedConfidence,
    class_table,
    confidence_features,
    proba_columns,
)
from sklearn_cascade.core._samples import time_calls, training_rows

# With fewer rows a learner of a dozen features learns nothing.
MIN_ROWS = 100
# Rows and calls on which a confidence model is timed.
N_TIMING_SAMPLES, _N_TIMED_CALLS = 1000, 5


class LearnedConfidence(BaseEstimator):  # type: ignore[misc]
    """Learn how likely the output so far is correct, and use that as the confidence.

    It only names the learner, which cascades and searches fit; ``confidence="learned"`` stands for
    it with the default learner. After each stage the
    confidence is the estimated probability that the prediction so far is the true class, from the
    sorted top probabilities, their margin and entropy, the predicted class, and the outputs of
    each stage by itself (Jitkrittum et al., 2023 [1]_, estimate it from the first two). The learner
    is fitted on held-out rows; thresholds are tuned on its estimates for rows that it did not see.

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

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator


def as_learned_confidence(confidence: Any) -> LearnedConfidence | None:
    """Return the learned confidence that a parameter stands for; None for any other confidence."""
    if isinstance(confidence, str) and confidence == "learned":
        return LearnedConfidence()
    return confidence if isinstance(confidence, LearnedConfidence) else None


class LearnedStages(NamedTuple):
    """The learned confidences of one cascade.

    After each stage but the last, and with "most_confident" after that one too.
    """

    confidence: np.ndarray  # (n_fitted, n_samples), each row by a model that did not see it
    models: list[ConfidenceModel]  # fitted on all rows


def fit_confidences(
    learned: LearnedConfidence,
    proba: Sequence[np.ndarray],
    y: np.ndarray,
    *,
    combinations: Sequence[str],
    weights: Sequence[float],
    sample_weight: np.ndarray,
    fold: np.ndarray,
    sample: np.ndarray,
) -> dict[str, LearnedStages]:
    """Fit confidence models after each stage, on all rows and on all folds but one.

    `proba` has held-out probabilities (n_samples, n_classes) of each stage, in running order; `y`
    holds the column of each true class, `weights` the weight of each stage in the mean, `fold`
    the fold of each row, and `sample` which sample it is, where folds overlap. Returns the
    learned stages of each of the combinations.
    """
    learned_stages = {}
    # The outputs compared by "most_confident" are those of "last": fitted once.
    for combination in ("mean", "most_confident" if "most_confident" in combinations else "last"):
        if combination not in combinations:
            continue
        combine = "mean" if combination == "mean" else "last"
        stages = list(
            islice(
                _stage_training_data(proba, y, combine, weights, sample_weight, fold, sample),
                len(proba) - (combination != "most_confident"),
            )
        )
        fits = [fit_stage_confidence(learned.estimator, data, proba[0].shape[1]) for data in stages]
        held_out = [
            fitted.held_out(fold).predict(data.columns, data.label, data.previous)
            for data, fitted in zip(stages, fits, strict=True)
        ]
        learned_stages[combination] = LearnedStages(
            np.stack(held_out), [fitted.model for fitted in fits]
        )
    if "last" in combinations and "most_confident" in combinations:
        both = learned_stages["most_confident"]
        learned_stages["last"] = LearnedStages(both.confidence[:-1], both.models[:-1])
    return {combination: learned_stages[combination] for combination in combinations}


def _stage_training_data(
    proba: Sequence[np.ndarray],
    y: np.ndarray,
    combine: str,
    weights: Sequence[float],
    *row_data: np.ndarray,
) -> Iterator[TrainingData]:
    """Yield the training data after each stage; `row_data`: weight, fold and sample of each row."""
    combiner = ProbaCombiner(combine, remember=True)
    rules = [None] * len(proba)
    for combined, _ in combine_stages(combiner, proba, rules, weights, n_gates=0):
        label = combined.argmax(axis=1)
        previous = combiner.previous_outputs()
        yield TrainingData(proba_columns(combined), label, previous, label == y, *row_data)


class TrainingData(NamedTuple):
    """Outputs after one stage, and whether they are correct; all arrays are (n_samples,)."""

    columns: Sequence[np.ndarray]  # `proba_columns` or `pair_columns` of the outputs
    label: np.ndarray  # int, predicted class
    previous: list[tuple[np.ndarray, np.ndarray]]  # confidence and class of stages by themselves
    correct: np.ndarray  # bool
    weight: np.ndarray  # none below zero
    fold: np.ndarray  # int
    sample: np.ndarray  # int, which sample each row is, where folds overlap

    def take(self, rows: np.ndarray) -> TrainingData:
        """Return some of the rows."""
        columns = [column[rows] for column in self.columns]
        previous = [(confidence[rows], label[rows]) for confidence, label in self.previous]
        return TrainingData(columns, self.label[rows], previous, *(part[rows] for part in self[3:]))


class FittedConfidence(NamedTuple):
    """The confidence models fitted after one stage."""

    model: ConfidenceModel  # fitted on all rows
    by_fold: dict[int, ConfidenceModel]  # fitted on all rows outside a fold

    def held_out(self, fold: np.ndarray) -> CrossFittedConfidence:
        """Return the confidence of rows with these folds (n_samples,), by models without them."""
        # No row of an unknown fold had a part in any fit.
        folds = np.unique(fold).tolist()
        return CrossFittedConfidence({k: self.by_fold.get(k, self.model) for k in folds}, fold)


def fit_stage_confidence(learner: Any, data: TrainingData, n_classes: int) -> FittedConfidence:
    """Fit a learner on all rows, and on all folds but one; None is a logistic regression.

    An error if there are fewer than 100 rows, or if no rows are left outside a fold.
    """
    counted = data.weight > 0
    if counted.sum() < MIN_ROWS:
        raise ValueError(
            f"confidence='learned' with {counted.sum()} held-out rows; expected at least "
            f"{MIN_ROWS}, or one of the other confidences, which learn nothing"
        )
    model, by_fold = _fit_model(learner, data.take(counted), n_classes), {}
    for rows, others in training_rows(data.fold, data.sample):
        others = others[counted[others]]
        if not len(others):
            raise ValueError("confidence='learned' needs at least two folds of other rows")
        test_fold = int(data.fold[rows[0]])
        by_fold[test_fold] = _fit_model(learner, data.take(others), n_classes, start=model)
    return FittedConfidence(model, by_fold)


def _fit_model(
    learner: Any, data: TrainingData, n_classes: int, start: ConfidenceModel | None = None
) -> ConfidenceModel:
    """Fit one learner; a logistic regression starts at the coefficients of `start`."""
    correct, weight = data.correct, data.weight / data.weight.mean()
    table, features = _class_table(data, n_classes), _fit_features(data, n_classes)
    if correct.all() or not correct.any():
        # Nothing to learn: all rows are equally confident.
        share = (correct.sum() + 1) / (len(correct) + 2)
        return ConfidenceModel(
            table, np.zeros(features.shape[1]), float(np.log(share / (1 - share)))
        )
    if learner is not None:
        model = clone(learner).fit(features, correct, sample_weight=data.weight)
        return ConfidenceModel(table, None, 0.0, model)
    # Many rows, few features: Newton steps are fastest.
    scaler = StandardScaler().fit(features)
    logistic = LogisticRegression(solver="newton-cholesky", warm_start=True)
    if start is not None and start.weights is not None:
        logistic.coef_ = (start.weights * scaler.scale_)[None]
        logistic.intercept_ = np.array([start.intercept + scaler.mean_ @ start.weights])
    logistic.fit(scaler.transform(features), correct, sample_weight=weight)
    # One product instead of a pipeline, whose checks would take longer than most members.
    weights = logistic.coef_[0] / scaler.scale_
    return ConfidenceModel(table, weights, float(logistic.intercept_[0] - scaler.mean_ @ weights))


def _class_table(data: TrainingData, n_classes: int) -> np.ndarray:
    """Return what the features say about each class: shape (n_classes, n_columns)."""
    return class_table(data.label, data.correct, data.weight, n_classes)


def _fit_features(data: TrainingData, n_classes: int) -> np.ndarray:
    """Return the features to fit on: shape (n_samples, n_features).

    A class's share of correct predictions reveals the outcome of the rows in it, so each fold
    gets that of the other folds; features of new rows use that of all.
    """
    folds = np.unique(data.fold)
    if n_classes <= MAX_ONE_HOT_CLASSES or len(folds) < 2:
        table = _class_table(data, n_classes)
        return confidence_features(data.columns, data.label, data.previous, table)
    parts = [np.flatnonzero(data.fold == fold) for fold in folds]
    features = []
    for fold, part in zip(folds, parts, strict=True):
        table, subset = _class_table(data.take(data.fold != fold), n_classes), data.take(part)
        features.append(confidence_features(subset.columns, subset.label, subset.previous, table))
    return np.concatenate(features)[np.argsort(np.concatenate(parts))]


def confidence_seconds(combiner: ProbaCombiner, model: ConfidenceModel) -> float:
    """Return the seconds that a confidence model takes for a row of a batch."""
    seconds = time_calls([lambda: combiner.confidence(model)], _N_TIMED_CALLS, warm_up=False)
    return float(np.median(seconds)) / len(combiner.proba)
