"""What a learned confidence takes: one row, and a batch."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from sklearn_cascade import CascadeClassifier, PrefitClassifier

COLUMNS = ["classes", "stages", "rows", "largest probability", "learned", "a row and stage more"]
N_TRAINING = 5000


def print_overhead(quick: bool) -> None:
    """Print the time of one call with each confidence, members that look their answer up."""
    print("Median time of a call; the members look their answers up, and no row exits early.\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for n_classes in (2, 10) if quick else (2, 10, 100):
        for n_stages in (2,) if quick else (2, 3):
            _print_lines(n_classes, n_stages, 3 if quick else 200)
    print()


def _print_lines(n_classes: int, n_stages: int, n_calls: int) -> None:
    """Print a line for one row, and one for a batch."""
    cascades, X = _cascades(n_classes, n_stages)
    for n_rows in (1, 10_000):
        batch = X[np.arange(n_rows) % len(X)]
        times = [[], []]
        # In turns, so that a busy moment of the machine falls on both.
        for _ in range(n_calls if n_rows == 1 else max(3, n_calls // 10)):
            for cascade, taken in zip(cascades, times, strict=True):
                start = perf_counter()
                cascade.predict_proba(batch)
                taken.append(perf_counter() - start)
        plain, learned = (float(np.median(taken)) for taken in times)
        more = (learned - plain) / n_rows / (n_stages - 1)
        cells = [
            str(n_classes),
            str(n_stages),
            f"{n_rows:,}",
            f"{plain * 1e6:,.1f} us",
            f"{learned * 1e6:,.1f} us",
            f"{more * 1e6:+.2f} us",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def _cascades(n_classes: int, n_stages: int):
    """Return a cascade with each confidence, and the rows that its members know."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=N_TRAINING)
    X = np.arange(N_TRAINING, dtype=float)[:, None]
    members = []
    for k in range(n_stages):
        logits = rng.normal(size=(N_TRAINING, n_classes))
        logits[np.arange(N_TRAINING), y] += 2.0 + k
        proba = np.exp(logits)
        proba /= proba.sum(axis=1, keepdims=True)
        members.append((f"m{k}", PrefitClassifier(_LookUp(proba), range(n_classes))))
    cascades = [
        CascadeClassifier(members, thresholds=np.inf, combine="mean", confidence=confidence).fit(
            X, y
        )
        for confidence in ("max_proba", "learned")
    ]
    return cascades, X


class _LookUp:
    """A model that has its answers written down."""

    def __init__(self, proba: np.ndarray) -> None:
        self._proba = proba

    def __call__(self, X):
        return self._proba[X[:, 0].astype(int)]
