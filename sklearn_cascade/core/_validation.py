"""Checks of parameters: one word of several, a share, numbers by name, weights of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length


def check_one_of(parameter: str, value: Any, accepted: Sequence[str]) -> None:
    """Raise unless a value is one of the words accepted."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{parameter}={value!r}; expected one of {list(accepted)}")


def check_share(parameter: str, value: Any) -> None:
    """Raise unless a value is strictly between 0 and 1."""
    if not isinstance(value, Real) or not 0.0 < float(value) < 1.0:
        raise ValueError(f"{parameter}={value!r}; expected a number above 0 and below 1")


def check_sample_weight(sample_weight: Any, X: Any) -> np.ndarray | None:
    """Return finite, non-negative weights of the rows, not all zero; None stays None."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        raise ValueError(
            f"sample_weight={sample_weight!r}; expected an array with one weight per row"
        )
    weight: np.ndarray = check_array(
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


def numbers_by_name(
    parameter: str,
    value: Any,
    names: Sequence[str],
    *,
    used: Sequence[bool] | None = None,
    defaults: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return one number per name (n_names,), from a list or from a mapping by name.

    An error for another count, unknown or missing names, and anything but finite numbers of at
    least zero. Names that are not `used` need no number, and may have any. `defaults` has numbers
    for the names that a mapping leaves out.
    """
    needed = np.ones(len(names), dtype=bool) if used is None else np.asarray(used)
    if isinstance(value, Mapping):
        by_name = {**(defaults or {}), **value}
        unknown = sorted(set(value) - set(names), key=str)
        required = [name for name, need in zip(names, needed, strict=True) if need]
        missing = [name for name in required if name not in by_name]
        if unknown or missing:
            wrong = (
                f"names {unknown}, which are no estimators" if unknown else f"leaves out {missing}"
            )
            raise ValueError(
                f"{parameter}={dict(value)!r} {wrong}; expected one value for each of {list(names)}"
            )
        numbers = as_numbers(parameter, [by_name.get(name, 0.0) for name in names])
    else:
        numbers = as_numbers(parameter, value)
        if numbers.shape != (len(names),):
            raise ValueError(
                f"{parameter}={value!r} has {numbers.size} values; expected one for each of "
                f"the {len(names)} estimators: {list(names)}"
            )
    if not np.isfinite(numbers[needed]).all() or (numbers[needed] < 0).any():
        raise ValueError(f"{parameter}={value!r}; expected finite numbers, none below zero")
    return numbers


def as_numbers(parameter: str, value: Any) -> np.ndarray:
    """Return an array of numbers, or raise naming the parameter."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{parameter}={value!r}; expected numbers ({error})") from error
