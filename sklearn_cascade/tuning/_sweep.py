"""Every threshold vector of one ladder at once.

For thresholds indexed j_1, ..., j_k the rows that go past stage k, and what they gain by it, are
k-dimensional histograms with a cumulative sum along every axis; score and mean cost of all vectors
follow by broadcasting. The work is one pass over the rows for each stage, whatever the number
of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import (
    ProbaCombiner,
    cumulative_costs,
    effective_threshold,
    exit_stages,
    fill_abstained,
    row_shares,
    row_values,
)

# Probabilities looked at in one go.
_BLOCK_SIZE = 2**16


class SweepResult(NamedTuple):
    """What every combination of thresholds of one ladder reaches.

    Attributes
    ----------
    score, cost : ndarray of shape (n_levels[0], ..., n_levels[-1])
        Sum of the gains, and mean cost of a row.
    reached : list of ndarray
        Share of the rows that go past each stage; entry k has the first k + 1 axes. Stages with
        a single level have no axis.
    """

    score: np.ndarray
    cost: np.ndarray
    reached: list[np.ndarray]


class ThresholdHistogram:
    """Histograms of the rows over the thresholds they pass, which rows are added to in parts.

    Rows enter before the first stage, and after each stage but the last some of them are
    deferred.

    Parameters
    ----------
    value_scale, row_scale : float, default=1.0
        What all values, and all counts of rows, are multiplied by in the end: sums of whole
        numbers stay exact until then.

    Attributes
    ----------
    rows : slice or ndarray of int
        Those of the rows that entered last which some vector defers so far.
    """

    def __init__(self, value_scale: float = 1.0, row_scale: float = 1.0) -> None:
        self._scales = (value_scale, row_scale)
        self._first = 0.0
        self._total = 0.0
        self._n_levels: list[int] = []
        self._moved: list[np.ndarray] = []
        self._reached: list[np.ndarray] = []

    def add_rows(
        self,
        values: Sequence[np.ndarray],
        value_weight: np.ndarray | None = None,
        row_weight: np.ndarray | None = None,
    ) -> None:
        """Let some rows in.

        Parameters
        ----------
        values : sequence of ndarray of shape (n_samples,)
            For each stage, what a row is worth when answered there.
        value_weight, row_weight : ndarray of shape (n_samples,) or None
            Weights of the rows in the score and in the cost; None: one each.
        """
        n_samples = len(values[0])
        self._values, self._weights = values, (value_weight, row_weight)
        self._first += values[0].sum() if value_weight is None else values[0] @ value_weight
        self._total += n_samples if row_weight is None else row_weight.sum()
        self._stage = 0
        self._cell = np.zeros(n_samples, dtype=np.intp)
        self.rows: slice | np.ndarray = slice(None)

    def add_stage(self, n_levels: int, passed: np.ndarray) -> None:
        """Go on to the next stage.

        Parameters
        ----------
        n_levels : int
            Number of thresholds tried.
        passed : ndarray of int of shape (n_rows,)
            How many of them, ascending, each of `rows` would exit at. Rows that exit at all of
            them are done with.
        """
        stay = passed < n_levels
        if not stay.all():
            kept = np.flatnonzero(stay)
            self.rows = kept if isinstance(self.rows, slice) else self.rows[kept]
            self._cell, passed = self._cell[kept], passed[kept]
        self._cell = self._cell * n_levels + passed
        k, rows, (value_weight, row_weight) = self._stage, self.rows, self._weights
        step = self._values[k + 1][rows] - self._values[k][rows]
        if value_weight is not None:
            step = step * value_weight[rows]
        share = None if row_weight is None else row_weight[rows]
        if k == len(self._n_levels):
            self._n_levels.append(n_levels)
        self._stage, size = k + 1, int(np.prod(self._n_levels[: k + 1]))
        _accumulate(self._moved, k, np.bincount(self._cell, step, minlength=size))
        _accumulate(self._reached, k, np.bincount(self._cell, share, minlength=size))

    def clear(self) -> None:
        """Let go of the rows that entered last; their sums stay."""
        del self._values, self._weights, self._cell, self.rows

    def result(self, costs: np.ndarray) -> SweepResult:
        """Return score and mean cost of every combination, from the cost of each stage."""
        value_scale, row_scale = self._scales
        score = np.asarray(self._first)
        cost = np.asarray(costs[0] * self._total * row_scale)
        shape: tuple[int, ...] = ()
        reached = []
        for k, n_levels in enumerate(self._n_levels):
            if n_levels > 1:
                # Arrays have a few dozen axes at most, so one that says nothing gets none.
                shape = (*shape, n_levels)
                score, cost = score[..., None], cost[..., None]
            score = score + _cumulate(self._moved[k].reshape(shape))
            reached.append(_cumulate(self._reached[k].reshape(shape)) * row_scale)
            cost = cost + costs[k + 1] * reached[k]
        return SweepResult(score * value_scale, cost, reached)


def count_passed(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return how many of the ascending thresholds each row would exit at; NaN exits at none."""
    passed = np.searchsorted(effective_threshold(thresholds), confidence, side="right")
    passed[np.isnan(confidence)] = 0
    return passed


def sweep_thresholds(
    ladder: StageStatistics, candidates: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of every combination of candidate thresholds.

    Parameters
    ----------
    ladder : StageStatistics
        Held-out confidences and gains, with ``n_stages`` stages.
    candidates : sequence of ndarray, one per stage but the last
        Thresholds to try, ascending; infinities are allowed at the ends.

    Returns
    -------
    score : ndarray of shape (len(candidates[0]), ..., len(candidates[-1]))
        Sum of the gains.
    cost : ndarray of the same shape
        Mean cost of a row, over the rows' shares.
    """
    shape = [len(thresholds) for thresholds in candidates]
    score, cost = sweep_flat(ladder, candidates)
    return score.reshape(shape), cost.reshape(shape)


def sweep_flat(
    ladder: StageStatistics, candidates: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as flat arrays, for any number of stages."""
    sums = ThresholdHistogram()
    sums.add_rows(ladder.gain, row_weight=ladder.sample_weight)
    for sure, thresholds in zip(ladder.confidence, candidates, strict=True):
        sums.add_stage(len(thresholds), count_passed(sure[sums.rows], thresholds))
    swept = sums.result(ladder.costs)
    return np.ravel(swept.score), np.ravel(swept.cost)


def _accumulate(sums: list[np.ndarray], k: int, part: np.ndarray) -> None:
    """Add a part to entry k, which it becomes if it is the first."""
    if k == len(sums):
        sums.append(part)
    else:
        sums[k] += part


def _cumulate(histogram: np.ndarray) -> np.ndarray:
    """Return, for every index vector, the sum of the cells that are nowhere beyond it."""
    for axis in range(histogram.ndim):
        np.cumsum(histogram, axis=axis, out=histogram)
    return histogram


class StageStatistics(NamedTuple):
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

    def take(self, rows: np.ndarray) -> StageStatistics:
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


def stage_statistics(
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
) -> StageStatistics:
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
    ladder : StageStatistics
    """
    n_stages, n_samples, n_classes = len(proba), len(y), proba[0].shape[1]
    sure = np.empty((n_stages - 1, n_samples))
    gain = np.empty((n_stages, n_samples))
    # In blocks, so that running sums stay in cache and nothing of the size of `proba` is made.
    step = max(1, _BLOCK_SIZE // n_classes)
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        running = ProbaCombiner(combine, allow_abstain=class_shares is not None)
        judged = confidences_of(confidence, n_stages, rows)
        for k in range(n_stages):
            answer = running.add(proba[k][rows], weights[k], judged[k])
            if k < n_stages - 1:
                sure[k, rows] = running.confidence(judged[k])
            gain[k, rows] = row_values(scoring, fill_abstained(answer, class_shares), y[rows])
    gain *= row_shares(scoring, y, sample_weight)
    share = sample_weight / sample_weight.sum()
    return StageStatistics(sure, gain, np.asarray(costs, dtype=np.float64), share)


def prefix_answers(proba, combine, weights, allow_abstain, confidence=None):
    """Yield the answer after each stage, over all rows."""
    running = ProbaCombiner(combine, allow_abstain=allow_abstain)
    judged = confidences_of(confidence, len(proba))
    for stage_proba, weight, sure in zip(proba, weights, judged, strict=True):
        yield running.add(stage_proba, weight, sure)


def confidences_of(confidence, n_stages: int, rows: slice = slice(None)) -> list:
    """Return the confidence of each stage: one for all, or what is known of some rows."""
    if not isinstance(confidence, np.ndarray):
        return [confidence] * n_stages
    known = [sure[rows] for sure in confidence]
    return known + [None] * (n_stages - len(known))
