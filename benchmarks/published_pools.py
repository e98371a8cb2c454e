"""Recorded predictions of pools of models, searched on one half of the rows, tested on another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np

from sklearn_cascade import ParetoFront, search_cascades


class Pool(NamedTuple):
    """Recorded predictions of some models: probabilities, or (confidence, predicted) pairs."""

    name: str
    outputs: list
    y: np.ndarray
    costs: np.ndarray
    names: list[str]
    n_thresholds: int

    @property
    def has_proba(self) -> bool:
        """Whether there are probabilities that can be averaged."""
        return not isinstance(self.outputs[0], tuple)

    def take(self, rows: np.ndarray) -> Pool:
        """Return some of the rows."""
        outputs = [
            tuple(part[rows] for part in output) if isinstance(output, tuple) else output[rows]
            for output in self.outputs
        ]
        return self._replace(outputs=outputs, y=self.y[rows])

    def keep(self, models) -> Pool:
        """Return some of the models."""
        outputs, names = [self.outputs[i] for i in models], [self.names[i] for i in models]
        return self._replace(outputs=outputs, costs=self.costs[list(models)], names=names)

    def shrink(self) -> Pool:
        """Return toy size, for the tests."""
        few = np.random.default_rng(0).permutation(len(self.y))[:400]
        return self.take(few)._replace(n_thresholds=8)

    def split(self, seed: int) -> tuple[Pool, Pool]:
        """Return two random halves."""
        # Shuffled: rows of many files are sorted by label.
        rows = np.random.default_rng(seed).permutation(len(self.y))
        return self.take(rows[: len(rows) // 2]), self.take(rows[len(rows) // 2 :])

    def search(self, **options) -> ParetoFront:
        """Return the front of the pool's own rows, without cross-fitted scores."""
        options = {"n_thresholds": self.n_thresholds, "cv": None, **options}
        return search_cascades(self.outputs, self.y, costs=self.costs, names=self.names, **options)

    def evaluate(self, front, points) -> tuple[np.ndarray, np.ndarray]:
        """Return accuracy and mean cost of operating points of a front on the pool's own rows."""
        outputs = dict(zip(self.names, self.outputs, strict=True))
        details = [front.apply(point, outputs) for point in points]
        score = np.array([np.mean(found.label == self.y) for found in details])
        return score, np.array([np.mean(found.cost) for found in details])


class Half(NamedTuple):
    """The front of one half of the rows, and the other half to test it on."""

    tuning: Pool
    test: Pool
    front: ParetoFront
    seconds: float

    @property
    def single(self):
        """The best single model of the half that was searched."""
        return best_single(self.front)

    def evaluate(self, points) -> tuple[np.ndarray, np.ndarray]:
        """Return accuracy and mean cost of operating points on the untouched half."""
        return self.test.evaluate(self.front, points)


def best_single(front):
    """Return the single model of the highest score, the cheaper of equals."""
    singles = [point for point in front if point.kind == "single"]
    return max(singles, key=lambda point: (point.score, -point.mean_cost))


def halves_of(pool: Pool, n_halves: int, **options) -> Iterator[Half]:
    """Yield one searched half after another."""
    for seed in range(n_halves):
        tuning, test = pool.split(seed)
        start = process_time()
        front = tuning.search(**options)
        yield Half(tuning, test, front, process_time() - start)


def load_pools(folder: Path) -> Iterator[Pool]:
    """Yield the recorded pools of a data folder, one after the other."""
    for path in sorted(folder.glob("predictions/*.npz")):
        yield from read_pools(path)
    if (folder / "cifar10_family" / "predictions.npz").is_file():
        yield load_family(folder)


def read_pools(path: Path) -> Iterator[Pool]:
    """Yield each pool that one file holds: by cost or time, as pairs or probabilities."""
    with np.load(path, allow_pickle=False) as file:
        pairs = list(zip(file["confidence"], file["predicted"], strict=True))
        names, y = file["model_names"].tolist(), file["label"]
        # Coarser grids for thousands of cascades, so that a half takes seconds.
        pool = Pool(path.stem, pairs, y, file["cost"], names, 64 if len(names) < 10 else 32)
        yield pool
        if path.stem == "imagenet_cnn34":
            # The models whose time is known, with time as the cost.
            known = np.flatnonzero(np.isfinite(file["latency_ms"]))
            timed = pool._replace(name=f"{pool.name} by ms", costs=file["latency_ms"])
            yield timed.keep(known)
        if "proba" in file:
            proba = list(file["proba"])
            yield pool._replace(name=f"{path.stem} (proba)", outputs=proba, n_thresholds=24)


def load_family(folder: Path) -> Pool:
    """Return the family of image nets, with all rows that it was not trained on."""
    with np.load(folder / "cifar10_family" / "predictions.npz", allow_pickle=False) as file:
        proba = list(np.concatenate([file["proba_valid"], file["proba_test"]], axis=1))
        y = np.concatenate([file["label_valid"], file["label_test"]])
        names = file["model_names"].tolist()
        return Pool("cifar10_family", proba, y, file["cost_mflops"], names, 64)
