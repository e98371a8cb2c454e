"""Tests of the labels that an ONNX graph carries, and of multiply-adds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sklearn_cascade import OnnxClassifier
from sklearn_cascade.exceptions import OnnxModelError
from tests.members.graphs import (
    ROWS,
    WEIGHTS,
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


@pytest.mark.parametrize("labels", [["b", "c", "a"], [7, 5, 9]])
@pytest.mark.parametrize("form", ["zipmap", "tensor", "scores-only"])
def test_labels_of_a_classifier_node(labels, form):
    """Check labels and columns in the classifier's order, from dicts, tensors and alone."""
    graph = linear_classifier(labels, zipmap=form == "zipmap", label_output=form != "scores-only")
    model = OnnxClassifier(graph)
    np.testing.assert_allclose(model.predict_proba(ROWS), linear_answer(ROWS), **CLOSE)
    assert model.classes_.tolist() == labels
    assert model.classes_.dtype.kind == ("U" if isinstance(labels[0], str) else "i")
    expected = np.array(labels)[linear_answer(ROWS).argmax(axis=1)]
    assert model.predict(ROWS).tolist() == expected.tolist()


def looked_up(form):
    """Return a graph whose label output is looked up by the number of the class."""
    constants = {"names": np.array(["x", "y", "z"], dtype=object)}
    number = node("ArgMax", "x", "number", axis=1, keepdims=0)
    look_up = {
        "gather": node("Gather", "names number", "found"),
        "extractor": ml_node("ArrayFeatureExtractor", "names number", "found"),
        "encoder": ml_node(
            "LabelEncoder", "number", "found", keys_int64s=[2, 0, 1], values_strings=["z", "x", "y"]
        ),
    }[form]
    shape = node("Reshape", "found shape", "label")
    constants["shape"] = np.array([-1])
    outputs = [port("label", "string", ["n"]), port("p", "float32", ["n", 3])]
    if form == "encoder":
        del constants["names"]
    return passing(
        outputs, [node("Identity", "x", "p"), number, look_up, shape], constants=constants
    )


@pytest.mark.parametrize("form", ["gather", "extractor", "encoder"])
def test_labels_are_traced_back_from_the_label_output(form):
    """Check labels that a constant or an encoder gives to the number of the class."""
    model = OnnxClassifier(looked_up(form))
    assert model.classes_.tolist() == ["x", "y", "z"]
    proba = np.array([[0.5, 0.25, 0.25], [0, 0.25, 0.75]])
    assert model.predict(proba).tolist() == ["x", "z"] == model.outputs(proba)["label"].tolist()


def test_labels_of_another_number_or_twice_the_same_are_passed_over():
    """Check that what cannot be the labels of the columns is not taken for them."""
    for names in (["x", "y"], ["x", "y", "z", "w"], ["x", "x", "y"]):
        graph = looked_up("gather")
        graph.graph.initializer[0].string_data[:] = [name.encode() for name in names]
        graph.graph.initializer[0].dims[:] = [len(names)]
        assert OnnxClassifier(graph).classes_.tolist() == [0, 1, 2]


def test_encoders_of_inputs_are_no_labels():
    """Check that an encoder between input and scores is not taken for one of labels."""
    encode = ml_node(
        "LabelEncoder", "x", "codes", keys_strings=["u", "v", "w"], values_int64s=[5, 6, 7]
    )
    nodes = [
        encode,
        node("Cast", "codes", "numbers", to=1),
        node("Softmax", "numbers", "p", axis=1),
    ]
    graph = passing([port("p", "float32", ["n", 3])], nodes, kind="string")
    assert OnnxClassifier(graph).classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(["cat", "dog", "emu"]), ["cat", "dog", "emu"]),
        (json.dumps([3, 1, 2]), [3, 1, 2]),
        (json.dumps(["cat", "dog"]), [0, 1, 2]),
        (json.dumps(["cat", "dog", "dog"]), [0, 1, 2]),
        (json.dumps([["cat"], ["dog"], ["emu"]]), [0, 1, 2]),
        (json.dumps({"0": "cat", "1": "dog", "2": "emu"}), [0, 1, 2]),
        ("cat, dog, emu", [0, 1, 2]),
    ],
)
def test_labels_of_the_metadata(text, expected):
    """Check that a JSON list of the right number of labels is used, and nothing else."""
    assert OnnxClassifier(linear_net(metadata={"classes": text})).classes_.tolist() == expected


@pytest.mark.parametrize("width", [3, "classes", None])
def test_classes_are_counted(width):
    """Check that without labels classes are numbers, counted on a row of zeros if need be."""
    for kind in ("float32", "int64", "bool"):
        model = OnnxClassifier(linear_net(kind, width=width))
        assert model.classes_.tolist() == [0, 1, 2]


def test_classes_that_cannot_be_counted_have_to_be_named():
    """Check the error where neither input nor output tell the width, and the way out."""
    graph = passing([port("p", "float32", ["n", "k"])], shape=["n", "k"])
    proba = np.array([[0.5, 0.25, 0.25]])
    with pytest.raises(OnnxModelError, match=r"how many classes .* name them with classes.*'x'"):
        OnnxClassifier(graph).predict(proba)
    named = OnnxClassifier(graph, classes=["a", "b", "c"])
    np.testing.assert_array_equal(named.predict_proba(proba), proba)
    assert not hasattr(named, "n_features_in_")
    with pytest.raises(ValueError, match=r"has shape \(1, 3\); expected \(1, 4\)"):
        OnnxClassifier(graph, classes=range(4)).predict(proba)


def test_failure_on_a_row_of_zeros_is_named():
    """Check a graph that cannot take the row of zeros by which classes are counted."""
    nodes = [
        node("Cast", "x", "whole", to=7),
        node("Squeeze", "whole", "lengths"),
        node("Reshape", "x lengths", "p", allowzero=1),
    ]
    graph = passing([port("p", "float32", ["n", "m"])], nodes)
    with pytest.raises(OnnxModelError, match="fails on a row of zeros"):
        OnnxClassifier(graph).predict(np.zeros((2, 3)))


@pytest.mark.parametrize("zipmap", [False, True])
def test_given_classes_rename_the_columns(zipmap):
    """Check that labels given go before those of the graph, column by column."""
    graph = linear_classifier([5, 6, 7], zipmap=zipmap)
    model = OnnxClassifier(graph, classes=["z", "y", "x"])
    assert model.classes_.tolist() == ["z", "y", "x"]
    np.testing.assert_allclose(model.predict_proba(ROWS), linear_answer(ROWS), **CLOSE)


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "a"], ["a"], [["a", "b", "c"]], 3])
def test_wrong_classes_are_named(classes):
    """Check that classes of another number than the output's columns are an error."""
    with pytest.raises(ValueError, match=r"classes=.*(expected at least two|tells 3 classes)"):
        OnnxClassifier(linear_net(), classes=classes).predict(ROWS)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], [4, 5], [2, 0, 1]])
@pytest.mark.parametrize("kind", ["linear", "forest", "bayes", "calibrated", "pipeline"])
def test_files_of_skl2onnx_answer_like_the_estimator(iris, kind, labels, zipmap):
    """Check labels and probabilities of converted estimators, as tensors and as dicts."""
    skl2onnx = pytest.importorskip(
        "skl2onnx", reason="skl2onnx does not work here", exc_type=ImportError
    )
    X, y = iris
    fitted = estimator(kind).fit(X, np.array(labels)[np.minimum(y, len(labels) - 1)])
    options = {"zipmap": zipmap}
    graph = skl2onnx.to_onnx(fitted, X[:1].astype("f4"), options=options, target_opset=17)
    model = OnnxClassifier(graph)
    assert model.classes_.tolist() == fitted.classes_.tolist()
    # float32 against float64.
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))


def estimator(kind):
    """Return an estimator by a short name."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "linear": LogisticRegression(max_iter=1000),
        "forest": RandomForestClassifier(5, max_depth=3, random_state=0),
        "bayes": GaussianNB(),
        "calibrated": CalibratedClassifierCV(GaussianNB(), cv=3),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    }[kind]


def test_multiply_adds_are_counted_by_hand():
    """Check convolutions, with groups and transposed, and matrix products of every kind."""
    # 16 places times 4 filters of 9 weights; then 4 times 3.
    assert OnnxClassifier(conv_net()).multiply_adds_ == 4 * 4 * 4 * 9 + 12
    assert OnnxClassifier(linear_net()).multiply_adds_ == 12
    assert OnnxClassifier(linear_net(shape=(32, 4))).multiply_adds_ == 12
    assert OnnxClassifier(linear_classifier([0, 1, 2], zipmap=True)).multiply_adds_ == 12
    nodes = [
        node("Conv", "x grouped", "a", kernel_shape=[1, 1], group=2),
        node("ConvTranspose", "a up", "b", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "b", "c"),
        node("Transpose", "c", "d", perm=[1, 0]),
        node("Gemm", "d weights", "p", transA=1, transB=1),
    ]
    constants = {
        "grouped": np.ones((4, 1, 1, 1), "f4"),
        "up": np.ones((4, 1, 2, 2), "f4"),
        "weights": np.ones((3, 64), "f4"),
    }
    shape = ["n", 2, 4, 4]
    model = passing([port("p", "float32", ["n", 3])], nodes, shape=shape, constants=constants)
    assert OnnxClassifier(model).multiply_adds_ == 4 * 16 + 4 * 16 * 4 + 64 * 3


def test_multiply_adds_that_cannot_be_counted_are_none():
    """Check that trees, open shapes, loops and files that are none give None, never an error."""
    tree = ml_node(
        "TreeEnsembleClassifier",
        "x",
        "label p",
        **{
            "nodes_treeids": [0, 0, 0],
            "nodes_nodeids": [0, 1, 2],
            "nodes_featureids": [0, 0, 0],
            "nodes_values": [0.5, 0.0, 0.0],
            "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
            "nodes_truenodeids": [1, 0, 0],
            "nodes_falsenodeids": [2, 0, 0],
            "class_treeids": [0, 0],
            "class_nodeids": [1, 2],
            "class_ids": [0, 1],
            "class_weights": [1.0, 1.0],
            "classlabels_int64s": [0, 1, 2],
        },
    )
    outputs = [port("label", "int64", ["n"]), port("p", "float32", ["n", 3])]
    model = OnnxClassifier(build([tree], [port("x", "float32", ["n", 2])], outputs))
    assert model.predict([[0.0, 9.0], [1.0, 9.0]]).tolist() == [0, 1]
    einsum = [node("Einsum", "x weights", "p", equation="ij,jk->ik")]
    outputs = [port("p", "float32", ["n", 3])]
    by_einsum = passing(outputs, einsum, shape=["n", 4], constants={"weights": WEIGHTS})
    elementwise = passing(outputs, [node("Mul", "x x", "p")])
    open_shape = linear_net(shape=("n", "a", "b"))
    for source in (by_einsum, elementwise, open_shape, b"no model", "missing.onnx"):
        assert OnnxClassifier(source).multiply_adds_ is None
    assert model.multiply_adds_ is None
