"""Tuning one cascade on held-out predictions: which combination, and which thresholds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.core._combination import COMBINATIONS, fill_abstained
from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.core._samples import training_rows
from sklearn_cascade.core._scoring import is_additive, score_contributions, score_probabilities
from sklearn_cascade.tuning._operating_points import (
    TOLERANCE,
    ThresholdPoint,
    cheapest_point,
    pareto_points,
    single_exits,
)
from sklearn_cascade.tuning._sweep import StageStatistics, prefix_probabilities, stage_statistics

# A scorer that is not a sum over rows is applied to this many points of the Pareto front.
_N_SCORED_POINTS = 64


class TuningResult(NamedTuple):
    """What tuning chose, with its score and cost: on the tuning rows, and cross-fitted.

    On the rows that chose the thresholds score and cost are optimistic. The cross-fitted ones
    come from each fold with what the other folds choose. `target_score` is the score to reach: the
    best of any stage alone and of the cascade without early exits.
    """

    combine: str  # "mean", "last" or "most_confident"
    thresholds: tuple[float, ...]  # one per stage but the last
    score: float
    cost: float
    cross_fitted_score: float
    cross_fitted_cost: float
    target_score: float

    @property
    def reaches_target(self) -> bool:
        """Whether the score to reach was reached."""
        return self.score >= self.target_score - TOLERANCE


def tune_cascade(
    proba: Sequence[np.ndarray],
    y: np.ndarray,
    costs: np.ndarray,
    *,
    classes: np.ndarray,
    combine: str,
    confidence: str | Callable | Mapping[str, np.ndarray],
    weights: Sequence[float],
    scoring: str | Callable,
    sample_weight: np.ndarray,
    fold: np.ndarray,
    sample: np.ndarray | None = None,
    class_shares: np.ndarray | None = None,
) -> TuningResult:
    """Choose the cheapest thresholds that lose nothing on held-out rows.

    "Nothing" is measured against the best of any stage alone and of no early exit, so that the
    cascade does no harm there. `proba` has one array (n_samples, n_classes) per stage, at least
    two, in running order; `y` holds the column of each true class, `classes` the label of each
    column, `costs` and `weights` one number per stage. Rows of `sample_weight` zero are left out.

    `combine` is a combination or "auto", the best of them. `confidence` is a name or a function,
    computed here. Of a learned confidence it holds the held-out values instead, one array per
    combination: row k is the confidence after stage k (n_stages - 1, n_samples), or with
    "most_confident" that of stage k by itself (n_stages, n_samples); "auto" tries "most_confident"
    only then. `fold` (n_samples,) serves the cross-fitted estimate; where folds
    overlap, `sample` tells which sample each row is, and none is scored by a choice it had a
    part in. `class_shares` is as in `stage_statistics`.
    """
    sample = np.arange(len(y)) if sample is None else sample
    counted = sample_weight > 0
    if not counted.all():
        proba = [stage[counted] for stage in proba]
        if isinstance(confidence, Mapping):
            confidence = {name: known[:, counted] for name, known in confidence.items()}
        y, sample_weight = y[counted], sample_weight[counted]
        fold, sample = fold[counted], sample[counted]
    selector = _make_selector(
        HeldOutData(proba, y, classes, sample_weight, class_shares),
        costs,
        combine=combine,
        confidence=confidence,
        weights=weights,
        scoring=scoring,
    )
    combination, point, target = selector.choose(np.arange(len(y)))
    cross_fitted_score, cross_fitted_cost = _cross_fit(selector, fold, sample)
    return TuningResult(
        combination,
        point.thresholds,
        # Sums of shares miss round figures by the last bits.
        round(point.score, 12),
        point.cost,
        round(cross_fitted_score, 12),
        cross_fitted_cost,
        target,
    )


def combinations_to_try(combine: str, *, comparable: bool) -> tuple[str, ...]:
    """Return the combinations to choose from.

    "most_confident" is among them only where confidences of different stages are `comparable`, as
    learned ones are.
    """
    if combine != "auto":
        return (combine,)
    return COMBINATIONS if comparable else ("mean", "last")


def _cross_fit(
    selector: CombinationSelector, fold: np.ndarray, sample: np.ndarray
) -> tuple[float, float]:
    """Choose on all folds but one, apply that to the one, and pool score and cost of all folds."""
    stage = np.empty(len(fold), dtype=int)
    combination = np.empty(len(fold), dtype=object)
    for rows, others in training_rows(fold, sample):
        if not len(others):
            return float("nan"), float("nan")
        chosen, point, _ = selector.choose(others)
        stage[rows] = selector.statistics[chosen].take(rows).exit_stages(point.thresholds)
        combination[rows] = chosen
    statistics = next(iter(selector.statistics.values()))
    cost = cumulative_costs(statistics.costs)[stage] @ statistics.sample_weight
    return selector.pooled_score(combination, stage), float(cost)


class HeldOutData(NamedTuple):
    """Held-out rows of positive weight, and the probabilities of the stages for them."""

    proba: Sequence[np.ndarray]  # for each stage in running order, (n_samples, n_classes)
    y: np.ndarray  # (n_samples,), int: column of the true class
    classes: np.ndarray  # (n_classes,)
    sample_weight: np.ndarray  # (n_samples,)
    class_shares: np.ndarray | None  # (n_classes,); None: no abstentions

    def alone(self) -> list[np.ndarray]:
        """Return the probabilities of each stage alone; earlier ones stand in where it abstains."""
        if self.class_shares is None:
            return list(self.proba)
        return self.combined("last", [1.0] * len(self.proba))

    def combined(
        self, combination: str, weights: Sequence[float], confidence: Any = None
    ) -> list[np.ndarray]:
        """Return the combined probabilities after each stage."""
        prefixes = prefix_probabilities(
            self.proba, combination, weights, self.class_shares is not None, confidence
        )
        return [fill_abstained(proba, self.class_shares) for proba in prefixes]


class CombinationSelector(ABC):
    """Chooses a combination and its thresholds on any of the rows."""

    statistics: dict[str, StageStatistics]  # by combination

    @abstractmethod
    def target_score(self, rows: np.ndarray) -> float:
        """Return the best score of any stage alone and of no early exit."""

    @abstractmethod
    def points(self, combination: str, rows: np.ndarray, target: float) -> list[ThresholdPoint]:
        """Return the points of one combination worth comparing."""

    @abstractmethod
    def pooled_score(self, combination: np.ndarray, stage: np.ndarray) -> float:
        """Return the score of all rows, each with a combination and an exit stage of its own."""

    def choose(self, rows: np.ndarray) -> tuple[str, ThresholdPoint, float]:
        """Return the best combination, its best point, and the target."""
        target = self.target_score(rows)
        found = [
            (point.rank(target), -position, combination, point)
            for position, combination in enumerate(self.statistics)
            for point in self.points(combination, rows, target)
        ]
        _, _, combination, point = max(found, key=lambda entry: entry[:2])
        return combination, point, target


def _make_selector(
    data: HeldOutData,
    costs: np.ndarray,
    *,
    combine: str,
    confidence: str | Callable | Mapping[str, np.ndarray],
    weights: Sequence[float],
    scoring: str | Callable,
) -> CombinationSelector:
    """Return the selector for a scoring, over one combination or, with "auto", several."""
    known = confidence if isinstance(confidence, Mapping) else None
    confidences: dict[str, Any] = {
        combination: confidence if known is None else known[combination]
        for combination in combinations_to_try(combine, comparable=known is not None)
    }
    additive = scoring if isinstance(scoring, str) and is_additive(scoring) else None
    statistics = {
        combination: stage_statistics(
            data.proba,
            data.y,
            costs,
            combine=combination,
            confidence=confidences[combination],
            weights=weights,
            scoring=additive or "accuracy",
            sample_weight=data.sample_weight,
            class_shares=data.class_shares,
        )
        for combination in confidences
    }
    if additive:
        return _AdditiveSelector(statistics, data, additive)
    combined = {name: data.combined(name, weights, confidences[name]) for name in confidences}
    return _ScorerSelector(statistics, data, combined, scoring)


class _AdditiveSelector(CombinationSelector):
    """For scores that are sums over rows, which are swept exactly."""

    def __init__(
        self, statistics: dict[str, StageStatistics], data: HeldOutData, scoring: str
    ) -> None:
        self.statistics = statistics
        # (n_stages, n_samples)
        self.alone = np.stack(
            [
                score_contributions(scoring, proba, data.y, data.sample_weight)
                for proba in data.alone()
            ]
        )

    def target_score(self, rows: np.ndarray) -> float:
        full = [statistics.contribution[-1, rows].sum() for statistics in self.statistics.values()]
        return float(max(*full, *self.alone[:, rows].sum(axis=1)))

    def points(self, combination: str, rows: np.ndarray, target: float) -> list[ThresholdPoint]:
        return [cheapest_point(self.statistics[combination].take(rows), target)]

    def pooled_score(self, combination: np.ndarray, stage: np.ndarray) -> float:
        rows = np.arange(len(stage))
        added = {name: s.contribution[stage, rows] for name, s in self.statistics.items()}
        return float(sum(part[combination == name].sum() for name, part in added.items()))


class _ScorerSelector(CombinationSelector):
    """For any other scorer: applied to points of the Pareto front, and to all rows at one stage.

    `combined` holds, by combination, the probabilities after each stage (n_samples, n_classes).
    """

    def __init__(
        self,
        statistics: dict[str, StageStatistics],
        data: HeldOutData,
        combined: dict[str, list[np.ndarray]],
        scoring: str | Callable,
    ) -> None:
        self.statistics = statistics
        self.data = data
        self.combined = combined
        self.scoring = scoring
        self.alone = data.alone()

    def target_score(self, rows: np.ndarray) -> float:
        full = [prefixes[-1] for prefixes in self.combined.values()]
        return max(self._score(proba[rows], rows) for proba in (*full, *self.alone))

    def points(self, combination: str, rows: np.ndarray, target: float) -> list[ThresholdPoint]:
        statistics = self.statistics[combination].take(rows)
        vectors = [point.thresholds for point in pareto_points(statistics, _N_SCORED_POINTS)]
        by_cost = [(statistics.evaluate(v)[1], v) for v in {*vectors, *single_exits(statistics)}]
        points = []
        for cost, thresholds in sorted(by_cost):
            proba = self._at_exit(combination, statistics.exit_stages(thresholds), rows)
            points.append(ThresholdPoint(thresholds, self._score(proba, rows), cost))
            # More expensive points cannot be better.
            if points[-1].score >= target - TOLERANCE:
                break
        return points

    def pooled_score(self, combination: np.ndarray, stage: np.ndarray) -> float:
        rows = np.arange(len(stage))
        proba = np.empty_like(self.alone[0])
        for name in self.combined:
            chosen = combination == name
            proba[chosen] = self._at_exit(name, stage, rows)[chosen]
        return self._score(proba, rows)

    def _at_exit(self, combination: str, stage: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the combined probabilities of each row at its exit stage."""
        proba = self.combined[combination][0][rows]
        for k, prefix in enumerate(self.combined[combination]):
            proba[stage == k] = prefix[rows[stage == k]]
        return proba

    def _score(self, proba: np.ndarray, rows: np.ndarray) -> float:
        """Apply the scorer to some of the rows."""
        classes, weight = self.data.classes, self.data.sample_weight
        # Not every scorer takes weights, and equal ones change nothing.
        used_weight = weight[rows] if np.ptp(weight) else None
        return score_probabilities(
            self.scoring, proba, classes[self.data.y[rows]], classes, used_weight
        )
