"""Checks of an ONNX file beyond onnx's own, since runtimes crash on damage that it accepts.

Decision 0008 has the counts. `check_model` is the entry point; `multiply_adds` counts the
operations of a row from the same inferred shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_file import first_line

_AT_LEAST_ONE = ("strides", "dilations", "kernel_shape", "group")
_LENGTHS = (*_AT_LEAST_ONE, "pads", "output_padding", "hidden_size")
# No net has a longer kernel or stride.
_MAX_LENGTH = 2**24
# Runtimes ignore these where they do not fit.
_MAY_BE_SHORT = ("nodes_hitrates", "nodes_missing_value_tracks_true")
_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
# A damaged padding or axis makes a small net request gigabytes. Allowed are 16 MB of float32 for
# one row, or a multiple of the inputs and weights of a large net.
_ALLOWED_SIZE = 2**22
_ALLOWED_PER_ELEMENT = 1024
# Each needs the shapes of all nodes before it.
_MAX_SLICES = 64
# Elements of a constant that may define a shape.
_MAX_SHAPE_ELEMENTS = 1024
_CONTRADICTION = "[ShapeInferenceError]"
# No row of a classifier takes a gigabyte.
_MAX_ROW_SIZE = 2**28
# onnx-tool 1.0 and onnx-opcounter 0.0.4 were tried: both add one operation per bias, the first
# also those of activations (0.85 and 0.82 million where the literature counts 0.81), and the
# second writes a file into the working directory. The shapes come from onnx itself.
_COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LinearClassifier", "LinearRegressor")
# Multiply-adds inside that the count does not see.
_UNCOUNTED = {
    *("Attention", "ConvInteger", "DeformConv", "DFT", "Einsum", "GRU", "If", "Loop", "LSTM"),
    *("MatMulInteger", "MelWeightMatrix", "QLinearConv", "QLinearMatMul", "RNN", "Scan", "STFT"),
    *("LinearAttention", "SequenceMap", "Det", "GridSample", "AffineGrid", "RotaryEmbedding"),
    *("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "CausalConvWithState"),
    *("SVMClassifier", "SVMRegressor"),
}


def check_model(proto, display_name: str) -> None:
    """Raise OnnxModelError for a fault that onnx's checker or one of the checks below finds."""
    import onnx

    try:
        onnx.checker.check_model(proto)
        _check_lengths(proto, display_name)
        _check_shapes(proto, display_name)
        shapes = shapes_of_one_row(proto)
        _check_sizes(proto, shapes, display_name)
        _check_nodes(proto, shapes, display_name)
    except OnnxModelError:
        raise
    except Exception as error:
        raise OnnxModelError(display_name, f"onnx finds it invalid: {first_line(error)}") from error


def _check_lengths(proto, display_name: str) -> None:
    """Raise where a kernel, a stride or a padding has an impossible length."""
    for node in _nodes_of(proto.graph.node):
        values = _Attributes(node)
        for name in _LENGTHS:
            lengths = values[name]
            least = 1 if name in _AT_LEAST_ONE else 0
            # In the operator Pad, negative ones crop.
            if node.op_type != "Pad" and ((lengths < least) | (lengths > _MAX_LENGTH)).any():
                raise OnnxModelError(
                    display_name,
                    f"node {node.name!r} ({node.op_type}) has {name}={lengths.tolist()}; the file "
                    f"is damaged",
                )


def _check_nodes(proto, shapes: dict, display_name: str) -> None:
    """Raise where the attributes of a node contradict each other or the shape of its input."""
    for node in _nodes_of(proto.graph.node):
        values = _Attributes(node)
        shape = shapes.get(node.input[0]) if node.input else None
        width = shape[-1] if shape else None
        recurrent = None
        if node.op_type in ("LSTM", "GRU", "RNN") and len(node.input) > 2:
            recurrent = (shapes.get(node.input[2]) or [None])[-1]
        for problem in _problems(node.op_type, values, width, recurrent):
            raise OnnxModelError(
                display_name,
                f"node {node.name!r} ({node.op_type}) has {problem}; the file is damaged",
            )


class _Attributes:
    """The attributes of a node as arrays."""

    def __init__(self, node) -> None:
        self._found = {attribute.name: attribute for attribute in node.attribute}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values of one attribute, an empty array where it is absent."""
        attribute = self._found.get(name)
        if attribute is None:
            return np.empty(0)
        values = attribute.ints or attribute.floats or attribute.strings
        if not values and attribute.HasField("i"):
            values = [attribute.i]
        return np.array(values)

    def lengths(self, prefix: str) -> set[int]:
        """Return the lengths of the attributes with a prefix, those without values left out."""
        names = [n for n in self._found if n.startswith(prefix) and n not in _MAY_BE_SHORT]
        return {len(self[name]) for name in names} - {0}

    def n_labels(self) -> int:
        """Return the number of class labels."""
        return max(len(self[name]) for name in _LABELS)


def _nodes_of(nodes) -> Iterator:
    """Yield nodes, including those of subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes_of(graph.node)


def _problems(
    op_type: str, values: _Attributes, width: int | None, recurrent: int | None
) -> Iterator[str]:
    """Yield the faults of one node, whose input has `width` columns."""
    hidden = values["hidden_size"].tolist()
    if recurrent is not None and hidden and hidden != [recurrent]:
        yield f"hidden_size={hidden[0]} for weights of {recurrent}"
    if op_type.startswith("TreeEnsemble"):
        yield from _problems_of_trees(op_type, values, width)
    elif op_type.startswith("SVM"):
        yield from _problems_of_svm(values, width)
    elif op_type in ("LinearClassifier", "LinearRegressor"):
        n_rows = len(values["intercepts"])
        if n_rows and width is not None and len(values["coefficients"]) != n_rows * width:
            yield f"{len(values['coefficients'])} coefficients for {n_rows} times {width}"


def _problems_of_trees(op_type: str, values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield the faults of a tree ensemble."""
    for prefix in ("nodes_", "class_", "target_", "leaf_"):
        if len(values.lengths(prefix)) > 1:
            yield f"attributes {prefix}* of unlike lengths"
    features = values["nodes_featureids"]
    if (features < 0).any() or (width is not None and (features >= width).any()):
        yield f"feature numbers from {features.min()} to {features.max()} for {width} columns"
    if len(values["nodes_nodeids"]) and not _is_forest(values):
        yield "nodes whose children are missing, or have two parents"
    targets = {"class_ids": values.n_labels(), "target_ids": values["n_targets"].sum()}
    for name, n_targets in targets.items():
        if len(values[name]) and not (values[name].min() >= 0 and values[name].max() < n_targets):
            yield f"{name} beyond {n_targets} classes or targets"


def _is_forest(values: _Attributes) -> bool:
    """Tell whether every child exists in its own tree and has one parent, without cycles."""
    trees, nodes = values["nodes_treeids"], values["nodes_nodeids"]
    if len(trees) != len(nodes) or nodes.min() < 0 or nodes.max() >= 2**31:
        return False
    _, tree = np.unique(trees, return_inverse=True)
    keys = tree * 2**31 + nodes
    inner = values["nodes_modes"] != b"LEAF"
    children = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        child = values[name]
        if len(child) != len(nodes) or (child[inner] < 0).any() or (child[inner] >= 2**31).any():
            return False
        children.append(tree[inner] * 2**31 + child[inner])
    once = [len(np.unique(each)) == len(each) for each in (keys, np.concatenate(children))]
    if not all(once) or not np.isin(children, keys).all():
        return False
    # Without cycles, walks down from the roots, level by level, reach every node.
    order = np.argsort(keys)
    below = np.full((2, len(keys)), -1)
    below[:, inner] = order[np.searchsorted(keys, children, sorter=order)]
    level = np.setdiff1d(np.arange(len(keys)), below)
    n_reached = 0
    while len(level):
        n_reached += len(level)
        level = below[:, level].ravel()
        level = level[level >= 0]
    return n_reached == len(keys)


def _problems_of_svm(values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield the faults of a support vector machine."""
    per_class, vectors = values["vectors_per_class"], values["support_vectors"]
    n_vectors = int(per_class.sum()) if len(per_class) else int(values["n_supports"].sum())
    n_labels = values.n_labels()
    if not n_vectors:
        return
    if (per_class < 0).any() or len(vectors) % n_vectors:
        yield f"{len(vectors)} numbers for {n_vectors} support vectors"
    elif width is not None and len(vectors) != n_vectors * width:
        yield f"{len(vectors)} numbers for {n_vectors} support vectors of {width} columns"
    if len(per_class) not in (0, n_labels):
        yield f"{len(per_class)} groups of support vectors for {n_labels} classes"
    if len(values["coefficients"]) != n_vectors * max(n_labels - 1, 1):
        yield f"{len(values['coefficients'])} coefficients for {n_vectors} support vectors"
    if len(values["kernel_params"]) not in (0, 3):
        yield f"{len(values['kernel_params'])} kernel_params"
    n_pairs = n_labels * (n_labels - 1) // 2
    for name in ("rho", "prob_a", "prob_b"):
        if len(per_class) and len(values[name]) not in (0, n_pairs):
            yield f"{len(values[name])} {name} for {n_pairs} pairs of classes"


def shapes_of_one_row(proto) -> dict[str, list[int | None]]:
    """Return the shape of every tensor, as far as known, when each input has one row."""
    from onnx import shape_inference

    one_row = _without_shapes(proto)
    weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    for value in one_row.graph.input:
        if value.name not in weights and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(one_row, data_prop=True).graph
    found = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in value.type.tensor_type.shape.dim
        ]
        for values in (graph.input, graph.value_info, graph.output)
        for value in values
    }
    return {**found, **weights}


def _check_shapes(proto, display_name: str) -> None:
    """Raise where shapes contradict each other or are negative, on which runtimes crash."""
    from onnx import shape_inference

    for value in proto.graph.input:
        lengths = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if min(lengths, default=1) < 0 or prod(n or 1 for n in lengths[1:]) > _MAX_ROW_SIZE:
            raise OnnxModelError(
                display_name, f"its input {value.name!r} has shape {lengths}; the file is damaged"
            )
    slices = [k for k, node in enumerate(proto.graph.node) if node.op_type == "Slice"]
    for k in slices[:_MAX_SLICES]:
        # Slicing a negative length ends the process, in onnx and in the runtime.
        first_nodes = _without_shapes(proto)
        del first_nodes.graph.node[k:], first_nodes.graph.output[:]
        for name, shape in shapes_of_one_row(first_nodes).items():
            if any(length is not None and length < 0 for length in shape):
                raise OnnxModelError(
                    display_name, f"{name!r} would have shape {shape}; the file is damaged"
                )
    try:
        shape_inference.infer_shapes(_without_shapes(proto), strict_mode=True)
    except Exception as error:
        # The first is the heading. Unknown types, as after operators of other domains, are no
        # contradiction.
        if str(error).count(_CONTRADICTION) > 1:
            raise OnnxModelError(
                display_name, f"its shapes contradict each other: {first_line(error)}"
            ) from error


def _without_shapes(proto):
    """Return a copy without declared shapes other than those of its inputs and weights.

    Files often declare the others for another number of rows. The values of large weights are left
    out, since only their shapes matter.
    """
    copy = type(proto)(ir_version=proto.ir_version)
    copy.opset_import.extend(proto.opset_import)
    copy.functions.extend(proto.functions)
    for field in ("node", "input", "output", "sparse_initializer"):
        getattr(copy.graph, field).extend(getattr(proto.graph, field))
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) <= _MAX_SHAPE_ELEMENTS:
            copy.graph.initializer.append(tensor)
        else:
            copy.graph.initializer.add(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type
            )
    for value in copy.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return copy


def _check_sizes(proto, shapes: dict, display_name: str) -> None:
    """Raise where one row would take an absurd amount of memory."""
    shapes = dict(shapes)
    for sparse in proto.graph.sparse_initializer:
        shapes[sparse.values.name] = list(sparse.dims)
    given = {value.name for value in proto.graph.input} | {t.name for t in proto.graph.initializer}
    n_given = sum(_size(shapes.get(name, [])) for name in given)
    allowed = max(_ALLOWED_SIZE, _ALLOWED_PER_ELEMENT * n_given)
    for name, shape in shapes.items():
        if name not in given and _size(shape) > allowed:
            raise OnnxModelError(
                display_name,
                f"one row would need a tensor {name!r} of shape {shape}; the file is damaged",
            )


def _size(shape) -> int:
    """Return the number of elements, an open length counted as one."""
    return prod(length or 1 for length in shape)


def multiply_adds(proto) -> int | None:
    """Return the multiply-adds for one row, biases and activations left out; None if unknown."""
    domains = ("", "ai.onnx", "ai.onnx.ml")
    if proto.functions or any(
        node.domain not in domains or node.op_type in _UNCOUNTED for node in proto.graph.node
    ):
        return None
    shapes = shapes_of_one_row(proto)
    nodes = [node for node in proto.graph.node if node.op_type in _COUNTED]
    counts: Any = [_count(node, shapes) for node in nodes]
    # A graph that multiplies only element by element is not free.
    return None if None in counts else sum(counts) or None


def _count(node, shapes: dict) -> int | None:
    """Return the multiply-adds of one node, None where a shape is not known."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type.startswith("Linear"):
        return len(attributes["coefficients"].floats)
    weights, output = shapes.get(node.input[1]), shapes.get(node.output[0])
    inputs = shapes.get(node.input[0])
    if not weights or not output or not inputs or None in [*weights, *output, *inputs]:
        return None
    if node.op_type == "Conv":
        return prod(output) * prod(weights[1:])
    if node.op_type == "ConvTranspose":
        return prod(inputs) * prod(weights[1:])
    if node.op_type == "Gemm":
        flipped = "transA" in attributes and attributes["transA"].i
        return prod(output) * inputs[0 if flipped else 1]
    return prod(output) * inputs[-1]
