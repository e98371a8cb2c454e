"""Anytime-valid tests that served rows differ from calibration rows.

Each piece of evidence is an e-value: the capital of a bettor who starts with 1 and bets, at fair
odds or worse, against the hypothesis that both samples have the same distribution. Under that
hypothesis it ever exceeds a million with a probability of at most one in a million (Ville's
inequality), and several e-values may be averaged. The calibration distribution is known from
finitely many rows only: a share is therefore the least favourable one, and a mean lies anywhere in
a confidence interval.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, digamma, xlog1py, xlogy
from scipy.stats import binomtest

# Prior weight of the mixtures of shares, in rows: of served rows, so that shifts of about ten
# points are expected; of calibration rows, as a fraction of their number, so that shares may be
# about three standard errors off.
_PRIOR_ROWS, _PRIOR_FRACTION = 20.0, 1 / 8
# Fractions of the capital that the bettors on a mean stake on each row.
_STAKES = 0.5 ** np.arange(1, 7)
_PRECISION = 1e-9
# Shares below it are zero.
_TINY = 1e-12


def share_interval(count: int, n_rows: int, level: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share, which misses with probability `level`."""
    interval = binomtest(count, n_rows).proportion_ci(1 - level, method="exact")
    return float(interval.low), float(interval.high)


def mean_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return an interval of the mean of values in [0, 1] that misses with probability `level`.

    It contains the means against which no bettor wins more than a factor of 2 / `level`; valid for
    any number of rows and any distribution (Waudby-Smith and Ramdas, 2024).
    """
    return _lower_mean(values, level / 2), 1 - _lower_mean(1 - values, level / 2)


def log_share_evidence(counts, n_rows: int, then, n_then: int) -> np.ndarray:
    """Return, for each stage, the log of the evidence that its share has changed: (n_stages,).

    `counts` of `n_rows` served rows and `then` of `n_then` calibration rows are rows by exit stage
    (n_stages,). The evidence is a likelihood ratio: mixtures in which both samples have shares of
    their own, over one share for both, the one for which it is smallest. For any true share the
    ratio is a test martingale that starts with the calibration rows.
    """
    pairs = zip(counts.tolist(), then.tolist(), strict=True)
    return np.array([_log_share_ratio(now, n_rows, before, n_then) for now, before in pairs])


def log_capitals(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the log factors by which some rows multiply the bettors' capital: (2, n_stakes).

    Values (n_samples,) are between 0 and 1; the bettors bet on a mean above `high`, and on one
    below `low`. The logs of several batches add up.
    """
    return np.stack([_log_factors(values, high), _log_factors(1 - values, 1 - low)])


def log_average(log_evidence) -> float:
    """Return the log of the mean of some evidence."""
    return float(np.logaddexp.reduce(log_evidence, axis=None) - np.log(np.size(log_evidence)))


def no_capitals() -> np.ndarray:
    """Return the log factors of no rows at all: (2, n_stakes)."""
    return np.zeros((2, len(_STAKES)))


def _log_factors(values: np.ndarray, mean: float) -> np.ndarray:
    """Return the log factor of each stake on values whose mean is above some mean."""
    gain = values / mean - 1
    # One stake at a time, so that a large batch needs no array of all stakes.
    return np.array([np.log1p(stake * gain).sum() for stake in _STAKES])


def _lower_mean(values: np.ndarray, level: float) -> float:
    """Return the largest mean such that it and all lower ones are rejected by the values."""

    def excess(mean):
        return log_average(_log_factors(values, mean)) + np.log(level)

    top = float(values.mean())
    if top <= _PRECISION or excess(_PRECISION) <= 0:
        return 0.0
    return max(0.0, brentq(excess, _PRECISION, top, xtol=_PRECISION / 2) - _PRECISION)


def _log_share_ratio(now: int, n_rows: int, then: int, n_then: int) -> float:
    """Return the log likelihood ratio of one stage, at the least favourable share."""
    both, neither = now + then, n_rows + n_then - now - then
    rows = n_then * _PRIOR_FRACTION

    def slope(share):
        # Of the log ratio, which is convex in the share and so has a single minimum.
        ones = digamma(rows * share + then) - digamma(rows * share)
        zeros = digamma(rows * (1 - share) + n_then - then) - digamma(rows * (1 - share))
        return rows * (ones - zeros) - both / share + neither / (1 - share)

    if slope(_TINY) >= 0:
        share = _TINY
    elif slope(1 - _TINY) <= 0:
        share = 1 - _TINY
    else:
        share = brentq(slope, _TINY, 1 - _TINY, xtol=_TINY)
    # Never exactly 0 or 1: a stage without calibration rows may get served rows.
    centre = (then + 0.5) / (n_then + 1)
    mixed = _log_mixture(now, n_rows, _PRIOR_ROWS, centre) + _log_mixture(then, n_then, rows, share)
    return float(mixed - xlogy(both, share) - xlog1py(neither, -share))


def _log_mixture(count: int, n_rows: int, prior_rows: float, centre: float) -> float:
    """Return the log probability of rows in their order, mixed over shares around a centre."""
    ones, zeros = prior_rows * centre, prior_rows * (1 - centre)
    return betaln(ones + count, zeros + n_rows - count) - betaln(ones, zeros)
