"""Does a file answer as its model does? On the rows given, member by member and as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from sklearn_cascade._compat import n_rows
from sklearn_cascade.core import ProbaCombiner, confidence_features, proba_columns
from sklearn_cascade.export._graph_builder import open_session, package
from sklearn_cascade.export._member_graphs import hint_for_difference, member_estimator
from sklearn_cascade.export._member_io import Source, elem_type_of
from sklearn_cascade.export._models import ConvertedCascade, model_alone
from sklearn_cascade.export._preparation import iter_estimators, prepare
from sklearn_cascade.export._report import (
    ExportReport,
    MemberCheck,
    advise,
    blank_report,
    seconds_per_call,
)
from sklearn_cascade.export._spec import (
    Blueprint,
    blueprint_of,
    committee_of,
    is_committee,
    is_used,
)
from sklearn_cascade.members import first_line

# Rows that a stage has to have seen before anything can be said of it.
FEW_ROWS = 30
_SUM_TOLERANCE = 1e-3
# So many rows on a boundary are no accident.
_FEW_TIES, _TIED_SHARE = 3, 0.01
_NO_ROWS_FAILS = "the runtime fails in a member where there are no rows: do not call it so"
_NO_ROWS_ENDS = (
    "not tried without rows: a member sorts with TopK, where onnxruntime before 1.32 may end the "
    "process if there are none"
)
# Confidences this close to their boundary may fall to either side of it.
TIE = 1e-5


class Answers:
    """What a file says of some rows.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The file.
    feeds : dict from str to ndarray
        The rows.
    """

    def __init__(self, session, feeds: dict) -> None:
        self._session, self._feeds = session, feeds
        names = [port.name for port in session.get_outputs()]
        self.values = dict(zip(names, session.run(None, feeds), strict=True))
        self.label = self.values["label"]
        self.proba = self.values["probabilities"]
        self.exit_stage = self.values.get("exit_stage")

    def of_rows(self, start: int, stop: int) -> Answers:
        """Return what the file says of some of the rows, asked for alone."""
        feeds = {name: array[start:stop] for name, array in self._feeds.items()}
        return Answers(self._session, feeds)


def feeds_of(sources, X) -> dict[str, np.ndarray]:
    """Return what graphs with some inputs are fed for rows as the committee sees them."""
    dtype_of = package("onnx").helper.tensor_dtype_to_np_dtype
    if len(sources) == 1:
        array = np.asarray(X.to_numpy() if hasattr(X, "to_numpy") else X)
        return {sources[0].name: array.astype(dtype_of(sources[0].elem_type))}
    columns = {s.name: np.asarray(X[s.label]).astype(dtype_of(s.elem_type)) for s in sources}
    return {name: a[:, None] if a.ndim == 1 else a for name, a in columns.items()}


def check_members(
    built: ConvertedCascade, feeds: dict, expected: Expected, atol: float, *, timed: bool
):
    """Return how each member's own graph answers all rows, what is wrong with that, and both."""
    checks, problems, answers = [], [], [None] * len(built.members)
    reached = [int((expected.exit_stage >= k).sum()) for k in range(len(built.members))]
    for k, member in enumerate(built.members):
        if member is None:
            continue
        session = open_session(model_alone(member, built.sources, built.elem_type))
        proba = answers[k] = session.run(None, feeds)[0]
        looked_at = np.flatnonzero(~expected.close_within[k])
        apart = _by_row(proba[looked_at], expected.alone[k][looked_at])
        difference, row = _largest(apart, looked_at)
        check = MemberCheck(k, member.name, member.kind, reached[k], difference, row)
        if timed:
            check = replace(check, seconds=seconds_per_call(session, feeds))
        checks.append(check)
        if not difference <= atol:
            n_off = int((apart > atol).sum())
            hint = hint_for_difference(member_estimator(built.blueprint.stages[k]))
            problems.append(
                f"stage {k} {member.name!r} ({member.kind}) is off by {difference:.3g} in row "
                f"{row}, and beyond atol={atol:g} in {n_off} rows{hint}"
            )
    return checks, problems, answers


def check_learners(built: ConvertedCascade, expected: Expected, atol: float) -> list[str]:
    """Return what is wrong with the graphs of learners, on what they look at in Python."""
    problems, double = [], elem_type_of(np.float64)
    if all(learner is None for learner in built.learners):
        return problems
    for k, running in after_each_stage(built.committee, expected.alone):
        learner, stage = built.learners[k], built.blueprint.stages[k]
        if learner is None:
            continue
        learned = built.blueprint.confidences[k].learned
        label, columns = running.proba.argmax(axis=1), proba_columns(running.proba)
        features = confidence_features(columns, label, running.previous_outputs(), learned.table)
        source = Source("features", "features", double, (None, features.shape[1]))
        session = open_session(model_alone(learner, [source], double))
        proba = session.run(None, {"features": features.astype(np.float64)})[0]
        apart = _by_row(proba, np.asarray(learned.model.predict_proba(features)))
        if not apart.max() <= atol:
            problems.append(
                f"the learned confidence ({learner.kind}) after stage {k} {stage.name!r} is off by "
                f"{apart.max():.3g} in row {int(apart.argmax())}, and beyond atol={atol:g} in "
                f"{int((apart > atol).sum())} rows{hint_for_difference(learned.model)}"
            )
    return problems


def check_answers(answers: Answers, expected: Expected, report: ExportReport) -> ExportReport:
    """Return a report with a whole file beside what Python answered."""
    stage, width = answers.exit_stage, _tie_width(report)
    if stage is None:
        excused, parted, ties = expected.is_close(width), np.zeros(len(expected.proba), bool), 0
    else:
        apart = stage != expected.exit_stage
        tied = apart & (expected.is_tie(stage, width) | expected.is_close_within)
        excused, parted, ties = apart, apart & ~tied, int(tied.sum())
    same = ~(excused | expected.is_close_within)
    if stage is not None:
        swapped = same & expected.is_swap(answers.proba, width, report.tolerance)
        same, ties = same & ~swapped, ties + int(swapped.sum())
    rows = np.flatnonzero(same)
    difference, row = _largest(_by_row(answers.proba[rows], expected.proba[rows]), rows)
    top = np.sort(expected.proba, axis=1)[:, -2:]
    clear = (top[:, -1] - top[:, 0] > report.tolerance) & same
    wrong = clear & (np.asarray(answers.label) != _as_written(expected.label))
    sums = np.abs(answers.proba.sum(axis=1) - 1.0)
    report = replace(
        report,
        n_ties=ties,
        n_stage_differences=int(parted.sum()),
        n_label_differences=int(wrong.sum()),
        difference=difference,
        row=row,
        smallest_gap=expected.smallest_gap,
        row_sum_error=float(sums.max(initial=0.0)),
    )
    return replace(report, problems=(*report.problems, *_problems(report, parted, wrong)))


def check_batches(model, answers: Answers, report: ExportReport) -> ExportReport:
    """Return a report with single rows, and no rows, beside the batch."""
    problems, notes = list(report.problems), list(report.notes)
    for row in _one_row_per_stage(answers):
        single = answers.of_rows(row, row + 1)
        difference = _by_row(single.proba, answers.proba[row : row + 1])[0]
        moved = answers.exit_stage is not None and single.exit_stage != answers.exit_stage[row]
        if not difference <= report.tolerance and not moved:
            problems.append(f"row {row} alone is off by {difference:.3g} from the same in a batch")
    if any(node.op_type == "TopK" for node in model.graph.node):
        return replace(report, problems=tuple(problems), notes=(*notes, _NO_ROWS_ENDS))
    try:
        none = answers.of_rows(0, 0)
    except Exception as error:  # the runtime has an error class for each reason
        notes.append(f"{_NO_ROWS_FAILS} ({first_line(error)[:120]})")
    else:
        wrong = {
            name: value.shape
            for name, value in none.values.items()
            if value.shape != (0, *answers.values[name].shape[1:])
        }
        if wrong:
            problems.append(f"for no rows the outputs have shapes {wrong}")
    return replace(report, problems=tuple(problems), notes=tuple(notes))


def with_advice(built: ConvertedCascade, report: ExportReport) -> tuple[ExportReport, bool]:
    """Return a report with the break-even advice, and whether the cascade pays."""
    timed = [check for check in report.members if check.seconds is not None]
    plan = built.blueprint
    if not plan.exits_early or len(timed) < 2:
        return report, True
    reached = [check.n_reached / report.n_samples for check in timed]
    judged = [plan.confidence == "learned" and plan.judges(check.stage) for check in timed]
    pays, text = advise(
        [check.name for check in timed],
        [check.seconds for check in timed],
        reached,
        parts=plan.stages[0].adds_up,
        n_learned=float(np.dot(reached, judged)),
    )
    return replace(report, advice=text), pays


def verify_committee(
    built: ConvertedCascade, X, feeds: dict, atol: float, *, timed: bool
) -> tuple[ExportReport, Expected]:
    """Return what is known of a committee's members, and what it answers in Python."""
    expected = expect(built.committee, X)
    checks, problems, answers = check_members(built, feeds, expected, atol, timed=timed)
    problems += check_learners(built, expected, atol)
    expected = with_graphs(built.committee, expected, answers)
    report = replace(
        blank_report(len(expected.proba), atol), members=tuple(checks), problems=tuple(problems)
    )
    return report, expected


def _tie_width(report: ExportReport) -> float:
    """Return how close to a boundary a confidence may fall to either side of it.

    A confidence is off by at most twice what its members are.
    """
    off = max((check.difference for check in report.members), default=0.0)
    return float(np.clip(2 * off, TIE, max(TIE, report.tolerance)))


def _problems(report: ExportReport, parted: np.ndarray, wrong: np.ndarray) -> list[str]:
    """Return what is wrong with a whole file."""
    found = []
    if report.n_stage_differences:
        found.append(
            f"{report.n_stage_differences} rows leave at another stage, the first of them row "
            f"{int(parted.argmax())}, and {report.n_ties} more by a tie"
        )
    if report.n_ties > max(_FEW_TIES, _TIED_SHARE * report.n_samples):
        found.append(
            f"{report.n_ties} rows leave at another stage as their confidence lies on an exit "
            f"boundary, or are answered by another that is as sure; move the thresholds off values "
            f"that many rows have"
        )
    if not report.difference <= report.tolerance:
        found.append(
            f"probabilities are off by {report.difference:.3g} in row {report.row}, "
            f"atol={report.tolerance:g}"
        )
    if report.n_label_differences:
        found.append(
            f"{report.n_label_differences} labels differ, the first of them in row "
            f"{int(wrong.argmax())}"
        )
    if not report.row_sum_error <= _SUM_TOLERANCE:
        found.append(
            f"rows miss a sum of one by {report.row_sum_error:.3g}; if a member's outputs are "
            f"logits, OnnxClassifier turns them into probabilities with softmax=True"
        )
    return found


def _one_row_per_stage(answers: Answers) -> list[int]:
    """Return the first row, and the first that left at each stage."""
    if answers.exit_stage is None:
        return [0]
    return sorted({0, *np.unique(answers.exit_stage, return_index=True)[1].tolist()})


def _by_row(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the largest difference in each row; NaN on one side only is infinite."""
    apart = np.abs(given.astype(np.float64) - wanted)
    apart[np.isnan(given) & np.isnan(wanted)] = 0.0
    return np.where(np.isnan(apart), np.inf, apart).max(axis=1)


def _largest(apart: np.ndarray, rows: np.ndarray) -> tuple[float, int]:
    """Return the largest difference and the number of its row; zero where there are none."""
    if not len(rows):
        return 0.0, 0
    return float(apart.max()), int(rows[apart.argmax()])


def _as_written(labels: np.ndarray) -> np.ndarray:
    """Return labels in the form that a file has them."""
    return labels.astype(np.int64) if labels.dtype.kind in "iub" else labels.astype(object)


class Expected(NamedTuple):
    """A committee's answers to all rows.

    Attributes
    ----------
    alone : list of ndarray of shape (n_samples, n_classes) or None
        Of each member that counts.
    gaps : ndarray of shape (n_samples, n_stages - 1)
        Each confidence less its exit boundary, in units that make `TIE` a tie; infinite where
        there is none.
    behind : ndarray of shape (n_samples, n_stages)
        How much less sure each stage is than the surest of those that ran, zero for that one;
        infinite for those that did not run, and for all where the surest does not answer.
    moved_gaps, moved_behind : ndarray
        How much rounding in members may move the two where the confidence is learned, which may
        make much of little; else zero.
    proba : ndarray of shape (n_samples, n_classes)
        Of the committee.
    label, exit_stage : ndarray of shape (n_samples,)
        Of the committee.
    close_within : list of ndarray of bool of shape (n_samples,)
        For each member, the rows that come close to a boundary in a cascade within it.
    """

    alone: list
    gaps: np.ndarray
    behind: np.ndarray
    moved_gaps: np.ndarray
    moved_behind: np.ndarray
    proba: np.ndarray
    label: np.ndarray
    exit_stage: np.ndarray
    close_within: list

    def is_tie(self, stage: np.ndarray, width: float) -> np.ndarray:
        """Tell which rows, that left a file at some stage, part from Python at a boundary."""
        n_samples, n_gaps = self.gaps.shape
        if not n_gaps:
            return np.zeros(n_samples, dtype=bool)
        parting = np.minimum(np.minimum(stage, self.exit_stage), n_gaps - 1)
        return self._nearest[np.arange(n_samples), parting] < width

    def is_swap(self, proba: np.ndarray, width: float, tolerance: float) -> np.ndarray:
        """Tell which rows a file answers by another stage, as sure as the surest."""
        swapped = np.zeros(len(self.proba), dtype=bool)
        if not np.isfinite(self.behind).any():
            return swapped
        for k, answer in enumerate(self.alone):
            rival = self.behind[:, k] - self.moved_behind[:, k] < width
            swapped |= rival & (np.abs(proba - answer).max(axis=1) <= tolerance)
        return swapped & ~(np.abs(proba - self.proba).max(axis=1) <= tolerance)

    @property
    def is_close_within(self) -> np.ndarray:
        """Whether each row comes close to a boundary within a member: shape (n_samples,)."""
        return np.logical_or.reduce([np.zeros(len(self.proba), bool), *self.close_within])

    def is_close(self, width: float) -> np.ndarray:
        """Tell which rows come close to a boundary, or to another stage's answer."""
        near = self._met(self._nearest).min(axis=1, initial=np.inf) < width
        rivals = (self.behind - self.moved_behind < width).sum(axis=1) > 1
        return near | rivals | self.is_close_within

    @property
    def smallest_gap(self) -> float:
        """Smallest distance from a boundary that any row meets."""
        return float(self._met(np.abs(self.gaps)).min(initial=np.inf))

    @property
    def _nearest(self) -> np.ndarray:
        """How near each confidence may come to its boundary: below zero where it may cross."""
        return np.abs(self.gaps) - self.moved_gaps

    def _met(self, gaps: np.ndarray) -> np.ndarray:
        """Return gaps at the stages that each row ran, infinite for the others."""
        stages = np.arange(gaps.shape[1])
        return np.where(stages <= self.exit_stage[:, None], gaps, np.inf)


def expect(committee, X) -> Expected:
    """Ask a committee and each of its members for all rows."""
    n_samples = n_rows(X)
    plan = blueprint_of(committee)
    details = committee.predict_details(X)
    alone = [
        stage.predict_proba(X, n_samples) if is_used(plan, k) else None
        for k, stage in enumerate(plan.stages)
    ]
    within = [_close_within(stage.estimator, X, n_samples) for stage in plan.stages]
    gaps, behind = _distances(committee, plan, alone, details.exit_stage)
    expected = Expected(
        alone=alone,
        gaps=gaps,
        behind=behind,
        moved_gaps=np.zeros_like(gaps),
        moved_behind=np.zeros_like(behind),
        proba=details.proba,
        label=details.label,
        exit_stage=details.exit_stage,
        close_within=within,
    )
    # What is known before there are graphs of the members.
    rounded = [None if answer is None else answer.astype(np.float32) for answer in alone]
    return with_graphs(committee, expected, rounded)


def with_graphs(committee, expected: Expected, answers: Sequence) -> Expected:
    """Return the same, where the members' graphs answer so: (n_samples, n_classes) each."""
    plan = blueprint_of(committee)
    if plan.confidence != "learned":
        return expected
    moved_gaps, moved_behind = np.zeros_like(expected.gaps), np.zeros_like(expected.behind)
    for form in (_as_given, _with_exact_rest):
        formed = [None if answer is None else form(answer) for answer in answers]
        gaps, behind = _distances(committee, plan, formed, expected.exit_stage)
        moved_gaps = np.maximum(moved_gaps, _moved(expected.gaps, gaps))
        moved_behind = np.maximum(moved_behind, _moved(expected.behind, behind))
    return expected._replace(moved_gaps=moved_gaps, moved_behind=moved_behind)


def _as_given(proba: np.ndarray) -> np.ndarray:
    """Return probabilities as Python has them, where rounding left them a little below zero."""
    return np.maximum(proba.astype(np.float64), 0.0)


def _with_exact_rest(proba: np.ndarray) -> np.ndarray:
    """Return the same with the largest as what the others leave, which is what a file looks at."""
    proba = _as_given(proba)
    largest = proba.argmax(axis=1)[:, None]
    np.put_along_axis(proba, largest, 0.0, axis=1)
    np.put_along_axis(proba, largest, 1.0 - proba.sum(axis=1, keepdims=True), axis=1)
    return proba


def _moved(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return how far apart figures may be; what a graph alone shows is half of that.

    Its place in the whole file rounds, too.
    """
    known = np.isfinite(here) & np.isfinite(there)
    return 2 * np.abs(np.where(known, here, 0.0) - np.where(known, there, 0.0))


def after_each_stage(committee, alone: Sequence) -> Iterator[tuple[int, ProbaCombiner]]:
    """Yield each stage that counts, and what is judged there, had every stage seen every row.

    For the surest stage, that is each stage by itself.
    """
    policy = committee.fitted_.policy
    if policy.combine == "most_confident":
        policy = policy._replace(combine="last")
    running = policy.begin()
    for k, answer in enumerate(alone):
        if answer is not None:
            running.add(answer, policy.weights[k])
            yield k, running


def _close_within(estimator, X, n_samples: int) -> np.ndarray:
    """Return the rows that come close to a boundary in a cascade within a member."""
    close = np.zeros(n_samples, dtype=bool)
    committees = [committee_of(part) for part in iter_estimators(estimator) if is_committee(part)]
    if not committees:
        return close
    seen = trace(estimator, X)
    for committee in committees:
        rows = seen.get(id(committee))
        if rows is not None and n_rows(rows) == n_samples:
            close |= expect(committee, rows).is_close(TIE)
    return close


def _distances(
    committee, plan: Blueprint, alone: Sequence, exit_stage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each confidence less its boundary, and how far behind the surest each stage is."""
    n_samples, n_stages = len(exit_stage), len(plan.stages)
    gaps = np.full((n_samples, len(plan.boundaries)), np.inf)
    behind = np.full((n_samples, n_stages), np.inf)
    if not plan.confidences:
        return gaps, behind
    known, sure = committee.fitted_.policy.confidences, np.full((n_samples, n_stages), np.nan)
    for k, running in after_each_stage(committee, alone):
        if plan.judges(k):
            sure[:, k] = running.confidence(known[k])
    if plan.combine == "most_confident":
        ran = np.where(np.arange(n_stages) <= exit_stage[:, None], sure, -np.inf)
        behind = np.fmax.reduce(ran, axis=1)[:, None] - ran
        sure = np.fmax.accumulate(sure, axis=1)
    for k, boundary in enumerate(plan.boundaries):
        if np.isfinite(boundary):
            # The lead is counted in standard errors, far beyond one.
            gap = (sure[:, k] - boundary) / max(1.0, abs(boundary))
            gaps[:, k] = np.where(np.isnan(gap), np.inf, gap)
    return gaps, behind


class RecordingEstimator(ClassifierMixin, BaseEstimator):
    """A fitted classifier that answers as another does, and keeps what it was asked for.

    Parameters
    ----------
    committee : classifier
        Who answers.

    Attributes
    ----------
    asked : list
        Each X that it was asked for.
    """

    def __init__(self, committee):
        self.committee = committee
        self.asked = []

    @property
    def classes_(self):
        return self.committee.classes_

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        self.asked.append(X)
        return self.committee.predict(X)

    def predict_proba(self, X):
        self.asked.append(X)
        return self.committee.predict_proba(X)

    def __sklearn_is_fitted__(self):
        return True


def trace(estimator, X) -> dict[int, object]:
    """Ask an estimator for probabilities; return what each committee in it saw, by its id."""
    listeners: list[RecordingEstimator] = []

    def listen(committee):
        listeners.append(RecordingEstimator(committee))
        return listeners[-1]

    prepare(estimator, visit=listen).estimator.predict_proba(X)
    return {id(committee_of(one.committee)): one.asked[0] for one in listeners if one.asked}
