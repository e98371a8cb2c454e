"""How large the package is and how far a call goes: modules, lines, circles, files entered."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PACKAGE = "sklearn_cascade"
THIS_CHECKOUT = Path(__file__).parents[1]
CALLS = ("CascadeClassifier.fit", "predict_proba", "search_cascades", "to_onnx")

# Runs in an interpreter of its own, in the folder of a checkout. Only public names are called, so
# that it runs on every version of the package. All modules are imported before the first call: what
# is counted is the files whose functions are called, not those that happen to be imported then.
PROBE = """
import importlib, json, pkgutil, sys, threading, warnings
from pathlib import Path

checkout, n_samples = Path(sys.argv[1]).resolve(), int(sys.argv[2])
sys.path.insert(0, str(checkout))
warnings.simplefilter("ignore")

import PACKAGE as package

folder = checkout / "PACKAGE"
if Path(package.__file__).resolve().parent != folder:
    sys.exit(f"{package.__file__} was imported instead of the package in {folder}")
for module in pkgutil.walk_packages(package.__path__, "PACKAGE."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

def entered(function, *arguments, **options):
    "Return the package's files whose functions run during a call, and what the call returns."
    files = set()

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_name != "<module>":
            files.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        returned = function(*arguments, **options)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    paths = (Path(name).resolve() for name in files if not name.startswith("<"))
    inside = sorted(p.relative_to(folder).as_posix() for p in paths if folder in p.parents)
    return inside, returned

X, y = load_digits(return_X_y=True)
fit, rest = slice(0, n_samples), slice(n_samples, 2 * n_samples)
members = [
    ("linear", LogisticRegression(max_iter=200)),
    ("forest", RandomForestClassifier(20, random_state=0)),
]
cascade = package.CascadeClassifier(members, thresholds="auto", random_state=0)
files = {}
files["CascadeClassifier.fit"], _ = entered(cascade.fit, X[fit], y[fit])
files["predict_proba"], _ = entered(cascade.predict_proba, X[rest])
proba = [member.fit(X[fit], y[fit]).predict_proba(X[rest]) for _, member in members]
files["search_cascades"], _ = entered(package.search_cascades, proba, y[rest], costs=[1.0, 20.0])
files["to_onnx"], _ = entered(package.to_onnx, cascade, X[rest])
classes = [f"{c.__module__}.{c.__qualname__}" for c in package.CascadeClassifier.__mro__]
print(json.dumps({"files": files, "classes": classes}))
""".replace("PACKAGE", PACKAGE)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the other checkouts, and whether to list the files."""
    parser.add_argument(
        "--compare",
        metavar="CHECKOUT",
        nargs="+",
        default=[],
        help="folders of other checkouts, one column each, to the left of this one's",
    )
    parser.add_argument("--files", action="store_true", help="list the files that each call enters")


def run(*, quick: bool = False, compare: list[str] = (), files: bool = False) -> None:
    """Print one column of counts for each checkout, and the modules of each import circle."""
    checkouts = [*(Path(folder).resolve() for folder in compare), THIS_CHECKOUT]
    headings = [*(folder.name for folder in checkouts[:-1]), "this checkout"]
    packages = [modules_of(checkout) for checkout in checkouts]
    calls = [trace(checkout, 150 if quick else 800) for checkout in checkouts]
    columns = [
        size_of(modules) | circles_of(modules) | reach_of(traced)
        for modules, traced in zip(packages, calls, strict=True)
    ]
    print("| figure | " + " | ".join(headings) + " |")
    print("|---|" + "---:|" * len(columns))
    for figure in columns[0]:
        print(f"| {figure} | " + " | ".join(f"{column[figure]:,}" for column in columns) + " |")
    for heading, modules, traced in zip(headings, packages, calls, strict=True):
        for circle in import_circles(import_graph(modules, for_types=True)):
            print(f"\nimport circle, {heading}: {', '.join(circle)}")
        for call in CALLS if files else ():
            print(f"\n{call}, {heading}: {', '.join(traced['files'][call])}")


def modules_of(checkout: Path) -> dict[str, Path]:
    """Return the file of each module of the package by the module's dotted name."""
    files = sorted((checkout / PACKAGE).rglob("*.py"))
    names = (".".join(path.relative_to(checkout).with_suffix("").parts) for path in files)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


def size_of(modules: dict[str, Path]) -> dict[str, int | float]:
    """Return how many modules, lines and functions there are, and how long they are."""
    sources = [path.read_text(encoding="utf-8") for path in modules.values()]
    lines = [len(source.splitlines()) for source in sources]
    lengths = [length for source in sources for length in function_lengths(source)]
    return {
        "modules": len(modules),
        "lines": sum(lines),
        "lines of the longest module": max(lines),
        "functions": len(lengths),
        "mean lines of a function, without docstring": round(float(np.mean(lengths)), 1),
        "90th percentile of these lines": round(float(np.percentile(lengths, 90)), 1),
    }


def function_lengths(source: str) -> Iterator[int]:
    """Yield the lines of each function and method, nested ones too, docstrings not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= node.body[0].end_lineno - node.body[0].lineno + 1
            yield length


def imports_of(source: str, *, for_types: bool = False) -> Iterator[tuple[int, int, str, str]]:
    """Yield the line, the level, the module and the name of each import, in functions too.

    The name is empty for ``import module``. Imports that only a type checker runs are left out,
    unless `for_types` is set.
    """
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, node.level, node.module or "", alias.name
        elif not for_types and _is_for_types(node):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def import_graph(modules: dict[str, Path], *, for_types: bool = False) -> dict[str, set[str]]:
    """Return, for each module, the other modules of the package that it imports."""
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        graph[module] = set()
        for _, level, target, name in imports_of(
            path.read_text(encoding="utf-8"), for_types=for_types
        ):
            if level:
                parents = package.split(".")
                base = parents[: len(parents) - level + 1]
                target = ".".join([*base, target] if target else base)
            # A name is a module of its own, or something that the module before it holds.
            found = next((n for n in (f"{target}.{name}", target) if n in modules), None)
            if found is not None and found != module:
                graph[module].add(found)
    return graph


def import_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that all reach each other through imports."""
    reached = {module: _reached_from(module, graph) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
    }
    return sorted(list(group) for group in groups if group)


def mutual_imports(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the pairs of modules that import each other."""
    return sorted(
        (module, other)
        for module, others in graph.items()
        for other in others
        if module < other and module in graph[other]
    )


def circles_of(modules: dict[str, Path]) -> dict[str, int]:
    """Return how many import circles there are, and pairs of modules that import each other."""
    graph = import_graph(modules)
    with_types = import_circles(import_graph(modules, for_types=True))
    return {
        "import circles": len(import_circles(graph)),
        "pairs of modules that import each other": len(mutual_imports(graph)),
        "import circles, imports for type checkers included": len(with_types),
        "modules in such a circle": sum(map(len, with_types)),
    }


def trace(checkout: Path, n_samples: int) -> dict:
    """Return the files that each call enters, and the classes of `CascadeClassifier`'s MRO."""
    command = [sys.executable, "-c", PROBE, str(checkout), str(n_samples)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the calls in {checkout} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def reach_of(traced: dict) -> dict[str, int]:
    """Return how many classes `CascadeClassifier` is made of, and how many files a call enters."""
    classes = traced["classes"]
    own = [name for name in classes if name.startswith(f"{PACKAGE}.")]
    return {
        "classes in the MRO of CascadeClassifier": len(classes),
        "of these, the package's own": len(own),
    } | {f"files entered by {call}": len(traced["files"][call]) for call in CALLS}


def _is_for_types(node: ast.AST) -> bool:
    """Tell whether a statement is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _reached_from(module: str, graph: dict[str, set[str]]) -> set[str]:
    """Return the modules that imports lead to; the module itself only by way of a circle."""
    found: set[str] = set()
    waiting = list(graph[module])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting.extend(graph[other])
    return found
