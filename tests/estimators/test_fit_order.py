"""Tests of the order of fit, of its state after a failure, and of where members run."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from tests.probes import CountingNB, FailingMember, ScriptedMember, log, numbered_rows


@pytest.mark.parametrize("params", [{"scoring": "acuracy"}, {"cv": 200}])
def test_wrong_tuning_is_refused_before_anything_is_fitted(iris, key, params):
    """Check that wrong options are refused before any member is fitted."""
    members = [("a", CountingNB(key)), ("b", CountingNB(key))]
    with pytest.raises(ValueError, match=r"acuracy|cv=200"):
        CascadeClassifier(members, **params).fit(*iris)
    assert log(key)["fits"] == []


def test_scorer_without_weights_is_refused_before_anything_is_fitted(iris, key):
    """Check that a scorer that would ignore the weights is refused before any fit."""

    def hits(estimator, X, y):
        return float((estimator.predict(X) == y).mean())

    members = [("a", CountingNB(key)), ("b", CountingNB(key))]
    with pytest.raises(ValueError, match="takes no sample_weight"):
        CascadeClassifier(members, scoring=hits).fit(*iris, sample_weight=np.arange(150) % 3)
    assert log(key)["fits"] == []


def test_failed_fit_leaves_no_half_fitted_cascade():
    """Check that a cascade whose tuning failed is not fitted, also after a successful fit."""
    table = np.tile([[0.9, 0.1], [0.2, 0.8]], (10, 1))
    X, y = numbered_rows(20), np.tile([0, 1], 10)
    cascade = CascadeClassifier([("a", ScriptedMember(table)), ("b", ScriptedMember(table))])
    cascade.fit(X, y).predict(X)
    cascade.set_params(b=FailingMember(table))
    with pytest.raises(ValueError, match="'b'"):
        cascade.fit(X, y)
    with pytest.raises(NotFittedError):
        cascade.predict(X)


class Locked:
    """A function that cannot be pickled, like one with an open connection."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, X):
        with self.lock:
            return np.tile([0.2, 0.3, 0.5], (len(X), 1))


def test_frozen_members_stay_in_their_process(iris):
    """Check that others are fitted in workers beside a member that cannot be pickled."""
    members = [("nb", GaussianNB()), ("locked", PrefitClassifier(Locked(), [0, 1, 2]))]
    cascade = CascadeClassifier(members, n_jobs=2, cv=2, combine="last").fit(*iris)
    assert cascade.tuned_score_ >= 0.9


def test_masks_split_like_positions(iris):
    """Check that folds given as masks tune the same thresholds as folds given as positions."""
    X, y = iris
    first = np.arange(150) % 2 == 0
    masks = [(first, ~first), (~first, first)]
    places = [tuple(np.flatnonzero(mask) for mask in pair) for pair in masks]
    members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=500))]
    one, two = (CascadeClassifier(members, cv=cv).fit(X, y) for cv in (masks, places))
    np.testing.assert_array_equal(one.thresholds_, two.thresholds_)
    assert one.cross_fitted_score_ == two.cross_fitted_score_


def test_labels_inside_a_grid_are_those_of_the_user(iris):
    """Check that a search over class_weight weights the class that the user named."""
    X, y = iris
    grid = {"class_weight": [{1: 1, 2: 1, 3: 1}, {1: 1, 2: 500, 3: 1}]}
    search = GridSearchCV(LogisticRegression(max_iter=500), grid, cv=2)
    alone = clone(search).fit(X, y + 1)
    fitted = AveragingEnsemble([("search", search)]).fit(X, y + 1)
    np.testing.assert_array_equal(fitted.predict(X), alone.predict(X))
    assert fitted.estimators_[0].classes_.tolist() == [1, 2, 3]


def test_other_thresholds_keep_the_combination_on_a_refit(iris):
    """Check that a clone of a copy at other thresholds, fitted again, combines as the copy did."""
    X, y = iris
    members = [("nb", GaussianNB()), ("off", "drop"), ("lr", LogisticRegression(max_iter=500))]
    cascade = CascadeClassifier(members, combine="last").fit(X, y)
    cascade.combine = "auto"
    copy = cascade.with_thresholds(cascade.thresholds_)
    assert clone(copy).fit(X, y).combine_ == "last"
    np.testing.assert_array_equal(copy.predict_proba(X), cascade.predict_proba(X))


def test_outputs_may_be_written_to(iris):
    """Check that writing to the probabilities does not change the member."""
    table = np.tile([[0.9, 0.1], [0.2, 0.8]], (3, 1))

    def kept(X):
        return table

    X, y = numbered_rows(6), np.tile([0, 1], 3)
    for estimator in (
        CascadeClassifier([("a", PrefitClassifier(kept, [0, 1]))]),
        AveragingEnsemble([("a", PrefitClassifier(kept, [0, 1]))]),
    ):
        estimator.fit(X, y).predict_proba(X)[:] = 0.5
    assert table[0].tolist() == [0.9, 0.1]
