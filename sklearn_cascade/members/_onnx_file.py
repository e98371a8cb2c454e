"""The bytes of an ONNX model, from a file, bytes or a loaded model, external weights included."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.exceptions import OnnxModelError

# Protobuf writes no message larger than this.
_MAX_BYTES = 2**31 - 1


class ShortReprBytes(bytes):
    """The bytes of a model; scikit-learn's printers call ``repr`` on every parameter."""

    def __repr__(self) -> str:
        return f"<bytes of length {len(self)}>"


class ModelBytes(NamedTuple):
    """The bytes of a model, uint8 (n_bytes,)."""

    # The same object while its owner lives, so joblib recognises that it has sent it before.
    data: np.ndarray
    digest: str  # SHA-256 of the bytes
    display_name: str  # the model in errors: its path, or its number of bytes


def onnx_package(name: str):
    """Import onnx or onnxruntime, or raise that OnnxClassifier needs it."""
    return import_optional(name, feature="OnnxClassifier")


def is_path(model) -> bool:
    """Tell whether a model is given by its path."""
    return isinstance(model, str | os.PathLike)


def read_model(model) -> ModelBytes:
    """Return the bytes of a model given as a path, bytes, an array of uint8 or a ModelProto."""
    data, display_name, folder = _raw_bytes(model)
    proto = parse(data, display_name)
    if any(_is_external(tensor) for tensor in _tensors_of(proto)):
        data = np.frombuffer(_inlined(proto, folder, display_name), np.uint8)
    return ModelBytes(data, hashlib.sha256(data.data).hexdigest(), display_name)


def parse(data: np.ndarray, display_name: str):
    """Return the bytes as a ModelProto."""
    try:
        return onnx_package("onnx").load_model_from_string(bytes(data))
    except Exception as error:
        raise OnnxModelError(
            display_name, f"this is no ONNX file, or one that was cut short: {first_line(error)}"
        ) from error


def constants_of(graph) -> dict:
    """Return the constant tensors of a graph by name."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    return constants


def first_line(error: Exception) -> str:
    """Return the message of an error as one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]}..."


def _raw_bytes(model) -> tuple[np.ndarray, str, str | None]:
    """Return the bytes as an array, the name in errors, and the folder of a path."""
    if is_path(model):
        path = Path(os.fsdecode(model))
        display_name = repr(str(path))
        try:
            return np.frombuffer(path.read_bytes(), np.uint8), display_name, str(path.parent)
        except (OSError, ValueError) as error:
            raise OnnxModelError(
                display_name, f"the file cannot be read: {first_line(error)}"
            ) from error
    if isinstance(model, np.ndarray) and model.dtype == np.uint8 and model.ndim == 1:
        return np.ascontiguousarray(model), f"bytes of length {model.size}", None
    if isinstance(model, bytes | bytearray | memoryview):
        data = model if isinstance(model, bytes) else bytes(model)
        return np.frombuffer(data, np.uint8), f"bytes of length {len(data)}", None
    if not isinstance(model, onnx_package("onnx").ModelProto):
        raise OnnxModelError(
            f"{type(model).__name__} object", "expected a path, bytes or a loaded ModelProto"
        )
    try:
        data = model.SerializeToString()
    except Exception as error:
        raise OnnxModelError("ModelProto", f"it does not serialise: {first_line(error)}") from error
    return np.frombuffer(data, np.uint8), f"ModelProto of {len(data)} bytes", None


def _inlined(proto, folder: str | None, display_name: str) -> bytes:
    """Return the bytes of a model with its external data inlined; none from outside its folder."""
    if folder is None:
        raise OnnxModelError(
            display_name,
            "its weights are in other files; give its path, or load it with its weights",
        )
    external = [tensor for tensor in _tensors_of(proto) if _is_external(tensor)]
    try:
        outside = any(_points_outside(tensor, folder) for tensor in external)
    except (OSError, ValueError, RuntimeError):  # not a path, or circular links
        outside = True
    if outside:
        raise OnnxModelError(display_name, "it refers to weights outside its own folder")
    try:
        onnx_package("onnx").external_data_helper.load_external_data_for_model(proto, folder)
        data = proto.SerializeToString()
    except Exception as error:
        raise OnnxModelError(
            display_name, f"its weights in other files cannot be loaded: {first_line(error)}"
        ) from error
    # In tensors that onnx does not look into, they would send the runtime to the file system.
    if len(data) > _MAX_BYTES or any(_is_external(tensor) for tensor in _tensors_of(proto)):
        raise OnnxModelError(display_name, "its weights in other files do not fit into one file")
    return data


def _is_external(tensor) -> bool:
    """Tell whether a tensor's values are in a separate file."""
    return onnx_package("onnx").external_data_helper.uses_external_data(tensor)


def _points_outside(tensor, folder: str) -> bool:
    """Tell whether a tensor's file is outside a folder, links followed."""
    root = Path(folder).resolve()
    names = [entry.value for entry in tensor.external_data if entry.key == "location"]
    return not all((root / name).resolve().is_relative_to(root) for name in names)


def _tensors_of(proto) -> Iterator:
    """Yield every tensor of a model, including those in functions and in subgraphs."""
    yield from _tensors_of_graph(proto.graph)
    for function in proto.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph) -> Iterator:
    """Yield every tensor of a graph."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes) -> Iterator:
    """Yield every tensor in the attributes of some nodes."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
            yield from (sparse.values, sparse.indices)
        for graph in [attribute.g, *attribute.graphs]:
            yield from _tensors_of_graph(graph)
