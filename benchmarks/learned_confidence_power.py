"""The power of the exact paired test, by enumeration, against published figures and MAPIE."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from benchmarks.certify import (
    EPSILON,
    SIZES,
    TUNING_SHARE,
    Population,
    best_saving,
    certified,
    made_up,
    score,
    split,
)
from benchmarks.tables import print_header, print_line
from sklearn_cascade._compat import import_optional
from sklearn_cascade.certification._fixed_sequence import PairedOutcomes
from sklearn_cascade.certification._noninferiority import binomial_cdf, certifies
from sklearn_cascade.core._thresholds import candidate_thresholds, effective_threshold, exits

DELTA = 0.1
# By rows, epsilon, loss as a share of epsilon and rate of corrections: the power published for the
# exact paired test, and for the exact binomial test of the regressions alone.
PUBLISHED = {
    (1000, 0.01, 0.0, 0.005): (0.95, 0.62),
    (1000, 0.01, 0.0, 0.02): (0.61, 0.00),
    (1000, 0.01, 0.5, 0.0): (0.62, 0.62),
    (1000, 0.01, 0.5, 0.02): (0.29, 0.00),
    (5000, 0.005, 0.5, 0.005): (0.60, 0.00),
    (5000, 0.01, 0.5, 0.005): (0.93, 0.09),
    (20_000, 0.005, 0.5, 0.02): (0.66, 0.00),
    (200, 0.02, 0.5, 0.005): (0.28, 0.20),
    (1000, 0.01, 1.0, 0.0): (0.066, 0.066),
    (200, 0.02, 1.0, 0.0): (0.089, 0.089),
}
POWER_COLUMNS = [
    "rows",
    "epsilon",
    "loss / epsilon",
    "P(correction)",
    "exact paired",
    "paired, published",
    "binomial on regressions",
    "binomial, published",
]
N_THRESHOLDS = 40
# More draws add little, and learning MAPIE's order of tests takes a while.
MAX_MAPIE_DRAWS = 500
MAPIE_COLUMNS = [
    "method",
    "calibration rows",
    "violated",
    "refused",
    "saving",
    "best possible",
    "share of it",
    "processor ms",
]


def print_power(quick: bool = False) -> None:
    """Print the probability that fixed thresholds are certified, with the published one."""
    print(f"power at delta {DELTA}, by exact enumeration\n")
    print_header(POWER_COLUMNS)
    for (n, epsilon, net, correction_rate), (paired, binomial) in PUBLISHED.items():
        if quick and n > 5000:
            continue
        regression_rate = correction_rate + net * epsilon
        cells = [f"{n:,}", f"{epsilon}", f"{net}", f"{correction_rate}"]
        cells += [f"{paired_power(n, epsilon, regression_rate, correction_rate):.3f}", f"{paired}"]
        cells += [f"{_binomial_power(n, epsilon, regression_rate):.3f}", f"{binomial}"]
        print_line(cells)


def paired_power(n: int, epsilon: float, regression_rate: float, correction_rate: float) -> float:
    """Return the probability that the paired test certifies, over all possible counts."""
    corrections = np.arange(binom.isf(1e-12, n, correction_rate) + 1).astype(int)
    tops = np.array([_most_regressions(count, n, epsilon) for count in corrections])
    allowed = binomial_cdf(tops, n - corrections, regression_rate / (1 - correction_rate))
    return float(binom.pmf(corrections, n, correction_rate) @ allowed)


def _most_regressions(corrections: int, n: int, epsilon: float) -> int:
    """Return the most regressions that are certified with some corrections; -1 if none are."""
    low, high = -1, int(n - corrections)
    while low < high:
        middle = (low + high + 1) // 2
        if certifies(middle, corrections, n, epsilon, DELTA):
            low = middle
        else:
            high = middle - 1
    return low


def _binomial_power(n: int, epsilon: float, regression_rate: float) -> float:
    """Return the probability that the binomial test certifies."""
    most = np.sum(binomial_cdf(np.arange(n + 1), n, epsilon) <= DELTA) - 1
    return float(binomial_cdf(most, n, regression_rate))


class Task(NamedTuple):
    """A two-stage cascade on a binary problem, with the grid and accuracy that MAPIE is given."""

    population: Population
    truth: PairedOutcomes
    grid: np.ndarray
    accuracy: float

    def table(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return confidence, early and late prediction as columns, and the true labels."""
        predictions = self.population.predictions
        columns = [predictions.confidence[0, rows], *predictions.after[:, rows]]
        return np.column_stack(columns), predictions.truth[rows]


def print_mapie(n_draws: int, quick: bool = False) -> None:
    """Print what MAPIE's control of an absolute risk and the paired certificate save."""
    try:
        control = import_optional("mapie.risk_control", feature="the comparison", extra="bench")
    except ImportError as error:
        print(f"MAPIE skipped: {error}")
        return
    n_draws = min(n_draws, MAX_MAPIE_DRAWS)
    task = _task(4000 if quick else 20_000)
    print(
        f"binary, two stages averaged, accuracy without early exit {task.accuracy:.4f}, epsilon "
        f"{EPSILON}, delta {DELTA}, {n_draws} draws a line, the same for each method; MAPIE is "
        f"given that accuracy, and {N_THRESHOLDS} true quantiles of the confidence\n"
    )
    print_header(MAPIE_COLUMNS)
    methods = {
        "paired certificate": _paired,
        "MAPIE, accuracy, Holm (its default)": partial(_holm, control),
        "MAPIE, accuracy, split fixed sequence": partial(_split_sequence, control),
        "MAPIE, agreement with no early exit, fixed sequence": partial(_agreement, control),
    }
    for n in SIZES[:1] if quick else SIZES:
        for name, choose in methods.items():
            print_line([name, f"{n:,}", *_figures(task, choose, n, n_draws)])


def _task(n: int) -> Task:
    """Return the population, thresholds at quantiles of all its rows, and its true accuracy."""
    population = made_up("binary", n, (2.0, 3.0), odds=(1, 1))
    predictions = population.predictions
    grid = candidate_thresholds(predictions.confidence[0], N_THRESHOLDS)
    accuracy = float(np.mean(predictions.after[-1] == predictions.truth))
    return Task(population, population.outcomes, grid, accuracy)


def _figures(task: Task, choose: Callable, n: int, n_draws: int) -> list[str]:
    """Return the figures of one method over draws of calibration rows."""
    rng, scores, seconds = np.random.default_rng(0), [], 0.0
    for _ in range(n_draws):
        rows = rng.integers(task.truth.n_samples, size=n)
        start = process_time()
        threshold = choose(task, rows)
        seconds += process_time() - start
        if threshold is not None:
            scores.append(score(task.truth, (threshold,)))
    loss, cost = np.array(scores).reshape(-1, 2).T
    saving = np.sum(1 - cost / task.truth.costs.sum()) / n_draws
    best = best_saving(task.truth, EPSILON)
    return [
        f"{np.sum(loss > EPSILON) / n_draws:.4f}",
        f"{1 - len(scores) / n_draws:.3f}",
        f"{saving:.3f}",
        f"{best:.3f}",
        f"{saving / best:.2f}",
        f"{1000 * seconds / n_draws:.1f}",
    ]


def _paired(task: Task, rows: np.ndarray) -> float | None:
    """Return the threshold that the package certifies."""
    path, certifying = split(task.population, task.truth, rows)
    thresholds = certified(certifying, path, EPSILON, DELTA)
    return None if thresholds is None else thresholds[0]


def _holm(control, task: Task, rows: np.ndarray) -> float | None:
    """Return the cheapest threshold that reaches the accuracy, by MAPIE's default correction."""
    controller = _accuracy_controller(control, task, "bonferroni_holm")
    return _cheapest(controller, *task.table(rows))


def _split_sequence(control, task: Task, rows: np.ndarray) -> float | None:
    """Return the same by fixed-sequence testing, in an order learned from a fifth of the rows."""
    cut = int(TUNING_SHARE * len(rows))
    controller = _accuracy_controller(control, task, "split_fixed_sequence")
    # A p-value from so few rows is seldom smaller; the default of a thousand levels takes long.
    levels = np.logspace(-6, 0, 100)
    controller.learn_fixed_sequence_order(*task.table(rows[:cut]), levels, binary=True)
    return _cheapest(controller, *task.table(rows[cut:]))


def _accuracy_controller(control, task: Task, method: str):
    """Return a controller of the accuracy of the cascade, as a function of its threshold."""
    return control.BinaryClassificationController(
        lambda X, threshold: np.where(exits(X[:, 0], threshold), X[:, 1], X[:, 2]),
        "accuracy",
        task.accuracy - EPSILON,
        confidence_level=1 - DELTA,
        list_predict_params=task.grid[:, None],
        fwer_method=method,
    )


def _agreement(control, task: Task, rows: np.ndarray) -> float | None:
    """Return the cheapest threshold at which few rows exit early with another label.

    MAPIE "predicts" that an early exit changes the label, and the truth is that it never should:
    only then is the risk one of a plain threshold, for which MAPIE offers a fixed sequence.
    """

    def changed(X):
        confidence = np.where(X[:, 1] == X[:, 2], 0.0, X[:, 0])
        return np.column_stack([1 - confidence, confidence])

    boundaries = effective_threshold(task.grid)
    controller = control.BinaryClassificationController(
        changed,
        "accuracy",
        1 - EPSILON,
        confidence_level=1 - DELTA,
        list_predict_params=boundaries,
        fwer_method="fixed_sequence",
    )
    found = _cheapest(controller, task.table(rows)[0], np.zeros(len(rows), dtype=int))
    return None if found is None else float(task.grid[boundaries == found][0])


def _cheapest(controller, X: np.ndarray, y: np.ndarray) -> float | None:
    """Return the lowest parameter that a controller accepts; None if it accepts none."""
    with warnings.catch_warnings():
        # MAPIE warns if it accepts all parameters, or none.
        warnings.simplefilter("ignore", UserWarning)
        accepted = controller.calibrate(X, y).valid_predict_params
    return float(np.min(accepted)) if len(accepted) else None
