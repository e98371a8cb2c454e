"""Members of a cascade that come fitted: functions, ONNX files and parts of one ensemble."""
