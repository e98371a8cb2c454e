"""Converters of skl2onnx: for our estimators, and in place of some that are wrong or missing."""

from __future__ import annotations

import importlib
import sys
from contextvars import ContextVar
from types import SimpleNamespace

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_cascade.estimators._averaging import AveragingEnsemble
from sklearn_cascade.estimators._cascade import CascadeClassifier
from sklearn_cascade.estimators._search_cv import CascadeSearchCV
from sklearn_cascade.exceptions import ConversionError
from sklearn_cascade.export._graph_builder import LOWEST_OPSET, ML_DOMAIN, GraphBuilder, package
from sklearn_cascade.export._member_graphs import (
    Target,
    convert_cascade,
    convert_member,
    last_step,
)
from sklearn_cascade.export._member_io import (
    Source,
    elem_type_of,
    float_type_of,
    write_label,
    write_member,
)
from sklearn_cascade.export._models import needed_opsets
from sklearn_cascade.export._preparation import HistogramBoosting, TemperatureCalibrated
from sklearn_cascade.export._spec import fitted_cascade, is_cascade, onnx_labels
from sklearn_cascade.members._ensemble_parts import EnsemblePart
from sklearn_cascade.members._onnx import OnnxClassifier

# Raw scores are not among them, so that a calibration takes the probabilities.
_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False],
}
_CLASSIFIER_OPTIONS = {**_OPTIONS, "output_class_labels": [False, True]}
_RAW_SCORES = {"raw_scores": [True, False]}
# How many outputs the pipeline around a cascade has; None: all four.
_n_outputs: ContextVar[int | None] = ContextVar("n_outputs", default=None)
# An attribute with booleans, for which newer versions of protobuf require integers.
_BOOLEANS = "nodes_missing_value_tracks_true"
# As scikit-learn adds before it takes the logarithm of a probability.
_EPS = 1e-12
# Keeps the logarithm finite where probabilities take the place of a decision function.
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


def register_onnx_converter() -> None:
    """Register the estimators of this package with skl2onnx.

    `to_onnx` does so by itself. Call this function before you call skl2onnx directly with a
    pipeline that contains a cascade. The registration lasts for the process and does not affect
    other estimators. Where onnxmltools is installed, its converters for LightGBM and XGBoost are
    registered too, unless these have one already.

    See Also
    --------
    to_onnx : Convert and compare the file with the estimator.

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
    for kinds, convert in (
        ((CascadeClassifier, AveragingEnsemble, CascadeSearchCV), _convert_cascade),
        ((OnnxClassifier, EnsemblePart), _convert_single),
    ):
        for kind in kinds:
            alias = f"SklearnCascade{kind.__name__}"
            register(kind, alias, _infer_types, convert, parser=_parse, options=_OPTIONS)
    # Votes, stacks and calibrations expect two outputs of a pipeline, and a cascade at its end has
    # four. The converter goes by its name; the stand-in leaves the parser of pipelines as it is.
    register(
        _AnyPipeline,
        "SklearnPipeline",
        package("skl2onnx.shape_calculators.pipelines").pipeline_shape_calculator,
        _convert_pipeline,
        options={**_CLASSIFIER_OPTIONS, **_RAW_SCORES},
    )
    infer = package("skl2onnx.common.shape_calculator").calculate_linear_classifier_output_shapes
    for kind, convert in (
        (HistogramBoosting, _convert_histogram_boosting),
        (TemperatureCalibrated, _convert_temperature),
    ):
        options = {**_CLASSIFIER_OPTIONS, **_RAW_SCORES}
        register(kind, f"SklearnCascade{kind.__name__}", infer, convert, options=options)
    for (library, name), (alias, module, function) in _BOOSTERS.items():
        booster = getattr(sys.modules.get(library), name, None)
        if booster is None or _has_converter(booster):
            continue
        try:
            convert = getattr(importlib.import_module(module), function)
        except ImportError:  # pragma: no cover, without onnxmltools
            continue
        options = {key: _OPTIONS[key] for key in ("zipmap", "nocl")}
        register(booster, alias, infer, convert, options=options)


def _has_converter(kind: type) -> bool:
    """Tell whether a class is registered."""
    try:
        return package("skl2onnx").get_model_alias(kind) is not None
    except RuntimeError:
        return False


class _AnyPipeline(Pipeline):
    """Stand-in for pipelines, under which their converter is replaced."""


def _parse(scope, model, inputs, custom_parsers=None):
    """Declare the outputs; they are never dicts, whatever `zipmap` is."""
    types = package("skl2onnx.common.data_types")
    operator = scope.declare_local_operator(package("skl2onnx").get_model_alias(type(model)), model)
    operator.inputs = inputs
    declared = {"label": _label_type(model), "probabilities": _float_tensor(operator)()}
    if is_cascade(model):
        declared.update(exit_stage=types.Int64TensorType(), cost=types.FloatTensorType())
    for name, kind in list(declared.items())[: _n_outputs.get()]:
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _infer_types(operator) -> None:
    """Set types and shapes of the outputs."""
    types = package("skl2onnx.common.data_types")
    model = operator.raw_operator
    n_rows = operator.inputs[0].get_first_dimension()
    kinds = [
        _label_type(model),
        _float_tensor(operator)([n_rows, len(model.classes_)]),
        types.Int64TensorType([n_rows]),
        types.FloatTensorType([n_rows]),
    ]
    for variable, kind in zip(operator.outputs, kinds, strict=False):
        variable.type = kind


def _label_type(model):
    """Return skl2onnx's description of the labels."""
    types = package("skl2onnx.common.data_types")
    integers = np.asarray(model.classes_).dtype.kind in "iub"
    return types.Int64TensorType([None]) if integers else types.StringTensorType([None])


def _float_tensor(operator) -> type:
    """Return skl2onnx's type of the probabilities: float64 if any input is, else float32."""
    types = package("skl2onnx.common.data_types")
    double = any(isinstance(v.type, types.DoubleTensorType) for v in operator.inputs)
    return types.DoubleTensorType if double else types.FloatTensorType


def _convert_pipeline(scope, operator, container) -> None:
    """Write a pipeline as skl2onnx does, with as many outputs as its caller declared."""
    token = _n_outputs.set(len(operator.outputs))
    try:
        package("skl2onnx.operator_converters.pipelines").convert_pipeline(
            scope, operator, container
        )
    finally:
        _n_outputs.reset(token)


def _convert_cascade(scope, operator, container) -> None:
    """Write a cascade into skl2onnx's container."""
    target = _target(operator, container)
    converted = convert_cascade(fitted_cascade(operator.raw_operator), target)
    builder = GraphBuilder(scope.get_unique_operator_name("cascade") + "/")
    names = converted.write(builder, target.sources)
    _add_to_container(operator, container, builder, names, converted.opsets)


def _convert_single(scope, operator, container) -> None:
    """Write an `OnnxClassifier`, or a part of an ensemble, into skl2onnx's container."""
    model, target = operator.raw_operator, _target(operator, container)
    stage = SimpleNamespace(position=0, name=type(model).__name__, estimator=model, columns=None)
    member = convert_member(stage, len(model.classes_), target)
    builder = GraphBuilder(scope.get_unique_operator_name("member") + "/")
    proba = write_member(builder, member, target.sources, float_type_of(target.sources))
    label = write_label(builder, proba, onnx_labels(model.classes_))
    _add_to_container(operator, container, builder, (label, proba), needed_opsets([member]))


def _target(operator, container) -> Target:
    """Return what members are converted for within a container."""
    guess = package("skl2onnx.common.data_types").guess_proto_type
    sources = [
        Source(v.raw_name, v.full_name, guess(v.type), tuple(v.type.shape or (None, None)))
        for v in operator.inputs
    ]
    opsets = dict(container.target_opset_all)
    opsets.setdefault(ML_DOMAIN, 3)
    if opsets[""] < LOWEST_OPSET:
        raise ConversionError(
            f"target_opset={opsets['']}; expected at least {LOWEST_OPSET}, which the routing needs"
        )
    # A mix of text and numbers as keys crashes skl2onnx.
    options = {k: v for k, v in (container.options or {}).items() if not isinstance(k, str)}
    return Target(sources, opsets, opsets[""], options)


def _add_to_container(
    operator, container, builder: GraphBuilder, names, opsets: dict[str, int]
) -> None:
    """Add the written nodes to a container; `names` become the operator's outputs."""
    for name, variable in zip(names, operator.outputs, strict=False):
        builder.add_node("Identity", name, outputs=[variable.full_name])
        builder.nodes[-1].name = builder.unique_name("output")
    # The container's own methods lose text and floats of constants, and do not handle branches.
    container.nodes.extend(builder.nodes)
    container.initializers.extend(builder.initializers)
    container.node_domain_version_pair_sets.update(opsets.items())


class _IntegersForBooleans:
    """A container that writes booleans as integers."""

    def __init__(self, container) -> None:
        self._container = container

    def __getattr__(self, name):
        return getattr(self._container, name)

    def add_node(self, *args, **attributes):
        """Add a node."""
        if _BOOLEANS in attributes:
            attributes[_BOOLEANS] = [int(value) for value in attributes[_BOOLEANS]]
        return self._container.add_node(*args, **attributes)


def _convert_histogram_boosting(scope, operator, container) -> None:
    """Convert gradient boosting on histograms."""
    forests = package("skl2onnx.operator_converters.random_forest")
    container = _IntegersForBooleans(container)
    forests.convert_sklearn_random_forest_classifier(scope, operator, container)


def _convert_temperature(scope, operator, container) -> None:
    """Convert a calibration by temperature: the softmax of scaled logits, averaged over folds."""
    calibrated = operator.raw_operator
    types = package("skl2onnx.common.data_types")
    double = isinstance(operator.inputs[0].type, types.DoubleTensorType)
    dtype = np.dtype(np.float64 if double else np.float32)
    builder = GraphBuilder(scope.get_unique_operator_name("temperature") + "/")
    folds = calibrated.calibrated_classifiers_
    probas = [_write_fold(scope, operator, container, builder, fold, dtype) for fold in folds]
    total = probas[0]
    for proba in probas[1:]:
        total = builder.add_node("Add", total, proba, name="total")
    n_folds = builder.constant(len(folds), dtype, "n_folds")
    proba = builder.add_node("Div", total, n_folds, name="mean")
    classes = np.asarray(calibrated.classes_)
    # Only the probabilities of a member are used; its labels need not keep their type.
    classes = onnx_labels(classes.astype(np.int64) if classes.dtype.kind == "f" else classes)
    label = write_label(builder, proba, classes)
    opsets = {"": container.target_opset_all[""]}
    _add_to_container(operator, container, builder, (label, proba), opsets)


def _write_fold(scope, operator, container, builder: GraphBuilder, fold, dtype) -> str:
    """Write one fold's model and its temperature; return its probabilities."""
    types = package("skl2onnx.common.data_types")
    model = fold.estimator
    inner = scope.declare_local_operator(package("skl2onnx").get_model_alias(type(model)), model)
    inner.inputs = operator.inputs
    floats = types.DoubleTensorType if dtype == np.float64 else types.FloatTensorType
    for name, kind in {"label": types.Int64TensorType(), "uncalibrated": floats()}.items():
        inner.outputs.append(scope.declare_local_variable(name, kind))
    scores = builder.add_node(
        "Cast", inner.outputs[1].full_name, to=elem_type_of(dtype), name="uncalibrated"
    )
    factor = float(fold.calibrators[0].beta_)
    has_decision = hasattr(model, "decision_function")
    if has_decision and _offers_raw_scores(container, model):
        for options in (container, scope):
            options.add_options(id(last_step(model)), {"raw_scores": True})
    else:
        # Binary forests in float32 return probabilities a little below zero.
        floor = builder.constant(_TINY[dtype] if has_decision else 0.0, dtype, "floor")
        scores = builder.add_node("Max", scores, floor, name="floored")
        if not has_decision:
            eps = builder.constant(_EPS, dtype, "eps")
            scores = builder.add_node("Add", scores, eps, name="above_zero")
        scores = builder.add_node("Log", scores, name="logits")
        if has_decision and len(fold.classes) == 2:
            # scikit-learn writes a single decision as (-x, x), twice as far apart as the logits.
            factor *= 2
    beta = builder.constant(factor, dtype, "beta")
    scaled = builder.add_node("Mul", scores, beta, name="scaled")
    return builder.add_node("Softmax", scaled, axis=1, name="calibrated")


def _offers_raw_scores(container, model) -> bool:
    """Tell whether a model's converter can return its decision function."""
    try:
        return bool(container.has_options(last_step(model), "raw_scores"))
    except (KeyError, NotImplementedError, RuntimeError):
        return False
