"""Test of the benchmark of scale at toy size, in a process of its own that starts every engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scale.conftest import WHERE, skip_without_java

ROOT = Path(__file__).parents[2]


def test_every_engine_gives_the_same_results(tmp_path):
    """Check the last column of each table, and that the files hold the printed text."""
    for engine in ("distributed", "ray", "pyspark", "uvicorn"):
        pytest.importorskip(engine, reason=f"{engine} is {WHERE}")
    skip_without_java()
    command = [sys.executable, "-m", "benchmarks", "scale", "--quick", "--out", str(tmp_path)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    written = [(tmp_path / name).read_text() for name in ("scale.md", "scale_serving.md")]
    assert "\n".join(written).split() == run.stdout.split()
    rows = [line.strip("| ").split(" | ") for line in written[0].splitlines() if line[:1] == "|"]
    verdicts = {row[0]: row[-1] for row in rows if row[-1] in ("yes", "NO")}
    assert set(verdicts.values()) == {"yes"}
    engines = {"loky", "dask", "ray", "pyspark", "memory", "maps", "arrays"}
    assert engines <= {word.strip(",") for name in verdicts for word in name.split()}
