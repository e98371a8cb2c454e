"""Certificates on populations with known truth: how often they fail, what they save, the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from sklearn_cascade import CascadeClassifier, PrefitClassifier
from sklearn_cascade.search import (
    RISKS,
    Answers,
    Outcomes,
    cautious_path,
    collect_answers,
    compare,
    descend,
    prefix_answers,
)

EPSILON = 0.01
SIZES = (500, 2000, 10_000)
TUNING_SHARE = 0.2
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
    """Rows whose true loss at any thresholds is known, as they are all there is."""

    name: str
    outcomes: Outcomes


def run(*, data=None, quick=False, n_draws=200, delta=0.1):
    """Print failures and savings of naive and certified thresholds, and the time of one call."""
    with threadpool_limits(1):
        n_draws = 3 if quick else n_draws
        print(f"epsilon {EPSILON}, delta {delta}, {n_draws} draws a line\n")
        print(f"| {' | '.join(COLUMNS)} |")
        print("|---" * len(COLUMNS) + "|")
        for population in _populations(data, quick):
            for n in (500,) if quick else SIZES:
                cells = _line(population, n, n_draws, delta)
                print(f"| {' | '.join(cells)} |", flush=True)
        print()
        _print_times(2000 if quick else 20_000)


def _populations(data, quick: bool) -> Iterator[Population]:
    """Yield made-up populations, and recorded pools where a folder of them is given."""
    n = 4000 if quick else 50_000
    yield _made_up("made up, 3 stages", n, (1.0, 2.0, 3.0), (1, 1, 1, 1))
    if quick:
        return
    yield _made_up("made up, 4 stages", n, (1.0, 1.7, 2.4, 3.0), (1, 1, 1, 1))
    yield _made_up("made up, imbalance 97:2:1", n, (1.0, 2.0, 3.0), (97, 2, 1))
    if data is not None:
        for path in sorted(Path(data).glob("predictions/*.npz")):
            yield _recorded(path)


def _made_up(name: str, n: int, strengths, odds) -> Population:
    """Return members of growing strength, whose answers are correlated, averaged."""
    rng = np.random.default_rng(0)
    shares = np.array(odds) / np.sum(odds)
    y = rng.choice(len(shares), size=n, p=shares)
    ease, shared = rng.normal(size=n), rng.normal(size=(n, len(shares)))
    proba = []
    for strength in strengths:
        logits = np.log(shares) + rng.normal(size=(n, len(shares))) + 0.4 * shared
        logits[np.arange(n), y] += strength + 1.3 * ease
        proba.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    after = prefix_answers(proba, "mean", [1.0] * len(proba), False)
    answers = collect_answers(after, proba, ["max_proba"] * (len(proba) - 1), y, None)
    costs = 5.0 ** np.arange(len(proba))
    return Population(name, compare(answers, (None,), costs, labelled=True))


def _recorded(path: Path) -> Population:
    """Return at most four recorded models, each better than all cheaper ones."""
    with np.load(path, allow_pickle=False) as file:
        confidence, predicted = file["confidence"].astype(float), file["predicted"]
        label, cost = file["label"], file["cost"]
    right = (predicted == label).mean(axis=1)
    better = np.flatnonzero(right > np.append(0, np.maximum.accumulate(right)[:-1]))
    chosen = better[np.unique(np.linspace(0, len(better) - 1, 4).round().astype(int))]
    answers = Answers(confidence[chosen[:-1]], predicted[chosen], predicted[chosen], label)
    return Population(path.stem, compare(answers, (None,), cost[chosen], labelled=True))


def _line(population: Population, n: int, n_draws: int, delta: float) -> list[str]:
    """Return the cells of one line: shares of draws that fail, and mean savings."""
    truth = population.outcomes
    rng = np.random.default_rng(0)
    full = float(truth.costs.sum())
    found = {"naive": [], "certified": []}
    for _ in range(n_draws):
        rows = rng.integers(truth.n_samples, size=n)
        found["naive"].append(_score(truth, _naive(_take(truth, rows))))
        found["certified"].append(_score(truth, _certify(truth, rows, delta)))
    naive, certified = np.array(found["naive"]), np.array(found["certified"])
    # With the truth known, the cheapest that loses no more than it may.
    best = min(cost for loss, cost in _all_scores(truth) if loss <= EPSILON)
    return [
        population.name,
        f"{len(truth.costs)} x {truth.n_samples:,}",
        f"{n:,}",
        f"{np.mean(naive[:, 0] > EPSILON):.1%}",
        f"{np.mean(certified[:, 0] > EPSILON):.1%}",
        f"{np.mean(certified[:, 1] == full):.1%}",
        f"{1 - naive[:, 1].mean() / full:.1%}",
        f"{1 - certified[:, 1].mean() / full:.1%}",
        f"{1 - best / full:.1%}",
    ]


def _take(outcomes: Outcomes, rows: np.ndarray) -> Outcomes:
    """Return the outcomes of some rows."""
    return outcomes._replace(
        confidence=outcomes.confidence[:, rows],
        lost=outcomes.lost[..., rows],
        fixed=outcomes.fixed[..., rows],
    )


def _score(truth: Outcomes, thresholds) -> tuple[float, float]:
    """Return true loss and cost of some thresholds."""
    losses, fixes, cost = truth.count(thresholds)
    return (losses[0] - fixes[0]) / truth.n_samples, cost


def _all_scores(outcomes: Outcomes) -> list[tuple[float, float]]:
    """Return loss and cost along the path that these rows draw themselves."""
    return [_score(outcomes, thresholds) for thresholds in cautious_path(outcomes)]


def _naive(drawn: Outcomes):
    """Return the cheapest thresholds whose estimated loss is within epsilon on the same rows."""
    path = cautious_path(drawn)
    within = [t for t in path if _score(drawn, t)[0] <= EPSILON]
    return min(within, key=lambda thresholds: drawn.count(thresholds)[2])


def _certify(truth: Outcomes, rows: np.ndarray, delta: float):
    """Return the certified thresholds of one draw; no early exit where it is refused."""
    cut = int(TUNING_SHARE * len(rows))
    never = (np.inf,) * len(truth.confidence)
    path = [t for t in cautious_path(_take(truth, rows[:cut])) if t != never]
    steps = descend(
        _take(truth, rows[cut:]),
        path,
        risk=RISKS["accuracy_gap"],
        epsilon=EPSILON,
        delta=delta,
    )
    passed = [step.thresholds for step in steps if step.passed]
    return passed[-1] if passed else never


def _print_times(n: int) -> None:
    """Print the seconds of one call on recorded answers, the first and a later one."""
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=n)
    members = []
    for k in range(3):
        logits = rng.normal(size=(n, 4))
        logits[np.arange(n), y] += 2 + k
        table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        members.append((f"m{k}", PrefitClassifier(_Lookup(table), np.arange(4), cost=5.0**k)))
    rows = np.arange(n)
    cascade = CascadeClassifier(members, thresholds=0.9).fit(rows[:100], y[:100])
    seconds = []
    for _ in range(2):
        start = perf_counter()
        cascade.certify(rows, y)
        seconds.append(perf_counter() - start)
    print("| certify | first call, s | later calls, s |\n|---|---|---|")
    print(f"| {n:,} rows, 3 stages | {seconds[0]:.2f} | {seconds[1]:.2f} |")


class _Lookup:
    """A model that repeats recorded probabilities for row numbers."""

    def __init__(self, table):
        self.table = table

    def __call__(self, rows):
        return self.table[rows]
