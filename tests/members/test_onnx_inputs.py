"""Tests of what an ONNX graph may take."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sklearn_cascade import OnnxClassifier
from sklearn_cascade.exceptions import OnnxModelError
from tests.members.graphs import (
    ROWS,
    build,
    conv_net,
    linear_answer,
    linear_classifier,
    linear_net,
    ml_node,
    node,
    passing,
    port,
)

# float32 keeps seven digits.
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]
)
@pytest.mark.parametrize("given", ["same", "float64", "int16", "object", "list", "sparse"])
def test_numbers_reach_an_input_of_any_type(kind, given):
    """Check that X is cast to the graph's type, whatever type and container it comes in."""
    forms = {"list": ROWS.tolist(), "sparse": csr_matrix(ROWS)}
    X = forms[given] if given in forms else ROWS.astype(kind if given == "same" else given)
    proba = OnnxClassifier(linear_net(kind)).predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba, linear_answer(ROWS), **CLOSE)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("int64", 0.5, "0.5 is no int64"),
        ("int64", np.nan, "nan is no int64"),
        ("uint8", 300, "300 is no uint8"),
        ("uint8", -1, "-1 is no uint8"),
        ("int32", np.uint64(2**63), f"{2**63} is no int32"),
        ("bool", 2, "2 is no bool"),
        ("float32", 1e300, "a value is too large for float32"),
        ("float16", 1e5, "a value is too large for float16"),
        ("float32", "1.5", "expected numbers"),
        ("float32", 1j, "expected numbers"),
        ("float32", np.datetime64("2020-01-01"), "expected numbers"),
    ],
)
def test_values_that_would_change_are_refused(kind, value, message):
    """Check that no value is cut, wrapped round or read from text on its way to the graph."""
    with pytest.raises(OnnxModelError, match=f"'x' tensor.*{message}"):
        OnnxClassifier(linear_net(kind)).predict_proba(np.full((2, 4), value))


def test_missing_values_and_infinity_reach_a_floating_input():
    """Check that NaN is the model's own affair, and infinity no overflow."""
    cleaning = [
        node("IsNaN", "x", "missing"),
        node("Where", "missing zero x", "clean"),
        node("MatMul", "clean weights", "logits"),
        node("Softmax", "logits", "p"),
    ]
    constants = {"zero": np.float32(0), "weights": np.eye(3, dtype="f4")}
    model = passing([port("p", "float32", ["n", 3])], cleaning, constants=constants)
    proba = OnnxClassifier(model).predict_proba([[0, None, 0], [np.nan, 0.0, 0]])
    np.testing.assert_allclose(proba, np.full((2, 3), 1 / 3), **CLOSE)
    identity = OnnxClassifier(passing([port("p", "float32", ["n", 3])]))
    assert np.isnan(identity.predict_proba(np.full((1, 3), np.nan))).all()


def test_images_are_cast_and_not_scaled():
    """Check that images of uint8 enter a floating input as numbers from 0 to 255."""
    images = np.random.default_rng(1).integers(0, 256, size=(5, 1, 8, 8), dtype=np.uint8)
    model = OnnxClassifier(conv_net())
    proba = model.predict_proba(images)
    np.testing.assert_array_equal(proba, model.predict_proba(images.astype("f4")))
    assert np.abs(proba - model.predict_proba(images / 255)).max() > 0.01


@pytest.mark.parametrize(
    ("shape", "X"),
    [
        (["n", 4], np.zeros((2, 5))),
        (["n", 4], np.zeros(4)),
        (["n", 4], np.zeros((2, 4, 1))),
        (["n", 2, 2], np.zeros((2, 4))),
        (["n", 1, 2, 2], np.zeros((2, 1, 2, 3))),
    ],
)
def test_wrong_shapes_are_named(shape, X):
    """Check that the error tells the shape of X beside that of the input."""
    with pytest.raises(
        OnnxModelError, match=r"X has shape .*; the graph takes 'x' tensor"
    ) as caught:
        OnnxClassifier(linear_net(shape=shape)).predict(X)
    assert str(X.shape) in str(caught.value)


TEXT_NODES = [
    ml_node(
        "LabelEncoder", "x", "p", keys_strings=["spam", "ham"], values_floats=[0.75, 0.25],
        default_float=0.5,
    )
]  # fmt: skip


def texts_in(container):
    """Return three texts in some container."""
    texts = ["spam", "ham", "egg"]
    if container == "array":
        return np.array(texts)
    if container == "column":
        return np.array(texts, dtype=object)[:, None]
    if container in ("pandas", "polars"):
        return pytest.importorskip(container).DataFrame({"text": texts})
    return texts


@pytest.mark.parametrize("container", ["list", "array", "column", "pandas", "polars"])
@pytest.mark.parametrize("shape", [["n"], ["n", 1]])
def test_texts_reach_a_string_input(container, shape):
    """Check a graph of strings, as one axis or as a column, in several containers."""
    model = passing([port("p", "float32", shape)], TEXT_NODES, kind="string", shape=shape)
    positive = OnnxClassifier(model, classes=["ham", "spam"])
    X = texts_in(container)
    assert positive.predict_proba(X)[:, 1].tolist() == [0.75, 0.25, 0.5]
    assert positive.predict(X[:2]).tolist() == ["spam", "ham"]


@pytest.mark.parametrize("value", [1.5, None, b"spam"])
def test_what_is_no_text_is_refused_by_a_string_input(value):
    """Check that numbers and missing values do not turn into text."""
    model = passing([port("p", "float32", ["n"])], TEXT_NODES, kind="string", shape=["n"])
    with pytest.raises(OnnxModelError, match="expected text, got"):
        OnnxClassifier(model).predict_proba(np.array(["spam", value], dtype=object))


def columns_net(wide=False):
    """Return a graph of three inputs of different types; with `wide`, one has two columns."""
    nodes = [
        *TEXT_NODES,
        node("Cast", "count", "number", to=1),
        node("Add", "p number", "sum"),
        node("Mul", "sum size", "product"),
        node("ReduceMean", "product", "positive", axes=[1]),
    ]
    inputs = [port("x", "string", ["n", 1]), port("count", "int64", ["n", 1])]
    inputs.append(port("size", "float32", ["n", 2 if wide else 1]))
    return build(nodes, inputs, [port("positive", "float32", ["n", 1])])


@pytest.mark.parametrize("container", ["pandas", "polars", "dict"])
def test_columns_reach_the_inputs_of_their_names(container):
    """Check that several inputs are fed from a frame by name; other columns do not disturb."""
    columns = {"size": [0.5, 1.0], "other": ["a", "b"], "count": [1, 0], "x": ["ham", "spam"]}
    X = columns
    if container != "dict":
        X = pytest.importorskip(container).DataFrame(columns)
    model = OnnxClassifier(columns_net())
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], [0.625, 0.75], **CLOSE)
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["x", "count", "size"]


def test_a_wide_input_among_several_takes_an_array_of_its_name():
    """Check that a dict of arrays feeds a wide input, for which a frame is ambiguous."""
    pandas = pytest.importorskip("pandas")
    model = OnnxClassifier(columns_net(wide=True))
    columns = {"size": np.array([[0.25, 0.75]]), "count": [1], "x": ["ham"]}
    np.testing.assert_allclose(model.predict_proba(columns)[:, 1], [0.625], **CLOSE)
    with pytest.raises(
        OnnxModelError, match=r"takes more than one column .*'size' tensor\(float\)"
    ):
        model.predict(pandas.DataFrame({"size": [0.5], "count": [1], "x": ["ham"]}))
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("X", [3, "text", [[0, 1], [2]], [[0, 1, 2, 3], [4, 5, 6]]])
def test_what_is_no_array_of_rows_is_named(X):
    """Check that a number, a text and ragged lists get the error of the model."""
    with pytest.raises(OnnxModelError, match=r"X is no array|the graph takes|does not go into"):
        OnnxClassifier(linear_net()).predict(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"x": ["ham"], "size": [1.0]}, r"X lacks \['count'\]"),
        ({"x": ["ham"], "size": [1.0], "count": [0, 1]}, "different numbers of rows"),
        (np.zeros((2, 3)), "X has no named columns"),
    ],
)
def test_inputs_that_x_lacks_are_named(X, message):
    """Check that the error lists what is missing, with names, types and shapes."""
    model = OnnxClassifier(columns_net())
    with pytest.raises(OnnxModelError, match=message) as caught:
        model.predict_proba(X)
    if "rows" not in message:
        assert "'x' tensor(string) [n, 1]; 'count' tensor(int64) [n, 1]" in str(caught.value)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_a_whole_frame_reaches_a_single_input(container):
    """Check that a single wide input takes all columns, in their order."""
    frames = pytest.importorskip(container)
    frame = frames.DataFrame({name: ROWS[:, k] for k, name in enumerate("abcd")})
    model = OnnxClassifier(linear_net())
    np.testing.assert_allclose(model.predict_proba(frame), linear_answer(ROWS), **CLOSE)
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")


def test_nullable_columns_of_pandas_reach_a_floating_input():
    """Check that pandas' own missing values become NaN."""
    pandas = pytest.importorskip("pandas")
    column = pandas.array([1, None], dtype="Int64")
    frame = pandas.DataFrame({"a": column, "b": [0.0, 0.0], "c": [0.0, 0.0]})
    proba = OnnxClassifier(passing([port("p", "float32", ["n", 3])])).outputs(frame)["p"]
    np.testing.assert_array_equal(proba, [[1, 0, 0], [np.nan, 0, 0]])


def batch_telling_net(shape):
    """Return a graph that answers the reciprocal of the number of rows it sees at once."""
    nodes = [
        node("Shape", "x", "lengths", start=0, end=1),
        node("Cast", "lengths", "count", to=1),
        node("ReduceMean", "x", "zero", axes=[1]),
        node("Div", "one count", "share"),
        node("Add", "share zero", "p"),
    ]
    outputs = [port("p", "float32", [shape[0], 1])]
    return passing(outputs, nodes, shape=shape, constants={"one": np.float32(1)})


@pytest.mark.parametrize(
    ("batch_size", "runs"),
    [(None, [10] * 10), (4, [4] * 8 + [2] * 2), (1, [1] * 10), (10, [10] * 10), (99, [10] * 10)],
)
def test_batch_size_bounds_the_rows_of_a_run(batch_size, runs):
    """Check, through a graph that tells, how many rows each run gets."""
    model = OnnxClassifier(batch_telling_net(["n", 3]), batch_size=batch_size)
    positive = model.predict_proba(np.zeros((10, 3)))[:, 1]
    np.testing.assert_allclose(1 / positive, runs, rtol=1e-6)


@pytest.mark.parametrize("n_fixed", [1, 3, 32])
@pytest.mark.parametrize("zipmap", [False, True])
def test_graphs_of_a_fixed_batch_size_take_any_number_of_rows(n_fixed, zipmap):
    """Check that rows are cut into the graph's own batches, the last one filled up."""
    model = linear_classifier(["a", "b", "c"], zipmap=zipmap)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = n_fixed
    found = OnnxClassifier(model, batch_size=2)
    np.testing.assert_allclose(found.predict_proba(ROWS), linear_answer(ROWS), **CLOSE)
    assert len(found.outputs(ROWS)["label"]) == len(ROWS)
    told = OnnxClassifier(batch_telling_net([n_fixed, 3])).predict_proba(np.zeros((2, 3)))
    np.testing.assert_allclose(1 / told[:, 1], n_fixed, rtol=1e-6)


@pytest.mark.parametrize("fixed", [False, True])
def test_no_rows_get_no_answers(fixed):
    """Check X without rows."""
    model = OnnxClassifier(linear_net(shape=(2 if fixed else "n", 4)))
    assert model.predict_proba(np.empty((0, 4))).shape == (0, 3)
    assert model.predict(np.empty((0, 4))).shape == (0,)


def test_input_name_cannot_stand_for_several_inputs():
    """Check that naming one of several inputs is an error that lists all."""
    with pytest.raises(OnnxModelError, match=r"'x' is not all .*'count'.*'size'"):
        OnnxClassifier(columns_net(), input_name="x").predict(["a"])
    named = OnnxClassifier(linear_net(), input_name="x", output_name="probabilities")
    np.testing.assert_allclose(named.predict_proba(ROWS), linear_answer(ROWS), **CLOSE)
