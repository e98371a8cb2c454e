"""scikit-fallback for the comparison with peers: its cascade and its search of thresholds."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import Fitted, Method, Task, within_budget

PACKAGE, EXTRA = "skfb", "bench"


def methods(task: Task):
    """Yield scikit-fallback's methods: its defaults, its best score, and a budget."""
    yield Method("scikit-fallback CV", lambda task: _cascade(task))
    yield Method(
        "scikit-fallback CV, highest score", lambda task: _cascade(task, strategy="min_score")
    )
    yield Method(
        "scikit-fallback CV, budget",
        lambda task: _cascade(task, strategy="min_score", max_cost=task.budget),
    )


def _cascade(task, **options):
    """Fit its search; "min_score" is its name for the highest score within the budget."""
    from skfb.ensemble import ThresholdCascadeClassifierCV

    model = ThresholdCascadeClassifierCV(
        [member for _, member in task.members],
        costs=task.costs,
        cv_thresholds=task.n_levels,
        return_earray=True,
        **options,
    ).fit(*task.tune)
    chosen = np.all(model.all_cv_thresholds_ == model.best_thresholds_, axis=1)
    claimed = float(model.mean_cv_costs_[chosen.argmax()])
    guarantee = within_budget(task.budget) if "max_cost" in options else None
    return Fitted(
        lambda X: np.asarray(model.predict(X)),
        lambda X: np.asarray(model.predict_proba(X)),
        claimed,
        guarantee,
    )
