"""Fake members that record their calls."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.naive_bayes import GaussianNB


class ScriptedMember(ClassifierMixin, BaseEstimator):
    """A frozen member that returns row i of a table for a sample whose first number is i.

    `asked` lists the row numbers of each call.
    """

    def __init__(self, table, classes=None):
        self.table = table
        self.classes = classes
        self.asked: list[list[int]] = []

    @property
    def classes_(self):
        n_classes = np.shape(self.table)[1]
        return np.arange(n_classes) if self.classes is None else np.asarray(self.classes)

    def fit(self, X, y=None):
        raise AssertionError("a frozen member was fitted")

    def predict_proba(self, X):
        rows = np.asarray(X)[:, 0].astype(int)
        self.asked.append(rows.tolist())
        return np.asarray(self.table, dtype=float)[rows]

    def __sklearn_clone__(self):
        return self

    def __sklearn_is_fitted__(self):
        return True


class FailingMember(ScriptedMember):
    """A scripted member that raises on every call, after recording it."""

    def predict_proba(self, X):
        super().predict_proba(X)
        raise ConnectionError("the service hung up")


class CountingNB(GaussianNB):
    """A trainable member that counts fits and the rows of each call, across its clones.

    `key` names the log in `LOGS`; tests use a fresh one each.
    """

    def __init__(self, key="default", *, priors=None, var_smoothing=1e-9):
        super().__init__(priors=priors, var_smoothing=var_smoothing)
        self.key = key

    def fit(self, X, y, sample_weight=None):
        log(self.key)["fits"].append((len(y), None if sample_weight is None else sample_weight))
        return super().fit(X, y, sample_weight)

    def predict_proba(self, X):
        log(self.key)["predictions"].append(len(X))
        return super().predict_proba(X)


LOGS: dict[str, dict[str, list]] = {}


def log(key: str) -> dict[str, list]:
    """Return the log of one key, made on first use."""
    return LOGS.setdefault(key, {"fits": [], "predictions": []})


def numbered_rows(n_samples: int, n_features: int = 1) -> np.ndarray:
    """Return X whose first column is the row number."""
    X = np.zeros((n_samples, n_features))
    X[:, 0] = np.arange(n_samples)
    return X


def scripted(*tables, classes=None):
    """Return one scripted member for each table, named m0, m1, ..."""
    return [(f"m{k}", ScriptedMember(table, classes)) for k, table in enumerate(tables)]


# Six rows and three members whose cascade is counted by hand: the probability of class 0 for
# each member, the labels, and the costs.
STAGES_W = {
    "a": [0.90, 0.75, 0.60, 0.45, 0.20, 0.55],
    "b": [0.50, 0.10, 0.20, 0.90, 0.50, 0.65],
    "c": [0.50, 0.50, 0.10, 0.80, 0.50, 0.05],
}
LABELS_W = [0, 0, 1, 0, 1, 1]
COSTS_W = [1, 4, 10]


def members_w(classes=None) -> list[tuple[str, ScriptedMember]]:
    """Return new scripted members of the cascade that is counted by hand."""
    tables = {name: np.column_stack([p, 1 - np.array(p)]) for name, p in STAGES_W.items()}
    return [(name, ScriptedMember(table, classes)) for name, table in tables.items()]
