"""CascadeSearchCV against other searches of thresholds: same members, rows and grid, one run."""

from __future__ import annotations

import warnings
from itertools import product
from time import perf_counter

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from benchmarks.tables import print_header, print_line
from sklearn_cascade import CascadeClassifier, CascadeSearchCV, make_cost_scorer

COSTS = [0.2, 6.5, 65.0]


def run(*, quick=False):
    """Print the seconds of each search's fit, for one grid of thresholds over three members."""
    n_samples, n_levels = (400, 3) if quick else (4000, 15)
    X, y = make_classification(
        2 * n_samples, 30, n_informative=12, n_classes=6, class_sep=1.5, random_state=0
    )
    members = [
        LogisticRegression(max_iter=500),
        HistGradientBoostingClassifier(max_iter=20 if quick else 100, random_state=0),
        ExtraTreesClassifier(20 if quick else 300, random_state=0),
    ]
    fitted = [member.fit(X[n_samples:], y[n_samples:]) for member in members]
    named = [(f"m{k}", FrozenEstimator(member)) for k, member in enumerate(fitted)]
    X, y = X[:n_samples], y[:n_samples]
    levels = np.linspace(1 / 6, 0.95, n_levels)
    print_header(["search", "vectors", "seconds", "ratio to ours", "score", "mean cost paid"])
    with threadpool_limits(1):
        ours = _ours(named, X, y, n_levels)
        for baseline in (_grid_search, _scikit_fallback):
            baseline(named, X, y, levels, ours)


def _ours(named, X, y, n_levels):
    """Time CascadeSearchCV; it also tries every set of members and every combination."""
    search = CascadeSearchCV(named, costs=COSTS, n_thresholds=n_levels)
    start = perf_counter()
    search.fit(X, y)
    seconds = perf_counter() - start
    name = f"CascadeSearchCV, all cascades and ensembles, {n_levels} quantiles, with cv=5"
    _print(name, search.n_evaluated_, seconds, seconds, search.best_score_, search.best_cost_)
    return seconds


def _grid_search(named, X, y, levels, ours):
    """Time scikit-learn's own search over the thresholds of one cascade."""
    cascade = CascadeClassifier(named, thresholds=0.5, combine="last", costs=COSTS)
    vectors = [list(vector) for vector in product(levels, repeat=2)]
    scorer = make_cost_scorer(multimetric=True)
    search = GridSearchCV(cascade, {"thresholds": vectors}, scoring=scorer, refit="utility")
    start = perf_counter()
    search.fit(X, y)
    seconds = perf_counter() - start
    cost = -search.cv_results_["mean_test_neg_cost"][search.best_index_]
    _print("GridSearchCV(CascadeClassifier)", len(vectors), seconds, ours, search.best_score_, cost)


def _scikit_fallback(named, X, y, levels, ours):
    """Time scikit-fallback's search, if it is installed."""
    try:
        from skfb.ensemble import ThresholdCascadeClassifierCV
    except ImportError:
        print_line(["scikit-fallback", "not installed", "", "", "", ""])
        return
    search = ThresholdCascadeClassifierCV(
        [model for _, model in named], costs=COSTS, cv_thresholds=levels, strategy="min_score"
    )
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X, y)
    seconds = perf_counter() - start
    # Scored like the others: all members are fitted already, so these rows are held out.
    chosen = np.asarray(search.best_thresholds_, dtype=float).ravel()[:2]
    cascade = CascadeClassifier(named, thresholds=chosen, combine="last", costs=COSTS).fit(X, y)
    report = cascade.cost_report(X, y, compare=False)
    figures = (report.score, report.mean_cost)
    _print("scikit-fallback's CV", len(levels) ** 2, seconds, ours, *figures)


def _print(name, n_vectors, seconds, ours, score, cost):
    """Print one line of the table."""
    figures = f"{seconds:.2f}", f"{seconds / ours:.1f}", f"{score:.4f}", f"{cost:.2f}"
    print_line([name, f"{n_vectors:,}", *figures])
