"""The example of image nets runs, and the digit nets are what their README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_cascade import OnnxClassifier
from tests.recorded import folder_with

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NETS = EXAMPLES / "digit_nets"
FILES = sorted(path.stem for path in NETS.glob("*.onnx"))
ROLES = ["best ensemble", "same accuracy", "same log loss", "within its cost"]


def run_example(folder, *arguments):
    """Run the example in a folder and return what it prints."""
    command = [sys.executable, str(EXAMPLES / "image_cascade.py"), *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        # The table holds letters beyond ASCII, whatever the locale of the machine.
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "MPLCONFIGDIR": str(folder)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(printed):
    """Return the figures printed on the test images: members -> [accuracy, cost, ...] by kind."""
    block = next(part for part in printed.split("\n\n") if "µs, batch 1" in part)
    rows = {}
    for line in block.splitlines()[2:-2]:
        role, members, *figures = re.split(r"  +", line.strip())
        rows[role, members] = [float(figure.replace(",", "")) for figure in figures]
    return rows


def readme():
    """Return the README's table: net -> [parameters, multiply-adds, train s, valid %, test %]."""
    lines = (NETS / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {
        name: [float(figure.replace(",", "")) for figure in figures]
        for name, *figures in cells
        if len(figures) == 5 and name.startswith("digits_")
    }


@pytest.fixture(scope="module")
def digits():
    """Return images, labels and the split of the digits."""
    data, rows = load_digits(), np.load(NETS / "split.npz", allow_pickle=False)
    return data.images[:, None].astype(np.float32), data.target, dict(rows)


@pytest.fixture(scope="module")
def run_on_digits(tmp_path_factory):
    """Return what the example prints of the digit nets, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("digits")
    return run_example(folder), folder


@pytest.fixture(scope="module")
def run_on_cifar(tmp_path_factory):
    """Return what the example prints of the CIFAR-10 family, or skip where it is absent."""
    data = folder_with("cifar10_family/predictions.npz") / "cifar10_family"
    folder = tmp_path_factory.mktemp("cifar")
    return run_example(folder, "--data", str(data)), folder


def test_folder_is_small_and_described():
    """Check that the nets take less than 1 MB in all, and that README.md lists each."""
    files = [path for path in NETS.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert sorted(readme()) == FILES
    assert len(FILES) >= 5


def test_split_holds_every_row_once(digits):
    """Check that the parts of the split are disjoint, complete and hold classes in equal shares."""
    _, y, rows = digits
    assert sorted(rows) == ["test", "train", "valid"]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(y)))
    for part in rows.values():
        shares = np.bincount(y[part]) / len(part)
        # A class is off by one row at most in each of two cuts.
        np.testing.assert_allclose(shares, np.bincount(y) / len(y), atol=2 / len(part))


@pytest.mark.parametrize("name", FILES)
def test_net_is_as_accurate_as_its_readme_says(name, digits):
    """Check accuracy, multiply-adds and labels of a file against the table of README.md."""
    images, y, rows = digits
    model = OnnxClassifier(NETS / f"{name}.onnx")
    _, multiply_adds, _, valid, test = readme()[name]
    for part, percent in (("valid", valid), ("test", test)):
        accuracy = 100 * np.mean(model.predict(images[rows[part]]) == y[rows[part]])
        # To the rounding of the table.
        assert accuracy == pytest.approx(percent, abs=0.005)
    assert model.multiply_adds_ == multiply_adds
    assert model.classes_.tolist() == list(range(10))


def test_nets_grow_in_cost():
    """Check that the family spans three orders of magnitude, in steps of several times."""
    costs = sorted({figures[1] for figures in readme().values()})
    assert costs[-1] > 500 * costs[0]
    assert min(np.divide(costs[1:], costs[:-1])) > 3


def test_example_prints_singles_ensemble_and_cascades(run_on_digits):
    """Check that the table has a row for every net and each choice, and all its figures."""
    rows = table(run_on_digits[0])
    roles = [role for role, _ in rows]
    assert sorted(f"digits_{name}" for role, name in rows if role == "single") == FILES
    assert roles.count("ensemble") == 1
    # Whatever the search picks, it is named by what it holds.
    assert [role.partition(", ")[2] for role in roles[-3:]] == ROLES[1:]
    assert roles.count("cascade, same log loss") == 1
    assert {len(figures) for figures in rows.values()} == {5}
    assert min(min(figures) for figures in rows.values()) > 0


def test_example_agrees_with_readme(run_on_digits):
    """Check the accuracies that the example prints of single nets against README.md."""
    for (role, name), figures in table(run_on_digits[0]).items():
        if role == "single":
            # Four decimals here, a percentage of two decimals there.
            assert 100 * figures[0] == pytest.approx(readme()[f"digits_{name}"][4], abs=0.0101)


def test_real_run_exits_as_recorded(run_on_digits):
    """Check that each test image exits at the stage that the recorded predictions give."""
    assert "recorded predictions on 797 of 797 test images" in run_on_digits[0]


@pytest.mark.parametrize("role", ROLES)
def test_words_follow_the_figures(run_on_digits, role):
    """Check that the gain in words is that of the printed table."""
    rows = table(run_on_digits[0])
    best = re.search(r"best single net, (\S+), on the test", run_on_digits[0]).group(1)
    before = rows["single", best]
    (after,) = (
        figures
        for (printed_role, _), figures in rows.items()
        if printed_role.endswith(role.replace("best ", ""))
    )
    words = run_on_digits[0].split("\nAgainst the best")[1].split(f"\n{role}, ")[1]
    gain, error, verdict = re.search(r"accuracy +(\S+) ± (\S+) points: (.*)", words).groups()
    # Both accuracies are rounded to four decimals.
    assert float(gain) == pytest.approx(100 * (after[0] - before[0]), abs=0.016)
    beyond_chance = abs(float(gain)) > 2 * float(error)
    assert verdict == (
        "within chance" if not beyond_chance else "gained" if gain.startswith("+") else "lost"
    )
    ratio, change = re.search(r"multiply-adds +(\S+) times (.*)", words).groups()
    saves = after[1] < before[1]
    assert change == ("less: saves" if saves else "as much: does not pay")
    wanted = before[1] / after[1] if saves else after[1] / before[1]
    # The cost in the table has two decimals, which is 0.1 % of the cheapest.
    assert float(ratio) == pytest.approx(wanted, rel=0.005, abs=0.051)


def test_chosen_cascade_saves_multiply_adds(run_on_digits):
    """Check that the chosen cascade spends at most a tenth of the best single net's cost."""
    rows = table(run_on_digits[0])
    best = re.search(r"best single net, (\S+), on the test", run_on_digits[0]).group(1)
    # 22.66 of 1,120.38 thousand here; a search that finds no early exit costs all.
    (chosen,) = (figures for (role, _), figures in rows.items() if role.endswith("same log loss"))
    assert chosen[1] < 0.1 * rows["single", best][1]
    # Two points are three standard errors and more of 797 rows at this accuracy.
    assert chosen[0] > rows["single", best][0] - 0.02


def test_example_draws_a_picture(run_on_digits):
    """Check that the picture is where the example says, at least 1,200 pixels wide."""
    image = pytest.importorskip("matplotlib.image", reason="the picture needs matplotlib")
    place = run_on_digits[1] / "output" / "image_cascade.png"
    assert str(place.resolve()) in run_on_digits[0]
    height, width, _ = image.imread(place).shape
    assert width >= 1200
    assert height >= 600


def test_example_runs_on_cifar(run_on_cifar):
    """Check the CIFAR-10 family: nets as in its README, exits as recorded, and the picture."""
    printed, folder = run_on_cifar
    rows = table(printed)
    # Of its README, to the rounding of four decimals.
    assert rows["single", "40m"][:2] == pytest.approx([0.8686, 40.40])
    assert rows["single", "1m"][:2] == pytest.approx([0.7399, 0.81])
    assert rows["ensemble", "21m + 40m"][:2] == pytest.approx([0.8757, 61.29])
    (within,) = (figures for (role, _), figures in rows.items() if role.endswith("within its cost"))
    assert within[1] <= 40.40
    # 0.8752 here; 0.8686 of the single net of that cost.
    assert within[0] > 0.8686
    agree = re.search(r"recorded predictions on (\d+) of 500 test images", printed).group(1)
    # Another machine's rounding may move an image that sits on a threshold.
    assert int(agree) >= 498
    assert "batches of 256" in printed
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    assert (folder / "output" / "image_cascade.png").is_file()


def test_example_names_the_missing_file(tmp_path):
    """Check that a folder without the family ends in an error that names the missing file."""
    command = [sys.executable, str(EXAMPLES / "image_cascade.py"), "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "predictions.npz" in done.stderr
