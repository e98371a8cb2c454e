"""How a member's graph is joined to the cascade's: its inputs and the columns of its output.

The inputs of a file, and how rows are fed to them, are here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_cascade.exceptions import UnconvertibleMemberError
from sklearn_cascade.export._graph_builder import GraphBuilder, package, real_inputs, renamed_parts


class Source(NamedTuple):
    """A value in the graph that members read: the matrix "X", or one column of a frame."""

    label: str  # name of the column, or "X"
    name: str  # name of the value in the graph
    elem_type: int  # as ONNX numbers them
    shape: tuple  # None for open dimensions

    @property
    def is_double(self) -> bool:
        """Whether it holds float64."""
        return self.elem_type == elem_type_of(np.float64)

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self.elem_type == elem_type_of(object)


class OutputFormat(NamedTuple):
    """How the output of a member's graph is turned into probabilities."""

    rank: int = 2  # axes beyond the second have length one
    softmax: bool = False  # it holds logits
    positive_only: bool = False  # it holds the positive class of two only
    rescaled: bool = False  # its rows have to be rescaled to a sum of one
    n_votes: int = 0  # votes are divided by this number; 0 where there are no votes
    positive_votes: bool = False  # only the second column's votes count
    summed: bool = False  # votes are left as a sum, undivided


class Member(NamedTuple):
    """A member whose model has become a graph, cut down to the nodes that its output needs."""

    position: int  # stage, from 0
    name: str
    kind: str  # name of its class
    model: Any  # ModelProto
    output: str  # name of the value that holds the output
    output_format: OutputFormat
    columns: np.ndarray | None  # the cascade's column for each of its own; None where they agree
    n_classes: int  # of the cascade
    rounds: bool = False  # rounds float64 inputs to float32, as trees of scikit-learn do

    def error(self, problem: str) -> UnconvertibleMemberError:
        """Return the error that this member cannot be exported."""
        return UnconvertibleMemberError(self.name, self.position, self.kind, problem)


def elem_type_of(dtype) -> int:
    """Return ONNX's number of an element type; objects are text."""
    return package("onnx").helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def dtype_of(elem_type: int) -> np.dtype:
    """Return NumPy's dtype of an ONNX element type."""
    return package("onnx").helper.tensor_dtype_to_np_dtype(elem_type)


def float_type_of(sources: Sequence[Source]) -> int:
    """Return the element type of probabilities: float64 if any source is, else float32."""
    return elem_type_of(np.float64 if any(source.is_double for source in sources) else np.float32)


def feeds_of(sources: Sequence[Source], X) -> dict[str, np.ndarray]:
    """Return what the inputs of a graph are fed for some rows, an array or a frame."""
    if len(sources) == 1:
        arrays = [np.asarray(X.to_numpy() if hasattr(X, "to_numpy") else X)]
    else:
        columns = [np.asarray(X[source.label]) for source in sources]
        arrays = [array[:, None] if array.ndim == 1 else array for array in columns]
    return {
        source.name: np.ascontiguousarray(array.astype(dtype_of(source.elem_type), copy=False))
        for source, array in zip(sources, arrays, strict=True)
    }


def write_member(
    builder: GraphBuilder, member: Member, sources: list[Source], elem_type: int
) -> str:
    """Write a member; return its probabilities in the cascade's columns."""
    prefix = f"{builder.prefix}member/"
    inputs = real_inputs(member.model.graph)
    values = _input_values(builder, member, inputs, sources)
    bound = dict(zip([entry.name for entry in inputs], values, strict=True))
    builder.extend(*renamed_parts(member.model, prefix, bound))
    output = bound.get(member.output, prefix + member.output)
    proba = _as_probabilities(builder, output, member.output_format, elem_type)
    return proba if member.columns is None else _align_columns(builder, proba, member, elem_type)


def write_label(builder: GraphBuilder, proba: str, classes: np.ndarray) -> str:
    """Write the label of the most probable class; `classes` are int64 or text."""
    column = builder.add_node("ArgMax", proba, axis=1, keepdims=0, name="column")
    labels = builder.constant(classes, classes.dtype, "classes")
    return builder.add_node("Gather", labels, column, axis=0, name="label")


def _input_values(
    builder: GraphBuilder, member: Member, inputs: list, sources: list[Source]
) -> list[str]:
    """Return the value for each input of a member's graph, cast and reshaped as it expects."""
    by_label = {source.label: source for source in sources}
    if all(entry.name in by_label for entry in inputs):
        found = [by_label[entry.name] for entry in inputs]
    elif len(inputs) == 1 and len(sources) == 1:
        found = sources
    elif len(inputs) == 1:
        found = [_join_columns(builder, member, sources)]
    else:
        wanted = [entry.name for entry in inputs]
        raise member.error(
            f"it reads {wanted}, and X has {[source.label for source in sources]}; expected a "
            f"frame with a column for each"
        )
    return [_fit_to_input(builder, member, *pair) for pair in zip(inputs, found, strict=True)]


def _join_columns(builder: GraphBuilder, member: Member, sources: list[Source]) -> Source:
    """Write the columns of a frame side by side, for a member that expects one matrix."""
    refuse_mixed_columns(member, sources)
    types = {source.elem_type for source in sources}
    common = types.pop() if len(types) == 1 else float_type_of(sources)
    names = [_cast(builder, source.name, source.elem_type, common) for source in sources]
    matrix = builder.add_node("Concat", *names, axis=1, name="matrix")
    return Source("X", matrix, common, (None, len(sources)))


def refuse_mixed_columns(member: Member, sources: list[Source]) -> None:
    """Raise for a member that expects one matrix, where only some columns are text."""
    if any(source.is_text for source in sources) and not all(s.is_text for s in sources):
        raise member.error(
            f"it expects one matrix, and X mixes text with numbers: {[s.label for s in sources]}; "
            f"expected a member that picks its columns by name, such as a pipeline that begins "
            f"with a ColumnTransformer"
        )


def _fit_to_input(builder: GraphBuilder, member: Member, entry, source: Source) -> str:
    """Write a source in the element type and rank of one input of a member's graph."""
    tensor = entry.type.tensor_type
    if (tensor.elem_type == elem_type_of(object)) != source.is_text:
        wanted, has = ("numbers", "text") if source.is_text else ("text", "numbers")
        raise member.error(f"its input {entry.name!r} takes {wanted}, and X holds {has} there")
    name, given = source.name, source.elem_type
    if member.rounds and source.is_double:
        given = elem_type_of(np.float32)
        name = builder.add_node("Cast", name, to=given, name="rounded")
    name = _cast(builder, name, given, tensor.elem_type)
    if not tensor.HasField("shape") or len(tensor.shape.dim) == len(source.shape):
        return name
    rank = len(tensor.shape.dim)
    axis = builder.constant([1], np.int64, "axis")
    if rank == 1 and len(source.shape) == 2:
        return builder.add_node("Squeeze", name, axis, name="flat")
    if rank == 2 and len(source.shape) == 1:
        return builder.add_node("Unsqueeze", name, axis, name="column")
    raise member.error(f"its input {entry.name!r} has {rank} axes, and X has {len(source.shape)}")


def _cast(builder: GraphBuilder, name: str, given: int, wanted: int) -> str:
    """Write a value in another element type, unless it has it already."""
    return name if given == wanted else builder.add_node("Cast", name, to=wanted, name="cast")


def _as_probabilities(
    builder: GraphBuilder, output: str, output_format: OutputFormat, elem_type: int
) -> str:
    """Write the nodes that turn an output into one column per class."""
    proba = builder.add_node("Cast", output, to=elem_type, name="probabilities")
    if output_format.rank > 2:
        axes = builder.constant(list(range(2, output_format.rank)), np.int64, "axes")
        proba = builder.add_node("Squeeze", proba, axes, name="squeezed")
    elif output_format.rank == 1:
        axes = builder.constant([1], np.int64, "axes")
        proba = builder.add_node("Unsqueeze", proba, axes, name="column")
    dtype = dtype_of(elem_type)
    if output_format.softmax and not output_format.positive_only:
        proba = builder.add_node("Softmax", proba, axis=1, name="softmax")
    if output_format.n_votes:
        proba = _vote_shares(builder, proba, output_format, dtype)
    if output_format.positive_only:
        one = builder.constant(1.0, dtype, "one")
        if output_format.softmax:
            proba = builder.add_node("Sigmoid", proba, name="sigmoid")
        else:
            # Nets in float32 exceed one, or fall below zero, by a little.
            zero = builder.constant(0.0, dtype, "zero")
            proba = builder.add_node("Clip", proba, zero, one, name="clipped")
        negative = builder.add_node("Sub", one, proba, name="negative")
        proba = builder.add_node("Concat", negative, proba, axis=1, name="both")
    if output_format.rescaled:
        zero = builder.constant(0.0, dtype, "zero")
        proba = builder.add_node("Max", proba, zero, name="not_negative")
        axes = builder.constant([1], np.int64, "axes")
        sums = builder.add_node("ReduceSum", proba, axes, keepdims=1, name="sums")
        proba = builder.add_node("Div", proba, sums, name="rescaled")
    return proba


def _vote_shares(builder: GraphBuilder, votes: str, output_format: OutputFormat, dtype) -> str:
    """Write the shares of the votes, or their sums, in one column per class."""
    if output_format.positive_votes:
        second = builder.constant([1], np.int64, "second")
        votes = builder.add_node("Gather", votes, second, axis=1)
    shares, all_votes = votes, float(output_format.n_votes)
    if not output_format.summed:
        n_votes = builder.constant(output_format.n_votes, dtype, "n_votes")
        shares, all_votes = builder.add_node("Div", votes, n_votes, name="share"), 1.0
    if not output_format.positive_votes:
        return shares
    one = builder.constant(all_votes, dtype, "one")
    negative = builder.add_node("Sub", one, shares, name="negative")
    return builder.add_node("Concat", negative, shares, axis=1, name="both")


def _align_columns(builder: GraphBuilder, proba: str, member: Member, elem_type: int) -> str:
    """Write a member's columns in the cascade's order, zero for classes it does not know."""
    columns = np.asarray(member.columns)
    n_known = len(columns)
    order = np.full(member.n_classes, n_known, dtype=np.int64)
    order[columns] = np.arange(n_known)
    if n_known < member.n_classes:
        first = builder.constant([0], np.int64, "first")
        column = builder.add_node("Gather", proba, first, axis=1, name="some_column")
        zero = builder.constant(0.0, dtype_of(elem_type), "zero")
        zeros = builder.add_node("Mul", column, zero, name="zeros")
        proba = builder.add_node("Concat", proba, zeros, axis=1, name="padded")
    return builder.add_node(
        "Gather", proba, builder.constant(order, np.int64, "columns"), axis=1, name="aligned"
    )
