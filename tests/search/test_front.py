"""Tests of picking from a front, against a plain loop over its points."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sklearn_cascade import ParetoFront, search_cascades
from sklearn_cascade.exceptions import InfeasibleConstraintError
from tests.search.pools import draw_pool


@pytest.fixture(scope="module")
def front():
    """Return the front of a small pool."""
    pool, y, costs = draw_pool(4, 300)
    return search_cascades(pool, y, costs=costs, n_thresholds=8)


def pick(front, min_score, max_score_loss, max_cost, max_worst_cost):
    """Return what the rules of the design choose, or None."""
    able = [
        row
        for row in front
        if (max_cost is None or row.mean_cost <= max_cost)
        and (max_worst_cost is None or row.worst_cost <= max_worst_cost)
    ]
    by_cost = max_cost is not None or max_worst_cost is not None
    if by_cost and min_score is None and max_score_loss is None:
        return min(able, key=lambda row: (-row.score, row.mean_cost), default=None)
    best = max(row.score for row in front if row.kind == "single")
    floors = [] if min_score is None else [min_score]
    if max_score_loss is not None or min_score is None:
        floors.append(best - (max_score_loss or 0))
    able = [row for row in able if row.score >= max(floors) - 1e-10]
    return min(able, key=lambda row: (row.mean_cost, -row.score), default=None)


def test_select_obeys_every_combination_of_constraints(front):
    """Check all combinations of three values and none, feasible or not."""
    n_refused = 0
    levels = [
        [None, *np.quantile(front.score, [0.1, 0.6]), 1.01],
        [None, -0.5, 0.0, 0.1],
        [None, 0.0, *np.quantile(front.mean_cost, [0.3, 0.8])],
        [None, 0.0, *np.quantile(front.worst_cost, [0.3, 0.8])],
    ]
    names = ("min_score", "max_score_loss", "max_cost", "max_worst_cost")
    for values in product(*levels):
        expected = pick(front, *values)
        constraints = dict(zip(names, values, strict=True))
        if expected is None:
            n_refused += 1
            with pytest.raises(InfeasibleConstraintError, match="reaches"):
                front.select(**constraints)
        else:
            row = front.select(**constraints)
            assert (row.score, row.mean_cost) == (expected.score, expected.mean_cost)
    assert 0 < n_refused < 256


def test_nearest_is_taken_instead_of_an_error(front):
    """Check the best score within the limits, or the cheapest of all."""
    limit = float(np.median(front.mean_cost))
    row = front[front.find_index(min_score=2.0, max_cost=limit, nearest=True)]
    assert row == front.select(max_cost=limit)
    row = front[front.find_index(max_cost=0.0, nearest=True)]
    assert row.mean_cost == min(front.mean_cost)


def test_non_dominated_rows_are_those_that_no_row_beats(front):
    """Check each row against every other."""
    for row, marked in zip(front, front.non_dominated, strict=True):
        beaten = any(
            other.score >= row.score
            and other.mean_cost <= row.mean_cost
            and (other.score > row.score + 1e-9 or other.mean_cost < row.mean_cost - 1e-9)
            for other in front
        )
        assert marked == (not beaten)


def test_rows_come_by_cost_and_hold_together(front):
    """Check order, exit rates and the mean cost that follows from them."""
    assert np.all(np.diff(front.mean_cost) >= 0)
    alone = {row.members[0]: row.mean_cost for row in front if row.kind == "single"}
    for row in front:
        paid = np.cumsum([alone[name] for name in row.members])
        assert sum(row.exit_rates) == pytest.approx(1)
        assert row.mean_cost == pytest.approx(paid @ np.array(row.exit_rates))
        assert row.worst_cost == pytest.approx(paid[-1])


def test_limit_of_the_search_holds_for_its_front():
    """Check that a search under a limit never returns what is beyond it."""
    pool, y, costs = draw_pool(4, 200)
    limited = search_cascades(pool, y, costs=costs, max_worst_cost=float(costs[0] + costs[1]))
    assert limited.select(max_score_loss=1.0).worst_cost <= costs[0] + costs[1]
    assert limited.select(max_cost=1e9).worst_cost <= costs[0] + costs[1]
    assert len([row for row in limited if row.kind == "single"]) == 4


def test_front_draws_itself(front):
    """Check the picture, with a row chosen."""
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    display = front.plot(chosen=front.select(), ax=Figure().subplots())
    assert display.chosen_ is not None
    with pytest.raises(ValueError, match="chosen"):
        front.plot(chosen=len(front), ax=Figure().subplots())


def test_fronts_made_by_hand_cannot_be_applied(front):
    """Check that a front of points alone says what it lacks."""
    made = ParetoFront(list(front), scoring="accuracy", cost_unit="USD", n_evaluated=1)
    with pytest.raises(ValueError, match=r"made without evaluator"):
        made.apply(0, [])
