"""The candidates of a search, cascades and ensembles, and those evaluated, as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import comb, perm
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core._combination import COMBINATIONS
from sklearn_cascade.core._costs import within_limit, worst_case_cost
from sklearn_cascade.core._pareto import non_dominated, round_score
from sklearn_cascade.search._pool_confidence import AnyConfidence, PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions

# The models behind an output, ascending; or a combination and the models in running order.
Key = tuple[int, ...] | tuple[str | int, ...]


class Candidate(NamedTuple):
    """Models in running order, and how their outputs are combined."""

    combine: str
    members: tuple[int, ...]  # positions in the pool
    costs: np.ndarray  # (n_stages,), of one row in each stage
    exits: bool  # False: all rows go through all stages, and there is no threshold to choose
    learned: bool = False  # whether the confidence depends on the outputs of earlier stages

    @property
    def output_keys(self) -> list[Key]:
        """What the output depends on, at each stage where rows may exit."""
        n_stages = len(self.members)
        if not self.exits:
            return [output_key(self.combine, self.members, self.learned)]
        return [
            output_key(self.combine, self.members[:k], self.learned) for k in range(1, n_stages + 1)
        ]

    @property
    def gate_keys(self) -> list[Key]:
        """What the confidence depends on, at each stage where rows may exit early."""
        return self.output_keys[:-1]

    @property
    def exit_costs(self) -> np.ndarray:
        """What each stage where rows may exit adds to the cost of a row."""
        return self.costs if self.exits else np.array([self.worst_cost])

    @property
    def worst_cost(self) -> float:
        """Cost of a row that goes through every stage."""
        return worst_case_cost(self.costs)


def output_key(combine: str, members: Sequence[int], learned: bool = False) -> Key:
    """Return what the output and its confidence depend on once `members` have run."""
    if learned or combine == "most_confident":
        return (combine, *members)
    return (members[-1],) if combine == "last" else tuple(sorted(members))


def make_cascade(
    predictions: PoolPredictions,
    combine: str,
    members: tuple[int, ...],
    confidence: AnyConfidence = "max_proba",
) -> Candidate:
    """Return one cascade; a learned confidence depends on more, and may add to its costs."""
    costs, learned = predictions.stage_costs(members), isinstance(confidence, PoolConfidenceModels)
    if isinstance(confidence, PoolConfidenceModels):
        costs = costs + confidence.costs(combine, len(members))
    return Candidate(combine, members, costs, exits=True, learned=learned)


def enumerate_cascades(
    predictions: PoolPredictions,
    combinations: Sequence[str],
    max_stages: int,
    order: str,
    max_worst_cost: float | None = None,
    models: Sequence[int] | None = None,
) -> list[Candidate]:
    """Return every cascade of at least two of some models (ascending), by default of all.

    `order` is "cost", cheapest first, or "any", every order.
    """
    models = range(predictions.n_models) if models is None else models
    arrange = itertools.permutations if order == "any" else itertools.combinations
    cascades = [
        make_cascade(predictions, combine, members)
        for n_stages in range(2, min(max_stages, len(models)) + 1)
        for members in arrange(models, n_stages)
        for combine in combinations
    ]
    return within_worst_cost(cascades, max_worst_cost)


def enumerate_ensembles(
    predictions: PoolPredictions,
    max_stages: int,
    max_worst_cost: float | None = None,
    models: Sequence[int] | None = None,
) -> list[Candidate]:
    """Return every single model, and every set of at least two that can be averaged."""
    models = range(predictions.n_models) if models is None else models
    n_averaged = min(max_stages, len(models)) if predictions.has_proba else 1
    singles, *ensembles = (
        [
            Candidate("mean", members, predictions.stage_costs(members), exits=False)
            for members in itertools.combinations(models, n_stages)
        ]
        for n_stages in range(1, max(1, n_averaged) + 1)
    )
    return singles + within_worst_cost(list(itertools.chain(*ensembles)), max_worst_cost)


def within_worst_cost(
    candidates: Sequence[Candidate], max_worst_cost: float | None
) -> list[Candidate]:
    """Return the candidates whose worst-case cost is within the limit."""
    return [c for c in candidates if within_limit(c.worst_cost, max_worst_cost)]


def sort_candidates(
    predictions: PoolPredictions, candidates: Sequence[Candidate]
) -> list[Candidate]:
    """Return candidates in the order in which those of equal score and mean cost are preferred.

    Lower worst-case cost, then fewer stages, then names, then no early exit, then the combination.
    """

    def preference(candidate: Candidate) -> tuple:
        names = [predictions.names[model] for model in candidate.members]
        cost = float(f"{candidate.worst_cost:.10g}")
        return cost, len(names), names, candidate.exits, COMBINATIONS.index(candidate.combine)

    return sorted(candidates, key=preference)


def count_cascades(n_models: int, max_stages: int, order: str) -> Iterator[tuple[int, int]]:
    """Yield (number of stages, number of cascades of one combination) for two stages and more."""
    count = perm if order == "any" else comb
    for n_stages in range(2, min(max_stages, n_models) + 1):
        yield n_stages, count(n_models, n_stages)


class EvaluatedCandidates(NamedTuple):
    """Candidates with thresholds, and what they reach on the held-out rows."""

    candidate: np.ndarray  # (n_points,), index into the list of candidates
    thresholds: np.ndarray  # (n_points, max_stages - 1); NaN from the last stage on
    score: np.ndarray  # (n_points,)
    cost: np.ndarray  # (n_points,), mean cost of a row
    exit_rates: np.ndarray  # (n_points, max_stages), share of the rows; 0 beyond the last stage

    def take(self, points: np.ndarray) -> EvaluatedCandidates:
        """Return some of the points."""
        return EvaluatedCandidates(*(column[points] for column in self))

    def non_dominated(self) -> np.ndarray:
        """Return the points that no other dominates in score and mean cost, by rising cost."""
        n_points = len(self.candidate)
        score, rank = round_score(self.score), np.arange(n_points)
        points = non_dominated(score, self.cost, np.zeros(n_points), rank)
        return points[np.argsort(self.cost[points], kind="stable")]


def join(parts: Sequence[EvaluatedCandidates]) -> EvaluatedCandidates:
    """Return the points of several parts as one."""
    return EvaluatedCandidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
