"""From held-out probabilities of one ladder to its combination and thresholds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import (
    COMBINATIONS,
    cumulative_costs,
    fill_abstained,
    is_additive,
    row_gains,
    score_answers,
)
from sklearn_cascade.tuning._operating_points import (
    TOLERANCE,
    OperatingPoint,
    cheapest_point,
    front_points,
    single_exits,
)
from sklearn_cascade.tuning._sweep import StageStatistics, prefix_answers, stage_statistics

# A scorer that is no sum over rows is applied to this many points of the accuracy front.
_N_SCORED_POINTS = 64


class TuningResult(NamedTuple):
    """What tuning chose, and what it is worth.

    Attributes
    ----------
    combine : str
        "mean", "last" or "most_confident".
    thresholds : tuple of float
        One per stage but the last.
    score, cost : float
        On the rows that chose them, hence optimistic.
    cross_fitted_score, cross_fitted_cost : float
        Cross-fitted: chosen on all folds but one, taken on that one.
    floor : float
        The score that was to be reached: the best of any stage alone and no early exit.
    """

    combine: str
    thresholds: tuple[float, ...]
    score: float
    cost: float
    cross_fitted_score: float
    cross_fitted_cost: float
    floor: float

    @property
    def reaches_floor(self) -> bool:
        """Tell whether the score to be reached was reached."""
        return self.score >= self.floor - TOLERANCE


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

    "Nothing" is measured against the best of any stage alone and no early exit, so that the
    cascade does no harm there.

    Parameters
    ----------
    proba : sequence of ndarray of shape (n_samples, n_classes)
        Held-out probabilities of each stage, in running order; at least two.
    y : ndarray of int of shape (n_samples,)
        Column of the true class.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    classes : ndarray of shape (n_classes,)
        Label of each column.
    combine : {"auto", "mean", "last", "most_confident"}
        "auto" takes the best of them, "most_confident" among them only where confidences are known.
    confidence : str, callable or mapping from combination to ndarray
        As in `CascadeClassifier`, or what is known of each row after each stage but the last, of
        shape (n_stages - 1, n_samples); for "most_confident", of each stage by itself.
    weights, scoring
        As in `CascadeClassifier`; weights as one number per stage.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows; rows of weight zero are left out.
    fold : ndarray of int of shape (n_samples,)
        Fold of each row, for the cross-fitted estimate.
    sample : ndarray of int of shape (n_samples,), default=None
        Which sample each row is, where folds overlap: none is scored by a choice it had a part in.
    class_shares : ndarray of shape (n_classes,), default=None
        Answer where every stage abstains; given, abstentions are looked for.

    Returns
    -------
    tuned : TuningResult
    """
    sample = np.arange(len(y)) if sample is None else sample
    counted = sample_weight > 0
    if not counted.all():
        proba = [stage[counted] for stage in proba]
        if isinstance(confidence, Mapping):
            confidence = {way: sure[:, counted] for way, sure in confidence.items()}
        y, sample_weight = y[counted], sample_weight[counted]
        fold, sample = fold[counted], sample[counted]
    evidence = HeldOutData(proba, y, classes, sample_weight, class_shares)
    contest = open_contest(
        evidence,
        costs,
        combine=combine,
        confidence=confidence,
        weights=weights,
        scoring=scoring,
    )
    way, point, floor = contest.choose(np.arange(len(y)))
    cross_fitted_score, cross_fitted_cost = _cross_fit(contest, fold, sample)
    # Sums of shares miss round figures by the last bits.
    score, cross_fitted_score = round(point.score, 12), round(cross_fitted_score, 12)
    return TuningResult(
        way, point.thresholds, score, point.cost, cross_fitted_score, cross_fitted_cost, floor
    )


def _cross_fit(
    contest: CombinationSelector, fold: np.ndarray, sample: np.ndarray
) -> tuple[float, float]:
    """Choose on all folds but one, and take score and cost of the rows of that one, pooled."""
    stage = np.empty(len(fold), dtype=int)
    way = np.empty(len(fold), dtype=object)
    for held_out in np.unique(fold):
        rows = np.flatnonzero(fold == held_out)
        others = np.flatnonzero((fold != held_out) & ~np.isin(sample, sample[rows]))
        if not len(others):
            return float("nan"), float("nan")
        chosen, point, _ = contest.choose(others)
        stage[rows] = contest.ladders[chosen].take(rows).exit_stages(point.thresholds)
        way[rows] = chosen
    ladder = next(iter(contest.ladders.values()))
    cost = cumulative_costs(ladder.costs)[stage] @ ladder.sample_weight
    return contest.pooled_score(way, stage), float(cost)


class HeldOutData(NamedTuple):
    """Held-out rows as the stages saw them.

    Attributes
    ----------
    proba : sequence of ndarray of shape (n_samples, n_classes)
        Probabilities of each stage, in running order.
    y : ndarray of int of shape (n_samples,)
        Column of the true class.
    classes : ndarray of shape (n_classes,)
        Label of each column.
    sample_weight : ndarray of shape (n_samples,)
        Positive weights of the rows.
    class_shares : ndarray of shape (n_classes,) or None
        Answer where every stage abstains; given, abstentions are looked for.
    """

    proba: Sequence[np.ndarray]
    y: np.ndarray
    classes: np.ndarray
    sample_weight: np.ndarray
    class_shares: np.ndarray | None

    def alone(self) -> list[np.ndarray]:
        """Return the answers of each stage alone; earlier ones stand in where it abstains."""
        if self.class_shares is None:
            return list(self.proba)
        return self.together("last", [1.0] * len(self.proba))

    def together(self, way: str, weights: Sequence[float], confidence=None) -> list[np.ndarray]:
        """Return the answers after each stage; the surest stage is told by the confidence."""
        answers = prefix_answers(
            self.proba, way, weights, self.class_shares is not None, confidence
        )
        return [fill_abstained(answer, self.class_shares) for answer in answers]


class CombinationSelector(ABC):
    """The combinations of one ladder, competing on some of the rows."""

    ladders: dict[str, StageStatistics]

    @abstractmethod
    def floor(self, rows: np.ndarray) -> float:
        """Return the best score of any stage alone and of no early exit."""

    @abstractmethod
    def points(self, way: str, rows: np.ndarray, floor: float) -> list[OperatingPoint]:
        """Return the points of one combination worth comparing."""

    @abstractmethod
    def pooled_score(self, way: np.ndarray, stage: np.ndarray) -> float:
        """Return the score of all rows, each answered by a combination and a stage of its own."""

    def choose(self, rows: np.ndarray) -> tuple[str, OperatingPoint, float]:
        """Return the best combination, its best point, and the floor."""
        floor = self.floor(rows)
        found = [
            (point.rank(floor), -place, way, point)
            for place, way in enumerate(self.ladders)
            for point in self.points(way, rows, floor)
        ]
        _, _, way, point = max(found, key=lambda entry: entry[:2])
        return way, point, floor


def open_contest(
    evidence: HeldOutData,
    costs: np.ndarray,
    *,
    combine: str,
    confidence: str | Callable | Mapping[str, np.ndarray],
    weights: Sequence[float],
    scoring: str | Callable,
) -> CombinationSelector:
    """Return the contest of one combination, or of several where it is "auto".

    Confidences that are known already are given by combination.
    """
    additive = is_additive(scoring)
    known = isinstance(confidence, Mapping)
    sure = {
        way: confidence[way] if known else confidence
        for way in combinations_to_try(combine, comparable=known)
    }
    ladders = {
        way: stage_statistics(
            evidence.proba,
            evidence.y,
            costs,
            combine=way,
            confidence=sure[way],
            weights=weights,
            scoring=scoring if additive else "accuracy",
            sample_weight=evidence.sample_weight,
            class_shares=evidence.class_shares,
        )
        for way in sure
    }
    if additive:
        return _SumContest(ladders, evidence, scoring)
    answers = {way: evidence.together(way, weights, sure[way]) for way in sure}
    return _ScorerContest(ladders, evidence, answers, scoring)


def combinations_to_try(combine: str, *, comparable: bool) -> tuple[str, ...]:
    """Return the combinations that compete.

    The surest stage among them only where confidences of different stages are `comparable`, as
    learned ones are.
    """
    if combine != "auto":
        return (combine,)
    return COMBINATIONS if comparable else ("mean", "last")


class _SumContest(CombinationSelector):
    """Scores that are sums over rows: swept exactly."""

    def __init__(
        self, ladders: dict[str, StageStatistics], evidence: HeldOutData, scoring: str
    ) -> None:
        self.ladders = ladders
        # (n_stages, n_samples)
        self.alone = np.stack(
            [
                row_gains(scoring, answer, evidence.y, evidence.sample_weight)
                for answer in evidence.alone()
            ]
        )

    def floor(self, rows):
        full = [ladder.gain[-1, rows].sum() for ladder in self.ladders.values()]
        return float(max(*full, *self.alone[:, rows].sum(axis=1)))

    def points(self, way, rows, floor):
        return [cheapest_point(self.ladders[way].take(rows), floor)]

    def pooled_score(self, way, stage):
        rows = np.arange(len(stage))
        gains = {name: ladder.gain[stage, rows] for name, ladder in self.ladders.items()}
        return float(sum(gain[way == name].sum() for name, gain in gains.items()))


class _ScorerContest(CombinationSelector):
    """Any other scorer: applied to the points of the accuracy front, and to each stage for all."""

    def __init__(self, ladders, evidence: HeldOutData, answers, scoring: str | Callable) -> None:
        self.ladders = ladders
        self.evidence = evidence
        self.scoring = scoring
        self.alone = evidence.alone()
        self.answers = answers

    def floor(self, rows):
        full = [answers[-1] for answers in self.answers.values()]
        return max(self._score(proba[rows], rows) for proba in (*full, *self.alone))

    def points(self, way, rows, floor):
        ladder = self.ladders[way].take(rows)
        vectors = [point.thresholds for point in front_points(ladder, _N_SCORED_POINTS)]
        by_cost = [(ladder.evaluate(v)[1], v) for v in {*vectors, *single_exits(ladder)}]
        points = []
        for cost, thresholds in sorted(by_cost):
            proba = self._answer(way, ladder.exit_stages(thresholds), rows)
            points.append(OperatingPoint(thresholds, self._score(proba, rows), cost))
            # Dearer ones cannot be better.
            if points[-1].score >= floor - TOLERANCE:
                break
        return points

    def pooled_score(self, way, stage):
        rows = np.arange(len(stage))
        proba = np.empty_like(self.alone[0])
        for name in self.answers:
            proba[way == name] = self._answer(name, stage, rows)[way == name]
        return self._score(proba, rows)

    def _answer(self, way: str, stage: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the answer of each row at its exit stage."""
        proba = self.answers[way][0][rows]
        for k, answer in enumerate(self.answers[way]):
            proba[stage == k] = answer[rows[stage == k]]
        return proba

    def _score(self, proba: np.ndarray, rows: np.ndarray) -> float:
        """Apply the scorer to some of the rows."""
        classes, weight = self.evidence.classes, self.evidence.sample_weight[rows]
        truth = classes[self.evidence.y[rows]]
        # Not every scorer takes weights; equal ones say nothing.
        weight = weight if np.ptp(self.evidence.sample_weight) else None
        return score_answers(self.scoring, proba, truth, classes, weight)
