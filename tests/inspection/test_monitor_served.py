"""Tests of the drift watch on estimators and real rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, ExitMonitor
from tests.inspection.monitor_data import (
    counted,
)
from tests.probes import LABELS_W, members_w, numbered_rows


def test_served_digits_like_the_calibration_rows_raise_no_alarm_and_others_do(watched_digits):
    """Check a real cascade on rows as they were, inverted and noisy."""
    cascade, (X_cal, _), X = watched_digits
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


def test_report_certificate_and_certified_cascade_tell_the_shares(watched_digits):
    """Check the references without confidences: same shares, lower limit, drift still found."""
    cascade, (X_cal, y_cal), X = watched_digits
    certificate = cascade.certify(X_cal, y_cal, epsilon=0.01)
    certified = cascade.with_thresholds(certificate)
    report = certified.cost_report(X_cal)
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
    monitor = ExitMonitor(cascade.cost_report(X_cal))
    assert monitor.update(cascade.predict_details(16 - X)).drifted
    then = [stage["share_then"] for stage in ExitMonitor(report).summary()["stages"]]
    np.testing.assert_allclose(then, report.exit_rates, rtol=1e-12)
    summary = ExitMonitor(certified).summary()
    assert [stage["share_then"] for stage in summary["stages"]] == [
        stage["n_samples"] / certificate.n_certification for stage in certificate.stages
    ]
    assert [s["name"] for s in ExitMonitor(report, names=["a", "b"]).summary()["stages"]] == [
        "a",
        "b",
    ]


def test_ensemble_is_watched_by_its_confidence_alone(iris):
    """Check an estimator with one exit: silent on rows alike, alarmed on rows that confuse it."""
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
    with pytest.raises(ValueError, match="all rows exit at one stage"):
        ExitMonitor(ensemble.cost_report(X))


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
