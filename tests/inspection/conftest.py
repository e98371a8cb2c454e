"""Pictures are drawn without a screen, and closed."""

from __future__ import annotations

import warnings

import pytest

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
