"""Tests of the operating points: the cheapest that reaches a target, and the front of a grid."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cascade.tuning._operating_points import (
    N_LEVELS,
    ThresholdPoint,
    cheapest_point,
    pareto_points,
    threshold_grid,
)
from sklearn_cascade.tuning._sweep import StageStatistics, sweep_flat
from tests.strategies import statistics_of_stages
from tests.tuning.test_stage_statistics import default_statistics

# Scores and costs of at most a few dozen rows, summed in another order.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def two_stages(confidence, correct):
    """Return two stages; the last is always correct, the first where told."""
    n_samples = len(confidence)
    contribution = np.array([correct, np.ones(n_samples)]) / n_samples
    shares = np.full(n_samples, 1 / n_samples)
    return StageStatistics(np.array([confidence]), contribution, np.array([1.0, 9.0]), shares)


def many_stages(n_stages, n_samples=300):
    """Return stages that get better, with informative confidences."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n_samples)
    logits = rng.normal(size=(n_stages, n_samples, 3))
    logits[:, np.arange(n_samples), y] += np.linspace(0.5, 3, n_stages)[:, None]
    proba = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return default_statistics(proba, y, np.arange(1.0, n_stages + 1), combine="last")


def permuted(statistics, order):
    """Return the statistics with their rows in another order."""
    return statistics.take(np.asarray(order))


@given(statistics=statistics_of_stages(), n_levels=st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_grid_runs_from_always_to_never(statistics, n_levels):
    """Check that each stage's thresholds ascend from minus infinity to infinity, few enough."""
    for values in threshold_grid(statistics, n_levels):
        assert values[0] == -np.inf
        assert values[-1] == np.inf
        assert len(values) <= n_levels
        assert np.isfinite(values[1:-1]).all()
        assert (values[1:] > values[:-1]).all()


@given(statistics=statistics_of_stages(max_stages=3), ambition=st.floats(0, 1.1))
@settings(max_examples=50, deadline=None)
def test_cheapest_point_beats_every_vector_of_the_grid(statistics, ambition):
    """Check that no vector of the first grid reaches the target for less, or comes closer."""
    vectors = list(product(*threshold_grid(statistics, N_LEVELS)))
    score, cost = np.array([statistics.evaluate(vector) for vector in vectors]).T
    target = score.min() + ambition * (score.max() - score.min() + 0.01)
    point = cheapest_point(statistics, target)
    np.testing.assert_allclose(statistics.evaluate(point.thresholds), point[1:], **CLOSE)
    able = score >= target
    if able.any():
        assert point.score >= target - 1e-9
        assert point.cost <= cost[able].min() + 1e-9
    else:
        assert point.score >= score.max() - 1e-9
        assert point.cost <= cost[score >= score.max() - 1e-12].min() + 1e-9


def test_cheapest_point_finds_the_exact_cut_between_grid_points():
    """Check that finer grids find the last row that may exit, which the first grid steps over."""
    confidence = np.linspace(0.3, 0.9, 2000)
    n_wrong = 777
    statistics = two_stages(confidence, np.arange(2000) >= n_wrong)
    point = cheapest_point(statistics, 1.0)
    assert point.score == pytest.approx(1.0, abs=1e-12)
    assert point.cost == pytest.approx(1 + 9 * n_wrong / 2000, rel=1e-12)
    assert confidence[n_wrong - 1] < point.thresholds[0] < confidence[n_wrong]


def test_cheapest_point_short_of_the_floor_has_the_best_score():
    """Check that a target out of reach gives the best score at its lowest cost."""
    statistics = two_stages(np.array([0.9, 0.8, 0.7, 0.6]), [1, 1, 0, 0])
    point = cheapest_point(statistics, 1.5)
    assert point.score == pytest.approx(1.0)
    assert point.cost == pytest.approx(1 + 9 / 2)


@pytest.mark.parametrize("n_stages", [2, 3, 6])
def test_equal_points_prefer_the_highest_thresholds(n_stages):
    """Check that of vectors with equal score and cost the highest thresholds are taken."""
    same = np.full((n_stages, 8), 1 / 8)
    confidence = np.tile(np.linspace(0.2, 0.9, 8), (n_stages - 1, 1))
    statistics = StageStatistics(
        confidence, same, np.array([1.0] + [0.0] * (n_stages - 1)), np.full(8, 1 / 8)
    )
    assert cheapest_point(statistics, 0.5).thresholds == (np.inf,) * (n_stages - 1)


def test_equal_costs_prefer_the_better_score():
    """Check that where a stage costs nothing more, only the rows it is better at reach it."""
    contribution = np.array([[1, 1, 0, 0], [0, 0, 1, 1]]) / 4
    statistics = StageStatistics(
        np.array([[0.9, 0.8, 0.7, 0.6]]), contribution, np.array([1.0, 0.0]), np.full(4, 0.25)
    )
    point = cheapest_point(statistics, 0.5)
    assert (point.score, point.cost) == pytest.approx((1.0, 1.0))


@given(statistics=statistics_of_stages(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_row_order_changes_no_point(statistics, seed):
    """Check that shuffled rows give the same thresholds, and the same call the same point."""
    order = np.random.default_rng(seed).permutation(statistics.contribution.shape[1])
    target = statistics.evaluate((np.inf,) * (statistics.n_stages - 1))[0]
    point = cheapest_point(statistics, target)
    assert cheapest_point(statistics, target) == point
    shuffled = cheapest_point(permuted(statistics, order), target)
    np.testing.assert_allclose(shuffled.thresholds, point.thresholds, rtol=1e-12)
    np.testing.assert_allclose(shuffled[1:], point[1:], **CLOSE)


@pytest.mark.parametrize("n_stages", [5, 9])
def test_many_stages_reach_the_floor_cheaply(n_stages):
    """Check that with too many stages for one sweep the full score costs far less."""
    statistics = many_stages(n_stages)
    target, full_cost = statistics.evaluate((np.inf,) * (n_stages - 1))
    point = cheapest_point(statistics, target)
    assert point.score >= target - 1e-10
    assert point.cost < 0.7 * full_cost
    np.testing.assert_allclose(statistics.evaluate(point.thresholds), point[1:], **CLOSE)


def test_many_stages_of_one_model_stop_at_once():
    """Check that all rows exit at the first of nine equal stages."""
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=50)
    statistics = default_statistics([proba] * 9, np.zeros(50, dtype=int), np.full(9, 2.0))
    target, _ = statistics.evaluate((np.inf,) * 8)
    point = cheapest_point(statistics, target)
    assert point.cost == pytest.approx(2.0)
    assert point.score == pytest.approx(target)


@given(statistics=statistics_of_stages())
@settings(max_examples=40, deadline=None)
def test_front_is_ascending_and_undominated(statistics):
    """Check that the front rises in both figures, and that no vector of its grid beats it."""
    points = pareto_points(statistics, 10**6)
    score = np.array([point.score for point in points])
    cost = np.array([point.cost for point in points])
    assert (np.diff(cost) >= 0).all()
    assert (np.diff(score) > 0).all()
    for point in points:
        np.testing.assert_allclose(statistics.evaluate(point.thresholds), point[1:], **CLOSE)
    all_scores, all_costs = sweep_flat(statistics, threshold_grid(statistics, N_LEVELS))
    for point in points:
        as_cheap = all_costs <= point.cost + 1e-12
        assert all_scores[as_cheap].max() <= point.score + 1e-9
    # Every vector is matched by a point of the front that costs no more.
    place = np.searchsorted(cost, all_costs.ravel() + 1e-9, side="right") - 1
    assert (place >= 0).all()
    assert (score[place] >= all_scores.ravel() - 1e-9).all()


def test_front_is_thinned_from_end_to_end():
    """Check that a thinned front keeps its cheapest and its best point, and points of its own."""
    statistics = many_stages(4)
    full = pareto_points(statistics, 10**6)
    assert len(full) > 10
    thin = pareto_points(statistics, 5)
    assert len(thin) == 5
    assert set(thin) <= set(full)
    assert (thin[0], thin[-1]) == (full[0], full[-1])
    assert pareto_points(statistics, 1) == [full[0]]


@pytest.mark.parametrize("n_stages", [9, 30])
def test_front_of_many_stages_stays_feasible(n_stages):
    """Check that many stages get a coarse front of true points, within numpy's dimensions."""
    statistics = many_stages(n_stages, n_samples=60)
    points = pareto_points(statistics, 20)
    assert 2 <= len(points) <= 20
    assert points[0].cost == pytest.approx(statistics.costs[0])
    for point in points:
        assert len(point.thresholds) == n_stages - 1
        np.testing.assert_allclose(statistics.evaluate(point.thresholds), point[1:], **CLOSE)


def test_rank_puts_the_floor_before_cost_and_cost_before_score():
    """Check the order of merit: reach the target, then cheap, then good; else good, then cheap."""
    ascending = [
        ThresholdPoint((0.1,), 0.60, 1.0),
        ThresholdPoint((0.1,), 0.79, 9.0),
        ThresholdPoint((0.1,), 0.79, 8.0),
        ThresholdPoint((0.1,), 0.95, 7.0),
        ThresholdPoint((0.1,), 0.80, 6.0),
        ThresholdPoint((0.1,), 0.85, 6.0),
    ]
    ranks = [point.rank(0.8) for point in ascending]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    noisy = ThresholdPoint((0.1,), 0.8 - 1e-13, 6.0 + 1e-13)
    assert noisy.rank(0.8) == ascending[4].rank(0.8)
