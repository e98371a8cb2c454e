"""Tests of exported nets whose inputs and outputs have other shapes than (n_samples, n_classes)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier, OnnxClassifier, to_onnx
from sklearn_cascade.exceptions import UnconvertibleMemberError
from tests.export.sessions import assert_same
from tests.members.graphs import build, linear_net, node, port

X, Y = make_classification(400, 4, n_informative=3, n_redundant=0, random_state=0)
X = X.astype(np.float32)
DIRECTION = np.array([[0.9], [-0.4], [0.3], [1.1]], dtype=np.float32)


def net(*last, shape, scale=1.0):
    """Return a net with one score per row, which some last nodes turn into the output `out`."""
    return build(
        [node("MatMul", "x weights", "score"), *last],
        [port("x", "float32", ["n", 4])],
        [port("out", "float32", ["n", *shape])],
        {"weights": DIRECTION * scale, "columns": np.array([1]), "axes": np.array([1, 2])},
    )


SIGMOID = node("Sigmoid", "score", "out")
# By name: the last nodes, the shape of the output beside the rows, and parameters of the member.
OUTPUTS = {
    "one column": ([SIGMOID], [1], {}),
    "no column": ([node("Sigmoid", "score", "p"), node("Squeeze", "p columns", "out")], [], {}),
    "one column of logits": ([node("Identity", "score", "out")], [1], {"softmax": True}),
    "two axes more": (
        [
            node("Neg", "score", "other"),
            node("Concat", "other score", "both", axis=1),
            node("Softmax", "both", "p", axis=1),
            node("Unsqueeze", "p two", "out"),
        ],
        [2, 1, 1],
        {},
    ),
}


def cascade_of(model, rows, **params):
    """Return a fitted cascade of a linear model and a net."""
    members = [
        ("linear", LogisticRegression()),
        ("net", OnnxClassifier(model, classes=[0, 1], **params)),
    ]
    return CascadeClassifier(members, thresholds=0.8).fit(rows, Y)


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_other_shapes_become_one_column_per_class(name):
    """Check that probabilities of one class only, or with axes of length one, are exported."""
    last, shape, params = OUTPUTS[name]
    model = net(*last, shape=shape)
    if name == "two axes more":
        model.graph.initializer.add().CopyFrom(
            build([], [], [], {"two": np.array([2, 3])}).graph.initializer[0]
        )
    cascade = cascade_of(model, X, **params)
    assert_same(cascade, to_onnx(cascade, X), X)


def test_columns_of_a_frame_become_the_matrix_of_a_net():
    """Check that a net with one matrix gets the columns that another member selects by name."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    by_name = make_pipeline(
        ColumnTransformer([("some", StandardScaler(), ["a", "d"])]), LogisticRegression()
    )
    some_net = OnnxClassifier(net(SIGMOID, shape=[1]), classes=[0, 1])
    cascade = CascadeClassifier([("by_name", by_name), ("net", some_net)], thresholds=0.8)
    cascade.fit(frame, Y)
    assert_same(cascade, to_onnx(cascade, frame), frame)


def test_a_net_that_takes_text_is_refused_numbers():
    """Check the error where a net expects text and X holds numbers."""
    model = build(
        [node("Cast", "x", "numbers", to=1), node("Softmax", "numbers", "out", axis=1)],
        [port("x", "string", ["n", 2])],
        [port("out", "float32", ["n", 2])],
    )
    words = np.array([["1", "2"], ["3", "1"]] * 200, dtype=object)
    cascade = CascadeClassifier(
        [
            ("net", OnnxClassifier(model, classes=[0, 1])),
            ("same", OnnxClassifier(model, classes=[0, 1])),
        ],
        thresholds=0.8,
    ).fit(words, Y)
    with pytest.raises(UnconvertibleMemberError, match="takes text, and X holds numbers"):
        to_onnx(cascade, X[:, :2], verify=False)


def test_linear_net_has_its_own_classes():
    """Check that a net of three classes beside two of the labels keeps its columns."""
    cascade = CascadeClassifier(
        [
            ("net", OnnxClassifier(linear_net(), classes=[0, 1, 2])),
            ("linear", LogisticRegression()),
        ],
        thresholds=0.6,
    ).fit(X, Y)
    assert_same(cascade, to_onnx(cascade, X), X)
