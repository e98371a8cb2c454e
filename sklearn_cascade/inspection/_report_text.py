"""The report as people read it: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sklearn_cascade.inspection._tables import SHARES, Table, format_cost

if TYPE_CHECKING:
    from sklearn_cascade.inspection._report import CostReport


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
