"""The served rows that a monitor weighs at a time, as sums."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.inspection._drift import (
    log_average,
    log_capitals,
    log_share_evidence,
    no_capitals,
)
from sklearn_cascade.inspection._drift_reference import DriftReference

_STATE = ("counts", "confidence_sum", "log_capitals")


class DriftWindow:
    """Sums over some served rows, and the evidence in them.

    Parameters
    ----------
    reference : DriftReference
        Figures of the calibration rows.
    """

    def __init__(self, reference: DriftReference):
        self.reference = reference
        self.counts = np.zeros(len(reference.names), dtype=np.int64)
        self.confidence_sum = 0.0
        self.log_capitals = no_capitals()

    @property
    def n_rows(self) -> int:
        """Number of served rows."""
        return int(self.counts.sum())

    def add_rows(self, counts: np.ndarray, confidence: np.ndarray) -> None:
        """Add the rows of a batch."""
        self.counts = self.counts + counts
        self.confidence_sum += float(confidence.sum())
        if self.reference.confidence is not None:
            _, low, high = self.reference.confidence
            self.log_capitals = self.log_capitals + log_capitals(confidence, low, high)

    def add_window(self, other: DriftWindow) -> None:
        """Add the rows of another window."""
        self.counts = self.counts + other.counts
        self.confidence_sum += other.confidence_sum
        self.log_capitals = self.log_capitals + other.log_capitals

    def log_evidence(self) -> float:
        """Return the log of the evidence, the mean of what is watched."""
        each = (log_average(self._log_shares()), log_average(self.log_capitals))
        watched = self.reference.watched
        return log_average([log for log, used in zip(each, watched, strict=True) if used])

    def summary(self) -> dict:
        """Return what is known of the rows, as a part of the monitor's summary."""
        n_rows, stages = self.n_rows, self._stages()
        mean, low, high = self.reference.confidence or (None, None, None)
        return {
            "evidence": _factor(self.log_evidence()),
            "n_window": n_rows,
            "stages": stages,
            "confidence": {
                "then": mean,
                "low": low,
                "high": high,
                "now": self.confidence_sum / n_rows if n_rows else None,
                "evidence": None if mean is None else _factor(log_average(self.log_capitals)),
            },
            "moved_most": _moved_most(stages) if n_rows else None,
        }

    def to_dict(self) -> dict:
        """Return the sums as plain Python values."""
        state = {key: getattr(self, key) for key in _STATE}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}

    def restore(self, state: dict) -> None:
        """Take over sums that were kept."""
        for key in _STATE:
            setattr(self, key, np.array(state[key]) if isinstance(state[key], list) else state[key])

    def _log_shares(self) -> np.ndarray:
        """Return the log of the evidence of each stage."""
        then = np.array(self.reference.counts)
        return log_share_evidence(self.counts, self.n_rows, then, self.reference.n_rows)

    def _stages(self) -> list[dict]:
        """Return the table of the stages."""
        reference, n_rows = self.reference, self.n_rows
        return [
            {
                "name": name,
                "share_then": then / reference.n_rows,
                "low": low,
                "high": high,
                "share_now": now / n_rows if n_rows else None,
                "evidence": _factor(log),
            }
            for name, then, low, high, now, log in zip(
                reference.names,
                reference.counts,
                reference.low,
                reference.high,
                self.counts.tolist(),
                self._log_shares(),
                strict=True,
            )
        ]


def _factor(log_evidence: float) -> float:
    """Return evidence as a number that JSON can hold."""
    return float(np.exp(min(log_evidence, 700.0)))


def _moved_most(stages: list[dict]) -> str:
    """Return the name of the stage whose share changed most, the first of equals."""
    # Rounded, as the shares of two stages change by the same amount but for the last digit.
    moves = [round(abs(stage["share_now"] - stage["share_then"]), 12) for stage in stages]
    return stages[moves.index(max(moves))]["name"]
