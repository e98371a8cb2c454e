"""Scores beside those that were tuned: chosen without the rows that they are taken on."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np

from sklearn_cascade.core import cumulative_costs, exit_stages, is_additive
from sklearn_cascade.core._pareto import round_cost, round_score
from sklearn_cascade.search._candidates import Candidate, cascade_of, view_rows
from sklearn_cascade.search._exhaustive import collect_for, lots_by_rows
from sklearn_cascade.search._front import OperatingPoint, ParetoFront
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.search._strategy import (
    Options,
    predict,
    score_given,
    seconds_of,
    settings_of,
)

# Folds where their number is left open, and the seconds of one core that are worth it.
_N_FOLDS = 5
_MOST_FOLDS = 100
_AFFORDABLE_SECONDS = 10.0


def fold_rows(cv, recordings: PoolPredictions, options: Options) -> tuple[bool, np.ndarray]:
    """Return whether cross-fitted scores are wanted, and the fold of each row that counts.

    Parameters
    ----------
    cv : int, "auto", array-like of shape (n_recorded,) or None
        As in `search_cascades`.
    recordings : PoolPredictions
        Answers of the pool.
    options : Options
        Parameters of the search.

    Returns
    -------
    cross_fitted : bool
    fold : ndarray of int of shape (n_samples,)
    """
    n_samples = recordings.n_samples
    if cv is None or (isinstance(cv, str) and cv == "auto"):
        n_folds = min(_N_FOLDS, n_samples)
        seconds = n_folds * seconds_of(recordings, settings_of(recordings, options))
        cross_fitted = cv is not None and n_folds > 1 and seconds <= _AFFORDABLE_SECONDS
        return cross_fitted, _draw(n_samples, n_folds)
    most = min(n_samples, _MOST_FOLDS)
    if isinstance(cv, Integral) and not isinstance(cv, bool) and 2 <= cv <= most:
        return True, _draw(n_samples, int(cv))
    fold = np.asarray(cv)
    n_recorded = recordings.n_recorded
    if fold.shape != (n_recorded,) or fold.dtype.kind not in "iubUS":
        raise ValueError(
            f"cv={cv!r}; expected 'auto', None, a number of folds from 2 to {most}, or the "
            f"fold of each of the {n_recorded} rows as an integer or a name"
        )
    if recordings.counted is not None:
        fold = fold[recordings.counted]
    labels, fold = np.unique(fold, return_inverse=True)
    if not 2 <= len(labels) <= _MOST_FOLDS:
        raise ValueError(
            f"cv names {len(labels)} folds, {str(labels[0])!r} among them; expected from 2 to "
            f"{_MOST_FOLDS}: the search is repeated without each of them"
        )
    return True, fold


def _draw(n_samples: int, n_folds: int) -> np.ndarray:
    """Return the fold of each row, drawn evenly, the same for any two calls: (n_samples,)."""
    return np.random.default_rng(0).permutation(n_samples) % n_folds


def training_rows(
    fold: np.ndarray, sample: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the rows of each fold, and the rows of other samples that choose for it."""
    parts = [np.flatnonzero(fold == k) for k in np.unique(fold)]
    return parts, [np.flatnonzero(~np.isin(sample, sample[part])) for part in parts]


def cross_fit_choice(
    recordings: PoolPredictions,
    options: Options,
    fronts: Sequence[ParetoFront],
    parts: Sequence[np.ndarray],
    choices: Sequence[dict],
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean score and cost of committees chosen without the fold they are taken on.

    Where the other folds hold no committee that satisfies the constraints, the nearest is taken.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    options : Options
        Parameters of the search, prepared.
    fronts : sequence of ParetoFront
        What was found without each fold.
    parts : sequence of ndarray of int
        Rows of each fold.
    choices : sequence of dict
        Constraints of each choice, as for ``ParetoFront.select``.

    Returns
    -------
    score, cost : ndarray of shape (n_choices,)
    """
    if not choices:
        return np.empty(0), np.empty(0)
    chosen: dict[OperatingPoint, int] = {}
    best = [front[front.find_index(**c, nearest=True)] for c in choices for front in fronts]
    places = np.array([chosen.setdefault(row, len(chosen)) for row in best])
    places = places.reshape(len(choices), len(fronts))
    folds = np.arange(len(parts))
    wanted = np.zeros((len(chosen), len(parts)), dtype=bool)
    wanted[places, folds] = True
    score, cost = replay(recordings, options, list(chosen), parts, wanted)
    return score[places, folds].mean(axis=1), cost[places, folds].mean(axis=1)


def add_cross_fitted_scores(
    recordings: PoolPredictions,
    options: Options,
    front: ParetoFront,
    fronts: Sequence[ParetoFront],
    parts: Sequence[np.ndarray],
) -> ParetoFront:
    """Return the front with cross-fitted scores of what was tuned beside those tuned.

    That of a cascade nothing beats is the score of the best committee of no higher mean cost,
    chosen without the fold it is taken on.

    Parameters
    ----------
    recordings, options
        As for `cross_fit_choice`.
    front : ParetoFront
        What was found on all rows.
    fronts, parts
        As for `cross_fit_choice`.
    """
    places = [i for i in _unbeaten(front) if front[i].kind == "cascade"]
    choices = [{"max_cost": front[i].mean_cost} for i in places]
    score, cost = cross_fit_choice(recordings, options, fronts, parts, choices)
    rows = list(front)
    for i, cross_fitted_score, cross_fitted_cost in zip(
        places, score.tolist(), cost.tolist(), strict=True
    ):
        rows[i] = rows[i]._replace(
            cross_fitted_score=round(cross_fitted_score, 12), cross_fitted_cost=cross_fitted_cost
        )
    return ParetoFront(
        rows,
        scoring=front.scoring,
        cost_unit=front.cost_unit,
        n_evaluated=front.n_evaluated,
        max_worst_cost=front.max_worst_cost,
        application=front.application,
    )


def _unbeaten(front: ParetoFront) -> list[int]:
    """Return the non-dominated rows, with all that are equal to one in score and mean cost."""
    cost = round_cost(front.mean_cost, front.worst_cost.max(initial=0.0))
    figures = list(zip(round_score(front.score), cost, strict=True))
    best = {figures[i] for i in np.flatnonzero(front.non_dominated)}
    return [i for i, row in enumerate(figures) if row in best]


def replay(
    recordings: PoolPredictions,
    options: Options,
    rows: Sequence[OperatingPoint],
    parts: Sequence[np.ndarray],
    wanted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of committees on parts of the recorded rows.

    Parameters
    ----------
    recordings : PoolPredictions
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
            given = predict(recordings, plan, row.thresholds, options.confidence)
            for p in np.flatnonzero(wanted[place]):
                score[place, p] = score_given(recordings, given, options.scoring, parts[p])
    return score, cost


def _plan(recordings: PoolPredictions, row: OperatingPoint, confidence) -> Candidate:
    """Return the plan of a row of the table."""
    members = tuple(recordings.names.index(name) for name in row.members)
    if row.kind == "cascade":
        return cascade_of(recordings, row.combine, members, confidence)
    return Candidate(row.combine, members, recordings.stage_costs(members), False)


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
