"""Tests of importing the package: light, and without side effects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_cascade

ROOT = Path(__file__).parents[1]
HEAVY = ["onnx", "onnxruntime", "skl2onnx", "pandas", "matplotlib", "polars", "torch"]

# Heavy packages cannot be found, installed or not, and each search for one is recorded. First comes
# scikit-learn, which searches for pandas and changes filters itself.
PROBE = """
import json, sys, warnings

class Refuse:
    searched = []

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            self.searched.append(name)
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
import sklearn.ensemble, sklearn.frozen, sklearn.metrics, sklearn.model_selection
import sklearn.pipeline, sklearn.utils.metadata_routing, sklearn.utils.parallel
Refuse.searched.clear()
filters = list(warnings.filters)
import sklearn_cascade
print(json.dumps({
    "file": sklearn_cascade.__file__,
    "modules": sorted(name for name in sys.modules if name.startswith("sklearn_cascade.")),
    "searched": Refuse.searched,
    "filters_kept": list(warnings.filters) == filters,
}))
"""


def import_in_new_process(folder):
    """Import the package as found from a folder, and return what that did."""
    code = f"HEAVY = {HEAVY}\n{PROBE}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_import_needs_no_heavy_package_and_keeps_the_warning_filters():
    """Check that the package imports no heavy package and changes no global filter."""
    found = import_in_new_process(ROOT)
    assert "sklearn_cascade.estimators" in found["modules"]
    # Modules that few programs need are imported when one of their names is used.
    late = {"export", "members._onnx", "inspection._monitor", "search._search"}
    assert not late & {name.removeprefix("sklearn_cascade.") for name in found["modules"]}
    assert found["searched"] == []
    assert found["filters_kept"]


def test_probe_notices_a_heavy_import_and_a_changed_filter(tmp_path):
    """Check that the test above would fail on a package with such an import, even a guarded one."""
    (tmp_path / "sklearn_cascade.py").write_text(
        "import warnings\n"
        "try:\n    import polars\nexcept ImportError:\n    pass\n"
        "warnings.simplefilter('ignore')\n",
        encoding="utf-8",
    )
    found = import_in_new_process(tmp_path)
    assert Path(found["file"]).parent == tmp_path
    assert found["searched"] == ["polars"]
    assert not found["filters_kept"]


def test_unknown_name_is_an_ordinary_error():
    """Check that an unknown name raises the ordinary errors of Python."""
    with pytest.raises(AttributeError, match="'sklearn_cascade' has no attribute 'Kaskade'"):
        _ = sklearn_cascade.Kaskade
    with pytest.raises(ImportError, match="cannot import name 'Kaskade'"):
        exec("from sklearn_cascade.members import Kaskade")
