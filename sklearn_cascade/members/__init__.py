"""Ways to bring a model."""

from sklearn_cascade.members._onnx import OnnxClassifier
from sklearn_cascade.members._prefit import PrefitClassifier
from sklearn_cascade.members._split import EnsemblePart, certain_checkpoints, split_ensemble

__all__ = [
    "EnsemblePart",
    "OnnxClassifier",
    "PrefitClassifier",
    "certain_checkpoints",
    "split_ensemble",
]
