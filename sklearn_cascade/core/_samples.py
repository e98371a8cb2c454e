"""Samples as arrays: columns of labels, an even choice, rows outside folds; and timed calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray


def label_columns(y: Any, classes: np.ndarray) -> NDArray[np.intp]:
    """Return the column of each label among `classes` (n_samples,), -1 where it is not there."""
    column_of = {label: column for column, label in enumerate(classes.tolist())}
    columns = [column_of.get(label, -1) for label in np.asarray(y).tolist()]
    return np.array(columns, dtype=np.intp)


def evenly_spaced(n_items: int, n_kept: int) -> NDArray[np.intp]:
    """Return `n_kept` positions among `n_items`, at most all, first and last included."""
    return np.linspace(0, n_items - 1, min(n_items, n_kept)).astype(np.intp)


def training_rows(
    fold: np.ndarray, sample: np.ndarray
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the rows of each fold, and the rows of all other samples, which choose for it."""
    for test_fold in np.unique(fold):
        rows = np.flatnonzero(fold == test_fold)
        yield rows, np.flatnonzero(~np.isin(sample, sample[rows]))


def time_calls(
    calls: Mapping[str, Callable[[], Any]] | Sequence[Callable[[], Any]],
    n_repeats: int,
    *,
    warm_up: bool = True,
    budget: float = np.inf,
) -> NDArray[np.float64]:
    """Return the seconds of each call: shape (n_repeats_done, n_calls).

    The calls take turns, so that a busy moment of the machine affects all of them and not one.
    With `warm_up` a first turn is not timed. After `budget` seconds no further turn begins, but
    one turn is always timed.
    """
    functions = list(calls.values()) if isinstance(calls, Mapping) else list(calls)
    begin = perf_counter()
    if warm_up:
        for function in functions:
            function()
    turns = []
    for _ in range(n_repeats):
        turn = []
        for function in functions:
            start = perf_counter()
            function()
            turn.append(perf_counter() - start)
        turns.append(turn)
        if perf_counter() - begin > budget:
            break
    return np.array(turns)
