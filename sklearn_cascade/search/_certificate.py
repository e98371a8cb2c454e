"""Going down a path of thresholds for as long as rows that drew no part of it certify the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from sklearn_cascade.rules import (
    binomial_cdf,
    binomial_rows,
    certifies,
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)
from sklearn_cascade.search._disagreement import binomial_upper
from sklearn_cascade.search._outcomes import Outcomes

# Power at which the rows that would have been enough are told.
_POWER = 0.8


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


class Step(NamedTuple):
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


def descend(
    outcomes: Outcomes,
    path: Sequence[tuple[float, ...]],
    *,
    risk: Risk,
    epsilon: float,
    delta: float,
) -> list[Step]:
    """Test the path from its dear end, each step at the full `delta`, and stop at a failure.

    Fixed-sequence testing (Angelopoulos et al., "Learn then Test", 2021): the path was fixed
    before these rows were looked at, so a false certificate needs the first step of the path that
    loses too much to pass, which has a probability of at most `delta`. Against several
    references a step passes where it does against each (an intersection-union test).

    Parameters
    ----------
    outcomes : Outcomes
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
            Step(thresholds, tuple(regressions.tolist()), tuple(corrections.tolist()), cost, passed)
        )
        if not passed:
            break
    return steps


def worst_reference(step: Step, risk: Risk, n: int, epsilon: float) -> tuple[int, float]:
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
