"""The table of what a search found, and picking from it under constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.exceptions import InfeasibleConstraintError
from sklearn_cascade.inspection import CascadePrediction, format_cost
from sklearn_cascade.rules import within_limit
from sklearn_cascade.search._application import Application
from sklearn_cascade.search._dominance import SCORE_DECIMALS, non_dominated, round_cost, round_score
from sklearn_cascade.search._front_row import OperatingPoint, by_cost
from sklearn_cascade.search._front_text import table_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from sklearn_cascade.inspection import TradeoffDisplay


class ParetoFront(Sequence):
    """What a search found: the cascades nothing beats, all single models and all ensembles.

    A cascade is in the table if no other committee is at least as good in score, mean cost and
    worst-case cost. Rows come in order of mean cost. Scores and costs are those of the rows that
    were searched on, hence optimistic for cascades; cross-fitted ones stand beside them.

    Parameters
    ----------
    rows : sequence of OperatingPoint
        In any order.
    scoring : str
        Name of the score.
    cost_unit : str
        Unit of the costs.
    n_evaluated : int
        Threshold vectors looked at.
    max_worst_cost : float, default=None
        Limit of the worst-case cost that the search was given, which `select` keeps to.
    application : Application, default=None
        What it takes to apply the committees.

    Attributes
    ----------
    scoring, cost_unit, n_evaluated, max_worst_cost, application
        As given.
    score, mean_cost, worst_cost : ndarray of shape (n_rows,)
        The same figures as in the rows.
    non_dominated : ndarray of bool of shape (n_rows,)
        Rows that no other row, within the limit of the worst-case cost, beats in score
        and mean cost.

    See Also
    --------
    search_cascades : Makes one from recorded predictions.
    CascadeSearchCV : Makes one from estimators, as ``front_``.
    TradeoffDisplay : Draws one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cascade import search_cascades
    >>> y = np.array([0, 0, 1, 1])
    >>> cheap = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.1, 0.9]])
    >>> dear = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]])
    >>> front = search_cascades([cheap, dear], y, costs=[1, 10], names=["cheap", "dear"])
    >>> best = front.select()
    >>> best.members, best.score, best.mean_cost
    (('cheap', 'dear'), 1.0, 3.5)
    >>> front.select(max_cost=1).members
    ('cheap',)
    """

    def __init__(
        self,
        rows: Sequence[OperatingPoint],
        *,
        scoring: str,
        cost_unit: str,
        n_evaluated: int,
        max_worst_cost: float | None = None,
        application: Application | None = None,
    ) -> None:
        self.scoring = scoring
        self.cost_unit = cost_unit
        self.n_evaluated = n_evaluated
        self.max_worst_cost = max_worst_cost
        self.application = application
        self._rows = sorted(rows, key=by_cost)
        self.score = np.array([row.score for row in self._rows])
        self.mean_cost = np.array([row.mean_cost for row in self._rows])
        self.worst_cost = np.array([row.worst_cost for row in self._rows])
        self.non_dominated = self._mark_non_dominated()

    def select(
        self,
        *,
        min_score: float | None = None,
        max_score_loss: float | None = None,
        max_cost: float | None = None,
        max_worst_cost: float | None = None,
    ) -> OperatingPoint:
        """Return the best committee under constraints.

        With limits of the cost only: the best score within them. Otherwise the cheapest
        committee that satisfies all constraints; without any, the cheapest that is not worse than
        the best single model. Equals are decided by the score, then by fewer stages, then by
        names.

        Parameters
        ----------
        min_score : float, default=None
            Score to reach.
        max_score_loss : float, default=None
            How far the score may be below the best single model's; below zero: how far it has
            to be above.
        max_cost : float, default=None
            Limit of the mean cost of a row.
        max_worst_cost : float, default=None
            Limit of the cost of a row that goes through every stage.

        Returns
        -------
        row : OperatingPoint
            One of the rows.

        Raises
        ------
        InfeasibleConstraintError
            If there is none; says what comes nearest.
        ValueError
            If a constraint is not a finite number.
        """
        return self._rows[
            self.find_index(
                min_score=min_score,
                max_score_loss=max_score_loss,
                max_cost=max_cost,
                max_worst_cost=max_worst_cost,
            )
        ]

    def find_index(
        self,
        *,
        min_score: float | None = None,
        max_score_loss: float | None = None,
        max_cost: float | None = None,
        max_worst_cost: float | None = None,
        nearest: bool = False,
    ) -> int:
        """Return the position of the row that `select` returns.

        Parameters
        ----------
        min_score, max_score_loss, max_cost, max_worst_cost : float, default=None
            As in `select`.
        nearest : bool, default=False
            Where no row satisfies the constraints, return the best score within the limits of
            the cost, or else the cheapest row, instead of raising.

        Returns
        -------
        position : int
            Of the row, from 0.
        """
        asked = check_constraints(
            min_score=min_score,
            max_score_loss=max_score_loss,
            max_cost=max_cost,
            max_worst_cost=max_worst_cost,
        )
        affordable = self._affordable(max_cost, max_worst_cost)
        by_score = bool(asked) and min_score is None and max_score_loss is None
        good = np.ones(len(self), dtype=bool)
        if not by_score:
            good = self.score >= self._floor(min_score, max_score_loss) - 10.0**-SCORE_DECIMALS
        if (good & affordable).any():
            return self._first(np.flatnonzero(good & affordable), by_score)
        if not nearest:
            raise InfeasibleConstraintError(asked, self._nearest(good, affordable))
        if affordable.any():
            return self._first(np.flatnonzero(affordable), True)
        return self._first(np.arange(len(self)), False)

    def apply(self, row: OperatingPoint | int, proba: Sequence | Mapping) -> CascadePrediction:
        """Return what a committee of the table answers where its models have said something else.

        Parameters
        ----------
        row : OperatingPoint or int
            A row of the table.
        proba : sequence, or dict from name
            What each model said of other rows, in the form and order that was searched; models
            that the committee does not run may be None.

        Returns
        -------
        prediction : CascadePrediction
            Labels, probabilities (None where models only give labels), exit stages and costs.

        Raises
        ------
        ValueError
            If an entry is missing, or of another shape than the others; if the table was not
            made by a search.
        InvalidProbabilitiesError
            If a model's probabilities are none.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_cascade import search_cascades
        >>> y = np.array([0, 0, 1, 1])
        >>> cheap = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.1, 0.9]])
        >>> dear = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]])
        >>> front = search_cascades([cheap, dear], y, costs=[1, 10])
        >>> new = [np.array([[0.5, 0.5], [0.99, 0.01]]), np.array([[0.1, 0.9], [0.5, 0.5]])]
        >>> front.apply(front.select(), new).label
        array([1, 0])
        >>> front.apply(front.select(), new).cost
        array([11.,  1.])
        """
        if not isinstance(row, OperatingPoint):
            row = self._rows[row]
        if self.application is None:
            raise ValueError("this table was made without application=..., which it takes to apply")
        return self.application.apply(row, proba)

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            A row per committee, a column per figure, and whether it is non-dominated.
        """
        pandas = import_optional("pandas", feature="ParetoFront.to_frame", extra="bench")
        frame = pandas.DataFrame(self._rows, columns=OperatingPoint._fields)
        return frame.assign(non_dominated=self.non_dominated)

    def plot(
        self, *, chosen: OperatingPoint | int | None = None, ax: Axes | None = None, **kwargs
    ) -> TradeoffDisplay:
        """Draw score against cost.

        Parameters
        ----------
        chosen : OperatingPoint or int, default=None
            A row to name.
        ax : matplotlib Axes, default=None
            Where to draw.
        **kwargs : dict
            Passed to `TradeoffDisplay.from_front`.

        Returns
        -------
        display : TradeoffDisplay
            With its ``ax_`` and ``figure_``.
        """
        # Not at the top: few programs draw.
        from sklearn_cascade.inspection import TradeoffDisplay

        return TradeoffDisplay.from_front(self, chosen=chosen, ax=ax, **kwargs)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> OperatingPoint:
        return self._rows[position]

    def __iter__(self) -> Iterator[OperatingPoint]:
        return iter(self._rows)

    def __str__(self) -> str:
        return table_of(self).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_of(self).to_html()

    def _mark_non_dominated(self) -> np.ndarray:
        """Tell which rows no other one within the limit beats in score and mean cost."""
        rows = np.flatnonzero(self._affordable(None, None))
        score, cost = self._rounded(rows)
        marked = np.zeros(len(self), dtype=bool)
        marked[rows[non_dominated(score, cost, np.zeros(len(rows)), np.arange(len(rows)))]] = True
        return marked

    def _rounded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return score and cost of some rows so that differences by rounding are none."""
        highest = self.worst_cost.max(initial=0.0)
        return round_score(self.score[rows]), round_cost(self.mean_cost[rows], highest)

    def _affordable(self, max_cost, max_worst_cost) -> np.ndarray:
        """Tell which rows are within the limits of the cost."""
        return (
            within_limit(self.mean_cost, max_cost)
            & within_limit(self.worst_cost, max_worst_cost)
            & within_limit(self.worst_cost, self.max_worst_cost)
        )

    def _floor(self, min_score, max_score_loss) -> float:
        """Return the score to reach."""
        floors = [] if min_score is None else [min_score]
        if max_score_loss is not None or min_score is None:
            singles = [row.score for row in self if row.kind == "single"]
            floors.append(max(singles) - (max_score_loss or 0.0))
        return max(floors)

    def _first(self, rows: np.ndarray, by_score: bool) -> int:
        """Return the best of some rows by score, or the cheapest."""
        score, cost = self._rounded(rows)
        # Rows are in order of merit among equals.
        order = np.lexsort((rows, cost, -score) if by_score else (rows, -score, cost))
        return int(rows[order[0]])

    def _nearest(self, good: np.ndarray, affordable: np.ndarray) -> list[str]:
        """Return in words what comes nearest to constraints that no row satisfies."""
        nearest = []
        if affordable.any():
            row = self._rows[self._first(np.flatnonzero(affordable), True)]
            limited = "" if affordable.all() else " within these costs"
            nearest.append(f"the best score{limited} is {row.score:.6g}, at {self._describe(row)}")
        else:
            cheapest = {self._first(np.arange(len(self)), False), int(self.worst_cost.argmin())}
            lowest = " and ".join(self._describe(self._rows[i]) for i in sorted(cheapest))
            nearest.append(f"the lowest cost is {lowest}")
        if good.any() and not good.all():
            row = self._rows[self._first(np.flatnonzero(good), False)]
            nearest.append(f"that score costs at least {self._describe(row)}")
        return nearest

    def _describe(self, row: OperatingPoint) -> str:
        """Return what a row costs, and which committee it is."""
        mean, worst = (
            format_cost(cost, self.cost_unit) for cost in (row.mean_cost, row.worst_cost)
        )
        return f"{mean} (worst case {worst}) with the {row.kind} {row.label!r}"


def check_constraints(**constraints) -> dict[str, float]:
    """Return the constraints that were given by name, or raise for what is no finite number."""
    asked = {name: value for name, value in constraints.items() if value is not None}
    for name, value in asked.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value):
            raise ValueError(f"{name}={value!r}; expected a finite number, or None")
    return asked
