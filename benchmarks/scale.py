"""Fit, search and scoring on two workers against one: seconds and memory, Dask, Ray and Spark."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import threadpool_limits

from benchmarks import scale_search, scale_serving
from benchmarks.scale_engines import (
    FIT_ENGINES,
    dask_workers,
    not_installed,
    print_load,
    timed,
)
from benchmarks.scale_tables import copied, print_header, print_row
from sklearn_cascade import CascadeClassifier, CascadeSearchCV, CostReport, search_cascades

N_FEATURES, N_CLASSES, N_PARTS, PART_ROWS = 20, 10, 16, 20_000
COSTS = [1.0, 4.0, 30.0, 90.0]
FEATURES = [f"x{k}" for k in range(N_FEATURES)]


def add_arguments(command):
    """Add the options that only this benchmark has to its command line."""
    command.add_argument("--out", type=Path, help="folder for the tables, besides the screen")


def run(*, quick=False, out=None):
    """Print a table for each job: seconds on one worker and on two, their ratio, peaks."""
    with copied(out, "scale.md"), threadpool_limits(1), TemporaryDirectory() as folder:
        print_load("start", quick)
        fit(quick)
        score(Path(folder), quick)
        scale_search.run(Path(folder), quick=quick)
        print_load("end", quick)
    absent = [missing for name in scale_serving.SERVER if (missing := not_installed(name))]
    if absent:
        print(f"Serving is left out: {absent[0]}.")
        return
    with copied(out, "scale_serving.md"):
        scale_serving.run(quick=quick)


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
                # Once untimed, so that the workers have their imports.
                search.set_params(n_jobs=n_workers).fit(X[:400], y[:400])
                found.append((*timed(lambda: search.fit(X, y).front_), peak()))
        times, fronts, peaks = zip(*found, strict=True)
        same = all(list(front) == list(alone) for front in fronts)
        print_row(f"joblib on {engine}", times, peaks[-1], "yes" if same else "NO")
    print(
        f"\nOne job of loky or Ray runs in this process. Sent once to each worker: rows and "
        f"labels, {X.nbytes + y.nbytes:,} B. Sent back: held-out probabilities, "
        f"{len(members) * n_rows * N_CLASSES * 8:,} B, and members, "
        f"{sum(len(pickle.dumps(e)) for e in search.estimators_):,} B. The search alone takes "
        f"{timed(lambda: search_again(search, X, y))[0]:.1f} s here.\n"
    )


def score(folder, quick):
    """Time predictions and report of a table in files, part by part."""
    n_rows = 1600 if quick else N_PARTS * PART_ROWS
    X, y = make_rows(n_rows)
    table = pd.DataFrame(X, columns=FEATURES).assign(y=y)
    for number, part in enumerate(np.array_split(np.arange(n_rows), N_PARTS)):
        (folder / "table").mkdir(exist_ok=True)
        table.iloc[part].to_parquet(folder / "table" / f"part.{number:03}.parquet")
    cascade = CascadeClassifier(members_of(5 if quick else 40), thresholds=0.6, costs=COSTS)
    cascade.fit(table[FEATURES][:1600], y[:1600])
    expected = cascade.cost_report(table[FEATURES], y, compare=False).to_dict()
    print(f"Scoring: {n_rows:,} rows of {N_FEATURES} features in {N_PARTS} parts\n")
    print_header("same report")
    seconds, reports = timed(lambda: [report_file(p, cascade) for p in files_of(folder)])
    print_row("this process", [seconds], None, same_report(reports, expected))
    for engine, scored in {"dask": score_on_dask, "pyspark": score_on_spark}.items():
        if missing := not_installed(engine):
            print(f"| {engine} | {missing} | | | | |")
            continue
        found = [scored(folder, cascade, n_workers) for n_workers in (1, 2)]
        times, reports, peaks = zip(*found, strict=True)
        print_row(engine, times, peaks[-1], same_report(reports[-1], expected))
    sizes = [len(pickle.dumps(each)) for each in (cascade, reports[-1][0])]
    merging, _ = timed(lambda: CostReport.merge(*reports[-1][:1] * 1000))
    print(
        f"\nThe cascade is sent as {sizes[0]:,} B, a report as {sizes[1]:,} B, a row as "
        f"{8 * N_FEATURES} B, its prediction as {8 * (N_CLASSES + 3)} B. A thousand reports are "
        f"merged in {merging:.3f} s. Mean cost {expected['mean_cost']:.1f} of "
        f"{expected['worst_cost']:.0f}.\n"
    )


def search_again(fitted, X, y):
    """Search the predictions of the members, with as many folds for cross-fitted scores."""
    proba = [member.predict_proba(X) for member in fitted.estimators_]
    return search_cascades(proba, y, costs=COSTS, cv=fitted.n_splits_)


# What runs on an engine.


def predict(part, cascade):
    """Return predictions, exit stages and costs of one part of a table."""
    found = cascade.predict_details(part[FEATURES])
    columns = [f"p_{label}" for label in cascade.classes_]
    proba = pd.DataFrame(found.proba, columns=columns, index=part.index)
    return proba.assign(label=found.label, exit_stage=found.exit_stage, cost=found.cost)


def report_file(path, cascade):
    """Predict one file of a table, and return its report."""
    part = pd.read_parquet(path)
    predict(part, cascade)
    return cascade.cost_report(part[FEATURES], part["y"], compare=False)


def score_on_dask(folder, cascade, n_workers):
    """Return seconds, reports of parts and the largest peak of a worker."""
    import dask

    with dask_workers(n_workers) as (_, peak):
        model = dask.delayed(cascade)

        def report_all():
            # New tasks each time, since Dask reuses results that it still holds.
            return dask.compute(*[dask.delayed(report_file)(p, model) for p in files_of(folder)])

        report_all()  # untimed, so that the workers have their imports
        seconds, reports = timed(report_all)
        if n_workers > 1:
            empty, _ = timed(lambda: dask.compute([dask.delayed(abs)(k) for k in range(1000)]))
            print(f"| a thousand empty tasks | | {empty:.2f} s | | | |")
        return seconds, reports, peak()


def score_on_spark(folder, cascade, n_workers):
    """Return seconds, reports of batches and no peak: Java uses all the memory that it may."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    features = FEATURES
    spark = (
        SparkSession.builder.master(f"local[{n_workers}]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        # One task per file, as on the other engines.
        .config("spark.sql.files.openCostInBytes", str(2**30))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    model = spark.sparkContext.broadcast(cascade)

    # A local function, so that it is pickled by value.
    def report_parts(parts):
        for part in parts:
            model.value.predict_details(part[features])
            report = model.value.cost_report(part[features], part["y"], compare=False)
            yield pd.DataFrame({"report": [pickle.dumps(report)]})

    try:
        table = spark.read.parquet(str(folder / "table"))
        reports = table.mapInPandas(report_parts, "report binary")
        reports.collect()
        seconds, rows = timed(reports.collect)
        return seconds, [pickle.loads(row.report) for row in rows], None
    finally:
        spark.stop()


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
    """Return members from cheap to expensive, of one thread each."""
    return [
        ("bayes", GaussianNB()),
        ("linear", LogisticRegression(max_iter=200)),
        ("trees", ExtraTreesClassifier(n_trees, max_depth=12, random_state=0)),
        ("boosting", HistGradientBoostingClassifier(max_iter=n_trees, early_stopping=False)),
    ]


def files_of(folder):
    """Return the files of the table."""
    return sorted((folder / "table").glob("*.parquet"))


def same_report(reports, expected):
    """Return whether the merged report has the same figures as the one of all rows at once."""
    first, *others = reports
    merged = CostReport.merge(first, *others).to_dict()
    return "yes" if json.dumps(merged) == json.dumps(expected) else "NO"
