"""Ways to bring a model."""

from sklearn_cascade.members._onnx import OnnxClassifier
from sklearn_cascade.members._onnx_ports import choose_output
from sklearn_cascade.members._onnx_sessions import open_model
from sklearn_cascade.members._onnx_source import first_line, parse
from sklearn_cascade.members._prefit import PrefitClassifier
from sklearn_cascade.members._split import EnsemblePart, certain_checkpoints, split_ensemble

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
