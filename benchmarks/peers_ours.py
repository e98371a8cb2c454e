"""sklearn-cascade in the comparison with peers: same members, rows and budgets as the others."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import (
    AGREEMENT,
    Fitted,
    Method,
    Task,
    agrees_with,
    loses_at_most,
    within_budget,
)
from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CascadeSearchCV


def methods(task: Task):
    """Yield this package's methods."""
    yield Method("**ours** AveragingEnsemble", _average)
    yield Method("**ours** CascadeClassifier", _cascade)
    yield Method("**ours** CascadeSearchCV", _search)
    yield Method("**ours** CascadeSearchCV, budget", _search_within)
    yield Method("**ours** certify, 1 point", lambda task: _certify(task, 0.01))
    yield Method("**ours** certify, 2 points", lambda task: _certify(task, 0.02))
    yield Method("**ours** certify agreement, first and last member", _agree)


def _average(task):
    """Average all members."""
    model = AveragingEnsemble(task.members, costs=task.costs).fit(*task.tune)
    return Fitted(model.predict, model.predict_proba, claimed=task.costs.sum())


def _cascade(task):
    """Tune the thresholds of one cascade, with the defaults."""
    model = CascadeClassifier(task.members, costs=task.costs).fit(*task.tune)
    return Fitted(model.predict, model.predict_proba, claimed=model.cross_fitted_cost_)


def _search(task):
    """Search all candidates for the cheapest as good as the best member, the default."""
    model = CascadeSearchCV(task.members, costs=task.costs).fit(*task.tune)
    return Fitted(model.predict, model.predict_proba, claimed=model.cross_fitted_cost_)


def _search_within(task):
    """Search all candidates for the best within the budget."""
    model = CascadeSearchCV(task.members, costs=task.costs, max_cost=task.budget).fit(*task.tune)
    guarantee = within_budget(task.budget)
    return Fitted(model.predict, model.predict_proba, model.cross_fitted_cost_, guarantee)


def _certify(task, epsilon):
    """Certify early exits of one cascade against the cascade without them, at 90 %."""
    cascade = CascadeClassifier(
        task.members, thresholds=np.inf, combine="last", costs=task.costs
    ).fit(*task.train)
    report = cascade.certify(*task.tune, epsilon=epsilon, delta=0.1)
    model = cascade.with_thresholds(report)
    guarantee = loses_at_most(epsilon, cascade.predict(task.test[0]))
    return Fitted(model.predict, model.predict_proba, report.mean_cost, guarantee)


def _agree(task):
    """Certify exits after the first member where its label agrees with the last member's."""
    first, last = task.members[0], task.members[-1]
    cascade = CascadeClassifier(
        [first, last],
        thresholds=np.inf,
        combine="last",
        costs=[task.costs[0], task.costs[-1]],
    ).fit(*task.train)
    report = cascade.certify(task.tune[0], risk="disagreement", epsilon=1 - AGREEMENT, delta=0.1)
    model = cascade.with_thresholds(report)
    guarantee = agrees_with(AGREEMENT, last[1].predict(task.test[0]))
    return Fitted(model.predict, model.predict_proba, report.mean_cost, guarantee)
