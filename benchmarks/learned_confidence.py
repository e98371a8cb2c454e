"""Deciding by what is learned: savings, how cross-fitted the scores are, the time, the certificates."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import decide_validity
from benchmarks.decide_overhead import print_overhead
from benchmarks.published_pools import Pool, load_pools
from sklearn_cascade.search import (
    Options,
    cross_fit_choice,
    record,
    run_search,
    training_rows,
    validate_options,
)

CONFIDENCES = ("max_proba", "learned")
N_FOLDS = 5
# The most stages of a cascade, by the size of the pool.
MAX_STAGES = {10: 4, 20: 3, np.inf: 2}
# Where the published figures come from: share of the cost saved at the best single service's
# accuracy, and points gained at its cost.
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
    """What one committee reaches against the best single model, on rows it was not chosen on.

    Attributes
    ----------
    saved : float
        Share of the cost.
    points : float
        Percentage points of accuracy.
    tuned, cross_fitted : float
        By how many points the estimates of its accuracy are above that on these rows.
    """

    saved: float
    points: float
    tuned: float
    cross_fitted: float


def run(*, data, quick=False, n_halves=10):
    """Print all tables."""
    with threadpool_limits(1):
        found = _print_savings(Path(data), quick, 2 if quick else n_halves)
        _print_optimism(found)
        print_overhead(quick)
    decide_validity.run(quick=quick)


def _print_savings(folder: Path, quick: bool, n_halves: int) -> dict[str, np.ndarray]:
    """Print a line for each data set; return the outcomes of each half, confidence and aim."""
    print(f"Mean ± sd over {n_halves} random halves, chosen on one and applied to the other.\n")
    _print_line(COLUMNS)
    _print_line(["---"] * len(COLUMNS))
    found = {}
    for pool in load_pools(folder):
        # Six searches a half and confidence: cascades of large pools are kept short.
        max_stages = next(most for n, most in MAX_STAGES.items() if len(pool.names) < n)
        if quick:
            few = np.random.default_rng(0).permutation(len(pool.y))[:400]
            pool, max_stages = pool.take(few)._replace(n_thresholds=8), 2
        start = perf_counter()
        found[pool.name] = np.array(
            [_half(pool, seed, max_stages) for seed in range(n_halves)]
        )  # (n_halves, n_confidences, n_aims, figures)
        seconds = (perf_counter() - start) / n_halves
        _print_line(_savings(pool, max_stages, found[pool.name], seconds))
    print()
    return found


def _half(pool: Pool, seed: int, max_stages: int) -> list:
    """Return the outcomes of both aims for each confidence."""
    # Shuffled: rows of many files are sorted by label.
    rows = np.random.default_rng(seed).permutation(len(pool.y))
    tuning, test = pool.take(rows[: len(rows) // 2]), pool.take(rows[len(rows) // 2 :])
    return [_search(tuning, test, confidence, max_stages) for confidence in CONFIDENCES]


def _search(tuning: Pool, test: Pool, confidence: str, max_stages: int) -> list[Outcome]:
    """Choose for both aims on one half, and apply the choices to the other."""
    recordings = record(tuning.answers, tuning.y, names=tuning.names, costs=tuning.costs)
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
    options = validate_options(recordings, options, fold=fold, sample=sample)
    parts, others = training_rows(fold, sample)
    front, *fronts = run_search(recordings, options, "", rows=[None, *others], names=tuning.names)
    singles = [row for row in front if row.kind == "single"]
    single = max(singles, key=lambda row: (row.score, -row.mean_cost))
    aims = [{"max_score_loss": 0.0}, {"max_cost": single.mean_cost}]
    cross_fitted, _ = cross_fit_choice(recordings, options, fronts, parts, aims)
    before = front.apply(single, test.answers)
    outcomes = []
    for aim, estimate in zip(aims, cross_fitted, strict=True):
        row = front.select(**aim)
        after = front.apply(row, test.answers)
        score = np.mean(after.label == test.y)
        outcomes.append(
            Outcome(
                1 - after.cost.mean() / before.cost.mean(),
                100 * (score - np.mean(before.label == test.y)),
                100 * (row.score - score),
                100 * (estimate - score),
            )
        )
    return outcomes


def _savings(pool: Pool, max_stages: int, outcomes: np.ndarray, seconds: float) -> list[str]:
    """Return the line of one data set."""
    mean, sd = outcomes.mean(axis=0), outcomes.std(axis=0, ddof=1)
    saved, points = (mean[..., i] for i in range(2))
    cheapest, dearest = [], []
    for c in range(len(CONFIDENCES)):
        cheapest.append(f"{100 * saved[c, 0]:.1f} ± {100 * sd[c, 0, 0]:.1f} %")
        cheapest.append(f"{points[c, 0]:+.2f} ± {sd[c, 0, 1]:.2f}")
        dearest.append(f"{points[c, 1]:+.2f} ± {sd[c, 1, 1]:.2f}")
        dearest.append(f"{1 - saved[c, 1]:.2f}")
    # More than a standard error of the differences, half by half.
    extra = outcomes[:, 1, 0, 0] - outcomes[:, 0, 0, 0], outcomes[:, 1, 1, 1] - outcomes[:, 0, 1, 1]
    pays = [d.mean() > d.std(ddof=1) / np.sqrt(len(d)) for d in extra]
    words = {(True, True): "both", (True, False): "cost", (False, True): "accuracy"}
    size = f"{len(pool.names)} x {len(pool.y):,}"
    verdict = words.get(tuple(map(bool, pays)), "no")
    source = SOURCES.get(pool.name, "")
    return [
        pool.name,
        size,
        str(max_stages),
        *cheapest,
        *dearest,
        f"{seconds:.1f}",
        verdict,
        source,
    ]


def _print_optimism(found: dict[str, np.ndarray]) -> None:
    """Print by how much the estimates are above the other half."""
    print(
        "Points of accuracy by which estimates are above the other half, mean ± standard error.\n"
    )
    _print_line(OPTIMISM_COLUMNS)
    _print_line(["---"] * len(OPTIMISM_COLUMNS))
    sets = []
    for name, outcomes in found.items():
        sets.append(_mean_and_error(outcomes[..., 2:].mean(axis=(1, 2))))
        for c, confidence in enumerate(CONFIDENCES):
            for a, aim in enumerate(("as good as the best single", "its cost")):
                figures = _with_errors(*_mean_and_error(outcomes[:, c, a, 2:]))
                _print_line([name, confidence, aim, *figures])
    # The lines of one data set share their halves; data sets have nothing in common.
    mean, error = (np.array(part) for part in zip(*sets, strict=True))
    figures = _with_errors(mean.mean(axis=0), np.sqrt((error**2).sum(axis=0)) / len(sets))
    _print_line(["mean of all data sets", "", "", *figures])
    print()


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and its standard error, along the first axis."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _with_errors(mean: np.ndarray, error: np.ndarray) -> list[str]:
    """Return tuned and cross-fitted with their errors, and whether the cross-fitted one is near zero."""
    figures = [f"{m:+.2f} ± {e:.2f}" for m, e in zip(mean, error, strict=True)]
    return [*figures, "yes" if abs(mean[1]) <= 2 * error[1] else "no"]


def _print_line(cells) -> None:
    """Print one line of a table."""
    print(f"| {' | '.join(cells)} |", flush=True)
