"""Tests of the types of X: rows are passed on unchanged, and subsets keep their type."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from tests.probes import ScriptedMember, numbered_rows

NUMBERS = np.arange(18.0).reshape(6, 3)
FRAME = {"size": [1.5, 2.5, 0.5, 1.0, 2.0, 3.0], "kind": ["a", "b", "a", "c", "b", "a"]}
PANDAS = pd.DataFrame(FRAME, index=list("uvwxyz")).astype({"kind": "category"})
TEXTS = ["one", "two words", "three", "four", "", "six"]

# Each container, and the type of its rows.
CONTAINERS = {
    "array": (NUMBERS, np.ndarray),
    "float32": (NUMBERS.astype(np.float32), np.ndarray),
    "images": (np.arange(6 * 2 * 3 * 3.0).reshape(6, 2, 3, 3), np.ndarray),
    "objects": (np.array(TEXTS, dtype=object), np.ndarray),
    "text list": (TEXTS, list),
    "nested list": (NUMBERS.tolist(), list),
    "list of dicts": ([{"word": k} for k in range(6)], list),
    "pandas": (PANDAS, pd.DataFrame),
    "pandas series": (pd.Series(TEXTS), pd.Series),
    "polars": (pl.DataFrame(FRAME), pl.DataFrame),
    "csr matrix": (sp.csr_matrix(NUMBERS), sp.csr_matrix),
    "csr array": (sp.csr_array(NUMBERS), sp.csr_array),
    "coo matrix": (sp.coo_matrix(NUMBERS), sp.csr_matrix),
    "coo array": (sp.coo_array(NUMBERS), sp.csr_array),
    "csc matrix": (sp.csc_matrix(NUMBERS), sp.csr_matrix),
}


def n_rows(X):
    """Return the number of rows of any container."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def as_rows(X):
    """Return the rows of any container in a form that compares."""
    if sp.issparse(X):
        return X.toarray().tolist()
    if isinstance(X, pl.DataFrame):
        return X.rows()
    return X.to_numpy().tolist() if hasattr(X, "to_numpy") else np.asarray(X).tolist()


def member_that_keeps(seen, top=0.6):
    """Return a member that records its inputs and is confident of even rows."""

    def answer(X):
        seen.append(X)
        first = np.where(np.arange(n_rows(X)) % 2, 0.6, top)
        return np.column_stack([first, 1 - first])

    return PrefitClassifier(answer, [0, 1])


@pytest.mark.parametrize("name", CONTAINERS)
def test_rows_keep_their_type(name):
    """Check that the first stage gets X itself, and later ones its rows in the same type."""
    X, kind = CONTAINERS[name]
    first, second, third = [], [], []
    members = [
        ("first", member_that_keeps(first, top=0.9)),
        ("second", member_that_keeps(second, top=0.9)),
        ("third", member_that_keeps(third)),
    ]
    cascade = CascadeClassifier(members, thresholds=0.7).fit(X, [0, 1] * 3)
    # Even rows exit first; of the others, rows 1 and 5 are confident by the mean of .6 and .9.
    assert cascade.predict_details(X).exit_stage.tolist() == [0, 1, 0, 2, 0, 1]
    rows = as_rows(X)
    for seen, expected in ((first, [0, 1, 2, 3, 4, 5]), (second, [1, 3, 5]), (third, [3])):
        assert len(seen) == 1
        assert type(seen[0]) is kind
        assert as_rows(seen[0]) == [rows[row] for row in expected]
    if type(X) is kind:
        assert first[0] is X


def test_frames_keep_index_and_categories():
    """Check that later stages see dtypes, all categories and index labels of their rows."""
    later = []
    members = [("a", member_that_keeps([], top=0.9)), ("b", member_that_keeps(later))]
    CascadeClassifier(members, thresholds=0.7).fit(PANDAS, [0, 1] * 3).predict(PANDAS)
    assert later[0].index.tolist() == ["v", "x", "z"]
    assert later[0].dtypes.equals(PANDAS.dtypes)
    assert later[0]["kind"].cat.categories.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("limits", ["auto", 0.8])
def test_text_pipelines_are_stages(limits):
    """Check that raw texts go through vectorisers, in out-of-fold fits too."""
    texts = ["good great fine", "bad poor awful", "great good", "poor bad"] * 10
    y = ["pro", "contra"] * 20
    members = [
        ("nb", make_pipeline(CountVectorizer(max_features=1), MultinomialNB())),
        ("lr", make_pipeline(CountVectorizer(), LogisticRegression())),
    ]
    cascade = CascadeClassifier(members, thresholds=limits).fit(texts, y)
    # The first stage is right because the word it keeps is in all texts of one kind.
    assert cascade.score(texts, y) == 1
    assert cascade.predict(["great"]).tolist() == ["pro"]
    assert not hasattr(cascade, "n_features_in_")
    assert not hasattr(cascade, "feature_names_in_")


def mixed_members():
    """Return members that select columns by their types."""
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(), make_column_selector(dtype_include=["category"])),
            ("number", StandardScaler(), make_column_selector(dtype_include="number")),
        ]
    )
    return [
        ("tree", make_pipeline(columns, DecisionTreeClassifier(max_depth=1, random_state=0))),
        ("lr", make_pipeline(columns, LogisticRegression())),
    ]


@pytest.mark.parametrize("limits", ["auto", [0.99]])
def test_column_transformers_are_stages(limits):
    """Check a frame of categories and numbers, whose stages select columns by type."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": rng.choice(list("abc"), 120), "size": rng.normal(size=120)})
    frame["kind"] = frame["kind"].astype("category")
    y = np.where((frame["kind"] == "a") | (frame["size"] > 1), "yes", "no")
    cascade = CascadeClassifier(mixed_members(), thresholds=limits).fit(frame, y)
    assert cascade.score(frame, y) > 0.8
    assert cascade.feature_names_in_.tolist() == ["kind", "size"]
    assert cascade.n_features_in_ == 2
    # A single deferred row lacks most categories, but keeps their list.
    cascade = cascade.with_thresholds(0.99)
    found = cascade.predict_details(frame)
    assert set(found.exit_stage.tolist()) == {0, 1}
    singles = [cascade.predict_proba(frame.iloc[[row]])[0] for row in range(0, 120, 7)]
    # BLAS sums one row in another order than many.
    assert_allclose(found.proba[::7], singles, rtol=0, atol=1e-12)


def test_polars_frames_are_fitted_and_tuned():
    """Check that a polars frame works with column selectors, folds and stages."""
    rng = np.random.default_rng(0)
    data = {"size": rng.normal(size=60), "age": rng.normal(size=60)}
    frame, y = pl.DataFrame(data), (data["size"] + data["age"] > 0).astype(int)
    members = [("nb", GaussianNB()), ("lr", LogisticRegression())]
    ours = CascadeClassifier(members).fit(frame, y)
    plain = CascadeClassifier(members).fit(frame.to_numpy(), y)
    assert_array_equal(ours.thresholds_, plain.thresholds_)
    assert_array_equal(ours.predict_proba(frame), plain.predict_proba(frame.to_numpy()))


@pytest.mark.parametrize("convert", [sp.csr_matrix, sp.csr_array, sp.coo_matrix, sp.coo_array])
@pytest.mark.parametrize("estimator", [AveragingEnsemble, CascadeClassifier])
def test_sparse_rows_predict_as_dense_ones(blobs, convert, estimator):
    """Check that every sparse format is fitted and predicted as the dense array."""
    X, y = blobs
    X = np.where(X > 0, X, 0)[:100]
    members = [("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]
    members.append(("lr", LogisticRegression(max_iter=500)))
    dense = estimator(members).fit(X, y[:100])
    sparse = estimator(members).fit(convert(X), y[:100])
    assert_array_equal(sparse.predict(convert(X)), dense.predict(X))


def test_images_stay_four_dimensional():
    """Check that arrays of images reach tuned frozen members unchanged."""
    images = np.random.default_rng(0).normal(size=(20, 3, 4, 4))
    y = (images.mean(axis=(1, 2, 3)) > 0).astype(int)
    shapes = []

    def brightness(X):
        shapes.append(X.shape)
        return 1 / (1 + np.exp(-20 * X.mean(axis=(1, 2, 3))))

    def corner(X):
        return 1 / (1 + np.exp(-X[:, 0, 0, 0]))

    members = [("corner", PrefitClassifier(corner, [0, 1]))]
    members.append(("all", PrefitClassifier(brightness, [0, 1])))
    cascade = CascadeClassifier(members, costs=[1, 100]).fit(images, y)
    assert cascade.score(images, y) == 1
    assert {shape[1:] for shape in shapes} == {(3, 4, 4)}
    assert shapes[0] == (20, 3, 4, 4)


@pytest.mark.parametrize("limits", ["auto", 0.8])
def test_feature_attributes_follow_the_last_fit(limits):
    """Check that number and names of features come from the first member of the last fit."""
    frame = pd.DataFrame(numbered_rows(12, 2), columns=["row", "zero"])
    y = [0, 1] * 6
    cascade = CascadeClassifier([("t", DecisionTreeClassifier()), ("nb", MultinomialNB())])
    cascade.set_params(thresholds=limits, cv=3).fit(frame, y)
    assert cascade.n_features_in_ == 2
    assert cascade.feature_names_in_.tolist() == ["row", "zero"]
    cascade.fit(frame.to_numpy()[:, :1], y)
    assert cascade.n_features_in_ == 1
    assert not hasattr(cascade, "feature_names_in_")
    table = np.full((12, 2), 0.5)
    cascade.set_params(t=ScriptedMember(table)).fit(frame.to_numpy(), y)
    assert not hasattr(cascade, "n_features_in_")


def test_reordered_columns_are_refused():
    """Check that a frame with reordered columns is an error."""
    frame = pd.DataFrame(NUMBERS, columns=["a", "b", "c"])
    cascade = CascadeClassifier([("nb", GaussianNB()), ("lr", LogisticRegression())], thresholds=1)
    cascade.fit(frame, [0, 1] * 3)
    with pytest.raises(ValueError, match="feature names should match"):
        cascade.predict(frame[["c", "b", "a"]])
