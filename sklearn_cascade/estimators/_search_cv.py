"""Find the cascade of a pool of estimators that trades score against cost best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
from scipy.stats import rankdata
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import CallbackSupportMixin, FitTasks, StrOptions, with_callbacks
from sklearn_cascade.core._combination import COMBINATIONS
from sklearn_cascade.core._confidence import CONFIDENCES
from sklearn_cascade.core._samples import training_rows
from sklearn_cascade.core._scoring import check_scoring, score_probabilities
from sklearn_cascade.estimators._base import BaseCascade, active_members
from sklearn_cascade.estimators._cascade import CascadeClassifier
from sklearn_cascade.estimators._fitting import fit_all, split_rows
from sklearn_cascade.estimators._from_ensemble import adopt_stages
from sklearn_cascade.estimators._row_hashes import hash_rows
from sklearn_cascade.estimators._state import FitRecord, FittedSearch, TuningFigures
from sklearn_cascade.search._cross_fit import (
    add_cross_fitted_scores,
    cross_fit_choice,
    replay,
    tuned_candidates,
)
from sklearn_cascade.search._front import OperatingPoint, ParetoFront, check_constraints
from sklearn_cascade.search._predictions import check_predictions
from sklearn_cascade.search._strategy import Options, run_search, validate_options
from sklearn_cascade.tuning._fit_confidence import LearnedConfidence

_CONSTRAINTS = ("min_score", "max_score_loss", "max_cost", "max_worst_cost")


def is_refitted(search):
    """Tell whether the search can predict; raise as for any method that only `refit` gives."""
    if not search.refit:
        raise AttributeError(
            f"refit={search.refit!r}, so there is no fitted cascade; expected refit=True"
        )
    return True


class CascadeSearchCV(CallbackSupportMixin, BaseCascade):
    """Search all cascades of a pool of classifiers by cross-validation.

    Every member is fitted once per fold, and once more on all rows, whatever the number of
    combinations: its predictions for the held-out rows are enough to evaluate every cascade of at
    most `max_stages` members at every vector of a grid of thresholds (Wang et al., 2022 [1]_).

    Parameters
    ----------
    estimators : list of (str, classifier)
        Members with ``predict_proba``, in any order; "drop" in place of a classifier switches
        it off. Frozen ones (`sklearn.frozen.FrozenEstimator`, `PrefitClassifier`) predict once
        for all rows, which they should not have been fitted on; all others are cloned and
        fitted.
    max_stages : int, default=4
        The most members in one cascade.
    order : {"cost", "any"}, default="cost"
        Run the members of a set cheapest first, or try every order.
    combine : {"auto", "mean", "last", "most_confident"}, default="auto"
        Predict with the mean of the stages run so far, with the last of them or with the most
        confident one; "auto" tries the first two, and all where the confidence is learned.
    confidence : str, LearnedConfidence or callable, default="max_proba"
        How confident a prediction is, as in `CascadeClassifier`: "max_proba", "margin", "entropy",
        "learned" or a function; `search_cascades` says how a learned one is searched.
    n_thresholds : int, default=64
        Thresholds tried at each stage, besides never to exit.
    method : {"auto", "exhaustive", "greedy"}, default="auto"
        As in `search_cascades`.
    scoring : str or callable, default="accuracy"
        "accuracy", "balanced_accuracy", "neg_log_loss" and "neg_brier_score" are searched
        exactly; any other scorer is applied to the Pareto front of the accuracy.
    costs : "measured", array-like of shape (n_estimators,), dict or None, default="measured"
        Cost of one row in each member. "measured": seconds per row, taken on the rows of the fit.
        None: what the members declare (`PrefitClassifier`), or 1 each where none does.
    cost_unit : str, default=None
        Name of the unit of `costs`, such as "MFLOPs" or "USD".
    min_score : float, default=None
        Score to reach on held-out rows.
    max_score_loss : float, default=None
        How far the score may be below the best single member's. Without any constraint: 0.
    max_cost : float, default=None
        Limit of the mean cost of a row.
    max_worst_cost : float, default=None
        Limit of the cost of a row that goes through every stage; sets of members beyond it are
        not evaluated.
    cv : int, cross-validation generator or iterable, default=5
        Splits. An integer means stratified folds.
    refit : bool, default=True
        Fit the members on all rows, so that the search can predict; needed to measure costs.
    n_jobs : int, default=None
        Jobs for fitting, and threads for searching. None is 1 unless in
        a `joblib.parallel_config` context.
    random_state : int, RandomState instance or None, default=None
        Shuffles the rows before an integer `cv` cuts folds. None keeps their order.
    verbose : int, default=0
        Above 0: print what is searched, and the progress.

    Attributes
    ----------
    fitted_ : FittedSearch
        The members fitted on all rows, in one frozen object.
    front_ : ParetoFront
        All cascades that no other dominates, all members alone, and all ensembles.
    cv_results_ : dict of ndarray of shape (n_rows,)
        A row for each row of `front_`: ``params``, ``mean_test_score``, ``std_test_score``,
        ``split<k>_test_score``, the same for ``cost``, ``rank_test_score``, and
        ``cross_fitted_score`` with ``cross_fitted_cost``, which `front_` explains; NaN where
        nothing is tuned.
    best_index_ : int
        Row of the cascade or ensemble chosen.
    best_params_ : dict
        Its ``members``, ``combine`` and ``thresholds``.
    best_score_, best_cost_ : float
        Mean over the folds, on the rows that chose it, hence optimistic.
    cross_fitted_score_, cross_fitted_cost_ : float
        The same, cross-fitted: chosen on all folds but one, and taken on that one. NaN with a
        single split.
    optimism_ : float
        By how much `best_score_` is above `cross_fitted_score_`.
    best_estimator_ : CascadeClassifier
        The cascade or ensemble chosen, fitted on all rows; only with `refit`.
    n_evaluated_ : int
        Threshold vectors evaluated, in all folds.
    refit_time_ : float
        Seconds for fitting the members on all rows, added up; only with `refit`.
    classes_ : ndarray of shape (n_classes,)
        Labels of `y` and of all frozen members, sorted.
    estimators_ : list of classifiers
        All members, fitted on all rows; only with `refit`.
    named_estimators_ : Bunch
        The same by name.
    costs_ : ndarray of shape (n_active,)
        Cost of one row in each member that is not dropped.
    cost_unit_ : str
        Their unit.
    cost_conditions_ : dict or None
        How the costs were measured.
    n_splits_ : int
        Number of splits.
    n_features_in_ : int
        Number of features; only if the first member has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features; only if the first member has them.

    See Also
    --------
    search_cascades : The same from recorded predictions.
    CascadeClassifier : One cascade, its order given.

    References
    ----------
    .. [1] X. Wang, D. Kondratyuk, E. Christiansen, K. M. Kitani, Y. Alon, E. Eban. "Wisdom of
       Committees: An Overlooked Approach To Faster and More Accurate Models." ICLR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn_cascade import CascadeSearchCV
    >>> X, y = load_digits(return_X_y=True)
    >>> search = CascadeSearchCV(
    ...     [("neighbors", KNeighborsClassifier(10)), ("linear", LogisticRegression())],
    ...     costs={"linear": 1, "neighbors": 40},
    ... )
    >>> search.fit(X / 16, y).best_params_["members"]
    ('linear', 'neighbors')
    >>> search.select(max_cost=1.0).estimators_
    [LogisticRegression()]
    """

    _parameter_constraints: dict = {
        "estimators": "no_validation",
        "max_stages": [Integral],
        "order": [StrOptions({"cost", "any"})],
        "combine": [StrOptions({"auto", *COMBINATIONS})],
        "confidence": [StrOptions({*CONFIDENCES, "learned"}), LearnedConfidence, callable],
        "n_thresholds": [Integral],
        "method": [StrOptions({"auto", "exhaustive", "greedy"})],
        "scoring": [str, callable],
        "costs": "no_validation",
        "cost_unit": [str, None],
        **{constraint: [Real, None] for constraint in _CONSTRAINTS},
        "cv": ["cv_object"],
        "refit": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # Whatever a search compares has to have an answer from everyone.
    allow_abstain = False

    def __init__(
        self,
        estimators,
        *,
        max_stages=4,
        order="cost",
        combine="auto",
        confidence="max_proba",
        n_thresholds=64,
        method="auto",
        scoring="accuracy",
        costs="measured",
        cost_unit=None,
        min_score=None,
        max_score_loss=None,
        max_cost=None,
        max_worst_cost=None,
        cv=5,
        refit=True,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimators = estimators
        self.max_stages = max_stages
        self.order = order
        self.combine = combine
        self.confidence = confidence
        self.n_thresholds = n_thresholds
        self.method = method
        self.scoring = scoring
        self.costs = costs
        self.cost_unit = cost_unit
        self.min_score = min_score
        self.max_score_loss = max_score_loss
        self.max_cost = max_cost
        self.max_worst_cost = max_worst_cost
        self.cv = cv
        self.refit = refit
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the members on all rows and in all folds, and search.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Handed to the members as it is.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the search and for the members whose ``fit`` takes them.
        **fit_params : dict
            Other metadata for the members and the splitter, through metadata routing.

        Returns
        -------
        self : CascadeSearchCV
            The fitted search.

        Raises
        ------
        InfeasibleConstraintError
            If no cascade satisfies the constraints; its message names the nearest ones.
        ValueError
            If a parameter is out of its range, a member has no ``predict_proba``, `y` has
            one class only, or there are fewer rows than folds.
        """
        data = self._begin_fit(X, y, sample_weight, fit_params)
        check_scoring(self.scoring, weighted=data.is_weighted)
        splits = split_rows(self, data.X, data.labels, data.routed_params())
        for attribute in ("refit_time_", "best_estimator_"):
            self.__dict__.pop(attribute, None)
        tasks = FitTasks(self, 2, X=data.X, y=y)
        with tasks.part("fits of members"):
            fits = fit_all(
                data.members, data.X, data.labels, splits, refit=self.refit, n_jobs=self.n_jobs
            )
        members = self._fitted_members(fits, data)
        self.n_splits_ = len(splits)
        with tasks.part("search"):
            self._search(fits.held_out, data.labels, data.sample_weight, members)
        self.fitted_ = FittedSearch(members, FitRecord(hash_rows(data.X)))
        if self.refit:
            self.refit_time_ = fits.seconds
            self.best_estimator_ = self._build(
                self.front_[self.best_index_], self.cross_fitted_score_, self.cross_fitted_cost_
            )
        tasks.end()
        return self

    def select(self, *, min_score=None, max_score_loss=None, max_cost=None, max_worst_cost=None):
        """Return the best cascade under other constraints, fitted; nothing is fitted again.

        Parameters
        ----------
        min_score, max_score_loss, max_cost, max_worst_cost : float, default=None
            As the parameters of the same names, whose values do not count here, except that the
            search has left out what costs more than its own `max_worst_cost`.

        Returns
        -------
        cascade : CascadeClassifier
            Its members are shared with this search.

        Raises
        ------
        InfeasibleConstraintError
            If no cascade satisfies the constraints; its message names the nearest ones.
        """
        check_is_fitted(self)
        is_refitted(self)
        point = self.front_.select(
            min_score=min_score,
            max_score_loss=max_score_loss,
            max_cost=max_cost,
            max_worst_cost=max_worst_cost,
        )
        return self._build(point)

    @available_if(is_refitted)
    def predict(self, X):
        """Predict the most probable class of each row with the cascade chosen.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels from `classes_`.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    @available_if(is_refitted)
    def predict_proba(self, X):
        """Predict class probabilities with the cascade chosen.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns as in `classes_`.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X)

    @available_if(is_refitted)
    def predict_details(self, X):
        """Predict, with the stage that answered each row and what the row cost.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        prediction : CascadePrediction
            Arrays ``label``, ``proba``, ``exit_stage`` and ``cost``.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_details(X)

    @available_if(is_refitted)
    def score(self, X, y, sample_weight=None):
        """Return the score of the cascade chosen, by `scoring`.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Larger is better.
        """
        proba = self.predict_proba(X)
        return score_probabilities(self.scoring, proba, np.asarray(y), self.classes_, sample_weight)

    @available_if(is_refitted)
    def cost_report(self, X, y=None, sample_weight=None, *, scoring=None, compare=True):
        """Report what rows cost the cascade chosen, and with `y` how good its predictions are.

        Parameters
        ----------
        X, y, sample_weight, scoring, compare : object
            As in `CascadeClassifier.cost_report`.

        Returns
        -------
        report : CostReport
            Prints as a table; ``to_frame()``, ``to_dict()``.
        """
        check_is_fitted(self)
        return self.best_estimator_.cost_report(
            X, y, sample_weight, scoring=scoring or self.scoring, compare=compare
        )

    def _check_parameters(self):
        for parameter in ("max_stages", "n_thresholds"):
            if getattr(self, parameter) < 1:
                raise ValueError(f"{parameter}={getattr(self, parameter)!r}; expected at least 1")
        check_constraints(**self._constraints())
        if isinstance(self.costs, str) and not self.refit:
            raise ValueError(
                f"costs={self.costs!r} with refit=False, which leaves no member fitted on all rows "
                f"to measure; expected costs as numbers, or refit=True"
            )
        self._check_costs()

    def _constraints(self):
        """Return the constraints by name."""
        return {constraint: getattr(self, constraint) for constraint in _CONSTRAINTS}

    def _search(self, held_out, labels, sample_weight, members):
        """Search the held-out rows, once for all of them and once without each fold."""
        weight = None if sample_weight is None else sample_weight[held_out.samples]
        names = [name for name, _ in active_members(self.estimators)]
        predictions = check_predictions(
            held_out.proba,
            labels.y[held_out.samples],
            names=names,
            costs=members.costs,
            classes=labels.classes,
            sample_weight=weight,
        )
        counted = slice(None) if predictions.counted is None else predictions.counted
        fold, sample = held_out.fold[counted], held_out.samples[counted]
        # No row is scored by a choice it had a part in, also where folds overlap.
        parts, others = zip(*training_rows(fold, sample), strict=True)
        options = Options(**{name: getattr(self, name) for name in Options._fields})
        costs_in_seconds = isinstance(self.costs, str)
        options = validate_options(
            predictions, options, fold=fold, sample=sample, costs_in_seconds=costs_in_seconds
        )
        cross_fitted = all(len(rows) for rows in others)
        self.front_, *fronts = run_search(
            predictions,
            options,
            members.cost_unit,
            rows=[None, *others] if cross_fitted else [None],
            names=names,
        )
        self.cross_fitted_score_ = self.cross_fitted_cost_ = float("nan")
        if cross_fitted:
            self.front_ = add_cross_fitted_scores(predictions, options, self.front_, fronts, parts)
            score, cost = cross_fit_choice(
                predictions, options, fronts, parts, [self._constraints()]
            )
            self.cross_fitted_score_, self.cross_fitted_cost_ = float(score[0]), float(cost[0])
        self.n_evaluated_ = self.front_.n_evaluated
        self.best_index_ = self.front_.find_index(**self._constraints())
        self.cv_results_ = tabulate_results(predictions, options, self.front_, parts)
        self.best_params_ = params_of(self.front_[self.best_index_])
        self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
        self.best_cost_ = float(self.cv_results_["mean_test_cost"][self.best_index_])
        self.optimism_ = self.best_score_ - self.cross_fitted_score_

    def _build(self, point: OperatingPoint, *cross_fitted: float) -> CascadeClassifier:
        """Return a point of the front as a fitted cascade; the members are shared."""
        members = self.fitted_.members
        given, stages = dict(self.estimators), dict(zip(members.names, members.stages, strict=True))
        costs = dict(zip(members.names, members.costs.tolist(), strict=True))
        cascade = CascadeClassifier(
            [(name, given[name]) for name in point.members],
            thresholds=list(point.thresholds),
            combine=point.combine,
            confidence=self.confidence,
            costs=[costs[name] for name in point.members],
            cost_unit=members.cost_unit,
            scoring=self.scoring,
            cv=self.cv,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        )
        chosen = tuple(stages[name]._replace(position=k) for k, name in enumerate(point.members))
        spec = self.front_.evaluator.stage_spec(point)
        is_learned = spec.seconds is not None
        learned = spec.confidences if is_learned else None
        fitted = adopt_stages(cascade, chosen, members.classes, learned=learned)
        return cascade._with_fitted(
            replace(
                fitted,
                members=fitted.members._replace(
                    costs=spec.costs if is_learned else fitted.members.costs,
                    cost_conditions=members.cost_conditions,
                ),
                confidence_seconds=spec.seconds,
                tuning=TuningFigures(point.score, point.mean_cost, *cross_fitted),
                record=self.fitted_.record,
            )
        )


def params_of(row: OperatingPoint) -> dict:
    """Return what a row of the front chooses."""
    return {"members": row.members, "combine": row.combine, "thresholds": row.thresholds}


def tabulate_results(
    predictions, options: Options, front: ParetoFront, parts: Sequence[np.ndarray]
) -> dict:
    """Return ``cv_results_``: a row for each point of the front, with `parts` as its folds."""
    score, cost = replay(predictions, options, tuned_candidates(front), parts)
    params = [params_of(row) for row in front]
    results: dict = {"params": params}
    for name in ("members", "combine", "thresholds"):
        column = np.empty(len(front), dtype=object)
        column[:] = [choice[name] for choice in params]
        results[f"param_{name}"] = np.ma.MaskedArray(column, mask=False)
    results["kind"] = np.array([row.kind for row in front])
    for figure, values in (("score", score), ("cost", cost)):
        for k in range(len(parts)):
            results[f"split{k}_test_{figure}"] = values[:, k]
        results[f"mean_test_{figure}"] = values.mean(axis=1)
        results[f"std_test_{figure}"] = values.std(axis=1)
    results["worst_case_cost"] = front.worst_cost
    for figure in ("cross_fitted_score", "cross_fitted_cost"):
        found = [getattr(row, figure) for row in front]
        results[figure] = np.array([np.nan if value is None else value for value in found])
    # Rounded, so that equals share a rank.
    rank = rankdata(-np.round(results["mean_test_score"], 10), method="min")
    results["rank_test_score"] = rank.astype(np.int32)
    return results
