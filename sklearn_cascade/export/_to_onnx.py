"""Export of a fitted estimator to one ONNX file: its inputs, the conversion, its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import n_rows, warn_caller
from sklearn_cascade.exceptions import ConversionError, FewSamplesWarning, NoGainWarning
from sklearn_cascade.export._graph_builder import choose_opsets, package
from sklearn_cascade.export._member_graphs import (
    convert_alone,
    convertible,
    initial_types,
    last_step,
    record_conversions,
)
from sklearn_cascade.export._member_io import Source, elem_type_of
from sklearn_cascade.export._models import OUTPUTS, ConvertedCascade, cascade_model
from sklearn_cascade.export._preparation import cascades_in, prepare, selects_by_name
from sklearn_cascade.export._report import ExportReport
from sklearn_cascade.export._skl2onnx import register_onnx_converter
from sklearn_cascade.export._spec import fitted_cascade, is_cascade, stages_of
from sklearn_cascade.export._verification import verify as verify_file
from sklearn_cascade.members._onnx import OnnxClassifier
from sklearn_cascade.members._onnx_file import first_line

# A comparison of the routing to a stage means little below this number of rows.
_FEW_SAMPLES = 30
_VERSION_PREFIX = "version_"
_OWN_ENTRIES = {
    *("classes", "stages", "weights", "costs", "cost_unit", "thresholds", "combine", "confidence"),
    *("verification", "verification_figures"),
}
_PACKAGES = ("sklearn-cascade", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")


def to_onnx(
    estimator: Any,
    X: Any,
    *,
    target_opset: int | dict[str, int] | None = None,
    atol: float = 1e-4,
    verify: bool = True,
    metadata: Mapping[str, str] | None = None,
    verbose: int = 0,
) -> Any:
    """Convert a fitted cascade or ensemble, or a model that contains one, to one ONNX file.

    A row that exits at a stage does not run the stages after it, in any language that onnxruntime
    supports. The file is compared with the estimator on `X` and is not returned if it differs. It
    takes batches of any size; zero rows too, unless the report says otherwise.

    Parameters
    ----------
    estimator : classifier
        Fitted: `CascadeClassifier`, `AveragingEnsemble`, `CascadeSearchCV` (its best cascade), or
        a pipeline or meta-estimator of scikit-learn that contains some of them. Members must be
        models that skl2onnx converts, or `OnnxClassifier`, and so must the classifier of a
        `LearnedConfidence`. A confidence that is a Python function cannot be exported.
    X : array-like or frame of shape (n_samples, ...)
        Samples like those that the file will get, ideally some hundreds that the members were not
        fitted on. Their type is that of the file's inputs: with float64, operators compute in
        float64 where they can, else in float32. A frame becomes one input per column if a member
        picks columns by name or if some columns hold text, else one matrix named "X".
    target_opset : int or dict from str to int, default=None
        Opset version, at least 18. By default the newest that the installed skl2onnx writes and
        the installed onnxruntime runs; where all members are `OnnxClassifier`, the newest of
        theirs, or 18.
    atol : float, default=0.0001
        Largest absolute difference of a probability between the file and the estimator, above 0
        and below 1.
    verify : bool, default=True
        Compare the file with the estimator on `X`. Some conversions of skl2onnx are wrong without
        an error, so False writes "unverified" into the file.
    metadata : dict from str to str, default=None
        Further entries for the file's metadata.
    verbose : int, default=0
        Above 0: print the report of the comparison.

    Returns
    -------
    model : onnx.ModelProto
        Outputs ``label`` (n_samples,), ``probabilities`` (n_samples, n_classes), ``exit_stage``
        (n_samples,), counted from 0, and ``cost`` (n_samples,) in the unit of the costs. The last
        two exist where the cascade is the estimator, or the last step of a pipeline. The metadata
        contain thresholds, costs and their unit, package versions, and under "verification" the
        report.

    Raises
    ------
    ConversionError
        If the estimator does something that no graph can, the classifier of its learned
        confidence does not convert, or `X` cannot be the input of a graph.
    UnconvertibleMemberError
        If a member does not convert; names it, and what would help where that is known.
    OnnxMismatchError
        If the outputs of the file differ in some row; carries the report.

    Warns
    -----
    FewSamplesWarning
        If fewer than 30 samples reached some stage.
    NoGainWarning
        If for single rows the cascade takes as long as its most expensive member alone. It may
        still pay for batches.

    See Also
    --------
    register_onnx_converter : For direct calls of skl2onnx.
    OnnxClassifier : Use the file as a member.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_cascade import CascadeClassifier, OnnxClassifier, to_onnx
    >>> X, y = load_digits(return_X_y=True)
    >>> cascade = CascadeClassifier(
    ...     [
    ...         ("linear", LogisticRegression(max_iter=1000)),
    ...         ("forest", RandomForestClassifier(300, random_state=0)),
    ...     ],
    ...     thresholds=0.95,
    ... )
    >>> cascade = cascade.fit(X[:1000] / 16, y[:1000])
    >>> model = to_onnx(cascade, X[1000:] / 16)
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities', 'exit_stage', 'cost']
    >>> same = OnnxClassifier(model).predict(X[1000:] / 16) == cascade.predict(X[1000:] / 16)
    >>> bool(same.all())
    True
    """
    check_is_fitted(estimator)
    _check_arguments(estimator, X, atol)
    user_entries = _check_metadata(metadata)
    register_onnx_converter()
    prepared = prepare(estimator)
    if is_cascade(prepared):
        cascade = fitted_cascade(prepared)
        nets_only = all(
            isinstance(convertible(stage.estimator), OnnxClassifier) for stage in stages_of(cascade)
        )
        sources = input_sources(X, by_column=selects_by_name(prepared), keep_dtype=nets_only)
        converted = [convert_alone(cascade, sources, target_opset)]
        model = cascade_model(converted[0])
    else:
        sources = input_sources(X, by_column=selects_by_name(prepared))
        with record_conversions() as recorded:
            model = _run_skl2onnx(prepared, sources, target_opset)
        # A cascade within a member is compared as part of that member.
        outermost = {id(cascade) for cascade in cascades_in(prepared)}
        converted = [one for one in recorded if id(one.cascade) in outermost]
    report = None
    if verify:
        report, is_faster = verify_file(estimator, prepared, X, model, sources, converted, atol)
        few = [check for check in report.members if check.n_reached < _FEW_SAMPLES]
        if few:
            listed = ", ".join(f"{check.name!r}: {check.n_reached}" for check in few)
            warn_caller(
                f"few of the {report.n_samples} rows of X reached some stages ({listed}); each "
                f"member alone was compared on all rows, the routing to it on these only",
                FewSamplesWarning,
            )
        if not is_faster:
            warn_caller(report.advice, NoGainWarning)
        if verbose > 0:
            print(report)
    entries = _metadata_entries(converted, estimator.classes_, report)
    for key, value in {**entries, **user_entries}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model


def _check_arguments(estimator, X, atol) -> None:
    """Raise for arguments that cannot be exported or compared."""
    if not isinstance(atol, Real) or not 0 < float(atol) < 1:
        raise ValueError(f"atol={atol!r}; expected a number above 0 and below 1")
    if not cascades_in(estimator):
        raise ConversionError(
            f"estimator={type(estimator).__name__} contains no CascadeClassifier, "
            f"AveragingEnsemble or CascadeSearchCV; expected one, or a pipeline with one: call "
            f"skl2onnx itself for other models"
        )
    if not hasattr(estimator, "predict_proba"):
        raise ConversionError(
            f"estimator={type(estimator).__name__} has no predict_proba, by which a file is "
            f"verified; expected a classifier with probabilities, such as a soft vote"
        )
    if X is None:
        raise ConversionError(
            "X=None; expected rows like those that the file will get, which define its inputs and "
            "verify it"
        )
    if n_rows(X) == 0:
        raise ConversionError("X has no rows; expected some, to verify the file on")


def _check_metadata(metadata) -> dict[str, str]:
    """Return the user's entries; raise for others than text, or for names that the file uses."""
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, Mapping):
        raise ConversionError(f"metadata={metadata!r}; expected a dict from text to text")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ConversionError(f"metadata has {key!r}: {value!r}; expected text for text")
        if key in _OWN_ENTRIES or key.startswith(_VERSION_PREFIX):
            raise ConversionError(
                f"metadata has {key!r}, which the file sets itself; expected another name than "
                f"{sorted(_OWN_ENTRIES)}"
            )
    return dict(metadata)


def input_sources(X, *, by_column: bool, keep_dtype: bool = False) -> list[Source]:
    """Return the inputs of a graph for rows like X; raise for rows that no graph takes.

    A frame becomes one input per column if `by_column`, or if it holds text. With `keep_dtype`,
    arrays keep element types such as uint8, as nets expect.
    """
    if issparse(X):
        raise ConversionError(
            "X is sparse, and ONNX files take dense rows; expected X.toarray(), or a pipeline "
            "whose first step makes rows dense"
        )
    if not hasattr(X, "columns"):
        array = np.asarray(X.to_numpy() if hasattr(X, "to_numpy") else X)
        return [_source("X", array, _input_dtype(array, "X", keep_dtype))]
    columns = list(X.columns)
    arrays = {str(name): np.asarray(X[name]) for name in columns}
    dtypes = {name: _input_dtype(array, name, keep_dtype) for name, array in arrays.items()}
    if not by_column and all(dtype.kind != "O" for dtype in dtypes.values()):
        dtype = np.result_type(*dtypes.values())
        if dtype.kind != "f" and dtype != np.int64:
            dtype = np.dtype(np.float64)
        return [Source("X", "X", elem_type_of(dtype), (None, len(columns)))]
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
    return [_source(name, array, dtypes[name]) for name, array in arrays.items()]


def _source(name: str, array: np.ndarray, dtype: np.dtype) -> Source:
    """Return the input for an array of rows, or for a column, which becomes a matrix of one."""
    shape = (None, *array.shape[1:]) if array.ndim > 1 else (None, 1)
    return Source(name, name, elem_type_of(dtype), shape)


def _input_dtype(array: np.ndarray, name: str, keep_dtype: bool) -> np.dtype:
    """Return the dtype in which a graph takes an array, or raise."""
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
    if keep_dtype or array.dtype in (np.float32, np.float64, np.int64):
        return array.dtype
    return np.dtype(np.float32 if kind == "f" and array.dtype.itemsize < 4 else np.int64)


def _run_skl2onnx(prepared, sources: list[Source], target_opset):
    """Return the model that skl2onnx makes of an estimator around a cascade."""
    opsets = choose_opsets(target_opset)
    try:
        return package("skl2onnx").to_onnx(
            prepared,
            initial_types=initial_types(sources),
            target_opset=opsets,
            options={id(last_step(prepared)): {"zipmap": False}},
        )
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{type(prepared).__name__} around the cascade cannot be exported: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _metadata_entries(
    converted: list[ConvertedCascade], classes: np.ndarray, report: ExportReport | None
) -> dict[str, str]:
    """Return the file's own metadata; thresholds, costs and the like only of a single cascade."""
    entries = {}
    if len(converted) == 1:
        spec = converted[0].spec
        listed = {
            "stages": [stage.name for stage in spec.stages],
            "weights": spec.weights,
            "costs": np.diff(spec.cumulative_costs, prepend=0.0).tolist(),
        }
        if spec.exits_early:
            # JSON has no infinity, so that infinite thresholds are written as text.
            listed["thresholds"] = [t if np.isfinite(t) else str(t) for t in spec.thresholds]
        entries = {key: json.dumps(value) for key, value in listed.items()}
        entries.update(cost_unit=spec.cost_unit, combine=spec.combine)
        if spec.confidence is not None:
            entries["confidence"] = spec.confidence
    entries["classes"] = json.dumps(np.asarray(classes).tolist())
    for name in _PACKAGES:
        try:
            entries[_VERSION_PREFIX + name] = version(name)
        except PackageNotFoundError:
            continue
    entries["verification"] = "unverified" if report is None else str(report)
    if report is not None:
        entries["verification_figures"] = json.dumps(report.to_dict())
    return entries
