"""How low a threshold may be while labels still agree with those of the whole ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

from sklearn_cascade.rules import exit_stages

# Leads in standard errors, looked at from above; nothing ever exits beyond the first.
_LEADS = np.round(np.linspace(10.0, 0.0, 501), 2)


class TunedLead(NamedTuple):
    """The lowest threshold that passed, and what was found there.

    Attributes
    ----------
    threshold : float
        In standard errors; infinity where none passed.
    disagreement : float
        Share of the tuning rows that got another label.
    bound : float
        Upper confidence limit of that share.
    """

    threshold: float
    disagreement: float
    bound: float


def tune_lead(
    leads: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    max_disagreement: float,
    delta: float,
) -> TunedLead:
    """Lower one threshold for all stages while the disagreement stays certainly small enough.

    Thresholds are tested from above in fixed steps, each at the full `delta`, and the first
    failure ends it (fixed-sequence testing, Angelopoulos et al., "Learn then Test", 2021): the
    chance that the one returned has more than `max_disagreement` is at most `delta`.

    Parameters
    ----------
    leads : sequence of ndarray of shape (n_samples,)
        Confidence after each stage but the last.
    labels : sequence of ndarray of shape (n_samples,)
        Label after each stage, the last included.
    max_disagreement : float
        Largest share of rows that may get another label than after the last stage.
    delta : float
        One minus the confidence of the binomial limit.

    Returns
    -------
    tuned : TunedLead
        The last that passed.
    """
    whole = labels[-1]
    n_samples = len(whole)
    differs = np.array([label != whole for label in labels])
    # Beyond every lead nothing exits early, and nothing can differ.
    passed = TunedLead(np.inf, 0.0, 0.0)
    for threshold in _LEADS.tolist():
        stage = exit_stages(leads, [threshold] * len(leads))
        count = int(differs[stage, np.arange(n_samples)].sum())
        bound = binomial_upper(count, n_samples, delta)
        if bound > max_disagreement:
            break
        passed = TunedLead(threshold, count / n_samples, bound)
    return passed


def binomial_upper(count: int, n_samples: int, delta: float) -> float:
    """Return the upper confidence limit of a share (Clopper and Pearson, 1934)."""
    if count >= n_samples:
        return 1.0
    return float(beta.ppf(1 - delta, count + 1, n_samples - count))
