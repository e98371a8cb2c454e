"""Known reasons why a member does not convert, or converts wrongly, and the way round."""

from __future__ import annotations

from sklearn_cascade.export._preparation import parts_of
from sklearn_cascade.members import first_line

_ON_FAILURE = {
    "LGBMClassifier": "LightGBM converts once onnxmltools is installed: "
    "pip install 'sklearn-cascade[boosters-onnx]'",
    "XGBClassifier": "XGBoost converts once onnxmltools is installed: "
    "pip install 'sklearn-cascade[boosters-onnx]'",
    "CatBoostClassifier": "save it with CatBoost's own save_model(format='onnx') and bring the "
    "file as an OnnxClassifier",
    "DummyClassifier": "skl2onnx has no converter for it",
}


def reason_for(estimator, error: Exception) -> str:
    """Return why a member did not convert: what would help, if known, and what skl2onnx said."""
    kinds = [type(part).__name__ for part in parts_of(estimator)]
    known = next((_ON_FAILURE[kind] for kind in kinds if kind in _ON_FAILURE), None)
    if known is None and "at most 1 input" in str(error):
        known = "it wants one matrix, and X has a column of its own for each feature"
    if known is None and type(error).__name__.startswith("Missing"):
        known = (
            "skl2onnx knows no converter for it: register one with "
            "skl2onnx.update_registered_converter, or replace the member"
        )
    said = f"{type(error).__name__}: {first_line(error)}"
    return f"{known} ({said[:200]})" if known else said


def hint_for_difference(estimator) -> str:
    """Return what is known of a member whose graph answers differently, put after the figures."""
    for part in parts_of(estimator):
        hint = _known_wrong(part)
        if hint:
            return f". {hint}"
    return ""


def _known_wrong(part) -> str | None:
    """Return the hint for one model that skl2onnx is known to convert wrongly."""
    kind = type(part).__name__
    if kind == "KNeighborsClassifier" and part.weights == "distance":
        return (
            "skl2onnx converts neighbours weighted by distance wrongly; weights='uniform' is right"
        )
    if kind == "CalibratedClassifierCV" and part.method == "isotonic":
        return (
            "skl2onnx takes the nearest knot of an isotonic calibration, where scikit-learn "
            "interpolates; method='sigmoid' is right"
        )
    if kind.startswith("Hist") and getattr(part, "is_categorical_", None) is not None:
        return (
            "skl2onnx ignores the categorical_features of gradient boosting; encode these columns "
            "in a pipeline before it"
        )
    if kind in ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier"):
        return (
            "if X has missing values: skl2onnx does not send them the way of scikit-learn's trees; "
            "put a SimpleImputer before it"
        )
    if kind == "OnnxClassifier":
        return "a net in float16 rounds as the graph around it lets it: if this is one, raise atol"
    if kind == "CalibratedClassifierCV" and _calibrates_a_pipeline(part):
        return (
            "skl2onnx calibrates the probabilities of a pipeline where scikit-learn calibrates its "
            "decision function; put the calibration into the pipeline: "
            "Pipeline([*steps, CalibratedClassifierCV(last)])"
        )
    return None


def _calibrates_a_pipeline(calibrated) -> bool:
    """Tell whether what is calibrated is a pipeline."""
    pieces = getattr(calibrated, "calibrated_classifiers_", [])
    return any(hasattr(part, "steps") for piece in pieces for part in parts_of(piece.estimator)[:1])
