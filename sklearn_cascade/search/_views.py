"""The rows a search looks at: all of them, or those outside one fold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_cascade.rules import row_shares
from sklearn_cascade.search._recordings import Recordings


class View(NamedTuple):
    """Some rows, and what each counts.

    Attributes
    ----------
    rows : ndarray of int or None
        Positions, ascending; None: all.
    value_weight, row_weight : ndarray of shape (n_rows,) or None
        Weight in the score and in the mean cost; None: one each.
    value_scale, row_scale : float
        What the weighted sums are multiplied by.
    """

    rows: np.ndarray | None
    value_weight: np.ndarray | None
    row_weight: np.ndarray | None
    value_scale: float
    row_scale: float

    @property
    def scales(self) -> tuple[float, float]:
        """Both scales."""
        return self.value_scale, self.row_scale

    def among(self, sample: np.ndarray) -> View:
        """Return the part of it that is in a sample of rows, counted by places in the sample."""
        if self.rows is None:
            rows, part = None, sample
        else:
            rows = np.flatnonzero(np.isin(sample, self.rows))
            part = np.searchsorted(self.rows, sample[rows])
        return self._weighing(rows, part)

    def between(self, start: int, stop: int) -> View:
        """Return the part of it that lies in a stretch of rows, counted from its start."""
        first, last = start, stop
        rows = None
        if self.rows is not None:
            first, last = np.searchsorted(self.rows, [start, stop])
            rows = self.rows[first:last] - start
        return self._weighing(rows, slice(first, last))

    def _weighing(self, rows, part) -> View:
        """Return the view of other rows with part of the weights."""
        return self._replace(
            rows=rows,
            value_weight=None if self.value_weight is None else self.value_weight[part],
            row_weight=None if self.row_weight is None else self.row_weight[part],
        )


def view_rows(recordings: Recordings, scoring: str, rows: np.ndarray | None = None) -> View:
    """Return the view of some rows, by default of all."""
    y, weight = recordings.y, recordings.sample_weight
    if rows is not None:
        y, weight = y[rows], None if weight is None else weight[rows]
    row_weight = None if weight is None else weight / weight.sum()
    row_scale = 1.0 / len(y) if weight is None else 1.0
    if weight is None and scoring != "balanced_accuracy":
        return View(rows, None, row_weight, row_scale, row_scale)
    shares = row_shares(scoring, y, np.ones(len(y)) if weight is None else weight)
    return View(rows, shares, row_weight, 1.0, row_scale)
