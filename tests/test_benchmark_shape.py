"""The counts of the package's shape, on a small package of known shape and on this one."""

from __future__ import annotations

import shutil
from textwrap import dedent

import pytest

from benchmarks import shape
from benchmarks.__main__ import main

# Six modules of known shape: who imports whom, how long each function is, what each call enters.
TOY = {
    "__init__.py": """
        from sklearn_cascade._cascade import CascadeClassifier, search_cascades, to_onnx
        """,
    "_base.py": '''
        class Base:
            """A class of the package."""

            def check(self):
                """Take two lines.

                This one is not counted, nor is the one above.
                """
                return self
        ''',
    "_cascade.py": """
        from typing import TYPE_CHECKING

        from sklearn.base import BaseEstimator

        from sklearn_cascade import _rules
        from sklearn_cascade._base import Base

        if TYPE_CHECKING:
            from sklearn_cascade.typed import Typed

        class CascadeClassifier(Base, BaseEstimator):
            def __init__(self, members, *, thresholds, random_state):
                pass

            def fit(self, X, y):
                return self.check()

            def predict_proba(self, X):
                from sklearn_cascade.late import answer
                return answer(_rules.rule(X))

        def search_cascades(proba, y, costs):
            return proba

        def to_onnx(cascade, X):
            return cascade.predict_proba(X)
        """,
    "_rules.py": """
        def rule(X):
            def inner():
                return X

            return inner()
        """,
    "late.py": """
        def answer(X):
            from sklearn_cascade import _cascade
            return X
        """,
    "typed/__init__.py": """
        from .. import _cascade

        class Typed:
            pass
        """,
}


@pytest.fixture
def toy(tmp_path):
    """Return a folder with a package of known shape in it."""
    for name, source in TOY.items():
        path = tmp_path / "before" / shape.PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source).lstrip(), encoding="utf-8")
    return tmp_path / "before"


def test_sizes_of_a_known_package(toy):
    """Check the modules, and that nested functions count and docstrings do not."""
    size = shape.size_of(shape.modules_of(toy))
    assert size["modules"] == 6
    assert size["lines"] == sum(len(dedent(source).strip().splitlines()) for source in TOY.values())
    assert size["lines of the longest module"] == 26
    # check; __init__, fit, predict_proba, search_cascades, to_onnx; rule, inner; answer.
    lengths = [2, 2, 2, 3, 2, 2, 5, 2, 3]
    assert size["functions"] == len(lengths)
    assert size["mean lines of a function, without docstring"] == round(sum(lengths) / 9, 1)
    # Of nine sorted lengths, a fifth of the way from the eighth to the last.
    assert size["90th percentile of these lines"] == pytest.approx(3 + 0.2 * (5 - 3))


def test_imports_of_a_known_package(toy):
    """Check imports in functions, relative ones and those for type checkers, and their circles."""
    modules = shape.modules_of(toy)
    short = {name: name.removeprefix("sklearn_cascade.") for name in modules}

    def shortened(graph):
        return {short[name]: {short[other] for other in others} for name, others in graph.items()}

    expected = {
        "sklearn_cascade": {"_cascade"},
        "_base": set(),
        "_cascade": {"_rules", "_base", "late"},
        "_rules": set(),
        "late": {"_cascade"},
        "typed": {"_cascade"},
    }
    graph = shape.import_graph(modules)
    assert shortened(graph) == expected
    assert shape.import_circles(graph) == [["sklearn_cascade._cascade", "sklearn_cascade.late"]]
    assert shape.mutual_imports(graph) == [("sklearn_cascade._cascade", "sklearn_cascade.late")]
    for_types = shape.import_graph(modules, for_types=True)
    assert shortened(for_types) == expected | {"_cascade": {"_rules", "_base", "late", "typed"}}
    (circle,) = shape.import_circles(for_types)
    assert [short[name] for name in circle] == ["_cascade", "late", "typed"]


def test_circles_need_not_be_pairs():
    """Check that a circle of three is found without a pair in it, and nothing outside it."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert shape.import_circles(graph) == [["a", "b", "c"]]
    assert shape.mutual_imports(graph) == []


def test_trace_counts_the_files_whose_functions_run(toy):
    """Check that a file counts when one of its functions runs, and not when it is imported."""
    traced = shape.trace(toy, 100)
    assert traced["files"] == {
        "CascadeClassifier.fit": ["_base.py", "_cascade.py"],
        "predict_proba": ["_cascade.py", "_rules.py", "late.py"],
        "search_cascades": ["_cascade.py"],
        "to_onnx": ["_cascade.py", "_rules.py", "late.py"],
    }
    assert shape.reach_of(traced)["of these, the package's own"] == 2


def test_trace_refuses_a_folder_without_the_package(tmp_path):
    """Check that an empty folder is an error, not a count of the package installed."""
    with pytest.raises(RuntimeError, match=r"the calls in .* failed"):
        shape.trace(tmp_path, 100)


def test_trace_says_what_failed(toy):
    """Check that the error of the calls is shown."""
    path = toy / shape.PACKAGE / "_rules.py"
    path.write_text("def rule(X):\n    raise ValueError('no rule')\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="ValueError: no rule"):
        shape.trace(toy, 100)


def test_shape_prints_both_checkouts(toy, capsys):
    """Check the table: one column for each checkout, then circles, then the files entered."""
    main(["shape", "--quick", "--files", "--compare", str(toy)])
    table, *rest = capsys.readouterr().out.split("\n\n")
    header, _, *rows = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()
    ]
    assert header == ["figure", "before", "this checkout"]
    figures = {row[0]: row[1:] for row in rows}
    assert figures["modules"] == ["6", f"{len(shape.modules_of(shape.THIS_CHECKOUT))}"]
    assert figures["files entered by search_cascades"][0] == "1"
    assert all(int(figures[f"files entered by {call}"][1]) > 3 for call in shape.CALLS)
    assert rest[0].startswith("import circle, before: sklearn_cascade._cascade, ")
    assert "to_onnx, before: _cascade.py, _rules.py, late.py" in rest


def test_trace_takes_the_checkout_and_not_what_is_installed(toy, tmp_path):
    """Check that a second checkout of the same package is traced as it is there."""
    other = tmp_path / "after"
    shutil.copytree(toy, other)
    path = other / shape.PACKAGE / "_base.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n\nx = 1\n", encoding="utf-8")
    (other / shape.PACKAGE / "_rules.py").write_text("rule = len\n", encoding="utf-8")
    assert "_rules.py" not in shape.trace(other, 100)["files"]["predict_proba"]
