"""Run the members in order and stop as soon as the prediction is confident enough."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import StrOptions, warn_caller
from sklearn_cascade.core._combination import COMBINATIONS
from sklearn_cascade.core._confidence import CONFIDENCES
from sklearn_cascade.core._costs import row_costs
from sklearn_cascade.core._scoring import check_scoring
from sklearn_cascade.estimators._base import (
    BaseCascade,
    active_members,
    check_thresholds,
    resolve_weights,
)
from sklearn_cascade.estimators._certify import certification_record, certify, make_spec
from sklearn_cascade.estimators._fitting import (
    choose_policy,
    fit_all,
    split_rows,
    warn_of_unseen_classes,
)
from sklearn_cascade.estimators._from_ensemble import (
    cascade_of_parts,
    compare_with_full_ensemble,
    mark_additive_parts,
)
from sklearn_cascade.estimators._routing import RoutingResult, report_costs, route
from sklearn_cascade.estimators._state import (
    FittedAttribute,
    FittedCascade,
    TuningFigures,
    make_policy,
)
from sklearn_cascade.exceptions import (
    CertificationError,
    NotCertifiedWarning,
)
from sklearn_cascade.inspection._certification_report import CertificationReport
from sklearn_cascade.inspection._cost_report import CascadePrediction
from sklearn_cascade.tuning._fit_confidence import LearnedConfidence, as_learned_confidence

# What `combine` has to be for a vote margin: "auto" means the mean where thresholds are given.
_MEAN = ("auto", "mean")


class CascadeClassifier(BaseCascade):
    """Run classifiers in order and stop at the first that is confident enough.

    The members run in the order of the list, usually from cheap to expensive. After each stage the
    prediction so far is the mean of the stages run (Wang et al., 2022 [1]_), that of the last
    stage (Streeter, 2018 [2]_) or that of the most confident one. A row whose confidence reaches
    the stage's threshold exits with it, and the others go on. A row pays for every stage that
    ran for it.

    Parameters
    ----------
    estimators : list of (str, classifier)
        Members with ``predict_proba``, in running order; "drop" in place of a classifier
        switches it off. Frozen ones (`sklearn.frozen.FrozenEstimator`, `PrefitClassifier`) are
        used as they are, all others are cloned and fitted.
    thresholds : "auto", float or array-like of shape (n_estimators - 1,), default="auto"
        Confidence at which a row exits: one number for all stages, or one for each of
        `estimators` but the last (dropped ones counted, or all left out). ``np.inf`` never
        exits, ``-np.inf`` always. A confidence short of a threshold by no more than rounding,
        ``clip((1 - threshold) / 10, 1e-6, 1e-5)``, exits too. "auto" takes the cheapest
        thresholds whose held-out score is not below the best of any single member and of no
        early exit, from out-of-fold probabilities.
    combine : {"auto", "mean", "last", "most_confident"}, default="auto"
        Predict with the mean of the stages run so far, with the last of them, or with the one of
        the highest confidence, so that an earlier stage may keep its prediction. "auto" takes the
        best of the first two on the held-out rows, and considers the third where the confidence is
        learned and hence comparable between stages; where thresholds are given it is the mean.
    confidence : str, LearnedConfidence or callable, default="max_proba"
        How confident a prediction is. "max_proba": its largest probability. "margin": the largest
        minus the second. "entropy": one minus the normalised entropy. "learned": the estimated
        probability that it is right, from held-out rows, also with thresholds given; see
        `LearnedConfidence`. "vote_margin": for parts of one ensemble, see `from_ensemble`. Or a
        function of the probabilities of shape (n_samples, n_classes) that returns an array of
        shape (n_samples,).
    weights : array-like of shape (n_estimators,) or dict, default=None
        Weight of each member in the mean, above zero. None weighs all alike.
    costs : array-like of shape (n_estimators,), dict, "measured" or None, default=None
        Cost of one row in each member. None: what the members declare (`PrefitClassifier`), or
        1 each where none does. "measured": seconds per row, taken on the rows of the fit.
    cost_unit : str, default=None
        Name of the unit of `costs`, such as "MFLOPs" or "USD".
    scoring : str or callable, default="accuracy"
        What "auto" preserves. "accuracy", "balanced_accuracy", "neg_log_loss" and
        "neg_brier_score" are optimised exactly; any other scorer picks among the points
        of the Pareto front of accuracy and cost.
    cv : int, cross-validation generator or iterable, default=5
        Splits for "auto". An integer means stratified folds.
    on_stage_error : {"raise", "keep_previous"}, default="raise"
        When a stage after the first fails: raise, or keep the prediction of the stages before it
        for the rows concerned, with a `StageFailedWarning`.
    allow_abstain : bool, default=False
        A row of NaN from a member means "don't know": the row goes on, and the member is
        left out of its mean.
    n_jobs : int, default=None
        Jobs for fitting the members, in all folds. None is 1 unless in
        a `joblib.parallel_config` context.
    random_state : int, RandomState instance or None, default=None
        Shuffles the rows before an integer `cv` cuts folds. None keeps their order.

    Attributes
    ----------
    fitted_ : FittedCascade
        All that the fit found, in one frozen object. The other attributes are read-only views of
        it: `with_thresholds` gives a copy at another operating point.
    classes_ : ndarray of shape (n_classes,)
        Labels of `y` and of all frozen members, sorted.
    estimators_ : list of classifiers
        The fitted members, dropped ones left out. Most are fitted on the codes 0, 1, ... of the
        labels; one with a ``class_weight`` dict, or that wraps a frozen model, on the labels.
    named_estimators_ : Bunch
        The same by name.
    thresholds_ : ndarray of shape (n_stages - 1,)
        Thresholds in force. The parameter `thresholds` takes effect at the next fit only;
        `with_thresholds` returns a fitted copy at others.
    combine_ : {"mean", "last", "most_confident"}
        Combination in force.
    weights_ : ndarray of shape (n_stages,)
        Weights of the members that are not dropped.
    costs_ : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    cost_unit_ : str
        Their unit.
    cost_conditions_ : dict or None
        How the costs were measured.
    confidence_seconds_ : ndarray of shape (n_stages,) or None
        Seconds that a learned confidence takes at most for a row after each stage; part of
        `costs_` where these are measured. None with any other confidence.
    tuned_score_, tuned_cost_ : float
        Score and mean cost on the held-out rows that chose the thresholds, hence optimistic;
        only with "auto" and two stages or more.
    cross_fitted_score_, cross_fitted_cost_ : float
        The same, cross-fitted: thresholds chosen on all folds but one, and scored on that one.
    certificate_ : CertificationReport or None
        What `certify` found for these thresholds, where `with_thresholds` was given its report.
    n_features_in_ : int
        Number of features; only if the first member has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features; only if the first member has them.

    See Also
    --------
    AveragingEnsemble : Run all members and average their probabilities.
    PrefitClassifier : Bring any function as a member.
    make_cost_scorer : Weigh score against cost in any scikit-learn search.

    References
    ----------
    .. [1] X. Wang, D. Kondratyuk, E. Christiansen, K. M. Kitani, Y. Alon, E. Eban. "Wisdom of
       Committees: An Overlooked Approach To Faster and More Accurate Models." ICLR 2022.
    .. [2] M. Streeter. "Approximation Algorithms for Cascading Prediction Models." ICML 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_cascade import CascadeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> cascade = CascadeClassifier(
    ...     [
    ...         ("linear", make_pipeline(StandardScaler(), LogisticRegression())),
    ...         ("forest", RandomForestClassifier(random_state=0)),
    ...     ],
    ...     costs=[1, 50],
    ... )
    >>> cascade.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    >>> bool(cascade.predict_details(X[1000:]).cost.mean() < 30)
    True
    """

    _block_kind = "serial"

    combine_ = FittedAttribute(
        "policy.combine",
        "Combination in force: str.",
        advice="set the parameter combine and fit again",
    )
    thresholds_ = FittedAttribute(
        lambda fitted: np.array(fitted.policy.thresholds, dtype=np.float64),
        "Thresholds in force: ndarray of shape (n_stages - 1,).",
        advice="with_thresholds(...) returns a copy at other thresholds",
    )
    weights_ = FittedAttribute(
        lambda fitted: np.array(fitted.policy.weights),
        "Weights of the members that are not dropped: ndarray of shape (n_stages,).",
        advice="set the parameter weights and fit again",
    )
    confidence_seconds_ = FittedAttribute(
        "confidence_seconds",
        "Seconds that a learned confidence takes per row: ndarray of shape (n_stages,) or None.",
        optional=True,
    )
    tuned_score_ = FittedAttribute(
        "tuning.score", "Score on the rows that chose the thresholds: float."
    )
    tuned_cost_ = FittedAttribute(
        "tuning.cost", "Mean cost on the rows that chose the thresholds: float."
    )
    cross_fitted_score_ = FittedAttribute(
        "tuning.cross_fitted_score",
        "Score on rows that had no part in the choice of the thresholds: float.",
    )
    cross_fitted_cost_ = FittedAttribute(
        "tuning.cross_fitted_cost",
        "Mean cost on rows that had no part in the choice of the thresholds: float.",
    )
    tuned_disagreement_ = FittedAttribute(
        "tuning.disagreement",
        "Share of the tuning rows with another label than the full ensemble's: float.",
    )
    disagreement_bound_ = FittedAttribute(
        "tuning.disagreement_bound", "Upper confidence limit of the disagreement: float."
    )
    certificate_ = FittedAttribute(
        "certificate",
        "The certificate of the thresholds in force: CertificationReport or None.",
        optional=True,
        advice="with_thresholds(report) returns a certified copy",
    )

    _parameter_constraints: dict = {
        "estimators": "no_validation",
        "thresholds": [StrOptions({"auto"}), Real, "array-like"],
        "combine": [StrOptions({"auto", *COMBINATIONS})],
        "confidence": [
            StrOptions({*CONFIDENCES, "vote_margin", "learned"}),
            LearnedConfidence,
            callable,
        ],
        "weights": "no_validation",
        "costs": "no_validation",
        "cost_unit": [str, None],
        "scoring": [str, callable],
        "cv": ["cv_object"],
        "on_stage_error": [StrOptions({"raise", "keep_previous"})],
        "allow_abstain": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimators,
        *,
        thresholds="auto",
        combine="auto",
        confidence="max_proba",
        weights=None,
        costs=None,
        cost_unit=None,
        scoring="accuracy",
        cv=5,
        on_stage_error="raise",
        allow_abstain=False,
        n_jobs=None,
        random_state=None,
    ):
        self.estimators = estimators
        self.thresholds = thresholds
        self.combine = combine
        self.confidence = confidence
        self.weights = weights
        self.costs = costs
        self.cost_unit = cost_unit
        self.scoring = scoring
        self.cv = cv
        self.on_stage_error = on_stage_error
        self.allow_abstain = allow_abstain
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the members that are not frozen, and tune the thresholds where they are "auto".

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Handed to the members as it is.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the tuning and for the members whose ``fit`` takes them.
        **fit_params : dict
            Other metadata for the members and the splitter, through metadata routing.

        Returns
        -------
        self : CascadeClassifier
            The fitted cascade.

        Raises
        ------
        ValueError
            If a parameter is out of its range, a member has no ``predict_proba``, `y` has
            one class only, or there are fewer rows than folds.
        """
        data = self._begin_fit(X, y, sample_weight, fit_params)
        thresholds, splits = self._given_thresholds(), None
        is_learned = as_learned_confidence(self.confidence) is not None
        if len(data.members) > 1 and (thresholds is None or is_learned):
            # Before anything is fitted, which may take long, only for the folds to be refused.
            check_scoring(self.scoring, weighted=data.is_weighted)
            splits = split_rows(self, data.X, data.labels, data.routed_params())
        fits = fit_all(
            data.members,
            data.X,
            data.labels,
            splits,
            allow_abstain=self.allow_abstain,
            n_jobs=self.n_jobs,
        )
        members = self._fitted_members(fits, data)
        warn_of_unseen_classes(members)
        weights = resolve_weights(self.weights, self.estimators)
        if splits is None:
            combine = "mean" if self.combine == "auto" else self.combine
            # A single stage needs none.
            thresholds = np.empty(0) if thresholds is None else thresholds
            policy = make_policy(members, combine, self.confidence, weights, thresholds)
            fitted = FittedCascade(members, policy)
        else:
            fitted = choose_policy(
                self, members, fits.held_out, data.labels, data.sample_weight, weights, thresholds
            )
        record = certification_record(
            fitted,
            data.X,
            unused=splits is None and all(member.frozen for member in data.members),
            held_out=fits.held_out,
            labels=data.labels,
            sample_weight=data.sample_weight,
        )
        self.fitted_ = replace(fitted, members=mark_additive_parts(fitted), record=record)
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
        X : array-like or object with n_samples rows
            Rows like those to come, best not those of the fit.
        y : array-like of shape (n_samples,), default=None
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        scoring : str or callable, default=None
            Scorer for `y`; by default that of the parameter.
        compare : bool, default=True
            With `y`, call every member for all rows, once, so that each member alone and all
            together stand beside the cascade. False keeps to the rows that reach each member.

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
            scoring=scoring or self.scoring,
            compare=compare,
            run=self._run,
            combine_all=self._combine_all,
            title=self._report_title(),
            exits_early=True,
            certificate=self.fitted_.certificate,
            compare_with_full_ensemble=partial(compare_with_full_ensemble, self),
        )

    def with_thresholds(self, thresholds):
        """Return a fitted copy at another operating point; the members are shared.

        Parameters
        ----------
        thresholds : float, array-like of shape (n_estimators - 1,) or CertificationReport
            As the parameter of the same name; or the report of `certify`, which then stays with
            the copy as `certificate_` until it is fitted.

        Returns
        -------
        cascade : CascadeClassifier
            With `thresholds` as parameter and in force, and `combine` as it is in force. It has no
            ``tuned_score_`` or ``cross_fitted_score_``: these belong to the tuned thresholds.

        Raises
        ------
        ValueError
            If the thresholds do not fit the estimators, these were changed since the fit, or the
            report is about another cascade.
        """
        check_is_fitted(self)
        fitted = self.fitted_
        names, combine = fitted.members.names, fitted.policy.combine
        if [name for name, _ in active_members(self.estimators)] != names:
            raise ValueError(
                f"estimators={self.estimators!r} were changed since the fit, which knew {names}; "
                f"expected a fit in between"
            )
        certificate = None
        if isinstance(thresholds, CertificationReport):
            certificate = thresholds
            if (list(certificate.names), certificate.combine) != (names, combine):
                raise ValueError(
                    f"thresholds: the report is about {list(certificate.names)} with "
                    f"combine={certificate.combine!r}; this cascade has {names} with "
                    f"combine={combine!r}: expected a report of this cascade's own certify"
                )
            thresholds = list(certificate.thresholds)
        checked = check_thresholds(thresholds, self.estimators)
        policy = fitted.policy._replace(thresholds=checked.tolist())
        fitted = replace(fitted, policy=policy, tuning=TuningFigures(), certificate=certificate)
        # A fit of the copy is to mean the same, hence its combination.
        return self._with_fitted(fitted, thresholds=thresholds, combine=combine)

    def certify(
        self,
        X,
        y=None,
        *,
        risk="accuracy_gap",
        reference="cascade",
        epsilon=0.01,
        delta=0.1,
        tuning_size=None,
        sample_weight=None,
        max_weight=None,
        max_mean_cost=None,
        on_refusal="raise",
        random_state=None,
    ):
        """Find the cheapest thresholds whose loss on new rows is small, with a guarantee.

        With probability 1 - `delta` over draws of the certification rows, early exit at the
        thresholds returned costs at most `epsilon` of accuracy on new rows, or nothing is
        certified. This cascade does not change: ``cascade.with_thresholds(report)`` puts the
        thresholds into force.

        **The certificate holds for new rows drawn like the calibration rows; if the population
        drifts it can fail without any visible sign - a new segment making up one percent of the
        rows, on which an early model is confidently wrong, is enough to break a one-percent
        guarantee - so keep running every model on a small random sample of production rows and
        re-certify.**

        **It is void where the rows chose anything**: those that members were trained on,
        thresholds, confidence or calibration were tuned on, or that a search or an earlier
        ``certify`` with other settings has seen (to try k settings, divide `delta` by k).
        Rows that this cascade's own fit used are recognised and refused; others cannot be. Rows
        have to be independent: of rows that belong together pass only one.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Calibration rows, drawn like those to come. Every member is called for each of them,
            once.
        y : array-like of shape (n_samples,), default=None
            True labels; None for "disagreement". A label that no member knows counts as wrong
            for the cascade and its reference.
        risk : {"accuracy_gap", "disagreement"}, default="accuracy_gap"
            What is bounded: the accuracy of the reference minus the cascade's, by the exact paired
            test of `noninferiority_pvalue`; or the share of rows that get another label than from
            the reference, which needs no labels, by the exact binomial test.
        reference : {"cascade", "best_member", "every_member"} or str, default="cascade"
            What the cascade is compared with: itself without early exit; the member that is best on
            the tuning rows; each member; or the member of this name. For the parts of one
            ensemble a member is the ensemble up to that part.
        epsilon : float, default=0.01
            Largest loss, as a share of the rows.
        delta : float, default=0.1
            Probability that the certificate is wrong.
        tuning_size : float or int, default=None
            Rows of `X` set aside at random to draw the path of thresholds, which then certify
            nothing: a share or a number. None: 0.2, or no row where the fit tuned thresholds, as
            its held-out rows serve.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows: the loss is then the weighted mean. Row i is kept with probability
            ``sample_weight[i] / max_weight``, and the rows kept count alike.
        max_weight : float, default=None
            Largest weight that a row can have. None takes the largest given, which is
            exact only if that is known to be the largest there is.
        max_mean_cost : float, default=None
            Also guarantee, within `delta`, half of which this takes, that the mean cost of new
            rows is no larger.
        on_refusal : {"raise", "warn"}, default="raise"
            Where nothing can be certified: raise, or warn and return the report, whose thresholds
            never exit.
        random_state : int, RandomState instance or None, default=None
            Draws the rows set aside and those kept by weight. None is a fixed seed: trying seeds
            until one certifies makes the certificate void.

        Returns
        -------
        report : CertificationReport
            Prints as a table; ``to_dict()``, ``to_frame()``.

        Raises
        ------
        CertificationError
            If nothing can be certified and `on_refusal` is "raise"; its ``report`` tells why.
        ValueError
            If a parameter is out of its range, or the fit has used the rows.

        See Also
        --------
        noninferiority_pvalue : The test.
        min_certification_samples : Rows that it takes at the very least.

        References
        ----------
        A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei. "Learn then Test:
        Calibrating Predictive Algorithms to Achieve Risk Control." 2021.

        Examples
        --------
        >>> from sklearn.datasets import make_classification
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn_cascade import CascadeClassifier
        >>> X, y = make_classification(3000, 8, n_informative=6, random_state=0)
        >>> members = [("linear", LogisticRegression()), ("neighbors", KNeighborsClassifier())]
        >>> cascade = CascadeClassifier(members, costs=[1, 20]).fit(X[:1000], y[:1000])
        >>> report = cascade.certify(X[1000:], y[1000:], epsilon=0.02)
        >>> report.certified, report.saving > 1
        (True, True)
        >>> certified = cascade.with_thresholds(report)
        >>> certified.certificate_ is report
        True
        """
        rows, n_samples = self._check_X(X)
        indexable(rows, y)
        if on_refusal not in ("raise", "warn"):
            raise ValueError(f"on_refusal={on_refusal!r}; expected 'raise' or 'warn'")
        spec = make_spec(self.fitted_, risk, reference, epsilon, delta, max_mean_cost)
        report = certify(
            self.fitted_,
            spec,
            rows,
            y,
            original_X=X,
            n_samples=n_samples,
            tuning_size=tuning_size,
            sample_weight=sample_weight,
            max_weight=max_weight,
            random_state=random_state,
        )
        if not report.certified:
            if on_refusal == "raise":
                raise CertificationError(report.message, report)
            warn_caller(report.message, NotCertifiedWarning)
        return report

    @classmethod
    def from_ensemble(
        cls,
        fitted,
        *,
        max_disagreement=None,
        X_tune=None,
        stopping="probabilistic",
        checkpoints=None,
        costs=None,
        cost_unit=None,
        delta=None,
    ):
        """Turn one fitted forest, bagging or soft voting into a cascade of its own parts.

        **What it does not give**: better answers. Labels are kept; the probabilities of rows
        that exit early are those of the members run, hence rougher than the ensemble's,
        often with a worse log loss than an ensemble truncated to the same cost. Where
        probabilities matter, truncate, or calibrate the cascade.

        A row goes through as many members as it takes to know the label that all of them would
        give. No member is called twice, and the members add to one running sum, so a row that
        never exits costs what it costs in the ensemble and gets its probabilities bit for bit
        (given that the ensemble's ``n_jobs`` does not reorder its own sum; members of a soft vote
        that return float32 are summed in float64 here, with less rounding than there).

        Parameters
        ----------
        fitted : classifier
            RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or soft
            VotingClassifier, fitted. It is shared, not copied.
        max_disagreement : float, default=None
            Largest share of rows that may get another label than the ensemble's, for example
            0.005. The confidence is then "vote_margin", the margin of the leading class in standard
            errors, with one threshold for all parts, tuned on `X_tune`.
        X_tune : array-like of shape (n_samples, n_features), default=None
            Rows like those to come, without labels, and **none that the ensemble was trained
            on**: there it agrees with itself far too early.
        stopping : {"probabilistic", "exact"}, default="probabilistic"
            Where `max_disagreement` is None: exit once the probability that the answer differs
            from the ensemble's is at most `delta` by Serfling's inequality, which takes the
            members of a forest for a random draw; or only once the members left could not change
            the label.
        checkpoints : sequence of int, default=None
            As in `split_ensemble`. None means 55 %, 60 % and so on of the members for "exact",
            since no label is certain before half of them agree.
        costs : array-like of shape (n_stages,), dict or "measured", default=None
            Cost of one row in each part. None counts members; the members of a voting classifier
            differ, so theirs are measured on `X_tune`. "measured" does so for any ensemble.
        cost_unit : str, default=None
            Unit of `costs`.
        delta : float, default=None
            Probability that the bound fails: of `max_disagreement` over draws of `X_tune`
            (None: 0.05), or of "probabilistic" for a row (None: 0.01).

        Returns
        -------
        cascade : CascadeClassifier
            Fitted. With `max_disagreement` it has ``tuned_disagreement_``, the share of
            `X_tune` with another label, and ``disagreement_bound_``, its upper confidence limit.

        Raises
        ------
        TypeError
            If the ensemble's parts do not add up to the full ensemble.
        ValueError
            If a parameter is out of its range, or `X_tune` has too few rows to show that
            the disagreement is small enough.

        See Also
        --------
        split_ensemble : The stages alone.

        References
        ----------
        R. J. Serfling. "Probability Inequalities for the Sum in Sampling without Replacement."
        Annals of Statistics, 1974.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> from sklearn_cascade import CascadeClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> forest = RandomForestClassifier(200, random_state=0).fit(X[:900], y[:900])
        >>> cascade = CascadeClassifier.from_ensemble(forest)
        >>> bool((cascade.predict(X[900:]) == forest.predict(X[900:])).mean() > 0.99)
        True
        >>> bool(cascade.predict_details(X[900:]).cost.mean() < 150)
        True
        """
        return cascade_of_parts(
            cls,
            fitted,
            max_disagreement=max_disagreement,
            X_tune=X_tune,
            stopping=stopping,
            checkpoints=checkpoints,
            costs=costs,
            cost_unit=cost_unit,
            delta=delta,
        )

    def _check_parameters(self):
        if (resolve_weights(self.weights, self.estimators) == 0).any():
            raise ValueError(f"weights={self.weights!r}; expected numbers above zero")
        self._check_costs()
        if as_learned_confidence(self.confidence) is not None and self.allow_abstain:
            raise ValueError(
                f"confidence={self.confidence!r} with allow_abstain=True; expected "
                f"allow_abstain=False, or another confidence: nothing is learned from a member "
                f"that abstains"
            )
        given = self._given_thresholds()
        if self.confidence == "vote_margin" and (given is None or self.combine not in _MEAN):
            raise ValueError(
                f"confidence='vote_margin' with thresholds={self.thresholds!r} and "
                f"combine={self.combine!r}; expected thresholds in standard errors and the mean: "
                f"CascadeClassifier.from_ensemble(fitted, max_disagreement=...) tunes them"
            )

    def _given_thresholds(self):
        """Return the thresholds as given (n_stages - 1,), None where they are to be tuned."""
        if isinstance(self.thresholds, str):
            return None
        return check_thresholds(self.thresholds, self.estimators)

    def _with_fitted(self, fitted, **params):
        """Return a copy with another fitted state, and with the parameters that belong to it.

        The one place that builds a fitted cascade without a fit.
        """
        other = copy.copy(self)
        for name, value in params.items():
            setattr(other, name, value)
        other.fitted_ = fitted
        return other

    def _predict(self, X) -> RoutingResult:
        """Route a batch through the stages."""
        X, n_samples = self._check_X(X)
        return self._run(self.fitted_.members.stages, X, n_samples)

    def _run(self, stages, X, n_samples) -> RoutingResult:
        """Route prepared rows through the stages, or through what these returned before."""
        keep_on_error = self.on_stage_error == "keep_previous"
        return route(stages, X, n_samples, self.fitted_.policy, keep_on_error=keep_on_error)

    def _combine_all(self, outputs):
        """Return the answer of all members (n_samples, n_classes), without any early exit."""
        if self.fitted_.members.stages[0].is_additive:
            return outputs[-1]
        policy = self.fitted_.policy
        combiner = policy.begin()
        for output, weight, confidence in zip(
            outputs, self.weights_, policy.confidences, strict=True
        ):
            if output is not None:
                combiner.add(output, weight, confidence)
        return combiner.proba

    def _report_title(self):
        """Return the words that head the report."""
        kind = self.confidence if isinstance(self.confidence, str) else "own confidence"
        kind = "learned" if self.fitted_.policy.learned else kind
        answer = {
            "mean": "mean of the stages run",
            "last": "last stage run",
            "most_confident": "most confident stage run",
        }[self.fitted_.policy.combine]
        return f"Cascade of {len(self.fitted_.members.stages)} stages · {answer} · {kind}"
