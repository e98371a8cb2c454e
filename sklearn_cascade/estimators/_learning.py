"""A cascade whose confidence is learned from what its members said of held-out rows."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.rules import RunningAnswer
from sklearn_cascade.search import (
    N_TIMED,
    LearnedConfidence,
    as_learner,
    learn_confidences,
    seconds_to_judge,
    ways_of,
)


class Learns:
    """Mixin for the cascade: learning the confidence, and its seconds."""

    def _learns(self) -> LearnedConfidence | None:
        """Return the learner; None where the confidence is none that is learned."""
        return as_learner(self.confidence)

    def _check_learner(self):
        """Raise for what a learner cannot look at."""
        if self._learns() is not None and self.allow_abstain:
            raise ValueError(
                f"confidence={self.confidence!r} with allow_abstain=True; expected "
                f"allow_abstain=False, or another confidence: nothing is learned from a member "
                f"that says nothing"
            )

    def _learn(self, held_out, y, weight) -> dict:
        """Return a ladder of learned confidences for each combination that competes."""
        if self._tunes_thresholds():
            ways = ways_of(self.combine, comparable=True)
        else:
            ways = ("mean" if self.combine == "auto" else self.combine,)
        return learn_confidences(
            self._learns(),
            held_out.proba,
            y,
            ways=ways,
            weights=self.weights_,
            sample_weight=weight,
            fold=held_out.fold,
            sample=held_out.rows,
        )

    def _bill(self, learned: dict, held_out):
        """Add the seconds of the learned confidence to measured costs; other units stay."""
        seconds = np.zeros(len(self.costs_))
        for way, ladder in learned.items():
            taken = _seconds_per_row(ladder.stages, held_out.proba, way, self.weights_)
            seconds[: len(taken)] = np.maximum(seconds[: len(taken)], taken)
        self.confidence_seconds_ = seconds
        if isinstance(self.costs, str):
            self.costs_ += seconds

    def _take_learned(self, committee):
        """Take over what a search learned for this cascade, with what it costs."""
        if committee.seconds is not None:
            self._confidences = committee.confidences
            self.confidence_seconds_, self.costs_ = committee.seconds, committee.costs


def _seconds_per_row(stages, proba, combine: str, weights) -> list[float]:
    """Return what each learned confidence takes for a row, in a batch."""
    running, seconds = RunningAnswer("mean" if combine == "mean" else "last", remember=True), []
    for stage, answer, weight in zip(stages, proba, weights, strict=False):
        running.add(answer[:N_TIMED], weight)
        seconds.append(seconds_to_judge(running, stage))
    return seconds
