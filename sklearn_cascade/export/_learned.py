"""A learned confidence, as nodes: the twin of `rules.LearnedStage`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_cascade.export._binding import Member, Source, answer_of, elem_type_of
from sklearn_cascade.export._canvas import Canvas
from sklearn_cascade.export._combining import negative_entropy_of
from sklearn_cascade.rules import LOG_ODDS_EDGE, LearnedStage


class Said(NamedTuple):
    """What some stages said by themselves.

    Attributes
    ----------
    sure : str
        The largest probability of each, (n, n_stages).
    own : str
        The class of each, (n, n_stages).
    count : int
        Number of stages.
    """

    sure: str
    own: str
    count: int

    def followed_by(self, canvas: Canvas, other: Said) -> Said:
        """Write the same with what other stages said after them."""
        sure = canvas.add("Concat", self.sure, other.sure, axis=1, name="said_sure")
        own = canvas.add("Concat", self.own, other.own, axis=1, name="said_class")
        return Said(sure, own, self.count + other.count)

    def of_rows(self, canvas: Canvas, rows: str) -> Said:
        """Write the same of some of the rows."""
        sure = canvas.add("Gather", self.sure, rows, axis=0, name="said_sure")
        own = canvas.add("Gather", self.own, rows, axis=0, name="said_class")
        return Said(sure, own, self.count)


class Judge(NamedTuple):
    """What was learned about the answer after one stage.

    Attributes
    ----------
    learned : LearnedStage
        As in Python.
    learner : Member or None
        The graph of a learner that is no logistic regression.
    n_classes : int
        Number of the committee's classes.
    """

    learned: LearnedStage
    learner: Member | None
    n_classes: int


def n_features_of(learned: LearnedStage, n_classes: int, n_said: int) -> int:
    """Return the number of features that a learner looks at."""
    return _mixing(n_classes, n_said).shape[1] + learned.table.shape[1]


def peak_of(canvas: Canvas, proba: str) -> Said:
    """Write the largest probability of each row, and its class."""
    axes = canvas.hold([1], np.int64, "axes")
    sure = canvas.add("ReduceMax", proba, axes, keepdims=1, name="first")
    return Said(sure, canvas.add("ArgMax", proba, axis=1, keepdims=1, name="class"), 1)


def learned_confidence(
    canvas: Canvas, answer: str, peak: Said, said: Said | None, judge: Judge, dtype
) -> str:
    """Write how likely an answer is right; return its name, float64 of shape (n,).

    Parameters
    ----------
    canvas : Canvas
        Where to write.
    answer : str
        The probabilities that are judged, (n, n_classes).
    peak : Said
        Their largest, and its class.
    said : Said or None
        What those stages said whose own answer is another one.
    judge : Judge
        What was learned.
    dtype : dtype
        Type of the probabilities.
    """
    figures = _figures(canvas, answer, peak, said, judge.n_classes, dtype)
    mixing = _mixing(judge.n_classes, 0 if said is None else said.count)
    if judge.learner is None:
        sure = _by_weights(canvas, figures, peak.own, judge.learned, mixing)
    else:
        sure = _by_learner(canvas, figures, peak.own, judge, mixing)
    return canvas.add("Squeeze", sure, canvas.hold([1], np.int64, "axis"), name="confidence")


def _figures(canvas: Canvas, answer: str, peak: Said, said: Said | None, n_classes, dtype) -> str:
    """Write what the features are made of, in float64: see `_mixing` for the columns."""
    columns, double = _columns(canvas, answer, peak, n_classes, dtype), elem_type_of(np.float64)
    told = canvas.add("Concat", *columns, *([said.sure] if said else []), axis=1, name="told")
    if dtype != np.float64:
        told = canvas.add("Cast", told, to=double, name="told")
    # Near one the rest is exact where the largest probability is rounded.
    ends = canvas.hold([0, 2 if n_classes > 2 else 1], np.int64, "ends")
    ends = canvas.add("Gather", told, ends, axis=1, name="first_and_rest")
    edges = (canvas.hold(edge, np.float64, "edge") for edge in (LOG_ODDS_EDGE, 1 - LOG_ODDS_EDGE))
    logs = canvas.add("Log", canvas.add("Clip", ends, *edges, name="clipped"), name="logs")
    if said is None:
        return canvas.add("Concat", logs, told, axis=1, name="figures")
    agrees = canvas.add("Equal", said.own, peak.own, name="agrees")
    agrees = canvas.add("Cast", agrees, to=double, name="agreement")
    return canvas.add("Concat", logs, told, agrees, axis=1, name="figures")


def _columns(canvas: Canvas, answer: str, peak: Said, n_classes: int, dtype) -> list[str]:
    """Write the top probabilities, what is left of the first, and the entropy, each (n, 1).

    Without `TopK`, on which older runtimes end the process where there are no rows.
    """
    axes = canvas.hold([1], np.int64, "axes")
    spread = negative_entropy_of(canvas, answer, dtype, keepdims=1)
    if n_classes == 2:
        second = canvas.add("ReduceMin", answer, axes, keepdims=1, name="second")
        return [peak.sure, second, spread]
    columns = canvas.hold(np.arange(n_classes)[None], np.int64, "columns")
    zero = canvas.hold(0.0, dtype, "zero")
    is_first = canvas.add("Equal", columns, peak.own, name="is_first")
    others = canvas.add("Where", is_first, zero, answer, name="others")
    rest = canvas.add("ReduceSum", others, axes, keepdims=1, name="rest")
    second = canvas.add("ReduceMax", others, axes, keepdims=1, name="second")
    if n_classes == 3:
        third = canvas.add("ReduceMin", answer, axes, keepdims=1, name="third")
        return [peak.sure, second, rest, third, spread]
    place = canvas.add("ArgMax", others, axis=1, keepdims=1, name="place")
    is_second = canvas.add("Equal", columns, place, name="is_second")
    others = canvas.add("Where", is_second, zero, others, name="others")
    third = canvas.add("ReduceMax", others, axes, keepdims=1, name="third")
    return [peak.sure, second, rest, third, spread]


def _mixing(n_classes: int, n_said: int) -> np.ndarray:
    """Return the matrix that turns figures into Python's features, all but those of the class.

    Rows are the logarithms of the first and of the rest; first, second, rest and third, as far
    as there are such; negative entropy; what each stage said, and whether it agrees.
    """
    n_top, n_told = (3, 4) if n_classes > 2 else (2, 2)
    mixing = np.zeros((2 + n_told + 1 + 2 * n_said, 1 + n_top + 2 + 2 * n_said))
    mixing[:2, 0] = 1, -1
    for column, row in enumerate([2, 3, 5][:n_top], start=1):
        mixing[row, column] = 1
    mixing[2:4, 1 + n_top] = 1, -1
    mixing[2 + n_told, 2 + n_top] = -1 / np.log(n_classes)
    for k in range(n_said):
        mixing[3 + n_told + k, 3 + n_top + 2 * k] = 1
        mixing[3 + n_told + n_said + k, 4 + n_top + 2 * k] = 1
    return mixing


def _by_weights(canvas: Canvas, figures: str, label: str, learned: LearnedStage, mixing) -> str:
    """Write a logistic regression, (n, 1); all that a class contributes is one number."""
    split = mixing.shape[1]
    weights = canvas.hold((mixing @ learned.weights[:split])[:, None], np.float64, "weights")
    of_class = learned.table @ learned.weights[split:] + learned.intercept
    of_class = canvas.hold(of_class, np.float64, "of_class")
    score = canvas.add("MatMul", figures, weights, name="score")
    shift = canvas.add("Gather", of_class, label, axis=0, name="shift")
    return canvas.add("Sigmoid", canvas.add("Add", score, shift, name="log_odds"), name="right")


def _by_learner(canvas: Canvas, figures: str, label: str, judge: Judge, mixing) -> str:
    """Write the features and a learner that looks at them; return the second class's column."""
    mixed = canvas.add("MatMul", figures, canvas.hold(mixing, np.float64, "mixing"), name="mixed")
    table = canvas.hold(judge.learned.table, np.float64, "table")
    flat = canvas.add("Squeeze", label, canvas.hold([1], np.int64, "axis"), name="flat")
    of_class = canvas.add("Gather", table, flat, axis=0, name="of_class")
    features = canvas.add("Concat", mixed, of_class, axis=1, name="features")
    double, outer = elem_type_of(np.float64), canvas.prefix
    n_features = mixing.shape[1] + judge.learned.table.shape[1]
    canvas.prefix = f"{outer}confidence/"
    source = Source("features", features, double, (None, n_features))
    proba = answer_of(canvas, judge.learner, [source], double)
    right = canvas.hold([1], np.int64, "right")
    sure = canvas.add("Gather", proba, right, axis=1, name="confidence")
    canvas.prefix = outer
    return sure
