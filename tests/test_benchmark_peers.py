"""The comparison with peers runs, counts what is paid, and keeps failures in the table."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from benchmarks.peers import ROOMS, run
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
    """Return what a run at toy size prints and what it leaves in a file."""
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
    """Check that no line of this package and none of scikit-learn's is left out."""
    data_sets = {name for name, _ in table} - {"all"}
    assert data_sets == {"breast cancer", "digits"}
    for name in data_sets:
        for method in OURS:
            assert (name, f"**ours** {method}") in table
        for method in ("linear alone", "boosting alone", "trees alone", "VotingClassifier, soft"):
            assert (name, method) in table


def test_run_gives_equal_methods_equal_figures(table):
    """Check that the same mean of the same members scores alike, whoever takes it."""
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
    """Check that a refusal of this package's own stands in the table, in words."""
    line = table["breast cancer", "**ours** certify, 1 point"]
    assert line["failures and notes"].startswith("CertificationError: ")
    assert line["accuracy"] == line["cost paid"] == line["got"] == "-"


def test_run_names_what_is_not_installed(table):
    """Check that each absent peer has a line with what installs it, and each present one none."""
    for name, room in ROOMS.items():
        assert (("all", name) in table) == (find_spec(room.PACKAGE) is None)
    assert "--autogluon" in table["all", "AutoGluon"]["failures and notes"]


def test_run_bills_every_stage_of_scikit_fallback(table):
    """Check that scikit-fallback is billed by the rows counted, however it is billed by itself."""
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
        whole = table[name, "LightGBM, 40 rounds"]
        tuned = table[name, "LightGBM early stop, margin tuned"]
        assert whole["cost paid"] == "40 rounds"
        assert 10 <= float(tuned["cost paid"].split()[0]) <= 40


def test_task_counts_what_a_cascade_pays(task):
    """Check that counted rows times costs are the cascade's own costs, with their spread."""
    cascade = CascadeClassifier(task.members, thresholds=0.9, costs=task.costs).fit(*task.tune)
    cost = cascade.predict_details(task.test[0]).cost
    task.forget()
    cascade.predict(task.test[0])
    mean, half = task.paid(len(cost))
    assert 1 < mean < 6
    # Sums of the same small whole numbers, in another order.
    assert mean == pytest.approx(cost.mean(), rel=1e-12)
    assert half == pytest.approx(1.96 * cost.std() / np.sqrt(len(cost)), rel=1e-9)


def test_task_forgets_what_was_asked_before(task):
    """Check that only rows asked for since the last reset are billed."""
    task.members[1][1].predict(task.test[0])
    task.forget()
    task.members[0][1].predict(task.test[0])
    assert task.paid(150) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("paid", "said"),
    [((1.9, 0.2), "1.9 ± 0.2"), ((2.1, 0.2), "maybe chance"), ((2.3, 0.2), "**missed**")],
)
def test_promise_tells_missed_from_chance(paid, said):
    """Check that a budget counts as missed only where the interval is beyond it, too."""
    outcome = Outcome(np.zeros(4), np.zeros(4), paid, 1.0)
    assert within_budget(2.0).describe(outcome).endswith(said + (")" if "chance" in said else ""))


def test_promise_of_an_accuracy_is_a_lower_limit():
    """Check that falling short of an accuracy counts, and surpassing it does not."""
    truth = np.zeros(100)
    wrong = Outcome(np.ones(100), truth, (1.0, 0.0), 1.0)
    right = Outcome(truth, truth, (1.0, 0.0), 1.0)
    assert at_least_accurate(0.9).describe(wrong) == "0 **missed**"
    assert at_least_accurate(0.9).describe(right) == "1"
