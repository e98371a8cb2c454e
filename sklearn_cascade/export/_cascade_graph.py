"""The graph of a cascade: its members, and the ONNX `If` nodes that skip work.

Where to find what, in reading order:

- `CascadeWriter` nests the stages. Its `_write_if` writes the `If` node after a stage: one branch
  holds all later stages and runs them on the rows that have not exited, the other runs nothing.
- `StageWriter.write` writes one stage: the member, the combined probabilities, their confidence.
- `StageState` and `OutputNodes` are the values that one stage hands to the next.
- `write_confidence` and `ConfidenceNode` write a confidence computed by a rule or by a model.

Methods write nodes into a `GraphBuilder` and return names of values; n is the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from sklearn_cascade.core._learned_confidence import LOG_ODDS_CLIP, ConfidenceModel
from sklearn_cascade.export._graph_builder import GraphBuilder, package
from sklearn_cascade.export._member_io import (
    Member,
    Source,
    dtype_of,
    elem_type_of,
    write_label,
    write_member,
)
from sklearn_cascade.export._spec import CascadeSpec, ConfidenceSpec

# Its logarithm is finite in float32, and zero when multiplied by zero.
_TINY = 1e-37


class CascadeWriter:
    """Writes all nodes of a cascade or averaging ensemble.

    `members` and `confidence_models` have one `Member` per stage, None where there is none;
    `elem_type` is the type of the probabilities.
    """

    def __init__(
        self,
        spec: CascadeSpec,
        members: Sequence,
        confidence_models: Sequence,
        elem_type: int,
    ) -> None:
        self._spec = spec
        self._members = members
        self._elem_type = elem_type
        self._stage_writer = StageWriter(spec, members, confidence_models, elem_type)
        self._root = ""

    def write(self, builder: GraphBuilder, sources: list[Source]) -> tuple[str, str, str, str]:
        """Write everything; return the names of label, probabilities, exit stage and cost."""
        self._root = builder.prefix
        if self._spec.exits_early:
            proba, stage = self._write_stages_from(builder, 0, StageState(sources))
        else:
            proba, stage = self._write_all_members(builder, sources)
        builder.prefix = f"{self._root}output/"
        label = write_label(builder, proba, self._spec.classes)
        costs = builder.constant(self._spec.cumulative_costs, np.float32, "cumulative_costs")
        return label, proba, stage, builder.add_node("Gather", costs, stage, axis=0, name="cost")

    def _write_stages_from(
        self, builder: GraphBuilder, k: int, state: StageState
    ) -> tuple[str, str]:
        """Write stage k and all later ones; return probabilities and exit stages of its rows."""
        builder.prefix = f"{self._root}stage{k}/"
        is_last = k == len(self._members) - 1
        if not is_last and self._members[k] is None:
            return self._write_stages_from(builder, k + 1, state)
        state = self._stage_writer.write(builder, k, state)
        if is_last:
            return state.proba, self._write_exit_stage(builder, state.proba, k)
        if not self._spec.may_exit(k):
            return self._write_stages_from(builder, k + 1, state)
        return self._write_if(builder, k, state)

    def _write_if(self, builder: GraphBuilder, k: int, state: StageState) -> tuple[str, str]:
        """Write the `If` node after stage k: later stages run only if some row has not exited.

        `deferred` are the indices of the rows that continue.
        """
        threshold = self._stage_writer.write_threshold(builder, k)
        exits = builder.add_node("GreaterOrEqual", state.confidence, threshold, name="exits")
        # Not (confidence >= threshold): rows with a confidence of NaN continue, as in Python.
        stays = builder.add_node("Not", exits, name="continues")
        deferred = builder.add_node("NonZero", stays, name="deferred")  # shape (1, n_deferred)
        n_deferred = builder.add_node("Size", deferred, name="n_deferred")
        any_deferred = builder.add_node(
            "Cast", n_deferred, to=package("onnx").TensorProto.BOOL, name="any_deferred"
        )
        names = [builder.unique_name("proba"), builder.unique_name("exit_stage")]
        then_branch = self._write_then(builder, k, deferred, state)
        else_branch = self._write_else(builder, k, state)
        builder.add_node(
            "If", any_deferred, outputs=names, then_branch=then_branch, else_branch=else_branch
        )
        return names[0], names[1]

    def _write_then(self, outer: GraphBuilder, k: int, deferred: str, state: StageState):
        """Return the branch in which the later stages run on the deferred rows."""
        prefix = f"{self._root}stage{k}/then/"
        builder = outer.branch(prefix)
        flat = builder.constant([-1], np.int64, "flat")
        rows = builder.add_node("Reshape", deferred, flat, name="rows")
        keep_proba = self._spec.combine == "most_confident"
        deferred_state = state.take(builder, rows, keep_proba=keep_proba)
        later_proba, later_stage = self._write_stages_from(builder, k + 1, deferred_state)
        builder.prefix = prefix
        axis = builder.constant([1], np.int64, "axis")
        indices = builder.add_node("Unsqueeze", rows, axis, name="indices")
        here = self._write_exit_stage(builder, state.proba, k)
        proba = builder.add_node("ScatterND", state.proba, indices, later_proba, name="proba")
        stage = builder.add_node("ScatterND", here, indices, later_stage, name="exit_stage")
        return builder.as_branch("deferred", self._branch_outputs(proba, stage))

    def _write_else(self, outer: GraphBuilder, k: int, state: StageState):
        """Return the branch in which all rows have exited and nothing runs."""
        builder = outer.branch(f"{self._root}stage{k}/else/")
        proba = builder.add_node("Identity", state.proba, name="proba")
        stage = self._write_exit_stage(builder, state.proba, k)
        return builder.as_branch("all_exit", self._branch_outputs(proba, stage))

    def _branch_outputs(self, proba: str, stage: str) -> list:
        """Return the descriptions of the values that a branch returns."""
        onnx = package("onnx")
        info = onnx.helper.make_tensor_value_info
        return [
            info(proba, self._elem_type, [None, len(self._spec.classes)]),
            info(stage, onnx.TensorProto.INT64, [None]),
        ]

    def _write_exit_stage(self, builder: GraphBuilder, proba: str, k: int) -> str:
        """Write the number of a stage once per row: shape (n,)."""
        shape = builder.add_node("Shape", proba, start=0, end=1, name="n_rows")
        number = package("onnx").numpy_helper.from_array(np.array([k], dtype=np.int64))
        return builder.add_node("ConstantOfShape", shape, value=number, name="exit_stage")

    def _write_all_members(self, builder: GraphBuilder, sources: list[Source]) -> tuple[str, str]:
        """Write an averaging ensemble, in which every member runs on every row."""
        geometric = self._spec.combine == "geometric"
        state, terms = StageState(sources), []
        for k, member in enumerate(self._members):
            if member is None:
                continue
            builder.prefix = f"{self._root}stage{k}/"
            if geometric:
                proba = write_member(builder, member, sources, self._elem_type)
                terms.append((proba, self._spec.weights[k]))
            else:
                state = self._stage_writer.write(builder, k, state)
        builder.prefix, proba = f"{self._root}mean/", state.proba
        if geometric:
            proba = _write_geometric_mean(builder, terms, self._stage_writer.dtype)
        return proba, self._write_exit_stage(builder, proba, len(self._members) - 1)


class StageState(NamedTuple):
    """Names of the values for the rows that have reached a stage; empty where there is none."""

    sources: list[Source]  # the cascade's inputs, these rows only
    total: str = ""  # (n, n_classes), weighted sum of the probabilities, for "mean" only
    weight_sum: float = 0.0  # sum of the weights in it
    proba: str = ""  # (n, n_classes), combined probabilities of the stages so far
    confidence: str = ""  # (n,), of these, where anything depends on it
    outputs: OutputNodes | None = None  # for later learned confidences

    def take(self, builder: GraphBuilder, rows: str, *, keep_proba: bool) -> StageState:
        """Write the state of some rows; combined probabilities only where later stages read them.

        The mean needs its sum only.
        """

        def gather(value: str, name: str) -> str:
            return builder.add_node("Gather", value, rows, axis=0, name=name) if value else ""

        return self._replace(
            sources=[s._replace(name=gather(s.name, "input")) for s in self.sources],
            total=gather(self.total, "total"),
            proba=gather(self.proba, "combined") if keep_proba else "",
            confidence=gather(self.confidence, "confidence") if keep_proba else "",
            outputs=None if self.outputs is None else self.outputs.take(builder, rows),
        )


class StageWriter:
    """Writes one stage: its member, the combined probabilities and their confidence.

    The parameters are those of `CascadeWriter`.
    """

    def __init__(
        self,
        spec: CascadeSpec,
        members: Sequence,
        confidence_models: Sequence,
        elem_type: int,
    ) -> None:
        self._spec = spec
        self._members, self._confidence_models = members, confidence_models
        self._elem_type = elem_type
        self.dtype = dtype_of(elem_type)

    def write(self, builder: GraphBuilder, k: int, state: StageState) -> StageState:
        """Write stage k for the rows of a state; return the state after it."""
        spec = self._spec
        own, after = self._write_member(builder, k, state)
        if not (spec.needs_confidence(k) or spec.needs_history(k)):
            return after
        if spec.confidence == "learned":
            after = self._write_learned_confidence(builder, k, own, after)
        else:
            confidence = write_confidence(
                builder, after.proba, spec.confidences[k], len(spec.classes), self.dtype
            )
            after = after._replace(confidence=confidence)
        if spec.combine == "most_confident":
            return self._write_most_confident(builder, k, state, after)
        return after

    def write_threshold(self, builder: GraphBuilder, k: int) -> str:
        """Write the smallest confidence that exits at a stage."""
        dtype = np.float64 if self._spec.confidence == "learned" else self.dtype
        return builder.constant(self._spec.effective_thresholds[k], dtype, "threshold")

    def _write_member(
        self, builder: GraphBuilder, k: int, state: StageState
    ) -> tuple[str, StageState]:
        """Write a member; return its own probabilities, and the state with these combined."""
        member, weight = self._members[k], self._spec.weights[k]
        if self._spec.combine != "mean":
            own = write_member(builder, member, state.sources, self._elem_type)
            return own, state._replace(proba=own)
        # The weight of a part of a forest is its number of trees: adding its votes, undivided, is
        # exact, so that classes with equally many votes in all parts stay tied.
        is_sum = member.output_format.n_votes == weight
        if is_sum:
            member = member._replace(output_format=member.output_format._replace(summed=True))
        total = proba = own = write_member(builder, member, state.sources, self._elem_type)
        if weight != 1.0 and not is_sum:
            factor = builder.constant(weight, self.dtype, "weight")
            total = builder.add_node("Mul", own, factor, name="weighted")
        weight_sum = state.weight_sum + weight
        if state.total:
            total = builder.add_node("Add", state.total, total, name="total")
        if state.total or is_sum:
            divisor = builder.constant(weight_sum, self.dtype, "weight_sum")
            proba = builder.add_node("Div", total, divisor, name="combined")
        if is_sum and not state.total:
            own = proba
        elif is_sum and self._spec.confidence == "learned":
            divisor = builder.constant(weight, self.dtype, "weight")
            own = builder.add_node("Div", own, divisor, name="own")
        return own, state._replace(total=total, weight_sum=weight_sum, proba=proba)

    def _write_learned_confidence(
        self, builder: GraphBuilder, k: int, own: str, state: StageState
    ) -> StageState:
        """Write what a learned confidence reads, now or later, and its value if it is needed."""
        spec, history = self._spec, state.outputs
        top, is_mean = OutputNodes.of(builder, own), spec.combine == "mean" and k > 0
        if is_mean or spec.needs_history(k):
            outputs = top if history is None else history.followed_by(builder, top)
            state = state._replace(outputs=outputs)
        if not spec.needs_confidence(k):
            return state
        if is_mean:
            top, history = OutputNodes.of(builder, state.proba), state.outputs
        node = ConfidenceNode(
            spec.confidences[k].model, self._confidence_models[k], len(spec.classes)
        )
        confidence = node.write(builder, state.proba, top, history, self.dtype)
        return state._replace(confidence=confidence)

    def _write_most_confident(
        self, builder: GraphBuilder, k: int, before: StageState, after: StageState
    ) -> StageState:
        """Write the output of the most confident stage; the later one among equals."""
        if not before.confidence:
            return after
        later = builder.add_node(
            "GreaterOrEqual", after.confidence, before.confidence, name="at_least"
        )
        # A confidence of NaN is below any other.
        is_nan = builder.add_node("IsNaN", before.confidence, name="is_nan")
        later = builder.add_node("Or", later, is_nan, name="is_more_confident")
        axis = builder.constant([1], np.int64, "axis")
        column = builder.add_node("Unsqueeze", later, axis, name="is_more_confident")
        proba = builder.add_node("Where", column, after.proba, before.proba, name="combined")
        if k == len(self._members) - 1:
            return after._replace(proba=proba)
        confidence = builder.add_node(
            "Where", later, after.confidence, before.confidence, name="confidence"
        )
        return after._replace(proba=proba, confidence=confidence)


class OutputNodes(NamedTuple):
    """What a learned confidence reads of some stages' own outputs."""

    max_proba: str  # (n, n_stages), largest probability of each
    label: str  # (n, n_stages), class of each
    n_stages: int

    @classmethod
    def of(cls, builder: GraphBuilder, proba: str) -> OutputNodes:
        """Write the outputs of one stage."""
        axes = builder.constant([1], np.int64, "axes")
        max_proba = builder.add_node("ReduceMax", proba, axes, keepdims=1, name="max_proba")
        label = builder.add_node("ArgMax", proba, axis=1, keepdims=1, name="class")
        return cls(max_proba, label, 1)

    def followed_by(self, builder: GraphBuilder, other: OutputNodes) -> OutputNodes:
        """Write these outputs with those of later stages after them."""
        max_proba = builder.add_node(
            "Concat", self.max_proba, other.max_proba, axis=1, name="stage_max_proba"
        )
        label = builder.add_node("Concat", self.label, other.label, axis=1, name="stage_class")
        return OutputNodes(max_proba, label, self.n_stages + other.n_stages)

    def take(self, builder: GraphBuilder, rows: str) -> OutputNodes:
        """Write the outputs of some rows."""
        max_proba = builder.add_node("Gather", self.max_proba, rows, axis=0, name="stage_max_proba")
        label = builder.add_node("Gather", self.label, rows, axis=0, name="stage_class")
        return OutputNodes(max_proba, label, self.n_stages)


def write_confidence(
    builder: GraphBuilder, proba: str, confidence: ConfidenceSpec, n_classes: int, dtype
) -> str:
    """Write a confidence that is a function of the probabilities alone: shape (n,)."""
    if confidence.kind == "max_proba":
        axes = builder.constant([1], np.int64, "axes")
        return builder.add_node("ReduceMax", proba, axes, keepdims=0, name="confidence")
    if confidence.kind == "margin":
        first, second = _write_top_two(builder, proba, n_classes, dtype)
        return builder.add_node("Sub", first, second, name="confidence")
    if confidence.kind == "entropy":
        total = _write_negative_entropy(builder, proba, dtype, keepdims=0)
        scale = builder.constant(1.0 / np.log(n_classes), dtype, "scale")
        scaled = builder.add_node("Mul", total, scale, name="scaled")
        one = builder.constant(1.0, dtype, "one")
        return builder.add_node("Add", scaled, one, name="confidence")
    # The spec lets no other kind through than "vote_margin".
    return _write_vote_margin(builder, proba, confidence, n_classes, dtype)


def _write_vote_margin(
    builder: GraphBuilder, proba: str, confidence: ConfidenceSpec, n_classes: int, dtype
) -> str:
    """Write the margin of the two top classes in standard errors (core._confidence.vote_margin)."""
    k, n_members = confidence.n_voted, confidence.n_members
    share = builder.constant(k / (k + 1), dtype, "share")
    shares = builder.add_node("Mul", proba, share, name="shares")
    first, second = _write_top_two(builder, shares, n_classes, dtype)
    gap = builder.add_node("Sub", first, second, name="gap")
    spread = builder.add_node("Add", first, second, name="spread")
    squared = builder.add_node("Mul", gap, gap, name="squared")
    spread = builder.add_node("Sub", spread, squared, name="spread")
    one_vote = builder.constant(1 / (k + 1), dtype, "one_vote")
    variance = builder.add_node("Add", spread, one_vote, name="variance")
    remaining = builder.constant(1 / k - 1 / n_members, dtype, "remaining")
    variance = builder.add_node("Mul", variance, remaining)
    error = builder.add_node("Sqrt", variance, name="standard_error")
    return builder.add_node("Div", gap, error, name="confidence")


def _write_top_two(builder: GraphBuilder, proba: str, n_classes: int, dtype) -> tuple[str, str]:
    """Write the two largest probabilities of each row, each of shape (n,).

    `TopK` is avoided here and below: older versions of onnxruntime crash in it on zero rows.
    """
    axes = builder.constant([1], np.int64, "axes")
    first = builder.add_node("ReduceMax", proba, axes, keepdims=0, name="first")
    if n_classes == 2:
        return first, builder.add_node("ReduceMin", proba, axes, keepdims=0, name="second")
    index = builder.add_node("ArgMax", proba, axis=1, keepdims=1, name="index")
    columns = builder.constant(np.arange(n_classes)[None], np.int64, "columns")
    is_first = builder.add_node("Equal", columns, index, name="is_first")
    lowest = builder.constant(-np.inf, dtype, "lowest")
    rest = builder.add_node("Where", is_first, lowest, proba, name="rest")
    return first, builder.add_node("ReduceMax", rest, axes, keepdims=0, name="second")


def _write_negative_entropy(builder: GraphBuilder, proba: str, dtype, *, keepdims: int) -> str:
    """Write the sum of p log p, where zeros count as zero."""
    tiny = builder.constant(_TINY, dtype, "tiny")
    floored = builder.add_node("Max", proba, tiny, name="floored")
    logs = builder.add_node("Log", floored, name="logs")
    axes = builder.constant([1], np.int64, "axes")
    terms = builder.add_node("Mul", proba, logs, name="terms")
    return builder.add_node("ReduceSum", terms, axes, keepdims=keepdims, name="negative_entropy")


class ConfidenceNode(NamedTuple):
    """The learned confidence after one stage."""

    model: ConfidenceModel
    graph: Member | None  # of the fitted classifier, where it is no logistic regression
    n_classes: int  # of the cascade

    def write(
        self,
        builder: GraphBuilder,
        proba: str,
        top: OutputNodes,
        history: OutputNodes | None,
        dtype,
    ) -> str:
        """Write the probability that the predicted class is right: float64, shape (n,).

        `proba` (n, n_classes) are the combined probabilities, `top` their largest and its class;
        `history` has the outputs of all stages whose own output differs from the combined one.
        """
        values = self._write_values(builder, proba, top, history, dtype)
        mixing = _mixing_matrix(self.n_classes, 0 if history is None else history.n_stages)
        if self.graph is None:
            confidence = self._write_logistic(builder, values, top.label, mixing)
        else:
            confidence = self._write_classifier(builder, self.graph, values, top.label, mixing)
        axis = builder.constant([1], np.int64, "axis")
        return builder.add_node("Squeeze", confidence, axis, name="confidence")

    def _write_values(
        self,
        builder: GraphBuilder,
        proba: str,
        top: OutputNodes,
        history: OutputNodes | None,
        dtype,
    ) -> str:
        """Write what the features are made of, in float64: the rows of `_mixing_matrix`."""
        columns = self._write_proba_columns(builder, proba, top, dtype)
        if history is not None:
            columns.append(history.max_proba)
        double = elem_type_of(np.float64)
        values = builder.add_node("Concat", *columns, axis=1, name="columns")
        if dtype != np.float64:
            values = builder.add_node("Cast", values, to=double, name="columns")
        # Near one, the sum of the others is exact while the largest probability is rounded.
        first_and_rest = builder.constant([0, 2 if self.n_classes > 2 else 1], np.int64, "pair")
        ends = builder.add_node("Gather", values, first_and_rest, axis=1, name="first_and_rest")
        low = builder.constant(LOG_ODDS_CLIP, np.float64, "edge")
        high = builder.constant(1 - LOG_ODDS_CLIP, np.float64, "edge")
        clipped = builder.add_node("Clip", ends, low, high, name="clipped")
        logs = builder.add_node("Log", clipped, name="logs")
        if history is None:
            return builder.add_node("Concat", logs, values, axis=1, name="values")
        agrees = builder.add_node("Equal", history.label, top.label, name="agrees")
        agrees = builder.add_node("Cast", agrees, to=double, name="agreement")
        return builder.add_node("Concat", logs, values, agrees, axis=1, name="values")

    def _write_proba_columns(
        self, builder: GraphBuilder, proba: str, top: OutputNodes, dtype
    ) -> list[str]:
        """Write the top probabilities, the sum of all but the first, entropy: (n, 1) each."""
        axes = builder.constant([1], np.int64, "axes")
        entropy = _write_negative_entropy(builder, proba, dtype, keepdims=1)
        if self.n_classes == 2:
            second = builder.add_node("ReduceMin", proba, axes, keepdims=1, name="second")
            return [top.max_proba, second, entropy]
        columns = builder.constant(np.arange(self.n_classes)[None], np.int64, "columns")
        zero = builder.constant(0.0, dtype, "zero")
        is_first = builder.add_node("Equal", columns, top.label, name="is_first")
        others = builder.add_node("Where", is_first, zero, proba, name="others")
        rest = builder.add_node("ReduceSum", others, axes, keepdims=1, name="rest")
        second = builder.add_node("ReduceMax", others, axes, keepdims=1, name="second")
        if self.n_classes == 3:
            third = builder.add_node("ReduceMin", proba, axes, keepdims=1, name="third")
        else:
            index = builder.add_node("ArgMax", others, axis=1, keepdims=1, name="index")
            is_second = builder.add_node("Equal", columns, index, name="is_second")
            others = builder.add_node("Where", is_second, zero, others, name="others")
            third = builder.add_node("ReduceMax", others, axes, keepdims=1, name="third")
        return [top.max_proba, second, rest, third, entropy]

    def _write_logistic(
        self, builder: GraphBuilder, values: str, label: str, mixing: np.ndarray
    ) -> str:
        """Write a logistic regression, (n, 1); all features of the class add up to one number."""
        n_mixed, by_feature = mixing.shape[1], np.asarray(self.model.weights)
        weights = (mixing @ by_feature[:n_mixed])[:, None]
        weights = builder.constant(weights, np.float64, "weights")
        by_class = self.model.table @ by_feature[n_mixed:] + self.model.intercept
        by_class = builder.constant(by_class, np.float64, "by_class")
        score = builder.add_node("MatMul", values, weights, name="score")
        shift = builder.add_node("Gather", by_class, label, axis=0, name="shift")
        log_odds = builder.add_node("Add", score, shift, name="log_odds")
        return builder.add_node("Sigmoid", log_odds, name="right")

    def _write_classifier(
        self, builder: GraphBuilder, graph: Member, values: str, label: str, mixing: np.ndarray
    ) -> str:
        """Write the features and the classifier that reads them; return its second column."""
        weights = builder.constant(mixing, np.float64, "mixing")
        mixed = builder.add_node("MatMul", values, weights, name="mixed")
        table = builder.constant(self.model.table, np.float64, "table")
        axis = builder.constant([1], np.int64, "axis")
        flat = builder.add_node("Squeeze", label, axis, name="flat")
        by_class = builder.add_node("Gather", table, flat, axis=0, name="by_class")
        features = builder.add_node("Concat", mixed, by_class, axis=1, name="features")
        double, outer = elem_type_of(np.float64), builder.prefix
        n_features = mixing.shape[1] + self.model.table.shape[1]
        builder.prefix = f"{outer}confidence/"
        source = Source("features", features, double, (None, n_features))
        proba = write_member(builder, graph, [source], double)
        right = builder.constant([1], np.int64, "right")
        confidence = builder.add_node("Gather", proba, right, axis=1, name="confidence")
        builder.prefix = outer
        return confidence


def n_features_of(model: ConfidenceModel, n_classes: int, n_history: int) -> int:
    """Return the number of features that a learned confidence reads."""
    return _mixing_matrix(n_classes, n_history).shape[1] + model.table.shape[1]


def _mixing_matrix(n_classes: int, n_history: int) -> np.ndarray:
    """Return the matrix that turns values into Python's features, all but those of the class.

    Rows are the logarithms of the first probability and of the rest; first, second, rest and
    third, as far as there are such; negative entropy; each stage's largest probability, and
    whether each stage agrees.
    """
    n_top, n_columns = (3, 4) if n_classes > 2 else (2, 2)
    mixing = np.zeros((2 + n_columns + 1 + 2 * n_history, 1 + n_top + 2 + 2 * n_history))
    mixing[:2, 0] = 1, -1
    for column, row in enumerate([2, 3, 5][:n_top], start=1):
        mixing[row, column] = 1
    mixing[2:4, 1 + n_top] = 1, -1
    mixing[2 + n_columns, 2 + n_top] = -1 / np.log(n_classes)
    for k in range(n_history):
        mixing[3 + n_columns + k, 3 + n_top + 2 * k] = 1
        mixing[3 + n_columns + n_history + k, 4 + n_top + 2 * k] = 1
    return mixing


def _write_geometric_mean(builder: GraphBuilder, terms: Sequence[tuple[str, float]], dtype) -> str:
    """Write the normalised geometric mean of (probabilities, weight).

    Rows in which every class has probability zero from some member get the arithmetic mean.
    """
    logs, shares = [], []
    for proba, weight in terms:
        factor = builder.constant(weight, dtype, "weight")
        log = builder.add_node("Log", proba)
        logs.append(builder.add_node("Mul", log, factor, name="weighted_log"))
        shares.append(builder.add_node("Mul", proba, factor, name="weighted"))
    weight_sum = builder.constant(sum(weight for _, weight in terms), dtype, "weight_sum")
    arithmetic = builder.add_node("Div", _write_sum(builder, shares), weight_sum, name="arithmetic")
    total = _write_sum(builder, logs)
    axes = builder.constant([1], np.int64, "axes")
    peak = builder.add_node("ReduceMax", total, axes, keepdims=1, name="peak")
    all_zero = builder.add_node("IsInf", peak, name="all_zero")
    below_peak = builder.add_node("Sub", total, peak)
    scaled = builder.add_node("Div", below_peak, weight_sum, name="scaled")
    powers = builder.add_node("Exp", scaled, name="powers")
    sums = builder.add_node("ReduceSum", powers, axes, keepdims=1, name="sums")
    geometric = builder.add_node("Div", powers, sums, name="geometric")
    return builder.add_node("Where", all_zero, arithmetic, geometric, name="combined")


def _write_sum(builder: GraphBuilder, terms: Sequence[str]) -> str:
    """Write a sum in the order of its terms."""
    return reduce(lambda left, right: builder.add_node("Add", left, right, name="sum"), terms)
