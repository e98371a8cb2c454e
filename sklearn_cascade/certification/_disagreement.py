"""How often labels differ from those of the full ensemble: a bound from unlabelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.certification._noninferiority import binomial_upper_bound
from sklearn_cascade.core._thresholds import exit_stages

# Vote margins in standard errors, tried from above; nothing ever exits beyond the first.
_MARGINS = np.round(np.linspace(10.0, 0.0, 501), 2)


class TunedMargin(NamedTuple):
    """The lowest threshold that passed, and the share of the tuning rows with another label."""

    threshold: float  # in standard errors; infinity where none passed
    disagreement: float
    bound: float  # upper confidence limit of the disagreement


def tune_margin(
    margins: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    max_disagreement: float,
    delta: float,
) -> TunedMargin:
    """Lower one threshold for all stages while the disagreement is certainly small enough.

    `margins` holds the vote margin after each stage but the last, `labels` the label after each
    stage, all (n_samples,). A row disagrees if it exits with another label than after the last
    stage; at most a share `max_disagreement` may.

    Thresholds are tested from above in fixed steps, each at the full `delta`, and the first
    failure ends it (fixed-sequence testing, Angelopoulos et al., "Learn then Test", 2021): the
    probability that the returned one exceeds `max_disagreement` is at most `delta`.
    """
    full_ensemble = labels[-1]
    n_samples = len(full_ensemble)
    differs = np.array([label != full_ensemble for label in labels])
    # Above every vote margin nothing exits early, and nothing can differ.
    passed = TunedMargin(np.inf, 0.0, 0.0)
    for threshold in _MARGINS.tolist():
        stage = exit_stages(margins, [threshold] * len(margins))
        count = int(differs[stage, np.arange(n_samples)].sum())
        bound = binomial_upper_bound(count, n_samples, delta)
        if bound > max_disagreement:
            break
        passed = TunedMargin(threshold, count / n_samples, bound)
    return passed
