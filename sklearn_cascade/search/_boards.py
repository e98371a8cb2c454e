"""Statistics seen through a view, cut at the thresholds to try: all that a sweep reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sklearn_cascade.rules import candidate_thresholds
from sklearn_cascade.search._committees import Plan
from sklearn_cascade.search._statistics import Key, Statistics
from sklearn_cascade.search._sweep import CellSums, Swept, count_passed
from sklearn_cascade.search._threads import map_in_threads
from sklearn_cascade.search._views import View

# Finer thresholds tried between the neighbours of each threshold of a point, by the number of
# stages that have one: about as many vectors each time.
_N_FINER = {1: 64, 2: 16}
_N_FINER_OF_LONG = 8

Grids = dict[tuple[Key, int], np.ndarray]


class Board:
    """The rows of a view, by the thresholds that they pass.

    Parameters
    ----------
    statistics : Statistics
        Of all rows.
    view : View
        The rows that count, and what they count.
    """

    def __init__(self, statistics: Statistics, view: View) -> None:
        self.view = view
        self._place = statistics.place
        part = slice(None) if view.rows is None else view.rows
        self._sure = statistics.confidence[:, part]
        self._value = statistics.value[:, part]
        self.grids: Grids = {}
        self._passed: dict[tuple[Key, int], np.ndarray] = {}

    def cut(
        self, wanted: Iterable[tuple[Key, int]], n_jobs: int, grids: Grids | None = None
    ) -> None:
        """Choose thresholds for each (prefix, number of them), or take given ones, and apply them.

        "Never exit" is the last of the thresholds.
        """
        wanted = [cut for cut in dict.fromkeys(wanted) if cut not in self._passed]
        done = map_in_threads(lambda cut: self._cut(cut, (grids or {}).get(cut)), wanted, n_jobs)
        for cut, (grid, passed) in zip(wanted, done, strict=True):
            self.grids[cut], self._passed[cut] = grid, passed

    def _cut(self, cut, grid):
        """Return thresholds for one prefix, and how many of them each row passes."""
        key, n_levels = cut
        sure = self._sure[self._place[key]]
        if grid is None:
            weight = self.view.row_weight
            finite = candidate_thresholds(sure, n_levels - 1, sample_weight=weight)
            grid = np.append(finite, np.inf)
        small = np.uint8 if n_levels < 256 else np.uint16
        return grid, count_passed(sure, grid).astype(small)

    def enter(self, sums: CellSums, plan: Plan) -> None:
        """Let the rows of this board into the sums of one plan."""
        values = [self._value[self._place[key]] for key in plan.answers]
        sums.enter(values, self.view.value_weight, self.view.row_weight)

    def thresholds(self, plan: Plan, n_levels: int) -> list[np.ndarray]:
        """Return the grid of each stage where rows may exit early."""
        return [self.grids[key, n_levels] for key in plan.gates]

    def add_to(self, sums: CellSums, plan: Plan, n_levels: int) -> None:
        """Add the rows of this board to the sums of one plan, over its whole grid."""
        self.enter(sums, plan)
        for key in plan.gates:
            passed = self._passed[key, n_levels]
            sums.defer(len(self.grids[key, n_levels]), passed[sums.rows])
        sums.leave()

    def sweep(self, plan: Plan, n_levels: int) -> Swept:
        """Return what every vector of the grid reaches."""
        sums = CellSums(*self.view.scales)
        self.add_to(sums, plan, n_levels)
        return sums.finish(plan.answer_costs)

    def sweep_around(
        self, plan: Plan, n_levels: int, thresholds: Sequence[float]
    ) -> tuple[Swept, list[np.ndarray]]:
        """Return what finer thresholds around a point of the grid reach, and these thresholds."""
        finer, n_finer = [], _N_FINER.get(len(plan.gates), _N_FINER_OF_LONG)
        sums = CellSums(*self.view.scales)
        self.enter(sums, plan)
        for key, threshold in zip(plan.gates, thresholds, strict=True):
            grid, sure = self.grids[key, n_levels], self._sure[self._place[key]]
            j = int(np.searchsorted(grid, threshold))
            coarse = self._passed[key, n_levels][sums.rows]
            near = np.flatnonzero((coarse == j) | (coarse == j + 1))
            rows = near if isinstance(sums.rows, slice) else sums.rows[near]
            weight = self.view.row_weight
            weight = None if weight is None else weight[rows]
            between = candidate_thresholds(sure[rows], n_finer, sample_weight=weight)
            values = np.unique([*grid[max(j - 1, 0) : j + 2], *between])
            # Rows farther off pass all of them, or none.
            count = (coarse > j + 1) * np.uint8(len(values))
            count[near] = count_passed(sure[rows], values)
            sums.defer(len(values), count)
            finer.append(values)
        return sums.finish(plan.answer_costs), finer
