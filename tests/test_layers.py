"""Tests of the package's layout: layers, import circles, private names, size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.shape import PACKAGE, import_circles, import_graph, imports_of, modules_of

CHECKOUT = Path(__file__).parents[1]
# A package or module imports only from those before it in this list, and from itself.
LAYERS = (
    "exceptions",
    "_compat",
    "core",
    "tuning",
    "certification",
    "inspection",
    "search",
    "members",
    "estimators",
    "export",
)
# They may import everything, and nothing imports them.
ENTRY_POINTS = ("__init__", "__main__")
MAX_MODULES = 80
MAX_LINES = 19_800
MAX_LINES_OF_MODULE = 800


def layer_of(module):
    """Return the layer that a module belongs to; the package itself is its ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


def position_of(layer):
    """Return the position of a layer; what is not in the list comes after all others."""
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def wrong_imports(checkout):
    """Return a line for each import that breaks the layers, is relative, or is private."""
    wrong = []
    modules = modules_of(checkout)
    for module, path in modules.items():
        layer = layer_of(module)
        where = path.relative_to(checkout / PACKAGE).as_posix()
        source = path.read_text(encoding="utf-8")
        for line, level, target, name in imports_of(source, for_types=True):
            dotted = f"{target}.{name}".strip(".")
            parts = dotted.split(".")
            place = f"{where}:{line} {dotted}"
            if level:
                wrong.append(f"{place} is relative")
            elif parts[0] == PACKAGE:
                imported = parts[1] if len(parts) > 1 else "__init__"
                later = position_of(imported) >= position_of(layer)
                if layer not in ENTRY_POINTS and imported != layer and later:
                    wrong.append(f"{place} does not come before {layer}")
            elif (
                parts[0] == "sklearn"
                and layer != "_compat"
                and any(part.startswith("_") for part in parts)
            ):
                wrong.append(f"{place} is private to scikit-learn")
    return wrong


def circles(checkout):
    """Return a line for each group of modules that import each other, directly or not."""
    graph = import_graph(modules_of(checkout), for_types=True)
    return [" <-> ".join(circle) for circle in import_circles(graph)]


def oversized(checkout, max_modules, max_lines, max_lines_of_module):
    """Return a line for each limit on modules and lines that is exceeded."""
    lengths = {
        path.relative_to(checkout / PACKAGE).as_posix(): len(
            path.read_text(encoding="utf-8").splitlines()
        )
        for path in modules_of(checkout).values()
    }
    found = [
        f"{where} has {length} lines, {max_lines_of_module} are allowed"
        for where, length in lengths.items()
        if length > max_lines_of_module
    ]
    if len(lengths) > max_modules:
        found.append(f"{len(lengths)} modules, {max_modules} are allowed")
    if sum(lengths.values()) > max_lines:
        found.append(f"{sum(lengths.values())} lines, {max_lines} are allowed")
    return found


def test_every_package_has_a_layer():
    """Check that the list names each package and module at the top level, and no other."""
    layers = {layer_of(module) for module in modules_of(CHECKOUT)}
    assert layers - set(ENTRY_POINTS) == set(LAYERS)


def test_a_package_imports_only_from_those_before_it():
    """Check that no import goes to a later layer, is relative, or takes a private name."""
    wrong = wrong_imports(CHECKOUT)
    assert not wrong, "\n".join(wrong)


def test_no_import_circles():
    """Check that no modules import each other, directly or by way of others.

    Imports inside functions and those for type checkers count.
    """
    found = circles(CHECKOUT)
    assert not found, "\n".join(found)


def test_size_of_the_package():
    """Check the limits on modules, on lines, and on the lines of one module."""
    found = oversized(CHECKOUT, MAX_MODULES, MAX_LINES, MAX_LINES_OF_MODULE)
    assert not found, "\n".join(found)


def write(checkout, where, source):
    """Write a module of a toy package."""
    path = checkout / PACKAGE / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    ("where", "line", "complaint"),
    [
        ("core/_a.py", "from sklearn_cascade.search import tune", "does not come before core"),
        ("core/_a.py", "import sklearn_cascade.export._onnx", "does not come before core"),
        ("core/_a.py", "from sklearn_cascade import estimators", "does not come before core"),
        ("tuning/_a.py", "from sklearn_cascade.certification import f", "before tuning"),
        ("tuning/_a.py", "from sklearn_cascade.members import f", "before tuning"),
        ("certification/_a.py", "from sklearn_cascade.estimators import f", "certification"),
        ("search/_a.py", "from sklearn_cascade.members import PrefitClassifier", "before search"),
        ("inspection/_a.py", "from sklearn_cascade.search import measure", "before inspection"),
        ("members/_a.py", "from sklearn_cascade.estimators import measure", "before members"),
        ("exceptions.py", "from sklearn_cascade._compat import n_rows", "before exceptions"),
        ("estimators/_a.py", "from sklearn_cascade import PrefitClassifier", "before estimators"),
        ("estimators/_a.py", "import sklearn_cascade", "before estimators"),
        ("core/_a.py", "from sklearn_cascade.utils import helper", "does not come before core"),
        ("utils/_a.py", "from sklearn_cascade.helpers import f", "does not come before utils"),
        ("core/_a.py", "def f():\n    from sklearn_cascade.search import tune", "before core"),
        ("core/_a.py", "if TYPE_CHECKING:\n    import sklearn_cascade.search", "before core"),
        ("core/_a.py", "from . import _b", "is relative"),
        ("core/_a.py", "from ..search import tune", "is relative"),
        ("core/_a.py", "from sklearn.utils import _safe_indexing", "is private"),
        ("core/_a.py", "from sklearn.utils._tags import Tags", "is private"),
        ("core/_a.py", "def f():\n    import sklearn._config", "is private"),
    ],
)
def test_wrong_import_is_found(tmp_path, where, line, complaint):
    """Check that one wrong import in a toy package is found, and nothing else."""
    write(tmp_path, where, f"import numpy as np\n{line}\n")
    (found,) = wrong_imports(tmp_path)
    assert found.startswith(where)
    assert complaint in found


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("estimators/_a.py", "from sklearn_cascade.core._thresholds import exits"),
        ("search/_a.py", "from sklearn_cascade.inspection import TradeoffDisplay"),
        ("search/_a.py", "from sklearn_cascade.search._b import sweep"),
        ("search/_a.py", "from sklearn_cascade.certification import f"),
        ("core/_a.py", "from sklearn_cascade import exceptions"),
        ("core/_a.py", "from sklearn.metrics import get_scorer"),
        ("_compat.py", "from sklearn.utils._tags import Tags"),
        ("_compat.py", "from sklearn_cascade.exceptions import NotFound"),
        ("__init__.py", "from sklearn_cascade.export import to_onnx"),
        ("__main__.py", "from sklearn_cascade.estimators import CascadeClassifier"),
    ],
)
def test_right_import_passes(tmp_path, where, line):
    """Check that imports from earlier layers, from the same one and public ones are left alone."""
    write(tmp_path, where, f"{line}\n")
    assert wrong_imports(tmp_path) == []


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (
            {"core/_a.py": "import {p}.core._b", "core/_b.py": "from {p}.core import _a"},
            ["{p}.core._a <-> {p}.core._b"],
        ),
        (
            {
                "core/_a.py": "from {p}.core._b import f",
                "core/_b.py": "def f():\n    from {p}.core._c import g",
                "core/_c.py": "if TYPE_CHECKING:\n    from {p}.core._a import A",
            },
            ["{p}.core._a <-> {p}.core._b <-> {p}.core._c"],
        ),
        (
            {"core/__init__.py": "from {p}.core._a import A", "core/_a.py": "import {p}.core"},
            ["{p}.core <-> {p}.core._a"],
        ),
        (
            {
                "core/__init__.py": "from {p}.core._a import A",
                "core/_a.py": "from {p}.core._b import f",
                "core/_b.py": "import {p}._compat",
                "_compat.py": "import sklearn",
            },
            [],
        ),
    ],
    ids=["pair", "three", "package", "none"],
)
def test_circles_are_found(tmp_path, sources, expected):
    """Check that pairs and larger circles are reported with the modules in them."""
    for where, source in sources.items():
        write(tmp_path, where, source.format(p=PACKAGE))
    assert circles(tmp_path) == [line.format(p=PACKAGE) for line in expected]


def test_sizes_are_counted(tmp_path):
    """Check that a package at its limits passes, and that each limit counts."""
    write(tmp_path, "_a.py", "x = 1\n" * 5)
    write(tmp_path, "core/_b.py", "x = 1\n" * 3)
    assert oversized(tmp_path, 2, 8, 5) == []
    assert oversized(tmp_path, 2, 8, 4) == ["_a.py has 5 lines, 4 are allowed"]
    assert oversized(tmp_path, 1, 7, 5) == ["2 modules, 1 are allowed", "8 lines, 7 are allowed"]
