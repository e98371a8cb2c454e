"""Tests that a file is one that others read: checker, reference, versions, sizes, sessions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, OnnxClassifier, to_onnx
from tests.export.sessions import ATOL, OUTPUTS, assert_same, run, session_of
from tests.members.graphs import linear_net

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="the export needs onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

# Small members take no longer than the routing, and few rows reach some stages.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)


@pytest.fixture(scope="module")
def cascade(problem, worded_members):
    """Return a cascade of four stages whose labels are text."""
    stages = list(worded_members.items())
    cascade = CascadeClassifier(stages, thresholds=[0.9, 0.83, 0.72], costs=[1, 2, 9, 30])
    return cascade.fit(problem.X, problem.words)


@pytest.fixture(scope="module")
def rows(problem):
    """Return 3,000 rows of float32."""
    return problem.more.astype(np.float32)


@pytest.fixture(scope="module")
def file(cascade, rows):
    """Return the file of the cascade, for float32."""
    return to_onnx(cascade, rows)


@pytest.mark.parametrize(
    ("dtype", "combine", "confidence"),
    [
        *product([np.float32, np.float64], ["mean", "last"], ["max_proba", "margin", "entropy"]),
        *product([np.float32, np.float64], ["mean", "last", "most_confident"], ["learned"]),
        *product([np.float32, np.float64], ["most_confident"], ["max_proba", "margin", "entropy"]),
    ],
)
def test_file_passes_the_full_check_and_the_reference(
    problem, worded_members, dtype, combine, confidence
):
    """Check onnx's checker with shape inference, and its own evaluator, which is no runtime."""
    reference = pytest.importorskip("onnx.reference", reason="onnx 1.13 brings the evaluator")
    thresholds = {"margin": [0.7, 0.6], "entropy": [0.65, 0.6]}.get(confidence, [0.83, 0.77])
    cascade = CascadeClassifier(
        [(name, worded_members[name]) for name in ("nb", "linear", "forest")],
        thresholds=thresholds,
        combine=combine,
        confidence=confidence,
        weights=[1, 2, 3],
    ).fit(problem.X, problem.words)
    # The evaluator walks trees row by row.
    rows = problem.more[:60].astype(dtype)
    model = to_onnx(cascade, rows, verify=False)
    onnx.checker.check_model(model, full_check=True)
    found = reference.ReferenceEvaluator(model).run(None, {"X": rows})
    outputs = dict(zip(OUTPUTS, found, strict=True))
    expected = cascade.predict_details(rows)
    np.testing.assert_array_equal(outputs["label"], expected.label)
    np.testing.assert_array_equal(outputs["exit_stage"], expected.exit_stage)
    np.testing.assert_allclose(outputs["probabilities"], expected.proba, rtol=0, atol=ATOL)
    assert len(np.unique(expected.exit_stage)) == 3


@pytest.mark.parametrize("average", ["arithmetic", "geometric"])
def test_file_of_an_ensemble_passes_them_too(problem, members, average):
    """Check the same for the means of an ensemble."""
    reference = pytest.importorskip("onnx.reference", reason="onnx 1.13 brings the evaluator")
    ensemble = AveragingEnsemble(list(members.items()), average=average).fit(problem.X, problem.y)
    rows = problem.more[:60]
    model = to_onnx(ensemble, rows, verify=False)
    onnx.checker.check_model(model, full_check=True)
    # NumPy warns of the logarithm of zero, which the geometric mean takes on purpose.
    with np.errstate(divide="ignore", invalid="ignore"):
        label, proba, *_ = reference.ReferenceEvaluator(model).run(None, {"X": rows})
    np.testing.assert_array_equal(label, ensemble.predict(rows))
    np.testing.assert_allclose(proba, ensemble.predict_proba(rows), rtol=0, atol=ATOL)


def imports_of(model):
    """Return the version that a model imports of each domain, each domain once."""
    pairs = [(entry.domain, entry.version) for entry in model.opset_import]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_file_keeps_to_the_opset_asked_for(cascade, rows, file):
    """Check every version from the lowest to the default, and that none above it is imported."""
    newest = imports_of(file)[""]
    assert newest <= skl2onnx.proto.get_latest_tested_opset_version()
    for opset in range(18, newest + 1):
        model = to_onnx(cascade, rows[:200], target_opset=opset, verify=False)
        imported = imports_of(model)
        # skl2onnx itself imports no more than its operators need.
        assert 18 <= imported[""] <= opset
        assert imported["ai.onnx.ml"] <= 3
        assert_same(cascade, model, rows[:500])
    by_domain = to_onnx(cascade, rows[:200], target_opset={"": 18, "ai.onnx.ml": 1}, verify=False)
    assert imports_of(by_domain) == {"": 18, "ai.onnx.ml": 1}
    assert_same(cascade, by_domain, rows[:500])


def test_nets_newer_than_skl2onnx_stand_beside_its_members(problem, members, rows):
    """Check a net of a version that skl2onnx refuses, alone and after a linear model."""
    newer = skl2onnx.proto.get_latest_tested_opset_version() + 1
    net = linear_net(shape=("n", 12))
    weights = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32) / 4
    net.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weights"))
    net.opset_import[0].version = newer
    try:
        session_of(net)
    except Exception:
        pytest.skip(f"this onnxruntime has no opset {newer}")
    member = OnnxClassifier(net, classes=[0, 1, 2])
    for first in (member, members["linear"]):
        cascade = CascadeClassifier([("a", first), ("b", member)], thresholds=0.8)
        cascade.fit(problem.X, np.minimum(problem.y, 2) if first is member else problem.y)
        model = to_onnx(cascade, rows)
        assert imports_of(model)[""] == newer
        assert_same(cascade, model, rows)


def test_file_with_five_hundred_trees_loads_and_agrees(problem, worded_members, rows):
    """Check a forest of megabytes, on whose unanimous rows a threshold of one lies exactly."""
    forest = RandomForestClassifier(500, max_features=8, random_state=0)
    stages = [
        ("linear", worded_members["linear"]),
        ("forest", FrozenEstimator(forest.fit(problem.X, problem.words))),
        ("net", worded_members["net"]),
    ]
    cascade = CascadeClassifier(stages, thresholds=[0.999, 1.0], combine="last")
    cascade.fit(problem.X, problem.words)
    model = to_onnx(cascade, rows[:200])
    assert model.ByteSize() > 1e6
    assert (cascade.predict_details(rows).exit_stage == 1).any()
    # Summed as shares in float32, 500 trees miss one by 5e-6, and the tie tolerance is 1e-6 there.
    assert_same(cascade, model, rows)


def external_tensors(graph):
    """Yield the names of the constants that lie outside, those of branches included."""
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor.name
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from external_tensors(attribute.g)


def test_file_with_external_data_loads_and_agrees(cascade, rows, file, tmp_path):
    """Check constants in a file beside it, those of the branches too."""
    copied = onnx.ModelProto()
    copied.CopyFrom(file)
    path = tmp_path / "cascade.onnx"
    onnx.save_model(
        copied, path, save_as_external_data=True, location="cascade.data", size_threshold=64
    )
    outside = list(external_tensors(onnx.load(path, load_external_data=False).graph))
    assert any(name.startswith("stage2/member/") for name in outside)
    assert (tmp_path / "cascade.data").stat().st_size > 0
    assert_same(cascade, path, rows)
    assert_same(cascade, onnx.load(path), rows)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"])
def test_session_options_change_no_output(cascade, rows, file, level, n_threads):
    """Check each level of optimisation, with one and with two threads."""
    session = session_of(
        file,
        graph_optimization_level=getattr(onnxruntime.GraphOptimizationLevel, level),
        intra_op_num_threads=n_threads,
    )
    assert_same(cascade, session, rows)


def test_concurrent_calls_of_one_session_agree(rows, file):
    """Check sixteen calls at a time, each with rows of its own."""
    session = session_of(file)
    batches = [rows[start::16] for start in range(16)]
    alone = [run(session, batch) for batch in batches]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(run, [session] * 16, batches))
    for wanted, found in zip(alone, together, strict=True):
        for name in OUTPUTS:
            np.testing.assert_array_equal(found[name], wanted[name])


def test_file_survives_saving_and_the_runtime_alone(cascade, rows, file, tmp_path):
    """Check a file on disk, and that making it twice gives the same bytes but for timings."""
    path = tmp_path / "cascade.onnx"
    onnx.save_model(file, path)
    assert_same(cascade, path, rows)
    again = to_onnx(cascade, rows)
    assert again.graph == file.graph
    assert [port.name for port in file.graph.input] == ["X"]
