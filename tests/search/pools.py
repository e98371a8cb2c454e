"""Pools of models of unequal skill, for tests of whole searches."""

from __future__ import annotations

import numpy as np


def draw_pool(n_models, n_samples, n_classes=3, seed=0):
    """Return probabilities, labels and costs of models; the expensive ones are better."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n_samples)
    ease = rng.normal(size=(n_samples, 1))
    pool = []
    for skill in np.sort(rng.uniform(0.5, 2.5, n_models)):
        logits = rng.normal(size=(n_samples, n_classes)) + (skill + ease) * np.eye(n_classes)[y]
        pool.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    return pool, y, np.sort(np.exp(rng.uniform(0, 4, n_models)))


def as_pairs(pool):
    """Return confidence and label of each model."""
    return [(proba.max(axis=1), proba.argmax(axis=1)) for proba in pool]
