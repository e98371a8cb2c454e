"""Committees applied again, at given thresholds, to parts of the recorded rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_cascade.rules import cumulative_costs, exit_stages, is_additive
from sklearn_cascade.search._committees import Plan
from sklearn_cascade.search._engine import collect_for
from sklearn_cascade.search._finding import Options, settings_of
from sklearn_cascade.search._front import FrontRow
from sklearn_cascade.search._lots import lots_by_rows
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._rescoring import give_answers, score_given
from sklearn_cascade.search._views import view_rows


def replay(
    recordings: Recordings,
    options: Options,
    rows: Sequence[FrontRow],
    parts: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of committees on parts of the recorded rows.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    options : Options
        Parameters of the search.
    rows : sequence of FrontRow
        The committees.
    parts : sequence of ndarray of int
        Positions of the rows of each part.

    Returns
    -------
    score, cost : ndarray of shape (n_committees, n_parts)
    """
    score, cost = np.empty((2, len(rows), len(parts)))
    settings = settings_of(recordings, options)
    views = [view_rows(recordings, settings.scoring, part) for part in parts]
    plans = [_plan(recordings, row) for row in rows]
    for lot in lots_by_rows(recordings, settings, plans, views):
        statistics = collect_for(recordings, settings, [plans[place] for place in lot])
        for place in lot:
            stage, value = _pass_again(statistics, plans[place], rows[place].thresholds)
            paid = cumulative_costs(plans[place].answer_costs)[stage]
            for p, view in enumerate(views):
                score[place, p] = _weighted(value, view.rows, view.value_weight, view.value_scale)
                cost[place, p] = _weighted(paid, view.rows, view.row_weight, view.row_scale)
    if not is_additive(options.scoring):
        for place, (plan, row) in enumerate(zip(plans, rows, strict=True)):
            given = give_answers(recordings, plan, row.thresholds, options.confidence)
            score[place] = [score_given(recordings, given, options.scoring, p) for p in parts]
    return score, cost


def _plan(recordings: Recordings, row: FrontRow) -> Plan:
    """Return the plan of a row of the table."""
    members = tuple(recordings.names.index(name) for name in row.members)
    return Plan(row.combine, members, recordings.stage_costs(members), row.kind == "cascade")


def _pass_again(statistics, plan, thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Return the answer that each row exits with, and what it is worth."""
    value = np.stack([statistics.value[statistics.place[key]] for key in plan.answers])
    stage = np.zeros(value.shape[1], dtype=int)
    if plan.gates:
        sure = [statistics.confidence[statistics.place[key]] for key in plan.gates]
        stage = exit_stages(sure, thresholds)
    return stage, value[stage, np.arange(len(stage))]


def _weighted(values, rows, weight, scale) -> float:
    """Return the weighted sum over some rows."""
    values = values[rows]
    return float((values.sum() if weight is None else values @ weight) * scale)
