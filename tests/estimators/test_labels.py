"""Tests of the alignment of labels in y, in frozen members and in trained ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from sklearn_cascade.exceptions import UnseenClassWarning
from tests.probes import ScriptedMember, numbered_rows, scripted

ESTIMATORS = {
    "ensemble": (AveragingEnsemble, {}),
    "geometric": (AveragingEnsemble, {"average": "geometric"}),
    "fixed": (CascadeClassifier, {"thresholds": 0.9}),
    "never": (CascadeClassifier, {"thresholds": np.inf}),
    "auto": (CascadeClassifier, {"cv": 3}),
}
each_estimator = pytest.mark.parametrize("kind", ESTIMATORS)
ALPHABETS = {
    "text": ["setosa", "versicolor", "virginica"],
    "unsorted": ["z", "a", "m"],
    "scattered": [30, -5, 7],
    "object": np.array(["b", "c", "a"], dtype=object),
}


def build(kind, members, **params):
    """Return an unfitted estimator of one kind."""
    estimator, fixed = ESTIMATORS[kind]
    return estimator(members, **fixed, **params)


@each_estimator
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_labels_are_only_names(iris, kind, alphabet):
    """Check that renaming the classes only renames labels and moves columns."""
    X, y = iris
    names = np.asarray(ALPHABETS[alphabet])
    members = [("nb", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    members.append(("frozen", FrozenEstimator(GaussianNB().fit(X, names[y]))))
    codes = [*members[:2], ("frozen", FrozenEstimator(GaussianNB().fit(X, y)))]
    named = build(kind, members).fit(X, names[y])
    plain = build(kind, codes).fit(X, y)
    assert_array_equal(named.classes_, np.unique(names))
    # Sums of priors and columns run in another order.
    columns = np.searchsorted(named.classes_, names)
    assert_allclose(named.predict_proba(X)[:, columns], plain.predict_proba(X), rtol=0, atol=1e-9)
    assert_array_equal(named.predict(X), names[plain.predict(X)])
    assert named.score(X, names[y]) == plain.score(X, y) > 0.9


@each_estimator
def test_columns_of_an_unsorted_frozen_member_are_sorted(kind):
    """Check that columns of a member with another order of classes are matched by name."""
    y = np.array(["a", "b", "c"] * 6)
    right = np.eye(3)[np.tile([0, 1, 2], 6)] * 0.97 + 0.01
    straight = ScriptedMember(right, ["a", "b", "c"])
    turned = ScriptedMember(right[:, [2, 0, 1]], ["c", "a", "b"])
    fitted = build(kind, [("turned", turned), ("straight", straight)]).fit(numbered_rows(18), y)
    assert_allclose(fitted.predict_proba(numbered_rows(18)), right, rtol=1e-12)
    assert_array_equal(fitted.predict(numbered_rows(18)), y)


@each_estimator
def test_missing_and_extra_classes_of_frozen_members_find_their_columns(kind):
    """Check a frozen member with fewer classes than y, and one with one more."""
    tables = {"few": [[0.7, 0.3]] * 9, "more": [[0.1, 0.2, 0.3, 0.4]] * 9}
    members = [
        ("more", ScriptedMember(tables["more"], ["d", "b", "c", "a"])),
        ("few", ScriptedMember(tables["few"], ["c", "a"])),
    ]
    fitted = build(kind, members).fit(numbered_rows(9), ["a", "b", "c"] * 3)
    assert fitted.classes_.tolist() == ["a", "b", "c", "d"]
    proba = fitted.predict_proba(numbered_rows(1))[0]
    if kind == "auto":
        # Both are right on one row of three, so the first alone does, at half the cost.
        assert fitted.predict_details(numbered_rows(1)).exit_stage == 0
        assert_allclose(proba, [0.4, 0.2, 0.3, 0.1], rtol=1e-15)
    elif kind == "geometric":
        # The member without "b" and "d" gives them zero.
        odds = np.sqrt([0.4 * 0.3, 0.3 * 0.7])
        assert_allclose(proba[[0, 2]], odds / odds.sum(), rtol=1e-12)
        assert_array_equal(proba[[1, 3]], 0)
    else:
        assert_allclose(proba, [0.35, 0.1, 0.5, 0.05], rtol=1e-15)


@pytest.mark.parametrize("combine", ["mean", "last", "auto"])
def test_trainable_member_misses_a_class_in_a_fold(iris, combine):
    """Check that a fold without a class gives that class zero, under string labels."""
    X, y = iris
    names = np.array(["z", "a", "m"])[y]
    # The first fold's training part holds no "z" at all.
    splits = [(np.arange(50, 150), np.arange(50)), (np.arange(0, 150, 2), np.arange(1, 150, 2))]
    # Two equal members, so that their mean is no worse than either.
    members = [("nb", GaussianNB()), ("same", GaussianNB())]
    cascade = CascadeClassifier(members, cv=splits, combine=combine).fit(X, names)
    # Fifty rows of "z" are wrong, and few others.
    assert 0.57 < cascade.tuned_score_ <= 0.6
    assert cascade.score(X, names) > 0.9


def test_stage_that_cannot_defer_on_a_class_warns():
    """Check that a stage before the last that misses a class warns, and the last does not."""
    few = ("few", ScriptedMember([[0.7, 0.3]] * 6, ["c", "a"]))
    full = ("full", ScriptedMember([[0.2, 0.3, 0.5]] * 6, ["a", "b", "c"]))
    y, X = ["a", "b", "c"] * 2, numbered_rows(6)
    with pytest.warns(UnseenClassWarning, match=r"'few' has never seen \['b'\]"):
        CascadeClassifier([few, full], thresholds=0.5).fit(X, y)
    CascadeClassifier([full, few], thresholds=0.5).fit(X, y)
    AveragingEnsemble([few, full]).fit(X, y)


@each_estimator
def test_mixed_labels_are_refused(kind):
    """Check that text in a frozen member and numbers in y are an error, not text throughout."""
    members = [("m", ScriptedMember([[0.5, 0.5]] * 6, ["0", "1"])), ("nb", GaussianNB())]
    with pytest.raises(ValueError, match="Mix of label input types"):
        build(kind, members).fit(numbered_rows(6), [0, 1] * 3)


@each_estimator
def test_class_weight_is_keyed_by_the_users_labels(iris, kind):
    """Check that a member with a class_weight dict is fitted on the labels it names."""
    X, y = iris
    names = np.array(["z", "a", "m"])[y]
    heavy = LogisticRegression(max_iter=500, C=0.01, class_weight={"z": 1, "a": 1, "m": 9})
    members = [("nb", GaussianNB()), ("heavy", heavy)]
    fitted = build(kind, members).fit(X, names)
    alone = clone(heavy).fit(X, names)
    assert_array_equal(fitted.named_estimators_.heavy.classes_, ["a", "m", "z"])
    assert_allclose(
        fitted.named_estimators_.heavy.predict_proba(X), alone.predict_proba(X), rtol=1e-9
    )
    assert fitted.score(X, names) > 0.8


@each_estimator
def test_calibrated_frozen_member_predicts_labels(iris, kind):
    """Check that calibrating a fitted model on labels 1 to 3 keeps them apart from codes."""
    X, y = iris[0], iris[1] + 1
    calibrated = CalibratedClassifierCV(FrozenEstimator(GaussianNB().fit(X, y)))
    members = [("cal", calibrated), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    fitted = build(kind, members).fit(X, y)
    assert_array_equal(fitted.classes_, [1, 2, 3])
    assert_array_equal(fitted.named_estimators_.cal.classes_, [1, 2, 3])
    assert fitted.score(X, y) > 0.93


class CodesOnly(ClassifierMixin, BaseEstimator):
    """A classifier that accepts only the codes 0 to n_classes - 1, as boosters do."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.classes_.tolist() != list(range(len(self.classes_))):
            raise ValueError(f"Invalid classes: expected codes from 0, got {self.classes_}")
        self.model_ = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


@each_estimator
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_member_that_needs_codes_gets_them(iris, kind, alphabet):
    """Check that a member that refuses labels works with any of them."""
    X, y = iris
    names = np.asarray(ALPHABETS[alphabet])[y]
    fitted = build(kind, [("codes", CodesOnly()), ("nb", GaussianNB())]).fit(X, names)
    assert fitted.score(X, names) > 0.93


@pytest.mark.parametrize("rare", ["a", "m", "z"])
def test_member_that_needs_codes_gets_them_in_a_fold_too(iris, rare):
    """Check that codes have no hole where the training part of a fold lacks a class."""
    X, y = iris
    names = np.array(["z", "a", "m"])[y]
    is_rare = names == rare
    splits = [(np.flatnonzero(~is_rare), np.flatnonzero(is_rare))]
    members = [("codes", CodesOnly()), ("nb", GaussianNB())]
    cascade = CascadeClassifier(members, cv=splits).fit(X, names)
    assert cascade.tuned_score_ == 0
    assert cascade.score(X, names) > 0.93


@each_estimator
def test_member_that_needs_codes_gets_them_with_an_extra_class(iris, kind):
    """Check that codes count only labels of y if a frozen member has another one first."""
    X, y = iris
    names = np.array(["b", "c", "d"])[y]
    # "a" sorts before all labels of y, so that columns and codes differ.
    wide = DummyClassifier(strategy="prior").fit(np.zeros((4, 4)), ["a", "b", "c", "d"])
    members = [("frozen", FrozenEstimator(wide)), ("codes", CodesOnly())]
    weights = {"weights": [1e-3, 1]}
    fitted = build(kind, members, **weights).fit(X, names)
    if kind == "fixed":
        fitted = fitted.with_thresholds(np.inf)
    assert fitted.classes_.tolist() == ["a", "b", "c", "d"]
    assert fitted.score(X, names) > 0.93


def test_weights_of_members_are_matched_by_name():
    """Check that the order of a dict of weights does not matter."""
    tables = [[[1.0, 0.0]], [[0.0, 1.0]]]
    for weights in ({"m1": 3, "m0": 1}, [1, 3]):
        cascade = CascadeClassifier(scripted(*tables), thresholds=np.inf, weights=weights)
        fitted = cascade.fit(numbered_rows(1), [0])
        assert fitted.weights_.tolist() == [1, 3]
        assert fitted.predict_proba(numbered_rows(1)).tolist() == [[0.25, 0.75]]


def test_frozen_members_define_the_classes():
    """Check that with frozen members only, y may hold one class of those they know."""
    member = PrefitClassifier(lambda X: np.full((len(X), 3), 1 / 3), ["x", "y", "z"])
    cascade = CascadeClassifier([("a", member), ("b", member)], thresholds=0.5)
    assert cascade.fit(numbered_rows(2), ["y", "y"]).classes_.tolist() == ["x", "y", "z"]
