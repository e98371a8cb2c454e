"""Sums over rows that the figures of a report follow from, so that reports of parts add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sklearn_cascade.inspection._whole import EnsembleComparison
from sklearn_cascade.rules import (
    ADDITIVE_SCORINGS,
    cumulative_costs,
    is_additive,
    is_count,
    row_values,
)

if TYPE_CHECKING:
    from sklearn_cascade.inspection._report import CostReport

# Standard normal quantile of a two-sided 95 % interval.
_Z = 1.959963984540054
# What reports of the same committee have in common.
_SHARED = ("title", "names", "unit", "scoring", "exits_early", "alone_names", "member_costs")


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
        gains = row_values(self._scoring, proba[rows], columns) * weight
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
