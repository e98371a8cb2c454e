"""Confidences and means, as nodes: the twins of the rules on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from sklearn_cascade.export._blueprint import Blueprint, Confidence
from sklearn_cascade.export._canvas import Canvas

# Its logarithm is finite in float32, and times zero it is zero.
_TINY = 1e-37


def confidence_of(
    canvas: Canvas, answer: str, confidence: Confidence, plan: Blueprint, dtype
) -> str:
    """Write how sure each row of an answer is; return its name, of shape (n,)."""
    if confidence.kind == "max_proba":
        axes = canvas.hold([1], np.int64, "axes")
        return canvas.add("ReduceMax", answer, axes, keepdims=0, name="confidence")
    if confidence.kind == "margin":
        first, second = _top_two(canvas, answer, len(plan.classes), dtype)
        return canvas.add("Sub", first, second, name="confidence")
    if confidence.kind == "entropy":
        return _entropy(canvas, answer, len(plan.classes), dtype)
    return _lead(canvas, answer, confidence, len(plan.classes), dtype)


def geometric_mean_of(canvas: Canvas, heard: Sequence[tuple[str, float]], dtype) -> str:
    """Write the normalised weighted geometric mean; return its name.

    Rows on which every class is ruled out by somebody get the arithmetic mean, as in Python.
    """
    logs, shares = [], []
    for proba, weight in heard:
        factor = canvas.hold(weight, dtype, "weight")
        logs.append(canvas.add("Mul", canvas.add("Log", proba), factor, name="log_share"))
        shares.append(canvas.add("Mul", proba, factor, name="share"))
    mass = canvas.hold(sum(weight for _, weight in heard), dtype, "mass")
    arithmetic = canvas.add("Div", _sum(canvas, shares), mass, name="arithmetic")
    total = _sum(canvas, logs)
    axes = canvas.hold([1], np.int64, "axes")
    peak = canvas.add("ReduceMax", total, axes, keepdims=1, name="peak")
    lost = canvas.add("IsInf", peak, name="lost")
    scaled = canvas.add("Div", canvas.add("Sub", total, peak), mass, name="scaled")
    powers = canvas.add("Exp", scaled, name="powers")
    sums = canvas.add("ReduceSum", powers, axes, keepdims=1, name="sums")
    geometric = canvas.add("Div", powers, sums, name="geometric")
    return canvas.add("Where", lost, arithmetic, geometric, name="answer")


def negative_entropy_of(canvas: Canvas, answer: str, dtype, *, keepdims: int = 0) -> str:
    """Write the sum of p log p, zero where p is zero; return its name."""
    tiny = canvas.hold(_TINY, dtype, "tiny")
    logs = canvas.add("Log", canvas.add("Max", answer, tiny, name="floored"), name="logs")
    axes = canvas.hold([1], np.int64, "axes")
    terms = canvas.add("Mul", answer, logs, name="terms")
    return canvas.add("ReduceSum", terms, axes, keepdims=keepdims, name="negative_entropy")


def _entropy(canvas: Canvas, answer: str, n_classes: int, dtype) -> str:
    """Write one minus the normalised entropy."""
    total = negative_entropy_of(canvas, answer, dtype)
    scale = canvas.hold(1.0 / np.log(n_classes), dtype, "scale")
    scaled = canvas.add("Mul", total, scale, name="scaled")
    return canvas.add("Add", scaled, canvas.hold(1.0, dtype, "one"), name="confidence")


def _lead(canvas: Canvas, answer: str, confidence: Confidence, n_classes: int, dtype) -> str:
    """Write the lead of the leading class in standard errors; see `rules.lead_score`."""
    k, n_members = confidence.k, confidence.n_members
    share = canvas.hold(k / (k + 1), dtype, "share")
    shares = canvas.add("Mul", answer, share, name="shares")
    first, second = _top_two(canvas, shares, n_classes, dtype)
    gap = canvas.add("Sub", first, second, name="gap")
    spread = canvas.add("Add", first, second, name="spread")
    spread = canvas.add("Sub", spread, canvas.add("Mul", gap, gap, name="squared"), name="spread")
    one_vote = canvas.hold(1 / (k + 1), dtype, "one_vote")
    variance = canvas.add("Add", spread, one_vote, name="variance")
    left = canvas.hold(1 / k - 1 / n_members, dtype, "left")
    error = canvas.add("Sqrt", canvas.add("Mul", variance, left), name="standard_error")
    return canvas.add("Div", gap, error, name="confidence")


def _top_two(canvas: Canvas, answer: str, n_classes: int, dtype) -> tuple[str, str]:
    """Write the two largest probabilities of each row, each of shape (n,).

    Without `TopK`, on which older runtimes end the process where there are no rows.
    """
    axes = canvas.hold([1], np.int64, "axes")
    first = canvas.add("ReduceMax", answer, axes, keepdims=0, name="first")
    if n_classes == 2:
        return first, canvas.add("ReduceMin", answer, axes, keepdims=0, name="second")
    place = canvas.add("ArgMax", answer, axis=1, keepdims=1, name="place")
    columns = canvas.hold(np.arange(n_classes)[None], np.int64, "columns")
    is_first = canvas.add("Equal", columns, place, name="is_first")
    lowest = canvas.hold(-np.inf, dtype, "lowest")
    rest = canvas.add("Where", is_first, lowest, answer, name="rest")
    return first, canvas.add("ReduceMax", rest, axes, keepdims=0, name="second")


def _sum(canvas: Canvas, terms: Sequence[str]) -> str:
    """Write a sum in the order of its terms."""
    return reduce(lambda left, right: canvas.add("Add", left, right, name="sum"), terms)
