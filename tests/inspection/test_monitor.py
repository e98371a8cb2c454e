"""Tests of the drift watch: how seldom it errs, and how soon it sees."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from tests.inspection.monitor_data import (
    NAMES,
    SHARES,
    counted,
    draw,
    rows,
    watch,
)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("n_calibration", [1, 7, 40])
def test_evidence_about_shares_is_fair_by_enumeration(n_calibration, share):
    """Check, over every outcome, that evidence is at most 1 on average if shares are equal."""
    n_served, mean = 12, 0.0
    for then in range(n_calibration + 1):
        monitor = watch(counted(n_calibration - then, then), NAMES[:2])
        for now in range(n_served + 1):
            summary = monitor.reset().update(counted(n_served - now, now)).summary()
            probability = binom.pmf(then, n_calibration, share) * binom.pmf(now, n_served, share)
            mean += probability * summary["stages"][1]["evidence"]
    # Up to the rounding of the logarithms.
    assert 0 < mean <= 1 + 1e-9


@pytest.mark.parametrize("n_calibration", [3, 60])
def test_evidence_about_confidence_is_fair_by_enumeration(n_calibration):
    """Check the interval of the mean, and that evidence is at most 1 on average within it."""
    alpha, n_served, values = 0.2, 15, np.array([0.5, 1.0])
    shares = np.linspace(0.01, 0.99, 25)
    missed = np.zeros(len(shares))
    for then in range(n_calibration + 1):
        confidence = np.repeat(values, [n_calibration - then, then])
        monitor = watch(rows(np.zeros(n_calibration, int), confidence), ["only"], alpha=alpha)
        known = monitor.summary()["confidence"]
        assert known["low"] <= known["then"] <= known["high"]
        means = values[0] + shares * (values[1] - values[0])
        outside = (means < known["low"]) | (means > known["high"])
        missed += outside * binom.pmf(then, n_calibration, shares)
        fair = np.zeros(len(shares))
        for now in range(n_served + 1):
            served = rows(np.zeros(n_served, int), np.repeat(values, [n_served - now, now]))
            evidence = monitor.reset().update(served).summary()["confidence"]["evidence"]
            fair += evidence * binom.pmf(now, n_served, shares)
        assert np.all(fair[~outside] <= 1 + 1e-9)
    assert np.all(missed <= alpha / 2)


@pytest.mark.parametrize(
    ("n_calibration", "shares"),
    [(10, SHARES), (100, [0.5, 0.5]), (1000, SHARES), (20_000, [0.98, 0.01, 0.01])],
)
def test_rows_alike_seldom_raise_an_alarm_however_often_one_looks(n_calibration, shares):
    """Check the share of false alarms among streams that are looked at after each batch."""
    alpha, n_streams, alarms = 0.2, 100, 0
    for seed in range(n_streams):
        rng = np.random.default_rng(seed)
        reference = draw(rng, n_calibration, shares)
        monitor = watch(reference, NAMES[: len(shares)], alpha=alpha, window=500)
        for size in rng.integers(1, 120, 40):
            monitor.update(draw(rng, size, shares))
        alarms += monitor.drifted
    # Three standard errors of a share of 0.2 among 100 streams.
    assert alarms / n_streams <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / n_streams)


@pytest.mark.parametrize(
    ("change", "n_samples"),
    [
        ({"shares": [0.65, 0.2, 0.15]}, 5000),
        ({"a": 7.5, "b": 2.5}, 1000),
        ({"a": 8.5, "b": 1.5}, 1000),
        ({"shares": [0.4, 0.2, 0.4]}, 200),
    ],
    ids=["five points", "less confident", "more confident", "thirty points"],
)
def test_drift_is_found_within_some_rows(change, n_samples):
    """Check, for 20 streams against 5,000 calibration rows, that each alarm comes in time."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        monitor = watch(draw(rng, 5000))
        while not monitor.drifted and monitor.n_samples < n_samples:
            monitor.update(draw(rng, 100, **change))
        assert monitor.drifted, f"seed {seed}"


def test_late_drift_is_found_in_the_next_window_at_the_latest():
    """Check that a million healthy rows do not hide a drift for longer than two windows."""
    rng = np.random.default_rng(0)
    monitor = watch(draw(rng, 5000), window=10_000)
    for _ in range(100):
        monitor.update(draw(rng, 9990))
    assert not monitor.drifted
    start = monitor.n_samples
    while not monitor.drifted and monitor.n_samples < start + 20_000:
        monitor.update(draw(rng, 500, [0.65, 0.2, 0.15]))
    assert monitor.drifted


def test_window_starts_the_count_anew_and_raises_the_limit():
    """Check what is left of a window that is over, its limit and the default length."""
    monitor = watch(counted(600, 300, 100), window=50)
    for n_windows, size in enumerate([30, 30, 60, 1]):
        # The second batch still belongs to the first window.
        done = max(0, n_windows - 1)
        summary = monitor.update(counted(size, 0, 0)).summary()
        assert summary["n_windows"] == done
        assert summary["n_window"] == (60 if n_windows == 1 else size)
        assert summary["limit"] == pytest.approx(200 * (done + 1) * (done + 2))
    assert monitor.n_samples == 121
    assert [stage["share_now"] for stage in summary["stages"]] == [1, 0, 0]
    assert summary["confidence"]["now"] == pytest.approx(0.9)
    assert monitor.reset().summary()["n_windows"] == 0
    assert watch(counted(600, 300, 100)).window == 4000
    assert watch(counted(6, 3, 1)).window == 1000


def test_stage_without_calibration_rows_may_start_to_answer():
    """Check that rows at a stage that no calibration row reached are evidence."""
    monitor = watch(counted(500, 500, 0)).update(counted(90, 90, 0))
    assert not monitor.drifted
    assert monitor.reset().update(counted(90, 90, 20)).drifted
    assert monitor.summary()["moved_most"] == "large"


def test_summary_counts():
    """Check every figure of a small watch."""
    monitor = watch(counted(60, 30, 10), alpha=0.05)
    monitor.update(counted(5, 3, 2)).update(rows([0, 0, 0, 2], 0.6))
    summary = monitor.summary()
    assert not monitor.drifted
    assert {key: summary[key] for key in ("drifted", "alpha", "limit")} == {
        "drifted": False,
        "alpha": 0.05,
        "limit": 80.0,
    }
    assert (summary["n_samples"], summary["n_batches"], summary["n_calibration"]) == (14, 2, 100)
    assert [stage["name"] for stage in summary["stages"]] == NAMES
    assert [stage["share_then"] for stage in summary["stages"]] == [0.6, 0.3, 0.1]
    assert [stage["share_now"] for stage in summary["stages"]] == [8 / 14, 3 / 14, 3 / 14]
    assert all(s["low"] < s["share_then"] < s["high"] for s in summary["stages"])
    assert summary["moved_most"] == "large"
    mean = summary["confidence"]
    assert mean["then"] == pytest.approx(0.9)
    assert mean["now"] == pytest.approx((10 * 0.9 + 4 * 0.6) / 14)
    shares = np.mean([stage["evidence"] for stage in summary["stages"]])
    assert summary["evidence"] == pytest.approx((shares + mean["evidence"]) / 2)
    assert (summary["n_windows"], summary["n_window"]) == (0, 14)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_text_shows_every_stage_and_what_to_do():
    """Check the printed table without an alarm, with one, and with one that has passed."""
    monitor = watch(counted(600, 300, 100))
    lines = str(monitor).splitlines()
    assert lines[0] == (
        "No drift found: 0 rows served in 0 batches; the last 0 against 1,000 calibration rows"
    )
    assert lines[2].split()[:3] == ["exit", "0", "small"]
    assert "-" in lines[2].split()
    monitor.update(counted(0, 300, 100))
    text = repr(monitor)
    lines = text.splitlines()
    assert text == str(monitor)
    assert lines[0].startswith("Drift: 400 rows served in 1 batches")
    served = [line.split()[-2] for line in lines[2:6]]
    assert served == ["0.0%", "75.0%", "25.0%", "0.9000"]
    assert "an alarm takes 400 in window 1." in text
    assert "Exit 'small' moved most." in text
    assert "certify again" in text
    assert "earlier batch" not in text
    monitor.update(counted(60_000, 30_000, 10_000))
    assert monitor.drifted
    assert "The alarm was raised by an earlier batch and stays until reset." in str(monitor)
    assert str(monitor.reset()).startswith("No drift found: 0 rows")
