"""The drift watch, which tells whether served rows are still like the calibration rows."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from sklearn_cascade.inspection._drift_reference import (
    DriftReference,
    check_alpha,
    check_window,
    read_prediction,
    read_reference,
)
from sklearn_cascade.inspection._drift_window import DriftWindow
from sklearn_cascade.inspection._monitor_text import table_of

_STATE = ("n_rows", "n_batches", "n_windows", "alarmed")
# More served rows for each calibration row than these would tell little more.
_ROWS_PER_ROW, _SHORTEST = 4, 1000


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
        """Evidence that is an alarm in the present window."""
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
