"""Side by side: this package, the same members, rows and budgets as everyone."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import (
    AGREEMENT,
    Contestant,
    Fitted,
    Task,
    agrees_with,
    loses_at_most,
    within_budget,
)
from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CascadeSearchCV


def contestants(task: Task):
    """Return this package's lines."""
    yield Contestant("**ours** AveragingEnsemble", _average)
    yield Contestant("**ours** CascadeClassifier", _cascade)
    yield Contestant("**ours** CascadeSearchCV", _search)
    yield Contestant("**ours** CascadeSearchCV, budget", _search_within)
    yield Contestant("**ours** certify, 1 point", lambda task: _certify(task, 0.01))
    yield Contestant("**ours** certify, 2 points", lambda task: _certify(task, 0.02))
    yield Contestant("**ours** certify agreement, first and last member", _agree)


def _average(task):
    """Average all members."""
    model = AveragingEnsemble(task.members, costs=task.costs).fit(*task.tune)
    return Fitted(model.predict, model.predict_proba, claimed=task.costs.sum())


def _cascade(task):
    """Tune the thresholds of one cascade, as by default."""
    model = CascadeClassifier(task.members, costs=task.costs).fit(*task.tune)
    return Fitted(model.predict, model.predict_proba, claimed=model.cross_fitted_cost_)


def _search(task):
    """Search all committees, as by default: the cheapest as good as the best member."""
    model = CascadeSearchCV(task.members, costs=task.costs).fit(*task.tune)
    return Fitted(model.predict, model.predict_proba, claimed=model.cross_fitted_cost_)


def _search_within(task):
    """Search all committees for the best within the budget."""
    model = CascadeSearchCV(task.members, costs=task.costs, max_cost=task.budget).fit(*task.tune)
    promise = within_budget(task.budget)
    return Fitted(model.predict, model.predict_proba, model.cross_fitted_cost_, promise)


def _certify(task, epsilon):
    """Certify early exit of one cascade against the cascade without, at 90 %."""
    cascade = CascadeClassifier(
        task.members, thresholds=np.inf, combine="last", costs=task.costs
    ).fit(*task.train)
    report = cascade.certify(*task.tune, epsilon=epsilon, delta=0.1)
    model = cascade.with_thresholds(report)
    promise = loses_at_most(epsilon, cascade.predict(task.test[0]))
    return Fitted(model.predict, model.predict_proba, report.mean_cost, promise)


def _agree(task):
    """Certify that the first member alone may answer where it says what the last would."""
    first, last = task.members[0], task.members[-1]
    cascade = CascadeClassifier(
        [first, last],
        thresholds=np.inf,
        combine="last",
        costs=[task.costs[0], task.costs[-1]],
    ).fit(*task.train)
    report = cascade.certify(task.tune[0], risk="disagreement", epsilon=1 - AGREEMENT, delta=0.1)
    model = cascade.with_thresholds(report)
    promise = agrees_with(AGREEMENT, last[1].predict(task.test[0]))
    return Fitted(model.predict, model.predict_proba, report.mean_cost, promise)
