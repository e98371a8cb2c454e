"""Members against the models in them: the time around an ONNX session, and a split forest."""

from __future__ import annotations

from benchmarks import forests, onnx_overhead


def run(*, data=None, quick=False):
    """Print the time around an ONNX session, and the saving of a split forest."""
    onnx_overhead.run(data=data, quick=quick)
    print()
    forests.run(quick=quick)
