"""The Pareto front that a search returns: choosing from it, applying it and showing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.core._costs import row_costs, within_limit
from sklearn_cascade.core._pareto import SCORE_DECIMALS, non_dominated, round_cost, round_score
from sklearn_cascade.core._probabilities import check_proba
from sklearn_cascade.core._samples import evenly_spaced
from sklearn_cascade.core._validation import as_numbers
from sklearn_cascade.exceptions import InfeasibleConstraintError
from sklearn_cascade.inspection._cost_report import CascadePrediction
from sklearn_cascade.inspection._tables import Table, format_cost
from sklearn_cascade.search._candidates import Candidate
from sklearn_cascade.search._pool_confidence import AnyConfidence, PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions, exit_outputs, make_combiner

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from sklearn_cascade.inspection._tradeoff_display import TradeoffDisplay

# Points of each kind that are printed; the frame has all.
_N_SHOWN = 12


class OperatingPoint(NamedTuple):
    """One single model, ensemble or cascade at one vector of thresholds.

    Attributes
    ----------
    kind : {"single", "ensemble", "cascade"}
        A model alone, the mean of several, or a cascade with early exits.
    members : tuple of str
        Names of its models, in running order.
    combine : {"mean", "last", "most_confident"}
        How the outputs of the stages run so far are combined.
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
        For a non-dominated cascade: score and mean cost of the best candidate of no higher
        mean cost, chosen on all folds but one and evaluated on that one, averaged over the folds.
        None where nothing is tuned or nothing was cross-fitted.

    See Also
    --------
    ParetoFront : Holds the operating points that a search found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cascade import search_cascades
    >>> y = np.array([0, 0, 1, 1])
    >>> small = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.1, 0.9]])
    >>> large = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]])
    >>> front = search_cascades([small, large], y, costs=[1, 10], names=["small", "large"])
    >>> point = front.select()
    >>> point.label, point.kind, point.exit_rates
    ('small > large', 'cascade', (0.75, 0.25))
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


class ParetoFront(Sequence[OperatingPoint]):
    """What a search found: the non-dominated cascades, all single models and all ensembles.

    A cascade is among the points if no other candidate is at least as good in score, mean cost and
    worst-case cost. Points come in order of mean cost. Scores and costs are those of the rows that
    were searched on, hence optimistic for cascades; cross-fitted ones stand beside them.

    Parameters
    ----------
    points : sequence of OperatingPoint
        In any order.
    scoring : str
        Name of the score.
    cost_unit : str
        Unit of the costs.
    n_evaluated : int
        Number of threshold vectors evaluated.
    max_worst_cost : float, default=None
        Limit of the worst-case cost that the search was given, which `select` keeps to.
    evaluator : FrontEvaluator, default=None
        What it takes to apply the points to new predictions; a search provides it.

    Attributes
    ----------
    scoring, cost_unit, n_evaluated, max_worst_cost, evaluator
        As given.
    score, mean_cost, worst_cost : ndarray of shape (n_points,)
        The same values as in the points.
    non_dominated : ndarray of bool of shape (n_points,)
        Points that no other point, within the limit of the worst-case cost, beats in score
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
    >>> small = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.1, 0.9]])
    >>> large = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]])
    >>> front = search_cascades([small, large], y, costs=[1, 10], names=["small", "large"])
    >>> best = front.select()
    >>> best.members, best.score, best.mean_cost
    (('small', 'large'), 1.0, 3.5)
    >>> front.select(max_cost=1).members
    ('small',)
    """

    def __init__(
        self,
        points: Sequence[OperatingPoint],
        *,
        scoring: str,
        cost_unit: str,
        n_evaluated: int,
        max_worst_cost: float | None = None,
        evaluator: FrontEvaluator | None = None,
    ) -> None:
        self.scoring = scoring
        self.cost_unit = cost_unit
        self.n_evaluated = n_evaluated
        self.max_worst_cost = max_worst_cost
        self.evaluator = evaluator
        self._points = sorted(points, key=_by_cost)
        self.score = np.array([point.score for point in self._points])
        self.mean_cost = np.array([point.mean_cost for point in self._points])
        self.worst_cost = np.array([point.worst_cost for point in self._points])
        allowed = np.flatnonzero(self._affordable(None, None))
        score, cost = self._rounded(allowed)
        best = non_dominated(score, cost, np.zeros(len(allowed)), np.arange(len(allowed)))
        self.non_dominated = np.zeros(len(self), dtype=bool)
        self.non_dominated[allowed[best]] = True

    def select(
        self,
        *,
        min_score: float | None = None,
        max_score_loss: float | None = None,
        max_cost: float | None = None,
        max_worst_cost: float | None = None,
    ) -> OperatingPoint:
        """Return the best operating point under constraints.

        With limits of the cost only: the best score within them. Otherwise the cheapest point that
        satisfies all constraints; without any, the cheapest that is not worse than the best single
        model. Ties are decided by the score, then by fewer stages, then by names.

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
        point : OperatingPoint
            One of the points of the front.

        Raises
        ------
        InfeasibleConstraintError
            If there is none; says what comes nearest.
        ValueError
            If a constraint is not a finite number.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_cascade import search_cascades
        >>> y = np.array([0, 0, 1, 1])
        >>> small = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.1, 0.9]])
        >>> large = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]])
        >>> front = search_cascades([small, large], y, costs=[1, 10])
        >>> front.select(max_score_loss=0.3).mean_cost
        1.0
        >>> front.select(min_score=0.9, max_worst_cost=10).members
        ('model_1',)
        """
        index = self.find_index(
            min_score=min_score,
            max_score_loss=max_score_loss,
            max_cost=max_cost,
            max_worst_cost=max_worst_cost,
        )
        return self._points[index]

    def find_index(
        self,
        *,
        min_score: float | None = None,
        max_score_loss: float | None = None,
        max_cost: float | None = None,
        max_worst_cost: float | None = None,
        nearest: bool = False,
    ) -> int:
        """Return the index of the point that `select` returns.

        Parameters
        ----------
        min_score, max_score_loss, max_cost, max_worst_cost : float, default=None
            As in `select`.
        nearest : bool, default=False
            Where no point satisfies the constraints, return the best score within the limits of
            the cost, or else the cheapest point, instead of raising.

        Returns
        -------
        index : int
            From 0, in order of mean cost.
        """
        constraints = check_constraints(
            min_score=min_score,
            max_score_loss=max_score_loss,
            max_cost=max_cost,
            max_worst_cost=max_worst_cost,
        )
        affordable = self._affordable(max_cost, max_worst_cost)
        by_score = bool(constraints) and min_score is None and max_score_loss is None
        good = np.ones(len(self), dtype=bool)
        if not by_score:
            targets = [] if min_score is None else [min_score]
            if max_score_loss is not None or min_score is None:
                best_single = max(point.score for point in self if point.kind == "single")
                targets.append(best_single - (max_score_loss or 0.0))
            good = self.score >= max(targets) - 10.0**-SCORE_DECIMALS
        if (good & affordable).any():
            return self._first(good & affordable, by_score)
        if not nearest:
            raise InfeasibleConstraintError(constraints, self._nearest(good, affordable))
        if affordable.any():
            return self._first(affordable, by_score=True)
        return self._first(np.ones(len(self), dtype=bool), by_score=False)

    def _affordable(self, max_cost: float | None, max_worst_cost: float | None) -> np.ndarray:
        """Tell which points are within the limits of the cost: shape (n_points,)."""
        within = (
            within_limit(self.mean_cost, max_cost)
            & within_limit(self.worst_cost, max_worst_cost)
            & within_limit(self.worst_cost, self.max_worst_cost)
        )
        return np.asarray(within)

    def _rounded(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return score and cost of some points so that those that differ by rounding are equal."""
        highest = self.worst_cost.max(initial=0.0)
        return round_score(self.score[points]), round_cost(self.mean_cost[points], highest)

    def _first(self, among: np.ndarray, by_score: bool) -> int:
        """Return the best of the points by score, or the cheapest."""
        points = np.flatnonzero(among)
        score, cost = self._rounded(points)
        # Among equals the first is preferred.
        order = np.lexsort((points, cost, -score) if by_score else (points, -score, cost))
        return int(points[order[0]])

    def _nearest(self, good: np.ndarray, affordable: np.ndarray) -> list[str]:
        """Describe what comes nearest to constraints that no point satisfies."""
        nearest = []
        if affordable.any():
            point = self._points[self._first(affordable, by_score=True)]
            limited = "" if affordable.all() else " within these costs"
            nearest.append(f"the best score{limited} is {point.score:.6g}, at {self._cost(point)}")
        else:
            everything = np.ones(len(self), dtype=bool)
            cheapest = {self._first(everything, by_score=False), int(self.worst_cost.argmin())}
            lowest = " and ".join(self._cost(self._points[i]) for i in sorted(cheapest))
            nearest.append(f"the lowest cost is {lowest}")
        if good.any() and not good.all():
            point = self._points[self._first(good, by_score=False)]
            nearest.append(f"that score costs at least {self._cost(point)}")
        return nearest

    def _cost(self, point: OperatingPoint) -> str:
        """Describe what a point costs, and which one it is."""
        mean, worst = (
            format_cost(cost, self.cost_unit) for cost in (point.mean_cost, point.worst_cost)
        )
        return f"{mean} (worst case {worst}) with the {point.kind} {point.label!r}"

    def apply(
        self, point: OperatingPoint | int, proba: Sequence[Any] | Mapping[str, Any]
    ) -> CascadePrediction:
        """Predict other rows with a point of the front, from what its models predicted for them.

        Parameters
        ----------
        point : OperatingPoint or int
            A point of the front, or its index.
        proba : sequence, or dict from name
            Predictions of each model for the other rows, in the form and order that was searched;
            models that the point does not run may be None.

        Returns
        -------
        prediction : CascadePrediction
            Labels, probabilities (None where models only give labels), exit stages and costs.

        Raises
        ------
        ValueError
            If an entry is missing, or of another shape than the others; if the front was not
            made by a search.
        InvalidProbabilitiesError
            If a model's output is not a matrix of probabilities.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_cascade import search_cascades
        >>> y = np.array([0, 0, 1, 1])
        >>> small = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45], [0.1, 0.9]])
        >>> large = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]])
        >>> front = search_cascades([small, large], y, costs=[1, 10])
        >>> new = [np.array([[0.5, 0.5], [0.99, 0.01]]), np.array([[0.1, 0.9], [0.5, 0.5]])]
        >>> front.apply(front.select(), new).label
        array([1, 0])
        >>> front.apply(front.select(), new).cost
        array([11.,  1.])
        """
        if not isinstance(point, OperatingPoint):
            point = self._points[point]
        if self.evaluator is None:
            raise ValueError("this front was made without evaluator=..., which `apply` needs")
        return self.evaluator.apply(point, proba)

    def to_frame(self) -> pandas.DataFrame:
        """Return the front as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            A row per point, a column per attribute, and whether it is non-dominated.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_cascade import search_cascades
        >>> proba = np.array([[0.9, 0.1], [0.4, 0.6]])
        >>> front = search_cascades([proba], np.array([0, 1]), costs=[1])
        >>> front.to_frame()[["kind", "score", "mean_cost", "non_dominated"]]
             kind  score  mean_cost  non_dominated
        0  single    1.0        1.0           True
        """
        pandas = import_optional("pandas", feature="to_frame")
        frame = pandas.DataFrame(self._points, columns=OperatingPoint._fields)
        return frame.assign(non_dominated=self.non_dominated)

    def plot(
        self, *, chosen: OperatingPoint | int | None = None, ax: Axes | None = None, **kwargs: Any
    ) -> TradeoffDisplay:
        """Draw score against cost.

        Parameters
        ----------
        chosen : OperatingPoint or int, default=None
            A point to mark, or its index.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **kwargs : dict
            Passed to `TradeoffDisplay.from_front`.

        Returns
        -------
        display : TradeoffDisplay
            With its ``ax_`` and ``figure_``.

        Examples
        --------
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from sklearn_cascade import search_cascades
        >>> proba = np.array([[0.9, 0.1], [0.4, 0.6]])
        >>> front = search_cascades([proba], np.array([0, 1]), costs=[1])
        >>> front.plot(chosen=front.select(), ax=Figure().subplots()).ax_.get_ylabel()
        'Accuracy (%)'
        """
        # Imported here, since few programs draw.
        from sklearn_cascade.inspection._tradeoff_display import TradeoffDisplay

        return TradeoffDisplay.from_front(self, chosen=chosen, ax=ax, **kwargs)

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, index: int) -> OperatingPoint: ...
    @overload
    def __getitem__(self, index: slice) -> list[OperatingPoint]: ...
    def __getitem__(self, index: int | slice) -> OperatingPoint | list[OperatingPoint]:
        return self._points[index]

    def __iter__(self) -> Iterator[OperatingPoint]:
        return iter(self._points)

    def __str__(self) -> str:
        return _table_of(self).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _table_of(self).to_html()


def check_constraints(**constraints: float | None) -> dict[str, float]:
    """Return the constraints given by name, or raise for one that is not a finite number."""
    given = {name: value for name, value in constraints.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value):
            raise ValueError(f"{name}={value!r}; expected a finite number, or None")
    return given


def _by_cost(point: OperatingPoint) -> tuple:
    """Return a key that sorts points by cost, and the preferred first among equals."""
    cost = float(f"{point.mean_cost:.12g}")
    score = float(np.round(point.score, SCORE_DECIMALS))
    equals = point.worst_cost, len(point.members), point.members, point.combine, point.thresholds
    return cost, -score, *equals


def _table_of(front: ParetoFront) -> Table:
    """Return a table of the non-dominated points and the single models, a dozen of each."""
    by_kind = {
        kind: [i for i, point in enumerate(front) if point.kind == kind]
        for kind in ("single", "ensemble", "cascade")
    }
    counts = [
        f"{len(points):,} {'single model' if kind == 'single' else kind}{'s' * (len(points) != 1)}"
        for kind, points in by_kind.items()
    ]
    title = f"{', '.join(counts)}; {front.n_evaluated:,} threshold vectors evaluated"
    groups = np.flatnonzero(front.non_dominated), np.array(by_kind["single"], dtype=int)
    shown = {i for group in groups for i in group[evenly_spaced(len(group), _N_SHOWN)].tolist()}
    cross_fitted = any(point.cross_fitted_score is not None for point in front)
    scores = [front.scoring, *["cross-fitted"] * cross_fitted]
    header = ["", "members", "thresholds", *scores, "mean cost", "worst case"]
    body = [_line(front[i], front.cost_unit, cross_fitted) for i in sorted(shown)]
    n_hidden = len(front) - len(shown)
    remarks = [f"{n_hidden:,} more rows in to_frame()."] if n_hidden else []
    remarks.append("Scores and costs are those of the rows searched on, hence optimistic.")
    if cross_fitted:
        remarks.append(
            "Cross-fitted: the best of no higher cost, chosen without the fold it is scored on."
        )
    else:
        remarks.append("None is cross-fitted here: see the parameter cv.")
    return Table(title, header, body, remarks, n_words=3)


def _line(point: OperatingPoint, cost_unit: str, cross_fitted: bool) -> list[str]:
    """Return one line of the table."""
    thresholds = ", ".join("never" if t == np.inf else f"{t:.4g}" for t in point.thresholds)
    thresholds = f"{thresholds} ({point.combine})" if point.kind == "cascade" else ""
    # Nothing is tuned in a single model, nor in an ensemble.
    estimate = point.cross_fitted_score if point.kind == "cascade" else point.score
    scores = [point.score, *[estimate] * cross_fitted]
    return [
        point.kind,
        point.label,
        thresholds,
        *("" if score is None else f"{score:.4f}" for score in scores),
        *(format_cost(cost, cost_unit) for cost in (point.mean_cost, point.worst_cost)),
    ]


class StageSpec(NamedTuple):
    """What one candidate does at each stage."""

    candidate: Candidate
    confidences: list[Any]  # one per stage; None where it is not needed
    seconds: np.ndarray | None  # (n_stages,), of a learned confidence of probabilities, for a row

    @property
    def costs(self) -> np.ndarray:
        """Cost of one row in each stage: shape (n_stages,)."""
        return self.candidate.costs


class FrontEvaluator(NamedTuple):
    """What it takes to apply the points of a front to new predictions."""

    names: tuple[str, ...]  # models of the pool, in the order in which they were given
    classes: np.ndarray  # label of each column; without columns, all that occurred
    has_proba: bool  # False: the models give confidences and labels only
    specs: dict[tuple[str, tuple[str, ...], bool], StageSpec]  # (combine, members, exits)

    def stage_spec(self, point: OperatingPoint) -> StageSpec:
        """Return what the candidate of a point does at each stage."""
        return self.specs[point.combine, point.members, point.kind == "cascade"]

    def apply(
        self, point: OperatingPoint, proba: Sequence[Any] | Mapping[str, Any]
    ) -> CascadePrediction:
        """Return the predictions of a point from those of its models."""
        spec = self.stage_spec(point)
        outputs = [self._entry(proba, name) for name in point.members]
        if self.has_proba:
            classes, n_samples = self.classes, len(outputs[0])
            outputs = [
                check_proba(np.asarray(entry), n_samples, len(classes), member=name)
                for name, entry in zip(point.members, outputs, strict=True)
            ]
        else:
            classes, outputs = _label_columns_of_pairs(self.classes, outputs, point.members)
        combiner = make_combiner(point.combine, has_proba=self.has_proba, remember=True)
        thresholds = point.thresholds if point.kind == "cascade" else ()
        given, stage = exit_outputs(combiner, outputs, spec.confidences, thresholds)
        label = classes[given.argmax(axis=1) if self.has_proba else given]
        cost = row_costs(stage, spec.costs)
        new_proba: Any = given if self.has_proba else None
        return CascadePrediction(label, new_proba, stage, cost)

    def _entry(self, proba: Sequence[Any] | Mapping[str, Any], name: str) -> Any:
        """Return the predictions of one model."""
        if isinstance(proba, Mapping):
            if name not in proba:
                raise ValueError(f"proba lacks {name!r}, which this operating point runs")
            return proba[name]
        if len(proba) != len(self.names):
            raise ValueError(
                f"proba has {len(proba)} entries; expected one for each of {list(self.names)}, "
                f"or a dict by name"
            )
        return proba[self.names.index(name)]


def _label_columns_of_pairs(
    classes: np.ndarray, pairs: Sequence[Any], names: Sequence[str]
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Return all classes, new labels last, and the pairs with the column of each label."""
    n_samples, checked = len(pairs[0][0]), []
    for name, (confidence, label) in zip(names, pairs, strict=True):
        confidence, label = as_numbers(f"confidence of {name!r}", confidence), np.asarray(label)
        if confidence.shape != (n_samples,) or label.shape != (n_samples,):
            raise ValueError(
                f"proba: the pair of {name!r} has shapes {confidence.shape} and {label.shape}; "
                f"expected one confidence and one label for each of {n_samples} rows"
            )
        checked.append((confidence, label))
    seen = np.unique(np.concatenate([label for _, label in checked]))
    every = np.concatenate([classes, seen[~np.isin(seen, classes)]])
    order = np.argsort(every, kind="stable")
    return every, [
        (confidence, order[np.searchsorted(every, label, sorter=order)])
        for confidence, label in checked
    ]


def make_evaluator(
    predictions: PoolPredictions,
    names: Sequence[str],
    candidates: Sequence[Candidate],
    confidence: AnyConfidence,
    *,
    with_confidences: bool,
) -> FrontEvaluator:
    """Return the evaluator of some candidates; `names` are the models as they were given.

    Without confidences the candidates can be looked up, but not applied.
    """
    specs = {}
    for candidate in candidates:
        n_stages, seconds = len(candidate.members), None
        confidences: list[Any] = [None] * n_stages
        if not isinstance(confidence, PoolConfidenceModels):
            confidences = [confidence] * n_stages
        elif candidate.learned and with_confidences:
            models = confidence.stages(candidate.combine, candidate.members)
            confidences[: len(models)] = models
            if predictions.has_proba:
                seconds = confidence.seconds(candidate.combine, n_stages)
        members = tuple(predictions.names[model] for model in candidate.members)
        key = candidate.combine, members, candidate.exits
        specs[key] = StageSpec(candidate, confidences, seconds)
    return FrontEvaluator(tuple(names), predictions.classes, predictions.has_proba, specs)
