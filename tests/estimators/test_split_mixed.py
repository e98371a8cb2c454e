"""Tests of parts of an ensemble among other members, and of the vote margin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier, CascadeSearchCV, search_cascades, split_ensemble
from sklearn_cascade.core._confidence import vote_margin
from sklearn_cascade.exceptions import MemberFailedError, StageFailedWarning
from tests.probes import FailingMember, ScriptedMember, numbered_rows

# Sums of up to thirty probabilities, each weighted, in two orders.
CLOSE = {"rtol": 0, "atol": 1e-12}


@pytest.fixture(scope="module")
def forest(blobs):
    """Return a forest of 30 trees fitted on half of the blobs."""
    X, y = blobs
    return RandomForestClassifier(30, min_samples_leaf=3, random_state=0).fit(X[::2], y[::2])


@pytest.fixture(scope="module")
def linear(blobs):
    """Return a linear model fitted on half of the blobs."""
    X, y = blobs
    return LogisticRegression().fit(X[::2], y[::2])


def tree_sums(forest, X):
    """Return the sum of the first trees' probabilities: shape (n_trees, n_samples, n_classes)."""
    return np.cumsum([tree.predict_proba(X) for tree in forest.estimators_], axis=0)


def test_parts_after_another_member_make_the_plain_weighted_mean(blobs, forest, linear):
    """Check a linear model first, then parts: the mean by weights, within rounding."""
    X, y = blobs
    parts = split_ensemble(forest, [10])
    cascade = CascadeClassifier(
        [("linear", FrozenEstimator(linear)), *parts.estimators],
        thresholds=[0.9, 0.7],
        weights=[5, *parts.weights],
        costs=[1, *parts.costs],
    ).fit(X, y)
    sums = tree_sums(forest, X)
    first = linear.predict_proba(X)
    answers = [first, (5 * first + sums[9]) / 15, (5 * first + sums[29]) / 35]
    found = cascade.predict_details(X)
    assert set(found.exit_stage) == {0, 1, 2}
    assert set(found.cost) == {1, 11, 31}
    expected = np.array(answers)[found.exit_stage, np.arange(len(X))]
    np.testing.assert_allclose(found.proba, expected, **CLOSE)
    full = cascade.with_thresholds(np.inf).predict_proba(X)
    np.testing.assert_allclose(full, answers[-1], **CLOSE)


def test_vote_margin_counts_other_members_by_weight(blobs, forest, linear):
    """Check the vote margin of a mixed cascade, computed from the sums for each row."""
    X, y = blobs
    parts = split_ensemble(forest, [10])
    cascade = CascadeClassifier(
        [("linear", FrozenEstimator(linear)), *parts.estimators],
        confidence="vote_margin",
        thresholds=[3.0, 2.0],
        weights=[5, *parts.weights],
    ).fit(X, y)
    first = 5 * linear.predict_proba(X)
    expected = np.full(len(X), 2)
    expected[vote_margin(first + tree_sums(forest, X)[9], 15, 35) > 2] = 1
    expected[vote_margin(first, 5, 35) > 3] = 0
    assert set(expected) == {0, 1, 2}
    assert_array_equal(cascade.predict_details(X).exit_stage, expected)


@pytest.mark.parametrize(
    ("order", "weights"),
    [
        ([0, 1, 2], [1.0, 1.0, 1.0]),
        ([0, 1, 2], [30.0, 10.0, 20.0]),
        ([1, 0, 2], None),
        ([2, 1, 0], None),
        ([0, 2], None),
        ([1, 2], None),
    ],
    ids=str,
)
def test_parts_in_another_order_or_weight_make_a_plain_mean(blobs, forest, order, weights):
    """Check that parts in another order are averaged like other members."""
    X, y = blobs
    parts = split_ensemble(forest, [5, 12])
    weights = weights or [parts.weights[k] for k in order]
    members = [parts.estimators[k] for k in order]
    cascade = CascadeClassifier(members, thresholds=np.inf, weights=weights).fit(X, y)
    answers = [part.predict_proba(X) for _, part in members]
    expected = np.average(answers, axis=0, weights=weights)
    np.testing.assert_allclose(cascade.predict_proba(X), expected, **CLOSE)


def test_dropped_part_leaves_the_mean_of_the_others(blobs, forest):
    """Check that a cascade with a dropped middle part averages the others."""
    X, y = blobs
    cascade = CascadeClassifier.from_ensemble(forest, checkpoints=[5, 12])
    cascade.set_params(members_5_12="drop", thresholds=np.inf).fit(X, y)
    sums = tree_sums(forest, X)
    expected = (sums[4] + sums[29] - sums[11]) / 23
    np.testing.assert_allclose(cascade.predict_proba(X), expected, **CLOSE)


def test_last_part_predicts_alone_with_combine_last(blobs, forest):
    """Check that combine="last" is the output of the last part's own trees."""
    X, y = blobs
    cascade = CascadeClassifier.from_ensemble(forest, checkpoints=[12])
    cascade.set_params(combine="last", thresholds=np.inf).fit(X, y)
    assert_array_equal(cascade.predict_proba(X), cascade.estimators_[1].predict_proba(X))


def test_parts_of_two_forests_are_averaged(blobs, forest):
    """Check that a part never continues the sum of another forest."""
    X, y = blobs
    other = RandomForestClassifier(30, max_depth=2, random_state=1).fit(X[::2], y[::2])
    first, _ = split_ensemble(forest, [15]).estimators
    _, second = split_ensemble(other, [15]).estimators
    members = [first, second]
    cascade = CascadeClassifier(members, thresholds=np.inf, weights=[15, 15]).fit(X, y)
    expected = (members[0][1].predict_proba(X) + members[1][1].predict_proba(X)) / 2
    np.testing.assert_allclose(cascade.predict_proba(X), expected, **CLOSE)


def test_parts_predict_with_labels_the_forest_never_saw(blobs, forest):
    """Check that a fit on more labels gives their columns zeros."""
    X, y = blobs
    y = y.copy()
    y[:5] = 9
    cascade = CascadeClassifier.from_ensemble(forest, checkpoints=[12]).with_thresholds(np.inf)
    with pytest.warns(UserWarning, match="never seen"):
        cascade.fit(X, y)
    assert cascade.classes_.tolist() == [0, 1, 2, 3, 9]
    proba = cascade.predict_proba(X)
    np.testing.assert_allclose(proba[:, :4], forest.predict_proba(X), **CLOSE)
    assert not proba[:, 4].any()


def vote_of_scripts(*members):
    """Return a soft vote whose fitted members are scripted, for ten numbered rows."""
    X, y = numbered_rows(10), np.arange(10) % 2
    names = [(f"m{k}", GaussianNB()) for k in range(len(members))]
    vote = VotingClassifier(names, voting="soft").fit(X, y)
    vote.estimators_ = list(members)
    return vote, X


def test_failing_part_is_named_or_keeps_the_previous_prediction():
    """Check a member that fails: an error with the part's name, or the previous prediction."""
    table = np.tile([[0.9, 0.1], [0.55, 0.45]], (5, 1))
    failing = FailingMember(table)
    vote, X = vote_of_scripts(ScriptedMember(table), ScriptedMember(table), failing)
    cascade = CascadeClassifier.from_ensemble(vote, stopping="exact", costs=[1, 1, 1])
    cascade = cascade.with_thresholds(0.5)
    with pytest.raises(MemberFailedError, match=r"'members_2_3'.*the service hung up"):
        cascade.predict(X)
    cascade.set_params(on_stage_error="keep_previous")
    with pytest.warns(StageFailedWarning, match="members_2_3") as caught:
        found = cascade.predict_details(X)
    assert caught[0].message.rows.tolist() == [1, 3, 5, 7, 9]
    # Twice a probability halved.
    assert_array_equal(found.proba, table)
    assert found.exit_stage.tolist() == [0, 1] * 5
    assert found.cost.tolist() == [1, 3] * 5
    assert failing.asked == [[1, 3, 5, 7, 9]] * 2


@pytest.mark.parametrize(
    "options", [{}, {"thresholds": 2.0, "combine": "last"}, {"thresholds": "auto"}], ids=str
)
def test_vote_margin_needs_thresholds_and_the_mean(blobs, forest, options):
    """Check the error for "vote_margin" with tuned thresholds or combine="last"."""
    X, y = blobs
    members = split_ensemble(forest).estimators
    cascade = CascadeClassifier(members, confidence="vote_margin", **options)
    message = (
        "confidence='vote_margin' with .*; expected thresholds in standard errors and the "
        "mean.*from"
    )
    with pytest.raises(ValueError, match=message):
        cascade.fit(X, y)


def test_searches_list_the_accepted_confidences(blobs, forest):
    """Check that a search over thresholds refuses the vote margin and names what it accepts."""
    X, y = blobs
    proba = [part.predict_proba(X) for _, part in split_ensemble(forest).estimators]
    with pytest.raises(
        ValueError, match=r"confidence='vote_margin'.*'max_proba', 'margin', 'entropy'"
    ):
        search_cascades(proba, y, costs=[1, 2], confidence="vote_margin")
    search = CascadeSearchCV([("nb", GaussianNB()), ("lr", LogisticRegression())])
    search.set_params(confidence="vote_margin")
    with pytest.raises(
        ValueError, match=r"'confidence'.*CascadeSearchCV.*'margin'.*Got 'vote_margin'"
    ):
        search.fit(X, y)
