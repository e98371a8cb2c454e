"""Certificates against naive tuning on populations of known truth: failures, savings, time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.tables import print_header, print_line
from sklearn_cascade import CascadeClassifier, PrefitClassifier
from sklearn_cascade.certification._fixed_sequence import (
    RISKS,
    PairedOutcomes,
    StagePredictions,
    collect_predictions,
    fixed_sequence_test,
    pair_outcomes,
    threshold_path,
)
from sklearn_cascade.core._samples import time_calls
from sklearn_cascade.core._thresholds import candidate_thresholds
from sklearn_cascade.tuning._sweep import StageStatistics, prefix_probabilities, sweep_flat

EPSILON = 0.01
SIZES = (500, 2000, 10_000)
TUNING_SHARE = 0.2
# Thresholds per stage in the search for the best possible saving, by the stages that have one.
FINE_GRID = {1: 400, 2: 60, 3: 26}
COLUMNS = [
    "population",
    "stages x rows",
    "calibration rows",
    "naive fails",
    "certificate fails",
    "refused",
    "naive saving",
    "certified saving",
    "best possible saving",
]


class Population(NamedTuple):
    """Rows that are all there is, so that the true loss at any thresholds is known.

    The reference is the index of a member, or None for the cascade without early exit.
    """

    name: str
    predictions: StagePredictions
    costs: np.ndarray
    reference: int | None = None

    @property
    def outcomes(self) -> PairedOutcomes:
        """Regressions and corrections of an exit after each stage."""
        return pair_outcomes(self.predictions, (self.reference,), self.costs, labelled=True)


def run(*, data=None, quick=False, n_draws=200, delta=0.1):
    """Print failures and savings of naive and certified thresholds, and the time of one call."""
    with threadpool_limits(1):
        n_draws = 3 if quick else n_draws
        print(
            f"epsilon {EPSILON}, delta {delta}, {n_draws} draws of calibration rows a line; a "
            "certificate fails where the accuracy loss on the population exceeds epsilon\n"
        )
        print_header(COLUMNS)
        for population in _populations(data, quick):
            for n in (500,) if quick else SIZES:
                print_line(_line(population, n, n_draws, delta))
        print()
        _print_times(2000 if quick else 20_000)


def _populations(data, quick: bool) -> Iterator[Population]:
    """Yield made-up populations, and recorded pools where a folder of them is given."""
    n = 4000 if quick else 50_000
    yield made_up("made up, 3 stages", n, (1.0, 2.0, 3.0))
    if quick:
        return
    yield made_up("made up, 4 stages", n, (1.0, 1.7, 2.4, 3.0))
    # With a first member so weak that there is something to lose.
    yield made_up("made up, imbalance 97:2:1", n, (0.0, 1.5, 3.0), odds=(97, 2, 1))
    if data is not None:
        for path in sorted(Path(data).glob("predictions/*.npz")):
            yield _recorded(path)


def made_up(
    name: str,
    n: int,
    strengths,
    *,
    odds=(1, 1, 1, 1),
    combine="mean",
    reference=None,
    digits=None,
) -> Population:
    """Return members of growing strength with correlated outputs; rounded, their outputs tie."""
    rng = np.random.default_rng(0)
    shares = np.array(odds) / np.sum(odds)
    y = rng.choice(len(shares), size=n, p=shares)
    ease, shared = rng.normal(size=n), rng.normal(size=(n, len(shares)))
    proba = []
    for strength in strengths:
        logits = np.log(shares) + rng.normal(size=(n, len(shares))) + 0.4 * shared
        logits[np.arange(n), y] += strength + 1.3 * ease
        table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        proba.append(table if digits is None else table.round(digits))
    after = prefix_probabilities(proba, combine, [1.0] * len(proba), False)
    predictions = collect_predictions(after, proba, ["max_proba"] * (len(proba) - 1), y, None)
    return Population(name, predictions, 5.0 ** np.arange(len(proba)), reference)


def _recorded(path: Path) -> Population:
    """Return at most four recorded models, each better than all cheaper ones."""
    with np.load(path, allow_pickle=False) as file:
        confidence, predicted = file["confidence"].astype(float), file["predicted"]
        label, cost = file["label"], file["cost"]
    right = (predicted == label).mean(axis=1)
    better = np.flatnonzero(right > np.append(0, np.maximum.accumulate(right)[:-1]))
    chosen = better[np.unique(np.linspace(0, len(better) - 1, 4).round().astype(int))]
    labels = predicted[chosen]
    predictions = StagePredictions(confidence[chosen[:-1]], labels, labels, label)
    return Population(path.stem, predictions, cost[chosen])


def _line(population: Population, n: int, n_draws: int, delta: float) -> list[str]:
    """Return the cells of one line: shares of draws that fail, and mean savings."""
    truth = population.outcomes
    rng = np.random.default_rng(0)
    full = float(truth.costs.sum())
    never = (np.inf,) * len(truth.confidence)
    found = {"naive": [], "certified": []}
    for _ in range(n_draws):
        rows = rng.integers(truth.n_samples, size=n)
        found["naive"].append(score(truth, _naive(take(truth, rows))))
        path, certifying = split(population, truth, rows)
        thresholds = certified(certifying, path, EPSILON, delta)
        found["certified"].append(score(truth, never if thresholds is None else thresholds))
    naive, tested = np.array(found["naive"]), np.array(found["certified"])
    return [
        population.name,
        f"{len(truth.costs)} x {truth.n_samples:,}",
        f"{n:,}",
        f"{np.mean(naive[:, 0] > EPSILON):.1%}",
        f"{np.mean(tested[:, 0] > EPSILON):.1%}",
        f"{np.mean(tested[:, 1] == full):.1%}",
        f"{1 - naive[:, 1].mean() / full:.1%}",
        f"{1 - tested[:, 1].mean() / full:.1%}",
        f"{best_saving(truth, EPSILON):.1%}",
    ]


def split(population: Population, truth: PairedOutcomes, rows: np.ndarray):
    """Return the threshold path from a fifth of the rows, and the outcomes of the others."""
    cut = int(TUNING_SHARE * len(rows))
    path = threshold_path(take(truth, rows[:cut]))
    if population.reference is None:
        # Without early exit the cascade equals its reference: there is nothing to test.
        path = [thresholds for thresholds in path if min(thresholds) < np.inf]
    return path, take(truth, rows[cut:])


def certified(certifying: PairedOutcomes, path: list, epsilon: float, delta: float):
    """Return the cheapest certified thresholds; None if none are."""
    risk = RISKS["accuracy_gap"]
    steps = fixed_sequence_test(certifying, path, risk=risk, epsilon=epsilon, delta=delta)
    passed = [step.thresholds for step in steps if step.passed]
    return passed[-1] if passed else None


def take(outcomes: PairedOutcomes, rows: np.ndarray) -> PairedOutcomes:
    """Return the outcomes of some rows."""
    return outcomes._replace(
        confidence=outcomes.confidence[:, rows],
        regressed=outcomes.regressed[..., rows],
        corrected=outcomes.corrected[..., rows],
    )


def score(truth: PairedOutcomes, thresholds) -> tuple[float, float]:
    """Return true loss and cost of some thresholds."""
    regressions, corrections, cost = truth.evaluate(thresholds)
    return (regressions[0] - corrections[0]) / truth.n_samples, cost


def best_saving(truth: PairedOutcomes, epsilon: float) -> float:
    """Return the largest saving of thresholds whose true loss is at most epsilon."""
    gain = truth.corrected[0].astype(float) - truth.regressed[0]
    shares = np.full(truth.n_samples, 1 / truth.n_samples)
    n_thresholds = FINE_GRID[len(gain) - 1]
    grid = [
        np.concatenate([[-np.inf], candidate_thresholds(values, n_thresholds), [np.inf]])
        for values in truth.confidence
    ]
    statistics = StageStatistics(truth.confidence, gain, truth.costs, shares)
    gained, cost = sweep_flat(statistics, grid)
    return float(1 - cost[gained >= -epsilon * truth.n_samples].min() / truth.costs.sum())


def _naive(drawn: PairedOutcomes):
    """Return the cheapest thresholds whose estimated loss is within epsilon on the same rows."""
    within = [t for t in threshold_path(drawn) if score(drawn, t)[0] <= EPSILON]
    return min(within, key=lambda thresholds: drawn.evaluate(thresholds)[2])


def _print_times(n: int) -> None:
    """Print the seconds of one call on recorded outputs, the first and a later one."""
    X, y, members = lookup_members(n, 4, 3)
    cascade = CascadeClassifier(members, thresholds=0.9).fit(X[:100], y[:100])
    (first,), (later,) = time_calls([lambda: cascade.certify(X, y)], 2, warm_up=False)
    print_header(["certify", "first call, s", "later calls, s"])
    print_line([f"{n:,} rows, 3 stages", f"{first:.2f}", f"{later:.2f}"])


def lookup_members(n_samples: int, n_classes: int, n_stages: int):
    """Return X, y and named members that look up their probabilities by the row number in X."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_samples)
    members = []
    for k in range(n_stages):
        logits = rng.normal(size=(n_samples, n_classes))
        logits[np.arange(n_samples), y] += 2 + k
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        model = PrefitClassifier(Lookup(proba), np.arange(n_classes), cost=5.0**k)
        members.append((f"m{k}", model))
    return np.arange(n_samples, dtype=float)[:, None], y, members


class Lookup:
    """A model that returns recorded probabilities for row numbers."""

    def __init__(self, proba):
        self.proba = proba

    def __call__(self, X):
        return self.proba[X[:, 0].astype(int)]
