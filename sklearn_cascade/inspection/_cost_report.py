"""What one pass over some rows found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_cascade._compat import import_optional
from sklearn_cascade.core import (
    ADDITIVE_SCORINGS,
    cumulative_costs,
    is_additive,
    is_count,
    sample_scores,
    score_probabilities,
    worst_case_cost,
)
from sklearn_cascade.inspection._certification_report import CertificationReport
from sklearn_cascade.inspection._ensemble_comparison import EnsembleComparison
from sklearn_cascade.inspection._tables import SHARES, Table, as_plain, format_cost

if TYPE_CHECKING:
    import pandas

# Standard normal quantile of a two-sided 95 % interval.
_Z = 1.959963984540054
# What reports of the same committee have in common.
_SHARED = ("title", "names", "unit", "scoring", "exits_early", "alone_names", "member_costs")


class CascadePrediction(NamedTuple):
    """Answers of a committee with the stage that gave them and what they cost.

    Attributes
    ----------
    label : ndarray of shape (n_samples,)
        Predicted labels.
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    exit_stage : ndarray of int of shape (n_samples,)
        The stage that answered, counted from 0.
    cost : ndarray of shape (n_samples,)
        Cost of every stage that ran for the row, in the committee's ``cost_unit_``.
    """

    label: np.ndarray
    proba: np.ndarray
    exit_stage: np.ndarray
    cost: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class CostReport:
    """What some rows cost a committee, and how good its answers were.

    Returned by ``cost_report`` of the committees. Prints as a table; in a notebook shows
    as one. All costs are per row and in `unit`. Scores are None where no `y` was given, and
    NaN where a stage answered no row, or the scorer is undefined on its rows.

    Attributes
    ----------
    title : str
        The committee in words.
    names : tuple of str
        Its members, in running order.
    unit : str
        Unit of the costs.
    scoring : str
        Name of the score.
    n_samples : int
        Number of rows.
    exits_early : bool
        False for an ensemble, whose members all run.
    exit_counts : tuple of int
        Rows answered by each stage.
    exit_rates : tuple of float
        Their share of all rows, by weight.
    exit_costs : tuple of float
        Mean cost of a row answered by each stage.
    exit_scores : tuple of float or None
        Score on the rows answered by each stage.
    mean_cost : float
        Expected cost of a row.
    cost_interval : tuple of float
        Its 95 % interval, by the normal approximation.
    worst_cost : float
        Cost of a row that goes through every stage.
    score : float or None
        Score on all rows.
    alone_names : tuple of str
        What `member_costs` and `member_scores` are about: the members; for the parts of one
        ensemble "first 15", "first 30" and so on, the ensemble truncated to its first members.
    member_costs : tuple of float
        Cost of each member alone.
    member_scores : tuple of float or None
        Score of each member alone; None where the members were not compared.
    full_score : float or None
        Score of all members together, without early exit; it costs `worst_cost`.
    conditions : dict or None
        How the costs were measured.
    whole : EnsembleComparison or None
        For the parts of one ensemble: labels that differ from the ensemble's, by part and by
        label, and how much of the time saved is early exit.
    certificate : CertificationReport or None, default=None
        What is promised of the cascade's loss.

    See Also
    --------
    CascadeClassifier.cost_report : Makes one.
    """

    title: str
    names: tuple[str, ...]
    unit: str
    scoring: str
    n_samples: int
    exits_early: bool
    exit_counts: tuple[int, ...]
    exit_rates: tuple[float, ...]
    exit_costs: tuple[float, ...]
    exit_scores: tuple[float, ...] | None
    mean_cost: float
    cost_interval: tuple[float, float]
    worst_cost: float
    score: float | None
    alone_names: tuple[str, ...]
    member_costs: tuple[float, ...]
    member_scores: tuple[float, ...] | None
    full_score: float | None
    conditions: dict | None
    whole: EnsembleComparison | None
    certificate: CertificationReport | None = None
    # What `merge` adds up: no figure, so no field.
    _sums = None

    @property
    def best_member(self) -> str | None:
        """Name of the member with the best score, the cheaper of equals; None if not compared.

        For the parts of one ensemble, all of it.
        """
        if self.member_scores is None:
            return None
        if self.whole is not None:
            return self.alone_names[-1]
        order = [
            (-np.inf if np.isnan(score) else score, -cost)
            for score, cost in zip(self.member_scores, self.member_costs, strict=True)
        ]
        return self.alone_names[max(range(len(order)), key=order.__getitem__)]

    @property
    def saving(self) -> float:
        """How many times cheaper a row is than with the best member alone.

        Where the members were not compared: than with all members.
        """
        reference = self.worst_cost
        if self.best_member is not None:
            reference = self.member_costs[self.alone_names.index(self.best_member)]
        if self.mean_cost == 0:
            return 1.0 if reference == 0 else float("inf")
        return reference / self.mean_cost

    def merge(self, *others: CostReport) -> CostReport:
        """Return the report of the rows of this one and of others of the same committee.

        For a table that is looked at part by part. Sums over rows are added up, so that the
        result is the report of all rows at once, up to rounding, in whatever order.

        Parameters
        ----------
        *others : CostReport
            Reports of other rows; no row may be in two of them.

        Returns
        -------
        report : CostReport
            A new one. What some of the reports lack, such as the members alone, is left out.

        Raises
        ------
        TypeError
            If one of `others` is no report.
        ValueError
            If a report is of another committee, has scores where another has none, or has a score
            that is no sum over rows.

        See Also
        --------
        ExitMonitor.merge : Add up what several servers saw.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from sklearn_cascade import CascadeClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))]
        >>> cascade = CascadeClassifier(members, thresholds=0.9).fit(X, y)
        >>> first, second = (cascade.cost_report(X[k::2], y[k::2]) for k in range(2))
        >>> first.merge(second).score == cascade.cost_report(X, y).score
        True
        """
        for other in others:
            if not isinstance(other, CostReport):
                raise TypeError(f"other is a {type(other).__name__}; expected a CostReport")
        return merge_reports([self, *others])

    def rows(self) -> list[dict]:
        """Return the table as a list of dicts with kind, name, n_rows, share, cost and score."""
        exit_scores = self.exit_scores or (None,) * len(self.names)
        member_scores = self.member_scores or (None,) * len(self.names)
        table = []
        if self.exits_early:
            columns = (self.names, self.exit_counts, self.exit_rates, self.exit_costs, exit_scores)
            for values in zip(*columns, strict=True):
                table.append(_row("exit", *values))
        table.append(_row("all rows", "", self.n_samples, 1.0, self.mean_cost, self.score))
        alone = (self.alone_names, self.member_costs, member_scores)
        for name, cost, score in zip(*alone, strict=True):
            table.append(_row("alone", name, self.n_samples, 1.0, cost, score))
        if self.exits_early and self.whole is None:
            full = ("", self.n_samples, 1.0, self.worst_cost, self.full_score)
            table.append(_row("no early exit", *full))
        return table

    def to_dict(self) -> dict:
        """Return all figures as plain Python values, ready for JSON.

        None where undefined; infinity as text.
        """
        figures = {**asdict(self), "best_member": self.best_member, "saving": self.saving}
        if self.certificate is not None:
            figures["certificate"] = self.certificate.to_dict()
        return as_plain(figures)

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a pandas DataFrame."""
        pandas = import_optional("pandas", feature="CostReport.to_frame")
        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        return table_of(self).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_of(self).to_html()


def build_report(
    *,
    title: str,
    exits_early: bool,
    names: Sequence[str],
    costs: np.ndarray,
    unit: str,
    conditions: dict | None,
    passage: NamedTuple,
    classes: np.ndarray,
    y: np.ndarray | None,
    sample_weight: np.ndarray | None,
    scoring: str | Callable,
    alone: Sequence[np.ndarray | None] | None,
    together: np.ndarray | None,
    whole: EnsembleComparison | None = None,
    certificate: CertificationReport | None = None,
) -> CostReport:
    """Put the report together from the arrays of one pass.

    Parameters
    ----------
    title, exits_early, names
        As in `CostReport`.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    unit, conditions
        As in `CostReport`.
    passage : named tuple of proba, exit_stage, last_called
        The committee's answers (n_samples, n_classes), the stage that gave each of them and
        the last one that ran (n_samples,).
    classes : ndarray of shape (n_classes,)
        Label of each column.
    y, sample_weight : ndarray of shape (n_samples,) or None
        True labels and weights.
    scoring : str or callable
        Scorer of the answers.
    alone : sequence of ndarray of shape (n_samples, n_classes), or None
        Answers of each member; an entry is None where it failed.
    together : ndarray of shape (n_samples, n_classes) or None
        Answers of all members combined.
    whole : EnsembleComparison or None
        For the parts of one ensemble, whose `alone` are those of its first members.
    certificate : CertificationReport or None
        The certificate of its thresholds.
    """
    truth, judged = (y, classes, sample_weight, scoring), (alone, together)
    sums = sum_rows(passage, len(costs), *truth, *judged)
    if sums.exit_gains is None:
        scores = _ask_scorer(passage, len(costs), *judged, truth)
    else:
        scores = score_figures(sums, scoring)
    report = CostReport(
        title=title,
        unit=unit,
        scoring=scoring if isinstance(scoring, str) else "score",
        exits_early=exits_early,
        **cost_figures(sums, cumulative_costs(costs)),
        worst_cost=worst_case_cost(costs),
        **_alone_figures(names, costs, whole),
        **scores,
        conditions=conditions,
        certificate=certificate,
    )
    return with_sums(report, sums)


def _ask_scorer(passage, n_stages: int, alone, together, truth: tuple) -> dict:
    """Return every score where they are no sums over rows; None throughout where `y` is."""
    if truth[0] is None:
        return dict.fromkeys(("exit_scores", "score", "member_scores", "full_score"))
    rows = slice(None)
    each = None if alone is None else tuple(_score(answers, rows, *truth) for answers in alone)
    at_stage = (passage.exit_stage == k for k in range(n_stages))
    return {
        "exit_scores": tuple(_score(passage.proba, here, *truth) for here in at_stage),
        "score": _score(passage.proba, rows, *truth),
        "member_scores": each,
        "full_score": None if together is None else _score(together, rows, *truth),
    }


def _alone_figures(names, costs, whole) -> dict:
    """Return the names, and names and costs of what each answer alone is about."""
    alone_names = names
    if whole is not None:
        alone_names = [f"first {count:,}" for count in whole.counts]
        costs = cumulative_costs(costs)
    return {
        "names": tuple(names),
        "alone_names": tuple(alone_names),
        "member_costs": tuple(float(paid) for paid in costs),
        "whole": whole,
    }


def _score(answers, rows, y, classes, sample_weight, scoring) -> float:
    """Return the score on some rows, or NaN where there is none or it is undefined."""
    if answers is None or not len(answers[rows]):
        return float("nan")
    weight = None if sample_weight is None else sample_weight[rows]
    if weight is not None and not weight.any():
        return float("nan")
    try:
        with warnings.catch_warnings():
            # A stage's rows may hold a class or two only; NaN or the metric's own zero says so.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            return score_probabilities(scoring, answers[rows], y[rows], classes, weight)
    except ValueError:
        if isinstance(rows, slice):
            raise
        return float("nan")


def _row(kind, name, n_rows, share, cost, score) -> dict:
    """Return one line of the table."""
    return {
        "kind": kind,
        "name": name,
        "n_rows": n_rows,
        "share": share,
        "cost": cost,
        "score": score,
    }


class ReportSums(NamedTuple):
    """Sums over some rows.

    Attributes
    ----------
    counts : ndarray of int of shape (n_stages, n_stages)
        Rows by the stage that answered and the last one that ran.
    weights : ndarray of shape (2, n_stages, n_stages)
        The sums of their weights, and of the squares of these.
    exit_gains : ndarray of shape (n_stages, 2, n_classes + 1) or None
        Of the rows answered by each stage, by true class: what their answers are worth times
        their weight, and the weight. Labels that the committee does not know come last. None
        where no score is known, or it is no sum over rows.
    alone_gains : ndarray of shape (n_members, 2, n_classes + 1) or None
        The same of all rows for each member alone.
    together_gains : ndarray of shape (1, 2, n_classes + 1) or None
        The same for all members together.
    whole_counts : ndarray of int of shape (n_classes,) or None
        Rows by the label that all members together give.
    """

    counts: np.ndarray
    weights: np.ndarray
    exit_gains: np.ndarray | None
    alone_gains: np.ndarray | None
    together_gains: np.ndarray | None
    whole_counts: np.ndarray | None

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())


def sum_rows(
    passage: NamedTuple,
    n_stages: int,
    y: np.ndarray | None,
    classes: np.ndarray,
    sample_weight: np.ndarray | None,
    scoring: str | Callable,
    alone: Sequence[np.ndarray | None] | None,
    together: np.ndarray | None,
) -> ReportSums:
    """Add up one pass; parameters as in `build_report`."""
    proba, exit_stage, last_called = passage
    weight = np.ones(len(proba)) if sample_weight is None else sample_weight
    place, shape = exit_stage * n_stages + last_called, (n_stages, n_stages)

    def total(values=None):
        return np.bincount(place, values, minlength=n_stages**2).reshape(shape)

    by_exit = by_member = of_all = None
    columns = None if y is None else _columns_to_sum(scoring, y, classes)
    if columns is not None:
        gains = _GainSums(scoring, columns, weight, len(classes))
        by_exit = np.stack([gains.of(proba, exit_stage == k) for k in range(n_stages)])
        by_member = None if alone is None else np.stack([gains.of(p) for p in alone])
        of_all = None if together is None else np.stack([gains.of(together)])
    labels = None if together is None else together.argmax(axis=1)
    return ReportSums(
        total(),
        np.stack([total(weight), total(weight**2)]),
        by_exit,
        by_member,
        of_all,
        None if labels is None else np.bincount(labels, minlength=len(classes)),
    )


def cost_figures(sums: ReportSums, paid: np.ndarray) -> dict:
    """Return every figure about cost, from what a row has paid once each stage has run."""
    weight, squared = sums.weights
    by_exit, total = weight.sum(axis=1), weight.sum()
    mean = float(weight.sum(axis=0) @ paid / total)
    error = float(np.sqrt(squared.sum(axis=0) @ (paid - mean) ** 2) / total)
    # A stage that answers no row is shown with what a row would have paid.
    exit_costs = [
        float(row @ paid / share) if share else float(cost)
        for row, share, cost in zip(weight, by_exit, paid, strict=True)
    ]
    return {
        "n_samples": sums.n_samples,
        "exit_counts": tuple(sums.counts.sum(axis=1).tolist()),
        "exit_rates": tuple((by_exit / total).tolist()),
        "exit_costs": tuple(exit_costs),
        "mean_cost": mean,
        "cost_interval": (mean - _Z * error, mean + _Z * error),
    }


def score_figures(sums: ReportSums, scoring: str) -> dict:
    """Return every score that is a sum over rows."""

    def scores(gains):
        return None if gains is None else tuple(_score_of(scoring, gain) for gain in gains)

    full = scores(sums.together_gains)
    return {
        "exit_scores": scores(sums.exit_gains),
        "score": _score_of(scoring, sums.exit_gains.sum(axis=0)),
        "member_scores": scores(sums.alone_gains),
        "full_score": None if full is None else full[0],
    }


def merge_reports(reports: Sequence[CostReport]) -> CostReport:
    """Return the report of the rows of several reports of one committee."""
    first = reports[0]
    for report in reports:
        _check_same(first, report)
    sums = ReportSums(*map(_add, zip(*(report._sums for report in reports), strict=True)))
    paid = np.array(first.member_costs)
    figures = cost_figures(sums, cumulative_costs(paid) if first.whole is None else paid)
    if sums.exit_gains is not None:
        figures |= score_figures(sums, first.scoring)
    whole = None
    if all(report.whole is not None for report in reports):
        whole = _merge_wholes(reports)
    return with_sums(replace(first, **figures, whole=whole), sums)


def with_sums(report: CostReport, sums: ReportSums) -> CostReport:
    """Return a new report, once it holds the sums that it follows from."""
    # Reports are frozen.
    object.__setattr__(report, "_sums", sums)
    return report


class _GainSums:
    """Adds up what answers are worth, by true class."""

    def __init__(self, scoring, columns, weight, n_classes):
        self._scoring, self._columns, self._weight = scoring, columns, weight
        self._size = n_classes + 1

    def of(self, proba, rows=slice(None)) -> np.ndarray:
        """Return the sums over some rows: (2, n_classes + 1); NaN where a member failed."""
        if proba is None:
            return np.full((2, self._size), np.nan)
        columns, weight = self._columns[rows], self._weight[rows]
        gains = sample_scores(self._scoring, proba[rows], columns) * weight
        return np.stack([np.bincount(columns, w, minlength=self._size) for w in (gains, weight)])


def _columns_to_sum(scoring, y: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the column of each true label; None where the score is no sum over these rows."""
    if not is_additive(scoring):
        return None
    columns = {label: column for column, label in enumerate(classes.tolist())}
    found = np.array([columns.get(label, len(classes)) for label in y.tolist()], dtype=np.intp)
    # No answer is right for a label that nobody knows; what else it is worth, the scorer tells.
    unknown = (found == len(classes)).any() and not _weighs_rows_alike(scoring)
    return None if unknown else found


def _weighs_rows_alike(scoring: str) -> bool:
    """Tell whether a score is the share of right answers."""
    return is_count(scoring) and scoring != "balanced_accuracy"


def _score_of(scoring: str, sums: np.ndarray) -> float:
    """Return a score from worth and weight by true class; NaN without any weight."""
    gained, mass = sums
    if np.isnan(mass).any() or not mass.any():
        return float("nan")
    if scoring == "balanced_accuracy":
        occurring = mass > 0
        return float(np.mean(gained[occurring] / mass[occurring]))
    # Divided last, so that counts stay whole numbers and a perfect score is one.
    return float(gained.sum() / mass.sum())


def _check_same(first: CostReport, other: CostReport) -> None:
    """Refuse reports that do not add up."""
    if other._sums is None or first._sums is None:
        raise ValueError(
            "a report holds no sums over its rows; expected reports that cost_report returned"
        )
    for name in _SHARED:
        ours, theirs = getattr(first, name), getattr(other, name)
        if ours != theirs:
            raise ValueError(
                f"other has another {name}: {theirs!r}; expected {ours!r}, as only reports of the "
                f"same committee add up. Were the costs measured in every part anew?"
            )
    if (first.score is None) != (other.score is None):
        raise ValueError(
            "one report has scores and another has none; expected y for all parts, or for none"
        )
    if other.score is not None and (other._sums.exit_gains is None):
        raise ValueError(
            f"scoring={other.scoring!r} is no sum over these rows, so that scores of parts do not "
            f"add up; expected one of {list(ADDITIVE_SCORINGS)} and labels that the committee "
            f"knows, or reports without y"
        )
    if other.score is not None and other._sums.exit_gains.shape != first._sums.exit_gains.shape:
        raise ValueError("other has another number of classes; expected the same committee")


def _add(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the sum; None where a part is not known."""
    return None if any(part is None for part in parts) else np.sum(parts, axis=0)


def _merge_wholes(reports: Sequence[CostReport]) -> EnsembleComparison:
    """Return how the parts of one ensemble compare with it on the rows of all reports."""
    wholes = [report.whole for report in reports]
    timed = [whole.n_timed for whole in wholes]
    labels, ways = wholes[0].class_disagreements, wholes[0].seconds
    by_class = _mean_share(
        [list(whole.class_disagreements.values()) for whole in wholes],
        [report._sums.whole_counts for report in reports],
    )
    return replace(
        wholes[0],
        disagreement=_mean_share(
            [[whole.disagreement] for whole in wholes],
            [[report.n_samples] for report in reports],
        )[0],
        exit_disagreements=tuple(
            _mean_share(
                [whole.exit_disagreements for whole in wholes],
                [report.exit_counts for report in reports],
            )
        ),
        class_disagreements=dict(zip(labels, by_class, strict=True)),
        n_timed=sum(timed),
        seconds={
            way: float(np.average([whole.seconds[way] for whole in wholes], weights=timed))
            for way in ways
        },
    )


def _mean_share(shares, counts) -> list[float]:
    """Return shares of the rows of all parts, from those of each; NaN where there are none."""
    counts = np.array(counts)
    # Shares of counts, so that these are whole numbers.
    hits = np.rint(np.nan_to_num(np.array(shares)) * counts).sum(axis=0)
    n_rows = counts.sum(axis=0)
    return np.where(n_rows > 0, hits / np.maximum(n_rows, 1), np.nan).tolist()


def table_of(report: CostReport) -> Table:
    """Return the report as a table."""
    header, rows = _cells(report)
    body: list[list[str] | str] = []
    for row in rows:
        if row[0].startswith("alone") and "" not in body:
            body.append("")
        body.append(row)
    title = f"{report.title}, {report.n_samples:,} rows"
    return Table(title, header, body, _remarks(report))


def _cells(report: CostReport) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table as text."""
    header = ["", "rows", "share", "cost per row", report.scoring]
    places = iter(range(len(report.names)))
    body = []
    for row in report.rows():
        label = f"{row['kind']} {row['name']}".strip()
        if row["kind"] == "exit":
            label = f"exit {next(places)} {row['name']}"
        share = f"{row['share']:.1%}" if row["kind"] in ("exit", "all rows") else ""
        count = f"{row['n_rows']:,}" if share else ""
        half = None
        if row["kind"] == "all rows" and report.exits_early:
            half = (report.cost_interval[1] - report.cost_interval[0]) / 2
        cost = format_cost(row["cost"], report.unit, half)
        body.append([label, count, share, cost, _format_score(row["score"])])
    if report.score is None:
        return header[:-1], [row[:-1] for row in body]
    return header, body


def _format_score(score: float | None) -> str:
    """Return a score to four decimals, or a dash."""
    return "-" if score is None or np.isnan(score) else f"{score:.4f}"


def _remarks(report: CostReport) -> list[str]:
    """Return the sentences below the table."""
    lines = ["", f"Worst case {format_cost(report.worst_cost, report.unit)} per row."]
    if report.exits_early or report.best_member is not None:
        lines.append(_verdict(report))
    if report.whole is not None:
        lines += _about_whole(report)
    if report.certificate is not None:
        lines.append(report.certificate.message)
    if report.conditions is not None:
        lines.append(
            "Cost: measured seconds per row, batch of {batch_size:,} rows, {n_threads} thread(s), "
            "warm, median of {n_repeats} calls.".format(**report.conditions)
        )
    return lines


def _verdict(report: CostReport) -> str:
    """Return the comparison with the best member alone, or with running everything."""
    change = _change(report.saving)
    if report.best_member is None:
        return f"{change} than running all members."
    best = report.member_scores[report.alone_names.index(report.best_member)]
    reference = f"the best member alone ({report.best_member!r})"
    if report.whole is not None:
        reference = "the whole ensemble"
    against = f"{change} than {reference}"
    return f"{against}, {_difference(report.score - best, report.scoring)}."


def _about_whole(report: CostReport) -> list[str]:
    """Return what parts of one ensemble change, and where the time saved comes from."""
    whole = report.whole
    per_part = ", ".join(
        f"{name} {share:.2%}"
        for name, share in zip(report.names, whole.exit_disagreements, strict=True)
        if share > 0
    )
    labels = "Labels are the ensemble's on every row"
    if per_part:
        labels = f"Labels differ from the ensemble's on {whole.disagreement:.2%} of rows "
        labels += f"({per_part})"
    taken = {name: format_cost(seconds, "s") for name, seconds in whole.seconds.items()}
    return [
        f"{labels}; probabilities of rows that exit early are rougher.",
        f"Time per row, {whole.n_timed:,} in a call: {taken['ensemble']} in the ensemble's own "
        f"predict_proba, {taken['no_exit']} without early exit, {taken['cascade']} with it: "
        f"{whole.speedup:.1f}x in all, {whole.exit_speedup:.1f}x by early exit, "
        f"{whole.overhead_speedup:.1f}x by skipping overhead per member.",
    ]


def _change(factor: float) -> str:
    """Return a saving in words."""
    if factor == 0:
        return "dearer"
    return f"{factor:.2f} times cheaper" if factor >= 1 else f"{1 / factor:.2f} times dearer"


def _difference(gain: float, scoring: str) -> str:
    """Return a difference of scores in words."""
    if abs(gain) < 5e-5:
        return f"with the same {scoring}"
    direction = "higher" if gain > 0 else "lower"
    if scoring in SHARES:
        return f"{abs(gain) * 100:.2f} points {direction} in {scoring}"
    return f"{scoring} {abs(gain):.4f} {direction}"
