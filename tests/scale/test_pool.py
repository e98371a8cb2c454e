"""Tests of the search of predictions that do not fit into memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from sklearn_cascade import search_cascades
from sklearn_cascade.search._predictions import check_predictions
from tests.scale.conftest import WHERE
from tests.scale.guide_blocks import run_blocks
from tests.search.pools import draw_pool

COSTS = [1, 2, 4, 8]


@pytest.fixture(scope="module")
def arrays():
    """Return dask.array, with its own threads as the scheduler."""
    dask = pytest.importorskip("dask", reason=f"dask is {WHERE}")
    module = pytest.importorskip("dask.array", reason=f"dask is {WHERE}")
    with dask.config.set(scheduler="threads", num_workers=2):
        yield module


class Loads:
    """Loads chunks of rows of recorded predictions, and counts how often each is loaded."""

    def __init__(self, pool, n_rows):
        self.pool, self.n_rows = pool, n_rows
        self.counts = Counter()

    def load(self, model, start):
        """Return one chunk."""
        self.counts[model, start] += 1
        return self.pool[model][start : start + self.n_rows]

    def arrays(self, da, dask):
        """Return a Dask array for each model."""
        return [
            da.concatenate(
                [
                    da.from_delayed(dask.delayed(self.load)(k, start), part.shape, part.dtype)
                    for start in range(0, len(proba), self.n_rows)
                    for part in [proba[start : start + self.n_rows]]
                ]
            )
            for k, proba in enumerate(self.pool)
        ]


def test_each_chunk_is_computed_once_per_pass(arrays):
    """Check the count of loads, for chunks that are no multiple of the row blocks."""
    dask = pytest.importorskip("dask", reason=f"dask is {WHERE}")
    pool, y, _ = draw_pool(4, 50_000, n_classes=10)
    loads = Loads(pool, 7001)
    front = search_cascades(loads.arrays(arrays, dask), y, costs=COSTS, cv=None)
    assert len(loads.counts) == 4 * 8
    assert set(loads.counts.values()) == {1}
    expected = search_cascades(pool, y, costs=COSTS, cv=None)
    assert list(front) == list(expected)


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize(
    ("scoring", "cv"), [("accuracy", 3), ("neg_log_loss", 3), ("f1_macro", None)]
)
def test_dask_arrays_give_the_same_front(arrays, scoring, cv, n_jobs):
    """Check chunks of columns, weights with zeros, cross-fitted scores, threads and scorers."""
    pool, y, _ = draw_pool(3, 3000, n_classes=4)
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    options = {"costs": COSTS[:3], "scoring": scoring, "sample_weight": weight, "cv": cv}
    options["n_thresholds"] = 8
    expected = search_cascades(pool, y, **options)
    chunked = [arrays.from_array(proba, chunks=(700, 3)) for proba in pool]
    assert list(search_cascades(chunked, y, n_jobs=n_jobs, **options)) == list(expected)
    stacked = arrays.stack(chunked)
    assert list(search_cascades(stacked, y, n_jobs=n_jobs, **options)) == list(expected)


def test_dask_pairs_of_confidence_and_label_give_the_same_front(arrays):
    """Check pairs of arrays of one dimension, with a label that y lacks."""
    pool, y, _ = draw_pool(3, 3000, n_classes=4)
    y = np.where(y == 3, 1, y)
    pairs = [(proba.max(axis=1), proba.argmax(axis=1)) for proba in pool]
    chunked = [tuple(arrays.from_array(part, chunks=450) for part in pair) for pair in pairs]
    options = {"costs": COSTS[:3], "combine": "last"}
    assert list(search_cascades(chunked, y, **options)) == list(
        search_cascades(pairs, y, **options)
    )


def test_unknown_chunks_are_refused(arrays):
    """Check that the error names the method that computes them."""
    frames = pytest.importorskip("dask.dataframe", reason=f"dask is {WHERE}")
    pool, y, _ = draw_pool(2, 300, n_classes=3)
    chunked = arrays.from_array(pool[0], chunks=(100, -1))
    unknown = chunked[chunked[:, 0] >= 0]
    with pytest.raises(ValueError, match=r"dask Array whose number of rows.*compute_chunk_sizes"):
        search_cascades([unknown, unknown], y, costs=[1, 2])
    frame = frames.from_dask_array(chunked)
    with pytest.raises(ValueError, match=r"DataFrame whose number of rows.*to_dask_array"):
        search_cascades([frame, frame], y, costs=[1, 2])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return y, and the folder of four models with 48 MB of probabilities each, in two formats."""
    folder, n_rows, n_classes = tmp_path_factory.mktemp("pool"), 60_000, 200
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_rows)
    for model in range(4):
        proba = rng.random((n_rows, n_classes), dtype=np.float32)
        proba[np.arange(n_rows), y] += 10 * 2**model
        proba /= proba.sum(axis=1, keepdims=True)
        np.save(folder / f"{model}.npy", proba)
        (folder / f"{model}").mkdir()
        for part in range(15):
            table = pd.DataFrame(proba[part * 4000 : (part + 1) * 4000], columns=columns_of(proba))
            table.to_parquet(folder / f"{model}" / f"part.{part}.parquet")
    return y, folder


def columns_of(proba):
    """Return the names of the columns of some probabilities."""
    return [f"p_{label}" for label in range(proba.shape[1])]


@pytest.mark.parametrize(("block", "ending"), [("search-maps", ".npy"), ("search-dask", "")])
def test_memory_of_the_guide_blocks_is_bounded(arrays, recorded, block, ending):
    """Check that 192 MB of predictions in files need less than half of that."""
    y, folder = recorded
    paths = [folder / f"{model}{ending}" for model in range(4)]
    given = {"y": y, "costs": COSTS, "paths": paths, "columns": [f"p_{k}" for k in range(200)]}
    tracemalloc.start()
    try:
        found = run_blocks(block, **given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Statistics, row blocks and the arrays of a sweep, about 40 MB for any number of classes; with
    # Dask also two chunks of 3 MB of each model.
    assert peak < 80_000_000
    loaded = [np.load(folder / f"{model}.npy") for model in range(4)]
    assert list(found["front"]) == list(search_cascades(loaded, y, costs=COSTS))


def test_predictions_are_pickled_without_their_chunks(arrays):
    """Check that a Dask array inside of predictions survives pickling, without its chunks."""
    pickle = pytest.importorskip("cloudpickle", reason=f"cloudpickle is {WHERE}")
    pool, y, _ = draw_pool(2, 1000, n_classes=3)
    chunked = [arrays.from_array(proba, chunks=(300, -1)) for proba in pool]
    predictions = check_predictions(chunked, y, names=["a", "b"], costs=np.array([1.0, 2.0]))
    first = predictions.read(1, slice(250, 350))
    copy = pickle.loads(pickle.dumps(predictions))
    np.testing.assert_array_equal(copy.read(1, slice(250, 350)), first)
    np.testing.assert_array_equal(first, pool[1][250:350])
