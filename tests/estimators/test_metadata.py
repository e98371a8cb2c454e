"""Tests of sample weights and other metadata, with scikit-learn's routing off and on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from sklearn_cascade.exceptions import IgnoredWeightsWarning
from tests.probes import CountingNB, log

ESTIMATORS = {
    "ensemble": (AveragingEnsemble, {}),
    "fixed": (CascadeClassifier, {"thresholds": 0.9}),
    "auto": (CascadeClassifier, {"cv": 3}),
}
each_estimator = pytest.mark.parametrize("kind", ESTIMATORS)


@pytest.fixture
def routing():
    """Switch metadata routing on for the test."""
    with config_context(enable_metadata_routing=True):
        yield


def build(kind, *members):
    """Return an unfitted estimator of one kind, its members named m0, m1, ..."""
    estimator, params = ESTIMATORS[kind]
    return estimator([(f"m{k}", member) for k, member in enumerate(members)], **params)


def weights_seen(key):
    """Return what reached each fit of a member as sample_weight, in a fixed order."""
    seen = [weight for _, weight in log(key)["fits"]]
    return seen if seen[0] is None else sorted(seen, key=tuple)


def expected_parts(kind, y, values):
    """Return the values for all rows and, where thresholds are tuned, for each training part."""
    folds = StratifiedKFold(3).split(y, y) if kind == "auto" else []
    return [values, *(values[train] for train, _ in folds)]


def assert_all_equal(found, expected):
    """Assert that a sorted list of arrays holds the expected ones."""
    for ours, theirs in zip(found, sorted(expected, key=tuple), strict=True):
        assert_array_equal(ours, theirs)


@each_estimator
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: make_pipeline(StandardScaler(), m)])
def test_weights_reach_every_fit_of_members_that_take_them(iris, key, kind, wrap):
    """Check that members, and the last steps of pipelines, get the weights of their rows."""
    X, y = iris
    weight = np.arange(1.0, 151)
    build(kind, wrap(CountingNB(key)), GaussianNB()).fit(X, y, sample_weight=weight)
    assert_all_equal(weights_seen(key), expected_parts(kind, y, weight))


@each_estimator
def test_member_without_weights_warns_once(iris, kind):
    """Check the one warning for a member that takes no weights, and none without weights."""
    X, y = iris
    estimator = build(kind, KNeighborsClassifier(), GaussianNB())
    with pytest.warns(IgnoredWeightsWarning, match=r"'m0' \(KNeighborsClassifier\)") as caught:
        estimator.fit(X, y, sample_weight=np.ones(150))
    assert len(caught) == 1
    estimator.fit(X, y)


@each_estimator
@pytest.mark.parametrize("on", [False, True])
def test_frozen_members_ignore_weights(iris, kind, on):
    """Check that frozen members ignore weights without a warning, with routing and without."""
    X, y = iris
    frozen = FrozenEstimator(GaussianNB().fit(X, y))
    prefit = PrefitClassifier(frozen.predict_proba, [0, 1, 2])
    with config_context(enable_metadata_routing=on):
        fitted = build(kind, frozen, prefit).fit(X, y, sample_weight=np.arange(150.0))
    assert fitted.estimators_ == [frozen, prefit]


@each_estimator
def test_other_keywords_need_routing(iris, key, kind):
    """Check that without routing any other keyword is an error, before anything is fitted."""
    X, y = iris
    with pytest.raises(ValueError, match=r"fit got \['groups'\].*enable_metadata_routing"):
        build(kind, CountingNB(key), GaussianNB()).fit(X, y, groups=y)
    assert log(key)["fits"] == []


@each_estimator
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(149), "inconsistent numbers of samples"),
        (np.ones((150, 2)), "1D array"),
        (2.0, "sample_weight=2.0; expected an array"),
        (np.r_[-1.0, np.ones(149)], "sample_weight holds -1.0"),
        (np.zeros(150), "at least one non-zero"),
        (np.r_[np.nan, np.ones(149)], "sample_weight contains NaN"),
        (np.r_[np.inf, np.ones(149)], "sample_weight contains infinity"),
    ],
)
@pytest.mark.parametrize("on", [False, True])
def test_wrong_weights_are_refused(iris, key, kind, weight, message, on):
    """Check that weights of a wrong shape or value are an error, before anything is fitted."""
    estimator = build(kind, CountingNB(key), GaussianNB())
    with config_context(enable_metadata_routing=on), pytest.raises(ValueError, match=message):
        estimator.fit(*iris, sample_weight=weight)
    assert log(key)["fits"] == []


@each_estimator
def test_routing_follows_each_members_request(iris, key, routing, kind):
    """Check that members get weights if they request them, none if they refuse."""
    X, y = iris
    weight = np.arange(1.0, 151)
    asking = CountingNB(f"{key}-asking").set_fit_request(sample_weight=True)
    refusing = CountingNB(f"{key}-refusing").set_fit_request(sample_weight=False)
    build(kind, asking, refusing).fit(X, y, sample_weight=weight)
    assert_all_equal(weights_seen(f"{key}-asking"), expected_parts(kind, y, weight))
    refused = weights_seen(f"{key}-refusing")
    assert refused == [None] * (4 if kind == "auto" else 1)


@each_estimator
def test_routing_needs_a_decision_from_each_member(iris, routing, kind):
    """Check that a member which neither requests nor refuses weights is an error naming it."""
    estimator = build(kind, GaussianNB(), KNeighborsClassifier())
    with pytest.raises(UnsetMetadataPassedError, match=r"GaussianNB\.fit"):
        estimator.fit(*iris, sample_weight=np.ones(150))
    estimator.fit(*iris)


@each_estimator
def test_routing_knows_aliases(iris, key, routing, kind):
    """Check that a member may take its weights under another name."""
    X, y = iris
    weight = np.arange(1.0, 151)
    member = CountingNB(key).set_fit_request(sample_weight="own_weight")
    build(kind, member, GaussianNB()).fit(X, y, own_weight=weight)
    assert_all_equal(weights_seen(key), expected_parts(kind, y, weight))


class ColouredNB(GaussianNB):
    """A member whose fit accepts one more array, and stores it."""

    def fit(self, X, y, colour=None):
        self.colour_ = colour
        return super().fit(X, y)


@each_estimator
def test_routing_carries_other_metadata(iris, routing, kind):
    """Check that an array reaches only the member that requests it."""
    X, y = iris
    wanting = ColouredNB().set_fit_request(colour=True)
    estimator = build(kind, wanting, ColouredNB().set_fit_request(colour=False))
    fitted = estimator.fit(X, y, colour=np.arange(150))
    assert_array_equal(fitted.estimators_[0].colour_, np.arange(150))
    assert fitted.estimators_[1].colour_ is None
    with pytest.raises(TypeError, match="shade"):
        estimator.fit(X, y, shade=np.arange(150))


def test_groups_reach_the_splitter(iris, key, routing):
    """Check that groups sent to fit keep each group on one side of every split."""
    X, y = iris
    groups = np.arange(150) % 7
    member = CountingNB(key).set_fit_request(sample_weight=True)
    other = GaussianNB().set_fit_request(sample_weight=False)
    cascade = CascadeClassifier([("a", member), ("b", other)], cv=GroupKFold(3))
    # The weights that reach the member identify the rows of each fold.
    cascade.fit(X, y, sample_weight=np.arange(1.0, 151), groups=groups)
    trained_on = [weight - 1 for weight in weights_seen(key)]
    parts = [train for train, _ in GroupKFold(3).split(X, y, groups)]
    assert_all_equal(trained_on, [np.arange(150), *parts])


@each_estimator
def test_routing_passes_through_cross_validation(iris, key, routing, kind):
    """Check that cross_validate passes weights to the estimator, and on to members."""
    X, y = iris
    weight = np.arange(1.0, 151)
    asking = CountingNB(key).set_fit_request(sample_weight=True)
    estimator = build(kind, asking, GaussianNB().set_fit_request(sample_weight=False))
    estimator.set_score_request(sample_weight=False)
    cross_validate(estimator, X, y, cv=StratifiedKFold(2), params={"sample_weight": weight})
    full = [seen for seen in weights_seen(key) if len(seen) == 75]
    assert_all_equal(full, [weight[train] for train, _ in StratifiedKFold(2).split(X, y)])


def test_routing_passes_through_a_search(iris, key, routing):
    """Check that GridSearchCV carries weights and groups into an auto cascade's members."""
    X, y = iris
    weight = np.arange(1.0, 151)
    asking = CountingNB(key).set_fit_request(sample_weight=True)
    other = GaussianNB().set_fit_request(sample_weight=False)
    cascade = CascadeClassifier([("a", asking), ("b", other)], cv=GroupKFold(2))
    cascade.set_score_request(sample_weight=True)
    search = GridSearchCV(cascade, {"a__var_smoothing": [1e-9, 1e-2]}, cv=2, scoring=None)
    search.fit(X, y, sample_weight=weight, groups=np.arange(150) % 5)
    seen = weights_seen(key)
    # Two candidates in two folds and the refit, each three fits.
    assert len(seen) == 15
    assert_array_equal(max(seen, key=len), weight)


@each_estimator
def test_weighted_members_equal_those_fitted_alone(iris, three_members, kind):
    """Check that the members of a weighted fit are the members fitted with the weights."""
    X, y = iris
    weight = np.random.default_rng(0).uniform(size=150)
    fitted = build(kind, *(member for _, member in three_members))
    fitted.fit(X, y, sample_weight=weight)
    for ours, (_, member) in zip(fitted.estimators_, three_members, strict=True):
        alone = member.fit(X, y, sample_weight=weight)
        assert_array_equal(ours.predict_proba(X), alone.predict_proba(X))
