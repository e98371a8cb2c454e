"""Boosters as members: small ones, alone and frozen, and tables with gaps and categories."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_cascade import PrefitClassifier

LIBRARIES = ["lightgbm", "xgboost", "catboost"]


def booster(library, container="frame", *, seed=0, **params):
    """Return an unfitted booster of a few small trees that keeps to one thread."""
    pytest.importorskip(library, reason=f"{library} is not installed")
    module = importlib.import_module(library)
    if library == "lightgbm":
        few = {"n_estimators": 8, "num_leaves": 7, "min_child_samples": 5, "verbose": -1}
        return module.LGBMClassifier(**few, n_jobs=1, random_state=seed, **params)
    if library == "xgboost":
        few = {"n_estimators": 8, "max_depth": 3, "enable_categorical": True}
        return module.XGBClassifier(**few, n_jobs=1, random_state=seed, **params)
    few = {"iterations": 8, "depth": 3, "verbose": 0, "allow_writing_files": False}
    if container == "frame":
        # A tuple, as CatBoost 1.2.10 cannot be cloned with a list.
        few["cat_features"] = ("kind",)
    return module.CatBoostClassifier(**few, thread_count=1, random_seed=seed, **params)


def table(n_classes=3, container="frame", n_samples=240):
    """Return rows with missing values and a category, and noisy labels out of order."""
    rng = np.random.default_rng(n_classes)
    frame = pd.DataFrame(rng.normal(size=(n_samples, 3)), columns=["size", "gate", "age"])
    kinds = rng.integers(0, 3, n_samples)
    codes = ((frame["size"] > 0).to_numpy() + (kinds == 1) * (n_classes > 2)).astype(int)
    codes = np.where(rng.random(n_samples) < 0.2, rng.integers(0, n_classes, n_samples), codes)
    frame.loc[rng.random(n_samples) < 0.15, "size"] = np.nan
    frame.loc[rng.random(n_samples) < 0.15, "age"] = np.nan
    labels = np.array(["z", "a", "m"])[codes]
    if container == "array":
        return np.column_stack([frame.to_numpy(), kinds]), labels
    frame["kind"] = pd.Categorical(np.array(["u", "v", "w"])[kinds])
    return frame, labels


def alone(member, X, y, **params):
    """Return a fitted clone: on the labels, or on their codes for XGBoost, which takes no text."""
    codes = np.unique(y, return_inverse=True)[1]
    return clone(member).fit(X, codes if type(member).__name__ == "XGBClassifier" else y, **params)


def frozen(library, X, y, container="frame", **params):
    """Return a fitted booster as a frozen member, and its probabilities of X."""
    model = alone(booster(library, container, **params), X, y)
    if library == "xgboost":
        # It knows codes only, so that somebody has to tell the labels.
        return PrefitClassifier(model.predict_proba, np.unique(y)), model.predict_proba(X)
    return FrozenEstimator(model), model.predict_proba(X)


class Gate:
    """Answer "a" surely where the column "gate" is above zero; keep what it is asked."""

    def __init__(self, n_classes):
        self.n_classes = n_classes
        self.asked = []

    def __call__(self, X):
        self.asked.append(X)
        sure = np.where(open_rows(X), 0.9, 0.4)
        others = np.tile((1 - sure[:, None]) / (self.n_classes - 1), self.n_classes - 1)
        return np.column_stack([sure, others])


def open_rows(X):
    """Return the mask of the rows that the gate answers."""
    return (X["gate"].to_numpy() if isinstance(X, pd.DataFrame) else X[:, 1]) > 0


def gate(y):
    """Return a frozen member that is sure of about half of the rows."""
    return PrefitClassifier(Gate(len(np.unique(y))), np.unique(y))
