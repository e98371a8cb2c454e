"""Checks of parameters: one word of several, a share, numbers by name, weights of the samples."""

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


def check_share(parameter: str, value) -> None:
    """Raise unless a value is strictly between 0 and 1."""
    if not isinstance(value, Real) or not 0 < value < 1:
        raise ValueError(f"{parameter}={value!r}; expected a number above 0 and below 1")


def check_sample_weight(sample_weight, X) -> np.ndarray | None:
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


def numbers_by_name(
    parameter: str,
    value,
    names: Sequence[str],
    *,
    used: Sequence[bool] | None = None,
    defaults: Mapping | None = None,
) -> np.ndarray:
    """Return one number per name, given as a list or by name; finite and not below zero.

    Parameters
    ----------
    parameter : str
        Name for the errors.
    value : array-like of shape (n_names,) or mapping from name to number
        The numbers.
    names : sequence of str
        The names, in order.
    used : sequence of bool, default=None
        Names that need a number; the others may have any, or none. None: all do.
    defaults : mapping, default=None
        Numbers of the names that a mapping leaves out.

    Returns
    -------
    numbers : ndarray of shape (n_names,)

    Raises
    ------
    ValueError
        For another count, unknown or missing names, and anything but finite numbers of at
        least zero.
    """
    used = np.ones(len(names), dtype=bool) if used is None else np.asarray(used)
    if isinstance(value, Mapping):
        by_name = _complete_mapping(parameter, value, names, used, defaults or {})
        numbers = as_numbers(parameter, [by_name.get(name, 0.0) for name in names])
    else:
        numbers = as_numbers(parameter, value)
        if numbers.shape != (len(names),):
            raise ValueError(
                f"{parameter}={value!r} has {numbers.size} values; expected one for each of "
                f"the {len(names)} estimators: {list(names)}"
            )
    if not np.isfinite(numbers[used]).all() or (numbers[used] < 0).any():
        raise ValueError(f"{parameter}={value!r}; expected finite numbers, none below zero")
    return numbers


def as_numbers(parameter: str, value) -> np.ndarray:
    """Return an array of numbers, or raise naming the parameter."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{parameter}={value!r}; expected numbers ({error})") from error


def _complete_mapping(parameter, value, names, used, defaults) -> dict:
    """Return the mapping with defaults filled in; raise for names unknown or missing."""
    unknown = sorted(set(value) - set(names), key=str)
    by_name = {**defaults, **value}
    missing = [name for name, needed in zip(names, used, strict=True) if needed]
    missing = [name for name in missing if name not in by_name]
    if unknown or missing:
        wrong = f"names {unknown}, which are no estimators" if unknown else f"leaves out {missing}"
        raise ValueError(
            f"{parameter}={dict(value)!r} {wrong}; expected one value for each of {list(names)}"
        )
    return by_name
