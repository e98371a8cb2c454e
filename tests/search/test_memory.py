"""Tests of the resources of a search: bounded memory, and threads that change nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sklearn_cascade import search_cascades
from sklearn_cascade.core._combination import COMBINATIONS
from sklearn_cascade.search._candidates import sort_candidates
from sklearn_cascade.search._exhaustive import (
    Settings,
    enumerate_candidates,
    evaluate_candidates,
    make_batches,
)
from sklearn_cascade.search._predictions import check_predictions, subset_rows
from sklearn_cascade.search._strategy import Progress
from tests.search.pools import draw_pool


def search_within(predictions, max_bytes, rows=(None,), scoring="accuracy", n_thresholds=16):
    """Search within a bound; return number and kind of the batches, and the points found."""
    settings = Settings(
        combinations=COMBINATIONS,
        max_stages=4,
        order="cost",
        confidence="max_proba",
        n_thresholds=n_thresholds,
        scoring=scoring,
        max_worst_cost=None,
        n_jobs=1,
        max_bytes=max_bytes,
    )
    candidates = sort_candidates(predictions, enumerate_candidates(predictions, settings))
    subsets = [subset_rows(predictions, scoring, part) for part in rows]
    batches = make_batches(predictions, settings, candidates, subsets)
    found = evaluate_candidates(predictions, settings, rows=rows, progress=Progress(0)).found
    points = [
        sorted({(round(s, 9), round(c, 9)) for s, c in zip(part.score, part.cost, strict=True)})
        for part in found
    ]
    return (len(batches), batches[0].at_once), points


def tied_predictions(n_samples=3000):
    """Return predictions of few distinct confidences, all of them in every grid of thresholds."""
    pool, y, costs = draw_pool(5, n_samples, n_classes=2)
    pool = [np.round(proba * 4) / 4 for proba in pool]
    return check_predictions(pool, y, names=list("abcde"), costs=costs)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_brier_score", "balanced_accuracy"])
def test_a_bound_changes_what_is_held_and_not_what_is_found(scoring):
    """Check batches of candidates, and blocks of rows, against all at once; all rows and some."""
    predictions = tied_predictions()
    subsets = (None, np.arange(0, 3000, 3))
    unbounded, expected = search_within(predictions, 100_000_000, subsets, scoring)
    bounded, found = search_within(predictions, 100_000, subsets, scoring)
    assert unbounded == (1, True)
    assert bounded[0] > 1
    assert not bounded[1]
    assert found == expected


def test_candidates_are_searched_in_batches_where_their_statistics_do_not_fit():
    """Check that several batches, each at once, find the same."""
    predictions = tied_predictions(n_samples=500)
    expected = search_within(predictions, 100_000_000, n_thresholds=64)[1]
    batches, found = search_within(predictions, 60_000, n_thresholds=64)
    assert batches[0] > 1
    assert batches[1]
    assert found == expected


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("max_bytes", [20_000_000, 2_000_000])
def test_peak_memory_follows_the_bound(max_bytes, n_jobs):
    """Check that nothing is held beyond the bound but a sweep's own arrays."""
    pool, y, costs = draw_pool(8, 20_000, n_classes=4)
    predictions = check_predictions(pool, y, names=list("abcdefgh"), costs=costs)
    settings = Settings(
        ("mean", "last"), 4, "cost", "max_proba", 16, "neg_log_loss", None, n_jobs, max_bytes
    )
    candidates = enumerate_candidates(predictions, settings)
    tracemalloc.start()
    try:
        evaluate_candidates(predictions, settings, candidates=candidates, progress=Progress(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Unbounded, the statistics of the 162 sets alone take 33 MB; blocks of probabilities, the
    # arrays of a sweep and the points found take about 10 MB for each thread.
    assert peak < max_bytes + n_jobs * 12_000_000


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test_threads_change_nothing(scoring):
    """Check that rows and thresholds are the same for any number of threads."""
    for seed in range(3):
        pool, y, costs = draw_pool(5, 2000, n_classes=4, seed=seed)
        one, two, three = (
            list(search_cascades(pool, y, costs=costs, scoring=scoring, cv=None, n_jobs=n))
            for n in (1, 2, 3)
        )
        assert one == two == three
