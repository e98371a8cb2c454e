"""Tests of the house: imports go down, private names stay in one room, files stay short."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = "sklearn_cascade"
ROOT = Path(__file__).parents[1] / PACKAGE
# A room imports from the floors below its own, and from itself.
FLOORS = {
    "export": 5,
    "estimators": 4,
    "search": 3,
    "inspection": 2,
    "members": 2,
    "rules": 1,
    "exceptions": 0,
    "_compat": 0,
}
ABOVE_ALL = max(FLOORS.values()) + 1
MAX_LINES_OF_FILE = 400
MAX_LINES_OF_FUNCTION = 40


def python_files(root):
    """Return every file of the package."""
    return sorted(root.rglob("*.py"))


def room_of(path, root):
    """Return the room a file belongs to; the package's own `__init__` is none."""
    first = path.relative_to(root).parts[0].removesuffix(".py")
    return PACKAGE if first == "__init__" else first


def floor_of(room):
    """Return the floor of a room; what is not in the plan sits above all others."""
    return FLOORS.get(room, ABOVE_ALL)


def imports_of(path):
    """Yield (line, level, dotted name) of every import in a file, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, node.level, f"{node.module or ''}.{alias.name}"


def wrong_imports(root):
    """Return a line for each import that goes up or sideways, is relative, or is private."""
    wrong = []
    for path in python_files(root):
        room = room_of(path, root)
        for line, level, name in imports_of(path):
            parts = name.split(".")
            place = f"{path.relative_to(root).as_posix()}:{line} {name}"
            if level:
                wrong.append(f"{place} is relative")
            elif parts[0] == PACKAGE:
                target = parts[1] if len(parts) > 1 else PACKAGE
                if target != room and floor_of(target) >= floor_of(room):
                    wrong.append(f"{place} goes up or sideways")
            elif (
                parts[0] == "sklearn"
                and room != "_compat"
                and any(part.startswith("_") for part in parts)
            ):
                wrong.append(f"{place} is private to scikit-learn")
    return wrong


def long_pieces(root):
    """Return a line for each file and each function beyond its cap, docstrings not counted."""
    offenders = []
    for path in python_files(root):
        source = path.read_text(encoding="utf-8")
        where = path.relative_to(root).as_posix()
        if len(source.splitlines()) > MAX_LINES_OF_FILE:
            offenders.append(f"{where} has {len(source.splitlines())} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = 0 if _only_stores(node) else _lines_without_docstring(node)
                if length > MAX_LINES_OF_FUNCTION:
                    offenders.append(f"{where}:{node.lineno} {node.name} has {length} lines")
    return offenders


def _only_stores(node):
    """Tell whether a constructor only stores its parameters, whose number is the contract's."""
    return node.name == "__init__" and all(
        isinstance(line, ast.Assign) and isinstance(line.value, ast.Name) for line in node.body
    )


def _lines_without_docstring(node):
    """Return the lines of a function, its docstring left out."""
    length = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        length -= node.body[0].end_lineno - node.body[0].lineno + 1
    return length


def test_every_room_is_in_the_plan():
    """Check that no file or folder of the package lies outside the plan of floors."""
    rooms = {room_of(path, ROOT) for path in python_files(ROOT)} - {PACKAGE}
    assert rooms == set(FLOORS)


def test_imports_only_go_down():
    """Check that no import goes up or sideways, is relative, or reaches for a private name."""
    wrong = wrong_imports(ROOT)
    assert not wrong, "\n".join(wrong)


def test_no_file_and_no_function_is_too_long():
    """Check the caps on the lines of a file and of a function, with no exception."""
    offenders = long_pieces(ROOT)
    assert not offenders, "\n".join(offenders)


@pytest.mark.parametrize(
    ("where", "line", "complaint"),
    [
        ("rules/_a.py", "from sklearn_cascade.search import tune", "goes up"),
        ("rules/_a.py", "import sklearn_cascade.export._onnx", "goes up"),
        ("rules/_a.py", "from sklearn_cascade import estimators", "goes up"),
        ("inspection/_a.py", "from sklearn_cascade.members import PrefitClassifier", "sideways"),
        ("exceptions.py", "from sklearn_cascade._compat import n_rows", "sideways"),
        ("estimators/_a.py", "from sklearn_cascade import PrefitClassifier", "goes up"),
        ("rules/_a.py", "from sklearn_cascade.utils import helper", "goes up"),
        ("rules/_a.py", "def f():\n    from sklearn_cascade.search import tune", "goes up"),
        ("rules/_a.py", "from . import _b", "is relative"),
        ("rules/_a.py", "from sklearn.utils import _safe_indexing", "is private"),
        ("rules/_a.py", "from sklearn.utils._tags import Tags", "is private"),
        ("rules/_a.py", "def f():\n    import sklearn._config", "is private"),
    ],
)
def test_import_checker_catches(tmp_path, where, line, complaint):
    """Check that one wrong import in a tree of its own is found, and nothing else."""
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text(f"import numpy as np\n{line}\n", encoding="utf-8")
    found = wrong_imports(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(where)
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("estimators/_a.py", "from sklearn_cascade.core._thresholds import exits"),
        ("search/_a.py", "from sklearn_cascade.search._b import sweep"),
        ("rules/_a.py", "from sklearn_cascade import exceptions"),
        ("rules/_a.py", "from sklearn.metrics import get_scorer"),
        ("_compat.py", "from sklearn.utils._tags import Tags"),
        ("__init__.py", "from sklearn_cascade.export import to_onnx"),
    ],
)
def test_import_checker_lets_pass(tmp_path, where, line):
    """Check that imports that go down, stay in the room or are public are left alone."""
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text(f"{line}\n", encoding="utf-8")
    assert wrong_imports(tmp_path) == []


@pytest.mark.parametrize(
    ("extra", "complaints"), [(0, []), (1, ["_a.py:1 f has 41 lines"])], ids=["cap", "beyond"]
)
def test_length_checker_counts_no_docstring(tmp_path, extra, complaints):
    """Check that a function at its cap passes and one line more does not."""
    body = "    x = 1\n" * (MAX_LINES_OF_FUNCTION - 1 + extra)
    source = f'def f():\n    """Do.\n\n    Much.\n    """\n{body}'
    (tmp_path / "_a.py").write_text(source, encoding="utf-8")
    assert long_pieces(tmp_path) == complaints


def test_length_checker_counts_the_lines_of_a_file(tmp_path):
    """Check that a file one line beyond its cap is found."""
    (tmp_path / "_a.py").write_text("x = 1\n" * (MAX_LINES_OF_FILE + 1), encoding="utf-8")
    (tmp_path / "_b.py").write_text("x = 1\n" * MAX_LINES_OF_FILE, encoding="utf-8")
    assert long_pieces(tmp_path) == ["_a.py has 401 lines"]
