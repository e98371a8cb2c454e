"""What a monitor knows of the calibration rows: exit shares and mean confidence, with ranges."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from sklearn_cascade.inspection._certification import CertificationReport
from sklearn_cascade.inspection._drift import mean_interval, share_interval
from sklearn_cascade.inspection._report import CostReport

# Rounding of single precision, and of the rescaling of probabilities.
_SLACK = 1e-3
# Probability that the interval of a share, which is only shown, misses.
_SHOWN = 0.05


@dataclass(frozen=True)
class DriftReference:
    """Figures of the calibration rows.

    Attributes
    ----------
    names : tuple of str
        Members in running order.
    counts : tuple of int
        Rows by exit stage.
    low, high : tuple of float
        The 95 % interval of each exit share, to be shown.
    confidence : tuple of float or None
        Mean confidence and the interval that holds with probability 1 - alpha / 2; None where a
        report does not tell it.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    confidence: tuple[float, float, float] | None

    @property
    def n_rows(self) -> int:
        """Number of calibration rows."""
        return sum(self.counts)

    @property
    def watched(self) -> tuple[bool, bool]:
        """Whether exit shares and whether the mean confidence can tell a drift."""
        return len(self.names) > 1, self.confidence is not None


def check_alpha(alpha) -> None:
    """Refuse a probability of a false alarm that is none."""
    real = isinstance(alpha, Real) and not isinstance(alpha, bool)
    if not real or not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r}; expected a number between 0 and 1, such as 0.01")


def check_window(window) -> None:
    """Refuse a number of rows that is none."""
    whole = isinstance(window, Integral) and not isinstance(window, bool)
    if window is not None and not (whole and window > 0):
        raise ValueError(f"window={window!r}; expected a positive number of rows, or None")


def read_reference(reference, names, alpha: float) -> DriftReference:
    """Return the figures of calibration rows, told by a report or a prediction."""
    if isinstance(reference, DriftReference):
        return reference
    certificate = getattr(reference, "certificate_", None)
    if certificate is not None:
        reference = certificate
    values = None
    if isinstance(reference, CostReport):
        own_names, counts = reference.names, reference.exit_counts
        watching = reference.exits_early
    elif isinstance(reference, CertificationReport):
        own_names, counts = reference.names, _certified_counts(reference)
        watching = len(own_names) > 1
    else:
        _refuse_other_references(reference, names)
        own_names, watching = names, True
        counts, values = read_prediction(reference, len(names), "reference")
    if not watching:
        raise ValueError(
            "reference is the report of a committee whose rows all leave at one exit, and a report "
            "tells no confidence; expected ExitMonitor.from_estimator(estimator, X), or a "
            "prediction of predict_details"
        )
    return _with_ranges(_check_names(names, own_names), counts, values, alpha)


def read_prediction(prediction, n_stages: int, parameter: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows by exit stage, and the confidence of each row, of a prediction."""
    if not (hasattr(prediction, "exit_stage") and hasattr(prediction, "proba")):
        raise TypeError(
            f"{parameter} is a {type(prediction).__name__}; expected a CascadePrediction, which "
            f"predict_details returns"
        )
    exit_stage, proba = np.asarray(prediction.exit_stage), np.asarray(prediction.proba)
    if exit_stage.ndim != 1 or proba.ndim != 2 or len(proba) != len(exit_stage):
        raise ValueError(
            f"{parameter} has exit_stage of shape {exit_stage.shape} and proba of shape "
            f"{proba.shape}; expected (n_samples,) and (n_samples, n_classes)"
        )
    if not len(proba):
        raise ValueError(f"{parameter} has 0 rows; at least one row is required")
    _check_stages(exit_stage, n_stages, parameter)
    confidence = proba.max(axis=1).astype(float)
    if not (confidence.min() >= 0 and confidence.max() <= 1 + _SLACK):
        raise ValueError(f"{parameter}.proba holds NaN or values that are no probabilities")
    return np.bincount(exit_stage, minlength=n_stages), np.minimum(confidence, 1.0)


def _check_stages(exit_stage: np.ndarray, n_stages: int, parameter: str) -> None:
    """Refuse exit stages that the reference does not have."""
    if exit_stage.dtype.kind not in "iu":
        raise ValueError(
            f"{parameter}.exit_stage is of type {exit_stage.dtype}; expected whole numbers"
        )
    lowest, highest = int(exit_stage.min()), int(exit_stage.max())
    if lowest < 0 or highest >= n_stages:
        raise ValueError(
            f"{parameter}.exit_stage runs from {lowest} to {highest}; expected 0 to "
            f"{n_stages - 1}, as there are names for {n_stages} stages. Is it of another cascade?"
        )


def _certified_counts(report: CertificationReport) -> list[int]:
    """Return the certification rows by exit stage."""
    if not report.certified:
        raise ValueError(
            "reference is a CertificationReport that certifies nothing, so its rows say nothing "
            "about the thresholds in force; expected one with certified=True, or a CostReport"
        )
    return [stage["n_rows"] for stage in report.stages]


def _refuse_other_references(reference, names) -> None:
    """Refuse what is neither a report nor a prediction with names."""
    if hasattr(reference, "predict_details"):
        raise TypeError(
            f"reference is a {type(reference).__name__} without a certificate, and a committee "
            f"does not remember any rows; expected ExitMonitor.from_estimator(estimator, X) with "
            f"calibration rows"
        )
    if not (hasattr(reference, "exit_stage") and hasattr(reference, "proba")):
        raise TypeError(
            f"reference is a {type(reference).__name__}; expected a CostReport, a "
            f"CertificationReport, a certified cascade, or a CascadePrediction with names"
        )
    if names is None:
        raise ValueError(
            "names=None; a prediction does not tell how many stages there are: expected the "
            "name of every stage in running order, or ExitMonitor.from_estimator(estimator, X)"
        )


def _check_names(names, own_names) -> tuple[str, ...]:
    """Return the names of the stages, the user's first."""
    names = own_names if names is None else names
    if isinstance(names, str) or len(names) != len(own_names):
        raise ValueError(f"names={names!r}; expected {len(own_names)} names, one per stage")
    return tuple(str(name) for name in names)


def _with_ranges(names, counts, values, alpha) -> DriftReference:
    """Return the figures with their ranges."""
    if len(names) < 2 and values is None:
        raise ValueError("reference has one stage and tells no confidence; nothing can drift")
    n_rows = int(sum(counts))
    low, high = zip(*(share_interval(int(k), n_rows, _SHOWN) for k in counts), strict=True)
    confidence = None
    if values is not None:
        confidence = (float(values.mean()), *mean_interval(values, alpha / 2))
    return DriftReference(names, tuple(map(int, counts)), low, high, confidence)
