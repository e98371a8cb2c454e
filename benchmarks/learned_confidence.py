"""Learned confidence against the largest probability: savings, optimism, time, certificates."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import learned_confidence_validity
from benchmarks.learned_confidence_overhead import print_overhead
from benchmarks.published_pools import Pool, best_single, load_pools
from benchmarks.tables import print_header, print_line, spread
from sklearn_cascade.core._samples import training_rows
from sklearn_cascade.search._cross_fit import cross_fit_choice
from sklearn_cascade.search._predictions import check_predictions
from sklearn_cascade.search._strategy import Options, run_search, validate_options

CONFIDENCES = ("max_proba", "learned")
N_FOLDS = 5
# The most stages of a cascade, by the size of the pool: there are six searches per half.
MAX_STAGES = {10: 4, 20: 3, np.inf: 2}
# Published figures: share of the cost saved at the best single service's accuracy, and points
# gained at its cost.
SOURCES = {"frugalml_rafdb": "FrugalML, thresholds by label: 54.0 %, +4.4"}
COLUMNS = [
    "data set",
    "models x rows",
    "stages",
    "saved, largest probability",
    "points",
    "saved, learned",
    "points",
    "gain at its cost, largest probability",
    "cost ratio",
    "gain at its cost, learned",
    "cost ratio",
    "s per half",
    "learning pays",
    "published",
]
OPTIMISM_COLUMNS = [
    "data set",
    "confidence",
    "aim",
    "tuned - test",
    "cross-fitted - test",
    "within two standard errors",
]


class Outcome(NamedTuple):
    """A cascade against the best single model, on the half that it was not chosen on."""

    saved: float  # share of the cost
    points: float  # percentage points of accuracy
    tuned: float  # points by which the score on the tuning half exceeds that on this half
    cross_fitted: float  # the same of the cross-fitted score


def run(*, data, quick=False, n_halves=10):
    """Print all tables."""
    with threadpool_limits(1):
        found = _print_savings(Path(data), quick, 2 if quick else n_halves)
        _print_optimism(found)
        print_overhead(quick)
    learned_confidence_validity.run(quick=quick)


def _print_savings(folder: Path, quick: bool, n_halves: int) -> dict[str, np.ndarray]:
    """Print a line for each data set; return the outcomes of each half, confidence and aim."""
    print(
        f"Mean ± standard deviation over {n_halves} random halves; cascades are chosen on one "
        "half and applied to the other.\n"
    )
    print_header(COLUMNS)
    found = {}
    for pool in load_pools(folder):
        max_stages = next(most for n, most in MAX_STAGES.items() if len(pool.names) < n)
        if quick:
            pool, max_stages = pool.shrink(), 2
        start = perf_counter()
        found[pool.name] = np.array(
            [
                [_search(*pool.split(seed), confidence, max_stages) for confidence in CONFIDENCES]
                for seed in range(n_halves)
            ]
        )  # (n_halves, n_confidences, n_aims, figures)
        seconds = (perf_counter() - start) / n_halves
        print_line(_savings(pool, max_stages, found[pool.name], seconds))
    print()
    return found


def _search(tuning: Pool, test: Pool, confidence: str, max_stages: int) -> list[Outcome]:
    """Choose for both aims on one half, and apply the choices to the other."""
    predictions = check_predictions(
        tuning.outputs, tuning.y, names=tuning.names, costs=tuning.costs
    )
    fold = np.random.default_rng(0).permutation(len(tuning.y)) % N_FOLDS
    sample = np.arange(len(fold))
    options = Options(
        max_stages=max_stages,
        order="cost",
        combine="auto",
        confidence=confidence,
        n_thresholds=tuning.n_thresholds,
        method="auto",
        scoring="accuracy",
        max_worst_cost=None,
        n_jobs=1,
        verbose=0,
    )
    options = validate_options(predictions, options, fold=fold, sample=sample)
    parts, others = zip(*training_rows(fold, sample), strict=True)
    front, *fronts = run_search(predictions, options, "", rows=[None, *others], names=tuning.names)
    single = best_single(front)
    aims = [{"max_score_loss": 0.0}, {"max_cost": single.mean_cost}]
    cross_fitted, _ = cross_fit_choice(predictions, options, fronts, parts, aims)
    chosen = [front.select(**aim) for aim in aims]
    (alone, *scores), (cost_alone, *costs) = test.evaluate(front, [single, *chosen])
    return [
        Outcome(
            1 - cost / cost_alone,
            100 * (score - alone),
            100 * (point.score - score),
            100 * (estimate - score),
        )
        for point, score, cost, estimate in zip(chosen, scores, costs, cross_fitted, strict=True)
    ]


def _savings(pool: Pool, max_stages: int, outcomes: np.ndarray, seconds: float) -> list[str]:
    """Return the line of one data set."""
    at_equal_score, at_equal_cost = [], []
    for c in range(len(CONFIDENCES)):
        saved, points, gain = 100 * outcomes[:, c, 0, 0], outcomes[:, c, 0, 1], outcomes[:, c, 1, 1]
        at_equal_score += [f"{spread(saved, '.1f')} %", spread(points, "+.2f")]
        at_equal_cost += [spread(gain, "+.2f"), f"{1 - outcomes[:, c, 1, 0].mean():.2f}"]
    # More than a standard error of the differences, half by half.
    more_saved, more_points = (outcomes[:, 1] - outcomes[:, 0])[:, [0, 1], [0, 1]].T
    pays = tuple(bool(d.mean() > _standard_error(d)) for d in (more_saved, more_points))
    words = {(True, True): "both", (True, False): "cost", (False, True): "accuracy"}
    return [
        pool.name,
        f"{len(pool.names)} x {len(pool.y):,}",
        str(max_stages),
        *at_equal_score,
        *at_equal_cost,
        f"{seconds:.1f}",
        words.get(pays, "no"),
        SOURCES.get(pool.name, ""),
    ]


def _print_optimism(found: dict[str, np.ndarray]) -> None:
    """Print by how much the estimates exceed the accuracy on the other half."""
    print("Points by which estimated accuracy exceeds the other half's, mean ± standard error.\n")
    print_header(OPTIMISM_COLUMNS)
    sets = []
    for name, outcomes in found.items():
        excess = outcomes[..., 2:]
        per_half = excess.mean(axis=(1, 2))
        sets.append((per_half.mean(axis=0), _standard_error(per_half)))
        for c, confidence in enumerate(CONFIDENCES):
            for a, aim in enumerate(("as good as the best single", "its cost")):
                values = excess[:, c, a]
                figures = _with_errors(values.mean(axis=0), _standard_error(values))
                print_line([name, confidence, aim, *figures])
    # The lines of one data set share their halves; data sets have nothing in common.
    mean, error = (np.array(part) for part in zip(*sets, strict=True))
    figures = _with_errors(mean.mean(axis=0), np.sqrt((error**2).sum(axis=0)) / len(sets))
    print_line(["mean of all data sets", "", "", *figures])
    print()


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean, along the first axis."""
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _with_errors(mean: np.ndarray, error: np.ndarray) -> list[str]:
    """Return both excesses with their errors, and whether the cross-fitted one is near zero."""
    figures = [f"{m:+.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True)]
    return [*figures, "yes" if abs(mean[1]) <= 2 * error[1] else "no"]
