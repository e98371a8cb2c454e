"""Asking one member: its probabilities, checked, in the committee's columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator

from sklearn_cascade.estimators._labels import align_columns
from sklearn_cascade.exceptions import InvalidProbabilitiesError, MemberFailedError
from sklearn_cascade.rules import RunningAnswer, check_proba


class Stage(NamedTuple):
    """A fitted member at its place.

    Attributes
    ----------
    position : int
        Place in the running order, from 0.
    name : str
        Its name.
    estimator : classifier
        Fitted.
    columns : ndarray of int or None
        Column of the committee for each of its own; None where they agree.
    n_classes : int
        Number of the committee's classes.
    allow_abstain : bool
        Accept rows of NaN.
    adds_up : bool
        A part of one ensemble that adds its members to the running sum of the parts before.
    """

    position: int
    name: str
    estimator: object
    columns: np.ndarray | None
    n_classes: int
    allow_abstain: bool
    adds_up: bool = False

    def ask(self, X, n_samples: int) -> np.ndarray:
        """Return its probabilities for some rows: shape (n_samples, n_classes).

        Raises
        ------
        MemberFailedError
            If the member raises.
        InvalidProbabilitiesError
            If its answer is not a matrix of probabilities.
        """
        model = self.estimator
        # Straight to the model: the wrapper looks every attribute up anew.
        if type(model) is FrozenEstimator:
            model = model.estimator
        try:
            proba = model.predict_proba(X)
        except InvalidProbabilitiesError as error:
            raise InvalidProbabilitiesError(self.name, error.problem) from error
        except Exception as error:
            raise self._failure(model, error) from error
        columns, n_classes = self.columns, self.n_classes
        width = n_classes if columns is None else len(columns)
        proba = check_proba(
            proba, n_samples, width, member=self.name, allow_abstain=self.allow_abstain
        )
        return proba if columns is None else align_columns(proba, columns, n_classes)

    def carry_on(self, running: RunningAnswer, X) -> np.ndarray:
        """Add this part to the sum so far; return the answer (n_samples, n_classes)."""
        return running.carry(self.add_to(running.total, X), self.estimator.divisor)

    def add_to(self, total: np.ndarray | None, X) -> np.ndarray:
        """Return a running sum with this part's members added, for prepared X."""
        try:
            return self.estimator.add_to(total, X)
        except Exception as error:
            raise self._failure(self.estimator, error) from error

    def _failure(self, model, error: Exception) -> MemberFailedError:
        """Return the error that tells which member failed, and how."""
        cause = f"{type(error).__name__}: {error}"
        return MemberFailedError(self.name, self.position, type(model).__name__, cause)
