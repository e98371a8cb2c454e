"""Measured time: seconds per row of each member, and the latency of calls by batch size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_cascade._compat import n_rows, take_rows
from sklearn_cascade.core._samples import evenly_spaced, time_calls
from sklearn_cascade.inspection._tables import Report, Table, format_cost, format_digits

# By default a batch size is timed over this many rows, within these numbers of calls.
_ROWS_TIMED = 2000
_MIN_CALLS, _MAX_CALLS = 20, 200
_HEADER = ["", "median", "mean", "p99", "rows per second", "speedup"]


class MeasuredCosts(Mapping):
    """Seconds per row of each member, by name; accepted as it is as ``costs=``.

    Parameters
    ----------
    seconds : dict from str to float
        Seconds per row.
    conditions : dict
        ``batch_size``, ``n_repeats``, ``n_threads``.

    Attributes
    ----------
    unit : str
        "s".
    conditions : dict
        As given.
    """

    unit = "s"

    def __init__(self, seconds: dict[str, float], conditions: dict) -> None:
        self._seconds = dict(seconds)
        self.conditions = dict(conditions)

    def __getitem__(self, name: str) -> float:
        return self._seconds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seconds)

    def __len__(self) -> int:
        return len(self._seconds)

    def __repr__(self) -> str:
        return f"MeasuredCosts({self._seconds}, {self.conditions})"


def measure_costs(estimators, X, *, batch_size=1000, n_repeats=5, n_threads=1) -> MeasuredCosts:
    """Measure how many seconds each fitted classifier takes for one row.

    Each member predicts one batch of rows, spread evenly over X, once to warm up and then
    `n_repeats` times; the median counts. The batch size matters: one row at a time costs far more
    per row than a thousand together.

    Parameters
    ----------
    estimators : list of (str, classifier), mapping from name to classifier, or fitted estimator
        Fitted classifiers with ``predict_proba``, or a fitted cascade or ensemble of them.
    X : array-like or object with n_samples rows
        Rows like those to come.
    batch_size : int, default=1000
        Rows in the batch; fewer where X has fewer.
    n_repeats : int, default=5
        Timed calls.
    n_threads : int or None, default=1
        Threads that native libraries (BLAS, OpenMP) may use meanwhile. One thread measures the
        compute of a row, and keeps other work on the machine out of it; None leaves them as
        they are. Members with an ``n_jobs`` of their own are not limited by it.

    Returns
    -------
    costs : MeasuredCosts
        Mapping from name to seconds per row, with its unit and conditions; accepted as
        ``costs=`` by cascades and ensembles.

    Raises
    ------
    ValueError
        If X has no rows, or `batch_size`, `n_repeats` or `n_threads` is below 1.

    See Also
    --------
    CascadeClassifier : ``costs="measured"`` calls this on the rows of the fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_cascade import measure_costs
    >>> X, y = load_iris(return_X_y=True)
    >>> costs = measure_costs([("nb", GaussianNB().fit(X, y))], X, n_repeats=2)
    >>> costs["nb"] > 0, costs.unit, costs.conditions["batch_size"]
    (True, 's', 150)
    """
    _check_at_least_one(batch_size=batch_size, n_repeats=n_repeats)
    if n_threads is not None:
        _check_at_least_one(n_threads=n_threads)
    if hasattr(type(estimators), "named_estimators_"):
        check_is_fitted(estimators)
        estimators = estimators.named_estimators_
    if isinstance(estimators, Mapping):
        estimators = list(estimators.items())
    (X,) = indexable(X)
    if n_rows(X) == 0:
        raise ValueError("X has 0 rows; at least one is needed to measure the costs")
    n_batch = min(batch_size, n_rows(X))
    batch = take_rows(X, evenly_spaced(n_rows(X), n_batch))
    calls = {name: partial(estimator.predict_proba, batch) for name, estimator in estimators}
    with threadpool_limits(n_threads):
        seconds = np.median(time_calls(calls, n_repeats), axis=0) / n_batch
    conditions = {
        "batch_size": n_batch,
        "n_repeats": n_repeats,
        "n_threads": n_threads or _n_threads(),
    }
    return MeasuredCosts(dict(zip(calls, seconds.tolist(), strict=True)), conditions)


def _check_at_least_one(**values) -> None:
    """Raise for the first parameter that is below one."""
    for parameter, value in values.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{parameter}={value!r}; expected an integer of at least 1")


def _n_threads() -> int:
    """Return the most threads that a native library may use here."""
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


class Latency(NamedTuple):
    """One line of a `LatencyReport`: a classifier at a batch size."""

    batch_size: int
    n_repeats: int
    kind: str
    name: str
    median: float
    mean: float
    p99: float
    rows_per_second: float
    speedup: float


@dataclass(frozen=True, repr=False, eq=False)
class LatencyReport(Report):
    """How long a call of each classifier takes, at several batch sizes.

    Returned by `latency_report`. Prints as a table, in a notebook as an HTML table.

    Attributes
    ----------
    n_samples : int
        Rows that the batches were taken from.
    n_threads : int
        Threads that native libraries could use.
    measurements : tuple of named tuple
        One for each batch size and classifier: `batch_size`; `n_repeats`, the number of timed
        calls; `kind` ("alone", "no early exit", "cascade" or "ensemble"); `name` of the
        member, empty for what runs all of them; `median`, `mean` and `p99`, seconds of a call;
        `rows_per_second`; and `speedup` over the slowest member alone at that batch size. The
        last two are computed from the mean: a cascade is fast for most rows and slow for some,
        which the median of single rows does not show. With fewer than 100 calls the p99 is nearly
        the slowest.

    See Also
    --------
    latency_report : Makes one.
    """

    n_samples: int
    n_threads: int
    measurements: tuple[Latency, ...]

    def rows(self) -> list[dict]:
        """Return the table as a list of dicts, by batch size and classifier."""
        return [row._asdict() for row in self.measurements]

    def to_dict(self) -> dict:
        """Return all figures as plain Python values, ready for JSON; the table is "rows"."""
        return {"n_samples": self.n_samples, "n_threads": self.n_threads, "rows": self.rows()}

    def _as_table(self) -> Table:
        return _table(self)


def latency_report(
    estimators, X, *, batch_sizes=(1, 32, 1000), n_repeats=None, n_threads=1
) -> LatencyReport:
    """Time calls of a cascade or ensemble and of its members at several batch sizes.

    Small batches are what an online service sees, large ones what offline scoring of a table sees.
    The classifiers are warmed up first and then called in turns. Each call gets other rows, since
    the time of a cascade depends on them, spread evenly over X and the same for all classifiers.

    Parameters
    ----------
    estimators : fitted estimator, list of (str, classifier) or mapping from name to classifier
        A `CascadeClassifier` or `AveragingEnsemble` is timed beside each of its members alone,
        and a cascade also without early exit; of a list or mapping, just the classifiers in it.
    X : array-like or object with n_samples rows
        Rows like those to come, best not those of the fit.
    batch_sizes : iterable of int, default=(1, 32, 1000)
        Rows in a call, at most n_samples.
    n_repeats : int or None, default=None
        Timed calls of each classifier at each batch size. None: enough for 2,000 rows, but at
        least 20 and at most 200.
    n_threads : int or None, default=1
        Threads that native libraries (BLAS, OpenMP) may use meanwhile; None leaves them as
        they are. Classifiers with an ``n_jobs`` of their own are not limited by it.

    Returns
    -------
    report : LatencyReport
        Prints as a table; ``rows()``, ``to_frame()``, ``to_dict()``.

    Raises
    ------
    TypeError
        If `estimators` is of another kind, or one has no ``predict_proba``.
    ValueError
        If `estimators`, X or `batch_sizes` is empty, or a number is below 1.

    See Also
    --------
    measure_costs : Seconds per row of each member, for ``costs=``.
    CascadeClassifier.cost_report : What rows cost, and how good the predictions are.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_cascade import CascadeClassifier
    >>> from sklearn_cascade import latency_report
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))]
    >>> cascade = CascadeClassifier(members, thresholds=0.9).fit(X, y)
    >>> report = latency_report(cascade, X, batch_sizes=(1, 100), n_repeats=3)
    >>> [row["kind"] for row in report.rows() if row["batch_size"] == 100]
    ['alone', 'alone', 'no early exit', 'cascade']
    >>> min(row["speedup"] for row in report.rows()[:2])
    1.0
    """
    classifiers = _classifiers_to_time(estimators)
    (X,) = indexable(X)
    n_samples = n_rows(X)
    if n_samples == 0:
        raise ValueError("X has 0 rows; at least one is needed to time a call")
    sizes = list(batch_sizes) if isinstance(batch_sizes, Iterable) else [batch_sizes]
    if not sizes or any(not isinstance(size, Integral) or size < 1 for size in sizes):
        raise ValueError(f"batch_sizes={batch_sizes!r}; expected integers of at least 1")
    counts = {"n_repeats": n_repeats, "n_threads": n_threads}
    _check_at_least_one(**{name: count for name, count in counts.items() if count is not None})
    measurements = []
    with threadpool_limits(n_threads):
        # In the order given, each size once.
        for size in dict.fromkeys(min(int(size), n_samples) for size in sizes):
            # More calls for small batches, where the 99th percentile matters.
            n_calls = n_repeats or int(np.clip(_ROWS_TIMED // size, _MIN_CALLS, _MAX_CALLS))
            measurements += _time_batches(classifiers, X, size, n_calls)
        n_threads = int(n_threads or _n_threads())
    return LatencyReport(n_samples, n_threads, tuple(measurements))


def _classifiers_to_time(estimators) -> list[tuple[str, str, Any]]:
    """Return kind, name and classifier of everything to be timed."""
    if not hasattr(type(estimators), "named_estimators_"):
        return _members_to_time(estimators)
    check_is_fitted(estimators)
    classifiers = _members_to_time(estimators.named_estimators_)
    if not hasattr(estimators, "with_thresholds"):
        return [*classifiers, ("ensemble", "", estimators)]
    if len(classifiers) > 1:
        classifiers.append(("no early exit", "", estimators.with_thresholds(np.inf)))
    return [*classifiers, ("cascade", "", estimators)]


def _members_to_time(estimators) -> list[tuple[str, str, Any]]:
    """Return kind, name and classifier of each named member, or raise."""
    pairs = list(estimators.items()) if isinstance(estimators, Mapping) else estimators
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise TypeError(
            f"estimators={estimators!r}; expected a fitted cascade or ensemble, a list of (name, "
            f"classifier) or a mapping from name to classifier"
        )
    if not pairs:
        raise ValueError(f"estimators={estimators!r} is empty; expected at least one classifier")
    for name, estimator in pairs:
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                f"estimators: {name!r} is a {type(estimator).__name__} without predict_proba; "
                f"expected fitted classifiers that have it"
            )
    return [("alone", name, estimator) for name, estimator in pairs]


def _time_batches(classifiers, X, batch_size: int, n_calls: int) -> list[Latency]:
    """Return the measurements of one batch size, each call on other rows."""
    turns = []
    for call in range(n_calls):
        # The rows of a call, and those of all calls, are spread evenly over X.
        position = np.arange(batch_size) * n_calls + call
        batch = take_rows(X, position * n_rows(X) // (batch_size * n_calls))
        calls = [partial(estimator.predict_proba, batch) for *_, estimator in classifiers]
        turns.append(time_calls(calls, 1, warm_up=call == 0))
    seconds = np.concatenate(turns)
    median, p99 = np.percentile(seconds, [50, 99], axis=0)
    mean = seconds.mean(axis=0)
    slowest = max(m for (kind, *_), m in zip(classifiers, mean, strict=True) if kind == "alone")
    figures = np.column_stack([median, mean, p99, batch_size / mean, slowest / mean]).tolist()
    return [
        Latency(batch_size, len(seconds), kind, name, *row)
        for (kind, name, _), row in zip(classifiers, figures, strict=True)
    ]


def _table(report: LatencyReport) -> Table:
    """Return the report as a table, in blocks by batch size."""
    body: list[list[str] | str] = []
    for (size, n_calls), rows in groupby(report.measurements, key=lambda row: row[:2]):
        body.append(f"batch of {size:,}, {n_calls:,} calls")
        for row in rows:
            seconds = [format_cost(value, "s") for value in (row.median, row.mean, row.p99)]
            rate = row.rows_per_second
            text = format_digits(rate) if rate < 100 else f"{float(f'{rate:.3g}'):,.0f}"
            label = f"{row.kind} {row.name}".strip()
            body.append([label, *seconds, text, f"{row.speedup:.2f}"])
        body.append("")
    remarks = [
        "Warm calls of predict_proba, in turns, on other rows each time.",
        "Rows per second and speedup are from the mean; speedup is against the slowest alone.",
    ]
    if min(row.n_repeats for row in report.measurements) < 100:
        remarks.append("Of fewer than 100 calls the p99 is nearly the slowest.")
    title = f"Time of a call, batches from {report.n_samples:,} rows, {report.n_threads} thread(s)"
    return Table(title, _HEADER, body, remarks)
