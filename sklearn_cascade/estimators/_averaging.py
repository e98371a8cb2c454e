"""The mean of all members' probabilities."""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn import config_context, get_config
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import StrOptions
from sklearn_cascade.core._combination import ProbaCombiner, geometric_mean
from sklearn_cascade.core._costs import row_costs
from sklearn_cascade.estimators._base import BaseCascade, resolve_weights
from sklearn_cascade.estimators._fitting import fit_all
from sklearn_cascade.estimators._routing import RoutingResult, fill_unanswered, report_costs
from sklearn_cascade.estimators._state import FittedAttribute, FittedEnsemble
from sklearn_cascade.inspection._cost_report import CascadePrediction


class AveragingEnsemble(BaseCascade):
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
    fitted_ : FittedEnsemble
        All that the fit found, in one frozen object, of which the others are read-only views.
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
    CascadeClassifier : Run the members in order and stop once confident.
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

    weights_ = FittedAttribute(
        "weights", "Weights of the members that are not dropped: ndarray of shape (n_active,)."
    )

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
        data = self._begin_fit(X, y, sample_weight, fit_params)
        fits = fit_all(data.members, data.X, data.labels, n_jobs=self.n_jobs)
        members = self._fitted_members(fits, data)
        self.fitted_ = FittedEnsemble(members, resolve_weights(self.weights, self.estimators))
        return self

    def predict(self, X):
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels from `classes_`.
        """
        proba = self._predict(X).proba
        return self.fitted_.members.classes[proba.argmax(axis=1)]

    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns as in `classes_`.
        """
        return self._predict(X).proba

    def predict_details(self, X):
        """Predict, with the stage that answered each row and what the row cost, in one pass.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        prediction : CascadePrediction
            Arrays ``label``, ``proba``, ``exit_stage`` and ``cost``, the last in `cost_unit_`.
        """
        result, members = self._predict(X).expand(), self.fitted_.members
        return CascadePrediction(
            members.classes[result.proba.argmax(axis=1)],
            result.proba,
            result.exit_stage,
            row_costs(result.last_called, members.costs),
        )

    def cost_report(self, X, y=None, sample_weight=None, *, scoring=None, compare=True):
        """Report what rows cost, and with `y` how good the predictions are.

        Parameters
        ----------
        X, y, sample_weight, scoring, compare : object
            As in `CascadeClassifier.cost_report`; the default scorer is accuracy.

        Returns
        -------
        report : CostReport
            Prints as a table; ``to_frame()``, ``to_dict()``.
        """
        check_is_fitted(self)
        return report_costs(
            self,
            X,
            y,
            sample_weight,
            scoring=scoring or "accuracy",
            compare=compare,
            run=self._run,
            combine_all=self._combine_all,
            title=f"Ensemble of {len(self.estimators_)} members · {self.average} mean",
            exits_early=False,
        )

    def _check_parameters(self):
        if not resolve_weights(self.weights, self.estimators).any():
            raise ValueError(f"weights={self.weights!r}; expected at least one above zero")
        self._check_costs()

    def _predict(self, X) -> RoutingResult:
        """Call all members for a batch."""
        X, n_samples = self._check_X(X)
        return self._run(self.fitted_.members.stages, X, n_samples)

    def _run(self, stages, X, n_samples) -> RoutingResult:
        """Call all stages for prepared rows, in threads if that is asked for."""
        if effective_n_jobs(self.n_jobs) == 1:
            outputs = [stage.predict_proba(X, n_samples) for stage in stages]
        else:
            # Members release the interpreter lock or are remote; data need not be copied.
            # joblib's own, as scikit-learn's resets the warning filters in each thread, which
            # all threads share.
            config = get_config()
            outputs = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
                delayed(_predict_configured)(stage, X, n_samples, config) for stage in stages
            )
        shares = self.fitted_.members.class_shares
        proba = fill_unanswered(self._combine_all(outputs), shares)
        if any(proba is output for output in outputs):
            # What the caller may write to must not be the member's own.
            proba = proba.copy()
        return RoutingResult(proba, len(stages) - 1, len(stages) - 1)

    def _combine_all(self, outputs):
        """Return the mean of the members' probabilities (n_samples, n_classes)."""
        weights = self.fitted_.weights
        if self.average == "geometric":
            return geometric_mean(outputs, weights, allow_abstain=self.allow_abstain)
        combiner = ProbaCombiner("mean", allow_abstain=self.allow_abstain)
        for output, weight in zip(outputs, weights, strict=True):
            if weight > 0:
                combiner.add(output, weight)
        return combiner.proba


def _predict_configured(stage, X, n_samples, config):
    """Call one member under the scikit-learn configuration of the calling thread."""
    with config_context(**config):
        return stage.predict_proba(X, n_samples)
