"""Small ONNX graphs, built node by node, and what they answer."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX models need onnx")
pytest.importorskip("onnxruntime", reason="ONNX models need onnxruntime")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}
rng = np.random.default_rng(0)
WEIGHTS = rng.normal(size=(4, 3)).astype("f4")
FILTERS = rng.normal(size=(4, 1, 3, 3)).astype("f4")
ROWS = rng.integers(0, 2, size=(7, 4))


def port(name, kind, shape):
    """Return an input or output of a graph."""
    return helper.make_tensor_value_info(name, TYPES[kind], shape)


def node(op_type, inputs, outputs, **attributes):
    """Return a node; names of inputs and outputs are separated by spaces."""
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def ml_node(op_type, inputs, outputs, **attributes):
    """Return a node of the operators for classical models."""
    return node(op_type, inputs, outputs, domain="ai.onnx.ml", **attributes)


def build(nodes, inputs, outputs, constants=None, metadata=None):
    """Return a model, of versions that the oldest runtime knows."""
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, metadata or {})
    return model


def linear_net(kind="float32", shape=("n", 4), *, width=3, answer="softmax", metadata=None):
    """Return a net without bias of four inputs and three classes."""
    nodes = [
        node("Cast", "x", "numbers", to=TensorProto.FLOAT),
        node("Flatten", "numbers", "flat"),
        node("MatMul", "flat weights", "logits"),
    ]
    if answer == "softmax":
        nodes.append(node("Softmax", "logits", "probabilities", axis=1))
    output = {"softmax": "probabilities", "logits": "logits"}[answer]
    return build(
        nodes,
        [port("x", kind, shape)],
        [port(output, "float32", [shape[0], width])],
        {"weights": WEIGHTS},
        metadata,
    )


def conv_net():
    """Return a convolutional net for images of 8 by 8."""
    nodes = [
        node("Conv", "x filters", "c", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat weights bias", "logits"),
        node("Softmax", "logits", "probabilities", axis=1),
    ]
    constants = {"filters": FILTERS, "weights": WEIGHTS, "bias": np.zeros(3, "f4")}
    ports = [port("x", "float32", ["n", 1, 8, 8])], [port("probabilities", "float32", ["n", 3])]
    return build(nodes, *ports, constants)


def softmax(logits):
    """Return the softmax of each row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def linear_answer(X):
    """Return what the linear net answers."""
    return softmax(np.asarray(X, dtype=float).reshape(len(X), -1) @ WEIGHTS.astype(float))


def passing(outputs, extra_nodes=(), *, kind="float32", shape=("n", 3), constants=None):
    """Return a graph whose input `x` goes through `extra_nodes` to the outputs."""
    nodes = list(extra_nodes)
    if not nodes:
        nodes = [node("Identity", "x", output.name) for output in outputs]
    return build(nodes, [port("x", kind, shape)], outputs, constants)


def linear_classifier(labels, *, zipmap=False, label_output=True):
    """Return a graph of the operators that converters of scikit-learn use."""
    key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"
    classifier = ml_node(
        "LinearClassifier",
        "x",
        "label scores",
        coefficients=WEIGHTS.T.ravel().tolist(),
        intercepts=[0.0] * 3,
        multi_class=1,
        post_transform="SOFTMAX",
        **{key: labels},
    )
    kind = "string" if isinstance(labels[0], str) else "int64"
    outputs = [port("label", kind, ["n"])] * label_output
    if not zipmap:
        outputs.append(port("scores", "float32", ["n", None]))
        return build([classifier], [port("x", "float32", ["n", 4])], outputs)
    key = key.replace("_ints", "_int64s")
    nodes = [classifier, ml_node("ZipMap", "scores", "probabilities", **{key: labels})]
    types = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TYPES[kind], helper.make_tensor_type_proto(1, []))
    )
    outputs.append(helper.make_value_info("probabilities", types))
    return build(nodes, [port("x", "float32", ["n", 4])], outputs)
