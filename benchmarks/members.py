"""What members add to the models in them: ONNX sessions, and forests split into parts."""

from __future__ import annotations

from benchmarks import forests, onnx_overhead


def run(*, data=None, quick=False):
    """Print the time around an ONNX session, and what splitting a forest saves."""
    onnx_overhead.run(data=data, quick=quick)
    print()
    forests.run(quick=quick)
