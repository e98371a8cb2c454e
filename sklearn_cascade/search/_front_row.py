"""One committee at one operating point, and the order of several."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_cascade.search._dominance import SCORE_DECIMALS


class OperatingPoint(NamedTuple):
    """One committee at one operating point.

    Attributes
    ----------
    kind : {"single", "ensemble", "cascade"}
        A model alone, all of several averaged, or a cascade that exits early.
    members : tuple of str
        Names of its models, in running order.
    combine : {"mean", "last"}
        How the answers of the stages run are combined.
    thresholds : tuple of float
        One per stage but the last; infinity: no row exits there.
    score : float
        Score on the held-out rows; larger is better.
    mean_cost : float
        Expected cost of a row.
    worst_cost : float
        Cost of a row that goes through every stage.
    exit_rates : tuple of float
        Share of the rows that exit at each stage.
    train_cost : float or None
        Cost of training its models, where that was given.
    cross_fitted_score, cross_fitted_cost : float or None
        Of a cascade that nothing beats: score and mean cost of the best committee of no higher
        mean cost, chosen on all folds but one and taken on that one. Nothing is tuned in the
        other committees.
    """

    kind: str
    members: tuple[str, ...]
    combine: str
    thresholds: tuple[float, ...]
    score: float
    mean_cost: float
    worst_cost: float
    exit_rates: tuple[float, ...]
    train_cost: float | None
    cross_fitted_score: float | None = None
    cross_fitted_cost: float | None = None

    @property
    def label(self) -> str:
        """The members in one line: "a > b" for a cascade, "a + b" for an ensemble."""
        return {"ensemble": " + "}.get(self.kind, " > ").join(self.members)


def by_cost(row: OperatingPoint) -> tuple:
    """Return a key that puts rows in order of cost, and equals in order of merit."""
    cost = float(f"{row.mean_cost:.12g}")
    score = float(np.round(row.score, SCORE_DECIMALS))
    return cost, -score, row.worst_cost, len(row.members), row.members, row.combine, row.thresholds
