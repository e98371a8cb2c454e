"""Tests of fitted ensembles split into parts that share their memory."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade import split_ensemble

X, Y = make_classification(
    n_samples=300, n_features=6, n_informative=4, n_classes=3, random_state=0
)
NAMES = np.array(["low", "mid", "high"])[Y]


def forest(n_trees, **params):
    """Return a small forest of some trees, fitted."""
    params = {"max_depth": 3, "random_state": 0, **params}
    return RandomForestClassifier(n_trees, **params).fit(X[:100], NAMES[:100])


@pytest.fixture(scope="module")
def sixty():
    """Return a fitted forest of 60 trees."""
    return forest(60)


def nb_and_trees(n_trees=3, **params):
    """Return a fitted soft vote of naive Bayes and some trees."""
    members = [("nb", GaussianNB())]
    members += [
        (f"t{k}", DecisionTreeClassifier(max_depth=k + 1, random_state=0)) for k in range(n_trees)
    ]
    return VotingClassifier(members, voting="soft", **params).fit(X, NAMES)


@pytest.mark.parametrize(
    ("n_trees", "checkpoints"),
    [
        (500, [15, 30, 60, 120, 240]),
        (100, [15, 30, 60]),
        (23, [15]),
        (22, [11]),
        (12, [6]),
        (2, [1]),
        (1, []),
    ],
)
def test_default_checkpoints_double_up_to_two_thirds(n_trees, checkpoints):
    """Check the default stages, half of a small forest, and a single tree that has no parts."""
    parts = split_ensemble(forest(n_trees, max_depth=1))
    bounds = [0, *checkpoints, n_trees]
    assert [(part.start, part.stop) for _, part in parts.estimators] == list(pairwise(bounds))
    assert parts.costs == np.diff(bounds).tolist()
    assert parts.total == sum(parts.costs) == n_trees
    # As floats: a few roundings of numbers below 500.
    np.testing.assert_allclose(parts.weights, parts.costs, rtol=1e-14)


def test_parts_are_named_and_counted(sixty):
    """Check every entry of what a split returns."""
    parts = split_ensemble(sixty, [5, 20])
    assert sorted(parts) == ["combine", "cost_unit", "costs", "estimators", "total", "weights"]
    assert [name for name, _ in parts.estimators] == [
        "members_0_5",
        "members_5_20",
        "members_20_60",
    ]
    assert (parts.costs, parts.cost_unit, parts.total) == ([5, 15, 40], "trees", 60)
    assert parts.weights == pytest.approx([5, 15, 40], rel=1e-14)
    assert parts.combine == "mean"


@pytest.mark.parametrize("checkpoints", [np.array([5, 20]), (5, 20), range(5, 21, 15)])
def test_checkpoints_may_be_any_sequence_of_integers(sixty, checkpoints):
    """Check arrays, tuples and ranges; the names hold plain numbers."""
    names = [name for name, _ in split_ensemble(sixty, checkpoints).estimators]
    assert names == ["members_0_5", "members_5_20", "members_20_60"]


def test_no_checkpoints_are_one_part(sixty):
    """Check that an empty list is not the default but no exit at all."""
    parts = split_ensemble(sixty, [])
    assert [name for name, _ in parts.estimators] == ["members_0_60"]
    np.testing.assert_array_equal(parts.estimators[0][1].predict_proba(X), sixty.predict_proba(X))


@pytest.mark.parametrize(
    "checkpoints",
    [
        [0, 5],
        [5, 5],
        [20, 5],
        [70],
        [60],
        [-5],
        [5.0, 20.0],
        [7.5],
        ["5"],
        "auto",
        [None],
        [[5, 20]],
        60,
        np.array([[5], [20]]),
    ],
    ids=str,
)
def test_checkpoints_that_make_no_parts_are_refused(sixty, checkpoints):
    """Check that numbers which do not increase or lie outside are named, with what is accepted."""
    message = r"(?s)checkpoints=.*; expected increasing numbers of members, from 1 to 59.*has 60"
    with pytest.raises(ValueError, match=message) as caught:
        split_ensemble(sixty, checkpoints)
    assert repr(checkpoints).splitlines()[0] in str(caught.value)


@pytest.mark.parametrize("checkpoints", [[True], [True, 5], [np.True_]], ids=str)
def test_checkpoints_are_no_booleans(sixty, checkpoints):
    """Check that True is not taken for the number one."""
    with pytest.raises(ValueError, match="checkpoints="):
        split_ensemble(sixty, checkpoints)


def test_parts_share_the_ensemble(sixty):
    """Check that a split holds no second copy, in memory, pickled, and once it is back."""
    parts = split_ensemble(sixty).estimators
    assert all(part.ensemble is sixty for _, part in parts)
    alone, split = len(pickle.dumps(sixty)), len(pickle.dumps(parts))
    assert split < 1.01 * alone
    for again in (pickle.loads(pickle.dumps(parts)), copy.deepcopy(parts)):
        copied = again[0][1].ensemble
        assert copied is not sixty
        assert all(part.ensemble is copied for _, part in again)
        assert all(b[1].is_next_after(a[1]) for a, b in pairwise(again))


def test_is_next_after_knows_neighbours_of_the_same_ensemble(sixty):
    """Check that only the next part of the very same forest may take over a sum."""
    first, second, third = (part for _, part in split_ensemble(sixty, [5, 20]).estimators)
    assert first.is_next_after(None)
    assert second.is_next_after(first)
    assert third.is_next_after(second)
    assert not second.is_next_after(None)
    assert not third.is_next_after(first)
    assert not first.is_next_after(second)
    assert not second.is_next_after(GaussianNB())
    other = split_ensemble(copy.deepcopy(sixty), [5, 20]).estimators[0][1]
    assert not second.is_next_after(other)


def test_a_part_answers_as_its_members_alone(sixty):
    """Check labels and probabilities of parts against the mean of their trees."""
    for _, part in split_ensemble(sixty, [5, 20]).estimators:
        trees = sixty.estimators_[part.start : part.stop]
        expected = np.mean([tree.predict_proba(X) for tree in trees], axis=0)
        found = part.predict_proba(X)
        # Sums of up to forty probabilities in two orders.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(part.predict(X), part.classes_[found.argmax(axis=1)])
        assert part.classes_.tolist() == ["high", "low", "mid"]
        assert part.score(X, part.predict(X)) == 1


def test_a_part_is_fitted_for_good(sixty):
    """Check that a clone is the same object, and that a fit changes nothing."""
    part = split_ensemble(sixty).estimators[1][1]
    assert clone(part) is part
    before = part.predict_proba(X)
    assert part.fit(X[:10], NAMES[:10], sample_weight=np.ones(10)) is part
    np.testing.assert_array_equal(part.predict_proba(X), before)
    check_is_fitted(part)
    assert part.n_features_in_ == 6
    assert not hasattr(part, "feature_names_in_")
    # What the forest knows of all its trees is not said of some.
    assert not hasattr(part, "feature_importances_")
    assert not hasattr(part, "estimators_")
    assert part.get_params(deep=False) == {"ensemble": sixty, "start": 15, "stop": 30}
    assert repr(part).startswith("EnsemblePart(ensemble=RandomForestClassifier(")


def test_splitting_leaves_the_ensemble_alone(sixty):
    """Check that neither a split nor its answers write to the fitted forest."""
    before = pickle.dumps(sixty)
    for _, part in split_ensemble(sixty).estimators:
        part.predict_proba(X)
    assert pickle.dumps(sixty) == before


def test_frozen_wrapper_is_taken_off(sixty):
    """Check that a frozen forest is split like the forest inside."""
    parts = split_ensemble(FrozenEstimator(sixty)).estimators
    assert all(part.ensemble is sixty for _, part in parts)


@pytest.mark.parametrize(
    ("fitted", "unit"),
    [
        (ExtraTreesClassifier(24, max_depth=2, random_state=0), "trees"),
        (BaggingClassifier(GaussianNB(), n_estimators=24, random_state=0), "members"),
    ],
    ids=["ExtraTrees", "Bagging"],
)
def test_other_ensembles_of_like_members_split_alike(fitted, unit):
    """Check names, costs and units for extra trees and for bagging."""
    parts = split_ensemble(fitted.fit(X, NAMES))
    assert [name for name, _ in parts.estimators] == ["members_0_15", "members_15_24"]
    assert (parts.costs, parts.cost_unit, parts.total) == ([15, 9], unit, 24)


def test_voting_splits_at_each_member_and_has_no_costs():
    """Check that unlike members get a part each, their weights in members, and no costs."""
    parts = split_ensemble(nb_and_trees(weights=[1, 2, 3, 4]))
    names = [name for name, _ in parts.estimators]
    assert names == ["members_0_1", "members_1_2", "members_2_3", "members_3_4"]
    assert (parts.costs, parts.cost_unit, parts.total) == (None, "members", None)
    # Four members share a mass of four.
    assert parts.weights == pytest.approx([0.4, 0.8, 1.2, 1.6], rel=1e-14)


def test_voting_splits_between_members_that_count():
    """Check that dropped members and members of weight zero make no part of their own."""
    voting = nb_and_trees(weights=[0, 2, 0, 1]).set_params(t2="drop")
    voting.fit(X, NAMES)
    parts = split_ensemble(voting)
    assert [name for name, _ in parts.estimators] == ["members_0_3"]
    parts = split_ensemble(nb_and_trees(weights=[0, 2, 0, 1]))
    assert [name for name, _ in parts.estimators] == ["members_0_2", "members_2_4"]
    assert parts.weights == pytest.approx([8 / 3, 4 / 3], rel=1e-14)
    message = r"checkpoints=\[1\]: members between two of them have no weight"
    with pytest.raises(ValueError, match=message):
        split_ensemble(nb_and_trees(weights=[0, 2, 0, 1]), [1])
    with pytest.raises(ValueError, match=r"checkpoints=\[2, 3\]: members between"):
        split_ensemble(nb_and_trees(weights=[0, 2, 0, 1]), [2, 3])


class OwnAnswer(RandomForestClassifier):
    """A forest that answers in its own way."""

    def predict_proba(self, X):
        """Return probabilities moved towards the uniform."""
        proba = super().predict_proba(X)
        return 0.9 * proba + 0.1 / proba.shape[1]


class OwnName(RandomForestClassifier):
    """A forest in all but its name."""


SMALL = RandomForestClassifier(5, max_depth=2, random_state=0)
PAIR = [("nb", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2))]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (StackingClassifier(PAIR, cv=2), "final estimator.*do not add up to the full ensemble"),
        (VotingClassifier(PAIR), "voting='hard' counts labels.*do not add up"),
        (HistGradientBoostingClassifier(max_iter=2), "no public way.*add up to the full ensemble"),
        (GradientBoostingClassifier(n_estimators=2), "add up as raw scores, not as prob"),
        (AdaBoostClassifier(n_estimators=2), "softmax of their sum.*do not add up"),
        (make_pipeline(StandardScaler(), SMALL), "split its last step and put the cascade"),
        (CalibratedClassifierCV(SMALL, cv=2), "split the ensemble inside it"),
        (OwnAnswer(5), "predict_proba of its own"),
        (RandomForestRegressor(5), "do not add up to the full ensemble"),
        (GaussianNB(), "do not add up to the full ensemble"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("frozen", [False, True])
def test_what_does_not_add_up_is_refused(model, reason, frozen):
    """Check that each kind is refused with its own reason and with the kinds accepted."""
    fitted = clone(model).fit(X[:100], Y[:100])
    message = rf"fitted={type(model).__name__} cannot be split: .*{reason}.*Expected a fitted "
    message += "RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or soft Voting"
    with pytest.raises(TypeError, match=message):
        split_ensemble(FrozenEstimator(fitted) if frozen else fitted)


@pytest.mark.parametrize("thing", [None, "forest", RandomForestClassifier, [GaussianNB()]])
def test_what_is_no_model_is_refused(thing):
    """Check that None, a name, a class or a list of members gets the same kind of error."""
    with pytest.raises(TypeError, match=r"cannot be split: .*Expected a fitted RandomForest"):
        split_ensemble(thing)


def test_subclass_that_answers_as_its_base_is_split():
    """Check that a forest by another name counts as one."""
    fitted = OwnName(30, max_depth=2, random_state=0).fit(X, NAMES)
    assert [part.stop for _, part in split_ensemble(fitted).estimators] == [15, 30]


@pytest.mark.parametrize(
    "model",
    [SMALL, ExtraTreesClassifier(), BaggingClassifier(), VotingClassifier(PAIR, voting="soft")],
    ids=lambda model: type(model).__name__,
)
def test_unfitted_ensembles_are_refused(model):
    """Check that an ensemble without members is called unfitted, by its own name."""
    with pytest.raises(NotFittedError, match=f"This {type(model).__name__} instance is not fitted"):
        split_ensemble(clone(model))


def test_several_outputs_are_refused():
    """Check that a forest of two labels per row is told apart."""
    fitted = clone(SMALL).fit(X, np.column_stack([Y, Y > 0]))
    message = "fitted=RandomForestClassifier predicts 2 outputs; expected one label per row"
    with pytest.raises(ValueError, match=message):
        split_ensemble(fitted)
