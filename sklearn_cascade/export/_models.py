"""Written nodes to a whole model: a committee, or one of its members alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.export._cascade_graph import Assembler
from sklearn_cascade.export._graph_builder import (
    LOWEST_OPSET,
    GraphBuilder,
    ir_version_for,
    opsets_of,
    package,
)
from sklearn_cascade.export._member_io import Member, Source, elem_type_of, write_member
from sklearn_cascade.export._spec import Blueprint

OUTPUTS = ("label", "probabilities", "exit_stage", "cost")


class ConvertedCascade(NamedTuple):
    """A committee whose members have become graphs.

    Attributes
    ----------
    committee : estimator
        The fitted committee.
    blueprint : Blueprint
        What it does.
    members : list of Member or None
        One per stage; None for one whose answer counts for nothing.
    learners : list of Member or None
        One per stage that is judged: the learner of its confidence, where that is a graph.
    sources : list of Source
        Its inputs.
    """

    committee: object
    blueprint: Blueprint
    members: list
    learners: list
    sources: list[Source]

    @property
    def elem_type(self) -> int:
        """Type of the probabilities: float64 if any input is, else float32."""
        double = any(source.is_double for source in self.sources)
        return elem_type_of(np.float64 if double else np.float32)

    @property
    def opsets(self) -> dict[str, int]:
        """Version of each domain that is needed."""
        return needed_opsets(self.graphs)

    @property
    def graphs(self) -> list[Member]:
        """All graphs in it."""
        return [graph for graph in (*self.members, *self.learners) if graph is not None]

    def write(self, canvas: GraphBuilder, sources: list[Source]) -> tuple[str, str, str, str]:
        """Write the nodes; return the names of label, probabilities, exit stage and cost."""
        assembler = Assembler(self.blueprint, self.members, self.learners, self.elem_type)
        return assembler.write(canvas, sources)


def needed_opsets(members: Sequence[Member]) -> dict[str, int]:
    """Return the version of each domain for some members and the routing."""
    found = opsets_of(member.model for member in members)
    return {**found, "": max(LOWEST_OPSET, found.get("", 0))}


def model_of(built: ConvertedCascade):
    """Return a committee as a model with four outputs."""
    canvas = GraphBuilder("")
    names = built.write(canvas, built.sources)
    kind = package("onnx").TensorProto
    text = built.blueprint.classes.dtype.kind == "O"
    n_classes = len(built.blueprint.classes)
    types = (kind.STRING if text else kind.INT64, built.elem_type, kind.INT64, kind.FLOAT)
    shapes = ([None], [None, n_classes], [None], [None])
    outputs = []
    for name, given, elem_type, shape in zip(OUTPUTS, names, types, shapes, strict=True):
        canvas.place("Identity", [given], [name])
        outputs.append(_info(name, elem_type, shape))
    models = [graph.model for graph in built.graphs]
    return _model(canvas, built.sources, outputs, built.opsets, models)


def model_alone(member: Member, sources: Sequence[Source], elem_type: int):
    """Return one member as a model that answers with the committee's columns."""
    canvas = GraphBuilder("member/")
    answer = write_member(canvas, member, list(sources), elem_type)
    canvas.place("Identity", [answer], ["probabilities"])
    outputs = [_info("probabilities", elem_type, [None, member.n_classes])]
    return _model(canvas, sources, outputs, needed_opsets([member]), [member.model])


def _model(canvas: GraphBuilder, sources, outputs, opsets: dict[str, int], models):
    """Return what was written as a model."""
    helper = package("onnx").helper
    inputs = [_info(source.name, source.elem_type, list(source.shape)) for source in sources]
    graph = helper.make_graph(canvas.nodes, "cascade", inputs, list(outputs), canvas.initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*entry) for entry in sorted(opsets.items())],
        producer_name="sklearn-cascade",
    )
    model.ir_version = max([ir_version_for(opsets), *(m.ir_version for m in models)])
    return model


def _info(name: str, elem_type: int, shape: list):
    """Return the description of an input or output."""
    return package("onnx").helper.make_tensor_value_info(name, elem_type, shape)
