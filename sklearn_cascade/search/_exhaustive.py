"""Every cascade of a few models from a pool, every threshold vector of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.core._pareto import ParetoSet, non_dominated, round_cost, round_score
from sklearn_cascade.core._scoring import is_count
from sklearn_cascade.core._thresholds import candidate_thresholds
from sklearn_cascade.search._candidates import (
    Candidate,
    EvaluatedCandidates,
    Key,
    enumerate_cascades,
    enumerate_ensembles,
    join,
    sort_candidates,
)
from sklearn_cascade.search._pool_confidence import AnyConfidence
from sklearn_cascade.search._predictions import PoolPredictions, RowSubset, subset_rows
from sklearn_cascade.search._statistics import (
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
# Bytes for statistics, and for the sums of many cascades at once. With what sweeps and blocks
# of probabilities take beside them it stays below 500 MB.
MAX_BYTES = 250_000_000
# What a sweep takes besides grows with the rows that it looks at at once.
MAX_ROWS = 2**20
Grids = dict[tuple[Key, int], np.ndarray]


class Settings(NamedTuple):
    """What is searched, and how finely."""

    combinations: tuple[str, ...]
    max_stages: int
    order: str
    confidence: AnyConfidence
    n_thresholds: int  # at each stage, besides "never"
    scoring: str  # a sum over rows
    max_worst_cost: float | None
    n_jobs: int
    max_bytes: int = MAX_BYTES  # for statistics and sums

    def n_levels(self, candidate: Candidate) -> int:
        """Return how many thresholds, "never" among them, are tried at each stage of a cascade."""
        n_free = max(1, len(candidate.members) - 1)
        return max(2, min(self.n_thresholds + 1, int(MAX_CELLS ** (1 / n_free) + 1e-9)))

    def gates(self, candidates: Sequence[Candidate]) -> list[tuple[Key, int]]:
        """Return the keys by which rows exit early, with the number of thresholds of each."""
        return [(key, self.n_levels(c)) for c in candidates for key in c.gate_keys]


class SearchResult(NamedTuple):
    """What a search found."""

    candidates: list[Candidate]
    # For each subset of the rows the non-dominated cascades, all single models and ensembles.
    found: list[EvaluatedCandidates]
    n_evaluated: int  # threshold vectors evaluated, single models and ensembles included


def evaluate_candidates(
    predictions: PoolPredictions,
    settings: Settings,
    *,
    progress: Any,
    rows: Sequence[np.ndarray | None] = (None,),
    candidates: Sequence[Candidate] | None = None,
) -> SearchResult:
    """Evaluate every threshold vector of every candidate of a pool, or of some.

    Each entry of `rows` (None: all rows) is one search; all of them share the statistics.
    """
    if candidates is None:
        candidates = enumerate_candidates(predictions, settings)
    candidates = sort_candidates(predictions, candidates)
    subsets = [subset_rows(predictions, settings.scoring, part) for part in rows]
    found = [Collector(candidates).result() for _ in subsets]
    n_evaluated = 0
    progress.start("candidates", len(candidates) * len(subsets))
    for batch in make_batches(predictions, settings, candidates, subsets):
        search = _search_at_once if batch.at_once else _search_in_row_blocks
        results = search(predictions, settings, candidates, batch.indices, subsets, progress.tick)
        for s, (new, count) in enumerate(results):
            found[s] = pareto_optimal(candidates, join([found[s], new]))
            n_evaluated += count
    return SearchResult(candidates, found, n_evaluated)


def enumerate_candidates(
    predictions: PoolPredictions, settings: Settings, models: Sequence[int] | None = None
) -> list[Candidate]:
    """Return all single models, ensembles and cascades of a pool, or of some of its models."""
    max_stages, limit = settings.max_stages, settings.max_worst_cost
    return [
        *enumerate_ensembles(predictions, max_stages, limit, models),
        *enumerate_cascades(
            predictions, settings.combinations, max_stages, settings.order, limit, models
        ),
    ]


def evaluate_points(
    predictions: PoolPredictions,
    settings: Settings,
    candidates: Sequence[Candidate],
    points: EvaluatedCandidates,
    rows: np.ndarray | None,
    n_levels: int,
) -> tuple[EvaluatedCandidates, int]:
    """Evaluate given thresholds, and finer ones around them, on some rows, by default on all.

    The thresholds of `points` lie on grids of `n_levels`; their scores and costs are not used.
    Returns the non-dominated points, and the number of vectors evaluated.
    """
    subset, n_evaluated = subset_rows(predictions, settings.scoring, rows), 0
    parts = [Collector(candidates).result()]
    for batch in batches_by_rows(predictions, settings, candidates, [subset]):
        chosen = [candidates[index] for index in batch]
        counts = ThresholdCounts(collect_for(predictions, settings, chosen), subset)
        counts.count([(key, n_levels) for c in chosen for key in c.gate_keys], settings.n_jobs)
        near = points.take(np.isin(points.candidate, batch))
        found, count = refine_points(counts, candidates, near, lambda _: n_levels, settings.n_jobs)
        parts.append(found)
        n_evaluated += count
    return pareto_optimal(candidates, join(parts)), n_evaluated


def _search_at_once(
    predictions: PoolPredictions,
    settings: Settings,
    candidates: Sequence[Candidate],
    batch: Sequence[int],
    subsets: Sequence[RowSubset],
    tick: Callable[[], None],
) -> Iterator[tuple[EvaluatedCandidates, int]]:
    """Yield what a batch reaches on each subset, and the number of vectors evaluated."""
    chosen, n_jobs = [candidates[index] for index in batch], settings.n_jobs
    statistics = collect_for(predictions, settings, chosen)
    for subset in subsets:
        counts = ThresholdCounts(statistics, subset)
        counts.count(settings.gates(chosen), n_jobs)
        found, count = sweep_candidates(counts, candidates, batch, settings.n_levels, n_jobs, tick)
        finer, more = refine_points(counts, candidates, found, settings.n_levels, n_jobs)
        yield join([found, finer]), count + more


def _search_in_row_blocks(
    predictions: PoolPredictions,
    settings: Settings,
    candidates: Sequence[Candidate],
    batch: Sequence[int],
    subsets: Sequence[RowSubset],
    tick: Callable[[], None],
) -> Iterator[tuple[EvaluatedCandidates, int]]:
    """Do the same, one block of rows after the other; without finer thresholds."""
    chosen = [candidates[index] for index in batch]
    n_models, gates = len(_models_of(chosen)), settings.gates(chosen)
    statistics_bytes, held, row_bytes = _statistics_bytes(settings, subsets), set[Any](), 0
    for candidate in chosen:
        row_bytes += statistics_bytes(candidate, held)
        held.update(required_statistics(candidate))
    n_rows = min(MAX_ROWS, max(1, settings.max_bytes // row_bytes))
    # Thresholds come from evenly spaced blocks of so many rows.
    blocks = blocks_of(predictions, n_models)[:: -(-predictions.n_samples // n_rows)]
    sample = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
    statistics = collect_for(predictions, settings, chosen, blocks)
    grids = []
    for subset in subsets:
        counts = ThresholdCounts(statistics, subset.among(sample))
        counts.count(gates, settings.n_jobs)
        grids.append(counts.grids)
    # The sums of each candidate grow, and no rows are kept.
    sums = [[ThresholdHistogram(*subset.scales) for _ in chosen] for subset in subsets]
    for start in range(0, predictions.n_samples, n_rows):
        stop = min(start + n_rows, predictions.n_samples)
        blocks = blocks_of(predictions, n_models, start, stop)
        statistics = collect_for(predictions, settings, chosen, blocks)
        for subset, subset_grids, subset_sums in zip(subsets, grids, sums, strict=True):
            counts = ThresholdCounts(statistics, subset.between(start, stop))
            counts.count(gates, settings.n_jobs, subset_grids)
            for candidate, histogram in zip(chosen, subset_sums, strict=True):
                counts.add_to(histogram, candidate, settings.n_levels(candidate))
    for subset_grids, subset_sums in zip(grids, sums, strict=True):
        collector = Collector(candidates)
        for index, candidate, histogram in zip(batch, chosen, subset_sums, strict=True):
            n_levels = settings.n_levels(candidate)
            thresholds = [subset_grids[key, n_levels] for key in candidate.gate_keys]
            collector.add(index, histogram.result(candidate.exit_costs), thresholds)
            tick()
        yield collector.result(), collector.n_evaluated


def sweep_candidates(
    counts: ThresholdCounts,
    candidates: Sequence[Candidate],
    batch: Sequence[int],
    n_levels: Callable[[Candidate], int],
    n_jobs: int,
    tick: Callable[[], None],
) -> tuple[EvaluatedCandidates, int]:
    """Return the non-dominated points of a batch's grids, and the number of vectors.

    Points without early exit are returned even if dominated.
    """

    def sweep(part: Iterable[int], collector: Collector) -> None:
        for index in part:
            candidate = candidates[index]
            levels = n_levels(candidate)
            swept = counts.sweep(candidate, levels)
            collector.add(index, swept, counts.thresholds(candidate, levels))
            tick()

    return _collect_in_threads(sweep, candidates, batch, n_jobs)


def refine_points(
    counts: ThresholdCounts,
    candidates: Sequence[Candidate],
    found: EvaluatedCandidates,
    n_levels: Callable[[Candidate], int],
    n_jobs: int,
) -> tuple[EvaluatedCandidates, int]:
    """Return the non-dominated points of finer grids around those found, and the count."""

    def sweep(part: Iterable[int], collector: Collector) -> None:
        for index in part:
            candidate = candidates[index]
            n_gates = len(candidate.gate_keys)
            for point in found.thresholds[found.candidate == index, :n_gates]:
                collector.add(index, *counts.sweep_around(candidate, n_levels(candidate), point))

    # All points of a candidate go to one thread, one after the other: of points that are equal
    # the first is kept, which is then the same for any number of threads.
    exiting = [index for index in np.unique(found.candidate) if candidates[index].exits]
    return _collect_in_threads(sweep, candidates, exiting, n_jobs)


def _collect_in_threads(
    sweep: Callable, candidates: Sequence[Candidate], indices: Sequence[int], n_jobs: int
) -> tuple[EvaluatedCandidates, int]:
    """Sweep in threads; return what is found and the number of vectors."""
    collectors = [Collector(candidates) for _ in range(n_jobs)]
    parts = [(indices[start::n_jobs], collector) for start, collector in enumerate(collectors)]
    map_in_threads(lambda part: sweep(*part), parts, n_jobs)
    found = join([collector.result() for collector in collectors])
    return pareto_optimal(candidates, found), sum(collector.n_evaluated for collector in collectors)


def pareto_optimal(
    candidates: Sequence[Candidate], found: EvaluatedCandidates
) -> EvaluatedCandidates:
    """Return the points that no other dominates in score, mean cost and worst-case cost.

    Those without early exit are returned even if dominated.
    """
    worst = np.array([candidate.worst_cost for candidate in candidates])[found.candidate]
    highest = worst.max(initial=0.0)
    # Among equals the candidate that comes first, then the point found first.
    rank = np.lexsort((np.arange(len(found.candidate)), found.candidate)).argsort()
    kept = non_dominated(
        round_score(found.score), round_cost(found.cost, highest), round_cost(worst, highest), rank
    )
    without_exit = np.flatnonzero([not candidates[index].exits for index in found.candidate])
    return found.take(np.union1d(kept, without_exit))


class Collector:
    """Keeps the points of many sweeps that none before them dominates.

    Candidates have to come in order of worst-case cost, so that a point is never dominated by one
    that costs more in the worst case.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._highest = max((candidate.worst_cost for candidate in candidates), default=0.0)
        self._pareto_set = ParetoSet(self._highest)
        self._max_stages = max((len(candidate.members) for candidate in candidates), default=1)
        self._parts: list[EvaluatedCandidates] = []
        self.n_evaluated = 0

    def add(self, index: int, swept: SweepResult, grids: Sequence[np.ndarray]) -> None:
        """Add all vectors of one candidate."""
        score, cost = swept.score.ravel(), swept.cost.ravel()
        self.n_evaluated += len(score)
        if not self._candidates[index].exits:
            cells = np.zeros(1, dtype=int)
            self._pareto_set.admit(score, cost, cells)
        else:
            cells = self._pareto_set.survivors(score, cost)
            rounded = round_score(score[cells]), round_cost(cost[cells], self._highest)
            # The highest thresholds of equals: the most confident exits.
            cells = cells[self._pareto_set.admit(*rounded, -cells)]
        if len(cells):
            self._parts.append(self._points_at(index, swept, grids, cells))

    def result(self) -> EvaluatedCandidates:
        """Return all points kept."""
        n = self._max_stages
        nothing = EvaluatedCandidates(
            np.empty(0, dtype=int), np.empty((0, n - 1)), np.empty(0), np.empty(0), np.empty((0, n))
        )
        return join([nothing, *self._parts])

    def _points_at(
        self, index: int, swept: SweepResult, grids: Sequence[np.ndarray], cells: np.ndarray
    ) -> EvaluatedCandidates:
        """Return the points at some cells of a sweep."""
        n_stages = len(self._candidates[index].members)
        positions = np.unravel_index(cells, [len(grid) for grid in grids]) if grids else ()
        thresholds = np.full((len(cells), self._max_stages - 1), np.nan)
        # Share of the rows that reach each stage: all of them, ..., none beyond the last.
        reach = np.zeros((len(cells), self._max_stages + 1))
        reach[:, 0] = 1.0
        if not grids:
            thresholds[:, : n_stages - 1] = np.inf
            reach[:, :n_stages] = 1.0
        axes: list[np.ndarray] = []
        for k, grid in enumerate(grids):
            thresholds[:, k] = grid[positions[k]]
            if len(grid) > 1:
                axes.append(positions[k])
            reach[:, k + 1] = swept.reached[k][tuple(axes)]
        score, cost = swept.score.ravel()[cells], swept.cost.ravel()[cells]
        candidate, exit_rates = np.full(len(cells), index), reach[:, :-1] - reach[:, 1:]
        return EvaluatedCandidates(candidate, thresholds, score, cost, exit_rates)


class ThresholdCounts:
    """How many of its thresholds each row of a subset passes, for each gate."""

    def __init__(self, statistics: Statistics, subset: RowSubset) -> None:
        self._subset = subset
        self._index = statistics.position
        rows = slice(None) if subset.rows is None else subset.rows
        self._confidence = statistics.confidence[:, rows]
        self._sample_score = statistics.sample_score[:, rows]
        self.grids: Grids = {}
        self._passed: dict[tuple[Key, int], np.ndarray] = {}

    def count(
        self, gates: Iterable[tuple[Key, int]], n_jobs: int, grids: Grids | None = None
    ) -> None:
        """Choose thresholds for each (key, number of them), or take given ones, and apply them.

        "Never exit" is the last of the thresholds.
        """

        def count_one(gate: tuple[Key, int]) -> tuple[np.ndarray, np.ndarray]:
            key, n_levels = gate
            confidence = self._confidence[self._index[key]]
            if grids is None:
                weight = self._subset.row_weight
                finite = candidate_thresholds(confidence, n_levels - 1, sample_weight=weight)
                grid = np.append(finite, np.inf)
            else:
                grid = grids[gate]
            small = np.uint8 if n_levels < 256 else np.uint16
            return grid, count_passed(confidence, grid).astype(small)

        new = [gate for gate in dict.fromkeys(gates) if gate not in self._passed]
        counted = map_in_threads(count_one, new, n_jobs)
        for gate, (grid, passed) in zip(new, counted, strict=True):
            self.grids[gate], self._passed[gate] = grid, passed

    def thresholds(self, candidate: Candidate, n_levels: int) -> list[np.ndarray]:
        """Return the grid of each stage where rows may exit early."""
        return [self.grids[key, n_levels] for key in candidate.gate_keys]

    def add_to(self, histogram: ThresholdHistogram, candidate: Candidate, n_levels: int) -> None:
        """Add the rows to the sums of one candidate, over its full grid."""
        self._add_rows(histogram, candidate)
        for key in candidate.gate_keys:
            passed = self._passed[key, n_levels]
            histogram.add_stage(len(self.grids[key, n_levels]), passed[histogram.rows])
        histogram.clear()

    def sweep(self, candidate: Candidate, n_levels: int) -> SweepResult:
        """Return what every vector of the grid reaches."""
        histogram = ThresholdHistogram(*self._subset.scales)
        self.add_to(histogram, candidate, n_levels)
        return histogram.result(candidate.exit_costs)

    def sweep_around(
        self, candidate: Candidate, n_levels: int, thresholds: Sequence[float]
    ) -> tuple[SweepResult, list[np.ndarray]]:
        """Return what finer thresholds around a point of the grid reach, and these thresholds."""
        finer, n_finer = [], _N_FINER.get(len(candidate.gate_keys), _N_FINER_OF_LONG)
        histogram = ThresholdHistogram(*self._subset.scales)
        self._add_rows(histogram, candidate)
        for key, threshold in zip(candidate.gate_keys, thresholds, strict=True):
            grid, confidence = self.grids[key, n_levels], self._confidence[self._index[key]]
            j = int(np.searchsorted(grid, threshold))
            coarse = self._passed[key, n_levels][histogram.rows]
            near = np.flatnonzero((coarse == j) | (coarse == j + 1))
            rows = near if isinstance(histogram.rows, slice) else histogram.rows[near]
            weight = self._subset.row_weight
            weight = None if weight is None else weight[rows]
            between = candidate_thresholds(confidence[rows], n_finer, sample_weight=weight)
            values = np.unique([*grid[max(j - 1, 0) : j + 2], *between])
            # Rows farther off pass all of them, or none.
            passed = (coarse > j + 1) * np.uint8(len(values))
            passed[near] = count_passed(confidence[rows], values)
            histogram.add_stage(len(values), passed)
            finer.append(values)
        return histogram.result(candidate.exit_costs), finer

    def _add_rows(self, histogram: ThresholdHistogram, candidate: Candidate) -> None:
        """Add the rows to the sums of one candidate, before its first stage."""
        scores = [self._sample_score[self._index[key]] for key in candidate.output_keys]
        histogram.add_rows(scores, self._subset.score_weight, self._subset.row_weight)


def collect_for(
    predictions: PoolPredictions,
    settings: Settings,
    candidates: Sequence[Candidate],
    blocks: Sequence[slice] | None = None,
) -> Statistics:
    """Return the statistics that some candidates need, of some blocks of rows, by default all."""
    needed = dict.fromkeys(need for c in candidates for need in required_statistics(c))
    gate_keys = [key for key, is_gate in needed if is_gate]
    other_keys = [key for key, is_gate in needed if not is_gate and (key, True) not in needed]
    return collect_statistics(
        predictions,
        gate_keys,
        other_keys,
        blocks_of(predictions, len(_models_of(candidates))) if blocks is None else blocks,
        confidence=settings.confidence,
        scoring=settings.scoring,
        n_jobs=settings.n_jobs,
    )


def required_statistics(candidate: Candidate) -> list[tuple[Key, bool]]:
    """Return the statistics a candidate needs: keys, and whether their confidence is one."""
    gates = [(key, True) for key in candidate.gate_keys]
    return [*gates, *((key, False) for key in candidate.output_keys)]


def _models_of(candidates: Sequence[Candidate]) -> set[int]:
    """Return the models that occur in some candidates."""
    return {model for candidate in candidates for model in candidate.members}


class Batch(NamedTuple):
    """Candidates that are searched together."""

    indices: list[int]  # ascending
    at_once: bool  # whether the statistics of all rows are held, or of a block after the other


def make_batches(
    predictions: PoolPredictions,
    settings: Settings,
    candidates: Sequence[Candidate],
    subsets: Sequence[RowSubset],
) -> list[Batch]:
    """Share the candidates out, so that each batch fits into memory.

    Either the statistics of all rows are held at once, or, where there are so many rows that
    they would be read many times, the sums of many candidates while the rows are read once.
    """

    def sums_bytes(candidate: Candidate, held: set) -> int:
        n_levels, n_gates = settings.n_levels(candidate), len(candidate.gate_keys)
        return 16 * len(subsets) * sum(n_levels ** (k + 1) for k in range(n_gates))

    by_rows = batches_by_rows(predictions, settings, candidates, subsets)
    by_sums = _fill_batches(candidates, settings.max_bytes, sums_bytes)
    # Choosing the thresholds reads the rows once more.
    at_once = predictions.n_samples <= MAX_ROWS and len(by_rows) <= len(by_sums) + 1
    return [Batch(indices, at_once) for indices in (by_rows if at_once else by_sums)]


def batches_by_rows(
    predictions: PoolPredictions,
    settings: Settings,
    candidates: Sequence[Candidate],
    subsets: Sequence[RowSubset],
) -> list[list[int]]:
    """Return batches whose statistics of all rows fit, of one candidate at least."""
    max_bytes = settings.max_bytes // predictions.n_samples
    return _fill_batches(candidates, max_bytes, _statistics_bytes(settings, subsets))


def _fill_batches(
    candidates: Sequence[Candidate], max_bytes: int, bytes_of: Callable[[Candidate, set], int]
) -> list[list[int]]:
    """Return batches that take no more than `max_bytes`, of one candidate at least.

    `bytes_of` tells what one more candidate takes beside the statistics that are held.
    """
    batches: list[list[int]] = []
    held: set = set()
    taken = max_bytes + 1
    # Neighbours share keys.
    for index in sorted(range(len(candidates)), key=lambda index: candidates[index].members):
        added = bytes_of(candidates[index], held)
        if taken + added > max_bytes:
            batches.append([])
            held, taken = set(), 0
            added = bytes_of(candidates[index], held)
        batches[-1].append(index)
        taken += added
        held.update(required_statistics(candidates[index]))
    return [sorted(batch) for batch in batches]


def _statistics_bytes(
    settings: Settings, subsets: Sequence[RowSubset]
) -> Callable[[Candidate, set], int]:
    """Return a function that tells what the statistics of one row take for one more candidate."""
    value = 1 if is_count(settings.scoring) else 8
    # A subset is a copy; the thresholds passed are bytes.
    copied = any(subset.rows is not None for subset in subsets)
    gate_bytes, value_bytes = (17, 2 * value) if copied else (9, value)

    def bytes_of(candidate: Candidate, held: set) -> int:
        new = {need for need in required_statistics(candidate) if need not in held}
        return sum(gate_bytes if is_gate else value_bytes for _, is_gate in new)

    return bytes_of
