"""What a fit finds, built once and never changed, and the read-only attributes that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.certification._fixed_sequence import StagePredictions
from sklearn_cascade.core._confidence import stage_confidences
from sklearn_cascade.estimators._routing import Policy, Stage
from sklearn_cascade.inspection._certification_report import CertificationReport


class FittedMembers(NamedTuple):
    """The fitted members of a cascade, an ensemble or a search, and what they cost."""

    stages: tuple[Stage, ...]
    classes: np.ndarray  # (n_classes,)
    class_shares: np.ndarray | None  # (n_classes,): the answer where all members abstain
    costs: np.ndarray  # (n_stages,)
    cost_unit: str
    cost_conditions: dict | None

    @property
    def names(self) -> list[str]:
        """Names of the members."""
        return [stage.name for stage in self.stages]


class TuningFigures(NamedTuple):
    """Score and mean cost on the held-out rows; for parts of one ensemble, its disagreement."""

    score: float | None = None
    cost: float | None = None
    cross_fitted_score: float | None = None
    cross_fitted_cost: float | None = None
    disagreement: float | None = None
    disagreement_bound: float | None = None


class FitRecord(NamedTuple):
    """What a certificate has to know of a fit.

    The hashes (n_hashed,) of the rows that it used, None where they cannot be told; and what the
    members predicted for the rows held out, as arrays by name.
    """

    row_hashes: np.ndarray | None = None
    held_out_predictions: dict[str, np.ndarray] | None = None

    def predictions(self) -> StagePredictions | None:
        """Return the predictions for held-out rows, None where there are none."""
        kept = self.held_out_predictions
        return None if kept is None else StagePredictions(**kept)


_NO_TUNING, _NO_RECORD = TuningFigures(), FitRecord()


@dataclass(frozen=True, eq=False)
class FittedCascade:
    """All that the fit of a cascade finds.

    Nothing changes it: `CascadeClassifier.with_thresholds` makes another one.
    """

    members: FittedMembers
    policy: Policy
    confidence_seconds: np.ndarray | None = None  # (n_stages,), of a learned confidence
    tuning: TuningFigures = _NO_TUNING
    record: FitRecord = _NO_RECORD
    certificate: CertificationReport | None = None


class FittedEnsemble(NamedTuple):
    """All that the fit of an averaging ensemble finds."""

    members: FittedMembers
    weights: np.ndarray  # (n_stages,)


class FittedSearch(NamedTuple):
    """The members that a search fitted on all rows, none without refit, and the rows it used."""

    members: FittedMembers
    record: FitRecord


def make_policy(
    members: FittedMembers,
    combine: str,
    confidence: str | Callable | list,
    weights: Any,
    thresholds: Any,
) -> Policy:
    """Return the policy of some members; a list of confidences holds one per stage, learned."""
    return Policy(
        combine,
        confidence if isinstance(confidence, list) else stage_confidences(confidence, weights),
        np.asarray(thresholds, dtype=np.float64).tolist(),
        weights.tolist(),
        members.class_shares,
        isinstance(confidence, list),
    )


class FittedAttribute(property):
    """A read-only attribute that shows a part of the fitted state, absent before the fit.

    `read` is the path of the part or a function of the state. None means that this fit found no
    such thing, so that the attribute is absent, unless it is `optional`. Setting it is an error
    that gives the `advice`.
    """

    def __init__(
        self,
        read: str | Callable[[Any], Any],
        doc: str,
        *,
        optional: bool = False,
        advice: str = "fit again",
    ) -> None:
        read = attrgetter(read) if isinstance(read, str) else read

        def get(estimator: Any) -> Any:
            is_fitted = "fitted_" in estimator.__dict__
            value = read(estimator.__dict__["fitted_"]) if is_fitted else None
            if value is None and not (optional and is_fitted):
                raise AttributeError(
                    f"{type(estimator).__name__!r} object has no attribute {self._name!r}"
                )
            if isinstance(value, np.ndarray):
                # A view: arrays that come out of a pickle can be written to.
                value = value.view()
                value.flags.writeable = False
            return value

        def refuse(estimator: Any, value: Any) -> None:
            raise AttributeError(
                f"{self._name} of {type(estimator).__name__} is read-only, it shows what fit "
                f"found; got {value!r}: {advice}"
            )

        super().__init__(get, refuse)
        # On the instance: the docstring of the class would hide that of a property.
        self.__doc__ = get.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
