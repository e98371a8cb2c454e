"""Going down a path of thresholds for as long as rows that drew no part of it certify the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import beta, norm

from sklearn_cascade.certification._noninferiority import (
    binomial_cdf,
    binomial_rows,
    certifies,
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)
from sklearn_cascade.core import (
    candidate_thresholds,
    compute_confidence,
    cumulative_costs,
    exit_stages,
    exits,
    fill_abstained,
)
from sklearn_cascade.tuning._sweep import count_passed

# Power at which the rows that would have been enough are told.
_POWER = 0.8
# Vectors of thresholds that are looked at.
_MOST_CANDIDATES = 20_000
# Thresholds per stage beside "always" and "never": where one stage may exit early, two, or more.
_PER_STAGE = {1: 40, 2: 20}
_PER_STAGE_OF_MANY = 16
# With fewer than this per stage, all stages let the same share of the rows that reach them go.
_FEWEST_PER_STAGE = 3
_SHARES = np.linspace(0, 1, 61)
# Losses that an early exit of all rows counts for, so that candidates without a loss are ordered.
_CAUTION = 4.0
# Leads in standard errors, looked at from above; nothing ever exits beyond the first.
_LEADS = np.round(np.linspace(10.0, 0.0, 501), 2)


class Risk(NamedTuple):
    """What is certified, and the test for it.

    Attributes
    ----------
    pvalue : callable
        ``(regressions, corrections, n, epsilon)`` to p-value.
    passes : callable
        ``(regressions, corrections, n, epsilon, delta)`` to bool; the same decision, faster.
    upper : callable
        ``(regressions, corrections, n, delta)`` to the upper confidence limit of the loss.
    fewest : callable
        ``(epsilon, delta)`` to the rows it takes without any loss.
    """

    pvalue: Callable
    passes: Callable
    upper: Callable
    fewest: Callable


class TestedThresholds(NamedTuple):
    """One step of the path, tested.

    Attributes
    ----------
    thresholds : tuple of float
        One per stage but the last.
    regressions, corrections : tuple of int
        Against each reference.
    mean_cost : float
        On the certification rows.
    passed : bool
        Whether the loss is certified here.
    """

    thresholds: tuple[float, ...]
    regressions: tuple[int, ...]
    corrections: tuple[int, ...]
    mean_cost: float
    passed: bool


def fixed_sequence_test(
    outcomes: PairedOutcomes,
    path: Sequence[tuple[float, ...]],
    *,
    risk: Risk,
    epsilon: float,
    delta: float,
) -> list[TestedThresholds]:
    """Test the path from its dear end, each step at the full `delta`, and stop at a failure.

    Fixed-sequence testing (Angelopoulos et al., "Learn then Test", 2021): the path was fixed
    before these rows were looked at, so a false certificate needs the first step of the path that
    loses too much to pass, which has a probability of at most `delta`. Against several
    references a step passes where it does against each (an intersection-union test).

    Parameters
    ----------
    outcomes : PairedOutcomes
        Of the certification rows.
    path : sequence of tuple of float
        From dear to cheap.
    risk : Risk
        The test.
    epsilon, delta : float
        The promise.

    Returns
    -------
    steps : list of Step
        Those that passed, and the one that failed, if any did.
    """
    n, steps = outcomes.n_samples, []
    for thresholds in path:
        regressions, corrections, cost = outcomes.count(thresholds)
        counts = list(zip(regressions.tolist(), corrections.tolist(), strict=True))
        passed = all(risk.passes(i, j, n, epsilon, delta) for i, j in counts)
        steps.append(
            TestedThresholds(
                thresholds, tuple(regressions.tolist()), tuple(corrections.tolist()), cost, passed
            )
        )
        if not passed:
            break
    return steps


def worst_reference(
    step: TestedThresholds, risk: Risk, n: int, epsilon: float
) -> tuple[int, float]:
    """Return the reference that a step is worst against, and the p-value there."""
    counts = zip(step.regressions, step.corrections, strict=True)
    pvalues = [risk.pvalue(i, j, n, epsilon) for i, j in counts]
    # Of equal p-values the larger loss.
    return max(
        ((place, value) for place, value in enumerate(pvalues)),
        key=lambda entry: (entry[1], step.regressions[entry[0]] - step.corrections[entry[0]]),
    )


def rows_projected(
    regressions: int, corrections: int, n: int, *, epsilon: float, delta: float, risk: Risk
) -> int | None:
    """Return about how many rows would certify these rates with probability 0.8; None: none.

    By the normal approximation, with one row more that differs.
    """
    loss = (regressions - corrections) / n
    if loss >= epsilon:
        return None
    spread = (regressions + corrections + 1) / n - loss * loss
    reach = norm.isf(delta) + norm.ppf(_POWER)
    # Rounded first, so that round figures are not missed by the last digits.
    rows = np.ceil(np.round(reach**2 * spread / (epsilon - loss) ** 2, 6))
    return max(risk.fewest(epsilon, delta), int(rows))


def mean_cost_upper(reaching: Sequence[int], n: int, costs: Sequence[float], delta: float) -> float:
    """Return an upper confidence limit of the mean cost at fixed thresholds.

    The binomial limits of Clopper and Pearson (1934) for the share of rows that reach each stage
    but the first, which all rows do, with `delta` divided among them.

    Parameters
    ----------
    reaching : sequence of int, one per stage
        Rows that reach each stage.
    n : int
        All rows.
    costs : sequence of float, one per stage
        Cost of one row in each stage.
    delta : float
        Probability that the limit fails.
    """
    limits = [binomial_upper(count, n, delta / (len(costs) - 1)) for count in reaching[1:]]
    return float(costs[0] + np.dot(costs[1:], limits))


def _binomial_pvalue(regressions: int, corrections: int, n: int, epsilon: float) -> float:
    """Return the p-value of the exact binomial test of the regressions."""
    return float(binomial_cdf(regressions, n, epsilon))


def _binomial_passes(
    regressions: int, corrections: int, n: int, epsilon: float, delta: float
) -> bool:
    """Tell whether the exact binomial test of the regressions certifies."""
    return _binomial_pvalue(regressions, corrections, n, epsilon) <= delta


def _binomial_limit(regressions: int, corrections: int, n: int, delta: float) -> float:
    """Return the upper confidence limit of the share of regressions."""
    return binomial_upper(regressions, n, delta)


RISKS = {
    "accuracy_gap": Risk(
        noninferiority_pvalue, certifies, noninferiority_upper_bound, min_certification_samples
    ),
    "disagreement": Risk(_binomial_pvalue, _binomial_passes, _binomial_limit, binomial_rows),
}


def threshold_path(outcomes: PairedOutcomes) -> list[tuple[float, ...]]:
    """Return the thresholds that trade caution against cost best, dearest first.

    The caution of a candidate is ``max(regressions - corrections / 2, 0) + 4 * share of early exits``,
    against the worst of the references. The last term orders candidates that lose nothing, as
    most do on few rows: without it the path begins at the cheapest of these, where a test on other
    rows fails. It is no part of what is certified.

    Parameters
    ----------
    outcomes : PairedOutcomes
        Of the tuning rows.

    Returns
    -------
    path : list of tuple of float
        One threshold per stage but the last.
    """
    vectors, sums = _Tree(outcomes).leaves()
    worst = np.maximum(sums[:, 2:], 0).max(axis=1)
    # Rounded, as sums in another order miss each other by the last digits.
    caution = np.round(worst + _CAUTION * sums[:, 1] / outcomes.n_samples, 9)
    dearest = outcomes.n_samples * float(np.sum(outcomes.costs))
    cost = np.round(sums[:, 0] / (dearest or 1.0), 12)
    order = np.lexsort((cost, caution))
    cheapest = np.minimum.accumulate(cost[order])
    kept = order[np.append(True, cheapest[1:] < cheapest[:-1])]
    return [vectors[place] for place in kept]


class _Tree:
    """Vectors of thresholds, where those of a stage are quantiles of the rows that reach it."""

    def __init__(self, outcomes: PairedOutcomes) -> None:
        self.confidence, self.n_gates = outcomes.confidence, len(outcomes.confidence)
        self.contributions = _contributions(outcomes)
        self.vectors: list[tuple[float, ...]] = []
        self.sums: list[np.ndarray] = []

    def leaves(self) -> tuple[list[tuple[float, ...]], np.ndarray]:
        """Return the vectors, and the sums over all rows of what each row contributes."""
        room = int(_MOST_CANDIDATES ** (1 / self.n_gates)) - 2
        per_stage = min(room, _PER_STAGE.get(self.n_gates, _PER_STAGE_OF_MANY))
        rows = np.arange(self.confidence.shape[1])
        start = (), rows, np.zeros(self.contributions.shape[1])
        if per_stage >= _FEWEST_PER_STAGE:
            self._walk(*start, lambda sure: _quantiles(sure, per_stage))
        else:
            for share in _SHARES:
                self._walk(*start, lambda sure, share=share: [_at_share(sure, share)])
        return self.vectors, np.array(self.sums)

    def _walk(self, vector, rows, before, choose) -> None:
        """Add the leaves below one vector of thresholds, which `rows` have passed."""
        stage = len(vector)
        sure = self.confidence[stage, rows]
        thresholds = choose(sure)
        if stage == self.n_gates - 1:
            self.vectors += [(*vector, threshold) for threshold in thresholds]
            self.sums += list(before + self._sums_at(np.array(thresholds), sure, rows))
            return
        for threshold in thresholds:
            leaving = exits(sure, threshold)
            gone = before + self.contributions[stage][:, rows[leaving]].sum(axis=1)
            self._walk((*vector, threshold), rows[~leaving], gone, choose)

    def _sums_at(self, thresholds: np.ndarray, sure: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return what some rows contribute at each threshold of the last gate, all in one go.

        A row exits at the thresholds, which ascend, whose boundaries are not above it.
        """
        n_passed = count_passed(sure, thresholds)
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

    Its cost, whether that is early, and its regressions less half of its corrections.
    """
    net = (outcomes.lost - 0.5 * outcomes.fixed).transpose(1, 0, 2)
    n_stages, _, n_samples = net.shape
    paid = np.repeat(cumulative_costs(outcomes.costs)[:, None], n_samples, axis=1)
    early = np.repeat((np.arange(n_stages) < n_stages - 1)[:, None], n_samples, axis=1)
    return np.concatenate([paid[:, None], early[:, None], net], axis=1)


def _quantiles(sure: np.ndarray, n_thresholds: int) -> list[float]:
    """Return "always", some quantiles and "never"; "never" alone where no row arrives."""
    if not np.isfinite(sure).any():
        return [np.inf]
    return [-np.inf, *candidate_thresholds(sure, n_thresholds).tolist(), np.inf]


def _at_share(sure: np.ndarray, share: float) -> float:
    """Return a threshold that about this share of the rows reaches."""
    candidates = _quantiles(sure, len(_SHARES))
    return candidates[round((1 - share) * (len(candidates) - 1))]


class StagePredictions(NamedTuple):
    """What the stages of one cascade said of some rows, as columns of the classes.

    Attributes
    ----------
    confidence : ndarray of shape (n_stages - 1, n_samples)
        Confidence of the answer after each stage but the last.
    after : ndarray of int of shape (n_stages, n_samples)
        Answer of the cascade after each stage.
    alone : ndarray of int of shape (n_stages, n_samples)
        Answer of each member alone.
    truth : ndarray of int of shape (n_samples,) or None
        Column of the true class; -1 where no class of the cascade is right.
    """

    confidence: np.ndarray
    after: np.ndarray
    alone: np.ndarray
    truth: np.ndarray | None

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.after.shape[1]

    def take(self, rows: np.ndarray) -> StagePredictions:
        """Return the answers to some of the rows."""
        truth = None if self.truth is None else self.truth[rows]
        return StagePredictions(
            self.confidence[:, rows], self.after[:, rows], self.alone[:, rows], truth
        )

    def accuracies(self) -> np.ndarray:
        """Return the share of right answers of each member alone: shape (n_stages,)."""
        return (self.alone == self.truth).mean(axis=1)


class PairedOutcomes(NamedTuple):
    """What exit after each stage means for each row.

    Attributes
    ----------
    confidence : ndarray of shape (n_stages - 1, n_samples)
        Confidence of the answer after each stage but the last.
    lost, fixed : ndarray of bool of shape (n_references, n_stages, n_samples)
        Rows that each reference gets right and the cascade wrong, and the other way round.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    """

    confidence: np.ndarray
    lost: np.ndarray
    fixed: np.ndarray
    costs: np.ndarray

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.lost.shape[2]

    def exit_stages(self, thresholds: Sequence[float]) -> np.ndarray:
        """Return the stage that answers each row: shape (n_samples,)."""
        return exit_stages(self.confidence, thresholds)

    def count(self, thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
        """Return regressions and corrections against each reference (n_references,), and the mean cost."""
        stage, rows = self.exit_stages(thresholds), np.arange(self.n_samples)
        regressions, corrections = (
            part[:, stage, rows].sum(axis=1) for part in (self.lost, self.fixed)
        )
        return regressions, corrections, float(cumulative_costs(self.costs)[stage].mean())


def collect_answers(
    after: Iterable[np.ndarray],
    alone: Sequence[np.ndarray],
    confidences: Sequence[str | Callable | np.ndarray],
    truth: np.ndarray | None,
    class_shares: np.ndarray | None,
) -> StagePredictions:
    """Turn probabilities into answers.

    Parameters
    ----------
    after, alone : iterable of ndarray of shape (n_samples, n_classes)
        Probabilities of the cascade after each stage, and of each member alone.
    confidences : sequence of str, callable or ndarray of shape (n_samples,)
        Confidence of each stage but the last, or what is known of each row; more are left out.
    truth : ndarray of int of shape (n_samples,) or None
        As in `StagePredictions`.
    class_shares : ndarray of shape (n_classes,) or None
        Answer where nobody answers.
    """
    sure, columns = [], []
    for k, proba in enumerate(after):
        if k < len(alone) - 1:
            known = isinstance(confidences[k], np.ndarray)
            sure.append(confidences[k] if known else compute_confidence(proba, confidences[k]))
        columns.append(fill_abstained(proba, class_shares).argmax(axis=1))
    single = [fill_abstained(proba, class_shares).argmax(axis=1) for proba in alone]
    return StagePredictions(np.stack(sure), np.stack(columns), np.stack(single), truth)


def compare(
    answers: StagePredictions,
    references: Sequence[int | None],
    costs: np.ndarray,
    *,
    labelled: bool,
) -> PairedOutcomes:
    """Set the answers beside those of one reference or several.

    Parameters
    ----------
    answers : Answers
        What was said.
    references : sequence of int or None
        Positions of members; None is the cascade without early exit.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    labelled : bool
        True: a loss is a right answer given up. False: it is any other answer than the
        reference's, and nothing is fixed.
    """
    given = [answers.after[-1] if r is None else answers.alone[r] for r in references]
    given = np.stack(given)[:, None]
    if not labelled:
        lost = given != answers.after
        return PairedOutcomes(answers.confidence, lost, np.zeros_like(lost), costs)
    right, expected = answers.after == answers.truth, given == answers.truth
    return PairedOutcomes(answers.confidence, expected & ~right, right & ~expected, costs)


class TunedMargin(NamedTuple):
    """The lowest threshold that passed, and what was found there.

    Attributes
    ----------
    threshold : float
        In standard errors; infinity where none passed.
    disagreement : float
        Share of the tuning rows that got another label.
    bound : float
        Upper confidence limit of that share.
    """

    threshold: float
    disagreement: float
    bound: float


def tune_margin(
    leads: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    max_disagreement: float,
    delta: float,
) -> TunedMargin:
    """Lower one threshold for all stages while the disagreement stays certainly small enough.

    Thresholds are tested from above in fixed steps, each at the full `delta`, and the first
    failure ends it (fixed-sequence testing, Angelopoulos et al., "Learn then Test", 2021): the
    chance that the one returned has more than `max_disagreement` is at most `delta`.

    Parameters
    ----------
    leads : sequence of ndarray of shape (n_samples,)
        Confidence after each stage but the last.
    labels : sequence of ndarray of shape (n_samples,)
        Label after each stage, the last included.
    max_disagreement : float
        Largest share of rows that may get another label than after the last stage.
    delta : float
        One minus the confidence of the binomial limit.

    Returns
    -------
    tuned : TunedMargin
        The last that passed.
    """
    whole = labels[-1]
    n_samples = len(whole)
    differs = np.array([label != whole for label in labels])
    # Beyond every lead nothing exits early, and nothing can differ.
    passed = TunedMargin(np.inf, 0.0, 0.0)
    for threshold in _LEADS.tolist():
        stage = exit_stages(leads, [threshold] * len(leads))
        count = int(differs[stage, np.arange(n_samples)].sum())
        bound = binomial_upper(count, n_samples, delta)
        if bound > max_disagreement:
            break
        passed = TunedMargin(threshold, count / n_samples, bound)
    return passed


def binomial_upper(count: int, n_samples: int, delta: float) -> float:
    """Return the upper confidence limit of a share (Clopper and Pearson, 1934)."""
    if count >= n_samples:
        return 1.0
    return float(beta.ppf(1 - delta, count + 1, n_samples - count))
