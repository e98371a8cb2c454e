"""The benchmarks run, at toy size."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main


def test_predict_prints_its_table(capsys):
    """Check that each figure is printed with both times, and that no heavy module is imported."""
    main(["predict", "--quick"])
    lines = capsys.readouterr().out.splitlines()
    header, _, *rows = [line.strip("|").split("|") for line in lines]
    assert [len(row) for row in rows] == [len(header)] * 4
    assert rows[0][0].strip() == "one row, two stages"
    assert "heavy modules added: none" in rows[2][-1]
    for row in rows:
        assert float(row[4]) == pytest.approx(
            float(row[2].split()[0]) / float(row[1].split()[0]), 0.1
        )


def test_unknown_command_is_refused(capsys):
    """Check that the command line names what it knows."""
    with pytest.raises(SystemExit):
        main(["guess"])
    assert "predict" in capsys.readouterr().err
