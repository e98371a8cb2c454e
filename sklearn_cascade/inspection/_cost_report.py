"""The cost report: what some rows cost a cascade or ensemble, and how good its predictions are.

A report is built from the arrays of one pass (`build_report`), keeps sums over its rows, from
which its figures follow, so that reports of parts of a table can be merged, and prints as a table.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_cascade.core._costs import cumulative_costs, worst_case_cost
from sklearn_cascade.core._samples import label_columns
from sklearn_cascade.core._scoring import (
    ADDITIVE_SCORINGS,
    is_additive,
    is_count,
    sample_scores,
    score_probabilities,
)
from sklearn_cascade.inspection._certification_report import CertificationReport
from sklearn_cascade.inspection._ensemble_comparison import EnsembleComparison
from sklearn_cascade.inspection._tables import SHARES, Report, Table, as_plain, format_cost

# Standard normal quantile of a two-sided 95 % interval.
_Z = 1.959963984540054
# What reports must share to be merged.
_SHARED = ("title", "names", "unit", "scoring", "exits_early", "alone_names", "member_costs")


class CascadePrediction(NamedTuple):
    """Predictions of a cascade or ensemble, with the exit stage and the cost of each row.

    Attributes
    ----------
    label : ndarray of shape (n_samples,)
        Predicted labels.
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    exit_stage : ndarray of int of shape (n_samples,)
        The stage at which the row exited, counted from 0.
    cost : ndarray of shape (n_samples,)
        Cost of every stage that ran for the row, in the estimator's ``cost_unit_``.
    """

    label: np.ndarray
    proba: np.ndarray
    exit_stage: np.ndarray
    cost: np.ndarray


@dataclass(frozen=True, repr=False, eq=False)
class CostReport(Report):
    """What some rows cost a cascade or ensemble, and how good its predictions were.

    Returned by ``cost_report`` of cascades and ensembles. Prints as a table, in a notebook as an
    HTML table. All costs are per row and in `unit`. Scores are None where no `y` was given, and
    NaN where no row exits at a stage, or the scorer is undefined on its rows.

    Attributes
    ----------
    title : str
        The cascade or ensemble in words.
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
        Rows that exit at each stage.
    exit_rates : tuple of float
        Their share of all rows, by weight.
    exit_costs : tuple of float
        Mean cost of the rows that exit at each stage.
    exit_scores : tuple of float or None
        Score on the rows that exit at each stage.
    mean_cost : float
        Expected cost of a row.
    cost_interval : tuple of float
        Its 95 % interval, by the normal approximation.
    worst_cost : float
        Cost of a row that goes through every stage.
    score : float or None
        Score on all rows.
    alone_names : tuple of str
        What `member_costs` and `member_scores` describe: the members; for the parts of one
        ensemble "first 15", "first 30" and so on, the ensemble truncated to its first members.
    member_costs : tuple of float
        Cost of each member alone.
    member_scores : tuple of float or None
        Score of each member alone; None where the members were not compared.
    full_score : float or None
        Score of all members together, without early exit; it costs `worst_cost`.
    conditions : dict or None
        How the costs were measured.
    ensemble_comparison : EnsembleComparison or None
        For the parts of one ensemble: labels that differ from the ensemble's, by part and by
        label, and how much of the time saved is early exit.
    certificate : CertificationReport or None, default=None
        What is guaranteed about the cascade's loss.

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
    ensemble_comparison: EnsembleComparison | None
    certificate: CertificationReport | None = None
    # What `merge` adds up. Set on each report; a ClassVar only so that it is no field.
    _sums: ClassVar[ReportSums | None] = None

    @property
    def best_member(self) -> str | None:
        """Name of the member with the best score, the cheaper of equals; None if not compared.

        For the parts of one ensemble, the full ensemble.
        """
        if self.member_scores is None:
            return None
        if self.ensemble_comparison is not None:
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
        """Merge with reports of the same cascade or ensemble on other rows.

        For a table that is evaluated in parts. Sums over rows are added, so the result is the
        report of all rows at once, up to rounding, in any order.

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
            If one of `others` is not a report.
        ValueError
            If a report is of another cascade or ensemble, has scores where another has none, or
            has a score that is not a sum over rows.

        See Also
        --------
        ExitMonitor.merge : The same for the rows that several servers have seen.

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
        return _merge_reports([self, *others])

    def rows(self) -> list[dict]:
        """Return the table as a list of dicts with kind, name, n_samples, share, cost and score."""
        columns = ("kind", "name", "n_samples", "share", "cost", "score")
        exit_scores = self.exit_scores or (None,) * len(self.names)
        member_scores = self.member_scores or (None,) * len(self.names)
        table: list[tuple] = []
        if self.exits_early:
            exits = (self.names, self.exit_counts, self.exit_rates, self.exit_costs, exit_scores)
            table += [("exit", *values) for values in zip(*exits, strict=True)]
        n = self.n_samples
        table.append(("all rows", "", n, 1.0, self.mean_cost, self.score))
        alone = (self.alone_names, self.member_costs, member_scores)
        table += [("alone", name, n, 1.0, *figures) for name, *figures in zip(*alone, strict=True)]
        if self.exits_early and self.ensemble_comparison is None:
            table.append(("no early exit", "", n, 1.0, self.worst_cost, self.full_score))
        return [dict(zip(columns, values, strict=True)) for values in table]

    def to_dict(self) -> dict:
        """Return all figures as plain Python values, ready for JSON.

        None where undefined; infinity as text.
        """
        figures = {**asdict(self), "best_member": self.best_member, "saving": self.saving}
        if self.certificate is not None:
            figures["certificate"] = self.certificate.to_dict()
        return as_plain(figures)

    def _as_table(self) -> Table:
        return _table(self)


def build_report(
    *,
    title: str,
    exits_early: bool,
    names: Sequence[str],
    costs: np.ndarray,
    unit: str,
    conditions: dict | None,
    routing: Any,
    classes: np.ndarray,
    y: np.ndarray | None,
    sample_weight: np.ndarray | None,
    scoring: str | Callable,
    member_proba: Sequence[np.ndarray | None] | None,
    full_proba: np.ndarray | None,
    ensemble_comparison: EnsembleComparison | None = None,
    certificate: CertificationReport | None = None,
) -> CostReport:
    """Return the report of one pass; parameters not named here are those of `CostReport`.

    Costs (n_stages,) are those of one row in each stage. `routing` holds proba
    (n_samples, n_classes), exit_stage and last_called (n_samples,), the last stage that ran.
    `member_proba` are the outputs of each member for all rows (n_samples, n_classes), None for
    one that failed; of the first members of an ensemble with an `ensemble_comparison`. `full_proba`
    is the output of all members without early exit (n_samples, n_classes).
    """
    sums = sum_rows(
        routing, len(costs), y, classes, sample_weight, scoring, member_proba, full_proba
    )
    if sums.exit_gains is not None:
        scores = _score_figures(sums, scoring)
    elif y is None:
        scores = dict.fromkeys(("exit_scores", "score", "member_scores", "full_score"))
    else:

        def score(proba, rows=slice(None)):
            return _score(proba, rows, y, classes, sample_weight, scoring)

        at_stage = (routing.exit_stage == k for k in range(len(costs)))
        scores = {
            "exit_scores": tuple(score(routing.proba, rows) for rows in at_stage),
            "score": score(routing.proba),
            "member_scores": None if member_proba is None else tuple(map(score, member_proba)),
            "full_score": None if full_proba is None else score(full_proba),
        }
    cumulative = cumulative_costs(costs)
    alone_names, alone_costs = names, costs
    if ensemble_comparison is not None:
        alone_names = [f"first {count:,}" for count in ensemble_comparison.counts]
        alone_costs = cumulative
    report = CostReport(
        title=title,
        names=tuple(names),
        unit=unit,
        scoring=scoring if isinstance(scoring, str) else "score",
        exits_early=exits_early,
        **_cost_figures(sums, cumulative),
        worst_cost=worst_case_cost(costs),
        alone_names=tuple(alone_names),
        member_costs=tuple(float(cost) for cost in alone_costs),
        **scores,
        conditions=conditions,
        ensemble_comparison=ensemble_comparison,
        certificate=certificate,
    )
    return _with_sums(report, sums)


def _score(proba, rows, y, classes, sample_weight, scoring) -> float:
    """Return the score on some rows, or NaN where there is none or it is undefined."""
    if proba is None or not len(proba[rows]):
        return float("nan")
    weight = None if sample_weight is None else sample_weight[rows]
    if weight is not None and not weight.any():
        return float("nan")
    try:
        with warnings.catch_warnings():
            # A stage's rows may hold only a class or two; then the score is NaN or the metric's
            # own zero.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            return score_probabilities(scoring, proba[rows], y[rows], classes, weight)
    except ValueError:
        if isinstance(rows, slice):
            raise
        return float("nan")


class ReportSums(NamedTuple):
    """Sums over the rows of a report; None where the outputs or the labels are not known.

    Gains are the values of the predictions times the weights, then the weights, by true class;
    labels unknown to the model come last. They are None if the score is not a sum over rows.
    """

    counts: np.ndarray  # int (n_stages, n_stages): by exit stage and last stage that ran
    weights: np.ndarray  # (2, n_stages, n_stages): their weights, and the squares of these
    exit_gains: np.ndarray | None  # (n_stages, 2, n_classes + 1)
    member_gains: np.ndarray | None  # (n_members, 2, n_classes + 1)
    full_gains: np.ndarray | None  # (2, n_classes + 1)
    full_counts: np.ndarray | None  # int (n_classes,): by the label of all members together


def sum_rows(
    routing, n_stages, y, classes, sample_weight, scoring, member_proba, full_proba
) -> ReportSums:
    """Return the sums over the rows of one pass; parameters as in `build_report`."""
    proba, exit_stage, last_called = routing
    weight = np.ones(len(proba)) if sample_weight is None else sample_weight
    n_classes, cell = len(classes), exit_stage * n_stages + last_called

    def total(values=None):
        return np.bincount(cell, values, minlength=n_stages**2).reshape(n_stages, n_stages)

    def gains_of(proba, rows=slice(None)):
        if proba is None:
            return np.full((2, n_classes + 1), np.nan)
        true, mass = columns[rows], weight[rows]
        gains = sample_scores(scoring, proba[rows], true) * mass
        return np.stack([np.bincount(true, w, minlength=n_classes + 1) for w in (gains, mass)])

    exit_gains = member_gains = full_gains = full_counts = None
    columns = None if y is None else _columns_to_sum(scoring, y, classes)
    if columns is not None:
        exit_gains = np.stack([gains_of(proba, exit_stage == k) for k in range(n_stages)])
        member_gains = None if member_proba is None else np.stack([*map(gains_of, member_proba)])
        full_gains = None if full_proba is None else gains_of(full_proba)
    if full_proba is not None:
        full_counts = np.bincount(full_proba.argmax(axis=1), minlength=n_classes)
    weights = np.stack([total(weight), total(weight**2)])
    return ReportSums(total(), weights, exit_gains, member_gains, full_gains, full_counts)


def _columns_to_sum(scoring, y: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the column of each true label; None where the score is not a sum over these rows."""
    if not is_additive(scoring):
        return None
    found = label_columns(y, classes)
    unknown = found < 0
    # No prediction is right for a label unknown to the model; how else it counts, only the scorer
    # knows.
    if unknown.any() and not (is_count(scoring) and scoring != "balanced_accuracy"):
        return None
    return np.where(unknown, len(classes), found)


def _cost_figures(sums: ReportSums, cumulative: np.ndarray) -> dict[str, Any]:
    """Return every figure about cost, from the cumulative costs of the stages (n_stages,)."""
    weight, squared = sums.weights
    by_exit, total = weight.sum(axis=1), weight.sum()
    mean = float(weight.sum(axis=0) @ cumulative / total)
    error = float(np.sqrt(squared.sum(axis=0) @ (cumulative - mean) ** 2) / total)
    # A stage at which no row exits has the cost of a row that would exit there.
    exit_costs = [
        float(row @ cumulative / share) if share else float(cost)
        for row, share, cost in zip(weight, by_exit, cumulative, strict=True)
    ]
    return {
        "n_samples": int(sums.counts.sum()),
        "exit_counts": tuple(sums.counts.sum(axis=1).tolist()),
        "exit_rates": tuple((by_exit / total).tolist()),
        "exit_costs": tuple(exit_costs),
        "mean_cost": mean,
        "cost_interval": (mean - _Z * error, mean + _Z * error),
    }


def _score_figures(sums, scoring):
    """Return every score, where scores are sums over rows."""

    def score(gains):
        value, mass = gains
        if np.isnan(mass).any() or not mass.any():
            return float("nan")
        if scoring == "balanced_accuracy":
            occurring = mass > 0
            return float(np.mean(value[occurring] / mass[occurring]))
        # Divided last, so that counts stay integers and a perfect score is exactly one.
        return float(value.sum() / mass.sum())

    members, full = sums.member_gains, sums.full_gains
    return {
        "exit_scores": tuple(map(score, sums.exit_gains)),
        "score": score(sums.exit_gains.sum(axis=0)),
        "member_scores": None if members is None else tuple(map(score, members)),
        "full_score": None if full is None else score(full),
    }


def _with_sums(report: CostReport, sums: ReportSums) -> CostReport:
    """Return a new report after attaching the sums from which it follows; reports are frozen."""
    object.__setattr__(report, "_sums", sums)
    return report


def _merge_reports(reports: Sequence[CostReport]) -> CostReport:
    """Return the report of the rows of all reports."""
    first = reports[0]
    for report in reports:
        _check_same(first, report)
    sums = ReportSums._make(
        None if any(part is None for part in parts) else np.sum(parts, axis=0)
        for parts in zip(*(report._sums for report in reports), strict=True)
    )
    costs = np.array(first.member_costs)
    cumulative = cumulative_costs(costs) if first.ensemble_comparison is None else costs
    figures = _cost_figures(sums, cumulative)
    if sums.exit_gains is not None:
        figures |= _score_figures(sums, first.scoring)
    comparison = None
    parts = [report.ensemble_comparison for report in reports if report.ensemble_comparison]
    if len(parts) == len(reports):
        comparison = _merge_comparisons(reports, parts)
    return _with_sums(replace(first, **figures, ensemble_comparison=comparison), sums)


def _check_same(first, other):
    """Raise for reports that cannot be merged."""
    if other._sums is None or first._sums is None:
        raise ValueError(
            "a report holds no sums over its rows; expected reports that cost_report returned"
        )
    for name in _SHARED:
        ours, theirs = getattr(first, name), getattr(other, name)
        if ours != theirs:
            raise ValueError(
                f"other has another {name}: {theirs!r}; expected {ours!r}, since only reports of "
                f"the same cascade or ensemble can be merged. Were the costs measured anew for "
                f"every part?"
            )
    if (first.score is None) != (other.score is None):
        raise ValueError(
            "one report has scores and another has none; expected y for all parts, or for none"
        )
    if other.score is None:
        return
    if other._sums.exit_gains is None:
        raise ValueError(
            f"scoring={other.scoring!r} is no sum over these rows, so scores of parts cannot be "
            f"merged; expected one of {list(ADDITIVE_SCORINGS)} and labels that the model knows, "
            f"or reports without y"
        )
    if other._sums.exit_gains.shape != first._sums.exit_gains.shape:
        raise ValueError(
            "other has another number of classes; expected the same cascade or ensemble"
        )


def _merge_comparisons(reports, parts: Sequence[EnsembleComparison]) -> EnsembleComparison:
    """Return how the parts of one ensemble compare with it on the rows of all reports."""
    first = parts[0]

    def merge_shares(shares, counts) -> list[float]:
        """Merge shares (n_reports, n) of counts (n_reports, n); NaN where there are no rows."""
        counts = np.array(counts)
        # Shares of counts, so these are integers.
        hits = np.rint(np.nan_to_num(np.array(shares)) * counts).sum(axis=0)
        total = counts.sum(axis=0)
        return np.where(total > 0, hits / np.maximum(total, 1), np.nan).tolist()

    n_timed = [part.n_timed for part in parts]
    by_class = merge_shares(
        [list(part.class_disagreements.values()) for part in parts],
        [report._sums.full_counts for report in reports],
    )
    exit_counts = [report.exit_counts for report in reports]
    by_exit = merge_shares([part.exit_disagreements for part in parts], exit_counts)
    n_samples = [[report.n_samples] for report in reports]
    return replace(
        first,
        disagreement=merge_shares([[part.disagreement] for part in parts], n_samples)[0],
        exit_disagreements=tuple(by_exit),
        class_disagreements=dict(zip(first.class_disagreements, by_class, strict=True)),
        n_timed=sum(n_timed),
        seconds={
            call: float(np.average([part.seconds[call] for part in parts], weights=n_timed))
            for call in first.seconds
        },
    )


def _table(report: CostReport) -> Table:
    """Return the report as a table, without scores where there are none."""
    header = ["", "rows", "share", "cost per row", report.scoring]
    body: list[list[str] | str] = []
    for k, row in enumerate(report.rows()):
        kind = row["kind"]
        if kind == "alone" and "" not in body:
            body.append("")
        label = f"{kind} {k} {row['name']}" if kind == "exit" else f"{kind} {row['name']}"
        counted = kind in ("exit", "all rows")
        half_width = None
        if kind == "all rows" and report.exits_early:
            half_width = (report.cost_interval[1] - report.cost_interval[0]) / 2
        score = row["score"]
        cells = [
            label.strip(),
            f"{row['n_samples']:,}" if counted else "",
            f"{row['share']:.1%}" if counted else "",
            format_cost(row["cost"], report.unit, half_width),
            "-" if score is None or np.isnan(score) else f"{score:.4f}",
        ]
        body.append(cells if report.score is not None else cells[:-1])
    header = header if report.score is not None else header[:-1]
    return Table(f"{report.title}, {report.n_samples:,} rows", header, body, _remarks(report))


def _remarks(report: CostReport) -> list[str]:
    """Return the sentences below the table."""
    lines = ["", f"Worst case {format_cost(report.worst_cost, report.unit)} per row."]
    if report.exits_early or report.best_member is not None:
        lines.append(_saving_in_words(report))
    if report.ensemble_comparison is not None:
        lines += _comparison_in_words(report.names, report.ensemble_comparison)
    if report.certificate is not None:
        lines.append(report.certificate.message)
    if report.conditions is not None:
        lines.append(
            "Cost: measured seconds per row, batch of {batch_size:,} rows, {n_threads} thread(s), "
            "warm, median of {n_repeats} calls.".format(**report.conditions)
        )
    return lines


def _saving_in_words(report):
    """Return the comparison with the best member alone, or with running every member."""
    factor, change = report.saving, "more expensive"
    if factor >= 1:
        change = f"{factor:.2f} times cheaper"
    elif factor > 0:
        change = f"{1 / factor:.2f} times more expensive"
    if report.best_member is None:
        return f"{change} than running all members."
    reference = f"the best member alone ({report.best_member!r})"
    if report.ensemble_comparison is not None:
        reference = "the full ensemble"
    gain = report.score - report.member_scores[report.alone_names.index(report.best_member)]
    direction = "higher" if gain > 0 else "lower"
    if abs(gain) < 5e-5:
        difference = f"with the same {report.scoring}"
    elif report.scoring in SHARES:
        difference = f"{abs(gain) * 100:.2f} points {direction} in {report.scoring}"
    else:
        difference = f"{report.scoring} {abs(gain):.4f} {direction}"
    return f"{change} than {reference}, {difference}."


def _comparison_in_words(names: tuple[str, ...], found: EnsembleComparison) -> list[str]:
    """Return how often labels differ from the full ensemble's, and where time is saved."""
    per_part = ", ".join(
        f"{name} {share:.2%}"
        for name, share in zip(names, found.exit_disagreements, strict=True)
        if share > 0
    )
    labels = f"Labels differ from the ensemble's on {found.disagreement:.2%} of rows ({per_part})"
    if not per_part:
        labels = "Labels are the ensemble's on every row"
    taken = {name: format_cost(seconds, "s") for name, seconds in found.seconds.items()}
    return [
        f"{labels}; probabilities of rows that exit early are rougher.",
        f"Time per row, {found.n_timed:,} in a call: {taken['ensemble']} in the ensemble's own "
        f"predict_proba, {taken['no_exit']} without early exit, {taken['cascade']} with it: "
        f"{found.speedup:.1f}x in all, {found.exit_speedup:.1f}x by early exit, "
        f"{found.overhead_speedup:.1f}x by skipping overhead per member.",
    ]
