"""Sharing a search out, so that what is in memory at a time stays within a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sklearn_cascade.rules import is_count
from sklearn_cascade.search._committees import Plan, plan_cascades, plan_ensembles
from sklearn_cascade.search._exhaustive import levels_of
from sklearn_cascade.search._learners import Learners
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._statistics import Key
from sklearn_cascade.search._views import View

# Bytes for statistics, and for the sums of many cascades at once. With what sweeps and blocks
# of probabilities take beside them it stays below 500 MB.
MAX_BYTES = 250_000_000
# What a sweep takes besides grows with the rows that it looks at in one go.
MAX_ROWS = 2**20


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
    confidence : str, callable or Learners
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
    confidence: str | Callable | Learners
    n_thresholds: int
    scoring: str
    max_worst_cost: float | None
    n_jobs: int
    max_bytes: int = MAX_BYTES


def plan_committees(
    recordings: Recordings, settings: Settings, models: Sequence[int] | None = None
) -> list[Plan]:
    """Return all committees of a pool, or of some of its models."""
    max_stages, cap = settings.max_stages, settings.max_worst_cost
    ensembles = plan_ensembles(recordings, max_stages, cap, models)
    cascades = plan_cascades(recordings, settings.ways, max_stages, settings.order, cap, models)
    return [*ensembles, *cascades]


class Lot(NamedTuple):
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


def share_out(
    recordings: Recordings, settings: Settings, plans: Sequence[Plan], views: Sequence[View]
) -> list[Lot]:
    """Share the plans out, so that each lot fits into memory.

    Either the statistics of all rows are held at once, or, where there are so many rows that
    this would take many readings, the sums of many plans while the rows pass by.
    """
    by_rows = lots_by_rows(recordings, settings, plans, views)
    by_sums = _fill_lots(plans, settings.max_bytes, _SumsBytes(settings, views))
    # One more reading chooses the thresholds.
    at_once = recordings.n_samples <= MAX_ROWS and len(by_rows) <= len(by_sums) + 1
    return [Lot(places, at_once) for places in (by_rows if at_once else by_sums)]


def lots_by_rows(
    recordings: Recordings, settings: Settings, plans: Sequence[Plan], views: Sequence[View]
) -> list[list[int]]:
    """Return lots of plans such that the statistics of all rows fit, one plan at least."""
    room = settings.max_bytes // recordings.n_samples
    return _fill_lots(plans, room, _StatisticsBytes(settings, views))


def rows_at_once(settings: Settings, plans: Sequence[Plan], views: Sequence[View]) -> int:
    """Return how many rows' statistics may be held for some plans."""
    weigh, held, total = _StatisticsBytes(settings, views), set(), 0
    for plan in plans:
        total += weigh(plan, held)
        held.update(needs(plan))
    return min(MAX_ROWS, max(1, settings.max_bytes // total))


def models_of(plans: Sequence[Plan]) -> list[int]:
    """Return the models that occur in some plans, ascending."""
    return sorted({model for plan in plans for model in plan.members})


def needs(plan: Plan) -> list[tuple[Key, bool]]:
    """Return the statistics a plan needs: prefixes, and whether their confidence is wanted."""
    wanted = [(key, True) for key in plan.gates]
    return [*wanted, *((key, False) for key in plan.answers)]


def _fill_lots(plans: Sequence[Plan], room: int, weigh: Callable) -> list[list[int]]:
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
        held.update(needs(plans[place]))
    return [sorted(lot) for lot in lots]


class _StatisticsBytes:
    """Memory that the statistics of one row take for one more plan."""

    def __init__(self, settings, views):
        value = 1 if is_count(settings.scoring) else 8
        # A view of some rows is a copy; the passed thresholds are bytes.
        copied = any(view.rows is not None for view in views)
        self._sure, self._value = (17, 2 * value) if copied else (9, value)

    def __call__(self, plan, held):
        new = {need for need in needs(plan) if need not in held}
        return sum(self._sure if is_wanted else self._value for _, is_wanted in new)


class _SumsBytes:
    """Memory that the sums of one more plan take."""

    def __init__(self, settings, views):
        self._n_thresholds, self._n_views = settings.n_thresholds, len(views)

    def __call__(self, plan, held):
        n_levels = levels_of(plan, self._n_thresholds)
        return 16 * self._n_views * sum(n_levels ** (k + 1) for k in range(len(plan.gates)))
