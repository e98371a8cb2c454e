"""The benchmark of exported files runs, at toy size."""

from __future__ import annotations

import pytest

from benchmarks import onnx as benchmark
from benchmarks.onnx_cascades import open_file, table_cascades
from tests.recorded import find_folder
from tests.tables import tables_of


@pytest.fixture(scope="module")
def data():
    """Return the folder of the recorded data; None if there is none."""
    folder = find_folder("cifar10_family")
    return None if folder is None else str(folder)


def test_onnx_prints_its_tables(capsys, data):
    """Check the shares that reach, the ratios, and that no kernel of a later member runs."""
    benchmark.run(data=data, quick=True)
    text = capsys.readouterr().out
    files, times, kernels = tables_of(text)
    cascades = ["A", "B", "C", *(["CIFAR-10"] if data else [])]
    assert [row[0] for row in files[1:]] == cascades
    assert [row[2] for row in files[1:4]] == [
        "1.00 / 0.21 / 0.20",
        "1.00 / 0.21 / 0.08",
        "1.00 / 0.21",
    ]
    assert [row[:2] for row in times[1:]] == [[name, n] for name in cascades for n in ("1", "32")]
    for row in times[1:]:
        file, members = (float(cell.split()[0]) for cell in row[2:4])
        # The figures are printed to a tenth.
        assert float(row[5]) == pytest.approx(file / members, abs=0.01, rel=0.02)
    assert [row[:2] for row in kernels[1:4]] == [["A", "0"], ["A", "1"], ["A", "2"]]
    by_stage = [int(row[3]) for row in kernels[1:4]]
    assert by_stage == sorted(set(by_stage))
    assert {row[4] for row in kernels[1:]} == {"0"}
    assert text.count("one row at a time takes about") == len(cascades)


def test_kernels_of_names_the_forest_for_a_row_that_reaches_it():
    """Check that the profiler's names tell members apart, so that a count of zero means zero."""
    timed = table_cascades(quick=True)[0]
    stages = open_file(timed.file).run(["exit_stage"], {"X": timed.X})[0]
    last = timed.X[stages == 2][:1]
    names = benchmark.kernels_of(timed.file, last)
    for stage in range(3):
        assert any(f"stage{stage}/member/" in name for name in names)
