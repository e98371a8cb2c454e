"""ONNX graphs: building nodes, cutting and renaming existing graphs, opset versions, sessions.

All calls of the packages onnx and onnxruntime that are not about cascades are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.exceptions import ConversionError

# The first version in which all reductions take their axes as an input.
LOWEST_OPSET = 18
ML_DOMAIN = "ai.onnx.ml"


class GraphBuilder:
    """Collect the nodes and constants of one graph; every name starts with `prefix`.

    The builders of branches share the names `taken`, as names must be unique in the whole file.
    """

    def __init__(self, prefix: str, taken: set[str] | None = None) -> None:
        self.prefix = prefix
        self.nodes: list = []
        self.initializers: list = []
        self._taken = set() if taken is None else taken

    def branch(self, prefix: str) -> GraphBuilder:
        """Return a builder for a branch of an `If`, which may read all values written so far."""
        return GraphBuilder(prefix, self._taken)

    def add_node(
        self,
        op_type: str,
        *inputs: str,
        name: str | None = None,
        outputs: Sequence[str] = (),
        domain: str = "",
        **attributes,
    ) -> str:
        """Add a node; return the name of its first output.

        It has one output with a new name made of `name`, unless all `outputs` are named in full.
        """
        outputs = list(outputs) or [self.unique_name(name or op_type.lower())]
        self.nodes.append(
            package("onnx").helper.make_node(
                op_type, list(inputs), outputs, name=outputs[0], domain=domain, **attributes
            )
        )
        return outputs[0]

    def constant(self, values, dtype, name: str) -> str:
        """Add a constant; return its name."""
        name = self.unique_name(name)
        array = np.asarray(values, dtype=dtype)
        self.initializers.append(package("onnx").numpy_helper.from_array(array, name))
        return name

    def extend(self, nodes: Sequence, initializers: Sequence) -> None:
        """Add nodes and constants that have their final names."""
        self.nodes.extend(nodes)
        self.initializers.extend(initializers)

    def as_branch(self, name: str, outputs: Sequence):
        """Return the collected nodes as the graph of a branch; `outputs` describe its results."""
        return package("onnx").helper.make_graph(
            self.nodes, name, [], list(outputs), self.initializers
        )

    def unique_name(self, name: str) -> str:
        """Return a name with the prefix that no other value has."""
        wanted, count = self.prefix + name, 1
        while wanted in self._taken:
            count += 1
            wanted = f"{self.prefix}{name}_{count}"
        self._taken.add(wanted)
        return wanted


def package(name: str):
    """Return one of the packages that an export needs."""
    return import_optional(name, feature="to_onnx")


def open_session(model):
    """Return a session of onnxruntime on one thread that logs nothing."""
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def real_inputs(graph) -> list:
    """Return the inputs that have to be fed; old files list their constants among the inputs."""
    constants = {tensor.name for tensor in graph.initializer}
    return [entry for entry in graph.input if entry.name not in constants]


def cut_to_output(model, output: str) -> str:
    """Keep what one output needs, in place; return its name, that of the matrix before a ZipMap.

    onnxruntime also runs nodes whose outputs nobody reads, such as those of the labels.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    while output in producers and producers[output].op_type == "ZipMap":
        output = producers[output].input[0]
    needed, kept = {output}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_names_read_by(node))
    kept.reverse()
    for field in (graph.initializer, graph.sparse_initializer):
        used = [
            tensor
            for tensor in field
            if (tensor.values.name if hasattr(tensor, "values") else tensor.name) in needed
        ]
        del field[:]
        field.extend(used)
    outputs = [entry for entry in graph.output if entry.name == output]
    if not outputs:
        onnx = package("onnx")
        outputs = [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)]
    del graph.node[:], graph.value_info[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.extend(outputs)
    return output


def _names_read_by(node) -> set[str]:
    """Return the names that a node reads, its branches included."""
    names = {name for name in node.input if name}
    for branch in _branches_of(node):
        for inner in branch.node:
            names |= _names_read_by(inner)
        names.update(entry.name for entry in branch.output)
    return names


def _branches_of(node) -> Iterable:
    """Yield the graphs within a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def renamed_parts(model, prefix: str, bound: dict[str, str]) -> tuple[list, list]:
    """Return copies of a graph's nodes and initializers with unique names.

    Inputs get their names in `bound`, all other values `prefix` before their own.
    """

    def rename(name: str) -> str:
        return bound.get(name, prefix + name) if name else name

    onnx = package("onnx")
    graph = model.graph.__class__()
    graph.CopyFrom(model.graph)
    sparse = [
        onnx.helper.make_node("Constant", [], [rename(tensor.values.name)], sparse_value=tensor)
        for tensor in graph.sparse_initializer
    ]
    _rename(graph, prefix, rename)
    initializers = [
        # Only constants stored as bytes can be moved to a file of external data.
        tensor
        if tensor.HasField("raw_data") or tensor.data_type == onnx.TensorProto.STRING
        else onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
        for tensor in graph.initializer
    ]
    return [*sparse, *graph.node], initializers


def _rename(graph, prefix: str, rename: Callable[[str], str]) -> None:
    """Rename all values and nodes of a graph and of the graphs within."""
    for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.name = rename(entry.name)
    for node in graph.node:
        # Nodes may have no name, but two nodes must not share one.
        node.name = prefix + node.name if node.name else ""
        for field in (node.input, node.output):
            field[:] = [rename(name) for name in field]
        for branch in _branches_of(node):
            _rename(branch, prefix, rename)


def opset_of(model) -> int:
    """Return the version of the default domain that a model imports; 0 where it imports none."""
    return opsets_of([model]).get("", 0)


def opsets_of(models: Iterable) -> dict[str, int]:
    """Return the newest version of each domain that any of the models imports."""
    found: dict[str, int] = {}
    for model in models:
        for entry in model.opset_import:
            domain = "" if entry.domain == "ai.onnx" else entry.domain
            found[domain] = max(found.get(domain, 0), entry.version)
    return found


def bring_to_opset(model, opset: int):
    """Return the model with its functions inlined and at least of a version."""
    if model.functions:
        model = package("onnx.inliner").inline_local_functions(model, convert_version=True)
    if opset_of(model) < opset:
        return package("onnx.version_converter").convert_version(model, opset)
    return model


def choose_opsets(target_opset) -> dict[str, int]:
    """Return the version of each domain for the parts that skl2onnx converts."""
    newest = package("skl2onnx.proto").get_latest_tested_opset_version()
    opsets: dict[str, Any] = {ML_DOMAIN: 3}
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
    opset = opsets[""]
    if not isinstance(opset, Integral) or not LOWEST_OPSET <= int(opset) <= newest:
        raise ConversionError(
            f"target_opset={target_opset!r}; expected a version from {LOWEST_OPSET}, which the "
            f"routing needs, to {newest}, the newest that this skl2onnx converts to"
        )
    return opsets


@lru_cache(maxsize=1)
def newest_runnable_opset() -> int:
    """Return the newest version of the operators that the installed onnxruntime loads."""
    newest = package("onnx").defs.onnx_opset_version()
    return next((v for v in range(newest, LOWEST_OPSET, -1) if _loads(v)), LOWEST_OPSET)


def _loads(opset: int) -> bool:
    """Tell whether onnxruntime loads a graph of these operators."""
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
    except Exception:  # onnxruntime has an error class for each reason
        return False
    return True


def ir_version_for(opsets: dict[str, int]) -> int:
    """Return the lowest version of the file format that holds these operators."""
    helper = package("onnx").helper
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.find_min_ir_version_for(imports, ignore_unknown=True)
