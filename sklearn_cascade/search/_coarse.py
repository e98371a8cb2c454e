"""A large pool in two bytes for each model and row: how sure, in 256 steps, and whether right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import candidate_thresholds, cumulative_costs
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._statistics import blocks_of, collect_statistics
from sklearn_cascade.search._sweep import count_passed
from sklearn_cascade.search._views import view_rows

# Thresholds of each model, "always" left out and "never" among them.
N_LEVELS = 256
_N_AT_ONCE = 16


class CoarsePool(NamedTuple):
    """Every model of a pool on some rows, for committees that keep the last answer.

    Attributes
    ----------
    level : ndarray of uint8 of shape (n_models, n_samples)
        How many of the model's thresholds a row would exit at.
    right : ndarray of uint8 of shape (n_models, n_samples)
        Whether the model's answer is right.
    grids : list of ndarray
        Thresholds of each model, ascending; "never" is the last.
    share : ndarray of shape (n_samples,)
        What each row counts in the score; their sum is one.
    row_share : ndarray of shape (n_samples,)
        What each row counts in the mean cost; their sum is one.
    stage_costs : callable
        ``stage_costs(members)`` returns the cost of each stage.
    """

    level: np.ndarray
    right: np.ndarray
    grids: list[np.ndarray]
    share: np.ndarray
    row_share: np.ndarray
    stage_costs: Callable

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.level)

    def exit_stages(self, members: Sequence[int], levels: Sequence[int]) -> np.ndarray:
        """Return the stage that answers each row: shape (n_samples,).

        A row exits where its level is above the one given.
        """
        stage = np.full(self.level.shape[1], len(members) - 1)
        for k in reversed(range(len(levels))):
            stage[self.level[members[k]] > levels[k]] = k
        return stage

    def evaluate(self, members: Sequence[int], levels: Sequence[int]) -> tuple[float, float]:
        """Return score and mean cost of one cascade."""
        stage = self.exit_stages(members, levels)
        right = self.right[np.asarray(members)[stage], np.arange(len(stage))]
        paid = cumulative_costs(self.stage_costs(members))[stage]
        return float(right @ self.share), float(paid @ self.row_share)

    def thresholds(self, members: Sequence[int], levels: Sequence[int]) -> tuple[float, ...]:
        """Return the thresholds of one cascade."""
        gates = zip(members[: len(levels)], levels, strict=True)
        return tuple(float(self.grids[model][level]) for model, level in gates)


def coarsen(
    recordings: Recordings,
    rows: np.ndarray | None,
    *,
    confidence: str | Callable,
    scoring: str,
    max_bytes: int,
    n_jobs: int,
) -> CoarsePool:
    """Look at every model of a pool, a few at a time.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    rows : ndarray of int or None
        Rows to look at; None: all. An even choice of them where all would take too much.
    confidence : str or callable
        Probabilities to confidence.
    scoring : {"accuracy", "balanced_accuracy"}
        What the rows count.
    max_bytes : int
        Bound of the memory taken.
    n_jobs : int
        Number of threads.
    """
    n_models = recordings.n_models
    rows = np.arange(recordings.n_samples) if rows is None else rows
    # Besides the two bytes, pairs of models are counted from floats.
    n_rows = min(len(rows), max(1, max_bytes // (8 * n_models)))
    if n_rows < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, n_rows).astype(int)]
    view = view_rows(recordings, scoring, rows)
    level, right = np.empty((2, n_models, n_rows), dtype=np.uint8)
    grids = []
    for start in range(0, n_models, _N_AT_ONCE):
        models = range(start, min(start + _N_AT_ONCE, n_models))
        statistics = collect_statistics(
            recordings,
            [(model,) for model in models],
            [],
            blocks_of(recordings, len(models)),
            confidence=confidence,
            scoring="accuracy",
            n_jobs=n_jobs,
        )
        right[start : models.stop] = statistics.value[:, rows]
        for model in models:
            sure = statistics.confidence[model - start, rows]
            finite = candidate_thresholds(sure, N_LEVELS - 1, sample_weight=view.row_weight)
            grids.append(np.append(finite, np.inf))
            level[model] = count_passed(sure, grids[-1])
    share, row_share = (
        np.full(n_rows, scale) if weight is None else weight * scale
        for weight, scale in zip((view.value_weight, view.row_weight), view.scales, strict=True)
    )
    return CoarsePool(level, right, grids, share, row_share, recordings.stage_costs)
