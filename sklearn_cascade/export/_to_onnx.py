"""A fitted estimator to one ONNX file, compared with the estimator before it is handed over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from numbers import Real

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import n_rows, warn_caller
from sklearn_cascade.exceptions import (
    ConversionError,
    FewSamplesWarning,
    NoGainWarning,
    OnnxMismatchError,
)
from sklearn_cascade.export._graph_builder import open_session, package, settle_opset
from sklearn_cascade.export._member_graphs import (
    build_alone,
    is_foreign,
    recording,
    skl2onnx_inputs,
)
from sklearn_cascade.export._member_io import Source, elem_type_of
from sklearn_cascade.export._models import OUTPUTS, ConvertedCascade, model_of
from sklearn_cascade.export._preparation import iter_estimators, prepare, selects_by_name
from sklearn_cascade.export._report import ExportReport, blank_report
from sklearn_cascade.export._skl2onnx import register_onnx_converter
from sklearn_cascade.export._spec import committee_of, is_committee
from sklearn_cascade.export._verification import (
    FEW_ROWS,
    Answers,
    Expected,
    check_answers,
    check_batches,
    feeds_of,
    trace,
    verify_committee,
    with_advice,
)
from sklearn_cascade.members import first_line

UNVERIFIED = "unverified"
_VERSION = "version_"
_OWN = {
    *("classes", "stages", "weights", "costs", "cost_unit", "thresholds", "combine", "confidence"),
    *("verification", "verification_figures"),
}
_PACKAGES = ("sklearn-cascade", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")


def to_onnx(estimator, X, *, target_opset=None, atol=1e-4, verify=True, metadata=None, verbose=0):
    """Turn a fitted committee, or whatever contains one, into one ONNX file that skips work.

    A row that exits at a stage does not run the stages after it, in any language that
    onnxruntime has. The file is compared with the estimator on `X` and not handed over if it
    differs. It takes batches of any size, none included unless the report says otherwise.

    Parameters
    ----------
    estimator : classifier
        Fitted: `CascadeClassifier`, `AveragingEnsemble`, `CascadeSearchCV` (its best cascade), or
        a pipeline or meta-estimator of scikit-learn that contains some of them. Members are those
        that skl2onnx converts, and `OnnxClassifier`. So is the learner of a `LearnedConfidence`;
        no function is a confidence in a file.
    X : array-like or frame, n_samples rows
        Rows like those to come, best some hundred that the members were not fitted on. Their type
        is the file's: float64 computes in float64 where operators can, all else in float32. A
        frame becomes one input per column if a member picks columns by name or some hold text,
        else one matrix named "X".
    target_opset : int or dict from str to int, default=None
        Version of the operators, at least 18. By default the newest that the installed skl2onnx
        writes and the installed onnxruntime runs; where all members are `OnnxClassifier`, the
        newest of their own, or 18.
    atol : float, default=0.0001
        Largest difference of a probability, as a share of one.
    verify : bool, default=True
        Compare with the estimator on `X`. Some conversions of skl2onnx are wrong without an
        error, so False writes "unverified" into the file.
    metadata : dict from str to str, default=None
        Further entries for the file's metadata.
    verbose : int, default=0
        Above 0: print the report of the comparison.

    Returns
    -------
    model : onnx.ModelProto
        Outputs ``label`` (n_samples,), ``probabilities`` (n_samples, n_classes), ``exit_stage``
        (n_samples,), counted from 0, and ``cost`` (n_samples,) in the committee's unit; the latter
        two where the committee is the estimator, or the last step of a pipeline. The metadata
        tell thresholds, costs, their unit, versions, and under "verification" the report.

    Raises
    ------
    ConversionError
        If the estimator does what no graph can, its confidence is learned by what does not
        convert, or `X` is nothing that a graph can take.
    UnconvertibleMemberError
        If a member does not convert; names it, and what would help where that is known.
    OnnxMismatchError
        If the file answers differently on some row; carries the report.

    Warns
    -----
    FewSamplesWarning
        If fewer than 30 rows reached some stage.
    NoGainWarning
        If for single rows the cascade takes as long as its dearest member alone. It may still
        pay for batches.

    See Also
    --------
    register_onnx_converter : For calls of skl2onnx itself.
    OnnxClassifier : Take the file back as a member.

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
    given = check_metadata(metadata)
    register_onnx_converter()
    prepared = prepare(estimator).estimator
    inputs = _inputs_of(prepared, X)
    if is_committee(prepared):
        builts = [build_alone(committee_of(prepared), inputs.sources, target_opset)]
        model = model_of(builts[0])
    else:
        with recording() as recorded:
            model = _converted(prepared, inputs, target_opset)
        outer = {id(committee_of(part)) for part in iter_estimators(prepared) if is_committee(part)}
        builts = [built for built in recorded if id(built.committee) in outer]
    report = None
    if verify:
        report = _verified(estimator, prepared, X, model, inputs, builts, atol)
        if verbose > 0:
            print(report)
    write_metadata(model, metadata_of(builts, estimator.classes_, report, given))
    return model


def _check_arguments(estimator, X, atol) -> None:
    """Raise for arguments that cannot be meant."""
    if not isinstance(atol, Real) or not 0 < atol < 1:
        raise ValueError(f"atol={atol!r}; expected a number above 0 and below 1")
    committees = [part for part in iter_estimators(estimator) if is_committee(part)]
    for committee in committees:
        committee_of(committee)
    if not committees:
        raise ConversionError(
            f"estimator={type(estimator).__name__} contains no CascadeClassifier, "
            f"AveragingEnsemble or CascadeSearchCV; expected one, or a pipeline with one: "
            f"skl2onnx itself converts all else"
        )
    if not hasattr(estimator, "predict_proba"):
        raise ConversionError(
            f"estimator={type(estimator).__name__} has no predict_proba, by which a file is "
            f"verified; expected a classifier with probabilities, such as a soft vote"
        )
    if X is None:
        raise ConversionError(
            "X=None; expected rows like those to come, which tell the inputs and verify the file"
        )
    if n_rows(X) == 0:
        raise ConversionError("X has no rows; expected some, to verify the file on")


def _inputs_of(prepared, X) -> Inputs:
    """Return the inputs of the file."""
    exact = is_committee(prepared) and all(
        is_foreign(prepare(stage.estimator).estimator)
        for stage in committee_of(prepared).fitted_.members.stages
    )
    return Inputs(X, by_column=selects_by_name(prepared), exact=exact)


def _converted(prepared, inputs: Inputs, target_opset):
    """Return a pipeline as skl2onnx converts it, with our converter for what is ours."""
    opsets = settle_opset(target_opset)
    last = prepared
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    try:
        return package("skl2onnx").to_onnx(
            prepared,
            initial_types=skl2onnx_inputs(inputs.sources),
            target_opset=opsets,
            options={id(last): {"zipmap": False}},
        )
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{type(prepared).__name__} around the committee cannot be exported: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _verified(estimator, prepared, X, model, inputs: Inputs, builts, atol) -> ExportReport:
    """Return the report of the comparison, or raise where the file differs."""
    try:
        answers = Answers(open_session(model), inputs.feeds(X))
    except Exception as error:
        raise ConversionError(f"onnxruntime does not run the file: {first_line(error)}") from error
    whole = blank_report(len(answers.label), atol)
    expected = None
    bare = is_committee(prepared)
    seen = {id(builts[0].committee): X} if bare else trace(prepared, X)
    pays = True
    for built in builts:
        rows = seen.get(id(built.committee))
        if rows is None:
            continue
        feeds = inputs.feeds(X) if rows is X else feeds_of(built.sources, rows)
        part, expected = verify_committee(built, rows, feeds, atol, timed=len(builts) == 1)
        part, gains = with_advice(built, part)
        pays = pays and gains
        whole = _merged(whole, part)
    whole = check_answers(answers, _whole(estimator, X, answers, expected), whole)
    whole = check_batches(model, answers, whole)
    if whole.problems:
        raise OnnxMismatchError(list(whole.problems), whole)
    _warn(whole, pays)
    return whole


def _merged(whole: ExportReport, part: ExportReport) -> ExportReport:
    """Return a report with the members of one more committee in it."""
    return replace(
        whole,
        members=(*whole.members, *part.members),
        problems=(*whole.problems, *part.problems),
        advice=part.advice,
    )


def _whole(estimator, X, answers: Answers, expected: Expected | None) -> Expected:
    """Return what the whole estimator answers, with the gaps of the committee within."""
    if answers.exit_stage is not None:
        return expected
    proba, label = estimator.predict_proba(X), np.asarray(estimator.predict(X))
    if expected is None or len(expected.gaps) != len(proba):
        nothing, first = np.empty((len(proba), 0)), np.zeros(len(proba), dtype=int)
        return Expected([], nothing, nothing, nothing, nothing, proba, label, first, [])
    return expected._replace(proba=proba, label=label)


def _warn(report: ExportReport, pays: bool) -> None:
    """Warn of what was hardly seen, and of what does not pay."""
    few = [check for check in report.members if check.n_reached < FEW_ROWS]
    if few:
        listed = ", ".join(f"{check.name!r}: {check.n_reached}" for check in few)
        warn_caller(
            f"few of the {report.n_samples} rows of X reached some stages ({listed}); each member "
            f"alone was compared on all rows, the way there on these only",
            FewSamplesWarning,
        )
    if not pays:
        warn_caller(report.advice, NoGainWarning)


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


def check_metadata(given) -> dict[str, str]:
    """Return the user's entries, text for text, none of them named like one of the file's own."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ConversionError(f"metadata={given!r}; expected a dict from text to text")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ConversionError(f"metadata has {key!r}: {value!r}; expected text for text")
        if key in _OWN or key.startswith(_VERSION):
            raise ConversionError(
                f"metadata has {key!r}, which the file tells itself; expected another name than "
                f"{sorted(_OWN)}"
            )
    return dict(given)


def metadata_of(
    builts: list[ConvertedCascade], classes: np.ndarray, report: ExportReport | None, given
) -> dict[str, str]:
    """Return the entries of a file's metadata.

    Parameters
    ----------
    builts : list of ConvertedCascade
        The committees in the file; what is told of routing is the only one's.
    classes : ndarray of shape (n_classes,)
        Labels of the file's columns.
    report : ExportReport or None
        The comparison; None where there was none.
    given : dict from str to str
        The user's own entries.
    """
    entries = {} if len(builts) != 1 else _of_committee(builts[0])
    entries["classes"] = json.dumps(np.asarray(classes).tolist())
    entries.update({_VERSION + name: v for name, v in _versions().items()})
    entries["verification"] = UNVERIFIED if report is None else str(report)
    if report is not None:
        entries["verification_figures"] = json.dumps(report.to_dict())
    return {**entries, **given}


def write_metadata(model, entries: dict[str, str]) -> None:
    """Put entries into a model."""
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def _of_committee(built: ConvertedCascade) -> dict[str, str]:
    """Return what is told of one committee."""
    plan = built.blueprint
    listed = {
        "stages": [stage.name for stage in plan.stages],
        "weights": plan.weights,
        "costs": np.diff(plan.costs, prepend=0.0).tolist(),
    }
    if plan.exits_early:
        # JSON has no infinity; Python's own writing of it is widely read all the same.
        listed["thresholds"] = [t if np.isfinite(t) else str(t) for t in plan.thresholds]
    entries = {key: json.dumps(value) for key, value in listed.items()}
    entries.update(cost_unit=plan.cost_unit, combine=plan.combine)
    if plan.confidence is not None:
        entries["confidence"] = plan.confidence
    return entries


def _versions() -> dict[str, str]:
    """Return the versions of the packages at work, those that are installed as packages."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
