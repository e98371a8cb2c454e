"""The exact paired score test of how far the loss rate may exceed the fix rate."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import bdtr, gammaln, xlog1py, xlogy

# Beyond this rate of rows that differ, the number of such rows is a test by itself.
_MOST_DISCORDANT = 0.3
# A p-value belongs to all outcomes with a statistic up to this much larger.
_TIE = 1e-9
# Outside of this many standard deviations, plus `_MARGIN`, a binomial has no mass to speak of.
_SPREAD, _MARGIN = 8.0, 12


def score_statistic(regressions, corrections, n: int, epsilon: float) -> np.ndarray:
    """Return the score statistic of a trinomial of regressions, corrections and neither.

    With the rate of corrections estimated under the null hypothesis P(loss) = P(fix) + epsilon (the
    form of Tango, 1998). It rises in `regressions` and never rises in `corrections`; very negative
    values speak against the null hypothesis.
    """
    regressions, corrections = (
        np.asarray(regressions, dtype=float),
        np.asarray(corrections, dtype=float),
    )
    slope = regressions * (1 + epsilon) + corrections * (1 - epsilon) - 2 * n * epsilon
    root = np.sqrt(slope * slope + 8 * n * corrections * epsilon * (1 - epsilon))
    fix_rate = np.maximum(0.0, (slope + root) / (4 * n))
    variance = n * (2 * fix_rate + epsilon - epsilon * epsilon)
    return (regressions - corrections - n * epsilon) / np.sqrt(variance)


def largest_size(tau: float, n: int, epsilon: float) -> float:
    """Return the largest probability, under the null hypothesis, of a statistic of `tau` or less.

    Over all rates of corrections (the idea of Hsueh, Liu and Chen, 2001) at which at most 30 % of the
    rows differ: a fine numerical search, not a proof with interval arithmetic.
    """
    top = (_MOST_DISCORDANT - epsilon) / 2
    if top <= 0:
        return _sizes(np.zeros(1), tau, n, epsilon)[0]
    end = np.sqrt(n * top)
    coarse = [np.arange(0, 3, 0.05), np.arange(3, 10, 0.2), np.arange(10, max(end, 10), 0.4)]
    grid = np.unique(np.append(np.concatenate(coarse), end))
    grid = grid[grid <= end]
    sizes = _sizes(grid * grid / n, tau, n, epsilon)
    finer = []
    for place in np.argsort(-sizes, kind="stable")[:3]:
        low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
        finer.append(np.linspace(low, high, 9)[1:-1])
    finer = np.concatenate(finer)
    return float(max(sizes.max(), _sizes(finer * finer / n, tau, n, epsilon).max()))


def paired_pvalue(regressions: int, corrections: int, n: int, epsilon: float) -> float:
    """Return the p-value against "the loss rate exceeds the fix rate by `epsilon` or more"."""
    tau = float(score_statistic(regressions, corrections, n, epsilon)) + _TIE
    discordant = binomial_cdf(regressions + corrections, n, max(_MOST_DISCORDANT, epsilon))
    return float(max(largest_size(tau, n, epsilon), discordant))


@lru_cache(maxsize=1024)
def critical_values(n: int, epsilon: float, delta: float) -> tuple[float, int]:
    """Return the largest statistic, and the largest number of rows that differ, that certify."""
    rate = max(_MOST_DISCORDANT, epsilon)
    most = int(np.sum(binomial_cdf(np.arange(n + 1), n, rate) <= delta)) - 1
    low = float(score_statistic(0, n, n, epsilon)) - 1.0
    high = float(score_statistic(n, 0, n, epsilon)) + 1.0
    # The statistic lives on a lattice, so that the last digits decide nothing.
    while high - low > _TIE / 10:
        middle = (low + high) / 2
        if largest_size(middle, n, epsilon) <= delta:
            low = middle
        else:
            high = middle
    return low, most


def certifies(regressions: int, corrections: int, n: int, epsilon: float, delta: float) -> bool:
    """Tell whether the counts show, at level `delta`, a loss of less than `epsilon`."""
    tau, most = critical_values(n, epsilon, delta)
    return bool(
        score_statistic(regressions, corrections, n, epsilon) + _TIE <= tau
        and regressions + corrections <= most
    )


def _sizes(rates: np.ndarray, tau: float, n: int, epsilon: float) -> np.ndarray:
    """Return the probability of a statistic of `tau` or less at some rates of corrections."""
    highest = min(n, int(n * rates.max() + _SPREAD * np.sqrt(n * rates.max())) + _MARGIN + 1)
    tops = _most_regressions(np.arange(highest + 1), tau, n, epsilon)
    sizes = np.empty(len(rates))
    for place, rate in enumerate(rates):
        reach = _SPREAD * np.sqrt(n * rate * (1 - rate)) + _MARGIN
        first, last = max(0, int(n * rate - reach)), min(highest, int(n * rate + reach) + 1)
        corrections = np.arange(first, last + 1)
        # The rate of regressions among the rows that are no corrections, on the boundary.
        loss_rate = min((rate + epsilon) / (1 - rate), 1.0)
        allowed = binomial_cdf(tops[corrections], n - corrections, loss_rate)
        sizes[place] = _binomial_pmf(corrections, n, rate) @ allowed
    return sizes


def binomial_cdf(k, n, rate: float) -> np.ndarray:
    """Return binomial probabilities of `k` or fewer; zero below none."""
    # scipy.stats checks its arguments for longer than this takes, thousands of times over.
    return np.where(np.asarray(k) < 0, 0.0, bdtr(np.maximum(k, 0), n, rate))


def _most_regressions(corrections: np.ndarray, tau: float, n: int, epsilon: float) -> np.ndarray:
    """Return the most regressions with a statistic of `tau` or less, for each number of corrections; or -1."""
    low, high = np.full(len(corrections), -1), n - corrections
    while (low < high).any():
        middle = (low + high + 1) // 2
        inside = score_statistic(middle, corrections, n, epsilon) <= tau
        low = np.where(inside, middle, low)
        high = np.where(inside, high, middle - 1)
    return low


def _binomial_pmf(k: np.ndarray, n: int, rate: float) -> np.ndarray:
    """Return binomial probabilities."""
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.exp(ways + xlogy(k, rate) + xlog1py(n - k, -rate))
