"""The strategy of a search: checking its options, choosing how to search, building the fronts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Integral
from threading import Lock
from typing import NamedTuple

import numpy as np
from joblib import cpu_count, effective_n_jobs

from sklearn_cascade.core._combination import COMBINATIONS
from sklearn_cascade.core._confidence import CONFIDENCES
from sklearn_cascade.core._samples import evenly_spaced
from sklearn_cascade.core._scoring import check_scoring, is_additive
from sklearn_cascade.core._validation import check_one_of
from sklearn_cascade.search._candidates import (
    Candidate,
    EvaluatedCandidates,
    count_cascades,
    enumerate_cascades,
    enumerate_ensembles,
    make_cascade,
    within_worst_cost,
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
    check_constraints,
    make_evaluator,
)
from sklearn_cascade.search._greedy import search_greedily
from sklearn_cascade.search._pool_confidence import AnyConfidence, PoolConfidenceModels, rule_for
from sklearn_cascade.search._predictions import PoolPredictions, exit_outputs
from sklearn_cascade.search._statistics import blocks_of
from sklearn_cascade.tuning._fit_confidence import LearnedConfidence, as_learned_confidence
from sklearn_cascade.tuning._tune import combinations_to_try

# What "auto" takes for affordable, in seconds of one core by the rates below.
_AFFORDABLE_SECONDS = 120.0
_VECTORS_PER_SECOND = 3e7
_PROBABILITIES_PER_SECOND = 2e9
_ROWS_PER_SECOND = 1e8
# Sets of models searched with a confidence that is expensive; of larger pools only these.
_MAX_SETS = 40
# All cascades of so many models are among them, the ones that the Pareto front uses most.
_N_USED_MOST = 4
# Cascades to which a scorer that is no sum over rows is applied, at most.
_MAX_SCORED = 256


def run_search(
    predictions: PoolPredictions,
    options: Options,
    cost_unit: str,
    *,
    rows: Sequence[np.ndarray | None] = (None,),
    names: Sequence[str] | None = None,
    train_costs: dict[str, float] | None = None,
) -> list[ParetoFront]:
    """Search a pool with validated options; return a front for each entry of `rows` (None: all).

    `names` are the models in the order in which they were given, by default cheapest first. The
    points of the first front can be applied.
    """
    result = _search(predictions, options, rows)
    fronts: list[ParetoFront] = []
    for part, found in zip(rows, result.found, strict=True):
        evaluator = make_evaluator(
            predictions,
            predictions.names if names is None else names,
            [result.candidates[index] for index in np.unique(found.candidate)],
            options.confidence,
            with_confidences=not fronts,
        )
        if not is_additive(options.scoring):
            found = _rescore(predictions, options, result.candidates, found, part)
        front = ParetoFront(
            _operating_points(predictions, result.candidates, found, train_costs),
            scoring=options.scoring if isinstance(options.scoring, str) else "score",
            cost_unit=cost_unit,
            n_evaluated=result.n_evaluated,
            max_worst_cost=options.max_worst_cost,
            evaluator=evaluator,
        )
        fronts.append(front)
    return fronts


class Options(NamedTuple):
    """Parameters of a search, as in `search_cascades`."""

    max_stages: int
    order: str
    combine: str
    confidence: AnyConfidence | LearnedConfidence
    n_thresholds: int
    method: str
    scoring: str | Callable
    max_worst_cost: float | None
    n_jobs: int | None
    verbose: int


def validate_options(
    predictions: PoolPredictions,
    options: Options,
    fold: np.ndarray,
    sample: np.ndarray,
    *,
    costs_in_seconds: bool = False,
) -> Options:
    """Check the options, and replace a learned confidence by the models of the pool.

    `fold` and `sample` (n_samples,) are the fold of each row, and which sample it is where folds
    overlap; with `costs_in_seconds` those of a learned confidence are added to the costs.
    """
    learned = as_learned_confidence(options.confidence)
    check_one_of("order", options.order, ("cost", "any"))
    check_one_of("method", options.method, ("auto", "exhaustive", "greedy"))
    check_one_of("combine", options.combine, ("auto", *COMBINATIONS))
    if not callable(options.confidence) and learned is None:
        check_one_of("confidence", options.confidence, (*CONFIDENCES, "learned"))
    for name in ("max_stages", "n_thresholds"):
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name}={value!r}; expected an integer of at least 1")
    check_constraints(max_worst_cost=options.max_worst_cost)
    check_scoring(options.scoring, weighted=predictions.sample_weight is not None)
    if not predictions.has_proba:
        without = "proba holds confidences and labels, no probabilities"
        if options.combine == "mean":
            raise ValueError(
                f"combine='mean', but {without}; expected 'last', 'most_confident' or 'auto'"
            )
        if options.confidence != "max_proba" and learned is None:
            raise ValueError(
                f"confidence={options.confidence!r}, but {without}; the confidences recorded are "
                f"used: leave the parameter as it is, or let 'learned' start from them"
            )
        if options.scoring in ("neg_log_loss", "neg_brier_score"):
            raise ValueError(
                f"scoring={options.scoring!r}, but {without}; expected 'accuracy', "
                f"'balanced_accuracy' or another scorer of labels"
            )
    if learned is None:
        return options
    return options._replace(
        confidence=PoolConfidenceModels(predictions, learned, fold, sample, costs_in_seconds)
    )


def settings_of(predictions: PoolPredictions, options: Options) -> Settings:
    """Return what the search needs of the options."""
    combinations = combinations_to_try(
        options.combine, comparable=isinstance(options.confidence, PoolConfidenceModels)
    )
    if not predictions.has_proba:
        combinations = tuple(combine for combine in combinations if combine != "mean")
    return Settings(
        combinations=combinations,
        max_stages=options.max_stages,
        order=options.order,
        confidence=options.confidence,
        n_thresholds=options.n_thresholds,
        scoring=str(options.scoring) if is_additive(options.scoring) else "accuracy",
        max_worst_cost=options.max_worst_cost,
        # An engine counts the cores of its whole cluster; threads run here.
        n_jobs=min(effective_n_jobs(options.n_jobs), cpu_count()),
    )


def _search(
    predictions: PoolPredictions, options: Options, rows: Sequence[np.ndarray | None]
) -> SearchResult:
    """Search with the strategy that suits the pool."""
    progress, settings = Progress(options.verbose), settings_of(predictions, options)
    seconds = estimate_seconds(predictions, settings)
    greedy = options.method == "greedy" or (
        options.method == "auto" and seconds > _AFFORDABLE_SECONDS
    )
    counts = count_cascades(predictions.n_models, settings.max_stages, settings.order)
    n_cascades = len(settings.combinations) * sum(count for _, count in counts)
    progress.report(
        f"{predictions.n_models} models, {predictions.n_samples:,} rows, {n_cascades:,} cascades: "
        f"{'greedy' if greedy else 'exhaustive'} (all of them: about {seconds:.0f} s on one core)"
    )
    search = search_greedily if greedy else evaluate_candidates
    if isinstance(options.confidence, PoolConfidenceModels) or (
        greedy and "most_confident" in settings.combinations
    ):
        return _search_near_front(predictions, settings, search, rows=rows, progress=progress)
    return search(predictions, settings, rows=rows, progress=progress)


def estimate_seconds(predictions: PoolPredictions, settings: Settings) -> float:
    """Return about how long an exhaustive search takes on one core."""
    n_models, n_samples = predictions.n_models, predictions.n_samples
    n_levels = settings.n_thresholds + 1
    seconds = 0.0
    for n_stages, count in count_cascades(n_models, settings.max_stages, settings.order):
        vectors = min(n_levels ** (n_stages - 1), MAX_CELLS)
        per_cascade = vectors / _VECTORS_PER_SECOND + n_stages * n_samples / _ROWS_PER_SECOND
        seconds += len(settings.combinations) * count * per_cascade
    n_sets = n_models
    if predictions.has_proba:
        n_sets += sum(count for _, count in count_cascades(n_models, settings.max_stages, "cost"))
    return seconds + n_sets * n_samples * len(predictions.classes) / _PROBABILITIES_PER_SECOND


def _search_near_front(
    predictions: PoolPredictions,
    settings: Settings,
    search: Callable[..., SearchResult],
    *,
    progress: Progress,
    rows: Sequence[np.ndarray | None],
) -> SearchResult:
    """Search all sets of models cheaply, then those near the Pareto front as the settings ask.

    `search`, exhaustive or greedy, runs first, with "mean" and "last" only. Small pools skip it.
    """
    max_stages, limit = settings.max_stages, settings.max_worst_cost
    counts = count_cascades(predictions.n_models, max_stages, settings.order)
    n_evaluated = 0
    if sum(count for _, count in counts) <= _MAX_SETS:
        ensembles = enumerate_ensembles(predictions, max_stages, limit)
        cascades = enumerate_cascades(predictions, ("last",), max_stages, settings.order)
        sets = [cascade.members for cascade in cascades]
    else:
        combinations = tuple(c for c in settings.combinations if c != "most_confident")
        learned = isinstance(settings.confidence, PoolConfidenceModels)
        confidence = "max_proba" if learned else settings.confidence
        cheap = settings._replace(combinations=combinations or ("last",), confidence=confidence)
        first = search(predictions, cheap, progress=progress, rows=rows)
        ensembles = [candidate for candidate in first.candidates if not candidate.exits]
        sets = _sets_near_front(predictions, settings, first)
        n_evaluated = first.n_evaluated
    progress.report(f"{len(sets):,} sets of models are searched with the confidence asked for")
    cascades = [
        make_cascade(predictions, combine, members, settings.confidence)
        for members in sets
        for combine in settings.combinations
    ]
    candidates = ensembles + within_worst_cost(cascades, limit)
    result = evaluate_candidates(
        predictions, settings, progress=progress, rows=rows, candidates=candidates
    )
    return result._replace(n_evaluated=result.n_evaluated + n_evaluated)


def _sets_near_front(
    predictions: PoolPredictions, settings: Settings, first: SearchResult
) -> list[tuple[int, ...]]:
    """Return the members of all cascades of the models used most, and of some optimal ones."""
    found = first.found[0]
    optimal = [first.candidates[index] for index in found.candidate[found.non_dominated()]]
    uses = Counter(model for candidate in optimal for model in candidate.members)
    models = sorted(sorted(uses, key=lambda model: (-uses[model], model))[:_N_USED_MOST])
    cascades = enumerate_cascades(
        predictions, ("last",), settings.max_stages, settings.order, models=models
    )
    chosen = [cascade.members for cascade in cascades]
    optimal = [candidate for candidate in optimal if candidate.exits]
    others = [m for m in dict.fromkeys(c.members for c in optimal) if m not in set(chosen)]
    n_others = max(0, _MAX_SETS - len(chosen))
    return [*chosen, *(others[i] for i in evenly_spaced(len(others), n_others))]


def _rescore(
    predictions: PoolPredictions,
    options: Options,
    candidates: Sequence[Candidate],
    found: EvaluatedCandidates,
    rows: np.ndarray | None,
) -> EvaluatedCandidates:
    """Return points of the Pareto front with their score by another scorer on some rows.

    Single models, ensembles, and the best of evenly spaced cascades.
    """
    exits = np.array([candidates[index].exits for index in found.candidate])
    front = found.non_dominated()
    front = front[exits[front]]
    front = front[evenly_spaced(len(front), _MAX_SCORED)]
    found = found.take(np.union1d(np.flatnonzero(~exits), front))
    rows = np.arange(predictions.n_samples) if rows is None else rows
    score = []
    for index, thresholds in zip(found.candidate, found.thresholds, strict=True):
        thresholds = thresholds[~np.isnan(thresholds)]
        outputs = predict(predictions, candidates[index], thresholds, options.confidence)
        score.append(predictions.score(options.scoring, outputs, rows))
    return pareto_optimal(candidates, found._replace(score=np.array(score)))


def predict(
    predictions: PoolPredictions,
    candidate: Candidate,
    thresholds: Sequence[float],
    confidence: AnyConfidence | LearnedConfidence,
) -> np.ndarray:
    """Return the outputs of one candidate for all rows: (n_samples, n_classes), or columns."""
    combine, members = candidate.combine, candidate.members
    thresholds = thresholds if candidate.exits else ()
    learned = isinstance(confidence, PoolConfidenceModels)
    parts = []
    for block in blocks_of(predictions, len(members)):
        confidences = [
            rule_for(confidence, combine, members[: k + 1], block, is_gate=k < len(thresholds))
            for k in range(len(members))
        ]
        outputs = (predictions.read(model, block) for model in members)
        combiner = predictions.combiner(combine, remember=learned)
        parts.append(exit_outputs(combiner, outputs, confidences, thresholds)[0])
    return np.concatenate(parts)


def _operating_points(
    predictions: PoolPredictions,
    candidates: Sequence[Candidate],
    found: EvaluatedCandidates,
    train_costs: dict[str, float] | None,
) -> list[OperatingPoint]:
    """Return what was found as points that name their models."""
    points = []
    for i, index in enumerate(found.candidate):
        candidate = candidates[index]
        n_stages = len(candidate.members)
        members = tuple(predictions.names[model] for model in candidate.members)
        points.append(
            OperatingPoint(
                kind="cascade" if candidate.exits else "ensemble" if n_stages > 1 else "single",
                members=members,
                combine=candidate.combine,
                thresholds=tuple(found.thresholds[i, : n_stages - 1].tolist()),
                score=round(float(found.score[i]), 12),
                mean_cost=float(found.cost[i]),
                worst_cost=candidate.worst_cost,
                exit_rates=tuple(np.round(found.exit_rates[i, :n_stages], 12).tolist()),
                train_cost=sum(train_costs[name] for name in members) if train_costs else None,
            )
        )
    return points


class Progress:
    """Prints how far a search is, once for every tenth of it; nothing where `verbose` is 0."""

    def __init__(self, verbose: int) -> None:
        self._verbose = verbose
        self._lock = Lock()
        self._done, self._total, self._task = 0, 0, ""

    def report(self, text: str) -> None:
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
                self.report(f"{self._task}: {self._done:,} of {self._total:,}")
