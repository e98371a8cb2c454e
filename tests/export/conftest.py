"""Fixtures of the tests of the export: rows, and members fitted on them once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

WORDS = np.array(["no", "perhaps", "yes", "surely"])


class Problem(NamedTuple):
    """Rows to fit on, and rows to predict.

    Attributes
    ----------
    X, y, words
        Rows to fit on, float64; their labels as numbers from 0, and as text.
    more
        3,000 more rows, float64.
    """

    X: np.ndarray
    y: np.ndarray
    words: np.ndarray
    more: np.ndarray


def problem_of(n_classes: int) -> Problem:
    """Return 500 rows to fit on and 3,000 to predict, 12 columns each."""
    X, y = make_classification(
        3500, 12, n_informative=8, n_classes=n_classes, class_sep=1.2, random_state=0
    )
    return Problem(X[:500], y[:500], WORDS[y[:500]], X[500:])


def fitted_on(X, y) -> dict:
    """Return members that convert, cheap ones first, frozen so that a cascade keeps them."""
    members = {
        "nb": GaussianNB(),
        "linear": make_pipeline(StandardScaler(), LogisticRegression()),
        "net": make_pipeline(
            StandardScaler(), MLPClassifier((16,), max_iter=120, tol=1e-2, random_state=0)
        ),
        "forest": RandomForestClassifier(20, random_state=0),
    }
    return {name: FrozenEstimator(member.fit(X, y)) for name, member in members.items()}


@pytest.fixture(scope="session")
def problem():
    """Return a problem of four classes."""
    return problem_of(4)


@pytest.fixture(scope="session")
def two_sided():
    """Return a problem of two classes."""
    return problem_of(2)


@pytest.fixture(scope="session")
def members(problem):
    """Return frozen members by name (nb, linear, net, forest); their labels are numbers."""
    return fitted_on(problem.X, problem.y)


@pytest.fixture(scope="session")
def worded_members(problem):
    """Return frozen members by name (nb, linear, net, forest); their labels are text."""
    return fitted_on(problem.X, problem.words)
