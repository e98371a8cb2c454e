"""Tests of what a test run says at its end about the tests that it skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import GROUPS, lines_about_skips

CHECKOUT = Path(__file__).parents[1]


def test_reasons_are_grouped_and_counted():
    """Check one line per kind of reason, the most frequent first, each with its command."""
    lines = lines_about_skips(
        [
            "Skipped: nets of PyTorch, skorch and Keras need torch",
            "Skipped: dask is an engine of the extra 'scale', which `make test-scale` installs",
            "Skipped: ray is an engine of the extra 'scale', which `make test-scale` installs",
            "Skipped: the moon is full",
        ]
    )
    assert len(lines) == 3
    assert lines[0].startswith("2 skipped: Dask, Ray, Spark")
    assert "-> make test-scale" in lines[0]
    assert lines[1].endswith("-> make test-deep")
    assert lines[2] == "1 skipped: the moon is full"
    assert lines_about_skips([]) == []


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("the server needs httpx", "make test-scale"),
        ("Spark needs Java, and there is neither java on the path", "make test-scale"),
        ("the Keras member needs keras", "make test-deep"),
        ("predictions is neither in the folder SKLEARN_CASCADE_DATA names", "CASCADE_DATA=FOLDER"),
        ("SCIPY_ARRAY_API is not set: not checking array_api input", "SCIPY_ARRAY_API=1 make test"),
        ("Node is not installed", "npm install -g onnxruntime-node"),
        ("onnxmltools is installed, so that boosters convert", "make test-min"),
        ("onnxmltools, which converts boosters, is not installed", "make test"),
        ("this scikit-learn has no check_param_validation", "make test-min"),
        ("this onnxruntime has no opset 25", "make test-min"),
        ("frames need pandas", "make test"),
        ("could not import 'matplotlib': No module named 'matplotlib'", "make test"),
    ],
)
def test_each_kind_of_reason_has_a_command(reason, command):
    """Check that the reasons in use lead to the environment in which the test runs."""
    (line,) = lines_about_skips([reason])
    assert line.split(" -> ")[1].find(command) >= 0


def test_commands_name_verbs_of_the_makefile():
    """Check that every verb named is one of the Makefile's."""
    verbs = {word for _, _, command in GROUPS for word in command.split() if "test" in word}
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert verbs
    assert all(f"\n{verb.strip(',()')}:" in makefile for verb in verbs)


def test_output_ends_with_the_summary_line(tmp_path):
    """Check a whole run: failures are listed, then skips, and pytest's line comes last."""
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_terminal_summary\n", encoding="utf-8"
    )
    (tmp_path / "test_some.py").write_text(
        "import pytest\n\n"
        "def test_skipped():\n    pytest.importorskip('torch0', reason='nets need torch')\n\n"
        "def test_failed():\n    assert 1 == 2\n\n"
        "def test_passed():\n    pass\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-rfEX", "-p", "no:cacheprovider", "."]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("FAILED test_some.py::test_failed") for line in lines), done.stdout
    assert "1 skipped: PyTorch, skorch and Keras, the extra 'deep' -> make test-deep" in lines
    assert lines[-1].startswith("1 failed, 1 passed, 1 skipped in ")
