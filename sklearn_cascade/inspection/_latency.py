"""Measured cost of a row: seconds, with the conditions they were taken under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter

import numpy as np
from sklearn.utils import indexable

from sklearn_cascade._compat import n_rows, take_rows


class MeasuredCosts(Mapping):
    """Seconds per row of each member, by name; goes as it is into ``costs=``.

    Parameters
    ----------
    seconds : dict from str to float
        Seconds per row.
    conditions : dict
        ``batch_size``, ``n_repeats``, ``n_rows``, ``n_threads``.

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


def measure_costs(estimators, X, *, batch_size=1000, n_repeats=5) -> MeasuredCosts:
    """Measure how many seconds each fitted classifier takes for one row.

    Each member answers one batch of rows, spread evenly over X, once to warm up and
    then `n_repeats` times; the median counts. The batch size matters: one row at a time
    costs far more per row than a thousand together.

    Parameters
    ----------
    estimators : list of (str, classifier), or a fitted committee
        Fitted classifiers with ``predict_proba``.
    X : array-like or object with n_samples rows
        Rows like those to come.
    batch_size : int, default=1000
        Rows in the batch; fewer where X has fewer.
    n_repeats : int, default=5
        Timed calls.

    Returns
    -------
    costs : MeasuredCosts
        Mapping from name to seconds per row, with its unit and conditions; accepted as
        ``costs=`` by the committees.

    Raises
    ------
    ValueError
        If X has no rows, or `batch_size` or `n_repeats` is below 1.

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
    for parameter, value in (("batch_size", batch_size), ("n_repeats", n_repeats)):
        if value < 1:
            raise ValueError(f"{parameter}={value!r}; expected an integer of at least 1")
    if hasattr(estimators, "named_estimators_"):
        estimators = list(estimators.named_estimators_.items())
    (X,) = indexable(X)
    if n_rows(X) == 0:
        raise ValueError("X has 0 rows; at least one is needed to measure the costs")
    n_batch = min(batch_size, n_rows(X))
    batch = take_rows(X, np.linspace(0, n_rows(X) - 1, n_batch).astype(int))
    seconds = {
        name: _median_seconds(estimator, batch, n_repeats) / n_batch
        for name, estimator in estimators
    }
    conditions = {
        "batch_size": n_batch,
        "n_repeats": n_repeats,
        "n_rows": n_batch,
        "n_threads": _n_threads(),
    }
    return MeasuredCosts(seconds, conditions)


def _median_seconds(estimator, batch, n_repeats: int) -> float:
    """Return the median time of a warm call."""
    estimator.predict_proba(batch)
    times = []
    for _ in range(n_repeats):
        start = perf_counter()
        estimator.predict_proba(batch)
        times.append(perf_counter() - start)
    return float(np.median(times))


def _n_threads() -> int:
    """Return the most threads that a native library may use here."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)
