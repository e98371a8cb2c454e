"""What a comparison of a file with its model found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter

import numpy as np

# What routing adds to a call with one row, and a learned confidence after each stage, as measured.
OVERHEAD = 8e-6
LEARNED_OVERHEAD = 7e-6
_N_CALLS = 50


@dataclass(frozen=True)
class MemberCheck:
    """One member's graph beside the member itself, on all rows.

    Attributes
    ----------
    stage : int
        Its position, from 0.
    name, kind : str
        Its name and its class.
    n_reached : int
        Rows that reach it in the committee.
    difference : float
        Largest difference of a probability.
    row : int
        The row of that difference.
    seconds : float or None
        Time of one call with one row; None where it was not taken.
    """

    stage: int
    name: str
    kind: str
    n_reached: int
    difference: float
    row: int
    seconds: float | None = None


@dataclass(frozen=True, repr=False, eq=False)
class ExportReport:
    """A comparison of an exported file with its model on some rows.

    Carried by `OnnxMismatchError`, printed by `to_onnx` with `verbose`, and kept as text and as
    figures in the file's metadata under "verification" and "verification_figures".

    Attributes
    ----------
    n_samples : int
        Number of rows.
    tolerance : float
        Largest difference of a probability that is accepted.
    members : tuple of objects
        Each member's own graph beside the member, on all rows: `stage`, from 0; `name`; `kind`,
        its class; `n_reached`, rows that reach it; `difference`, the largest of a probability,
        and its `row`; `seconds`, the time of one call with one row, or None.
    n_ties : int
        Rows that left at another stage because their confidence lies at an exit boundary, or got
        the answer of another stage that is as sure: within 1e-5 or, up to the tolerance, twice
        the members' own differences, and what a learned confidence makes of these. No fault of
        the file.
    n_stage_differences : int
        Rows that left at another stage for no such reason.
    n_label_differences : int
        Rows with another label, their two best classes farther apart than the tolerance.
    difference : float
        Largest difference of a probability where the stages agree.
    row : int
        The row of that difference.
    smallest_gap : float
        Smallest distance of a confidence from its exit boundary.
    row_sum_error : float
        Largest distance of a row's sum from one.
    notes : tuple of str
        What is worth knowing and no fault.
    problems : tuple of str
        What is wrong.
    advice : str
        Whether the cascade pays for single rows; empty where no row exits early.

    See Also
    --------
    to_onnx : Makes one.
    """

    n_samples: int
    tolerance: float
    members: tuple[MemberCheck, ...]
    n_ties: int
    n_stage_differences: int
    n_label_differences: int
    difference: float
    row: int
    smallest_gap: float
    row_sum_error: float
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    advice: str

    def to_dict(self) -> dict:
        """Return all figures as plain Python values, ready for JSON."""
        figures = asdict(self)
        if self.smallest_gap == float("inf"):
            figures["smallest_gap"] = None
        return figures

    def __str__(self) -> str:
        verdict = "differs" if self.problems else "verified"
        lines = [f"{verdict} on {self.n_samples} rows, tolerance {self.tolerance:g}"]
        for check in self.members:
            took = "" if check.seconds is None else f", {check.seconds * 1e6:.1f} us a call"
            lines.append(
                f"  stage {check.stage} {check.name} ({check.kind}): {check.n_reached} rows, "
                f"largest difference {check.difference:.1e}{took}"
            )
        lines.append(
            f"  whole file: largest difference {self.difference:.1e}, "
            f"{self.n_label_differences} labels and {self.n_stage_differences} stages differ, "
            f"{self.n_ties} ties, smallest gap {self.smallest_gap:.1e}"
        )
        lines += [f"  {text}" for text in (*self.problems, *self.notes, self.advice) if text]
        return "\n".join(lines)

    __repr__ = __str__


def blank_report(n_samples: int, tolerance: float) -> ExportReport:
    """Return a report in which nothing was looked at yet."""
    nothing = float("inf")
    return ExportReport(n_samples, tolerance, (), 0, 0, 0, 0.0, 0, nothing, 0.0, (), (), "")


def seconds_per_call(session, feeds: dict[str, np.ndarray]) -> float:
    """Return the median time of a call with one row, over some of the rows."""
    n_samples = len(next(iter(feeds.values())))
    rows = [
        {name: array[row : row + 1] for name, array in feeds.items()}
        for row in np.arange(_N_CALLS) % n_samples
    ]
    session.run(None, rows[0])
    times = []
    for row in rows:
        start = perf_counter()
        session.run(None, row)
        times.append(perf_counter() - start)
    return median(times)


def advise(
    names: Sequence[str],
    seconds: Sequence[float],
    reached: Sequence[float],
    *,
    parts: bool,
    n_learned: float = 0.0,
) -> tuple[bool, str]:
    """Return whether a cascade pays for single rows, and that in words.

    Parameters
    ----------
    names : sequence of str
        The members.
    seconds : sequence of float
        Time of a call of each with one row.
    reached : sequence of float
        Share of the rows that reach each.
    parts : bool
        Whether the members are parts of one ensemble, so that the alternative is all of them;
        else it is the dearest of them alone.
    n_learned : float, default=0.0
        Learned confidences that a row pays for, on average.
    """
    overhead = OVERHEAD + LEARNED_OVERHEAD * n_learned
    expected = float(np.dot(seconds, reached)) + overhead
    dearest = int(np.argmax(seconds))
    alone = sum(seconds) if parts else seconds[dearest]
    other = "the whole ensemble" if parts else f"{names[dearest]!r} alone"
    pays = expected < alone
    text = (
        f"one row at a time takes about {expected * 1e6:.0f} us ({overhead * 1e6:.0f} us of it for "
        f"the routing), {other} {alone * 1e6:.0f} us: the cascade "
        f"{'pays' if pays else 'does not pay for single rows'}"
    )
    if parts:
        return pays, text
    # What is spent on all else, against what each row that leaves early saves of the dearest.
    limit = 1 - (expected - reached[dearest] * alone) / alone
    if limit > 0:
        text += f"; it does while fewer than {limit:.0%} of the rows reach {names[dearest]!r}"
    elif not pays:
        text += ", however few rows go on"
    return pays, text
