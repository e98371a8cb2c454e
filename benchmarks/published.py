"""Recorded predictions of real models: what a cascade saves or gains on untouched rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from sklearn_cascade import search_cascades
from sklearn_cascade.search import Options, record, replay

# What the sources, and the plain two-stage cascade of the data's README (mean of 20 halves), reach:
# share of the cost saved at the best single model's score; points gained at its cost.
SOURCES = {
    "imagenet_cnn34": "two-stage: saves 44.5 %, +0.07",
    "imagenet_cnn34 by ms": "two-stage: saves 45.1 %, +0.07",
    "imagenet_cnn16_top5": "two-stage: saves 45.1 %, +0.10",
    "cifar10_cnn13": "two-stage: saves 62.2 %, +0.57",
    "cifar10_cnn13 (proba)": "two-stage, mean: saves 62.3 %, +0.76",
    "frugalml_rafdb": "FrugalML: saves 54.0 %, +4.4; its QS only: 47.0 %, +0.75",
    "frugalml_ferplus": "two-stage: saves 45.0 %, +0.92",
    "frugalml_expw": "two-stage: saves 19.8 %, +0.06",
    "frugalml_imdb": "two-stage: saves 14.5 %, +0.08",
    "frugalml_yelp": "two-stage: saves 2.6 %, -0.03",
    "frugalml_waimai": "two-stage: saves 4.0 %, -0.06",
    "frugalml_digit": "two-stage: saves 43.2 %, +1.07",
    "frugalml_audiomnist": "two-stage: saves 89.2 %, +0.15",
    "cifar10_family": "its README, 40m: 2.26x at -0.42; +0.66 at 1.16x",
}
COLUMNS = [
    "data set",
    "models x rows",
    "thresholds",
    "best single (halves)",
    "saving",
    "points",
    "gain at its cost",
    "cost ratio",
    "saving, worst case bounded",
    "points",
    "gain, worst case bounded",
    "cost ratio",
    "s per half",
    "source",
    "verdict",
]


class Pool(NamedTuple):
    """Recorded answers of some models: probabilities, or (confidence, predicted) pairs."""

    name: str
    answers: list
    y: np.ndarray
    costs: np.ndarray
    names: list[str]
    n_thresholds: int

    def take(self, rows: np.ndarray) -> Pool:
        """Return some of the rows."""
        answers = [
            tuple(part[rows] for part in answer) if isinstance(answer, tuple) else answer[rows]
            for answer in self.answers
        ]
        return self._replace(answers=answers, y=self.y[rows])


def run(*, data, quick=False, n_halves=10):
    """Print a line for each data set."""
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    with threadpool_limits(1):
        for pool in load_pools(Path(data)):
            if quick:
                few = np.random.default_rng(0).permutation(len(pool.y))[:400]
                _report(pool.take(few)._replace(n_thresholds=8), 2, max_stages=2)
            else:
                _report(pool, n_halves, max_stages=4)


def load_pools(folder: Path) -> Iterator[Pool]:
    """Yield the recorded pools of a data folder, one after the other."""
    for path in sorted(folder.glob("predictions/*.npz")):
        with np.load(path, allow_pickle=False) as file:
            pairs = list(zip(file["confidence"], file["predicted"], strict=True))
            names, y = file["model_names"].tolist(), file["label"]
            # Coarser grids where there are thousands of cascades, so that a half takes seconds.
            pool = Pool(path.stem, pairs, y, file["cost"], names, 64 if len(names) < 10 else 32)
            yield pool
            if path.stem == "imagenet_cnn34":
                yield _by_latency(pool, file["latency_ms"])
            if "proba" in file:
                proba = list(file["proba"])
                yield pool._replace(name=f"{path.stem} (proba)", answers=proba, n_thresholds=24)
    path = folder / "cifar10_family" / "predictions.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            proba = list(np.concatenate([file["proba_valid"], file["proba_test"]], axis=1))
            y = np.concatenate([file["label_valid"], file["label_test"]])
            names = file["model_names"].tolist()
            yield Pool("cifar10_family", proba, y, file["cost_mflops"], names, 64)


def evaluate(pool: Pool, rows: list) -> tuple[np.ndarray, np.ndarray]:
    """Return accuracy and mean cost of some committees on all rows of a pool."""
    recordings = record(pool.answers, pool.y, names=pool.names, costs=pool.costs)
    options = Options(
        max_stages=4,
        order="cost",
        combine="auto",
        confidence="max_proba",
        n_thresholds=pool.n_thresholds,
        method="auto",
        scoring="accuracy",
        max_worst_cost=None,
        n_jobs=1,
        verbose=0,
    )
    score, cost = replay(recordings, options, rows, [np.arange(len(pool.y))])
    return score[:, 0], cost[:, 0]


def _by_latency(pool: Pool, latency: np.ndarray) -> Pool:
    """Return the models whose time is known, with that as their cost."""
    known = np.flatnonzero(np.isfinite(latency))
    answers, names = [pool.answers[i] for i in known], [pool.names[i] for i in known]
    return Pool(f"{pool.name} by ms", answers, pool.y, latency[known], names, pool.n_thresholds)


def _report(pool: Pool, n_halves: int, max_stages: int) -> None:
    """Search on one half, apply what is chosen to the other, and print mean and spread."""
    figures, singles, start = [], Counter(), perf_counter()
    for seed in range(n_halves):
        # Shuffled: rows of many files are sorted by label.
        rows = np.random.default_rng(seed).permutation(len(pool.y))
        tuning, test = pool.take(rows[: len(rows) // 2]), pool.take(rows[len(rows) // 2 :])
        single, chosen = _choose(tuning, max_stages)
        singles[single.label] += 1
        figures.append(_compare(test, single, chosen))
    seconds = (perf_counter() - start) / n_halves
    mean, sd = np.mean(figures, axis=0), np.std(figures, axis=0, ddof=1)
    saving, lost = mean[0], -mean[1]
    pays = saving >= 1.05 and lost <= 0.3
    forms = [".2f", "+.2f", "+.2f", ".2f"] * 2
    cells = [f"{m:{form}} ± {s:.2f}" for m, s, form in zip(mean, sd, forms, strict=True)]
    size = f"{len(pool.names)} x {len(pool.y):,}"
    best = ", ".join(f"{name} ({count})" for name, count in singles.most_common(2))
    verdict = "pays" if pays else "does not pay"
    line = [
        pool.name,
        size,
        str(pool.n_thresholds),
        best,
        *cells,
        f"{seconds:.1f}",
        SOURCES.get(pool.name, ""),
        verdict,
    ]
    print(f"| {' | '.join(line)} |", flush=True)


def _choose(tuning: Pool, max_stages: int):
    """Return the best single model, and the cascades chosen for four aims."""
    front = search_cascades(
        tuning.answers,
        tuning.y,
        costs=tuning.costs,
        names=tuning.names,
        max_stages=max_stages,
        n_thresholds=tuning.n_thresholds,
        cv=None,
    )
    singles = [row for row in front if row.kind == "single"]
    single = max(singles, key=lambda row: (row.score, -row.mean_cost))
    budget = single.mean_cost
    aims = [
        {"max_score_loss": 0.0},
        {"max_cost": budget},
        {"max_score_loss": 0.0, "max_worst_cost": budget},
        {"max_cost": budget, "max_worst_cost": budget},
    ]
    return single, [front.best(**aim) for aim in aims]


def _compare(test: Pool, single, chosen) -> list[float]:
    """Return what the chosen cascades save and gain against the single model on a half."""
    score, cost = evaluate(test, [single, *chosen])
    points, factor = 100 * (score - score[0]), cost[0] / cost
    figures = []
    for aim in range(1, len(score)):
        # Cheapest, and most accurate, in turns.
        figures += [points[aim], 1 / factor[aim]] if aim % 2 == 0 else [factor[aim], points[aim]]
    return figures
