"""Writing the nodes of one graph, or of one branch of an `If`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from numbers import Integral

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.exceptions import ConversionError

# Reductions take their axes as an input from here on.
LOWEST_OPSET = 18
ML_DOMAIN = "ai.onnx.ml"


class GraphBuilder:
    """A graph being written.

    Parameters
    ----------
    prefix : str
        Put before all names.
    taken : set of str, default=None
        Names given so far, shared with the canvases within.

    Attributes
    ----------
    nodes, initializers : list
        What was written.
    prefix : str
        Put before all names.
    """

    def __init__(self, prefix: str, taken: set[str] | None = None) -> None:
        self.prefix = prefix
        self.nodes: list = []
        self.initializers: list = []
        self._taken = set() if taken is None else taken

    def within(self, prefix: str) -> GraphBuilder:
        """Return a canvas for a branch."""
        return GraphBuilder(prefix, self._taken)

    def add_node(
        self, kind: str, *inputs: str, name: str | None = None, domain: str = "", **attributes
    ):
        """Add a node with one output; return the output's name."""
        output = self._fresh(name or kind.lower())
        self.place(kind, inputs, [output], domain=domain, **attributes)
        return output

    def place(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain="", **attributes
    ) -> None:
        """Add a node with outputs of given names."""
        self.nodes.append(
            package("onnx").helper.make_node(
                kind, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes
            )
        )

    def constant(self, values, dtype, name: str) -> str:
        """Add a constant; return its name."""
        name = self._fresh(name)
        array = np.asarray(values, dtype=dtype)
        self.initializers.append(package("onnx").numpy_helper.from_array(array, name))
        return name

    def extend(self, nodes: Sequence, initializers: Sequence) -> None:
        """Add nodes and constants that were named elsewhere."""
        self.nodes.extend(nodes)
        self.initializers.extend(initializers)

    def as_graph(self, name: str, outputs: Sequence):
        """Return what was written as the graph of a branch, given what it hands out."""
        return package("onnx").helper.make_graph(
            self.nodes, name, [], list(outputs), self.initializers
        )

    def fresh_names(self, *names: str) -> list[str]:
        """Return names that nobody has."""
        return [self._fresh(name) for name in names]

    def _fresh(self, name: str) -> str:
        """Return a name that nobody has, with the prefix."""
        wanted, count = self.prefix + name, 1
        while wanted in self._taken:
            count += 1
            wanted = f"{self.prefix}{name}_{count}"
        self._taken.add(wanted)
        return wanted


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


def package(name: str):
    """Return one of the packages that an export needs."""
    return import_optional(name, feature="to_onnx")


def open_session(model, *, n_threads: int = 1):
    """Return a session of the runtime that logs nothing and works alone."""
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def opset_of(model, domain: str = "") -> int:
    """Return the newest version of a domain that a model imports; 0 where it imports none."""
    alike = {"", "ai.onnx"} if domain in ("", "ai.onnx") else {domain}
    return max((entry.version for entry in model.opset_import if entry.domain in alike), default=0)


def settle_opset(target_opset) -> dict[str, int]:
    """Return the version of each domain for the parts that skl2onnx converts."""
    newest = package("skl2onnx.proto").get_latest_tested_opset_version()
    opsets = {ML_DOMAIN: 3}
    if not isinstance(target_opset, (Integral, dict, type(None))):
        raise ConversionError(
            f"target_opset={target_opset!r}; expected a number, or a dict from domain to number"
        )
    if isinstance(target_opset, dict):
        opsets.update(target_opset)
    elif target_opset is not None:
        opsets[""] = target_opset
    if opsets.get("") is None:
        opsets[""] = min(newest, newest_runnable_opset())
    if not (isinstance(opsets[""], Integral) and LOWEST_OPSET <= opsets[""] <= newest):
        raise ConversionError(
            f"target_opset={target_opset!r}; expected a version from {LOWEST_OPSET}, which the "
            f"routing needs, to {newest}, the newest that this skl2onnx converts to"
        )
    return opsets


@lru_cache(maxsize=1)
def newest_runnable_opset() -> int:
    """Return the newest version of the operators that the installed runtime loads."""
    newest = package("onnx").defs.onnx_opset_version()
    return next((v for v in range(newest, LOWEST_OPSET, -1) if _loads(v)), LOWEST_OPSET)


def ir_version_for(opsets: dict[str, int]) -> int:
    """Return the lowest version of the file format that holds these operators."""
    helper = package("onnx").helper
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.find_min_ir_version_for(imports, ignore_unknown=True)


def _loads(opset: int) -> bool:
    """Tell whether the runtime loads a graph of these operators."""
    onnx = package("onnx")
    info = onnx.helper.make_tensor_value_info
    ends = [info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "probe", ends[:1], ends[1:]
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=ir_version_for({"": opset}),
    )
    try:
        open_session(model)
    except Exception:  # the runtime has an error class for each reason
        return False
    return True
