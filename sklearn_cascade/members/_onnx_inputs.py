"""From X to what an ONNX session is fed, without a change of any value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from sklearn_cascade.exceptions import OnnxModelError


def _to_float(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return numbers in a floating type; its precision is the graph's own."""
    with np.errstate(over="raise"):
        try:
            return _numbers(array).astype(dtype)
        except FloatingPointError as error:
            raise OverflowError(f"a value is too large for {dtype}") from error


def _to_whole(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return whole numbers, or truth values, in another type; none may change."""
    array = _numbers(array)
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype)
        # A negative number and its unsigned twin turn into each other without a loss.
        same = (cast.astype(array.dtype) == array) & ((cast < 0) == (array < 0))
    if not same.all():
        raise ValueError(f"{array[~same].flat[0]!s} is no {dtype}")
    return cast


def _to_text(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return text as objects."""
    array = array.astype(dtype)
    for value in array.flat:
        if not isinstance(value, str):
            raise TypeError(f"expected text, got {value!r}")
    return array


_CASTS = {"f": _to_float, "i": _to_whole, "u": _to_whole, "b": _to_whole, "O": _to_text}
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


class InputEncoder:
    """Turns X into the arrays of a graph's inputs.

    Parameters
    ----------
    ports : list of TensorSpec
        The inputs.
    shown : str
        The model in errors.
    """

    def __init__(self, ports: Sequence[TensorSpec], shown: str) -> None:
        self.ports = ports
        self.shown = shown
        self._only = ports[0] if len(ports) == 1 else None

    def __call__(self, X) -> dict[str, np.ndarray]:
        """Return one array per input, each with as many rows as X."""
        port = self._only
        if port is None:
            return self._by_name(X)
        if type(X) is np.ndarray:
            return {port.name: self._fitted(X, port)}
        names = _column_names(X)
        if names is not None and port.name in names and (port.width == 1 or _is_mapping(X)):
            return self._by_name(X)
        if _is_mapping(X):
            raise self._lacking(names)
        return {port.name: self._fitted(self._array(X), port)}

    def _by_name(self, X) -> dict[str, np.ndarray]:
        """Return, for each input, the column of its name."""
        names = _column_names(X)
        if names is None or not {port.name for port in self.ports} <= names:
            raise self._lacking(names)
        if not _is_mapping(X) and any(port.width != 1 for port in self.ports):
            raise OnnxModelError(
                self.shown,
                f"an input takes more than one column of a frame, which its name does not tell; "
                f"pass a dict from input to array instead. Inputs: {listed(self.ports)}",
            )
        feeds = {port.name: self._fitted(self._array(X[port.name]), port) for port in self.ports}
        if len({len(array) for array in feeds.values()}) > 1:
            lengths = {name: len(array) for name, array in feeds.items()}
            raise OnnxModelError(self.shown, f"X has unlike numbers of rows: {lengths}")
        return feeds

    def _lacking(self, names: set | None) -> OnnxModelError:
        """Return the error of an X without the inputs' names."""
        if names is None:
            has = "has no named columns"
        else:
            has = f"lacks {[port.name for port in self.ports if port.name not in names]}"
        return OnnxModelError(
            self.shown,
            f"X {has}, and the graph takes the columns of these names: {listed(self.ports)}",
        )

    def _array(self, X) -> np.ndarray:
        """Return X, or one of its columns, as an array."""
        try:
            return _as_array(X)
        except ValueError as error:
            raise OnnxModelError(self.shown, f"X is no array: {error}") from error

    def _fitted(self, array: np.ndarray, port: TensorSpec) -> np.ndarray:
        """Return the array in the type and rank of an input."""
        if array.dtype != port.dtype or port.dtype.kind == "O":
            array = _cast(array, port, self.shown)
        if array.ndim == 0:
            raise self.misfit(array, port)
        if array.ndim != len(port.shape) and port.shape:
            if array.ndim == 1 and len(port.shape) == 2 and port.width in (1, None):
                return array[:, None]
            if array.ndim == 2 and len(port.shape) == 1 and array.shape[1] == 1:
                return array[:, 0]
            raise self.misfit(array, port)
        return array

    def misfit(self, array: np.ndarray, port: TensorSpec) -> OnnxModelError:
        """Return the error of an array whose shape is not the input's."""
        return OnnxModelError(self.shown, f"X has shape {array.shape}; the graph takes {port}")

    def check_shapes(self, feeds: dict[str, np.ndarray]) -> None:
        """Raise where an array's shape is not its input's, the number of rows left out."""
        for port in self.ports:
            given = feeds[port.name].shape[1:]
            if any(
                isinstance(asked, int) and asked != got
                for asked, got in zip(port.shape[1:], given, strict=False)
            ):
                raise self.misfit(feeds[port.name], port)


def _is_mapping(X) -> bool:
    """Tell whether X is a dict from input to array."""
    return isinstance(X, Mapping)


def _column_names(X) -> set | None:
    """Return the names of the columns of a frame, or of the arrays of a dict."""
    if _is_mapping(X):
        return set(X)
    columns = getattr(X, "columns", None)
    return None if columns is None else set(columns)


def _as_array(X) -> np.ndarray:
    """Return a frame, a column, a sparse matrix or lists as an array."""
    if issparse(X):
        return X.toarray()
    if hasattr(X, "to_numpy"):
        array = X.to_numpy()
        # pandas' own missing values stop numbers from becoming an array of numbers.
        if array.dtype.kind == "O" and hasattr(X, "isna"):
            array = np.where(np.asarray(X.isna()), np.nan, array)
        return array
    return np.asarray(X)


def _cast(array: np.ndarray, port: TensorSpec, shown: str) -> np.ndarray:
    """Return the array in the type of an input, or raise where a value would change."""
    try:
        return _CASTS[port.dtype.kind](array, port.dtype)
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        cause = str(error).splitlines()[0]
        raise OnnxModelError(
            shown, f"X of dtype {array.dtype} does not go into the input {port}: {cause}"
        ) from error


def _numbers(array: np.ndarray) -> np.ndarray:
    """Return numbers as they are, and objects that are numbers as float64."""
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind != "O" or any(isinstance(value, str | bytes) for value in array.flat):
        raise TypeError("expected numbers")
    return array.astype(np.float64)


class TensorSpec(NamedTuple):
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


def as_port(node) -> TensorSpec:
    """Return an input or output as the runtime describes it."""
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype(_DTYPES[inner]) if inner in _DTYPES else None
    return TensorSpec(node.name, node.type, tuple(node.shape or ()), dtype)


def listed(ports: Sequence[TensorSpec]) -> str:
    """Return names, types and shapes in one line."""
    return "; ".join(map(str, ports)) or "none"


def choose_inputs(ports: Sequence[TensorSpec], name: str | None, shown: str) -> list[TensorSpec]:
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


def choose_output(
    ports: Sequence[TensorSpec], name: str | None, softmax: bool, shown: str
) -> TensorSpec:
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


def _find(
    ports: Sequence[TensorSpec], name: str, parameter: str, what: str, shown: str
) -> TensorSpec:
    """Return the port of a name."""
    for port in ports:
        if port.name == name:
            return port
    raise OnnxModelError(shown, f"{parameter}={name!r} is none of its {what}: {listed(ports)}")


def _may_be_probabilities(port: TensorSpec) -> bool:
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
