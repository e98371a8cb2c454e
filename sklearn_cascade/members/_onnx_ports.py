"""Which inputs and which output of an ONNX graph a classifier uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError

_DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "string": np.object_,
    **{
        name: getattr(np, "bool_" if name == "bool" else name)
        for name in ("float16", "int8", "int16", "int32", "int64", "bool")
        + ("uint8", "uint16", "uint32", "uint64")
    },
}


class Port(NamedTuple):
    """One input or output of a graph.

    Attributes
    ----------
    name, type : str
        As in the graph.
    shape : tuple
        Lengths; a name or None where a length is open. Empty where nothing is known.
    dtype : numpy.dtype or None
        None for what is no tensor.
    """

    name: str
    type: str
    shape: tuple
    dtype: np.dtype | None

    @property
    def is_map(self) -> bool:
        """Whether rows are answered by dicts from label to probability."""
        return self.type.startswith("seq(map(")

    @property
    def width(self) -> int | None:
        """Length of the second axis, 1 for a single axis; None where it is open."""
        if len(self.shape) == 1:
            return 1
        return self.shape[1] if self.shape and isinstance(self.shape[1], int) else None

    @property
    def n_fixed(self) -> int | None:
        """Number of rows that the graph takes at once, None where it takes any."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else None

    def __str__(self) -> str:
        shape = ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name!r} {self.type} [{shape}]"


def as_port(node) -> Port:
    """Return an input or output as the runtime describes it."""
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype(_DTYPES[inner]) if inner in _DTYPES else None
    return Port(node.name, node.type, tuple(node.shape or ()), dtype)


def listed(ports: Sequence[Port]) -> str:
    """Return names, types and shapes in one line."""
    return "; ".join(map(str, ports)) or "none"


def choose_inputs(ports: Sequence[Port], name: str | None, shown: str) -> list[Port]:
    """Return the inputs to feed: the only one, the named one, or all by the names of columns."""
    if not ports:
        raise OnnxModelError(shown, "the graph has no input")
    if name is not None:
        _find(ports, name, "input_name", "inputs", shown)
        if len(ports) > 1:
            raise OnnxModelError(
                shown,
                f"input_name={name!r} is not all that the graph needs: its inputs are "
                f"{listed(ports)}; with input_name=None a frame's columns feed them by name",
            )
    if any(port.dtype is None for port in ports):
        raise OnnxModelError(shown, f"an input is no tensor; inputs: {listed(ports)}")
    if len({port.n_fixed for port in ports}) > 1:
        raise OnnxModelError(shown, f"its inputs take unlike numbers of rows: {listed(ports)}")
    return list(ports)


def choose_output(ports: Sequence[Port], name: str | None, softmax: bool, shown: str) -> Port:
    """Return the output that holds the probabilities: the named one, or the only candidate."""
    if name is not None:
        port = _find(ports, name, "output_name", "outputs", shown)
        if not (port.is_map or (port.dtype is not None and port.dtype.kind == "f")):
            raise OnnxModelError(
                shown, f"output_name={name!r} is no probabilities; outputs: {listed(ports)}"
            )
        return port
    candidates = [port for port in ports if _may_be_probabilities(port)]
    for fits in (_by_logits,) * softmax + (_by_full_name, _by_name):
        best = [port for port in candidates if fits(port.name.lower())]
        if len(best) == 1:
            return best[0]
    if len(candidates) != 1:
        raise OnnxModelError(
            shown,
            f"{len(candidates) or 'none'} of its outputs could be the probabilities; name one "
            f"with output_name: {listed(candidates or ports)}",
        )
    return candidates[0]


def _find(ports: Sequence[Port], name: str, parameter: str, what: str, shown: str) -> Port:
    """Return the port of a name."""
    for port in ports:
        if port.name == name:
            return port
    raise OnnxModelError(shown, f"{parameter}={name!r} is none of its {what}: {listed(ports)}")


def _may_be_probabilities(port: Port) -> bool:
    """Tell whether an output holds numbers by row and class, or dicts of them."""
    if port.is_map:
        return True
    # Nets that end in a convolution leave axes of length one behind.
    return port.dtype is not None and port.dtype.kind == "f" and set(port.shape[2:]) <= {1}


def _by_logits(name: str) -> bool:
    """Tell whether a name speaks of logits."""
    return "logit" in name


def _by_full_name(name: str) -> bool:
    """Tell whether a name is the one that converters give to probabilities."""
    return name in ("probabilities", "output_probability")


def _by_name(name: str) -> bool:
    """Tell whether a name speaks of probabilities."""
    return "prob" in name
