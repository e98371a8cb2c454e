"""Members of a cascade that come fitted: functions, ONNX files and parts of one ensemble."""

from sklearn_cascade._compat import imported_at_first_use
from sklearn_cascade.members._ensemble_parts import (
    EnsemblePart,
    exact_checkpoints,
    split_ensemble,
)
from sklearn_cascade.members._prefit import PrefitClassifier

__all__ = [
    "EnsemblePart",
    "OnnxClassifier",
    "PrefitClassifier",
    "choose_output",
    "exact_checkpoints",
    "first_line",
    "open_model",
    "parse",
    "split_ensemble",
]

__getattr__ = imported_at_first_use(
    __name__,
    {
        "OnnxClassifier": "sklearn_cascade.members._onnx",
        "choose_output": "sklearn_cascade.members._onnx_inputs",
        "first_line": "sklearn_cascade.members._onnx_file",
        "open_model": "sklearn_cascade.members._onnx_session",
        "parse": "sklearn_cascade.members._onnx_file",
    },
)
