"""Tests of the search of large pools as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade import search_cascades
from tests.search.pools import as_pairs, draw_pool


@pytest.mark.parametrize(("seed", "order"), [*((s, "cost") for s in range(8)), (0, "any")])
def test_greedy_is_never_worse_than_the_best_pair_or_single(seed, order):
    """Check pools of more models than are searched exhaustively in the end."""
    pool, y, costs = draw_pool(9 + seed, 400, seed=seed)
    greedy = search_cascades(as_pairs(pool), y, costs=costs, method="greedy", cv=None, order=order)
    small = {"method": "exhaustive", "max_stages": 2, "order": order}
    pairs = search_cascades(as_pairs(pool), y, costs=costs, cv=None, **small)
    assert greedy.select().mean_cost <= pairs.select().mean_cost * (1 + 1e-9)
    for limit in np.quantile(costs, [0.2, 0.5, 0.8]):
        assert greedy.select(max_cost=limit).score >= pairs.select(max_cost=limit).score - 1e-9


def test_greedy_is_close_to_the_optimum():
    """Check that nine of ten pools of twelve models cost at most 2 % more than the optimum."""
    close = 0
    for seed in range(10):
        pool, y, costs = draw_pool(12, 1000, seed=100 + seed)
        options = {"costs": costs, "max_stages": 3, "n_thresholds": 32}
        greedy = search_cascades(as_pairs(pool), y, method="greedy", cv=None, **options).select()
        best = search_cascades(as_pairs(pool), y, method="exhaustive", cv=None, **options).select()
        close += greedy.mean_cost <= 1.02 * best.mean_cost
    assert close >= 9


def test_greedy_keeps_to_the_order_of_cost():
    """Check that order="cost" holds for what the greedy rule finds, too."""
    pool, y, costs = draw_pool(12, 300, seed=3)
    price = {f"model_{k}": cost for k, cost in enumerate(costs)}
    for row in search_cascades(as_pairs(pool), y, costs=costs, method="greedy", cv=None):
        paid = [price[name] for name in row.members]
        assert paid == sorted(paid)


def test_greedy_averages_where_probabilities_are_known():
    """Check that the models searched in the end are averaged, too."""
    pool, y, costs = draw_pool(12, 400, seed=1)
    front = search_cascades(pool, y, costs=costs, method="greedy", cv=None)
    assert {row.combine for row in front if row.kind == "cascade"} == {"mean", "last"}
    assert sum(row.kind == "single" for row in front) == 12


def test_greedy_keeps_to_limits_and_credits_shared_work():
    """Check the worst case, and costs that fall once others have run."""
    pool, y, costs = draw_pool(12, 300, seed=2)
    limit = float(np.median(costs))
    front = search_cascades(
        as_pairs(pool), y, costs=costs, method="greedy", cv=None, max_worst_cost=limit
    )
    assert all(row.worst_cost <= limit for row in front if row.kind != "single")

    def half_once_others_ran(name, names_run):
        return costs[int(name.split("_")[1])] / (2 if names_run else 1)

    shared = search_cascades(
        as_pairs(pool), y, costs=costs, method="greedy", cv=None, marginal_cost=half_once_others_ran
    )
    for row in shared:
        paid = [half_once_others_ran(name, row.members[:k]) for k, name in enumerate(row.members)]
        assert row.worst_cost == pytest.approx(sum(paid))
    plain = search_cascades(as_pairs(pool), y, costs=costs, method="greedy", cv=None)
    assert shared.select().mean_cost < plain.select().mean_cost


@pytest.mark.parametrize("n_models", [1, 2, 60])
@pytest.mark.parametrize("max_stages", [1, 4])
def test_greedy_takes_pools_of_any_size(n_models, max_stages):
    """Check the smallest pools, a large one, and single models only."""
    pool, y, costs = draw_pool(n_models, 150, seed=5)
    front = search_cascades(
        as_pairs(pool), y, costs=costs, method="greedy", cv=None, max_stages=max_stages
    )
    assert sum(row.kind == "single" for row in front) == n_models
    assert max(len(row.members) for row in front) <= max_stages


def test_auto_is_greedy_where_everything_would_take_long(capsys):
    """Check that "auto" prints which method it chose."""
    pool, y, costs = draw_pool(40, 100, seed=6)
    search_cascades(as_pairs(pool), y, costs=costs, cv=None, verbose=1)
    assert "cascades: greedy" in capsys.readouterr().out
