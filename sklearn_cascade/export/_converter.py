"""Our estimators among those that skl2onnx converts."""

from __future__ import annotations

from contextvars import ContextVar

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier, CascadeSearchCV
from sklearn_cascade.exceptions import ConversionError
from sklearn_cascade.export._binding import Source, answer_of, elem_type_of
from sklearn_cascade.export._blueprint import committee_of, is_committee
from sklearn_cascade.export._building import build
from sklearn_cascade.export._canvas import Canvas
from sklearn_cascade.export._foreign import foreign_member
from sklearn_cascade.export._members import (
    Target,
    empty_member,
    is_foreign,
    member_estimator,
    sklearn_member,
)
from sklearn_cascade.export._models import needed_opsets
from sklearn_cascade.export._packages import LOWEST_OPSET, ML_DOMAIN, package
from sklearn_cascade.export._twins import register_boosters, register_twins
from sklearn_cascade.members import EnsemblePart, OnnxClassifier

# Raw scores are not among them, so that a calibration takes the probabilities.
_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False],
}
_PIPELINE_OPTIONS = {
    **_OPTIONS,
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}
# How many outputs the pipeline around a committee hands out; None: all that there are.
_n_outputs: ContextVar[int | None] = ContextVar("n_outputs", default=None)


def register_onnx_converter():
    """Teach skl2onnx to convert the estimators of this package.

    `to_onnx` does so by itself; call this before you call skl2onnx yourself, with a pipeline that
    contains a cascade. The registration lasts for the process and changes nothing about other
    estimators. Where onnxmltools is installed, its converters for LightGBM and XGBoost are
    registered too, unless these have one already.

    See Also
    --------
    to_onnx : The same with a comparison of the outcome on rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skl2onnx import to_onnx
    >>> from sklearn_cascade import CascadeClassifier, register_onnx_converter
    >>> X, y = load_iris(return_X_y=True)
    >>> cascade = CascadeClassifier(
    ...     [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))], thresholds=0.9
    ... )
    >>> register_onnx_converter()
    >>> model = to_onnx(cascade.fit(X, y), X)
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities', 'exit_stage', 'cost']
    """
    register = package("skl2onnx").update_registered_converter
    for kind in (CascadeClassifier, AveragingEnsemble, CascadeSearchCV):
        register(
            kind,
            f"SklearnCascade{kind.__name__}",
            _infer_types,
            _convert_committee,
            parser=_parse,
            options=_OPTIONS,
        )
    for kind in (OnnxClassifier, EnsemblePart):
        register(
            kind,
            f"SklearnCascade{kind.__name__}",
            _infer_types,
            _convert_single,
            parser=_parse,
            options=_OPTIONS,
        )
    # A committee that ends a pipeline has outputs that votes, stacks and calibrations know not of.
    # The converter goes by its name; the stand-in leaves the parser of pipelines as it is.
    register(
        _AnyPipeline,
        "SklearnPipeline",
        package("skl2onnx.shape_calculators.pipelines").pipeline_shape_calculator,
        _convert_pipeline,
        options=_PIPELINE_OPTIONS,
    )
    register_twins()
    register_boosters()


class _AnyPipeline(Pipeline):
    """Stand-in for pipelines, under which their converter is replaced."""


def _parse(scope, model, inputs, custom_parsers=None):
    """Declare the outputs; never dicts, whatever `zipmap` says."""
    types = package("skl2onnx.common.data_types")
    operator = scope.declare_local_operator(_alias(model), model)
    operator.inputs = inputs
    double = any(isinstance(variable.type, types.DoubleTensorType) for variable in inputs)
    floats = types.DoubleTensorType if double else types.FloatTensorType
    declared = {"label": _label_type(model), "probabilities": floats()}
    if is_committee(model):
        declared.update(exit_stage=types.Int64TensorType(), cost=types.FloatTensorType())
    for name, kind in list(declared.items())[: _n_outputs.get()]:
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _convert_pipeline(scope, operator, container) -> None:
    """Write a pipeline as skl2onnx does, with as many outputs as whoever holds it asks for."""
    token = _n_outputs.set(len(operator.outputs))
    try:
        package("skl2onnx.operator_converters.pipelines").convert_pipeline(
            scope, operator, container
        )
    finally:
        _n_outputs.reset(token)


def _alias(model) -> str:
    """Return the name that skl2onnx knows a model by."""
    return package("skl2onnx").get_model_alias(type(model))


def _label_type(model):
    """Return skl2onnx's description of the labels."""
    types = package("skl2onnx.common.data_types")
    numbers = np.asarray(model.classes_).dtype.kind in "iub"
    return types.Int64TensorType([None]) if numbers else types.StringTensorType([None])


def _infer_types(operator) -> None:
    """Set types and shapes of the outputs."""
    types = package("skl2onnx.common.data_types")
    model = operator.raw_operator
    double = any(isinstance(v.type, types.DoubleTensorType) for v in operator.inputs)
    floats = types.DoubleTensorType if double else types.FloatTensorType
    n_rows = operator.inputs[0].get_first_dimension()
    kinds = [
        _label_type(model),
        floats([n_rows, len(model.classes_)]),
        types.Int64TensorType([n_rows]),
        types.FloatTensorType([n_rows]),
    ]
    for variable, kind in zip(operator.outputs, kinds, strict=False):
        variable.type = kind


def _convert_committee(scope, operator, container) -> None:
    """Write a committee into skl2onnx's container."""
    sources = _sources_of(operator)
    committee = committee_of(operator.raw_operator)
    built = build(committee, sources, _target(container, sources))
    canvas = Canvas(scope.get_unique_operator_name("cascade") + "/")
    names = built.write(canvas, sources)
    _hand_out(operator, container, canvas, names, built.opsets)


def _convert_single(scope, operator, container) -> None:
    """Write a graph that comes from elsewhere, or a part of an ensemble, into the container."""
    model, sources = operator.raw_operator, _sources_of(operator)
    target = _target(container, sources)
    stage = _SingleStage(model)
    empty, inner = empty_member(stage, len(model.classes_)), member_estimator(stage)
    if is_foreign(inner):
        member = foreign_member(empty, inner, sources, target.foreign_opset)
    else:
        member = sklearn_member(empty, inner, target)
    canvas = Canvas(scope.get_unique_operator_name("member") + "/")
    double = any(source.is_double for source in sources)
    proba = answer_of(canvas, member, sources, elem_type_of(np.float64 if double else np.float32))
    column = canvas.add("ArgMax", proba, axis=1, keepdims=0, name="column")
    classes = np.asarray(model.classes_)
    classes = classes.astype(np.int64 if classes.dtype.kind in "iub" else object)
    labels = canvas.hold(classes, classes.dtype, "classes")
    label = canvas.add("Gather", labels, column, axis=0, name="label")
    _hand_out(operator, container, canvas, (label, proba), needed_opsets([member]))


class _SingleStage:
    """A model that stands where a stage would."""

    def __init__(self, estimator) -> None:
        self.position, self.name, self.estimator = 0, type(estimator).__name__, estimator
        self.columns = None


def _sources_of(operator) -> list[Source]:
    """Return an operator's inputs."""
    guess = package("skl2onnx.common.data_types").guess_proto_type
    return [
        Source(v.raw_name, v.full_name, guess(v.type), tuple(v.type.shape or (None, None)))
        for v in operator.inputs
    ]


def _target(container, sources: list[Source]) -> Target:
    """Return what members are converted for within a container."""
    opsets = dict(container.target_opset_all)
    opsets.setdefault(ML_DOMAIN, 3)
    if opsets[""] < LOWEST_OPSET:
        raise ConversionError(
            f"target_opset={opsets['']}; expected at least {LOWEST_OPSET}, which the routing needs"
        )
    # A mix of text and numbers as keys crashes skl2onnx.
    options = {k: v for k, v in (container.options or {}).items() if not isinstance(k, str)}
    return Target(sources, opsets, opsets[""], options)


def _hand_out(operator, container, canvas: Canvas, names, opsets: dict[str, int]) -> None:
    """Put what was written into a container, under the names of the operator's outputs."""
    for name, variable in zip(names, operator.outputs, strict=False):
        canvas.place("Identity", [name], [variable.full_name])
        (canvas.nodes[-1].name,) = canvas.fresh_names("handed_out")
    # The container's own methods drop text and floats of constants, and know no branches.
    container.nodes.extend(canvas.nodes)
    container.initializers.extend(canvas.initializers)
    container.node_domain_version_pair_sets.update(opsets.items())
