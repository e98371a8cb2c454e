"""Where a member's graph meets the committee's: its inputs, and the columns of its answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_cascade.exceptions import UnconvertibleMemberError
from sklearn_cascade.export._graph_builder import GraphBuilder, package, real_inputs, renamed_parts


class Source(NamedTuple):
    """A value that members read.

    Attributes
    ----------
    label : str
        What it is called by: the name of a column, or "X".
    name : str
        Its name in the graph.
    elem_type : int
        Type of its elements.
    shape : tuple
        Lengths; None where open.
    """

    label: str
    name: str
    elem_type: int
    shape: tuple

    @property
    def is_double(self) -> bool:
        """Whether it holds float64."""
        return self.elem_type == elem_type_of(np.float64)

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self.elem_type == elem_type_of(object)


class OutputFormat(NamedTuple):
    """How a graph's output is turned into probabilities.

    Attributes
    ----------
    rank : int
        Number of axes; those beyond the second have length one.
    softmax : bool
        Whether it holds logits.
    positive_only : bool
        Whether it holds the positive class of two only.
    rescaled : bool
        Whether its rows have to be brought to a sum of one.
    n_votes : int
        What votes are divided by; 0 where there are no votes.
    positive_votes : bool
        Whether only the second column's votes count.
    summed : bool
        Whether votes stay a sum, undivided.
    """

    rank: int = 2
    softmax: bool = False
    positive_only: bool = False
    rescaled: bool = False
    n_votes: int = 0
    positive_votes: bool = False
    summed: bool = False


class Member(NamedTuple):
    """A member as a graph.

    Attributes
    ----------
    position : int
        Its stage, from 0.
    name, kind : str
        Its name and its class.
    model : ModelProto
        Cut down to what its answer needs.
    output : str
        The value that holds the answer.
    reading : OutputFormat
        How to read it.
    columns : ndarray of int or None
        Column of the committee for each of its own; None where they agree.
    n_classes : int
        Number of the committee's classes.
    rounds : bool
        Whether float64 inputs are rounded to float32 first, as trees of scikit-learn do.
    """

    position: int
    name: str
    kind: str
    model: object
    output: str
    reading: OutputFormat
    columns: np.ndarray | None
    n_classes: int
    rounds: bool = False

    def refuse(self, problem: str) -> UnconvertibleMemberError:
        """Return the error that this member cannot be exported."""
        return UnconvertibleMemberError(self.name, self.position, self.kind, problem)


def elem_type_of(dtype) -> int:
    """Return the number that ONNX has for a type of elements; objects are text."""
    return package("onnx").helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def refuse_mixture(member: Member, sources: list[Source]) -> None:
    """Raise for a member that wants one matrix, where some columns are text."""
    if any(source.is_text for source in sources) and not all(s.is_text for s in sources):
        raise member.refuse(
            f"it wants one matrix, and X mixes text with numbers: {[s.label for s in sources]}; "
            f"expected a member that picks its columns by name, such as a pipeline that begins "
            f"with a ColumnTransformer"
        )


def write_member(
    canvas: GraphBuilder, member: Member, sources: list[Source], elem_type: int
) -> str:
    """Write a member; return its probabilities in the committee's columns."""
    prefix = f"{canvas.prefix}member/"
    inputs = real_inputs(member.model.graph)
    bound = dict(
        zip(
            [entry.name for entry in inputs],
            _fed(canvas, member, inputs, sources),
            strict=True,
        )
    )
    canvas.extend(*renamed_parts(member.model, prefix, bound))
    output = bound.get(member.output, prefix + member.output)
    proba = _as_probabilities(canvas, output, member.reading, elem_type)
    return proba if member.columns is None else _aligned(canvas, proba, member, elem_type)


def _fed(canvas: GraphBuilder, member: Member, inputs: list, sources: list[Source]) -> list[str]:
    """Return what each input of a member reads, cast and shaped as it wants it."""
    by_label = {source.label: source for source in sources}
    if all(entry.name in by_label for entry in inputs):
        found = [by_label[entry.name] for entry in inputs]
    elif len(inputs) == 1 and len(sources) == 1:
        found = sources
    elif len(inputs) == 1:
        found = [_joined(canvas, member, sources)]
    else:
        wanted = [entry.name for entry in inputs]
        raise member.refuse(
            f"it reads {wanted}, and X has {[source.label for source in sources]}; expected a "
            f"frame with a column for each"
        )
    return [_fitted(canvas, member, *pair) for pair in zip(inputs, found, strict=True)]


def _joined(canvas: GraphBuilder, member: Member, sources: list[Source]) -> Source:
    """Return the columns of a frame side by side, for a member that wants one matrix."""
    refuse_mixture(member, sources)
    types = {source.elem_type for source in sources}
    common = types.pop() if len(types) == 1 else elem_type_of(np.float64)
    if types:
        double = any(source.is_double for source in sources)
        common = elem_type_of(np.float64 if double else np.float32)
    names = [_cast(canvas, source.name, source.elem_type, common) for source in sources]
    matrix = canvas.add_node("Concat", *names, axis=1, name="matrix")
    return Source("X", matrix, common, (None, len(sources)))


def _fitted(canvas: GraphBuilder, member: Member, entry, source: Source) -> str:
    """Return a source in the type and rank of an input."""
    tensor = entry.type.tensor_type
    if (tensor.elem_type == elem_type_of(object)) != source.is_text:
        wanted, has = ("numbers", "text") if source.is_text else ("text", "numbers")
        raise member.refuse(f"its input {entry.name!r} takes {wanted}, and X holds {has} there")
    name, given = source.name, source.elem_type
    if member.rounds and source.is_double:
        given = elem_type_of(np.float32)
        name = canvas.add_node("Cast", name, to=given, name="rounded")
    name = _cast(canvas, name, given, tensor.elem_type)
    if not tensor.HasField("shape") or len(tensor.shape.dim) == len(source.shape):
        return name
    rank = len(tensor.shape.dim)
    axis = canvas.constant([1], np.int64, "axis")
    if rank == 1 and len(source.shape) == 2:
        return canvas.add_node("Squeeze", name, axis, name="flat")
    if rank == 2 and len(source.shape) == 1:
        return canvas.add_node("Unsqueeze", name, axis, name="column")
    raise member.refuse(f"its input {entry.name!r} has {rank} axes, and X has {len(source.shape)}")


def _cast(canvas: GraphBuilder, name: str, given: int, wanted: int) -> str:
    """Return a value in another type of elements."""
    return name if given == wanted else canvas.add_node("Cast", name, to=wanted, name="cast")


def _as_probabilities(
    canvas: GraphBuilder, output: str, reading: OutputFormat, elem_type: int
) -> str:
    """Write what turns an output into one column per class."""
    proba = canvas.add_node("Cast", output, to=elem_type, name="probabilities")
    if reading.rank > 2:
        axes = canvas.constant(list(range(2, reading.rank)), np.int64, "axes")
        proba = canvas.add_node("Squeeze", proba, axes, name="squeezed")
    elif reading.rank == 1:
        axes = canvas.constant([1], np.int64, "axes")
        proba = canvas.add_node("Unsqueeze", proba, axes, name="column")
    dtype = package("onnx").helper.tensor_dtype_to_np_dtype(elem_type)
    if reading.softmax and not reading.positive_only:
        proba = canvas.add_node("Softmax", proba, axis=1, name="softmax")
    if reading.n_votes:
        proba = _shares(canvas, proba, reading, dtype)
    if reading.positive_only:
        proba = _both_columns(canvas, proba, reading, dtype)
    if reading.rescaled:
        proba = canvas.add_node(
            "Max", proba, canvas.constant(0.0, dtype, "zero"), name="not_negative"
        )
        axes = canvas.constant([1], np.int64, "axes")
        sums = canvas.add_node("ReduceSum", proba, axes, keepdims=1, name="sums")
        proba = canvas.add_node("Div", proba, sums, name="rescaled")
    return proba


def _shares(canvas: GraphBuilder, votes: str, reading: OutputFormat, dtype) -> str:
    """Write the shares of votes, or their sums."""
    if reading.positive_votes:
        votes = canvas.add_node("Gather", votes, canvas.constant([1], np.int64, "second"), axis=1)
    share, whole = votes, float(reading.n_votes)
    if not reading.summed:
        n_votes = canvas.constant(reading.n_votes, dtype, "n_votes")
        share, whole = canvas.add_node("Div", votes, n_votes, name="share"), 1.0
    if not reading.positive_votes:
        return share
    negative = canvas.add_node("Sub", canvas.constant(whole, dtype, "one"), share, name="negative")
    return canvas.add_node("Concat", negative, share, axis=1, name="both")


def _both_columns(canvas: GraphBuilder, positive: str, reading: OutputFormat, dtype) -> str:
    """Write both columns from the positive class's."""
    one = canvas.constant(1.0, dtype, "one")
    if reading.softmax:
        positive = canvas.add_node("Sigmoid", positive, name="sigmoid")
    else:
        # Nets in float32 pass the ends by a little.
        zero = canvas.constant(0.0, dtype, "zero")
        positive = canvas.add_node("Clip", positive, zero, one, name="clipped")
    negative = canvas.add_node("Sub", one, positive, name="negative")
    return canvas.add_node("Concat", negative, positive, axis=1, name="both")


def _aligned(canvas: GraphBuilder, proba: str, member: Member, elem_type: int) -> str:
    """Write a member's columns at the committee's places, zero for classes unknown to it."""
    dtype = package("onnx").helper.tensor_dtype_to_np_dtype(elem_type)
    n_known = len(member.columns)
    places = np.full(member.n_classes, n_known, dtype=np.int64)
    places[member.columns] = np.arange(n_known)
    if n_known < member.n_classes:
        first = canvas.constant([0], np.int64, "first")
        column = canvas.add_node("Gather", proba, first, axis=1, name="some_column")
        nothing = canvas.add_node(
            "Mul", column, canvas.constant(0.0, dtype, "zero"), name="nothing"
        )
        proba = canvas.add_node("Concat", proba, nothing, axis=1, name="padded")
    order = canvas.constant(places, np.int64, "columns")
    return canvas.add_node("Gather", proba, order, axis=1, name="aligned")
