"""Tests of a split ensemble in files, folds, pipelines and frames."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier
from sklearn_cascade.exceptions import MemberFailedError
from tests.estimators.test_persistence import assert_same_answers, by_joblib, by_pickle

X, Y = load_digits(return_X_y=True)
NAMES = np.array([f"digit {y}" for y in Y])
FIT, TUNE, TEST = slice(0, 700), slice(700, 1250), slice(1250, None)


@pytest.fixture(scope="module")
def forest():
    """Return a forest of 100 trees fitted on the rows of FIT."""
    return RandomForestClassifier(100, random_state=0).fit(X[FIT], NAMES[FIT])


@pytest.fixture(scope="module")
def tuned(forest):
    """Return the cascade of the forest's parts, tuned to differ on 2 % of rows at most."""
    return CascadeClassifier.from_ensemble(forest, max_disagreement=0.02, X_tune=X[TUNE])


def by_skops(fitted):
    """Return the cascade after skops wrote and read it, trusting this package and trees."""
    saved = skops.io.dumps(fitted)
    trusted = skops.io.get_untrusted_types(data=saved)
    # Newer versions of skops do not trust the trees of scikit-learn by themselves.
    others = {name for name in trusted if not name.startswith("sklearn_cascade.")}
    assert others <= {"sklearn.tree._tree.Tree"}
    return skops.io.loads(saved, trusted=trusted)


@pytest.mark.parametrize("save_and_load", [by_pickle, by_joblib, by_skops, copy.deepcopy])
def test_cascade_survives_saving(tuned, forest, save_and_load):
    """Check that a saved cascade predicts as before, and still shares one forest."""
    other = save_and_load(tuned)
    assert isinstance(other, CascadeClassifier)
    assert_same_answers(other, tuned, X[TEST])
    assert other.disagreement_bound_ == tuned.disagreement_bound_
    assert len({id(part.ensemble) for part in other.estimators_}) == 1
    again = clone(other).fit(X[FIT], NAMES[FIT]).with_thresholds(np.inf)
    assert_array_equal(again.predict_proba(X[TEST]), forest.predict_proba(X[TEST]))


def test_fit_of_a_clone_changes_nothing(tuned):
    """Check that fit keeps parts, thresholds, costs and predictions."""
    again = clone(tuned).fit(X[FIT], NAMES[FIT])
    assert_same_answers(again, tuned, X[TEST])
    assert all(a is b for a, b in zip(again.estimators_, tuned.estimators_, strict=True))


def test_cross_validation_scores_the_same_forest(tuned):
    """Check that every fold, in workers, uses the parts unchanged."""
    rows, names = X[TEST], NAMES[TEST]
    found = cross_validate(tuned, rows, names, cv=3, n_jobs=2, return_indices=True)
    expected = [tuned.score(rows[i], names[i]) for i in found["indices"]["test"]]
    assert_array_equal(found["test_score"], expected)


def test_cascade_takes_the_place_of_the_forest(forest):
    """Check a cascade as last step of a pipeline, and frozen, with a forest of scaled rows."""
    scaler = StandardScaler().fit(X[FIT])
    fitted = RandomForestClassifier(60, random_state=0).fit(scaler.transform(X[FIT]), NAMES[FIT])
    cascade = CascadeClassifier.from_ensemble(fitted).with_thresholds(np.inf)
    expected = fitted.predict_proba(scaler.transform(X[TEST]))
    for last in (cascade, FrozenEstimator(cascade)):
        pipeline = make_pipeline(StandardScaler(), last).fit(X[FIT], NAMES[FIT])
        assert_array_equal(pipeline.predict_proba(X[TEST]), expected)
    assert_array_equal(FrozenEstimator(cascade).predict_proba(scaler.transform(X[TEST])), expected)


def test_parameters_and_diagrams_show_the_parts(tuned, forest):
    """Check get_params, repr and the HTML of a notebook."""
    params = tuned.get_params()
    assert params["members_0_15"] is tuned.estimators_[0]
    assert params["members_0_15__ensemble"] is forest
    assert (params["combine"], params["weights"]) == ("mean", [15, 15, 30, 40])
    assert repr(tuned).startswith("CascadeClassifier(")
    assert "EnsemblePart" in repr(tuned)
    html = tuned._repr_html_()
    assert "members_15_30" in html
    assert "EnsemblePart" in html


BROKEN = {
    "too few features": X[TEST][:, :3],
    "one row": X[0],
    "three axes": X[None],
    "missing in sparse": csr_matrix(np.full((2, 64), np.nan)),
    "infinite": np.full((2, 64), np.inf),
    "too large": np.full((2, 64), 1e300),
    "words": [["a"] * 64],
    "complex": X[TEST] + 1j,
}


@pytest.mark.parametrize("what", BROKEN)
def test_rows_that_a_forest_refuses_raise_its_own_error(tuned, forest, what):
    """Check type and text of the errors for X that is no table of numbers."""
    rows = BROKEN[what]
    # Numbers beyond float32 overflow, and numpy warns.
    with np.errstate(over="ignore"):
        with pytest.raises(ValueError, match=r".") as theirs:
            forest.predict_proba(rows)
        with pytest.raises(type(theirs.value), match=r".") as ours:
            tuned.predict_proba(rows)
    assert str(ours.value) == str(theirs.value)


def test_missing_values_that_bagging_members_refuse_name_the_part():
    """Check that the error of a member names its part."""
    bag = BaggingClassifier(GaussianNB(), n_estimators=24, random_state=0).fit(X[FIT], Y[FIT])
    cascade = CascadeClassifier.from_ensemble(bag)
    with pytest.raises(MemberFailedError, match=r"members_0_15.*Input X contains NaN"):
        cascade.predict(np.full((2, 64), np.nan))


def test_feature_names_are_checked_as_by_the_forest():
    """Check the warning for rows without names, and the error for wrong ones."""
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    frame = pandas.DataFrame(X, columns=[f"p{k}" for k in range(64)])
    fitted = RandomForestClassifier(30, random_state=0).fit(frame[FIT], Y[FIT])
    cascade = CascadeClassifier.from_ensemble(fitted)
    assert_array_equal(cascade.feature_names_in_, frame.columns)
    assert_array_equal(cascade.predict(frame[TEST]), fitted.predict(frame[TEST]))
    message = "X does not have valid feature names, but RandomForestClassifier was fitted with"
    with pytest.warns(UserWarning, match=message):
        cascade.predict(X[TEST])
    with pytest.raises(ValueError, match="feature names should match"):
        cascade.predict(frame[TEST][frame.columns[::-1]])
