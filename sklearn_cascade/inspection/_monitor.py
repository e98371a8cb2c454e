"""Drift monitoring: whether served rows are still distributed like the calibration rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from sklearn_cascade.inspection._certification_report import CertificationReport
from sklearn_cascade.inspection._cost_report import CostReport
from sklearn_cascade.inspection._drift_tests import (
    log_average,
    log_capitals,
    log_share_evidence,
    mean_interval,
    no_capitals,
    share_interval,
)
from sklearn_cascade.inspection._tables import Table

_STATE = ("n_samples", "n_batches", "n_windows", "alarmed")
_WINDOW_STATE = ("counts", "confidence_sum", "log_capitals")
# The default window: served rows per calibration row, beyond which little is gained, and in all.
_WINDOW_RATIO, _MIN_WINDOW = 4, 1000
_HEADER = ["", "calibration", "range", "served", "evidence"]
# Rounding of single precision, and of the rescaling of probabilities.
_TOLERANCE = 1e-3
# Probability that the interval of a share, which is only displayed, misses.
_DISPLAY_LEVEL = 0.05


class ExitMonitor:
    """Monitor whether served rows exit, and how confidently, like the calibration rows.

    A certificate, like any figure of a report, holds for rows like those it was computed on. The
    monitor accumulates two statistics that need no labels: the share of rows that exits at each
    stage, and the mean confidence, which here is always the largest probability of the output,
    whatever decides the exits. It raises an alarm where they differ by more than chance. **No alarm
    is no proof**: a drift that leaves both unchanged goes unnoticed, and so does a rare new kind of
    rows. Keep running every member on a small random sample of served rows as well.

    You may look as often and for as long as you like: rows like the calibration rows ever raise an
    alarm with a probability of at most `alpha`, for any number of served and calibration rows.
    Rows are assumed to be independent; the same row sent a thousand times is a drift. An alarm
    lasts until `reset`. So that a drift is also found after a million rows without one, the count
    restarts after each `window` of rows.

    The state is a few dozen numbers, however many rows there were. `to_dict` and `from_dict` save
    and restore it, and `merge` adds the rows of several servers.

    Parameters
    ----------
    reference : CostReport, CertificationReport, CascadeClassifier or CascadePrediction
        Source of the figures of the calibration rows: a report; a cascade with a certificate; or
        what ``predict_details`` returns for these rows. Reports and certificates hold the exit
        shares only; where the thresholds let every row exit at one stage, these show nothing, and
        `from_estimator` monitors the confidence as well. Weights of rows are ignored. Best are rows
        that chose neither members nor thresholds.
    names : sequence of str of length n_stages, default=None
        Names of the stages in running order; those of the report by default. Required for a
        prediction, which does not reveal how many there are.
    alpha : float, default=0.01
        Probability of a false alarm, between 0 and 1, from one `reset` to the next.
    window : int, default=None
        Rows after which, at the end of the batch, the count restarts; by default four times the
        calibration rows, and at least 1,000. Shorter windows find large drifts sooner, longer ones
        find smaller drifts.

    See Also
    --------
    CascadeClassifier.predict_details : What `update` takes.
    CascadeClassifier.certify : What a drift puts in doubt.

    Notes
    -----
    The evidence is an e-process. For each share it is the likelihood ratio of two shares, mixed,
    against one share for calibration and served rows alike, the least favourable one; for the mean
    confidence, it comes from bets on values above and below an interval of the calibration mean
    that holds for any distribution with probability 1 - `alpha` / 2 (Waudby-Smith and Ramdas,
    2024); all are averaged. By Ville's inequality such evidence ever exceeds ``1 / a`` with a
    probability of at most ``a``. The windows, from the first, have ``a`` = `alpha` / 2 times 1/2,
    1/6, 1/12, 1/20 and so on, which add up to `alpha` / 2 (Bonferroni); twice that with the exit
    shares alone.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_cascade import CascadeClassifier, ExitMonitor
    >>> X, y = load_digits(return_X_y=True)
    >>> members = [("nb", GaussianNB()), ("linear", LogisticRegression(max_iter=5000))]
    >>> cascade = CascadeClassifier(members, thresholds=0.99).fit(X[:600], y[:600])
    >>> monitor = ExitMonitor.from_estimator(cascade, X[600:1200])
    >>> monitor.update(cascade.predict_details(X[1200:])).drifted
    False
    >>> monitor.reset().update(cascade.predict_details(16 - X[1200:])).drifted
    True
    """

    def __init__(self, reference, *, names=None, alpha=0.01, window=None):
        _check_alpha_and_window(alpha, window)
        self._reference = _read_reference(reference, names, alpha)
        self.alpha = alpha
        self.window = window or max(_MIN_WINDOW, _WINDOW_RATIO * self._reference.n_samples)
        self.reset()

    @classmethod
    def from_estimator(cls, estimator, X, *, alpha=0.01, window=None):
        """Predict the calibration rows with a fitted estimator, once, and take their figures.

        Parameters
        ----------
        estimator : CascadeClassifier or AveragingEnsemble
            A fitted cascade or ensemble.
        X : array-like or object with n_samples rows
            Calibration rows; a few thousand, since what they leave uncertain cannot be
            distinguished from a drift.
        alpha : float, default=0.01
            Probability of a false alarm.
        window : int, default=None
            Rows after which the count restarts.

        Returns
        -------
        monitor : ExitMonitor
            A monitor of exit shares and confidence.

        Raises
        ------
        TypeError
            If `estimator` has no ``predict_details``.
        """
        if not hasattr(estimator, "predict_details"):
            raise TypeError(
                f"estimator is a {type(estimator).__name__} without predict_details; expected a "
                f"fitted CascadeClassifier or AveragingEnsemble"
            )
        _check_alpha_and_window(alpha, window)
        names = list(estimator.named_estimators_)
        return cls(estimator.predict_details(X), names=names, alpha=alpha, window=window)

    def update(self, prediction):
        """Add a batch of served rows.

        Parameters
        ----------
        prediction : CascadePrediction
            What ``predict_details`` returned for them.

        Returns
        -------
        monitor : ExitMonitor
            This object.

        Raises
        ------
        TypeError
            If `prediction` has no ``exit_stage`` and ``proba``.
        ValueError
            If it is empty, has more stages than the reference, or holds no probabilities.
        """
        n_stages = len(self._reference.names)
        counts, confidence = _read_prediction(prediction, n_stages, "prediction")
        self._close_full_window()
        self._window.add_rows(counts, confidence)
        self._n_samples += len(confidence)
        self._n_batches += 1
        return self._update_alarm()

    def merge(self, other):
        """Add the rows of another monitor with the same reference.

        The evidence is recomputed from the current windows of both; an alarm of `other` alone is
        not taken over, since each monitor may raise a false one.

        Parameters
        ----------
        other : ExitMonitor
            It is not changed. No row may be in both.

        Returns
        -------
        monitor : ExitMonitor
            This object.

        Raises
        ------
        TypeError
            If `other` is not a monitor.
        ValueError
            If its reference, `alpha` or `window` differs.
        """
        if not isinstance(other, ExitMonitor):
            raise TypeError(f"other is a {type(other).__name__}; expected an ExitMonitor")
        ours, theirs = (m.to_dict() for m in (self, other))
        for key in ("alpha", "window", "reference"):
            if ours[key] != theirs[key]:
                raise ValueError(
                    f"other has another {key}: {theirs[key]}; expected {ours[key]}, since "
                    f"only monitors of the same calibration rows can be merged"
                )
        self._close_full_window()
        self._window.add_window(other._window)
        self._n_samples += other._n_samples
        self._n_batches += other._n_batches
        # Each window that either has closed was one more chance of a false alarm.
        self._n_windows += other._n_windows
        return self._update_alarm()

    def reset(self):
        """Forget all served rows, and any alarm.

        Returns
        -------
        monitor : ExitMonitor
            This object, reset.
        """
        self._n_samples = self._n_batches = self._n_windows = 0
        self._alarmed = False
        self._window = DriftWindow(self._reference)
        return self

    @property
    def n_samples(self) -> int:
        """Number of served rows since the last `reset`."""
        return self._n_samples

    @property
    def drifted(self) -> bool:
        """Whether served rows have differed by more than chance after any batch so far."""
        return self._alarmed

    def summary(self) -> dict:
        """Return what was observed, as plain Python values.

        Returns
        -------
        summary : dict
            ``drifted``, ``alpha``; ``evidence`` of the current window and its ``limit``;
            ``n_samples``, ``n_batches``, ``n_windows`` that are closed, ``n_window`` for the rows
            in the current one and ``n_calibration``; ``stages``, a list of dicts with name,
            share_then and its range low and high, share_now, and evidence; ``confidence``, a dict
            with then, low, high, now and evidence; the stage that ``moved_most``. What is not
            known is None.
        """
        return {
            "drifted": self.drifted,
            "alpha": self.alpha,
            "limit": self._limit,
            "n_samples": self._n_samples,
            "n_batches": self._n_batches,
            "n_windows": self._n_windows,
            "n_calibration": self._reference.n_samples,
            **self._window.summary(),
        }

    def to_dict(self) -> dict:
        """Return the reference and the state as plain Python values, ready for JSON.

        Returns
        -------
        state : dict
            For `from_dict`; its size does not depend on the number of rows.
        """
        return {
            "alpha": self.alpha,
            "window": self.window,
            "reference": asdict(self._reference),
            **{key: getattr(self, f"_{key}") for key in _STATE},
            "open": self._window.to_dict(),
        }

    @classmethod
    def from_dict(cls, state):
        """Restore a monitor from its state.

        Parameters
        ----------
        state : dict
            What `to_dict` returned, also after a round trip through JSON.

        Returns
        -------
        monitor : ExitMonitor
            It continues where the other stopped.

        Raises
        ------
        ValueError
            If something is missing.
        """
        expected = {"alpha", "window", "reference", "open", *_STATE}
        if not isinstance(state, dict) or set(state) != expected:
            raise ValueError(
                f"state has {sorted(state) if isinstance(state, dict) else type(state).__name__}; "
                f"expected what ExitMonitor.to_dict returned, with {sorted(expected)}"
            )
        figures = {
            key: tuple(value) if isinstance(value, (list, tuple)) else value
            for key, value in state["reference"].items()
        }
        monitor = cls(DriftReference(**figures), alpha=state["alpha"], window=state["window"])
        for key in _STATE:
            setattr(monitor, f"_{key}", state[key])
        monitor._window.restore(state["open"])
        return monitor

    def __str__(self) -> str:
        return _table(self.summary()).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _table(self.summary()).to_html()

    @property
    def _limit(self) -> float:
        """Evidence that raises an alarm in the current window."""
        # Half of `alpha` is used for the interval of the mean confidence, where there is one.
        n_halves = 1 if self._reference.confidence is None else 2
        return n_halves * (self._n_windows + 1) * (self._n_windows + 2) / self.alpha

    def _close_full_window(self):
        """Start a new window if the current one is full."""
        if self._window.n_samples >= self.window:
            self._n_windows += 1
            self._window = DriftWindow(self._reference)

    def _update_alarm(self):
        """Raise an alarm if the evidence suffices."""
        self._alarmed = self._alarmed or self._window.log_evidence() >= float(np.log(self._limit))
        return self


def _table(summary: dict) -> Table:
    """Return the summary of a monitor as a table."""
    body = [
        [
            f"exit {k} {stage['name']}",
            f"{stage['share_then']:.1%}",
            f"{stage['low']:.1%} to {stage['high']:.1%}",
            "-" if stage["share_now"] is None else f"{stage['share_now']:.1%}",
            f"{stage['evidence']:.3g}",
        ]
        for k, stage in enumerate(summary["stages"])
    ]
    mean = summary["confidence"]
    known = mean["then"] is not None
    body.append(
        [
            "mean confidence",
            f"{mean['then']:.4f}" if known else "-",
            f"{mean['low']:.4f} to {mean['high']:.4f}" if known else "-",
            "-" if mean["now"] is None else f"{mean['now']:.4f}",
            f"{mean['evidence']:.3g}" if known else "-",
        ]
    )
    remarks = [
        "",
        f"Evidence {summary['evidence']:.3g}; an alarm takes {summary['limit']:.3g} in window "
        f"{summary['n_windows'] + 1}. Rows like the calibration rows ever raise one with "
        f"probability {summary['alpha']:g} at most.",
    ]
    if summary["drifted"]:
        earlier = ""
        if summary["evidence"] < summary["limit"]:
            earlier = "The alarm was raised by an earlier batch and stays until reset. "
        remarks.append(
            f"{earlier}Exit {summary['moved_most']!r} moved most. Certificates and figures taken "
            f"on the calibration rows need not hold for these: certify again on rows served now."
        )
    outcome = "Drift" if summary["drifted"] else "No drift found"
    title = (
        f"{outcome}: {summary['n_samples']:,} rows served in {summary['n_batches']:,} batches; "
        f"the last {summary['n_window']:,} against {summary['n_calibration']:,} calibration rows"
    )
    return Table(title, _HEADER, body, remarks)


@dataclass(frozen=True)
class DriftReference:
    """Figures of the calibration rows."""

    names: tuple[str, ...]  # members in running order
    counts: tuple[int, ...]  # rows by exit stage
    low: tuple[float, ...]  # the 95 % interval of each exit share, to be displayed
    high: tuple[float, ...]
    # Mean and an interval that holds with probability 1 - alpha / 2; None if read from a report.
    confidence: tuple[float, float, float] | None

    @property
    def n_samples(self) -> int:
        """Number of calibration rows."""
        return sum(self.counts)


def _check_alpha_and_window(alpha, window) -> None:
    """Raise unless alpha is a probability, and window a number of rows or None."""
    real = isinstance(alpha, Real) and not isinstance(alpha, bool)
    if not real or not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r}; expected a number between 0 and 1, such as 0.01")
    integer = isinstance(window, Integral) and not isinstance(window, bool)
    if window is not None and not (integer and window > 0):
        raise ValueError(f"window={window!r}; expected a positive number of rows, or None")


def _read_reference(reference, names, alpha: float) -> DriftReference:
    """Return the figures of the calibration rows, from a report, certificate or prediction."""
    if isinstance(reference, DriftReference):
        return reference
    certificate = getattr(reference, "certificate_", None)
    if certificate is not None:
        reference = certificate
    confidences = None
    counts: Any
    if isinstance(reference, CostReport):
        own_names, counts = reference.names, reference.exit_counts
        informative = reference.exits_early
    elif isinstance(reference, CertificationReport):
        if not reference.certified:
            raise ValueError(
                "reference is a CertificationReport that certifies nothing, so its rows do not "
                "describe the thresholds in force; expected one with certified=True, or a "
                "CostReport"
            )
        own_names, counts = reference.names, [stage["n_samples"] for stage in reference.stages]
        informative = len(own_names) > 1
    else:
        _refuse_other_references(reference, names)
        own_names, informative = names, True
        counts, confidences = _read_prediction(reference, len(names), "reference")
    if not informative:
        raise ValueError(
            "reference is a report in which all rows exit at one stage, and a report holds no "
            "confidence; expected ExitMonitor.from_estimator(estimator, X), or a prediction of "
            "predict_details"
        )
    names = own_names if names is None else names
    if isinstance(names, str) or len(names) != len(own_names):
        raise ValueError(f"names={names!r}; expected {len(own_names)} names, one per stage")
    if len(names) < 2 and confidences is None:
        raise ValueError("reference has one stage and holds no confidence; nothing can drift")
    n_samples = int(sum(counts))
    low, high = zip(
        *(share_interval(int(count), n_samples, _DISPLAY_LEVEL) for count in counts), strict=True
    )
    confidence = None
    if confidences is not None:
        confidence = (float(confidences.mean()), *mean_interval(confidences, alpha / 2))
    return DriftReference(tuple(map(str, names)), tuple(map(int, counts)), low, high, confidence)


def _refuse_other_references(reference, names) -> None:
    """Raise for what is neither a report nor a prediction with names."""
    if hasattr(reference, "predict_details"):
        raise TypeError(
            f"reference is a {type(reference).__name__} without a certificate, and an estimator "
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
            "names=None; a prediction does not reveal how many stages there are: expected the "
            "name of every stage in running order, or ExitMonitor.from_estimator(estimator, X)"
        )


def _read_prediction(prediction, n_stages: int, parameter: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows by exit stage (n_stages,) and the confidence of each row (n_samples,)."""
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
    if exit_stage.dtype.kind not in "iu":
        raise ValueError(f"{parameter}.exit_stage has dtype {exit_stage.dtype}; expected integers")
    lowest, highest = int(exit_stage.min()), int(exit_stage.max())
    if lowest < 0 or highest >= n_stages:
        raise ValueError(
            f"{parameter}.exit_stage runs from {lowest} to {highest}; expected 0 to "
            f"{n_stages - 1}, as there are names for {n_stages} stages. Is it of another cascade?"
        )
    confidence = proba.max(axis=1).astype(float)
    if not (confidence.min() >= 0 and confidence.max() <= 1 + _TOLERANCE):
        raise ValueError(f"{parameter}.proba holds NaN or values that are not probabilities")
    return np.bincount(exit_stage, minlength=n_stages), np.minimum(confidence, 1.0)


class DriftWindow:
    """Sums over the served rows of one window, and the evidence in them."""

    def __init__(self, reference: DriftReference) -> None:
        self.reference = reference
        self.counts = np.zeros(len(reference.names), dtype=np.int64)
        self.confidence_sum = 0.0
        self.log_capitals = no_capitals()

    @property
    def n_samples(self) -> int:
        """Number of served rows."""
        return int(self.counts.sum())

    def add_rows(self, counts: np.ndarray, confidence: np.ndarray) -> None:
        """Add the rows of a batch."""
        self.counts = self.counts + counts
        self.confidence_sum += float(confidence.sum())
        if self.reference.confidence is not None:
            _, low, high = self.reference.confidence
            self.log_capitals = self.log_capitals + log_capitals(confidence, low, high)

    def add_window(self, other: DriftWindow) -> None:
        """Add the rows of another window."""
        self.counts = self.counts + other.counts
        self.confidence_sum += other.confidence_sum
        self.log_capitals = self.log_capitals + other.log_capitals

    def log_evidence(self) -> float:
        """Return the log of the evidence, the mean over the monitored statistics."""
        each = (log_average(self._log_shares()), log_average(self.log_capitals))
        monitored = (len(self.reference.names) > 1, self.reference.confidence is not None)
        return log_average([log for log, used in zip(each, monitored, strict=True) if used])

    def summary(self) -> dict:
        """Return what is known of the rows, as a part of the monitor's summary."""
        reference, n_samples = self.reference, self.n_samples
        stages = [
            {
                "name": name,
                "share_then": then / reference.n_samples,
                "low": low,
                "high": high,
                "share_now": now / n_samples if n_samples else None,
                "evidence": _evidence(log),
            }
            for name, then, low, high, now, log in zip(
                reference.names,
                reference.counts,
                reference.low,
                reference.high,
                self.counts.tolist(),
                self._log_shares().tolist(),
                strict=True,
            )
        ]
        moved_most = None
        if n_samples:
            # Rounded, since the shares of two stages change equally except for the last digit.
            moves = [round(abs(stage["share_now"] - stage["share_then"]), 12) for stage in stages]
            moved_most = stages[moves.index(max(moves))]["name"]
        mean, low, high = reference.confidence or (None, None, None)
        return {
            "evidence": _evidence(self.log_evidence()),
            "n_window": n_samples,
            "stages": stages,
            "confidence": {
                "then": mean,
                "low": low,
                "high": high,
                "now": self.confidence_sum / n_samples if n_samples else None,
                "evidence": None if mean is None else _evidence(log_average(self.log_capitals)),
            },
            "moved_most": moved_most,
        }

    def to_dict(self) -> dict:
        """Return the sums as plain Python values."""
        return {key: np.asarray(getattr(self, key)).tolist() for key in _WINDOW_STATE}

    def restore(self, state: dict) -> None:
        """Set the sums to those that `to_dict` returned."""
        for key in _WINDOW_STATE:
            setattr(self, key, np.array(state[key]) if isinstance(state[key], list) else state[key])

    def _log_shares(self) -> np.ndarray:
        """Return the log of the evidence of each stage (n_stages,)."""
        then = np.array(self.reference.counts)
        return log_share_evidence(self.counts, self.n_samples, then, self.reference.n_samples)


def _evidence(log_evidence: float) -> float:
    """Return evidence as a number that JSON can hold."""
    return float(np.exp(min(log_evidence, 700.0)))
