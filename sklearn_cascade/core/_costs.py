"""Exit stage to cost: a row pays for every stage that ran for it."""

from __future__ import annotations

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
