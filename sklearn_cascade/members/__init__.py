"""Ways to bring a model."""

from sklearn_cascade._compat import imported_at_first_use
from sklearn_cascade.members._ensemble_parts import (
    EnsemblePart,
    certain_checkpoints,
    split_ensemble,
)
from sklearn_cascade.members._prefit import PrefitClassifier

__all__ = [
    "EnsemblePart",
    "OnnxClassifier",
    "PrefitClassifier",
    "certain_checkpoints",
    "choose_output",
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
