"""The time that a learned confidence adds to a call with the largest probability: row and batch."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.base import clone

from benchmarks.certify import lookup_members
from benchmarks.tables import print_header, print_line
from sklearn_cascade import CascadeClassifier
from sklearn_cascade.core._samples import time_calls

COLUMNS = ["classes", "stages", "rows", "largest probability", "learned", "a row and stage more"]
N_TRAINING = 5000


def print_overhead(quick: bool) -> None:
    """Print the time of one call with each confidence; the members look up their outputs."""
    print("Median time of a call; the members look up their outputs, and no row exits early.\n")
    print_header(COLUMNS)
    for n_classes in (2, 10) if quick else (2, 10, 100):
        for n_stages in (2,) if quick else (2, 3):
            _print_lines(n_classes, n_stages, 3 if quick else 200)
    print()


def _print_lines(n_classes: int, n_stages: int, n_calls: int) -> None:
    """Print a line for one row, and one for a batch."""
    X, y, members = lookup_members(N_TRAINING, n_classes, n_stages)
    cascade = CascadeClassifier(members, thresholds=np.inf, combine="mean")
    cascades = [
        clone(cascade).set_params(confidence=confidence).fit(X, y)
        for confidence in ("max_proba", "learned")
    ]
    for n_rows in (1, 10_000):
        batch = X[np.arange(n_rows) % len(X)]
        calls = [partial(cascade.predict_proba, batch) for cascade in cascades]
        n_repeats = n_calls if n_rows == 1 else max(3, n_calls // 10)
        plain, learned = np.median(time_calls(calls, n_repeats, warm_up=False), axis=0) * 1e6
        times = f"{plain:,.1f} us", f"{learned:,.1f} us"
        more = (learned - plain) / n_rows / (n_stages - 1)
        print_line([f"{n_classes}", f"{n_stages}", f"{n_rows:,}", *times, f"{more:+.2f} us"])
