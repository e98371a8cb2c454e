"""From held-out probabilities of one ladder to its combination and thresholds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import cumulative_costs, row_gains, score_answers
from sklearn_cascade.search._points import TOLERANCE, OperatingPoint, cheapest_point, front_points
from sklearn_cascade.search._prefixes import (
    Ladder,
    build_ladder,
    fill_abstained,
    is_additive,
    prefix_answers,
)

# A scorer that is no sum over rows is applied to this many points of the accuracy front.
_N_SCORED_POINTS = 64


class TunedLadder(NamedTuple):
    """What tuning chose, and what it is worth.

    Attributes
    ----------
    combine : str
        "mean" or "last".
    thresholds : tuple of float
        One per stage but the last.
    score, cost : float
        On the rows that chose them, hence optimistic.
    honest_score, honest_cost : float
        Cross-fitted: chosen on all folds but one, taken on that one.
    floor : float
        The score that was to be reached: the best of any stage alone and no early exit.
    """

    combine: str
    thresholds: tuple[float, ...]
    score: float
    cost: float
    honest_score: float
    honest_cost: float
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
    confidence: str | Callable,
    weights: Sequence[float],
    scoring: str | Callable,
    sample_weight: np.ndarray,
    fold: np.ndarray,
    class_shares: np.ndarray | None = None,
) -> TunedLadder:
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
    combine : {"auto", "mean", "last"}
        "auto" takes the better of the two.
    confidence, weights, scoring
        As in `CascadeClassifier`; weights as one number per stage.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows; rows of weight zero are left out.
    fold : ndarray of int of shape (n_samples,)
        Fold of each row, for the honest estimate.
    class_shares : ndarray of shape (n_classes,), default=None
        Answer where every stage abstains; given, abstentions are looked for.

    Returns
    -------
    tuned : TunedLadder
    """
    counted = sample_weight > 0
    if not counted.all():
        proba = [stage[counted] for stage in proba]
        y, sample_weight, fold = y[counted], sample_weight[counted], fold[counted]
    ways = ("mean", "last") if combine == "auto" else (combine,)
    additive = is_additive(scoring)
    ladders = {
        way: build_ladder(
            proba,
            y,
            costs,
            combine=way,
            confidence=confidence,
            weights=weights,
            scoring=scoring if additive else "accuracy",
            sample_weight=sample_weight,
            class_shares=class_shares,
        )
        for way in ways
    }
    if additive:
        alone = [
            row_gains(scoring, fill_abstained(stage, class_shares), y, sample_weight)
            for stage in proba
        ]
        contest: _Contest = _SumContest(ladders, np.stack(alone))
    else:
        answers = {
            way: [
                fill_abstained(answer, class_shares)
                for answer in prefix_answers(proba, way, weights, class_shares is not None)
            ]
            for way in ways
        }
        alone = [fill_abstained(stage, class_shares) for stage in proba]
        contest = _ScorerContest(ladders, answers, alone, scoring, classes, y, sample_weight)
    everything = np.arange(len(y))
    way, point, floor = contest.choose(everything)
    honest_score, honest_cost = _cross_fit(contest, fold)
    return TunedLadder(
        way, point.thresholds, point.score, point.cost, honest_score, honest_cost, floor
    )


def _cross_fit(contest: _Contest, fold: np.ndarray) -> tuple[float, float]:
    """Choose on all folds but one, and take score and cost of the rows of that one, pooled."""
    folds = np.unique(fold)
    if len(folds) < 2:
        return float("nan"), float("nan")
    stage = np.empty(len(fold), dtype=int)
    way = np.empty(len(fold), dtype=object)
    for held_out in folds:
        chosen, point, _ = contest.choose(np.flatnonzero(fold != held_out))
        rows = np.flatnonzero(fold == held_out)
        stage[rows] = contest.ladders[chosen].take(rows).exit_stages(point.thresholds)
        way[rows] = chosen
    ladder = next(iter(contest.ladders.values()))
    cost = cumulative_costs(ladder.costs)[stage] @ ladder.sample_weight
    return contest.pooled_score(way, stage), float(cost)


class _Contest(ABC):
    """The combinations of one ladder, competing on some of the rows."""

    ladders: dict[str, Ladder]

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


class _SumContest(_Contest):
    """Scores that are sums over rows: swept exactly."""

    def __init__(self, ladders: dict[str, Ladder], alone: np.ndarray) -> None:
        self.ladders = ladders
        self.alone = alone

    def floor(self, rows):
        full = [ladder.gain[-1, rows].sum() for ladder in self.ladders.values()]
        return float(max(*full, *self.alone[:, rows].sum(axis=1)))

    def points(self, way, rows, floor):
        return [cheapest_point(self.ladders[way].take(rows), floor)]

    def pooled_score(self, way, stage):
        rows = np.arange(len(stage))
        gains = {name: ladder.gain[stage, rows] for name, ladder in self.ladders.items()}
        return float(sum(gain[way == name].sum() for name, gain in gains.items()))


class _ScorerContest(_Contest):
    """Any other scorer: applied to the points of the accuracy front."""

    def __init__(self, ladders, answers, alone, scoring, classes, y, sample_weight) -> None:
        self.ladders = ladders
        self.answers = answers
        self.alone = alone
        self.scoring = scoring
        self.classes = classes
        self.y = y
        self.sample_weight = sample_weight
        self.weighted = bool(np.ptp(sample_weight))

    def floor(self, rows):
        full = [answers[-1] for answers in self.answers.values()]
        return max(self._score(proba[rows], rows) for proba in (*full, *self.alone))

    def points(self, way, rows, floor):
        ladder = self.ladders[way].take(rows)
        never = OperatingPoint((np.inf,) * (ladder.n_stages - 1), 0.0, 0.0)
        scored = []
        for point in [*front_points(ladder, _N_SCORED_POINTS), never]:
            proba = self._answer(way, ladder.exit_stages(point.thresholds), rows)
            _, cost = ladder.evaluate(point.thresholds)
            scored.append(OperatingPoint(point.thresholds, self._score(proba, rows), cost))
        return scored

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
        weight = self.sample_weight[rows] if self.weighted else None
        return score_answers(self.scoring, proba, self.classes[self.y[rows]], self.classes, weight)
