"""A fitted estimator to one ONNX file, compared with the estimator before it is handed over."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import n_rows, warn_caller
from sklearn_cascade.exceptions import (
    ConversionError,
    FewSamplesWarning,
    NoGainWarning,
    OnnxMismatchError,
)
from sklearn_cascade.export._blueprint import committee_of, is_committee
from sklearn_cascade.export._building import build_alone, recording
from sklearn_cascade.export._converter import register_onnx_converter
from sklearn_cascade.export._expected import Expected
from sklearn_cascade.export._inputs import Inputs
from sklearn_cascade.export._members import is_foreign, skl2onnx_inputs
from sklearn_cascade.export._metadata import check_metadata, metadata_of, write_metadata
from sklearn_cascade.export._models import model_of
from sklearn_cascade.export._packages import open_session, package, settle_opset
from sklearn_cascade.export._preparation import parts_of, prepare, selects_by_name
from sklearn_cascade.export._report import ExportReport, blank_report
from sklearn_cascade.export._tracing import trace
from sklearn_cascade.export._verification import (
    FEW_ROWS,
    Answers,
    check_answers,
    check_batches,
    feeds_of,
    verify_committee,
    with_advice,
)
from sklearn_cascade.members import first_line


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
        outer = {id(committee_of(part)) for part in parts_of(prepared) if is_committee(part)}
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
    committees = [part for part in parts_of(estimator) if is_committee(part)]
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
        is_foreign(prepare(stage.estimator).estimator) for stage in committee_of(prepared)._stages
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
