"""Cascades of scripted members to certify, and the counts of a paired comparison."""

from __future__ import annotations

import numpy as np

from sklearn_cascade import CascadeClassifier
from tests.probes import numbered_rows, scripted

N_ROWS = 6000
X = numbered_rows(N_ROWS)
NAMES = np.array(["ape", "bee", "cat"])
COSTS = [1.0, 5.0, 25.0]


def made_up_answers(strengths=(1.0, 2.0, 3.0), seed=0):
    """Return the probabilities of members of different strength, and the true columns."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=N_ROWS)
    ease = rng.normal(size=N_ROWS)
    tables = []
    for strength in strengths:
        logits = rng.normal(size=(N_ROWS, 3))
        logits[np.arange(N_ROWS), y] += strength + 1.5 * ease
        tables.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    return tables, y


TABLES, COLUMNS = made_up_answers()
Y = NAMES[COLUMNS]


def frozen_cascade(tables=TABLES, y=Y, **params):
    """Return a fitted cascade of scripted members, whose fit used no rows."""
    params = {"thresholds": 0.9, "costs": COSTS[: len(tables)], **params}
    members = scripted(*tables, classes=np.unique(y))
    return CascadeClassifier(members, **params).fit(X[:9], y[:9])


def tuned_cascade(tables=TABLES, y=Y, **params):
    """Return a fitted cascade that tuned its thresholds on the first thousand rows."""
    members = scripted(*tables, classes=NAMES)
    return CascadeClassifier(members, costs=COSTS, **params).fit(X[:1000], y[:1000])


def losses_and_fixes(label, reference, y):
    """Return the counts of a paired comparison."""
    ours, theirs = label == y, reference == y
    return int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
