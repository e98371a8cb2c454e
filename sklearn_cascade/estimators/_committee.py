"""What the two committees share: fitting the members, costs, prediction and the report."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import n_rows, take_rows
from sklearn_cascade.estimators._member_owner import MemberOwner
from sklearn_cascade.estimators._passage import Passage
from sklearn_cascade.exceptions import InvalidProbabilitiesError, MemberFailedError
from sklearn_cascade.inspection import (
    CascadePrediction,
    build_report,
)
from sklearn_cascade.rules import check_weights_of_rows, fill_abstained, row_costs


class Committee(MemberOwner):
    """Abstract base of `AveragingEnsemble` and `CascadeClassifier`."""

    _exits_early = False

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

    @abstractmethod
    def _run(self, asks, X, n_samples) -> Passage:
        """Answer a batch by asking the members."""

    @abstractmethod
    def _all_together(self, proba):
        """Return the answer of all members, without any early exit."""

    @abstractmethod
    def _report_title(self):
        """Return the words that head the report."""

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
