"""The report: what rows cost, where they exit, and what every alternative would have been."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_cascade._compat import import_optional
from sklearn_cascade.inspection._certification import CertificationReport
from sklearn_cascade.inspection._report_sums import (
    cost_figures,
    merge_reports,
    score_figures,
    sum_rows,
    with_sums,
)
from sklearn_cascade.inspection._report_text import table_of
from sklearn_cascade.inspection._tables import as_plain
from sklearn_cascade.inspection._whole import EnsembleComparison
from sklearn_cascade.rules import cumulative_costs, score_answers, worst_case_cost

if TYPE_CHECKING:
    import pandas


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
        pandas = import_optional("pandas", feature="CostReport.to_frame", extra="bench")
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
            return score_answers(scoring, answers[rows], y[rows], classes, weight)
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
