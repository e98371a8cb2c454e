"""Tests that a file holds a learned confidence: rows are routed by it as in Python."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_cascade import (
    CascadeClassifier,
    LearnedConfidence,
    OnnxClassifier,
    register_onnx_converter,
    split_ensemble,
    to_onnx,
)
from sklearn_cascade.core._thresholds import threshold_at
from sklearn_cascade.exceptions import ConversionError, OnnxMismatchError
from tests.export.conftest import Problem, fitted_on
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
COMBINATIONS = ("mean", "last", "most_confident")
STAGES = ("nb", "linear", "forest")
# One of each table of classes: two columns, three, and one number beyond twenty classes.
THRESHOLDS = {2: [0.93, 0.9], 3: [0.85, 0.8], 25: [0.6, 0.55]}


class Own(ClassifierMixin, BaseEstimator):
    """A classifier that no converter knows."""

    def fit(self, X, y, sample_weight=None):
        """Keep the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        """Return half and half."""
        return np.full((len(X), 2), 0.5)


@pytest.fixture(scope="module", params=THRESHOLDS)
def task(request):
    """Return the number of classes, rows, and frozen members that saw other rows."""
    n_classes = request.param
    X, y = make_classification(
        4200,
        16,
        n_informative=12,
        n_classes=n_classes,
        n_clusters_per_class=1,
        class_sep=1.0 if n_classes < 25 else 2.5,
        flip_y=0.1,
        random_state=0,
    )
    train, held_out = slice(0, 500), slice(500, 1700)
    rows = Problem(X[held_out], y[held_out], y[held_out].astype(str), X[1700:])
    return n_classes, rows, fitted_on(X[train], y[train])


def learned_on(rows, members, names=STAGES, **parameters):
    """Return a cascade of frozen members whose confidence is learned."""
    stages = [(name, members[name]) for name in names]
    given = {"confidence": "learned", "costs": [1.5, 2, 7][: len(names)], "cv": 3, **parameters}
    return CascadeClassifier(stages, **given).fit(rows.X, rows.y)


@pytest.mark.parametrize(("combine", "dtype"), product(COMBINATIONS, [np.float32, np.float64]))
def test_file_routes_by_a_learned_confidence(task, combine, dtype):
    """Check labels, stages, probabilities and costs on 2,500 rows: 18 files."""
    n_classes, problem, members = task
    cascade = learned_on(
        problem, members, thresholds=THRESHOLDS[n_classes], combine=combine, weights=[1, 2.5, 2]
    )
    rows = problem.more.astype(dtype)
    assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)
    assert set(cascade.predict_details(rows).exit_stage) == {0, 1, 2}


@pytest.mark.parametrize(
    ("dtype", "atol"),
    # Measured on 10,000 rows: 5e-11 and, where a probability is within 1e-5 of one, 2e-4.
    [(np.float64, 1e-9), (np.float32, 5e-4)],
)
@pytest.mark.parametrize("combine", COMBINATIONS)
def test_confidence_in_a_file_is_python_s(task, combine, dtype, atol):
    """Check that a threshold put a little beside any row's confidence parts that row."""
    _, problem, members = task
    cascade = learned_on(problem, members, ("linear", "nb"), thresholds=0.9, combine=combine)
    rows = problem.more[:400].astype(dtype)
    model = to_onnx(cascade, rows, verify=False)
    from onnx import helper

    model.graph.output.append(helper.make_tensor_value_info("stage0/confidence", 11, [None]))
    confidence = run(model, rows)["stage0/confidence"]
    assert confidence.shape == (400,)
    for row in np.argsort(confidence)[::37]:
        for moved_by, stage in ((-atol, 0), (atol, 1)):
            boundary = confidence[row] + moved_by
            moved = cascade.with_thresholds(float(threshold_at(boundary)))
            assert moved.predict_details(rows[row : row + 1]).exit_stage == [stage]


def test_row_that_rounding_takes_across_is_a_tie():
    """Check a threshold between the confidences of Python and a file, both far from it for a tie.

    Log-odds amplify the rounding of a probability near one to float32.
    """
    from onnx import helper

    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(8, 13.5, 3000), rng.normal(size=3000)]).astype(np.float32)
    # The model predicts 1 for every row, and is right more often where it is more confident.
    y = (rng.random(3000) < 1 / (1 + np.exp(11 - X[:, 0]))).astype(int)
    first = LogisticRegression()
    first.classes_, first.n_features_in_ = np.array([0, 1]), 2
    first.coef_, first.intercept_ = np.array([[1.0, 0.0]]), np.zeros(1)
    members = {"first": FrozenEstimator(first), "nb": FrozenEstimator(GaussianNB().fit(X, y))}
    cascade = learned_on(Problem(X, y, None, X), members, ("first", "nb"), thresholds=0.5)
    model = to_onnx(cascade, X)
    model.graph.output.append(helper.make_tensor_value_info("stage0/confidence", 11, [None]))
    there = run(model, X)["stage0/confidence"]
    here = cascade.fitted_.policy.confidences[0](first.predict_proba(X), [])
    row = np.abs(there - here).argmax()
    # Rounding of a probability alone moves it by 3e-8.
    assert abs(there[row] - here[row]) > 5e-5
    cut = cascade.with_thresholds(float(threshold_at((there[row] + here[row]) / 2)))
    model = to_onnx(cut, X)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    apart = run(model, X)["exit_stage"] != cut.predict_details(X).exit_stage
    assert row in np.flatnonzero(apart)
    assert json.loads(entries["verification_figures"])["n_ties"] == apart.sum()


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_row_is_routed_the_same_in_any_batch(task, combine):
    """Check batches of 7 and of 1, reversed rows, and no rows, against the whole batch."""
    n_classes, problem, members = task
    cascade = learned_on(problem, members, thresholds=THRESHOLDS[n_classes], combine=combine)
    rows = problem.more[:210].astype(np.float32)
    session = session_of(to_onnx(cascade, rows, verify=False))
    batch = run(session, rows)
    parts = [run(session, rows[start : start + 7]) for start in range(0, 210, 7)]
    singles = [run(session, rows[row : row + 1]) for row in range(60)]
    turned = run(session, rows[::-1])
    for name in OUTPUTS:
        exactly = 0 if name != "probabilities" else ATOL / 10
        for found, wanted in (
            (np.concatenate([part[name] for part in parts]), batch[name]),
            (np.concatenate([single[name] for single in singles]), batch[name][:60]),
            (turned[name][::-1], batch[name]),
        ):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=exactly)
    none = run(session, rows[:0])
    assert [none[name].shape for name in OUTPUTS] == [(0,), (0, n_classes), (0,), (0,)]


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_no_member_runs_for_a_row_that_left(task, combine, tmp_path):
    """Check that each member runs on the rows that reach it, and on none that left before."""
    n_classes, problem, members = task
    cascade = learned_on(problem, members, thresholds=THRESHOLDS[n_classes], combine=combine)
    profiled = Profiled(cascade, problem.more.astype(np.float32), tmp_path)
    kernels = profiled.kernels(profiled.rows)
    for stage in range(3):
        shapes = [s for name, s in kernels if name.startswith(f"stage{stage}/member/")]
        assert next(iter(shapes[0][0].values()))[0] == (profiled.stage >= stage).sum()
        first = np.flatnonzero(profiled.stage == stage)[0]
        ran = stages_run(profiled.kernels(profiled.rows[first : first + 1]))
        assert [count > 0 for count in ran] == [k <= stage for k in range(3)]


@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("thresholds", [[np.inf, 0.8], [0.8, np.inf], [-np.inf, 0.8]], ids=str)
def test_learned_file_keeps_to_infinite_thresholds(problem, members, thresholds, combine):
    """Check stages at which no row or every row exits; their outputs still count later."""
    cascade = learned_on(problem, members, thresholds=thresholds, combine=combine)
    rows = problem.more.astype(np.float32)
    model = to_onnx(cascade, rows, verify=False)
    assert_same(cascade, model, rows)
    there = {name.split("/")[0] for name in names_in(model.graph) if "/member/" in name}
    # No later confidence reads the output of the second stage, and no row exits there.
    unused = {"stage1"} if combine == "last" and np.isposinf(thresholds[1]) else set()
    assert there == {"stage0", "stage1", "stage2"} - unused


def test_file_takes_whatever_the_members_are(problem, members):
    """Check a net in float32, a part of a forest and a model, weighted, with tuned thresholds."""
    forest = RandomForestClassifier(24, random_state=0).fit(problem.X[:250], problem.words[:250])
    parts = split_ensemble(forest, checkpoints=[6]).estimators
    register_onnx_converter()
    from skl2onnx import to_onnx as convert

    inner = fitted_on(problem.X[:250], problem.words[:250])["net"].estimator
    net = OnnxClassifier(
        convert(inner, problem.X[:1].astype("f4"), target_opset=18, options={"zipmap": False})
    )
    stages = [("net", net), parts[0], ("nb", GaussianNB()), parts[1]]
    cascade = CascadeClassifier(
        stages, confidence="learned", costs=[1, 2, 3, 9], weights=[4, 6, 3, 18], combine="mean"
    ).fit(problem.X, problem.words)
    for dtype in (np.float32, np.float64):
        rows = problem.more.astype(dtype)
        assert_same(cascade, to_onnx(cascade, rows), rows)


def test_confidence_that_had_nothing_to_learn_is_exported(problem):
    """Check members that are right on all rows: every row has the same confidence."""
    X = problem.X.copy()
    X[:, 0] = 10 * problem.y
    forests = [RandomForestClassifier(5, random_state=seed) for seed in range(2)]
    stages = list(zip("ab", forests, strict=True))
    for threshold, stage in ((0.9, 0), (1.0, 1)):
        cascade = CascadeClassifier(
            stages, confidence="learned", thresholds=threshold, combine="last"
        )
        cascade.fit(X[:, :1], problem.y)
        rows = X[:, :1].astype(np.float32)
        assert_same(cascade, to_onnx(cascade, rows), rows)
        assert set(cascade.predict_details(rows).exit_stage) == {stage}


CLASSIFIERS = {
    "linear": LogisticRegression(),
    "forest": RandomForestClassifier(10, max_depth=4, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=4),
    "net": MLPClassifier((6,), max_iter=60, tol=1e-2, random_state=0),
}


@pytest.mark.parametrize(
    ("kind", "combine"),
    # Histograms take their time to fit.
    [
        pair
        for pair in product(CLASSIFIERS, ["mean", "most_confident"])
        if pair != ("histograms", "most_confident")
    ],
)
def test_classifier_of_choice_is_exported(problem, members, kind, combine):
    """Check classifiers that skl2onnx converts, in files that were verified, for both types."""
    if kind == "net":
        pytest.importorskip("sklearn", minversion="1.7", reason="its nets take weights from 1.7 on")
    confidence = LearnedConfidence(CLASSIFIERS[kind])
    names = STAGES if kind != "histograms" else ("nb", "linear", "net")
    # On a busy machine the threads of histograms wait for each other for seconds.
    with threadpool_limits(1):
        cascade = learned_on(
            problem, members, names, confidence=confidence, thresholds=[0.93, 0.85], combine=combine
        )
        for dtype in (np.float32, np.float64):
            rows = problem.more[:2000].astype(dtype)
            assert_same_but_for_ties(cascade, to_onnx(cascade, rows), rows)


def assert_same_but_for_ties(cascade, model, rows):
    """Check that a file has the same outputs for all rows but the ties of its report.

    Trees are often equally confident after two stages, until rounding.
    """
    outputs, expected = run(model, rows), cascade.predict_details(rows)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    apart = outputs["exit_stage"] != expected.exit_stage
    apart |= np.abs(outputs["probabilities"] - expected.proba).max(axis=1) > ATOL
    assert apart.sum() == json.loads(entries["verification_figures"])["n_ties"] <= 0.01 * len(rows)
    for name in ("label", "exit_stage"):
        wanted = getattr(expected, name)
        np.testing.assert_array_equal(outputs[name][~apart], wanted[~apart])


def test_classifier_without_a_converter_is_refused(problem, members):
    """Check that the error names the parameter, the stage and the classifier."""
    cascade = learned_on(problem, members, confidence=LearnedConfidence(Own()), thresholds=0.8)
    wanted = (
        r"confidence=LearnedConfidence\(estimator=Own\(\)\) cannot be exported: the model fitted "
        r"after stage 0 'nb' \(Own\): .*expected a classifier that converts, or "
        r"confidence='learned'"
    )
    with pytest.raises(ConversionError, match=wanted):
        to_onnx(cascade, problem.more)


def test_classifier_that_converts_wrongly_is_refused(problem, members):
    """Check an isotonic calibration, which skl2onnx gets wrong."""
    classifier = CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=2)
    cascade = learned_on(
        problem, members, ("nb", "linear"), confidence=LearnedConfidence(classifier), thresholds=0.8
    )
    with pytest.raises(OnnxMismatchError, match=r"\(CalibratedClassifierCV\) after stage 0 'nb'"):
        to_onnx(cascade, problem.more[:300])


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_learned_cascade_in_other_estimators(problem, combine):
    """Check a pipeline with both calls, and in a vote and a cascade around."""
    stages = [("nb", GaussianNB()), ("forest", RandomForestClassifier(10, random_state=0))]
    inner = CascadeClassifier(
        stages, confidence="learned", thresholds=0.8, combine=combine, costs=[1, 9], cv=2
    )
    piped = make_pipeline(StandardScaler(), inner).fit(problem.X, problem.words)
    rows = problem.more.astype(np.float32)
    details = piped[-1].predict_details(piped[0].transform(rows))
    register_onnx_converter()
    from skl2onnx import to_onnx as convert

    for model in (to_onnx(piped, rows), convert(piped, rows[:1], target_opset=18)):
        outputs = run(model, rows)
        np.testing.assert_array_equal(outputs["label"], details.label)
        np.testing.assert_array_equal(outputs["exit_stage"], details.exit_stage)
        np.testing.assert_allclose(outputs["probabilities"], details.proba, rtol=0, atol=ATOL)
    vote = VotingClassifier([("inner", inner), ("nb", GaussianNB())], voting="soft")
    vote.fit(problem.X, problem.y)
    outputs = run(to_onnx(vote, rows), rows)
    np.testing.assert_allclose(outputs["probabilities"], vote.predict_proba(rows), atol=ATOL)
    outer = CascadeClassifier([("nb", GaussianNB()), ("inner", inner)], thresholds=0.9)
    outer.fit(problem.X, problem.y)
    assert_same(outer, to_onnx(outer, rows), rows)


def test_learned_file_keeps_to_the_opset_asked_for(problem, members):
    """Check the lowest version and the default, each on the same rows."""
    cascade = learned_on(problem, members, thresholds=[0.85, 0.8], combine="most_confident")
    rows = problem.more[:1000].astype(np.float32)
    for opset in (18, None):
        assert_same(cascade, to_onnx(cascade, rows, target_opset=opset, verify=False), rows)


def test_metadata_tell_of_a_learned_confidence(problem, members):
    """Check the names of confidence and combination in the file."""
    cascade = learned_on(problem, members, thresholds=0.8, combine="most_confident")
    entries = {e.key: e.value for e in to_onnx(cascade, problem.more).metadata_props}
    assert (entries["confidence"], entries["combine"]) == ("learned", "most_confident")
    assert entries["verification"].startswith("verified")
