"""Hypothesis strategies shared by the property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from sklearn_cascade.tuning._sweep import stage_statistics


@st.composite
def probabilities(draw, n_samples=st.integers(1, 30), n_classes=st.integers(2, 5)):
    """Draw a matrix of class probabilities; some rows are tied, saturated or uniform."""
    n, c = draw(n_samples), draw(n_classes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(size=(n, c)) * draw(st.sampled_from([0.0, 0.5, 3.0, 50.0]))
    if draw(st.booleans()):
        logits = np.round(logits)
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True)


@st.composite
def stage_probabilities(draw, max_stages=4):
    """Draw the probabilities of the stages of one cascade, the true columns and the costs."""
    n_stages = draw(st.integers(2, max_stages))
    n, c = draw(st.integers(1, 25)), draw(st.integers(2, 4))
    shape = {"n_samples": st.just(n), "n_classes": st.just(c)}
    proba = [draw(probabilities(**shape)) for _ in range(n_stages)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = rng.integers(c, size=n)
    costs = rng.integers(0, 20, size=n_stages).astype(float)
    return proba, y, costs


thresholds = st.one_of(st.floats(0, 1.2), st.sampled_from([-np.inf, np.inf, 0.0, 0.5, 0.6, 1.0]))


@st.composite
def statistics_of_stages(draw, max_stages=4):
    """Draw the statistics that are swept: combined, weighted, with some abstentions."""
    proba, y, costs = draw(stage_probabilities(max_stages))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    abstention_rate = draw(st.sampled_from([0.0, 0.3]))
    for stage in proba:
        stage[rng.uniform(size=len(y)) < abstention_rate] = np.nan
    n_classes = proba[0].shape[1]
    return stage_statistics(
        proba,
        y,
        costs,
        combine=draw(st.sampled_from(["mean", "last"])),
        confidence=draw(st.sampled_from(["max_proba", "margin", "entropy"])),
        weights=rng.uniform(0.5, 2, size=len(proba)),
        scoring=draw(st.sampled_from(["accuracy", "neg_log_loss"])),
        sample_weight=rng.integers(1, 4, size=len(y)).astype(float),
        class_shares=np.full(n_classes, 1 / n_classes) if abstention_rate else None,
    )
