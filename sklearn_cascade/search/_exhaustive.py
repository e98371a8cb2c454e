"""Every cascade of a few models from a pool, every threshold vector of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import candidate_thresholds, is_count
from sklearn_cascade.core._pareto import ParetoSet, non_dominated, round_cost, round_score
from sklearn_cascade.search._candidates import (
    Candidate,
    EvaluatedCandidates,
    RowSubset,
    in_order,
    join,
    plan_cascades,
    plan_ensembles,
    view_rows,
)
from sklearn_cascade.search._pool_confidence import PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.search._statistics import (
    Key,
    Statistics,
    blocks_of,
    collect_statistics,
    map_in_threads,
)
from sklearn_cascade.tuning._sweep import SweepResult, ThresholdHistogram, count_passed

# Threshold vectors of one cascade that are held in memory at once: a grid of 65 to the third
# power fits, and longer cascades get coarser grids.
MAX_CELLS = 2**19
# Finer thresholds tried between the neighbours of each threshold of a point, by the number of
# stages that have one: about as many vectors each time.
_N_FINER = {1: 64, 2: 16}
_N_FINER_OF_LONG = 8
Grids = dict[tuple[Key, int], np.ndarray]
# Bytes for statistics, and for the sums of many cascades at once. With what sweeps and blocks
# of probabilities take beside them it stays below 500 MB.
MAX_BYTES = 250_000_000
# What a sweep takes besides grows with the rows that it looks at in one go.
MAX_ROWS = 2**20


def levels_of(plan: Candidate, n_thresholds: int) -> int:
    """Return how many thresholds, "never" among them, are tried at each stage of a cascade."""
    n_free = max(1, len(plan.members) - 1)
    return max(2, min(n_thresholds + 1, int(MAX_CELLS ** (1 / n_free) + 1e-9)))


def sweep_plans(
    board: ThresholdCounts,
    plans: Sequence[Candidate],
    places: Sequence[int],
    n_thresholds: int,
    n_jobs: int,
    tick: Callable,
) -> tuple[EvaluatedCandidates, int]:
    """Return the points of the grids that no other beats, and the number of vectors looked at.

    Points without early exit are returned even if beaten.

    Parameters
    ----------
    board : ThresholdCounts
        The rows, cut at the thresholds of the plans.
    plans : sequence of Candidate
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
            collector.add(place, swept, board.thresholds(plans[place], n_levels))
            tick()

    return _in_threads(sweep, plans, places, n_jobs)


def refine_found(
    board: ThresholdCounts,
    plans: Sequence[Candidate],
    found: EvaluatedCandidates,
    n_levels: Callable,
    n_jobs: int,
) -> tuple[EvaluatedCandidates, int]:
    """Return the points of finer grids around each one found that no other of them beats."""

    def sweep(some, collector):
        for place in some:
            plan = plans[place]
            for point in found.thresholds[found.plan == place, : len(plan.gates)]:
                swept, finer = board.sweep_around(plan, n_levels(plan), point)
                collector.add(place, swept, finer)

    # All points of a plan go to one thread, one after the other: of points that are equal the
    # first is kept, which is then the same for any number of threads.
    places = [place for place in np.unique(found.plan) if plans[place].exits]
    return _in_threads(sweep, plans, places, n_jobs)


def _in_threads(sweep, plans, work, n_jobs) -> tuple[EvaluatedCandidates, int]:
    """Share the work out among threads; return what is found and the number of vectors."""
    collectors = [Collector(plans) for _ in range(n_jobs)]
    parts = [(work[start::n_jobs], collector) for start, collector in enumerate(collectors)]
    map_in_threads(lambda part: sweep(*part), parts, n_jobs)
    found = join([collector.collected() for collector in collectors])
    return pareto_optimal(plans, found), sum(collector.n_offered for collector in collectors)


def pareto_optimal(plans: Sequence[Candidate], found: EvaluatedCandidates) -> EvaluatedCandidates:
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

    def __init__(self, plans: Sequence[Candidate]) -> None:
        self._plans = plans
        self._highest = max((plan.worst_cost for plan in plans), default=0.0)
        self._skyline = ParetoSet(self._highest)
        self._n_columns = max((len(plan.members) for plan in plans), default=1)
        self._parts: list[EvaluatedCandidates] = []
        self.n_offered = 0

    def add(self, place: int, swept: SweepResult, grids: Sequence[np.ndarray]) -> None:
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

    def collected(self) -> EvaluatedCandidates:
        """Return all points let in."""
        return join([self._nothing(), *self._parts])

    def _describe(self, place, swept, grids, cells) -> EvaluatedCandidates:
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
        return EvaluatedCandidates(plan, thresholds, score, cost, reach[:, :-1] - reach[:, 1:])

    def _nothing(self) -> EvaluatedCandidates:
        """Return no points, in the shape of some."""
        n = self._n_columns
        return EvaluatedCandidates(
            np.empty(0, dtype=int), np.empty((0, n - 1)), np.empty(0), np.empty(0), np.empty((0, n))
        )


class SearchResult(NamedTuple):
    """What a search found.

    Attributes
    ----------
    plans : list of Candidate
        What `found` counts by.
    found : list of EvaluatedCandidates
        For each view, the committees that no other beats, all single models and all ensembles.
    n_evaluated : int
        Threshold vectors looked at, single models and ensembles included.
    """

    plans: list[Candidate]
    found: list[EvaluatedCandidates]
    n_evaluated: int


def evaluate_candidates(
    recordings: PoolPredictions,
    settings: Settings,
    *,
    progress,
    rows: Sequence[np.ndarray | None] = (None,),
    plans: Sequence[Candidate] | None = None,
) -> SearchResult:
    """Look at every committee of a pool, or at some.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    settings : Settings
        What is searched.
    progress : Progress
        Told of every committee that is done.
    rows : sequence of ndarray of int or None
        Rows of each view: searches of the same pool that share the statistics. None: all.
    plans : sequence of Candidate, default=None
        What to look at; None: everything.

    Returns
    -------
    explored : SearchResult
    """
    plans = plan_committees(recordings, settings) if plans is None else plans
    plans = in_order(recordings, plans)
    views = [view_rows(recordings, settings.scoring, part) for part in rows]
    found = [Collector(plans).collected() for _ in views]
    n_evaluated = 0
    progress.start("committees", len(plans) * len(views))
    for lot in make_batches(recordings, settings, plans, views):
        search = _search_at_once if lot.at_once else _search_in_stretches
        for v, (new, count) in enumerate(
            search(recordings, settings, plans, lot.places, views, progress.tick)
        ):
            found[v] = pareto_optimal(plans, join([found[v], new]))
            n_evaluated += count
    return SearchResult(plans, found, n_evaluated)


def explore_points(
    recordings: PoolPredictions,
    settings: Settings,
    plans: Sequence[Candidate],
    points: EvaluatedCandidates,
    rows: np.ndarray | None,
    n_levels: int,
) -> tuple[EvaluatedCandidates, int]:
    """Look at thresholds given, and at finer ones around them.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    settings : Settings
        What is searched.
    plans : sequence of Candidate
        What `points` counts by, in order of merit.
    points : EvaluatedCandidates
        Committees with thresholds; their scores and costs are not looked at.
    rows : ndarray of int or None
        The rows to look at; None: all.
    n_levels : int
        Number of thresholds between which those given lie.

    Returns
    -------
    found : EvaluatedCandidates
        What no other beats.
    n_evaluated : int
        Threshold vectors looked at.
    """
    view, n_evaluated, parts = view_rows(recordings, settings.scoring, rows), 0, []
    for lot in lots_by_rows(recordings, settings, plans, [view]):
        members = [plans[place] for place in lot]
        board = ThresholdCounts(collect_for(recordings, settings, members), view)
        board.cut([(key, n_levels) for plan in members for key in plan.gates], settings.n_jobs)
        some = points.take(np.isin(points.plan, lot))
        found, count = refine_found(board, plans, some, lambda plan: n_levels, settings.n_jobs)
        parts.append(found)
        n_evaluated += count
    return pareto_optimal(plans, join([Collector(plans).collected(), *parts])), n_evaluated


def _search_at_once(recordings, settings, plans, lot, views, tick) -> Iterator:
    """Yield what a lot of plans reaches in each view, and the number of vectors looked at."""
    n_thresholds, n_jobs = settings.n_thresholds, settings.n_jobs
    n_levels = partial(levels_of, n_thresholds=n_thresholds)
    some = [plans[place] for place in lot]
    statistics = collect_for(recordings, settings, some)
    for view in views:
        board = ThresholdCounts(statistics, view)
        board.cut(_cuts(settings, some), n_jobs)
        found, count = sweep_plans(board, plans, lot, n_thresholds, n_jobs, tick)
        finer, more = refine_found(board, plans, found, n_levels, n_jobs)
        yield join([found, finer]), count + more


def _search_in_stretches(recordings, settings, plans, lot, views, tick) -> Iterator:
    """Do the same with one stretch of rows after the other; without finer thresholds."""
    some = [plans[place] for place in lot]
    n_rows = rows_at_once(settings, some, views)
    grids = _sampled_grids(recordings, settings, some, views, n_rows)
    sums = [[ThresholdHistogram(*view.scales) for _ in lot] for view in views]
    for start in range(0, recordings.n_samples, n_rows):
        stretch = slice(start, min(start + n_rows, recordings.n_samples))
        _add_stretch(recordings, settings, some, views, stretch, grids, sums)
    for view_grids, view_sums in zip(grids, sums, strict=True):
        collector = Collector(plans)
        for place, plan, plan_sums in zip(lot, some, view_sums, strict=True):
            levels = levels_of(plan, settings.n_thresholds)
            swept = plan_sums.result(plan.answer_costs)
            collector.add(place, swept, [view_grids[key, levels] for key in plan.gates])
            tick()
        yield collector.collected(), collector.n_offered


def _add_stretch(recordings, settings, plans, views, stretch: slice, grids, sums) -> None:
    """Add the rows of one stretch to the sums of each plan in each view; keep none of them."""
    blocks = blocks_of(recordings, len(models_of(plans)), stretch.start, stretch.stop)
    statistics = collect_for(recordings, settings, plans, blocks)
    for view, view_grids, view_sums in zip(views, grids, sums, strict=True):
        board = ThresholdCounts(statistics, view.between(stretch.start, stretch.stop))
        board.cut(_cuts(settings, plans), settings.n_jobs, view_grids)
        for plan, plan_sums in zip(plans, view_sums, strict=True):
            board.add_to(plan_sums, plan, levels_of(plan, settings.n_thresholds))


def _cuts(settings: Settings, plans: Sequence[Candidate]) -> list[tuple[Key, int]]:
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
        board = ThresholdCounts(statistics, view.among(sample))
        board.cut(_cuts(settings, plans), settings.n_jobs)
        grids.append(board.grids)
    return grids


def collect_for(
    recordings: PoolPredictions,
    settings: Settings,
    plans: Sequence[Candidate],
    blocks: Sequence[slice] | None = None,
) -> Statistics:
    """Return the statistics that some plans need, of some blocks of rows, by default of all."""
    needed = dict.fromkeys(need for plan in plans for need in required_statistics(plan))
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


class ThresholdCounts:
    """The rows of a view, by the thresholds that they pass.

    Parameters
    ----------
    statistics : Statistics
        Of all rows.
    view : RowSubset
        The rows that count, and what they count.
    """

    def __init__(self, statistics: Statistics, view: RowSubset) -> None:
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

    def add_rows(self, sums: ThresholdHistogram, plan: Candidate) -> None:
        """Let the rows of this board into the sums of one plan."""
        values = [self._value[self._place[key]] for key in plan.answers]
        sums.add_rows(values, self.view.value_weight, self.view.row_weight)

    def thresholds(self, plan: Candidate, n_levels: int) -> list[np.ndarray]:
        """Return the grid of each stage where rows may exit early."""
        return [self.grids[key, n_levels] for key in plan.gates]

    def add_to(self, sums: ThresholdHistogram, plan: Candidate, n_levels: int) -> None:
        """Add the rows of this board to the sums of one plan, over its whole grid."""
        self.add_rows(sums, plan)
        for key in plan.gates:
            passed = self._passed[key, n_levels]
            sums.add_stage(len(self.grids[key, n_levels]), passed[sums.rows])
        sums.clear()

    def sweep(self, plan: Candidate, n_levels: int) -> SweepResult:
        """Return what every vector of the grid reaches."""
        sums = ThresholdHistogram(*self.view.scales)
        self.add_to(sums, plan, n_levels)
        return sums.result(plan.answer_costs)

    def sweep_around(
        self, plan: Candidate, n_levels: int, thresholds: Sequence[float]
    ) -> tuple[SweepResult, list[np.ndarray]]:
        """Return what finer thresholds around a point of the grid reach, and these thresholds."""
        finer, n_finer = [], _N_FINER.get(len(plan.gates), _N_FINER_OF_LONG)
        sums = ThresholdHistogram(*self.view.scales)
        self.add_rows(sums, plan)
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
            sums.add_stage(len(values), count)
            finer.append(values)
        return sums.result(plan.answer_costs), finer


class Settings(NamedTuple):
    """What is searched, and how finely.

    Attributes
    ----------
    ways : tuple of str
        Combinations to try.
    max_stages : int
        The most models in one committee.
    order : {"cost", "any"}
        Cheapest first, or every order.
    confidence : str, callable or PoolConfidenceModels
        How sure an answer is.
    n_thresholds : int
        Thresholds tried at each stage, besides "never".
    scoring : str
        One of the scorings that are sums over rows.
    max_worst_cost : float or None
        Sets that cost more in the worst case are left out.
    n_jobs : int
        Number of threads.
    max_bytes : int
        Bound of the memory for statistics and sums.
    """

    ways: tuple[str, ...]
    max_stages: int
    order: str
    confidence: str | Callable | PoolConfidenceModels
    n_thresholds: int
    scoring: str
    max_worst_cost: float | None
    n_jobs: int
    max_bytes: int = MAX_BYTES


def plan_committees(
    recordings: PoolPredictions, settings: Settings, models: Sequence[int] | None = None
) -> list[Candidate]:
    """Return all committees of a pool, or of some of its models."""
    max_stages, cap = settings.max_stages, settings.max_worst_cost
    ensembles = plan_ensembles(recordings, max_stages, cap, models)
    cascades = plan_cascades(recordings, settings.ways, max_stages, settings.order, cap, models)
    return [*ensembles, *cascades]


class Batch(NamedTuple):
    """Plans that are searched together.

    Attributes
    ----------
    places : list of int
        Their positions, ascending.
    at_once : bool
        Whether the statistics of all rows are held, or stretches of rows pass by.
    """

    places: list[int]
    at_once: bool


def make_batches(
    recordings: PoolPredictions,
    settings: Settings,
    plans: Sequence[Candidate],
    views: Sequence[RowSubset],
) -> list[Batch]:
    """Share the plans out, so that each lot fits into memory.

    Either the statistics of all rows are held at once, or, where there are so many rows that
    this would take many readings, the sums of many plans while the rows pass by.
    """
    by_rows = lots_by_rows(recordings, settings, plans, views)
    by_sums = _fill_lots(plans, settings.max_bytes, _SumsBytes(settings, views))
    # One more reading chooses the thresholds.
    at_once = recordings.n_samples <= MAX_ROWS and len(by_rows) <= len(by_sums) + 1
    return [Batch(places, at_once) for places in (by_rows if at_once else by_sums)]


def lots_by_rows(
    recordings: PoolPredictions,
    settings: Settings,
    plans: Sequence[Candidate],
    views: Sequence[RowSubset],
) -> list[list[int]]:
    """Return lots of plans such that the statistics of all rows fit, one plan at least."""
    room = settings.max_bytes // recordings.n_samples
    return _fill_lots(plans, room, _StatisticsBytes(settings, views))


def rows_at_once(settings: Settings, plans: Sequence[Candidate], views: Sequence[RowSubset]) -> int:
    """Return how many rows' statistics may be held for some plans."""
    weigh, held, total = _StatisticsBytes(settings, views), set(), 0
    for plan in plans:
        total += weigh(plan, held)
        held.update(required_statistics(plan))
    return min(MAX_ROWS, max(1, settings.max_bytes // total))


def models_of(plans: Sequence[Candidate]) -> list[int]:
    """Return the models that occur in some plans, ascending."""
    return sorted({model for plan in plans for model in plan.members})


def required_statistics(plan: Candidate) -> list[tuple[Key, bool]]:
    """Return the statistics a plan needs: prefixes, and whether their confidence is wanted."""
    wanted = [(key, True) for key in plan.gates]
    return [*wanted, *((key, False) for key in plan.answers)]


def _fill_lots(plans: Sequence[Candidate], room: int, weigh: Callable) -> list[list[int]]:
    """Return lots of plans whose weights sum to no more than the room, one plan at least."""
    lots: list[list[int]] = []
    held: set = set()
    taken = room + 1
    # Neighbours share prefixes.
    for place in sorted(range(len(plans)), key=lambda place: plans[place].members):
        weight = weigh(plans[place], held)
        if taken + weight > room:
            lots.append([])
            held, taken = set(), 0
            weight = weigh(plans[place], held)
        lots[-1].append(place)
        taken += weight
        held.update(required_statistics(plans[place]))
    return [sorted(lot) for lot in lots]


class _StatisticsBytes:
    """Memory that the statistics of one row take for one more plan."""

    def __init__(self, settings, views):
        value = 1 if is_count(settings.scoring) else 8
        # A view of some rows is a copy; the passed thresholds are bytes.
        copied = any(view.rows is not None for view in views)
        self._sure, self._value = (17, 2 * value) if copied else (9, value)

    def __call__(self, plan, held):
        new = {need for need in required_statistics(plan) if need not in held}
        return sum(self._sure if is_wanted else self._value for _, is_wanted in new)


class _SumsBytes:
    """Memory that the sums of one more plan take."""

    def __init__(self, settings, views):
        self._n_thresholds, self._n_views = settings.n_thresholds, len(views)

    def __call__(self, plan, held):
        n_levels = levels_of(plan, self._n_thresholds)
        return 16 * self._n_views * sum(n_levels ** (k + 1) for k in range(len(plan.gates)))
