"""Tests of wheel and sdist, each built, installed into a new environment and used."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from sklearn_cascade import __version__

ROOT = Path(__file__).parents[1]
STEM = f"sklearn_cascade-{__version__}"
BUILD = "import setuptools.build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
# Files that a checkout collects in use, written before the build, which has to ignore them.
GENERATED = [
    "docs/_build/html/index.html",
    "docs/api/some_name.rst",
    "docs/auto_gallery/plot.rst",
    "sklearn_cascade/__pycache__/old.cpython-310.pyc",
    "tests/__pycache__/old.cpython-310.pyc",
]
USE = """
import json
from importlib.metadata import version
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
import sklearn_cascade
X, y = load_iris(return_X_y=True)
members = [("tree", DecisionTreeClassifier(max_depth=2)), ("lr", LogisticRegression(max_iter=1000))]
cascade = sklearn_cascade.CascadeClassifier(members, costs=[1.0, 9.0], random_state=0).fit(X, y)
details = cascade.predict_details(X)
print(json.dumps({
    "file": sklearn_cascade.__file__,
    "versions": [sklearn_cascade.__version__, version("sklearn-cascade")],
    "score": cascade.score(X, y),
    "costs": sorted(set(details.cost.tolist())),
}))
"""


@pytest.fixture(scope="module", autouse=True)
def setuptools():
    """Skip if the build would have to download setuptools."""
    (line,) = re.findall(r'requires = \["(.+)"\]', (ROOT / "pyproject.toml").read_text("utf-8"))
    required = Requirement(line)
    try:
        found = version_of("setuptools")
    except PackageNotFoundError:
        found = None
    if found is None or Version(found) not in required.specifier:
        pytest.skip(f"needs {required}, as the build does; this environment has {found}")


def run(*command, cwd):
    """Run a program outside the checkout and return its output; show all of it on failure."""
    # A path to the checkout would hide missing files of the installed package.
    kept = [
        entry
        for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if entry and Path(entry).resolve() != ROOT
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(kept), "PYTHONDONTWRITEBYTECODE": "1"}
    # On busy processors the threads of BLAS wait for each other: 10 s instead of 0.2 s were seen.
    env["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in(folder):
    """Return the files below a folder, as paths relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a copy of the checkout without ignored files, so that no old file is built in."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split()]
    left_out = {ROOT / line for line in [".git", "shared", *ignored]}
    by_name = shutil.ignore_patterns(*ignored)

    def ignore(folder, names):
        return by_name(folder, names) | {name for name in names if Path(folder, name) in left_out}

    return shutil.copytree(
        ROOT, tmp_path_factory.mktemp("source") / "checkout", ignore=ignore, symlinks=True
    )


@pytest.fixture(scope="module")
def written(source):
    """Return the files of the checkout that are not generated."""
    return files_in(source)


@pytest.fixture(scope="module")
def shipped(written):
    """Return the files of the package itself."""
    return {name for name in written if name.startswith("sklearn_cascade/")}


@pytest.fixture(scope="module")
def dist(source, written):
    """Return the folder with the wheel and the sdist, built by the build system's own calls."""
    assert written.isdisjoint(GENERATED)
    for name in GENERATED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("generated earlier", encoding="utf-8")
    run(sys.executable, "-c", BUILD, cwd=source)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist):
    """Return the path of the wheel."""
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(dist):
    """Return the path of the sdist."""
    (path,) = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def sdist_files(sdist):
    """Return the files in the sdist, as paths in the checkout."""
    with tarfile.open(sdist) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    assert all(name.startswith(f"{STEM}/") for name in names)
    return {name.removeprefix(f"{STEM}/") for name in names}


def new_environment(folder):
    """Return Python and packages' folder of a new environment that sees the packages here."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    packages = Path(own.strip())
    # A .pth inside a folder that a .pth names is not read, so an editable install stays unseen.
    shared = [entry for entry in sys.path if Path(entry).name.endswith("-packages")]
    (packages / "shared.pth").write_text("\n".join(shared), encoding="utf-8")
    return python, packages


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request, tmp_path_factory):
    """Return Python and packages' folder of an environment with the wheel or sdist installed."""
    pytest.importorskip("pip", reason="pip installs the package")
    archive = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    python, packages = new_environment(folder / "env")
    # --ignore-installed: pip sees this package in the shared folder, and would replace it there.
    options = ["--isolated", "--no-index", "--no-deps", "--no-build-isolation"]
    options += ["--ignore-installed", "--no-compile", "--quiet", "--disable-pip-version-check"]
    run(python, "-m", "pip", "install", *options, archive, cwd=folder)
    return python, packages


def test_installed_package_runs_a_cascade(installed, tmp_path):
    """Check that a cascade fits and saves cost in a new environment, outside the repository."""
    python, packages = installed
    result = json.loads(run(python, "-W", "error", "-c", USE, cwd=tmp_path).splitlines()[-1])
    assert Path(result["file"]).resolve().is_relative_to(packages.resolve())
    assert result["versions"] == [__version__, __version__]
    # Either member alone gets at least 0.95 of its training rows right.
    assert result["score"] > 0.9
    assert result["costs"] == [1.0, 10.0]


def test_installed_files_are_the_package_and_nothing_else(installed, shipped):
    """Check that no test or benchmark is installed, and no file of the package is missing."""
    _, packages = installed
    found = files_in(packages) - {"shared.pth"}
    about = {name for name in found if name.startswith(f"{STEM}.dist-info/")}
    assert found - about == shipped


def test_wheel_describes_itself(wheel):
    """Check version, requirements, license and description in the metadata."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    with zipfile.ZipFile(wheel) as archive:
        about = message_from_string(archive.read(f"{STEM}.dist-info/METADATA").decode("utf-8"))
        license_text = archive.read(f"{STEM}.dist-info/licenses/LICENSE").decode("utf-8")
    requirements = [Requirement(line) for line in about.get_all("Requires-Dist")]
    required = config["options"]["install_requires"].strip().splitlines()
    assert wheel.name == f"{STEM}-py3-none-any.whl"
    assert (about["Name"], about["Version"]) == ("sklearn-cascade", __version__)
    assert about["Requires-Python"] == config["options"]["python_requires"]
    assert about["License-Expression"] == config["metadata"]["license_expression"]
    assert {found for found in requirements if not found.marker} == set(map(Requirement, required))
    assert about["Description-Content-Type"] == "text/markdown"
    assert about.get_payload().strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert license_text.split() == (ROOT / "LICENSE").read_text("utf-8").split()


def test_sdist_has_all_files_of_tests_and_documentation(sdist_files, written):
    """Check that package, tests, benchmarks, documentation and configuration are there."""
    folders = {"sklearn_cascade", "tests", "benchmarks", "docs"}
    needed = {name for name in written if name.split("/")[0] in folders}
    needed |= {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"}
    needed |= {"setup.cfg", "pyproject.toml", "Makefile", "ruff.toml", ".gitignore"}
    assert sorted(needed - sdist_files) == []


def test_sdist_has_no_generated_file(sdist_files):
    """Check that built pages and byte code of the checkout are not in the sdist."""
    assert sorted(sdist_files & set(GENERATED)) == []
