"""Search of memory maps and Dask arrays against predictions in memory: seconds and peaks."""

from __future__ import annotations

import importlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.scale_engines import not_installed, sampled_memory
from benchmarks.scale_tables import print_header, print_row
from sklearn_cascade import search_cascades

N_MODELS, N_CLASSES, CHUNK_ROWS, N_CHUNKS = 5, 100, 20_000, 10


def run(folder, *, quick=False):
    """Time the search of recorded predictions in memory, as memory maps and as Dask arrays."""
    n_rows = 2000 if quick else N_CHUNKS * CHUNK_ROWS
    write_pool(folder, n_rows)
    size = N_MODELS * n_rows * N_CLASSES * 4
    print(
        f"Search of {N_MODELS} models, {n_rows:,} rows, {N_CLASSES} classes: "
        f"{size / 1e6:,.0f} MB of predictions; the peak is of memory that is no file's\n"
    )
    print_header("same front")
    expected = None
    for kind in READERS:
        if kind.startswith("dask") and (missing := not_installed("dask")):
            print(f"| {kind} | {missing} | | | | |")
            continue
        # Sampling the memory takes time, so the peak has a run of its own.
        runs = [in_new_process(search_files, folder, kind, n_jobs) for n_jobs in (1, 2)]
        peak, front = in_new_process(peak_of_search, folder, kind, 2)
        times, fronts = zip(*runs, strict=True)
        expected = expected or fronts[0]
        same = all(found == expected for found in (*fronts, front))
        print_row(f"{kind}, threads", times, peak, "yes" if same else "NO")
    print()


def in_new_process(job, folder, kind, n_jobs):
    """Run a job in a new process, since the memory of a process never shrinks."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        return workers.submit(job, str(folder), kind, n_jobs).result()


def search_files(folder, kind, n_jobs):
    """Return seconds and front of a search, after an untimed one for the imports."""
    search = make_search(folder, kind, n_jobs)
    search(slice(0, 2000))
    start = perf_counter()
    front = search(slice(None))
    return perf_counter() - start, list(front)


def peak_of_search(folder, kind, n_jobs):
    """Return the largest growth of this process's memory, and the front."""
    search = make_search(folder, kind, n_jobs)
    search(slice(0, 2000))
    with sampled_memory() as growth:
        front = search(slice(None))
    return max(growth), list(front)


def make_search(folder, kind, n_jobs):
    """Return a function that searches some rows of the files."""
    y = np.load(Path(folder) / "y.npy")
    options = {"costs": np.arange(1.0, 1 + N_MODELS), "cv": None, "max_stages": 3}
    if kind == "dask arrays":
        # As many threads for chunks as for the search.
        importlib.import_module("dask").config.set(num_workers=n_jobs)

    def search(rows):
        with threadpool_limits(1):
            pool = [READERS[kind](Path(folder) / f"{model}.npy") for model in range(N_MODELS)]
            return search_cascades([p[rows] for p in pool], y[rows], n_jobs=n_jobs, **options)

    return search


def dask_array(path):
    """Return a file as an array whose chunks are read when they are computed."""
    import dask
    import dask.array as da

    n_rows, n_classes = np.load(path, mmap_mode="r").shape
    parts = [
        da.from_delayed(
            dask.delayed(read_chunk)(path, start),
            (min(CHUNK_ROWS, n_rows - start), n_classes),
            np.float32,
        )
        for start in range(0, n_rows, CHUNK_ROWS)
    ]
    return da.concatenate(parts)


def read_chunk(path, start):
    """Return some rows of a file."""
    return np.array(np.load(path, mmap_mode="r")[start : start + CHUNK_ROWS])


READERS = {
    "in memory": np.load,
    "memory maps": partial(np.load, mmap_mode="r"),
    "dask arrays": dask_array,
}


def write_pool(folder, n_rows):
    """Write float32 probabilities of each model, chunk by chunk, and the labels."""
    rng, shape = np.random.default_rng(0), (n_rows, N_CLASSES)
    y = rng.integers(N_CLASSES, size=n_rows)
    np.save(folder / "y.npy", y)
    for model in range(N_MODELS):
        path = folder / f"{model}.npy"
        written = np.lib.format.open_memmap(path, mode="w+", dtype="f4", shape=shape)
        for start in range(0, n_rows, CHUNK_ROWS):
            truth = y[start : start + CHUNK_ROWS]
            proba = rng.standard_normal((len(truth), N_CLASSES), dtype=np.float32)
            proba[np.arange(len(truth)), truth] += 2 + model / 2
            np.exp(proba, out=proba)
            written[start : start + CHUNK_ROWS] = proba / proba.sum(axis=1, keepdims=True)
        written.flush()
