"""MAPIE for the comparison with peers: control of the accuracy of a cascade by its thresholds."""

from __future__ import annotations

from itertools import product

import numpy as np

from benchmarks.peers_tasks import Fitted, Method, Task, at_least_accurate

PACKAGE, EXTRA = "mapie", "bench"


def methods(task: Task):
    """Yield MAPIE's methods: one point and two below the last member's accuracy."""
    for points, allowed in (("1 point", 0.01), ("2 points", 0.02)):
        yield Method(f"MAPIE, {points}", lambda task, allowed=allowed: _control(task, allowed))


def _control(task, allowed):
    """Control the accuracy at 90 %, and take the cheapest of the valid thresholds.

    MAPIE has no costs: its own choice among valid thresholds is the most accurate. It takes a
    target and no reference model, so the target is computed on the calibration rows.
    """
    from mapie.risk_control import BinaryClassificationController, accuracy

    X, y = task.tune
    last = task.members[-1][1]
    target = float(np.mean(last.predict(X) == y)) - allowed
    levels = np.linspace(task.levels[0], 1, task.n_levels)
    vectors = np.array(list(product(levels, repeat=2)))
    if len(np.unique(task.train[1])) > 2:
        return _control_classes(task, target, vectors, accuracy)
    controller = BinaryClassificationController(
        lambda X, *thresholds: _cascade(task.members, X, thresholds),
        risk=accuracy,
        target_level=target,
        list_predict_params=vectors,
    ).calibrate(X, y)
    return _cheapest(task, controller, target)


def _control_classes(task, target, vectors, accuracy):
    """Do the same for more than two classes."""
    from mapie.risk_control import MultiClassificationLTTController

    controller = MultiClassificationLTTController(
        lambda X, *thresholds: _cascade(task.members, X, thresholds),
        [accuracy],
        [target],
        list_predict_params=vectors,
        classes=np.unique(task.train[1]),
    ).calibrate(*task.tune)
    return _cheapest(task, controller, target)


def _cheapest(task, controller, target):
    """Return the controller with the valid thresholds that pay least on the calibration rows."""
    if controller.best_predict_param is None:
        raise ValueError("no thresholds keep the accuracy at this confidence")
    found = []
    for thresholds in controller.valid_predict_params:
        task.reset_counts()
        _cascade(task.members, task.tune[0], thresholds)
        found.append((task.paid(len(task.tune[0]))[0], tuple(thresholds)))
    controller.best_predict_param = min(found)[1]
    return Fitted(controller.predict, guarantee=at_least_accurate(target))


def _cascade(members, X, thresholds):
    """Predict as a cascade with ``combine="last"``."""
    labels, left = np.zeros(len(X), dtype=int), np.arange(len(X))
    for (_, member), threshold in zip(members, [*thresholds, -np.inf], strict=True):
        if len(left) == 0:
            break
        proba = member.predict_proba(X[left])
        labels[left] = proba.argmax(axis=1)
        left = left[proba.max(axis=1) < threshold]
    return labels
