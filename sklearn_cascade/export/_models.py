"""Whole ONNX models: of a cascade, and of one of its members alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sklearn_cascade.export._cascade_graph import CascadeWriter
from sklearn_cascade.export._graph_builder import (
    LOWEST_OPSET,
    GraphBuilder,
    ir_version_for,
    opsets_of,
    package,
)
from sklearn_cascade.export._member_io import Member, Source, float_type_of, write_member
from sklearn_cascade.export._spec import CascadeSpec

OUTPUTS = ("label", "probabilities", "exit_stage", "cost")


class ConvertedCascade(NamedTuple):
    """A fitted cascade or averaging ensemble whose members have become graphs."""

    cascade: object
    spec: CascadeSpec
    members: list[Member | None]  # one per stage; None for a stage that is not used
    confidence_models: list[Member | None]  # one per stage; None where no graph computes it
    sources: list[Source]  # its inputs

    @property
    def elem_type(self) -> int:
        """Element type of the probabilities."""
        return float_type_of(self.sources)

    @property
    def graphs(self) -> list[Member]:
        """All graphs in it."""
        return [g for g in (*self.members, *self.confidence_models) if g is not None]

    @property
    def opsets(self) -> dict[str, int]:
        """Version of each domain that is needed."""
        return needed_opsets(self.graphs)

    def write(self, builder: GraphBuilder, sources: list[Source]) -> tuple[str, str, str, str]:
        """Write the nodes; return the names of label, probabilities, exit stage and cost."""
        writer = CascadeWriter(self.spec, self.members, self.confidence_models, self.elem_type)
        return writer.write(builder, sources)


def needed_opsets(members: Sequence[Member]) -> dict[str, int]:
    """Return the version of each domain that some members and the routing need."""
    found = opsets_of(member.model for member in members)
    return {**found, "": max(LOWEST_OPSET, found.get("", 0))}


def cascade_model(converted: ConvertedCascade):
    """Return a cascade as a model with four outputs."""
    builder = GraphBuilder("")
    values = converted.write(builder, converted.sources)
    classes, kind = converted.spec.classes, package("onnx").TensorProto
    label_type = kind.STRING if classes.dtype.kind == "O" else kind.INT64
    types = (label_type, converted.elem_type, kind.INT64, kind.FLOAT)
    shapes = ([None], [None, len(classes)], [None], [None])
    return _model(
        builder,
        converted.sources,
        zip(OUTPUTS, values, types, shapes, strict=True),
        converted.graphs,
    )


def member_model(member: Member, sources: Sequence[Source], elem_type: int):
    """Return one member as a model whose probabilities are in the cascade's columns."""
    builder = GraphBuilder("member/")
    proba = write_member(builder, member, list(sources), elem_type)
    output = ("probabilities", proba, elem_type, [None, member.n_classes])
    return _model(builder, sources, [output], [member])


def _model(builder: GraphBuilder, sources, outputs, graphs: Sequence[Member]):
    """Return a model of the nodes written; `outputs` are (name, value, element type, shape)."""
    helper, opsets = package("onnx").helper, needed_opsets(graphs)
    info = helper.make_tensor_value_info
    results = []
    for name, value, elem_type, shape in outputs:
        builder.add_node("Identity", value, outputs=[name])
        results.append(info(name, elem_type, shape))
    inputs = [info(source.name, source.elem_type, list(source.shape)) for source in sources]
    graph = helper.make_graph(builder.nodes, "cascade", inputs, results, builder.initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*entry) for entry in sorted(opsets.items())],
        producer_name="sklearn-cascade",
    )
    model.ir_version = max([ir_version_for(opsets), *(g.model.ir_version for g in graphs)])
    return model
