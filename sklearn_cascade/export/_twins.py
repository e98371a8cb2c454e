"""Converters for models that skl2onnx alone does not convert, registered under twins of theirs."""

from __future__ import annotations

import importlib
import sys

import numpy as np

from sklearn_cascade.export._binding import elem_type_of
from sklearn_cascade.export._canvas import Canvas
from sklearn_cascade.export._packages import package
from sklearn_cascade.export._preparation import HistogramBoosting, TemperatureCalibrated

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
    canvas = Canvas(scope.get_unique_operator_name("temperature") + "/")
    pieces = calibrated.calibrated_classifiers_
    answers = [_scaled(scope, operator, container, canvas, piece, dtype) for piece in pieces]
    total = answers[0]
    for answer in answers[1:]:
        total = canvas.add("Add", total, answer, name="total")
    n_pieces = canvas.hold(len(pieces), dtype, "n_folds")
    proba = canvas.add("Div", total, n_pieces, name="mean")
    column = canvas.add("ArgMax", proba, axis=1, keepdims=0, name="column")
    classes = np.asarray(calibrated.classes_)
    classes = classes.astype(np.int64 if classes.dtype.kind in "iufb" else object)
    label = canvas.add(
        "Gather", canvas.hold(classes, classes.dtype, "classes"), column, axis=0, name="label"
    )
    for name, variable in zip((label, proba), operator.outputs, strict=True):
        canvas.place("Identity", [name], [variable.full_name])
        (canvas.nodes[-1].name,) = canvas.fresh_names("handed_out")
    container.nodes.extend(canvas.nodes)
    container.initializers.extend(canvas.initializers)
    container.node_domain_version_pair_sets.add(("", container.target_opset_all[""]))


def _scaled(scope, operator, container, canvas: Canvas, piece, dtype) -> str:
    """Write one fold's model and its temperature; return its probabilities."""
    types = package("skl2onnx.common.data_types")
    model = piece.estimator
    inner = scope.declare_local_operator(package("skl2onnx").get_model_alias(type(model)), model)
    inner.inputs = operator.inputs
    floats = types.DoubleTensorType if dtype == np.float64 else types.FloatTensorType
    declared = {"label": types.Int64TensorType(), "uncalibrated": floats()}
    for name, kind in declared.items():
        inner.outputs.append(scope.declare_local_variable(name, kind))
    scores = canvas.add(
        "Cast", inner.outputs[1].full_name, to=elem_type_of(dtype), name="uncalibrated"
    )
    factor = float(piece.calibrators[0].beta_)
    decides = hasattr(model, "decision_function")
    if decides and _offers_raw_scores(container, model):
        for options in (container, scope):
            options.add_options(id(_last_step(model)), {"raw_scores": True})
    else:
        # Binary forests in float32 answer a little below zero.
        floor = canvas.hold(_TINY[dtype] if decides else 0.0, dtype, "floor")
        scores = canvas.add("Max", scores, floor, name="floored")
        if not decides:
            scores = canvas.add("Add", scores, canvas.hold(_EPS, dtype, "eps"), name="above_zero")
        scores = canvas.add("Log", scores, name="logits")
        if decides and len(piece.classes) == 2:
            # scikit-learn writes a single decision as (-x, x), twice as far apart as the logits.
            factor *= 2
    scaled = canvas.add("Mul", scores, canvas.hold(factor, dtype, "beta"), name="scaled")
    return canvas.add("Softmax", scaled, axis=1, name="calibrated")


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
