"""A cascade whose confidence is learned from what its members said of held-out rows."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from sklearn_cascade.rules import RunningAnswer
from sklearn_cascade.search import LearnedConfidence, learn_confidences, ways_of

# Rows on which the seconds of a learned confidence are taken, and calls.
_N_TIMED, _N_REPEATS = 1000, 5


class Learns:
    """Mixin for the cascade: learning the confidence, and its seconds."""

    def _learns(self) -> LearnedConfidence | None:
        """Return the learner; None where the confidence is none that is learned."""
        if isinstance(self.confidence, str) and self.confidence == "learned":
            return LearnedConfidence()
        return self.confidence if isinstance(self.confidence, LearnedConfidence) else None

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
        combine = (
            "mean" if self.combine == "auto" and not self._tunes_thresholds() else self.combine
        )
        return {
            way: learn_confidences(
                self._learns(),
                held_out.proba,
                y,
                combine=way,
                weights=self.weights_,
                sample_weight=weight,
                fold=held_out.fold,
                sample=held_out.rows,
            )
            for way in ways_of(combine)
        }

    def _bill(self, learned: dict, held_out):
        """Add the seconds of the learned confidence to measured costs; other units stay."""
        seconds = np.max(
            [
                _seconds_per_row(ladder.stages, held_out.proba, way, self.weights_)
                for way, ladder in learned.items()
            ],
            axis=0,
        )
        self.confidence_seconds_ = seconds
        if isinstance(self.costs, str):
            self.costs_[:-1] += seconds


def _seconds_per_row(stages, proba, combine: str, weights) -> list[float]:
    """Return what each learned confidence takes for a row, in a batch."""
    running, seconds = RunningAnswer(combine, remember=True), []
    for stage, answer, weight in zip(stages, proba, weights, strict=False):
        running.add(answer[:_N_TIMED], weight)
        times = []
        for _ in range(_N_REPEATS):
            start = perf_counter()
            running.how_sure(stage)
            times.append(perf_counter() - start)
        seconds.append(float(np.median(times)) / len(running.proba))
    return seconds
