"""The benchmarks run, at toy size."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main
from tests.tables import cells_of, tables_of


def test_predict_prints_its_table(capsys):
    """Check that each figure is printed with both times, and that no heavy module is imported."""
    main(["predict", "--quick"])
    _, *rows = cells_of(capsys.readouterr().out)
    assert len(rows) == 4
    assert rows[0][0] == "one row, two stages"
    assert "heavy modules added: none" in rows[2][-1]
    for row in rows:
        alone, together = (float(cell.split()[0]) for cell in row[1:3])
        assert float(row[4]) == pytest.approx(together / alone, 0.1)


def test_search_prints_its_table(capsys):
    """Check that each figure is printed, and that the sweep equals the plain evaluation."""
    main(["search", "--quick"])
    (_, *rows), baselines = tables_of(capsys.readouterr().out)
    figures = {row[0]: row for row in rows}
    assert len(figures) == len(rows) == 15
    assert len(baselines) == 4
    assert figures["greedy above the best pair or single"][1] == "0 of 2"
    assert figures["plain evaluation of 10 vectors, results equal to 1e-12"][3].endswith("x")


def test_members_prints_its_tables(capsys):
    """Check that ONNX sessions and a split forest are timed, with the labels that differ."""
    main(["members", "--quick"])
    overhead, *forests = tables_of(capsys.readouterr().out)
    assert len(overhead) == 5
    assert [table[0][0] for table in forests] == [
        "forest",
        "untuned",
        "time",
        "cut to equal cost",
        "cut until as accurate on tuning rows",
    ]
    saved, differ, limit = (float(cell.rstrip("x")) for cell in forests[0][1][2:5])
    assert saved > 1
    assert differ < 0.05
    assert 0 < limit <= 0.02
    assert forests[1][1][4] == "0.00000"
    assert len(forests[2]) == 4


def test_onnx_members_prints_its_table(capsys):
    """Check that each kind of member has a line, and that wrong conversions are refused."""
    main(["onnx-members", "--quick"])
    header, *rows = cells_of(capsys.readouterr().out)
    assert len(header) == 4
    verdicts = {row[0]: row[3] for row in rows}
    assert verdicts["KNeighbors, distance"] == "OnnxMismatchError"
    assert verdicts["DummyClassifier"] == "UnconvertibleMemberError"
    assert verdicts["GaussianNB"] == "handed over"


def test_certify_prints_its_tables(capsys):
    """Check that the certificate's own failures stand beside those of naive tuning."""
    main(["certify", "--quick"])
    (header, row), times = tables_of(capsys.readouterr().out)
    found = dict(zip(header, row, strict=True))
    shares = {name: float(cell.rstrip("%")) for name, cell in found.items() if "%" in cell}
    assert set(shares) == {name for name in header if name.endswith(("fails", "saving", "refused"))}
    assert shares["certified saving"] <= shares["best possible saving"]
    assert len(times) == 2


def test_unknown_command_is_refused(capsys):
    """Check that the error names the known commands."""
    with pytest.raises(SystemExit):
        main(["guess"])
    assert "predict" in capsys.readouterr().err
