"""The mean of all members' probabilities."""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn import config_context, get_config

from sklearn_cascade._compat import StrOptions
from sklearn_cascade.core import ProbaCombiner, geometric_mean
from sklearn_cascade.estimators._base import Committee, values_per_member
from sklearn_cascade.estimators._fitting import fit_all
from sklearn_cascade.estimators._routing import RoutingResult, fill_unanswered


class AveragingEnsemble(Committee):
    """Average the class probabilities of several classifiers.

    Members may be fitted or not, know different classes, and list them in any order; their
    columns are aligned. The plain average is the ensemble of Wang et al. (2022) [1]_.

    Parameters
    ----------
    estimators : list of (str, classifier)
        Members with ``predict_proba``; "drop" in place of a classifier switches one off. Frozen
        ones (`sklearn.frozen.FrozenEstimator`, `PrefitClassifier`) are used as they are, all
        others are cloned and fitted.
    weights : array-like of shape (n_estimators,) or dict, default=None
        Weight of each member in the mean, as a list along `estimators` (dropped members
        counted) or by name. None weighs all alike.
    average : {"arithmetic", "geometric"}, default="arithmetic"
        The mean of the probabilities, or their normalised geometric mean, which is
        the mean of the log-probabilities.
    costs : array-like of shape (n_estimators,), dict, "measured" or None, default=None
        Cost of one row in each member. None: what the members declare (`PrefitClassifier`), or
        1 each where none does. "measured": seconds per row, taken on the rows of the fit.
    cost_unit : str, default=None
        Name of the unit of `costs`, such as "MFLOPs" or "USD".
    allow_abstain : bool, default=False
        A row of NaN from a member means "don't know" and leaves it out of that row's mean.
    n_jobs : int, default=None
        Jobs for fitting the members; predicting uses as many threads. None is 1 unless in
        a `joblib.parallel_config` context.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of `y` and of all frozen members, sorted.
    estimators_ : list of classifiers
        The fitted members, dropped ones left out. Most are fitted on the codes 0, 1, ... of the
        labels; one with a ``class_weight`` dict, or that wraps a frozen model, on the labels.
    named_estimators_ : Bunch
        The same by name.
    weights_ : ndarray of shape (n_active,)
        Weights of the members that are not dropped.
    costs_ : ndarray of shape (n_active,)
        Cost of one row in each.
    cost_unit_ : str
        Their unit.
    cost_conditions_ : dict or None
        How the costs were measured.
    n_features_in_ : int
        Number of features; only if the first member has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features; only if the first member has them.

    See Also
    --------
    CascadeClassifier : Run the members in order and stop once sure.
    sklearn.ensemble.VotingClassifier : Vote or average; trains all members.

    References
    ----------
    .. [1] X. Wang, D. Kondratyuk, E. Christiansen, K. M. Kitani, Y. Alon, E. Eban. "Wisdom of
       Committees: An Overlooked Approach To Faster and More Accurate Models." ICLR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_cascade import AveragingEnsemble
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = AveragingEnsemble(
    ...     [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))]
    ... )
    >>> ensemble.fit(X, y).predict_proba(X[:2]).shape
    (2, 3)
    """

    _parameter_constraints: dict = {
        "estimators": "no_validation",
        "weights": "no_validation",
        "average": [StrOptions({"arithmetic", "geometric"})],
        "costs": "no_validation",
        "cost_unit": [str, None],
        "allow_abstain": ["boolean"],
        "n_jobs": [None, int, np.integer],
    }

    def __init__(
        self,
        estimators,
        *,
        weights=None,
        average="arithmetic",
        costs=None,
        cost_unit=None,
        allow_abstain=False,
        n_jobs=None,
    ):
        self.estimators = estimators
        self.weights = weights
        self.average = average
        self.costs = costs
        self.cost_unit = cost_unit
        self.allow_abstain = allow_abstain
        self.n_jobs = n_jobs

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the members that are not frozen.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Handed to the members as it is.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the members whose ``fit`` takes them.
        **fit_params : dict
            Other metadata for the members, through metadata routing.

        Returns
        -------
        self : AveragingEnsemble
            The fitted ensemble.

        Raises
        ------
        ValueError
            If a parameter is out of its range, a member has no ``predict_proba``, or `y` has
            one class only.
        """
        X, labels, sample_weight, members = self._begin_fit(X, y, sample_weight, fit_params)
        fits = fit_all(members, X, labels, n_jobs=self.n_jobs)
        stages = self._adopt_members(fits, labels, sample_weight, members)
        self.weights_ = self._resolve_weights()
        self._set_costs(X, stages)
        self._stages = stages
        return self

    def _check_parameters(self):
        if not self._resolve_weights().any():
            raise ValueError(f"weights={self.weights!r}; expected at least one above zero")
        self._check_costs()

    def _resolve_weights(self):
        """Return one weight per member that is not dropped."""
        weights = np.ones(len(self.estimators)) if self.weights is None else self.weights
        return values_per_member("weights", weights, self.estimators)

    def _run(self, stages, X, n_samples):
        if effective_n_jobs(self.n_jobs) == 1:
            probas = [stage.predict_proba(X, n_samples) for stage in stages]
        else:
            # Members release the interpreter lock or are remote; data need not be copied.
            # joblib's own, as scikit-learn's resets the warning filters in each thread, which
            # all threads share.
            config = get_config()
            probas = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
                delayed(_ask)(stage, X, n_samples, config) for stage in stages
            )
        proba = fill_unanswered(self._all_together(probas), self._class_shares)
        if any(proba is answer for answer in probas):
            # What the caller may write to must not be the member's own.
            proba = proba.copy()
        return RoutingResult(proba, len(stages) - 1, len(stages) - 1)

    def _all_together(self, proba):
        if self.average == "geometric":
            return geometric_mean(proba, self.weights_, allow_abstain=self.allow_abstain)
        running = ProbaCombiner("mean", allow_abstain=self.allow_abstain)
        for member_proba, weight in zip(proba, self.weights_, strict=True):
            if weight > 0:
                running.add(member_proba, weight)
        return running.proba

    def _report_title(self):
        return f"Ensemble of {len(self._stages)} members · {self.average} mean"


def _ask(stage, X, n_samples, config):
    """Ask one member under the scikit-learn configuration of the calling thread."""
    with config_context(**config):
        return stage.predict_proba(X, n_samples)
