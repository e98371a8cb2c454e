"""Rows of X to the inputs of a graph: what they are, and what they are fed."""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse

from sklearn_cascade.exceptions import ConversionError
from sklearn_cascade.export._binding import Source, elem_type_of
from sklearn_cascade.export._models import OUTPUTS


class Inputs:
    """What a graph is fed for rows like those of X.

    Parameters
    ----------
    X : array or frame
        Some rows.
    by_column : bool
        Whether a frame becomes one input per column, whatever its types.
    exact : bool, default=False
        Whether arrays keep their type of elements, as nets want it.

    Attributes
    ----------
    sources : list of Source
        The inputs, named as in the graph.

    Raises
    ------
    ConversionError
        For rows that no graph can be fed with.
    """

    def __init__(self, X, *, by_column: bool, exact: bool = False) -> None:
        if issparse(X):
            raise ConversionError(
                "X is sparse, and ONNX files take dense rows; expected X.toarray(), or a pipeline "
                "whose first step makes rows dense"
            )
        self._dtypes: dict[str, np.dtype] | None = None
        columns = _columns_of(X)
        if columns is None:
            array = _as_array(X)
            self._dtype = _settled(array, "X", exact)
            self.sources = [_source("X", self._dtype, array)]
            return
        arrays = {str(name): np.asarray(X[name]) for name in columns}
        dtypes = {name: _settled(array, name, exact) for name, array in arrays.items()}
        if not by_column and all(dtype.kind != "O" for dtype in dtypes.values()):
            self._dtype = np.result_type(*dtypes.values())
            if self._dtype.kind != "f" and self._dtype != np.int64:
                self._dtype = np.dtype(np.float64)
            self.sources = [Source("X", "X", elem_type_of(self._dtype), (None, len(columns)))]
            return
        _check_names(columns)
        self._dtypes = dtypes
        self.sources = [_source(name, dtypes[name], arrays[name]) for name in arrays]

    def feeds(self, X) -> dict[str, np.ndarray]:
        """Return one array per input for some rows."""
        if self._dtypes is None:
            array = _as_array(X)
            return {self.sources[0].name: _cast(array, self._dtype)}
        return {
            source.name: _as_column(_cast(np.asarray(X[source.label]), self._dtypes[source.label]))
            for source in self.sources
        }


def _columns_of(X) -> list | None:
    """Return the names of the columns of a frame; None for anything else."""
    columns = getattr(X, "columns", None)
    return None if columns is None else list(columns)


def _as_array(X) -> np.ndarray:
    """Return rows as an array."""
    return np.asarray(X.to_numpy() if hasattr(X, "to_numpy") else X)


def _as_column(array: np.ndarray) -> np.ndarray:
    """Return a single column as a matrix of one."""
    return array[:, None] if array.ndim == 1 else array


def _source(name: str, dtype: np.dtype, array: np.ndarray) -> Source:
    """Return the input for an array of rows."""
    shape = (None, *_as_column(array).shape[1:])
    return Source(name, name, elem_type_of(dtype), shape)


def _settled(array: np.ndarray, name: str, exact: bool) -> np.dtype:
    """Return the type of elements that a graph takes for an array, or raise."""
    kind = array.dtype.kind
    if kind in "US":
        return np.dtype(object)
    if kind == "O":
        if all(isinstance(value, str) for value in array.flat):
            return np.dtype(object)
        raise ConversionError(
            f"{name} is of dtype object and holds more than text, so that its type in the file is "
            f"unknown; expected numbers as numbers, and text without missing values"
        )
    if kind not in "fiub":
        raise ConversionError(f"{name} is of dtype {array.dtype}; expected numbers or text")
    if exact or array.dtype in (np.float32, np.float64, np.int64):
        return array.dtype
    return np.dtype(np.float32 if kind == "f" and array.dtype.itemsize < 4 else np.int64)


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return an array in the type that the graph takes."""
    return np.ascontiguousarray(array.astype(dtype, copy=False))


def _check_names(columns: list) -> None:
    """Raise for columns that are called like the outputs."""
    taken = [name for name in columns if name in OUTPUTS]
    if taken:
        raise ConversionError(
            f"X has columns {taken}, which are names of the file's outputs: {list(OUTPUTS)}; "
            f"rename these columns"
        )
    unnamed = [name for name in columns if not isinstance(name, str)]
    if unnamed:
        raise ConversionError(
            f"X has columns {unnamed[:5]} whose names are no text; an input of a file has a name"
        )
