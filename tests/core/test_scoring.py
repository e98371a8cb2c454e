"""Tests of the scores: sums over rows, and any scorer applied to recorded predictions."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    get_scorer,
    make_scorer,
    recall_score,
)
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade.core._scoring import (
    ADDITIVE_SCORINGS,
    score_contributions,
    score_probabilities,
)

MULTICLASS_BRIER = "labels" in inspect.signature(brier_score_loss).parameters


def fitted_model(n_classes, seed=0):
    """Return a real classifier of noisy rows; more than two classes have unsorted text labels."""
    X, y = make_classification(
        n_samples=120,
        n_features=6,
        n_informative=4,
        n_classes=n_classes,
        flip_y=0.3,
        weights=[0.6] + [0.4 / (n_classes - 1)] * (n_classes - 1),
        random_state=seed,
    )
    labels = np.array([0, 1] if n_classes == 2 else ["tea", "ale", "rum", "gin"])
    return GaussianNB().fit(X, labels[y]), X, labels[y]


def weights_of(weighted):
    """Return random weights, or None."""
    return np.random.default_rng(1).uniform(0.1, 3, size=120) if weighted else None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("scoring", sorted(ADDITIVE_SCORINGS))
def test_contributions_sum_to_the_scorer(scoring, n_classes, weighted):
    """Check each additive scoring against scikit-learn's scorer of the same name."""
    if scoring == "neg_brier_score" and n_classes > 2 and not MULTICLASS_BRIER:
        pytest.skip("this scikit-learn has a binary Brier score only")
    model, X, y = fitted_model(n_classes)
    weight = weights_of(weighted)
    column = np.searchsorted(model.classes_, y)
    contributions = score_contributions(
        scoring, model.predict_proba(X), column, np.ones(120) if weight is None else weight
    )
    named = {} if weight is None else {"sample_weight": weight}
    # A sum of 120 terms in another order.
    assert contributions.shape == (120,)
    assert contributions.sum() == pytest.approx(
        get_scorer(scoring)(model, X, y, **named), rel=1e-12
    )


@pytest.mark.parametrize(("n_classes", "scale"), [(2, 0.5), (3, 1.0), (4, 1.0)])
def test_brier_contributions_follow_their_formula(n_classes, scale):
    """Check the squared distance to the true class by hand, halved for two classes."""
    model, X, y = fitted_model(n_classes)
    proba, column = model.predict_proba(X), np.searchsorted(model.classes_, y)
    weight = weights_of(True)
    distance = ((proba - np.eye(n_classes)[column]) ** 2).sum(axis=1)
    expected = -scale * np.average(distance, weights=weight)
    contributions = score_contributions("neg_brier_score", proba, column, weight)
    assert contributions.sum() == pytest.approx(expected, rel=1e-12)
    # One matrix product less one more: cancellation near zero.
    np.testing.assert_allclose(contributions, -scale * distance * weight / weight.sum(), atol=1e-15)


def test_balanced_accuracy_is_over_the_classes_that_occur():
    """Check that a class without rows neither helps nor hurts, even where it is predicted."""
    y = np.array([0, 0, 0, 2, 2])
    proba = np.eye(3)[[0, 0, 1, 2, 1]]
    weight = np.array([1.0, 2.0, 1.0, 1.0, 4.0])
    expected = recall_score(
        y, proba.argmax(axis=1), labels=[0, 2], average="macro", sample_weight=weight
    )
    contributions = score_contributions("balanced_accuracy", proba, y, weight)
    assert contributions.sum() == pytest.approx(expected, rel=1e-14)
    assert contributions.tolist() == pytest.approx([1 / 8, 2 / 8, 0, 1 / 10, 0], rel=1e-14)


def test_log_loss_of_an_impossible_truth_is_finite():
    """Check that a probability of zero for the true class costs the log of the smallest step."""
    contributions = score_contributions(
        "neg_log_loss", np.array([[1.0, 0.0]] * 2), np.array([1, 0]), np.ones(2)
    )
    assert contributions[0] == pytest.approx(np.log(np.finfo(float).eps) / 2, rel=1e-12)
    assert contributions[1] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("scoring", sorted(ADDITIVE_SCORINGS))
def test_contributions_depend_on_proportions_of_the_weights_and_write_nothing(scoring):
    """Check that scaled weights give the same contributions and that inputs stay as they were."""
    model, X, y = fitted_model(4)
    proba, column = model.predict_proba(X), np.searchsorted(model.classes_, y)
    weight = weights_of(True)
    for array in (proba, column, weight):
        array.flags.writeable = False
    contributions = score_contributions(scoring, proba, column, weight)
    np.testing.assert_allclose(
        score_contributions(scoring, proba, column, 7 * weight), contributions, rtol=1e-12
    )


SCORERS = [
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "neg_log_loss",
    "matthews_corrcoef",
    "roc_auc",
    "roc_auc_ovr_weighted",
    "average_precision",
    make_scorer(f1_score, average="weighted", pos_label=None),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scoring", SCORERS, ids=str)
def test_recorded_predictions_score_like_the_model_itself(scoring, weighted):
    """Check that a scorer cannot tell recorded probabilities from the model that gave them."""
    binary_only = scoring in ("roc_auc", "average_precision")
    model, X, y = fitted_model(2 if binary_only else 3)
    weight = weights_of(weighted)
    named = {} if weight is None else {"sample_weight": weight}
    scorer = scoring if callable(scoring) else get_scorer(scoring)
    expected = scorer(model, X, y, **named)
    result = score_probabilities(scoring, model.predict_proba(X), y, model.classes_, weight)
    assert isinstance(result, float)
    # The sums over rows are taken in another order.
    assert result == pytest.approx(expected, rel=1e-12)


def test_scorer_sees_a_fitted_classifier_with_its_labels():
    """Check that plain scorer functions can use score, predict and classes_ as on a model."""
    model, X, y = fitted_model(3)

    def correct_and_known(estimator, rows, truth):
        assert estimator.classes_.tolist() == ["ale", "rum", "tea"]
        assert estimator.score(rows, truth) == accuracy_score(truth, estimator.predict(rows))
        return estimator.score(rows, truth)

    result = score_probabilities(correct_and_known, model.predict_proba(X), y, model.classes_)
    assert result == model.score(X, y)


def test_scorer_is_handed_the_rows_it_may_look_at():
    """Check that X reaches the scorer as the very object given, and is what it may predict for."""
    model, X, y = fitted_model(2)

    def on_large_rows(estimator, rows, truth):
        assert rows is X
        large = rows[:, 0] > 0
        return accuracy_score(truth[large], estimator.predict(rows)[large])

    result = score_probabilities(on_large_rows, model.predict_proba(X), y, model.classes_, X=X)
    assert result == on_large_rows(model, X, y)


@pytest.mark.parametrize(
    "rows",
    [slice(50), slice(None, None, -1), np.arange(120) // 2],
    ids=["fewer", "reversed", "resampled"],
)
def test_asking_recorded_predictions_for_other_rows_raises(rows):
    """Check that a scorer which cuts, turns or resamples the rows is refused, not misled."""
    model, X, y = fitted_model(2)

    def peeking(estimator, asked, truth):
        return estimator.score(asked[rows], truth[rows])

    assert peeking(model, X, y) > 0
    with pytest.raises(ValueError, match="recorded"):
        score_probabilities(peeking, model.predict_proba(X), y, model.classes_)


def test_scorer_without_weights_is_named_where_weights_are_given():
    """Check that weights are not dropped by a scorer that cannot take them."""

    def hits(estimator, X, y):
        return float((estimator.predict(X) == y).mean())

    proba, y, classes = np.eye(2)[[0, 1, 1]], np.array(["a", "b", "a"]), np.array(["a", "b"])
    assert score_probabilities(hits, proba, y, classes) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"scoring=.*hits.* takes no sample_weight"):
        score_probabilities(hits, proba, y, classes, np.ones(3))
