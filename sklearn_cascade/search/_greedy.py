"""The greedy search of large pools: Streeter's rule, and a local search around what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sklearn_cascade.core._costs import cumulative_costs, within_limit, worst_case_cost
from sklearn_cascade.core._pareto import ParetoSet, round_cost, round_score
from sklearn_cascade.core._samples import evenly_spaced
from sklearn_cascade.core._thresholds import candidate_thresholds
from sklearn_cascade.search._candidates import (
    Candidate,
    EvaluatedCandidates,
    enumerate_ensembles,
    join,
    make_cascade,
    sort_candidates,
)
from sklearn_cascade.search._exhaustive import (
    SearchResult,
    Settings,
    enumerate_candidates,
    evaluate_candidates,
    evaluate_points,
    pareto_optimal,
)
from sklearn_cascade.search._predictions import PoolPredictions, subset_rows
from sklearn_cascade.search._statistics import blocks_of, collect_statistics, map_in_threads
from sklearn_cascade.tuning._sweep import count_passed

# How much less accurate than its reference a cascade may be: the tolerances of ENCAS.
TOLERANCES = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95)
_ROUNDING = 1e-12
# Single models that greedy cascades are compared with.
_N_REFERENCES = 12
# Cascades whose neighbours are evaluated, in each of two rounds.
_N_STARTS = 16
_N_ROUNDS = 2
# Models of which all candidates are evaluated in the end.
_N_SHORTLISTED = 8
# Thresholds of each model, "always" left out and "never" among them.
N_LEVELS = 256
# Models whose confidences are held at once.
_N_MODELS_AT_ONCE = 16


def search_greedily(
    predictions: PoolPredictions,
    settings: Settings,
    *,
    progress: Any,
    rows: Sequence[np.ndarray | None] = (None,),
) -> SearchResult:
    """Evaluate the promising candidates of a large pool, for each entry of `rows` (None: all).

    Greedy cascades for many references and tolerances, and every pair, are the start; then one
    model at a time is added or left out; finally all candidates are evaluated that consist of the
    few models which the best cascades use most. So the result is never worse than the best pair or
    single model.
    """
    models_alone = enumerate_ensembles(predictions, 1)
    singles = evaluate_candidates(
        predictions, settings, progress=progress, rows=rows, candidates=models_alone
    )
    n_evaluated = singles.n_evaluated
    parts = [(singles.candidates, found) for found in singles.found]
    for subset in rows:
        archive = build_archive(predictions, settings, subset, progress)
        cascades = [cascade for cascade in archive.cascades() if len(cascade.members) > 1]
        refined, count = refine(predictions, settings, archive, cascades, subset)
        models = list(range(predictions.n_models))
        if len(models) > _N_SHORTLISTED:
            uses = Counter(model for cascade in cascades for model in cascade.members)
            models = sorted(sorted(uses, key=lambda model: (-uses[model], model))[:_N_SHORTLISTED])
        shortlist = enumerate_candidates(predictions, settings, models)
        shortlisted = evaluate_candidates(
            predictions, settings, progress=progress, rows=[subset], candidates=shortlist
        )
        parts += [refined, (shortlisted.candidates, shortlisted.found[0])]
        n_evaluated += archive.n_evaluated + count + shortlisted.n_evaluated
    candidates, evaluated = merge(predictions, parts)
    found, n_rows = [], len(rows)
    for i in range(n_rows):
        points = join([evaluated[i], *evaluated[n_rows + 2 * i : n_rows + 2 * i + 2]])
        # Each candidate without early exit once.
        exits = np.array([candidates[index].exits for index in points.candidate])
        once = np.unique(points.candidate[~exits], return_index=True)[1]
        kept = np.concatenate([np.flatnonzero(~exits)[once], np.flatnonzero(exits)])
        found.append(pareto_optimal(candidates, points.take(kept)))
    return SearchResult(candidates, found, n_evaluated)


def build_archive(
    predictions: PoolPredictions, settings: Settings, rows: np.ndarray | None, progress: Any
) -> ParetoArchive:
    """Return the best cascades of the pool with quantized confidences."""
    pool = quantize(predictions, settings, rows)
    archive = ParetoArchive(
        pool,
        max_stages=settings.max_stages,
        in_cost_order=settings.order == "cost",
        max_worst_cost=settings.max_worst_cost,
    )
    for model in range(pool.n_models):
        archive.add((model,), ())
    if settings.max_stages == 1:
        return archive
    for members, levels in _greedy_cascades(pool, settings, progress):
        archive.add(members, levels)
    progress.report(f"{pool.n_models * (pool.n_models - 1) // 2:,} pairs")
    archive.add_pairs()
    done: set[CandidateCascade] = set()
    for _ in range(_N_ROUNDS):
        starts = _spread([c for c in archive.cascades() if c not in done], _N_STARTS)
        progress.start("cascades varied", len(starts))
        for cascade in starts:
            archive.add_neighbours(cascade)
            progress.tick()
        done.update(starts)
    return archive


def _greedy_cascades(
    pool: QuantizedPool, settings: Settings, progress: Any
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the greedy cascade of each reference and tolerance, as members and levels."""
    score, cost = np.array([pool.evaluate((m,), ()) for m in range(pool.n_models)]).T
    best = ParetoSet(cost.max()).admit(score, cost, np.arange(len(score))).tolist()
    references = _spread(best, _N_REFERENCES)
    tasks = [(reference, tolerance) for reference in references for tolerance in TOLERANCES]
    progress.start("greedy cascades", len(tasks))

    def build(task: tuple[int, float]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        steps = greedy_cascade(
            pool, *task, max_stages=settings.max_stages, max_worst_cost=settings.max_worst_cost
        )
        progress.tick()
        return tuple(step.model for step in steps), tuple(step.level for step in steps[:-1])

    built = map_in_threads(build, tasks, settings.n_jobs)
    return [(members, levels) for members, levels in dict.fromkeys(built) if members]


def _spread(items: list, n_items: int) -> list:
    """Return so many of the items at most, evenly spaced."""
    return [items[i] for i in evenly_spaced(len(items), n_items)]


class GreedyStep(NamedTuple):
    """One stage that the greedy rule chose."""

    model: int
    level: int  # rows of a higher level exit; -1: all
    ratios: dict[int, float]  # share of the rows that exit per cost, for each possible model


def greedy_cascade(
    pool: QuantizedPool,
    reference: int,
    tolerance: float,
    *,
    max_stages: int,
    max_worst_cost: float | None = None,
) -> list[GreedyStep]:
    """Build one cascade by Streeter's rule; in its last stage all remaining rows exit.

    At each step every model not yet used is given the lowest threshold at which it is, on the rows
    that exit, at least `tolerance` (0 to 1) times as accurate as the reference model; the model
    with which most rows exit for its cost is next. If every stage is this accurate on its rows,
    so is the cascade.

    The rule is that of Streeter (2018), "Approximation Algorithms for Cascading Prediction
    Models", with the tolerances of Chebykin et al. (2022). For fixed sets of rows it is within a
    factor 4 of the best order (Munagala et al., 2005); thresholds chosen on the way are outside
    that guarantee.
    """
    rows = np.arange(pool.level.shape[1])
    steps: list[GreedyStep] = []
    while True:
        used = [step.model for step in steps]
        last = len(steps) == max_stages - 1
        options = _next_stages(pool, rows, used, reference, tolerance, last, max_worst_cost)
        if not options:
            # The limit of the cost leaves no model: all rows exit at the stage before.
            return [*steps[:-1], steps[-1]._replace(level=-1)] if steps else []
        # Most rows for its cost; among equals the cheaper, then the first.
        chosen = max(options, key=lambda option: (option.ratio, -option.cost, -option.model))
        ratios = {option.model: option.ratio for option in options}
        steps.append(GreedyStep(chosen.model, chosen.level, ratios))
        if chosen.level < 0:
            return steps
        rows = rows[pool.level[chosen.model, rows] <= chosen.level]
        if not len(rows):
            return [*steps[:-1], steps[-1]._replace(level=-1)]


class _NextStage(NamedTuple):
    """A model that may be the next stage."""

    model: int
    level: int
    ratio: float
    cost: float


def _next_stages(
    pool: QuantizedPool,
    rows: np.ndarray,
    used: list[int],
    reference: int,
    tolerance: float,
    last: bool,
    max_worst_cost: float | None,
) -> list[_NextStage]:
    """Return the models that may come next, each at its lowest threshold."""
    needed = float(tolerance) * pool.correct[reference, rows]
    score_share, row_share = pool.score_share[rows], pool.row_share[rows]
    spent = sum(pool.stage_costs(used)) if used else 0.0
    found = []
    for model in range(pool.n_models):
        if model in used:
            continue
        cost = pool.stage_costs([*used, model])[-1]
        if not within_limit(spent + cost, max_worst_cost):
            continue
        level = pool.level[model, rows]
        surplus = (pool.correct[model, rows] - needed) * score_share
        # Entry l: the sum over the rows of level l and above.
        surplus = np.bincount(level, surplus)[::-1].cumsum()[::-1]
        exiting = np.bincount(level, row_share)[::-1].cumsum()[::-1]
        lowest = int((surplus >= -_ROUNDING).argmax())
        if surplus[lowest] < -_ROUNDING or (last and lowest > level.min()):
            continue
        ratio = exiting[lowest] / cost if cost else np.inf
        found.append(_NextStage(model, lowest - 1 if lowest > level.min() else -1, ratio, cost))
    return found


def refine(
    predictions: PoolPredictions,
    settings: Settings,
    archive: ParetoArchive,
    cascades: Sequence[CandidateCascade],
    rows: np.ndarray | None,
) -> tuple[tuple[list[Candidate], EvaluatedCandidates], int]:
    """Evaluate cascades of the archive on all rows, at finer thresholds, and count the vectors."""
    members = dict.fromkeys(cascade.members for cascade in cascades)
    candidates = [make_cascade(predictions, "last", models) for models in members]
    candidates = sort_candidates(predictions, candidates)
    index = {candidate.members: i for i, candidate in enumerate(candidates)}
    thresholds = np.full((len(cascades), max(1, settings.max_stages - 1)), np.nan)
    for i, cascade in enumerate(cascades):
        chosen = archive.pool.thresholds(cascade.members, cascade.levels)
        thresholds[i, : len(chosen)] = chosen
    unknown = np.zeros(len(cascades))
    points = EvaluatedCandidates(
        np.array([index[cascade.members] for cascade in cascades], dtype=int),
        thresholds,
        unknown,
        unknown,
        np.zeros((len(cascades), thresholds.shape[1] + 1)),
    )
    found, count = evaluate_points(predictions, settings, candidates, points, rows, N_LEVELS)
    return (candidates, found), count


def merge(
    predictions: PoolPredictions, parts: Sequence[tuple[list[Candidate], EvaluatedCandidates]]
) -> tuple[list[Candidate], list[EvaluatedCandidates]]:
    """Return one list of candidates for all parts, and the points of each part by its index."""

    def identity(candidate: Candidate) -> tuple:
        return candidate.combine, candidate.members, candidate.exits

    distinct = {identity(candidate): candidate for part, _ in parts for candidate in part}
    candidates = sort_candidates(predictions, list(distinct.values()))
    index = {identity(candidate): i for i, candidate in enumerate(candidates)}
    n_stages = max(len(candidate.members) for candidate in candidates)
    merged = []
    for part, found in parts:
        positions = np.array([index[identity(candidate)] for candidate in part], dtype=int)
        # All parts get columns for as many stages.
        missing = n_stages - found.exit_rates.shape[1]
        empty = np.full((len(found.candidate), missing), np.nan)
        merged.append(
            found._replace(
                candidate=positions[found.candidate],
                thresholds=np.hstack([found.thresholds, empty]),
                exit_rates=np.hstack([found.exit_rates, np.zeros_like(empty)]),
            )
        )
    return candidates, merged


class CandidateCascade(NamedTuple):
    """One cascade of a quantized pool with combine="last", and what it reaches."""

    members: tuple[int, ...]
    levels: tuple[int, ...]  # one per stage but the last; rows of a higher level exit
    score: float
    cost: float


class ParetoArchive:
    """The cascades that no other seen so far beats in score and mean cost.

    With `in_cost_order` a model is only added where the members stay in the order of the pool.
    """

    def __init__(
        self,
        pool: QuantizedPool,
        *,
        max_stages: int,
        in_cost_order: bool,
        max_worst_cost: float | None,
    ) -> None:
        self.pool = pool
        self.n_evaluated = 0
        self._max_stages = max_stages
        self._in_cost_order = in_cost_order
        self._max_worst_cost = max_worst_cost
        singles = [float(pool.stage_costs((model,))[0]) for model in range(pool.n_models)]
        self._highest = sum(sorted(singles)[-max_stages:])
        self._pareto_set = ParetoSet(self._highest)
        self._cascades: list[CandidateCascade] = []
        # What each model adds to the score on each row: (n_samples, n_models).
        self._value = np.ascontiguousarray((pool.correct * pool.score_share).T)

    def cascades(self) -> list[CandidateCascade]:
        """Return the cascades on the Pareto front, cheapest first."""
        score = np.array([cascade.score for cascade in self._cascades])
        cost = np.array([cascade.cost for cascade in self._cascades])
        pareto_set = ParetoSet(self._highest)
        kept = pareto_set.admit(*self._rounded(score, cost), np.arange(len(score)))
        self._cascades = [self._cascades[i] for i in kept]
        return sorted(self._cascades, key=lambda cascade: cascade.cost)

    def add(self, members: Sequence[int], levels: Sequence[int]) -> None:
        """Add one cascade, if its order and worst case are allowed and nothing beats it."""
        if self._in_cost_order and list(members) != sorted(members):
            return
        if self._affordable(members):
            score, cost = self.pool.evaluate(members, levels)
            self._add(np.array([score]), np.array([cost]), lambda _: (members, levels))

    def add_pairs(self) -> None:
        """Add every pair of models, each with every threshold."""
        for first in range(self.pool.n_models):
            self._add_appended((first,), (), np.arange(self.pool.level.shape[1]))

    def add_neighbours(self, cascade: CandidateCascade) -> None:
        """Add the cascade with any one model more at any position, and with any one less."""
        members, levels = cascade.members, cascade.levels
        for k in range(len(members) if len(members) > 1 else 0):
            fewer = members[:k] + members[k + 1 :]
            self.add(fewer, (levels[:k] + levels[k + 1 :])[: len(fewer) - 1])
        if len(members) == self._max_stages:
            return
        stage = self.pool.exit_stages(members, levels)
        for position in range(len(members)):
            self._add_inserted(cascade, position, stage)
        rows = np.flatnonzero(stage == len(members) - 1)
        self._add_appended(members, levels, rows)

    def _add_appended(
        self, members: tuple[int, ...], levels: tuple[int, ...], rows: np.ndarray
    ) -> None:
        """Add every model as a further last stage, with every threshold of the one before."""
        pool, last = self.pool, members[-1]
        models = self._allowed(members, len(members))
        if not models:
            return
        level = pool.level[last, rows]
        # Entry (l, m): the value of the rows of level l with model m, which a sparse matrix sums.
        starts = np.concatenate([[0], np.bincount(level, minlength=N_LEVELS).cumsum()])
        order = rows[np.argsort(level, kind="stable")]
        by_level = csr_array(
            (np.ones(len(rows)), order, starts), shape=(N_LEVELS, len(self._value))
        )
        value = by_level @ self._value
        reached = np.bincount(level, pool.row_share[rows], minlength=N_LEVELS).cumsum()
        score, cost = pool.evaluate(members, levels)
        gain = (value[:, models] - value[:, [last]]).cumsum(axis=0)
        added = np.array([pool.stage_costs((*members, m))[-1] for m in models])

        def describe(cell: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
            level, i = divmod(cell, len(models))
            return (*members, models[i]), (*levels, level)

        self._add(score + gain, cost + np.outer(reached, added), describe)

    def _add_inserted(self, cascade: CandidateCascade, position: int, stage: np.ndarray) -> None:
        """Add every model with every threshold in front of one stage."""
        pool, members = self.pool, cascade.members
        models = self._allowed(members, position)
        rows = np.flatnonzero(stage >= position)
        after = stage[rows] - position
        n_after = len(members) - position
        score_share, row_share = pool.score_share[rows], pool.row_share[rows]
        correct = pool.correct[np.asarray(members)[stage[rows]], rows]
        score, cost = np.empty((2, len(models), N_LEVELS))
        for i, model in enumerate(models):
            level = pool.level[model, rows]
            costs = pool.stage_costs((*members[:position], model, *members[position:]))
            gain = pool.correct[model, rows].astype(np.int8) - correct.astype(np.int8)
            kept = np.bincount(level, gain * score_share, minlength=N_LEVELS)
            # Rows of each level, by the stage at which they exit if they go on.
            cell = level.astype(np.intp) * n_after + after
            going = np.bincount(cell, row_share, minlength=N_LEVELS * n_after)
            going = going.reshape(N_LEVELS, n_after) @ cumulative_costs(costs[position + 1 :])
            score[i] = cascade.score + kept.sum() - kept.cumsum()
            earlier = stage < position
            before = cumulative_costs(costs[:position])[stage[earlier]] @ pool.row_share[earlier]
            entry = costs[: position + 1].sum() * row_share.sum()
            cost[i] = before + entry + going.cumsum()

        def describe(cell: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
            i, level = divmod(cell, N_LEVELS)
            longer = (*members[:position], models[i], *members[position:])
            return longer, (*cascade.levels[:position], level, *cascade.levels[position:])

        self._add(score, cost, describe)

    def _allowed(self, members: tuple[int, ...], position: int) -> list[int]:
        """Return the models that may be put at one position of a cascade."""
        low, high = -1, self.pool.n_models
        if self._in_cost_order:
            low = members[position - 1] if position else low
            high = members[position] if position < len(members) else high
        found = []
        for model in range(low + 1, high):
            longer = (*members[:position], model, *members[position:])
            if model not in members and self._affordable(longer):
                found.append(model)
        return found

    def _affordable(self, members: Sequence[int]) -> bool:
        """Tell whether the worst-case cost is within the limit."""
        worst_cost = worst_case_cost(self.pool.stage_costs(members))
        return bool(within_limit(worst_cost, self._max_worst_cost))

    def _add(self, score: np.ndarray, cost: np.ndarray, describe: Callable) -> None:
        """Add the points that nothing beats; `describe` turns a cell into members and levels."""
        score, cost = np.ravel(score), np.ravel(cost)
        self.n_evaluated += len(score)
        cells = self._pareto_set.survivors(score, cost)
        for i in self._pareto_set.admit(*self._rounded(score[cells], cost[cells]), cells):
            members, levels = describe(int(cells[i]))
            reached = float(score[cells[i]]), float(cost[cells[i]])
            self._cascades.append(CandidateCascade(tuple(members), tuple(levels), *reached))

    def _rounded(self, score: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and costs rounded, so that those that differ by rounding are equal."""
        return round_score(score), round_cost(cost, self._highest)


class QuantizedPool(NamedTuple):
    """Every model of a pool on some rows, for cascades with combine="last"."""

    level: np.ndarray  # uint8 (n_models, n_samples), how many thresholds a row would exit at
    correct: np.ndarray  # uint8 (n_models, n_samples), whether the model's label is the true one
    grids: list[np.ndarray]  # thresholds of each model, ascending; "never" is the last
    score_share: np.ndarray  # (n_samples,), what each row counts in the score; sums to one
    row_share: np.ndarray  # (n_samples,), what each row counts in the mean cost; sums to one
    stage_costs: Callable[[Sequence[int]], np.ndarray]  # members to the cost of each stage

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.level)

    def exit_stages(self, members: Sequence[int], levels: Sequence[int]) -> np.ndarray:
        """Return the stage at which each row exits: shape (n_samples,)."""
        stage = np.full(self.level.shape[1], len(members) - 1)
        for k in reversed(range(len(levels))):
            stage[self.level[members[k]] > levels[k]] = k
        return stage

    def evaluate(self, members: Sequence[int], levels: Sequence[int]) -> tuple[float, float]:
        """Return score and mean cost of one cascade."""
        stage = self.exit_stages(members, levels)
        correct = self.correct[np.asarray(members)[stage], np.arange(len(stage))]
        cost = cumulative_costs(self.stage_costs(members))[stage]
        return float(correct @ self.score_share), float(cost @ self.row_share)

    def thresholds(self, members: Sequence[int], levels: Sequence[int]) -> tuple[float, ...]:
        """Return the thresholds of one cascade."""
        gates = zip(members[: len(levels)], levels, strict=True)
        return tuple(float(self.grids[model][level]) for model, level in gates)


def quantize(
    predictions: PoolPredictions, settings: Settings, rows: np.ndarray | None = None
) -> QuantizedPool:
    """Quantize the confidences of every model of a pool, a few models at a time.

    On some rows, by default all; on evenly spaced ones of them where all would not fit.
    """
    n_models = predictions.n_models
    rows = np.arange(predictions.n_samples) if rows is None else rows
    # Besides the two bytes, pairs of models are counted from floats.
    n_rows = min(len(rows), max(1, settings.max_bytes // (8 * n_models)))
    rows = rows[evenly_spaced(len(rows), n_rows)]
    scoring = "balanced_accuracy" if settings.scoring == "balanced_accuracy" else "accuracy"
    subset = subset_rows(predictions, scoring, rows)
    level, correct = np.empty((2, n_models, n_rows), dtype=np.uint8)
    grids = []
    for start in range(0, n_models, _N_MODELS_AT_ONCE):
        models = range(start, min(start + _N_MODELS_AT_ONCE, n_models))
        statistics = collect_statistics(
            predictions,
            [(model,) for model in models],
            [],
            blocks_of(predictions, len(models)),
            confidence=settings.confidence,
            scoring="accuracy",
            n_jobs=settings.n_jobs,
        )
        correct[start : models.stop] = statistics.sample_score[:, rows]
        for model in models:
            confidence = statistics.confidence[model - start, rows]
            weight = subset.row_weight
            finite = candidate_thresholds(confidence, N_LEVELS - 1, sample_weight=weight)
            grids.append(np.append(finite, np.inf))
            level[model] = count_passed(confidence, grids[-1])
    score_share, row_share = (
        np.full(n_rows, scale) if weight is None else weight * scale
        for weight, scale in zip(
            (subset.score_weight, subset.row_weight), subset.scales, strict=True
        )
    )
    return QuantizedPool(level, correct, grids, score_share, row_share, predictions.stage_costs)
