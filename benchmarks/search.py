"""Speed and memory of a search, against plain evaluation and other searches; large pools."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import baselines
from benchmarks.tables import print_header, print_line
from sklearn_cascade import search_cascades
from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.core._thresholds import exit_stages
from sklearn_cascade.search._candidates import sort_candidates
from sklearn_cascade.search._exhaustive import (
    Settings,
    ThresholdCounts,
    collect_for,
    enumerate_candidates,
    sweep_candidates,
)
from sklearn_cascade.search._predictions import check_predictions, subset_rows

COSTS = np.array([1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0])


def run(*, quick=False):
    """Print the figures, each with its bound; on one thread unless the figure names two jobs."""
    _print_load("start")
    print_header(["figure", "measured", "compared with", "ratio", "bound"])
    n_thresholds = 6 if quick else 64
    rows = 300 if quick else 50_000
    with threadpool_limits(1):
        large_pool(20 if quick else 500, rows)
        pool = synthetic_pool(8, rows, 5 if quick else 100)
        sweep(*pool, n_thresholds, n_vectors=10 if quick else 200)
        end_to_end(*pool, n_thresholds)
        memory(*pool, n_thresholds)
        any_order(*pool, n_thresholds)
        del pool
        against_exhaustive(2 if quick else 10, 400 if quick else 20_000, n_thresholds)
        pool = synthetic_pool(8, rows, 10 if quick else 1000)
        many_classes(*pool, n_thresholds)
    print()
    baselines.run(quick=quick)
    _print_load("end")


def synthetic_pool(n_models, n_rows, n_classes, seed=0):
    """Return seeded probabilities of models that are better the more they cost, and the labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    ease = rng.normal(size=n_rows).astype(np.float32)
    skills = np.sort(rng.uniform(0.5, 2.5, n_models)) + 0.7 * np.log(n_classes)
    return [_probabilities(rng, y, ease, skill, n_classes) for skill in skills], y


def _probabilities(rng, y, ease, skill, n_classes):
    """Return float32 probabilities of one model."""
    proba = rng.standard_normal((len(y), n_classes), dtype=np.float32)
    proba[np.arange(len(y)), y] += skill + ease
    proba -= proba.max(axis=1, keepdims=True)
    np.exp(proba, out=proba)
    proba /= proba.sum(axis=1, keepdims=True)
    return proba


def sweep(proba, y, n_thresholds, n_vectors):
    """Time the steps of the sweep, and compare it with a plain evaluation of some vectors."""
    names = [f"m{k}" for k in range(len(proba))]
    predictions = check_predictions(proba, y, names=names, costs=COSTS[: len(proba)])
    settings = Settings(
        ("mean", "last"),
        4,
        "cost",
        "max_proba",
        n_thresholds,
        "accuracy",
        max_worst_cost=None,
        n_jobs=1,
    )
    candidates = sort_candidates(predictions, enumerate_candidates(predictions, settings))
    start = perf_counter()
    statistics = collect_for(predictions, settings, candidates)
    counts = ThresholdCounts(statistics, subset_rows(predictions, settings.scoring))
    collected = perf_counter()
    levels = [
        (key, settings.n_levels(candidate))
        for candidate in candidates
        for key in candidate.gate_keys
    ]
    counts.count(levels, 1)
    cut = perf_counter()
    _, n_vectors_swept = sweep_candidates(
        counts, candidates, range(len(candidates)), settings.n_levels, 1, lambda: None
    )
    swept = perf_counter()
    rate = n_vectors_swept / (swept - cut)
    size = f"8 models, {len(y):,} rows, {proba[0].shape[1]} classes"
    _print(f"{size}: statistics of all sets", f"{collected - start:.2f} s")
    _print("thresholds chosen and applied", f"{cut - collected:.2f} s")
    _print(
        f"sweep of {n_vectors_swept:,} vectors in {len(candidates)} candidates",
        f"{swept - cut:.2f} s",
        f"{rate / 1e6:.1f} million vectors per second",
        bound=">= 10 million per second",
    )
    plain = plain_evaluation(statistics, counts, candidates, settings, n_vectors)
    _print(
        f"plain evaluation of {n_vectors} vectors, results equal to 1e-12",
        f"{1e3 * plain:.3f} ms per vector",
        f"{1e6 / rate:.4f} µs per vector",
        f"{plain * rate:,.0f}x",
        ">= 5,000x",
    )


def plain_evaluation(statistics, counts, candidates, settings, n_vectors):
    """Return the median seconds of one vector by itself; raise if results differ."""
    rng, seconds = np.random.default_rng(0), []
    longest = [
        candidate for candidate in candidates if candidate.exits and len(candidate.members) == 4
    ]
    for _ in range(n_vectors):
        candidate = longest[rng.integers(len(longest))]
        n_levels = settings.n_levels(candidate)
        grids = counts.thresholds(candidate, n_levels)
        index = tuple(int(rng.integers(len(grid))) for grid in grids)
        thresholds = [float(grid[j]) for grid, j in zip(grids, index, strict=True)]
        confidence = [
            statistics.confidence[statistics.position[key]] for key in candidate.gate_keys
        ]
        value = np.array(
            [statistics.sample_score[statistics.position[key]] for key in candidate.output_keys]
        )
        start = perf_counter()
        stage = exit_stages(confidence, thresholds)
        score = value[stage, np.arange(len(stage))].mean()
        cost = cumulative_costs(candidate.costs)[stage].mean()
        seconds.append(perf_counter() - start)
        swept = counts.sweep(candidate, n_levels)
        # A stage with one threshold has no axis.
        cell = tuple(j for j, grid in zip(index, grids, strict=True) if len(grid) > 1)
        assert abs(swept.score[cell] - score) <= 1e-12
        assert abs(swept.cost[cell] - cost) <= 1e-12 * candidate.worst_cost
    return float(np.median(seconds))


def end_to_end(proba, y, n_thresholds):
    """Time a search of the same pool from end to end."""
    seconds, front = _search(proba, y, n_thresholds)
    _print("search_cascades, both combinations", f"{seconds:.1f} s", f"{front.n_evaluated:,}")
    cross_fitted, _ = _search(proba, y, n_thresholds, cv=5)
    ratio = f"{cross_fitted / seconds:.1f}x"
    _print(
        "the same with cross-fitted scores, cv=5",
        f"{cross_fitted:.1f} s",
        f"{seconds:.1f} s",
        ratio,
    )


def memory(proba, y, n_thresholds):
    """Measure the memory of the same search beyond its inputs."""
    tracemalloc.start()
    try:
        _search(proba, y, n_thresholds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    _print("its peak memory beyond the inputs", f"{peak / 1e6:.0f} MB", bound="<= 500 MB")


def any_order(proba, y, n_thresholds):
    """Time the search over every order."""
    seconds, front = _search(proba, y, n_thresholds, order="any", combine="mean")
    figure, vectors = 'order="any", combine="mean"', f"{front.n_evaluated:,} vectors"
    _print(figure, f"{seconds:.1f} s", vectors, bound="< 60 s")
    seconds, front = _search(proba, y, n_thresholds, order="any")
    _print('order="any", both combinations', f"{seconds:.1f} s", f"{front.n_evaluated:,} vectors")


def many_classes(proba, y, n_thresholds):
    """Time the search with many classes on one thread and on two."""
    one, _ = _search(proba, y, n_thresholds)
    figure = f"{proba[0].shape[1]:,} classes, both combinations"
    _print(figure, f"{one:.1f} s", bound="< 12 s")
    two, _ = _search(proba, y, n_thresholds, n_jobs=2)
    _print("the same, n_jobs=2", f"{two:.1f} s", f"{one:.1f} s", f"{one / two:.2f}x", ">= 1.6x")


def large_pool(n_models, n_rows):
    """Measure time and memory of the greedy search of many models on memory maps."""
    with tempfile.TemporaryDirectory() as folder:
        _write_pairs(Path(folder), n_models, n_rows)
        # In a new process: the peak of this one may be that of another figure.
        with get_context("spawn").Pool(1) as workers:
            seconds, growth = workers.apply(search_memory_maps, (folder,))
    figure = f'greedy, {n_models} models x {n_rows:,} rows, combine="last"'
    _print(figure, f"{seconds:.1f} s", bound="<= 300 s")
    _print("its growth of the resident set, memory maps included", f"{growth / 1e6:.0f} MB", "", "",
           "<= 2,000 MB")  # fmt: skip


def search_memory_maps(folder):
    """Return seconds, and bytes by which the largest resident set grew."""
    read = partial(np.load, mmap_mode="r")
    pair = (read(Path(folder) / f"{name}.npy") for name in ("confidence", "label"))
    y, costs = np.load(Path(folder) / "y.npy"), np.load(Path(folder) / "costs.npy")
    pairs = list(zip(*pair, strict=True))
    with threadpool_limits(1):
        before, start = getrusage(RUSAGE_SELF).ru_maxrss, perf_counter()
        search_cascades(pairs, y, costs=costs, combine="last", method="greedy", cv=None)
        seconds = perf_counter() - start
    # Kilobytes, on Linux.
    return seconds, 1024 * (getrusage(RUSAGE_SELF).ru_maxrss - before)


def _write_pairs(folder, n_models, n_rows):
    """Write confidences and labels of models of very unequal cost and quality."""
    rng = np.random.default_rng(0)
    y, ease = rng.integers(100, size=n_rows), rng.normal(size=n_rows)
    costs = np.sort(np.exp(rng.uniform(0, 5, n_models)))
    create = partial(np.lib.format.open_memmap, mode="w+", shape=(n_models, n_rows))
    confidence = create(folder / "confidence.npy", dtype="f4")
    label = create(folder / "label.npy", dtype="i2")
    for model, cost in enumerate(costs):
        logit = ease + 0.4 * np.log(cost) + rng.normal(0, 0.5) + rng.normal(size=n_rows)
        right = rng.random(n_rows) < 1 / (1 + np.exp(-logit))
        label[model] = np.where(right, y, (y + rng.integers(1, 100, n_rows)) % 100)
        confidence[model] = 1 / (1 + np.exp(-logit - rng.normal(0, 0.5, n_rows)))
    confidence.flush()
    label.flush()
    np.save(folder / "y.npy", y)
    np.save(folder / "costs.npy", costs)


def against_exhaustive(n_pools, n_rows, n_thresholds):
    """Compare greedy with exhaustive on random pools that allow both."""
    ratios, above = [], 0
    for seed in range(n_pools):
        proba, y = synthetic_pool(8 + seed % 3, n_rows, 10, seed)
        costs = np.exp(np.random.default_rng(seed).uniform(0, 4, len(proba)))
        settings = {"costs": costs, "n_thresholds": n_thresholds, "cv": None}
        best = search_cascades(proba, y, method="exhaustive", **settings).select()
        pair = search_cascades(proba, y, method="exhaustive", max_stages=2, **settings).select()
        greedy = search_cascades(proba, y, method="greedy", **settings).select()
        ratios.append(greedy.mean_cost / best.mean_cost)
        above += greedy.mean_cost > pair.mean_cost * (1 + 1e-9)
    close = sum(ratio <= 1.02 for ratio in ratios)
    figure = f"greedy on {n_pools} pools of 8 to 10 models, {n_rows:,} rows: cost of select()"
    listed = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    _print(figure, f"{close} of {n_pools} within 2 %", "exhaustive", listed, ">= 9 of 10")
    _print("greedy above the best pair or single", f"{above} of {n_pools}", bound="0")


def _search(proba, y, n_thresholds, **options):
    """Return seconds and front of a search."""
    start = perf_counter()
    front = search_cascades(
        proba,
        y,
        costs=COSTS[: len(proba)],
        n_thresholds=n_thresholds,
        method="exhaustive",
        **{"cv": None, **options},
    )
    return perf_counter() - start, front


def _print(figure, measured, compared="", ratio="", bound=""):
    """Print one line of the table."""
    print_line([figure, measured, compared, ratio, bound])


def _print_load(when):
    """Print the load of the machine."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"load at the {when}: {load} on {os.cpu_count()} cores\n", flush=True)
