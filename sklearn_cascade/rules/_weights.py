"""Weights of the rows, checked."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length


def check_weights_of_rows(sample_weight, X) -> np.ndarray | None:
    """Return finite, non-negative weights of the rows, not all zero; None stays None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        raise ValueError(
            f"sample_weight={sample_weight!r}; expected an array with one weight per row"
        )
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got shape {weight.shape}")
    check_consistent_length(X, weight)
    if (weight < 0).any():
        raise ValueError(f"sample_weight holds {weight.min()}; expected no weight below zero")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight
