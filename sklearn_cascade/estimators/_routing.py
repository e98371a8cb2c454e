"""One pass of a batch through the stages, and the cost report of such a pass.

`route` runs each stage on exactly the rows that reach it, once. `Stage` is a fitted member at its
position; `RecordedStage` stands in for it where all its outputs are known already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import indexable

from sklearn_cascade._compat import take_rows, warn_caller
from sklearn_cascade.core._combination import ProbaCombiner, fill_abstained
from sklearn_cascade.core._probabilities import check_proba
from sklearn_cascade.core._thresholds import exits
from sklearn_cascade.core._validation import check_sample_weight
from sklearn_cascade.estimators._labels import align_columns
from sklearn_cascade.exceptions import (
    AllAbstainedWarning,
    InvalidProbabilitiesError,
    MemberFailedError,
    StageFailedWarning,
)
from sklearn_cascade.inspection._cost_report import CostReport, build_report


class RoutingResult(NamedTuple):
    """Where each row exited and with what; a single number while all rows stayed together."""

    proba: np.ndarray  # (n_samples, n_classes)
    exit_stage: Any  # (n_samples,): the stage that answered
    last_called: Any  # (n_samples,): the last that ran, beyond it where that failed

    def expand(self) -> RoutingResult:
        """Return the same with one number per row throughout."""
        n_samples = len(self.proba)
        stages = (np.broadcast_to(s, n_samples).copy() for s in (self.exit_stage, self.last_called))
        return RoutingResult(self.proba, *stages)


class Policy(NamedTuple):
    """How the stages are combined and when a row exits."""

    combine: str  # "mean", "last" or "most_confident"
    # One per stage: a name, a function or a fitted model; after the last stage it matters for
    # "most_confident" only.
    confidences: list
    thresholds: list[float]  # one per stage but the last
    weights: list[float]  # one per stage
    class_shares: np.ndarray | None  # (n_classes,): the answer where all stages abstain
    learned: bool  # the confidences depend on what each stage predicted by itself

    def begin(self) -> ProbaCombiner:
        """Return a combiner to which the stages are added."""
        return ProbaCombiner(
            self.combine, allow_abstain=self.class_shares is not None, remember=self.learned
        )


def route(
    stages: Sequence[Stage | RecordedStage],
    X,
    n_samples: int,
    policy: Policy,
    *,
    keep_on_error: bool = False,
) -> RoutingResult:
    """Run a batch of at least one row through the stages, in order.

    With `keep_on_error` the rows of a stage that fails keep the prediction of the stages before it.
    """
    combiner, weights, confidences = policy.begin(), policy.weights, policy.confidences
    # While all rows travel together there is nothing to index or to copy.
    rows: np.ndarray | None = None
    failed: np.ndarray | None = None
    proba: Any = None
    exit_stage: Any = 0
    for k, stage in enumerate(stages):
        try:
            if stage.is_additive:
                answer = stage.add_to_sum(combiner, X)
            else:
                output = stage.predict_proba(X, n_samples)
                answer = combiner.add(output, weights[k], confidences[k])
        except (MemberFailedError, InvalidProbabilitiesError) as error:
            if k == 0 or not keep_on_error:
                raise
            failed = np.arange(n_samples) if rows is None else rows
            warn_caller(StageFailedWarning(k, failed, str(error)))
            break
        if rows is None:
            proba, exit_stage = answer, k
        else:
            proba[rows], exit_stage[rows] = answer, k
        if k == len(stages) - 1:
            break
        exiting = exits(combiner.confidence(confidences[k]), policy.thresholds[k])
        n_exiting = np.count_nonzero(exiting)
        if n_exiting == n_samples:
            break
        if n_exiting:
            if rows is None:
                # The array may be a member's own.
                proba, exit_stage = answer.copy(), np.full(n_samples, k)
            continuing = np.flatnonzero(~exiting)
            rows = continuing if rows is None else rows[continuing]
            X, n_samples = take_rows(X, continuing), len(continuing)
            combiner.take(continuing)
    if rows is None and (exit_stage == 0 or policy.combine == "last"):
        # What the caller may write to must not be the member's own.
        proba = proba.copy()
    result = RoutingResult(proba, exit_stage, exit_stage)
    if failed is None and policy.class_shares is None:
        return result
    result = result.expand()
    if failed is not None:
        result.last_called[failed] += 1
    return result._replace(proba=fill_unanswered(result.proba, policy.class_shares))


def fill_unanswered(proba: np.ndarray, class_shares: np.ndarray | None) -> np.ndarray:
    """Give rows on which every member abstained the class shares, with one warning."""
    if class_shares is None:
        return proba
    unanswered = np.isnan(proba[:, 0])
    if unanswered.any():
        warn_caller(
            f"every member abstained on {int(unanswered.sum())} rows, which get the class shares "
            f"of the training rows",
            AllAbstainedWarning,
        )
    return fill_abstained(proba, class_shares)


class Stage(NamedTuple):
    """A fitted member at its position."""

    position: int  # in the running order, from 0
    name: str
    estimator: Any  # fitted
    columns: np.ndarray | None  # column in the cascade of each of its own; None where they agree
    n_classes: int  # of the cascade
    allow_abstain: bool  # accept rows of NaN
    is_additive: bool = False  # a part of one ensemble: adds its members to the sum of those before

    def predict_proba(self, X, n_samples: int) -> np.ndarray:
        """Return the member's probabilities, checked, in the columns of the cascade.

        Raises `MemberFailedError` where the member raises, and `InvalidProbabilitiesError` where it
        returns something else than probabilities.
        """
        model = self.estimator
        # Straight to the model: the wrapper looks every attribute up anew.
        if type(model) is FrozenEstimator:
            model = model.estimator
        try:
            proba = model.predict_proba(X)
        except InvalidProbabilitiesError as error:
            raise InvalidProbabilitiesError(self.name, error.problem) from error
        except Exception as error:
            raise self._failure(model, error) from error
        columns, n_classes = self.columns, self.n_classes
        width = n_classes if columns is None else len(columns)
        proba = check_proba(
            proba, n_samples, width, member=self.name, allow_abstain=self.allow_abstain
        )
        return proba if columns is None else align_columns(proba, columns, n_classes)

    def add_to_sum(self, combiner: ProbaCombiner, X) -> np.ndarray:
        """Add this part to the sum so far; return the answer (n_samples, n_classes)."""
        return combiner.set_sum(self.add_to(combiner.total, X), self.estimator.cumulative_weight)

    def add_to(self, total: np.ndarray | None, X) -> np.ndarray:
        """Return a running sum with this part's members added, for prepared X."""
        try:
            return self.estimator.add_to(total, X)
        except Exception as error:
            raise self._failure(self.estimator, error) from error

    def _failure(self, model, error: Exception) -> MemberFailedError:
        """Return the error that says which member failed, and how."""
        cause = f"{type(error).__name__}: {error}"
        return MemberFailedError(self.name, self.position, type(model).__name__, cause)


class RecordedStage:
    """What a member returned for all rows; takes the member's place in a pass over row numbers.

    Where it failed on all rows, it is called again for the rows that reach it: it may have failed
    on others, and whether that counts shows only then.
    """

    def __init__(self, stage: Stage, X, proba=None, total=None) -> None:
        self._stage, self._X, self._total = stage, X, total
        self.is_additive = stage.is_additive
        self.proba = proba  # (n_samples, n_classes); for a part, of all parts so far; None: failed

    def predict_proba(self, rows: np.ndarray, n_samples: int) -> np.ndarray:
        """Return the recorded probabilities of some rows, or call the member for just these."""
        if self.proba is None:
            return self._stage.predict_proba(take_rows(self._X, rows), n_samples)
        return self.proba[rows]

    def add_to_sum(self, combiner: ProbaCombiner, rows: np.ndarray) -> np.ndarray:
        """Return the answer of the parts so far, for some rows."""
        if self._total is None:
            return self._stage.add_to_sum(combiner, take_rows(self._X, rows))
        return combiner.set_sum(self._total[rows], self._stage.estimator.cumulative_weight)


def record_stages(stages: Sequence[Stage], X, n_samples: int) -> list[RecordedStage]:
    """Call every member for all rows, once."""
    recorded, total, failed = [], None, False
    for stage in stages:
        proba = None
        with suppress(MemberFailedError, InvalidProbabilitiesError):
            if not stage.is_additive:
                proba = stage.predict_proba(X, n_samples)
            elif not failed:
                failed = True
                # A copy, because the sum goes on in place.
                total = stage.add_to(None if total is None else total.copy(), X)
                proba, failed = total / stage.estimator.cumulative_weight, False
        recorded.append(RecordedStage(stage, X, proba, None if proba is None else total))
    return recorded


def report_costs(
    model,
    X,
    y,
    sample_weight,
    *,
    scoring,
    compare: bool,
    run: Callable,
    combine_all: Callable,
    title: str,
    exits_early: bool,
    certificate=None,
    compare_with_full_ensemble: Callable | None = None,
) -> CostReport:
    """Return the cost report of a fitted cascade or ensemble.

    `run(stages, X, n_samples)` is one pass, and `combine_all(proba)` the answer without early exit.
    With `compare` every member is called for all rows, once. For the parts of one ensemble,
    `compare_with_full_ensemble(X, result, alone)` sets the result beside that ensemble.
    """
    original_X = X
    X, n_samples = model._check_X(X)
    indexable(X, y)
    weight = check_sample_weight(sample_weight, X)
    members = model.fitted_.members
    are_parts = members.stages[0].is_additive
    alone = None
    if compare and (y is not None or are_parts):
        recorded = record_stages(members.stages, X, n_samples)
        alone = [stage.proba for stage in recorded]
        result = run(recorded, np.arange(n_samples), n_samples).expand()
        if are_parts and alone[-1] is None:
            # A part failed, so nobody knows what the full ensemble would have answered.
            alone = None
    else:
        result = run(members.stages, X, n_samples).expand()

    def answered(proba):
        return None if proba is None else fill_abstained(proba, members.class_shares)

    return build_report(
        title=title,
        exits_early=exits_early,
        names=members.names,
        costs=members.costs,
        unit=members.cost_unit,
        conditions=members.cost_conditions,
        routing=result,
        y=None if y is None else np.asarray(y),
        classes=members.classes,
        sample_weight=weight,
        scoring=scoring,
        member_proba=None if alone is None or y is None else [answered(proba) for proba in alone],
        full_proba=None if alone is None else answered(combine_all(alone)),
        ensemble_comparison=None
        if alone is None or compare_with_full_ensemble is None
        else compare_with_full_ensemble(original_X, result, alone),
        certificate=certificate,
    )
