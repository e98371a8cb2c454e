"""Graphs of members: cut down to their probabilities, brought to one version, renamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sklearn_cascade.export._packages import opset_of, package


def real_inputs(graph) -> list:
    """Return the inputs that have to be fed; old files list their constants among the inputs."""
    held = {tensor.name for tensor in graph.initializer}
    return [entry for entry in graph.input if entry.name not in held]


def cut_to_output(model, output: str) -> str:
    """Keep what one output needs, in place; return its name, before any dicts are made of it.

    The runtime runs nodes that lead nowhere, so that labels would be paid for.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    while output in producers and producers[output].op_type == "ZipMap":
        output = producers[output].input[0]
    needed, kept = {output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(names_read_by(node))
    kept.reverse()
    for field in (graph.initializer, graph.sparse_initializer):
        alive = [tensor for tensor in field if _name_of_tensor(tensor) in needed]
        del field[:]
        field.extend(alive)
    handed_out = [entry for entry in graph.output if entry.name == output]
    if not handed_out:
        onnx = package("onnx")
        handed_out = [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)]
    del graph.node[:], graph.value_info[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.extend(handed_out)
    return output


def names_read_by(node) -> set[str]:
    """Return the names that a node reads, its branches included."""
    names = {name for name in node.input if name}
    for branch in branches_of(node):
        for inner in branch.node:
            names |= names_read_by(inner)
        names.update(entry.name for entry in branch.output)
    return names


def branches_of(node) -> Iterable:
    """Yield the graphs within a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def bring_to_opset(model, opset: int):
    """Return the model with its functions inlined and at least of a version."""
    if model.functions:
        model = package("onnx.inliner").inline_local_functions(model, convert_version=True)
    if opset_of(model) < opset:
        return package("onnx.version_converter").convert_version(model, opset)
    return model


def opsets_of(models: Iterable) -> dict[str, int]:
    """Return the newest version of each domain that any of the models imports."""
    found: dict[str, int] = {}
    for model in models:
        for entry in model.opset_import:
            domain = "" if entry.domain == "ai.onnx" else entry.domain
            found[domain] = max(found.get(domain, 0), entry.version)
    return found


def renamed_parts(model, prefix: str, bound: dict[str, str]) -> tuple[list, list]:
    """Return copies of a graph's nodes and constants under names of their own.

    Parameters
    ----------
    model : ModelProto
        Not changed.
    prefix : str
        Put before every name that is not bound.
    bound : dict from str to str
        New names of inputs.

    Returns
    -------
    nodes, initializers : list
    """

    def rename(name: str) -> str:
        return bound.get(name, prefix + name) if name else name

    graph = model.graph.__class__()
    graph.CopyFrom(model.graph)
    sparse = [_as_constant(tensor, rename) for tensor in graph.sparse_initializer]
    _rename(graph, prefix, rename)
    return [*sparse, *graph.node], [_as_bytes(tensor) for tensor in graph.initializer]


def _rename(graph, prefix: str, rename: Callable[[str], str]) -> None:
    """Rename all values and nodes of a graph and of the graphs within."""
    for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.name = rename(entry.name)
    for node in graph.node:
        # Empty names stay empty: two nodes of one name are refused.
        node.name = prefix + node.name if node.name else ""
        for field in (node.input, node.output):
            field[:] = [rename(name) for name in field]
        for branch in branches_of(node):
            _rename(branch, prefix, rename)


def _as_bytes(tensor):
    """Return a constant of numbers as bytes, which alone can be moved to a file of their own."""
    onnx = package("onnx")
    if tensor.HasField("raw_data") or tensor.data_type == onnx.TensorProto.STRING:
        return tensor
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)


def _as_constant(tensor, rename: Callable[[str], str]):
    """Return the node that stands for a sparse constant."""
    return package("onnx").helper.make_node(
        "Constant", [], [rename(tensor.values.name)], sparse_value=tensor
    )


def _name_of_tensor(tensor) -> str:
    """Return the name of a constant, dense or sparse."""
    return tensor.values.name if hasattr(tensor, "values") else tensor.name
