"""The table of what a search found, and picking from it under constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.core import (
    LabelCombiner,
    ProbaCombiner,
    as_numbers,
    check_proba,
    exit_stages,
    row_costs,
    within_limit,
)
from sklearn_cascade.core._pareto import SCORE_DECIMALS, non_dominated, round_cost, round_score
from sklearn_cascade.exceptions import InfeasibleConstraintError
from sklearn_cascade.inspection import CascadePrediction, Table, format_cost
from sklearn_cascade.search._candidates import Candidate
from sklearn_cascade.search._pool_confidence import PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from sklearn_cascade.inspection import TradeoffDisplay

# Rows shown of each kind; the frame has all.
_N_SHOWN = 12


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
    application : FrontEvaluator, default=None
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
        application: FrontEvaluator | None = None,
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
        pandas = import_optional("pandas", feature="ParetoFront.to_frame")
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


def table_of(front: ParetoFront) -> Table:
    """Return the rows shown as a table."""
    cross_fitted = any(row.cross_fitted_score is not None for row in front)
    header = ["", "members", "thresholds", front.scoring, "cross-fitted", "mean cost", "worst case"]
    body = [_row(front, front[i]) for i in _shown(front)]
    if not cross_fitted:
        header, *body = [[*line[:4], *line[5:]] for line in (header, *body)]
    return Table(_title(front), header, body, _remarks(front, cross_fitted), n_words=3)


def _title(front: ParetoFront) -> str:
    """Return how much was found."""
    counts = dict.fromkeys(("single", "ensemble", "cascade"), 0)
    for row in front:
        counts[row.kind] += 1
    names = {"single": "single model", "ensemble": "ensemble", "cascade": "cascade"}
    found = ", ".join(
        f"{count:,} {names[kind]}{'' if count == 1 else 's'}" for kind, count in counts.items()
    )
    return f"{found}; {front.n_evaluated:,} threshold vectors looked at"


def _shown(front: ParetoFront) -> list[int]:
    """Return the rows to show: those on the front, and the single models, thinned evenly."""
    on_front = np.flatnonzero(front.non_dominated)
    singles = np.array([i for i, row in enumerate(front) if row.kind == "single"])
    return sorted({*_thinned(on_front), *_thinned(singles)})


def _thinned(rows: np.ndarray) -> list[int]:
    """Return a dozen of the rows, the first and the last among them."""
    if len(rows) > _N_SHOWN:
        rows = rows[np.linspace(0, len(rows) - 1, _N_SHOWN).astype(int)]
    return rows.tolist()


def _row(front: ParetoFront, row: OperatingPoint) -> list[str]:
    """Return one row as text."""
    shown = ", ".join("never" if t == np.inf else f"{t:.4g}" for t in row.thresholds)
    costs = (format_cost(cost, front.cost_unit) for cost in (row.mean_cost, row.worst_cost))
    thresholds = f"{shown} ({row.combine})" if row.kind == "cascade" else ""
    # Nothing is chosen in a single model, nor in an ensemble.
    cross_fitted = row.score if row.kind != "cascade" else row.cross_fitted_score
    scores = ["" if score is None else f"{score:.4f}" for score in (row.score, cross_fitted)]
    return [row.kind, row.label, thresholds, *scores, *costs]


def _remarks(front: ParetoFront, cross_fitted: bool) -> list[str]:
    """Return the sentences below the table."""
    n_hidden = len(front) - len(_shown(front))
    lines = [f"{n_hidden:,} more rows in to_frame()."] if n_hidden else []
    lines.append("Scores and costs are those of the rows searched on, hence optimistic.")
    if cross_fitted:
        lines.append(
            "Cross-fitted: the best of no higher cost, chosen without the fold it is scored on."
        )
    else:
        lines.append("None is cross-fitted here: see the parameter cv.")
    return lines


class StageSpec(NamedTuple):
    """What one committee does at each stage.

    Attributes
    ----------
    costs : ndarray of shape (n_stages,)
        Cost of one row.
    confidences : list of length n_stages
        How sure the answer is; None where nobody asks.
    seconds : ndarray of shape (n_stages,) or None
        What a learned confidence takes for a row; None where it is not learned, or from labels.
    """

    costs: np.ndarray
    confidences: list
    seconds: np.ndarray | None


class FrontEvaluator(NamedTuple):
    """What it takes to apply the committees of a front.

    Attributes
    ----------
    names : tuple of str
        Models of the pool, in the order in which they were given.
    classes : ndarray of shape (n_classes,)
        Label of each column; without columns, all labels that occurred.
    pairs : bool
        Whether the models give confidences and labels only.
    committees : dict from (combine, members, exits) to Committee
        Those of the front.
    """

    names: tuple[str, ...]
    classes: np.ndarray
    pairs: bool
    committees: dict[tuple, StageSpec]

    def committee(self, row: OperatingPoint) -> StageSpec:
        """Return what a committee does at each stage."""
        return self.committees[row.combine, row.members, row.kind == "cascade"]

    def apply(self, row: OperatingPoint, proba) -> CascadePrediction:
        """Return what a committee answers where its models have said `proba`."""
        committee = self.committee(row)
        said = [self._entry(proba, name) for name in row.members]
        n_samples = len(said[0][0] if self.pairs else said[0])
        if self.pairs:
            classes, said = _coded(self.classes, said, row.members, n_samples)
            running = LabelCombiner(row.combine)
        else:
            classes = self.classes
            said = [
                check_proba(np.asarray(entry), n_samples, len(classes), member=name)
                for name, entry in zip(row.members, said, strict=True)
            ]
            running = ProbaCombiner(row.combine, remember=True)
        answers, sure = [], []
        for k, (entry, confidence) in enumerate(zip(said, committee.confidences, strict=True)):
            answers.append(running.add(entry, 1.0, confidence))
            if k < len(row.thresholds):
                asked = row.kind == "cascade"
                sure.append(running.confidence(confidence) if asked else np.zeros(n_samples))
        stage = exit_stages(sure, row.thresholds) if sure else np.zeros(n_samples, dtype=int)
        given = np.stack(answers)[stage, np.arange(n_samples)]
        label = classes[given if self.pairs else given.argmax(axis=1)]
        cost = row_costs(stage, committee.costs)
        return CascadePrediction(label, None if self.pairs else given, stage, cost)

    def _entry(self, proba, name: str):
        """Return what one model said."""
        if isinstance(proba, dict):
            if name not in proba:
                raise ValueError(f"proba lacks {name!r}, which this committee runs")
            return proba[name]
        if len(proba) != len(self.names):
            raise ValueError(
                f"proba has {len(proba)} entries; expected one for each of {list(self.names)}, "
                f"or a dict by name"
            )
        return proba[self.names.index(name)]


def application_of(
    recordings: PoolPredictions, names: Sequence[str], plans: Sequence[Candidate], confidence
) -> FrontEvaluator:
    """Return what it takes to apply some plans.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    names : sequence of str
        Its models, in the order in which they were given.
    plans : sequence of Candidate
        The committees.
    confidence : str, callable or PoolConfidenceModels
        How sure an answer is.
    """
    committees, pairs = {}, recordings.proba is None
    for plan in plans:
        n_stages = len(plan.members)
        members = tuple(recordings.names[model] for model in plan.members)
        known, seconds = [confidence] * n_stages, None
        if plan.learned:
            known = confidence.stages(plan.combine, plan.members)
            known += [None] * (n_stages - len(known))
            seconds = None if pairs else confidence.seconds(plan.combine, n_stages)
        elif isinstance(confidence, PoolConfidenceModels):
            # No early exit: nobody asks.
            known = [None] * n_stages
        committees[plan.combine, members, plan.exits] = StageSpec(plan.costs, known, seconds)
    return FrontEvaluator(tuple(names), recordings.classes, pairs, committees)


def _coded(classes, said, names, n_samples: int) -> tuple[np.ndarray, list]:
    """Return all classes and the pairs by class; labels that nobody knew come last."""
    checked = []
    for name, (sure, label) in zip(names, said, strict=True):
        sure, label = as_numbers(f"confidence of {name!r}", sure), np.asarray(label)
        if sure.shape != (n_samples,) or label.shape != (n_samples,):
            raise ValueError(
                f"proba: the pair of {name!r} has shapes {sure.shape} and {label.shape}; expected "
                f"one confidence and one label for each of {n_samples} rows"
            )
        checked.append((sure, label))
    seen = np.unique(np.concatenate([label for _, label in checked]))
    every = np.concatenate([classes, seen[~np.isin(seen, classes)]])
    order = np.argsort(every, kind="stable")
    return every, [(s, order[np.searchsorted(every, label, sorter=order)]) for s, label in checked]
