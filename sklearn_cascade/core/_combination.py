"""Probabilities of the stages run so far to one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sklearn_cascade.core._confidence import compute_confidence, is_more_confident
from sklearn_cascade.core._learned_confidence import (
    ConfidenceModel,
    CrossFittedConfidence,
    pair_columns,
)
from sklearn_cascade.core._probabilities import abstentions

# How sure an answer is, as a rule.
Confidence = str | Callable | ConfidenceModel | CrossFittedConfidence
COMBINATIONS = ("mean", "last", "most_confident")


class ProbaCombiner:
    """Combine the stages run so far, one stage at a time.

    With ``"mean"`` the answer is the weighted mean of the stages run so far, as in Wang et al.
    (2022); with ``"last"`` it is the answer of the latest, as in Streeter (2018); with ``"most_confident"``
    that of the stage which is surest by itself, the later one among equals. A stage that abstains
    on a row (a row of NaN) is left out of that row's answer; while all of them abstain, the
    answer is NaN.

    Parameters
    ----------
    combine : {"mean", "last", "most_confident"}
        How the stages are combined.
    allow_abstain : bool, default=False
        Look for rows of NaN.
    remember : bool, default=False
        Keep what each stage said by itself, for a learned confidence.

    Attributes
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        The answer so far.
    """

    __slots__ = ("_allow_abstain", "_combine", "_mass", "_said", "_sure", "_total", "proba")

    def __init__(
        self, combine: str, *, allow_abstain: bool = False, remember: bool = False
    ) -> None:
        self._combine = combine
        self._allow_abstain = allow_abstain
        self._said: list[tuple[np.ndarray, np.ndarray]] | None = [] if remember else None
        self._mass: float | np.ndarray = 0.0
        self._total: np.ndarray | None = None
        self._sure: np.ndarray | None = None
        self.proba: np.ndarray | None = None

    def add(
        self,
        proba: np.ndarray,
        weight: float = 1.0,
        confidence: Confidence | np.ndarray | None = None,
    ) -> np.ndarray:
        """Take in one more stage and return the answer so far (n_samples, n_classes).

        No array handed in is written to. "most_confident" compares the stages by their confidence.
        """
        silent = abstentions(proba) if self._allow_abstain else None
        if self._said is not None:
            self._said.append((np.maximum.reduce(proba, axis=1), proba.argmax(axis=1)))
        if self._combine == "last":
            answer = self._after_silence(proba, silent)
        elif self._combine == "most_confident":
            answer = self._surest(proba, confidence, silent)
        else:
            answer = self._add_to_mean(proba, weight, silent)
        self.proba = answer
        return answer

    def add_unscaled(self, proba: np.ndarray) -> tuple[np.ndarray, float]:
        """Take in one more stage; return the answer times a number, and that number.

        The division of the mean is left to the caller, who may need it for one column only.
        For stages of equal weight, none of which abstains.
        """
        if self._combine == "last":
            return proba, 1.0
        self._total = proba if self._total is None else self._total + proba
        self._mass += 1.0
        return self._total, self._mass

    @property
    def total(self) -> np.ndarray | None:
        """The sum behind the mean (n_samples, n_classes); None before the first stage."""
        return self._total

    def set_sum(self, total: np.ndarray, mass: float) -> np.ndarray:
        """Take the sum over from a stage that added to it; return the answer so far.

        For parts of one ensemble, which divides by `mass` at the end, as the ensemble does.
        """
        self._total, self._mass = total, mass
        self.proba = total / mass
        return self.proba

    def confidence(self, confidence: Confidence | np.ndarray) -> np.ndarray:
        """Return the confidence of the answer so far: shape (n_samples,).

        What is known of each row already may take its place.
        """
        if self._combine == "most_confident":
            return self._sure
        return self._judge(self.proba, confidence)

    def previous_outputs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return what the stages said by themselves that is not the answer so far.

        Largest probability and class of each, both (n_samples,).
        """
        alone = self._combine != "mean" or len(self._said) == 1
        return self._said[:-1] if alone else list(self._said)

    def copy(self) -> ProbaCombiner:
        """Return a copy to which other stages may be added."""
        other = ProbaCombiner(self._combine, allow_abstain=self._allow_abstain)
        for attribute in ("_mass", "_total", "_sure", "proba"):
            setattr(other, attribute, getattr(self, attribute))
        other._said = None if self._said is None else list(self._said)
        return other

    def take(self, rows: np.ndarray) -> None:
        """Go on with some of the rows only: positions (n_kept,)."""
        self.proba = self.proba[rows]
        if self._total is not None:
            self._total = self._total[rows]
        if isinstance(self._mass, np.ndarray):
            self._mass = self._mass[rows]
        if self._sure is not None:
            self._sure = self._sure[rows]
        if self._said is not None:
            self._said = [(sure[rows], own[rows]) for sure, own in self._said]

    def _judge(self, proba: np.ndarray, confidence: Confidence | np.ndarray) -> np.ndarray:
        """Return how sure one answer is."""
        if isinstance(confidence, np.ndarray):
            return confidence
        if isinstance(confidence, (ConfidenceModel, CrossFittedConfidence)):
            return confidence(proba, self.previous_outputs())
        return compute_confidence(proba, confidence)

    def _surest(self, proba: np.ndarray, confidence, silent: np.ndarray | None) -> np.ndarray:
        """Return the answer of the surest stage, with this one among them."""
        sure = self._judge(proba, confidence)
        if silent is not None:
            sure = np.where(silent, np.nan, sure)
        if self.proba is None:
            self._sure = sure
            return proba
        later = is_more_confident(sure, self._sure)
        self._sure = np.where(later, sure, self._sure)
        return np.where(later[:, None], proba, self.proba)

    def _after_silence(self, proba: np.ndarray, silent: np.ndarray | None) -> np.ndarray:
        """Return the latest answer, or the one before where the latest abstains."""
        if silent is None or self.proba is None:
            return proba
        return np.where(silent[:, None], self.proba, proba)

    def _add_to_mean(
        self, proba: np.ndarray, weight: float, silent: np.ndarray | None
    ) -> np.ndarray:
        """Return the weighted mean with one more stage in it."""
        if silent is not None:
            proba = np.where(silent[:, None], 0.0, proba)
            weight = np.where(silent, 0.0, weight)[:, None]
        first = self._total is None
        share = proba if silent is None and weight == 1.0 else proba * weight
        self._total = share if first else self._total + share
        self._mass = self._mass + weight
        if first and silent is None:
            return proba
        if isinstance(self._mass, float):
            return self._total / self._mass
        # Nothing heard yet is no answer.
        return self._total / np.where(self._mass == 0, np.nan, self._mass)


def geometric_mean(
    probas: Sequence[np.ndarray], weights: Sequence[float], *, allow_abstain: bool = False
) -> np.ndarray:
    """Return the normalised weighted geometric mean of the members.

    Rows on which the members rule out every class between them (a zero in each column) have
    no geometric mean; they get the arithmetic one. A member is left out of the rows on which it
    abstains.

    Parameters
    ----------
    probas : sequence of ndarray of shape (n_samples, n_classes)
        Class probabilities of each member.
    weights : sequence of float
        Weight of each member, not negative.
    allow_abstain : bool, default=False
        Look for rows of NaN.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        Rows sum to one; NaN where every member abstains.
    """
    arithmetic = ProbaCombiner("mean", allow_abstain=allow_abstain)
    total = np.zeros_like(probas[0])
    mass = np.zeros(len(probas[0]))
    for proba, weight in zip(probas, weights, strict=True):
        if weight == 0:
            continue
        arithmetic.add(proba, weight)
        heard = ~np.isnan(proba[:, 0])
        total += np.where(heard[:, None], _log(proba) * weight, 0.0)
        mass += weight * heard
    peak = total.max(axis=1)
    lost = np.isneginf(peak) | (mass == 0)
    total[lost] = 0.0
    peak[lost] = 0.0
    mass[lost] = 1.0
    proba = np.exp((total - peak[:, None]) / mass[:, None])
    proba /= proba.sum(axis=1, keepdims=True)
    proba[lost] = arithmetic.proba[lost]
    return proba


def fill_abstained(proba: np.ndarray, class_shares: np.ndarray | None) -> np.ndarray:
    """Answer the rows on which everything abstained by the class shares.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Answers; rows of NaN are none.
    class_shares : ndarray of shape (n_classes,) or None
        Shares of the training rows; None where nothing may abstain.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
    """
    if class_shares is None:
        return proba
    lost = np.isnan(proba[:, 0])
    return np.where(lost[:, None], class_shares, proba) if lost.any() else proba


def _log(proba: np.ndarray) -> np.ndarray:
    """Return log(proba) with minus infinity at zero, quietly."""
    with np.errstate(divide="ignore"):
        return np.log(proba)


class LabelCombiner:
    """Combine the stages run so far where all they give is a label and a confidence.

    What `ProbaCombiner` is for probabilities, with the same names.

    Parameters
    ----------
    combine : {"last", "most_confident"}
        How the stages are combined; labels have no mean.

    Attributes
    ----------
    label : ndarray of int of shape (n_samples,)
        The answer so far.
    """

    __slots__ = ("_combine", "_said", "_sure", "label")

    def __init__(self, combine: str) -> None:
        self._combine = combine
        self._said: list[tuple[np.ndarray, np.ndarray]] = []
        self._sure: np.ndarray | None = None
        self.label: np.ndarray | None = None

    def add(self, pair: tuple[np.ndarray, np.ndarray], weight=None, confidence=None) -> np.ndarray:
        """Take in one more stage and return the label so far: shape (n_samples,).

        A learned confidence takes the place of the one in the pair; any other rule needs more
        than that, and labels have no weights.
        """
        sure, label = given = pair
        if isinstance(confidence, (ConfidenceModel, CrossFittedConfidence)):
            sure = confidence.predict(pair_columns(sure), label, self._said)
        # A new list: branches share the old one.
        self._said = [*self._said, given]
        if self._combine == "most_confident" and self.label is not None:
            later = is_more_confident(sure, self._sure)
            sure, label = np.where(later, sure, self._sure), np.where(later, label, self.label)
        self._sure, self.label = sure, label
        return label

    def confidence(self, confidence=None) -> np.ndarray:
        """Return the confidence of the answer so far: shape (n_samples,)."""
        return self._sure

    def copy(self) -> LabelCombiner:
        """Return a copy to which other stages may be added."""
        other = LabelCombiner(self._combine)
        other._said, other._sure, other.label = self._said, self._sure, self.label
        return other


def combine_stages(
    combiner: ProbaCombiner | LabelCombiner,
    outputs: Iterable,
    confidences: Sequence,
    weights: Sequence[float] | None = None,
    *,
    n_gates: int,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Add the stages one by one; yield the answer so far and its confidence (n_samples,).

    The confidence is None after the first `n_gates` stages, where no row can exit any more.
    """
    for k, output in enumerate(outputs):
        answer = combiner.add(output, 1.0 if weights is None else weights[k], confidences[k])
        yield answer, combiner.confidence(confidences[k]) if k < n_gates else None
