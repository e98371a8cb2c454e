"""Choosing how to search, searching, and putting what is found into a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Integral
from threading import Lock
from typing import NamedTuple

import numpy as np
from joblib import cpu_count, effective_n_jobs

from sklearn_cascade.core import (
    COMBINATIONS,
    CONFIDENCES,
    check_one_of,
    check_scoring,
    exit_stages,
    is_additive,
    score_labels,
    score_probabilities,
    within_limit,
)
from sklearn_cascade.core._pareto import non_dominated, round_score
from sklearn_cascade.search._candidates import (
    Candidate,
    EvaluatedCandidates,
    cascade_of,
    count_cascades,
    plan_cascades,
    plan_ensembles,
)
from sklearn_cascade.search._exhaustive import (
    MAX_CELLS,
    SearchResult,
    Settings,
    evaluate_candidates,
    pareto_optimal,
)
from sklearn_cascade.search._front import (
    OperatingPoint,
    ParetoFront,
    application_of,
    check_constraints,
)
from sklearn_cascade.search._greedy import explore_greedily
from sklearn_cascade.search._pool_confidence import PoolConfidenceModels
from sklearn_cascade.search._predictions import PoolPredictions
from sklearn_cascade.search._statistics import StageRunner, blocks_of
from sklearn_cascade.tuning._fit_confidence import LearnedConfidence, as_learned_confidence
from sklearn_cascade.tuning._tune import combinations_to_try

# What "auto" calls affordable, in seconds of one core by the measures below.
_AFFORDABLE_SECONDS = 120.0
_VECTORS_PER_SECOND = 3e7
_PROBABILITIES_PER_SECOND = 2e9
_ROWS_PER_SECOND = 1e8
# Sets of models that are looked at once more; pools with no more of them are looked at whole.
MAX_SETS = 40
# All cascades of so many models are among them, the ones that the front uses most.
_N_USED_MOST = 4
# Cascades that are scored, at most.
MAX_SCORED = 256


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
    confidence: str | Callable | LearnedConfidence | PoolConfidenceModels
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


def validate_options(
    recordings: PoolPredictions,
    options: Options,
    *,
    fold: np.ndarray,
    sample: np.ndarray,
    billed: bool = False,
) -> Options:
    """Check the options and put learners in the place of a confidence that is learned.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    options : Options
        Parameters of the search.
    fold, sample : ndarray of int of shape (n_samples,)
        Fold of each row, and which sample it is where folds overlap.
    billed : bool, default=False
        Whether costs are seconds, so that those of a learned confidence are among them.
    """
    check_options(recordings, options)
    learned = as_learned_confidence(options.confidence)
    if learned is None:
        return options
    return options._replace(
        confidence=PoolConfidenceModels(recordings, learned, fold, sample, billed=billed)
    )


def run_search(
    recordings: PoolPredictions,
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
    recordings : PoolPredictions
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


def _explore(recordings: PoolPredictions, options: Options, rows) -> SearchResult:
    """Search in the way that suits the pool."""
    progress, settings = Progress(options.verbose), settings_of(recordings, options)
    greedy = _is_greedy(recordings, options, settings, progress)
    search = explore_greedily if greedy else evaluate_candidates
    if isinstance(options.confidence, PoolConfidenceModels) or (
        greedy and "most_confident" in settings.ways
    ):
        return explore_near_front(recordings, settings, search, rows=rows, progress=progress)
    return search(recordings, settings, rows=rows, progress=progress)


def check_options(recordings: PoolPredictions, options: Options) -> None:
    """Raise for parameters that are out of range or do not fit what was recorded."""
    check_one_of("order", options.order, ("cost", "any"))
    check_one_of("method", options.method, ("auto", "exhaustive", "greedy"))
    check_one_of("combine", options.combine, ("auto", *COMBINATIONS))
    if not callable(options.confidence) and as_learned_confidence(options.confidence) is None:
        check_one_of("confidence", options.confidence, (*CONFIDENCES, "learned"))
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
    if options.confidence != "max_proba" and as_learned_confidence(options.confidence) is None:
        raise ValueError(
            f"confidence={options.confidence!r}, but {without}; the confidences recorded are used: "
            f"leave the parameter as it is, or let 'learned' start from them"
        )
    if options.scoring in ("neg_log_loss", "neg_brier_score"):
        raise ValueError(
            f"scoring={options.scoring!r}, but {without}; expected 'accuracy', "
            f"'balanced_accuracy' or another scorer of labels"
        )


def settings_of(recordings: PoolPredictions, options: Options) -> Settings:
    """Return what the search needs of the parameters."""
    ways = combinations_to_try(
        options.combine, comparable=isinstance(options.confidence, PoolConfidenceModels)
    )
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


def seconds_of(recordings: PoolPredictions, settings: Settings) -> float:
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
    recordings: PoolPredictions, plans: Sequence[Candidate], found: EvaluatedCandidates, train_costs
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


def explore_near_front(
    recordings: PoolPredictions,
    settings: Settings,
    search: Callable,
    *,
    progress,
    rows: Sequence[np.ndarray | None] = (None,),
) -> SearchResult:
    """Look at every cascade with a plain confidence, and closely at those near the front.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    settings : Settings
        What is searched; the first look takes the mean and the last answer only.
    search : callable
        `evaluate_candidates` or `explore_greedily`, for the first look.
    progress, rows
        As for `evaluate_candidates`.

    Returns
    -------
    explored : SearchResult
        Cascades with the confidence and the combinations of the settings.
    """
    max_stages, cap = settings.max_stages, settings.max_worst_cost
    counts = count_cascades(recordings.n_models, max_stages, settings.order)
    n_before = 0
    if sum(count for _, count in counts) <= MAX_SETS:
        ensembles = plan_ensembles(recordings, max_stages, cap)
        some = plan_cascades(recordings, ("last",), max_stages, settings.order)
        members = [plan.members for plan in some]
    else:
        ways = tuple(way for way in settings.ways if way != "most_confident") or ("last",)
        learned = isinstance(settings.confidence, PoolConfidenceModels)
        confidence = "max_proba" if learned else settings.confidence
        plain = settings._replace(ways=ways, confidence=confidence)
        first = search(recordings, plain, progress=progress, rows=rows)
        ensembles = [plan for plan in first.plans if not plan.exits]
        members = _near_front(recordings, settings, first)
        n_before = first.n_evaluated
    progress.say(f"{len(members):,} sets of models are looked at with the confidence asked for")
    cascades = [
        cascade_of(recordings, way, some, settings.confidence)
        for some in members
        for way in settings.ways
    ]
    plans = ensembles + [plan for plan in cascades if within_limit(plan.worst_cost, cap)]
    explored = evaluate_candidates(recordings, settings, progress=progress, rows=rows, plans=plans)
    return explored._replace(n_evaluated=explored.n_evaluated + n_before)


def _near_front(recordings, settings, first: SearchResult) -> list[tuple[int, ...]]:
    """Return an even choice of the cascades on the front, and those of the models used most."""
    found = first.found[0]
    front = non_dominated(
        round_score(found.score), found.cost, np.zeros(len(found.plan)), np.arange(len(found.plan))
    )
    front = front[np.argsort(found.cost[front], kind="stable")]
    plans: list[Candidate] = [first.plans[place] for place in found.plan[front]]
    used = Counter(model for plan in plans for model in plan.members)
    most = sorted(sorted(used, key=lambda model: (-used[model], model))[:_N_USED_MOST])
    core = plan_cascades(recordings, ("last",), settings.max_stages, settings.order, models=most)
    chosen = dict.fromkeys(plan.members for plan in core)
    others = [
        some for some in dict.fromkeys(p.members for p in plans if p.exits) if some not in chosen
    ]
    room = max(0, MAX_SETS - len(chosen))
    if len(others) > room:
        others = [others[i] for i in np.linspace(0, len(others) - 1, room).astype(int)]
    return [*chosen, *others]


def rescore(
    recordings: PoolPredictions,
    plans: Sequence[Candidate],
    found: EvaluatedCandidates,
    *,
    scoring: str | Callable,
    confidence: str | Callable | PoolConfidenceModels,
    rows: np.ndarray | None,
) -> EvaluatedCandidates:
    """Return the committees of the accuracy front with the score of another scorer.

    Parameters
    ----------
    recordings : PoolPredictions
        Answers of the pool.
    plans : sequence of Candidate
        What `found` counts by.
    found : EvaluatedCandidates
        Committees and their accuracy.
    scoring, confidence
        As in `search_cascades`.
    rows : ndarray of int or None
        The rows to score; None: all.

    Returns
    -------
    found : EvaluatedCandidates
        Single models, ensembles, and those of an even choice of cascades that nothing beats.
    """
    found = found.take(_evenly_chosen(plans, found))
    rows = np.arange(recordings.n_samples) if rows is None else rows
    score = [
        _score(recordings, plans[place], _known(thresholds), scoring, confidence, rows)
        for place, thresholds in zip(found.plan, found.thresholds, strict=True)
    ]
    return pareto_optimal(plans, found._replace(score=np.array(score)))


def _evenly_chosen(plans, found: EvaluatedCandidates) -> np.ndarray:
    """Return the rows without early exit, and an even choice of the accuracy front."""
    exiting = np.array([plans[place].exits for place in found.plan])
    front = non_dominated(
        round_score(found.score), found.cost, np.zeros(len(found.plan)), np.arange(len(found.plan))
    )
    # In order of cost, so that the choice is even along the front.
    front = front[np.argsort(found.cost[front], kind="stable")]
    front = front[exiting[front]]
    if len(front) > MAX_SCORED:
        front = front[np.linspace(0, len(front) - 1, MAX_SCORED).astype(int)]
    return np.union1d(np.flatnonzero(~exiting), front)


def _known(thresholds: np.ndarray) -> np.ndarray:
    """Return the thresholds without those beyond the last stage but one."""
    return thresholds[~np.isnan(thresholds)]


def _score(recordings, plan, thresholds, scoring, confidence, rows) -> float:
    """Return the score of one committee at one operating point."""
    given = predict(recordings, plan, thresholds, confidence)
    return score_given(recordings, given, scoring, rows)


def predict(recordings, plan, thresholds, confidence) -> np.ndarray:
    """Return what one committee answers: probabilities, or labels where no more is known."""
    given = np.concatenate(
        [
            _answer_block(recordings, plan, thresholds, confidence, block)
            for block in blocks_of(recordings, len(plan.members))
        ]
    )
    return recordings.classes[given] if given.ndim == 1 else given


def _answer_block(recordings, plan, thresholds, confidence, block) -> np.ndarray:
    """Return the answers to one piece of the rows."""
    said = StageRunner(recordings, confidence, block)
    running, answers, sure = said.begin(plan.combine), [], []
    for k in range(len(plan.members)):
        judged = plan.exits and k < len(plan.members) - 1
        answer, confidence = said.add(running, plan.combine, plan.members[: k + 1], judged=judged)
        answers.append(answer)
        sure.append(confidence)
    if not plan.exits or len(answers) == 1:
        return answers[-1]
    stage = exit_stages(sure[:-1], thresholds)
    return np.stack(answers)[stage, np.arange(len(stage))]


def score_given(recordings, given, scoring, rows) -> float:
    """Return the score of recorded answers on some of the rows."""
    y = recordings.classes[recordings.y[rows]]
    weight = None if recordings.sample_weight is None else recordings.sample_weight[rows]
    if recordings.proba is None:
        return score_labels(scoring, given[rows], y, weight)
    return score_probabilities(scoring, given[rows], y, recordings.classes, weight)
