"""Tests of the vote margin, and of margins at which the remaining members hardly matter."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cascade.core._confidence import (
    compute_confidence,
    exact_margins,
    serfling_margins,
    stage_confidences,
    vote_margin,
)
from sklearn_cascade.core._thresholds import effective_threshold, exits
from tests.strategies import probabilities

counts = st.integers(1, 400)


def test_vote_margin_of_known_votes():
    """Check three rows after 15 of 500 trees against figures computed elsewhere."""
    found = vote_margin([[9, 3, 3], [15, 0, 0], [7, 7, 1]], k=15, n_members=500)
    # The reference has eight decimals.
    np.testing.assert_allclose(found, [1.79906473, 10.59424896, 0], rtol=0, atol=5e-9)


@pytest.mark.parametrize(
    ("k", "expected"), [(5, 3.388), (10, 6.971), (15, 10.594), (25, 17.958), (60, 45.039)]
)
def test_few_unanimous_members_are_not_infinitely_confident(k, expected):
    """Check that a unanimous beginning has a finite vote margin, which grows with its length."""
    # The reference has three decimals.
    assert vote_margin([[k, 0]], k, 500)[0] == pytest.approx(expected, abs=5e-4)
    assert vote_margin([[0, k]], k, 500)[0] == vote_margin([[k, 0]], k, 500)[0]


@pytest.mark.parametrize(("k", "n_members"), [(0, 10), (-1, 10), (10, 10), (11, 10), (np.nan, 10)])
def test_vote_margin_without_members_run_or_left_is_refused(k, n_members):
    """Check that k outside its range is named, with what is accepted."""
    message = rf"k={k!r}; expected a number above 0 and below n_members={n_members}"
    with pytest.raises(ValueError, match=message):
        vote_margin([[1.0, 0.0]], k, n_members)


@given(proba=probabilities(), k=counts, left=counts)
@settings(max_examples=60, deadline=None)
def test_vote_margin_is_finite_and_never_negative(proba, k, left):
    """Check the range on tied, saturated and uniform rows, without a warning."""
    margin = vote_margin(proba * k, k, k + left)
    assert margin.shape == (len(proba),)
    assert np.isfinite(margin).all()
    assert (margin >= 0).all()


@given(proba=probabilities(), k=counts, left=counts, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_vote_margin_does_not_depend_on_the_order_of_classes(proba, k, left, seed):
    """Check that the order of the columns changes no bit."""
    order = np.random.default_rng(seed).permutation(proba.shape[1])
    margin = vote_margin(proba * k, k, k + left)
    np.testing.assert_array_equal(vote_margin(proba[:, order] * k, k, k + left), margin)


@given(
    k=counts,
    left=counts,
    top=st.floats(0.2, 0.6),
    n_classes=st.integers(2, 5),
    moved=st.floats(0.01, 0.2),
)
@settings(max_examples=60, deadline=None)
def test_vote_margin_grows_with_the_gap(k, left, top, n_classes, moved):
    """Check that votes which go from the second class to the first raise the vote margin."""
    shares = np.zeros((2, n_classes))
    shares[:, 0], shares[:, 1] = [top, top + moved], [0.2, 0.2 - moved]
    margin = vote_margin(shares * k, k, k + left)
    assert margin[1] > margin[0]


@given(k=st.integers(1, 200), more=counts, left=counts)
@settings(max_examples=40, deadline=None)
def test_vote_margin_grows_with_the_members_run(k, more, left):
    """Check that the same shares of the votes mean more the more members gave them."""
    few = vote_margin([[0.6 * k, 0.3 * k, 0.1 * k]], k, k + more + left)
    total = k + more
    many = vote_margin([[0.6 * total, 0.3 * total, 0.1 * total]], total, total + left)
    assert many[0] > few[0]


def test_vote_margin_predicts_how_often_the_full_ensemble_disagrees():
    """Check on drawn forests that the larger the vote margin, the fewer labels change."""
    rng = np.random.default_rng(0)
    k, n_members, n_rows = 25, 400, 20_000
    # Each row's members all vote for one of two classes, as near to a tie as it gets.
    votes_left = rng.binomial(n_members, rng.uniform(0.3, 0.7, n_rows))
    drawn = rng.hypergeometric(votes_left, n_members - votes_left, k)
    first = np.column_stack([drawn, k - drawn])
    margin = vote_margin(first, k, n_members)
    turned = first.argmax(axis=1) != (2 * votes_left < n_members)
    turned &= 2 * votes_left != n_members
    shares = [turned[(margin >= low) & (margin < low + 1)].mean() for low in range(3)]
    assert shares[0] > 2 * shares[1] > 4 * shares[2] > 0
    # Cochran's standard error: beyond three of them hardly any row turns.
    assert turned[margin >= 3].mean() < 0.005


def test_named_confidences_do_not_depend_on_the_stage():
    """Check that all stages share a named confidence, and only "vote_margin" differs by stage."""
    weights = np.array([2.0, 3.0, 5.0])
    assert stage_confidences("margin", weights) == ["margin"] * 3
    assert stage_confidences(len, weights) == [len] * 3
    assert stage_confidences("vote_margin", weights[:1]) == ["max_proba"]
    proba = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    found = [compute_confidence(proba, c) for c in stage_confidences("vote_margin", weights)[:-1]]
    np.testing.assert_array_equal(found[0], vote_margin(proba * 2, 2, 10))
    np.testing.assert_array_equal(found[1], vote_margin(proba * 5, 5, 10))


def completions(n_left, n_classes):
    """Return the votes that some members left could add: every distribution over the classes."""
    cells = product(range(n_left + 1), repeat=n_classes)
    return np.array([cell for cell in cells if sum(cell) == n_left])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_members", [1, 2, 5, 8, 9])
def test_exact_margin_holds_whatever_the_rest_votes(n_members, n_classes):
    """Check by all possible votes that an exiting row keeps its label, and no other row has to."""
    for k in range(1, n_members):
        (threshold,) = exact_margins(np.array([float(k)]), float(n_members))
        rest = completions(n_members - k, n_classes)
        for votes in completions(k, n_classes):
            leaves = exits(compute_confidence(votes[None] / k, "margin"), threshold)[0]
            turned = ((votes + rest).argmax(axis=1) != votes.argmax()).any()
            if leaves:
                assert not turned
            # The margin allows for nothing else than a tie with a later class.
            second, first = np.sort(votes)[-2:]
            assert leaves == (first - second > n_members - k)


@given(
    weights=st.lists(st.floats(0.05, 3), min_size=2, max_size=7),
    n_classes=st.integers(2, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_exact_margin_holds_for_weighted_probabilities(weights, n_classes, seed):
    """Check that exiting rows keep their label if all other members vote for a rival."""
    weights = np.array(weights)
    run = np.cumsum(weights)
    rng = np.random.default_rng(seed)
    # Nearly unanimous members, so that some rows exit.
    proba = rng.dirichlet(np.full(n_classes, 0.3), size=(50, len(weights)))
    proba[:25] = 0.9 * proba[:25, :1] + 0.1 * proba[:25]
    total = (proba * weights[:, None]).cumsum(axis=1)
    thresholds = exact_margins(run[:-1], run[-1])
    for k, threshold in enumerate(thresholds):
        so_far = total[:, k]
        leaves = exits(compute_confidence(so_far / run[k], "margin"), threshold)
        label = so_far.argmax(axis=1)
        for rival in range(n_classes):
            worst = so_far.copy()
            worst[:, rival] += run[-1] - run[k]
            keeps = (worst.argmax(axis=1) == label) | (rival == label)
            assert keeps[leaves].all()


def test_margin_as_large_as_what_is_left_is_not_enough():
    """Check that a row that may end in a tie goes on: the class that comes first wins it."""
    threshold = exact_margins(np.array([6.0]), 10.0)[0]
    margins = compute_confidence(np.array([[1, 5], [0, 6], [0.99, 5.01]]) / 6, "margin")
    # Margins of 4, 6 and 4.02 votes, with 4 members left.
    assert exits(margins, threshold).tolist() == [False, True, True]
    (never,) = exact_margins(np.array([5.0]), 10.0)
    assert never == np.inf


def test_exact_margin_gives_thresholds_per_stage():
    """Check that each stage has its own threshold: what is left over what was run."""
    run = np.array([3.0, 6.0, 8.0])
    found = effective_threshold(exact_margins(run, 10.0))
    # The slack for a tie is 2e-5, which float32 can tell.
    np.testing.assert_allclose(found, [np.inf, 4 / 6, 2 / 8], rtol=0, atol=2.1e-5)
    assert (found[1:].astype(np.float32) > np.float32([4 / 6, 2 / 8])).all()


def serfling(k, n_members, n_comparisons, delta):
    """Return the margin of Serfling's inequality for differences of votes, from its formula."""
    sampled = (k - 1) / n_members
    return np.sqrt(2 * (1 - sampled) / k * np.log(n_comparisons / delta))


def test_serfling_margin_is_the_effective_threshold():
    """Check that the effective threshold is the margin of the formula."""
    run = np.array([15, 30, 60, 120, 240, 499])
    found = effective_threshold(serfling_margins(run, 500, 5, 0.01))
    expected = serfling(run, 500, 6 * 4, 0.01)
    # No row reaches a margin above one; a few roundings of numbers below one elsewhere.
    np.testing.assert_allclose(found, np.where(expected > 1, np.inf, expected), rtol=1e-13)
    assert np.isinf(found[0])
    assert np.isfinite(found[1:]).all()


@given(
    n_members=st.integers(3, 3000),
    n_classes=st.integers(2, 20),
    delta=st.floats(1e-6, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_serfling_margin_falls_with_the_members_run_and_rises_with_what_is_asked(
    n_members, n_classes, delta, seed
):
    """Check that later stages need smaller margins, fewer errors and more rivals larger ones."""
    n_stages = min(6, n_members - 1)
    drawn = np.random.default_rng(seed).choice(n_members - 1, size=n_stages, replace=False)
    run = np.sort(drawn) + 1
    margins = serfling_margins(run, n_members, n_classes, delta)
    finite = np.isfinite(margins)
    assert (np.diff(margins[finite]) < 0).all()
    # Infinity first, for as long as no margin is enough.
    assert finite.tolist() == sorted(finite.tolist())
    assert (margins <= serfling_margins(run, n_members, n_classes, delta / 2)).all()
    assert (margins <= serfling_margins(run, n_members, n_classes + 1, delta)).all()


def test_serfling_margin_keeps_its_guarantee_on_near_ties():
    """Check by simulation that labels of near-ties differ less often than delta allows."""
    rng = np.random.default_rng(0)
    n_members, delta, n_rows = 100, 0.2, 20_000
    run = np.array([15, 30, 60])
    thresholds = serfling_margins(run, n_members, 2, delta)
    # 51 of 100 members vote for the first class: whoever exits for the second is wrong.
    first = np.zeros(n_rows, dtype=int)
    exited, wrong = np.zeros(n_rows, bool), np.zeros(n_rows, bool)
    for k, before, threshold in zip(run, [0, 15, 30], thresholds, strict=True):
        first += rng.hypergeometric(51 - first, 49 - before + first, k - before)
        proba = np.column_stack([first, k - first]) / k
        leaves = exits(compute_confidence(proba, "margin"), threshold) & ~exited
        exited |= leaves
        wrong |= leaves & (first < k - first)
    assert exited.any()
    assert wrong.mean() <= delta


def test_serfling_margin_for_two_members_is_never_reached():
    """Check that an ensemble too small for the margin runs to its end instead of failing."""
    assert serfling_margins(np.array([1]), 2, 2, 0.01).tolist() == [np.inf]


def test_single_stage_has_no_margins():
    """Check that an ensemble in one part, which no row can leave early, gets no thresholds."""
    none = np.array([], dtype=float)
    assert serfling_margins(none, 1, 3, 0.01).shape == (0,)
    assert exact_margins(none, 1.0).shape == (0,)
