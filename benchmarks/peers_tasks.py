"""Data sets and fitted members for the comparison with peers, and the parts of a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import process_time
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.forests import diamonds, late

PRICES = np.array([1.0, 2.0, 3.0])
# A budget per row, as a share of the cost of all members: low enough to bind.
SHARE = 1 / 5
# Share of the rows on which the last member's label is to be kept.
AGREEMENT = 0.95


class Counted(ClassifierMixin, BaseEstimator):
    """A fitted classifier that counts the rows it predicts; `clone` returns the same object."""

    def __init__(self, estimator):
        self.estimator = estimator
        self.classes_ = estimator.classes_
        # A list, since `append` is safe if a peer calls from many threads at once.
        self.calls = []

    def __sklearn_clone__(self):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        """Do nothing: the members are the same for everyone."""
        return self

    def predict_proba(self, X):
        """Return the probabilities of X and count its rows."""
        self.calls.append(len(X))
        return self.estimator.predict_proba(X)

    def predict(self, X):
        """Return the labels of X and count its rows."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@dataclass(frozen=True)
class Task:
    """One data set, its members fitted, its labels the codes 0, 1, ..."""

    name: str
    train: tuple
    tune: tuple
    test: tuple
    members: list
    costs: np.ndarray
    unit: str
    micros: np.ndarray
    n_levels: int

    @property
    def budget(self) -> float:
        """Mean cost per row that methods with a budget may spend."""
        return float(SHARE * self.costs.sum())

    @property
    def levels(self) -> np.ndarray:
        """Thresholds that grids try: scikit-fallback's own, from 1 / n_classes to 0.95."""
        return np.linspace(1 / len(np.unique(self.train[1])), 0.95, self.n_levels)

    def reset_counts(self):
        """Set the counts of all members to zero."""
        for _, member in self.members:
            member.calls.clear()

    def paid(self, n_rows) -> tuple[float, float]:
        """Return the mean cost of `n_rows` rows since the last reset, and its half interval.

        The interval assumes that rows of one member are among the rows of each member with more
        rows, as in a cascade.
        """
        shares = np.array([sum(member.calls) for _, member in self.members]) / n_rows
        order = np.argsort(-shares)
        shares, costs = shares[order], np.cumsum(self.costs[order])
        parts = shares - np.append(shares[1:], 0.0)
        mean = float(np.dot(parts, costs))
        variance = max(0.0, float(np.dot(parts, costs**2)) - mean**2)
        return mean, 1.96 * np.sqrt(variance / n_rows)


class Outcome(NamedTuple):
    """The results of a method on the test rows; means come with half their 95 % interval."""

    labels: np.ndarray
    truth: np.ndarray
    paid: tuple[float, float]
    micros: float


class Guarantee(NamedTuple):
    """The limit that a method has to keep, and how it is measured on the test rows."""

    text: str
    limit: float
    at_most: bool
    measure: Callable[[Outcome], tuple[float, float]]

    def describe(self, outcome: Outcome) -> str:
        """Return the measured figure, and whether it keeps the limit."""
        value, half = self.measure(outcome)
        beyond = value - self.limit if self.at_most else self.limit - value
        verdict = "" if beyond <= 0 else " **missed**" if beyond > half else " (over, maybe chance)"
        return f"{value:.4g}{f' ± {half:.2g}' if half else ''}{verdict}"


@dataclass(frozen=True)
class Fitted:
    """A method ready to predict.

    `paid` is a function of the test rows that returns the cost of a row if the members' counts do
    not give it; `micros` and `seconds` are the times if another process took them.
    """

    predict: Callable
    predict_proba: Callable | None = None
    claimed: float | None = None
    guarantee: Guarantee | None = None
    paid: Callable | None = None
    unit: str | None = None
    micros: float | None = None
    seconds: float | None = None
    note: str = ""


class Method(NamedTuple):
    """A line of the table: its name, and the function that fits the method for a task."""

    name: str
    fit: Callable[[Task], Fitted]


def within_budget(limit) -> Guarantee:
    """Return the guarantee of a mean cost per row."""
    return Guarantee(f"cost <= {limit:.4g}", limit, True, lambda outcome: outcome.paid)


def within_micros(limit) -> Guarantee:
    """Return the guarantee of microseconds per row."""
    return Guarantee(f"µs <= {limit:.4g}", limit, True, lambda outcome: (outcome.micros, 0.0))


def loses_at_most(limit, labels) -> Guarantee:
    """Return the guarantee of an accuracy loss against these labels of the test rows."""
    return Guarantee(
        f"accuracy lost <= {limit:.3f}",
        limit,
        True,
        lambda o: _mean((labels == o.truth) * 1.0 - (o.labels == o.truth)),
    )


def at_least_accurate(limit) -> Guarantee:
    """Return the guarantee of an accuracy."""
    text = f"accuracy >= {limit:.3f}"
    return Guarantee(text, limit, False, lambda o: _mean(o.labels == o.truth))


def agrees_with(limit, labels) -> Guarantee:
    """Return the guarantee of an agreement with these labels of the test rows."""
    text = f"agreement >= {limit:.3f}"
    return Guarantee(text, limit, False, lambda o: _mean(o.labels == labels))


def _mean(values) -> tuple[float, float]:
    """Return the mean and half its 95 % interval."""
    return float(np.mean(values)), float(1.96 * np.std(values) / np.sqrt(len(values)))


def make_tasks(quick):
    """Yield every task, its members fitted."""
    yield _task("breast cancer", *load_breast_cancer(return_X_y=True), (200, 169), quick, PRICES)
    X, y = load_digits(return_X_y=True)
    if quick:
        X, y = X[:700], y[:700]
    yield _task("digits", X, y, (250, 200) if quick else (700, 500), quick, PRICES)
    if quick:
        return
    X, y = make_classification(
        15_000, 30, n_informative=12, n_classes=6, class_sep=1.5, random_state=0
    )
    yield _task("synthetic", X, y, (6000, 4000), quick)
    for table in (diamonds, late):
        try:
            name, X, y, _ = table()
        except SystemExit as missing:
            print(f"{table.__name__} left out: {missing}\n", flush=True)
            continue
        yield _task(name, X, y, (8000, 4000), quick)


def _task(name, X, y, sizes, quick, prices=None):
    """Split the rows, fit the members, and time them."""
    y = np.unique(y, return_inverse=True)[1]
    n_train, n_tune = sizes
    X, X_rest, y, y_rest = train_test_split(X, y, train_size=n_train, random_state=0, stratify=y)
    tune, test = (X_rest[:n_tune], y_rest[:n_tune]), (X_rest[n_tune:], y_rest[n_tune:])
    test = tuple(part[:5000] for part in test)
    members = [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))),
        ("boosting", HistGradientBoostingClassifier(max_iter=10 if quick else 100, random_state=0)),
        ("trees", ExtraTreesClassifier(20 if quick else 300, random_state=0)),
    ]
    fitted = [(label, member.fit(X, y)) for label, member in members]
    micros = np.array([_micros(member, tune[0]) for _, member in fitted])
    task = Task(name, (X, y), tune, test, [], micros, "µs", micros, 3 if quick else 10)
    task = replace(task, members=[(label, Counted(member)) for label, member in fitted])
    return task if prices is None else replace(task, costs=prices, unit="credits")


def _micros(member, X):
    """Return the median microseconds of the processor per row, after one call to warm up."""
    times = []
    member.predict_proba(X)
    for _ in range(5):
        start = process_time()
        member.predict_proba(X)
        times.append(process_time() - start)
    return median(times) / len(X) * 1e6
