"""What rows cost: a row pays for every stage that ran for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# The unit of costs given without one, and of stages that count one each.
DEFAULT_COST_UNITS = {"given": "cost units", "counted": "stages"}


def cumulative_costs(costs: ArrayLike) -> np.ndarray:
    """Return the cost of a row once each stage has run: shape (n_stages,)."""
    return np.cumsum(np.asarray(costs, dtype=np.float64))


def row_costs(last_called: np.ndarray, costs: ArrayLike) -> np.ndarray:
    """Return the cost of each row from the last stage called for it: shape (n_samples,)."""
    return cumulative_costs(costs)[last_called]


def worst_case_cost(costs: ArrayLike) -> float:
    """Return the cost of a row that goes through every stage."""
    return float(np.sum(np.asarray(costs), dtype=np.float64))


def within_limit(cost: float | np.ndarray, limit: float | None) -> bool | np.ndarray:
    """Return whether a cost is within a limit, up to rounding; None is no limit."""
    return cost <= (np.inf if limit is None else limit + 1e-12 * abs(limit))
