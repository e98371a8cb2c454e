"""How confident an output is: from its probabilities, or from the votes of an ensemble so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from sklearn_cascade.core._thresholds import threshold_at

# Numbers processed at once: intermediate copies stay in the processor's cache.
_BLOCK_SIZE = 2**16
# Added to exact margins, so that a margin on the boundary stays off it in float32 too, where an
# exported file compares them. Votes are farther apart than this up to 50,000 members.
_TIE_SLACK = 2e-5


def compute_confidence(proba: np.ndarray, confidence: str | Callable) -> np.ndarray:
    """Return the confidence of each row of probabilities, larger is more confident: (n_samples,).

    ``"max_proba"`` is the largest probability, ``"margin"`` the largest minus the second largest,
    ``"entropy"`` one minus the entropy over its maximum, log(n_classes); all lie in [0, 1]. A
    callable gets `proba` (n_samples, n_classes) and returns one number per row. A row of NaN has
    a confidence of NaN.
    """
    if not callable(confidence):
        return CONFIDENCES[confidence](proba)
    values = np.asarray(confidence(proba), dtype=np.float64)
    if values.shape != (proba.shape[0],):
        raise ValueError(
            f"confidence={confidence!r} returned shape {values.shape}; expected one number per "
            f"row: ({proba.shape[0]},)"
        )
    # Infinity is reserved for the threshold that nothing reaches.
    return np.minimum(values, np.finfo(np.float64).max)


def is_more_confident(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Return where a later stage is at least as confident as an earlier one: (n_samples,).

    NaN, the confidence of a stage that abstains, gives way to any other.
    """
    return (later >= earlier) | np.isnan(earlier)


def _max_proba(proba: np.ndarray) -> np.ndarray:
    """Return the largest probability of each row."""
    return np.maximum.reduce(proba, axis=1)


def _margin(proba: np.ndarray) -> np.ndarray:
    """Return the largest probability minus the second largest."""
    if proba.shape[1] == 2:
        return np.abs(proba[:, 0] - proba[:, 1])
    return _by_block(_margin_of_block, proba)


def _margin_of_block(proba: np.ndarray) -> np.ndarray:
    """Return the margin of a block small enough to be copied."""
    top_two = np.partition(proba, -2, axis=1)[:, -2:]
    return top_two[:, 1] - top_two[:, 0]


def _entropy(proba: np.ndarray) -> np.ndarray:
    """Return one minus the normalised entropy."""
    scale = 1.0 / np.log(proba.shape[1])
    entropy = _by_block(lambda block: entr(block).sum(axis=1), proba)
    # Rounding leaves the interval by up to 1e-16.
    clipped: np.ndarray = np.clip(1.0 - scale * entropy, 0.0, 1.0)
    return clipped


def _by_block(function: Callable[[np.ndarray], np.ndarray], proba: np.ndarray) -> np.ndarray:
    """Apply a row-wise function block by block, so that its copies stay small."""
    n_samples, n_classes = proba.shape
    step = max(1, _BLOCK_SIZE // n_classes)
    if n_samples <= step:
        return function(proba)
    values = np.empty(n_samples, dtype=proba.dtype)
    for start in range(0, n_samples, step):
        values[start : start + step] = function(proba[start : start + step])
    return values


CONFIDENCES = {"max_proba": _max_proba, "margin": _margin, "entropy": _entropy}


def stage_confidences(confidence: str | Callable, weights: Sequence[float]) -> list[Any]:
    """Return the confidence of each stage: "vote_margin" depends on how many members have voted.

    `weights` holds the number of members in each stage. All members together have no vote
    margin, as none are left, hence None after the last stage.
    """
    if len(weights) == 1:
        # A single stage is compared with nothing.
        return ["max_proba"]
    if confidence != "vote_margin":
        return [confidence] * len(weights)
    n_voted = np.cumsum(weights)
    return [*(VoteMargin(k, float(n_voted[-1])) for k in n_voted[:-1].tolist()), None]


class VoteMargin(NamedTuple):
    """The vote margin as the confidence after one stage: `k` of `n_members` members have voted."""

    k: float
    n_members: float

    def __call__(self, proba: np.ndarray) -> np.ndarray:
        """Return the vote margin of the mean probabilities of those `k` members: (n_samples,)."""
        return vote_margin(proba * self.k, self.k, self.n_members)


def vote_margin(votes: ArrayLike, k: float, n_members: float) -> np.ndarray:
    """Return the margin of the leading class in standard errors: (n_samples,).

    `votes` (n_samples, n_classes) is the sum of the probabilities of the `k` members that have
    voted, of `n_members` in all; margins of different prefixes of an ensemble can be compared.

    With shares ``p = votes / (k + 1)`` and the gap ``p1 - p2`` between the two largest, the
    variance of one member's vote is at most ``p1 + p2 - gap**2``, and one vote is added so
    that a few unanimous members are not infinitely confident. The members still to come are the
    rest of a finite population, hence ``1 / k - 1 / n_members`` in place of ``1 / k`` (Cochran,
    "Sampling Techniques", 1977, section 2.6). The figure is nominal: tune a threshold for it, or
    bound the error in another way, before relying on it.
    """
    if not 0 < k < n_members:
        raise ValueError(f"k={k!r}; expected a number above 0 and below n_members={n_members!r}")
    shares = np.asarray(votes, dtype=np.float64) / (k + 1)
    if shares.shape[1] > 2:
        shares = np.partition(shares, -2, axis=1)[:, -2:]
    gap = np.abs(shares[:, 1] - shares[:, 0])
    variance = shares[:, 0] + shares[:, 1] - gap * gap + 1 / (k + 1)
    return gap / np.sqrt(variance * (1 / k - 1 / n_members))


# Margins as thresholds: at these the label of all members cannot, or hardly can, be another.
def exact_margins(weight_run: np.ndarray, weight: float) -> np.ndarray:
    """Return, per stage, the margin at which the remaining members cannot change the label.

    `weight_run` (n_stages - 1,) is the weight of the members run after each stage but the last,
    `weight` that of all members. The result (n_stages - 1,) is thresholds for the confidence
    "margin", infinite where no margin is large enough.
    """
    # A margin as large as what is left may end in a tie, after which the label may be another.
    return _as_thresholds((weight - weight_run) / weight_run + _TIE_SLACK)


def serfling_margins(n_run: np.ndarray, n_members: int, n_classes: int, delta: float) -> np.ndarray:
    """Return, per stage, the margin at which a different final label is improbable.

    `n_run` (n_stages - 1,) is the number of members run after each stage but the last, and
    `delta` the probability, per row, of another label than that of all members. The result
    (n_stages - 1,) is thresholds for "margin", infinite where no margin is large enough.

    Serfling's inequality ("Probability inequalities for the sum in sampling without
    replacement", 1974) for the difference of two votes, which lies in [-1, 1], with a union over
    stages and rival classes. It assumes that the remaining members are a random draw, as the
    trees of a forest are.
    """
    if not len(n_run):
        return np.empty(0)
    n_comparisons = len(n_run) * (n_classes - 1)
    share_left = 1 - (n_run - 1) / n_members
    return _as_thresholds(np.sqrt(2 * share_left * np.log(n_comparisons / delta) / n_run))


def _as_thresholds(margins: np.ndarray) -> np.ndarray:
    """Return thresholds that are effective exactly at these margins; infinity beyond one."""
    return np.where(margins > 1, np.inf, threshold_at(np.minimum(margins, 1.0)))
