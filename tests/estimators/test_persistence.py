"""Tests of saving, copying and sharing fitted estimators."""

from __future__ import annotations

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import joblib
import numpy as np
import pytest
import skops.io
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import AveragingEnsemble, CascadeClassifier

N_THREADS = 8


def by_pickle(fitted):
    """Return the estimator after pickling."""
    return pickle.loads(pickle.dumps(fitted))


def by_joblib(fitted):
    """Return the estimator after joblib wrote and read it."""
    file = io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    return joblib.load(file)


def by_skops(fitted):
    """Return the estimator after skops wrote and read it, trusting this package's names alone."""
    saved = skops.io.dumps(fitted)
    own = skops.io.get_untrusted_types(data=saved)
    assert own
    assert all(name.startswith("sklearn_cascade.") for name in own)
    return skops.io.loads(saved, trusted=own)


ESTIMATORS = {
    "ensemble": (AveragingEnsemble, {"weights": {"nb": 1, "lr": 2, "frozen": 1, "off": 0}}),
    "geometric": (AveragingEnsemble, {"average": "geometric", "costs": [1, 2, 3, 4]}),
    "abstaining": (AveragingEnsemble, {"allow_abstain": True}),
    "fixed": (CascadeClassifier, {"thresholds": [0.8, 0.9, 0.5], "confidence": "entropy"}),
    "auto": (CascadeClassifier, {"cv": 3, "costs": [1, 2, 3, 4], "cost_unit": "MFLOPs"}),
    "measured": (CascadeClassifier, {"thresholds": 0.8, "costs": "measured"}),
}


@pytest.fixture(params=ESTIMATORS)
def fitted(request, iris):
    """Return a fitted estimator of trained and frozen members and a dropped one."""
    X, y = iris
    names = np.array(["z", "a", "m"])[y]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    members = [
        ("nb", GaussianNB()),
        ("frozen", FrozenEstimator(GaussianNB(var_smoothing=0.1).fit(X, names))),
        ("off", "drop"),
        ("lr", pipeline),
    ]
    estimator, params = ESTIMATORS[request.param]
    return estimator(members, **params).fit(X, names)


def assert_same_answers(ours, theirs, X):
    """Assert that two estimators have the same outputs for X, to the last bit."""
    for a, b in zip(ours.predict_details(X), theirs.predict_details(X), strict=True):
        assert_array_equal(a, b)
    assert ours.cost_unit_ == theirs.cost_unit_
    assert ours.cost_conditions_ == theirs.cost_conditions_


@pytest.mark.parametrize("save_and_load", [by_pickle, by_joblib, by_skops, copy.deepcopy])
def test_estimator_survives_saving(fitted, iris, save_and_load):
    """Check that a saved estimator predicts as before, and can be cloned and fitted again."""
    X, y = iris
    names = np.array(["z", "a", "m"])[y]
    other = save_and_load(fitted)
    assert other is not fitted
    assert_same_answers(other, fitted, X)
    assert_array_equal(other.classes_, ["a", "m", "z"])
    assert list(other.named_estimators_) == ["nb", "frozen", "lr"]
    assert repr(other) == repr(fitted)
    assert_array_equal(clone(other).fit(X, names).predict(X), fitted.predict(X))


def test_clone_is_unfitted(fitted):
    """Check that a clone keeps the parameters and no fitted attribute."""
    other = clone(fitted)
    assert not [name for name in vars(other) if name.endswith("_") or name.startswith("_")]
    assert repr(other) == repr(fitted)
    assert not hasattr(other, "classes_")
    assert not hasattr(other, "estimators_")
    # Frozen members are the same objects, trainable ones are not.
    assert other.get_params()["frozen"] is fitted.get_params()["frozen"]
    assert other.get_params()["nb"] is not fitted.get_params()["nb"]


def test_fit_sets_fitted_attributes_only(fitted):
    """Check that fit changes no parameter and sets only attributes that end in an underscore."""
    found = set(vars(fitted)) - set(fitted.get_params(deep=False))
    assert all(name.endswith("_") or name.startswith("_") for name in found)


def test_predictions_and_reports_change_nothing(fitted, iris):
    """Check that predictions and reports do not change the estimator."""
    X, _ = iris
    before = {name: id(value) for name, value in vars(fitted).items()}
    saved = pickle.dumps(fitted)
    fitted.predict(X)
    fitted.predict_proba(X[:1])
    fitted.predict_details(X)
    fitted.cost_report(X, fitted.predict(X))
    assert {name: id(value) for name, value in vars(fitted).items()} == before
    assert pickle.dumps(fitted) == saved


def test_threads_get_the_same_predictions(fitted, iris):
    """Check that eight threads at once get the predictions of one."""
    X, _ = iris
    rng = np.random.default_rng(0)
    batches = [X[rng.integers(150, size=150)] for _ in range(N_THREADS)]
    expected = [fitted.predict_details(batch) for batch in batches]
    start = Barrier(N_THREADS)

    def ask(batch):
        start.wait(timeout=60)
        return [fitted.predict_details(batch) for _ in range(5)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        answers = list(pool.map(ask, batches))
    for repeated, alone in zip(answers, expected, strict=True):
        for found in repeated:
            for ours, theirs in zip(found, alone, strict=True):
                assert_array_equal(ours, theirs)
