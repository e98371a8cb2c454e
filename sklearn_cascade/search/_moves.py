"""From one cascade of a large pool to many: a model put in front, between or behind; or left out.

Every threshold of every model at one place is looked at together, from histograms of its levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sklearn_cascade.rules import cumulative_costs, within_limit, worst_case_cost
from sklearn_cascade.search._coarse import N_LEVELS
from sklearn_cascade.search._dominance import Skyline, round_cost, round_score


class Sketch(NamedTuple):
    """One cascade of a coarse pool that keeps the last answer.

    Attributes
    ----------
    members : tuple of int
        Models in running order.
    levels : tuple of int
        One per stage but the last; rows of a level above it exit.
    score, cost : float
        What it reaches.
    """

    members: tuple[int, ...]
    levels: tuple[int, ...]
    score: float
    cost: float


class Album:
    """The sketches that no other seen so far beats in score and mean cost.

    Parameters
    ----------
    pool : CoarsePool
        Models and rows.
    max_stages : int
        The most models in one cascade.
    in_cost_order : bool
        Take in models only where they keep the members in order of their place in the pool.
    max_worst_cost : float or None
        Limit of the sum of the costs.
    """

    def __init__(self, pool, *, max_stages, in_cost_order, max_worst_cost) -> None:
        self.pool = pool
        self.n_seen = 0
        self._max_stages = max_stages
        self._in_cost_order = in_cost_order
        self._cap = max_worst_cost
        singles = [float(pool.stage_costs((model,))[0]) for model in range(pool.n_models)]
        self._highest = sum(sorted(singles)[-max_stages:])
        self._skyline = Skyline(self._highest)
        self._sketches: list[Sketch] = []
        # What each model adds to the score on each row: (n_samples, n_models).
        self._right = np.ascontiguousarray((pool.right * pool.share).T)

    def sketches(self) -> list[Sketch]:
        """Return the sketches on the front, cheapest first."""
        score = np.array([sketch.score for sketch in self._sketches])
        cost = np.array([sketch.cost for sketch in self._sketches])
        skyline = Skyline(self._highest)
        kept = skyline.admit(*self._tidy(score, cost), np.arange(len(score)))
        self._sketches = [self._sketches[i] for i in kept]
        return sorted(self._sketches, key=lambda sketch: sketch.cost)

    def add(self, members: Sequence[int], levels: Sequence[int]) -> None:
        """Take in one cascade, if its order and worst case are allowed."""
        if self._in_cost_order and list(members) != sorted(members):
            return
        if self._affordable(members):
            score, cost = self.pool.evaluate(members, levels)
            self._offer(np.array([score]), np.array([cost]), lambda _: (members, levels))

    def add_pairs(self) -> None:
        """Take in every pair of models, each with every threshold."""
        for first in range(self.pool.n_models):
            self._append((first,), (), np.arange(self.pool.level.shape[1]))

    def grow(self, sketch: Sketch) -> None:
        """Take in the sketch with any one model more at any place, and with any one less."""
        members, levels = sketch.members, sketch.levels
        for k in range(len(members) if len(members) > 1 else 0):
            fewer = members[:k] + members[k + 1 :]
            self.add(fewer, (levels[:k] + levels[k + 1 :])[: len(fewer) - 1])
        if len(members) == self._max_stages:
            return
        stage = self.pool.exit_stages(members, levels)
        for place in range(len(members)):
            self._insert(sketch, place, stage)
        rows = np.flatnonzero(stage == len(members) - 1)
        self._append(members, levels, rows)

    def _append(self, members, levels, rows) -> None:
        """Look at every model as a further last stage, with every threshold of the one before."""
        pool, last = self.pool, members[-1]
        models = self._allowed(members, len(members))
        if not models:
            return
        level = pool.level[last, rows]
        # Entry (l, m): how much of the rows of level l model m gets right.
        right = _sum_by_level(level, rows, self._right)
        reached = np.bincount(level, pool.row_share[rows], minlength=N_LEVELS).cumsum()
        score, cost = pool.evaluate(members, levels)
        gain = (right[:, models] - right[:, [last]]).cumsum(axis=0)
        price = np.array([pool.stage_costs((*members, m))[-1] for m in models])

        def describe(cell):
            level, place = divmod(cell, len(models))
            return (*members, models[place]), (*levels, level)

        self._offer(score + gain, cost + np.outer(reached, price), describe)

    def _insert(self, sketch, place, stage) -> None:
        """Look at every model with every threshold in front of one stage."""
        pool, members = self.pool, sketch.members
        models = self._allowed(members, place)
        rows = np.flatnonzero(stage >= place)
        after = stage[rows] - place
        n_after = len(members) - place
        share, row_share = pool.share[rows], pool.row_share[rows]
        right = pool.right[np.asarray(members)[stage[rows]], rows]
        score, cost = np.empty((2, len(models), N_LEVELS))
        for i, model in enumerate(models):
            level = pool.level[model, rows]
            price = pool.stage_costs((*members[:place], model, *members[place:]))
            own = (pool.right[model, rows].astype(np.int8) - right.astype(np.int8)) * share
            kept = np.bincount(level, own, minlength=N_LEVELS)
            # Rows of each level, by the stage that answers them if they go on.
            cell = level.astype(np.intp) * n_after + after
            going = np.bincount(cell, row_share, minlength=N_LEVELS * n_after)
            going = going.reshape(N_LEVELS, n_after) @ cumulative_costs(price[place + 1 :])
            score[i] = sketch.score + kept.sum() - kept.cumsum()
            earlier = stage < place
            paid = cumulative_costs(price[:place])[stage[earlier]] @ pool.row_share[earlier]
            entry = price[: place + 1].sum() * row_share.sum()
            cost[i] = paid + entry + going.cumsum()

        def describe(cell):
            place_of_model, level = divmod(cell, N_LEVELS)
            longer = (*members[:place], models[place_of_model], *members[place:])
            return longer, (*sketch.levels[:place], level, *sketch.levels[place:])

        self._offer(score, cost, describe)

    def _allowed(self, members, place: int) -> list[int]:
        """Return the models that may be put at one place of a cascade."""
        low, high = -1, self.pool.n_models
        if self._in_cost_order:
            low = members[place - 1] if place else low
            high = members[place] if place < len(members) else high
        found = []
        for model in range(low + 1, high):
            longer = (*members[:place], model, *members[place:])
            if model not in members and self._affordable(longer):
                found.append(model)
        return found

    def _affordable(self, members) -> bool:
        """Tell whether a row that goes through every stage costs no more than the limit."""
        return within_limit(worst_case_cost(self.pool.stage_costs(members)), self._cap)

    def _offer(self, score, cost, describe) -> None:
        """Take in what nothing beats, described from its position."""
        score, cost = np.ravel(score), np.ravel(cost)
        self.n_seen += len(score)
        cells = self._skyline.survivors(score, cost)
        for i in self._skyline.admit(*self._tidy(score[cells], cost[cells]), cells):
            members, levels = describe(int(cells[i]))
            figures = float(score[cells[i]]), float(cost[cells[i]])
            self._sketches.append(Sketch(tuple(members), tuple(levels), *figures))

    def _tidy(self, score, cost) -> tuple[np.ndarray, np.ndarray]:
        """Return figures so that those that differ by rounding are equal."""
        return round_score(score), round_cost(cost, self._highest)


def _sum_by_level(level: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sum of the rows of each level: (n_levels, n_columns)."""
    starts = np.concatenate([[0], np.bincount(level, minlength=N_LEVELS).cumsum()])
    order = rows[np.argsort(level, kind="stable")]
    chosen = csr_array((np.ones(len(rows)), order, starts), shape=(N_LEVELS, len(values)))
    return chosen @ values
