"""Tests of the sweep: every threshold vector at once against one row at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cascade.core._thresholds import effective_threshold
from sklearn_cascade.tuning._sweep import StageStatistics, sweep_flat
from tests.core.test_costs import COSTS, STAGES, TABLE, TRUTH
from tests.strategies import statistics_of_stages, thresholds
from tests.tuning.test_stage_statistics import default_statistics


def sweep_thresholds(statistics, candidates):
    """Return score and cost of every combination, with one axis for each stage but the last."""
    shape = [len(thresholds) for thresholds in candidates]
    return tuple(part.reshape(shape) for part in sweep_flat(statistics, candidates))


def row_by_row(statistics, vector):
    """Return score and mean cost of one threshold vector, the slow and obvious way."""
    score = cost = 0.0
    for i, share in enumerate(statistics.sample_weight):
        for k in range(statistics.n_stages):
            cost += share * statistics.costs[k]
            if k == statistics.n_stages - 1 or statistics.confidence[k, i] >= effective_threshold(
                vector[k]
            ):
                score += statistics.contribution[k, i]
                break
    return score, cost


@st.composite
def candidate_lists(draw):
    """Draw stage statistics and up to four distinct thresholds for each of its stages."""
    statistics = draw(statistics_of_stages())
    lists = st.lists(thresholds, min_size=1, max_size=4, unique=True)
    return statistics, [np.sort(draw(lists)) for _ in range(statistics.n_stages - 1)]


@given(drawn=candidate_lists())
@settings(max_examples=60, deadline=None)
def test_sweep_equals_row_by_row_for_every_vector(drawn):
    """Check score and cost of all threshold vectors, with weights, ties and NaN confidences."""
    statistics, candidates = drawn
    score, cost = sweep_thresholds(statistics, candidates)
    assert score.shape == cost.shape == tuple(len(values) for values in candidates)
    for index in product(*(range(len(values)) for values in candidates)):
        vector = [values[j] for values, j in zip(candidates, index, strict=True)]
        expected = row_by_row(statistics, vector)
        # At most 25 rows in another order; log-losses reach 36.
        np.testing.assert_allclose((score[index], cost[index]), expected, rtol=1e-10, atol=1e-11)


@given(drawn=candidate_lists())
@settings(max_examples=30, deadline=None)
def test_higher_thresholds_never_cost_less(drawn):
    """Check that the cost rises along every axis of the sweep."""
    statistics, candidates = drawn
    _, cost = sweep_thresholds(statistics, candidates)
    for axis in range(cost.ndim):
        assert (np.diff(cost, axis=axis) >= -1e-12).all()


def test_sweep_of_fixture_w():
    """Check the corners of the sweep against the figures computed on paper."""
    statistics = default_statistics(STAGES, TRUTH, COSTS)
    candidates = [np.array([0, 0.75, np.inf]), np.array([0, 0.65, np.inf])]
    score, cost = sweep_thresholds(statistics, candidates)
    places = [(1, 1), (2, 2), (0, 0), (1, 2)]
    for place, (_, _, _, mean, _, right) in zip(places, TABLE, strict=True):
        # Shares of a sixth, summed.
        assert score[place] == pytest.approx(right / 6, rel=1e-14)
        assert cost[place] == pytest.approx(mean, rel=1e-14)


def test_sweep_lets_a_row_on_its_boundary_exit():
    """Check that a row on the boundary exits and one below stays, as in the cascade."""
    boundary = effective_threshold(0.6)
    statistics = StageStatistics(
        confidence=np.array([[boundary, np.nextafter(boundary, 0), np.nan]]),
        contribution=np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]),
        costs=np.array([1.0, 10.0]),
        sample_weight=np.array([0.5, 0.25, 0.25]),
    )
    score, cost = sweep_thresholds(statistics, [np.array([-np.inf, 0.6, np.inf])])
    assert score.tolist() == [2.0, 1.0, 0.0]
    assert cost.tolist() == [3.5, 6.0, 11.0]


def test_sweep_of_no_rows_is_zero():
    """Check that no rows have a score and a cost of zero everywhere."""
    empty = default_statistics(STAGES, TRUTH, COSTS).take(np.array([], dtype=int))
    score, cost = sweep_thresholds(empty, [np.array([0.5, np.inf])] * 2)
    assert score.tolist() == cost.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_sweep_leaves_the_statistics_as_they_were():
    """Check that nothing handed in is written to."""
    statistics = default_statistics(STAGES, TRUTH, COSTS)
    candidates = [np.array([0.5, 0.75, np.inf]), np.array([0.65])]
    arrays = (
        statistics.confidence,
        statistics.contribution,
        statistics.costs,
        statistics.sample_weight,
    )
    for array in (*arrays, *candidates):
        array.flags.writeable = False
    first = sweep_thresholds(statistics, candidates)
    second = sweep_thresholds(statistics, candidates)
    np.testing.assert_array_equal(first, second)
