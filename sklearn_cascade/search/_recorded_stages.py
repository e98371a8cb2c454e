"""The stages of any committee run over one piece of what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sklearn_cascade.rules import RunningAnswer, RunningLabel, row_values
from sklearn_cascade.search._learners import Learners
from sklearn_cascade.search._recordings import Recordings


class RecordedStages:
    """What the models of a pool said of some rows, each read at first use.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    confidence : str, callable or Learners
        How sure an answer is.
    block : slice
        The rows.
    """

    def __init__(
        self, recordings: Recordings, confidence: str | Callable | Learners, block: slice
    ) -> None:
        self._recordings, self._block = recordings, block
        self._confidence = confidence
        self._said: dict = {}

    def begin(self, way: str) -> RunningAnswer | RunningLabel:
        """Return an answer to which stages are added."""
        if self._recordings.proba is None:
            return RunningLabel(way)
        return RunningAnswer(way, remember=isinstance(self._confidence, Learners))

    def add(
        self,
        running: RunningAnswer | RunningLabel,
        way: str,
        members: Sequence[int],
        *,
        judged: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Take in the last of the members that have run.

        Returns the answer so far, probabilities or classes, and how sure it is where that is to
        be `judged`: shape (n_samples,).
        """
        confidence = self._confidence
        if isinstance(confidence, Learners):
            known = judged or way == "most_confident"
            confidence = confidence.held_out(way, members, self._block) if known else None
        answer = running.add(self._read(members[-1]), 1.0, confidence)
        return answer, running.how_sure(confidence) if judged else None

    def values(self, scoring: str, answer: np.ndarray) -> np.ndarray:
        """Return what each answer is worth, before the weight of the row: (n_samples,)."""
        y = self._recordings.y[self._block]
        return answer == y if answer.ndim == 1 else row_values(scoring, answer, y)

    def _read(self, model: int):
        """Return what one model said."""
        if model not in self._said:
            pairs = self._recordings.proba is None
            read = self._recordings.read_pair if pairs else self._recordings.read_proba
            self._said[model] = read(model, self._block)
        return self._said[model]
