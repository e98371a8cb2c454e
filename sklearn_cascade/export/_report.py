"""The report of a comparison between a file and the estimator it was made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class MemberCheck:
    """Comparison of one member's graph with the member itself, on all rows."""

    stage: int  # position, from 0
    name: str
    kind: str  # name of its class
    n_reached: int  # rows that reach it in the cascade
    difference: float  # largest absolute difference of a probability
    row: int  # index of the row of that difference
    seconds: float | None = None  # time of one call with one row; None where not measured


@dataclass(frozen=True, repr=False, eq=False)
class ExportReport:
    """Comparison of an exported file with the estimator it was made of, on some rows.

    Carried by `OnnxMismatchError`, printed by `to_onnx` with `verbose`, and stored as text and as
    figures in the file's metadata under "verification" and "verification_figures". Differences of
    probabilities are absolute.

    Attributes
    ----------
    n_samples : int
        Number of rows.
    tolerance : float
        Largest difference of a probability that is accepted: `atol` of `to_onnx`.
    members : tuple of objects
        For each member, its graph alone compared with the member on all rows: `stage`, from 0;
        `name`; `kind`, its class; `n_reached`, number of rows that reach it; `difference`, the
        largest of a probability, and its `row`; `seconds` of one call with one row, or None.
    n_ties : int
        Rows that exit at another stage because their confidence is too close to the threshold to
        tell, or get the output of another stage that is equally confident: within 1e-5 or, up to
        the tolerance, twice the members' own differences, and the effect of these on a learned
        confidence. Ties are no error of the file.
    n_stage_differences : int
        Rows that exit at another stage without being ties.
    n_label_differences : int
        Rows with another label, though their two most probable classes differ by more than the
        tolerance.
    difference : float
        Largest difference of a probability in rows that exit at the same stage.
    row : int
        Index of the row of that difference.
    smallest_gap : float
        Smallest distance of a confidence from the threshold of its stage.
    row_sum_error : float
        Largest distance of the sum of a row of probabilities from one.
    notes : tuple of str
        Remarks that are no errors.
    problems : tuple of str
        Errors of the file.
    advice : str
        Whether the cascade is faster for single rows; empty where no row exits early.

    See Also
    --------
    to_onnx : Returns a file with such a report in its metadata.
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
        outcome = "differs" if self.problems else "verified"
        lines = [f"{outcome} on {self.n_samples} rows, tolerance {self.tolerance:g}"]
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
    """Return a report in which nothing was compared yet."""
    return ExportReport(n_samples, tolerance, (), 0, 0, 0, 0.0, 0, float("inf"), 0.0, (), (), "")
