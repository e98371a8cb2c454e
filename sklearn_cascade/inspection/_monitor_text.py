"""What a monitor saw, as people read it."""

from __future__ import annotations

from sklearn_cascade.inspection._tables import Table

_HEADER = ["", "calibration", "range", "served", "evidence"]


def table_of(summary: dict) -> Table:
    """Return the summary of a monitor as a table."""
    return Table(_title(summary), _HEADER, _cells(summary), ["", *_remarks(summary)])


def _title(summary: dict) -> str:
    """Return the outcome as a heading."""
    outcome = "Drift" if summary["drifted"] else "No drift found"
    return (
        f"{outcome}: {summary['n_rows']:,} rows served in {summary['n_batches']:,} batches; "
        f"the last {summary['n_window']:,} against {summary['n_calibration']:,} calibration rows"
    )


def _cells(summary: dict) -> list[list[str]]:
    """Return the rows of the table as text."""
    body = [
        [
            f"exit {place} {stage['name']}",
            f"{stage['share_then']:.1%}",
            f"{stage['low']:.1%} to {stage['high']:.1%}",
            "-" if stage["share_now"] is None else f"{stage['share_now']:.1%}",
            _number(stage["evidence"]),
        ]
        for place, stage in enumerate(summary["stages"])
    ]
    mean = summary["confidence"]
    known = mean["then"] is not None
    return [
        *body,
        [
            "mean confidence",
            f"{mean['then']:.4f}" if known else "-",
            f"{mean['low']:.4f} to {mean['high']:.4f}" if known else "-",
            "-" if mean["now"] is None else f"{mean['now']:.4f}",
            _number(mean["evidence"]) if known else "-",
        ],
    ]


def _remarks(summary: dict) -> list[str]:
    """Return the sentences below the table."""
    lines = [
        f"Evidence {_number(summary['evidence'])}; an alarm takes {_number(summary['limit'])} in "
        f"window {summary['n_windows'] + 1}. Rows like the calibration rows ever raise one with "
        f"probability {summary['alpha']:g} at most."
    ]
    if summary["drifted"]:
        now = summary["evidence"] >= summary["limit"]
        seen = "" if now else "The alarm came at an earlier look and stays until reset. "
        lines.append(
            f"{seen}Exit {summary['moved_most']!r} moved most. Certificates and figures taken on "
            f"the calibration rows need not hold for these: certify again on rows served now."
        )
    return lines


def _number(evidence: float) -> str:
    """Return evidence to three significant digits."""
    return f"{evidence:.3g}"
