"""Tests that a file routes 3,000 rows as the cascade does, whatever the rules it was given."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    OnnxClassifier,
    search_cascades,
    to_onnx,
)
from sklearn_cascade.exceptions import UnseenClassWarning
from tests.export.conftest import fitted_on
from tests.export.sessions import assert_same, run
from tests.members.graphs import linear_net

for package in ("onnx", "onnxruntime", "skl2onnx"):
    pytest.importorskip(package, reason=f"the export needs {package}")

# Small members take no longer than the routing, and few rows reach some stages.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)
STAGES = {
    2: ("linear", "forest"),
    3: ("nb", "linear", "forest"),
    4: ("nb", "linear", "net", "forest"),
}
# Typed, as users do, and so that each stage keeps some rows.
THRESHOLDS = {
    "max_proba": [0.83, 0.77, 0.7],
    "margin": [0.7, 0.6, 0.45],
    "entropy": [0.65, 0.6, 0.5],
}
WEIGHTS = {"weighted": [1.0, 2.5, 2.0, 3.0], "plain": None}


def cascade_of(members, names, y, X, **parameters):
    """Return a fitted cascade of some of the members."""
    return CascadeClassifier([(name, members[name]) for name in names], **parameters).fit(X, y)


@pytest.mark.parametrize(
    ("n_stages", "combine", "confidence", "weighting"),
    product(STAGES, ["mean", "last"], THRESHOLDS, WEIGHTS),
)
def test_file_routes_as_the_cascade(problem, members, n_stages, combine, confidence, weighting):
    """Check labels, stages, probabilities and costs on 3,000 rows: 36 files."""
    weights = WEIGHTS[weighting]
    cascade = cascade_of(
        members,
        STAGES[n_stages],
        problem.y,
        problem.X,
        thresholds=THRESHOLDS[confidence][: n_stages - 1],
        combine=combine,
        confidence=confidence,
        weights=None if weights is None else weights[:n_stages],
        costs=[1.5, 2, 7, 30][:n_stages],
    )
    rows = problem.more.astype(np.float32)
    model = to_onnx(cascade, rows, verify=False)
    assert_same(cascade, model, rows)
    assert set(cascade.predict_details(rows).exit_stage) == set(range(n_stages))


@pytest.mark.parametrize("combine", ["mean", "last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_file_of_two_classes_routes_as_the_cascade(two_sided, combine, dtype):
    """Check every confidence for two classes, where the second column decides much."""
    members = fitted_on(two_sided.X, two_sided.words)
    rows = two_sided.more.astype(dtype)
    for confidence in THRESHOLDS:
        cascade = cascade_of(
            members,
            STAGES[3],
            two_sided.words,
            two_sided.X,
            thresholds=[0.9, 0.8] if confidence == "max_proba" else [0.8, 0.6],
            combine=combine,
            confidence=confidence,
        )
        assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)
        assert set(cascade.predict_details(rows).exit_stage) == {0, 1, 2}


def test_float64_rows_are_answered_in_float64(problem, members):
    """Check that linear members and nets differ from Python's by rounding of float64 alone."""
    cascade = cascade_of(
        members,
        ("nb", "linear", "net"),
        problem.y,
        problem.X,
        thresholds=[0.83, 0.77],
        weights=[1, 2, 3],
        confidence="entropy",
    )
    model = to_onnx(cascade, problem.more, verify=False)
    # 1e-14 was measured for each member.
    assert_same(cascade, model, problem.more, atol=1e-12)
    assert run(model, problem.more[:1])["probabilities"].dtype == np.float64


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_file_keeps_to_typed_thresholds_on_a_forest(problem, members, kind, threshold):
    """Check thresholds that are shares of 40 trees, on which many rows lie exactly."""
    forest = FrozenEstimator(kind(40, random_state=0).fit(problem.X, problem.y))
    stages = [("trees", forest), ("linear", members["linear"])]
    cascade = CascadeClassifier(stages, thresholds=threshold).fit(problem.X, problem.y)
    on_the_boundary = np.isclose(forest.predict_proba(problem.more).max(axis=1), threshold)
    assert on_the_boundary.any()
    for dtype in (np.float32, np.float64):
        rows = problem.more.astype(dtype)
        assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)


SPLIT = {
    "forest": RandomForestClassifier(36, random_state=0),
    "extra": ExtraTreesClassifier(36, min_samples_leaf=3, random_state=0),
    "bagging": BaggingClassifier(
        DecisionTreeClassifier(max_depth=4), 16, max_features=0.7, random_state=0
    ),
    "vote": VotingClassifier(
        [("a", GaussianNB()), ("b", LogisticRegression()), ("c", GaussianNB(var_smoothing=0.1))],
        voting="soft",
        weights=[1, 3, 2],
    ),
}
STOPPING = {
    "probabilistic": {},
    "exact": {"stopping": "exact"},
    "tuned": {"max_disagreement": 0.05},
}


@pytest.fixture(scope="module")
def split_ensembles(problem):
    """Return ensembles fitted on words, to be split."""
    return {name: model.fit(problem.X, problem.words) for name, model in SPLIT.items()}


@pytest.mark.parametrize(
    ("kind", "stopping"),
    # The bound holds for draws at random, which the members of a vote are not.
    [pair for pair in product(SPLIT, STOPPING) if pair != ("vote", "probabilistic")],
)
def test_file_routes_as_a_split_ensemble(problem, split_ensembles, kind, stopping):
    """Check cascades of the parts of one ensemble, with tuned, probabilistic and exact stopping."""
    given = dict(STOPPING[stopping])
    if stopping == "tuned" or kind == "vote":
        given["X_tune"] = problem.more[:1500]
    cascade = CascadeClassifier.from_ensemble(split_ensembles[kind], **given)
    for dtype in (np.float32, np.float64):
        rows = problem.more[1500:].astype(dtype)
        assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)


def test_certain_file_keeps_every_label_of_the_forest(two_sided):
    """Check in float32 that rows whose margin the remaining trees could level continue."""
    forest = RandomForestClassifier(12, random_state=0).fit(two_sided.X, two_sided.words)
    cascade = CascadeClassifier.from_ensemble(forest, stopping="exact")
    rows = two_sided.more.astype(np.float32)
    model = to_onnx(cascade, rows, verify=False)
    np.testing.assert_array_equal(run(model, rows)["label"], forest.predict(rows))
    assert_same(cascade, model, rows)


@pytest.mark.parametrize("average", ["arithmetic", "geometric"])
@pytest.mark.parametrize("weights", [None, [0.5, 2, 0, 1], [0, 0, 0, 3]])
def test_file_averages_as_the_ensemble(problem, worded_members, average, weights):
    """Check both means, with members whose weight is zero."""
    ensemble = AveragingEnsemble(
        list(worded_members.items()), average=average, weights=weights, costs=[1, 2, 3, 4]
    ).fit(problem.X, problem.words)
    for dtype in (np.float32, np.float64):
        rows = problem.more.astype(dtype)
        assert_same(ensemble, to_onnx(ensemble, rows, verify=False), rows)


@pytest.mark.parametrize("average", ["arithmetic", "geometric"])
def test_file_averages_rows_that_members_rule_out(problem, average):
    """Check rows on which each class has a probability of zero from some member."""
    trees = [(f"tree{k}", DecisionTreeClassifier(max_features=2, random_state=k)) for k in range(3)]
    ensemble = AveragingEnsemble(trees, average=average, weights=[1, 2, 3])
    ensemble.fit(problem.X, problem.y)
    rows = problem.more.astype(np.float32)
    probas = [tree.predict_proba(rows) for tree in ensemble.estimators_]
    assert (np.min(probas, axis=0).max(axis=1) == 0).any()
    assert_same(ensemble, to_onnx(ensemble, rows), rows)


@pytest.mark.parametrize("combine", ["mean", "last"])
@pytest.mark.parametrize(
    "thresholds",
    [[np.inf, np.inf, 0.7], [0.8, np.inf, 0.7], [np.inf] * 3, [-np.inf] * 3, [0.8, -np.inf, 0.5]],
    ids=str,
)
def test_file_keeps_to_infinite_thresholds(problem, members, thresholds, combine):
    """Check stages at which every row or no row exits, per stage."""
    cascade = cascade_of(
        members, STAGES[4], problem.y, problem.X, thresholds=thresholds, combine=combine
    )
    rows = problem.more.astype(np.float32)
    assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)


@pytest.mark.parametrize("kind", [CascadeClassifier, AveragingEnsemble])
def test_file_leaves_out_dropped_members(problem, members, kind):
    """Check that a dropped member takes its weight and cost along."""
    listed = [(name, members[name]) for name in STAGES[4]]
    listed[1] = ("linear", "drop")
    estimator = kind(listed, weights=[1, 9, 2, 3], costs=[1, 50, 2, 3]).fit(problem.X, problem.y)
    model = to_onnx(estimator, problem.more, verify=False)
    assert_same(estimator, model, problem.more)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries["stages"] == '["nb", "net", "forest"]'


@pytest.mark.parametrize("combine", ["mean", "last"])
def test_file_aligns_the_columns_of_members(problem, combine):
    """Check members that know other classes, and one that lists them in another order."""
    few = problem.y < 3
    net = linear_net(shape=("n", 12), width=3)
    del net.graph.initializer[:]
    net.graph.initializer.append(_weights(problem.X.shape[1]))
    members = [
        ("fewer", FrozenEstimator(GaussianNB().fit(problem.X[few], problem.words[few]))),
        ("turned", OnnxClassifier(net, classes=["yes", "no", "elsewhere"])),
        ("all", LogisticRegression()),
    ]
    cascade = CascadeClassifier(members, thresholds=[0.9, 0.8], combine=combine)
    with pytest.warns(UnseenClassWarning, match="never seen"):
        cascade.fit(problem.X, problem.words)
    assert len(cascade.classes_) == 5
    for dtype in (np.float32, np.float64):
        rows = problem.more.astype(dtype)
        assert_same(cascade, to_onnx(cascade, rows, verify=False), rows)


def _weights(n_features):
    """Return weights for a linear net of three classes."""
    from onnx import numpy_helper

    values = np.random.default_rng(0).normal(size=(n_features, 3)) / 4
    return numpy_helper.from_array(values.astype(np.float32), "weights")


def test_file_of_one_stage_and_of_a_found_cascade(problem, members):
    """Check a cascade without a threshold, and one that a search over predictions found."""
    rows = problem.more.astype(np.float32)
    single = cascade_of(members, ("linear",), problem.y, problem.X)
    assert_same(single, to_onnx(single, rows), rows)
    front = search_cascades(
        [members[name].predict_proba(problem.X) for name in STAGES[3]],
        problem.y,
        costs=[1, 3, 20],
        names=STAGES[3],
    )
    found = max(front, key=lambda row: len(row.members))
    assert len(found.members) > 1
    cascade = CascadeClassifier(
        [(name, members[name]) for name in found.members],
        thresholds=list(found.thresholds),
        combine=found.combine,
    ).fit(problem.X, problem.y)
    assert_same(cascade, to_onnx(cascade, rows), rows)
