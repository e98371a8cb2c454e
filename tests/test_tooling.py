"""Tests that the Makefile, the hooks, the workflows and the metadata agree with each other."""

from __future__ import annotations

import configparser
import re
from itertools import product
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def read(name):
    """Return the text of a file of the checkout, or skip: an sdist leaves some of them out."""
    path = CHECKOUT / name
    if not path.is_file():
        pytest.skip(f"{name} is in a checkout only")
    return path.read_text(encoding="utf-8")


def setup():
    """Return the sections of setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read_string(read("setup.cfg"))
    return parser


def test_numpydoc_checks_are_the_same_in_make_and_in_the_hook():
    """Check that both leave out the same checks."""
    (make,) = re.findall(r"^NOT_ASKED = (\S+)$", read("Makefile"), re.M)
    (hook,) = re.findall(r"numpydoc lint --ignore (\S+)$", read(".pre-commit-config.yaml"), re.M)
    assert make == hook


def test_hooks_are_pinned():
    """Check that every hook installs one version of one tool."""
    text = read(".pre-commit-config.yaml")
    pins = re.findall(r"additional_dependencies: \[([^]]+)\]", text)
    assert len(pins) == text.count("- id: ")
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", pin) for pin in pins)


def test_workflow_runs_every_supported_python():
    """Check that the matrix has each Python of the classifiers, and at least each scikit-learn."""
    classifiers = setup()["metadata"]["classifiers"]
    text = read(".github/workflows/checks.yml")
    (pythons,) = re.findall(r"^ +python: \[(.+)\]$", text, re.M)
    (versions,) = re.findall(r"^ +sklearn: \[(.+)\]$", text, re.M)
    excluded = set(re.findall(r'- \{python: "([\d.]+)", sklearn: "([\d.]+)"\}', text))
    named = re.findall(r"Python :: (3\.\d+)$", classifiers, re.M)
    assert re.findall(r"[\d.]+", pythons) == named
    pairs = set(product(named, re.findall(r"[\d.]+", versions))) - excluded
    assert {python for python, _ in pairs} == set(named)
    oldest = re.search(r"scikit-learn >=([\d.]+)", setup()["options"]["install_requires"])[1]
    assert oldest in {version for _, version in pairs}


def test_workflow_runs_verbs_of_the_makefile():
    """Check that each verb of the workflow and of the gate is one of the Makefile's."""
    makefile = read("Makefile")
    verbs = re.findall(r"verb: ([a-z-]+),", read(".github/workflows/checks.yml"))
    verbs += re.findall(r"^make ([a-z-]+)", read(".ci/run"), re.M)
    assert {"lint", "docs", "test", "test-min", "test-sklearn"} <= set(verbs)
    assert [verb for verb in verbs if f"\n{verb}:" not in makefile] == []


def test_package_is_marked_as_typed():
    """Check that type checkers are told to read the annotations, also when it is installed."""
    assert read("sklearn_cascade/py.typed") == ""
    assert setup()["options.package_data"]["sklearn_cascade"] == "py.typed"
