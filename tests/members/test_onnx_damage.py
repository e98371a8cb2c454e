"""Tests of damaged ONNX files: none ends the process, or in an error of another kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sklearn_cascade import OnnxClassifier
from sklearn_cascade.exceptions import InvalidProbabilitiesError, OnnxModelError
from tests.members.graphs import (
    ROWS,
    conv_net,
    linear_classifier,
    linear_net,
    ml_node,
    node,
    onnx,
    passing,
    port,
)

ROOT = Path(__file__).parents[2]
N_SEEDS = 150


def damaged(model, op_type, **attributes):
    """Return a model with other values in the attributes of its nodes of one type."""
    for each in (each for each in model.graph.node if each.op_type == op_type):
        for attribute in (a for a in each.attribute if a.name in attributes):
            values = attributes[attribute.name]
            field = attribute.floats if attribute.floats else attribute.ints
            field[:] = values
    return model


def svm():
    """Return a support vector machine of three classes and three vectors."""
    machine = ml_node(
        "SVMClassifier",
        "x",
        "label p",
        classlabels_ints=[0, 1, 2],
        coefficients=[1.0, -1.0, 1.0, -1.0, 1.0, -1.0],
        kernel_params=[0.5, 0.0, 3.0],
        kernel_type="RBF",
        prob_a=[-1.0, -1.0, -1.0],
        prob_b=[0.0, 0.0, 0.0],
        rho=[0.0, 0.0, 0.0],
        support_vectors=[0.0, 0, 0, 1, 1, 1, 2, 2, 2],
        vectors_per_class=[1, 1, 1],
    )
    return passing([port("label", "int64", ["n"]), port("p", "float32", ["n", 3])], [machine])


def tree(**changes):
    """Return a tree of one question, some attributes changed."""
    attributes = {
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
    }
    each = ml_node("TreeEnsembleClassifier", "x", "label p", **{**attributes, **changes})
    return passing([port("label", "int64", ["n"]), port("p", "float32", ["n", 3])], [each])


def test_undamaged_models_of_these_tests_answer():
    """Check that what is damaged below works before."""
    assert OnnxClassifier(tree()).predict([[0, 0, 0], [1, 0, 0]]).tolist() == [0, 1]
    proba = OnnxClassifier(svm()).predict_proba(np.eye(3) * [0, 1, 2])
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (damaged(conv_net(), "Conv", strides=[2, 0]), r"strides=\[2, 0\]"),
        (damaged(conv_net(), "Conv", pads=[1, 1, 1, -2]), r"pads=\[1, 1, 1, -2\]"),
        (damaged(conv_net(), "Conv", pads=[2**23, 1, 1, 1]), "one row would need a tensor 'c'"),
        (
            damaged(linear_classifier([0, 1, 2]), "LinearClassifier", coefficients=[1.0] * 9),
            "9 coef",
        ),
        (damaged(svm(), "SVMClassifier", vectors_per_class=[1, 2**20, 1]), "9 numbers for"),
        (damaged(svm(), "SVMClassifier", vectors_per_class=[3]), "1 groups of support vectors"),
        (damaged(svm(), "SVMClassifier", rho=[0.0]), "1 rho for 3 pairs"),
        (damaged(svm(), "SVMClassifier", support_vectors=[0.0] * 6), "6 numbers for 3 support"),
        (damaged(svm(), "SVMClassifier", coefficients=[0.0] * 4), "4 coefficients"),
        (damaged(svm(), "SVMClassifier", kernel_params=[0.5]), "1 kernel_params"),
        (tree(nodes_featureids=[3, 0, 0]), "feature numbers from 0 to 3 for 3 columns"),
        (tree(nodes_featureids=[-1, 0, 0]), "feature numbers from -1"),
        (tree(class_weights=[1.0]), r"class_\* of unlike lengths"),
        (tree(nodes_truenodeids=[1, 0]), r"nodes_\* of unlike lengths"),
        (tree(nodes_truenodeids=[2**40, 0, 0]), "children are missing, or have two parents"),
        (tree(nodes_truenodeids=[3, 0, 0]), "children are missing"),
        (tree(nodes_falsenodeids=[1, 0, 0]), "children are missing"),
        (tree(nodes_falsenodeids=[0, 0, 0]), "children are missing"),
        (tree(nodes_nodeids=[0, 1, 1]), "children are missing"),
        (tree(class_ids=[0, 3]), "class_ids beyond 3 classes"),
    ],
)
def test_attributes_that_contradict_each_other_are_refused(model, message):
    """Check damage on which runtimes are known to divide by zero or read beyond an end."""
    with pytest.raises(OnnxModelError, match=f"{message}.*the file is damaged"):
        OnnxClassifier(model).predict(ROWS)


def image_net(op_type, constants, *, width=8, **attributes):
    """Return a net that changes the size of its images in one node, then averages."""
    nodes = [
        node(op_type, " ".join(["x", *constants]), "changed", **attributes),
        node("ReduceMean", "changed", "logits", axes=[2], keepdims=0),
        node("Softmax", "logits", "p", axis=1),
    ]
    shape = ["n", 3, width]
    outputs = [port("p", "float32", ["n", 3])]
    return passing(outputs, nodes, shape=shape, constants=constants)


def padded(*borders, width=8):
    """Return a net that adds to its images, or cuts off."""
    return image_net("Pad", {"borders": np.array(borders)}, width=width)


def resized(*scales):
    """Return a net that resizes its images."""
    return image_net("Resize", {"region": np.ones(0, "f4"), "scales": np.array(scales, "f4")})


def recurrent(n_hidden):
    """Return a recurrent net of three hidden numbers that claims to have some others."""
    constants = {"w": np.ones((1, 12, 3), "f4"), "r": np.ones((1, 12, 3), "f4")}
    nodes = [node("LSTM", "x w r", "all p", hidden_size=n_hidden)]
    shape = [1, "n", 3]
    return passing([port("p", "float32", [1, "n", 3])], nodes, shape=shape, constants=constants)


@pytest.mark.parametrize(
    "model",
    [padded(0, 0, 1, 0, 0, 1), padded(0, 0, -3, 0, 0, -4), padded(0, 0, -3, 0, 0, 0, width="w")],
)
def test_images_may_be_padded_and_cut(model):
    """Check that borders are added and cut off where something is left."""
    found = OnnxClassifier(model, classes=range(3)).predict_proba(np.ones((2, 3, 8)))
    np.testing.assert_allclose(found, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("scales", [(1, 1, 2), (1, 1, 0.5)])
def test_images_may_be_resized(scales):
    """Check that images become larger and smaller."""
    found = OnnxClassifier(resized(*scales), classes=range(3)).predict_proba(np.ones((2, 3, 8)))
    np.testing.assert_allclose(found, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (padded(0, 0, 2**40, 0, 0, 0), "one row would need a tensor 'changed'"),
        (padded(0, 0, 2**23, 0, 0, 0), "one row would need a tensor 'changed'"),
        (recurrent(2**20), "hidden_size=1048576"),
        (recurrent(2**40), "hidden_size="),
        (linear_net(shape=("n", 2**40)), "its input 'x' has shape"),
        (linear_net(shape=("n", -4)), "its input 'x' has shape"),
        (linear_net(shape=("n", 5)), "its shapes contradict each other"),
    ],
)
def test_shapes_that_cannot_be_are_refused(model, message):
    """Check damage that makes runtimes, or onnx itself, end the process or fill the memory."""
    with pytest.raises(OnnxModelError, match=message):
        OnnxClassifier(model, classes=range(3)).predict(np.ones((2, 3, 8)))


@pytest.mark.parametrize(
    "model",
    [
        padded(0, 0, -(2**63), 0, 0, 0),
        padded(0, 0, -3, 0, 0, -6),
        padded(0, 0, 0, 0, 0, -9),
        padded(0, 0, 0, 0, 0, -(2**13), width="w"),
        resized(0.25, 1, 1),
        resized(1, 1, 1e30),
    ],
)
def test_images_cannot_be_cut_or_resized_to_less_than_nothing(model):
    """Check that paddings and scales that leave nothing end in one of the documented errors."""
    with pytest.raises((OnnxModelError, InvalidProbabilitiesError), match="model=ModelProto of"):
        OnnxClassifier(model, classes=range(3)).predict(np.ones((2, 3, 8)))


def test_operators_of_the_runtime_itself_are_accepted():
    """Check that an operator of the domain of onnxruntime runs, and shapes behind it."""
    nodes = [
        node("Gelu", "x", "warm", domain="com.microsoft"),
        node("Reshape", "warm shape", "flat"),
        node("Softmax", "flat", "p", axis=1),
    ]
    outputs = [port("p", "float32", ["n", 3])]
    model = passing(outputs, nodes, constants={"shape": np.array([-1, 3])})
    model.opset_import.add(domain="com.microsoft", version=1)
    proba = OnnxClassifier(model).predict_proba(np.zeros((2, 3)))
    np.testing.assert_allclose(proba, 1 / 3, rtol=1e-6)


PROBE = """
import json, sys
from collections import Counter
import numpy as np
from sklearn_cascade import OnnxClassifier
from sklearn_cascade.exceptions import InvalidProbabilitiesError, OnnxModelError

def outcome(data, X):
    model = OnnxClassifier(data)
    try:
        proba = model.predict_proba(X)
        labels = model.predict(X)
    except (InvalidProbabilitiesError, OnnxModelError) as error:
        assert "model=bytes of length" in str(error)
        return "error"
    assert proba.shape == (len(X), len(model.classes_))
    assert (proba >= 0).all() and (abs(proba.sum(axis=1) - 1) < 1e-5).all()
    assert (labels == model.classes_[proba.argmax(axis=1)]).all()
    return "answer"

shape = json.loads(sys.argv[1])
X = np.random.default_rng(0).normal(size=shape).astype("f4")
files = json.load(sys.stdin)
print(json.dumps(Counter(outcome(bytes.fromhex(data), X) for data in files)))
"""


def corrupted(data, seed):
    """Return bytes with some bits flipped, some bytes cut out, or cut short."""
    rng = np.random.default_rng(seed)
    broken = bytearray(data)
    place = int(rng.integers(len(broken)))
    if seed % 5 == 0:
        return bytes(broken[:place])
    if seed % 5 == 1:
        del broken[place : place + int(rng.integers(1, 20))]
        return bytes(broken)
    for _ in range(int(rng.integers(1, 5))):
        broken[int(rng.integers(len(broken)))] ^= 1 << int(rng.integers(8))
    return bytes(broken)


def converted():
    """Return a file of skl2onnx, or one with the same operators where that does not work."""
    try:
        from skl2onnx import to_onnx
    except ImportError:
        return linear_classifier(["a", "b", "c"], zipmap=True)
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    X, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(X, np.array([*"abc"])[y])
    return to_onnx(forest, X[:1].astype("f4"), target_opset=17)


@pytest.mark.parametrize(
    ("make", "shape"), [(converted, [5, 4]), (conv_net, [5, 1, 8, 8])], ids=["converted", "conv"]
)
def test_broken_files_end_in_an_error_or_an_answer(make, shape):
    """Check that no broken file ends the process, or in another error than the documented ones."""
    data = make().SerializeToString()
    files = [corrupted(data, seed) for seed in range(N_SEEDS)]
    assert len({*files, data}) > 0.9 * N_SEEDS
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, json.dumps(shape)],
        input=json.dumps([file.hex() for file in [data, *files]]),
        cwd=ROOT,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert sum(counts.values()) == N_SEEDS + 1
    assert counts["error"] > N_SEEDS / 4
    assert counts["answer"] > 1


def test_models_of_these_tests_are_valid():
    """Check that onnx finds no fault in the graphs the tests build."""
    for model in (
        linear_net(),
        conv_net(),
        tree(),
        svm(),
        linear_classifier([0, 1, 2], zipmap=True),
    ):
        onnx.checker.check_model(model, full_check=True)
        assert isinstance(model, onnx.ModelProto)
