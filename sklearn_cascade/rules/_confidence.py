"""Probabilities to confidence: how sure an answer is, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr

# Numbers looked at in one go: intermediate copies stay in the processor's cache.
_BLOCK_SIZE = 2**16


def compute_confidence(proba: np.ndarray, confidence: str | Callable) -> np.ndarray:
    """Return how sure each row of probabilities is; larger is surer.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Class probabilities; a row of NaN has a confidence of NaN.
    confidence : {"max_proba", "margin", "entropy"} or callable
        The largest probability; the largest minus the second largest; one minus the
        entropy over its maximum, log(n_classes); or any function of `proba` that returns
        an array of shape (n_samples,).

    Returns
    -------
    confidence : ndarray of shape (n_samples,)
        In [0, 1] for the named ones.

    Raises
    ------
    ValueError
        If a callable returns anything but one number per row.
    """
    if not callable(confidence):
        return CONFIDENCES[confidence](proba)
    values = np.asarray(confidence(proba), dtype=np.float64)
    if values.shape != (proba.shape[0],):
        raise ValueError(
            f"confidence={confidence!r} returned shape {values.shape}; expected one number per "
            f"row: ({proba.shape[0]},)"
        )
    # Infinity is kept for the threshold that nothing reaches.
    return np.minimum(values, np.finfo(np.float64).max)


def takes_over(later: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Tell on which rows a later answer is at least as sure as the one before.

    Parameters
    ----------
    later, before : ndarray of shape (n_samples,)
        Their confidences. NaN, of an answer that says nothing, gives way to any other.

    Returns
    -------
    takes_over : ndarray of bool of shape (n_samples,)
    """
    return (later >= before) | np.isnan(before)


def _max_proba(proba: np.ndarray) -> np.ndarray:
    """Return the largest probability of each row."""
    return np.maximum.reduce(proba, axis=1)


def _margin(proba: np.ndarray) -> np.ndarray:
    """Return the largest probability minus the second largest."""
    if proba.shape[1] == 2:
        return np.abs(proba[:, 0] - proba[:, 1])
    return _by_block(_margin_of_block, proba)


def _margin_of_block(proba: np.ndarray) -> np.ndarray:
    """Return the margin of a block small enough to be copied."""
    top_two = np.partition(proba, -2, axis=1)[:, -2:]
    return top_two[:, 1] - top_two[:, 0]


def _entropy(proba: np.ndarray) -> np.ndarray:
    """Return one minus the normalised entropy."""
    scale = 1.0 / np.log(proba.shape[1])
    spread = _by_block(lambda block: entr(block).sum(axis=1), proba)
    # Rounding leaves the ends of the interval by 1e-16.
    return np.clip(1.0 - scale * spread, 0.0, 1.0)


def _by_block(function: Callable, proba: np.ndarray) -> np.ndarray:
    """Apply a row-wise function block by block, so that its copies stay small."""
    n_samples, n_classes = proba.shape
    step = max(1, _BLOCK_SIZE // n_classes)
    if n_samples <= step:
        return function(proba)
    values = np.empty(n_samples, dtype=proba.dtype)
    for start in range(0, n_samples, step):
        values[start : start + step] = function(proba[start : start + step])
    return values


CONFIDENCES = {"max_proba": _max_proba, "margin": _margin, "entropy": _entropy}
