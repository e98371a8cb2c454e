"""Certificates against known truth and MAPIE: how often they fail, what they save, their power."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from time import process_time
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import learned_confidence_power
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
from benchmarks.tables import print_header, print_line
from sklearn_cascade.certification._fixed_sequence import PairedOutcomes

DELTAS = (0.1, 0.05)
# With few rows, a loss of at most one in a hundred is seldom certified.
LARGER_EPSILON = {500: 0.02}
COLUMNS = [
    "population",
    "calibration rows",
    "epsilon",
    "delta",
    "violated",
    "delta + 2 sd",
    "holds",
    "refused",
    "saving",
    "best possible",
    "share of it",
    "early exits",
]


class Guarantee(NamedTuple):
    """The loss that a certificate allows, and how often it may fail."""

    epsilon: float
    delta: float


class Draw(NamedTuple):
    """True figures of the thresholds certified on one draw; without any, no row exits early."""

    refused: bool
    loss: float
    saving: float
    early: float


def run(*, quick=False, n_draws=2000):
    """Print how often certificates fail, the power of their test, and an absolute risk control."""
    n_draws = 5 if quick else n_draws
    with threadpool_limits(1):
        print(
            f"{n_draws} draws of calibration rows a line, the same for each epsilon and delta; "
            "*violated*: the share whose certified loss exceeds epsilon in truth; *holds*: at most "
            "delta and two standard deviations of that many draws\n"
        )
        print_header(COLUMNS)
        start, holds = process_time(), []
        for population in _populations(4000 if quick else 20_000):
            for n in SIZES[:1] if quick else SIZES:
                holds += _report(population, n, n_draws)
        print(f"\nthe guarantee holds in {sum(holds)} of {len(holds)} lines", end="; ")
        print(f"{process_time() - start:.0f} s of one processor\n")
        learned_confidence_power.print_power(quick)
        print()
        learned_confidence_power.print_mapie(n_draws, quick)


def _populations(n: int) -> Iterator[Population]:
    """Yield cascades of two to four stages, and two that differ both ways from a member."""
    yield made_up("two stages, averaged", n, (1.0, 3.0))
    yield made_up("three stages, averaged", n, (1.0, 2.0, 3.0))
    # Probabilities in tenths, as those of small forests, so that confidences tie.
    yield made_up("four stages, averaged, tied", n, (1.0, 1.7, 2.4, 3.0), digits=1)
    yield made_up("three stages, 97:2:1", n, (0.0, 1.5, 3.0), odds=(97, 2, 1))
    # If all rows exit early, a tenth are regressions, and nearly as many corrections.
    close = (2.0, 2.3, 2.5)
    yield made_up("last answer, against the best", n, close, combine="last", reference=2)
    # If none does, six in a hundred are regressions, and a few more corrections.
    yield made_up("averaged, against the best", n, (1.5, 2.0, 2.6), reference=2)


def _report(population: Population, n: int, n_draws: int) -> list[bool]:
    """Print a line for each guarantee, over the same draws; return which hold."""
    truth, rng = population.outcomes, np.random.default_rng(0)
    epsilons = [EPSILON, LARGER_EPSILON[n]] if n in LARGER_EPSILON else [EPSILON]
    found = {Guarantee(*both): [] for both in product(epsilons, DELTAS)}
    for _ in range(n_draws):
        rows = rng.integers(truth.n_samples, size=n)
        path, certifying = split(population, truth, rows)
        for guarantee, draws in found.items():
            draws.append(_score(truth, certified(certifying, path, *guarantee)))
    holds = []
    for guarantee, draws in found.items():
        best = best_saving(truth, guarantee.epsilon)
        cells = [population.name, f"{n:,}", *_cells(guarantee, draws, best)]
        print_line(cells)
        holds.append("yes" in cells)
    return holds


def _score(truth: PairedOutcomes, thresholds) -> Draw:
    """Return the true figures of certified thresholds."""
    if thresholds is None:
        return Draw(True, 0.0, 0.0, 0.0)
    loss, cost = score(truth, thresholds)
    early = np.mean(truth.exit_stages(thresholds) < len(thresholds))
    return Draw(False, loss, 1 - cost / truth.costs.sum(), early)


def _cells(guarantee: Guarantee, draws: list[Draw], best: float) -> list[str]:
    """Return the figures of one line."""
    refused, loss, saving, early = np.array(draws).T
    epsilon, delta = guarantee
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
