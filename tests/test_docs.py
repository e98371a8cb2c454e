"""The documentation names every public thing, and the code of the README and front page runs."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import sklearn_cascade
from sklearn_cascade import exceptions

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"
TABS = re.findall(
    r"tab-item:: (.+)\n\n +\.\. code-block:: python\n\n((?: {10}.*\n|\n)+)",
    (DOCS / "index.rst").read_text(encoding="utf-8"),
)


def pages_named(path):
    """Return the entries of the toctrees and summaries of a page, by module."""
    named, module, listing = {}, None, False
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        listing = (listing and (not line or line[0] == " ")) or "autosummary::" in line
        if listing and re.fullmatch(r" +\w+", line):
            named.setdefault(module, []).append(line.strip())
    return named


def link_checker():
    """Return the module that checks the links of the built pages."""
    spec = importlib.util.spec_from_file_location("check_links", DOCS / "check_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_api_has_a_page_for_each_public_name():
    """Check that the API page lists each public name once, and nothing else."""
    named = pages_named(DOCS / "api.rst")
    public = [name for name, value in vars(exceptions).items() if isinstance(value, type)]
    assert sorted(named["sklearn_cascade"]) == sorted(sklearn_cascade.__all__)
    assert sorted(named["sklearn_cascade.exceptions"]) == sorted(public)


def test_guide_lists_each_of_its_pages():
    """Check that no page of the guide is left out of its table of contents."""
    listed = re.findall(r"(?m)^   (\w+)$", (DOCS / "guide" / "index.rst").read_text("utf-8"))
    assert sorted(listed) == sorted(
        path.stem for path in (DOCS / "guide").glob("*.rst") if path.stem != "index"
    )


def test_readme_example_runs_as_it_stands(capsys):
    """Check that the README's Python block needs nothing but itself, and prints a report."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    found = {}
    exec(compile(code, README.name, "exec"), found)
    report = found["cascade"].cost_report(found["X_test"], found["y_test"])
    assert "Worst case" in capsys.readouterr().out
    # What the README says of it: seven rows in eight, at the accuracy of the trees.
    assert 0.8 < report.exit_rates[0] < 0.95
    assert report.score == pytest.approx(report.member_scores[1], abs=0.01)


def test_readme_links_lead_to_files():
    """Check that each relative link of the README leads to a file."""
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (DOCS.parent / link).exists()] == []


@pytest.mark.parametrize(("title", "code"), TABS, ids=[title for title, _ in TABS])
def test_front_page_runs_as_it_stands(title, code, tmp_path, monkeypatch, capsys):
    """Check that each tab of the front page, given models and data, ends with a saved cascade."""
    X, y = load_digits(return_X_y=True)
    parts = np.split(np.random.default_rng(0).permutation(len(y)), [500, 1100])
    named = {
        f"{letter}_{name}": values[rows]
        for name, rows in zip(["train", "valid", "test"], parts, strict=True)
        for letter, values in [("X", X), ("y", y)]
    }
    models = {
        "small": LogisticRegression(max_iter=2000),
        "large": ExtraTreesClassifier(50, random_state=0),
        "forest": RandomForestClassifier(100, random_state=0),
    }
    if title != "Two models to train":
        for model in models.values():
            model.fit(named["X_train"], named["y_train"])
    monkeypatch.chdir(tmp_path)
    exec(compile(re.sub(r"(?m)^ {10}", "", code), "index.rst", "exec"), named | models)
    saved = joblib.load(tmp_path / "cascade.joblib")
    assert "Worst case" in capsys.readouterr().out
    assert saved.score(named["X_test"], named["y_test"]) > 0.9


def test_front_page_has_three_tabs_of_ten_lines():
    """Check that the front page keeps to ten lines of code in a tab, and that all are tested."""
    source = (DOCS / "index.rst").read_text(encoding="utf-8")
    lengths = [sum(bool(line.strip()) for line in code.splitlines()) for _, code in TABS]
    assert len(lengths) == source.count("tab-item::") == 3
    assert max(lengths) <= 10


@pytest.mark.parametrize("path", sorted((DOCS / "tables").glob("*.md")), ids=lambda path: path.stem)
def test_tables_have_a_cell_for_each_column(path):
    """Check that no row of a table that the documentation includes is shifted or cut."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            widths = [len(re.findall(r"(?<!\\)\|", row)) for row in (before, line)]
            assert widths[0] == widths[1], line


def test_link_checker_finds_what_leads_nowhere(tmp_path):
    """Check that a missing file and a missing anchor are found, and that good links are not."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.html").write_text('<h1 id="top">x</h1>', encoding="utf-8")
    links = ["sub/other.html", "sub/other.html#top", "#here", "https://example.org/x", "mailto:a@b"]
    bad = ["sub/none.html", "sub/other.html#none", "#nowhere"]
    page = '<p id="here">' + "".join(f'<a href="{link}">x</a>' for link in links + bad)
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    found = [(str(path), link) for path, link in link_checker().broken_links(tmp_path)]
    assert found == [("index.html", link) for link in sorted(bad)]
