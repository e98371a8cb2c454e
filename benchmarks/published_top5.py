"""The five best classes of each network as probabilities that can be averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.published_pools import Pool

FILE = Path("predictions") / "imagenet_cnn16_top5.npz"
# The rest of the mass goes to so many classes of no name that none of them is the best.
N_OTHERS = 40


def load_top5(folder: Path, most: int | None = None) -> Pool:
    """Return the networks with the probabilities of their five best classes.

    A row needs columns only for the classes that some network names: column 3 is another class on
    the next row, which neither a mean nor an accuracy minds.

    Parameters
    ----------
    folder : path
        Of the recorded data.
    most : int, default=None
        Take this many random rows; by default all.
    """
    with np.load(folder / FILE, allow_pickle=False) as file:
        rows = np.random.default_rng(0).permutation(len(file["label"]))[:most]
        said, mass = file["top5_predicted"][:, rows], file["top5_proba"][:, rows]
        label, names = file["label"][rows], file["model_names"].tolist()
        costs = file["cost"]
    columns, right = columns_of(said, label)
    answers = [spread_out(*answer, columns.max() + 1) for answer in zip(columns, mass, strict=True)]
    return Pool("imagenet_cnn16_top5 (mean)", answers, right, costs, names, 24)


def columns_of(said: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a column for each class named, (n_models, n_rows, 5), and that of the true label."""
    codes = said.swapaxes(0, 1).reshape(len(label), -1)
    order = np.argsort(codes, axis=1, kind="stable")
    sorted_codes = np.take_along_axis(codes, order, axis=1)
    first = np.diff(sorted_codes, axis=1, prepend=sorted_codes[:, :1]) != 0
    columns = np.empty(codes.shape, dtype=np.int16)
    np.put_along_axis(columns, order, np.cumsum(first, axis=1, dtype=np.int16), axis=1)
    named = codes == label[:, None]
    # The last column is nobody's best: a label that no network names is never right.
    nobody = columns.max() + N_OTHERS
    right = np.where(
        named.any(axis=1), columns[np.arange(len(label)), named.argmax(axis=1)], nobody
    )
    return columns.reshape(len(label), len(said), -1).swapaxes(0, 1), right


def spread_out(columns: np.ndarray, mass: np.ndarray, n_named: int) -> np.ndarray:
    """Return the probabilities of one network, what is not named in equal parts at the end."""
    mass = mass.astype(np.float32)
    proba = np.zeros((len(mass), n_named + N_OTHERS), dtype=np.float32)
    np.put_along_axis(proba, columns.astype(np.intp), mass, axis=1)
    proba[:, n_named:] = np.clip(1 - mass.sum(axis=1), 0, None)[:, None] / N_OTHERS
    return proba.astype(np.float16)
