"""Tests of an expensive embedding that members share, computed once per row as in the guide."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_cascade import CascadeClassifier

N_TRAIN = 400


class Embedding:
    """A fitted embedding, here a fixed projection, that notes the rows it is asked for."""

    def __init__(self):
        self.directions = np.random.default_rng(0).normal(size=(64, 40))
        self.asked = []

    def __call__(self, X):
        self.asked.extend(row.tobytes() for row in X)
        return np.maximum(X @ self.directions, 0)

    def __sklearn_clone__(self):
        return self

    def most_often(self):
        """Return how many rows were asked for, and how often the one asked for most."""
        times = np.unique(np.array(self.asked, dtype=object), return_counts=True)[1]
        return len(times), times.max()


class RowCache:
    """A function that is asked once for each row; rows are told apart by their bytes."""

    def __init__(self, function):
        self.function = function
        self.known = {}

    def __call__(self, X):
        keys = [row.tobytes() for row in X]
        new = {key: place for place, key in enumerate(keys) if key not in self.known}
        if new:
            answers = self.function(X[list(new.values())])
            self.known.update(zip(new, answers, strict=True))
        return np.stack([self.known[key] for key in keys])

    def __sklearn_clone__(self):
        return self


@pytest.fixture(scope="module")
def digits():
    """Return 800 different rows of scikit-learn's digits."""
    X, y = load_digits(return_X_y=True)
    X, first = np.unique(X, axis=0, return_index=True)
    order = np.random.default_rng(0).permutation(len(X))[: 2 * N_TRAIN]
    return np.ascontiguousarray(X[order]) / 16, y[first][order]


def heads():
    """Return two members that take the embedding."""
    return [
        ("nb", GaussianNB(var_smoothing=0.1)),
        ("neighbours", KNeighborsClassifier(algorithm="kd_tree")),
    ]


def test_embedding_before_the_cascade_is_computed_once_per_row(digits):
    """Check a pipeline of embedding and cascade: once per row in a fit with folds, and after."""
    X, y = digits
    embed = Embedding()
    model = make_pipeline(FunctionTransformer(embed), CascadeClassifier(heads(), costs=[1, 20]))
    model.fit(X[:N_TRAIN], y[:N_TRAIN])
    assert embed.most_often() == (N_TRAIN, 1)
    embed.asked.clear()
    proba = model.predict_proba(X[N_TRAIN:])
    assert embed.most_often() == (len(X) - N_TRAIN, 1)
    # Both members take part, or counting would show little.
    exit_stage = model[-1].predict_details(model[0].transform(X[N_TRAIN:])).exit_stage
    assert set(exit_stage) == {0, 1}
    alone = CascadeClassifier(heads(), costs=[1, 20]).fit(embed(X[:N_TRAIN]), y[:N_TRAIN])
    np.testing.assert_array_equal(proba, alone.predict_proba(embed(X[N_TRAIN:])))


def test_embedding_in_each_member_is_computed_again_and_again(digits):
    """Check what the recipes avoid: one computation per member, fold and fit."""
    X, y = digits
    embed = Embedding()
    members = [(name, make_pipeline(FunctionTransformer(embed), m)) for name, m in heads()]
    CascadeClassifier(members, cv=5).fit(X[:N_TRAIN], y[:N_TRAIN])
    # Two members, fitted on all rows and, with the rows held out, in five folds.
    assert embed.most_often() == (N_TRAIN, 2 * (1 + 5))


def pixels_then(embed, **params):
    """Return a cascade that embeds only what the pixels leave open, for a cascade of its own."""
    inner = CascadeClassifier(heads(), costs=[1, 20], cv=3)
    deep = make_pipeline(FunctionTransformer(embed), inner)
    members = [("pixels", GaussianNB(var_smoothing=0.1)), ("deep", deep)]
    return CascadeClassifier(members, costs=[1, 200], combine="last", **params)


def test_only_rows_that_cheap_pixels_leave_open_are_embedded(digits):
    """Check a cascade inside of a cascade: open rows are embedded once, the others never."""
    X, y = digits
    embed = Embedding()
    cascade = pixels_then(embed, thresholds=0.8).fit(X[:N_TRAIN], y[:N_TRAIN])
    # The inner cascade tunes on the embedding of all training rows.
    assert embed.most_often() == (N_TRAIN, 1)
    embed.asked.clear()
    found = cascade.predict_details(X[N_TRAIN:])
    still_open = X[N_TRAIN:][found.exit_stage == 1]
    assert sorted(embed.asked) == sorted(row.tobytes() for row in still_open)
    assert 0 < len(still_open) < len(X) - N_TRAIN
    inner = cascade.estimators_[1]
    np.testing.assert_array_equal(
        found.proba[found.exit_stage == 1], inner.predict_proba(still_open)
    )


def test_row_cache_embeds_once_in_all_folds(digits):
    """Check that a cache by rows makes tuning the outer thresholds embed each row once, too."""
    X, y = digits
    plain, embed = Embedding(), Embedding()
    expected = pixels_then(plain, cv=3).fit(X[:N_TRAIN], y[:N_TRAIN])
    assert plain.most_often() == (N_TRAIN, 1 + 3)
    cached = pixels_then(RowCache(embed), cv=3).fit(X[:N_TRAIN], y[:N_TRAIN])
    assert embed.most_often() == (N_TRAIN, 1)
    # The projection of a row depends on the rows beside it in the last digits.
    np.testing.assert_allclose(cached.thresholds_, expected.thresholds_, rtol=0, atol=1e-6)
    cross_validate(clone(cached), X, y, cv=2, error_score="raise")
    assert embed.most_often() == (len(X), 1)


def test_row_cache_returns_rows_in_their_order():
    """Check that rows known, new and equal come back at their places."""
    X = np.random.default_rng(0).normal(size=(6, 64))
    embed = Embedding()
    cache = RowCache(embed)
    rows = [3, 1, 3, 0]
    # Products of the same numbers, in blocks of another size.
    np.testing.assert_allclose(cache(X[rows]), Embedding()(X)[rows], rtol=1e-12)
    np.testing.assert_allclose(cache(X), Embedding()(X), rtol=1e-12)
    assert embed.most_often() == (6, 1)
