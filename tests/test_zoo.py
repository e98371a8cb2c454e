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
    # Self-training hopes for rows without a label, which committees do not have.
    pytest.mark.filterwarnings("ignore:y contains no unlabeled samples:UserWarning"),
]

ZOO = dict(all_estimators(type_filter="classifier"))
N_CLASSES = (2, 3)

NO_PROBABILITIES = "has no predict_proba"
# The classifiers that cannot be members: for how many classes, and the error that tells why.
EXCEPTIONS = {
    # They decide without probabilities; a calibrator around them gives some.
    "LinearSVC": (N_CLASSES, NO_PROBABILITIES),
    "OneVsOneClassifier": (N_CLASSES, NO_PROBABILITIES),
    "OutputCodeClassifier": (N_CLASSES, NO_PROBABILITIES),
    "PassiveAggressiveClassifier": (N_CLASSES, NO_PROBABILITIES),
    "Perceptron": (N_CLASSES, NO_PROBABILITIES),
    "RidgeClassifier": (N_CLASSES, NO_PROBABILITIES),
    "RidgeClassifierCV": (N_CLASSES, NO_PROBABILITIES),
    # They want one column of labels per output, and committees have one output.
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
OUTSIDERS = [
    (name, n_classes)
    for name in sorted(EXCEPTIONS)
    for n_classes in EXCEPTIONS[name][0]
    # Some leave scikit-learn one day.
    if name in ZOO
]
# What makes a classifier give probabilities, keep quiet, or be quick; where it has the parameter.
SETTINGS = {
    "SGDClassifier": {"loss": "log_loss"},
    "SVC": {"probability": True},
    "NuSVC": {"probability": True},
    "VotingClassifier": {"voting": "soft"},
    # By default, it has no probabilities to show before it is fitted.
    "StackingClassifier": {"final_estimator": LogisticRegression(), "cv": 2},
    "SelfTrainingClassifier": {"estimator": GaussianNB()},
    "LogisticRegressionCV": {"Cs": 2, "cv": 2, "scoring": "neg_log_loss"},
    "MLPClassifier": {"hidden_layer_sizes": (8,), "max_iter": 20},
    "HistGradientBoostingClassifier": {"max_iter": 5},
    "CalibratedClassifierCV": {"cv": 2},
    "TunedThresholdClassifierCV": {"cv": 2},
}
# New with scikit-learn 1.8; without, 1.9 warns of what will change.
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
    """Return rows without negative numbers, which some want, and labels out of order."""
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

    It is fitted on codes, as some take no text at all on some versions.
    """
    X, y = data(n_classes)
    return classifier.fit(X, np.unique(y, return_inverse=True)[1]).predict_proba(X)


def assert_answers(cascade, n_classes, stages, expected):
    """Assert that each row is answered by its stage, as that member answers alone."""
    X, y = data(n_classes)
    details = cascade.predict_details(X)
    labels = np.unique(y)
    assert_array_equal(cascade.classes_, labels)
    assert_array_equal(details.exit_stage, stages)
    answers = np.where(np.asarray(stages)[:, None] == 0, *expected)
    # Batches of other sizes are added up in another order.
    assert_allclose(details.proba, answers, rtol=1e-9, atol=1e-12)
    assert_allclose(details.proba.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert_array_equal(cascade.predict_proba(X), details.proba)
    assert_array_equal(cascade.predict(X), details.label)
    assert_array_equal(details.label, labels[details.proba.argmax(axis=1)])
    report = cascade.cost_report(X, y)
    assert report.score == pytest.approx((details.label == y).mean(), abs=1e-12)
    assert report.exit_counts == tuple(np.bincount(stages, minlength=2))


@pytest.mark.parametrize(("name", "n_classes"), MEMBERS)
@pytest.mark.parametrize("place", ["first", "last"])
def test_classifier_is_a_stage(name, n_classes, place):
    """Check that a classifier as a stage answers as alone: all rows, none of them, or some."""
    X, y = data(n_classes)
    members = [("it", build(name)), ("nb", GaussianNB(var_smoothing=0.1))]
    expected = [alone(build(name), n_classes), alone(GaussianNB(var_smoothing=0.1), n_classes)]
    if place == "last":
        members, expected = members[::-1], expected[::-1]
    cascade = CascadeClassifier(members, thresholds=np.inf, combine="last").fit(X, y)
    assert_answers(cascade, n_classes, np.ones(len(y), int), expected)
    assert_answers(cascade.with_thresholds(-np.inf), n_classes, np.zeros(len(y), int), expected)
    # Midway between two confidences, or between the only one and certainty.
    confidences = np.unique(np.append(expected[0].max(axis=1).round(4), 1.1))
    middle = len(confidences) // 2
    limit = confidences[middle - 1 : middle + 1].mean()
    stages = (expected[0].max(axis=1) < limit).astype(int)
    assert_answers(cascade.with_thresholds(limit), n_classes, stages, expected)


@pytest.mark.parametrize(("name", "n_classes"), OUTSIDERS)
def test_exceptions_do_not_work(name, n_classes):
    """Check that each exception is one: it cannot be a member, for the reason that is listed."""
    X, y = data(n_classes)
    with warnings.catch_warnings():
        # Some of them are deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        outsider = build(name)
    cascade = CascadeClassifier([("it", outsider), ("nb", GaussianNB())], thresholds=0.8)
    with pytest.raises((ValueError, IndexError), match=EXCEPTIONS[name][1]):
        cascade.fit(X, y)


@pytest.mark.parametrize(
    ("name", "n_classes"),
    # A calibrator needs scores at least, and output codes have none.
    [
        (name, n_classes)
        for name, n_classes in OUTSIDERS
        if EXCEPTIONS[name][1] == NO_PROBABILITIES and hasattr(ZOO[name], "decision_function")
    ],
)
def test_calibrator_helps_as_the_error_says(name, n_classes):
    """Check that what has no probabilities is a stage once it is wrapped as the error advises."""
    X, y = data(n_classes)
    with warnings.catch_warnings():
        # Some of them are deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = CalibratedClassifierCV(build(name), cv=2)
        expected = alone(CalibratedClassifierCV(build(name), cv=2), n_classes)
        members = [("nb", GaussianNB()), ("it", wrapped)]
        cascade = CascadeClassifier(members, thresholds=np.inf, combine="last").fit(X, y)
    stages = np.ones(len(y), int)
    assert_answers(cascade, n_classes, stages, [expected, expected])
