"""Served rows with given exits and confidences, and a monitor of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sklearn_cascade import CascadePrediction, ExitMonitor

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


def assert_same_figures(one, other):
    """Assert that two monitors know the same, up to the order of floating point sums."""
    first, second = one.summary(), other.summary()
    assert first["n_samples"] == second["n_samples"]
    assert first["evidence"] == pytest.approx(second["evidence"], rel=1e-9)
    assert first["confidence"] == pytest.approx(second["confidence"], rel=1e-9)
    for left, right in zip(first["stages"], second["stages"], strict=True):
        assert left == right


def uncertified(report):
    """Return the report as it would be had nothing been certified."""
    return replace(report, certified=False, thresholds=(float("inf"),))
