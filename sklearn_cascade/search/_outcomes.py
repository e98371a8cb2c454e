"""What exit after each stage would lose and fix on each row, against one reference or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import compute_confidence, cumulative_costs, exit_stages, fill_abstained


class Answers(NamedTuple):
    """What the stages of one cascade said of some rows, as columns of the classes.

    Attributes
    ----------
    confidence : ndarray of shape (n_stages - 1, n_samples)
        Confidence of the answer after each stage but the last.
    after : ndarray of int of shape (n_stages, n_samples)
        Answer of the cascade after each stage.
    alone : ndarray of int of shape (n_stages, n_samples)
        Answer of each member alone.
    truth : ndarray of int of shape (n_samples,) or None
        Column of the true class; -1 where no class of the cascade is right.
    """

    confidence: np.ndarray
    after: np.ndarray
    alone: np.ndarray
    truth: np.ndarray | None

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.after.shape[1]

    def take(self, rows: np.ndarray) -> Answers:
        """Return the answers to some of the rows."""
        truth = None if self.truth is None else self.truth[rows]
        return Answers(self.confidence[:, rows], self.after[:, rows], self.alone[:, rows], truth)

    def accuracies(self) -> np.ndarray:
        """Return the share of right answers of each member alone: shape (n_stages,)."""
        return (self.alone == self.truth).mean(axis=1)


class Outcomes(NamedTuple):
    """What exit after each stage means for each row.

    Attributes
    ----------
    confidence : ndarray of shape (n_stages - 1, n_samples)
        Confidence of the answer after each stage but the last.
    lost, fixed : ndarray of bool of shape (n_references, n_stages, n_samples)
        Rows that each reference gets right and the cascade wrong, and the other way round.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    """

    confidence: np.ndarray
    lost: np.ndarray
    fixed: np.ndarray
    costs: np.ndarray

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.lost.shape[2]

    def exit_stages(self, thresholds: Sequence[float]) -> np.ndarray:
        """Return the stage that answers each row: shape (n_samples,)."""
        return exit_stages(self.confidence, thresholds)

    def count(self, thresholds: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
        """Return regressions and corrections against each reference (n_references,), and the mean cost."""
        stage, rows = self.exit_stages(thresholds), np.arange(self.n_samples)
        regressions, corrections = (
            part[:, stage, rows].sum(axis=1) for part in (self.lost, self.fixed)
        )
        return regressions, corrections, float(cumulative_costs(self.costs)[stage].mean())


def collect_answers(
    after: Iterable[np.ndarray],
    alone: Sequence[np.ndarray],
    confidences: Sequence[str | Callable | np.ndarray],
    truth: np.ndarray | None,
    class_shares: np.ndarray | None,
) -> Answers:
    """Turn probabilities into answers.

    Parameters
    ----------
    after, alone : iterable of ndarray of shape (n_samples, n_classes)
        Probabilities of the cascade after each stage, and of each member alone.
    confidences : sequence of str, callable or ndarray of shape (n_samples,)
        Confidence of each stage but the last, or what is known of each row; more are left out.
    truth : ndarray of int of shape (n_samples,) or None
        As in `Answers`.
    class_shares : ndarray of shape (n_classes,) or None
        Answer where nobody answers.
    """
    sure, columns = [], []
    for k, proba in enumerate(after):
        if k < len(alone) - 1:
            known = isinstance(confidences[k], np.ndarray)
            sure.append(confidences[k] if known else compute_confidence(proba, confidences[k]))
        columns.append(fill_abstained(proba, class_shares).argmax(axis=1))
    single = [fill_abstained(proba, class_shares).argmax(axis=1) for proba in alone]
    return Answers(np.stack(sure), np.stack(columns), np.stack(single), truth)


def compare(
    answers: Answers, references: Sequence[int | None], costs: np.ndarray, *, labelled: bool
) -> Outcomes:
    """Set the answers beside those of one reference or several.

    Parameters
    ----------
    answers : Answers
        What was said.
    references : sequence of int or None
        Positions of members; None is the cascade without early exit.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    labelled : bool
        True: a loss is a right answer given up. False: it is any other answer than the
        reference's, and nothing is fixed.
    """
    given = [answers.after[-1] if r is None else answers.alone[r] for r in references]
    given = np.stack(given)[:, None]
    if not labelled:
        lost = given != answers.after
        return Outcomes(answers.confidence, lost, np.zeros_like(lost), costs)
    right, expected = answers.after == answers.truth, given == answers.truth
    return Outcomes(answers.confidence, expected & ~right, right & ~expected, costs)
