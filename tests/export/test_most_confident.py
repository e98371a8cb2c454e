"""Tests of files with the output of the most confident stage, the later one among equals."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from sklearn_cascade import CascadeClassifier, OnnxClassifier, to_onnx
from sklearn_cascade.exceptions import OnnxMismatchError
from tests.export.conftest import fitted_on
from tests.export.sessions import OUTPUTS, Profiled, assert_same, run, session_of, stages_run
from tests.members.graphs import build, node, port

for package in ("onnx", "onnxruntime", "skl2onnx"):
    pytest.importorskip(package, reason=f"the export needs {package}")

# Small members take no longer than the routing, and few rows reach some stages.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)
THRESHOLDS = {
    "max_proba": [0.85, 0.8, 0.75],
    "margin": [0.7, 0.6, 0.5],
    "entropy": [0.65, 0.6, 0.5],
}
STAGES = ("nb", "linear", "net", "forest")


def most_confident_of(members, problem, names=STAGES, **parameters):
    """Return a cascade with the output of its most confident stage."""
    stages = [(name, members[name]) for name in names]
    given = {"combine": "most_confident", "costs": [1, 2, 7, 30][: len(names)], **parameters}
    return CascadeClassifier(stages, **given).fit(problem.X, problem.y)


@pytest.mark.parametrize(
    ("n_classes", "n_stages", "confidence", "dtype"),
    product([2, 4], [2, 3, 4], THRESHOLDS, [np.float32, np.float64]),
)
def test_file_has_the_output_of_the_most_confident_stage(
    problem, two_sided, members, n_classes, n_stages, confidence, dtype
):
    """Check labels, stages, probabilities and costs on 3,000 rows: 36 files."""
    if n_classes == 2:
        problem, members = two_sided, fitted_on(two_sided.X, two_sided.y)
    cascade = most_confident_of(
        members,
        problem,
        STAGES[:n_stages],
        confidence=confidence,
        thresholds=THRESHOLDS[confidence][: n_stages - 1],
    )
    rows = problem.more.astype(dtype)
    assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)
    details = cascade.predict_details(rows)
    assert set(details.exit_stage) == set(range(n_stages))
    # An earlier stage kept its output on some of the rows that ran all of them.
    ran = details.exit_stage == n_stages - 1
    last = members[STAGES[n_stages - 1]].predict_proba(rows[ran])
    assert (np.abs(details.proba[ran] - last).max(axis=1) > 0.01).any()


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_no_member_runs_for_a_row_that_left(problem, members, level, tmp_path):
    """Check that each member runs on the rows that reach it, and on none that left before."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs an exported file")
    option = getattr(onnxruntime.GraphOptimizationLevel, level)
    cascade = most_confident_of(
        members, problem, ("linear", "net", "forest"), thresholds=[0.83, 0.77]
    )
    profiled = Profiled(cascade, problem.more.astype(np.float32), tmp_path)
    kernels = profiled.kernels(profiled.rows, graph_optimization_level=option)
    for stage in range(3):
        shapes = [s for name, s in kernels if name.startswith(f"stage{stage}/member/")]
        assert next(iter(shapes[0][0].values()))[0] == (profiled.stage >= stage).sum()
        first = np.flatnonzero(profiled.stage == stage)[0]
        row = profiled.rows[first : first + 1]
        ran = stages_run(profiled.kernels(row, graph_optimization_level=option))
        assert [count > 0 for count in ran] == [k <= stage for k in range(3)]


def test_row_has_the_same_outputs_in_any_batch(problem, members):
    """Check single rows, and no rows, against the whole batch."""
    cascade = most_confident_of(members, problem, thresholds=THRESHOLDS["max_proba"])
    rows = problem.more[:200].astype(np.float32)
    session = session_of(to_onnx(cascade, rows, verify=False))
    batch, singles = run(session, rows), [run(session, row[None]) for row in rows[:60]]
    for name in OUTPUTS:
        found = np.concatenate([single[name] for single in singles])
        np.testing.assert_allclose(found, batch[name][:60], rtol=0, atol=1e-6)
    none = run(session, rows[:0])
    assert [none[name].shape for name in OUTPUTS] == [(0,), (0, 4), (0,), (0,)]


@pytest.mark.parametrize(
    "thresholds", [[np.inf] * 3, [-np.inf] * 3, [0.8, np.inf, 0.7], [np.inf, 0.8, -np.inf]], ids=str
)
def test_most_confident_file_keeps_to_infinite_thresholds(problem, members, thresholds):
    """Check stages at which every row or no row exits: all that ran are compared."""
    cascade = most_confident_of(members, problem, thresholds=thresholds)
    rows = problem.more.astype(np.float32)
    assert_same(cascade, to_onnx(cascade, rows), rows)


def test_later_stage_wins_among_equals(problem):
    """Check forests of other votes and as many trees, whose shares are often the same."""
    forests = [
        RandomForestClassifier(10, random_state=seed).fit(problem.X, problem.y) for seed in range(3)
    ]
    stages = [(f"forest{k}", FrozenEstimator(forest)) for k, forest in enumerate(forests)]
    cascade = CascadeClassifier(stages, combine="most_confident", thresholds=0.95).fit(
        problem.X, problem.y
    )
    probas = [forest.predict_proba(problem.more) for forest in forests]
    equal = probas[0].max(axis=1) == probas[1].max(axis=1)
    assert (equal & (probas[0].argmax(axis=1) != probas[1].argmax(axis=1))).any()
    for dtype in (np.float32, np.float64):
        rows = problem.more.astype(dtype)
        assert_same(cascade, to_onnx(cascade, rows), rows)


@pytest.mark.parametrize("confidence", ["max_proba", "learned"])
def test_single_stage_is_exported(problem, members, confidence):
    """Check a cascade of one stage, which nothing is compared with."""
    cascade = most_confident_of(members, problem, ("linear",), confidence=confidence)
    rows = problem.more.astype(np.float32)
    assert_same(cascade, to_onnx(cascade, rows), rows)


def opposites(n_tied):
    """Return a cascade of two stages, and rows of which the first few tie but for rounding.

    On those the second stage is less confident by 2e-10, and predicts the opposite.
    """
    models = []
    for weights in ([[1.0, 0.0]], [[0.0, 1.0 - 1e-9]]):
        model = LogisticRegression()
        model.classes_, model.n_features_in_ = np.array([0, 1]), 2
        model.coef_, model.intercept_ = np.array(weights), np.zeros(1)
        models.append(FrozenEstimator(model))
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 2)).astype(np.float32)
    rows[:n_tied, 1] = -rows[:n_tied, 0]
    cascade = CascadeClassifier(
        list(zip("ab", models, strict=True)), combine="most_confident", thresholds=0.999
    )
    return cascade.fit(rows, rows[:, 0] > 0), rows


def test_few_ties_between_stages_are_declared():
    """Check that rows which rounding gives to the other stage are ties, and counted."""
    cascade, rows = opposites(n_tied=8)
    model = to_onnx(cascade, rows)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    report = json.loads(entries["verification_figures"])
    moved = run(model, rows)["label"] != cascade.predict(rows)
    assert report["n_ties"] == moved.sum() > 0
    assert set(np.flatnonzero(moved)) <= set(range(8))
    assert report["n_label_differences"] == 0


def test_many_ties_between_stages_are_refused():
    """Check that no file is returned where many rows depend on rounding."""
    cascade, rows = opposites(n_tied=500)
    with pytest.raises(
        OnnxMismatchError, match="the output of another stage that is equally confident"
    ):
        to_onnx(cascade, rows)


def test_nan_loses_to_any_other_output():
    """Check that an output of NaN, from a net, loses to that of any other stage."""
    ends = (
        [port("x", "float32", ["n", 2])],
        [port("probabilities", "float32", ["n", 2])],
        {"weights": np.eye(2, dtype="f4"), "low": np.float32(-1), "high": np.float32(1)},
    )
    product, softmax = (
        node("MatMul", "x weights", "z"),
        node("Softmax", "z", "probabilities", axis=1),
    )
    bounded = [node("Clip", "x low high", "y"), node("MatMul", "y weights", "z"), softmax]
    stages = [
        ("any", OnnxClassifier(build([product, softmax], *ends))),
        ("bounded", OnnxClassifier(build(bounded, *ends))),
    ]
    known = np.array([[1, 0], [0, 1]], dtype=np.float32)
    rows = np.array([[3, 0], [0, np.inf], [0, 3]], dtype=np.float32)
    for confidence in ("max_proba", "margin", "entropy"):
        cascade = CascadeClassifier(
            stages, combine="most_confident", thresholds=0.999, confidence=confidence
        ).fit(known, [0, 1])
        outputs = run(to_onnx(cascade, known, verify=False), rows)
        assert outputs["exit_stage"].tolist() == [1, 1, 1]
        bounded_alone = stages[1][1].predict_proba(rows)
        assert np.abs(outputs["probabilities"] - bounded_alone)[[0, 2]].min() > 0.1
        np.testing.assert_allclose(outputs["probabilities"][1], bounded_alone[1], atol=1e-6)
