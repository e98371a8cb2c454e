"""What a committee answers in Python, and how close to another exit each row is."""

from __future__ import annotations

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

# Confidences this close to their boundary may fall to either side of it.
TIE = 1e-5


class Expected(NamedTuple):
    """A committee's answers to all rows.

    Attributes
    ----------
    alone : list of ndarray of shape (n_samples, n_classes) or None
        Of each member that counts.
    gaps : ndarray of shape (n_samples, n_stages - 1)
        Distance of each confidence from its exit boundary, in units that make `TIE` a tie;
        infinite where there is none.
    proba : ndarray of shape (n_samples, n_classes)
        Of the committee.
    label, exit_stage : ndarray of shape (n_samples,)
        Of the committee.
    close_within : list of ndarray of bool of shape (n_samples,)
        For each member, the rows that come close to a boundary in a cascade within it.
    """

    alone: list
    gaps: np.ndarray
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
        return self.gaps[np.arange(n_samples), parting] < width

    @property
    def is_close_within(self) -> np.ndarray:
        """Whether each row comes close to a boundary within a member: shape (n_samples,)."""
        return np.logical_or.reduce([np.zeros(len(self.proba), bool), *self.close_within])

    def is_close(self, width: float) -> np.ndarray:
        """Tell which rows come close to a boundary on their way."""
        return (self._gaps_met.min(axis=1, initial=np.inf) < width) | self.is_close_within

    @property
    def smallest_gap(self) -> float:
        """Smallest distance from a boundary that any row meets."""
        return float(self._gaps_met.min(initial=np.inf))

    @property
    def _gaps_met(self) -> np.ndarray:
        """The gaps of the stages that each row ran, infinite for the others."""
        stages = np.arange(self.gaps.shape[1])
        return np.where(stages <= self.exit_stage[:, None], self.gaps, np.inf)


def expect(committee, X) -> Expected:
    """Ask a committee and each of its members for all rows."""
    n_samples = n_rows(X)
    plan = blueprint_of(committee)
    details = committee.predict_details(X)
    alone = [
        stage.ask(X, n_samples) if counts(plan, k) else None for k, stage in enumerate(plan.stages)
    ]
    within = [_close_within(stage.estimator, X, n_samples) for stage in plan.stages]
    gaps = _gaps(committee, plan, alone, n_samples)
    return Expected(alone, gaps, details.proba, details.label, details.exit_stage, within)


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


def _gaps(committee, plan: Blueprint, alone: list, n_samples: int) -> np.ndarray:
    """Return how far every confidence is from its boundary, had every stage seen every row."""
    gaps = np.full((n_samples, len(plan.boundaries)), np.inf)
    if not plan.boundaries:
        return gaps
    policy = committee._policy()
    running = policy.begin()
    for k, boundary in enumerate(plan.boundaries):
        if alone[k] is None:
            continue
        running.add(alone[k], plan.weights[k])
        if np.isfinite(boundary):
            gap = np.abs(running.how_sure(policy.confidences[k]) - boundary)
            # The lead is counted in standard errors, far beyond one.
            gaps[:, k] = np.where(np.isnan(gap), np.inf, gap / max(1.0, abs(boundary)))
    return gaps
