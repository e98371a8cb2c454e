"""Values given per member, as a list or by name, and thresholds, checked."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import numpy as np

from sklearn_cascade.estimators._named_members import is_dropped
from sklearn_cascade.inspection import MeasuredCosts
from sklearn_cascade.rules import DEFAULT_UNIT, as_numbers, numbers_by_name


def values_per_member(parameter: str, value, estimators, defaults: Mapping | None = None):
    """Return one finite, non-negative number per member that is not dropped.

    Parameters
    ----------
    parameter : str
        Name for the errors.
    value : array-like of shape (len(estimators),) or mapping from name to number
        A list counts dropped members, like `estimators` does.
    estimators : list of (name, estimator)
        All entries.
    defaults : mapping, default=None
        Values of the names that a mapping leaves out.

    Returns
    -------
    values : ndarray of shape (n_active,)
    """
    names = [name for name, _ in estimators]
    active = [not is_dropped(estimator) for _, estimator in estimators]
    values = numbers_by_name(parameter, value, names, used=active, defaults=defaults)
    return values[active]


def resolve_costs(costs, cost_unit, estimators):
    """Return the cost of a row in each active member, its unit, and how it was measured.

    Parameters
    ----------
    costs : None, array-like, mapping or MeasuredCosts
        None: what the members declare in an attribute `cost`, else one each.
    cost_unit : str or None
        Unit given by the user.
    estimators : list of (name, estimator)
        All entries.

    Returns
    -------
    costs : ndarray of shape (n_active,)
    unit : str
    conditions : dict or None
    """
    if isinstance(costs, str):
        raise ValueError(
            f"costs={costs!r}; expected 'measured', None, one number per member or a mapping from "
            f"name to number"
        )
    declared = {
        name: float(estimator.cost)
        for name, estimator in estimators
        if isinstance(getattr(estimator, "cost", None), Real)
    }
    unit, conditions = DEFAULT_UNIT["given"], None
    if isinstance(costs, MeasuredCosts):
        unit, conditions = costs.unit, costs.conditions
    silent = [n for n, est in estimators if not is_dropped(est) and n not in declared]
    if costs is None and declared and silent:
        raise ValueError(
            f"costs=None leaves out {silent}: {sorted(declared)} declare a cost of their own; "
            f"expected costs for each of {[name for name, _ in estimators]}"
        )
    if costs is None and declared:
        costs = declared
    elif costs is None:
        costs, unit = np.ones(len(estimators)), DEFAULT_UNIT["counted"]
    return values_per_member("costs", costs, estimators, declared), cost_unit or unit, conditions


def check_thresholds(thresholds, estimators) -> np.ndarray:
    """Return one threshold per active stage but the last.

    A list counts dropped members, like `estimators` does, or leaves them all out.
    """
    active = np.array([not is_dropped(estimator) for _, estimator in estimators])
    if isinstance(thresholds, Real):
        values = np.full(len(estimators), float(thresholds))
    else:
        given = as_numbers("thresholds", thresholds)
        if given.shape == (active.sum() - 1,):
            return _without_nan(given, thresholds)
        if given.shape != (len(estimators) - 1,):
            raise ValueError(
                f"thresholds={thresholds!r} has {given.size} values; expected 'auto', one number, "
                f"or one for each of the {len(estimators)} estimators but the last"
            )
        values = np.append(given, np.inf)
    return _without_nan(values[active][:-1], thresholds)


def _without_nan(values: np.ndarray, thresholds) -> np.ndarray:
    """Return the values, or raise where one is NaN."""
    if np.isnan(values).any():
        raise ValueError(
            f"thresholds={thresholds!r} holds NaN; expected numbers (infinity: never exit here, "
            f"minus infinity: always)"
        )
    return values
