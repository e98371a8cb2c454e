"""Committees applied again, at given thresholds, to parts of the recorded rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_cascade.rules import cumulative_costs, exit_stages, is_additive
from sklearn_cascade.search._committees import Plan, cascade_of
from sklearn_cascade.search._engine import collect_for
from sklearn_cascade.search._finding import Options, settings_of
from sklearn_cascade.search._front_row import OperatingPoint
from sklearn_cascade.search._lots import lots_by_rows
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._rescoring import give_answers, score_given
from sklearn_cascade.search._views import view_rows


def replay(
    recordings: Recordings,
    options: Options,
    rows: Sequence[OperatingPoint],
    parts: Sequence[np.ndarray],
    wanted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of committees on parts of the recorded rows.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    options : Options
        Parameters of the search, prepared.
    rows : sequence of OperatingPoint
        The committees.
    parts : sequence of ndarray of int
        Positions of the rows of each part.
    wanted : ndarray of bool of shape (n_committees, n_parts), default=None
        Which figures are wanted; the others are NaN. None: all.

    Returns
    -------
    score, cost : ndarray of shape (n_committees, n_parts)
    """
    score, cost = np.full((2, len(rows), len(parts)), np.nan)
    wanted = np.ones(score.shape, dtype=bool) if wanted is None else wanted
    settings = settings_of(recordings, options)
    views = [view_rows(recordings, settings.scoring, part) for part in parts]
    plans = [_plan(recordings, row, settings.confidence) for row in rows]
    for lot in lots_by_rows(recordings, settings, plans, views):
        statistics = collect_for(recordings, settings, [plans[place] for place in lot])
        for place in lot:
            sums = cumulative_costs(plans[place].answer_costs)
            for p in np.flatnonzero(wanted[place]):
                view, thresholds = views[p], rows[place].thresholds
                stage, value = _pass_again(statistics, plans[place], thresholds, view.rows)
                score[place, p] = _weighted(value, view.value_weight, view.value_scale)
                cost[place, p] = _weighted(sums[stage], view.row_weight, view.row_scale)
    if not is_additive(options.scoring):
        for place, (plan, row) in enumerate(zip(plans, rows, strict=True)):
            given = give_answers(recordings, plan, row.thresholds, options.confidence)
            for p in np.flatnonzero(wanted[place]):
                score[place, p] = score_given(recordings, given, options.scoring, parts[p])
    return score, cost


def _plan(recordings: Recordings, row: OperatingPoint, confidence) -> Plan:
    """Return the plan of a row of the table."""
    members = tuple(recordings.names.index(name) for name in row.members)
    if row.kind == "cascade":
        return cascade_of(recordings, row.combine, members, confidence)
    return Plan(row.combine, members, recordings.stage_costs(members), False)


def _pass_again(statistics, plan, thresholds, rows) -> tuple[np.ndarray, np.ndarray]:
    """Return the answer that each of some rows exits with, and what it is worth."""
    stage = np.zeros(len(rows), dtype=int)
    if plan.gates:
        sure = [statistics.confidence[statistics.place[key]][rows] for key in plan.gates]
        stage = exit_stages(sure, thresholds)
    place = np.array([statistics.place[key] for key in plan.answers])
    return stage, statistics.value[place[stage], rows]


def _weighted(values, weight, scale) -> float:
    """Return the weighted sum."""
    return float((values.sum() if weight is None else values @ weight) * scale)
