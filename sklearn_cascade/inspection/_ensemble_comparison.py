"""A cascade of the parts of one ensemble beside the whole: labels that differ, and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from sklearn_cascade._compat import n_rows, take_rows

# Rows timed in one call, and seconds after which no call is repeated.
_MOST_ROWS, _BUDGET = 10_000, 1.0


@dataclass(frozen=True)
class EnsembleComparison:
    """What early exit changes in the answers of one ensemble, and where the time saved comes from.

    Attributes
    ----------
    counts : tuple of int
        Members run after each part.
    disagreement : float
        Share of rows whose label differs from the ensemble's.
    exit_disagreements : tuple of float
        The same for the rows answered by each part; NaN where it answers none.
    class_disagreements : dict from label to float
        The same by the ensemble's label; NaN for labels that it gives no row.
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


def compare_with_whole(
    calls: Mapping[str, Callable],
    X,
    exit_stage: np.ndarray,
    answered: np.ndarray,
    whole: np.ndarray,
    classes: np.ndarray,
    counts: tuple[int, ...],
) -> EnsembleComparison:
    """Compare labels, and time one call of each.

    Parameters
    ----------
    calls : mapping from str to callable
        The three ways to get probabilities of X.
    X : object with n_samples rows
        The rows.
    exit_stage : ndarray of int of shape (n_samples,)
        The part that answered.
    answered, whole : ndarray of int of shape (n_samples,)
        Column of the cascade's label and of the ensemble's.
    classes : ndarray of shape (n_classes,)
        Label of each column.
    counts : tuple of int
        Members run after each part.
    """
    differs = answered != whole
    batch = X
    if n_rows(X) > _MOST_ROWS:
        batch = take_rows(X, np.linspace(0, n_rows(X) - 1, _MOST_ROWS).astype(int))
    return EnsembleComparison(
        counts=counts,
        disagreement=float(differs.mean()),
        exit_disagreements=tuple(_share(differs[exit_stage == k]) for k in range(len(counts))),
        class_disagreements={
            label: _share(differs[whole == column]) for column, label in enumerate(classes.tolist())
        },
        n_timed=n_rows(batch),
        seconds=_seconds_per_row(calls, batch),
    )


def _share(differs: np.ndarray) -> float:
    """Return the share of rows that differ, NaN where there are none."""
    return float(differs.mean()) if len(differs) else float("nan")


def _seconds_per_row(calls: Mapping[str, Callable], X) -> dict[str, float]:
    """Return the median time of a call per row, taken in turns while the budget lasts."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = perf_counter()
    for turn in range(9):
        for name, call in calls.items():
            start = perf_counter()
            call(X)
            times[name].append(perf_counter() - start)
        if perf_counter() - begin > _BUDGET and turn:
            break
    # The first call of each warms up.
    return {name: float(np.median(taken[1:])) / n_rows(X) for name, taken in times.items()}
