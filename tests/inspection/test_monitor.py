"""Tests of the drift watch: how seldom it errs, how soon it sees, and that its state can travel."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CascadePrediction, ExitMonitor
from tests.probes import LABELS_W, members_w, numbered_rows

SHARES = [0.7, 0.2, 0.1]
NAMES = ["small", "medium", "large"]


def rows(exit_stage, confidence=0.9):
    """Return a prediction of two classes with given exits and confidences of at least a half."""
    exit_stage = np.asarray(exit_stage)
    top = np.broadcast_to(confidence, exit_stage.shape)
    proba = np.column_stack([top, 1 - top])
    return CascadePrediction(np.zeros(len(proba), int), proba, exit_stage, exit_stage + 1.0)


def draw(rng, n, shares=SHARES, a=8, b=2):
    """Return random rows whose confidence is (1 + Beta(a, b)) / 2."""
    return rows(rng.choice(len(shares), n, p=shares), 0.5 + rng.beta(a, b, n) / 2)


def counted(*counts):
    """Return rows with given numbers of exits."""
    return rows(np.repeat(np.arange(len(counts)), counts))


def watch(reference=None, names=NAMES, **params):
    """Return a monitor of random calibration rows."""
    if reference is None:
        reference = draw(np.random.default_rng(0), 2000)
    return ExitMonitor(reference, names=names, **params)


@pytest.fixture(scope="module")
def digits():
    """Return a cascade on digits, its calibration rows and rows to serve."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    members = [
        ("linear", LogisticRegression(max_iter=5000)),
        ("forest", RandomForestClassifier(50, random_state=0)),
    ]
    cascade = CascadeClassifier(members, thresholds=0.95).fit(X[:600], y[:600])
    return cascade, (X[600:1200], y[600:1200]), X[1200:]


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
    sure = np.linspace(0.01, 0.99, 25)
    missed = np.zeros(len(sure))
    for then in range(n_calibration + 1):
        confidence = np.repeat(values, [n_calibration - then, then])
        monitor = watch(rows(np.zeros(n_calibration, int), confidence), ["only"], alpha=alpha)
        known = monitor.summary()["confidence"]
        assert known["low"] <= known["then"] <= known["high"]
        means = values[0] + sure * (values[1] - values[0])
        outside = (means < known["low"]) | (means > known["high"])
        missed += outside * binom.pmf(then, n_calibration, sure)
        fair = np.zeros(len(sure))
        for now in range(n_served + 1):
            served = rows(np.zeros(n_served, int), np.repeat(values, [n_served - now, now]))
            evidence = monitor.reset().update(served).summary()["confidence"]["evidence"]
            fair += evidence * binom.pmf(now, n_served, sure)
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
    ("change", "n_rows"),
    [
        ({"shares": [0.65, 0.2, 0.15]}, 5000),
        ({"a": 7.5, "b": 2.5}, 1000),
        ({"a": 8.5, "b": 1.5}, 1000),
        ({"shares": [0.4, 0.2, 0.4]}, 200),
    ],
    ids=["five points", "less sure", "surer", "thirty points"],
)
def test_drift_is_found_within_some_rows(change, n_rows):
    """Check, for 20 streams against 5,000 calibration rows, that each alarm comes in time."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        monitor = watch(draw(rng, 5000))
        while not monitor.drifted and monitor.n_rows < n_rows:
            monitor.update(draw(rng, 100, **change))
        assert monitor.drifted, f"seed {seed}"


def test_late_drift_is_found_in_the_next_window_at_the_latest():
    """Check that a million healthy rows do not hide a drift for longer than two windows."""
    rng = np.random.default_rng(0)
    monitor = watch(draw(rng, 5000), window=10_000)
    for _ in range(100):
        monitor.update(draw(rng, 9990))
    assert not monitor.drifted
    start = monitor.n_rows
    while not monitor.drifted and monitor.n_rows < start + 20_000:
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
    assert monitor.n_rows == 121
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
    assert (summary["n_rows"], summary["n_batches"], summary["n_calibration"]) == (14, 2, 100)
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
    assert "earlier look" not in text
    monitor.update(counted(60_000, 30_000, 10_000))
    assert monitor.drifted
    assert "The alarm came at an earlier look and stays until reset." in str(monitor)
    assert str(monitor.reset()).startswith("No drift found: 0 rows")


def test_order_of_rows_and_batches_does_not_matter():
    """Check that the evidence depends on the rows alone, and calls change no argument."""
    rng = np.random.default_rng(1)
    served = draw(rng, 300)
    kept = CascadePrediction(*(part.copy() for part in served))
    whole, apart = watch().update(served), watch()
    for part in np.split(rng.permutation(300), [1, 40, 41, 200]):
        apart.update(CascadePrediction(*(values[part] for values in served)))
    assert_same_figures(whole, apart)
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
    assert (summary["n_rows"], summary["n_batches"]) == (70, 7)


def test_state_travels_as_json_and_as_pickle():
    """Check that a monitor goes on after JSON, and after pickle, as if nothing had happened."""
    rng = np.random.default_rng(2)
    monitor = watch(alpha=0.05).update(draw(rng, 100))
    text = json.dumps(monitor.to_dict(), allow_nan=False)
    more = draw(rng, 250, [0.5, 0.3, 0.2])
    expected = monitor.update(more).summary()
    for copy in (ExitMonitor.from_dict(json.loads(text)), pickle.loads(pickle.dumps(monitor))):
        if copy.n_rows == 100:
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


def test_served_digits_like_the_calibration_rows_raise_no_alarm_and_others_do(digits):
    """Check a real cascade on rows as they were, inverted and noisy."""
    cascade, (X_cal, _), X = digits
    monitor = ExitMonitor.from_estimator(cascade, X_cal)
    for batch in np.array_split(X, 20):
        monitor.update(cascade.predict_details(batch))
    assert not monitor.drifted
    noise = np.random.default_rng(0).normal(0, 4, X.shape)
    for spoilt in (16 - X, np.clip(X + noise, 0, 16)):
        monitor.reset()
        for batch in np.array_split(spoilt, 20):
            monitor.update(cascade.predict_details(batch))
        assert monitor.drifted
    assert [stage["name"] for stage in monitor.summary()["stages"]] == ["linear", "forest"]


def test_report_certificate_and_certified_cascade_tell_the_shares(digits):
    """Check the references without confidences: same shares, lower limit, drift still found."""
    cascade, (X_cal, y_cal), X = digits
    certificate = cascade.certify(X_cal, y_cal, epsilon=0.01)
    certified = cascade.with_thresholds(certificate)
    report = certified.compute_report(X_cal)
    for reference in (report, certificate, certified):
        monitor = ExitMonitor(reference)
        summary = monitor.update(certified.predict_details(X)).summary()
        assert not monitor.drifted
        assert summary["limit"] == pytest.approx(200)
        assert summary["confidence"]["then"] is None
        assert summary["confidence"]["evidence"] is None
        assert 0.5 < summary["confidence"]["now"] <= 1
        assert "mean confidence" in str(monitor)
        assert monitor.reset().update(counted(300, 300)).drifted
        copy = ExitMonitor.from_dict(json.loads(json.dumps(monitor.to_dict())))
        assert copy.summary() == monitor.summary()
    monitor = ExitMonitor(cascade.compute_report(X_cal))
    assert monitor.update(cascade.predict_details(16 - X)).drifted
    then = [stage["share_then"] for stage in ExitMonitor(report).summary()["stages"]]
    np.testing.assert_allclose(then, report.exit_rates, rtol=1e-12)
    told = ExitMonitor(certified).summary()
    assert [stage["share_then"] for stage in told["stages"]] == [
        stage["n_rows"] / certificate.n_certification for stage in certificate.stages
    ]
    assert [s["name"] for s in ExitMonitor(report, names=["a", "b"]).summary()["stages"]] == [
        "a",
        "b",
    ]


def test_ensemble_is_watched_by_its_confidence_alone(iris):
    """Check a committee with one exit: silent on rows alike, alarmed on rows that confuse it."""
    X, y = iris
    ensemble = AveragingEnsemble([("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))])
    ensemble.fit(X[::2], y[::2])
    monitor = ExitMonitor.from_estimator(ensemble, np.repeat(X[::2], 4, axis=0))
    assert not monitor.update(ensemble.predict_details(X[1::2])).drifted
    between = np.linspace(X[y == 1].mean(axis=0), X[y == 2].mean(axis=0), 40)[10:30]
    for _ in range(10):
        monitor.update(ensemble.predict_details(between))
    assert monitor.drifted
    assert "No drift" not in str(monitor)
    with pytest.raises(ValueError, match="all leave at one exit"):
        ExitMonitor(ensemble.compute_report(X))


def test_confidence_of_the_exits_need_not_be_a_probability():
    """Check that a callable confidence far beyond 1 decides the exits and disturbs nothing."""
    X, y = numbered_rows(6), np.array(LABELS_W)
    cascade = CascadeClassifier(
        members_w(), thresholds=[75.0, 65.0], confidence=lambda proba: 100 * proba.max(axis=1)
    ).fit(X, y)
    prediction = cascade.predict_details(X)
    summary = ExitMonitor.from_estimator(cascade, X).update(prediction).summary()
    assert summary["confidence"]["now"] == pytest.approx(prediction.proba.max(axis=1).mean())
    assert summary["confidence"]["then"] == pytest.approx(summary["confidence"]["now"])
    assert not summary["drifted"]


@pytest.mark.parametrize("confidence", [1.0, 0.5, 1 + 1e-7])
def test_constant_confidence_is_no_trouble(confidence):
    """Check calibration rows that are all equally sure, also beyond 1 by rounding."""
    monitor = watch(rows([0] * 700 + [1] * 300, confidence), NAMES[:2])
    assert not monitor.update(rows([0] * 70 + [1] * 30, confidence)).drifted
    assert monitor.reset().update(rows([0] * 70 + [1] * 30, 0.75)).drifted
    known = monitor.summary()["confidence"]
    assert 0 <= known["low"] < known["high"] <= 1


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, float("nan"), "0.01", None, True])
def test_alpha_out_of_range_is_refused(alpha):
    """Check that a probability of a false alarm lies between 0 and 1."""
    with pytest.raises(ValueError, match=r"alpha=.*between 0 and 1"):
        watch(alpha=alpha)


@pytest.mark.parametrize("window", [0, -5, 2.5, "10", True])
def test_window_that_is_no_number_of_rows_is_refused(window):
    """Check that a window has a positive whole number of rows."""
    with pytest.raises(ValueError, match=r"window=.*positive number of rows"):
        watch(window=window)


@pytest.mark.parametrize(
    ("served", "error", "message"),
    [
        (rows(np.zeros(0, int)), ValueError, "prediction has 0 rows"),
        (rows([0, 3]), ValueError, "runs from 0 to 3; expected 0 to 2"),
        (rows([-1, 0]), ValueError, "runs from -1 to 0"),
        (rows([0.0, 1.0]), ValueError, "whole numbers"),
        (rows([0, 1], [0.9, np.nan]), ValueError, "NaN or values that are no probabilities"),
        (rows([0, 1], [0.9, 7.0]), ValueError, "NaN or values that are no probabilities"),
        (np.array([0, 1]), TypeError, "is a ndarray; expected a CascadePrediction"),
        (None, TypeError, "is a NoneType"),
        (rows([0, 1])._replace(exit_stage=np.array([0])), ValueError, r"shape \(1,\)"),
        (rows([0, 1])._replace(exit_stage=1), ValueError, r"shape \(\)"),
    ],
)
def test_wrong_batch_is_refused_and_leaves_no_trace(served, error, message):
    """Check that a batch that is none raises, and that the state stays as it was."""
    monitor = watch().update(counted(3, 2, 1))
    before = monitor.to_dict()
    with pytest.raises(error, match=message):
        monitor.update(served)
    assert monitor.to_dict() == before


@pytest.mark.parametrize(
    ("reference", "names", "error", "message"),
    [
        (np.array([1, 2]), None, TypeError, "reference is a ndarray; expected a ComputeReport"),
        (counted(3, 2), None, ValueError, "names=None; a prediction does not tell"),
        (counted(3, 2), ["a"], ValueError, "reference.exit_stage runs from 0 to 1"),
        (counted(3, 2), "ab", ValueError, "names='ab'; expected 2 names"),
        (rows(np.zeros(0, int)), ["a"], ValueError, "reference has 0 rows"),
    ],
)
def test_wrong_reference_is_refused(reference, names, error, message):
    """Check that what tells nothing about calibration rows raises at once."""
    with pytest.raises(error, match=message):
        ExitMonitor(reference, names=names)


def test_committee_without_certificate_is_referred_to_its_rows(digits):
    """Check that a cascade alone, a certificate of nothing and a wrong estimator are refused."""
    cascade, (X_cal, y_cal), _ = digits
    with pytest.raises(TypeError, match="does not remember any rows"):
        ExitMonitor(cascade)
    with pytest.raises(TypeError, match="without predict_details"):
        ExitMonitor.from_estimator(GaussianNB(), X_cal)
    with pytest.raises(ValueError, match=r"names=.*expected 2 names"):
        ExitMonitor(cascade.compute_report(X_cal), names=NAMES)
    certified = cascade.certify(X_cal, y_cal, epsilon=0.05)
    with pytest.raises(ValueError, match="certifies nothing"):
        ExitMonitor(_uncertified(certified))


@pytest.mark.parametrize("state", [None, {}, {"alpha": 0.01}])
def test_state_with_gaps_is_refused(state):
    """Check that what no monitor wrote is not read."""
    with pytest.raises(ValueError, match=r"expected what ExitMonitor\.to_dict returned"):
        ExitMonitor.from_dict(state)


def test_monitors_of_other_rows_do_not_merge():
    """Check that another reference, another alpha and another type are refused."""
    monitor = watch()
    strangers = {
        "alpha": watch(alpha=0.05),
        "window": watch(window=7),
        "reference": watch(counted(600, 300, 100), window=monitor.window),
    }
    for key, stranger in strangers.items():
        with pytest.raises(ValueError, match=f"other has another {key}"):
            monitor.merge(stranger)
    with pytest.raises(TypeError, match="other is a dict"):
        monitor.merge(monitor.to_dict())


def assert_same_figures(one, other):
    """Assert that two monitors know the same, up to the order of floating point sums."""
    first, second = one.summary(), other.summary()
    assert first["n_rows"] == second["n_rows"]
    assert first["evidence"] == pytest.approx(second["evidence"], rel=1e-9)
    assert first["confidence"] == pytest.approx(second["confidence"], rel=1e-9)
    for left, right in zip(first["stages"], second["stages"], strict=True):
        assert left == right


def _uncertified(report):
    """Return the report as it would be had nothing been certified."""
    return replace(report, certified=False, thresholds=(float("inf"),))
