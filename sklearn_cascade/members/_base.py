"""The base of all members that come fitted: used as they are, never cloned, never fitted."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

_ANY_INPUT = ("sparse", "allow_nan", "string", "categorical", "three_d_array")


class FittedClassifier(ClassifierMixin, BaseEstimator, metaclass=ABCMeta):
    """Abstract base of the classifiers that are fitted from the start."""

    @abstractmethod
    def _valid_proba(self, X) -> np.ndarray:
        """Return the probabilities of X; raise for rows of NaN, which mean "don't know"."""

    def fit(self, X, y=None, **fit_params):
        """Do nothing: the model is fitted.

        Parameters
        ----------
        X, y, **fit_params : object
            Ignored.

        Returns
        -------
        self : classifier
            The classifier itself.
        """
        return self

    def predict(self, X):
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : object with n_samples rows
            As in `predict_proba`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels from ``classes_``.
        """
        return self.classes_[self._valid_proba(X).argmax(axis=1)]

    def __sklearn_clone__(self):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        for kind in _ANY_INPUT:
            setattr(tags.input_tags, kind, True)
        return tags
