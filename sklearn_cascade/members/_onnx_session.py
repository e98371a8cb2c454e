"""Sessions of the ONNX runtime, one per model and process, and the labels that a model carries."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from numbers import Integral
from typing import Any, NamedTuple
from weakref import WeakSet

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_checks import check_model
from sklearn_cascade.members._onnx_file import (
    ModelBytes,
    constants_of,
    first_line,
    onnx_package,
    parse,
)
from sklearn_cascade.members._onnx_inputs import TensorSpec

# Sessions kept beyond their use; those in use live on in any case.
_MAX_IDLE = 16
_FATAL = 4
_open: OrderedDict[tuple, OpenModel] = OrderedDict()
_alive: WeakSet = WeakSet()
_inherited: list = []
_lock = threading.Lock()
# The input whose labels, or label indices, a node passes on.
_PASSED_ON = {
    **dict.fromkeys(("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"), 0),
    **dict.fromkeys(("Normalizer", "Softmax", "ZipMap", "LabelEncoder"), 0),
    **dict.fromkeys(("ArrayFeatureExtractor", "Gather"), 1),
}
_CLASS_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")


class OpenModel(NamedTuple):
    """A model ready to run."""

    session: Any  # onnxruntime.InferenceSession, safe to run from several threads
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    labels: dict[str, list[list]]  # the class labels behind each output, nearest first
    metadata_labels: list | None  # the class labels in the file's metadata
    display_name: str  # the model in errors


def _start_anew() -> None:  # pragma: no cover, in forked processes
    """Leave the parent's sessions alone in a forked process, which lacks their threads."""
    global _lock
    _lock = threading.Lock()
    # Destroying one would wait for its threads forever.
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
        while len(_open) > _MAX_IDLE:
            _open.popitem(last=False)
    # The cache identifies the model by its bytes, which may have been given under another name.
    return found._replace(display_name=content.display_name)


def _opened(content: ModelBytes, providers: list, n_threads: int) -> OpenModel:
    """Return the model with a new session."""
    data = bytes(content.data)
    proto = parse(content.data, content.display_name)
    # The runtime trusts the file, and damage can end the process.
    check_model(proto, content.display_name)
    runtime = onnx_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    # Errors are raised; the log would repeat them.
    options.log_severity_level = _FATAL
    try:
        session = runtime.InferenceSession(data, options, providers=providers)
        _alive.add(session)
        inputs = [TensorSpec.from_node(node) for node in session.get_inputs()]
        outputs = [TensorSpec.from_node(node) for node in session.get_outputs()]
    except Exception as error:
        raise OnnxModelError(
            content.display_name, f"onnxruntime cannot load it: {first_line(error)}"
        ) from error
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    labels = labels_by_output(proto)
    return OpenModel(
        session, inputs, outputs, labels, labels_in_metadata(metadata), content.display_name
    )


def _check_providers(providers) -> list:
    """Return the execution providers; raise unless all are available."""
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
    """Return the lists of labels found upstream of each output, nearest first."""
    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    constants = constants_of(graph)
    return {output.name: list(_walk(output.name, producers, constants)) for output in graph.output}


def labels_in_metadata(metadata: dict[str, str]) -> list | None:
    """Return the JSON list under "classes" in the metadata, if there is one."""
    try:
        labels = json.loads(metadata.get("classes", ""))
    except ValueError:
        return None
    return labels if _are_labels(labels) else None


def _walk(name: str, producers: dict, constants: dict) -> Iterator[list]:
    """Yield the labels of the nodes upstream of one output, as far as these pass labels on."""
    seen = set()
    while name in producers and name not in seen:
        seen.add(name)
        node = producers[name]
        labels = _labels_of(node, constants)
        if labels is not None and _are_labels(labels):
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
    """Return the labels in the attributes or constants of a node."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for key in _CLASS_LABELS:
        if key in attributes:
            return _values(attributes[key])
    if node.op_type == "LabelEncoder":
        return _encoder_labels(attributes)
    if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in constants:
        return _elements(constants[node.input[0]])
    return None


def _values(attribute) -> list:
    """Return a list attribute as integers or text."""
    return list(attribute.ints) or _texts(attribute.strings)


def _texts(values) -> list[str]:
    """Return bytes as text; damaged ones stay readable."""
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]


def _encoder_labels(attributes: dict) -> list | None:
    """Return the labels that a LabelEncoder assigns to 0, 1, ..."""
    keys = attributes.get("keys_int64s")
    values = attributes.get("values_strings") or attributes.get("values_int64s")
    if keys is None or values is None or sorted(keys.ints) != list(range(len(keys.ints))):
        return None
    values = _values(values)
    if len(values) != len(keys.ints):
        return None
    return [label for _, label in sorted(zip(keys.ints, values, strict=True))]


def _elements(tensor) -> list | None:
    """Return the elements of a constant as labels."""
    from onnx import numpy_helper

    # Labels are stored as a row or as a column.
    if len([dim for dim in tensor.dims if dim != 1]) > 1:
        return None
    try:
        array = numpy_helper.to_array(tensor).ravel()
    except Exception:  # a damaged constant holds no labels; if it matters, the runtime raises
        return None
    return array.tolist() if array.dtype.kind in "ib" else _texts(array.tolist())
