"""Lowering thresholds along a path while an exact test certifies the loss at each step.

The path is drawn on tuning rows (`threshold_path`) and tested on other rows, step by step, until
the first failure (`fixed_sequence_test`). Both look at `PairedOutcomes`: what exit after each
stage means for each row, compared with one or several references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from sklearn_cascade.certification._noninferiority import (
    binomial_cdf,
    binomial_upper_bound,
    certifies,
    min_binomial_samples,
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)
from sklearn_cascade.core._combination import fill_abstained
from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.core._thresholds import candidate_thresholds, exit_stages, exits
from sklearn_cascade.tuning._sweep import count_passed

# Power at which the required number of rows is projected.
_POWER = 0.8
# Threshold vectors that are tried.
_MAX_CANDIDATES = 20_000
# Thresholds per stage beside "always" and "never": where one stage may exit early, two, or more.
_PER_STAGE = {1: 40, 2: 20}
_PER_STAGE_OF_MANY = 16
# With fewer than this per stage, the same share of the rows that reach a stage exits at each.
_MIN_PER_STAGE = 3
_SHARES = np.linspace(0, 1, 61)
# Losses that an early exit of all rows counts for, so that candidates without a loss are ordered.
_EARLY_EXIT_PENALTY = 4.0


def threshold_path(outcomes: PairedOutcomes) -> list[tuple[float, ...]]:
    """Return the thresholds that best trade caution against cost, most expensive first.

    Each has one threshold per stage but the last. The caution of a candidate is
    ``max(regressions - corrections / 2, 0) + 4 * share of early exits``, against the worst of the
    references, on the tuning rows. The last term orders candidates that lose nothing, as most do
    on few rows: without it the path begins at the cheapest of these, where a test on other rows
    fails. It is no part of what is certified.
    """
    vectors, sums = _ThresholdTree(outcomes).leaves()
    worst = np.maximum(sums[:, 2:], 0).max(axis=1)
    # Rounded, as sums in another order miss each other by the last digits.
    caution = np.round(worst + _EARLY_EXIT_PENALTY * sums[:, 1] / outcomes.n_samples, 9)
    highest_cost = outcomes.n_samples * float(np.sum(outcomes.costs))
    cost = np.round(sums[:, 0] / (highest_cost or 1.0), 12)
    order = np.lexsort((cost, caution))
    cheapest = np.minimum.accumulate(cost[order])
    kept = order[np.append(True, cheapest[1:] < cheapest[:-1])]
    return [vectors[position] for position in kept]


def fixed_sequence_test(
    outcomes: PairedOutcomes,
    path: Sequence[tuple[float, ...]],
    *,
    risk: Risk,
    epsilon: float,
    delta: float,
) -> list[TestedThresholds]:
    """Test the path from its most expensive end, each step at the full `delta`, until one fails.

    Returns the steps that passed, and the one that failed, if any. Fixed-sequence testing
    (Angelopoulos et al., "Learn then Test", 2021): the path was fixed before these rows were
    looked at, so a false certificate needs the first step of the path that loses too much to
    pass, which has a probability of at most `delta`. With several references a step passes if it
    does against each (an intersection-union test).
    """
    n, steps = outcomes.n_samples, []
    for thresholds in path:
        regressions, corrections, cost = outcomes.evaluate(thresholds)
        lost, gained = tuple(regressions.tolist()), tuple(corrections.tolist())
        passed = all(
            risk.passes(i, j, n, epsilon, delta) for i, j in zip(lost, gained, strict=True)
        )
        steps.append(TestedThresholds(thresholds, lost, gained, cost, passed))
        if not passed:
            break
    return steps


class TestedThresholds(NamedTuple):
    """One step of the path, tested on the certification rows."""

    thresholds: tuple[float, ...]  # one per stage but the last
    regressions: tuple[int, ...]  # against each reference
    corrections: tuple[int, ...]
    mean_cost: float
    passed: bool


def worst_reference(
    step: TestedThresholds, risk: Risk, n: int, epsilon: float
) -> tuple[int, float]:
    """Return the reference with the largest p-value, and of equal ones the largest loss."""
    counts = zip(step.regressions, step.corrections, strict=True)
    pvalues = [risk.pvalue(i, j, n, epsilon) for i, j in counts]
    return max(
        enumerate(pvalues),
        key=lambda entry: (entry[1], step.regressions[entry[0]] - step.corrections[entry[0]]),
    )


def projected_samples(
    regressions: int, corrections: int, n: int, *, epsilon: float, delta: float, risk: Risk
) -> int | None:
    """Return about how many rows would certify these rates with probability 0.8; None: none.

    By the normal approximation, with one more row that differs.
    """
    loss = (regressions - corrections) / n
    if loss >= epsilon:
        return None
    spread = (regressions + corrections + 1) / n - loss * loss
    reach = norm.isf(delta) + norm.ppf(_POWER)
    # Rounded first, so that round figures are not missed by the last digits.
    rows = np.ceil(np.round(reach**2 * spread / (epsilon - loss) ** 2, 6))
    return max(risk.min_samples(epsilon, delta), int(rows))


def mean_cost_upper(reaching: Sequence[int], n: int, costs: Sequence[float], delta: float) -> float:
    """Return an upper confidence limit of the mean cost at fixed thresholds.

    The binomial limits of Clopper and Pearson (1934) for the share of the `n` rows `reaching`
    each stage but the first, which all rows reach, with `delta` divided among them. `reaching`
    and `costs` have one number per stage.
    """
    limits = [binomial_upper_bound(count, n, delta / (len(costs) - 1)) for count in reaching[1:]]
    return float(costs[0] + np.dot(costs[1:], limits))


class PairedOutcomes(NamedTuple):
    """What exit after each stage means for each row, compared with references."""

    confidence: np.ndarray  # (n_stages - 1, n_samples), after each stage but the last
    regressed: np.ndarray  # (n_references, n_stages, n_samples), bool: only the reference correct
    corrected: np.ndarray  # the same shape, bool: only the cascade correct
    costs: np.ndarray  # (n_stages,), of one row in each stage

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.regressed.shape[2]

    def exit_stages(self, thresholds: Sequence[float]) -> np.ndarray:
        """Return the stage at which each row exits: shape (n_samples,)."""
        return exit_stages(self.confidence, thresholds)

    def evaluate(self, thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
        """Return regressions and corrections, both (n_references,), and the mean cost."""
        stage, rows = self.exit_stages(thresholds), np.arange(self.n_samples)
        regressions, corrections = (
            part[:, stage, rows].sum(axis=1) for part in (self.regressed, self.corrected)
        )
        return regressions, corrections, float(cumulative_costs(self.costs)[stage].mean())


def pair_outcomes(
    predictions: StagePredictions,
    references: Sequence[int | None],
    costs: np.ndarray,
    *,
    labelled: bool,
) -> PairedOutcomes:
    """Compare predictions with those of one reference or several.

    A reference is the position of a member, or None for the cascade without early exit. `costs`
    has shape (n_stages,). With `labelled` a regression is a correct prediction given up; else it
    is any prediction other than the reference's, and nothing is a correction.
    """
    of_references = np.stack(
        [predictions.after[-1] if r is None else predictions.alone[r] for r in references]
    )[:, None]
    if not labelled:
        differs = of_references != predictions.after
        return PairedOutcomes(predictions.confidence, differs, np.zeros_like(differs), costs)
    correct = predictions.after == predictions.truth
    expected = of_references == predictions.truth
    return PairedOutcomes(predictions.confidence, expected & ~correct, correct & ~expected, costs)


class StagePredictions(NamedTuple):
    """Predictions of the stages of one cascade, as columns of the classes."""

    confidence: np.ndarray  # (n_stages - 1, n_samples), after each stage but the last
    after: np.ndarray  # (n_stages, n_samples), int: of the cascade after each stage
    alone: np.ndarray  # (n_stages, n_samples), int: of each member alone
    truth: np.ndarray | None  # (n_samples,), int; -1 where no class of the cascade is correct

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.after.shape[1]

    def take(self, rows: np.ndarray) -> StagePredictions:
        """Return the predictions of some of the rows."""
        truth = None if self.truth is None else self.truth[rows]
        return StagePredictions(
            self.confidence[:, rows], self.after[:, rows], self.alone[:, rows], truth
        )

    def accuracies(self) -> np.ndarray:
        """Return the accuracy of each member alone: shape (n_stages,)."""
        return (self.alone == self.truth).mean(axis=1)


def collect_predictions(
    after: Iterable[np.ndarray],
    alone: Sequence[np.ndarray],
    confidences: Sequence[str | Callable | np.ndarray],
    truth: np.ndarray | None,
    class_shares: np.ndarray | None,
) -> StagePredictions:
    """Turn probabilities (n_samples, n_classes) into predictions.

    `after` are those of the cascade after each stage, `alone` those of each member. `confidences`
    holds the confidence of each stage but the last, or what is known of each row (n_samples,);
    more are ignored. `class_shares` (n_classes,) stands in where all abstain.
    """
    known, columns = [], []
    for k, proba in enumerate(after):
        if k < len(alone) - 1:
            rule = confidences[k]
            known.append(rule if isinstance(rule, np.ndarray) else compute_confidence(proba, rule))
        columns.append(fill_abstained(proba, class_shares).argmax(axis=1))
    single = [fill_abstained(proba, class_shares).argmax(axis=1) for proba in alone]
    return StagePredictions(np.stack(known), np.stack(columns), np.stack(single), truth)


class Risk(NamedTuple):
    """What is certified, and the test for it.

    All counts are of rows: `regressions` and `corrections` of `n`.
    """

    pvalue: Callable[[int, int, int, float], float]  # of (regressions, corrections, n, epsilon)
    passes: Callable[[int, int, int, float, float], bool]  # and delta: the same decision, faster
    upper_bound: Callable[[int, int, int, float], float]  # of (regressions, corrections, n, delta)
    min_samples: Callable[[float, float], int]  # of (epsilon, delta): rows without any loss


def _binomial_pvalue(regressions: int, corrections: int, n: int, epsilon: float) -> float:
    """Return the p-value of the exact binomial test of the regressions."""
    return float(binomial_cdf(regressions, n, epsilon))


def _binomial_passes(
    regressions: int, corrections: int, n: int, epsilon: float, delta: float
) -> bool:
    """Return whether the exact binomial test of the regressions certifies."""
    return _binomial_pvalue(regressions, corrections, n, epsilon) <= delta


def _binomial_limit(regressions: int, corrections: int, n: int, delta: float) -> float:
    """Return the upper confidence limit of the share of regressions."""
    return binomial_upper_bound(regressions, n, delta)


RISKS = {
    "accuracy_gap": Risk(
        noninferiority_pvalue, certifies, noninferiority_upper_bound, min_certification_samples
    ),
    "disagreement": Risk(_binomial_pvalue, _binomial_passes, _binomial_limit, min_binomial_samples),
}


class _ThresholdTree:
    """Threshold vectors in which those of a stage are quantiles of the rows that reach it."""

    def __init__(self, outcomes: PairedOutcomes) -> None:
        self.confidence, self.n_gates = outcomes.confidence, len(outcomes.confidence)
        self.contributions = _contributions(outcomes)
        self.vectors: list[tuple[float, ...]] = []
        self.sums: list[np.ndarray] = []

    def leaves(self) -> tuple[list[tuple[float, ...]], np.ndarray]:
        """Return the vectors, and for each the sums of `_contributions` over all rows."""
        affordable = int(_MAX_CANDIDATES ** (1 / self.n_gates)) - 2
        per_stage = min(affordable, _PER_STAGE.get(self.n_gates, _PER_STAGE_OF_MANY))
        rows = np.arange(self.confidence.shape[1])
        before = np.zeros(self.contributions.shape[1])
        if per_stage >= _MIN_PER_STAGE:
            self._walk((), rows, before, partial(_quantiles, n_thresholds=per_stage))
        else:
            for share in _SHARES.tolist():
                self._walk((), rows, before, partial(_at_share, share=share))
        return self.vectors, np.array(self.sums)

    def _walk(
        self,
        vector: tuple[float, ...],
        rows: np.ndarray,
        before: np.ndarray,
        choose: Callable[[np.ndarray], list[float]],
    ) -> None:
        """Add the leaves below one vector of thresholds, of which `rows` have reached none.

        `before` is the sum over the rows that exit before, `choose` gives the thresholds to try.
        """
        stage = len(vector)
        confidence = self.confidence[stage, rows]
        thresholds = choose(confidence)
        if stage == self.n_gates - 1:
            self.vectors += [(*vector, threshold) for threshold in thresholds]
            self.sums += list(before + self._sums_at(np.array(thresholds), confidence, rows))
            return
        for threshold in thresholds:
            leaving = exits(confidence, threshold)
            gone = before + self.contributions[stage][:, rows[leaving]].sum(axis=1)
            self._walk((*vector, threshold), rows[~leaving], gone, choose)

    def _sums_at(
        self, thresholds: np.ndarray, confidence: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Return what some rows contribute at each threshold of the last gate, all at once.

        A row exits at the thresholds, which ascend, that its confidence reaches.
        """
        n_passed = count_passed(confidence, thresholds)
        length = len(thresholds) + 1
        early, late = (
            np.array([np.bincount(n_passed, weights=part, minlength=length) for part in parts])
            for parts in self.contributions[-2:][..., rows]
        )
        staying = np.cumsum(late, axis=1)[:, :-1]
        leaving = (early.sum(axis=1, keepdims=True) - np.cumsum(early, axis=1))[:, :-1]
        return (leaving + staying).T


def _contributions(outcomes: PairedOutcomes) -> np.ndarray:
    """Return what a row adds if it exits at each stage: (n_stages, 2 + n_references, n_samples).

    Its cost, whether that is early, and its regressions minus half of its corrections.
    """
    net = (outcomes.regressed - 0.5 * outcomes.corrected).transpose(1, 0, 2)
    n_stages, _, n_samples = net.shape
    cost = np.repeat(cumulative_costs(outcomes.costs)[:, None], n_samples, axis=1)
    early = np.repeat((np.arange(n_stages) < n_stages - 1)[:, None], n_samples, axis=1)
    return np.concatenate([cost[:, None], early[:, None], net], axis=1)


def _quantiles(confidence: np.ndarray, n_thresholds: int) -> list[float]:
    """Return "always", some quantiles and "never"; "never" alone where no row arrives."""
    if not np.isfinite(confidence).any():
        return [np.inf]
    return [-np.inf, *candidate_thresholds(confidence, n_thresholds).tolist(), np.inf]


def _at_share(confidence: np.ndarray, share: float) -> list[float]:
    """Return one threshold that about this share of the rows reaches."""
    candidates = _quantiles(confidence, len(_SHARES))
    return [candidates[round((1 - share) * (len(candidates) - 1))]]
