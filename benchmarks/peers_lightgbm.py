"""LightGBM for the comparison with peers: its own early stop, and a cascade of two lengths."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import Fitted, Method, Task
from sklearn_cascade import CascadeClassifier, PrefitClassifier

PACKAGE, EXTRA = "lightgbm", "boosters"
FREQUENCY = 10
MARGINS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)


def methods(task: Task):
    """Yield the methods of one LightGBM model, the same for all of them."""
    from lightgbm import LGBMClassifier

    rounds = 40 if task.n_levels < 10 else 400
    model = LGBMClassifier(
        n_estimators=rounds, learning_rate=0.05, num_leaves=15, n_jobs=1, random_state=0, verbose=-1
    ).fit(*task.train)
    yield Method(f"LightGBM, {rounds} rounds", lambda task: _full(model))
    yield Method("LightGBM early stop, default margin", lambda task: _stopping(model, 10.0))
    yield Method("LightGBM early stop, margin tuned", lambda task: _tuned(model, task))
    yield Method("**ours** cascade, 1/10 of it and all", lambda task: _cascade(model, task))


def _full(model):
    """Return the model with all rounds."""
    rounds = float(model.n_estimators_)
    return Fitted(model.predict, model.predict_proba, paid=lambda X: rounds, unit="rounds")


def _stopping(model, margin):
    """Return the model that stops a row at this margin, checked every few rounds."""
    early = {
        "pred_early_stop": True,
        "pred_early_stop_freq": FREQUENCY,
        "pred_early_stop_margin": margin,
    }
    return Fitted(
        lambda X: model.predict(X, **early),
        lambda X: model.predict_proba(X, **early),
        paid=lambda X: _rounds_run(model, X, margin, early),
        unit="rounds",
        note=f"margin {margin:g}",
    )


def _tuned(model, task):
    """Take the smallest margin that loses no accuracy on the tuning rows: LightGBM tunes none."""
    X, y = task.tune
    wanted = np.mean(model.predict(X) == y)
    for margin in MARGINS:
        stopping = _stopping(model, margin)
        if np.mean(stopping.predict(X) == y) >= wanted:
            break
    return stopping


def _rounds_run(model, X, margin, early):
    """Return the mean rounds of a row, by a replay that has to give the same scores."""
    total, scores = model.n_estimators_, None
    stopped = np.full(len(X), total)
    for rounds in range(FREQUENCY, total + 1, FREQUENCY):
        raw = model.predict(X, raw_score=True, num_iteration=rounds)
        scores = raw.copy() if scores is None else scores
        open_rows = stopped == total
        scores[open_rows] = raw[open_rows]
        stopped[open_rows & (_margin(raw) > margin)] = rounds
    if not np.allclose(scores, model.predict(X, raw_score=True, **early), rtol=1e-9, atol=1e-9):
        raise AssertionError("the replay of the early stop gives other scores")
    return float(stopped.mean())


def _margin(raw):
    """Return LightGBM's margin: twice the distance from zero, or first minus second score."""
    if raw.ndim == 1:
        return 2 * np.abs(raw)
    best = np.partition(raw, -2, axis=1)
    return best[:, -1] - best[:, -2]


def _cascade(model, task):
    """Tune a cascade of the first tenth and all rounds; deferred rows pay for both."""
    rounds = model.n_estimators_
    head = rounds // 10
    n_rows = [0, 0]

    def first(X):
        n_rows[0] += len(X)
        return model.predict_proba(X, num_iteration=head)

    def full(X):
        n_rows[1] += len(X)
        return model.predict_proba(X)

    members = [
        ("head", PrefitClassifier(first, model.classes_, cost=head)),
        ("full", PrefitClassifier(full, model.classes_, cost=rounds)),
    ]
    cascade = CascadeClassifier(members, combine="last").fit(*task.tune)

    def paid(X):
        n_rows[:] = [0, 0]
        cascade.predict(X)
        return float(np.dot(n_rows, [head, rounds]) / len(X))

    return Fitted(
        cascade.predict, cascade.predict_proba, cascade.cross_fitted_cost_, paid=paid, unit="rounds"
    )
