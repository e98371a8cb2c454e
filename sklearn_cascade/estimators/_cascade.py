"""Run the members in order and stop as soon as the answer is sure."""

from __future__ import annotations

import copy
from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import StrOptions, warn_caller
from sklearn_cascade.core import (
    COMBINATIONS,
    CONFIDENCES,
    ProbaCombiner,
    check_scoring,
    stage_confidences,
)
from sklearn_cascade.estimators._base import Committee, check_thresholds, values_per_member
from sklearn_cascade.estimators._certify import Certifies
from sklearn_cascade.estimators._fitting import fit_all, split_rows
from sklearn_cascade.estimators._from_ensemble import FromEnsemble, share_sum
from sklearn_cascade.estimators._routing import Policy, route
from sklearn_cascade.exceptions import ScoreNotReachedWarning, UnseenClassWarning
from sklearn_cascade.inspection import CertificationReport
from sklearn_cascade.tuning import (
    N_TIMED,
    LearnedConfidence,
    TuningResult,
    as_learner,
    combinations_to_try,
    learn_confidences,
    seconds_to_judge,
    tune_cascade,
)


class Tunes:
    """Mixin for the cascade: choosing the combination and the thresholds."""

    def _split(self, X, labels, sample_weight, fit_params):
        """Check the scoring and return the splits; None where the thresholds are given."""
        if not self._tunes_thresholds() and self._learns() is None:
            return None
        weighted = sample_weight is not None and np.ptp(sample_weight) > 0
        check_scoring(self.scoring, weighted=weighted)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return split_rows(self, X, labels, {**fit_params, **weight})

    def _tune(self, held_out, labels, sample_weight):
        """Choose what is to be chosen from what the members said of held-out rows."""
        weight = np.ones(len(labels.y)) if sample_weight is None else sample_weight
        weight, y = weight[held_out.rows], labels.columns[held_out.rows]
        learned, confidence = {}, self.confidence
        if self._learns() is not None:
            learned = self._learn(held_out, y, weight)
            self._bill(learned, held_out)
            confidence = {way: ladder.confidence for way, ladder in learned.items()}
        if self._tunes_thresholds():
            self._adopt(self._tuned(held_out, y, weight, labels.classes, confidence))
        else:
            (self.combine_,) = learned
            self.thresholds_ = self._given_thresholds()
        if learned:
            stages = learned[self.combine_].stages
            self._confidences = stages + [None] * (len(self.costs_) - len(stages))

    def _tuned(self, held_out, y, weight, classes, confidence) -> TuningResult:
        """Return the best combination and thresholds."""
        return tune_cascade(
            held_out.proba,
            y,
            self.costs_,
            classes=classes,
            combine=self.combine,
            confidence=confidence,
            weights=self.weights_,
            scoring=self.scoring,
            sample_weight=weight,
            fold=held_out.fold,
            sample=held_out.rows,
            class_shares=self._class_shares,
        )

    def _adopt(self, tuned: TuningResult):
        """Put what was tuned into force."""
        if not tuned.reaches_floor:
            warn_caller(
                f"combine={self.combine!r} reaches {tuned.score:.6g} on held-out rows at best; "
                f"{tuned.floor:.6g} is reached by one member alone, hence by combine='last' or "
                f"'auto'",
                ScoreNotReachedWarning,
            )
        self.combine_ = tuned.combine
        self.thresholds_ = np.array(tuned.thresholds)
        self.tuned_score_, self.tuned_cost_ = tuned.score, tuned.cost
        self.cross_fitted_score_, self.cross_fitted_cost_ = (
            tuned.cross_fitted_score,
            tuned.cross_fitted_cost,
        )

    def _forget_tuning(self):
        """Drop what an earlier tuning found, and its certificate."""
        self.certificate_ = None
        for figure in ("score", "cost", "disagreement"):
            for attribute in (f"tuned_{figure}_", f"cross_fitted_{figure}_"):
                self.__dict__.pop(attribute, None)
        self.__dict__.pop("disagreement_bound_", None)


class Learns:
    """Mixin for the cascade: learning the confidence, and its seconds."""

    def _learns(self) -> LearnedConfidence | None:
        """Return the learner; None where the confidence is none that is learned."""
        return as_learner(self.confidence)

    def _check_learner(self):
        """Raise for what a learner cannot look at."""
        if self._learns() is not None and self.allow_abstain:
            raise ValueError(
                f"confidence={self.confidence!r} with allow_abstain=True; expected "
                f"allow_abstain=False, or another confidence: nothing is learned from a member "
                f"that says nothing"
            )

    def _learn(self, held_out, y, weight) -> dict:
        """Return a ladder of learned confidences for each combination that competes."""
        if self._tunes_thresholds():
            ways = combinations_to_try(self.combine, comparable=True)
        else:
            ways = ("mean" if self.combine == "auto" else self.combine,)
        return learn_confidences(
            self._learns(),
            held_out.proba,
            y,
            ways=ways,
            weights=self.weights_,
            sample_weight=weight,
            fold=held_out.fold,
            sample=held_out.rows,
        )

    def _bill(self, learned: dict, held_out):
        """Add the seconds of the learned confidence to measured costs; other units stay."""
        seconds = np.zeros(len(self.costs_))
        for way, ladder in learned.items():
            taken = _seconds_per_row(ladder.stages, held_out.proba, way, self.weights_)
            seconds[: len(taken)] = np.maximum(seconds[: len(taken)], taken)
        self.confidence_seconds_ = seconds
        if isinstance(self.costs, str):
            self.costs_ += seconds

    def _take_learned(self, committee):
        """Take over what a search learned for this cascade, with what it costs."""
        if committee.seconds is not None:
            self._confidences = committee.confidences
            self.confidence_seconds_, self.costs_ = committee.seconds, committee.costs


class Adjusts:
    """Mixin for the cascade: moving to another operating point without a fit."""

    def with_thresholds(self, thresholds):
        """Return a fitted copy at another operating point; the members are shared.

        Parameters
        ----------
        thresholds : float, array-like of shape (n_estimators - 1,) or CertificationReport
            As the parameter of the same name; or what `certify` returned, which then stays with
            the copy as `certificate_` until it is fitted.

        Returns
        -------
        cascade : CascadeClassifier
            With `thresholds` as parameter and in force, and `combine` as it is in force.

        Raises
        ------
        ValueError
            If the thresholds do not fit the estimators, these were changed since the fit, or the
            report is about another cascade.
        """
        check_is_fitted(self)
        if [name for name, _ in self._active_members()] != self._stage_names():
            raise ValueError(
                f"estimators={self.estimators!r} were changed since the fit, which knew "
                f"{self._stage_names()}; expected a fit in between"
            )
        certificate = None
        if isinstance(thresholds, CertificationReport):
            certificate = thresholds
            self._check_certificate(certificate)
            thresholds = list(certificate.thresholds)
        other = copy.copy(self)
        other.thresholds = thresholds
        # A fit of the copy is to mean the same.
        other.combine = self.combine_
        other.thresholds_ = check_thresholds(thresholds, self.estimators)
        other._forget_tuning()
        other.certificate_ = certificate
        return other

    def _check_certificate(self, report):
        """Raise where a report is about another cascade."""
        ours = (tuple(self._stage_names()), self.combine_)
        if (report.names, report.combine) != ours:
            raise ValueError(
                f"thresholds: the report is about {list(report.names)} with "
                f"combine={report.combine!r}; this cascade has {list(ours[0])} with "
                f"combine={ours[1]!r}: expected a report of this cascade's own certify"
            )


class CascadeClassifier(FromEnsemble, Adjusts, Certifies, Tunes, Learns, Committee):
    """Run classifiers in order and stop at the first that is sure enough.

    The members answer in the order of the list, usually from cheap to dear. After each stage the
    answer so far is the mean of the stages run (Wang et al., 2022 [1]_), the last one's
    (Streeter, 2018 [2]_) or the surest one's; a row whose confidence reaches the stage's
    threshold exits with it, and the others go on. A row pays for every stage that ran for it.

    Parameters
    ----------
    estimators : list of (str, classifier)
        Members with ``predict_proba``, in running order; "drop" in place of a classifier
        switches one off. Frozen ones (`sklearn.frozen.FrozenEstimator`, `PrefitClassifier`) are
        used as they are, all others are cloned and fitted.
    thresholds : "auto", float or array-like of shape (n_estimators - 1,), default="auto"
        Confidence at which a row exits: one number for all stages, or one for each of
        `estimators` but the last (dropped ones counted, or all left out). ``np.inf`` never
        exits, ``-np.inf`` always. A confidence short of a threshold by no more than rounding,
        ``clip((1 - threshold) / 10, 1e-6, 1e-5)``, exits too. "auto" takes the cheapest
        thresholds whose held-out score is not below the best of any single member and of no
        early exit, from out-of-fold probabilities.
    combine : {"auto", "mean", "last", "most_confident"}, default="auto"
        Answer with the mean of the stages run so far, with the last of them, or with the one of
        the highest confidence, so that an earlier stage may keep its answer. "auto" takes the
        best of these on the held-out rows, "most_confident" among them where the confidence is learned,
        hence comparable; and the mean where thresholds are given.
    confidence : str, LearnedConfidence or callable, default="max_proba"
        How sure an answer is. "max_proba": its largest probability. "margin": the largest minus
        the second. "entropy": one minus the normalised entropy. "learned": the estimated
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
        What "auto" holds. "accuracy", "balanced_accuracy", "neg_log_loss" and
        "neg_brier_score" are optimised exactly; any other scorer picks among the points that
        trade accuracy against cost best.
    cv : int, cross-validation generator or iterable, default=5
        Splits for "auto". An integer means stratified folds.
    on_stage_error : {"raise", "keep_previous"}, default="raise"
        When a stage after the first fails: raise, or keep the answer of the stages before it for
        the rows concerned, with a `StageFailedWarning`.
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
    classes_ : ndarray of shape (n_classes,)
        Labels of `y` and of all frozen members, sorted.
    estimators_ : list of classifiers
        The fitted members, dropped ones left out. Most are fitted on the codes 0, 1, ... of the
        labels; one with a ``class_weight`` dict, or that wraps a frozen model, on the labels.
    named_estimators_ : Bunch
        The same by name.
    thresholds_ : ndarray of shape (n_stages - 1,)
        Thresholds in force.
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
        What a learned confidence takes at most for a row after each stage, in seconds; part of
        `costs_` where these are measured. None with any other confidence.
    tuned_score_, tuned_cost_ : float
        Score and mean cost on the held-out rows that chose the thresholds, hence optimistic;
        only with "auto" and two stages or more.
    cross_fitted_score_, cross_fitted_cost_ : float
        The same, cross-fitted: thresholds chosen on all folds but one, and scored on that one.
    certificate_ : CertificationReport or None
        What `certify` promised of these thresholds, where `with_thresholds` was given that.
    n_features_in_ : int
        Number of features; only if the first member has it.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features; only if the first member has them.

    See Also
    --------
    AveragingEnsemble : Run all members and average.
    PrefitClassifier : Bring any function as a member.
    make_cost_scorer : Weigh score against cost in a stock search.

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
    _exits_early = True
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
        X, labels, sample_weight, members = self._begin_fit(X, y, sample_weight, fit_params)
        # Before anything is fitted, which may take long, only for the folds to be refused.
        splits = self._split(X, labels, sample_weight, fit_params) if len(members) > 1 else None
        fits = fit_all(
            members, X, labels, splits, allow_abstain=self.allow_abstain, n_jobs=self.n_jobs
        )
        stages = self._adopt_members(fits, labels, sample_weight, members)
        self._warn_of_unseen_classes(stages)
        self.weights_ = self._resolve_weights()
        self._set_costs(X, stages)
        self._forget_tuning()
        self._confidences = stage_confidences(self.confidence, self.weights_)
        self.confidence_seconds_ = None
        if splits is None:
            self.combine_ = "mean" if self.combine == "auto" else self.combine
            self.thresholds_ = self._given_thresholds()
            self._remember_fit(X, members)
        else:
            self._tune(fits.held_out, labels, sample_weight)
            self._remember_fit(X, members, fits.held_out, labels, sample_weight)
        # A learned confidence looks at what each part says by itself, which no sum tells.
        shares = self.confidence_seconds_ is None
        self._stages = share_sum(stages, self.weights_, self.combine_) if shares else stages
        return self

    def _adopt_stages(self, stages, classes, X=None):
        """Become fitted with members that were fitted elsewhere, at the thresholds given."""
        self.classes_, self._class_shares, self.certificate_ = classes, None, None
        self.weights_ = self._resolve_weights()
        self._confidences = stage_confidences(self.confidence, self.weights_)
        self.confidence_seconds_ = None
        self._set_costs(X, stages)
        self.combine_, self.thresholds_ = self.combine, self._given_thresholds()
        for attribute in ("n_features_in_", "feature_names_in_"):
            if hasattr(stages[0].estimator, attribute):
                setattr(self, attribute, getattr(stages[0].estimator, attribute))
        self._stages = share_sum(stages, self.weights_, self.combine_)

    def _check_parameters(self):
        if (self._resolve_weights() == 0).any():
            raise ValueError(f"weights={self.weights!r}; expected numbers above zero")
        self._check_costs()
        self._check_learner()
        if not self._tunes_thresholds():
            check_thresholds(self.thresholds, self.estimators)
        given = self.combine in ("auto", "mean") and not self._tunes_thresholds()
        if self.confidence == "vote_margin" and not given:
            raise ValueError(
                f"confidence='vote_margin' with thresholds={self.thresholds!r} and "
                f"combine={self.combine!r}; expected thresholds in standard errors and the mean: "
                f"CascadeClassifier.from_ensemble(fitted, max_disagreement=...) tunes them"
            )

    def _tunes_thresholds(self):
        """Tell whether the thresholds are to be tuned."""
        return isinstance(self.thresholds, str)

    def _given_thresholds(self):
        """Return the thresholds as given; none for a single stage."""
        if self._tunes_thresholds():
            return np.empty(0)
        return check_thresholds(self.thresholds, self.estimators)

    def _resolve_weights(self):
        """Return one weight per member that is not dropped."""
        weights = np.ones(len(self.estimators)) if self.weights is None else self.weights
        return values_per_member("weights", weights, self.estimators)

    def _warn_of_unseen_classes(self, stages):
        """Warn for stages before the last that can never answer some class."""
        for stage in stages[:-1]:
            if stage.columns is not None and len(stage.columns) < len(self.classes_):
                unseen = np.delete(self.classes_, stage.columns).tolist()
                warn_caller(
                    f"the member {stage.name!r} has never seen {unseen}: it will take their rows "
                    f"for other classes, maybe confidently, so that they exit with a wrong answer",
                    UnseenClassWarning,
                )

    def _policy(self):
        """Return how the stages are combined and when a row exits."""
        return Policy(
            self.combine_,
            self._confidences,
            self.thresholds_.tolist(),
            self.weights_.tolist(),
            self._class_shares,
            self.on_stage_error == "keep_previous",
            self.confidence_seconds_ is not None,
        )

    def _run(self, stages, X, n_samples):
        return route(stages, X, n_samples, self._policy())

    def _all_together(self, proba):
        if self._stages[0].adds_up:
            return proba[-1]
        answered = [place for place, answer in enumerate(proba) if answer is not None]
        running = self._policy().begin()
        for place in answered:
            running.add(proba[place], self.weights_[place], self._confidences[place])
        return running.proba

    def _report_title(self):
        kind = self.confidence if isinstance(self.confidence, str) else "own confidence"
        kind = kind if self.confidence_seconds_ is None else "learned"
        answer = {
            "mean": "mean of the stages run",
            "last": "last stage run",
            "most_confident": "surest stage run",
        }
        return f"Cascade of {len(self._stages)} stages · {answer[self.combine_]} · {kind}"


def _seconds_per_row(stages, proba, combine: str, weights) -> list[float]:
    """Return what each learned confidence takes for a row, in a batch."""
    running, seconds = ProbaCombiner("mean" if combine == "mean" else "last", remember=True), []
    for stage, answer, weight in zip(stages, proba, weights, strict=False):
        running.add(answer[:N_TIMED], weight)
        seconds.append(seconds_to_judge(running, stage))
    return seconds
