"""Answering through the committee that a search chose."""

from __future__ import annotations

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade.rules import score_answers


def is_refitted(search):
    """Tell whether the search can answer; raise as for any method that only `refit` gives."""
    if not search.refit:
        raise AttributeError(
            f"refit={search.refit!r}, so there is no fitted cascade to ask; expected refit=True"
        )
    return True


class ThroughBest:
    """Mixin for a search with `best_estimator_`: predictions, report and score are its own."""

    @available_if(is_refitted)
    def predict(self, X):
        """Predict the most probable class of each row with the committee chosen.

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
        """Predict class probabilities with the committee chosen.

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
        """Predict, and tell which stage answered each row and what it cost.

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
        """Return the score of the committee chosen, by `scoring`.

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
        return score_answers(self.scoring, proba, np.asarray(y), self.classes_, sample_weight)

    @available_if(is_refitted)
    def cost_report(self, X, y=None, sample_weight=None, *, scoring=None, compare=True):
        """Report what rows cost the committee chosen, and with `y` how good its answers are.

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
