"""Tests of cascades made of the parts of one fitted ensemble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier
from sklearn_cascade.core._confidence import vote_margin

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


@pytest.fixture(scope="module")
def voting():
    """Return a fitted soft vote of four different members."""
    members = [
        ("nb", GaussianNB(var_smoothing=0.01)),
        ("tree", DecisionTreeClassifier(max_depth=8, random_state=0)),
        ("bush", DecisionTreeClassifier(min_samples_leaf=5, random_state=0)),
        ("lr", make_pipeline(StandardScaler(), LogisticRegression(C=0.01))),
    ]
    vote = VotingClassifier(members, voting="soft", weights=[2, 1, 1, 2])
    return vote.fit(X[FIT], NAMES[FIT])


def test_probabilistic_stopping_never_disagreed_on_digits(forest):
    """Check that the default has the forest's labels on all unseen rows, at a lower cost."""
    cascade = CascadeClassifier.from_ensemble(forest)
    found = cascade.predict_details(X[700:])
    assert_array_equal(found.label, forest.predict(X[700:]))
    assert_array_equal(cascade.predict(X[700:]), found.label)
    assert (cascade.confidence, cascade.combine_, cascade.cost_unit_) == ("margin", "mean", "trees")
    assert cascade.costs_.tolist() == [15, 15, 30, 40]
    assert found.cost.mean() < 70
    assert set(found.exit_stage) == {0, 1, 2, 3}


def test_probabilistic_stopping_exits_later_for_a_smaller_delta(forest):
    """Check that a smaller delta raises every threshold, hence every row's cost."""
    costs, thresholds = [], []
    for delta in (0.3, 0.01, 1e-6):
        cascade = CascadeClassifier.from_ensemble(forest, delta=delta)
        costs.append(cascade.predict_details(X[TEST]).cost)
        thresholds.append(cascade.thresholds_)
    assert (costs[0] <= costs[1]).all()
    assert (costs[1] <= costs[2]).all()
    assert costs[0].mean() < costs[1].mean() < costs[2].mean()
    assert (thresholds[0] <= thresholds[1]).all()
    assert CascadeClassifier.from_ensemble(forest).thresholds_.tolist() == thresholds[1].tolist()


def test_exact_stopping_never_disagrees_and_saves():
    """Check on an easy table that rows exit early, and that no later vote could change them."""
    easy, y = load_iris(return_X_y=True)
    fitted = RandomForestClassifier(100, random_state=0).fit(easy[::2], y[::2])
    cascade = CascadeClassifier.from_ensemble(fitted, stopping="exact")
    assert [part.stop for part in cascade.estimators_] == [*range(55, 100, 5), 100]
    found = cascade.predict_details(easy)
    assert_array_equal(found.label, fitted.predict(easy))
    assert np.count_nonzero(found.exit_stage == 0) > 75
    assert found.cost.mean() < 70
    votes = np.cumsum([tree.predict_proba(easy) for tree in fitted.estimators_], axis=0)
    for row, cost in enumerate(found.cost.astype(int)):
        second, first = np.sort(votes[cost - 1, row])[-2:]
        # Votes of pure leaves are whole numbers.
        assert cost == 100 or first - second > 100 - cost


def test_exact_stopping_never_disagrees_for_different_members(voting):
    """Check exits by weight on a soft vote, which are exact too."""
    cascade = CascadeClassifier.from_ensemble(voting, stopping="exact", costs=[1, 2, 3, 4])
    found = cascade.predict_details(X[700:])
    assert_array_equal(found.label, voting.predict(X[700:]))
    assert set(found.exit_stage) == {2, 3}
    assert set(found.cost) == {6, 10}
    # No label is decided before half of the weight has voted.
    assert np.isinf(cascade.thresholds_).tolist() == [True, True, False]


def test_probabilistic_stopping_is_refused_for_different_members(voting):
    """Check that the error for a vote of models names the reason and the alternative."""
    message = (
        "stopping='probabilistic'.*VotingClassifier.*random draw.*stopping='exact', "
        "or max_disagreement"
    )
    with pytest.raises(ValueError, match=message):
        CascadeClassifier.from_ensemble(voting, costs=[1, 1, 1, 1])


@pytest.mark.parametrize("costs", [None, "measured"])
def test_different_members_need_costs_or_rows_to_measure_them(voting, costs):
    """Check that the error names costs, and that they are measured if rows are given."""
    message = rf"costs={costs!r}: .*measured.*X_tune.*'members_0_1', 'members_1_2'"
    with pytest.raises(ValueError, match=message):
        CascadeClassifier.from_ensemble(voting, stopping="exact", costs=costs)
    cascade = CascadeClassifier.from_ensemble(
        voting, stopping="exact", costs=costs, X_tune=X[700:730]
    )
    assert cascade.cost_unit_ == "s"
    assert cascade.cost_conditions_ is not None
    assert (cascade.costs_ > 0).all()
    assert cascade.costs_.shape == (4,)


def test_costs_and_unit_may_be_given(forest):
    """Check numbers, numbers by name, measured ones, and a given unit."""
    given = CascadeClassifier.from_ensemble(
        forest, checkpoints=[15], costs=[2.5, 7], cost_unit="USD"
    )
    assert (given.costs_.tolist(), given.cost_unit_) == ([2.5, 7], "USD")
    named = {"members_15_100": 7, "members_0_15": 1}
    cascade = CascadeClassifier.from_ensemble(forest, checkpoints=[15], costs=named)
    assert cascade.costs_.tolist() == [1, 7]
    measured = CascadeClassifier.from_ensemble(forest, costs="measured", X_tune=X[:20])
    assert measured.cost_unit_ == "s"
    with pytest.raises(ValueError, match=r"costs='free'; expected numbers, 'measured' or None"):
        CascadeClassifier.from_ensemble(forest, costs="free")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"stopping": "vote_margin"},
            "stopping='vote_margin'; expected 'probabilistic' or 'exact'",
        ),
        ({"stopping": None}, "stopping=None; expected 'probabilistic' or 'exact'"),
        ({"delta": 0}, "delta=0; expected a number above 0 and below 1"),
        ({"delta": 1.0}, r"delta=1\.0; expected a number above 0"),
        ({"delta": "5 %"}, "delta='5 %'; expected a number above 0"),
        ({"delta": np.nan}, "delta=nan; expected a number above 0"),
        ({"max_disagreement": 0, "X_tune": X}, "max_disagreement=0; expected a number above 0"),
        ({"max_disagreement": 1, "X_tune": X}, "max_disagreement=1; expected .* below 1"),
        ({"max_disagreement": "1 %", "X_tune": X}, "max_disagreement='1 %'; expected a number"),
        ({"max_disagreement": np.nan, "X_tune": X}, "max_disagreement=nan; expected a number"),
        ({"max_disagreement": True, "X_tune": X}, "max_disagreement=True; expected a number"),
        ({"max_disagreement": 0.01}, r"max_disagreement=0\.01 is tuned on rows.*as X_tune"),
        ({"checkpoints": [70, 60]}, r"checkpoints=\[70, 60\]; expected increasing numbers"),
        ({"checkpoints": [100], "stopping": "exact"}, r"checkpoints=\[100\]; expected increasing"),
    ],
)
def test_wrong_options_are_named(forest, options, message):
    """Check that the error for each option out of range names it and the accepted values."""
    with pytest.raises(ValueError, match=message):
        CascadeClassifier.from_ensemble(forest, **options)


def test_ensembles_that_cannot_be_split_are_refused():
    """Check that the error of split_ensemble reaches the caller."""
    with pytest.raises(TypeError, match="fitted=GaussianNB cannot be split"):
        CascadeClassifier.from_ensemble(GaussianNB().fit(X[FIT], Y[FIT]))


@pytest.mark.parametrize(("share", "delta", "needed"), [(0.005, None, 598), (0.01, 0.2, 161)])
def test_too_few_rows_to_tune_are_refused(forest, share, delta, needed):
    """Check that the error names the rows needed, and that one fewer is refused."""
    few = X[np.arange(needed - 1) % len(X)]
    message = f"X_tune has {needed - 1} rows; max_disagreement={share}.*needs {needed} or more"
    options = {"max_disagreement": share, "delta": delta, "checkpoints": [50]}
    with pytest.raises(ValueError, match=message):
        CascadeClassifier.from_ensemble(forest, X_tune=few, **options)
    enough = np.repeat(X[:1], needed, axis=0)
    cascade = CascadeClassifier.from_ensemble(forest, X_tune=enough, **options)
    # A row of the training set, of which every tree is confident.
    assert cascade.tuned_disagreement_ == 0
    assert cascade.disagreement_bound_ == pytest.approx(share, rel=0.02)


def test_tuned_figures_are_those_of_the_rows(tuned, forest):
    """Check the disagreement by a recount, and that its bound is within the limit."""
    differs = tuned.predict(X[TUNE]) != forest.predict(X[TUNE])
    assert tuned.tuned_disagreement_ == differs.mean()
    assert tuned.tuned_disagreement_ <= tuned.disagreement_bound_ <= 0.02
    assert tuned.confidence == "vote_margin"
    assert tuned.thresholds_.tolist() == [tuned.thresholds] * 3
    found = tuned.predict_details(X[TEST])
    assert found.cost.mean() < 60
    assert (found.label != forest.predict(X[TEST])).mean() < 0.04


def test_vote_margin_uses_the_trees_that_ran(tuned, forest):
    """Check each row's exit against the vote margin of single trees."""
    z = tuned.thresholds
    votes = np.cumsum([tree.predict_proba(X[TEST]) for tree in forest.estimators_], axis=0)
    expected = np.full(len(X[TEST]), 3)
    for place, k in reversed(list(enumerate([15, 30, 60]))):
        margin = vote_margin(votes[k - 1], k, 100)
        # Whole votes: no margin lies within rounding of the threshold.
        assert (np.abs(margin - z) > 1e-5).all()
        expected[margin > z] = place
    found = tuned.predict_details(X[TEST])
    assert_array_equal(found.exit_stage, expected)
    assert_array_equal(found.cost, np.array([15, 30, 60, 100])[expected])
    run = votes[found.cost.astype(int) - 1, np.arange(len(expected))]
    # Whole numbers divided once.
    assert_array_equal(found.proba, run / found.cost[:, None])


def test_unseen_rows_disagree_no_more_than_bounded():
    """Check new rows against the bound, and that a larger limit exits earlier."""
    rows, y = make_classification(
        n_samples=6000, n_features=10, n_informative=6, n_classes=3, flip_y=0.1, random_state=0
    )
    fitted = RandomForestClassifier(120, max_depth=9, random_state=0).fit(rows[:1000], y[:1000])
    labels = fitted.predict(rows[3500:])
    thresholds, costs = [], []
    for allowed in (0.004, 0.02, 0.06):
        cascade = CascadeClassifier.from_ensemble(
            fitted, max_disagreement=allowed, X_tune=rows[1000:3500]
        )
        assert cascade.disagreement_bound_ <= allowed
        found = cascade.predict_details(rows[3500:])
        bound = cascade.disagreement_bound_
        # Three standard errors of a share of 2,500 rows.
        error = 3 * np.sqrt(bound * (1 - bound) / 2500)
        assert (found.label != labels).mean() <= bound + error
        thresholds.append(cascade.thresholds)
        costs.append(found.cost.mean())
    assert thresholds[0] > thresholds[1] > thresholds[2]
    assert 120 > costs[0] > costs[1] > costs[2] > 15


def test_another_operating_point_drops_the_tuned_figures(tuned):
    """Check that a copy at other thresholds has no disagreement figures, and the original has."""
    other = tuned.with_thresholds(2.0)
    assert not hasattr(other, "tuned_disagreement_")
    assert not hasattr(other, "disagreement_bound_")
    assert tuned.tuned_disagreement_ <= tuned.disagreement_bound_
    assert clone(tuned).fit(X[:50], NAMES[:50]).thresholds == tuned.thresholds


def test_thresholds_at_infinity_run_the_first_part_or_all(tuned, forest):
    """Check cost and probabilities at both ends."""
    first = tuned.with_thresholds(-np.inf).predict_details(X[TEST])
    assert set(first.cost) == {15}
    assert_array_equal(first.proba, tuned.estimators_[0].predict_proba(X[TEST]))
    last = tuned.with_thresholds(np.inf).predict_details(X[TEST])
    assert set(last.cost) == {100}
    assert_array_equal(last.proba, forest.predict_proba(X[TEST]))


@given(pair=st.lists(st.floats(-1, 12), min_size=2, max_size=2))
@settings(max_examples=15, deadline=None)
def test_raising_the_threshold_never_saves(tuned, pair):
    """Check that no row gets cheaper at a larger vote margin."""
    low, high = (tuned.with_thresholds(z).predict_details(X[TEST]).cost for z in sorted(pair))
    assert (low <= high).all()


@pytest.mark.parametrize("stopping", ["probabilistic", "exact"])
def test_a_single_tree_is_a_cascade_of_one_part(stopping):
    """Check that an ensemble without parts works, with the same predictions."""
    fitted = RandomForestClassifier(1, random_state=0).fit(X[FIT], NAMES[FIT])
    cascade = CascadeClassifier.from_ensemble(fitted, stopping=stopping)
    found = cascade.predict_details(X[TEST])
    assert_array_equal(found.proba, fitted.predict_proba(X[TEST]))
    assert set(found.cost) == {1}


def test_a_single_tree_needs_no_tuning():
    """Check that a single tree is tuned to no disagreement."""
    fitted = RandomForestClassifier(1, random_state=0).fit(X[FIT], NAMES[FIT])
    cascade = CascadeClassifier.from_ensemble(fitted, max_disagreement=0.02, X_tune=X[TUNE])
    assert_array_equal(cascade.predict(X[TEST]), fitted.predict(X[TEST]))
    assert (cascade.tuned_disagreement_, cascade.disagreement_bound_) == (0, 0)


@pytest.mark.parametrize(
    "options",
    [{}, {"stopping": "exact"}, {"max_disagreement": 0.02, "X_tune": X[TUNE]}],
    ids=["probabilistic", "exact", "tuned"],
)
def test_a_single_class_is_refused(options):
    """Check the error for a forest with a single class."""
    fitted = RandomForestClassifier(20, random_state=0).fit(X[FIT], np.zeros(700))
    with pytest.raises(ValueError, match="class"):
        CascadeClassifier.from_ensemble(fitted, **options)
