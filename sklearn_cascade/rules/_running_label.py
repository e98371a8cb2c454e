"""Labels with confidences of the stages run so far to one answer."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.rules._confidence import takes_over
from sklearn_cascade.rules._learned import HeldOutStage, LearnedStage, pair_columns


class RunningLabel:
    """Combine the stages run so far where all they give is a label and a confidence.

    What `RunningAnswer` is for probabilities, with the same names.

    Parameters
    ----------
    combine : {"last", "most_confident"}
        How the stages are combined; labels have no mean.

    Attributes
    ----------
    label : ndarray of int of shape (n_samples,)
        The answer so far.
    """

    __slots__ = ("_combine", "_said", "_sure", "label")

    def __init__(self, combine: str) -> None:
        self._combine = combine
        self._said: list[tuple[np.ndarray, np.ndarray]] = []
        self._sure: np.ndarray | None = None
        self.label: np.ndarray | None = None

    def add(self, pair: tuple[np.ndarray, np.ndarray], weight=None, confidence=None) -> np.ndarray:
        """Take in one more stage and return the label so far: shape (n_samples,).

        A learned confidence takes the place of the one in the pair; any other rule needs more
        than that, and labels have no weights.
        """
        sure, label = given = pair
        if isinstance(confidence, (LearnedStage, HeldOutStage)):
            sure = confidence.judge(pair_columns(sure), label, self._said)
        # A new list: branches share the old one.
        self._said = [*self._said, given]
        if self._combine == "most_confident" and self.label is not None:
            later = takes_over(sure, self._sure)
            sure, label = np.where(later, sure, self._sure), np.where(later, label, self.label)
        self._sure, self.label = sure, label
        return label

    def how_sure(self, confidence=None) -> np.ndarray:
        """Return the confidence of the answer so far: shape (n_samples,)."""
        return self._sure

    def branch(self) -> RunningLabel:
        """Return a copy to which other stages may be added."""
        other = RunningLabel(self._combine)
        other._said, other._sure, other.label = self._said, self._sure, self.label
        return other
