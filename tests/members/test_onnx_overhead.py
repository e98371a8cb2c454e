"""The benchmark of ONNX models runs, at toy size."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="ONNX models need onnx")
pytest.importorskip("onnxruntime", reason="ONNX models need onnxruntime")


def test_overhead_prints_its_table(capsys):
    """Check that each net is timed for one row and for many, with figures that fit together."""
    from benchmarks import onnx_overhead

    onnx_overhead.run(quick=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    assert header[2:4] == ["session.run", "OnnxClassifier"]
    assert [row[1] for row in rows] == ["1", "20"] * 2
    for row in rows:
        alone, through, difference = (float(cell.split()[0]) for cell in row[2:5])
        # Figures are printed to three digits behind the point.
        assert difference == pytest.approx(through - alone, abs=2e-3)
        assert alone > 0
