"""Side by side: LightGBM's own early stop within one model, and a cascade of two of its lengths."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import Contestant, Fitted, Task
from sklearn_cascade import CascadeClassifier, PrefitClassifier

PACKAGE, EXTRA = "lightgbm", "boosters"
FREQUENCY = 10
MARGINS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)


def contestants(task: Task):
    """Return the lines of one LightGBM model, the same for all of them."""
    from lightgbm import LGBMClassifier

    rounds = 40 if task.n_levels < 10 else 400
    model = LGBMClassifier(
        n_estimators=rounds, learning_rate=0.05, num_leaves=15, n_jobs=1, random_state=0, verbose=-1
    ).fit(*task.train)
    yield Contestant(f"LightGBM, {rounds} rounds", lambda task: _whole(model))
    yield Contestant("LightGBM early stop, default margin", lambda task: _stopping(model, 10.0))
    yield Contestant("LightGBM early stop, margin tuned", lambda task: _tuned(model, task))
    yield Contestant("**ours** cascade, 1/10 of it and all", lambda task: _cascade(model, task))


def _whole(model):
    """Return all rounds."""
    rounds = float(model.n_estimators_)
    return Fitted(model.predict, model.predict_proba, paid=lambda X: rounds, unit="rounds")


def _stopping(model, margin):
    """Return the model that leaves a row at this margin, looked at every few rounds."""
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
    """Take the smallest margin that loses no accuracy on the tuning rows: nothing tunes it."""
    X, y = task.tune
    wanted = np.mean(model.predict(X) == y)
    for margin in MARGINS:
        stopping = _stopping(model, margin)
        if np.mean(stopping.predict(X) == y) >= wanted:
            break
    return stopping


def _rounds_run(model, X, margin, early):
    """Count the rounds that each row took, by a replay that has to give the same answer."""
    total, answer = model.n_estimators_, None
    stopped = np.full(len(X), total)
    for rounds in range(FREQUENCY, total + 1, FREQUENCY):
        raw = model.predict(X, raw_score=True, num_iteration=rounds)
        answer = raw.copy() if answer is None else answer
        running = stopped == total
        answer[running] = raw[running]
        stopped[running & (_margin(raw) > margin)] = rounds
    if not np.allclose(answer, model.predict(X, raw_score=True, **early), rtol=1e-9, atol=1e-9):
        raise AssertionError("the replay of the early stop gives another answer")
    return float(stopped.mean())


def _margin(raw):
    """Return LightGBM's margin: twice the distance from zero, or first minus second score."""
    if raw.ndim == 1:
        return 2 * np.abs(raw)
    best = np.partition(raw, -2, axis=1)
    return best[:, -1] - best[:, -2]


def _cascade(model, task):
    """Tune a cascade of the first tenth and the whole; who goes on pays for both."""
    rounds = model.n_estimators_
    head = rounds // 10
    run = [0, 0]

    def first(X):
        run[0] += len(X)
        return model.predict_proba(X, num_iteration=head)

    def whole(X):
        run[1] += len(X)
        return model.predict_proba(X)

    members = [
        ("head", PrefitClassifier(first, model.classes_, cost=head)),
        ("whole", PrefitClassifier(whole, model.classes_, cost=rounds)),
    ]
    cascade = CascadeClassifier(members, combine="last").fit(*task.tune)

    def paid(X):
        run[:] = [0, 0]
        cascade.predict(X)
        return float(np.dot(run, [head, rounds]) / len(X))

    return Fitted(
        cascade.predict, cascade.predict_proba, cascade.cross_fitted_cost_, paid=paid, unit="rounds"
    )
