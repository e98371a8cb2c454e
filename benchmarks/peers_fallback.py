"""Side by side: scikit-fallback's cascade with its own search of thresholds."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import Contestant, Fitted, Task, within_budget

PACKAGE, EXTRA = "skfb", "bench"


def contestants(task: Task):
    """Return scikit-fallback's lines: its defaults, its best score, and a budget."""
    yield Contestant("scikit-fallback CV", lambda task: _cascade(task))
    yield Contestant(
        "scikit-fallback CV, highest score", lambda task: _cascade(task, strategy="min_score")
    )
    yield Contestant(
        "scikit-fallback CV, budget",
        lambda task: _cascade(task, strategy="min_score", max_cost=task.budget),
    )


def _cascade(task, **options):
    """Fit its search; "min_score" is its name for the highest score among what is allowed."""
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
    promise = within_budget(task.budget) if "max_cost" in options else None
    return Fitted(
        lambda X: np.asarray(model.predict(X)),
        lambda X: np.asarray(model.predict_proba(X)),
        claimed,
        promise,
    )
