"""A scorer that weighs score against cost, for stock scikit-learn searches."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_cascade.core._scoring import score_probabilities


def make_cost_scorer(scoring="accuracy", *, cost_weight=0.0, multimetric=False):
    """Make a scorer that weighs the score of a cascade or ensemble against its mean cost.

    Score and cost are both taken from one pass over the rows. Works as ``scoring=`` of
    `cross_validate`, `GridSearchCV` and the like, with and without sample weights and metadata
    routing, for a cascade or ensemble alone, at the end of a pipeline, or inside a search.

    Parameters
    ----------
    scoring : str or callable, default="accuracy"
        Scorer of the predictions; larger is better.
    cost_weight : float, default=0.0
        Worth of one unit of cost in units of the score.
    multimetric : bool, default=False
        Return a dict of "score", "neg_cost" and "utility" instead of the utility alone;
        a search then needs ``refit="utility"``.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``. The utility is
        ``score - cost_weight * mean cost``.

    Raises
    ------
    ValueError
        If `scoring` is unknown or `cost_weight` is not a finite number of at least 0.

    See Also
    --------
    CascadeClassifier.cost_report : The same figures as a table.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_cascade import CascadeClassifier, make_cost_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> cascade = CascadeClassifier(
    ...     [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))], costs=[1, 20]
    ... )
    >>> search = GridSearchCV(
    ...     cascade,
    ...     {"thresholds": [0.6, 0.9, 0.99]},
    ...     scoring=make_cost_scorer(cost_weight=0.001, multimetric=True),
    ...     refit="utility",
    ... )
    >>> sorted(k for k in search.fit(X, y).cv_results_ if k.startswith("mean_test"))
    ['mean_test_neg_cost', 'mean_test_score', 'mean_test_utility']
    """
    if not callable(scoring):
        get_scorer(scoring)
    if not (isinstance(cost_weight, Real) and np.isfinite(cost_weight) and cost_weight >= 0):
        raise ValueError(f"cost_weight={cost_weight!r}; expected a finite number of at least 0")
    return _CostScorer(scoring, cost_weight, multimetric)


class _CostScorer(BaseEstimator):
    """The scorer that `make_cost_scorer` returns; parameters give it a repr and equality."""

    def __init__(self, scoring, cost_weight, multimetric):
        self.scoring = scoring
        self.cost_weight = cost_weight
        self.multimetric = multimetric

    def __call__(self, estimator, X, y, sample_weight=None):
        model, reached = _unwrap(estimator, X)
        prediction = model.predict_details(reached)
        y = np.asarray(y)
        score = score_probabilities(
            self.scoring, prediction.proba, y, model.classes_, sample_weight, X=X
        )
        cost = float(np.average(prediction.cost, weights=sample_weight))
        utility = score - self.cost_weight * cost
        if self.multimetric:
            return {"score": score, "neg_cost": -cost, "utility": utility}
        return utility

    def get_metadata_routing(self):
        """Request `sample_weight`."""
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=True)
        return request

    def _accept_sample_weight(self):
        """Tell scikit-learn, when routing is off, that `sample_weight` is accepted."""
        return True


def _unwrap(estimator, X):
    """Return the cascade or ensemble in a pipeline or search, and X as it reaches it."""
    while not hasattr(estimator, "predict_details"):
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            raise TypeError(
                f"make_cost_scorer: {type(estimator).__name__} has no predict_details; expected a "
                f"CascadeClassifier or AveragingEnsemble, alone, at the end of a pipeline or in a "
                f"search"
            )
    return estimator, X
