"""An exhaustive search within bounded memory: models by the lot, rows by the stretch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from sklearn_cascade.search._boards import Board, Grids
from sklearn_cascade.search._committees import Found, Plan, in_order, join
from sklearn_cascade.search._exhaustive import (
    Collector,
    levels_of,
    refine_found,
    sweep_plans,
    unbeaten,
)
from sklearn_cascade.search._lots import (
    Settings,
    lots_by_rows,
    models_of,
    needs,
    plan_committees,
    rows_at_once,
    share_out,
)
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._statistics import Key, Statistics, blocks_of, collect_statistics
from sklearn_cascade.search._sweep import CellSums
from sklearn_cascade.search._views import view_rows


class Explored(NamedTuple):
    """What a search found.

    Attributes
    ----------
    plans : list of Plan
        What `found` counts by.
    found : list of Found
        For each view, the committees that no other beats, all single models and all ensembles.
    n_evaluated : int
        Threshold vectors looked at, single models and ensembles included.
    """

    plans: list[Plan]
    found: list[Found]
    n_evaluated: int


def explore(
    recordings: Recordings,
    settings: Settings,
    *,
    progress,
    rows: Sequence[np.ndarray | None] = (None,),
    plans: Sequence[Plan] | None = None,
) -> Explored:
    """Look at every committee of a pool, or at some.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    settings : Settings
        What is searched.
    progress : Progress
        Told of every committee that is done.
    rows : sequence of ndarray of int or None
        Rows of each view: searches of the same pool that share the statistics. None: all.
    plans : sequence of Plan, default=None
        What to look at; None: everything.

    Returns
    -------
    explored : Explored
    """
    plans = plan_committees(recordings, settings) if plans is None else plans
    plans = in_order(recordings, plans)
    views = [view_rows(recordings, settings.scoring, part) for part in rows]
    found = [Collector(plans).collected() for _ in views]
    n_evaluated = 0
    progress.start("committees", len(plans) * len(views))
    for lot in share_out(recordings, settings, plans, views):
        search = _search_at_once if lot.at_once else _search_in_stretches
        for v, (new, count) in enumerate(
            search(recordings, settings, plans, lot.places, views, progress.tick)
        ):
            found[v] = unbeaten(plans, join([found[v], new]))
            n_evaluated += count
    return Explored(plans, found, n_evaluated)


def explore_points(
    recordings: Recordings,
    settings: Settings,
    plans: Sequence[Plan],
    points: Found,
    rows: np.ndarray | None,
    n_levels: int,
) -> tuple[Found, int]:
    """Look at thresholds given, and at finer ones around them.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    settings : Settings
        What is searched.
    plans : sequence of Plan
        What `points` counts by, in order of merit.
    points : Found
        Committees with thresholds; their scores and costs are not looked at.
    rows : ndarray of int or None
        The rows to look at; None: all.
    n_levels : int
        Number of thresholds between which those given lie.

    Returns
    -------
    found : Found
        What no other beats.
    n_evaluated : int
        Threshold vectors looked at.
    """
    view, n_evaluated, parts = view_rows(recordings, settings.scoring, rows), 0, []
    for lot in lots_by_rows(recordings, settings, plans, [view]):
        members = [plans[place] for place in lot]
        board = Board(collect_for(recordings, settings, members), view)
        board.cut([(key, n_levels) for plan in members for key in plan.gates], settings.n_jobs)
        some = points.take(np.isin(points.plan, lot))
        found, count = refine_found(board, plans, some, lambda plan: n_levels, settings.n_jobs)
        parts.append(found)
        n_evaluated += count
    return unbeaten(plans, join([Collector(plans).collected(), *parts])), n_evaluated


def _search_at_once(recordings, settings, plans, lot, views, tick) -> Iterator:
    """Yield what a lot of plans reaches in each view, and the number of vectors looked at."""
    n_thresholds, n_jobs = settings.n_thresholds, settings.n_jobs
    n_levels = partial(levels_of, n_thresholds=n_thresholds)
    some = [plans[place] for place in lot]
    statistics = collect_for(recordings, settings, some)
    for view in views:
        board = Board(statistics, view)
        board.cut(_cuts(settings, some), n_jobs)
        found, count = sweep_plans(board, plans, lot, n_thresholds, n_jobs, tick)
        finer, more = refine_found(board, plans, found, n_levels, n_jobs)
        yield join([found, finer]), count + more


def _search_in_stretches(recordings, settings, plans, lot, views, tick) -> Iterator:
    """Do the same with one stretch of rows after the other; without finer thresholds."""
    some = [plans[place] for place in lot]
    n_rows = rows_at_once(settings, some, views)
    grids = _sampled_grids(recordings, settings, some, views, n_rows)
    sums = [[CellSums(*view.scales) for _ in lot] for view in views]
    for start in range(0, recordings.n_samples, n_rows):
        stretch = slice(start, min(start + n_rows, recordings.n_samples))
        _add_stretch(recordings, settings, some, views, stretch, grids, sums)
    for view_grids, view_sums in zip(grids, sums, strict=True):
        collector = Collector(plans)
        for place, plan, plan_sums in zip(lot, some, view_sums, strict=True):
            levels = levels_of(plan, settings.n_thresholds)
            swept = plan_sums.finish(plan.answer_costs)
            collector.offer(place, swept, [view_grids[key, levels] for key in plan.gates])
            tick()
        yield collector.collected(), collector.n_offered


def _add_stretch(recordings, settings, plans, views, stretch: slice, grids, sums) -> None:
    """Add the rows of one stretch to the sums of each plan in each view; keep none of them."""
    blocks = blocks_of(recordings, len(models_of(plans)), stretch.start, stretch.stop)
    statistics = collect_for(recordings, settings, plans, blocks)
    for view, view_grids, view_sums in zip(views, grids, sums, strict=True):
        board = Board(statistics, view.between(stretch.start, stretch.stop))
        board.cut(_cuts(settings, plans), settings.n_jobs, view_grids)
        for plan, plan_sums in zip(plans, view_sums, strict=True):
            board.add_to(plan_sums, plan, levels_of(plan, settings.n_thresholds))


def _cuts(settings: Settings, plans: Sequence[Plan]) -> list[tuple[Key, int]]:
    """Return the prefixes at which some plans exit, with the number of levels of each."""
    return [(key, levels_of(plan, settings.n_thresholds)) for plan in plans for key in plan.gates]


def _sampled_grids(recordings, settings, plans, views, n_rows: int) -> list[Grids]:
    """Return thresholds for each view from an even sample of so many rows."""
    blocks = blocks_of(recordings, len(models_of(plans)))
    blocks = blocks[:: -(-recordings.n_samples // n_rows)]
    sample = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
    statistics = collect_for(recordings, settings, plans, blocks)
    grids = []
    for view in views:
        board = Board(statistics, view.among(sample))
        board.cut(_cuts(settings, plans), settings.n_jobs)
        grids.append(board.grids)
    return grids


def collect_for(
    recordings: Recordings,
    settings: Settings,
    plans: Sequence[Plan],
    blocks: Sequence[slice] | None = None,
) -> Statistics:
    """Return the statistics that some plans need, of some blocks of rows, by default of all."""
    needed = dict.fromkeys(need for plan in plans for need in needs(plan))
    wanted = [key for key, is_wanted in needed if is_wanted]
    others = [key for key, is_wanted in needed if not is_wanted and (key, True) not in needed]
    return collect_statistics(
        recordings,
        wanted,
        others,
        blocks_of(recordings, len(models_of(plans))) if blocks is None else blocks,
        confidence=settings.confidence,
        scoring=settings.scoring,
        n_jobs=settings.n_jobs,
    )
