"""Tests of LightGBM and XGBoost as members of an exported cascade."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier, register_onnx_converter, to_onnx
from sklearn_cascade.exceptions import UnconvertibleMemberError
from tests.export.sessions import assert_same, run
from tests.members.boosters import booster

skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

pytestmark = [
    # Small members take no longer than the routing.
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning"),
    # LightGBM invents names for the columns of arrays, and then misses them.
    pytest.mark.filterwarnings("ignore:X does not have valid feature names, but LGBM:UserWarning"),
    # Wheels built for a newer numpy warn on import; numpy itself silences it outside pytest.
    pytest.mark.filterwarnings("ignore:numpy.ufunc size changed:RuntimeWarning"),
]
converters = pytest.mark.skipif(
    importlib.util.find_spec("onnxmltools") is None,
    reason="onnxmltools, which converts boosters, is not installed",
)
LIBRARIES = ["lightgbm", "xgboost"]
each_library = pytest.mark.parametrize("library", LIBRARIES)
# Trees add in float32, whatever X is.
ATOL = 1e-6


def rows(n_classes, words=False):
    """Return 250 rows to fit on, their labels, and 500 more rows."""
    X, y = make_classification(
        750, 8, n_informative=6, n_classes=n_classes, flip_y=0.1, random_state=1
    )
    labels = np.array(["no", "yes", "maybe"])[y] if words else y
    return X[:250], labels[:250], X[250:]


def between(member, X):
    """Return a threshold in the widest gap of the middle confidences."""
    confidence = np.unique(member.predict_proba(X).max(axis=1))
    third = len(confidence) // 3
    middle = confidence[third : 2 * len(confidence) // 3 + 2]
    widest = int(np.diff(middle).argmax())
    return float(middle[widest : widest + 2].mean())


@converters
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
# XGBoost takes no text as labels.
@pytest.mark.parametrize(
    ("library", "words"), [("lightgbm", False), ("lightgbm", True), ("xgboost", False)]
)
def test_booster_converts_at_both_ends(library, n_classes, dtype, words):
    """Check labels, stages and probabilities for both types of numbers and of labels."""
    X, y, more = rows(n_classes, words)
    # Rows that float32 holds exactly, so that no value changes side in a tree.
    X, more = X.astype("f4").astype(dtype), more.astype("f4").astype(dtype)
    first, last = booster(library).fit(X, y), booster(library, seed=1).fit(X[::2], y[::2])
    stages = [("first", first), ("middle", LogisticRegression().fit(X, y)), ("last", last)]
    cascade = CascadeClassifier(
        [(name, FrozenEstimator(member)) for name, member in stages],
        thresholds=[between(first, more), between(stages[1][1], more)],
        combine="last",
    ).fit(X, y)
    assert set(cascade.predict_details(more).exit_stage) == {0, 1, 2}
    model = to_onnx(cascade, more)
    assert_same(cascade, model, more, atol=ATOL)
    assert run(model, more)["probabilities"].dtype == dtype


@converters
@each_library
def test_booster_converts_within_others(library):
    """Check a booster in a pipeline, in a cascade in a pipeline, and with values missing."""
    X, y, more = rows(3)
    X, more = X.astype("f4"), more.astype("f4")
    X[::7, 0] = more[::5, 1] = np.nan
    member = booster(library).fit(X, y)
    piped = make_pipeline(StandardScaler(), booster(library)).fit(X, y)
    cascade = CascadeClassifier(
        [("alone", FrozenEstimator(member)), ("piped", FrozenEstimator(piped))],
        thresholds=between(member, more),
    ).fit(X, y)
    assert_same(cascade, to_onnx(cascade, more), more, atol=ATOL)


@converters
def test_both_boosters_convert_in_one_file():
    """Check both libraries in one cascade, also through skl2onnx's own call."""
    X, y, more = rows(3)
    X, more = X.astype("f4"), more.astype("f4")
    members = [(library, FrozenEstimator(booster(library).fit(X, y))) for library in LIBRARIES]
    cascade = CascadeClassifier(members, thresholds=between(members[0][1], more)).fit(X, y)
    assert_same(cascade, to_onnx(cascade, more), more, atol=ATOL)
    register_onnx_converter()
    options = {"zipmap": False}
    model = skl2onnx.to_onnx(
        cascade, more[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=options
    )
    assert_same(cascade, model, more, atol=ATOL)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxmltools") is not None,
    reason="onnxmltools is installed, so that boosters convert",
)
@each_library
def test_booster_without_converters_tells_what_to_install(library):
    """Check that the error names stage, class and the extra."""
    X, y, more = rows(2)
    member = FrozenEstimator(booster(library).fit(X, y))
    cascade = CascadeClassifier([("booster", member)]).fit(X, y)
    with pytest.raises(UnconvertibleMemberError, match="onnxmltools") as caught:
        to_onnx(cascade, more)
    assert "pip install 'sklearn-cascade[boosters-onnx]'" in str(caught.value)
    assert f"stage 0 'booster' ({type(member.estimator).__name__})" in str(caught.value)


def test_catboost_error_proposes_its_own_file():
    """Check the hint for a booster that saves ONNX itself."""
    X, y, more = rows(2)
    member = FrozenEstimator(booster("catboost", "array").fit(X, y))
    cascade = CascadeClassifier([("booster", member)]).fit(X, y)
    with pytest.raises(UnconvertibleMemberError, match="as an OnnxClassifier") as caught:
        to_onnx(cascade, more)
    assert "save_model(format='onnx')" in str(caught.value)
