"""The routing of a fitted cascade or averaging ensemble as plain numbers, ready for a graph.

`spec_of` is the entry point. It describes an averaging ensemble as a cascade in which no row exits
early, so "cascade" in the names of this package stands for both. Only this module reads the fitted
state of estimators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade.core._combination import ProbaCombiner
from sklearn_cascade.core._confidence import VoteMargin
from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.core._learned_confidence import ConfidenceModel
from sklearn_cascade.core._thresholds import effective_threshold
from sklearn_cascade.estimators._averaging import AveragingEnsemble
from sklearn_cascade.estimators._cascade import CascadeClassifier
from sklearn_cascade.estimators._search_cv import CascadeSearchCV
from sklearn_cascade.exceptions import ConversionError

_CONFIDENCES = ("max_proba", "margin", "entropy", "vote_margin", "learned")


class ConfidenceSpec(NamedTuple):
    """How the confidence after one stage is computed; numbers for "vote_margin", else a model."""

    kind: str  # one of _CONFIDENCES
    n_voted: float = 0.0  # members of the ensemble that have voted after this stage
    n_members: float = 0.0  # all members of the ensemble
    model: Any = None  # the ConfidenceModel, for "learned"


class CascadeSpec(NamedTuple):
    """A cascade or averaging ensemble without its members."""

    stages: Sequence  # fitted stages
    combine: str  # "mean", "last", "most_confident" or "geometric"
    # One per stage whose confidence may be compared with anything; empty for an ensemble.
    confidences: list[ConfidenceSpec]
    thresholds: list[float]  # (n_stages - 1,), as set or tuned
    effective_thresholds: list[float]  # (n_stages - 1,), the smallest confidence that exits
    weights: list[float]  # (n_stages,)
    cumulative_costs: np.ndarray  # (n_stages,), of a row that exits at each stage
    cost_unit: str
    classes: np.ndarray  # (n_classes,), int64 or text
    exits_early: bool  # a cascade, not an ensemble

    @property
    def confidence(self) -> str | None:
        """Name of the confidence; None where no row exits early."""
        return self.confidences[0].kind if self.confidences else None

    def may_exit(self, k: int) -> bool:
        """Tell whether rows may exit at a stage that is not the last."""
        return k < len(self.effective_thresholds) and not np.isposinf(self.effective_thresholds[k])

    def needs_confidence(self, k: int) -> bool:
        """Tell whether anything depends on the confidence after a stage."""
        return self.may_exit(k) or (self.combine == "most_confident" and bool(self.confidences))

    def needs_history(self, k: int) -> bool:
        """Tell whether a learned confidence after a later stage reads a stage's own output."""
        later = range(k + 1, len(self.confidences))
        return self.confidence == "learned" and any(self.needs_confidence(j) for j in later)

    def is_used(self, k: int) -> bool:
        """Tell whether the output for any row depends on a stage."""
        if not self.exits_early:
            return self.weights[k] > 0
        is_last = k == len(self.stages) - 1
        in_output = is_last or self.combine != "last" or self.may_exit(k)
        return in_output or self.needs_history(k)

    def n_history(self, k: int) -> int:
        """Return how many stages' own outputs a learned confidence reads beside the combined."""
        return k + 1 if self.combine == "mean" and k > 0 else k


def spec_of(cascade) -> CascadeSpec:
    """Return the routing of a fitted cascade or ensemble; raise for what no graph can do."""
    if cascade.allow_abstain:
        raise ConversionError(
            "allow_abstain=True cannot be exported: a graph cannot return the class shares where "
            "all members abstain; expected a cascade or ensemble fitted with allow_abstain=False"
        )
    exits_early = isinstance(cascade, CascadeClassifier)
    if exits_early:
        combine, thresholds = cascade.combine_, cascade.thresholds_.tolist()
        confidences = confidences_of(cascade)
        # Only "most_confident" compares the last stage's confidence, with those of other stages.
        if combine != "most_confident" or len(confidences) == 1:
            confidences = confidences[:-1]
    else:
        combine = "geometric" if cascade.average == "geometric" else "mean"
        thresholds, confidences = [], []
    return CascadeSpec(
        stages=stages_of(cascade),
        combine=combine,
        confidences=[_confidence(confidence) for confidence in confidences],
        thresholds=thresholds,
        effective_thresholds=[float(effective_threshold(t)) for t in thresholds],
        weights=cascade.weights_.tolist(),
        cumulative_costs=cumulative_costs(cascade.costs_),
        cost_unit=cascade.cost_unit_,
        classes=_check_classes(cascade.classes_),
        exits_early=exits_early,
    )


def _confidence(confidence) -> ConfidenceSpec:
    """Return one confidence in the form that a graph can hold; raise where there is none."""
    if isinstance(confidence, ConfidenceModel):
        return ConfidenceSpec("learned", model=confidence)
    if isinstance(confidence, VoteMargin):
        return ConfidenceSpec("vote_margin", *confidence)
    if confidence in _CONFIDENCES:
        return ConfidenceSpec(confidence)
    problem = "is a function, which an ONNX file cannot hold"
    if isinstance(confidence, str):
        problem = "has no ONNX operations"
    raise ConversionError(
        f"confidence={confidence!r} {problem}; expected one of {', '.join(_CONFIDENCES)}"
    )


def _check_classes(classes: np.ndarray) -> np.ndarray:
    """Return the labels as int64 or text; raise for others."""
    text = classes.dtype.kind in "US" or all(isinstance(label, str) for label in classes.tolist())
    if text or classes.dtype.kind in "iub":
        return onnx_labels(classes)
    raise ConversionError(
        f"classes_={classes!r} are of dtype {classes.dtype}; an ONNX file holds text or integers: "
        f"fit on such labels"
    )


def onnx_labels(labels) -> np.ndarray:
    """Return labels in the type that a file has: int64 for integers and booleans, else text."""
    labels = np.asarray(labels)
    return labels.astype(np.int64 if labels.dtype.kind in "iub" else object)


def is_cascade(estimator) -> bool:
    """Tell whether an estimator is a cascade, an averaging ensemble or a search for a cascade."""
    return isinstance(estimator, CascadeClassifier | AveragingEnsemble | CascadeSearchCV)


def is_fitted(cascade) -> bool:
    """Tell whether a cascade is fitted, and not the unfitted one that a parameter holds."""
    return "fitted_" in vars(cascade)


def fitted_cascade(estimator):
    """Return the cascade or ensemble itself: of a search, the cascade that it found."""
    check_is_fitted(estimator)
    if not isinstance(estimator, CascadeSearchCV):
        return estimator
    if not estimator.refit:
        raise ConversionError(
            f"refit={estimator.refit!r}, so the search has no fitted cascade to export; expected "
            f"refit=True"
        )
    return estimator.best_estimator_


def stages_of(cascade) -> Sequence:
    """Return the fitted stages, in the order in which they run."""
    return cascade.fitted_.members.stages


def confidences_of(cascade) -> Sequence:
    """Return what computes the confidence after each stage: names, functions or models."""
    return cascade.fitted_.policy.confidences


def combine_each_stage(
    cascade, stage_proba: Sequence[np.ndarray | None]
) -> Iterator[tuple[int, ProbaCombiner]]:
    """Yield each stage that is used, and the combiner as if every stage had run on every row.

    With "most_confident", confidence is about each stage's own output, so the combiner holds that.
    `stage_proba` has one array (n_samples, n_classes) per stage, None for those that are not used.
    """
    policy = cascade.fitted_.policy
    if policy.combine == "most_confident":
        policy = policy._replace(combine="last")
    combiner = policy.begin()
    for k, proba in enumerate(stage_proba):
        if proba is not None:
            combiner.add(proba, policy.weights[k])
            yield k, combiner
