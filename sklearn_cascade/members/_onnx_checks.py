"""Damage in an ONNX file that onnx's own checker lets pass and a runtime may crash on."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_file import constants_of, first_line

_AT_LEAST_ONE = ("strides", "dilations", "kernel_shape", "group")
_LENGTHS = (*_AT_LEAST_ONE, "pads", "output_padding", "hidden_size")
# A kernel or a step of more is no net's.
_MOST = 2**24
# Runtimes pass these over where they do not fit.
_MAY_BE_SHORT = ("nodes_hitrates", "nodes_missing_value_tracks_true")
_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")
# A damaged padding or axis makes a small net ask for gigabytes: 16 MB of float32 for one row
# are let pass, and for large nets a multiple of what they take and hold.
_ALWAYS_ALLOWED = 2**22
_PER_ELEMENT = 1024
_WIDEST_BORDER = 2**24
# Where the file leaves a length open, the longest that is thought to be cut off.
_IF_UNKNOWN = 2**12
# Each asks for the shapes of all nodes before.
_MOST_SLICES = 64
# Elements of a constant that may tell a shape.
_MOST_READ = 1024
_CONTRADICTION = "[ShapeInferenceError]"
# No row of a classifier is a gigabyte.
_LARGEST_ROW = 2**28
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


def check_lengths(proto, shown: str) -> None:
    """Raise where a kernel, a step or a border has an impossible length."""
    for node in _nodes_of(proto.graph.node):
        values = _Attributes(node)
        for name in _LENGTHS:
            lengths = values[name]
            least = 1 if name in _AT_LEAST_ONE else 0
            # The operator Pad cuts with negative ones.
            if node.op_type != "Pad" and ((lengths < least) | (lengths > _MOST)).any():
                raise OnnxModelError(
                    shown,
                    f"node {node.name!r} ({node.op_type}) has {name}={lengths.tolist()}; the file "
                    f"is damaged",
                )


def check_nodes(proto, shapes: dict, shown: str) -> None:
    """Raise where the attributes of a node contradict each other or its input.

    Parameters
    ----------
    proto : onnx.ModelProto
        The model.
    shapes : dict from str to list
        Shape of each tensor, as far as known.
    shown : str
        The model in errors.
    """
    for node in _nodes_of(proto.graph.node):
        values = _Attributes(node)
        shape = shapes.get(node.input[0]) if node.input else None
        width = shape[-1] if shape else None
        problems = list(_problems(node.op_type, values, width))
        if node.op_type in ("LSTM", "GRU", "RNN") and len(node.input) > 2:
            recurrent = shapes.get(node.input[2]) or [None]
            problems += _problems_of_recurrence(values, recurrent[-1])
        for problem in problems:
            raise OnnxModelError(
                shown, f"node {node.name!r} ({node.op_type}) has {problem}; the file is damaged"
            )


class _Attributes:
    """The attributes of a node as arrays."""

    def __init__(self, node) -> None:
        self._found = {attribute.name: attribute for attribute in node.attribute}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values of one attribute, none where it is absent."""
        attribute = self._found.get(name)
        if attribute is None:
            return np.empty(0)
        values = attribute.ints or attribute.floats or attribute.strings
        if not values and attribute.HasField("i"):
            values = [attribute.i]
        return np.array(values)

    def lengths(self, prefix: str) -> set[int]:
        """Return the lengths of the attributes whose names begin alike, empty ones left out."""
        names = [n for n in self._found if n.startswith(prefix) and n not in _MAY_BE_SHORT]
        sizes = {len(self[name]) for name in names}
        return sizes - {0}

    def n_labels(self) -> int:
        """Return the number of class labels."""
        return max(len(self[name]) for name in _LABELS)


def _nodes_of(nodes) -> Iterator:
    """Yield nodes, those of graphs within graphs too."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes_of(graph.node)


def _problems(op_type: str, values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield what is wrong with one node."""
    if op_type.startswith("TreeEnsemble"):
        yield from _problems_of_trees(op_type, values, width)
    elif op_type.startswith("SVM"):
        yield from _problems_of_svm(values, width)
    elif op_type in ("LinearClassifier", "LinearRegressor"):
        n_rows = len(values["intercepts"])
        if n_rows and width is not None and len(values["coefficients"]) != n_rows * width:
            yield f"{len(values['coefficients'])} coefficients for {n_rows} times {width}"


def _problems_of_recurrence(values: _Attributes, n_hidden: int | None) -> Iterator[str]:
    """Yield what is wrong with a recurrent layer."""
    told = values["hidden_size"].tolist()
    if n_hidden is not None and told and told != [n_hidden]:
        yield f"hidden_size={told[0]} for weights of {n_hidden}"


def _problems_of_trees(op_type: str, values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield what is wrong with an ensemble of trees."""
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
    """Tell whether every child exists in its own tree and has one parent; else walks never end."""
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
    return _all_reached(keys, inner, children)


def _all_reached(keys: np.ndarray, inner: np.ndarray, children: list[np.ndarray]) -> bool:
    """Tell whether walks down from the nodes without a parent reach every node."""
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
    """Yield what is wrong with a support vector machine."""
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

    one_row = _without_claims(proto)
    weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    for port in one_row.graph.input:
        if port.name not in weights and port.type.tensor_type.shape.dim:
            port.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(one_row, data_prop=True).graph
    found = {
        port.name: [
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in port.type.tensor_type.shape.dim
        ]
        for ports in (graph.input, graph.value_info, graph.output)
        for port in ports
    }
    return {**found, **weights}


def check_shapes(proto, shown: str) -> None:
    """Raise where the shapes of a graph contradict each other, on which runtimes have crashed."""
    from onnx import shape_inference

    for port in proto.graph.input:
        lengths = [dim.dim_value for dim in port.type.tensor_type.shape.dim]
        if min(lengths, default=1) < 0 or prod(n or 1 for n in lengths[1:]) > _LARGEST_ROW:
            raise OnnxModelError(
                shown, f"its input {port.name!r} has shape {lengths}; the file is damaged"
            )
    _check_borders(proto, shown)
    _check_scales(proto, shown)
    _check_lengths_before_slices(proto, shown)
    try:
        shape_inference.infer_shapes(_without_claims(proto), strict_mode=True)
    except Exception as error:
        # The first is the heading. Types that onnx does not know of, as behind operators of
        # other domains, are no contradiction.
        if str(error).count(_CONTRADICTION) > 1:
            raise OnnxModelError(
                shown, f"its shapes contradict each other: {first_line(error)}"
            ) from error


def _check_borders(proto, shown: str) -> None:
    """Raise where a node cuts off more than there is: onnx and the runtime end the process."""
    constants = constants_of(proto.graph)
    for k, node in enumerate(proto.graph.node):
        borders = _borders(node, constants)
        if max(map(abs, borders), default=0) > _WIDEST_BORDER:
            raise OnnxModelError(shown, f"a node pads by {borders}; the file is damaged")
        if min(borders, default=0) >= 0:
            continue
        lengths = shapes_of_one_row(_first_nodes(proto, k)).get(node.input[0], [])
        changes = [sum(pair) for pair in _pairs(borders)]
        if len(lengths) != len(changes):
            lengths = [min((n for n in lengths[1:] if n), default=None)] * len(changes)
        pairs = [(n or _IF_UNKNOWN, c) for n, c in zip(lengths, changes, strict=True) if c < 0]
        if any(length + change <= 0 for length, change in pairs):
            raise OnnxModelError(shown, f"a node cuts {borders} off {lengths}; the file is damaged")


def _check_lengths_before_slices(proto, shown: str) -> None:
    """Raise where a length is negative: onnx and the runtime end the process if it is sliced."""
    slices = [k for k, node in enumerate(proto.graph.node) if node.op_type == "Slice"]
    for k in slices[:_MOST_SLICES]:
        for name, shape in shapes_of_one_row(_first_nodes(proto, k)).items():
            if any(length is not None and length < 0 for length in shape):
                raise OnnxModelError(
                    shown, f"{name!r} would have shape {shape}; the file is damaged"
                )


def _first_nodes(proto, n_nodes: int):
    """Return a copy with the first nodes only."""
    copy = _without_claims(proto)
    del copy.graph.node[n_nodes:], copy.graph.output[:]
    return copy


def _check_scales(proto, shown: str) -> None:
    """Raise where a node that resizes images changes the number of rows."""
    from onnx import numpy_helper

    constants = constants_of(proto.graph)
    for node in proto.graph.node:
        if node.op_type not in ("Resize", "Upsample") or any(
            a.name == "axes" for a in node.attribute
        ):
            continue
        # Older versions have no region of interest between X and the scales.
        names = node.input[1:] if len(node.input) == 2 else node.input[2:]
        for name in (name for name in names if name in constants):
            scales = numpy_helper.to_array(constants[name]).ravel()
            rows = scales[:1] if scales.dtype.kind == "f" else []
            if any(rows != 1) or not (scales > 0).all() or (scales > _WIDEST_BORDER).any():
                raise OnnxModelError(
                    shown, f"a node resizes by {scales.tolist()}; the file is damaged"
                )


def _borders(node, constants: dict) -> list[int]:
    """Return what a node adds before each axis, then behind each, as far as the file tells."""
    from onnx import numpy_helper

    if node.op_type != "Pad":
        return []
    borders = [n for each in node.attribute if each.name == "pads" for n in each.ints]
    if len(node.input) > 1 and node.input[1] in constants:
        borders = numpy_helper.to_array(constants[node.input[1]]).ravel().tolist()
    return borders


def _pairs(borders: list[int]) -> list[tuple[int, int]]:
    """Return what is added before and behind each axis."""
    half = len(borders) // 2
    return list(zip(borders[:half], borders[half : 2 * half], strict=True))


def _without_claims(proto):
    """Return a copy that says nothing of shapes but those of its inputs and weights.

    What files say of the others is often meant for another number of rows. Large weights are
    left out, as their shapes are all that counts.
    """
    copy = type(proto)(ir_version=proto.ir_version)
    copy.opset_import.extend(proto.opset_import)
    copy.functions.extend(proto.functions)
    for field in ("node", "input", "output", "sparse_initializer"):
        getattr(copy.graph, field).extend(getattr(proto.graph, field))
    for tensor in proto.graph.initializer:
        if prod(tensor.dims) <= _MOST_READ:
            copy.graph.initializer.append(tensor)
        else:
            copy.graph.initializer.add(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type
            )
    for port in copy.graph.output:
        if port.type.HasField("tensor_type"):
            port.type.tensor_type.ClearField("shape")
    return copy


def check_sizes(proto, shapes: dict, shown: str) -> None:
    """Raise where one row would take absurdly much memory, as in damaged files."""
    shapes = dict(shapes)
    for sparse in proto.graph.sparse_initializer:
        shapes[sparse.values.name] = list(sparse.dims)
    given = {port.name for port in proto.graph.input} | {t.name for t in proto.graph.initializer}
    n_given = sum(_size(shapes.get(name, [])) for name in given)
    allowed = max(_ALWAYS_ALLOWED, _PER_ELEMENT * n_given)
    for name, shape in shapes.items():
        if name not in given and _size(shape) > allowed:
            raise OnnxModelError(
                shown, f"one row would need a tensor {name!r} of shape {shape}; the file is damaged"
            )


def _size(shape: list[int | None]) -> int:
    """Return the number of elements, an open length counted as one."""
    return prod(length or 1 for length in shape)


def multiply_adds(proto) -> int | None:
    """Return the multiply-adds for one row, biases and activations left out; None if unknown."""
    if any(not _is_known(node) for node in proto.graph.node) or proto.functions:
        return None
    shapes = shapes_of_one_row(proto)
    counts = [_count(node, shapes) for node in proto.graph.node if node.op_type in _COUNTED]
    # A graph that multiplies elsewhere only, element by element, is not free.
    return None if None in counts else sum(counts) or None


def _is_known(node) -> bool:
    """Tell whether a node is counted, or known to need no multiply-adds."""
    return node.domain in ("", "ai.onnx", "ai.onnx.ml") and node.op_type not in _UNCOUNTED


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
