"""Tests of what a fit finds: one frozen object, shown by read-only attributes."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CascadeSearchCV

X, Y = make_classification(300, random_state=0)
MEMBERS = [("nb", GaussianNB()), ("linear", LogisticRegression())]


@pytest.fixture(scope="module")
def cascade():
    """Return a fitted cascade with tuned thresholds."""
    return CascadeClassifier(MEMBERS, costs=[1, 5]).fit(X, Y)


@pytest.mark.parametrize("value", [[0.9], 0.9, np.array([0.9, 0.8]), np.nan])
def test_setting_thresholds_names_the_way_to_change_them(cascade, value):
    """Check that setting thresholds_ is refused, whatever the value, and names with_thresholds."""
    before = cascade.thresholds_
    with pytest.raises(AttributeError, match=r"thresholds_ .* read-only.*with_thresholds"):
        cascade.thresholds_ = value
    np.testing.assert_array_equal(cascade.thresholds_, before)
    assert "thresholds_" not in vars(cascade)


@pytest.mark.parametrize(
    "attribute",
    ["classes_", "combine_", "weights_", "costs_", "cost_unit_", "estimators_", "certificate_"],
)
def test_fitted_attributes_cannot_be_set(cascade, attribute):
    """Check that every view of the fitted state is read-only and says so by its name."""
    with pytest.raises(AttributeError, match=f"{attribute} of CascadeClassifier is read-only"):
        setattr(cascade, attribute, getattr(cascade, attribute))


@pytest.mark.parametrize("attribute", ["thresholds_", "weights_", "costs_", "classes_"])
def test_arrays_of_the_fitted_state_cannot_be_written_to(cascade, attribute):
    """Check that no entry of a fitted array can be changed, also after pickling."""
    for fitted in (cascade, pickle.loads(pickle.dumps(cascade))):
        with pytest.raises(ValueError, match="read-only"):
            getattr(fitted, attribute)[0] = 0


def test_state_is_frozen(cascade):
    """Check that the state itself refuses changes, and that a copy shares the members."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        cascade.fitted_.policy = None
    other = cascade.with_thresholds(0.75)
    assert other.thresholds_.tolist() == [0.75]
    assert cascade.thresholds_.tolist() != [0.75]
    assert other.fitted_.members is cascade.fitted_.members


@pytest.mark.parametrize(
    "estimator",
    [CascadeClassifier(MEMBERS), AveragingEnsemble(MEMBERS), CascadeSearchCV(MEMBERS)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_attributes_are_absent_before_the_fit(estimator):
    """Check that hasattr is false for every fitted attribute of an estimator that is not fitted."""
    for attribute in ("classes_", "costs_", "estimators_", "n_features_in_", "fitted_"):
        assert not hasattr(estimator, attribute)


def test_a_fit_that_fails_leaves_no_state():
    """Check that an estimator whose refit fails is not fitted, rather than half of each fit."""
    cascade = CascadeClassifier(MEMBERS, thresholds=0.8).fit(X, Y)
    broken = X.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        cascade.fit(broken, Y)
    assert not hasattr(cascade, "thresholds_")


def test_public_methods_of_the_cascade_live_in_one_class():
    """Check that no public method of the cascade, parameters aside, comes from another class."""
    shared = {"get_params", "set_params", "get_metadata_routing"}
    for cls in CascadeClassifier.__mro__[1:]:
        if cls.__module__.startswith("sklearn_cascade"):
            public = {
                name
                for name, member in vars(cls).items()
                if not name.startswith("_") and callable(member)
            }
            assert public <= shared, cls
