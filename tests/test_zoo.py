"""Tests of every classifier of scikit-learn, as a first and as a last stage."""

from __future__ import annotations

import warnings
from functools import cache
from inspect import signature

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators
from threadpoolctl import threadpool_limits

from sklearn_cascade import CascadeClassifier

pytestmark = [
    # scikit-learn 1.9 announces the end of SVC(probability=True), which still works.
    pytest.mark.filterwarnings("ignore:The `probability` parameter was deprecated:FutureWarning"),
    # Self-training expects rows without a label, which a cascade does not accept.
    pytest.mark.filterwarnings("ignore:y contains no unlabeled samples:UserWarning"),
]

ZOO = dict(all_estimators(type_filter="classifier"))
N_CLASSES = (2, 3)

NO_PROBABILITIES = "has no predict_proba"
# The classifiers that cannot be members: for how many classes, and with which error.
EXCEPTIONS = {
    # They have no probabilities; a calibrator around them has.
    "LinearSVC": (N_CLASSES, NO_PROBABILITIES),
    "OneVsOneClassifier": (N_CLASSES, NO_PROBABILITIES),
    "OutputCodeClassifier": (N_CLASSES, NO_PROBABILITIES),
    "PassiveAggressiveClassifier": (N_CLASSES, NO_PROBABILITIES),
    "Perceptron": (N_CLASSES, NO_PROBABILITIES),
    "RidgeClassifier": (N_CLASSES, NO_PROBABILITIES),
    "RidgeClassifierCV": (N_CLASSES, NO_PROBABILITIES),
    # They need one column of labels per output, and a cascade has one output.
    "ClassifierChain": (N_CLASSES, "tuple index out of range"),
    "MultiOutputClassifier": (N_CLASSES, "y must have at least two dimensions"),
    # They move the threshold of two classes.
    "FixedThresholdClassifier": ((3,), "Only binary classification is supported"),
    "TunedThresholdClassifierCV": ((3,), "Only binary classification is supported"),
}
MEMBERS = [
    (name, n_classes)
    for name in sorted(ZOO)
    for n_classes in N_CLASSES
    if n_classes not in EXCEPTIONS.get(name, ((), ""))[0]
]
NO_MEMBERS = [
    (name, n_classes)
    for name in sorted(EXCEPTIONS)
    for n_classes in EXCEPTIONS[name][0]
    # Some will be removed from scikit-learn.
    if name in ZOO
]
# Parameters for probabilities, fewer warnings or speed.
SETTINGS = {
    "SGDClassifier": {"loss": "log_loss"},
    "SVC": {"probability": True},
    "NuSVC": {"probability": True},
    "VotingClassifier": {"voting": "soft"},
    # By default, it has no predict_proba before it is fitted.
    "StackingClassifier": {"final_estimator": LogisticRegression(), "cv": 2},
    "SelfTrainingClassifier": {"estimator": GaussianNB()},
    "LogisticRegressionCV": {"Cs": 2, "cv": 2, "scoring": "neg_log_loss"},
    "MLPClassifier": {"hidden_layer_sizes": (8,), "max_iter": 20},
    "HistGradientBoostingClassifier": {"max_iter": 5},
    "CalibratedClassifierCV": {"cv": 2},
    "TunedThresholdClassifierCV": {"cv": 2},
}
# New in scikit-learn 1.8; without them, 1.9 warns of a change.
NEW_SETTINGS = {"LogisticRegressionCV": {"use_legacy_attributes": False, "l1_ratios": (0.0,)}}


@pytest.fixture(autouse=True)
def _one_thread():
    """Keep these small fits from waiting for each other's threads."""
    with threadpool_limits(1):
        yield


def build(name):
    """Return a small unfitted classifier of the zoo."""
    kind = ZOO[name]
    known = signature(kind).parameters
    settings = dict(SETTINGS.get(name, {}))
    if "use_legacy_attributes" in known:
        settings.update(NEW_SETTINGS[name])
    if "estimators" in known:
        settings["estimators"] = [("nb", GaussianNB()), ("tree", DecisionTreeClassifier())]
    for parameter in ("estimator", "base_estimator"):
        if parameter in known and known[parameter].default is known[parameter].empty:
            settings[parameter] = LogisticRegression()
    if "n_estimators" in known:
        settings["n_estimators"] = 5
    classifier = kind(**settings)
    seeds = [key for key in classifier.get_params() if key.split("__")[-1] == "random_state"]
    return classifier.set_params(**dict.fromkeys(seeds, 0))


@cache
def data(n_classes):
    """Return rows without negative numbers, which some need, and unsorted labels."""
    X, codes = make_classification(
        n_samples=90,
        n_features=5,
        n_informative=4,
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=1,
        random_state=n_classes,
    )
    return X - X.min(axis=0), np.array(["z", "a", "m"])[codes]


def alone(classifier, n_classes):
    """Return the probabilities of a classifier fitted alone, columns in the order of the labels.

    It is fitted on codes, since some versions of some classifiers take no text.
    """
    X, y = data(n_classes)
    return classifier.fit(X, np.unique(y, return_inverse=True)[1]).predict_proba(X)


def assert_predicts(cascade, n_classes, stages, expected):
    """Assert that each row has the prediction of its exit stage's member alone."""
    X, y = data(n_classes)
    details = cascade.predict_details(X)
    labels = np.unique(y)
    assert_array_equal(cascade.classes_, labels)
    assert_array_equal(details.exit_stage, stages)
    proba = np.where(np.asarray(stages)[:, None] == 0, *expected)
    # Batches of other sizes are added up in another order.
    assert_allclose(details.proba, proba, rtol=1e-9, atol=1e-12)
    assert_allclose(details.proba.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert_array_equal(cascade.predict_proba(X), details.proba)
    assert_array_equal(cascade.predict(X), details.label)
    assert_array_equal(details.label, labels[details.proba.argmax(axis=1)])
    report = cascade.cost_report(X, y)
    assert report.score == pytest.approx((details.label == y).mean(), abs=1e-12)
    assert report.exit_counts == tuple(np.bincount(stages, minlength=2))


@pytest.mark.parametrize(("name", "n_classes"), MEMBERS)
@pytest.mark.parametrize("position", ["first", "last"])
def test_classifier_is_a_stage(name, n_classes, position):
    """Check that a classifier predicts as a stage as it does alone: all rows, none, or some."""
    X, y = data(n_classes)
    members = [("tested", build(name)), ("nb", GaussianNB(var_smoothing=0.1))]
    expected = [alone(build(name), n_classes), alone(GaussianNB(var_smoothing=0.1), n_classes)]
    if position == "last":
        members, expected = members[::-1], expected[::-1]
    cascade = CascadeClassifier(members, thresholds=np.inf, combine="last").fit(X, y)
    assert_predicts(cascade, n_classes, np.ones(len(y), int), expected)
    assert_predicts(cascade.with_thresholds(-np.inf), n_classes, np.zeros(len(y), int), expected)
    # Midway between two confidences, or between the only one and certainty.
    confidences = np.unique(np.append(expected[0].max(axis=1).round(4), 1.1))
    middle = len(confidences) // 2
    limit = confidences[middle - 1 : middle + 1].mean()
    stages = (expected[0].max(axis=1) < limit).astype(int)
    assert_predicts(cascade.with_thresholds(limit), n_classes, stages, expected)


@pytest.mark.parametrize(("name", "n_classes"), NO_MEMBERS)
def test_exceptions_cannot_be_members(name, n_classes):
    """Check that each exception cannot be a member, for the listed reason."""
    X, y = data(n_classes)
    with warnings.catch_warnings():
        # Some of them are deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        classifier = build(name)
    cascade = CascadeClassifier([("tested", classifier), ("nb", GaussianNB())], thresholds=0.8)
    with pytest.raises((ValueError, IndexError), match=EXCEPTIONS[name][1]):
        cascade.fit(X, y)


@pytest.mark.parametrize(
    ("name", "n_classes"),
    # A calibrator needs at least scores, and output codes have none.
    [
        (name, n_classes)
        for name, n_classes in NO_MEMBERS
        if EXCEPTIONS[name][1] == NO_PROBABILITIES and hasattr(ZOO[name], "decision_function")
    ],
)
def test_calibrator_helps_as_the_error_advises(name, n_classes):
    """Check that a classifier without probabilities is a stage once it is calibrated."""
    X, y = data(n_classes)
    with warnings.catch_warnings():
        # Some of them are deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = CalibratedClassifierCV(build(name), cv=2)
        expected = alone(CalibratedClassifierCV(build(name), cv=2), n_classes)
        members = [("nb", GaussianNB()), ("tested", wrapped)]
        cascade = CascadeClassifier(members, thresholds=np.inf, combine="last").fit(X, y)
    stages = np.ones(len(y), int)
    assert_predicts(cascade, n_classes, stages, [expected, expected])
