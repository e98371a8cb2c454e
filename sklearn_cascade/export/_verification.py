"""Comparison of a file with the estimator it was made of: each member, then the whole file.

`verify` compares three things: each member's graph alone with the member, on all rows, also those
that never reach it; the whole file with the estimator; and single rows, and no rows, with the
batch. Rounding may move a row whose confidence is at a threshold to another stage. Such a row is a
tie, no error, and `Expected` knows how close each row comes to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from sklearn_cascade._compat import n_rows
from sklearn_cascade.core._learned_confidence import confidence_features, proba_columns
from sklearn_cascade.core._samples import time_calls
from sklearn_cascade.exceptions import ConversionError, OnnxMismatchError
from sklearn_cascade.export._graph_builder import open_session
from sklearn_cascade.export._member_graphs import convertible, hint_for_difference
from sklearn_cascade.export._member_io import Source, elem_type_of, feeds_of
from sklearn_cascade.export._models import ConvertedCascade, member_model
from sklearn_cascade.export._preparation import cascades_in, prepare
from sklearn_cascade.export._report import ExportReport, MemberCheck, blank_report
from sklearn_cascade.export._spec import (
    CascadeSpec,
    combine_each_stage,
    confidences_of,
    fitted_cascade,
    is_cascade,
    onnx_labels,
    spec_of,
)
from sklearn_cascade.members._onnx_file import first_line

_SUM_TOLERANCE = 1e-3
# More rows at a threshold than this number, and than this share of all rows, are no coincidence.
_FEW_TIES, _TIED_SHARE = 3, 0.01
_ZERO_ROWS_FAIL = "onnxruntime fails in a member where there are no rows: do not call it so"
_ZERO_ROWS_NOT_TRIED = (
    "not tried without rows: a member sorts with TopK, where onnxruntime before 1.32 may end the "
    "process if there are none"
)
# A confidence this close to its threshold may be on either side of it after rounding.
TIE = 1e-5
# Measured: what routing adds to a call with one row, and each learned confidence, in seconds.
_OVERHEAD, _LEARNED_OVERHEAD = 8e-6, 7e-6
_N_TIMED_CALLS = 50


def verify(
    estimator, prepared, X, model, sources: list[Source], converted: list[ConvertedCascade], atol
) -> tuple[ExportReport, bool]:
    """Return the report of a file that agrees on X, and whether it is faster for single rows.

    `prepared` is the estimator as it was converted, `sources` are the inputs of the file and
    `converted` the cascades in it. Raise OnnxMismatchError if the file differs.
    """
    try:
        result = FileResult(open_session(model), feeds_of(sources, X))
    except Exception as error:
        raise ConversionError(f"onnxruntime does not run the file: {first_line(error)}") from error
    report, is_faster = blank_report(len(result.label), atol), True
    expected: Any = None
    is_bare = is_cascade(prepared)
    inputs = {id(converted[0].cascade): X} if is_bare else record_inputs(prepared, X)
    for one in converted:
        rows = inputs.get(id(one.cascade))
        if rows is None:
            continue
        part, expected = _compare_members(one, rows, atol, timed=len(converted) == 1)
        advice, part_is_faster = _advice(one.spec, part)
        is_faster = is_faster and part_is_faster
        report = replace(
            report,
            members=(*report.members, *part.members),
            problems=(*report.problems, *part.problems),
            advice=advice,
        )
    if result.exit_stage is None:
        # A cascade within another estimator: its gaps show which rows are close to a tie.
        proba, label = estimator.predict_proba(X), np.asarray(estimator.predict(X))
        if expected is None or len(expected.gaps) != len(proba):
            none = np.empty((len(proba), 0))
            exit_stage = np.zeros(len(proba), dtype=int)
            expected = Expected([], none, none, none, none, proba, label, exit_stage, [])
        expected = expected._replace(proba=proba, label=label)
    report = _compare_file(result, expected, report)
    report = _compare_batches(model, result, report)
    if report.problems:
        raise OnnxMismatchError(list(report.problems), report)
    return report, is_faster


class FileResult:
    """The outputs of a file for some rows, and the session that computed them."""

    def __init__(self, session, feeds: dict[str, np.ndarray]) -> None:
        self._session, self._feeds = session, feeds
        names = [output.name for output in session.get_outputs()]
        self.values = dict(zip(names, session.run(None, feeds), strict=True))
        self.label = self.values["label"]
        self.proba = self.values["probabilities"]
        self.exit_stage = self.values.get("exit_stage")

    def rerun(self, start: int, stop: int) -> FileResult:
        """Return the outputs for a batch of these rows only."""
        feeds = {name: array[start:stop] for name, array in self._feeds.items()}
        return FileResult(self._session, feeds)


class Expected(NamedTuple):
    """A cascade's outputs in Python, and how close each row comes to another decision.

    A gap is a confidence minus the threshold of its stage, in units that make `TIE` a tie. A
    deficit, for "most_confident", is by how much a stage is less confident than the most confident
    of the stages that ran. For learned confidences, which amplify rounding in members, the errors
    bound how far rounding may move either.
    """

    stage_proba: list  # (n_samples, n_classes) of each stage, None for stages that are not used
    gaps: np.ndarray  # (n_samples, n_stages - 1), infinite where no row can exit
    deficits: np.ndarray  # (n_samples, n_stages), infinite for stages that did not run
    gap_errors: np.ndarray  # like gaps
    deficit_errors: np.ndarray  # like deficits
    proba: np.ndarray  # (n_samples, n_classes)
    label: np.ndarray  # (n_samples,)
    exit_stage: np.ndarray  # (n_samples,)
    inner_ties: list  # (n_samples,) of bool per stage: close to a threshold within the member

    def is_tie(self, stage: np.ndarray, width: float) -> np.ndarray:
        """Tell which rows, with a file's exit stages (n_samples,), may differ by rounding alone."""
        n_samples, n_gaps = self.gaps.shape
        if not n_gaps:
            return np.zeros(n_samples, dtype=bool)
        first_difference = np.minimum(np.minimum(stage, self.exit_stage), n_gaps - 1)
        return self._smallest_gaps[np.arange(n_samples), first_difference] < width

    def is_swap(self, proba: np.ndarray, width: float, tolerance: float) -> np.ndarray:
        """Tell which rows have, in a file, the output of another stage that is as confident."""
        swapped = np.zeros(len(self.proba), dtype=bool)
        if not np.isfinite(self.deficits).any():
            return swapped
        for k, stage_proba in enumerate(self.stage_proba):
            as_confident = self.deficits[:, k] - self.deficit_errors[:, k] < width
            swapped |= as_confident & (np.abs(proba - stage_proba).max(axis=1) <= tolerance)
        return swapped & ~(np.abs(proba - self.proba).max(axis=1) <= tolerance)

    @property
    def has_inner_tie(self) -> np.ndarray:
        """Whether each row comes close to a threshold within a member: shape (n_samples,)."""
        return np.logical_or.reduce([np.zeros(len(self.proba), bool), *self.inner_ties])

    def is_close(self, width: float) -> np.ndarray:
        """Tell which rows come close to a threshold, or to the output of another stage."""
        near = self._where_run(self._smallest_gaps).min(axis=1, initial=np.inf) < width
        rivals = (self.deficits - self.deficit_errors < width).sum(axis=1) > 1
        return near | rivals | self.has_inner_tie

    @property
    def smallest_gap(self) -> float:
        """Smallest distance from a threshold at which any row is compared."""
        return float(self._where_run(np.abs(self.gaps)).min(initial=np.inf))

    @property
    def _smallest_gaps(self) -> np.ndarray:
        """How close each confidence may be to its threshold; below zero where it may cross."""
        return np.abs(self.gaps) - self.gap_errors

    def _where_run(self, gaps: np.ndarray) -> np.ndarray:
        """Return gaps after the stages that each row ran, infinite for the others."""
        stages = np.arange(gaps.shape[1])
        return np.where(stages <= self.exit_stage[:, None], gaps, np.inf)


def expected_outputs(cascade, X) -> Expected:
    """Return the outputs of a cascade and of each of its members for all rows."""
    n_samples, spec, details = n_rows(X), spec_of(cascade), cascade.predict_details(X)
    stage_proba = [
        stage.predict_proba(X, n_samples) if spec.is_used(k) else None
        for k, stage in enumerate(spec.stages)
    ]
    gaps, deficits = _gaps_and_deficits(cascade, spec, stage_proba, details.exit_stage)
    expected = Expected(
        stage_proba=stage_proba,
        gaps=gaps,
        deficits=deficits,
        gap_errors=np.zeros_like(gaps),
        deficit_errors=np.zeros_like(deficits),
        proba=details.proba,
        label=details.label,
        exit_stage=details.exit_stage,
        inner_ties=[_has_inner_tie(stage.estimator, X, n_samples) for stage in spec.stages],
    )
    # A first estimate, from rounding to float32, for cascades whose members' graphs do not run.
    rounded = [None if proba is None else proba.astype(np.float32) for proba in stage_proba]
    return _with_errors(cascade, expected, rounded)


def _has_inner_tie(estimator, X, n_samples: int) -> np.ndarray:
    """Tell which rows come close to a threshold of a cascade within a member: (n_samples,)."""
    close = np.zeros(n_samples, dtype=bool)
    cascades = cascades_in(estimator)
    if not cascades:
        return close
    inputs = record_inputs(estimator, X)
    for cascade in cascades:
        rows = inputs.get(id(cascade))
        if rows is not None and n_rows(rows) == n_samples:
            close |= expected_outputs(cascade, rows).is_close(TIE)
    return close


def _gaps_and_deficits(
    cascade, spec: CascadeSpec, stage_proba: Sequence, exit_stage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `gaps` and `deficits` of `Expected` for the probabilities of each stage."""
    n_samples, n_stages = len(exit_stage), len(spec.stages)
    gaps = np.full((n_samples, len(spec.thresholds)), np.inf)
    deficits = np.full((n_samples, n_stages), np.inf)
    if not spec.confidences:
        return gaps, deficits
    functions, confidence = confidences_of(cascade), np.full((n_samples, n_stages), np.nan)
    for k, combiner in combine_each_stage(cascade, stage_proba):
        if spec.needs_confidence(k):
            confidence[:, k] = combiner.confidence(functions[k])
    if spec.combine == "most_confident":
        ran = np.where(np.arange(n_stages) <= exit_stage[:, None], confidence, -np.inf)
        deficits = np.fmax.reduce(ran, axis=1)[:, None] - ran
        confidence = np.fmax.accumulate(confidence, axis=1)
    for k, threshold in enumerate(spec.effective_thresholds):
        if np.isfinite(threshold):
            # A vote margin is counted in standard errors, far beyond one.
            gap = (confidence[:, k] - threshold) / max(1.0, abs(threshold))
            gaps[:, k] = np.where(np.isnan(gap), np.inf, gap)
    return gaps, deficits


def _with_errors(cascade, expected: Expected, graph_proba: Sequence) -> Expected:
    """Return the same with errors from what the members' graphs return, if confidence is learned.

    `graph_proba` has one array (n_samples, n_classes) per stage, or None.
    """
    spec = spec_of(cascade)
    if spec.confidence != "learned":
        return expected
    errors = [np.zeros_like(expected.gaps), np.zeros_like(expected.deficits)]
    for exact_rest in (False, True):
        probas = [None if p is None else _as_in_python(p, exact_rest) for p in graph_proba]
        moved = _gaps_and_deficits(cascade, spec, probas, expected.exit_stage)
        for k, before in enumerate((expected.gaps, expected.deficits)):
            known = np.isfinite(before) & np.isfinite(moved[k])
            apart = np.abs(np.where(known, before, 0.0) - np.where(known, moved[k], 0.0))
            # Twice: the same nodes round differently within the whole file.
            errors[k] = np.maximum(errors[k], 2 * apart)
    return expected._replace(gap_errors=errors[0], deficit_errors=errors[1])


def _as_in_python(proba: np.ndarray, exact_rest: bool) -> np.ndarray:
    """Return a graph's probabilities in float64, none below zero.

    With `exact_rest`, the largest is one minus all others, which is what a file's learned
    confidence reads.
    """
    proba = np.maximum(proba.astype(np.float64), 0.0)
    if exact_rest:
        largest = proba.argmax(axis=1)[:, None]
        np.put_along_axis(proba, largest, 0.0, axis=1)
        np.put_along_axis(proba, largest, 1.0 - proba.sum(axis=1, keepdims=True), axis=1)
    return proba


def _compare_members(
    converted: ConvertedCascade, X, atol: float, *, timed: bool
) -> tuple[ExportReport, Expected]:
    """Return a report on the graphs of a cascade's members, and what it outputs in Python."""
    expected = expected_outputs(converted.cascade, X)
    feeds = feeds_of(converted.sources, X)
    checks, problems, graph_proba = [], [], [None] * len(converted.members)
    for k, member in enumerate(converted.members):
        if member is None:
            continue
        session = open_session(member_model(member, converted.sources, converted.elem_type))
        proba = graph_proba[k] = session.run(None, feeds)[0]
        compared = np.flatnonzero(~expected.inner_ties[k])
        apart = _row_differences(proba[compared], expected.stage_proba[k][compared])
        difference, row = _largest(apart, compared)
        n_reached = int((expected.exit_stage >= k).sum())
        seconds = _seconds_per_call(session, feeds) if timed else None
        checks.append(MemberCheck(k, member.name, member.kind, n_reached, difference, row, seconds))
        if not difference <= atol:
            hint = hint_for_difference(convertible(converted.spec.stages[k].estimator))
            problems.append(
                f"stage {k} {member.name!r} ({member.kind}) is off by {difference:.3g} in row "
                f"{row}, and beyond atol={atol:g} in {int((apart > atol).sum())} rows{hint}"
            )
    problems += _confidence_model_problems(converted, expected, atol)
    report = replace(
        blank_report(len(expected.proba), atol), members=tuple(checks), problems=tuple(problems)
    )
    return report, _with_errors(converted.cascade, expected, graph_proba)


def _seconds_per_call(session, feeds: dict[str, np.ndarray]) -> float:
    """Return the median time of a call with one row, over some of the rows."""
    n_samples = len(next(iter(feeds.values())))
    rows = [
        {name: array[row : row + 1] for name, array in feeds.items()}
        for row in np.arange(_N_TIMED_CALLS) % n_samples
    ]
    session.run(None, rows[0])
    calls = [lambda row=row: session.run(None, row) for row in rows]
    return float(np.median(time_calls(calls, 1, warm_up=False)))


def _confidence_model_problems(
    converted: ConvertedCascade, expected: Expected, atol: float
) -> list[str]:
    """Return the errors in the graphs of confidence models, on the features as Python has them."""
    problems: list[str] = []
    if all(graph is None for graph in converted.confidence_models):
        return problems
    double = elem_type_of(np.float64)
    for k, combiner in combine_each_stage(converted.cascade, expected.stage_proba):
        graph, stage = converted.confidence_models[k], converted.spec.stages[k]
        if graph is None:
            continue
        learned = converted.spec.confidences[k].model
        combined = np.asarray(combiner.proba)
        label, columns = combined.argmax(axis=1), proba_columns(combined)
        features = confidence_features(columns, label, combiner.previous_outputs(), learned.table)
        source = Source("features", "features", double, (None, features.shape[1]))
        session = open_session(member_model(graph, [source], double))
        proba = session.run(None, {"features": features.astype(np.float64)})[0]
        apart = _row_differences(proba, np.asarray(learned.model.predict_proba(features)))
        if not apart.max() <= atol:
            problems.append(
                f"the learned confidence ({graph.kind}) after stage {k} {stage.name!r} is off by "
                f"{apart.max():.3g} in row {int(apart.argmax())}, and beyond atol={atol:g} in "
                f"{int((apart > atol).sum())} rows{hint_for_difference(learned.model)}"
            )
    return problems


def _advice(spec: CascadeSpec, report: ExportReport) -> tuple[str, bool]:
    """Return whether a cascade is faster for single rows, in words and as a bool.

    The alternative is the most expensive member alone, or all members if these are parts of one
    ensemble.
    """
    timed = [check for check in report.members if check.seconds is not None]
    if not spec.exits_early or len(timed) < 2:
        return "", True
    names = [check.name for check in timed]
    seconds = np.array([check.seconds for check in timed], dtype=float)
    reached = [check.n_reached / report.n_samples for check in timed]
    learned = [spec.confidence == "learned" and spec.needs_confidence(c.stage) for c in timed]
    overhead = _OVERHEAD + _LEARNED_OVERHEAD * float(np.dot(reached, learned))
    expected = float(np.dot(seconds, reached)) + overhead
    most_expensive = int(np.argmax(seconds))
    is_split = spec.stages[0].is_additive
    alone = seconds.sum() if is_split else seconds[most_expensive]
    other = "the full ensemble" if is_split else f"{names[most_expensive]!r} alone"
    is_faster = bool(expected < alone)
    text = (
        f"one row at a time takes about {expected * 1e6:.0f} us ({overhead * 1e6:.0f} us of it for "
        f"the routing), {other} {alone * 1e6:.0f} us: the cascade "
        f"{'pays' if is_faster else 'does not pay for single rows'}"
    )
    if is_split:
        return text, is_faster
    # The most expensive member may be reached by as large a share as leaves time for all else.
    limit = 1 - (expected - reached[most_expensive] * alone) / alone
    if limit > 0:
        text += (
            f"; it does while fewer than {limit:.0%} of the rows reach {names[most_expensive]!r}"
        )
    elif not is_faster:
        text += ", however few rows go on"
    return text, is_faster


def _compare_file(result: FileResult, expected: Expected, report: ExportReport) -> ExportReport:
    """Return the report with a comparison of the whole file and Python."""
    # A confidence differs by at most twice what its members differ.
    off = max((check.difference for check in report.members), default=0.0)
    width = float(np.clip(2 * off, TIE, max(TIE, report.tolerance)))
    stage, inner_tie = result.exit_stage, expected.has_inner_tie
    ties = wrong_stage = np.zeros(len(expected.proba), dtype=bool)
    if stage is None:
        compared = ~(expected.is_close(width) | inner_tie)
    else:
        other_stage = stage != expected.exit_stage
        ties = other_stage & (expected.is_tie(stage, width) | inner_tie)
        wrong_stage = other_stage & ~ties
        compared = ~(other_stage | inner_tie)
        swapped = compared & expected.is_swap(result.proba, width, report.tolerance)
        compared, ties = compared & ~swapped, ties | swapped
    rows = np.flatnonzero(compared)
    difference, row = _largest(_row_differences(result.proba[rows], expected.proba[rows]), rows)
    top = np.sort(expected.proba, axis=1)[:, -2:]
    is_clear = (top[:, -1] - top[:, 0] > report.tolerance) & compared
    wrong_label = is_clear & (np.asarray(result.label) != onnx_labels(expected.label))
    row_sum_error = float(np.abs(result.proba.sum(axis=1) - 1.0).max(initial=0.0))
    n_ties, problems = int(ties.sum()), list(report.problems)
    if wrong_stage.any():
        problems.append(
            f"{wrong_stage.sum()} rows exit at another stage, the first of them row "
            f"{int(wrong_stage.argmax())}, and {n_ties} more by a tie"
        )
    if n_ties > max(_FEW_TIES, _TIED_SHARE * report.n_samples):
        problems.append(
            f"{n_ties} rows exit at another stage because their confidence is at the threshold, or "
            f"get the output of another stage that is equally confident; move the thresholds off "
            f"values that many rows have"
        )
    if not difference <= report.tolerance:
        problems.append(
            f"probabilities are off by {difference:.3g} in row {row}, atol={report.tolerance:g}"
        )
    if wrong_label.any():
        problems.append(
            f"{wrong_label.sum()} labels differ, the first of them in row "
            f"{int(wrong_label.argmax())}"
        )
    if not row_sum_error <= _SUM_TOLERANCE:
        problems.append(
            f"rows miss a sum of one by {row_sum_error:.3g}; if a member's outputs are logits, "
            f"OnnxClassifier turns them into probabilities with softmax=True"
        )
    return replace(
        report,
        n_ties=n_ties,
        n_stage_differences=int(wrong_stage.sum()),
        n_label_differences=int(wrong_label.sum()),
        difference=difference,
        row=row,
        smallest_gap=expected.smallest_gap,
        row_sum_error=row_sum_error,
        problems=tuple(problems),
    )


def _compare_batches(model, result: FileResult, report: ExportReport) -> ExportReport:
    """Return the report with a comparison of single rows, and of no rows, with the batch."""
    problems, notes, rows = list(report.problems), list(report.notes), [0]
    if result.exit_stage is not None:
        # The first row of all, and the first that exits at each stage.
        rows = sorted({0, *np.unique(result.exit_stage, return_index=True)[1].tolist()})
    for row in rows:
        single = result.rerun(row, row + 1)
        difference = _row_differences(single.proba, result.proba[row : row + 1])[0]
        moved = result.exit_stage is not None and single.exit_stage != result.exit_stage[row]
        if not difference <= report.tolerance and not moved:
            problems.append(f"row {row} alone is off by {difference:.3g} from the same in a batch")
    if any(node.op_type == "TopK" for node in model.graph.node):
        notes.append(_ZERO_ROWS_NOT_TRIED)
        return replace(report, problems=tuple(problems), notes=tuple(notes))
    try:
        empty = result.rerun(0, 0)
    except Exception as error:  # onnxruntime has an error class for each reason
        notes.append(f"{_ZERO_ROWS_FAIL} ({first_line(error)[:120]})")
    else:
        wrong = {
            name: value.shape
            for name, value in empty.values.items()
            if value.shape != (0, *result.values[name].shape[1:])
        }
        if wrong:
            problems.append(f"for no rows the outputs have shapes {wrong}")
    return replace(report, problems=tuple(problems), notes=tuple(notes))


def _row_differences(proba: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the largest difference in each row; NaN on one side only is infinite."""
    apart = np.abs(proba.astype(np.float64) - expected)
    apart[np.isnan(proba) & np.isnan(expected)] = 0.0
    return np.where(np.isnan(apart), np.inf, apart).max(axis=1)


def _largest(differences: np.ndarray, rows: np.ndarray) -> tuple[float, int]:
    """Return the largest difference and the index of its row; zero where there are no rows."""
    if not len(rows):
        return 0.0, 0
    return float(differences.max()), int(rows[differences.argmax()])


class RecordingEstimator(ClassifierMixin, BaseEstimator):
    """A fitted classifier that predicts like another, and records each X that it is called with."""

    def __init__(self, estimator):
        self.estimator = estimator
        self.inputs = []

    @property
    def classes_(self):
        return self.estimator.classes_

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        self.inputs.append(X)
        return self.estimator.predict(X)

    def predict_proba(self, X):
        self.inputs.append(X)
        return self.estimator.predict_proba(X)

    def __sklearn_is_fitted__(self):
        return True


def record_inputs(estimator, X) -> dict[int, object]:
    """Return the rows with which an estimator calls each cascade in it, by the cascade's id."""
    recorders: list[RecordingEstimator] = []

    def record(cascade):
        recorders.append(RecordingEstimator(cascade))
        return recorders[-1]

    prepare(estimator, replace_cascade=record).predict_proba(X)
    return {id(fitted_cascade(one.estimator)): one.inputs[0] for one in recorders if one.inputs}
