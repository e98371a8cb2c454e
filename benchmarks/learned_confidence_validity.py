"""Certificates against known truth: how often they fail, their power, and a rival beside them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from time import process_time
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import decide_power
from benchmarks.certify import (
    EPSILON,
    SIZES,
    Population,
    best_saving,
    certified,
    made_up,
    score,
    split,
)
from sklearn_cascade.certification import PairedOutcomes

DELTAS = (0.1, 0.05)
# On few rows little is certified at a loss of one in a hundred.
LARGER_EPSILON = {500: 0.02}
COLUMNS = [
    "population",
    "calibration rows",
    "epsilon",
    "delta",
    "violated",
    "promise + 2 sd",
    "holds",
    "refused",
    "saving",
    "best possible",
    "share of it",
    "early exits",
]


class Promise(NamedTuple):
    """What one certificate promises."""

    epsilon: float
    delta: float


class Draw(NamedTuple):
    """What the thresholds certified on one draw do in truth; without any, no row exits early."""

    refused: bool
    loss: float
    saving: float
    early: float


def run(*, quick=False, n_draws=2000):
    """Print how often certificates fail, the power of their test, and an absolute risk control."""
    n_draws = 5 if quick else n_draws
    with threadpool_limits(1):
        print(f"{n_draws} draws a line, the same for each epsilon and delta\n")
        print(f"| {' | '.join(COLUMNS)} |")
        print("|---" * len(COLUMNS) + "|")
        start, holds = process_time(), []
        for population in _populations(4000 if quick else 20_000):
            for n in SIZES[:1] if quick else SIZES:
                holds += _report(population, n, n_draws)
        print(f"\nthe promise holds in {sum(holds)} of {len(holds)} lines", end="; ")
        print(f"{process_time() - start:.0f} s of one processor\n")
        decide_power.print_power(quick)
        print()
        decide_power.print_rival(n_draws, quick)


def _populations(n: int) -> Iterator[Population]:
    """Yield cascades of two to four stages, and two that differ both ways from a member."""
    yield made_up("two stages, averaged", n, (1.0, 3.0))
    yield made_up("three stages, averaged", n, (1.0, 2.0, 3.0))
    # Probabilities in tenths, as those of small forests, so that confidences tie.
    yield made_up("four stages, averaged, tied", n, (1.0, 1.7, 2.4, 3.0), digits=1)
    yield made_up("three stages, 97:2:1", n, (0.0, 1.5, 3.0), odds=(97, 2, 1))
    # A tenth of the rows is lost, and nearly as many fixed, where all exit early.
    close = (2.0, 2.3, 2.5)
    yield made_up("last answer, against the best", n, close, combine="last", reference=2)
    # Six in a hundred are lost, and a few more fixed, where none does.
    yield made_up("averaged, against the best", n, (1.5, 2.0, 2.6), reference=2)


def _report(population: Population, n: int, n_draws: int) -> list[bool]:
    """Print a line for each promise, over the same draws, and tell which hold."""
    truth, rng = population.outcomes, np.random.default_rng(0)
    epsilons = [EPSILON, LARGER_EPSILON[n]] if n in LARGER_EPSILON else [EPSILON]
    found = {Promise(*both): [] for both in product(epsilons, DELTAS)}
    for _ in range(n_draws):
        rows = rng.integers(truth.n_samples, size=n)
        path, certifying = split(population, truth, rows)
        for promise, draws in found.items():
            draws.append(_judge(truth, certified(certifying, path, *promise)))
    holds = []
    for promise, draws in found.items():
        best = best_saving(truth, promise.epsilon)
        cells = [population.name, f"{n:,}", *_cells(promise, draws, best)]
        print(f"| {' | '.join(cells)} |", flush=True)
        holds.append("yes" in cells)
    return holds


def _judge(truth: PairedOutcomes, thresholds) -> Draw:
    """Hold what was certified against the truth."""
    if thresholds is None:
        return Draw(True, 0.0, 0.0, 0.0)
    loss, cost = score(truth, thresholds)
    early = np.mean(truth.exit_stages(thresholds) < len(thresholds))
    return Draw(False, loss, 1 - cost / truth.costs.sum(), early)


def _cells(promise: Promise, draws: list[Draw], best: float) -> list[str]:
    """Return the figures of one line."""
    refused, loss, saving, early = np.array(draws).T
    epsilon, delta = promise
    violated = np.mean(loss > epsilon)
    most = delta + 2 * np.sqrt(delta * (1 - delta) / len(draws))
    return [
        f"{epsilon}",
        f"{delta}",
        f"{violated:.4f}",
        f"{most:.4f}",
        "yes" if violated <= most else "NO",
        f"{refused.mean():.3f}",
        f"{saving.mean():.3f}",
        f"{best:.3f}",
        f"{saving.mean() / best:.2f}",
        f"{early.mean():.3f}",
    ]
