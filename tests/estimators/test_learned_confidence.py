"""Tests of cascades with a learned confidence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier, LearnedConfidence
from sklearn_cascade.exceptions import UnseenClassWarning
from tests.probes import ScriptedMember, numbered_rows

CHEAP = ("nb", GaussianNB())
EXPENSIVE = ("trees", ExtraTreesClassifier(20, random_state=0))


@pytest.fixture(scope="module")
def cascade(blobs):
    """Return a cascade with a learned confidence, tuned."""
    X, y = blobs
    return CascadeClassifier([CHEAP, EXPENSIVE], costs=[1, 40], confidence="learned").fit(X, y)


def liar(n_samples, seed=0):
    """Return a member that is confident of every row and wrong whenever it predicts 1, and y."""
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, 2, n_samples)
    top = rng.uniform(0.9, 0.99, n_samples)
    table = np.where(np.arange(2) == predicted[:, None], top[:, None], 1 - top[:, None])
    right = np.where(predicted == 0, rng.random(n_samples) < 0.99, rng.random(n_samples) < 0.5)
    return table, np.where(right, predicted, 1 - predicted)


def test_learned_confidence_sees_which_class_was_predicted():
    """Check that rows are deferred by the class on which the cheap member errs."""
    table, y = liar(2000)
    oracle = np.where(np.arange(2) == y[:, None], 0.99, 0.01)
    members = [("liar", ScriptedMember(table)), ("oracle", ScriptedMember(oracle))]
    X = numbered_rows(2000)
    found = {}
    for confidence in ("max_proba", "learned"):
        cascade = CascadeClassifier(
            members, costs=[1, 100], confidence=confidence, combine="last", thresholds=0.9
        )
        found[confidence] = cascade.fit(X, y).predict_details(X)
    predicted = table.argmax(axis=1)
    assert_array_equal(found["max_proba"].exit_stage, 0)
    assert_array_equal(found["learned"].exit_stage, predicted)
    assert np.mean(found["learned"].label == y) > 0.99


def test_confidence_is_a_probability_of_being_right(blobs):
    """Check the calibration of the confidence on unseen rows."""
    table, y = liar(4000)
    X = numbered_rows(4000)
    members = [("liar", ScriptedMember(table)), ("other", ScriptedMember(table))]
    cascade = CascadeClassifier(members, confidence="learned", combine="last", thresholds=0.9)
    cascade.fit(X[:2000], y[:2000])
    predicted = table[2000:].argmax(axis=1)
    gone_on = cascade.predict_details(X[2000:]).exit_stage
    right = predicted == y[2000:]
    assert np.mean(right[gone_on == 0]) > 0.9
    assert np.mean(right[gone_on == 1]) < 0.9


def test_tuned_and_cross_fitted_estimates_are_reported(cascade):
    """Check the tuned and the cross-fitted estimate, and "learned" in the report."""
    assert 0 < cascade.cross_fitted_score_ <= 1
    assert cascade.tuned_cost_ <= 41
    assert "learned" in str(cascade.cost_report(np.zeros((3, cascade.n_features_in_))))


def test_batch_and_single_rows_agree(cascade, blobs):
    """Check that a single row exits as in a batch."""
    X = blobs[0][:40]
    alone = [cascade.predict_details(row[None]).exit_stage[0] for row in X]
    assert_array_equal(alone, cascade.predict_details(X).exit_stage)


def test_copies_predict_alike(cascade, blobs):
    """Check clones, pickles and another operating point of a fitted cascade."""
    X, y = blobs
    expected = cascade.predict_proba(X)
    assert_array_equal(pickle.loads(pickle.dumps(cascade)).predict_proba(X), expected)
    assert_array_equal(clone(cascade).fit(X, y).predict_proba(X), expected)
    never = cascade.with_thresholds(np.inf).predict_details(X)
    assert_array_equal(never.exit_stage, 1)


def test_any_classifier_may_be_the_learner(blobs):
    """Check another learner, alone and as a pipeline, whose outputs are used."""
    X, y = blobs
    learners = [
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        LogisticRegression(max_iter=500),
    ]
    for learner in learners:
        cascade = CascadeClassifier(
            [CHEAP, EXPENSIVE], costs=[1, 40], confidence=LearnedConfidence(learner), cv=3
        )
        details = cascade.fit(X, y).predict_details(X)
        assert set(details.exit_stage) <= {0, 1}
        assert cascade.get_params()["confidence"].estimator is learner


def test_default_learner_is_a_logistic_regression_on_standardised_features(blobs):
    """Check that the default equals the same pipeline of scikit-learn."""
    X, y = blobs
    same = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
    stages = []
    for confidence in ("learned", LearnedConfidence(_Weighted(same))):
        cascade = CascadeClassifier(
            [CHEAP, EXPENSIVE], costs=[1, 40], confidence=confidence, combine="last", thresholds=0.8
        )
        stages.append(cascade.fit(X, y).predict_details(X).exit_stage)
    assert_array_equal(*stages)


class _Weighted(LogisticRegression):
    """A pipeline whose fit accepts sample_weight."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def fit(self, X, y, sample_weight=None):
        self.pipeline.fit(X, y, logisticregression__sample_weight=sample_weight)
        return self

    def predict_proba(self, X):
        return self.pipeline.predict_proba(X)


def test_measured_costs_include_the_seconds_of_the_confidence(blobs):
    """Check that measured costs include the learner's time, and the report names it."""
    X, y = blobs
    cascade = CascadeClassifier([CHEAP, EXPENSIVE], costs="measured", confidence="learned").fit(
        X, y
    )
    assert cascade.confidence_seconds_.shape == (2,)
    assert 0 < cascade.confidence_seconds_[0] < cascade.costs_[0]
    counted = CascadeClassifier([CHEAP, EXPENSIVE], costs=[1, 40], confidence="learned").fit(X, y)
    assert_array_equal(counted.costs_, [1, 40])


def test_weights_count_by_their_ratios():
    """Check that doubled weights change nothing, and that a class of weight zero does."""
    table, y = liar(2000)
    X, predicted = numbered_rows(2000), table.argmax(axis=1)
    members = [("liar", ScriptedMember(table)), ("other", ScriptedMember(table))]
    found = []
    for weight in (
        np.ones(2000),
        np.full(2000, 2.0),
        np.where((predicted == 1) & (y == 0), 0.0, 1.0),
    ):
        cascade = CascadeClassifier(
            members, confidence="learned", combine="last", thresholds=0.9
        ).fit(X, y, sample_weight=weight)
        found.append(cascade.predict_details(X).exit_stage)
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], predicted)
    # If wrong predictions have no weight, every prediction counts as right.
    assert_array_equal(found[2], 0)


def test_one_fit_of_each_member_per_fold(cascade):
    """Check that a learned confidence keeps working in cross-validation, and one stage too."""
    X = np.random.default_rng(0).normal(size=(300, 2))
    y = (X[:, 0] > 0).astype(int)
    scores = cross_validate(
        CascadeClassifier([CHEAP, EXPENSIVE], costs=[1, 40], confidence="learned"), X, y, cv=2
    )
    assert scores["test_score"].min() > 0.9
    single = CascadeClassifier([CHEAP], confidence="learned").fit(X, y)
    assert_array_equal(single.predict(X), GaussianNB().fit(X, y).predict(X))


@pytest.mark.parametrize("right", [True, False])
def test_members_that_are_always_right_or_wrong_have_a_constant_confidence(right):
    """Check that all rows have the same confidence if there is nothing to learn."""
    y = np.arange(200) % 2
    table = np.eye(2)[y if right else 1 - y] * 0.8 + 0.1
    members = [("a", ScriptedMember(table)), ("b", ScriptedMember(table))]
    cascade = CascadeClassifier(members, confidence="learned", thresholds=0.5, combine="last")
    details = cascade.fit(numbered_rows(200), y).predict_details(numbered_rows(200))
    assert_array_equal(details.exit_stage, 0 if right else 1)


@pytest.mark.parametrize(
    ("n_samples", "params", "message"),
    [
        (99, {}, "with 99 held-out rows; expected at least 100"),
        (200, {"allow_abstain": True}, "with allow_abstain=True; expected allow_abstain=False"),
        (200, {"confidence": "guessed"}, "confidence"),
    ],
)
def test_learning_without_enough_data_is_refused(n_samples, params, message):
    """Check that too few rows, abstaining members and unknown names are refused by name."""
    X = np.random.default_rng(0).normal(size=(n_samples, 2))
    y = (X[:, 0] > 0).astype(int)
    cascade = CascadeClassifier([CHEAP, EXPENSIVE], **{"confidence": "learned", **params})
    with pytest.raises(ValueError, match=message):
        cascade.fit(X, y)


def test_certificate_counts_the_predictions_of_a_learned_cascade():
    """Check that a certificate has the exits of the predictions."""
    table, y = liar(4000)
    oracle = np.where(np.arange(2) == y[:, None], 0.99, 0.01)
    members = [("liar", ScriptedMember(table)), ("oracle", ScriptedMember(oracle))]
    X = numbered_rows(4000)
    cascade = CascadeClassifier(members, costs=[1, 100], confidence="learned", combine="last")
    cascade.fit(X[:1000], y[:1000])
    report = cascade.certify(X[1000:], y[1000:], epsilon=0.05)
    details = cascade.with_thresholds(report).predict_details(X[1000:])
    assert report.certified
    assert report.regressions == np.sum(details.label != y[1000:])
    assert [stage["n_samples"] for stage in report.stages] == np.bincount(
        details.exit_stage
    ).tolist()
    assert report.mean_cost == pytest.approx(details.cost.mean())


@pytest.mark.parametrize("combine", ["mean", "last", "most_confident"])
def test_constant_features_give_all_rows_the_same_confidence(combine):
    """Check that rows without differences all exit together."""
    X, y = np.zeros((300, 2)), np.arange(300) % 3 > 0
    members = [("prior", DummyClassifier()), ("lr", LogisticRegression())]
    cascade = CascadeClassifier(members, confidence="learned", combine=combine, thresholds=0.6)
    details = cascade.fit(X, y).predict_details(X)
    assert len(np.unique(details.exit_stage)) == 1
    assert details.label.all()


@pytest.mark.parametrize("combine", ["mean", "last", "most_confident"])
def test_class_that_some_members_never_saw_is_predicted(combine):
    """Check that rows of a rare class, which folds and members lack, are predicted."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.where(X[:, 0] > 0, "up", "down").astype(object)
    y[:2] = "rare"
    X[:2] += 30.0
    known = GaussianNB().fit(X[2:], y[2:])
    members = [("known", FrozenEstimator(known)), ("lr", LogisticRegression())]
    cascade = CascadeClassifier(
        members, costs=[1, 9], confidence="learned", combine=combine, thresholds=0.99, cv=KFold(4)
    )
    with pytest.warns(UnseenClassWarning, match="has never seen"):
        cascade.fit(X, y)
    assert set(cascade.classes_) == {"down", "rare", "up"}
    details = cascade.predict_details(X)
    assert np.mean(details.label[2:] == y[2:]) > 0.95
    assert np.isfinite(details.proba).all()


def test_one_class_is_refused():
    """Check that a learned confidence needs two classes like any other."""
    cascade = CascadeClassifier([CHEAP, EXPENSIVE], confidence="learned")
    with pytest.raises(ValueError, match="class"):
        cascade.fit(np.zeros((200, 2)), np.zeros(200))


def test_more_than_twenty_classes_use_their_share():
    """Check stages with many classes, in a batch and row by row."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 25, 3000)
    hard = y < 5
    tables = []
    for skill in (2.0, 4.0):
        logits = rng.normal(size=(3000, 25)) + skill * np.eye(25)[y] * (2 - hard[:, None])
        tables.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    members = [(f"m{k}", ScriptedMember(table)) for k, table in enumerate(tables)]
    X = numbered_rows(3000)
    cascade = CascadeClassifier(members, costs=[1, 9], confidence="learned").fit(X, y)
    details = cascade.predict_details(X)
    assert details.exit_stage[hard].mean() > details.exit_stage[~hard].mean()
    alone = [cascade.predict_details(X[[row]]).exit_stage[0] for row in range(50)]
    assert_array_equal(alone, details.exit_stage[:50])
