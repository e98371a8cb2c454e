"""Every threshold vector of one cascade at once.

For thresholds indexed j_1, ..., j_k the rows that go past stage k, and what they gain by it, are
k-dimensional histograms with a cumulative sum along every axis; score and mean cost of all vectors
follow by broadcasting. The work is one pass over the rows for each stage, whatever the number
of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.core._combination import ProbaCombiner, combine_stages, fill_abstained
from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.core._scoring import sample_scores, score_weights
from sklearn_cascade.core._thresholds import effective_threshold, exit_stages

# Probabilities processed at once.
_BLOCK_SIZE = 2**16


class StageStatistics(NamedTuple):
    """Confidence, score contribution and cost of the stages of one cascade on held-out rows."""

    confidence: np.ndarray  # (n_stages - 1, n_samples), after each stage but the last
    contribution: np.ndarray  # (n_stages, n_samples), added to the score by exit at each stage
    costs: np.ndarray  # (n_stages,), of one row in each stage
    sample_weight: np.ndarray  # (n_samples,), of all rows together one

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return len(self.costs)

    def take(self, rows: np.ndarray) -> StageStatistics:
        """Return the statistics of some of the rows; their weights stay as they are."""
        return self._replace(
            confidence=self.confidence[:, rows],
            contribution=self.contribution[:, rows],
            sample_weight=self.sample_weight[rows],
        )

    def exit_stages(self, thresholds: Sequence[float]) -> np.ndarray:
        """Return the stage at which each row exits: shape (n_samples,)."""
        if self.n_stages == 1:
            return np.zeros(self.contribution.shape[1], dtype=int)
        return exit_stages(self.confidence, thresholds)

    def evaluate(self, thresholds: Sequence[float]) -> tuple[float, float]:
        """Return the score and the mean cost at one vector of thresholds, row by row."""
        stage = self.exit_stages(thresholds)
        contribution = self.contribution[stage, np.arange(len(stage))].sum()
        return float(contribution), float(cumulative_costs(self.costs)[stage] @ self.sample_weight)


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

    `proba` has one array (n_samples, n_classes) per stage, in running order; `y` holds the column
    of each true class, `costs` and `weights` one number per stage, and `sample_weight` positive
    weights. `confidence` is the cascade's, or the confidences known of each row after each stage
    but the last (n_stages - 1, n_samples); with "most_confident" those of each stage by itself
    (n_stages, n_samples). `scoring` is a sum over rows. `class_shares` (n_classes,) takes the
    place of rows on which every stage so far abstains; if given, abstentions are looked for.
    """
    n_stages, n_samples, n_classes = len(proba), len(y), proba[0].shape[1]
    confidences = np.empty((n_stages - 1, n_samples))
    contribution = np.empty((n_stages, n_samples))
    # In blocks, so that sums stay in cache and nothing of the size of `proba` is allocated.
    step = max(1, _BLOCK_SIZE // n_classes)
    for start in range(0, n_samples, step):
        rows = slice(start, start + step)
        combined_stages = combine_stages(
            ProbaCombiner(combine, allow_abstain=class_shares is not None),
            (stage[rows] for stage in proba),
            _stage_rules(confidence, n_stages, rows),
            weights,
            n_gates=n_stages - 1,
        )
        for k, (combined, confidence_k) in enumerate(combined_stages):
            if confidence_k is not None:
                confidences[k, rows] = confidence_k
            filled = fill_abstained(combined, class_shares)
            contribution[k, rows] = sample_scores(scoring, filled, y[rows])
    contribution *= score_weights(scoring, y, sample_weight)
    share = sample_weight / sample_weight.sum()
    return StageStatistics(confidences, contribution, np.asarray(costs, dtype=np.float64), share)


def prefix_probabilities(
    proba: Sequence[np.ndarray],
    combine: str,
    weights: Sequence[float],
    allow_abstain: bool,
    confidence: Any = None,
) -> Iterator[np.ndarray]:
    """Yield the combined probabilities of all rows after each stage: (n_samples, n_classes)."""
    combiner = ProbaCombiner(combine, allow_abstain=allow_abstain)
    rules = _stage_rules(confidence, len(proba))
    for combined, _ in combine_stages(combiner, proba, rules, weights, n_gates=0):
        yield combined


def _stage_rules(confidence: Any, n_stages: int, rows: slice = slice(None)) -> list[Any]:
    """Return the confidence of each stage: the same for all, or what is known of some rows."""
    if not isinstance(confidence, np.ndarray):
        return [confidence] * n_stages
    known = [stage[rows] for stage in confidence]
    return known + [None] * (n_stages - len(known))


def sweep_flat(
    statistics: StageStatistics, candidates: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return score and mean cost of every combination of candidate thresholds, as flat arrays.

    `candidates` holds ascending thresholds for each stage but the last, with infinities allowed
    at the ends; the last of them changes fastest. For any number of stages.
    """
    histogram = ThresholdHistogram()
    histogram.add_rows(statistics.contribution, row_weight=statistics.sample_weight)
    for confidence, thresholds in zip(statistics.confidence, candidates, strict=True):
        n_passed = count_passed(confidence[histogram.rows], thresholds)
        histogram.add_stage(len(thresholds), n_passed)
    result = histogram.result(statistics.costs)
    return np.ravel(result.score), np.ravel(result.cost)


def count_passed(confidence: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return how many of the ascending thresholds each row would exit at; NaN exits at none."""
    passed = np.searchsorted(effective_threshold(thresholds), confidence, side="right")
    passed[np.isnan(confidence)] = 0
    return passed


class SweepResult(NamedTuple):
    """What every combination of thresholds achieves; stages with one threshold have no axis."""

    score: np.ndarray  # (n_levels[0], ..., n_levels[-1]), sum of the contributions
    cost: np.ndarray  # the same shape, mean of the rows
    reached: list[np.ndarray]  # share of rows past stage k, with the first k + 1 axes


class ThresholdHistogram:
    """Histograms of the rows over the thresholds they pass; rows may be added in parts.

    Add rows, then each stage but the last in turn. All scores are multiplied by `score_scale`,
    and all counts of rows by `row_scale`, in the end: sums of whole numbers stay exact until then.
    """

    # Of the rows added last, those that some threshold vector keeps from exiting so far.
    rows: slice | np.ndarray

    def __init__(self, score_scale: float = 1.0, row_scale: float = 1.0) -> None:
        self._scales = (score_scale, row_scale)
        self._first = 0.0
        self._total = 0.0
        self._n_levels: list[int] = []
        self._moved: list[np.ndarray] = []
        self._reached: list[np.ndarray] = []

    def add_rows(
        self,
        scores: Sequence[np.ndarray] | np.ndarray,
        score_weight: np.ndarray | None = None,
        row_weight: np.ndarray | None = None,
    ) -> None:
        """Add rows before the first stage.

        `scores` holds, for each stage, what a row is worth if it exits there (n_samples,). The
        weights (n_samples,), of rows in the score and in the cost, are one where None.
        """
        n_samples = len(scores[0])
        self._scores, self._weights = scores, (score_weight, row_weight)
        self._first += scores[0].sum() if score_weight is None else scores[0] @ score_weight
        self._total += n_samples if row_weight is None else row_weight.sum()
        self._stage = 0
        self._cell = np.zeros(n_samples, dtype=np.intp)
        self.rows = slice(None)

    def add_stage(self, n_levels: int, passed: np.ndarray) -> None:
        """Go on to the next stage, with `n_levels` thresholds.

        `passed` (n_rows,) is how many of them, ascending, each of `rows` would exit at. Rows that
        exit at all of them go no further.
        """
        stay = passed < n_levels
        if not stay.all():
            kept = np.flatnonzero(stay)
            self.rows = kept if isinstance(self.rows, slice) else self.rows[kept]
            self._cell, passed = self._cell[kept], passed[kept]
        self._cell = self._cell * n_levels + passed
        k, rows, (score_weight, row_weight) = self._stage, self.rows, self._weights
        step = self._scores[k + 1][rows] - self._scores[k][rows]
        if score_weight is not None:
            step = step * score_weight[rows]
        share = None if row_weight is None else row_weight[rows]
        if k == len(self._n_levels):
            self._n_levels.append(n_levels)
        self._stage, size = k + 1, int(np.prod(self._n_levels[: k + 1]))
        _accumulate(self._moved, k, np.bincount(self._cell, step, minlength=size))
        _accumulate(self._reached, k, np.bincount(self._cell, share, minlength=size))

    def clear(self) -> None:
        """Forget the rows added last; their sums stay."""
        del self._scores, self._weights, self._cell, self.rows

    def result(self, costs: np.ndarray) -> SweepResult:
        """Return score and mean cost of every combination, from the cost of each stage."""
        score_scale, row_scale = self._scales
        score = np.asarray(self._first)
        cost = np.asarray(costs[0] * self._total * row_scale)
        shape: tuple[int, ...] = ()
        reached = []
        for k, n_levels in enumerate(self._n_levels):
            if n_levels > 1:
                # An axis of length one would only count towards numpy's limit of axes.
                shape = (*shape, n_levels)
                score, cost = score[..., None], cost[..., None]
            score = score + _cumulate(self._moved[k].reshape(shape))
            reached.append(_cumulate(self._reached[k].reshape(shape)) * row_scale)
            cost = cost + costs[k + 1] * reached[k]
        return SweepResult(score * score_scale, cost, reached)


def _accumulate(sums: list[np.ndarray], k: int, part: np.ndarray) -> None:
    """Add a part to entry k, or append it as the first part of that entry."""
    if k == len(sums):
        sums.append(part)
    else:
        sums[k] += part


def _cumulate(histogram: np.ndarray) -> np.ndarray:
    """Return, for every index vector, the sum of the cells that are nowhere beyond it."""
    for axis in range(histogram.ndim):
        np.cumsum(histogram, axis=axis, out=histogram)
    return histogram
