"""The drift watch, which tells whether served rows are still like the calibration rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Integral, Real

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

_STATE = ("n_rows", "n_batches", "n_windows", "alarmed")
# More served rows for each calibration row than these would tell little more.
_ROWS_PER_ROW, _SHORTEST = 4, 1000
_HEADER = ["", "calibration", "range", "served", "evidence"]
# Rounding of single precision, and of the rescaling of probabilities.
_SLACK = 1e-3
# Probability that the interval of a share, which is only shown, misses.
_SHOWN = 0.05
_WINDOW_STATE = ("counts", "confidence_sum", "log_capitals")


class ExitMonitor:
    """Watch whether served rows exit, and are answered as surely, as the calibration rows.

    A certificate, and any figure of a report, holds for rows like those it was taken on. The
    monitor adds up two things that need no labels: the share of rows that leaves at each stage,
    and the mean confidence, which here is always the largest probability of the answer, whatever
    decides the exits. It raises an alarm where they differ by more than chance. **No alarm is no
    proof**: a drift that leaves both as they are goes unseen, and so does a rare new kind of rows.
    Keep running every member on a small random sample of served rows as well.

    One may look as often as one likes, for as long as one likes: rows like the calibration rows
    raise an alarm, ever, with a probability of at most `alpha`, for any number of rows of either.
    Rows are taken to be independent; the same row sent a thousand times is a drift. An
    alarm lasts until `reset`. So that a drift is found after a million healthy rows as well, the
    count starts anew after each `window` of rows.

    The state is a few dozen numbers however many rows there were. `to_dict` and `from_dict`
    keep it in between, and `merge` adds up that of several servers.

    Parameters
    ----------
    reference : CostReport, CertificationReport, CascadeClassifier or CascadePrediction
        Tells the figures of the calibration rows: a report; a cascade with a certificate; or
        what ``predict_details`` returns for these rows. Reports and certificates tell the exit
        shares only, and where the thresholds let every row leave at one stage there is nothing
        to see in them: `from_estimator` watches the confidence as well. Weights of rows do not
        count. Best are rows that chose neither members nor thresholds.
    names : sequence of str of length n_stages, default=None
        Names of the stages in running order; those of the report by default. Required for a
        prediction, which does not tell how many there are.
    alpha : float, default=0.01
        Probability of a false alarm, between 0 and 1, from one `reset` to the next.
    window : int, default=None
        Rows after which, at the end of the batch, the count starts anew; by default four times
        the calibration rows, and at least 1,000. Shorter ones find large drifts sooner, longer
        ones smaller drifts.

    See Also
    --------
    CascadeClassifier.predict_details : What `update` takes.
    CascadeClassifier.certify : What a drift puts in doubt.

    Notes
    -----
    The evidence is a test martingale, or less: for each share the likelihood ratio of two
    shares, mixed, against one for calibration and served rows alike, the least favourable one; for
    the mean confidence, bets on values above and below an interval of the calibration mean that
    holds for any distribution with probability 1 - `alpha` / 2 (Waudby-Smith and Ramdas, 2024);
    all averaged. By Ville's inequality such evidence ever exceeds ``1 / a`` with probability of
    at most ``a``. The windows, from the first, have ``a`` = `alpha` / 2 times 1/2, 1/6, 1/12, 1/20
    and so on, which add up to `alpha` / 2 (Bonferroni); twice that with the exit shares alone.

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
        check_alpha(alpha)
        check_window(window)
        self._reference = read_reference(reference, names, alpha)
        self.alpha = alpha
        self.window = window or max(_SHORTEST, _ROWS_PER_ROW * self._reference.n_rows)
        self.reset()

    @classmethod
    def from_estimator(cls, estimator, X, *, alpha=0.01, window=None):
        """Let a fitted committee answer the calibration rows, once, and take their figures.

        Parameters
        ----------
        estimator : CascadeClassifier or AveragingEnsemble
            A fitted committee.
        X : array-like or object with n_samples rows
            Calibration rows; a few thousand, as what they leave open cannot be told from a
            drift.
        alpha : float, default=0.01
            Probability of a false alarm.
        window : int, default=None
            Rows after which the count starts anew.

        Returns
        -------
        monitor : ExitMonitor
            Of exit shares and confidence.

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
        check_alpha(alpha)
        check_window(window)
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
            If it is empty, is of more stages than the reference, or holds no probabilities.
        """
        n_stages = len(self._reference.names)
        counts, confidence = read_prediction(prediction, n_stages, "prediction")
        self._turn()
        self._open.add_rows(counts, confidence)
        self._n_rows += len(confidence)
        self._n_batches += 1
        return self._look()

    def merge(self, other):
        """Add the rows of another monitor with the same reference.

        The evidence is weighed anew on the present windows of both; an alarm of `other` alone is
        not taken over, as each monitor may raise a false one.

        Parameters
        ----------
        other : ExitMonitor
            It stays as it is. No row may be in both.

        Returns
        -------
        monitor : ExitMonitor
            This object.

        Raises
        ------
        TypeError
            If `other` is no monitor.
        ValueError
            If its reference, `alpha` or `window` is another one.
        """
        if not isinstance(other, ExitMonitor):
            raise TypeError(f"other is a {type(other).__name__}; expected an ExitMonitor")
        ours, theirs = (m.to_dict() for m in (self, other))
        for key in ("alpha", "window", "reference"):
            if ours[key] != theirs[key]:
                raise ValueError(
                    f"other has another {key}: {theirs[key]}; expected {ours[key]}, as only "
                    f"monitors of the same calibration rows add up"
                )
        self._turn()
        self._open.add_window(other._open)
        self._n_rows += other._n_rows
        self._n_batches += other._n_batches
        # Each window that either has left behind was one more chance of a false alarm.
        self._n_windows += other._n_windows
        return self._look()

    def reset(self):
        """Forget all served rows, and an alarm.

        Returns
        -------
        monitor : ExitMonitor
            This object, as new.
        """
        self._n_rows = self._n_batches = self._n_windows = 0
        self._alarmed = False
        self._open = DriftWindow(self._reference)
        return self

    @property
    def n_rows(self) -> int:
        """Number of served rows since the last `reset`."""
        return self._n_rows

    @property
    def drifted(self) -> bool:
        """Whether served rows have differed by more than chance, at any look so far."""
        return self._alarmed

    def summary(self) -> dict:
        """Return what was seen, as plain Python values.

        Returns
        -------
        summary : dict
            ``drifted``, ``alpha``; ``evidence`` of the present window and its ``limit``;
            ``n_rows``, ``n_batches``, ``n_windows`` that are over, ``n_window`` for the rows in
            the present one and ``n_calibration``; ``stages``, a list of dicts with name,
            share_then and its range low and high, share_now, and evidence; ``confidence``, one
            with then, low, high, now and evidence; the stage that ``moved_most``. What is not
            known is None.
        """
        return {
            "drifted": self.drifted,
            "alpha": self.alpha,
            "limit": self._limit,
            "n_rows": self._n_rows,
            "n_batches": self._n_batches,
            "n_windows": self._n_windows,
            "n_calibration": self._reference.n_rows,
            **self._open.summary(),
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
            "open": self._open.to_dict(),
        }

    @classmethod
    def from_dict(cls, state):
        """Return the monitor whose state was kept.

        Parameters
        ----------
        state : dict
            What `to_dict` returned, also after a way through JSON.

        Returns
        -------
        monitor : ExitMonitor
            It goes on where the other stopped.

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
        monitor._open.restore(state["open"])
        return monitor

    def __str__(self) -> str:
        return table_of(self.summary()).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_of(self.summary()).to_html()

    @property
    def _limit(self) -> float:
        """HeldOutData that is an alarm in the present window."""
        # Half of `alpha` went into the interval of the mean confidence, where there is one.
        spent = 1 if self._reference.confidence is None else 2
        return spent * (self._n_windows + 1) * (self._n_windows + 2) / self.alpha

    def _turn(self):
        """Leave a window behind that is full."""
        if self._open.n_rows >= self.window:
            self._n_windows += 1
            self._open = DriftWindow(self._reference)

    def _look(self):
        """Raise an alarm if the evidence is enough."""
        self._alarmed = self._alarmed or self._open.log_evidence() >= float(np.log(self._limit))
        return self


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
        f"HeldOutData {_number(summary['evidence'])}; an alarm takes {_number(summary['limit'])} in "
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


class DriftWindow:
    """Sums over some served rows, and the evidence in them.

    Parameters
    ----------
    reference : DriftReference
        Figures of the calibration rows.
    """

    def __init__(self, reference: DriftReference):
        self.reference = reference
        self.counts = np.zeros(len(reference.names), dtype=np.int64)
        self.confidence_sum = 0.0
        self.log_capitals = no_capitals()

    @property
    def n_rows(self) -> int:
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
        """Return the log of the evidence, the mean of what is watched."""
        each = (log_average(self._log_shares()), log_average(self.log_capitals))
        watched = self.reference.watched
        return log_average([log for log, used in zip(each, watched, strict=True) if used])

    def summary(self) -> dict:
        """Return what is known of the rows, as a part of the monitor's summary."""
        n_rows, stages = self.n_rows, self._stages()
        mean, low, high = self.reference.confidence or (None, None, None)
        return {
            "evidence": _factor(self.log_evidence()),
            "n_window": n_rows,
            "stages": stages,
            "confidence": {
                "then": mean,
                "low": low,
                "high": high,
                "now": self.confidence_sum / n_rows if n_rows else None,
                "evidence": None if mean is None else _factor(log_average(self.log_capitals)),
            },
            "moved_most": _moved_most(stages) if n_rows else None,
        }

    def to_dict(self) -> dict:
        """Return the sums as plain Python values."""
        state = {key: getattr(self, key) for key in _WINDOW_STATE}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}

    def restore(self, state: dict) -> None:
        """Take over sums that were kept."""
        for key in _WINDOW_STATE:
            setattr(self, key, np.array(state[key]) if isinstance(state[key], list) else state[key])

    def _log_shares(self) -> np.ndarray:
        """Return the log of the evidence of each stage."""
        then = np.array(self.reference.counts)
        return log_share_evidence(self.counts, self.n_rows, then, self.reference.n_rows)

    def _stages(self) -> list[dict]:
        """Return the table of the stages."""
        reference, n_rows = self.reference, self.n_rows
        return [
            {
                "name": name,
                "share_then": then / reference.n_rows,
                "low": low,
                "high": high,
                "share_now": now / n_rows if n_rows else None,
                "evidence": _factor(log),
            }
            for name, then, low, high, now, log in zip(
                reference.names,
                reference.counts,
                reference.low,
                reference.high,
                self.counts.tolist(),
                self._log_shares(),
                strict=True,
            )
        ]


def _factor(log_evidence: float) -> float:
    """Return evidence as a number that JSON can hold."""
    return float(np.exp(min(log_evidence, 700.0)))


def _moved_most(stages: list[dict]) -> str:
    """Return the name of the stage whose share changed most, the first of equals."""
    # Rounded, as the shares of two stages change by the same amount but for the last digit.
    moves = [round(abs(stage["share_now"] - stage["share_then"]), 12) for stage in stages]
    return stages[moves.index(max(moves))]["name"]
