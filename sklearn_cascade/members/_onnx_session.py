"""Sessions of the ONNX runtime: one per model and process, however many copies ask for it."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from numbers import Integral
from typing import NamedTuple
from weakref import WeakSet

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_checks import (
    check_lengths,
    check_nodes,
    check_shapes,
    check_sizes,
    shapes_of_one_row,
)
from sklearn_cascade.members._onnx_file import (
    ModelBytes,
    constants_of,
    first_line,
    onnx_package,
    parse,
)
from sklearn_cascade.members._onnx_inputs import TensorSpec, as_port

# Sessions that outlive their users; those in use live on in any case.
_MOST_IDLE = 16
_FATAL = 4
_open: OrderedDict[tuple, OpenModel] = OrderedDict()
_alive: WeakSet = WeakSet()
_inherited: list = []
_lock = threading.Lock()
# The input along which a node passes labels, or the numbers of labels, on.
_PASSED_ON = {
    "Identity": 0,
    "Cast": 0,
    "Reshape": 0,
    "Squeeze": 0,
    "Unsqueeze": 0,
    "Flatten": 0,
    "Normalizer": 0,
    "Softmax": 0,
    "ZipMap": 0,
    "LabelEncoder": 0,
    "ArrayFeatureExtractor": 1,
    "Gather": 1,
}
_CLASS_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")


class OpenModel(NamedTuple):
    """A model ready to run.

    Attributes
    ----------
    session : onnxruntime.InferenceSession
        Safe to run from several threads.
    inputs, outputs : list of TensorSpec
        What the graph takes and gives.
    labels : dict from str to list of list
        The class labels found behind each output, nearest first.
    metadata_labels : list or None
        The class labels that the file's metadata tell.
    shown : str
        The model in errors.
    """

    session: object
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    labels: dict[str, list[list]]
    metadata_labels: list | None
    shown: str


def _start_anew() -> None:
    """Leave the parent's sessions alone in a forked process: their threads did not come along."""
    global _lock
    _lock = threading.Lock()
    # To destroy one would wait for its threads, forever.
    _inherited.extend(_alive)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def open_model(content: ModelBytes, providers, n_threads) -> OpenModel:
    """Return the model with its session, made on first use in this process."""
    providers = _check_providers(providers)
    n_threads = _check_n_threads(n_threads)
    key = (content.digest, repr(providers), n_threads)
    with _lock:
        found = _open.get(key)
        if found is None:
            found = _open[key] = _opened(content, providers, n_threads)
        _open.move_to_end(key)
        while len(_open) > _MOST_IDLE:
            _open.popitem(last=False)
    # The cache knows the model by its bytes, which may have come under another name.
    return found._replace(shown=content.shown)


def _opened(content: ModelBytes, providers: list, n_threads: int) -> OpenModel:
    """Return the model with a new session."""
    data = bytes(content.data)
    proto = _checked_proto(content)
    runtime = onnx_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    # What goes wrong is raised; the log would say it twice.
    options.log_severity_level = _FATAL
    try:
        session = runtime.InferenceSession(data, options, providers=providers)
        _alive.add(session)
        inputs = [as_port(node) for node in session.get_inputs()]
        outputs = [as_port(node) for node in session.get_outputs()]
    except Exception as error:
        raise OnnxModelError(
            content.shown, f"onnxruntime cannot load it: {first_line(error)}"
        ) from error
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    labels = labels_by_output(proto)
    return OpenModel(session, inputs, outputs, labels, labels_in_metadata(metadata), content.shown)


def _checked_proto(content: ModelBytes):
    """Return the model as a ModelProto in which no fault is found.

    The runtime trusts what is looked at here, and a damaged file can end the process.
    """
    proto = parse(content.data, content.shown)
    try:
        onnx_package("onnx").checker.check_model(proto)
        check_lengths(proto, content.shown)
        check_shapes(proto, content.shown)
        shapes = shapes_of_one_row(proto)
        check_sizes(proto, shapes, content.shown)
        check_nodes(proto, shapes, content.shown)
    except OnnxModelError:
        raise
    except Exception as error:
        raise OnnxModelError(
            content.shown, f"onnx finds it invalid: {first_line(error)}"
        ) from error
    return proto


def _check_providers(providers) -> list:
    """Return the execution providers, each of which is available."""
    if providers is None:
        return ["CPUExecutionProvider"]
    available = onnx_package("onnxruntime").get_available_providers()
    known = isinstance(providers, list | tuple) and len(providers) > 0
    names = [p[0] if isinstance(p, tuple) and p else p for p in providers] if known else []
    if not known or not all(name in available for name in names):
        raise ValueError(
            f"providers={providers!r}; expected a list of names, or of (name, options), from "
            f"those that this onnxruntime has: {available}"
        )
    return list(providers)


def _check_n_threads(n_threads) -> int:
    """Return the number of threads of a session's own pool, 0 for the runtime's choice."""
    if n_threads is None:
        return 0
    if not isinstance(n_threads, Integral) or isinstance(n_threads, bool) or n_threads < 0:
        raise ValueError(
            f"n_threads={n_threads!r}; expected a number of threads, or None for one per core"
        )
    return int(n_threads)


def labels_by_output(proto) -> dict[str, list[list]]:
    """Return the lists of labels met on the way back from each output, nearest first."""
    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    constants = constants_of(graph)
    return {output.name: list(_walk(output.name, producers, constants)) for output in graph.output}


def labels_in_metadata(metadata: dict[str, str]) -> list | None:
    """Return the list that the metadata hold, as JSON, under "classes"."""
    try:
        labels = json.loads(metadata.get("classes", ""))
    except ValueError:
        return None
    return labels if _are_labels(labels) else None


def _walk(name: str, producers: dict, constants: dict) -> Iterator[list]:
    """Yield the labels of the nodes behind one output, as long as these pass labels on."""
    seen = set()
    while name in producers and name not in seen:
        seen.add(name)
        node = producers[name]
        labels = _labels_of(node, constants)
        if _are_labels(labels):
            yield labels
        position = _PASSED_ON.get(node.op_type, len(node.input))
        if position >= len(node.input):
            return
        name = node.input[position]


def _are_labels(labels) -> bool:
    """Tell whether these are at least two different labels of one type."""
    if not isinstance(labels, list) or len(labels) < 2:
        return False
    types = {type(label) for label in labels}
    return types in ({int}, {str}, {bool}, {float}) and len(set(labels)) == len(labels)


def _labels_of(node, constants: dict) -> list | None:
    """Return the labels that a node itself holds."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for key in _CLASS_LABELS:
        if key in attributes:
            return _values(attributes[key])
    if node.op_type == "LabelEncoder":
        return _encoded(attributes)
    if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in constants:
        return _elements(constants[node.input[0]])
    return None


def _values(attribute) -> list:
    """Return a list attribute as integers or text."""
    return list(attribute.ints) or _texts(attribute.strings)


def _texts(values) -> list[str]:
    """Return bytes as text; damaged ones stay readable."""
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]


def _encoded(attributes: dict) -> list | None:
    """Return the labels a LabelEncoder gives to 0, 1, ..."""
    keys = attributes.get("keys_int64s")
    values = attributes.get("values_strings") or attributes.get("values_int64s")
    if keys is None or values is None or sorted(keys.ints) != list(range(len(keys.ints))):
        return None
    values = _values(values)
    return [values[k] for k in _order(keys.ints)] if len(values) == len(keys.ints) else None


def _order(keys) -> list[int]:
    """Return the positions of 0, 1, ... among some keys."""
    return sorted(range(len(keys)), key=keys.__getitem__)


def _elements(tensor) -> list | None:
    """Return the elements of a constant as labels."""
    from onnx import numpy_helper

    # Rows and columns of one label each are both met.
    if len([dim for dim in tensor.dims if dim != 1]) > 1:
        return None
    try:
        array = numpy_helper.to_array(tensor).ravel()
    except Exception:  # a damaged constant holds no labels; whether it matters, the runtime says
        return None
    return array.tolist() if array.dtype.kind in "ib" else _texts(array.tolist())
