"""Tests of what a drift watch is given, and what it says when that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import ExitMonitor
from tests.inspection.monitor_data import (
    NAMES,
    counted,
    rows,
    uncertified,
    watch,
)


@pytest.mark.parametrize("confidence", [1.0, 0.5, 1 + 1e-7])
def test_constant_confidence_is_no_trouble(confidence):
    """Check calibration rows that are all equally confident, also beyond 1 by rounding."""
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
    """Check that a window has a positive integer number of rows."""
    with pytest.raises(ValueError, match=r"window=.*positive number of rows"):
        watch(window=window)


@pytest.mark.parametrize(
    ("served", "error", "message"),
    [
        (rows(np.zeros(0, int)), ValueError, "prediction has 0 rows"),
        (rows([0, 3]), ValueError, "runs from 0 to 3; expected 0 to 2"),
        (rows([-1, 0]), ValueError, "runs from -1 to 0"),
        (rows([0.0, 1.0]), ValueError, "expected integers"),
        (rows([0, 1], [0.9, np.nan]), ValueError, "NaN or values that are not probabilities"),
        (rows([0, 1], [0.9, 7.0]), ValueError, "NaN or values that are not probabilities"),
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
        (np.array([1, 2]), None, TypeError, "reference is a ndarray; expected a CostReport"),
        (counted(3, 2), None, ValueError, "names=None; a prediction does not reveal"),
        (counted(3, 2), ["a"], ValueError, "reference.exit_stage runs from 0 to 1"),
        (counted(3, 2), "ab", ValueError, "names='ab'; expected 2 names"),
        (rows(np.zeros(0, int)), ["a"], ValueError, "reference has 0 rows"),
    ],
)
def test_wrong_reference_is_refused(reference, names, error, message):
    """Check that what holds nothing about calibration rows raises at once."""
    with pytest.raises(error, match=message):
        ExitMonitor(reference, names=names)


def test_estimator_without_certificate_is_referred_to_its_rows(watched_digits):
    """Check that a cascade alone, a certificate of nothing and a wrong estimator are refused."""
    cascade, (X_cal, y_cal), _ = watched_digits
    with pytest.raises(TypeError, match="does not remember any rows"):
        ExitMonitor(cascade)
    with pytest.raises(TypeError, match="without predict_details"):
        ExitMonitor.from_estimator(GaussianNB(), X_cal)
    with pytest.raises(ValueError, match=r"names=.*expected 2 names"):
        ExitMonitor(cascade.cost_report(X_cal), names=NAMES)
    certified = cascade.certify(X_cal, y_cal, epsilon=0.05)
    with pytest.raises(ValueError, match="certifies nothing"):
        ExitMonitor(uncertified(certified))


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
