"""Tests of every kind of member as first and as last stage of an exported cascade."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier, to_onnx
from tests.export.sessions import run

pytest.importorskip("onnxruntime", reason="the export needs onnxruntime")
pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

from benchmarks.onnx_members import kinds, problem

# Small members take no longer than the routing, and some get few rows here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning"),
    # skl2onnx looks at an attribute that scikit-learn is about to drop.
    pytest.mark.filterwarnings("ignore:Attribute `prob._` was deprecated:FutureWarning"),
    # Short trainings are long enough for what is compared.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
# What skl2onnx converts wrongly, or not at all, has tests of its own; boosters too.
_ELSEWHERE = {
    "KNeighbors, distance",
    "HistGradientBoosting, categorical_features",
    "Calibrated, isotonic",
    "Calibrated(Pipeline(scaler, LR))",
    "DummyClassifier",
    "a class of one's own",
    "PrefitClassifier",
    "LightGBM",
    "XGBoost",
}
KINDS = [kind for kind in kinds() if kind.name not in _ELSEWHERE]
# Sums of squares and large decisions, in float32, lose more than a sum of votes does.
_FAR = ("NB", "SGD", "Stacking", "Voting", "sigmoid", "temperature")
# Added up in float64, where operators exist in float64; trees and calibrations add in float32.
_IN_FLOAT32 = ("Tree", "Forest", "Boost", "SVC", "temperature", "net of", "KNeighbors")


@pytest.fixture(scope="module")
def data():
    """Return 250 rows to fit on, their labels, and 400 more rows."""
    X, y = problem(650)
    return X[:250], y[:250], X[250:]


def tolerance(name, dtype):
    """Return the largest difference of a probability that a kind of member may show."""
    if dtype == "float64" and not any(part in name for part in _IN_FLOAT32):
        return 1e-13
    return 1e-5 if any(part in name for part in _FAR) else 1e-6


def as_type(X, dtype):
    """Return rows with their numbers in a type."""
    if not isinstance(X, pd.DataFrame):
        return X.astype(dtype)
    return X.astype({name: dtype for name in X.columns if X[name].dtype.kind == "f"})


def clear_threshold(member, X):
    """Return a threshold in the widest gap between the confidences in the middle."""
    confidence = np.unique(member.predict_proba(X).max(axis=1))
    first = len(confidence) // 4
    middle = confidence[first : first + len(confidence) // 2 + 2]
    widest = int(np.diff(middle).argmax())
    return float(middle[widest : widest + 2].mean())


def check(members, X, atol):
    """Check two fitted members as first and last stage: the outputs of a file for X."""
    classes = members[0].classes_
    cascade = CascadeClassifier(
        [(f"member{k}", FrozenEstimator(member)) for k, member in enumerate(members)],
        thresholds=clear_threshold(members[0], X),
        combine="last",
        costs=[1, 4],
    ).fit(X, np.resize(classes, len(X)))
    outputs = run(to_onnx(cascade, X), X)
    expected = cascade.predict_details(X)
    assert set(expected.exit_stage) == {0, 1}
    np.testing.assert_array_equal(outputs["exit_stage"], expected.exit_stage)
    np.testing.assert_allclose(outputs["probabilities"], expected.proba, rtol=0, atol=atol)
    np.testing.assert_array_equal(outputs["cost"], expected.cost)
    # Even votes are for either class.
    top = np.sort(expected.proba, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * atol
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(outputs["label"][clear], expected.label[clear])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_member_has_the_same_outputs_at_both_ends(data, fitted, kind, dtype):
    """Check stages, labels and probabilities, the member fitted on other rows at each end."""
    check(fitted(kind), as_type(kind.prepare(data[2]), dtype), tolerance(kind.name, dtype))


@pytest.fixture(scope="module")
def fitted(data):
    """Return a function that fits a kind of member on either half of the rows, once."""
    X, y, _ = data
    found = {}

    def fit(kind):
        if kind.name not in found:
            rows = kind.prepare(X)
            found[kind.name] = [kind.make(rows[k::2], y[k::2], 10 + k) for k in range(2)]
        return found[kind.name]

    return fit


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "missing values"])
def test_histogram_boosting_converts(n_classes, gaps):
    """Check gradient boosting on histograms for two classes and more, with and without gaps."""
    X, y = two_or_more(n_classes)
    X = np.where(gaps & (np.abs(X) < 0.2), np.nan, X)
    members = [
        HistGradientBoostingClassifier(max_iter=5 + k, random_state=0).fit(X[k:200:2], y[k:200:2])
        for k in range(2)
    ]
    check(members, X[200:], 1e-6)


def two_or_more(n_classes, n_samples=500):
    """Return rows of eight columns, and labels in words."""
    X, y = make_classification(
        n_samples, 8, n_informative=6, n_classes=n_classes, flip_y=0.1, random_state=3
    )
    return X, np.array(["no", "yes", "maybe"])[y]


@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8),
    reason="calibration by temperature came with scikit-learn 1.8",
)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "base",
    [
        RandomForestClassifier(8, random_state=0),
        DecisionTreeClassifier(random_state=0),
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        MLPClassifier((8,), max_iter=40, random_state=0),
    ],
    ids=["forest", "tree", "linear", "pipeline", "net"],
)
def test_temperature_calibration_converts(base, n_classes):
    """Check calibration by temperature of probabilities, zeros among them, and of decisions."""
    X, y = two_or_more(n_classes)
    member = CalibratedClassifierCV(base, method="temperature", cv=2).fit(X[:200], y[:200])
    other = CalibratedClassifierCV(base, method="temperature", cv=2, ensemble=False)
    # The logarithm of a probability near zero amplifies the rounding to float32.
    check([member, other.fit(X[:200], y[:200])], X[200:], 5e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_frozen_models_convert_wherever_they_are(dtype):
    """Check frozen models within a vote, a stack, a calibration and a pipeline."""
    X, y = two_or_more(3)
    nb = FrozenEstimator(FrozenEstimator(GaussianNB().fit(X[:100], y[:100])))
    linear = FrozenEstimator(LogisticRegression().fit(X[:100], y[:100]))
    pair = [("nb", nb), ("linear", linear)]
    scaler = FrozenEstimator(StandardScaler().fit(X[:100]))
    scaled = LogisticRegression().fit(scaler.transform(X[:100]), y[:100])
    members = [
        VotingClassifier(pair, voting="soft").fit(X[:200], y[:200]),
        StackingClassifier(pair, cv="prefit").fit(X[:200], y[:200]),
        CalibratedClassifierCV(linear).fit(X[100:200], y[100:200]),
        make_pipeline(scaler, FrozenEstimator(scaled)),
    ]
    X = X[200:].astype(dtype)
    atol = 1e-5 if dtype == "float32" else 1e-13
    check(members[:2], X, atol)
    check(members[2:], X, atol)


@pytest.mark.parametrize("idle", ["passthrough", None])
def test_steps_that_do_nothing_are_left_out(idle):
    """Check a pipeline with steps switched off, as searches leave them, in and around."""
    X, y = two_or_more(3)
    members = [
        make_pipeline(idle, StandardScaler(), idle, LogisticRegression(C=0.1 + k)) for k in range(2)
    ]
    check([member.fit(X[:200], y[:200]) for member in members], X[200:], 1e-13)
    cascade = CascadeClassifier(list(zip("ab", members, strict=True)), thresholds=0.7)
    pipeline = make_pipeline(idle, cascade).fit(X[:200], y[:200])
    outputs = run(to_onnx(pipeline, X[200:]), X[200:])
    np.testing.assert_allclose(
        outputs["probabilities"], pipeline.predict_proba(X[200:]), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("weights", [None, [2, 1, 3]])
def test_voting_converts_with_members_dropped(flatten, weights):
    """Check soft votes whatever flatten_transform is, with weights and a member dropped."""
    X, y = two_or_more(3)
    members = [
        VotingClassifier(
            [("nb", GaussianNB()), ("none", "drop"), ("linear", LogisticRegression(C=0.1 + k))],
            voting="soft",
            weights=weights,
            flatten_transform=flatten,
        ).fit(X[:200], y[:200])
        for k in range(2)
    ]
    check(members, X[200:], 1e-13)
    assert members[0].flatten_transform is flatten
