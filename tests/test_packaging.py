"""Tests of the packaging files: consistent versions, and complete packages."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def read(name):
    """Return the text of a file in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def config():
    """Return the sections of setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read_string(read("setup.cfg"))
    return parser


def requirements(text):
    """Return the requirements of some lines, by name; comments left out."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {found.name: found for found in map(Requirement, filter(None, lines))}


def only_version(requirement, operator):
    """Return the version of a requirement that has a single clause of one kind."""
    (clause,) = requirement.specifier
    assert clause.operator == operator, requirement
    return Version(clause.version)


def test_lower_bounds_are_the_versions_tested_as_oldest(config):
    """Check that every required package has a lower bound, equal to its pin to the minor."""
    required = requirements(config["options"]["install_requires"])
    pins = requirements(read("tests/constraints-min.txt"))
    expected = {"scikit-learn", "numpy", "joblib", "onnx", "skl2onnx", "onnxruntime"}
    assert set(required) == expected
    for name, requirement in required.items():
        bound, pin = only_version(requirement, ">="), only_version(pins[name], "==")
        assert (bound.major, bound.minor) == (pin.major, pin.minor), name


def test_extras_agree_with_the_pins_and_with_each_other(config):
    """Check that an optional package has the same bound wherever it is named, and its pin's."""
    pins = requirements(read("tests/constraints-min.txt"))
    # An extra may need a later version of what the package itself needs.
    for name in requirements(config["options"]["install_requires"]):
        del pins[name]
    bounds = {}
    for text in config["options.extras_require"].values():
        for name, requirement in requirements(text).items():
            bounds.setdefault(name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}
    for name in bounds.keys() & pins.keys():
        bound = Version(next(iter(bounds[name])).removeprefix(">="))
        pin = only_version(pins[name], "==")
        assert (bound.major, bound.minor) == (pin.major, pin.minor), name


def test_pyproject_holds_the_build_system_only():
    """Check that everything but the build system is in setup.cfg."""
    assert re.findall(r"^\s*\[+(.+?)\]+\s*$", read("pyproject.toml"), re.M) == ["build-system"]


def test_version_is_a_literal_of_the_standard_form(config):
    """Check that the version can be read without importing, and is as PEP 440 writes it."""
    module = ast.parse(read("sklearn_cascade/__init__.py"))
    values = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert config["metadata"]["version"] == "attr: sklearn_cascade.__version__"
    assert len(values) == 1
    version = ast.literal_eval(values[0])
    assert str(Version(version)) == version


def test_oldest_python_is_the_same_everywhere(config):
    """Check that python_requires, the classifiers and the linter name the same oldest Python."""
    oldest = config["options"]["python_requires"].removeprefix(">=")
    named = re.findall(r"Python :: (3\.\d+)$", config["metadata"]["classifiers"], re.M)
    assert min(map(Version, named)) == Version(oldest)
    assert f'target-version = "py{oldest.replace(".", "")}"' in read("ruff.toml")


def test_every_folder_with_modules_is_a_package_and_only_they_are_shipped(config):
    """Check that every folder of modules is a package, and that no other package is shipped."""
    folders = {path.parent for path in (ROOT / "sklearn_cascade").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert config["options"]["packages"] == "find:"
    assert config["options.packages.find"]["include"] == "sklearn_cascade*"
