"""The nodes of a committee: members in nested branches, and the routing between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core import LOG_ODDS_CLIP, ConfidenceModel
from sklearn_cascade.export._graph_builder import GraphBuilder, package
from sklearn_cascade.export._member_io import Member, Source, elem_type_of, write_member
from sklearn_cascade.export._spec import Blueprint, Confidence

# Its logarithm is finite in float32, and times zero it is zero.
_TINY = 1e-37


class Assembler:
    """Writes a committee's nodes.

    Parameters
    ----------
    blueprint : Blueprint
        What the committee does.
    members, learners : sequence of Member or None
        One per stage, None for one whose answer counts for nothing; and the graphs of learners
        of its confidence.
    elem_type : int
        Type of the probabilities.
    """

    def __init__(
        self, blueprint: Blueprint, members: Sequence, learners: Sequence, elem_type: int
    ) -> None:
        self._plan = blueprint
        self._members = members
        self._elem_type = elem_type
        self._writer = StageWriter(blueprint, members, learners, elem_type)
        self._root = ""

    def write(self, canvas: GraphBuilder, sources: list[Source]) -> tuple[str, str, str, str]:
        """Write everything; return the names of label, probabilities, exit stage and cost."""
        self._root = canvas.prefix
        if self._plan.exits_early:
            proba, stage = self._stage(canvas, 0, StageState(sources))
        else:
            proba, stage = self._ensemble(canvas, sources)
        canvas.prefix = f"{self._root}answer/"
        column = canvas.add_node("ArgMax", proba, axis=1, keepdims=0, name="column")
        classes = self._plan.classes
        labels = canvas.constant(classes, classes.dtype, "classes")
        costs = canvas.constant(self._plan.costs, np.float32, "cumulative_costs")
        label = canvas.add_node("Gather", labels, column, axis=0, name="label")
        return label, proba, stage, canvas.add_node("Gather", costs, stage, axis=0, name="cost")

    def _stage(self, canvas: GraphBuilder, k: int, running: StageState) -> tuple[str, str]:
        """Write a stage and all after it; return probabilities and exit stages of its rows."""
        canvas.prefix = f"{self._root}stage{k}/"
        last = k == len(self._members) - 1
        never = not last and not self._plan.exits_at(k)
        if never and self._members[k] is None:
            return self._stage(canvas, k + 1, running)
        running = self._writer.write(canvas, k, running)
        if last:
            return running.answer, self._fill(canvas, running.answer, k)
        if never:
            return self._stage(canvas, k + 1, running)
        deferred = self._deferred(canvas, k, running.sure)
        some = canvas.add_node("Size", deferred, name="n_deferred")
        some = canvas.add_node("Cast", some, to=package("onnx").TensorProto.BOOL, name="some")
        names = canvas.fresh_names("proba", "exit_stage")
        then = self._go_on(canvas.within(f"{self._root}stage{k}/on/"), k, deferred, running)
        stay = self._stay(canvas.within(f"{self._root}stage{k}/off/"), k, running.answer)
        canvas.place("If", [some], names, then_branch=then, else_branch=stay)
        return names[0], names[1]

    def _deferred(self, canvas: GraphBuilder, k: int, sure: str) -> str:
        """Write the test of a stage; return the rows that go on, (1, n_deferred)."""
        boundary = self._writer.boundary(canvas, k)
        # Not less than: NaN has to go on, as in Python.
        exits = canvas.add_node("GreaterOrEqual", sure, boundary, name="exits")
        return canvas.add_node(
            "NonZero", canvas.add_node("Not", exits, name="stays"), name="deferred"
        )

    def _go_on(self, canvas: GraphBuilder, k: int, deferred: str, running: StageState):
        """Write the branch of the stages after one; it hands out the answers to all its rows."""
        shape, answer = canvas.constant([-1], np.int64, "flat"), running.answer
        rows = canvas.add_node("Reshape", deferred, shape, name="rows")
        kept = running.of_rows(canvas, rows, keeps_answer=self._plan.combine == "most_confident")
        deeper, deeper_stage = self._stage(canvas, k + 1, kept)
        canvas.prefix = f"{self._root}stage{k}/on/"
        places = canvas.add_node(
            "Unsqueeze", rows, canvas.constant([1], np.int64, "axis"), name="places"
        )
        here = self._fill(canvas, answer, k)
        proba = canvas.add_node("ScatterND", answer, places, deeper, name="proba")
        stage = canvas.add_node("ScatterND", here, places, deeper_stage, name="exit_stage")
        return canvas.as_graph("deferred", self._handed_out(proba, stage))

    def _stay(self, canvas: GraphBuilder, k: int, answer: str):
        """Write the branch where nobody goes on."""
        proba = canvas.add_node("Identity", answer, name="proba")
        stage = self._fill(canvas, answer, k)
        return canvas.as_graph("all_exit", self._handed_out(proba, stage))

    def _fill(self, canvas: GraphBuilder, answer: str, k: int) -> str:
        """Write a stage's number for each of its rows."""
        shape = canvas.add_node("Shape", answer, start=0, end=1, name="n_rows")
        number = package("onnx").numpy_helper.from_array(np.array([k], dtype=np.int64))
        return canvas.add_node("ConstantOfShape", shape, value=number, name="exit_stage")

    def _ensemble(self, canvas: GraphBuilder, sources: list[Source]) -> tuple[str, str]:
        """Write an ensemble of which every member runs for every row."""
        running, heard = StageState(sources), []
        for k, member in enumerate(self._members):
            if member is None:
                continue
            canvas.prefix = f"{self._root}stage{k}/"
            if self._plan.combine == "geometric":
                proba = write_member(canvas, member, sources, self._elem_type)
                heard.append((proba, self._plan.weights[k]))
            else:
                running = self._writer.write(canvas, k, running)
        canvas.prefix, answer = f"{self._root}mean/", running.answer
        if heard:
            answer = geometric_mean_of(canvas, heard, self._writer.dtype)
        return answer, self._fill(canvas, answer, len(self._members) - 1)

    def _handed_out(self, proba: str, stage: str) -> list:
        """Return the description of what a branch hands out."""
        onnx = package("onnx")
        info = onnx.helper.make_tensor_value_info
        return [
            info(proba, self._elem_type, [None, len(self._plan.classes)]),
            info(stage, onnx.TensorProto.INT64, [None]),
        ]


class StageState(NamedTuple):
    """The rows that have come to some stage.

    Attributes
    ----------
    sources : list of Source
        The committee's inputs, these rows only.
    total : str or None
        Weighted sum of the probabilities so far; None before the first stage, and where there is
        no mean.
    mass : float
        Sum of the weights so far.
    answer, sure : str or None
        The answer so far, and how sure it is where that matters.
    said : StageOutputs or None
        What the stages said by themselves, where a later confidence looks at it.
    """

    sources: list[Source]
    total: str | None = None
    mass: float = 0.0
    answer: str | None = None
    sure: str | None = None
    said: StageOutputs | None = None

    def of_rows(self, canvas: GraphBuilder, rows: str, *, keeps_answer: bool) -> StageState:
        """Write the same for some of the rows; a mean needs its sum only."""

        def take(name: str | None, wanted: str) -> str | None:
            return (
                None if name is None else canvas.add_node("Gather", name, rows, axis=0, name=wanted)
            )

        return self._replace(
            sources=[s._replace(name=take(s.name, "input")) for s in self.sources],
            total=take(self.total, "total"),
            answer=take(self.answer, "answer") if keeps_answer else None,
            sure=take(self.sure, "sure") if keeps_answer else None,
            said=None if self.said is None else self.said.of_rows(canvas, rows),
        )


class StageWriter:
    """Writes what becomes of one member's answer.

    Parameters
    ----------
    blueprint : Blueprint
        What the committee does.
    members, learners : sequence of Member or None
        One per stage, None for one whose answer counts for nothing; and the graphs of learners.
    elem_type : int
        Type of the probabilities.

    Attributes
    ----------
    dtype : dtype
        The same as NumPy has it.
    """

    def __init__(
        self, blueprint: Blueprint, members: Sequence, learners: Sequence, elem_type: int
    ) -> None:
        self._plan = blueprint
        self._members, self._learners = members, learners
        self._elem_type = elem_type
        self.dtype = package("onnx").helper.tensor_dtype_to_np_dtype(elem_type)

    def write(self, canvas: GraphBuilder, k: int, running: StageState) -> StageState:
        """Write a member, the answer with its own in it, and how sure that is if it matters."""
        plan = self._plan
        own, heard = self._heard(canvas, k, running)
        if not (plan.judges(k) or plan.needs_history(k)):
            return heard
        if plan.confidence == "learned":
            heard = self._learned(canvas, k, own, heard)
        else:
            sure = confidence_of(canvas, heard.answer, plan.confidences[k], plan, self.dtype)
            heard = heard._replace(sure=sure)
        return (
            self._surest(canvas, k, running, heard) if plan.combine == "most_confident" else heard
        )

    def boundary(self, canvas: GraphBuilder, k: int) -> str:
        """Write the smallest confidence that exits at a stage."""
        dtype = np.float64 if self._plan.confidence == "learned" else self.dtype
        return canvas.constant(self._plan.boundaries[k], dtype, "threshold")

    def _heard(self, canvas: GraphBuilder, k: int, running: StageState) -> tuple[str, StageState]:
        """Write a member and what is made of its answer; return its own, and the answer so far."""
        member, weight = self._members[k], self._plan.weights[k]
        if self._plan.combine != "mean":
            own = write_member(canvas, member, running.sources, self._elem_type)
            return own, running._replace(answer=own)
        # A part of a forest weighs as much as it has trees: its votes are the summand, and even
        # votes of all parts stay even.
        summed = member.reading.n_votes == weight
        if summed:
            member = member._replace(reading=member.reading._replace(summed=True))
        share = answer = own = write_member(canvas, member, running.sources, self._elem_type)
        if weight != 1.0 and not summed:
            factor = canvas.constant(weight, self.dtype, "weight")
            share = canvas.add_node("Mul", own, factor, name="share")
        mass = running.mass + weight
        if running.total is not None:
            share = canvas.add_node("Add", running.total, share, name="total")
        if running.total is not None or summed:
            answer = canvas.add_node(
                "Div", share, canvas.constant(mass, self.dtype, "mass"), name="answer"
            )
        if summed and running.total is None:
            own = answer
        elif summed and self._plan.confidence == "learned":
            own = canvas.add_node(
                "Div", own, canvas.constant(weight, self.dtype, "weight"), name="own"
            )
        return own, running._replace(total=share, mass=mass, answer=answer)

    def _learned(self, canvas: GraphBuilder, k: int, own: str, heard: StageState) -> StageState:
        """Write what a learned confidence looks at, now or later, and what it says if asked."""
        plan, before = self._plan, heard.said
        peak, averaged = peak_of(canvas, own), plan.combine == "mean" and k > 0
        if averaged or plan.needs_history(k):
            said = peak if before is None else before.followed_by(canvas, peak)
            heard = heard._replace(said=said)
        if not plan.judges(k):
            return heard
        if averaged:
            peak, before = peak_of(canvas, heard.answer), heard.said
        judge = ConfidenceNode(plan.confidences[k].learned, self._learners[k], len(plan.classes))
        sure = learned_confidence(canvas, heard.answer, peak, before, judge, self.dtype)
        return heard._replace(sure=sure)

    def _surest(
        self, canvas: GraphBuilder, k: int, before: StageState, heard: StageState
    ) -> StageState:
        """Write the answer of the surest stage; the later one among equals, as in Python."""
        if before.sure is None:
            return heard
        later = canvas.add_node("GreaterOrEqual", heard.sure, before.sure, name="later")
        # NaN, of an answer that says nothing, gives way to any other.
        silent = canvas.add_node("IsNaN", before.sure, name="silent")
        later = canvas.add_node("Or", later, silent, name="is_more_confident")
        axis = canvas.constant([1], np.int64, "axis")
        column = canvas.add_node("Unsqueeze", later, axis, name="is_more_confident")
        answer = canvas.add_node("Where", column, heard.answer, before.answer, name="answer")
        if k == len(self._members) - 1:
            return heard._replace(answer=answer)
        sure = canvas.add_node("Where", later, heard.sure, before.sure, name="sure")
        return heard._replace(answer=answer, sure=sure)


def confidence_of(
    canvas: GraphBuilder, answer: str, confidence: Confidence, plan: Blueprint, dtype
) -> str:
    """Write how sure each row of an answer is; return its name, of shape (n,)."""
    if confidence.kind == "max_proba":
        axes = canvas.constant([1], np.int64, "axes")
        return canvas.add_node("ReduceMax", answer, axes, keepdims=0, name="confidence")
    if confidence.kind == "margin":
        first, second = _top_two(canvas, answer, len(plan.classes), dtype)
        return canvas.add_node("Sub", first, second, name="confidence")
    if confidence.kind == "entropy":
        return _entropy(canvas, answer, len(plan.classes), dtype)
    return _lead(canvas, answer, confidence, len(plan.classes), dtype)


def geometric_mean_of(canvas: GraphBuilder, heard: Sequence[tuple[str, float]], dtype) -> str:
    """Write the normalised weighted geometric mean; return its name.

    Rows on which every class is ruled out by somebody get the arithmetic mean, as in Python.
    """
    logs, shares = [], []
    for proba, weight in heard:
        factor = canvas.constant(weight, dtype, "weight")
        logs.append(canvas.add_node("Mul", canvas.add_node("Log", proba), factor, name="log_share"))
        shares.append(canvas.add_node("Mul", proba, factor, name="share"))
    mass = canvas.constant(sum(weight for _, weight in heard), dtype, "mass")
    arithmetic = canvas.add_node("Div", _sum(canvas, shares), mass, name="arithmetic")
    total = _sum(canvas, logs)
    axes = canvas.constant([1], np.int64, "axes")
    peak = canvas.add_node("ReduceMax", total, axes, keepdims=1, name="peak")
    lost = canvas.add_node("IsInf", peak, name="lost")
    scaled = canvas.add_node("Div", canvas.add_node("Sub", total, peak), mass, name="scaled")
    powers = canvas.add_node("Exp", scaled, name="powers")
    sums = canvas.add_node("ReduceSum", powers, axes, keepdims=1, name="sums")
    geometric = canvas.add_node("Div", powers, sums, name="geometric")
    return canvas.add_node("Where", lost, arithmetic, geometric, name="answer")


def negative_entropy_of(canvas: GraphBuilder, answer: str, dtype, *, keepdims: int = 0) -> str:
    """Write the sum of p log p, zero where p is zero; return its name."""
    tiny = canvas.constant(_TINY, dtype, "tiny")
    logs = canvas.add_node("Log", canvas.add_node("Max", answer, tiny, name="floored"), name="logs")
    axes = canvas.constant([1], np.int64, "axes")
    terms = canvas.add_node("Mul", answer, logs, name="terms")
    return canvas.add_node("ReduceSum", terms, axes, keepdims=keepdims, name="negative_entropy")


def _entropy(canvas: GraphBuilder, answer: str, n_classes: int, dtype) -> str:
    """Write one minus the normalised entropy."""
    total = negative_entropy_of(canvas, answer, dtype)
    scale = canvas.constant(1.0 / np.log(n_classes), dtype, "scale")
    scaled = canvas.add_node("Mul", total, scale, name="scaled")
    return canvas.add_node("Add", scaled, canvas.constant(1.0, dtype, "one"), name="confidence")


def _lead(canvas: GraphBuilder, answer: str, confidence: Confidence, n_classes: int, dtype) -> str:
    """Write the lead of the leading class in standard errors; see `rules.vote_margin`."""
    k, n_members = confidence.k, confidence.n_members
    share = canvas.constant(k / (k + 1), dtype, "share")
    shares = canvas.add_node("Mul", answer, share, name="shares")
    first, second = _top_two(canvas, shares, n_classes, dtype)
    gap = canvas.add_node("Sub", first, second, name="gap")
    spread = canvas.add_node("Add", first, second, name="spread")
    spread = canvas.add_node(
        "Sub", spread, canvas.add_node("Mul", gap, gap, name="squared"), name="spread"
    )
    one_vote = canvas.constant(1 / (k + 1), dtype, "one_vote")
    variance = canvas.add_node("Add", spread, one_vote, name="variance")
    left = canvas.constant(1 / k - 1 / n_members, dtype, "left")
    error = canvas.add_node("Sqrt", canvas.add_node("Mul", variance, left), name="standard_error")
    return canvas.add_node("Div", gap, error, name="confidence")


def _top_two(canvas: GraphBuilder, answer: str, n_classes: int, dtype) -> tuple[str, str]:
    """Write the two largest probabilities of each row, each of shape (n,).

    Without `TopK`, on which older runtimes end the process where there are no rows.
    """
    axes = canvas.constant([1], np.int64, "axes")
    first = canvas.add_node("ReduceMax", answer, axes, keepdims=0, name="first")
    if n_classes == 2:
        return first, canvas.add_node("ReduceMin", answer, axes, keepdims=0, name="second")
    place = canvas.add_node("ArgMax", answer, axis=1, keepdims=1, name="place")
    columns = canvas.constant(np.arange(n_classes)[None], np.int64, "columns")
    is_first = canvas.add_node("Equal", columns, place, name="is_first")
    lowest = canvas.constant(-np.inf, dtype, "lowest")
    rest = canvas.add_node("Where", is_first, lowest, answer, name="rest")
    return first, canvas.add_node("ReduceMax", rest, axes, keepdims=0, name="second")


def _sum(canvas: GraphBuilder, terms: Sequence[str]) -> str:
    """Write a sum in the order of its terms."""
    return reduce(lambda left, right: canvas.add_node("Add", left, right, name="sum"), terms)


class StageOutputs(NamedTuple):
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

    def followed_by(self, canvas: GraphBuilder, other: StageOutputs) -> StageOutputs:
        """Write the same with what other stages said after them."""
        sure = canvas.add_node("Concat", self.sure, other.sure, axis=1, name="said_sure")
        own = canvas.add_node("Concat", self.own, other.own, axis=1, name="said_class")
        return StageOutputs(sure, own, self.count + other.count)

    def of_rows(self, canvas: GraphBuilder, rows: str) -> StageOutputs:
        """Write the same of some of the rows."""
        sure = canvas.add_node("Gather", self.sure, rows, axis=0, name="said_sure")
        own = canvas.add_node("Gather", self.own, rows, axis=0, name="said_class")
        return StageOutputs(sure, own, self.count)


class ConfidenceNode(NamedTuple):
    """What was learned about the answer after one stage.

    Attributes
    ----------
    learned : ConfidenceModel
        As in Python.
    learner : Member or None
        The graph of a learner that is no logistic regression.
    n_classes : int
        Number of the committee's classes.
    """

    learned: ConfidenceModel
    learner: Member | None
    n_classes: int


def n_features_of(learned: ConfidenceModel, n_classes: int, n_said: int) -> int:
    """Return the number of features that a learner looks at."""
    return _mixing(n_classes, n_said).shape[1] + learned.table.shape[1]


def peak_of(canvas: GraphBuilder, proba: str) -> StageOutputs:
    """Write the largest probability of each row, and its class."""
    axes = canvas.constant([1], np.int64, "axes")
    sure = canvas.add_node("ReduceMax", proba, axes, keepdims=1, name="first")
    return StageOutputs(sure, canvas.add_node("ArgMax", proba, axis=1, keepdims=1, name="class"), 1)


def learned_confidence(
    canvas: GraphBuilder,
    answer: str,
    peak: StageOutputs,
    said: StageOutputs | None,
    judge: ConfidenceNode,
    dtype,
) -> str:
    """Write how likely an answer is right; return its name, float64 of shape (n,).

    Parameters
    ----------
    canvas : GraphBuilder
        Where to write.
    answer : str
        The probabilities that are judged, (n, n_classes).
    peak : StageOutputs
        Their largest, and its class.
    said : StageOutputs or None
        What those stages said whose own answer is another one.
    judge : ConfidenceNode
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
    return canvas.add_node(
        "Squeeze", sure, canvas.constant([1], np.int64, "axis"), name="confidence"
    )


def _figures(
    canvas: GraphBuilder,
    answer: str,
    peak: StageOutputs,
    said: StageOutputs | None,
    n_classes,
    dtype,
) -> str:
    """Write what the features are made of, in float64: see `_mixing` for the columns."""
    columns, double = _columns(canvas, answer, peak, n_classes, dtype), elem_type_of(np.float64)
    told = canvas.add_node("Concat", *columns, *([said.sure] if said else []), axis=1, name="told")
    if dtype != np.float64:
        told = canvas.add_node("Cast", told, to=double, name="told")
    # Near one the rest is exact where the largest probability is rounded.
    ends = canvas.constant([0, 2 if n_classes > 2 else 1], np.int64, "ends")
    ends = canvas.add_node("Gather", told, ends, axis=1, name="first_and_rest")
    edges = (
        canvas.constant(edge, np.float64, "edge") for edge in (LOG_ODDS_CLIP, 1 - LOG_ODDS_CLIP)
    )
    logs = canvas.add_node(
        "Log", canvas.add_node("Clip", ends, *edges, name="clipped"), name="logs"
    )
    if said is None:
        return canvas.add_node("Concat", logs, told, axis=1, name="figures")
    agrees = canvas.add_node("Equal", said.own, peak.own, name="agrees")
    agrees = canvas.add_node("Cast", agrees, to=double, name="agreement")
    return canvas.add_node("Concat", logs, told, agrees, axis=1, name="figures")


def _columns(
    canvas: GraphBuilder, answer: str, peak: StageOutputs, n_classes: int, dtype
) -> list[str]:
    """Write the top probabilities, what is left of the first, and the entropy, each (n, 1).

    Without `TopK`, on which older runtimes end the process where there are no rows.
    """
    axes = canvas.constant([1], np.int64, "axes")
    spread = negative_entropy_of(canvas, answer, dtype, keepdims=1)
    if n_classes == 2:
        second = canvas.add_node("ReduceMin", answer, axes, keepdims=1, name="second")
        return [peak.sure, second, spread]
    columns = canvas.constant(np.arange(n_classes)[None], np.int64, "columns")
    zero = canvas.constant(0.0, dtype, "zero")
    is_first = canvas.add_node("Equal", columns, peak.own, name="is_first")
    others = canvas.add_node("Where", is_first, zero, answer, name="others")
    rest = canvas.add_node("ReduceSum", others, axes, keepdims=1, name="rest")
    second = canvas.add_node("ReduceMax", others, axes, keepdims=1, name="second")
    if n_classes == 3:
        third = canvas.add_node("ReduceMin", answer, axes, keepdims=1, name="third")
        return [peak.sure, second, rest, third, spread]
    place = canvas.add_node("ArgMax", others, axis=1, keepdims=1, name="place")
    is_second = canvas.add_node("Equal", columns, place, name="is_second")
    others = canvas.add_node("Where", is_second, zero, others, name="others")
    third = canvas.add_node("ReduceMax", others, axes, keepdims=1, name="third")
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


def _by_weights(
    canvas: GraphBuilder, figures: str, label: str, learned: ConfidenceModel, mixing
) -> str:
    """Write a logistic regression, (n, 1); all that a class contributes is one number."""
    split = mixing.shape[1]
    weights = canvas.constant((mixing @ learned.weights[:split])[:, None], np.float64, "weights")
    of_class = learned.table @ learned.weights[split:] + learned.intercept
    of_class = canvas.constant(of_class, np.float64, "of_class")
    score = canvas.add_node("MatMul", figures, weights, name="score")
    shift = canvas.add_node("Gather", of_class, label, axis=0, name="shift")
    return canvas.add_node(
        "Sigmoid", canvas.add_node("Add", score, shift, name="log_odds"), name="right"
    )


def _by_learner(
    canvas: GraphBuilder, figures: str, label: str, judge: ConfidenceNode, mixing
) -> str:
    """Write the features and a learner that looks at them; return the second class's column."""
    mixed = canvas.add_node(
        "MatMul", figures, canvas.constant(mixing, np.float64, "mixing"), name="mixed"
    )
    table = canvas.constant(judge.learned.table, np.float64, "table")
    flat = canvas.add_node("Squeeze", label, canvas.constant([1], np.int64, "axis"), name="flat")
    of_class = canvas.add_node("Gather", table, flat, axis=0, name="of_class")
    features = canvas.add_node("Concat", mixed, of_class, axis=1, name="features")
    double, outer = elem_type_of(np.float64), canvas.prefix
    n_features = mixing.shape[1] + judge.learned.table.shape[1]
    canvas.prefix = f"{outer}confidence/"
    source = Source("features", features, double, (None, n_features))
    proba = write_member(canvas, judge.learner, [source], double)
    right = canvas.constant([1], np.int64, "right")
    sure = canvas.add_node("Gather", proba, right, axis=1, name="confidence")
    canvas.prefix = outer
    return sure
