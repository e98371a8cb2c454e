"""Confidence and gain after each stage of one ladder: all that its thresholds depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import (
    RunningAnswer,
    cumulative_costs,
    exit_stages,
    fill_abstained,
    row_shares,
    row_values,
)

# Probabilities looked at in one go.
_BLOCK_SIZE = 2**16


class Ladder(NamedTuple):
    """Stages in running order, seen from held-out rows.

    Attributes
    ----------
    confidence : ndarray of shape (n_stages - 1, n_samples)
        Confidence of the answer after each stage but the last.
    gain : ndarray of shape (n_stages, n_samples)
        What a row adds to the score when answered after each stage; the score is the sum.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the rows; their sum is one.
    """

    confidence: np.ndarray
    gain: np.ndarray
    costs: np.ndarray
    sample_weight: np.ndarray

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return len(self.costs)

    def take(self, rows: np.ndarray) -> Ladder:
        """Return the ladder seen from some of the rows; their shares stay as they were."""
        return self._replace(
            confidence=self.confidence[:, rows],
            gain=self.gain[:, rows],
            sample_weight=self.sample_weight[rows],
        )

    def exit_stages(self, thresholds: Sequence[float]) -> np.ndarray:
        """Return the stage that answers each row: shape (n_samples,)."""
        if self.n_stages == 1:
            return np.zeros(self.gain.shape[1], dtype=int)
        return exit_stages(self.confidence, thresholds)

    def evaluate(self, thresholds: Sequence[float]) -> tuple[float, float]:
        """Return the score and the mean cost at one vector of thresholds, row by row."""
        stage = self.exit_stages(thresholds)
        gain = self.gain[stage, np.arange(len(stage))].sum()
        return float(gain), float(cumulative_costs(self.costs)[stage] @ self.sample_weight)


def build_ladder(
    proba: Sequence[np.ndarray],
    y: np.ndarray,
    costs: np.ndarray,
    *,
    combine: str,
    confidence: str | Callable | np.ndarray,
    weights: Sequence[float],
    scoring: str,
    sample_weight: np.ndarray,
    class_shares: np.ndarray | None = None,
) -> Ladder:
    """Combine held-out probabilities stage by stage.

    Parameters
    ----------
    proba : sequence of ndarray of shape (n_samples, n_classes)
        Held-out probabilities of each stage, in running order.
    y : ndarray of int of shape (n_samples,)
        Column of the true class.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    combine : {"mean", "last", "most_confident"}
        How the stages run so far are combined.
    confidence : str, callable or ndarray of shape (n_judged, n_samples)
        As in `CascadeClassifier`, or what is known of each row after each stage but the last;
        for "most_confident", of each stage by itself.
    weights : sequence of float
        Weight of each stage in the mean.
    scoring : str
        One of the scorings that are sums over rows.
    sample_weight : ndarray of shape (n_samples,)
        Positive weights of the rows.
    class_shares : ndarray of shape (n_classes,), default=None
        Answer where every stage so far abstains; given, abstentions are looked for.

    Returns
    -------
    ladder : Ladder
    """
    n_stages, n_samples, n_classes = len(proba), len(y), proba[0].shape[1]
    sure = np.empty((n_stages - 1, n_samples))
    gain = np.empty((n_stages, n_samples))
    # In blocks, so that running sums stay in cache and nothing of the size of `proba` is made.
    step = max(1, _BLOCK_SIZE // n_classes)
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        running = RunningAnswer(combine, allow_abstain=class_shares is not None)
        judged = confidences_of(confidence, n_stages, rows)
        for k in range(n_stages):
            answer = running.add(proba[k][rows], weights[k], judged[k])
            if k < n_stages - 1:
                sure[k, rows] = running.how_sure(judged[k])
            gain[k, rows] = row_values(scoring, fill_abstained(answer, class_shares), y[rows])
    gain *= row_shares(scoring, y, sample_weight)
    share = sample_weight / sample_weight.sum()
    return Ladder(sure, gain, np.asarray(costs, dtype=np.float64), share)


def prefix_answers(proba, combine, weights, allow_abstain, confidence=None):
    """Yield the answer after each stage, over all rows."""
    running = RunningAnswer(combine, allow_abstain=allow_abstain)
    judged = confidences_of(confidence, len(proba))
    for stage_proba, weight, sure in zip(proba, weights, judged, strict=True):
        yield running.add(stage_proba, weight, sure)


def confidences_of(confidence, n_stages: int, rows: slice = slice(None)) -> list:
    """Return the confidence of each stage: one for all, or what is known of some rows."""
    if not isinstance(confidence, np.ndarray):
        return [confidence] * n_stages
    known = [sure[rows] for sure in confidence]
    return known + [None] * (n_stages - len(known))
