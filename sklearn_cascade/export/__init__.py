"""Export of a fitted cascade or ensemble to an ONNX file that runs without Python."""
