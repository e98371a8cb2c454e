"""Tests that a file skips work: what runs for whom, seen from the runtime's own profile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from sklearn_cascade import CascadeClassifier, OnnxClassifier, to_onnx
from sklearn_cascade.exceptions import UnconvertibleMemberError
from tests.export.sessions import (
    ATOL,
    OUTPUTS,
    Profiled,
    assert_same,
    names_in,
    run,
    session_of,
    stages_run,
)

for package in ("onnx", "onnxruntime", "skl2onnx"):
    pytest.importorskip(package, reason=f"the export needs {package}")

# Small members take no longer than the routing, and few rows reach some stages.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)
STAGES = ("linear", "net", "forest")


@pytest.fixture(scope="module")
def profiled(problem, members, tmp_path_factory):
    """Return a cascade of a linear model, a net and a forest, on float32 rows."""
    stages = [(name, members[name]) for name in STAGES]
    cascade = CascadeClassifier(stages, thresholds=[0.83, 0.77], costs=[1, 2, 9])
    cascade.fit(problem.X, problem.y)
    rows = problem.more.astype(np.float32)
    return Profiled(cascade, rows, tmp_path_factory.mktemp("profiles"))


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_no_member_runs_for_a_row_that_does_not_reach_it(profiled, level):
    """Check that of the stages after the one at which a row leaves, not one node runs."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs an exported file")
    option = getattr(onnxruntime.GraphOptimizationLevel, level)
    total = []
    for stage in range(3):
        first = np.flatnonzero(profiled.stage == stage)[0]
        row = profiled.rows[first : first + 1]
        kernels = profiled.kernels(row, graph_optimization_level=option)
        ran = stages_run(kernels)
        assert [count > 0 for count in ran] == [k <= stage for k in range(3)]
        later = tuple(f"stage{k}/" for k in range(stage + 1, 3))
        assert not any(name.startswith(later) for name, _ in kernels if later)
        total.append(len(kernels))
    assert total == sorted(total)
    assert len(set(total)) == 3


def test_each_member_runs_once_on_the_rows_that_reach_it(profiled):
    """Check on a batch that members see neither rows that left nor a row twice."""
    kernels = profiled.kernels(profiled.rows)
    for stage in range(3):
        shapes = [s for name, s in kernels if name.startswith(f"stage{stage}/member/")]
        n_rows = next(iter(shapes[0][0].values()))[0]
        assert n_rows == (profiled.stage >= stage).sum()
    forests = [name for name, _ in kernels if name == "stage2/member/TreeEnsembleClassifier"]
    assert len(forests) == 1


def test_batch_of_easy_rows_runs_no_later_member(profiled):
    """Check a batch in which nobody goes on, and one in which a single row does."""
    easy = profiled.rows[profiled.stage == 0]
    assert stages_run(profiled.kernels(easy))[1:] == [0, 0]
    hard = profiled.rows[profiled.stage == 2][:1]
    kernels = profiled.kernels(np.concatenate([easy, hard]))
    (shapes,) = [s for name, s in kernels if name == "stage2/member/TreeEnsembleClassifier"]
    assert next(iter(shapes[0].values())) == [1, profiled.rows.shape[1]]


def test_row_has_the_same_outputs_in_any_batch(profiled):
    """Check batches of 7 and of 1, reversed rows, and no rows, against the whole batch."""
    session = session_of(profiled.model)
    batch = run(session, profiled.rows)
    parts = [run(session, profiled.rows[start : start + 7]) for start in range(0, 210, 7)]
    singles = [run(session, profiled.rows[row : row + 1]) for row in range(100)]
    turned = run(session, profiled.rows[::-1])
    for name in OUTPUTS:
        exactly = 0 if name != "probabilities" else ATOL / 10
        for found, wanted in (
            (np.concatenate([part[name] for part in parts]), batch[name][:210]),
            (np.concatenate([single[name] for single in singles]), batch[name][:100]),
            (turned[name][::-1], batch[name]),
        ):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=exactly)
    none = run(session, profiled.rows[:0])
    assert [none[name].shape for name in OUTPUTS] == [(0,), (0, 4), (0,), (0,)]
    assert [none[name].dtype for name in OUTPUTS] == [batch[name].dtype for name in OUTPUTS]


@pytest.mark.parametrize("combine", ["mean", "last"])
def test_member_that_no_output_depends_on_is_left_out(problem, members, combine):
    """Check that 'last' drops a member before an infinite threshold, and bills it all the same."""
    stages = [(name, members[name]) for name in STAGES]
    cascade = CascadeClassifier(
        stages, thresholds=[np.inf, 0.7], combine=combine, costs=[1, 2, 9]
    ).fit(problem.X, problem.y)
    model = to_onnx(cascade, problem.more, verify=False)
    there = {name.split("/")[0] for name in names_in(model.graph) if "/member/" in name}
    assert there == {"stage1", "stage2"} | ({"stage0"} if combine == "mean" else set())
    assert_same(cascade, model, problem.more)
    assert run(model, problem.more)["cost"].min() == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_values_are_routed_as_in_python(problem, dtype):
    """Check rows with NaN where all members take them, and rows of nothing else."""
    holes = np.random.default_rng(0)
    X, more = (np.where(holes.random(X.shape) < 0.15, np.nan, X) for X in (problem.X, problem.more))
    more[:3] = np.nan
    members = [
        ("boosting", HistGradientBoostingClassifier(max_iter=5, random_state=0)),
        ("linear", make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500))),
        ("forest", make_pipeline(SimpleImputer(), RandomForestClassifier(15, random_state=0))),
    ]
    cascade = CascadeClassifier(members, thresholds=[0.5, 0.6])
    # On a busy machine its threads wait for each other for seconds.
    with threadpool_limits(1):
        cascade.fit(X.astype(dtype), problem.words)
    assert len(np.unique(cascade.predict_details(more.astype(dtype)).exit_stage)) == 3
    assert_same(cascade, to_onnx(cascade, more.astype(dtype)), more.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trees_that_split_on_missing_values_are_refused(problem, dtype):
    """Check an error for trees whose splits skl2onnx gets wrong, or never ends with."""
    X = problem.X.copy()
    X[problem.y == 0, 0] = np.nan
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, problem.y)
    if np.isfinite(tree.tree_.threshold).all():
        pytest.skip("this scikit-learn parts missing values from the others in another way")
    cascade = CascadeClassifier([("a", tree), ("b", tree)], thresholds=0.8).fit(X, problem.y)
    with pytest.raises(UnconvertibleMemberError, match="SimpleImputer") as caught:
        to_onnx(cascade, X.astype(dtype))
    assert (caught.value.member, caught.value.stage) == ("a", 0)


def test_file_as_a_member_outputs_stage_and_cost(profiled, problem, members):
    """Check `outputs` of a file taken back, and a cascade around it in a file of its own."""
    inner = OnnxClassifier(profiled.model, cost=4.0)
    outputs, details = inner.outputs(profiled.rows), profiled.cascade.predict_details(profiled.rows)
    np.testing.assert_array_equal(outputs["exit_stage"], details.exit_stage)
    np.testing.assert_allclose(outputs["cost"], details.cost, atol=1e-6)
    np.testing.assert_array_equal(inner.classes_, profiled.cascade.classes_)
    stages = [("nb", members["nb"]), ("file", inner), ("forest", members["forest"])]
    outer = CascadeClassifier(
        stages, thresholds=[0.8, 0.7], costs={"nb": 1, "forest": 20}, combine="last"
    ).fit(problem.X, problem.y)
    model = to_onnx(outer, profiled.rows)
    assert_same(outer, model, profiled.rows)
    again = OnnxClassifier(model).outputs(profiled.rows, ["exit_stage", "cost"])
    assert set(again) == {"exit_stage", "cost"}
    assert set(again["cost"]) == {1.0, 5.0, 25.0}


@pytest.fixture(scope="module")
def small_members(problem, members):
    """Return three frozen members that convert at once."""
    trees = [DecisionTreeClassifier(max_depth=depth, random_state=0) for depth in (2, 5)]
    fitted = [FrozenEstimator(tree.fit(problem.X, problem.y)) for tree in trees]
    return [("shallow", fitted[0]), ("linear", members["linear"]), ("deep", fitted[1])]


THRESHOLD = st.floats(0, 1) | st.sampled_from([-np.inf, np.inf, 0.5, 1.0])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    thresholds=st.tuples(THRESHOLD, THRESHOLD),
    weights=st.tuples(*[st.floats(0.01, 100)] * 3),
    combine=st.sampled_from(["mean", "last"]),
    confidence=st.sampled_from(["max_proba", "margin", "entropy"]),
)
def test_file_routes_whatever_the_parameters(
    problem, small_members, thresholds, weights, combine, confidence
):
    """Check thresholds and weights at random; float64 rows, so that rounding moves no row."""
    cascade = CascadeClassifier(
        small_members,
        thresholds=list(thresholds),
        weights=list(weights),
        combine=combine,
        confidence=confidence,
        costs=[1, 2, 3],
    ).fit(problem.X, problem.y)
    rows = problem.more[:300]
    assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)
