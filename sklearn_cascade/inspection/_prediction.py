"""What one pass over some rows found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CascadePrediction(NamedTuple):
    """Answers of a committee with the stage that gave them and what they cost.

    Attributes
    ----------
    label : ndarray of shape (n_samples,)
        Predicted labels.
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    exit_stage : ndarray of int of shape (n_samples,)
        The stage that answered, counted from 0.
    cost : ndarray of shape (n_samples,)
        Cost of every stage that ran for the row, in the committee's ``cost_unit_``.
    """

    label: np.ndarray
    proba: np.ndarray
    exit_stage: np.ndarray
    cost: np.ndarray
