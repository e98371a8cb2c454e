"""The shapes in an ONNX graph for one row, and those too large to be meant."""

from __future__ import annotations

from math import prod

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_source import constants_of, first_line

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
