"""scikit-learn in the comparison with peers: single members, a vote, a grid of thresholds."""

from __future__ import annotations

from itertools import product

import numpy as np
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV

from benchmarks.peers_tasks import Fitted, Method, Task, within_budget
from sklearn_cascade import CascadeClassifier, make_cost_scorer


def methods(task: Task):
    """Yield scikit-learn's methods, each member alone first."""
    for name, member in task.members:
        yield Method(f"{name} alone", lambda task, member=member: _alone(member))
    yield Method("VotingClassifier, soft", _vote)
    yield Method("GridSearchCV of a CascadeClassifier", lambda task: _grid(task, None))
    yield Method(
        "GridSearchCV of a CascadeClassifier, budget", lambda task: _grid(task, task.budget)
    )


def _alone(member):
    """Return one member as it is."""
    return Fitted(member.predict, member.predict_proba)


def _vote(task):
    """Average all members by a soft vote."""
    model = VotingClassifier(task.members, voting="soft").fit(*task.tune)
    return Fitted(model.predict, model.predict_proba)


def _grid(task, budget):
    """Search a grid of thresholds; within a budget by a function as ``refit=``, as documented."""
    cascade = CascadeClassifier(task.members, thresholds=0.5, combine="last", costs=task.costs)
    vectors = [list(vector) for vector in product(task.levels, repeat=2)]
    choice = "score" if budget is None else lambda found: _best_within(found, budget)
    search = GridSearchCV(
        cascade, {"thresholds": vectors}, scoring=make_cost_scorer(multimetric=True), refit=choice
    ).fit(*task.tune)
    claimed = -search.cv_results_["mean_test_neg_cost"][search.best_index_]
    guarantee = None if budget is None else within_budget(budget)
    return Fitted(search.predict, search.predict_proba, claimed, guarantee)


def _best_within(found, budget):
    """Return the index of the best score within the budget, else of the cheapest."""
    costs = -found["mean_test_neg_cost"]
    if costs.min() > budget:
        return int(costs.argmin())
    return int(np.where(costs <= budget, found["mean_test_score"], -np.inf).argmax())
