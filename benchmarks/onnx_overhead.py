"""OnnxClassifier's overhead over the runtime's own call: one row, and a thousand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.predict import paired_medians
from benchmarks.tables import print_header, print_line
from sklearn_cascade import OnnxClassifier


def run(*, data=None, quick=False):
    """Print one line per net and number of rows, each with its bound.

    If the folder `data` holds `cifar10_family`, its smallest net is timed as well.
    """
    print_header(["net", "rows", "session.run", "OnnxClassifier", "difference", "ratio", "bound"])
    rng = np.random.default_rng(0)
    nets = [
        ("tabular, 30-256-256-5", tabular_net(rng), (30,)),
        ("images, 8x8, two convolutions", image_net(rng), (1, 8, 8)),
    ]
    if data is not None:
        content = (Path(data) / "cifar10_family" / "resnet_1m.onnx").read_bytes()
        nets.append(("images, 32x32, resnet_1m", content, (3, 32, 32)))
    for label, content, shape in nets:
        one_row = rng.random((1, *shape), dtype="f4")
        _print(label, content, one_row, 20 if quick else 3000, "µs", "difference <= 15 µs")
        many = rng.random((20 if quick else 1000, *shape), dtype="f4")
        _print(label, content, many, 4 if quick else 150, "ms", "ratio <= 1.02")


def tabular_net(rng):
    """Return the bytes of a net with two hidden layers."""
    widths, nodes, constants, last = (30, 256, 256, 5), [], [], "x"
    for k, (n_in, n_out) in enumerate(pairwise(widths)):
        weights = rng.normal(size=(n_in, n_out), scale=n_in**-0.5).astype("f4")
        constants.append(numpy_helper.from_array(weights, f"w{k}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{k}"], [f"z{k}"]))
        nodes.append(helper.make_node("Relu", [f"z{k}"], [f"h{k}"]))
        last = f"h{k}"
    return _with_softmax(nodes, constants, f"z{k}", ["n", 30], 5)


def image_net(rng):
    """Return the bytes of a net with two convolutions."""
    shapes = {"f0": (8, 1, 3, 3), "f1": (16, 8, 3, 3), "w": (16, 5)}
    constants = [
        numpy_helper.from_array(rng.normal(size=shape, scale=0.2).astype("f4"), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "f0"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node(
            "Conv", ["b", "f1"], ["c"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["z"]),
    ]
    return _with_softmax(nodes, constants, "z", ["n", 1, 8, 8], 5)


def _with_softmax(nodes, constants, logits, shape, n_classes):
    """Return the bytes of a graph that ends in probabilities."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("Softmax", [logits], ["probabilities"], axis=1)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", n_classes])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _print(label, content, X, n_repeats, unit, bound):
    """Time both calls in turns, on one thread, and print one line of the table."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    model = OnnxClassifier(content)
    alone, through = paired_medians(
        lambda: session.run(["probabilities"], {name: X}),
        lambda: model.predict_proba(X),
        n_repeats,
    )
    scale = {"µs": 1e6, "ms": 1e3}[unit]
    cells = [f"{x * scale:.3f} {unit}" for x in (alone, through, through - alone)]
    print_line([label, f"{len(X):,}", *cells, f"{through / alone:.3f}", bound])
