"""Tests of the state of a drift watch: merging, and travelling."""

from __future__ import annotations

import json
import pickle

import numpy as np

from sklearn_cascade import CascadePrediction, ExitMonitor
from tests.inspection.monitor_data import (
    assert_same_figures,
    counted,
    draw,
    watch,
)


def test_order_of_rows_and_batches_does_not_matter():
    """Check that the evidence depends on the rows alone, and calls change no argument."""
    rng = np.random.default_rng(1)
    served = draw(rng, 300)
    kept = CascadePrediction(*(part.copy() for part in served))
    together, apart = watch().update(served), watch()
    for part in np.split(rng.permutation(300), [1, 40, 41, 200]):
        apart.update(CascadePrediction(*(values[part] for values in served)))
    assert_same_figures(together, apart)
    for before, after in zip(kept, served, strict=True):
        np.testing.assert_array_equal(before, after)


def test_merge_adds_up_windows():
    """Check that each window left behind by a worker raises the limit of all together."""
    first, second = (watch(counted(600, 300, 100), window=10) for _ in range(2))
    for monitor, n_batches in ((first, 3), (second, 4)):
        for _ in range(n_batches):
            monitor.update(counted(6, 3, 1))
    summary = first.merge(second).summary()
    # Its own third window was full and is over; the fourth of the other one is not.
    assert (summary["n_windows"], summary["n_window"]) == (6, 10)
    assert (summary["n_samples"], summary["n_batches"]) == (70, 7)


def test_state_travels_as_json_and_as_pickle():
    """Check that a monitor goes on after JSON, and after pickle, as if nothing had happened."""
    rng = np.random.default_rng(2)
    monitor = watch(alpha=0.05).update(draw(rng, 100))
    text = json.dumps(monitor.to_dict(), allow_nan=False)
    more = draw(rng, 250, [0.5, 0.3, 0.2])
    expected = monitor.update(more).summary()
    for copy in (ExitMonitor.from_dict(json.loads(text)), pickle.loads(pickle.dumps(monitor))):
        if copy.n_samples == 100:
            copy.update(more)
        assert copy.summary() == expected
        assert copy.drifted == monitor.drifted


def test_alarm_survives_the_journey():
    """Check that an alarm whose evidence has passed is still one after JSON."""
    monitor = watch(counted(600, 300, 100)).update(counted(0, 300, 100))
    monitor.update(counted(60_000, 30_000, 10_000))
    state = json.loads(json.dumps(monitor.to_dict()))
    assert ExitMonitor.from_dict(state).drifted
    assert not ExitMonitor.from_dict(state).reset().drifted


def test_state_does_not_grow():
    """Check that the state holds as many numbers after many rows as after few."""
    rng = np.random.default_rng(3)
    monitor = watch(draw(rng, 50_000))

    def count(value):
        if isinstance(value, dict):
            return sum(map(count, value.values()))
        return sum(map(count, value)) if isinstance(value, (list, tuple)) else 1

    before = count(monitor.to_dict())
    for _ in range(20):
        monitor.update(draw(rng, 1000))
    assert count(monitor.to_dict()) == before < 50
    # Digits grow with the logarithm of the rows; arrays of rows would not fit.
    assert len(pickle.dumps(monitor)) < 2000


def test_merge_equals_one_watch():
    """Check that workers together know what one alone would know."""
    rng = np.random.default_rng(4)
    batches = [draw(rng, size) for size in (10, 200, 35, 1, 80)]
    one, first, second = watch(), watch(), watch()
    for batch in batches:
        one.update(batch)
    for batch in batches[:2]:
        first.update(batch)
    for batch in batches[2:]:
        second.update(batch)
    kept = second.summary()
    assert first.merge(second) is first
    assert_same_figures(first, one)
    assert first.summary()["n_batches"] == one.summary()["n_batches"] == 5
    assert first.to_dict()["n_windows"] == 0
    assert second.summary() == kept


def test_merge_finds_what_no_worker_finds_alone_and_takes_no_alarm_over():
    """Check that evidence adds up over workers, and that healthy rows outweigh one alarm."""
    rng = np.random.default_rng(5)
    reference = draw(rng, 5000)
    workers = [watch(reference).update(draw(rng, 500, [0.64, 0.2, 0.16])) for _ in range(4)]
    total = watch(reference)
    alone = [worker.drifted for worker in workers]
    for worker in workers:
        total.merge(worker)
    assert not any(alone)
    assert total.drifted
    alarmed = watch(counted(600, 300, 100)).update(counted(0, 30, 10))
    healthy = watch(counted(600, 300, 100)).update(counted(1800, 900, 300))
    assert alarmed.drifted
    assert not healthy.merge(alarmed).drifted
