"""The greedy rule for large pools: the model that answers most remaining rows for its cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sklearn_cascade.core import (
    candidate_thresholds,
    cumulative_costs,
    within_limit,
    worst_case_cost,
)
from sklearn_cascade.core._pareto import ParetoSet, round_cost, round_score
from sklearn_cascade.search._candidates import (
    Candidate,
    EvaluatedCandidates,
    in_order,
    join,
    plan_ensembles,
    view_rows,
)
from sklearn_cascade.search._exhaustive import (
    SearchResult,
    Settings,
    evaluate_candidates,
    explore_points,
    pareto_optimal,
    plan_committees,
)
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.search._statistics import blocks_of, collect_statistics, map_in_threads
from sklearn_cascade.tuning._sweep import count_passed

# How much less accurate than its reference a cascade may be: the tolerances of ENCAS.
TOLERANCES = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95)
_ROUNDING = 1e-12
# Single models that greedy cascades are compared with.
_N_REFERENCES = 12
# Sketches that moves start from, in each of two rounds.
_N_STARTS = 16
_N_ROUNDS = 2
# Models of which everything is looked at in the end.
_N_SHORTLISTED = 8
# Thresholds of each model, "always" left out and "never" among them.
N_LEVELS = 256
_N_AT_ONCE = 16


class Step(NamedTuple):
    """One stage that the greedy rule chose.

    Attributes
    ----------
    model : int
        Position in the pool.
    level : int
        Rows of a level above it are answered; -1: all.
    ratios : dict from int to float
        Share of the rows answered per cost, for each model that could be chosen.
    """

    model: int
    level: int
    ratios: dict[int, float]


def greedy_cascade(
    pool: QuantizedPool,
    reference: int,
    tolerance: float,
    *,
    max_stages: int,
    max_worst_cost: float | None = None,
) -> list[Step]:
    """Build one cascade by Streeter's rule.

    At each step every model not yet used is given the lowest threshold at which it is, on
    the rows it would answer, at least `tolerance` times as accurate as the reference; the one
    that answers most rows for its cost is next. If every stage keeps to this on its rows, the
    whole does.

    The rule is that of Streeter (2018), "Approximation Algorithms for Cascading Prediction
    Models", with the tolerances of Chebykin et al. (2022). For fixed sets of rows it
    is within a factor 4 of the best order (Munagala et al., 2005); thresholds chosen on the way
    are outside of that guarantee.

    Parameters
    ----------
    pool : QuantizedPool
        Models and rows.
    reference : int
        Model to compare with; always able to answer all that is left.
    tolerance : float
        From 0 to 1.
    max_stages : int
        The last of so many stages answers all rows that are left.
    max_worst_cost : float, default=None
        Limit of the sum of the costs.

    Returns
    -------
    steps : list of Step
        The last one answers all rows that are left.
    """
    rows = np.arange(pool.level.shape[1])
    steps: list[Step] = []
    while True:
        used = [step.model for step in steps]
        last = len(steps) == max_stages - 1
        candidates = _candidates(pool, rows, used, reference, tolerance, last, max_worst_cost)
        if not candidates:
            # The limit of the cost leaves nothing: the stage before answers all.
            return [*steps[:-1], steps[-1]._replace(level=-1)] if steps else []
        # Most for its cost; among equals the cheaper, then the first.
        chosen = max(candidates, key=lambda c: (c.ratio, -c.cost, -c.model))
        ratios = {candidate.model: candidate.ratio for candidate in candidates}
        steps.append(Step(chosen.model, chosen.level, ratios))
        if chosen.level < 0:
            return steps
        rows = rows[pool.level[chosen.model, rows] <= chosen.level]
        if not len(rows):
            return [*steps[:-1], steps[-1]._replace(level=-1)]


class _Candidate(NamedTuple):
    """A model that may be the next stage."""

    model: int
    level: int
    ratio: float
    cost: float


def _candidates(pool, rows, used, reference, tolerance, last, max_worst_cost) -> list[_Candidate]:
    """Return the models that may come next, each at its lowest threshold."""
    needed = float(tolerance) * pool.right[reference, rows]
    share, row_share = pool.share[rows], pool.row_share[rows]
    spent = sum(pool.stage_costs(used)) if used else 0.0
    found = []
    for model in range(pool.n_models):
        if model in used:
            continue
        cost = pool.stage_costs([*used, model])[-1]
        if not within_limit(spent + cost, max_worst_cost):
            continue
        level = pool.level[model, rows]
        surplus = (pool.right[model, rows] - needed) * share
        # Entry l: the sum over the rows of level l and above.
        surplus = np.bincount(level, surplus)[::-1].cumsum()[::-1]
        answered = np.bincount(level, row_share)[::-1].cumsum()[::-1]
        lowest = int((surplus >= -_ROUNDING).argmax())
        if surplus[lowest] < -_ROUNDING or (last and lowest > level.min()):
            continue
        ratio = answered[lowest] / cost if cost else np.inf
        found.append(_Candidate(model, lowest - 1 if lowest > level.min() else -1, ratio, cost))
    return found


def explore_greedily(
    recordings: PoolPredictions,
    settings: Settings,
    *,
    progress,
    rows: Sequence[np.ndarray | None] = (None,),
) -> SearchResult:
    """Look at the promising committees of a large pool.

    Greedy cascades for many references and tolerances, and every pair, are the start; one
    model is added or left out at a time; at last everything is looked at for the few models that
    the best cascades use most. So the result is never worse than the best pair or single
    model.

    Parameters
    ----------
    recordings, settings, progress, rows
        As for `evaluate_candidates`.

    Returns
    -------
    explored : SearchResult
    """
    singles = plan_ensembles(recordings, 1)
    everyone = evaluate_candidates(
        recordings, settings, progress=progress, rows=rows, plans=singles
    )
    n_evaluated = everyone.n_evaluated
    lots = [(everyone.plans, alone) for alone in everyone.found]
    for view in rows:
        album = build_archive(recordings, settings, view, progress)
        sketches = [sketch for sketch in album.sketches() if len(sketch.members) > 1]
        closer, count = refine(recordings, settings, album, sketches, view)
        committees = plan_committees(recordings, settings, _shortlist(sketches, len(singles)))
        best = evaluate_candidates(
            recordings, settings, progress=progress, rows=[view], plans=committees
        )
        lots += [closer, (best.plans, best.found[0])]
        n_evaluated += album.n_seen + count + best.n_evaluated
    plans, parts = merge(recordings, lots)
    n_stages = max(len(plan.members) for plan in plans)
    parts = [_widened(part, n_stages) for part in parts]
    n = len(rows)
    found = [
        _without_repeats(plans, join([parts[v], *parts[n + 2 * v : n + 2 * v + 2]]))
        for v in range(n)
    ]
    return SearchResult(plans, found, n_evaluated)


def build_archive(recordings, settings, rows, progress) -> ParetoArchive:
    """Return the best cascades of a coarse view of the pool."""
    count = settings.scoring == "balanced_accuracy"
    pool = coarsen(
        recordings,
        rows,
        confidence=settings.confidence,
        scoring="balanced_accuracy" if count else "accuracy",
        max_bytes=settings.max_bytes,
        n_jobs=settings.n_jobs,
    )
    album = ParetoArchive(
        pool,
        max_stages=settings.max_stages,
        in_cost_order=settings.order == "cost",
        max_worst_cost=settings.max_worst_cost,
    )
    for model in range(pool.n_models):
        album.add((model,), ())
    if settings.max_stages == 1:
        return album
    for members, levels in _greedy_cascades(pool, settings, progress):
        album.add(members, levels)
    progress.say(f"{pool.n_models * (pool.n_models - 1) // 2:,} pairs")
    album.add_pairs()
    grown: set[CandidateCascade] = set()
    for _ in range(_N_ROUNDS):
        starts = _evenly([s for s in album.sketches() if s not in grown], _N_STARTS)
        progress.start("cascades grown", len(starts))
        for sketch in starts:
            album.neighbours(sketch)
            progress.tick()
        grown.update(starts)
    return album


def _greedy_cascades(pool: QuantizedPool, settings, progress) -> list[tuple[tuple, tuple]]:
    """Return the greedy cascade of each reference and tolerance, as members and levels."""
    limits = {"max_stages": settings.max_stages, "max_worst_cost": settings.max_worst_cost}
    tasks = [(r, tolerance) for r in _references(pool) for tolerance in TOLERANCES]
    progress.start("greedy cascades", len(tasks))

    def build(task):
        reference, tolerance = task
        steps = greedy_cascade(pool, reference, tolerance, **limits)
        progress.tick()
        members = tuple(step.model for step in steps)
        return members, tuple(step.level for step in steps[:-1])

    built = map_in_threads(build, tasks, settings.n_jobs)
    return [(members, levels) for members, levels in dict.fromkeys(built) if members]


def _references(pool: QuantizedPool) -> list[int]:
    """Return the single models that no other beats, thinned evenly."""
    score, cost = np.array([pool.evaluate((m,), ()) for m in range(pool.n_models)]).T
    front = ParetoSet(cost.max()).admit(score, cost, np.arange(len(score)))
    return _evenly(front.tolist(), _N_REFERENCES)


def _evenly(items: list, n_items: int) -> list:
    """Return so many of the items at most, evenly chosen, the last among them."""
    if len(items) <= n_items:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, n_items).astype(int)]


def _shortlist(sketches: Sequence[CandidateCascade], n_models: int) -> list[int]:
    """Return the models that the sketches use most, ascending."""
    if n_models <= _N_SHORTLISTED:
        return list(range(n_models))
    uses = Counter(model for sketch in sketches for model in sketch.members)
    ranked = sorted(uses, key=lambda model: (-uses[model], model))
    return sorted(ranked[:_N_SHORTLISTED])


def refine(recordings, settings, album, sketches, rows):
    """Return what sketches reach on all rows, at finer thresholds: plans, found, and a count."""
    members = dict.fromkeys(sketch.members for sketch in sketches)
    plans = [Candidate("last", some, recordings.stage_costs(some), True) for some in members]
    plans = in_order(recordings, plans)
    place = {plan.members: i for i, plan in enumerate(plans)}
    thresholds = np.full((len(sketches), max(1, settings.max_stages - 1)), np.nan)
    for row, sketch in enumerate(sketches):
        chosen = album.pool.thresholds(sketch.members, sketch.levels)
        thresholds[row, : len(chosen)] = chosen
    unknown = np.zeros(len(sketches))
    points = EvaluatedCandidates(
        np.array([place[sketch.members] for sketch in sketches], dtype=int),
        thresholds,
        unknown,
        unknown,
        np.zeros((len(sketches), thresholds.shape[1] + 1)),
    )
    found, count = explore_points(recordings, settings, plans, points, rows, N_LEVELS)
    return (plans, found), count


def _identity(plan: Candidate) -> tuple:
    """Return what tells one plan from another."""
    return plan.combine, plan.members, plan.exits


def merge(recordings, lots) -> tuple[list[Candidate], list[EvaluatedCandidates]]:
    """Return one list of plans for all lots, and what each found by its positions."""
    plans = {_identity(plan): plan for lot, _ in lots for plan in lot}
    ordered = in_order(recordings, list(plans.values()))
    place = {_identity(plan): i for i, plan in enumerate(ordered)}
    found = []
    for lot, part in lots:
        positions = np.array([place[_identity(plan)] for plan in lot], dtype=int)
        found.append(part._replace(plan=positions[part.plan]))
    return ordered, found


def _widened(found: EvaluatedCandidates, n_stages: int) -> EvaluatedCandidates:
    """Return the same with columns for so many stages."""
    missing = n_stages - found.rates.shape[1]
    empty = np.full((len(found.plan), missing), np.nan)
    return found._replace(
        thresholds=np.hstack([found.thresholds, empty]),
        rates=np.hstack([found.rates, np.zeros_like(empty)]),
    )


def _without_repeats(plans: Sequence[Candidate], found: EvaluatedCandidates) -> EvaluatedCandidates:
    """Return what no other beats, each committee without early exit once."""
    exits = np.array([plans[place].exits for place in found.plan])
    once = np.unique(found.plan[~exits], return_index=True)[1]
    rows = np.concatenate([np.flatnonzero(~exits)[once], np.flatnonzero(exits)])
    return pareto_optimal(plans, found.take(rows))


class CandidateCascade(NamedTuple):
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


class ParetoArchive:
    """The sketches that no other seen so far beats in score and mean cost.

    Parameters
    ----------
    pool : QuantizedPool
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
        self._skyline = ParetoSet(self._highest)
        self._sketches: list[CandidateCascade] = []
        # What each model adds to the score on each row: (n_samples, n_models).
        self._right = np.ascontiguousarray((pool.right * pool.share).T)

    def sketches(self) -> list[CandidateCascade]:
        """Return the sketches on the front, cheapest first."""
        score = np.array([sketch.score for sketch in self._sketches])
        cost = np.array([sketch.cost for sketch in self._sketches])
        skyline = ParetoSet(self._highest)
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

    def neighbours(self, sketch: CandidateCascade) -> None:
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
            self._sketches.append(CandidateCascade(tuple(members), tuple(levels), *figures))

    def _tidy(self, score, cost) -> tuple[np.ndarray, np.ndarray]:
        """Return figures so that those that differ by rounding are equal."""
        return round_score(score), round_cost(cost, self._highest)


def _sum_by_level(level: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sum of the rows of each level: (n_levels, n_columns)."""
    starts = np.concatenate([[0], np.bincount(level, minlength=N_LEVELS).cumsum()])
    order = rows[np.argsort(level, kind="stable")]
    chosen = csr_array((np.ones(len(rows)), order, starts), shape=(N_LEVELS, len(values)))
    return chosen @ values


class QuantizedPool(NamedTuple):
    """Every model of a pool on some rows, for committees that keep the last answer.

    Attributes
    ----------
    level : ndarray of uint8 of shape (n_models, n_samples)
        How many of the model's thresholds a row would exit at.
    right : ndarray of uint8 of shape (n_models, n_samples)
        Whether the model's answer is right.
    grids : list of ndarray
        Thresholds of each model, ascending; "never" is the last.
    share : ndarray of shape (n_samples,)
        What each row counts in the score; their sum is one.
    row_share : ndarray of shape (n_samples,)
        What each row counts in the mean cost; their sum is one.
    stage_costs : callable
        ``stage_costs(members)`` returns the cost of each stage.
    """

    level: np.ndarray
    right: np.ndarray
    grids: list[np.ndarray]
    share: np.ndarray
    row_share: np.ndarray
    stage_costs: Callable

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.level)

    def exit_stages(self, members: Sequence[int], levels: Sequence[int]) -> np.ndarray:
        """Return the stage that answers each row: shape (n_samples,).

        A row exits where its level is above the one given.
        """
        stage = np.full(self.level.shape[1], len(members) - 1)
        for k in reversed(range(len(levels))):
            stage[self.level[members[k]] > levels[k]] = k
        return stage

    def evaluate(self, members: Sequence[int], levels: Sequence[int]) -> tuple[float, float]:
        """Return score and mean cost of one cascade."""
        stage = self.exit_stages(members, levels)
        right = self.right[np.asarray(members)[stage], np.arange(len(stage))]
        paid = cumulative_costs(self.stage_costs(members))[stage]
        return float(right @ self.share), float(paid @ self.row_share)

    def thresholds(self, members: Sequence[int], levels: Sequence[int]) -> tuple[float, ...]:
        """Return the thresholds of one cascade."""
        gates = zip(members[: len(levels)], levels, strict=True)
        return tuple(float(self.grids[model][level]) for model, level in gates)


def coarsen(
    recordings: PoolPredictions,
    rows: np.ndarray | None,
    *,
    confidence: str | Callable,
    scoring: str,
    max_bytes: int,
    n_jobs: int,
) -> QuantizedPool:
    """Look at every model of a pool, a few at a time.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    rows : ndarray of int or None
        Rows to look at; None: all. An even choice of them where all would take too much.
    confidence : str or callable
        Probabilities to confidence.
    scoring : {"accuracy", "balanced_accuracy"}
        What the rows count.
    max_bytes : int
        Bound of the memory taken.
    n_jobs : int
        Number of threads.
    """
    n_models = recordings.n_models
    rows = np.arange(recordings.n_samples) if rows is None else rows
    # Besides the two bytes, pairs of models are counted from floats.
    n_rows = min(len(rows), max(1, max_bytes // (8 * n_models)))
    if n_rows < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, n_rows).astype(int)]
    view = view_rows(recordings, scoring, rows)
    level, right = np.empty((2, n_models, n_rows), dtype=np.uint8)
    grids = []
    for start in range(0, n_models, _N_AT_ONCE):
        models = range(start, min(start + _N_AT_ONCE, n_models))
        statistics = collect_statistics(
            recordings,
            [(model,) for model in models],
            [],
            blocks_of(recordings, len(models)),
            confidence=confidence,
            scoring="accuracy",
            n_jobs=n_jobs,
        )
        right[start : models.stop] = statistics.value[:, rows]
        for model in models:
            sure = statistics.confidence[model - start, rows]
            finite = candidate_thresholds(sure, N_LEVELS - 1, sample_weight=view.row_weight)
            grids.append(np.append(finite, np.inf))
            level[model] = count_passed(sure, grids[-1])
    share, row_share = (
        np.full(n_rows, scale) if weight is None else weight * scale
        for weight, scale in zip((view.value_weight, view.row_weight), view.scales, strict=True)
    )
    return QuantizedPool(level, right, grids, share, row_share, recordings.stage_costs)
