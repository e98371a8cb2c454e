"""Members that are ONNX graphs already."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.export._binding import Member, Reading, Source, elem_type_of
from sklearn_cascade.export._graph import bring_to_opset, cut_to_output
from sklearn_cascade.export._models import model_alone
from sklearn_cascade.export._packages import open_session, opset_of, package
from sklearn_cascade.members import choose_output, first_line, open_model, parse


def foreign_opset(classifier) -> int:
    """Return the version of the operators that a classifier's own graph imports."""
    content = classifier._read()
    return opset_of(parse(content.data, content.shown))


def foreign_member(empty: Member, classifier, sources: list[Source], opset: int) -> Member:
    """Return the member with the graph of an `OnnxClassifier`, brought to a version.

    Raises
    ------
    UnconvertibleMemberError
        If the graph cannot be cut or brought to the version, or takes some number of rows only.
    """
    try:
        classes = classifier.classes_
        content = classifier._read()
        opened = open_model(content, classifier.providers, classifier.n_threads)
        port = choose_output(
            opened.outputs, classifier.output_name, bool(classifier.softmax), opened.shown
        )
    except OnnxModelError as error:
        raise empty.refuse(str(error)) from error
    model = parse(content.data, content.shown)
    given = opset_of(model)
    if given > opset:
        raise empty.refuse(
            f"its graph is of opset {given}, and what surrounds the committee is converted to "
            f"{opset}; export the committee by itself, or the net again at opset {opset}"
        )
    try:
        output = cut_to_output(model, port.name)
        model = bring_to_opset(model, opset)
    except Exception as error:
        raise empty.refuse(
            f"its graph of opset {given} cannot be brought to {opset}: {first_line(error)}; export "
            f"the net again at opset {opset}"
        ) from error
    if port.is_map and output == port.name:
        raise empty.refuse("its answer is a dict per row that no ZipMap makes of a matrix")
    reading = Reading(
        rank=2 if port.is_map else len(port.shape) or 2,
        softmax=bool(classifier.softmax),
        positive_only=len(classes) == 2 and not port.is_map and port.width == 1,
        rescaled=port.dtype == np.float16,
    )
    member = empty._replace(model=model, output=output, reading=reading)
    fixed = opened.inputs[0].n_fixed
    if fixed is not None:
        _check_rows(member, sources, fixed)
    return member


def _check_rows(member: Member, sources: list[Source], fixed: int) -> None:
    """Raise for a graph that takes some number of rows only, and does not merely say so."""
    dtype_of = package("onnx").helper.tensor_dtype_to_np_dtype
    try:
        session = open_session(model_alone(member, sources, elem_type_of(np.float32)))
        for n_rows in (1, fixed + 1):
            session.run(
                None,
                {
                    s.name: np.zeros(
                        (n_rows, *(n or 1 for n in s.shape[1:])), dtype_of(s.elem_type)
                    )
                    for s in sources
                },
            )
    except Exception as error:
        raise member.refuse(
            f"its graph takes {fixed} rows at once, and a cascade hands on any number; export the "
            f"net again with an open first axis ({first_line(error)[:120]})"
        ) from error
