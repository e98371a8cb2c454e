"""A pool from the five best classes of each network, as probabilities that can be averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.published_pools import Pool

FILE = Path("predictions") / "imagenet_cnn16_top5.npz"
# The rest of the probability goes to so many unnamed classes that none of them is the best.
N_OTHERS = 40


def load_top5(folder: Path, most: int | None = None) -> Pool:
    """Return the networks with the probabilities of their five best classes.

    A row has columns only for the classes that some network names: column 3 is another class on
    the next row, which changes neither means nor accuracies. `most` limits the number of rows.
    """
    with np.load(folder / FILE, allow_pickle=False) as file:
        rows = np.random.default_rng(0).permutation(len(file["label"]))[:most]
        named, mass = file["top5_predicted"][:, rows], file["top5_proba"][:, rows]
        label, names = file["label"][rows], file["model_names"].tolist()
        costs = file["cost"]
    columns, right = columns_of(named, label)
    outputs = [spread_out(*output, columns.max() + 1) for output in zip(columns, mass, strict=True)]
    return Pool("imagenet_cnn16_top5 (mean)", outputs, right, costs, names, 24)


def columns_of(named: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the column of each class named, (n_models, n_rows, 5), and of the true label."""
    codes = named.swapaxes(0, 1).reshape(len(label), -1)
    order = np.argsort(codes, axis=1, kind="stable")
    sorted_codes = np.take_along_axis(codes, order, axis=1)
    first = np.diff(sorted_codes, axis=1, prepend=sorted_codes[:, :1]) != 0
    columns = np.empty(codes.shape, dtype=np.int16)
    np.put_along_axis(columns, order, np.cumsum(first, axis=1, dtype=np.int16), axis=1)
    is_label = codes == label[:, None]
    # The last column is never the best: a label that no network names counts as an error.
    unnamed = columns.max() + N_OTHERS
    right = np.where(
        is_label.any(axis=1), columns[np.arange(len(label)), is_label.argmax(axis=1)], unnamed
    )
    return columns.reshape(len(label), len(named), -1).swapaxes(0, 1), right


def spread_out(columns: np.ndarray, mass: np.ndarray, n_named: int) -> np.ndarray:
    """Return the probabilities of one network, the rest in equal parts in the last columns."""
    mass = mass.astype(np.float32)
    proba = np.zeros((len(mass), n_named + N_OTHERS), dtype=np.float32)
    np.put_along_axis(proba, columns.astype(np.intp), mass, axis=1)
    proba[:, n_named:] = np.clip(1 - mass.sum(axis=1), 0, None)[:, None] / N_OTHERS
    return proba.astype(np.float16)
