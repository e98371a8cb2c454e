"""Data and probes shared by the tests."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from tests.skips import lines_about_skips


def pytest_terminal_summary(terminalreporter):
    """Say at the end of a run what was skipped, why, and which command runs it."""
    skipped = terminalreporter.stats.get("skipped", [])
    lines = lines_about_skips(report.longrepr[2] for report in skipped)
    if lines:
        terminalreporter.write_sep("=", "skipped tests")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Keep to one thread: tiny matrices gain nothing from more, and wait for a busy core."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def three_members():
    """Return unfitted members, each of which honours sample weights."""
    return [
        ("nb", GaussianNB()),
        ("tree", DecisionTreeClassifier(max_depth=3, random_state=0)),
        ("lr", LogisticRegression(max_iter=1000)),
    ]


@pytest.fixture(scope="session")
def iris():
    """Return the iris data: 150 rows, 3 classes."""
    return load_iris(return_X_y=True)


@pytest.fixture(scope="session")
def blobs():
    """Return 400 noisy rows of 4 classes."""
    return make_classification(
        n_samples=400, n_features=8, n_informative=5, n_classes=4, flip_y=0.05, random_state=0
    )
