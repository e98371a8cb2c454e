"""Every cascade of a few models from a pool, every threshold vector of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sklearn_cascade.search._boards import Board
from sklearn_cascade.search._committees import Found, Plan, join
from sklearn_cascade.search._dominance import Skyline, non_dominated, round_cost, round_score
from sklearn_cascade.search._sweep import Swept
from sklearn_cascade.search._threads import map_in_threads

# Threshold vectors of one cascade that are held in memory at once: a grid of 65 to the third
# power fits, and longer cascades get coarser grids.
MAX_CELLS = 2**19


def levels_of(plan: Plan, n_thresholds: int) -> int:
    """Return how many thresholds, "never" among them, are tried at each stage of a cascade."""
    n_free = max(1, len(plan.members) - 1)
    return max(2, min(n_thresholds + 1, int(MAX_CELLS ** (1 / n_free) + 1e-9)))


def sweep_plans(
    board: Board,
    plans: Sequence[Plan],
    places: Sequence[int],
    n_thresholds: int,
    n_jobs: int,
    tick: Callable,
) -> tuple[Found, int]:
    """Return the points of the grids that no other beats, and the number of vectors looked at.

    Points without early exit are returned even if beaten.

    Parameters
    ----------
    board : Board
        The rows, cut at the thresholds of the plans.
    plans : sequence of Plan
        In order of merit among equals.
    places : sequence of int
        Those to sweep, ascending.
    n_thresholds : int
        Thresholds tried at each stage, besides "never".
    n_jobs : int
        Number of threads.
    tick : callable
        Told of every plan that is done.
    """

    def sweep(some, collector):
        for place in some:
            n_levels = levels_of(plans[place], n_thresholds)
            swept = board.sweep(plans[place], n_levels)
            collector.offer(place, swept, board.thresholds(plans[place], n_levels))
            tick()

    return _in_threads(sweep, plans, places, n_jobs)


def refine_found(
    board: Board, plans: Sequence[Plan], found: Found, n_levels: Callable, n_jobs: int
) -> tuple[Found, int]:
    """Return the points of finer grids around each one found that no other of them beats."""

    def sweep(some, collector):
        for place in some:
            plan = plans[place]
            for point in found.thresholds[found.plan == place, : len(plan.gates)]:
                swept, finer = board.sweep_around(plan, n_levels(plan), point)
                collector.offer(place, swept, finer)

    # All points of a plan go to one thread, one after the other: of points that are equal the
    # first is kept, which is then the same for any number of threads.
    places = [place for place in np.unique(found.plan) if plans[place].exits]
    return _in_threads(sweep, plans, places, n_jobs)


def _in_threads(sweep, plans, work, n_jobs) -> tuple[Found, int]:
    """Share the work out among threads; return what is found and the number of vectors."""
    collectors = [Collector(plans) for _ in range(n_jobs)]
    parts = [(work[start::n_jobs], collector) for start, collector in enumerate(collectors)]
    map_in_threads(lambda part: sweep(*part), parts, n_jobs)
    found = join([collector.collected() for collector in collectors])
    return unbeaten(plans, found), sum(collector.n_offered for collector in collectors)


def unbeaten(plans: Sequence[Plan], found: Found) -> Found:
    """Return the committees that no other beats in score, mean cost and worst-case cost.

    Those without early exit are returned even if beaten.
    """
    worst = np.array([plan.worst_cost for plan in plans])[found.plan]
    highest = worst.max(initial=0.0)
    # Among equals the plan of more merit, then the one found first.
    rank = np.lexsort((np.arange(len(found.plan)), found.plan)).argsort()
    kept = non_dominated(
        round_score(found.score),
        round_cost(found.cost, highest),
        round_cost(worst, highest),
        rank,
    )
    everyone = np.flatnonzero([not plans[place].exits for place in found.plan])
    return found.take(np.union1d(kept, everyone))


class Collector:
    """Keeps the points of many sweeps that none before them beats.

    Plans have to come in order of worst-case cost, so that a point is never beaten by one
    that costs more in the worst case.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = plans
        self._highest = max((plan.worst_cost for plan in plans), default=0.0)
        self._skyline = Skyline(self._highest)
        self._n_columns = max((len(plan.members) for plan in plans), default=1)
        self._parts: list[Found] = []
        self.n_offered = 0

    def offer(self, place: int, swept: Swept, grids: Sequence[np.ndarray]) -> None:
        """Look through all vectors of one plan."""
        score, cost = swept.score.ravel(), swept.cost.ravel()
        self.n_offered += len(score)
        if not self._plans[place].exits:
            self._skyline.admit(score, cost, np.zeros(1))
            self._parts.append(self._describe(place, swept, grids, np.zeros(1, dtype=int)))
            return
        cells = self._skyline.survivors(score, cost)
        tidy = round_score(score[cells]), round_cost(cost[cells], self._highest)
        # The highest thresholds of equals: the surest answers.
        cells = cells[self._skyline.admit(*tidy, -cells)]
        if len(cells):
            self._parts.append(self._describe(place, swept, grids, cells))

    def collected(self) -> Found:
        """Return all points let in."""
        return join([self._nothing(), *self._parts])

    def _describe(self, place, swept, grids, cells) -> Found:
        """Return the points at some cells of a sweep."""
        n_stages = len(self._plans[place].members)
        index = np.unravel_index(cells, [len(grid) for grid in grids]) if grids else ()
        thresholds = np.full((len(cells), self._n_columns - 1), np.nan)
        # Share of the rows that reach each stage: all of them, ..., nobody beyond the last.
        reach = np.zeros((len(cells), self._n_columns + 1))
        reach[:, 0] = 1.0
        if not grids:
            thresholds[:, : n_stages - 1] = np.inf
            reach[:, :n_stages] = 1.0
        axes = []
        for k, grid in enumerate(grids):
            thresholds[:, k] = grid[index[k]]
            if len(grid) > 1:
                axes.append(index[k])
            reach[:, k + 1] = swept.reached[k][tuple(axes)]
        score, cost = swept.score.ravel()[cells], swept.cost.ravel()[cells]
        plan = np.full(len(cells), place)
        return Found(plan, thresholds, score, cost, reach[:, :-1] - reach[:, 1:])

    def _nothing(self) -> Found:
        """Return no points, in the shape of some."""
        n = self._n_columns
        return Found(
            np.empty(0, dtype=int), np.empty((0, n - 1)), np.empty(0), np.empty(0), np.empty((0, n))
        )
