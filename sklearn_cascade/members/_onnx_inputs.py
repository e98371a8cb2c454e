"""The inputs and outputs of an ONNX graph, and the conversion of X without changing any value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

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


class TensorSpec(NamedTuple):
    """One input or output of a graph."""

    name: str
    type: str
    shape: tuple  # a name or None for an open length; empty where nothing is known
    dtype: Any  # numpy.dtype; None for what is not a tensor

    @property
    def is_map(self) -> bool:
        """Whether each row is a dict from label to probability."""
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

    @classmethod
    def from_node(cls, node) -> TensorSpec:
        """Return an input or output as the runtime describes it."""
        inner = node.type.removeprefix("tensor(").removesuffix(")")
        dtype = np.dtype(_DTYPES[inner]) if inner in _DTYPES else None
        return cls(node.name, node.type, tuple(node.shape or ()), dtype)


class InputEncoder:
    """Converts X to the arrays of a graph's inputs."""

    def __init__(self, specs: Sequence[TensorSpec], display_name: str) -> None:
        self.specs = specs
        self.display_name = display_name
        self._only = specs[0] if len(specs) == 1 else None

    def __call__(self, X) -> dict[str, np.ndarray]:
        """Return one array per input, each with as many rows as X."""
        spec = self._only
        if spec is None:
            return self._by_name(X)
        if type(X) is np.ndarray:
            return {spec.name: self._conform(X, spec)}
        names = _column_names(X)
        if names is not None and spec.name in names and (spec.width == 1 or isinstance(X, Mapping)):
            return self._by_name(X)
        if isinstance(X, Mapping):
            raise self._missing_names(names)
        return {spec.name: self._conform(self._array(X), spec)}

    def _by_name(self, X) -> dict[str, np.ndarray]:
        """Return, for each input, the column of its name."""
        names = _column_names(X)
        if names is None or not {spec.name for spec in self.specs} <= names:
            raise self._missing_names(names)
        if not isinstance(X, Mapping) and any(spec.width != 1 for spec in self.specs):
            raise OnnxModelError(
                self.display_name,
                f"an input takes more than one column of a frame, which a name cannot identify; "
                f"pass a dict from input to array instead. Inputs: {listed(self.specs)}",
            )
        feeds = {spec.name: self._conform(self._array(X[spec.name]), spec) for spec in self.specs}
        if len({len(array) for array in feeds.values()}) > 1:
            lengths = {name: len(array) for name, array in feeds.items()}
            raise OnnxModelError(self.display_name, f"X has different numbers of rows: {lengths}")
        return feeds

    def _missing_names(self, names: set | None) -> OnnxModelError:
        """Return the error for an X without the names of the inputs."""
        if names is None:
            has = "has no named columns"
        else:
            has = f"lacks {[spec.name for spec in self.specs if spec.name not in names]}"
        return OnnxModelError(
            self.display_name,
            f"X {has}, and the graph takes the columns of these names: {listed(self.specs)}",
        )

    def _array(self, X) -> np.ndarray:
        """Return X, or one of its columns, as an array."""
        try:
            return _as_array(X)
        except ValueError as error:
            raise OnnxModelError(self.display_name, f"X is no array: {error}") from error

    def _conform(self, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
        """Return the array with the type and rank of an input."""
        if array.dtype != spec.dtype or spec.dtype.kind == "O":
            array = _cast(array, spec, self.display_name)
        if array.ndim == 0:
            raise self._wrong_shape(array, spec)
        if array.ndim != len(spec.shape) and spec.shape:
            if array.ndim == 1 and len(spec.shape) == 2 and spec.width in (1, None):
                return array[:, None]
            if array.ndim == 2 and len(spec.shape) == 1 and array.shape[1] == 1:
                return array[:, 0]
            raise self._wrong_shape(array, spec)
        return array

    def _wrong_shape(self, array: np.ndarray, spec: TensorSpec) -> OnnxModelError:
        """Return the error for an array whose shape is not the input's."""
        return OnnxModelError(
            self.display_name, f"X has shape {array.shape}; the graph takes {spec}"
        )

    def check_shapes(self, feeds: dict[str, np.ndarray]) -> None:
        """Raise where an array's shape, except for the number of rows, is not its input's."""
        for spec in self.specs:
            given = feeds[spec.name].shape[1:]
            if any(
                isinstance(expected, int) and expected != length
                for expected, length in zip(spec.shape[1:], given, strict=False)
            ):
                raise self._wrong_shape(feeds[spec.name], spec)


def _column_names(X) -> set | None:
    """Return the names of the columns of a frame, or of the arrays of a dict."""
    if isinstance(X, Mapping):
        return set(X)
    return set(X.columns) if getattr(X, "columns", None) is not None else None


def _as_array(X) -> np.ndarray:
    """Return a frame, a column, a sparse matrix or lists as an array."""
    if issparse(X):
        return X.toarray()
    if hasattr(X, "to_numpy"):
        array = X.to_numpy()
        # With pandas' own missing values, numbers become an array of objects.
        if array.dtype.kind == "O" and hasattr(X, "isna"):
            array = np.where(np.asarray(X.isna()), np.nan, array)
        return array
    return np.asarray(X)


def _cast(array: np.ndarray, spec: TensorSpec, display_name: str) -> np.ndarray:
    """Return the array in the type of an input, or raise where a value would change."""
    try:
        return _CASTS[spec.dtype.kind](array, spec.dtype)
    except (ValueError, TypeError, OverflowError, FloatingPointError) as error:
        cause = str(error).splitlines()[0]
        raise OnnxModelError(
            display_name, f"X of dtype {array.dtype} does not go into the input {spec}: {cause}"
        ) from error


def _numbers(array: np.ndarray) -> np.ndarray:
    """Return numbers as they are, and objects that are numbers as float64."""
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind != "O" or any(isinstance(value, str | bytes) for value in array.flat):
        raise TypeError("expected numbers")
    return array.astype(np.float64)


def _to_float(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return numbers in a floating type; rounding to the graph's precision is allowed."""
    with np.errstate(over="raise"):
        try:
            return _numbers(array).astype(dtype)
        except FloatingPointError as error:
            raise OverflowError(f"a value is too large for {dtype}") from error


def _to_integer(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return integers or booleans in another type; no value may change."""
    array = _numbers(array)
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype)
        # A negative number and its unsigned counterpart convert into each other without loss.
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


_CASTS = {"f": _to_float, "i": _to_integer, "u": _to_integer, "b": _to_integer, "O": _to_text}


def listed(specs: Sequence[TensorSpec]) -> str:
    """Return names, types and shapes in one line."""
    return "; ".join(map(str, specs)) or "none"


def choose_inputs(
    specs: Sequence[TensorSpec], name: str | None, display_name: str
) -> list[TensorSpec]:
    """Return the inputs to feed: the only one, the named one, or all by the names of columns."""
    if not specs:
        raise OnnxModelError(display_name, "the graph has no input")
    if name is not None:
        _find(specs, name, "input_name", "inputs", display_name)
        if len(specs) > 1:
            raise OnnxModelError(
                display_name,
                f"input_name={name!r} is not all that the graph needs: its inputs are "
                f"{listed(specs)}; with input_name=None a frame's columns feed them by name",
            )
    if any(spec.dtype is None for spec in specs):
        raise OnnxModelError(display_name, f"an input is no tensor; inputs: {listed(specs)}")
    if len({spec.n_fixed for spec in specs}) > 1:
        raise OnnxModelError(
            display_name, f"its inputs take different numbers of rows: {listed(specs)}"
        )
    return list(specs)


def choose_output(
    specs: Sequence[TensorSpec], name: str | None, softmax: bool, display_name: str
) -> TensorSpec:
    """Return the output that holds the probabilities: the named one, or the only candidate."""
    if name is not None:
        spec = _find(specs, name, "output_name", "outputs", display_name)
        if not (spec.is_map or (spec.dtype is not None and spec.dtype.kind == "f")):
            raise OnnxModelError(
                display_name, f"output_name={name!r} is no probabilities; outputs: {listed(specs)}"
            )
        return spec
    # Numbers by row and class, where nets that end in a convolution leave axes of length one; or
    # dicts of them.
    candidates = [
        spec
        for spec in specs
        if spec.is_map
        or (spec.dtype is not None and spec.dtype.kind == "f" and set(spec.shape[2:]) <= {1})
    ]
    by_name: list[Callable[[str], bool]] = [
        # The names that converters give, then any that mentions probabilities.
        lambda name: name in ("probabilities", "output_probability"),
        lambda name: "prob" in name,
    ]
    if softmax:
        by_name.insert(0, lambda name: "logit" in name)
    for matches in by_name:
        best = [spec for spec in candidates if matches(spec.name.lower())]
        if len(best) == 1:
            return best[0]
    if len(candidates) != 1:
        raise OnnxModelError(
            display_name,
            f"{len(candidates) or 'none'} of its outputs could be the probabilities; name one "
            f"with output_name: {listed(candidates or specs)}",
        )
    return candidates[0]


def _find(
    specs: Sequence[TensorSpec], name: str, parameter: str, what: str, display_name: str
) -> TensorSpec:
    """Return the input or output with a name, or raise."""
    for spec in specs:
        if spec.name == name:
            return spec
    raise OnnxModelError(
        display_name, f"{parameter}={name!r} is none of its {what}: {listed(specs)}"
    )
