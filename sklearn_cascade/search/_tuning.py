"""From held-out probabilities of one ladder to its combination and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import cumulative_costs
from sklearn_cascade.search._contest import Contest, Evidence, open_contest
from sklearn_cascade.search._points import TOLERANCE


class TunedLadder(NamedTuple):
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
    tuned : TunedLadder
    """
    sample = np.arange(len(y)) if sample is None else sample
    counted = sample_weight > 0
    if not counted.all():
        proba = [stage[counted] for stage in proba]
        if isinstance(confidence, Mapping):
            confidence = {way: sure[:, counted] for way, sure in confidence.items()}
        y, sample_weight = y[counted], sample_weight[counted]
        fold, sample = fold[counted], sample[counted]
    evidence = Evidence(proba, y, classes, sample_weight, class_shares)
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
    return TunedLadder(
        way, point.thresholds, score, point.cost, cross_fitted_score, cross_fitted_cost, floor
    )


def _cross_fit(contest: Contest, fold: np.ndarray, sample: np.ndarray) -> tuple[float, float]:
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
