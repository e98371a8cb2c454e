"""What a fitted committee does, as plain numbers to be written into a graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade.core import ConfidenceModel, VoteMargin, cumulative_costs, effective_threshold
from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier, CascadeSearchCV
from sklearn_cascade.exceptions import ConversionError


class Confidence(NamedTuple):
    """How sure an answer is.

    Attributes
    ----------
    kind : str
        "max_proba", "margin", "entropy", "vote_margin" or "learned".
    k, n_members : float
        For "vote_margin": members that have voted, and all members.
    learned : ConfidenceModel or None
        For "learned": what was learned.
    """

    kind: str
    k: float = 0.0
    n_members: float = 0.0
    learned: ConfidenceModel | None = None


class Blueprint(NamedTuple):
    """A committee without its members.

    Attributes
    ----------
    stages : list of Stage
        The fitted members.
    combine : str
        "mean", "last", "most_confident" or "geometric".
    confidences : list of Confidence
        One per stage but the last, and for "most_confident" the last one's, too; empty where all members
        run.
    thresholds, boundaries : list of float
        One per stage but the last; the boundary is the smallest confidence that exits.
    weights : list of float
        One per stage.
    costs : ndarray of shape (n_stages,)
        What a row has paid after each stage.
    cost_unit : str
        Their unit.
    classes : ndarray of shape (n_classes,)
        Labels of the columns.
    exits_early : bool
        Whether rows leave between the stages.
    """

    stages: list
    combine: str
    confidences: list[Confidence]
    thresholds: list[float]
    boundaries: list[float]
    weights: list[float]
    costs: np.ndarray
    cost_unit: str
    classes: np.ndarray
    exits_early: bool

    @property
    def confidence(self) -> str | None:
        """Name of the confidence; None where no row exits early."""
        return self.confidences[0].kind if self.confidences else None

    def exits_at(self, k: int) -> bool:
        """Tell whether rows may exit at a stage, other than at the last."""
        return k < len(self.boundaries) and not np.isposinf(self.boundaries[k])

    def judges(self, k: int) -> bool:
        """Tell whether anything depends on how sure the answer after a stage is."""
        return self.exits_at(k) or (self.combine == "most_confident" and bool(self.confidences))

    def needs_history(self, k: int) -> bool:
        """Tell whether a later confidence looks at what a stage said by itself."""
        later = range(k + 1, len(self.confidences))
        return self.confidence == "learned" and any(self.judges(j) for j in later)

    def n_said(self, k: int) -> int:
        """Return how many stages' own answers a learned confidence looks at besides the answer."""
        return k + 1 if self.combine == "mean" and k > 0 else k


def is_committee(estimator) -> bool:
    """Tell whether an estimator is one of ours that answers with several members."""
    return isinstance(estimator, CascadeClassifier | AveragingEnsemble | CascadeSearchCV)


def is_fitted(committee) -> bool:
    """Tell whether a committee is fitted, and not the blank one that a parameter holds."""
    return "fitted_" in vars(committee)


def committee_of(estimator):
    """Return the committee itself: a search's is the one that it chose."""
    check_is_fitted(estimator)
    if not isinstance(estimator, CascadeSearchCV):
        return estimator
    if not estimator.refit:
        raise ConversionError(
            f"refit={estimator.refit!r}, so the search has no fitted cascade to export; expected "
            f"refit=True"
        )
    return estimator.best_estimator_


def blueprint_of(committee) -> Blueprint:
    """Return what a committee does, or raise for what a graph cannot do."""
    if committee.allow_abstain:
        raise ConversionError(
            "allow_abstain=True cannot be exported: a graph has no class shares to answer with; "
            "expected a committee whose members always answer, fitted with allow_abstain=False"
        )
    # The last resort of `on_stage_error` needs no twin: the stages of a graph do not fail alone.
    cascades = isinstance(committee, CascadeClassifier)
    thresholds = committee.thresholds_.tolist() if cascades else []
    if not cascades:
        combine = "geometric" if committee.average == "geometric" else "mean"
    else:
        combine = committee.combine_
    return Blueprint(
        stages=list(committee.fitted_.members.stages),
        combine=combine,
        confidences=_confidences(committee) if cascades else [],
        thresholds=thresholds,
        boundaries=[float(effective_threshold(threshold)) for threshold in thresholds],
        weights=committee.weights_.tolist(),
        costs=cumulative_costs(committee.costs_),
        cost_unit=committee.cost_unit_,
        classes=_check_classes(committee.classes_),
        exits_early=cascades,
    )


def is_used(blueprint: Blueprint, k: int) -> bool:
    """Tell whether any row's answer depends on a stage's."""
    if not blueprint.exits_early:
        return blueprint.weights[k] > 0
    last = k == len(blueprint.stages) - 1
    answers = last or blueprint.combine != "last" or blueprint.exits_at(k)
    return answers or blueprint.needs_history(k)


def _confidences(cascade) -> list[Confidence]:
    """Return the confidence of each stage that is compared with anything."""
    known = cascade.fitted_.policy.confidences
    if cascade.combine_ != "most_confident" or len(known) == 1:
        known = known[:-1]
    return [_confidence(confidence) for confidence in known]


def _confidence(confidence) -> Confidence:
    """Return one confidence as numbers; what a user wrote in Python has none."""
    if isinstance(confidence, str):
        return Confidence(confidence)
    if isinstance(confidence, ConfidenceModel):
        return Confidence("learned", learned=confidence)
    if isinstance(confidence, VoteMargin):
        return Confidence("vote_margin", *confidence)
    raise ConversionError(
        f"confidence={confidence!r} is a function, which an ONNX file cannot hold; expected "
        f"'max_proba', 'margin', 'entropy', 'vote_margin' or 'learned'"
    )


def _check_classes(classes: np.ndarray) -> np.ndarray:
    """Return the labels as integers or text, or raise for others."""
    if classes.dtype.kind in "iub":
        return classes.astype(np.int64)
    if classes.dtype.kind in "US" or all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    raise ConversionError(
        f"classes_={classes!r} are of dtype {classes.dtype}; an ONNX file holds text or integers: "
        f"fit on such labels"
    )
