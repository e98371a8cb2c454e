"""A cascade of the parts of one ensemble against the full ensemble: labels and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from sklearn_cascade._compat import n_rows, take_rows
from sklearn_cascade.core._samples import evenly_spaced, time_calls

# Rows timed in one call, calls, and seconds after which no call is repeated.
_MAX_ROWS, _N_REPEATS, _BUDGET = 10_000, 8, 1.0


@dataclass(frozen=True)
class EnsembleComparison:
    """How early exit changes the labels of one ensemble, and what saves the time.

    Attributes
    ----------
    counts : tuple of int
        Members run after each part.
    disagreement : float
        Share of rows whose label differs from the ensemble's.
    exit_disagreements : tuple of float
        The same for the rows that exit at each part; NaN where none does.
    class_disagreements : dict from label to float
        The same by the ensemble's label; NaN for labels that it predicts for no row.
    n_timed : int
        Rows of the one call that was timed.
    seconds : dict from str to float
        Per row: "ensemble", its own ``predict_proba``; "no_exit", all parts without early
        exit; "cascade", as it is.
    """

    counts: tuple[int, ...]
    disagreement: float
    exit_disagreements: tuple[float, ...]
    class_disagreements: dict
    n_timed: int
    seconds: dict[str, float]

    @property
    def speedup(self) -> float:
        """How many times faster the cascade is than the ensemble."""
        return self.seconds["ensemble"] / self.seconds["cascade"]

    @property
    def exit_speedup(self) -> float:
        """How many times faster early exit makes it; the rest is overhead that is skipped."""
        return self.seconds["no_exit"] / self.seconds["cascade"]

    @property
    def overhead_speedup(self) -> float:
        """How many times faster all parts without exit are than the ensemble's own method."""
        return self.seconds["ensemble"] / self.seconds["no_exit"]


def compare_with_ensemble(
    calls: Mapping[str, Callable],
    X,
    exit_stage: np.ndarray,
    cascade_columns: np.ndarray,
    ensemble_columns: np.ndarray,
    classes: np.ndarray,
    counts: tuple[int, ...],
) -> EnsembleComparison:
    """Compare the labels (columns of `classes`, all (n_samples,)), and time one call of each.

    `calls` are the functions behind `EnsembleComparison.seconds`; each takes X and returns
    probabilities. `counts` are the members run after each part.
    """
    differs = cascade_columns != ensemble_columns

    def share(rows: np.ndarray) -> float:
        return float(differs[rows].mean()) if rows.any() else float("nan")

    batch = X
    if n_rows(X) > _MAX_ROWS:
        batch = take_rows(X, evenly_spaced(n_rows(X), _MAX_ROWS))
    n_timed = n_rows(batch)
    bound = {name: partial(call, batch) for name, call in calls.items()}
    medians = np.median(time_calls(bound, _N_REPEATS, budget=_BUDGET), axis=0) / n_timed
    return EnsembleComparison(
        counts=counts,
        disagreement=float(differs.mean()),
        exit_disagreements=tuple(share(exit_stage == k) for k in range(len(counts))),
        class_disagreements={
            label: share(ensemble_columns == column)
            for column, label in enumerate(classes.tolist())
        },
        n_timed=n_timed,
        seconds=dict(zip(calls, medians.tolist(), strict=True)),
    )
