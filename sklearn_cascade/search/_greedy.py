"""The greedy rule for large pools: the model that answers most remaining rows for its cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import within_limit
from sklearn_cascade.search._coarse import CoarsePool

# How much less accurate than its reference a cascade may be: the tolerances of ENCAS.
TOLERANCES = (1.0, 0.99, 0.98, 0.97, 0.96, 0.95)
_ROUNDING = 1e-12


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
    pool: CoarsePool,
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
    pool : CoarsePool
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
