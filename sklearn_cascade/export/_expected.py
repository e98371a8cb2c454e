"""What a committee answers in Python, and how close to another exit each row is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade._compat import n_rows
from sklearn_cascade.export._blueprint import (
    Blueprint,
    blueprint_of,
    committee_of,
    counts,
    is_committee,
)
from sklearn_cascade.export._preparation import parts_of
from sklearn_cascade.export._tracing import trace
from sklearn_cascade.rules import RunningAnswer

# Confidences this close to their boundary may fall to either side of it.
TIE = 1e-5


class Expected(NamedTuple):
    """A committee's answers to all rows.

    Attributes
    ----------
    alone : list of ndarray of shape (n_samples, n_classes) or None
        Of each member that counts.
    gaps : ndarray of shape (n_samples, n_stages - 1)
        Each confidence less its exit boundary, in units that make `TIE` a tie; infinite where
        there is none.
    behind : ndarray of shape (n_samples, n_stages)
        How much less sure each stage is than the surest of those that ran, zero for that one;
        infinite for those that did not run, and for all where the surest does not answer.
    moved_gaps, moved_behind : ndarray
        How much rounding in members may move the two where the confidence is learned, which may
        make much of little; else zero.
    proba : ndarray of shape (n_samples, n_classes)
        Of the committee.
    label, exit_stage : ndarray of shape (n_samples,)
        Of the committee.
    close_within : list of ndarray of bool of shape (n_samples,)
        For each member, the rows that come close to a boundary in a cascade within it.
    """

    alone: list
    gaps: np.ndarray
    behind: np.ndarray
    moved_gaps: np.ndarray
    moved_behind: np.ndarray
    proba: np.ndarray
    label: np.ndarray
    exit_stage: np.ndarray
    close_within: list

    def is_tie(self, stage: np.ndarray, width: float) -> np.ndarray:
        """Tell which rows, that left a file at some stage, part from Python at a boundary."""
        n_samples, n_gaps = self.gaps.shape
        if not n_gaps:
            return np.zeros(n_samples, dtype=bool)
        parting = np.minimum(np.minimum(stage, self.exit_stage), n_gaps - 1)
        return self._nearest[np.arange(n_samples), parting] < width

    def is_swap(self, proba: np.ndarray, width: float, tolerance: float) -> np.ndarray:
        """Tell which rows a file answers by another stage, as sure as the surest."""
        swapped = np.zeros(len(self.proba), dtype=bool)
        if not np.isfinite(self.behind).any():
            return swapped
        for k, answer in enumerate(self.alone):
            rival = self.behind[:, k] - self.moved_behind[:, k] < width
            swapped |= rival & (np.abs(proba - answer).max(axis=1) <= tolerance)
        return swapped & ~(np.abs(proba - self.proba).max(axis=1) <= tolerance)

    @property
    def is_close_within(self) -> np.ndarray:
        """Whether each row comes close to a boundary within a member: shape (n_samples,)."""
        return np.logical_or.reduce([np.zeros(len(self.proba), bool), *self.close_within])

    def is_close(self, width: float) -> np.ndarray:
        """Tell which rows come close to a boundary, or to another stage's answer."""
        near = self._met(self._nearest).min(axis=1, initial=np.inf) < width
        rivals = (self.behind - self.moved_behind < width).sum(axis=1) > 1
        return near | rivals | self.is_close_within

    @property
    def smallest_gap(self) -> float:
        """Smallest distance from a boundary that any row meets."""
        return float(self._met(np.abs(self.gaps)).min(initial=np.inf))

    @property
    def _nearest(self) -> np.ndarray:
        """How near each confidence may come to its boundary: below zero where it may cross."""
        return np.abs(self.gaps) - self.moved_gaps

    def _met(self, gaps: np.ndarray) -> np.ndarray:
        """Return gaps at the stages that each row ran, infinite for the others."""
        stages = np.arange(gaps.shape[1])
        return np.where(stages <= self.exit_stage[:, None], gaps, np.inf)


def expect(committee, X) -> Expected:
    """Ask a committee and each of its members for all rows."""
    n_samples = n_rows(X)
    plan = blueprint_of(committee)
    details = committee.predict_details(X)
    alone = [
        stage.ask(X, n_samples) if counts(plan, k) else None for k, stage in enumerate(plan.stages)
    ]
    within = [_close_within(stage.estimator, X, n_samples) for stage in plan.stages]
    gaps, behind = _distances(committee, plan, alone, details.exit_stage)
    expected = Expected(
        alone=alone,
        gaps=gaps,
        behind=behind,
        moved_gaps=np.zeros_like(gaps),
        moved_behind=np.zeros_like(behind),
        proba=details.proba,
        label=details.label,
        exit_stage=details.exit_stage,
        close_within=within,
    )
    # What is known before there are graphs of the members.
    rounded = [None if answer is None else answer.astype(np.float32) for answer in alone]
    return with_graphs(committee, expected, rounded)


def with_graphs(committee, expected: Expected, answers: Sequence) -> Expected:
    """Return the same, where the members' graphs answer so: (n_samples, n_classes) each."""
    plan = blueprint_of(committee)
    if plan.confidence != "learned":
        return expected
    moved_gaps, moved_behind = np.zeros_like(expected.gaps), np.zeros_like(expected.behind)
    for form in (_as_given, _with_exact_rest):
        formed = [None if answer is None else form(answer) for answer in answers]
        gaps, behind = _distances(committee, plan, formed, expected.exit_stage)
        moved_gaps = np.maximum(moved_gaps, _moved(expected.gaps, gaps))
        moved_behind = np.maximum(moved_behind, _moved(expected.behind, behind))
    return expected._replace(moved_gaps=moved_gaps, moved_behind=moved_behind)


def _as_given(proba: np.ndarray) -> np.ndarray:
    """Return probabilities as Python has them, where rounding left them a little below zero."""
    return np.maximum(proba.astype(np.float64), 0.0)


def _with_exact_rest(proba: np.ndarray) -> np.ndarray:
    """Return the same with the largest as what the others leave, which is what a file looks at."""
    proba = _as_given(proba)
    largest = proba.argmax(axis=1)[:, None]
    np.put_along_axis(proba, largest, 0.0, axis=1)
    np.put_along_axis(proba, largest, 1.0 - proba.sum(axis=1, keepdims=True), axis=1)
    return proba


def _moved(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return how far apart figures may be; what a graph alone shows is half of that.

    Its place in the whole file rounds, too.
    """
    known = np.isfinite(here) & np.isfinite(there)
    return 2 * np.abs(np.where(known, here, 0.0) - np.where(known, there, 0.0))


def after_each_stage(committee, alone: Sequence) -> Iterator[tuple[int, RunningAnswer]]:
    """Yield each stage that counts, and what is judged there, had every stage seen every row.

    For the surest stage, that is each stage by itself.
    """
    policy = committee._policy()
    if policy.combine == "most_confident":
        policy = policy._replace(combine="last")
    running = policy.begin()
    for k, answer in enumerate(alone):
        if answer is not None:
            running.add(answer, policy.weights[k])
            yield k, running


def _close_within(estimator, X, n_samples: int) -> np.ndarray:
    """Return the rows that come close to a boundary in a cascade within a member."""
    close = np.zeros(n_samples, dtype=bool)
    committees = [committee_of(part) for part in parts_of(estimator) if is_committee(part)]
    if not committees:
        return close
    seen = trace(estimator, X)
    for committee in committees:
        rows = seen.get(id(committee))
        if rows is not None and n_rows(rows) == n_samples:
            close |= expect(committee, rows).is_close(TIE)
    return close


def _distances(
    committee, plan: Blueprint, alone: Sequence, exit_stage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each confidence less its boundary, and how far behind the surest each stage is."""
    n_samples, n_stages = len(exit_stage), len(plan.stages)
    gaps = np.full((n_samples, len(plan.boundaries)), np.inf)
    behind = np.full((n_samples, n_stages), np.inf)
    if not plan.confidences:
        return gaps, behind
    known, sure = committee._policy().confidences, np.full((n_samples, n_stages), np.nan)
    for k, running in after_each_stage(committee, alone):
        if plan.judges(k):
            sure[:, k] = running.how_sure(known[k])
    if plan.combine == "most_confident":
        ran = np.where(np.arange(n_stages) <= exit_stage[:, None], sure, -np.inf)
        behind = np.fmax.reduce(ran, axis=1)[:, None] - ran
        sure = np.fmax.accumulate(sure, axis=1)
    for k, boundary in enumerate(plan.boundaries):
        if np.isfinite(boundary):
            # The lead is counted in standard errors, far beyond one.
            gap = (sure[:, k] - boundary) / max(1.0, abs(boundary))
            gaps[:, k] = np.where(np.isnan(gap), np.inf, gap)
    return gaps, behind
