"""Pools too large to look at everything: greedy cascades, pairs, and moves from the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sklearn_cascade.search._coarse import N_LEVELS, CoarsePool, coarsen
from sklearn_cascade.search._committees import Found, Plan, in_order, join, plan_ensembles
from sklearn_cascade.search._dominance import Skyline
from sklearn_cascade.search._engine import Explored, explore, explore_points
from sklearn_cascade.search._exhaustive import unbeaten
from sklearn_cascade.search._greedy import TOLERANCES, greedy_cascade
from sklearn_cascade.search._lots import Settings, plan_committees
from sklearn_cascade.search._moves import Album, Sketch
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._threads import map_in_threads

# Single models that greedy cascades are compared with.
_N_REFERENCES = 12
# Sketches that moves start from, in each of two rounds.
_N_STARTS = 16
_N_ROUNDS = 2
# Models of which everything is looked at in the end.
_N_SHORTLISTED = 8


def explore_greedily(
    recordings: Recordings,
    settings: Settings,
    *,
    progress,
    rows: Sequence[np.ndarray | None] = (None,),
) -> Explored:
    """Look at the promising committees of a large pool.

    Greedy cascades for many references and tolerances, and every pair, are the start; one
    model is added or left out at a time; at last everything is looked at for the few models that
    the best cascades use most. So the result is never worse than the best pair or single
    model.

    Parameters
    ----------
    recordings, settings, progress, rows
        As for `explore`.

    Returns
    -------
    explored : Explored
    """
    singles = plan_ensembles(recordings, 1)
    everyone = explore(recordings, settings, progress=progress, rows=rows, plans=singles)
    n_evaluated = everyone.n_evaluated
    lots = [(everyone.plans, alone) for alone in everyone.found]
    for view in rows:
        album = _draw(recordings, settings, view, progress)
        sketches = [sketch for sketch in album.sketches() if len(sketch.members) > 1]
        closer, count = _look_closer(recordings, settings, album, sketches, view)
        committees = plan_committees(recordings, settings, _shortlist(sketches, len(singles)))
        best = explore(recordings, settings, progress=progress, rows=[view], plans=committees)
        lots += [closer, (best.plans, best.found[0])]
        n_evaluated += album.n_seen + count + best.n_evaluated
    plans, parts = _united(recordings, lots)
    n_stages = max(len(plan.members) for plan in plans)
    parts = [_widened(part, n_stages) for part in parts]
    n = len(rows)
    found = [
        _without_repeats(plans, join([parts[v], *parts[n + 2 * v : n + 2 * v + 2]]))
        for v in range(n)
    ]
    return Explored(plans, found, n_evaluated)


def _draw(recordings, settings, rows, progress) -> Album:
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
    album = Album(
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
    grown: set[Sketch] = set()
    for _ in range(_N_ROUNDS):
        starts = _evenly([s for s in album.sketches() if s not in grown], _N_STARTS)
        progress.start("cascades grown", len(starts))
        for sketch in starts:
            album.grow(sketch)
            progress.tick()
        grown.update(starts)
    return album


def _greedy_cascades(pool: CoarsePool, settings, progress) -> list[tuple[tuple, tuple]]:
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


def _references(pool: CoarsePool) -> list[int]:
    """Return the single models that no other beats, thinned evenly."""
    score, cost = np.array([pool.evaluate((m,), ()) for m in range(pool.n_models)]).T
    front = Skyline(cost.max()).admit(score, cost, np.arange(len(score)))
    return _evenly(front.tolist(), _N_REFERENCES)


def _evenly(items: list, n_items: int) -> list:
    """Return so many of the items at most, evenly chosen, the last among them."""
    if len(items) <= n_items:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, n_items).astype(int)]


def _shortlist(sketches: Sequence[Sketch], n_models: int) -> list[int]:
    """Return the models that the sketches use most, ascending."""
    if n_models <= _N_SHORTLISTED:
        return list(range(n_models))
    uses = Counter(model for sketch in sketches for model in sketch.members)
    ranked = sorted(uses, key=lambda model: (-uses[model], model))
    return sorted(ranked[:_N_SHORTLISTED])


def _look_closer(recordings, settings, album, sketches, rows):
    """Return what sketches reach on all rows, at finer thresholds: plans, found, and a count."""
    members = dict.fromkeys(sketch.members for sketch in sketches)
    plans = [Plan("last", some, recordings.stage_costs(some), True) for some in members]
    plans = in_order(recordings, plans)
    place = {plan.members: i for i, plan in enumerate(plans)}
    thresholds = np.full((len(sketches), max(1, settings.max_stages - 1)), np.nan)
    for row, sketch in enumerate(sketches):
        chosen = album.pool.thresholds(sketch.members, sketch.levels)
        thresholds[row, : len(chosen)] = chosen
    unknown = np.zeros(len(sketches))
    points = Found(
        np.array([place[sketch.members] for sketch in sketches], dtype=int),
        thresholds,
        unknown,
        unknown,
        np.zeros((len(sketches), thresholds.shape[1] + 1)),
    )
    found, count = explore_points(recordings, settings, plans, points, rows, N_LEVELS)
    return (plans, found), count


def _identity(plan: Plan) -> tuple:
    """Return what tells one plan from another."""
    return plan.combine, plan.members, plan.exits


def _united(recordings, lots) -> tuple[list[Plan], list[Found]]:
    """Return one list of plans for all lots, and what each found by its positions."""
    plans = {_identity(plan): plan for lot, _ in lots for plan in lot}
    ordered = in_order(recordings, list(plans.values()))
    place = {_identity(plan): i for i, plan in enumerate(ordered)}
    found = []
    for lot, part in lots:
        positions = np.array([place[_identity(plan)] for plan in lot], dtype=int)
        found.append(part._replace(plan=positions[part.plan]))
    return ordered, found


def _widened(found: Found, n_stages: int) -> Found:
    """Return the same with columns for so many stages."""
    missing = n_stages - found.rates.shape[1]
    empty = np.full((len(found.plan), missing), np.nan)
    return found._replace(
        thresholds=np.hstack([found.thresholds, empty]),
        rates=np.hstack([found.rates, np.zeros_like(empty)]),
    )


def _without_repeats(plans: Sequence[Plan], found: Found) -> Found:
    """Return what no other beats, each committee without early exit once."""
    exits = np.array([plans[place].exits for place in found.plan])
    once = np.unique(found.plan[~exits], return_index=True)[1]
    rows = np.concatenate([np.flatnonzero(~exits)[once], np.flatnonzero(exits)])
    return unbeaten(plans, found.take(rows))
