"""Pictures are drawn without a screen, and closed; digits to be watched."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from sklearn_cascade import CascadeClassifier

try:
    with warnings.catch_warnings():
        # An old matplotlib calls outdated names of a new pyparsing while it is imported.
        warnings.simplefilter("ignore", DeprecationWarning)
        import matplotlib
        import matplotlib.pyplot as plt
except ImportError:
    matplotlib = None
else:
    matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    """Close all figures after each test."""
    yield
    if matplotlib is not None:
        plt.close("all")


@pytest.fixture(scope="module")
def watched_digits():
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
