"""Measured cost of a row: seconds, with the conditions they were taken under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from numbers import Integral
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_cascade._compat import import_optional, n_rows, take_rows
from sklearn_cascade.inspection._tables import Table, format_cost, format_digits

if TYPE_CHECKING:
    import pandas

# By default a batch size is timed over this many rows, within these bounds of calls.
_ROWS_TIMED = 2000
_FEWEST_CALLS, _MOST_CALLS = 20, 200
_HEADER = ["", "median", "mean", "p99", "rows per second", "speedup"]


class MeasuredCosts(Mapping):
    """Seconds per row of each member, by name; goes as it is into ``costs=``.

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

    Each member answers one batch of rows, spread evenly over X, once to warm up and
    then `n_repeats` times; the median counts. The batch size matters: one row at a time
    costs far more per row than a thousand together.

    Parameters
    ----------
    estimators : list of (str, classifier), mapping from name to classifier, or fitted committee
        Fitted classifiers with ``predict_proba``.
    X : array-like or object with n_samples rows
        Rows like those to come.
    batch_size : int, default=1000
        Rows in the batch; fewer where X has fewer.
    n_repeats : int, default=5
        Timed calls.
    n_threads : int or None, default=1
        Threads that native libraries (BLAS, OpenMP) may use meanwhile. One thread measures the
        compute of a row, and keeps other work on the machine out of it; None leaves them as
        they are. Members with ``n_jobs`` of their own are not held by it.

    Returns
    -------
    costs : MeasuredCosts
        Mapping from name to seconds per row, with its unit and conditions; accepted as
        ``costs=`` by the committees.

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
    batch = take_rows(X, np.linspace(0, n_rows(X) - 1, n_batch).astype(int))
    with threadpool_limits(n_threads):
        seconds = _median_seconds(estimators, batch, n_repeats)
    conditions = {
        "batch_size": n_batch,
        "n_repeats": n_repeats,
        "n_threads": n_threads or _n_threads(),
    }
    return MeasuredCosts({name: time / n_batch for name, time in seconds.items()}, conditions)


def _check_at_least_one(**values) -> None:
    """Raise for the first parameter that is below one."""
    for parameter, value in values.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{parameter}={value!r}; expected an integer of at least 1")


def _median_seconds(estimators, batch, n_repeats: int) -> dict[str, float]:
    """Return the median time of a warm call of each, taken in turns.

    In turns, so that a busy moment of the machine falls on all of them and not on one.
    """
    times: dict[str, list[float]] = {name: [] for name, _ in estimators}
    for _, estimator in estimators:
        estimator.predict_proba(batch)
    for _ in range(n_repeats):
        for name, estimator in estimators:
            start = perf_counter()
            estimator.predict_proba(batch)
            times[name].append(perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


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
class LatencyReport:
    """How long a call of each classifier takes, at several batch sizes.

    Returned by `latency_report`. Prints as a table; in a notebook shows as one.

    Attributes
    ----------
    n_samples : int
        Rows that the batches were taken from.
    n_threads : int
        Threads that native libraries might use.
    measurements : tuple of named tuple
        One for each batch size and classifier: `batch_size`; `n_repeats`, the number of timed
        calls; `kind` ("alone", "no early exit", "cascade" or "ensemble"); `name` of the
        member, empty for what runs all of them; `median`, `mean` and `p99`, seconds of a call;
        `rows_per_second`; and `speedup` against the slowest alone at that batch size. The last
        two are from the mean: a cascade is quick for most rows and slow for some, which the
        median of single rows does not show. Of fewer than 100 calls the p99 is nearly the
        slowest.

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

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a pandas DataFrame."""
        pandas = import_optional("pandas", feature="LatencyReport.to_frame")
        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        return _table(self).to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _table(self).to_html()


def latency_report(
    estimators, X, *, batch_sizes=(1, 32, 1000), n_repeats=None, n_threads=1
) -> LatencyReport:
    """Time calls of members and their committee at several batch sizes.

    Small batches are how an online service is asked, large ones how a table is worked off. The
    classifiers are warmed first and then called in turns. Each call brings other rows, since
    the time of a cascade depends on them, spread evenly over X and the same for all.

    Parameters
    ----------
    estimators : fitted committee, list of (str, classifier) or mapping from name to classifier
        A `CascadeClassifier` or `AveragingEnsemble` is timed beside each of its members alone,
        a cascade also without early exit; of a list or mapping, just the classifiers in it.
    X : array-like or object with n_samples rows
        Rows like those to come, best not those of the fit.
    batch_sizes : iterable of int, default=(1, 32, 1000)
        Rows in a call, at most n_samples.
    n_repeats : int or None, default=None
        Timed calls of each classifier at each batch size. None: as many as 2,000 rows take, but
        20 at least and 200 at most.
    n_threads : int or None, default=1
        Threads that native libraries (BLAS, OpenMP) may use meanwhile; None leaves them as
        they are. Classifiers with ``n_jobs`` of their own are not held by it.

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
    CascadeClassifier.cost_report : What rows cost, and how good the answers are.

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
    contestants = _contestants(estimators)
    (X,) = indexable(X)
    if n_rows(X) == 0:
        raise ValueError("X has 0 rows; at least one is needed to time a call")
    sizes = _cut_sizes(batch_sizes, n_rows(X))
    counts = {"n_repeats": n_repeats, "n_threads": n_threads}
    _check_at_least_one(**{name: count for name, count in counts.items() if count is not None})
    measurements = []
    with threadpool_limits(n_threads):
        for size in sizes:
            n_calls = n_repeats or _default_repeats(size)
            seconds = _time_in_turns(contestants, X, size, n_calls)
            measurements += _measurements(contestants, size, seconds)
        n_threads = int(n_threads or _n_threads())
    return LatencyReport(n_rows(X), n_threads, tuple(measurements))


def _contestants(estimators) -> list[tuple[str, str, object]]:
    """Return kind, name and classifier of everything to be timed."""
    if not hasattr(type(estimators), "named_estimators_"):
        return _alone(estimators)
    check_is_fitted(estimators)
    contestants = _alone(estimators.named_estimators_)
    if not hasattr(estimators, "with_thresholds"):
        return [*contestants, ("ensemble", "", estimators)]
    if len(contestants) > 1:
        contestants.append(("no early exit", "", estimators.with_thresholds(np.inf)))
    return [*contestants, ("cascade", "", estimators)]


def _alone(estimators) -> list[tuple[str, str, object]]:
    """Return kind, name and classifier of each that is named, or raise."""
    pairs = list(estimators.items()) if isinstance(estimators, Mapping) else estimators
    if not isinstance(pairs, list | tuple) or not all(map(_is_pair, pairs)):
        raise TypeError(
            f"estimators={estimators!r}; expected a fitted committee, a list of (name, classifier) "
            f"or a mapping from name to classifier"
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


def _is_pair(value) -> bool:
    """Tell whether a value may be a name with its classifier."""
    return isinstance(value, list | tuple) and len(value) == 2


def _cut_sizes(batch_sizes: Iterable[int], n_samples: int) -> list[int]:
    """Return the batch sizes in the order given, none above the number of rows, each once."""
    sizes = list(batch_sizes) if isinstance(batch_sizes, Iterable) else [batch_sizes]
    if not sizes or any(not isinstance(size, Integral) or size < 1 for size in sizes):
        raise ValueError(f"batch_sizes={batch_sizes!r}; expected integers of at least 1")
    return list(dict.fromkeys(min(int(size), n_samples) for size in sizes))


def _default_repeats(batch_size: int) -> int:
    """Return more calls for small batches, where the 99th percentile is asked for."""
    return int(np.clip(_ROWS_TIMED // batch_size, _FEWEST_CALLS, _MOST_CALLS))


def _time_in_turns(contestants, X, batch_size: int, n_calls: int) -> np.ndarray:
    """Return the seconds of each call: shape (n_calls, n_contestants).

    In turns, so that a busy moment of the machine falls on all of them and not on one.
    """
    seconds = np.empty((n_calls, len(contestants)))
    for _, _, estimator in contestants:
        estimator.predict_proba(take_rows(X, _batch_rows(0, n_calls, batch_size, n_rows(X))))
    for call in range(n_calls):
        batch = take_rows(X, _batch_rows(call, n_calls, batch_size, n_rows(X)))
        for place, (_, _, estimator) in enumerate(contestants):
            start = perf_counter()
            estimator.predict_proba(batch)
            seconds[call, place] = perf_counter() - start
    return seconds


def _batch_rows(call: int, n_calls: int, batch_size: int, n_samples: int) -> np.ndarray:
    """Return the rows of one call, so that they, and those of all calls, are spread evenly."""
    return (np.arange(batch_size) * n_calls + call) * n_samples // (batch_size * n_calls)


def _measurements(contestants, batch_size: int, seconds: np.ndarray) -> list[Latency]:
    """Return the lines of one batch size from seconds of shape (n_calls, n_contestants)."""
    kinds, names, _ = zip(*contestants, strict=True)
    median, p99 = np.percentile(seconds, [50, 99], axis=0)
    mean = seconds.mean(axis=0)
    slowest = max(m for kind, m in zip(kinds, mean, strict=True) if kind == "alone")
    figures = np.column_stack([median, mean, p99, batch_size / mean, slowest / mean]).tolist()
    return [
        Latency(batch_size, len(seconds), kind, name, *row)
        for kind, name, row in zip(kinds, names, figures, strict=True)
    ]


def _title(report: LatencyReport) -> str:
    """Return the line above the table."""
    return f"Time of a call, batches from {report.n_samples:,} rows, {report.n_threads} thread(s)"


def _table(report: LatencyReport) -> Table:
    """Return the report as a table, in blocks by batch size."""
    body: list[list[str] | str] = []
    for (size, n_calls), rows in groupby(report.measurements, key=lambda row: row[:2]):
        body.append(f"batch of {size:,}, {n_calls:,} calls")
        for row in rows:
            seconds = [format_cost(value, "s") for value in (row.median, row.mean, row.p99)]
            rate = row.rows_per_second
            shown = format_digits(rate) if rate < 100 else f"{float(f'{rate:.3g}'):,.0f}"
            label = f"{row.kind} {row.name}".strip()
            body.append([label, *seconds, shown, f"{row.speedup:.2f}"])
        body.append("")
    return Table(_title(report), _HEADER, body, _remarks(report))


def _remarks(report: LatencyReport) -> list[str]:
    """Return the sentences below the table."""
    lines = [
        "Warm calls of predict_proba, in turns, on other rows each time.",
        "Rows per second and speedup are from the mean; speedup is against the slowest alone.",
    ]
    if min(row.n_repeats for row in report.measurements) < 100:
        lines.append("Of fewer than 100 calls the p99 is nearly the slowest.")
    return lines
