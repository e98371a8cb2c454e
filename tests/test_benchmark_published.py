"""The published experiments run, at toy size, and their figures are correct."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest

from benchmarks import published_ensembles, published_worst_case
from benchmarks.__main__ import main
from benchmarks.published import run
from benchmarks.published_pools import Pool, best_single, halves_of, load_family
from benchmarks.published_top5 import columns_of, load_top5, spread_out
from benchmarks.published_training import affordable, training_costs
from benchmarks.tables import Table, commonest, spread, verdict_of
from tests.recorded import folder_with
from tests.tables import cells_of

TOPICS = ("ensembles", "cascades", "worst_case", "latency", "training", "large_pools")


def column(table, name):
    """Return the numbers that start the cells of a column, without empty ones."""
    header, *rows = table
    index = next(i for i, title in enumerate(header) if title.startswith(name))
    return [float(row[index].split()[0]) for row in rows if row[index]]


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """Return what a run at toy size prints, and the folder of its tables."""
    folder = tmp_path_factory.mktemp("published") / "tables"
    data = folder_with("predictions/imagenet_cnn34.npz")
    with redirect_stdout(StringIO()) as screen:
        run(data=data, quick=True, out=folder)
    return screen.getvalue(), folder


@pytest.fixture(scope="module")
def tables(repeated):
    """Return the cells of each table by topic."""
    return {
        path.stem.removeprefix("published_"): cells_of(path.read_text(encoding="utf-8"))
        for path in repeated[1].iterdir()
    }


@pytest.fixture
def pool():
    """Return two cheap models that miss different rows, and an expensive one that misses more."""
    y = np.arange(400) % 2
    rows = np.random.default_rng(0).permutation(400)
    missed = [rows[:100], rows[100:200], rows[:160]]
    outputs = []
    for wrong, confidence in zip(missed, (0.9, 0.9, 0.8), strict=True):
        right = np.full(400, confidence)
        # Not confident where wrong, so that the other model prevails in the mean.
        right[wrong] = 0.4
        outputs.append(np.where(np.arange(2) == y[:, None], right[:, None], 1 - right[:, None]))
    costs = np.array([1.0, 1.5, 4.0])
    return Pool("made up (proba)", outputs, y, costs, ["a", "b", "expensive"], 8)


def write(folder, pool):
    """Write a pool as a file of recorded predictions."""
    (folder / "predictions").mkdir()
    proba = np.array(pool.outputs)
    np.savez(
        folder / "predictions" / "made_up.npz",
        confidence=proba.max(axis=2),
        predicted=proba.argmax(axis=2),
        proba=proba,
        label=pool.y,
        cost=pool.costs,
        model_names=np.array(pool.names),
    )


def test_run_writes_what_it_prints(repeated):
    """Check that the file of each topic is a part of what the screen shows."""
    printed, folder = repeated
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert files.keys() >= {f"published_{topic}.md" for topic in ("ensembles", "large_pools")}
    for text in files.values():
        assert text in printed


def test_rows_are_as_wide_as_their_header(tables):
    """Check that each table has rows, none with a cell missing or broken by a bar inside."""
    assert set(tables) <= set(TOPICS)
    assert all(len(lines) > 1 for lines in tables.values())


def test_every_pool_has_a_line_with_a_verdict(tables):
    """Check that every recorded pool has a line, whether it pays or not."""
    for topic in ("cascades", "worst_case"):
        _, *rows = tables[topic]
        pools = {row[0] for row in rows}
        assert pools >= {"frugalml_rafdb", "cifar10_cnn13 (proba)", "imagenet_cnn34 by ms"}
        assert {row[-1] for row in rows} <= {"pays", "**does not pay**"}


def test_ensembles_keep_within_the_cost_and_what_loses_is_kept(tables):
    """Check what the ensembles spend, and that models without an ensemble have a line."""
    assert max(column(tables["ensembles"], "part spent")) <= 1
    verdicts = {row[-1] for row in tables["ensembles"][1:]}
    assert verdicts <= {"wins", "even", "**loses**"}
    assert any("none within their cost" in row for row in tables["ensembles"])


def test_bounded_cascades_never_cost_more_than_the_single_model(tables):
    """Check that the bound holds on the rows that nothing was chosen on."""
    assert min(column(tables["worst_case"], "bounded: saving")) >= 1


def test_greedy_never_costs_more_than_the_best_pair(tables):
    """Check the claim of the documentation, on the half that is searched."""
    ratios = column(tables["large_pools"], "cost, searched half")
    assert len(ratios) == 2
    assert max(ratios) <= 1


def test_cascades_of_real_nets_are_timed_against_one_net(repeated, tables):
    """Check that the nets give the recorded outputs and that all ratios are there."""
    if "latency" not in tables:
        pytest.skip("the image family is not beside the recorded predictions")
    assert "100 % of the\nimages get" in repeated[0] or "100 % of the images get" in repeated[0]
    for name in ("batch", "one row, mean", "one row, p99", "file: one row, mean"):
        assert min(column(tables["latency"], name)) > 0


def test_cascades_within_the_training_cost_train_for_less(tables):
    """Check the share of the training, above 1 only if the bigger net is trained as well."""
    if "training" not in tables:
        pytest.skip("the image family is not beside the recorded predictions")
    header, *rows = tables["training"]
    kind, share = header.index("kind"), header.index("training (published: 0.60)")
    for row in rows:
        if row[share]:
            assert (float(row[share]) <= 1) == ("bigger" not in row[kind])


def test_training_is_counted_in_seconds_and_in_multiply_adds():
    """Check both counts of two nets against the family's notes: 26 and 20 epochs."""
    folder = folder_with("cifar10_family/predictions.npz")
    names, costs = load_family(folder).names, training_costs(folder)
    small, big = names.index("resnet_1m"), names.index("resnet_40m")
    assert costs["seconds"][[small, big]] == pytest.approx([227, 1537], abs=0.5)
    assert costs["multiply-adds"][[small, big]] == pytest.approx([26 * 0.81, 20 * 40.4], rel=0.01)


def test_affordable_sets_are_cheaper_models_within_the_training_cost(pool):
    """Check that only the largest sets are returned: the search looks inside of them."""
    costs = np.array([1.0, 2.0, 3.0, 4.0, 9.0])
    five = pool._replace(costs=costs, names=list("abcde"), outputs=pool.outputs[:1] * 5)
    train = np.array([1.0, 2.0, 3.0, 7.0, 8.0])
    assert affordable(five, train, 4) == [(0, 1, 2), (0, 3)]
    assert affordable(five, train, 1) == []


def test_classes_named_by_no_network_are_never_right():
    """Check columns of two networks on two rows, the second with a label that none names."""
    named = np.array([[[7, 3], [1, 2]], [[3, 5], [2, 9]]])
    columns, right = columns_of(named, np.array([5, 4]))
    assert columns.tolist() == [[[2, 0], [0, 1]], [[0, 1], [1, 2]]]
    mass = np.array([[0.75, 0.125], [0.5, 0.25]])
    proba = spread_out(columns[0], mass, 3)
    assert proba[:, :3].tolist() == [[0.125, 0, 0.75], [0.5, 0.25, 0]]
    np.testing.assert_allclose(proba.sum(axis=1, dtype=float), 1, atol=1e-3)
    assert right[0] == 1
    assert right[1] == proba.shape[1] - 1


def test_mean_of_two_recorded_networks_scores_as_in_their_notes():
    """Check the best pair of the data's notes, 81.35 at 35.3 GFLOPs, and one network alone."""
    pool = load_top5(folder_with("predictions/imagenet_cnn16_top5.npz"))
    pair = [pool.names.index(name) for name in ("pytorch_resnet152", "keras_nasnetlarge")]
    mean = np.mean([pool.outputs[model].astype(np.float32) for model in pair], axis=0)
    # The notes round to a hundredth of a point.
    assert 100 * np.mean(mean.argmax(axis=1) == pool.y) == pytest.approx(81.35, abs=0.006)
    assert pool.costs[pair].sum() == pytest.approx(35.3, abs=0.05)
    # Probabilities are rounded, so that the best two classes tie on some rows.
    alone = pool.outputs[pair[1]].argmax(axis=1) == pool.y
    assert 100 * np.mean(alone) == pytest.approx(80.83, abs=0.02)


def test_evaluate_gives_accuracy_and_cost_of_a_single_model(pool):
    """Check a single model against its own labels."""
    front = pool.search()
    score, cost = pool.evaluate(front, [best_single(front)])
    assert best_single(front).members == ("a",)
    assert score.tolist() == [0.75]
    assert cost.tolist() == [1.0]


def test_halves_share_no_row(pool):
    """Check that candidates are tested on rows that they were not chosen on."""
    numbered = pool._replace(y=np.arange(400))
    tuning, test = numbered.split(3)
    assert sorted([*tuning.y, *test.y]) == list(range(400))
    assert not np.array_equal(np.sort(tuning.y), tuning.y)


def test_ensemble_of_cheaper_models_beats_the_bigger_one(pool):
    """Check figures against a hand-made pool: each cheap model corrects the errors of the other."""
    half = next(halves_of(pool, 1))
    found = published_ensembles.measure(half)
    label, part, points = found["expensive", 2]["within"]
    assert label == "a + b"
    assert part == pytest.approx(2.5 / 4)
    wrong = np.mean(half.test.outputs[2].argmax(axis=1) != half.test.y)
    assert points == pytest.approx(100 * wrong)
    assert found["expensive", 2]["equal"][0] == pytest.approx(4 / 2.5)
    assert found["a", 2]["within"] is None


def test_bound_of_the_worst_case_excludes_expensive_rows(pool):
    """Check that no cascade is chosen whose worst case is above the single model's cost."""
    half = next(halves_of(pool, 1))
    assert half.single.members == ("a",)
    assert published_worst_case.measure(half) == [1, 1, 1, 0, 0, 1, 0, 1, 0]


def test_run_leaves_out_what_the_folder_does_not_hold(tmp_path, pool):
    """Check that a folder with one pool gives the three tables of pools, and no other."""
    write(tmp_path, pool)
    run(data=tmp_path, quick=True, out=tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"published_{topic}.md" for topic in TOPICS[:3]}
    header, *rows = cells_of((tmp_path / "out" / "published_cascades.md").read_text("utf-8"))
    assert [row[0] for row in rows] == ["made_up", "made_up (proba)"]
    assert {row[header.index("models x rows")] for row in rows} == {"3 x 400"}


def test_command_prints_and_writes_the_same_tables(tmp_path, capsys, pool):
    """Check that the command line reads one folder and writes into the other."""
    write(tmp_path, pool)
    main(["published", "--quick", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert printed.count("## ") == len(list((tmp_path / "out").iterdir())) == 3
    assert "| made_up (proba) | 3 x 400 |" in printed


def test_run_refuses_a_folder_without_predictions(tmp_path):
    """Check that a wrong folder is an error and not an empty table."""
    with pytest.raises(FileNotFoundError, match="holds no recorded predictions"):
        run(data=tmp_path, quick=True)


def test_command_needs_the_data(capsys):
    """Check that the command line asks for the folder."""
    with pytest.raises(SystemExit):
        main(["published"])
    assert "--data" in capsys.readouterr().err


def test_table_puts_its_caption_above_its_lines():
    """Check the Markdown of a small table."""
    table = Table("t", "Title", "One.\nTwo.", ["a", "b"], [["1", "2"]])
    assert table.to_markdown() == "One.\nTwo.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


def test_verdict_needs_more_than_the_spread():
    """Check a clear gain, a clear loss, and what may be chance."""
    assert verdict_of([1.0, 1.2, 1.1]) == "wins"
    assert verdict_of([-1.0, -1.2, -1.1]) == "**loses**"
    assert verdict_of([-1.0, 1.2, 0.1]) == "even"
    assert spread([1.0, 2.0, 3.0], "+.2f") == "+2.00 ± 1.00"
    assert commonest(["a", "b", "b"], 2) == "b (2), a (1)"
