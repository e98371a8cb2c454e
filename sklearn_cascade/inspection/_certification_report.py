"""The certificate: the guaranteed loss, on how many rows, at which thresholds, at what cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from sklearn_cascade.inspection._tables import Report, Table, as_plain, format_cost

_HEADER = ["", "threshold", "rows", "share", "lost", "fixed", "net", "lost at most"]
_DRIFT = (
    "It holds for new rows drawn like these; if they drift it can fail without any visible sign, "
    "so keep running every member on a small random sample of rows and certify again."
)


@dataclass(frozen=True, repr=False, eq=False)
class CertificationReport(Report):
    """What ``certify`` found: thresholds with a bounded loss, or why there are none.

    Prints as a table, in a notebook as an HTML table. ``cascade.with_thresholds(report)`` applies
    the thresholds. The guarantee is `epsilon` with `delta`, and `mean_cost_upper` where
    `max_mean_cost` is given; all other figures describe the certification rows. They are None
    where nothing was counted.

    **The certificate holds for new rows drawn like the calibration rows; if the population drifts
    it can fail without any visible sign - a new segment making up one percent of the rows, on
    which an early model is confidently wrong, is enough to break a one-percent guarantee - so keep
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
        As requested.
    references : tuple of str
        What the cascade was compared with: names of members, or "no early exit".
    epsilon : float
        The certified upper limit of the loss.
    delta : float
        Probability, over draws of the certification rows, that the certificate is wrong.
    names : tuple of str
        Members of the cascade, in running order.
    combine : str
        How their outputs are combined.
    unit : str
        Unit of the costs.
    thresholds : tuple of float
        One per stage but the last.
    n_certification : int
        Rows that certified the thresholds.
    n_tuning : int
        Rows that determined the path of thresholds.
    tuned_on : str
        "fit", the held-out rows of the fit, or "split", a part of the rows given to ``certify``.
    regressions : int or None
        Rows that the reference got right and the cascade wrong at `thresholds`, against the
        worst of several references; where nothing is certified, at the first step of the path.
    corrections : int or None
        Rows that the cascade got right and the reference wrong.
    loss_estimate : float or None
        (regressions - corrections) / n; too low on average, as the thresholds were chosen for it.
    loss_upper : float or None
        Upper confidence limit of the loss at these thresholds alone, not adjusted for their choice.
    p_value : float or None
        P-value of these counts.
    mean_cost : float or None
        Mean cost of the certification rows at `thresholds`.
    cost_interval : tuple of float or None
        Its 95 % interval, by Student's t.
    mean_cost_upper : float or None
        Upper confidence limit of the mean cost; part of the guarantee if `max_mean_cost`
        is given, otherwise not adjusted for the choice of the thresholds.
    max_mean_cost : float or None
        The budget, as given to ``certify``.
    full_cost : float
        Cost of a row that goes through every stage.
    stages : tuple of dict
        Per stage: name, n_samples, share, regressions, corrections, net (their difference over all
        rows; adds up to `loss_estimate`) and loss_upper (90 % limit of the share of rows lost
        among those that exited there).
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

    def _as_table(self) -> Table:
        return _table(self)


def _table(report: CertificationReport) -> Table:
    """Return the certificate as a table; remarks alone where nothing is certified."""
    risk = {"accuracy_gap": "accuracy lost", "disagreement": "predictions changed"}[report.risk]
    reference = " and ".join(report.references) or report.reference
    state = "Certificate" if report.certified else "No certificate"
    title = (
        f"{state} for {' > '.join(report.names)}: {risk} at most {report.epsilon:.2%} against "
        f"{reference}, with probability {1 - report.delta:.6g}"
    )
    body = _cells(report) if report.stages else []
    remarks = _remarks(report)
    return Table(title, _HEADER, body, ["", *remarks] if body else remarks)


def _cells(report: CertificationReport) -> list[list[str]]:
    """Return the rows of the table as text."""
    thresholds = [f"{threshold:.4g}" for threshold in report.thresholds] + [""]
    body = []
    for k, (stage, threshold) in enumerate(zip(report.stages, thresholds, strict=True)):
        limit = stage["loss_upper"]
        body.append(
            [
                f"exit {k} {stage['name']}",
                threshold,
                f"{stage['n_samples']:,}",
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


def _remarks(report) -> list[str]:
    """Return the sentences below the table."""
    lines = [report.message]
    if report.regressions is not None and report.certified:
        lines.append(
            f"Estimated loss {report.loss_estimate:.2%} (too low on average, as the thresholds "
            f"were chosen for it), at most {report.loss_upper:.2%} at these thresholds alone."
        )
    if report.mean_cost is not None and report.certified:
        half_width = (report.cost_interval[1] - report.cost_interval[0]) / 2
        cost = format_cost(report.mean_cost, report.unit, half_width)
        limit = format_cost(report.mean_cost_upper, report.unit)
        full = format_cost(report.full_cost, report.unit)
        scope = "at these thresholds alone"
        if report.max_mean_cost is not None:
            scope = f"guaranteed, within {format_cost(report.max_mean_cost, report.unit)}"
        lines.append(
            f"Mean cost {cost} per row, at most {limit} ({scope}); {full} without early exit: "
            f"{report.saving:.2f} times cheaper."
        )
    if report.n_tuning:
        source = {"fit": "held out in the fit", "split": "set aside"}[report.tuned_on]
        lines.append(
            f"{report.n_certification:,} rows certified; {report.n_tuning:,} others, {source}, "
            f"determined the path of {report.path_length} steps, {len(report.path)} of them tested."
        )
    return [*lines, _DRIFT] if report.certified else lines
