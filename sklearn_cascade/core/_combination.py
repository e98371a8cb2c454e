"""How the outputs of the stages run so far become one: mean, last or most confident stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sklearn_cascade.core._confidence import compute_confidence, is_more_confident
from sklearn_cascade.core._learned_confidence import (
    ConfidenceModel,
    CrossFittedConfidence,
    pair_columns,
)
from sklearn_cascade.core._probabilities import abstentions

COMBINATIONS = ("mean", "last", "most_confident")
# How the confidence of an output is computed; an array (n_samples,) is a confidence known already.
ConfidenceRule = str | Callable | ConfidenceModel | CrossFittedConfidence | np.ndarray

_NOTHING_YET = np.empty((0, 0))


class ProbaCombiner:
    """Combine the probabilities of the stages run so far, one stage at a time.

    With ``"mean"`` the combination is the weighted mean of the stages run so far, as in Wang et
    al. (2022); with ``"last"`` it is the latest stage, as in Streeter (2018); with
    ``"most_confident"`` it is the stage with the highest confidence of its own, the later one
    among equals. `allow_abstain` looks for rows of NaN: a stage that abstains on a row is left
    out of that row's combination, which is NaN while all have abstained. `remember` keeps the
    outputs of each stage, for a learned confidence. No array handed in is written to.
    """

    __slots__ = (
        "_allow_abstain",
        "_combine",
        "_confidence",
        "_outputs",
        "_total",
        "_total_weight",
        "proba",
    )

    def __init__(
        self, combine: str, *, allow_abstain: bool = False, remember: bool = False
    ) -> None:
        self._combine = combine
        self._allow_abstain = allow_abstain
        # "mean": sum of the stages times their weights, and of the weights.
        self._total: np.ndarray | None = None
        self._total_weight: float | np.ndarray = 0.0
        # "most_confident": confidence of the stage that is kept, (n_samples,).
        self._confidence = _NOTHING_YET
        # Largest probability and class of each stage by itself, both (n_samples,).
        self._outputs: list[tuple[np.ndarray, np.ndarray]] | None = [] if remember else None
        # The combination so far, (n_samples, n_classes).
        self.proba = _NOTHING_YET

    def add(
        self, proba: np.ndarray, weight: float = 1.0, confidence: ConfidenceRule | None = None
    ) -> np.ndarray:
        """Add one more stage and return the combination so far, both (n_samples, n_classes).

        `weight` counts for "mean" only, the stage's `confidence` for "most_confident" only.
        """
        abstains = abstentions(proba) if self._allow_abstain else None
        if self._outputs is not None:
            self._outputs.append((np.maximum.reduce(proba, axis=1), proba.argmax(axis=1)))
        if self._combine == "mean":
            self.proba = self._add_to_mean(proba, weight, abstains)
        elif self._combine == "most_confident":
            self.proba = self._keep_most_confident(proba, confidence, abstains)
        elif abstains is None or self.proba is _NOTHING_YET:
            self.proba = proba
        else:
            self.proba = np.where(abstains[:, None], self.proba, proba)
        return self.proba

    def confidence(self, rule: ConfidenceRule | None) -> np.ndarray:
        """Return the confidence of the combination so far: shape (n_samples,)."""
        if self._combine == "most_confident":
            return self._confidence
        return self._apply(rule, self.proba)

    def previous_outputs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return largest probability and class (n_samples,) of each stage run so far.

        Without the latest stage where its output is the combination so far.
        """
        outputs = self._outputs or []
        is_combination = self._combine != "mean" or len(outputs) == 1
        return outputs[:-1] if is_combination else list(outputs)

    def take(self, rows: np.ndarray) -> None:
        """Go on with some of the rows only, given by their positions (n_kept,)."""
        self.proba = self.proba[rows]
        if self._total is not None:
            self._total = self._total[rows]
        if isinstance(self._total_weight, np.ndarray):
            self._total_weight = self._total_weight[rows]
        if self._confidence is not _NOTHING_YET:
            self._confidence = self._confidence[rows]
        if self._outputs is not None:
            self._outputs = [(top[rows], label[rows]) for top, label in self._outputs]

    def copy(self) -> ProbaCombiner:
        """Return a copy to which other stages may be added."""
        other = ProbaCombiner(self._combine, allow_abstain=self._allow_abstain)
        for attribute in ("_total", "_total_weight", "_confidence", "proba"):
            setattr(other, attribute, getattr(self, attribute))
        other._outputs = None if self._outputs is None else list(self._outputs)
        return other

    @property
    def total(self) -> np.ndarray | None:
        """The sum behind the mean (n_samples, n_classes); None before the first stage."""
        return self._total

    def set_sum(self, total: np.ndarray, weight: float) -> np.ndarray:
        """Replace the sum by one that a stage has added to; return the combination so far.

        For parts of one ensemble, which divides its sum by `weight` at the end.
        """
        self._total, self._total_weight = total, weight
        self.proba = total / weight
        return self.proba

    def add_unscaled(self, proba: np.ndarray) -> tuple[np.ndarray, float | np.ndarray]:
        """Add one more stage; return the combination so far times a number, and that number.

        For stages of equal weight that never abstain. The caller divides, perhaps one column only.
        """
        if self._combine == "last":
            return proba, 1.0
        self._total = proba if self._total is None else self._total + proba
        self._total_weight += 1.0
        return self._total, self._total_weight

    def _add_to_mean(
        self, proba: np.ndarray, weight: float, abstains: np.ndarray | None
    ) -> np.ndarray:
        """Return the weighted mean with one more stage in it."""
        row_weight: float | np.ndarray = weight
        if abstains is not None:
            proba = np.where(abstains[:, None], 0.0, proba)
            row_weight = np.where(abstains, 0.0, weight)[:, None]
        is_first = self._total is None
        weighted = proba if abstains is None and weight == 1.0 else proba * row_weight
        self._total = weighted if self._total is None else self._total + weighted
        self._total_weight = self._total_weight + row_weight
        if is_first and abstains is None:
            return proba
        if isinstance(self._total_weight, float):
            return self._total / self._total_weight
        # The mean of no stages is NaN.
        return self._total / np.where(self._total_weight == 0, np.nan, self._total_weight)

    def _keep_most_confident(
        self, proba: np.ndarray, rule: ConfidenceRule | None, abstains: np.ndarray | None
    ) -> np.ndarray:
        """Return, for each row, the stage that is most confident by itself."""
        confidence = self._apply(rule, proba)
        if abstains is not None:
            confidence = np.where(abstains, np.nan, confidence)
        if self.proba is _NOTHING_YET:
            self._confidence = confidence
            return proba
        is_better = is_more_confident(confidence, self._confidence)
        self._confidence = np.where(is_better, confidence, self._confidence)
        return np.where(is_better[:, None], proba, self.proba)

    def _apply(self, rule: Any, proba: np.ndarray) -> np.ndarray:
        """Return the confidence of probabilities by a rule: shape (n_samples,)."""
        if isinstance(rule, np.ndarray):
            return rule
        if isinstance(rule, (ConfidenceModel, CrossFittedConfidence)):
            return rule(proba, self.previous_outputs())
        return compute_confidence(proba, rule)


class LabelCombiner:
    """Combine the stages run so far where each outputs only a label and a confidence.

    What `ProbaCombiner` is for probabilities, with the same methods; `combine` is "last" or
    "most_confident", as labels have no mean.
    """

    __slots__ = ("_combine", "_confidence", "_outputs", "label")

    def __init__(self, combine: str) -> None:
        self._combine = combine
        self._outputs: list[tuple[np.ndarray, np.ndarray]] = []
        self._confidence = _NOTHING_YET
        # The combination so far, (n_samples,).
        self.label = _NOTHING_YET

    def add(
        self,
        pair: tuple[np.ndarray, np.ndarray],
        weight: float | None = None,
        confidence: ConfidenceRule | None = None,
    ) -> np.ndarray:
        """Add the confidence and label of one more stage; return the label so far (n_samples,).

        A learned confidence replaces the one in the pair; any other rule needs probabilities, and
        is ignored, as is the weight.
        """
        own_confidence, label = pair
        if isinstance(confidence, (ConfidenceModel, CrossFittedConfidence)):
            columns = pair_columns(own_confidence)
            own_confidence = confidence.predict(columns, label, self._outputs)
        # A new list, because copies share the old one.
        self._outputs = [*self._outputs, pair]
        if self._combine == "most_confident" and self.label is not _NOTHING_YET:
            is_better = is_more_confident(own_confidence, self._confidence)
            own_confidence = np.where(is_better, own_confidence, self._confidence)
            label = np.where(is_better, label, self.label)
        self._confidence, self.label = own_confidence, label
        return label

    def confidence(self, rule: ConfidenceRule | None = None) -> np.ndarray:
        """Return the confidence of the label so far: shape (n_samples,)."""
        return self._confidence

    def copy(self) -> LabelCombiner:
        """Return a copy to which other stages may be added."""
        other = LabelCombiner(self._combine)
        other._outputs, other._confidence = self._outputs, self._confidence
        other.label = self.label
        return other


def combine_stages(
    combiner: ProbaCombiner | LabelCombiner,
    outputs: Iterable[Any],
    rules: Sequence[ConfidenceRule | None],
    weights: Sequence[float] | None = None,
    *,
    n_gates: int,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Add the stages one by one; yield the combination so far and its confidence (n_samples,).

    A gate is the point after a stage where rows may exit; the confidence is computed after the
    first `n_gates` stages, and None after the others.
    """
    for k, output in enumerate(outputs):
        combined = combiner.add(output, 1.0 if weights is None else weights[k], rules[k])
        yield combined, combiner.confidence(rules[k]) if k < n_gates else None


def geometric_mean(
    probas: Sequence[np.ndarray], weights: Sequence[float], *, allow_abstain: bool = False
) -> np.ndarray:
    """Return the normalised weighted geometric mean of the members: (n_samples, n_classes).

    Rows in which every class is ruled out by some member (a zero in each column) have no
    geometric mean and get the arithmetic one. A member is left out of the rows on which it
    abstains; a row is NaN where every member does.
    """
    arithmetic = ProbaCombiner("mean", allow_abstain=allow_abstain)
    total = np.zeros_like(probas[0])
    total_weight = np.zeros(len(probas[0]))
    for proba, weight in zip(probas, weights, strict=True):
        if weight == 0:
            continue
        arithmetic.add(proba, weight)
        present = ~np.isnan(proba[:, 0])
        with np.errstate(divide="ignore"):
            log_proba = np.log(proba)
        total += np.where(present[:, None], log_proba * weight, 0.0)
        total_weight += weight * present
    peak = total.max(axis=1)
    undefined = np.isneginf(peak) | (total_weight == 0)
    total[undefined] = 0.0
    peak[undefined] = 0.0
    total_weight[undefined] = 1.0
    proba = np.exp((total - peak[:, None]) / total_weight[:, None])
    proba /= proba.sum(axis=1, keepdims=True)
    proba[undefined] = arithmetic.proba[undefined]
    return proba


def fill_abstained(proba: np.ndarray, class_shares: np.ndarray | None) -> np.ndarray:
    """Replace rows of NaN, on which all abstained, by the class shares of the training rows.

    `proba` (n_samples, n_classes) is returned as it is where `class_shares` is None, which means
    that nothing may abstain.
    """
    if class_shares is None:
        return proba
    abstained = np.isnan(proba[:, 0])
    return np.where(abstained[:, None], class_shares, proba) if abstained.any() else proba
