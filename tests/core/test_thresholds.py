"""Tests of the comparison that decides whether a row exits, and of the thresholds to try."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._thresholds import (
    candidate_thresholds,
    effective_threshold,
    exit_stages,
    exits,
    threshold_at,
    tie_tolerance,
)

finite = st.floats(-3, 3)


@pytest.mark.parametrize(
    ("threshold", "tolerance"),
    [
        (-5.0, 1e-5),
        (0.0, 1e-5),
        (0.6, 1e-5),
        (1 - 1e-4, 1e-5),
        (1 - 5e-5, 5e-6),
        (1 - 2e-5, 2e-6),
        (1 - 1e-5, 1e-6),
        (1.0, 1e-6),
        (7.0, 1e-6),
    ],
)
def test_tie_allowance_follows_its_formula(threshold, tolerance):
    """Check the tenth of the distance to 1, and both ends of the clip."""
    # One minus the threshold loses digits: 1e-16 of 1e-5.
    assert tie_tolerance(threshold) == pytest.approx(tolerance, rel=1e-10)
    assert effective_threshold(threshold) == pytest.approx(threshold - tolerance, abs=1e-15)


@pytest.mark.parametrize("threshold", [np.inf, -np.inf])
def test_effective_threshold_of_infinity_is_infinity(threshold):
    """Check that always and never stay so, in both directions."""
    assert effective_threshold(threshold) == threshold
    assert threshold_at(threshold) == threshold


@given(threshold=finite)
@settings(max_examples=60, deadline=None)
def test_threshold_at_inverts_effective_threshold(threshold):
    """Check that the effective threshold leads back to the threshold."""
    # A few roundings of numbers of about three.
    assert threshold_at(effective_threshold(threshold)) == pytest.approx(threshold, abs=1e-14)
    assert effective_threshold(threshold_at(threshold)) == pytest.approx(threshold, abs=1e-14)


@given(distance=st.floats(0, 2e-4))
@settings(max_examples=60, deadline=None)
def test_threshold_at_inverts_effective_threshold_close_to_one(distance):
    """Check the inverse where the tolerance shrinks and at both ends of that range."""
    threshold = 1 - distance
    assert threshold_at(effective_threshold(threshold)) == pytest.approx(threshold, abs=1e-15)


@given(one=finite, other=finite, near=st.booleans())
@settings(max_examples=60, deadline=None)
def test_effective_threshold_is_monotone(one, other, near):
    """Check that a higher threshold is never lower in effect, not even next to 1."""
    if near:
        one, other = 1 + one * 1e-4, 1 + other * 1e-4
    low, high = sorted([one, other])
    assert effective_threshold(low) <= effective_threshold(high)
    after = np.nextafter(low, np.inf)
    assert effective_threshold(low) <= effective_threshold(after)


def test_round_threshold_meets_a_lattice_summed_in_single_precision():
    """Check that 60 of 100 votes exit at a typed 0.6, though their sum falls short of it."""
    votes = np.repeat(np.float32([0.01, 0.0]), [60, 40])
    summed = np.add.accumulate(votes)[-1]
    assert -7e-7 < float(summed) - 0.6 < -1e-7
    assert exits(np.array([summed]), 0.6).tolist() == [True]
    assert exits(np.array([0.59, 0.6 - 6e-7, 0.6 - 2e-5, 0.6]), 0.6).tolist() == [
        False,
        True,
        False,
        True,
    ]


def test_infinite_and_missing_values_exit_as_documented():
    """Check that minus infinity lets all rows exit, infinity none, and that NaN never exits."""
    confidence = np.array([0.0, 1.0, np.nan, -1e300, 1e300])
    assert exits(confidence, -np.inf).tolist() == [True, True, False, True, True]
    assert exits(confidence, np.inf).tolist() == [False] * 5
    assert exits(confidence, np.nan).tolist() == [False] * 5


def test_rows_exit_at_the_first_confident_stage():
    """Check the exit stage of rows confident at every stage, late, never, and of NaN between."""
    confidence = np.array([[0.9, 0.1, 0.1, np.nan, np.nan], [0.9, 0.9, 0.1, 0.9, np.nan]])
    assert exit_stages(confidence, [0.5, 0.5]).tolist() == [0, 1, 2, 1, 2]
    assert exit_stages(confidence, [np.inf, 0.5]).tolist() == [1, 1, 2, 1, 2]
    assert exit_stages(confidence, [-np.inf, -np.inf]).tolist() == [0, 0, 0, 1, 2]


@given(
    seed=st.integers(0, 10**6),
    thresholds=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    raised=st.integers(0, 2),
    by=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_raising_a_threshold_never_makes_a_row_exit_earlier(seed, thresholds, raised, by):
    """Check that no exit stage falls when a threshold rises."""
    confidence = np.random.default_rng(seed).uniform(size=(3, 20))
    higher = list(thresholds)
    higher[raised] += by
    assert (exit_stages(confidence, higher) >= exit_stages(confidence, thresholds)).all()


def test_candidates_lie_midway_between_observed_values():
    """Check that the effective thresholds halve the gaps between confidences."""
    confidence = np.array([0.8, 0.2, 0.4, 0.2, 0.8])
    thresholds = candidate_thresholds(confidence, 10)
    np.testing.assert_allclose(effective_threshold(thresholds), [0.3, 0.6], rtol=1e-14)


@pytest.mark.parametrize(
    "confidence",
    [
        [],
        [0.7],
        [0.7] * 5,
        [np.nan] * 3,
        [0.7, np.nan, 0.7],
        [0.7, 0.7 + 1e-5, 0.7 + 3e-5],
        [np.inf, -np.inf, 0.5],
    ],
)
def test_candidates_of_a_single_group_are_none(confidence):
    """Check that rows which are equally confident, but for rounding, are never told apart."""
    assert candidate_thresholds(np.array(confidence), 10).tolist() == []


@pytest.mark.parametrize("n_candidates", [0, 1, 2, 5])
def test_candidates_are_at_most_as_many_as_asked_for(n_candidates):
    """Check the number of candidates of twenty distinct values, ascending and distinct."""
    thresholds = candidate_thresholds(np.linspace(0, 1, 20), n_candidates)
    assert len(thresholds) == n_candidates
    assert (np.diff(thresholds) > 0).all()


def test_candidates_use_every_gap_while_there_are_few():
    """Check that gaps little wider than needed are all used, though few rows lie between them."""
    confidence = np.array([0.5, 0.50005, 0.5001, 0.50015] + [0.9] * 1000)
    boundaries = effective_threshold(candidate_thresholds(confidence, 10))
    expected = [0.500025, 0.500075, 0.500125, 0.700075]
    np.testing.assert_allclose(boundaries, expected, rtol=1e-12)


def test_candidates_of_dense_rows_keep_to_the_number_asked_for():
    """Check that wide gaps come first where dense rows would add one candidate too many."""
    confidence = np.concatenate([[0.1, 0.2], np.linspace(0.5, 0.51, 1000)])
    boundaries = effective_threshold(candidate_thresholds(confidence, 2))
    np.testing.assert_allclose(boundaries, [0.15, 0.35], rtol=1e-12)


def test_missing_confidences_leave_candidates_as_they_are():
    """Check that NaN is ignored together with its weight."""
    confidence, weight = np.linspace(0, 1, 30), np.arange(1.0, 31.0)
    with_gaps = np.insert(confidence, [0, 7, 30], np.nan)
    padded = np.insert(weight, [0, 7, 30], 1000.0)
    np.testing.assert_array_equal(
        candidate_thresholds(with_gaps, 8, sample_weight=padded),
        candidate_thresholds(confidence, 8, sample_weight=weight),
    )


@given(
    points=st.lists(st.integers(0, 100), min_size=1, max_size=60),
    n_candidates=st.integers(1, 70),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_candidates_keep_their_distance_and_cut_no_lattice_point(points, n_candidates, seed):
    """Check that on a lattice with rounding noise every candidate lies in a gap of the lattice."""
    noise = np.random.default_rng(seed).uniform(-1e-6, 1e-6, size=len(points))
    confidence = np.array(points) / 100 + noise
    thresholds = candidate_thresholds(confidence, n_candidates)
    distinct = np.unique(points)
    expected = min(n_candidates, len(distinct) - 1)
    assert len(thresholds) <= n_candidates
    # Every gap is used where they are few; else each quantile gives one or, if a point fills it,
    # none.
    if len(distinct) - 1 <= n_candidates:
        assert len(thresholds) == expected
    elif expected:
        assert len(thresholds) >= 1
    distance = np.abs(confidence[:, None] - effective_threshold(thresholds))
    assert (distance >= 2 * tie_tolerance(thresholds)).all()
    midway = effective_threshold(thresholds) * 200
    # Midway between two points of the lattice, but for the noise.
    np.testing.assert_allclose(midway, np.round(midway), atol=1e-3)


def test_candidates_tell_saturated_rows_apart():
    """Check that close to 1, where the tolerance shrinks, finer gaps are used."""
    confidence = np.array([0.5, 0.5 + 3e-5, 1 - 4e-5, 1 - 1e-5])
    boundaries = effective_threshold(candidate_thresholds(confidence, 10))
    np.testing.assert_allclose(boundaries[-1], 1 - 2.5e-5, rtol=1e-12)
    assert len(boundaries) == 2


def test_candidates_of_dense_rows_are_spread_over_them():
    """Check that rows too many for safe gaps still get a candidate in each quantile."""
    confidence = np.random.default_rng(0).uniform(size=200_000)
    thresholds = candidate_thresholds(confidence, 63)
    assert len(thresholds) == 63
    share = np.searchsorted(np.sort(confidence), effective_threshold(thresholds)) / len(confidence)
    assert (np.floor(share * 63) == np.arange(63)).all()
    # Not on an observed value, as far as the density allows.
    nearest = np.abs(confidence[:, None] - effective_threshold(thresholds)).min(axis=0)
    assert nearest.min() > 1e-6


@given(
    points=st.lists(st.integers(0, 1000), min_size=2, max_size=80, unique=True),
    n_candidates=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_weight_counts_as_rows_repeated(points, n_candidates, seed):
    """Check that a row of weight k is k rows, and that the scale of the weights is free."""
    confidence = np.array(points) / 1000
    weight = np.random.default_rng(seed).integers(1, 5, size=len(confidence))
    expected = candidate_thresholds(np.repeat(confidence, weight), n_candidates)
    for scale in (1.0, 1 / weight.sum()):
        weighted = candidate_thresholds(confidence, n_candidates, sample_weight=weight * scale)
        np.testing.assert_array_equal(weighted, expected)


def test_quantiles_that_end_on_whole_rows_are_cut_alike():
    """Check that repeated, weighted and shuffled rows agree where rounding could tip a quantile."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        # 630 units of weight for 63 candidates, over 130 levels of confidence.
        units = rng.permutation(np.repeat([1, 2, 3], [120, 120, 90]))
        confidence, order = rng.integers(0, 130, size=330) / 130, rng.permutation(330)
        expected = candidate_thresholds(np.repeat(confidence, units), 63)
        weight = units / 630
        for rows in (np.arange(330), order):
            weighted = candidate_thresholds(confidence[rows], 63, sample_weight=weight[rows])
            np.testing.assert_array_equal(weighted, expected, err_msg=f"seed {seed}")


def test_candidates_of_a_confidence_without_bounds():
    """Check that a callable confidence that is infinite can be cut below infinity."""
    confidence = np.array([np.inf, 2.0, np.inf, 5.0])
    values = compute_confidence(np.full((4, 2), 0.5), lambda proba: confidence)
    thresholds = candidate_thresholds(values, 10)
    expected = [[True, True, True, True], [True, False, True, True], [True, False, True, False]]
    assert np.isfinite(thresholds).all()
    assert [exits(values, t).tolist() for t in [-np.inf, *thresholds]] == expected
