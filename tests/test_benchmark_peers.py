"""The comparison with peers runs, counts the costs paid, and keeps failures in the table."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from benchmarks.peers import PEERS, run
from benchmarks.peers_tasks import Counted, Outcome, Task, at_least_accurate, within_budget
from sklearn_cascade import CascadeClassifier

OURS = (
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadeSearchCV",
    "CascadeSearchCV, budget",
    "certify, 1 point",
    "certify, 2 points",
    "certify agreement, first and last member",
)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return what a run at toy size prints and writes."""
    path = tmp_path_factory.mktemp("peers") / "peers.md"
    with redirect_stdout(StringIO()) as screen:
        run(quick=True, out=path)
    return screen.getvalue(), path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def table(printed):
    """Return the lines of the table as dicts, by data set and method."""
    lines = [line for line in printed[0].splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
    assert {len(row) for row in rows} == {len(header)}
    return {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}


@pytest.fixture
def task():
    """Return a task of two members on iris."""
    X, y = load_iris(return_X_y=True)
    members = [GaussianNB().fit(X[::2], y[::2]), LogisticRegression(max_iter=500).fit(X, y)]
    named = [(f"m{k}", Counted(member)) for k, member in enumerate(members)]
    costs = np.array([1.0, 5.0])
    return Task("iris", (X, y), (X, y), (X, y), named, costs, "credits", costs, 3)


def test_run_writes_what_it_prints(printed):
    """Check that the file that the documentation includes holds the lines on the screen."""
    assert printed[0] == printed[1]
    assert "cost paid" in printed[1]


def test_run_has_a_line_for_each_method_on_each_data_set(table):
    """Check that no line of this package or of scikit-learn is left out."""
    data_sets = {name for name, _ in table} - {"all"}
    assert data_sets == {"breast cancer", "digits"}
    for name in data_sets:
        for method in OURS:
            assert (name, f"**ours** {method}") in table
        for method in ("linear alone", "boosting alone", "trees alone", "VotingClassifier, soft"):
            assert (name, method) in table


def test_run_gives_equal_methods_equal_figures(table):
    """Check that the same mean of the same members has the same scores in both packages."""
    for name in ("breast cancer", "digits"):
        ours, theirs = (
            table[name, method]
            for method in ("**ours** AveragingEnsemble", "VotingClassifier, soft")
        )
        for figure in ("accuracy", "log loss", "cost paid"):
            assert ours[figure] == theirs[figure]
        assert ours["cost paid"] == ours["cost claimed"] == "6 credits"


def test_run_counts_what_a_member_alone_costs(table):
    """Check that each member alone is billed its price, once."""
    paid = [
        table["digits", f"{name} alone"]["cost paid"] for name in ("linear", "boosting", "trees")
    ]
    assert paid == ["1 credits", "2 credits", "3 credits"]


def test_run_keeps_failures_as_lines(table):
    """Check that an error of this package is in the table, with its message."""
    line = table["breast cancer", "**ours** certify, 1 point"]
    assert line["failures and notes"].startswith("CertificationError: ")
    assert line["accuracy"] == line["cost paid"] == line["got"] == "-"


def test_run_lists_peers_that_are_not_installed(table):
    """Check that each absent peer has a line with its install command, and no present one has."""
    for name, peer in PEERS.items():
        assert (("all", name) in table) == (find_spec(peer.PACKAGE) is None)
    assert "--autogluon" in table["all", "AutoGluon"]["failures and notes"]


def test_run_bills_every_stage_of_scikit_fallback(table):
    """Check that the cost of scikit-fallback comes from counted rows, not from its own account."""
    pytest.importorskip("skfb", reason="scikit-fallback is not installed")
    for name in ("breast cancer", "digits"):
        line = table[name, "scikit-fallback CV, budget"]
        assert float(line["cost paid"].split()[0]) >= 1
        assert line["asked"] == "cost <= 1.2"
        assert line["got"].split()[0] == line["cost paid"].split()[0]


def test_run_replays_the_early_stop_of_lightgbm(table):
    """Check that stopping early takes no more rounds than there are, by a replay that agrees."""
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    for name in ("breast cancer", "digits"):
        full = table[name, "LightGBM, 40 rounds"]
        tuned = table[name, "LightGBM early stop, margin tuned"]
        assert full["cost paid"] == "40 rounds"
        assert 10 <= float(tuned["cost paid"].split()[0]) <= 40


def test_task_counts_what_a_cascade_pays(task):
    """Check that counted rows times costs are the cascade's own costs, with their spread."""
    cascade = CascadeClassifier(task.members, thresholds=0.9, costs=task.costs).fit(*task.tune)
    cost = cascade.predict_details(task.test[0]).cost
    task.reset_counts()
    cascade.predict(task.test[0])
    mean, half = task.paid(len(cost))
    assert 1 < mean < 6
    # Sums of the same small whole numbers, in another order.
    assert mean == pytest.approx(cost.mean(), rel=1e-12)
    assert half == pytest.approx(1.96 * cost.std() / np.sqrt(len(cost)), rel=1e-9)


def test_task_counts_only_rows_since_the_last_reset(task):
    """Check that rows predicted before the last reset cost nothing."""
    task.members[1][1].predict(task.test[0])
    task.reset_counts()
    task.members[0][1].predict(task.test[0])
    assert task.paid(150) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("paid", "ending"),
    [((1.9, 0.2), "1.9 ± 0.2"), ((2.1, 0.2), "maybe chance)"), ((2.3, 0.2), "**missed**")],
)
def test_guarantee_distinguishes_missed_from_chance(paid, ending):
    """Check that a budget counts as missed only if the interval is beyond it, too."""
    outcome = Outcome(np.zeros(4), np.zeros(4), paid, 1.0)
    assert within_budget(2.0).describe(outcome).endswith(ending)


def test_guarantee_of_an_accuracy_is_a_lower_limit():
    """Check that an accuracy below the limit counts as missed, and one above it does not."""
    truth = np.zeros(100)
    wrong = Outcome(np.ones(100), truth, (1.0, 0.0), 1.0)
    right = Outcome(truth, truth, (1.0, 0.0), 1.0)
    assert at_least_accurate(0.9).describe(wrong) == "0 **missed**"
    assert at_least_accurate(0.9).describe(right) == "1"
