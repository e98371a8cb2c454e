"""What the two committees share: fitting the members, costs, prediction and the report."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import n_rows
from sklearn_cascade.estimators._member_owner import MemberOwner
from sklearn_cascade.estimators._passage import Passage
from sklearn_cascade.estimators._recorded import record_stages
from sklearn_cascade.inspection import CascadePrediction, build_report
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

    def cost_report(self, X, y=None, sample_weight=None, *, scoring=None, compare=True):
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
        report : CostReport
            Prints as a table; ``to_frame()``, ``to_dict()``.
        """
        given = X
        X, n_samples = self._enter(X)
        indexable(X, y)
        weight = check_weights_of_rows(sample_weight, X)
        recorded = None
        if compare and (y is not None or self._stages[0].adds_up):
            recorded = record_stages(self._stages, X, n_samples)
        if recorded is None:
            alone, passage = None, self._run(self._stages, X, n_samples).expand()
        else:
            alone = [stage.proba for stage in recorded]
            if self._stages[0].adds_up and alone[-1] is None:
                # A part failed, so nobody knows what the whole would say.
                alone = None
            passage = self._run(recorded, np.arange(n_samples), n_samples).expand()
        return build_report(
            title=self._report_title(),
            exits_early=self._exits_early,
            names=self._stage_names(),
            costs=self.costs_,
            unit=self.cost_unit_,
            conditions=self.cost_conditions_,
            passage=passage,
            y=None if y is None else np.asarray(y),
            classes=self.classes_,
            sample_weight=weight,
            scoring=scoring or getattr(self, "scoring", None) or "accuracy",
            alone=None if alone is None or y is None else [self._answered(p) for p in alone],
            together=None if alone is None else self._answered(self._all_together(alone)),
            whole=None if alone is None else self._compare_with_whole(given, passage, alone),
            certificate=getattr(self, "certificate_", None),
        )

    @abstractmethod
    def _run(self, stages, X, n_samples) -> Passage:
        """Answer a batch by asking the members."""

    @abstractmethod
    def _all_together(self, proba):
        """Return the answer of all members, without any early exit."""

    def _compare_with_whole(self, X, passage, alone):
        """Return how parts of one ensemble compare with the whole; None for other members."""
        return None

    @abstractmethod
    def _report_title(self):
        """Return the words that head the report."""

    def _answered(self, proba):
        """Return the answers with class shares where all abstain; None stays None."""
        return None if proba is None else fill_abstained(proba, self._class_shares)

    def _pass(self, X) -> Passage:
        """Answer a batch."""
        X, n_samples = self._enter(X)
        return self._run(self._stages, X, n_samples)

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
        first = self._stages[0]
        # Parts of one ensemble want the same X: it is checked and converted once.
        return (first.estimator.prepare(X) if first.adds_up else X), n_samples
