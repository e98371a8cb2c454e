"""Does a file answer as its model does? On the rows given, member by member and as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sklearn_cascade.export._advice import advise, seconds_per_call
from sklearn_cascade.export._binding import Source, elem_type_of
from sklearn_cascade.export._expected import TIE, Expected, after_each_stage, expect, with_graphs
from sklearn_cascade.export._hints import hint_for_difference
from sklearn_cascade.export._members import member_estimator
from sklearn_cascade.export._models import Built, model_alone
from sklearn_cascade.export._packages import open_session, package
from sklearn_cascade.export._report import ExportReport, MemberCheck, blank_report
from sklearn_cascade.members import first_line
from sklearn_cascade.rules import confidence_features, proba_columns

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


def check_members(built: Built, feeds: dict, expected: Expected, atol: float, *, timed: bool):
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


def check_learners(built: Built, expected: Expected, atol: float) -> list[str]:
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
        features = confidence_features(columns, label, running.said_else(), learned.table)
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


def with_advice(built: Built, report: ExportReport) -> tuple[ExportReport, bool]:
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
    built: Built, X, feeds: dict, atol: float, *, timed: bool
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
