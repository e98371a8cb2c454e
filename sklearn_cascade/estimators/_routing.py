"""One pass of a batch through the stages: each sees exactly the rows that reach it, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator

from sklearn_cascade._compat import take_rows, warn_caller
from sklearn_cascade.core import ConfidenceModel, ProbaCombiner, check_proba, exits, fill_abstained
from sklearn_cascade.estimators._labels import align_columns
from sklearn_cascade.exceptions import (
    AllAbstainedWarning,
    InvalidProbabilitiesError,
    MemberFailedError,
    StageFailedWarning,
)


class RoutingResult(NamedTuple):
    """What became of each row.

    Attributes
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        The answer.
    exit_stage : int or ndarray of int of shape (n_samples,)
        The stage that answered, counted from 0; one number while all rows went together.
    last_called : int or ndarray of int of shape (n_samples,)
        The last stage that ran; beyond the exit stage where that one failed.
    """

    proba: np.ndarray
    exit_stage: int | np.ndarray
    last_called: int | np.ndarray

    def expand(self) -> RoutingResult:
        """Return the same with one number per row throughout."""
        n_samples = len(self.proba)
        stages = (np.broadcast_to(s, n_samples).copy() for s in (self.exit_stage, self.last_called))
        return RoutingResult(self.proba, *stages)


class Policy(NamedTuple):
    """How the stages are combined and when a row exits.

    Attributes
    ----------
    combine : str
        "mean", "last" or "most_confident".
    confidences : list of str, callable or ConfidenceModel
        How sure the answer after each stage is; after the last it matters for "most_confident" only.
    thresholds : list of float
        One per stage but the last.
    weights : list of float
        One per stage.
    class_shares : ndarray of shape (n_classes,) or None
        Answer where all stages abstain; None where none may.
    keep_on_error : bool
        Rows of a stage that fails keep the answer of the stages before it.
    learned : bool
        The confidences look at what each stage said by itself.
    """

    combine: str
    confidences: list[str | Callable | ConfidenceModel]
    thresholds: list[float]
    weights: list[float]
    class_shares: np.ndarray | None
    keep_on_error: bool
    learned: bool

    def begin(self) -> ProbaCombiner:
        """Return an answer to which the stages are added."""
        return ProbaCombiner(
            self.combine,
            allow_abstain=self.class_shares is not None,
            remember=self.learned,
        )


def route(stages: Sequence, X, n_samples: int, policy: Policy) -> RoutingResult:
    """Run a batch through the stages.

    Parameters
    ----------
    stages : sequence of Stage or recorded stage
        In running order: ``predict_proba(X, n_samples)`` gives the probabilities of some rows; parts of one
        ensemble add to the sum so far, by ``add_to_sum(running, X)``.
    X : object with n_samples rows
        Whatever the members take; rows are taken with their type kept.
    n_samples : int
        Number of rows, at least one.
    policy : Policy
        How to combine, and when to stop.

    Returns
    -------
    passage : RoutingResult
    """
    running, weights, confidences = policy.begin(), policy.weights, policy.confidences
    # While all rows travel together there is nothing to index or to copy.
    rows, proba, exit_stage, failed = None, None, 0, None
    for k, stage in enumerate(stages):
        try:
            if stage.adds_up:
                answer = stage.add_to_sum(running, X)
            else:
                answer = running.add(stage.predict_proba(X, n_samples), weights[k], confidences[k])
        except (MemberFailedError, InvalidProbabilitiesError) as error:
            if k == 0 or not policy.keep_on_error:
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
        leaving = exits(running.confidence(confidences[k]), policy.thresholds[k])
        n_leaving = np.count_nonzero(leaving)
        if n_leaving == n_samples:
            break
        if n_leaving:
            if rows is None:
                # The array may be a member's own.
                proba, exit_stage = answer.copy(), np.full(n_samples, k)
            staying = np.flatnonzero(~leaving)
            rows = staying if rows is None else rows[staying]
            X, n_samples = take_rows(X, staying), len(staying)
            running.take(staying)
    if rows is None and (exit_stage == 0 or policy.combine == "last"):
        # What the caller may write to must not be the member's own.
        proba = proba.copy()
    if failed is None and policy.class_shares is None:
        return RoutingResult(proba, exit_stage, exit_stage)
    return _finish(RoutingResult(proba, exit_stage, exit_stage), failed, policy.class_shares)


def _finish(passage: RoutingResult, failed, class_shares) -> RoutingResult:
    """Note the call that failed, and answer the rows nobody answered."""
    proba, exit_stage, last_called = passage.expand()
    if failed is not None:
        last_called[failed] += 1
    return RoutingResult(fill_unanswered(proba, class_shares), exit_stage, last_called)


def fill_unanswered(proba: np.ndarray, class_shares: np.ndarray | None) -> np.ndarray:
    """Answer the rows on which every member abstained by the class shares, with one warning."""
    if class_shares is None:
        return proba
    lost = np.isnan(proba[:, 0])
    if lost.any():
        warn_caller(
            f"every member abstained on {int(lost.sum())} rows, which are answered by the class "
            f"shares of the training rows",
            AllAbstainedWarning,
        )
    return fill_abstained(proba, class_shares)


class Stage(NamedTuple):
    """A fitted member at its place.

    Attributes
    ----------
    position : int
        Place in the running order, from 0.
    name : str
        Its name.
    estimator : classifier
        Fitted.
    columns : ndarray of int or None
        Column of the committee for each of its own; None where they agree.
    n_classes : int
        Number of the committee's classes.
    allow_abstain : bool
        Accept rows of NaN.
    adds_up : bool
        A part of one ensemble that adds its members to the running sum of the parts before.
    """

    position: int
    name: str
    estimator: object
    columns: np.ndarray | None
    n_classes: int
    allow_abstain: bool
    adds_up: bool = False

    def predict_proba(self, X, n_samples: int) -> np.ndarray:
        """Return its probabilities for some rows: shape (n_samples, n_classes).

        Raises
        ------
        MemberFailedError
            If the member raises.
        InvalidProbabilitiesError
            If its answer is not a matrix of probabilities.
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

    def add_to_sum(self, running: ProbaCombiner, X) -> np.ndarray:
        """Add this part to the sum so far; return the answer (n_samples, n_classes)."""
        return running.set_sum(self.add_to(running.total, X), self.estimator.divisor)

    def add_to(self, total: np.ndarray | None, X) -> np.ndarray:
        """Return a running sum with this part's members added, for prepared X."""
        try:
            return self.estimator.add_to(total, X)
        except Exception as error:
            raise self._failure(self.estimator, error) from error

    def _failure(self, model, error: Exception) -> MemberFailedError:
        """Return the error that tells which member failed, and how."""
        cause = f"{type(error).__name__}: {error}"
        return MemberFailedError(self.name, self.position, type(model).__name__, cause)


class RecordedStage:
    """A member's answers to all rows; takes the member's place in a pass over row numbers.

    Parameters
    ----------
    stage : Stage
        The member.
    X : object with n_samples rows
        All rows.
    n_samples : int
        Their number.

    Attributes
    ----------
    proba : ndarray of shape (n_samples, n_classes) or None
        Its answers; None where it failed.
    """

    adds_up = False

    def __init__(self, stage: Stage, X, n_samples: int) -> None:
        self._stage, self._X, self.proba = stage, X, None
        # It may fail on rows that never reach it; whether that counts shows when it is asked.
        with suppress(MemberFailedError, InvalidProbabilitiesError):
            self.proba = stage.predict_proba(X, n_samples)

    def predict_proba(self, rows: np.ndarray, n_samples: int) -> np.ndarray:
        """Return the recorded answer for some rows, or ask again for just these."""
        if self.proba is None:
            return self._stage.predict_proba(take_rows(self._X, rows), n_samples)
        return self.proba[rows]


class RecordedPart:
    """The running sum of one ensemble up to a part, for all rows.

    Parameters
    ----------
    total : ndarray of shape (n_samples, n_classes)
        The sum.
    divisor : float
        What it is divided by.

    Attributes
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Answers of all members up to this part.
    """

    adds_up = True

    def __init__(self, total: np.ndarray, divisor: float) -> None:
        self._total, self._divisor = total, divisor
        self.proba = total / divisor

    def add_to_sum(self, running: ProbaCombiner, rows) -> np.ndarray:
        """Return the answer of the parts so far, for some rows."""
        return running.set_sum(self._total[rows], self._divisor)


class UnrecordedPart:
    """A part that failed on all rows, or comes after one that did: asked for what reaches it.

    Parameters
    ----------
    stage : Stage
        The part.
    X : object with n_samples rows
        All rows, prepared.
    """

    adds_up = True
    proba = None

    def __init__(self, stage: Stage, X) -> None:
        self._stage, self._X = stage, X

    def add_to_sum(self, running: ProbaCombiner, rows) -> np.ndarray:
        """Return the answer of the parts so far, for some rows."""
        return self._stage.add_to_sum(running, take_rows(self._X, rows))


def record_stages(stages: Sequence[Stage], X, n_samples: int) -> list:
    """Ask every member for all rows, once."""
    if not stages[0].adds_up:
        return [RecordedStage(stage, X, n_samples) for stage in stages]
    recorded, total = [], None
    for place, stage in enumerate(stages):
        try:
            # The sum goes on in place.
            total = stage.add_to(None if total is None else total.copy(), X)
        except MemberFailedError:
            return recorded + [UnrecordedPart(late, X) for late in stages[place:]]
        recorded.append(RecordedPart(total, stage.estimator.divisor))
    return recorded
