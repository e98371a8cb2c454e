"""Where a confidence takes fitting, it is fitted for few cascades: those near the front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from sklearn_cascade.rules import within_limit
from sklearn_cascade.search._committees import (
    Plan,
    cascade_of,
    count_cascades,
    plan_cascades,
    plan_ensembles,
)
from sklearn_cascade.search._dominance import non_dominated, round_score
from sklearn_cascade.search._engine import Explored, explore
from sklearn_cascade.search._learners import Learners
from sklearn_cascade.search._lots import Settings
from sklearn_cascade.search._recordings import Recordings

# Sets of models that are looked at once more; pools with no more of them are looked at whole.
MAX_SETS = 40
# All cascades of so many models are among them, the ones that the front uses most.
_N_USED_MOST = 4


def explore_near_front(
    recordings: Recordings,
    settings: Settings,
    search: Callable,
    *,
    progress,
    rows: Sequence[np.ndarray | None] = (None,),
) -> Explored:
    """Look at every cascade with a plain confidence, and closely at those near the front.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    settings : Settings
        What is searched; the first look takes the mean and the last answer only.
    search : callable
        `explore` or `explore_greedily`, for the first look.
    progress, rows
        As for `explore`.

    Returns
    -------
    explored : Explored
        Cascades with the confidence and the combinations of the settings.
    """
    max_stages, cap = settings.max_stages, settings.max_worst_cost
    counts = count_cascades(recordings.n_models, max_stages, settings.order)
    n_before = 0
    if sum(count for _, count in counts) <= MAX_SETS:
        ensembles = plan_ensembles(recordings, max_stages, cap)
        some = plan_cascades(recordings, ("last",), max_stages, settings.order)
        members = [plan.members for plan in some]
    else:
        ways = tuple(way for way in settings.ways if way != "most_confident") or ("last",)
        learned = isinstance(settings.confidence, Learners)
        confidence = "max_proba" if learned else settings.confidence
        plain = settings._replace(ways=ways, confidence=confidence)
        first = search(recordings, plain, progress=progress, rows=rows)
        ensembles = [plan for plan in first.plans if not plan.exits]
        members = _near_front(recordings, settings, first)
        n_before = first.n_evaluated
    progress.say(f"{len(members):,} sets of models are looked at with the confidence asked for")
    cascades = [
        cascade_of(recordings, way, some, settings.confidence)
        for some in members
        for way in settings.ways
    ]
    plans = ensembles + [plan for plan in cascades if within_limit(plan.worst_cost, cap)]
    explored = explore(recordings, settings, progress=progress, rows=rows, plans=plans)
    return explored._replace(n_evaluated=explored.n_evaluated + n_before)


def _near_front(recordings, settings, first: Explored) -> list[tuple[int, ...]]:
    """Return an even choice of the cascades on the front, and those of the models used most."""
    found = first.found[0]
    front = non_dominated(
        round_score(found.score), found.cost, np.zeros(len(found.plan)), np.arange(len(found.plan))
    )
    front = front[np.argsort(found.cost[front], kind="stable")]
    plans: list[Plan] = [first.plans[place] for place in found.plan[front]]
    used = Counter(model for plan in plans for model in plan.members)
    most = sorted(sorted(used, key=lambda model: (-used[model], model))[:_N_USED_MOST])
    core = plan_cascades(recordings, ("last",), settings.max_stages, settings.order, models=most)
    chosen = dict.fromkeys(plan.members for plan in core)
    others = [
        some for some in dict.fromkeys(p.members for p in plans if p.exits) if some not in chosen
    ]
    room = max(0, MAX_SETS - len(chosen))
    if len(others) > room:
        others = [others[i] for i in np.linspace(0, len(others) - 1, room).astype(int)]
    return [*chosen, *others]
