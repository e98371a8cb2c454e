"""Measured cost of a row: seconds, with the conditions they were taken under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from time import perf_counter

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_cascade._compat import n_rows, take_rows


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
