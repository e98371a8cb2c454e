"""What the two committees share: fitting the members, costs, prediction and the report."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from contextlib import suppress

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Bunch, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import n_rows, routing_enabled, take_rows
from sklearn_cascade.estimators._answers import Stage
from sklearn_cascade.estimators._fitting import (
    Member,
    describe_members,
    fit_members,
    fitted_classes,
)
from sklearn_cascade.estimators._labels import Labels, encode_labels
from sklearn_cascade.estimators._named_members import NamedMembers
from sklearn_cascade.estimators._parameters import resolve_costs
from sklearn_cascade.estimators._passage import Passage
from sklearn_cascade.exceptions import InvalidProbabilitiesError, MemberFailedError
from sklearn_cascade.inspection import (
    CascadePrediction,
    build_report,
    measure_costs,
)
from sklearn_cascade.rules import check_weights_of_rows, fill_abstained, row_costs


class Committee(
    NamedMembers, ClassifierMixin, MetaEstimatorMixin, BaseEstimator, metaclass=ABCMeta
):
    """Abstract base of `AveragingEnsemble` and `CascadeClassifier`."""

    _exits_early = False
    # Both committees use weights themselves, so nobody needs to request them.
    __metadata_request__fit = {"sample_weight": True}

    @property
    def estimators_(self):
        """Fitted members, dropped ones left out: list of classifiers."""
        return [stage.estimator for stage in self._fitted_stages("estimators_")]

    @property
    def named_estimators_(self):
        """Fitted members by name: `sklearn.utils.Bunch`."""
        return Bunch(**{s.name: s.estimator for s in self._fitted_stages("named_estimators_")})

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
        proba = self._pass(X).proba
        return self.classes_[proba.argmax(axis=1)]

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
        return self._pass(X).proba

    def predict_details(self, X):
        """Predict, and tell which stage answered each row and what it cost, in one pass.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        prediction : CascadePrediction
            Arrays ``label``, ``proba``, ``exit_stage`` and ``cost``, the last in `cost_unit_`.
        """
        passage = self._pass(X).expand()
        return CascadePrediction(
            self.classes_[passage.proba.argmax(axis=1)],
            passage.proba,
            passage.exit_stage,
            row_costs(passage.last_called, self.costs_),
        )

    def compute_report(self, X, y=None, sample_weight=None, *, scoring=None, compare=True):
        """Report what rows cost, and with `y` how good the answers are.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Rows like those to come, best not those of the fit.
        y : array-like of shape (n_samples,), default=None
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        scoring : str or callable, default=None
            Scorer for `y`; by default this estimator's own, or accuracy.
        compare : bool, default=True
            With `y`, ask every member for all rows, once, so that each alone and all together
            stand beside the committee. False keeps to the rows that reach each member.

        Returns
        -------
        report : ComputeReport
            Prints as a table; ``to_frame()``, ``to_dict()``.
        """
        X, n_samples = self._enter(X)
        indexable(X, y)
        weight = check_weights_of_rows(sample_weight, X)
        alone = None
        if y is None or not compare:
            passage = self._pass(X)
        else:
            recorded = [_Recorded(stage, X, n_samples) for stage in self._stages]
            passage = self._run([r.ask for r in recorded], np.arange(n_samples), n_samples)
            alone = [r.proba for r in recorded]
        return build_report(
            title=self._report_title(),
            exits_early=self._exits_early,
            names=self._stage_names(),
            costs=self.costs_,
            unit=self.cost_unit_,
            conditions=self.cost_conditions_,
            passage=passage.expand(),
            y=None if y is None else np.asarray(y),
            classes=self.classes_,
            sample_weight=weight,
            scoring=scoring or getattr(self, "scoring", None) or "accuracy",
            alone=None if alone is None else [self._answered(proba) for proba in alone],
            together=None if alone is None else self._answered(self._all_together(alone)),
        )

    def get_metadata_routing(self):
        """Get the metadata routing of this estimator.

        Returns
        -------
        routing : MetadataRouter
            Consumer of `sample_weight`, and router to the members' ``fit``.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        for name, estimator in self._active_members():
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(**{name: estimator}, method_mapping=mapping)
        return router

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_stages")

    @abstractmethod
    def _run(self, asks, X, n_samples) -> Passage:
        """Answer a batch by asking the members."""

    @abstractmethod
    def _all_together(self, proba):
        """Return the answer of all members, without any early exit."""

    @abstractmethod
    def _report_title(self):
        """Return the words that head the report."""

    @abstractmethod
    def _check_parameters(self):
        """Raise for parameters that do not fit together; called before anything is fitted."""

    def _fitted_stages(self, attribute):
        """Return the stages, or raise as for any attribute that only `fit` sets."""
        if not hasattr(self, "_stages"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        return self._stages

    def _stage_names(self):
        """Return the names of the fitted members."""
        return [stage.name for stage in self._stages]

    def _answered(self, proba):
        """Return the answers with class shares where all abstain; None stays None."""
        return None if proba is None else fill_abstained(proba, self._class_shares)

    def _pass(self, X) -> Passage:
        """Answer a batch."""
        X, n_samples = self._enter(X)
        return self._run([stage.ask for stage in self._stages], X, n_samples)

    def _enter(self, X):
        """Return X with rows that can be taken, and their number."""
        # Looking is much cheaper than `check_is_fitted`, which builds the tags of all members.
        if not hasattr(self, "_stages"):
            check_is_fitted(self)
        # Arrays, the fastest way to ask for one row, need no look.
        if isinstance(X, np.ndarray) and X.ndim:
            n_samples = X.shape[0]
        else:
            (X,) = indexable(X)
            n_samples = n_rows(X)
        if n_samples == 0:
            raise ValueError("Found array with 0 sample(s) in X; at least one row is required")
        return X, n_samples

    def _begin_fit(self, X, y, sample_weight, fit_params):
        """Check everything that can be checked before a member is fitted."""
        self._validate_params()
        self._check_estimators()
        self._check_parameters()
        if fit_params and not routing_enabled():
            raise ValueError(
                f"fit got {sorted(fit_params)}; expected no other metadata than sample_weight, "
                f"unless sklearn.set_config(enable_metadata_routing=True) is in force and the "
                f"members request it with set_fit_request"
            )
        X, y = indexable(X, y)
        sample_weight = check_weights_of_rows(sample_weight, X)
        active = self._active_members()
        members = describe_members(self, active, sample_weight, fit_params)
        frozen = [fitted_classes(m.name, m.estimator) for m in members if m.frozen]
        labels = encode_labels(y, frozen)
        if len(labels.seen if len(frozen) < len(members) else labels.classes) < 2:
            raise ValueError(
                f"y holds 1 class, {labels.seen.tolist()}; a classifier needs rows of at least "
                f"two classes"
            )
        # Not fitted until all of it is.
        self.__dict__.pop("_stages", None)
        return X, labels, sample_weight, members

    def _fit_members(self, X, labels: Labels, sample_weight, members: list[Member]):
        """Return the members fitted on all rows, and set what both committees know of them."""
        fitted = fit_members(members, X, labels, self.n_jobs)
        shape = (len(labels.classes), self.allow_abstain)
        stages = [
            Stage(place, member.name, estimator, columns, *shape)
            for place, (member, (estimator, columns)) in enumerate(
                zip(members, fitted, strict=True)
            )
        ]
        self._class_shares = labels.shares(sample_weight) if self.allow_abstain else None
        self.classes_ = labels.classes
        for attribute in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(attribute, None)
            if hasattr(fitted[0][0], attribute):
                setattr(self, attribute, getattr(fitted[0][0], attribute))
        return stages

    def _set_costs(self, X, stages):
        """Set the cost of a row in each stage, with its unit and conditions."""
        costs = self.costs
        if isinstance(costs, str):
            costs = measure_costs([(stage.name, stage.estimator) for stage in stages], X)
        resolved = resolve_costs(costs, self.cost_unit, self.estimators)
        self.costs_, self.cost_unit_, self.cost_conditions_ = resolved

    def _check_costs(self):
        """Raise early for costs that name nobody or count wrongly."""
        if not (isinstance(self.costs, str) and self.costs == "measured"):
            resolve_costs(self.costs, self.cost_unit, self.estimators)


class _Recorded:
    """One member asked for all rows, once, and repeating itself for some of them."""

    def __init__(self, stage, X, n_samples):
        self._stage, self._X, self.proba = stage, X, None
        # It may fail on rows that never reach it; whether that counts shows when it is asked.
        with suppress(MemberFailedError, InvalidProbabilitiesError):
            self.proba = stage.ask(X, n_samples)

    def ask(self, rows, n_samples):
        """Return the recorded answer for some rows, or ask again for just these."""
        if self.proba is None:
            return self._stage.ask(take_rows(self._X, rows), n_samples)
        return self.proba[rows]
