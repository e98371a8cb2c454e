"""Sessions of the ONNX runtime: one per model and process, however many copies ask for it."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from numbers import Integral
from typing import NamedTuple
from weakref import WeakSet

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_labels import labels_by_output, labels_in_metadata
from sklearn_cascade.members._onnx_ports import Port, as_port
from sklearn_cascade.members._onnx_sanity import check_lengths, check_nodes
from sklearn_cascade.members._onnx_shapes import check_shapes, check_sizes, shapes_of_one_row
from sklearn_cascade.members._onnx_source import Content, first_line, onnx_package, parse

# Sessions that outlive their users; those in use live on in any case.
_MOST_IDLE = 16
_FATAL = 4


class OpenModel(NamedTuple):
    """A model ready to run.

    Attributes
    ----------
    session : onnxruntime.InferenceSession
        Safe to run from several threads.
    inputs, outputs : list of Port
        What the graph takes and gives.
    labels : dict from str to list of list
        The class labels found behind each output, nearest first.
    metadata_labels : list or None
        The class labels that the file's metadata tell.
    shown : str
        The model in errors.
    """

    session: object
    inputs: list[Port]
    outputs: list[Port]
    labels: dict[str, list[list]]
    metadata_labels: list | None
    shown: str


_open: OrderedDict[tuple, OpenModel] = OrderedDict()
_alive: WeakSet = WeakSet()
_inherited: list = []
_lock = threading.Lock()


def _start_anew() -> None:
    """Leave the parent's sessions alone in a forked process: their threads did not come along."""
    global _lock
    _lock = threading.Lock()
    # To destroy one would wait for its threads, forever.
    _inherited.extend(_alive)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def open_model(content: Content, providers, n_threads) -> OpenModel:
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


def _opened(content: Content, providers: list, n_threads: int) -> OpenModel:
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


def _checked_proto(content: Content):
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
