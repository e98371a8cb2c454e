"""Our estimators among those that skl2onnx converts."""

from __future__ import annotations

import importlib
import sys
from contextvars import ContextVar

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_cascade.estimators import AveragingEnsemble, CascadeClassifier, CascadeSearchCV
from sklearn_cascade.exceptions import ConversionError
from sklearn_cascade.export._graph_builder import LOWEST_OPSET, ML_DOMAIN, GraphBuilder, package
from sklearn_cascade.export._member_graphs import (
    Target,
    build,
    empty_member,
    foreign_member,
    is_foreign,
    member_estimator,
    sklearn_member,
)
from sklearn_cascade.export._member_io import Source, elem_type_of, write_member
from sklearn_cascade.export._models import needed_opsets
from sklearn_cascade.export._preparation import HistogramBoosting, TemperatureCalibrated
from sklearn_cascade.export._spec import committee_of, is_committee
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
_CLASSIFIER = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
}
# Truth values that newer protobuf wants as integers.
_TRUTHS = "nodes_missing_value_tracks_true"
# As scikit-learn adds before it takes the logarithm of a probability.
_EPS = 1e-12
# Keeps the logarithm finite where probabilities stand for a decision function.
_TINY = {np.dtype(np.float32): 1e-37, np.dtype(np.float64): 1e-300}
_BOOSTERS = {
    ("lightgbm", "LGBMClassifier"): (
        "LightGbmLGBMClassifier",
        "onnxmltools.convert.lightgbm.operator_converters.LightGbm",
        "convert_lightgbm",
    ),
    ("xgboost", "XGBClassifier"): (
        "XGBoostXGBClassifier",
        "onnxmltools.convert.xgboost.operator_converters.XGBoost",
        "convert_xgboost",
    ),
}


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
    canvas = GraphBuilder(scope.get_unique_operator_name("cascade") + "/")
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
    canvas = GraphBuilder(scope.get_unique_operator_name("member") + "/")
    double = any(source.is_double for source in sources)
    proba = write_member(
        canvas, member, sources, elem_type_of(np.float64 if double else np.float32)
    )
    column = canvas.add_node("ArgMax", proba, axis=1, keepdims=0, name="column")
    classes = np.asarray(model.classes_)
    classes = classes.astype(np.int64 if classes.dtype.kind in "iub" else object)
    labels = canvas.constant(classes, classes.dtype, "classes")
    label = canvas.add_node("Gather", labels, column, axis=0, name="label")
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


def _hand_out(operator, container, canvas: GraphBuilder, names, opsets: dict[str, int]) -> None:
    """Put what was written into a container, under the names of the operator's outputs."""
    for name, variable in zip(names, operator.outputs, strict=False):
        canvas.place("Identity", [name], [variable.full_name])
        (canvas.nodes[-1].name,) = canvas.fresh_names("handed_out")
    # The container's own methods drop text and floats of constants, and know no branches.
    container.nodes.extend(canvas.nodes)
    container.initializers.extend(canvas.initializers)
    container.node_domain_version_pair_sets.update(opsets.items())


def register_twins() -> None:
    """Register the converters of the twins; the models themselves keep theirs."""
    register = package("skl2onnx").update_registered_converter
    shapes = package("skl2onnx.common.shape_calculator")
    infer = shapes.calculate_linear_classifier_output_shapes
    for kind, convert in (
        (HistogramBoosting, _convert_histogram_boosting),
        (TemperatureCalibrated, _convert_temperature),
    ):
        options = {**_CLASSIFIER, "raw_scores": [True, False]}
        register(kind, f"SklearnCascade{kind.__name__}", infer, convert, options=options)


def register_boosters() -> None:
    """Register onnxmltools' converters of the boosters in use, unless they have one."""
    skl2onnx = package("skl2onnx")
    infer = package("skl2onnx.common.shape_calculator").calculate_linear_classifier_output_shapes
    for (library, name), (alias, module, function) in _BOOSTERS.items():
        kind = getattr(sys.modules.get(library), name, None)
        if kind is None or _has_converter(kind):
            continue
        try:
            convert = getattr(importlib.import_module(module), function)
        except ImportError:
            continue
        options = {key: _CLASSIFIER[key] for key in ("zipmap", "nocl")}
        skl2onnx.update_registered_converter(kind, alias, infer, convert, options=options)


def _has_converter(kind: type) -> bool:
    """Tell whether a class is registered."""
    try:
        return package("skl2onnx").get_model_alias(kind) is not None
    except RuntimeError:
        return False


class _WholeNumbers:
    """A container that writes truth values as integers."""

    def __init__(self, container) -> None:
        self._container = container

    def __getattr__(self, name):
        return getattr(self._container, name)

    def add_node(self, *args, **attributes):
        """Add a node."""
        if _TRUTHS in attributes:
            attributes[_TRUTHS] = [int(value) for value in attributes[_TRUTHS]]
        return self._container.add_node(*args, **attributes)


def _convert_histogram_boosting(scope, operator, container) -> None:
    """Convert gradient boosting on histograms."""
    forests = package("skl2onnx.operator_converters.random_forest")
    forests.convert_sklearn_random_forest_classifier(scope, operator, _WholeNumbers(container))


def _convert_temperature(scope, operator, container) -> None:
    """Convert a calibration by temperature: the softmax of scaled logits, averaged over folds."""
    calibrated = operator.raw_operator
    types = package("skl2onnx.common.data_types")
    double = isinstance(operator.inputs[0].type, types.DoubleTensorType)
    dtype = np.dtype(np.float64 if double else np.float32)
    canvas = GraphBuilder(scope.get_unique_operator_name("temperature") + "/")
    pieces = calibrated.calibrated_classifiers_
    answers = [_scaled(scope, operator, container, canvas, piece, dtype) for piece in pieces]
    total = answers[0]
    for answer in answers[1:]:
        total = canvas.add_node("Add", total, answer, name="total")
    n_pieces = canvas.constant(len(pieces), dtype, "n_folds")
    proba = canvas.add_node("Div", total, n_pieces, name="mean")
    column = canvas.add_node("ArgMax", proba, axis=1, keepdims=0, name="column")
    classes = np.asarray(calibrated.classes_)
    classes = classes.astype(np.int64 if classes.dtype.kind in "iufb" else object)
    label = canvas.add_node(
        "Gather", canvas.constant(classes, classes.dtype, "classes"), column, axis=0, name="label"
    )
    for name, variable in zip((label, proba), operator.outputs, strict=True):
        canvas.place("Identity", [name], [variable.full_name])
        (canvas.nodes[-1].name,) = canvas.fresh_names("handed_out")
    container.nodes.extend(canvas.nodes)
    container.initializers.extend(canvas.initializers)
    container.node_domain_version_pair_sets.add(("", container.target_opset_all[""]))


def _scaled(scope, operator, container, canvas: GraphBuilder, piece, dtype) -> str:
    """Write one fold's model and its temperature; return its probabilities."""
    types = package("skl2onnx.common.data_types")
    model = piece.estimator
    inner = scope.declare_local_operator(package("skl2onnx").get_model_alias(type(model)), model)
    inner.inputs = operator.inputs
    floats = types.DoubleTensorType if dtype == np.float64 else types.FloatTensorType
    declared = {"label": types.Int64TensorType(), "uncalibrated": floats()}
    for name, kind in declared.items():
        inner.outputs.append(scope.declare_local_variable(name, kind))
    scores = canvas.add_node(
        "Cast", inner.outputs[1].full_name, to=elem_type_of(dtype), name="uncalibrated"
    )
    factor = float(piece.calibrators[0].beta_)
    decides = hasattr(model, "decision_function")
    if decides and _offers_raw_scores(container, model):
        for options in (container, scope):
            options.add_options(id(_last_step(model)), {"raw_scores": True})
    else:
        # Binary forests in float32 answer a little below zero.
        floor = canvas.constant(_TINY[dtype] if decides else 0.0, dtype, "floor")
        scores = canvas.add_node("Max", scores, floor, name="floored")
        if not decides:
            scores = canvas.add_node(
                "Add", scores, canvas.constant(_EPS, dtype, "eps"), name="above_zero"
            )
        scores = canvas.add_node("Log", scores, name="logits")
        if decides and len(piece.classes) == 2:
            # scikit-learn writes a single decision as (-x, x), twice as far apart as the logits.
            factor *= 2
    scaled = canvas.add_node("Mul", scores, canvas.constant(factor, dtype, "beta"), name="scaled")
    return canvas.add_node("Softmax", scaled, axis=1, name="calibrated")


def _last_step(model):
    """Return the classifier at the end of a pipeline."""
    while hasattr(model, "steps"):
        model = model.steps[-1][1]
    return model


def _offers_raw_scores(container, model) -> bool:
    """Tell whether a model's converter can hand out its decision function."""
    try:
        return bool(container.has_options(_last_step(model), "raw_scores"))
    except (KeyError, NotImplementedError, RuntimeError):
        return False
