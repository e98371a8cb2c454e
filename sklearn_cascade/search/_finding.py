"""Choosing how to search, searching, and putting what is found into a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from threading import Lock
from typing import NamedTuple

import numpy as np
from joblib import cpu_count, effective_n_jobs

from sklearn_cascade.rules import COMBINATIONS, CONFIDENCES, check_scoring, is_additive
from sklearn_cascade.search._application import application_of
from sklearn_cascade.search._committees import Found, Plan, count_cascades
from sklearn_cascade.search._contest import ways_of
from sklearn_cascade.search._engine import Explored, explore
from sklearn_cascade.search._exhaustive import MAX_CELLS
from sklearn_cascade.search._front import ParetoFront, check_constraints
from sklearn_cascade.search._front_row import OperatingPoint
from sklearn_cascade.search._large_pools import explore_greedily
from sklearn_cascade.search._learned import LearnedConfidence, as_learner
from sklearn_cascade.search._learners import Learners
from sklearn_cascade.search._lots import Settings
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._rescoring import rescore
from sklearn_cascade.search._shortlist import explore_near_front

# What "auto" calls affordable, in seconds of one core by the measures below.
_AFFORDABLE_SECONDS = 120.0
_VECTORS_PER_SECOND = 3e7
_PROBABILITIES_PER_SECOND = 2e9
_ROWS_PER_SECOND = 1e8


class Options(NamedTuple):
    """Parameters of a search, as the user gave them.

    Attributes
    ----------
    max_stages, order, combine, confidence, n_thresholds, method, scoring, max_worst_cost
        As in `search_cascades`.
    n_jobs : int or None
        As in `search_cascades`.
    verbose : int
        As in `search_cascades`.
    """

    max_stages: int
    order: str
    combine: str
    confidence: str | Callable | LearnedConfidence | Learners
    n_thresholds: int
    method: str
    scoring: str | Callable
    max_worst_cost: float | None
    n_jobs: int | None
    verbose: int


class Progress:
    """Says how far a search is, once for every tenth of it.

    Parameters
    ----------
    verbose : int
        0 says nothing.
    """

    def __init__(self, verbose: int) -> None:
        self._verbose = verbose
        self._lock = Lock()
        self._done, self._total, self._task = 0, 0, ""

    def say(self, text: str) -> None:
        """Print a line."""
        if self._verbose:
            print(f"[search_cascades] {text}", flush=True)

    def start(self, task: str, total: int) -> None:
        """Start counting anew."""
        self._done, self._total, self._task = 0, total, task

    def tick(self) -> None:
        """Count one more; threads may call it at any time."""
        with self._lock:
            before, self._done = self._done, self._done + 1
            if self._total >= 10 and 10 * self._done // self._total > 10 * before // self._total:
                self.say(f"{self._task}: {self._done:,} of {self._total:,}")


def prepare(
    recordings: Recordings,
    options: Options,
    *,
    fold: np.ndarray,
    sample: np.ndarray,
    billed: bool = False,
) -> Options:
    """Check the options and put learners in the place of a confidence that is learned.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    options : Options
        Parameters of the search.
    fold, sample : ndarray of int of shape (n_samples,)
        Fold of each row, and which sample it is where folds overlap.
    billed : bool, default=False
        Whether costs are seconds, so that those of a learned confidence are among them.
    """
    check_options(recordings, options)
    learned = as_learner(options.confidence)
    if learned is None:
        return options
    return options._replace(confidence=Learners(recordings, learned, fold, sample, billed=billed))


def find_fronts(
    recordings: Recordings,
    options: Options,
    cost_unit: str,
    *,
    rows: Sequence[np.ndarray | None] = (None,),
    names: Sequence[str] | None = None,
    train_costs: dict[str, float] | None = None,
) -> list[ParetoFront]:
    """Search a pool, and return a table for each view of its rows.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    options : Options
        Parameters of the search, prepared.
    cost_unit : str
        Unit of the costs.
    rows : sequence of ndarray of int or None
        Rows of each view; None: all.
    names : sequence of str, default=None
        The models in the order in which they were given; None: cheapest first.
    train_costs : dict from str to float, default=None
        Cost of training each model.

    Returns
    -------
    fronts : list of ParetoFront
        The rows of the first one can be applied.
    """
    explored = _explore(recordings, options, rows)
    names, fronts = recordings.names if names is None else names, []
    for part, found in zip(rows, explored.found, strict=True):
        # Tables of parts of the rows are only chosen from.
        plans = [] if fronts else [explored.plans[place] for place in np.unique(found.plan)]
        if not is_additive(options.scoring):
            scorer = {"scoring": options.scoring, "confidence": options.confidence}
            found = rescore(recordings, explored.plans, found, rows=part, **scorer)
        fronts.append(
            ParetoFront(
                _rows(recordings, explored.plans, found, train_costs),
                scoring=options.scoring if isinstance(options.scoring, str) else "score",
                cost_unit=cost_unit,
                n_evaluated=explored.n_evaluated,
                max_worst_cost=options.max_worst_cost,
                application=application_of(recordings, names, plans, options.confidence),
            )
        )
    return fronts


def _explore(recordings: Recordings, options: Options, rows) -> Explored:
    """Search in the way that suits the pool."""
    progress, settings = Progress(options.verbose), settings_of(recordings, options)
    greedy = _is_greedy(recordings, options, settings, progress)
    search = explore_greedily if greedy else explore
    if isinstance(options.confidence, Learners) or (greedy and "most_confident" in settings.ways):
        return explore_near_front(recordings, settings, search, rows=rows, progress=progress)
    return search(recordings, settings, rows=rows, progress=progress)


def check_options(recordings: Recordings, options: Options) -> None:
    """Raise for parameters that are out of range or do not fit what was recorded."""
    _check_one_of("order", options.order, ("cost", "any"))
    _check_one_of("method", options.method, ("auto", "exhaustive", "greedy"))
    _check_one_of("combine", options.combine, ("auto", *COMBINATIONS))
    if not callable(options.confidence) and as_learner(options.confidence) is None:
        _check_one_of("confidence", options.confidence, (*CONFIDENCES, "learned"))
    for name in ("max_stages", "n_thresholds"):
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name}={value!r}; expected an integer of at least 1")
    check_constraints(max_worst_cost=options.max_worst_cost)
    check_scoring(options.scoring, weighted=recordings.sample_weight is not None)
    if recordings.pairs is not None:
        _check_options_of_pairs(options)


def _check_options_of_pairs(options: Options) -> None:
    """Raise for what takes probabilities."""
    without = "proba holds confidences and labels, no probabilities"
    if options.combine == "mean":
        raise ValueError(f"combine='mean', but {without}; expected 'last', 'best' or 'auto'")
    if options.confidence != "max_proba" and as_learner(options.confidence) is None:
        raise ValueError(
            f"confidence={options.confidence!r}, but {without}; the confidences recorded are used: "
            f"leave the parameter as it is, or let 'learned' start from them"
        )
    if options.scoring in ("neg_log_loss", "neg_brier_score"):
        raise ValueError(
            f"scoring={options.scoring!r}, but {without}; expected 'accuracy', "
            f"'balanced_accuracy' or another scorer of labels"
        )


def _check_one_of(parameter: str, value, accepted: tuple[str, ...]) -> None:
    """Raise unless the value is one of those accepted."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{parameter}={value!r}; expected one of {list(accepted)}")


def settings_of(recordings: Recordings, options: Options) -> Settings:
    """Return what the search needs of the parameters."""
    ways = ways_of(options.combine, comparable=isinstance(options.confidence, Learners))
    if recordings.pairs is not None:
        ways = tuple(way for way in ways if way != "mean")
    return Settings(
        ways=ways,
        max_stages=options.max_stages,
        order=options.order,
        confidence=options.confidence,
        n_thresholds=options.n_thresholds,
        scoring=options.scoring if is_additive(options.scoring) else "accuracy",
        max_worst_cost=options.max_worst_cost,
        # An engine counts the cores of its whole cluster; threads run here.
        n_jobs=min(effective_n_jobs(options.n_jobs), cpu_count()),
    )


def _is_greedy(recordings, options, settings, progress) -> bool:
    """Tell whether the pool is searched greedily, and say so."""
    seconds = seconds_of(recordings, settings)
    greedy = options.method == "greedy" or (
        options.method == "auto" and seconds > _AFFORDABLE_SECONDS
    )
    counts = count_cascades(recordings.n_models, settings.max_stages, settings.order)
    n_cascades = len(settings.ways) * sum(count for _, count in counts)
    progress.say(
        f"{recordings.n_models} models, {recordings.n_samples:,} rows, {n_cascades:,} cascades: "
        f"{'greedy' if greedy else 'exhaustive'} (all of them: about {seconds:.0f} s on one core)"
    )
    return greedy


def seconds_of(recordings: Recordings, settings: Settings) -> float:
    """Return about how long an exhaustive search takes on one core."""
    n_models, n_samples = recordings.n_models, recordings.n_samples
    n_levels = settings.n_thresholds + 1
    seconds = 0.0
    for n_stages, count in count_cascades(n_models, settings.max_stages, settings.order):
        vectors = min(n_levels ** (n_stages - 1), MAX_CELLS)
        each = vectors / _VECTORS_PER_SECOND + n_stages * n_samples / _ROWS_PER_SECOND
        seconds += len(settings.ways) * count * each
    n_sets = n_models
    if recordings.proba is not None:
        n_sets += sum(count for _, count in count_cascades(n_models, settings.max_stages, "cost"))
    return seconds + n_sets * n_samples * len(recordings.classes) / _PROBABILITIES_PER_SECOND


def _rows(
    recordings: Recordings, plans: Sequence[Plan], found: Found, train_costs
) -> list[OperatingPoint]:
    """Return what was found as rows of a table."""
    rows = []
    for i, place in enumerate(found.plan):
        plan = plans[place]
        n_stages = len(plan.members)
        members = tuple(recordings.names[model] for model in plan.members)
        thresholds = tuple(found.thresholds[i, : n_stages - 1].tolist())
        train = None if train_costs is None else sum(train_costs[name] for name in members)
        kind = "cascade" if plan.exits else "ensemble" if n_stages > 1 else "single"
        score = round(float(found.score[i]), 12)
        rates = tuple(np.round(found.rates[i, :n_stages], 12).tolist())
        figures = (score, float(found.cost[i]), plan.worst_cost, rates, train)
        rows.append(OperatingPoint(kind, members, plan.combine, thresholds, *figures))
    return rows
