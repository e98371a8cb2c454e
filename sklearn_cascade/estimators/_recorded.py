"""Members asked for all rows, once, who then repeat themselves for some of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from sklearn_cascade._compat import take_rows
from sklearn_cascade.estimators._answers import Stage
from sklearn_cascade.exceptions import InvalidProbabilitiesError, MemberFailedError
from sklearn_cascade.rules import RunningAnswer


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
            self.proba = stage.ask(X, n_samples)

    def ask(self, rows: np.ndarray, n_samples: int) -> np.ndarray:
        """Return the recorded answer for some rows, or ask again for just these."""
        if self.proba is None:
            return self._stage.ask(take_rows(self._X, rows), n_samples)
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

    def carry_on(self, running: RunningAnswer, rows) -> np.ndarray:
        """Return the answer of the parts so far, for some rows."""
        return running.carry(self._total[rows], self._divisor)


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

    def carry_on(self, running: RunningAnswer, rows) -> np.ndarray:
        """Return the answer of the parts so far, for some rows."""
        return self._stage.carry_on(running, take_rows(self._X, rows))


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
