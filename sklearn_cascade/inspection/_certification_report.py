"""The certificate: what loss is promised, on how many rows, at which thresholds, at what cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.inspection._tables import Table, as_plain, format_cost

if TYPE_CHECKING:
    import pandas

_HEADER = ["", "threshold", "rows", "share", "lost", "fixed", "net", "lost at most"]
_DRIFT = (
    "It holds for new rows drawn like these; if they drift it can fail without any visible sign, "
    "so keep running every member on a small random sample of rows and certify again."
)


@dataclass(frozen=True, repr=False, eq=False)
class CertificationReport:
    """What ``certify`` found: thresholds with a bounded loss, or why there are none.

    Prints as a table; in a notebook shows as one. ``cascade.with_thresholds(report)`` puts the
    thresholds into force. The promise is `epsilon` with `delta`, and `mean_cost_upper` where
    `max_mean_cost` is given; all other figures describe the certification rows. They are None
    where nothing was counted.

    **The certificate holds for new rows drawn like the calibration rows; if the population drifts
    it can fail without any visible sign - a new segment making up one percent of the rows, on
    which an early model is confidently wrong, is enough to break a one-percent promise - so keep
    running every model on a small random sample of production rows and re-certify.**

    Attributes
    ----------
    certified : bool
        False: `thresholds` never exit, and `message` says why.
    message : str
        The outcome in words.
    risk : str
        "accuracy_gap" or "disagreement".
    reference : str
        As it was asked for.
    references : tuple of str
        What the cascade was compared with: names of members, or "no early exit".
    epsilon : float
        The certified upper limit of the loss.
    delta : float
        Probability, over draws of the certification rows, that the certificate is wrong.
    names : tuple of str
        Members of the cascade, in running order.
    combine : str
        How their answers are combined.
    unit : str
        Unit of the costs.
    thresholds : tuple of float
        One per stage but the last.
    n_certification : int
        Rows that certified.
    n_tuning : int
        Rows that drew the path of thresholds.
    tuned_on : str
        "fit", its held-out rows, or "split", a part of the rows given to ``certify``.
    regressions : int or None
        Rows that the reference got right and the cascade wrong at `thresholds`; against the
        worst of several references, and where nothing is certified at the first step of the path.
    corrections : int or None
        The other way round.
    loss_estimate : float or None
        (regressions - corrections) / n; too low on average, as the thresholds were chosen for it.
    loss_upper : float or None
        Upper confidence limit of the loss at these thresholds alone, not adjusted for their choice.
    p_value : float or None
        Of these counts.
    mean_cost : float or None
        Mean cost of the certification rows at `thresholds`.
    cost_interval : tuple of float or None
        Its 95 % interval, by Student's t.
    mean_cost_upper : float or None
        Upper confidence limit of the mean cost; part of the promise if `max_mean_cost` is
        given, otherwise not adjusted for the choice of the thresholds.
    max_mean_cost : float or None
        The budget.
    full_cost : float
        Cost of a row that goes through every stage.
    stages : tuple of dict
        Per stage: name, n_rows, share, regressions, corrections, net (their difference over all rows;
        adds up to `loss_estimate`) and loss_upper (90 % limit of the share of rows lost among
        those that left there).
    path_length : int
        Steps of the path.
    path : tuple of dict
        The steps tested: thresholds, regressions, corrections, mean_cost and passed.
    stopped_at : dict or None
        The step that failed, with its p_value; None if none did.
    samples_needed : int or None
        Where nothing is certified: about how many rows would change that.

    See Also
    --------
    CascadeClassifier.certify : Makes one.
    """

    certified: bool
    message: str
    risk: str
    reference: str
    references: tuple[str, ...]
    epsilon: float
    delta: float
    names: tuple[str, ...]
    combine: str
    unit: str
    thresholds: tuple[float, ...]
    n_certification: int
    n_tuning: int
    tuned_on: str
    regressions: int | None
    corrections: int | None
    loss_estimate: float | None
    loss_upper: float | None
    p_value: float | None
    mean_cost: float | None
    cost_interval: tuple[float, float] | None
    mean_cost_upper: float | None
    max_mean_cost: float | None
    full_cost: float
    stages: tuple[dict, ...]
    path_length: int
    path: tuple[dict, ...]
    stopped_at: dict | None
    samples_needed: int | None

    @property
    def saving(self) -> float | None:
        """How many times cheaper a row is than without early exit; None if nothing is counted."""
        if self.mean_cost is None:
            return None
        if self.mean_cost == 0:
            return 1.0 if self.full_cost == 0 else float("inf")
        return self.full_cost / self.mean_cost

    def rows(self) -> list[dict]:
        """Return the table of the stages as a list of dicts."""
        return [dict(stage) for stage in self.stages]

    def to_dict(self) -> dict:
        """Return all figures as plain Python values, ready for JSON; infinity as text."""
        return as_plain({**asdict(self), "saving": self.saving})

    def to_frame(self) -> pandas.DataFrame:
        """Return the table of the stages as a pandas DataFrame."""
        pandas = import_optional("pandas", feature="CertificationReport.to_frame")
        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        return table_of(self).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_of(self).to_html()


def table_of(report: CertificationReport) -> Table:
    """Return the certificate as a table, of remarks alone where nothing is certified."""
    body = _cells(report) if report.stages else []
    said = remarks(report)
    return Table(_title(report), _HEADER, body, ["", *said] if body else said)


def remarks(report: CertificationReport) -> list[str]:
    """Return the sentences below the table."""
    lines = [report.message]
    if report.regressions is not None and report.certified:
        lines.append(
            f"Estimated loss {report.loss_estimate:.2%} (too low on average, as the thresholds "
            f"were chosen for it), at most {report.loss_upper:.2%} at these thresholds alone."
        )
    if report.mean_cost is not None and report.certified:
        lines.append(_cost_line(report))
    if report.n_tuning:
        source = {"fit": "held out in the fit", "split": "set aside"}[report.tuned_on]
        lines.append(
            f"{report.n_certification:,} rows certified; {report.n_tuning:,} others, {source}, "
            f"drew the path of {report.path_length} steps, {len(report.path)} of them tested."
        )
    return [*lines, _DRIFT] if report.certified else lines


def _title(report: CertificationReport) -> str:
    """Return the promise as a heading."""
    what = {"accuracy_gap": "accuracy lost", "disagreement": "rows answered otherwise"}[report.risk]
    against = " and ".join(report.references) or report.reference
    state = "Certificate" if report.certified else "No certificate"
    return (
        f"{state} for {' > '.join(report.names)}: {what} at most {report.epsilon:.2%} against "
        f"{against}, with probability {1 - report.delta:.6g}"
    )


def _cost_line(report: CertificationReport) -> str:
    """Return the sentence about cost."""
    half = (report.cost_interval[1] - report.cost_interval[0]) / 2
    cost = format_cost(report.mean_cost, report.unit, half)
    limit = format_cost(report.mean_cost_upper, report.unit)
    full = format_cost(report.full_cost, report.unit)
    promised = "at these thresholds alone"
    if report.max_mean_cost is not None:
        promised = f"promised, within {format_cost(report.max_mean_cost, report.unit)}"
    return (
        f"Mean cost {cost} per row, at most {limit} ({promised}); {full} without early exit: "
        f"{report.saving:.2f} times cheaper."
    )


def _cells(report: CertificationReport) -> list[list[str]]:
    """Return the rows of the table as text."""
    thresholds = [f"{threshold:.4g}" for threshold in report.thresholds] + [""]
    body = []
    for place, (stage, threshold) in enumerate(zip(report.stages, thresholds, strict=True)):
        limit = stage["loss_upper"]
        body.append(
            [
                f"exit {place} {stage['name']}",
                threshold,
                f"{stage['n_rows']:,}",
                f"{stage['share']:.1%}",
                str(stage["regressions"]),
                str(stage["corrections"]),
                f"{stage['net']:+.2%}",
                "-" if np.isnan(limit) else f"{limit:.2%}",
            ]
        )
    total = [sum(stage[key] for stage in report.stages) for key in ("regressions", "corrections")]
    net = f"{sum(stage['net'] for stage in report.stages):+.2%}"
    counts = [f"{report.n_certification:,}", "100.0%", *map(str, total), net]
    return [*body, ["all rows", "", *counts, ""]]
