"""Noninferiority from two counts: p-value, upper bound, fewest rows; and binomial limits."""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, gammaln, xlog1py, xlogy
from scipy.stats import beta

from sklearn_cascade.core._validation import check_share

# Down to this delta the number of rows has a closed form.
_CLOSED_FORM_DELTA = 0.05
# Width to which a bound is searched.
_PRECISION = 1e-7
# Beyond this rate of rows that differ, the number of such rows is a test by itself.
_MOST_DISCORDANT = 0.3
# A p-value belongs to all outcomes with a statistic up to this much larger.
_TIE = 1e-9
# Beyond this many standard deviations, plus `_MARGIN`, a binomial has next to no mass.
_SPREAD, _MARGIN = 8.0, 12


def noninferiority_pvalue(regressions: int, corrections: int, n: int, epsilon: float) -> float:
    """Test whether a cascade is less accurate than its reference by less than `epsilon`.

    The exact unconditional score test of a trinomial: a row is a *regression* where the reference
    is right and the cascade wrong, a *correction* where it is the other way round, or neither. The
    statistic has the form of Tango (1998); the largest probability is taken over all rates of
    corrections, as Hsueh, Liu and Chen (2001) do. Without corrections it decides like the exact
    binomial test of the regressions; corrections make up for regressions. A small p-value is
    evidence that the accuracy lost on rows like these, P(regression) - P(correction), is less than
    `epsilon`.

    **Count only rows that took no part in choosing** the members, the thresholds, the reference or
    `epsilon`. This cannot be checked from the counts.

    Parameters
    ----------
    regressions : int
        Rows on which the reference is right and the cascade wrong.
    corrections : int
        Rows on which the cascade is right and the reference wrong.
    n : int
        Number of independent rows in all.
    epsilon : float
        The loss of accuracy to be excluded, as a share of the rows, between 0 and 1.

    Returns
    -------
    p_value : float
        Certify at level ``delta`` where it is ``delta`` or less.

    Raises
    ------
    ValueError
        If a count is not a whole number, the counts contradict each other, or `epsilon` is out of
        range.

    See Also
    --------
    noninferiority_upper_bound : The smallest loss that these counts exclude.
    min_certification_samples : The fewest rows that can certify.
    CascadeClassifier.certify : Lower the thresholds of a cascade as far as this test allows.

    Notes
    -----
    The largest probability is found by a fine numerical search, not by a proof with interval
    arithmetic.

    References
    ----------
    T. Tango. "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design." Statistics in Medicine, 1998.

    H.-M. Hsueh, J.-P. Liu, J. J. Chen. "Unconditional exact tests for equivalence or
    noninferiority for paired binary endpoints." Biometrics, 2001.

    Examples
    --------
    >>> from sklearn_cascade import noninferiority_pvalue
    >>> round(noninferiority_pvalue(9, 5, 1000, 0.01), 6)
    0.075376
    >>> round(noninferiority_pvalue(10, 5, 1000, 0.01), 6)
    0.128877
    """
    _check_counts(regressions, corrections, n)
    check_share("epsilon", epsilon)
    return paired_pvalue(int(regressions), int(corrections), int(n), float(epsilon))


def noninferiority_upper_bound(
    regressions: int, corrections: int, n: int, delta: float = 0.1
) -> float:
    """Return an upper confidence bound of the accuracy that a cascade loses to its reference.

    The smallest ``epsilon`` at which `noninferiority_pvalue` is `delta` or less, and at least zero:
    with probability 1 - `delta` over draws of the rows, the true loss
    P(regression) - P(correction) is no larger.

    **The bound is for thresholds fixed beforehand.** For thresholds chosen with the help of these
    rows it fails more often than `delta`.

    Parameters
    ----------
    regressions : int
        Rows on which the reference is right and the cascade wrong.
    corrections : int
        Rows on which the cascade is right and the reference wrong.
    n : int
        Number of independent rows in all.
    delta : float, default=0.1
        Probability that the bound fails.

    Returns
    -------
    upper : float
        From 0 to 1, to seven decimals.

    Raises
    ------
    ValueError
        If a count is not a whole number, the counts contradict each other, or `delta` is out of
        range.

    See Also
    --------
    noninferiority_pvalue : The test behind it.

    Examples
    --------
    >>> from sklearn_cascade import noninferiority_upper_bound
    >>> round(noninferiority_upper_bound(25, 20, 1000), 6)
    0.014169
    >>> round(noninferiority_upper_bound(25, 0, 1000), 6)
    0.032585
    """
    _check_counts(regressions, corrections, n)
    check_share("delta", delta)
    low, high = max(0.0, (regressions - corrections) / n), 1.0
    if low == 0 and paired_pvalue(regressions, corrections, n, _PRECISION) <= delta:
        return 0.0
    while high - low > _PRECISION / 2:
        middle = (low + high) / 2
        if paired_pvalue(regressions, corrections, n, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def min_certification_samples(epsilon: float, delta: float = 0.1) -> int:
    """Return the fewest rows that can certify, which they do if none of them is a regression.

    Parameters
    ----------
    epsilon : float
        The loss of accuracy to be excluded, as a share of the rows, between 0 and 1.
    delta : float, default=0.1
        Probability that the certificate fails.

    Returns
    -------
    n : int
        Smallest number of rows that can certify, by `noninferiority_pvalue`.

    Raises
    ------
    ValueError
        If `epsilon` or `delta` is not between 0 and 1.

    See Also
    --------
    noninferiority_pvalue : The test that needs them.
    CascadeClassifier.certify : Refuses fewer.

    Examples
    --------
    >>> from sklearn_cascade import min_certification_samples
    >>> min_certification_samples(0.01)
    230
    >>> min_certification_samples(0.005, delta=0.05)
    598
    """
    check_share("epsilon", epsilon)
    check_share("delta", delta)
    return _fewest_rows(float(epsilon), float(delta))


@lru_cache(maxsize=256)
def _fewest_rows(epsilon: float, delta: float) -> int:
    """Return the fewest rows that certify without regressions or corrections."""
    enough = min_binomial_samples(epsilon, delta)
    if delta >= _CLOSED_FORM_DELTA:
        return enough
    # Below it, rows that differ both ways make up most of the error; the p-value falls with n.
    too_few = enough - 1
    while paired_pvalue(0, 0, enough, epsilon) > delta:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if paired_pvalue(0, 0, middle, epsilon) <= delta:
            enough = middle
        else:
            too_few = middle
    return enough


def _check_counts(regressions: Any, corrections: Any, n: Any) -> None:
    """Raise unless the counts are whole numbers that do not contradict each other."""
    for parameter, value in (("regressions", regressions), ("corrections", corrections), ("n", n)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{parameter}={value!r}; expected a whole number of rows, 0 or more")
    if n < 1 or regressions + corrections > n:
        raise ValueError(
            f"regressions={regressions!r} and corrections={corrections!r} of n={n!r} rows; "
            f"expected at least one row, and no row that is both"
        )


def score_statistic(
    regressions: ArrayLike, corrections: ArrayLike, n: int, epsilon: float
) -> np.ndarray:
    """Return the score statistic of a trinomial of regressions, corrections and neither.

    With the rate of corrections estimated under the null hypothesis
    P(regression) = P(correction) + epsilon (the form of Tango, 1998). It rises in `regressions`
    and never rises in `corrections`; very negative values are evidence against the null hypothesis.
    """
    regressions = np.asarray(regressions, dtype=float)
    corrections = np.asarray(corrections, dtype=float)
    slope = regressions * (1 + epsilon) + corrections * (1 - epsilon) - 2 * n * epsilon
    root = np.sqrt(slope * slope + 8 * n * corrections * epsilon * (1 - epsilon))
    correction_rate = np.maximum(0.0, (slope + root) / (4 * n))
    variance = n * (2 * correction_rate + epsilon - epsilon * epsilon)
    return (regressions - corrections - n * epsilon) / np.sqrt(variance)


def largest_size(tau: float, n: int, epsilon: float) -> float:
    """Return the largest probability, under the null hypothesis, of a statistic of `tau` or less.

    Over all rates of corrections (the idea of Hsueh, Liu and Chen, 2001) at which at most 30 % of
    the rows differ: a fine numerical search, not a proof with interval arithmetic.
    """
    top = (_MOST_DISCORDANT - epsilon) / 2
    if top <= 0:
        return float(_sizes(np.zeros(1), tau, n, epsilon)[0])
    end = np.sqrt(n * top)
    coarse = [np.arange(0, 3, 0.05), np.arange(3, 10, 0.2), np.arange(10, max(end, 10), 0.4)]
    grid = np.unique(np.append(np.concatenate(coarse), end))
    grid = grid[grid <= end]
    sizes = _sizes(grid * grid / n, tau, n, epsilon)
    around = []
    for peak in np.argsort(-sizes, kind="stable")[:3]:
        low, high = grid[max(peak - 1, 0)], grid[min(peak + 1, len(grid) - 1)]
        around.append(np.linspace(low, high, 9)[1:-1])
    finer = np.concatenate(around)
    return max(float(sizes.max()), float(_sizes(finer * finer / n, tau, n, epsilon).max()))


def paired_pvalue(regressions: int, corrections: int, n: int, epsilon: float) -> float:
    """Return the p-value against P(regression) >= P(correction) + `epsilon`."""
    tau = float(score_statistic(regressions, corrections, n, epsilon)) + _TIE
    discordant = binomial_cdf(regressions + corrections, n, max(_MOST_DISCORDANT, epsilon))
    return max(largest_size(tau, n, epsilon), float(discordant))


@lru_cache(maxsize=1024)
def critical_values(n: int, epsilon: float, delta: float) -> tuple[float, int]:
    """Return the largest statistic, and the largest number of rows that differ, that certify."""
    rate = max(_MOST_DISCORDANT, epsilon)
    most = int(np.sum(binomial_cdf(np.arange(n + 1), n, rate) <= delta)) - 1
    low = float(score_statistic(0, n, n, epsilon)) - 1.0
    high = float(score_statistic(n, 0, n, epsilon)) + 1.0
    # The statistic takes values on a lattice, so the last digits decide nothing.
    while high - low > _TIE / 10:
        middle = (low + high) / 2
        if largest_size(middle, n, epsilon) <= delta:
            low = middle
        else:
            high = middle
    return low, most


def certifies(regressions: int, corrections: int, n: int, epsilon: float, delta: float) -> bool:
    """Return whether the counts certify, at level `delta`, a loss of less than `epsilon`."""
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
    for position, rate in enumerate(rates):
        reach = _SPREAD * np.sqrt(n * rate * (1 - rate)) + _MARGIN
        first, last = max(0, int(n * rate - reach)), min(highest, int(n * rate + reach) + 1)
        corrections = np.arange(first, last + 1)
        # On the boundary, the rate of regressions among the rows that are not corrections.
        regression_rate = min((rate + epsilon) / (1 - rate), 1.0)
        allowed = binomial_cdf(tops[corrections], n - corrections, regression_rate)
        sizes[position] = _binomial_pmf(corrections, n, rate) @ allowed
    return sizes


def _most_regressions(corrections: np.ndarray, tau: float, n: int, epsilon: float) -> np.ndarray:
    """Return, for each number of corrections, the most regressions with a statistic up to `tau`.

    -1 where there are none.
    """
    low, high = np.full(len(corrections), -1), n - corrections
    while (low < high).any():
        middle = (low + high + 1) // 2
        inside = score_statistic(middle, corrections, n, epsilon) <= tau
        low = np.where(inside, middle, low)
        high = np.where(inside, high, middle - 1)
    return low


def binomial_cdf(k: ArrayLike, n: ArrayLike, rate: float) -> np.ndarray:
    """Return the binomial probability of `k` or fewer, which is zero for negative `k`."""
    # The checks of scipy.stats take longer than this, and it is called thousands of times.
    return np.where(np.asarray(k) < 0, 0.0, bdtr(np.maximum(k, 0), n, rate))


def _binomial_pmf(k: np.ndarray, n: int, rate: float) -> np.ndarray:
    """Return binomial probabilities."""
    log_choices = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.exp(log_choices + xlogy(k, rate) + xlog1py(n - k, -rate))


def binomial_upper_bound(count: int, n_samples: int, delta: float) -> float:
    """Return the upper confidence limit of a share (Clopper and Pearson, 1934)."""
    if count >= n_samples:
        return 1.0
    return float(beta.ppf(1 - delta, count + 1, n_samples - count))


def min_binomial_samples(epsilon: float, delta: float) -> int:
    """Return the fewest rows that can bound a share by `epsilon`, with none counted."""
    return int(np.ceil(np.log(delta) / np.log1p(-epsilon)))
