"""Exit stage to cost: a row pays for every stage that ran for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# The unit where costs are given without one, and where each stage counts one.
DEFAULT_UNIT = {"given": "cost units", "counted": "stages"}


def cumulative_costs(costs: np.ndarray) -> np.ndarray:
    """Return what a row has paid once each stage has run: shape (n_stages,)."""
    return np.cumsum(np.asarray(costs, dtype=np.float64))


def row_costs(last_called: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Return the cost of each row from the last stage called for it: shape (n_samples,)."""
    return cumulative_costs(costs)[last_called]


def worst_case_cost(costs: np.ndarray) -> float:
    """Return the cost of a row that goes through every stage."""
    return float(np.sum(costs, dtype=np.float64))


def within_limit(cost: float | np.ndarray, limit: float | None) -> bool | np.ndarray:
    """Tell whether a cost is within a limit; None is no limit, and rounding does not count."""
    return cost <= (np.inf if limit is None else limit + 1e-12 * abs(limit))


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
