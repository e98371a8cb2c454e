"""Tests that what skl2onnx converts wrongly, without an error, is never returned."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, to_onnx
from sklearn_cascade.exceptions import ConversionError, OnnxMismatchError
from tests.export.sessions import run

pytest.importorskip("onnxruntime", reason="the export needs onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

# Small members take no longer than the routing.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning"),
]

WRONG = {
    "neighbours by distance": (
        lambda: KNeighborsClassifier(weights="distance"),
        "KNeighborsClassifier",
        "weights='uniform' is right",
    ),
    "isotonic calibration": (
        lambda: CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2),
        "CalibratedClassifierCV",
        "method='sigmoid' is right",
    ),
    "categories": (
        lambda: HistGradientBoostingClassifier(
            max_iter=8, categorical_features=[0], random_state=0
        ),
        "HistGradientBoostingClassifier",
        "encode these columns in a pipeline before it",
    ),
    "calibrated pipeline": (
        lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()), cv=2),
        "CalibratedClassifierCV",
        "put the calibration into the pipeline",
    ),
}
each_wrong = pytest.mark.parametrize("name", WRONG)


@pytest.fixture(scope="module")
def rows():
    """Return rows to fit on, the first column a category; their labels; and 300 more rows."""
    X, y = make_classification(500, 10, n_informative=6, n_classes=3, random_state=0)
    X[:, 0] = np.digitize(X[:, 0], [-1.5, 0, 1.5]) * 7 % 5
    return X[:200], y[:200], X[200:]


@pytest.fixture(scope="module")
def fitted(rows):
    """Return the members that convert wrongly, fitted once and frozen."""
    return {name: FrozenEstimator(make().fit(*rows[:2])) for name, (make, *_) in WRONG.items()}


def cascade_of(rows, *members, **parameters):
    """Return a fitted cascade."""
    named = list(zip("abc", members, strict=False))
    return CascadeClassifier(named, **{"thresholds": 0.8, **parameters}).fit(*rows[:2])


def alone(member, X):
    """Return a member's probabilities, and those of its file that fails verification."""
    ensemble = AveragingEnsemble([("member", member)]).fit(X, np.resize(member.classes_, len(X)))
    outputs = run(to_onnx(ensemble, X, verify=False), X)
    return member.predict_proba(X), outputs["probabilities"]


@each_wrong
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stage", [0, 1])
def test_wrong_conversion_is_caught(rows, fitted, name, dtype, stage):
    """Check that the error has stage, class, row, difference and a hint."""
    _, kind, hint = WRONG[name]
    X, member = rows[2].astype(dtype), fitted[name]
    ends = [member, GaussianNB()] if stage == 0 else [GaussianNB(), member]
    expected, given = alone(member, X)
    apart = np.abs(expected - given).max(axis=1)
    with pytest.raises(OnnxMismatchError, match=hint) as caught:
        to_onnx(cascade_of(rows, *ends), X)
    error, check = caught.value, caught.value.report.members[stage]
    assert (check.stage, check.name, check.kind) == (stage, "ab"[stage], kind)
    assert (check.row, check.difference) == (apart.argmax(), pytest.approx(apart.max(), rel=1e-3))
    assert check.difference > 1e-3
    assert f"stage {stage} {'ab'[stage]!r} ({kind})" in str(error)
    assert f"off by {check.difference:.3g} in row {check.row}" in str(error)
    assert f"beyond atol=0.0001 in {(apart > 1e-4).sum()} rows" in str(error)
    assert error.report.members[1 - stage].difference < 1e-5
    assert isinstance(error, ConversionError)


@each_wrong
def test_member_that_no_row_reaches_is_caught(rows, fitted, name):
    """Check that a wrong member is found where every row left before it."""
    cascade = cascade_of(rows, GaussianNB(), fitted[name], thresholds=-np.inf)
    with pytest.raises(OnnxMismatchError, match="stage 1 'b'") as caught:
        to_onnx(cascade, rows[2])
    assert caught.value.report.members[1].n_reached == 0
    assert caught.value.report.difference < 1e-5


@each_wrong
def test_wrong_member_is_caught_within_others(rows, fitted, name):
    """Check that the hint is given where the member is in an ensemble, or in a vote."""
    hint = WRONG[name][2]
    ensemble = AveragingEnsemble([("a", GaussianNB()), ("b", fitted[name])]).fit(*rows[:2])
    with pytest.raises(OnnxMismatchError, match=hint):
        to_onnx(ensemble, rows[2])
    cascade = FrozenEstimator(cascade_of(rows, GaussianNB(), fitted[name]))
    vote = VotingClassifier([("cascade", cascade), ("nb", GaussianNB())], voting="soft")
    with pytest.raises(OnnxMismatchError, match=hint):
        to_onnx(vote.fit(*rows[:2]), rows[2])


def test_all_wrong_members_are_listed(rows, fitted):
    """Check that the error lists each of two wrong members."""
    cascade = cascade_of(rows, fitted["categories"], fitted["isotonic calibration"])
    with pytest.raises(OnnxMismatchError) as caught:
        to_onnx(cascade, rows[2])
    assert "stage 0 'a' (Hist" in caught.value.problems[0]
    assert "stage 1 'b' (Calibrated" in caught.value.problems[1]


def test_the_hints_are_right(rows):
    """Check that what the errors propose is exported."""
    X, y, more = rows
    members = [
        KNeighborsClassifier(weights="uniform"),
        CalibratedClassifierCV(RandomForestClassifier(8, random_state=0), cv=2),
        make_pipeline(StandardScaler(), CalibratedClassifierCV(LogisticRegression(), cv=2)),
    ]
    cascade = CascadeClassifier(list(zip("abc", members, strict=True)), thresholds=0.83).fit(X, y)
    model = to_onnx(cascade, more)
    stage = run(model, more)["exit_stage"]
    np.testing.assert_array_equal(stage, cascade.predict_details(more).exit_stage)


def test_unseen_error_is_found_with_a_wider_tolerance(rows, fitted):
    """Check that atol decides: the same member passes where its difference is allowed for."""
    member = fitted["isotonic calibration"]
    cascade = cascade_of(rows, GaussianNB(), member)
    with pytest.raises(OnnxMismatchError) as caught:
        to_onnx(cascade, rows[2])
    off = caught.value.report.members[1].difference
    to_onnx(cascade, rows[2], atol=1.1 * off)
    with pytest.raises(OnnxMismatchError, match="stage 1"):
        to_onnx(cascade, rows[2], atol=0.9 * off)


class Sharper(LogisticRegression):
    """A model whose probabilities differ from those of the class whose converter it has."""

    def predict_proba(self, X):
        """Return the square of the shares, normalised."""
        shares = super().predict_proba(X) ** 2
        return shares / shares.sum(axis=1, keepdims=True)


class Rarely(LogisticRegression):
    """A model that differs from its converter in some rows only."""

    def predict_proba(self, X):
        """Return equal shares where the first column holds a number of its own."""
        shares = super().predict_proba(X)
        shares[X[:, 0] == 77.0] = 1 / shares.shape[1]
        return shares


@pytest.fixture
def registered():
    """Register the converter of logistic regression for its subclasses."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    from skl2onnx.operator_converters.linear_classifier import convert_sklearn_linear_classifier

    options = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    for kind in (Sharper, Rarely):
        skl2onnx.update_registered_converter(
            kind,
            f"Test{kind.__name__}",
            calculate_linear_classifier_output_shapes,
            convert_sklearn_linear_classifier,
            options={**options, "output_class_labels": [False, True], "raw_scores": [True, False]},
        )


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("stage", [0, 1])
def test_wrong_converter_is_caught(rows, stage):
    """Check that a class with the wrong converter is found, without being known as wrong."""
    ends = [Sharper(), GaussianNB()] if stage == 0 else [GaussianNB(), Sharper()]
    with pytest.raises(OnnxMismatchError, match=rf"stage {stage} '.' \(Sharper\)") as caught:
        to_onnx(cascade_of(rows, *ends), rows[2])
    assert len(caught.value.problems) >= 1


@pytest.mark.usefixtures("registered")
def test_single_wrong_row_is_caught(rows):
    """Check that one row of three hundred is enough, and is named."""
    X = rows[2].copy()
    cascade = cascade_of(rows, GaussianNB(), Rarely())
    to_onnx(cascade, X)
    X[123, 0] = 77.0
    with pytest.raises(OnnxMismatchError, match=r"in row 123, and beyond atol=0.0001 in 1 rows"):
        to_onnx(cascade, X)
