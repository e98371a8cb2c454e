"""Tests of the example that runs an exported file in Node, where Node and its runtime are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from sklearn_cascade import CascadeClassifier, to_onnx

for name in ("onnx", "onnxruntime", "skl2onnx"):
    pytest.importorskip(name, reason=f"the export needs {name}")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "onnx_in_node"
PACKAGE = "onnxruntime-node"
# Linear members take no longer than the routing.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning")


def packages_folder():
    """Return the folder of installed packages, or skip where Node or the runtime is absent."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    named = os.environ.get("SKLEARN_CASCADE_NODE_MODULES", "")
    if named and not (Path(named) / PACKAGE).is_dir():
        pytest.fail(f"SKLEARN_CASCADE_NODE_MODULES={named!r} does not hold {PACKAGE}")
    npm = shutil.which("npm")
    if not named and npm:
        done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        named = done.stdout.strip()
    if not named or not (Path(named) / PACKAGE).is_dir():
        pytest.skip(
            f"{PACKAGE} is neither where SKLEARN_CASCADE_NODE_MODULES points nor installed globally"
        )
    return Path(named)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a copy of the example beside the packages that it imports."""
    packages = packages_folder()
    place = tmp_path_factory.mktemp("node")
    for file in ("run.mjs", "package.json"):
        shutil.copy(EXAMPLE / file, place)
    (place / "node_modules").symlink_to(packages, target_is_directory=True)
    return place


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", ["int64", "U"])
def test_node_has_the_outputs_of_python(folder, dtype, labels):
    """Check every output of the example against the cascade, row for row."""
    X, y = load_digits(return_X_y=True)
    X, y = (X / 16).astype(dtype), y.astype(labels)
    members = [
        ("linear", LogisticRegression(max_iter=1000)),
        ("forest", RandomForestClassifier(20, random_state=0)),
    ]
    cascade = CascadeClassifier(members, thresholds=0.95, costs=[1, 40]).fit(X[:500], y[:500])
    rows = X[500:800]
    (folder / "cascade.onnx").write_bytes(to_onnx(cascade, rows).SerializeToString())
    (folder / "rows.json").write_text(json.dumps(rows.tolist()), encoding="utf-8")
    command = [shutil.which("node"), "run.mjs", "cascade.onnx", "rows.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    outputs = [json.loads(line) for line in done.stdout.decode().splitlines()]
    expected = cascade.predict_details(rows)
    assert [output["label"] for output in outputs] == expected.label.tolist()
    assert [output["exit_stage"] for output in outputs] == expected.exit_stage.tolist()
    assert set(expected.exit_stage) == {0, 1}
    assert [output["cost"] for output in outputs] == expected.cost.tolist()
    proba = [output["probabilities"] for output in outputs]
    # What float32 leaves of sums of ten probabilities.
    np.testing.assert_allclose(proba, expected.proba, rtol=0, atol=1e-5)
