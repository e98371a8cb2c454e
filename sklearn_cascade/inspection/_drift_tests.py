"""HeldOutData that served rows differ from calibration rows: bets that rows alike cannot win.

Each piece of evidence is a factor: the capital of a bettor who starts with 1 and bets, at fair
odds or worse, against "these rows are like those". Rows that are alike multiply it by a million
with probability of at most one in a million, whenever one looks (Ville's inequality), and factors
of several bettors may be averaged. What "those" are like is known from finitely many rows only: a
share is therefore the least favourable one, a mean anywhere in a confidence interval.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, digamma, xlog1py, xlogy
from scipy.stats import binomtest

# The mixture of shares is as wide as the spread of a share over this many rows: of served rows,
# so that shifts of some ten points are expected; of calibration rows, as a part of all of them, so
# that they may be some three standard errors off.
_PRIOR_ROWS, _PRIOR_PART = 20.0, 1 / 8
# Parts of the capital that the bettors on a mean stake on each row.
_STAKES = 0.5 ** np.arange(1, 7)
_PRECISION = 1e-9
# Shares below it are zero.
_TINY = 1e-12


def share_interval(count: int, n_rows: int, level: float) -> tuple[float, float]:
    """Return the exact interval (Clopper and Pearson's) that misses with probability `level`."""
    interval = binomtest(count, n_rows).proportion_ci(1 - level, method="exact")
    return float(interval.low), float(interval.high)


def mean_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return an interval of the mean of values in [0, 1] that misses with probability `level`.

    It holds the means against which no bettor wins more than a factor of 2 / `level`, which is
    valid for any number of rows and any distribution (Waudby-Smith and Ramdas, 2024).
    """
    return _lower_mean(values, level / 2), 1 - _lower_mean(1 - values, level / 2)


def log_share_evidence(counts, n_rows: int, then, n_then: int) -> np.ndarray:
    """Return, for each stage, the log of the evidence that its share has changed.

    It is a likelihood ratio: of mixtures in which the calibration rows and the served rows have
    shares of their own, over one share for both, the one for which it is smallest. For any
    true share the ratio is a test martingale that starts with the calibration rows.

    Parameters
    ----------
    counts : ndarray of int of shape (n_stages,)
        Served rows by exit stage.
    n_rows : int
        Number of served rows.
    then : ndarray of int of shape (n_stages,)
        Calibration rows by exit stage.
    n_then : int
        Number of calibration rows.

    Returns
    -------
    log_evidence : ndarray of shape (n_stages,)
        It depends on the counts alone, not on the order of the rows.
    """
    pairs = zip(counts.tolist(), then.tolist(), strict=True)
    return np.array([_log_share_ratio(now, n_rows, before, n_then) for now, before in pairs])


def log_capitals(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the logs of what some rows multiply the capital of each bettor on the mean by.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Between 0 and 1.
    low, high : float
        Interval of the calibration mean.

    Returns
    -------
    log_factors : ndarray of shape (2, n_stakes)
        Of bettors on a mean above `high`, and below `low`; batches add up.
    """
    return np.stack([_log_factors(values, high), _log_factors(1 - values, 1 - low)])


def log_average(log_evidence) -> float:
    """Return the log of the mean of some evidence."""
    return float(np.logaddexp.reduce(log_evidence, axis=None) - np.log(np.size(log_evidence)))


def no_capitals() -> np.ndarray:
    """Return the logs of what no rows at all multiply the capital by."""
    return np.zeros((2, len(_STAKES)))


def _log_factors(values: np.ndarray, mean: float) -> np.ndarray:
    """Return the log factor of each stake on values whose mean is above some mean."""
    gain = values / mean - 1
    # One stake at a time, so that a large batch needs no array of all stakes.
    return np.array([np.log1p(stake * gain).sum() for stake in _STAKES])


def _lower_mean(values: np.ndarray, level: float) -> float:
    """Return the largest mean that is too low for the values, all lower ones being so too."""

    def excess(mean):
        return log_average(_log_factors(values, mean)) + np.log(level)

    top = float(values.mean())
    if top <= _PRECISION or excess(_PRECISION) <= 0:
        return 0.0
    return max(0.0, brentq(excess, _PRECISION, top, xtol=_PRECISION / 2) - _PRECISION)


def _log_share_ratio(now: int, n_rows: int, then: int, n_then: int) -> float:
    """Return the log likelihood ratio of one stage, at the least favourable share."""
    both, neither = now + then, n_rows + n_then - now - then
    rows = n_then * _PRIOR_PART

    def slope(share):
        # Of the log ratio, which is convex in the share, so that its minimum is the only one.
        ones = digamma(rows * share + then) - digamma(rows * share)
        zeros = digamma(rows * (1 - share) + n_then - then) - digamma(rows * (1 - share))
        return rows * (ones - zeros) - both / share + neither / (1 - share)

    if slope(_TINY) >= 0:
        share = _TINY
    elif slope(1 - _TINY) <= 0:
        share = 1 - _TINY
    else:
        share = brentq(slope, _TINY, 1 - _TINY, xtol=_TINY)
    # Never quite 0 or 1: a stage without any calibration row may get some.
    centre = (then + 0.5) / (n_then + 1)
    mixed = _log_mixture(now, n_rows, _PRIOR_ROWS, centre) + _log_mixture(then, n_then, rows, share)
    return float(mixed - xlogy(both, share) - xlog1py(neither, -share))


def _log_mixture(count: int, n_rows: int, prior_rows: float, centre: float) -> float:
    """Return the log probability of rows in their order, mixed over shares about a centre."""
    ones, zeros = prior_rows * centre, prior_rows * (1 - centre)
    return betaln(ones + count, zeros + n_rows - count) - betaln(ones, zeros)
