"""Fit, search and scoring on one worker and on two, of Dask, Ray, Spark and threads; peaks."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import threadpool_limits

from benchmarks.scale_engines import (
    FIT_ENGINES,
    dask_workers,
    not_installed,
    print_load,
    timed,
    watched_memory,
)
from sklearn_cascade import CascadeClassifier, CascadeSearchCV, ComputeReport, search_cascades

N_FEATURES, N_CLASSES, N_MODELS, N_PARTS = 20, 10, 5, 16
COSTS = [1.0, 4.0, 30.0, 90.0]
FEATURES = [f"x{k}" for k in range(N_FEATURES)]
# Rows of a part that is scored, and of a chunk of predictions.
CHUNK_ROWS = 20_000


def run(*, quick=False):
    """Print a table for each job: seconds on one worker and on two, their ratio, peaks."""
    print_load("start", quick)
    folder = Path(tempfile.mkdtemp())
    try:
        with threadpool_limits(1):
            fit(quick)
            score(folder, quick)
            search(folder, quick)
    finally:
        shutil.rmtree(folder)
    print_load("end", quick)


def fit(quick):
    """Time the fit of a search on every engine."""
    n_rows = 400 if quick else 10_000
    X, y = make_rows(n_rows)
    members = members_of(5 if quick else 40)
    search = CascadeSearchCV(members, costs=COSTS, cv=3 if quick else 5)
    print(f"Fit of CascadeSearchCV: {len(members)} members, {n_rows:,} rows, {search.cv} folds\n")
    print_header("same front")
    seconds, alone = timed(lambda: search.set_params(n_jobs=1).fit(X, y).front_)
    print_row("this process", [seconds], None, "")
    for engine, opened in FIT_ENGINES.items():
        if missing := not_installed(engine):
            print(f"| {engine} | {missing} | | | | |")
            continue
        found = []
        for n_workers in (1, 2):
            with opened(n_workers) as (options, peak), joblib.parallel_config(**options):
                # Workers that have imported what they need.
                search.set_params(n_jobs=n_workers).fit(X[:400], y[:400])
                found.append((*timed(lambda: search.fit(X, y).front_), peak()))
        times, fronts, peaks = zip(*found, strict=True)
        same = all(list(front) == list(alone) for front in fronts)
        print_row(f"joblib on {engine}", times, peaks[-1], "yes" if same else "NO")
    print(
        f"\nOne job of loky or Ray runs in this process. Once to each worker and pass: rows and "
        f"labels, {X.nbytes + y.nbytes:,} B. Back: held-out probabilities, "
        f"{len(members) * n_rows * N_CLASSES * 8:,} B, and members, "
        f"{sum(len(pickle.dumps(e)) for e in search.estimators_):,} B. The search alone takes "
        f"{timed(lambda: search_again(search, X, y))[0]:.1f} s here.\n"
    )


def score(folder, quick):
    """Time answers and report of a table in files, part by part."""
    n_rows = 1600 if quick else 16 * CHUNK_ROWS
    X, y = make_rows(n_rows)
    table = pd.DataFrame(X, columns=FEATURES).assign(y=y)
    for place, part in enumerate(np.array_split(np.arange(n_rows), N_PARTS)):
        (folder / "table").mkdir(exist_ok=True)
        table.iloc[part].to_parquet(folder / "table" / f"part.{place:03}.parquet")
    cascade = CascadeClassifier(members_of(5 if quick else 40), thresholds=0.6, costs=COSTS)
    cascade.fit(table[FEATURES][:1600], y[:1600])
    whole = cascade.compute_report(table[FEATURES], y, compare=False).to_dict()
    print(f"Scoring: {n_rows:,} rows of {N_FEATURES} features in {N_PARTS} parts\n")
    print_header("same report")
    seconds, reports = timed(lambda: [report_file(p, cascade) for p in files_of(folder)])
    print_row("this process", [seconds], None, same_report(reports, whole))
    for engine, scored in {"dask": score_on_dask, "pyspark": score_on_spark}.items():
        if missing := not_installed(engine):
            print(f"| {engine} | {missing} | | | | |")
            continue
        found = [scored(folder, cascade, n_workers) for n_workers in (1, 2)]
        times, reports, peaks = zip(*found, strict=True)
        print_row(engine, times, peaks[-1], same_report(reports[-1], whole))
    sizes = [len(pickle.dumps(each)) for each in (cascade, reports[-1][0])]
    merging, _ = timed(lambda: ComputeReport.merge(*reports[-1][:1] * 1000))
    print(
        f"\nThe cascade travels as {sizes[0]:,} B, a report as {sizes[1]:,} B, a row as "
        f"{8 * N_FEATURES} B, its answer as {8 * (N_CLASSES + 3)} B. A thousand reports are merged "
        f"in {merging:.3f} s. Mean cost {whole['mean_cost']:.1f} of {whole['worst_cost']:.0f}.\n"
    )


def search(folder, quick):
    """Time the search of recorded predictions in memory, as memory maps and as Dask arrays."""
    n_rows = 2000 if quick else 10 * CHUNK_ROWS
    write_pool(folder, n_rows)
    size = N_MODELS * n_rows * 10 * N_CLASSES * 4
    print(
        f"Search of {N_MODELS} models, {n_rows:,} rows, {10 * N_CLASSES} classes: "
        f"{size / 1e6:,.0f} MB of predictions; the peak is of memory that is no file's\n"
    )
    print_header("same front")
    expected = None
    for kind in ("in memory", "memory maps", "dask arrays"):
        if kind.startswith("dask") and (missing := not_installed("dask")):
            print(f"| {kind} | {missing} | | | | |")
            continue
        found = []
        for n_jobs in (1, 2):
            # Of its own, as a peak never goes down.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
                job = workers.submit(search_files, str(folder), kind, n_jobs)
                found.append(job.result())
        times, fronts, peaks = zip(*found, strict=True)
        expected = expected or fronts[0]
        same = all(front == expected for front in fronts)
        print_row(f"{kind}, threads", times, max(peaks), "yes" if same else "NO")
    print()


def search_again(fitted, X, y):
    """Search what the members say of their own rows, with as many folds for honest scores."""
    proba = [member.predict_proba(X) for member in fitted.estimators_]
    return search_cascades(proba, y, costs=COSTS, cv=fitted.n_splits_)


# What runs on an engine.


def answer(part, cascade):
    """Return answers of one part of a table, and what they took."""
    found = cascade.predict_details(part[FEATURES])
    columns = [f"p_{label}" for label in cascade.classes_]
    answered = pd.DataFrame(found.proba, columns=columns, index=part.index)
    return answered.assign(label=found.label, exit_stage=found.exit_stage, cost=found.cost)


def report_file(path, cascade):
    """Return the report of one file of a table, once it is also scored."""
    part = pd.read_parquet(path)
    answer(part, cascade)
    return cascade.compute_report(part[FEATURES], part["y"], compare=False)


def score_on_dask(folder, cascade, n_workers):
    """Return seconds, reports of parts and the largest peak of a worker."""
    import dask

    with dask_workers(n_workers) as (_, peak):
        model = dask.delayed(cascade)

        def report_all():
            # New tasks each time, as Dask knows those again that it still holds.
            return dask.compute(*[dask.delayed(report_file)(p, model) for p in files_of(folder)])

        # Once for every worker to have imported what it needs.
        report_all()
        seconds, reports = timed(report_all)
        if n_workers > 1:
            empty, _ = timed(lambda: dask.compute([dask.delayed(abs)(k) for k in range(1000)]))
            print(f"| a thousand empty tasks | | {empty:.2f} s | | | |")
        return seconds, reports, peak()


def score_on_spark(folder, cascade, n_workers):
    """Return seconds, reports of batches and no peak, as the virtual machine takes what it may."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    features = FEATURES
    spark = (
        SparkSession.builder.master(f"local[{n_workers}]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        # One task per file, as the others have.
        .config("spark.sql.files.openCostInBytes", str(2**30))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    model = spark.sparkContext.broadcast(cascade)

    # Inside, so that it travels by value.
    def report_parts(parts):
        for part in parts:
            model.value.predict_details(part[features])
            report = model.value.compute_report(part[features], part["y"], compare=False)
            yield pd.DataFrame({"report": [pickle.dumps(report)]})

    try:
        table = spark.read.parquet(str(folder / "table"))
        reports = table.mapInPandas(report_parts, "report binary")
        reports.collect()
        seconds, rows = timed(reports.collect)
        return seconds, [pickle.loads(row.report) for row in rows], None
    finally:
        spark.stop()


def search_files(folder, kind, n_jobs):
    """Return seconds, front and by how much the memory of this process grew at most."""
    folder, options = (
        Path(folder),
        {"costs": np.arange(1.0, 1 + N_MODELS), "cv": None, "max_stages": 3},
    )
    y = np.load(folder / "y.npy")
    read = partial(np.load, mmap_mode="r")
    if kind == "dask arrays":
        import dask
        import dask.array as da

        starts = range(0, len(y), CHUNK_ROWS)

        def chunk(path, start):
            return np.array(read(path)[start : start + CHUNK_ROWS])

        def array(path):
            n_classes = read(path).shape[1]
            sizes = [min(CHUNK_ROWS, len(y) - start) for start in starts]
            parts = [
                da.from_delayed(dask.delayed(chunk)(path, start), (size, n_classes), "f4")
                for start, size in zip(starts, sizes, strict=True)
            ]
            return da.concatenate(parts)
    else:
        array = np.load if kind == "in memory" else read
    with threadpool_limits(1), watched_memory() as growth:
        start = perf_counter()
        pool = [array(folder / f"{model}.npy") for model in range(N_MODELS)]
        front = search_cascades(pool, y, n_jobs=n_jobs, **options)
        seconds = perf_counter() - start
    return seconds, list(front), max(growth)


# Data and tables.


def make_rows(n_rows):
    """Return seeded rows of ten classes, and their labels."""
    return make_classification(
        n_rows,
        N_FEATURES,
        n_informative=12,
        n_classes=N_CLASSES,
        flip_y=0.02,
        class_sep=2.0,
        random_state=0,
    )


def members_of(n_trees):
    """Return members from cheap to dear, of one thread each."""
    return [
        ("bayes", GaussianNB()),
        ("linear", LogisticRegression(max_iter=200)),
        ("trees", ExtraTreesClassifier(n_trees, max_depth=12, random_state=0)),
        ("boosting", HistGradientBoostingClassifier(max_iter=n_trees, early_stopping=False)),
    ]


def write_pool(folder, n_rows):
    """Write float32 probabilities of each model, piece by piece, and the labels."""
    rng, n_classes = np.random.default_rng(0), 10 * N_CLASSES
    y = rng.integers(n_classes, size=n_rows)
    np.save(folder / "y.npy", y)
    create = partial(np.lib.format.open_memmap, mode="w+", dtype="f4", shape=(n_rows, n_classes))
    for model in range(N_MODELS):
        written = create(folder / f"{model}.npy")
        for start in range(0, n_rows, CHUNK_ROWS):
            truth = y[start : start + CHUNK_ROWS]
            proba = rng.standard_normal((len(truth), n_classes), dtype=np.float32)
            proba[np.arange(len(truth)), truth] += 2 + model / 2
            np.exp(proba, out=proba)
            written[start : start + CHUNK_ROWS] = proba / proba.sum(axis=1, keepdims=True)
        written.flush()


def files_of(folder):
    """Return the files of the table."""
    return sorted((folder / "table").glob("*.parquet"))


def same_report(reports, whole):
    """Tell whether the merged report has the very figures of the one of all rows at once."""
    first, *others = reports
    merged = ComputeReport.merge(first, *others).to_dict()
    return "yes" if json.dumps(merged) == json.dumps(whole) else "NO"


def print_header(last):
    """Print the head of a table."""
    print(f"| engine | 1 worker | 2 workers | ratio | peak | {last} |")
    print("|---|---|---|---|---|---|")


def print_row(name, times, peak, last):
    """Print one line of a table."""
    two = f"{times[1]:.1f} s | {times[0] / times[1]:.2f}x" if len(times) > 1 else "|"
    peak = "" if peak is None else f"{peak / 1e6:,.0f} MB"
    print(f"| {name} | {times[0]:.1f} s | {two} | {peak} | {last} |", flush=True)
