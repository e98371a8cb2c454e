"""Probabilities to confidence: how sure an answer is, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from sklearn_cascade.core._thresholds import threshold_at

# Numbers looked at in one go: intermediate copies stay in the processor's cache.
_BLOCK_SIZE = 2**16


def _max_proba(proba: np.ndarray) -> np.ndarray:
    """Return the largest probability of each row."""
    return np.maximum.reduce(proba, axis=1)


def _margin(proba: np.ndarray) -> np.ndarray:
    """Return the largest probability minus the second largest."""
    if proba.shape[1] == 2:
        return np.abs(proba[:, 0] - proba[:, 1])
    return _by_block(_margin_of_block, proba)


def _entropy(proba: np.ndarray) -> np.ndarray:
    """Return one minus the normalised entropy."""
    scale = 1.0 / np.log(proba.shape[1])
    spread = _by_block(lambda block: entr(block).sum(axis=1), proba)
    # Rounding leaves the ends of the interval by 1e-16.
    return np.clip(1.0 - scale * spread, 0.0, 1.0)


CONFIDENCES = {"max_proba": _max_proba, "margin": _margin, "entropy": _entropy}
# Margins are shares of whole votes; one on the boundary has to stay off it in float32, too, where
# an exported file compares them. Votes are farther apart than this up to 50,000 members.
_TIE_SLACK = 2e-5


def compute_confidence(proba: np.ndarray, confidence: str | Callable) -> np.ndarray:
    """Return how sure each row of probabilities is; larger is surer.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities; a row of NaN has a confidence of NaN.
    confidence : {"max_proba", "margin", "entropy"} or callable
        The largest probability; the largest minus the second largest; one minus the
        entropy over its maximum, log(n_classes); or any function of `proba` that returns
        an array of shape (n_samples,).

    Returns
    -------
    confidence : ndarray of shape (n_samples,)
        In [0, 1] for the named ones.

    Raises
    ------
    ValueError
        If a callable returns anything but one number per row.
    """
    if not callable(confidence):
        return CONFIDENCES[confidence](proba)
    values = np.asarray(confidence(proba), dtype=np.float64)
    if values.shape != (proba.shape[0],):
        raise ValueError(
            f"confidence={confidence!r} returned shape {values.shape}; expected one number per "
            f"row: ({proba.shape[0]},)"
        )
    # Infinity is kept for the threshold that nothing reaches.
    return np.minimum(values, np.finfo(np.float64).max)


def is_more_confident(later: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Tell on which rows a later answer is at least as sure as the one before.

    Parameters
    ----------
    later, before : ndarray of shape (n_samples,)
        Their confidences. NaN, of an answer that says nothing, gives way to any other.

    Returns
    -------
    is_more_confident : ndarray of bool of shape (n_samples,)
    """
    return (later >= before) | np.isnan(before)


def _margin_of_block(proba: np.ndarray) -> np.ndarray:
    """Return the margin of a block small enough to be copied."""
    top_two = np.partition(proba, -2, axis=1)[:, -2:]
    return top_two[:, 1] - top_two[:, 0]


def _by_block(function: Callable, proba: np.ndarray) -> np.ndarray:
    """Apply a row-wise function block by block, so that its copies stay small."""
    n_samples, n_classes = proba.shape
    step = max(1, _BLOCK_SIZE // n_classes)
    if n_samples <= step:
        return function(proba)
    values = np.empty(n_samples, dtype=proba.dtype)
    for start in range(0, n_samples, step):
        values[start : start + step] = function(proba[start : start + step])
    return values


def vote_margin(votes, k: float, n_members: float) -> np.ndarray:
    """Return the lead of the leading class in standard errors.

    With shares ``p = votes / (k + 1)`` and the gap ``p1 - p2`` between the two largest, the
    variance of one member's vote is at most ``p1 + p2 - gap**2``, and one vote more is added so
    that a unanimous few are not infinitely sure. The members still to come are the rest of a
    finite population, hence ``1 / k - 1 / n_members`` in place of ``1 / k`` (Cochran, "Sampling
    Techniques", 1977, section 2.6). It is a nominal figure: tune it, or bound the error
    otherwise, before you rely on it.

    Parameters
    ----------
    votes : array-like of shape (n_samples, n_classes)
        Sum of the probabilities of the members that have voted.
    k : float
        Number of members that have voted.
    n_members : float
        Number of all members, above `k`.

    Returns
    -------
    lead : ndarray of shape (n_samples,)
        From 0; comparable between prefixes of the same ensemble.

    Raises
    ------
    ValueError
        If `k` is not between 0 and `n_members`.
    """
    if not 0 < k < n_members:
        raise ValueError(f"k={k!r}; expected a number above 0 and below n_members={n_members!r}")
    shares = np.asarray(votes, dtype=np.float64) / (k + 1)
    if shares.shape[1] > 2:
        shares = np.partition(shares, -2, axis=1)[:, -2:]
    gap = np.abs(shares[:, 1] - shares[:, 0])
    variance = shares[:, 0] + shares[:, 1] - gap * gap + 1 / (k + 1)
    return gap / np.sqrt(variance * (1 / k - 1 / n_members))


class VoteMargin(NamedTuple):
    """The lead as a confidence after one stage.

    Attributes
    ----------
    k : float
        Number of members that have voted.
    n_members : float
        Number of all members.
    """

    k: float
    n_members: float

    def __call__(self, proba: np.ndarray) -> np.ndarray:
        """Return the lead where the mean of the members that voted is known: (n_samples,)."""
        return vote_margin(proba * self.k, self.k, self.n_members)


def stage_confidences(confidence: str | Callable, weights: Sequence[float]) -> list:
    """Return the confidence of each stage: "vote_margin" depends on how many have voted.

    All members together have no lead in standard errors, hence None after the last.

    Parameters
    ----------
    confidence : str or callable
        As the cascade's parameter.
    weights : sequence of float, one per stage
        Number of members in each stage.
    """
    if len(weights) == 1:
        # Compared with nothing, and nothing follows.
        return ["max_proba"]
    if confidence != "vote_margin":
        return [confidence] * len(weights)
    run = np.cumsum(weights)
    return [*(VoteMargin(k, float(run[-1])) for k in run[:-1].tolist()), None]


def exact_margins(weight_run: np.ndarray, weight: float) -> np.ndarray:
    """Return the margin from which on the members left cannot turn the answer, per stage.

    Parameters
    ----------
    weight_run : ndarray of shape (n_stages - 1,)
        Weight of the members run after each stage but the last.
    weight : float
        Weight of all members.

    Returns
    -------
    thresholds : ndarray of shape (n_stages - 1,)
        For the confidence "margin"; infinite where no margin is enough.
    """
    # A lead as large as what is left may end in a tie, which another class may win.
    return _as_thresholds((weight - weight_run) / weight_run + _TIE_SLACK)


def serfling_margins(run: np.ndarray, n_members: int, n_classes: int, delta: float) -> np.ndarray:
    """Return the margin that makes another final answer improbable, per stage.

    Serfling's inequality ("Probability inequalities for the sum in sampling without
    replacement", 1974) for the difference of two votes, which lies in [-1, 1], with a union over
    stages and rivals. It takes the members left for a random draw, which those of a forest are.

    Parameters
    ----------
    run : ndarray of int of shape (n_stages - 1,)
        Members run after each stage but the last.
    n_members : int
        Number of all members.
    n_classes : int
        Number of classes.
    delta : float
        Probability, per row, that the answer differs from that of all members.

    Returns
    -------
    thresholds : ndarray of shape (n_stages - 1,)
        For the confidence "margin"; infinite where no margin is enough.
    """
    if not len(run):
        return np.empty(0)
    n_comparisons = len(run) * (n_classes - 1)
    left = 1 - (run - 1) / n_members
    return _as_thresholds(np.sqrt(2 * left * np.log(n_comparisons / delta) / run))


def _as_thresholds(margins: np.ndarray) -> np.ndarray:
    """Return thresholds whose exit boundary is exactly the margin; infinity beyond one."""
    return np.where(margins > 1, np.inf, threshold_at(np.minimum(margins, 1.0)))
