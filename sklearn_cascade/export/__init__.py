"""Export of a fitted cascade or ensemble to an ONNX file that runs without Python."""

from sklearn_cascade.export._report import ExportReport
from sklearn_cascade.export._skl2onnx import register_onnx_converter
from sklearn_cascade.export._to_onnx import to_onnx

__all__ = [
    "ExportReport",
    "register_onnx_converter",
    "to_onnx",
]
