"""The committees a search looks at, and those it found, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from math import comb, perm
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import COMBINATIONS, score_weights, within_limit, worst_case_cost
from sklearn_cascade.search._pool_confidence import PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.search._statistics import Key, prefix_of


class Candidate(NamedTuple):
    """Models in running order, and how their answers are combined.

    Attributes
    ----------
    combine : {"mean", "last", "most_confident"}
        How the stages run so far are combined.
    members : tuple of int
        Positions in the pool, in running order.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    exits : bool
        False: all rows go through all stages, and there is no threshold to choose.
    learned : bool, default=False
        Whether the confidence looks at what the stages before have said.
    """

    combine: str
    members: tuple[int, ...]
    costs: np.ndarray
    exits: bool
    learned: bool = False

    @property
    def answers(self) -> list[Key]:
        """The models that make the answer at each stage where rows may be answered."""
        n_stages = len(self.members)
        stages = range(1, n_stages + 1) if self.exits else [n_stages]
        return [prefix_of(self.combine, self.members[:k], self.learned) for k in stages]

    @property
    def gates(self) -> list[Key]:
        """The models whose confidence decides, at each stage where rows may exit early."""
        return self.answers[:-1]

    @property
    def answer_costs(self) -> np.ndarray:
        """What each answer adds to the cost of a row."""
        return self.costs if self.exits else np.array([self.worst_cost])

    @property
    def worst_cost(self) -> float:
        """Cost of a row that goes through every stage."""
        return worst_case_cost(self.costs)


def cascade_of(
    recordings: PoolPredictions,
    way: str,
    members: tuple[int, ...],
    confidence: str | Callable | PoolConfidenceModels,
) -> Candidate:
    """Return one cascade; a learned confidence looks at more, and may be on the bill."""
    costs, learned = recordings.stage_costs(members), isinstance(confidence, PoolConfidenceModels)
    if learned:
        costs = costs + confidence.costs(way, len(members))
    return Candidate(way, members, costs, True, learned)


class EvaluatedCandidates(NamedTuple):
    """Committees with thresholds, and what they reach on the held-out rows.

    Attributes
    ----------
    plan : ndarray of int of shape (n_found,)
        Position in the list of plans.
    thresholds : ndarray of shape (n_found, max_stages - 1)
        Beyond the last stage but one: NaN.
    score, cost : ndarray of shape (n_found,)
        Score, and mean cost of a row.
    rates : ndarray of shape (n_found, max_stages)
        Share of the rows that exit at each stage; beyond the last: 0.
    """

    plan: np.ndarray
    thresholds: np.ndarray
    score: np.ndarray
    cost: np.ndarray
    rates: np.ndarray

    def take(self, rows: np.ndarray) -> EvaluatedCandidates:
        """Return some of them."""
        return EvaluatedCandidates(*(column[rows] for column in self))


def join(parts: Sequence[EvaluatedCandidates]) -> EvaluatedCandidates:
    """Return several lots of committees as one."""
    return EvaluatedCandidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def plan_cascades(
    recordings: PoolPredictions,
    ways: Sequence[str],
    max_stages: int,
    order: str,
    max_worst_cost: float | None = None,
    models: Sequence[int] | None = None,
) -> list[Candidate]:
    """Return every cascade of at least two stages.

    Parameters
    ----------
    recordings : PoolPredictions
        The pool, cheapest first.
    ways : sequence of str
        Combinations to try.
    max_stages : int
        The most models in one cascade.
    order : {"cost", "any"}
        Cheapest first, or every order.
    max_worst_cost : float, default=None
        Sets that cost more in the worst case are left out.
    models : sequence of int, default=None
        Models to take, ascending; None: all.

    Returns
    -------
    plans : list of Candidate
    """
    models = range(recordings.n_models) if models is None else models
    arrange = permutations if order == "any" else combinations
    plans = [
        Candidate(way, members, recordings.stage_costs(members), True)
        for n_stages in range(2, min(max_stages, len(models)) + 1)
        for members in arrange(models, n_stages)
        for way in ways
    ]
    return _within(plans, max_worst_cost)


def plan_ensembles(
    recordings: PoolPredictions,
    max_stages: int,
    max_worst_cost: float | None = None,
    models: Sequence[int] | None = None,
) -> list[Candidate]:
    """Return every single model, and every set of at least two that can be averaged."""
    models = range(recordings.n_models) if models is None else models
    singles = [
        Candidate("mean", (model,), recordings.stage_costs((model,)), False) for model in models
    ]
    if recordings.proba is None:
        return singles
    sets = [
        Candidate("mean", members, recordings.stage_costs(members), False)
        for n_stages in range(2, min(max_stages, len(models)) + 1)
        for members in combinations(models, n_stages)
    ]
    return singles + _within(sets, max_worst_cost)


def in_order(recordings: PoolPredictions, plans: Sequence[Candidate]) -> list[Candidate]:
    """Return plans in order of merit among committees of equal score and cost.

    Lower worst-case cost, then fewer stages, then names, then no early exit, then the mean and
    the last stage's answer.
    """

    def merit(plan):
        names = [recordings.names[model] for model in plan.members]
        cost = float(f"{plan.worst_cost:.10g}")
        return cost, len(names), names, plan.exits, COMBINATIONS.index(plan.combine)

    return sorted(plans, key=merit)


def count_cascades(n_models: int, max_stages: int, order: str) -> Iterator[tuple[int, int]]:
    """Yield (number of stages, number of cascades of one combination) for two stages and more."""
    count = perm if order == "any" else comb
    for n_stages in range(2, min(max_stages, n_models) + 1):
        yield n_stages, count(n_models, n_stages)


def _within(plans: list[Candidate], max_worst_cost: float | None) -> list[Candidate]:
    """Return the plans whose worst-case cost is within the limit."""
    return [plan for plan in plans if within_limit(plan.worst_cost, max_worst_cost)]


class RowSubset(NamedTuple):
    """Some rows, and what each counts.

    Attributes
    ----------
    rows : ndarray of int or None
        Positions, ascending; None: all.
    value_weight, row_weight : ndarray of shape (n_rows,) or None
        Weight in the score and in the mean cost; None: one each.
    value_scale, row_scale : float
        What the weighted sums are multiplied by.
    """

    rows: np.ndarray | None
    value_weight: np.ndarray | None
    row_weight: np.ndarray | None
    value_scale: float
    row_scale: float

    @property
    def scales(self) -> tuple[float, float]:
        """Both scales."""
        return self.value_scale, self.row_scale

    def among(self, sample: np.ndarray) -> RowSubset:
        """Return the part of it that is in a sample of rows, counted by places in the sample."""
        if self.rows is None:
            rows, part = None, sample
        else:
            rows = np.flatnonzero(np.isin(sample, self.rows))
            part = np.searchsorted(self.rows, sample[rows])
        return self._weighing(rows, part)

    def between(self, start: int, stop: int) -> RowSubset:
        """Return the part of it that lies in a stretch of rows, counted from its start."""
        first, last = start, stop
        rows = None
        if self.rows is not None:
            first, last = np.searchsorted(self.rows, [start, stop])
            rows = self.rows[first:last] - start
        return self._weighing(rows, slice(first, last))

    def _weighing(self, rows, part) -> RowSubset:
        """Return the view of other rows with part of the weights."""
        return self._replace(
            rows=rows,
            value_weight=None if self.value_weight is None else self.value_weight[part],
            row_weight=None if self.row_weight is None else self.row_weight[part],
        )


def view_rows(
    recordings: PoolPredictions, scoring: str, rows: np.ndarray | None = None
) -> RowSubset:
    """Return the view of some rows, by default of all."""
    y, weight = recordings.y, recordings.sample_weight
    if rows is not None:
        y, weight = y[rows], None if weight is None else weight[rows]
    row_weight = None if weight is None else weight / weight.sum()
    row_scale = 1.0 / len(y) if weight is None else 1.0
    if weight is None and scoring != "balanced_accuracy":
        return RowSubset(rows, None, row_weight, row_scale, row_scale)
    shares = score_weights(scoring, y, np.ones(len(y)) if weight is None else weight)
    return RowSubset(rows, shares, row_weight, 1.0, row_scale)
