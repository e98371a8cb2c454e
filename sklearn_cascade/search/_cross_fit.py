"""Cross-fitted scores: of candidates chosen without the fold that they are evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.core._pareto import round_cost, round_score
from sklearn_cascade.core._scoring import is_additive
from sklearn_cascade.core._thresholds import exit_stages
from sklearn_cascade.search._candidates import Candidate
from sklearn_cascade.search._exhaustive import batches_by_rows, collect_for
from sklearn_cascade.search._front import ParetoFront
from sklearn_cascade.search._predictions import PoolPredictions, subset_rows
from sklearn_cascade.search._statistics import Statistics
from sklearn_cascade.search._strategy import Options, estimate_seconds, predict, settings_of

# Folds where their number is left open, and the seconds of one core that are worth it.
_N_FOLDS = 5
_MAX_FOLDS = 100
_AFFORDABLE_SECONDS = 10.0
# A candidate with the thresholds of its gates.
TunedCandidate = tuple[Candidate, Sequence[float]]


def choose_folds(
    cv: Any, predictions: PoolPredictions, options: Options
) -> tuple[bool, np.ndarray]:
    """Return whether cross-fitted scores are wanted, and the fold of each row: (n_samples,).

    `cv` is as in `search_cascades`.
    """
    n_samples, n_recorded = predictions.n_samples, predictions.n_recorded
    max_folds = min(n_samples, _MAX_FOLDS)
    if cv is None or (isinstance(cv, str) and cv == "auto"):
        n_folds = min(_N_FOLDS, n_samples)
        seconds = estimate_seconds(predictions, settings_of(predictions, options))
        affordable = n_folds > 1 and n_folds * seconds <= _AFFORDABLE_SECONDS
        return cv is not None and affordable, _shuffled_folds(n_samples, n_folds)
    if isinstance(cv, Integral) and not isinstance(cv, bool) and 2 <= int(cv) <= max_folds:
        return True, _shuffled_folds(n_samples, int(cv))
    fold = np.asarray(cv)
    if fold.shape != (n_recorded,) or fold.dtype.kind not in "iubUS":
        raise ValueError(
            f"cv={cv!r}; expected 'auto', None, a number of folds from 2 to {max_folds}, or the "
            f"fold of each of the {n_recorded} rows as an integer or a name"
        )
    if predictions.counted is not None:
        fold = fold[predictions.counted]
    labels, fold = np.unique(fold, return_inverse=True)
    if not 2 <= len(labels) <= _MAX_FOLDS:
        raise ValueError(
            f"cv names {len(labels)} folds, {str(labels[0])!r} among them; expected from 2 to "
            f"{_MAX_FOLDS}: the search is repeated without each of them"
        )
    return True, fold


def _shuffled_folds(n_samples: int, n_folds: int) -> np.ndarray:
    """Return a random fold of each row, the same for any two calls: (n_samples,)."""
    return np.random.default_rng(0).permutation(n_samples) % n_folds


def add_cross_fitted_scores(
    predictions: PoolPredictions,
    options: Options,
    front: ParetoFront,
    fold_fronts: Sequence[ParetoFront],
    parts: Sequence[np.ndarray],
) -> ParetoFront:
    """Return the front of all rows with cross-fitted scores of the non-dominated cascades.

    That of a cascade is the score of the best candidate of no higher mean cost. The other
    parameters are as for `cross_fit_choice`.
    """
    cost = round_cost(front.mean_cost, front.worst_cost.max(initial=0.0))
    reached = list(zip(round_score(front.score), cost, strict=True))
    # All that are equal to a non-dominated one in score and mean cost.
    best = {reached[i] for i in np.flatnonzero(front.non_dominated)}
    tuned = [i for i, point in enumerate(front) if reached[i] in best and point.kind == "cascade"]
    constraints = [{"max_cost": front[i].mean_cost} for i in tuned]
    scores, costs = cross_fit_choice(predictions, options, fold_fronts, parts, constraints)
    points = list(front)
    for i, fold_score, fold_cost in zip(tuned, scores.tolist(), costs.tolist(), strict=True):
        points[i] = points[i]._replace(
            cross_fitted_score=round(fold_score, 12), cross_fitted_cost=fold_cost
        )
    return ParetoFront(
        points,
        scoring=front.scoring,
        cost_unit=front.cost_unit,
        n_evaluated=front.n_evaluated,
        max_worst_cost=front.max_worst_cost,
        evaluator=front.evaluator,
    )


def cross_fit_choice(
    predictions: PoolPredictions,
    options: Options,
    fold_fronts: Sequence[ParetoFront],
    parts: Sequence[np.ndarray],
    constraints: Sequence[dict[str, Any]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean score and cost of what is chosen without each fold, both (n_choices,).

    `fold_fronts` were found without each fold, `parts` are the rows of each; `constraints` holds
    the keywords of ``ParetoFront.select`` for each choice. Where nothing satisfies them, the
    nearest point is taken.
    """
    if not constraints:
        return np.empty(0), np.empty(0)
    chosen: dict[tuple[int, int], int] = {}
    position = np.empty((len(constraints), len(parts)), dtype=int)
    for c, keywords in enumerate(constraints):
        for f, front in enumerate(fold_fronts):
            point = f, front.find_index(**keywords, nearest=True)
            position[c, f] = chosen.setdefault(point, len(chosen))
    folds = np.arange(len(parts))
    wanted = np.zeros((len(chosen), len(parts)), dtype=bool)
    wanted[position, folds] = True
    tuned = [tuned_candidates(fold_fronts[f], [index])[0] for f, index in chosen]
    score, cost = replay(predictions, options, tuned, parts, wanted)
    return score[position, folds].mean(axis=1), cost[position, folds].mean(axis=1)


def tuned_candidates(
    front: ParetoFront, indices: Sequence[int] | None = None
) -> list[TunedCandidate]:
    """Return some points of a front that a search made, by default all, for `replay`."""
    assert front.evaluator is not None
    points = list(front) if indices is None else [front[index] for index in indices]
    return [(front.evaluator.stage_spec(point).candidate, point.thresholds) for point in points]


def replay(
    predictions: PoolPredictions,
    options: Options,
    tuned: Sequence[TunedCandidate],
    parts: Sequence[np.ndarray],
    wanted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of candidates on parts of the rows, both (n_tuned, n_parts).

    Where `wanted` (n_tuned, n_parts) is given and False, they are NaN.
    """
    score, cost = np.full((2, len(tuned), len(parts)), np.nan)
    wanted = np.ones(score.shape, dtype=bool) if wanted is None else wanted
    settings = settings_of(predictions, options)
    subsets = [subset_rows(predictions, settings.scoring, part) for part in parts]
    candidates = [candidate for candidate, _ in tuned]
    for batch in batches_by_rows(predictions, settings, candidates, subsets):
        statistics = collect_for(predictions, settings, [candidates[i] for i in batch])
        for i in batch:
            stage_cost = cumulative_costs(candidates[i].exit_costs)
            for p in np.flatnonzero(wanted[i]).tolist():
                subset = subsets[p]
                stage, scores = _exit(statistics, *tuned[i], parts[p])
                score[i, p] = _weighted_sum(scores, subset.score_weight, subset.score_scale)
                cost[i, p] = _weighted_sum(stage_cost[stage], subset.row_weight, subset.row_scale)
    if not is_additive(options.scoring):
        for i, (candidate, thresholds) in enumerate(tuned):
            outputs = predict(predictions, candidate, thresholds, options.confidence)
            for p in np.flatnonzero(wanted[i]).tolist():
                score[i, p] = predictions.score(options.scoring, outputs, parts[p])
    return score, cost


def _exit(
    statistics: Statistics, candidate: Candidate, thresholds: Sequence[float], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stage at which each row exits, and the score of its output there: (n_rows,)."""
    stage = np.zeros(len(rows), dtype=int)
    if candidate.gate_keys:
        gates = [statistics.position[key] for key in candidate.gate_keys]
        stage = exit_stages([statistics.confidence[gate][rows] for gate in gates], thresholds)
    outputs = np.array([statistics.position[key] for key in candidate.output_keys])
    return stage, statistics.sample_score[outputs[stage], rows]


def _weighted_sum(values: np.ndarray, weight: np.ndarray | None, scale: float) -> float:
    """Return the sum with weights, or of one each."""
    return float((values.sum() if weight is None else values @ weight) * scale)
