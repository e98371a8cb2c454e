"""Tests of the exported file: one graph with the outputs of the cascade, and skips work."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    CascadeSearchCV,
    OnnxClassifier,
    PrefitClassifier,
    register_onnx_converter,
    to_onnx,
)
from sklearn_cascade.exceptions import (
    ConversionError,
    FewSamplesWarning,
    NoGainWarning,
    OnnxMismatchError,
    UnconvertibleMemberError,
)

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="the export needs onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

# Small members take no longer than the routing.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)
OUTPUTS = ["label", "probabilities", "exit_stage", "cost"]


@pytest.fixture(scope="module")
def rows():
    """Return rows to fit on, their labels, and 600 more rows."""
    X, y = make_classification(
        1000, 10, n_informative=6, n_classes=3, class_sep=1.5, random_state=0
    )
    return X[:400], y[:400], X[400:]


def three_stages(**parameters):
    """Return an unfitted cascade of members that convert."""
    return CascadeClassifier(
        [
            ("nb", GaussianNB()),
            ("linear", make_pipeline(StandardScaler(), LogisticRegression())),
            ("forest", RandomForestClassifier(20, random_state=0)),
        ],
        **{"thresholds": [0.83, 0.77], "costs": [1, 2, 9], **parameters},
    )


def run(model, X):
    """Return the outputs of a file for a matrix, by name."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: X}), strict=True))


def metadata_of(model):
    """Return the metadata of a file."""
    return {entry.key: entry.value for entry in model.metadata_props}


def assert_same(estimator, model, X):
    """Check that a file has the outputs of the estimator, up to rounding to float32."""
    outputs, expected = run(model, X), estimator.predict_details(X)
    assert list(outputs) == OUTPUTS
    np.testing.assert_array_equal(outputs["label"], expected.label)
    np.testing.assert_array_equal(outputs["exit_stage"], expected.exit_stage)
    np.testing.assert_allclose(outputs["probabilities"], expected.proba, atol=2e-5)
    np.testing.assert_allclose(outputs["cost"], expected.cost, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("combine", ["mean", "last"])
@pytest.mark.parametrize("confidence", ["max_proba", "margin", "entropy"])
def test_file_has_the_outputs_of_the_cascade(rows, dtype, combine, confidence):
    """Check labels, stages, probabilities and costs for each rule, in both precisions."""
    X, y, more = rows
    cascade = three_stages(combine=combine, confidence=confidence, weights=[1, 2, 3])
    cascade.fit(X.astype(dtype), y)
    model = to_onnx(cascade, more.astype(dtype))
    onnx.checker.check_model(model, full_check=True)
    assert_same(cascade, model, more.astype(dtype))
    assert run(model, more.astype(dtype))["probabilities"].dtype == dtype


@pytest.mark.parametrize("average", ["arithmetic", "geometric"])
def test_file_has_the_outputs_of_the_ensemble(rows, average):
    """Check both means of an ensemble."""
    X, y, more = rows
    ensemble = AveragingEnsemble(
        [("nb", GaussianNB()), ("linear", LogisticRegression())], average=average, weights=[2, 1]
    ).fit(X, y)
    assert_same(ensemble, to_onnx(ensemble, more), more)


@pytest.mark.parametrize("thresholds", [[np.inf, 0.77], np.inf, -np.inf])
@pytest.mark.parametrize("combine", ["mean", "last"])
def test_file_keeps_to_infinite_thresholds(rows, thresholds, combine):
    """Check stages at which every row or no row exits."""
    X, y, more = rows
    cascade = three_stages(thresholds=thresholds, combine=combine).fit(X, y)
    assert_same(cascade, to_onnx(cascade, more), more)


@pytest.mark.parametrize("labels", [["no", "maybe", "yes"], [-3, 7, 100]])
def test_file_keeps_the_labels(rows, labels):
    """Check text and gapped numbers as labels, there and in the metadata."""
    X, y, more = rows
    cascade = three_stages().fit(X, np.array(labels)[y])
    model = to_onnx(cascade, more)
    assert_same(cascade, model, more)
    assert OnnxClassifier(model).classes_.tolist() == cascade.classes_.tolist()


def test_file_takes_one_row_and_none(rows):
    """Check batches of one row and of none."""
    X, y, more = rows
    model = to_onnx(three_stages().fit(X, y), more)
    assert [len(output) for output in run(model, more[:1]).values()] == [1] * 4
    shapes = [output.shape for output in run(model, more[:0]).values()]
    assert shapes == [(0,), (0, 3), (0,), (0,)]


def test_file_runs_no_member_that_a_row_does_not_reach(rows, tmp_path):
    """Check with the profiler that the forest runs for no row that left before it."""
    X, y, more = rows
    cascade = three_stages().fit(X, y)
    model, stages = to_onnx(cascade, more), cascade.predict_details(more).exit_stage
    forests = []
    for stage in range(3):
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / f"stage{stage}")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        row = int(np.flatnonzero(stages == stage)[0])
        session.run(None, {"X": more[row : row + 1]})
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        kernels = collections.Counter(
            event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time")
        )
        forests.append(kernels["TreeEnsembleClassifier"])
    assert forests == [0, 0, 1]


def test_to_onnx_exports_a_pipeline_with_a_search_in_it(rows):
    """Check that all four outputs survive where the best cascade ends a pipeline."""
    X, y, more = rows
    search = CascadeSearchCV(
        [("nb", GaussianNB()), ("linear", LogisticRegression())], costs=[1, 3], cv=2
    )
    pipeline = make_pipeline(StandardScaler(), search).fit(X, y)
    outputs = run(to_onnx(pipeline, more), more)
    assert list(outputs) == OUTPUTS
    np.testing.assert_array_equal(outputs["label"], pipeline.predict(more))


def test_to_onnx_exports_meta_estimators(rows):
    """Check voting and calibration around a frozen cascade."""
    X, y, more = rows
    cascade = FrozenEstimator(three_stages().fit(X, y))
    for outer in (
        VotingClassifier([("cascade", cascade), ("nb", GaussianNB())], voting="soft"),
        CalibratedClassifierCV(cascade),
    ):
        outer.fit(X, y)
        outputs = run(to_onnx(outer, more), more)
        np.testing.assert_allclose(outputs["probabilities"], outer.predict_proba(more), atol=1e-5)


def test_to_onnx_exports_a_split_forest(rows):
    """Check a cascade of the parts of one forest, with the vote margin as confidence."""
    X, y, more = rows
    forest = RandomForestClassifier(60, random_state=0).fit(X, y)
    cascade = CascadeClassifier.from_ensemble(forest, max_disagreement=0.05, X_tune=more)
    assert_same(cascade, to_onnx(cascade, more), more)


def test_plain_skl2onnx_converts_once_registered(rows):
    """Check that skl2onnx's own call converts a cascade, and other models as before."""
    X, y, more = rows
    register_onnx_converter()
    cascade = three_stages().fit(X, y)
    model = skl2onnx.to_onnx(cascade, X[:1], target_opset=18, options={"zipmap": False})
    assert_same(cascade, model, more)
    plain = skl2onnx.to_onnx(LogisticRegression().fit(X, y), X[:1].astype(np.float32))
    assert [output.name for output in plain.graph.output] == ["output_label", "output_probability"]


def test_exported_file_comes_back_as_a_member(rows):
    """Check a file within a cascade that is exported in turn, without skl2onnx."""
    X, y, more = rows
    inner = OnnxClassifier(to_onnx(three_stages().fit(X, y), more))
    cascade = CascadeClassifier([("one", inner), ("two", inner)], thresholds=0.9).fit(X, y)
    assert_same(cascade, to_onnx(cascade, more), more)


def test_metadata_hold_routing_and_verification(rows):
    """Check the entries of the file, the user's own among them."""
    X, y, more = rows
    cascade = three_stages(cost_unit="ms").fit(X, y)
    entries = metadata_of(to_onnx(cascade, more, metadata={"owner": "me"}))
    assert json.loads(entries["thresholds"]) == [0.83, 0.77]
    assert json.loads(entries["stages"]) == ["nb", "linear", "forest"]
    assert json.loads(entries["costs"]) == [1, 2, 9]
    assert (entries["cost_unit"], entries["combine"], entries["owner"]) == ("ms", "mean", "me")
    assert entries["verification"].startswith("verified on 600 rows")
    unverified = metadata_of(to_onnx(cascade, more, verify=False))
    assert unverified["verification"] == "unverified"


def test_wrong_conversion_is_not_returned(rows):
    """Check that a member that skl2onnx converts wrongly is an error with a hint."""
    X, y, more = rows
    cascade = CascadeClassifier(
        [("nb", GaussianNB()), ("near", KNeighborsClassifier(weights="distance"))], thresholds=0.9
    ).fit(X, y)
    with pytest.raises(OnnxMismatchError, match="weights='uniform' is right") as caught:
        to_onnx(cascade, more)
    assert caught.value.report.members[1].difference > 1e-3
    assert caught.value.report.n_stage_differences == 0


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (DummyClassifier(strategy="prior"), "stage 1 'last'.*no converter"),
        (PrefitClassifier(lambda X: np.eye(3)[np.zeros(len(X), int)], [0, 1, 2]), "function"),
    ],
    ids=["dummy", "function"],
)
def test_member_without_a_graph_is_named(rows, member, message):
    """Check the error of a member that cannot be converted."""
    X, y, more = rows
    cascade = CascadeClassifier([("nb", GaussianNB()), ("last", member)], thresholds=0.9)
    cascade.fit(X, y)
    with pytest.raises(UnconvertibleMemberError, match=message) as caught:
        to_onnx(cascade, more)
    assert (caught.value.member, caught.value.stage) == ("last", 1)


def test_own_confidence_is_refused(rows):
    """Check that a function as confidence is refused by name."""
    X, y, more = rows
    cascade = three_stages(confidence=lambda proba: proba.max(axis=1)).fit(X, y)
    with pytest.raises(ConversionError, match="is a function, which an ONNX file cannot hold"):
        to_onnx(cascade, more)


@pytest.mark.filterwarnings("default::sklearn_cascade.exceptions.NoGainWarning")
@pytest.mark.filterwarnings("default::sklearn_cascade.exceptions.FewSamplesWarning")
def test_to_onnx_warns_of_little_to_see_and_to_gain(rows):
    """Check the warnings for rows that hardly reach a stage, and for members not worth guarding."""
    X, y, more = rows
    cascade = CascadeClassifier([("a", GaussianNB()), ("b", GaussianNB())], thresholds=-np.inf)
    cascade.fit(X, y)
    with (
        pytest.warns(FewSamplesWarning, match="'b': 0"),
        pytest.warns(NoGainWarning, match="not pay"),
    ):
        to_onnx(cascade, more)
