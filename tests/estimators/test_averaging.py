"""Tests of AveragingEnsemble: its means, and its use in place of soft voting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import gmean
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_cascade import AveragingEnsemble
from tests.probes import numbered_rows, scripted
from tests.strategies import stage_probabilities


@pytest.mark.parametrize("weights", [None, [1, 2, 3], [0.5, 0, 2]])
@pytest.mark.parametrize("labels", [["b", "c", "a"], [30, -5, 7]])
def test_mean_equals_soft_voting(iris, three_members, weights, labels):
    """Check that trained members average as VotingClassifier does, with weights and weighted."""
    X, y = iris
    y = np.array(labels)[y]
    sample_weight = np.random.default_rng(0).uniform(size=len(y))
    ours = AveragingEnsemble(three_members, weights=weights)
    theirs = VotingClassifier(three_members, voting="soft", weights=weights)
    for fit_params in ({}, {"sample_weight": sample_weight}):
        ours.fit(X, y, **fit_params)
        theirs.fit(X, y, **fit_params)
        # Weights may be applied before or after the sum of three numbers.
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-14)
        assert_array_equal(ours.predict(X), theirs.predict(X))
        assert_array_equal(ours.classes_, theirs.classes_)


@given(stages=stage_probabilities(), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_means_follow_their_formulas(stages, seed):
    """Check both means against numpy and scipy, and that every member is called once."""
    tables, y, _ = stages
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=len(tables))
    X = numbered_rows(len(y))
    members = scripted(*tables)
    plain = AveragingEnsemble(members, weights=weights).fit(X, y)
    assert_allclose(
        plain.predict_proba(X), np.average(tables, axis=0, weights=weights), rtol=0, atol=1e-14
    )
    assert [member.asked for _, member in members] == [[list(range(len(X)))]] * len(members)
    # Away from zero, where the geometric mean is undefined.
    inner = [(table + 1e-3) / (table + 1e-3).sum(axis=1, keepdims=True) for table in tables]
    geometric = AveragingEnsemble(scripted(*inner), weights=weights, average="geometric")
    shares = np.broadcast_to(weights[:, None, None], np.shape(inner))
    expected = gmean(inner, axis=0, weights=shares)
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(geometric.fit(X, y).predict_proba(X), expected, rtol=1e-10)


def test_geometric_mean_of_zeros():
    """Check that a zero excludes a class, and that excluding all classes means averaging."""
    tables = [[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], [[0.8, 0.0, 0.2], [0.0, 0.0, 1.0]]]
    ensemble = AveragingEnsemble(scripted(*tables), average="geometric")
    proba = ensemble.fit(numbered_rows(2), [0, 1]).predict_proba(numbered_rows(2))
    assert_allclose(proba, [[1, 0, 0], [0.5, 0, 0.5]], rtol=1e-15)


@pytest.mark.parametrize("weights", [[1, 9, 3], {"nb": 1, "lr": 3}, {"nb": 1, "lr": 3, "tree": 9}])
@pytest.mark.parametrize("average", ["arithmetic", "geometric"])
def test_dropped_members_have_no_weight(iris, three_members, weights, average):
    """Check that a dropped member has no effect, in the list and in the weights."""
    X, y = iris
    ensemble = AveragingEnsemble(three_members, weights=weights, average=average)
    ensemble.set_params(tree="drop").fit(X, y)
    rest = [three_members[0], three_members[2]]
    expected = AveragingEnsemble(rest, weights=[1, 3], average=average).fit(X, y)
    assert list(ensemble.named_estimators_) == ["nb", "lr"]
    assert ensemble.weights_.tolist() == [1, 3]
    assert ensemble.costs_.tolist() == [1, 1]
    assert_array_equal(ensemble.predict_proba(X), expected.predict_proba(X))


def test_member_of_weight_zero_has_no_effect(iris, three_members):
    """Check that a member of weight zero changes nothing, also in the geometric mean."""
    X, y = iris
    for average in ("arithmetic", "geometric"):
        ensemble = AveragingEnsemble(three_members, weights=[0, 1, 0], average=average).fit(X, y)
        tree = ensemble.named_estimators_.tree
        # The geometric mean goes through logarithms and back.
        assert_allclose(ensemble.predict_proba(X), tree.predict_proba(X), rtol=1e-14)


def test_ensemble_works_inside_other_estimators(iris, three_members):
    """Check the ensemble in a pipeline, a calibrator and a stack, with text labels."""
    X, y = iris
    y = np.array(["setosa", "versicolor", "virginica"])[y]
    ensemble = AveragingEnsemble(three_members)
    for outer in (
        make_pipeline(StandardScaler(), ensemble),
        CalibratedClassifierCV(ensemble, cv=3),
        CalibratedClassifierCV(FrozenEstimator(clone(ensemble).fit(X, y))),
        StackingClassifier([("all", ensemble), ("nb", GaussianNB())], cv=3),
        VotingClassifier([("all", ensemble), ("nb", GaussianNB())], voting="soft"),
        AveragingEnsemble([("all", ensemble), ("nb", GaussianNB())]),
    ):
        fitted = outer.fit(X, y)
        assert fitted.score(X, y) > 0.93
        assert_array_equal(fitted.classes_, np.unique(y))


def test_scores_equal_those_of_soft_voting(iris, three_members):
    """Check cross-validated scores against VotingClassifier's, by labels and by probabilities."""
    X, y = iris
    for scoring in ("accuracy", "neg_log_loss", "roc_auc_ovr"):
        ours = cross_val_score(AveragingEnsemble(three_members), X, y, scoring=scoring, cv=3)
        voting = VotingClassifier(three_members, voting="soft")
        assert_allclose(ours, cross_val_score(voting, X, y, scoring=scoring, cv=3), rtol=1e-10)


def test_grid_search_reaches_members_and_weights(iris, three_members):
    """Check a search over weights, a member's own parameter and the member itself."""
    X, y = iris
    only_tree = [[0, 1, 0], {"nb": 0, "tree": 1, "lr": 0}]
    grid = [
        {"weights": only_tree, "tree__max_depth": [1, 4]},
        {"nb": ["drop", LogisticRegression(C=1e-6)], "lr": ["drop"]},
    ]
    search = GridSearchCV(AveragingEnsemble(three_members), grid, cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    # A stump separates two of three classes, and both weights give the same tree.
    assert max(scores[:2]) < 0.7 < 0.9 < min(scores[2:4])
    assert_array_equal(scores[[0, 2]], scores[[1, 3]])
    tree = cross_val_score(three_members[1][1], X, y, cv=3).mean()
    assert scores[4] == pytest.approx(tree, rel=1e-12)
    assert search.best_score_ == max(scores)
    assert search.best_estimator_.score(X, y) > 0.93
    assert three_members[1][1].max_depth == 3


def test_fitted_members_survive_clone_and_cross_validation(iris):
    """Check that frozen members keep their fit wherever the ensemble is cloned."""
    X, y = iris
    models = [GaussianNB().fit(X, y), LogisticRegression(max_iter=1000).fit(X, y)]
    ensemble = AveragingEnsemble([(f"m{k}", FrozenEstimator(m)) for k, m in enumerate(models)])
    expected = np.mean([model.predict_proba(X) for model in models], axis=0)
    # Two rows of each class teach nothing: the predictions are the frozen models'.
    few = np.array([0, 1, 50, 51, 100, 101])
    fitted = clone(ensemble).fit(X[few], y[few])
    assert_allclose(fitted.predict_proba(X), expected, rtol=1e-14)
    assert all(
        member.estimator is model for member, model in zip(fitted.estimators_, models, strict=True)
    )
    found = cross_validate(ensemble, X, y, cv=3, return_estimator=True)
    for copy in found["estimator"]:
        assert_allclose(copy.predict_proba(X), expected, rtol=1e-14)


def test_threads_change_nothing(blobs, three_members):
    """Check that parallel fit and predict change no bit."""
    X, y = blobs
    serial = AveragingEnsemble(three_members).fit(X, y)
    parallel = AveragingEnsemble(three_members, n_jobs=2).fit(X, y)
    assert_array_equal(serial.predict_proba(X), parallel.predict_proba(X))


def test_error_for_a_member_without_probabilities_names_the_remedy(iris):
    """Check that LinearSVC is refused with the wrapper that helps, and that it does help."""
    X, y = iris
    svc = LinearSVC()
    with pytest.raises(ValueError, match=r"'svc' \(LinearSVC\).*CalibratedClassifierCV"):
        AveragingEnsemble([("svc", svc)]).fit(X, y)
    wrapped = CalibratedClassifierCV(svc, cv=3)
    assert AveragingEnsemble([("svc", wrapped)]).fit(X, y).score(X, y) > 0.9
