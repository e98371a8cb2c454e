"""The certificate as people read it: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sklearn_cascade.inspection._tables import Table, format_cost

if TYPE_CHECKING:
    from sklearn_cascade.inspection._certification import CertificationReport

_HEADER = ["", "threshold", "rows", "share", "lost", "fixed", "net", "lost at most"]
_DRIFT = (
    "It holds for new rows drawn like these; if they drift it can fail without any visible sign, "
    "so keep running every member on a small random sample of rows and certify again."
)


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
