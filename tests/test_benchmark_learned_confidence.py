"""The benchmark of learned confidence runs, at toy size."""

from __future__ import annotations

from benchmarks import learned_confidence
from benchmarks.__main__ import main
from tests.recorded import folder_with


def test_learned_confidence_prints_its_tables(capsys, monkeypatch):
    """Check savings, optimism and overhead for every data set in the folder."""
    validity = learned_confidence.learned_confidence_validity
    monkeypatch.setattr(validity, "run", lambda quick: print("validity", quick))
    main(["learned-confidence", "--quick", "--data", str(folder_with("predictions"))])
    parts = capsys.readouterr().out.split("\n\n")
    tables = [part.splitlines() for part in parts if part.startswith("|")]
    savings, optimism, overhead = tables
    assert len(optimism) == 2 + 4 * (len(savings) - 2) + 1
    for line in savings[2:]:
        assert line.count("|") == savings[0].count("|")
        saved = [cell.split("±")[0] for cell in line.split("|")[4:8:2]]
        assert all(-100 < float(share) <= 100 for share in saved)
        assert line.split("|")[-3].strip() in ("both", "cost", "accuracy", "no")
    assert all(line.split("|")[-2].strip() in ("yes", "no") for line in optimism[2:])
    assert [line.split("|")[3].strip() for line in overhead[2:]] == ["1", "10,000"] * 2
    assert parts[-1].strip() == "validity True"
