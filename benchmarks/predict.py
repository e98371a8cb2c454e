"""A cascade's overhead over the time of its members: one row, a batch, import, tuning."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from time import perf_counter

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import threadpool_limits

from benchmarks.tables import print_header, print_line
from sklearn_cascade import CascadeClassifier

COLUMNS = ["figure", "members alone", "with sklearn-cascade", "difference", "ratio", "bound"]
HEAVY = ("onnx", "onnxruntime", "skl2onnx", "pandas", "matplotlib")


def run(*, quick=False):
    """Print the four figures, each with its bound.

    Predictions are timed on one thread: threads of members that wait for a busy core would hide
    differences this small.
    """
    print_header(COLUMNS)
    with threadpool_limits(1):
        one_row(n_repeats=50 if quick else 3000)
        batch(n_samples=500 if quick else 10_000, n_repeats=2 if quick else 40)
    importing(n_repeats=1 if quick else 9)
    tuning(n_samples=300 if quick else 20_000)


def one_row(n_repeats):
    """Time one row through two stages of about 100 µs each."""
    X, y = make_classification(500, 20, random_state=0)
    first, second = LogisticRegression().fit(X, y), LogisticRegression(C=0.1).fit(X, y)
    cascade = _frozen_cascade([first, second], thresholds=np.inf).fit(X, y)
    row = X[:1]

    def members():
        first.predict_proba(row)
        second.predict_proba(row)

    alone, together = paired_medians(members, lambda: cascade.predict_proba(row), n_repeats)
    _print("one row, two stages", alone, together, 1e6, "µs", "difference <= 15 µs")


def batch(n_samples, n_repeats):
    """Time a batch against the members' own time on the rows that reach them."""
    X, y = make_classification(
        2 * n_samples, 30, n_informative=12, n_classes=6, class_sep=1.5, random_state=0
    )
    fit, rows = (X[n_samples:], y[n_samples:]), X[:n_samples]
    members = [
        LogisticRegression(max_iter=500),
        HistGradientBoostingClassifier(max_iter=50, random_state=0),
        ExtraTreesClassifier(100, random_state=0),
    ]
    members = [member.fit(*fit) for member in members]
    cascade = _frozen_cascade(members, thresholds=0.7).fit(*fit)
    exit_stage = cascade.predict_details(rows).exit_stage
    parts = [rows[exit_stage >= k] for k in range(3)]

    def members_alone():
        for member, part in zip(members, parts, strict=True):
            member.predict_proba(part)

    alone, together = paired_medians(members_alone, lambda: cascade.predict_proba(rows), n_repeats)
    reached = " / ".join(f"{len(part):,}" for part in parts)
    _print(f"rows {reached} in three stages", alone, together, 1e3, "ms", "ratio <= 1.03")


def importing(n_repeats):
    """Time the import on top of scikit-learn's own ensemble module."""
    base = "import time; start = time.perf_counter(); import sklearn.ensemble; "
    base += "print(time.perf_counter() - start)"
    code = (
        "import sys, time, sklearn.ensemble; before = set(sys.modules); "
        "start = time.perf_counter(); import sklearn_cascade; "
        "print(time.perf_counter() - start); "
        f"print(*sorted({set(HEAVY)!r} & (set(sys.modules) - before)))"
    )
    _python(code)  # writes the bytecode, as an installation would
    alone = median(float(_python(base)[0]) for _ in range(n_repeats))
    runs = [_python(code) for _ in range(n_repeats)]
    extra = median(float(run[0]) for run in runs)
    heavy = runs[0][1] or "none"
    bound = f"difference <= 20 ms; heavy modules added: {heavy}"
    _print("import", alone, alone + extra, 1e3, "ms", bound)


def tuning(n_samples):
    """Time everything in fit but the members' own fit and predict_proba."""
    X, y = make_classification(
        n_samples, 20, n_informative=10, n_classes=5, class_sep=1.5, random_state=0
    )
    members = [
        ("nb", Stopwatch(GaussianNB())),
        ("lr", Stopwatch(LogisticRegression(max_iter=300))),
        ("trees", Stopwatch(ExtraTreesClassifier(20, min_samples_leaf=5, random_state=0))),
    ]
    cascade = CascadeClassifier(members, costs=[1, 2, 50], cv=5)
    Stopwatch.seconds = 0.0
    start = perf_counter()
    cascade.fit(X, y)
    total = perf_counter() - start
    label = f"fit, 'auto', 3 members, 5 folds, {n_samples:,} rows"
    _print(label, Stopwatch.seconds, total, 1e3, "ms", "difference < 300 ms")


class Stopwatch(ClassifierMixin, BaseEstimator):
    """A classifier that adds up the seconds it spends fitting and predicting."""

    seconds = 0.0

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        start = perf_counter()
        self.estimator_ = clone(self.estimator).fit(X, y)
        self.classes_ = self.estimator_.classes_
        Stopwatch.seconds += perf_counter() - start
        return self

    def predict_proba(self, X):
        start = perf_counter()
        proba = self.estimator_.predict_proba(X)
        Stopwatch.seconds += perf_counter() - start
        return proba


def _frozen_cascade(members, thresholds):
    """Return a cascade of fitted members, used as they are."""
    named = [(f"m{k}", FrozenEstimator(member)) for k, member in enumerate(members)]
    return CascadeClassifier(named, thresholds=thresholds)


def paired_medians(first, second, n_repeats):
    """Return the median seconds of two calls, taken in turns."""
    times = ([], [])
    first(), second()
    for turn in range(n_repeats):
        # Each goes first as often: the second call may find warm caches.
        calls = [(first, times[0]), (second, times[1])]
        for call, seconds in calls[:: 1 if turn % 2 else -1]:
            start = perf_counter()
            call()
            seconds.append(perf_counter() - start)
    return median(times[0]), median(times[1])


def _python(code):
    """Return the lines that a new interpreter prints."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return done.stdout.splitlines()


def _print(figure, alone, together, scale, unit, bound):
    """Print one line of the table."""
    cells = [f"{x * scale:.1f} {unit}" for x in (alone, together, together - alone)]
    print_line([figure, *cells, f"{together / alone:.3f}", bound])
