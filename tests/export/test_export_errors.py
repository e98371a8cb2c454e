"""Tests of what cannot be exported: each is refused with a message that a user can act on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    CascadeSearchCV,
    OnnxClassifier,
    PrefitClassifier,
    to_onnx,
)
from sklearn_cascade.core._confidence import CONFIDENCES
from sklearn_cascade.exceptions import (
    ConversionError,
    InvalidProbabilitiesError,
    MemberFailedError,
    UnconvertibleMemberError,
)

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

from tests.members.graphs import build, linear_net, node, port  # noqa: E402

# Small members take no longer than the routing.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning"),
]
rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4)).astype("f4")
y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "d"])


def cascade(*members, labels=y, rows=X, **parameters):
    """Return a fitted cascade; by default one that can be exported."""
    members = members or (GaussianNB(), LogisticRegression())
    named = list(zip(["first", "second"], members, strict=False))
    return CascadeClassifier(named, **{"thresholds": 0.7, **parameters}).fit(rows, labels)


def by_name(*columns):
    """Return a model that picks its columns by name."""
    return make_pipeline(
        make_column_transformer((StandardScaler(), list(columns))), LogisticRegression()
    )


def net(**parameters):
    """Return a net for rows of four."""
    return OnnxClassifier(linear_net(**parameters))


class Own(ClassifierMixin, BaseEstimator):
    """A class that no converter knows."""

    def fit(self, X, y):
        """Keep the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        """Return the same for each row."""
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


class Rooted(LogisticRegression):
    """A model whose converter, given below, writes what no runtime loads."""


class Broken(LogisticRegression):
    """A model whose converter, given below, fails."""


def only_the_first_row(n_fixed):
    """Return a net that only takes some number of rows, as it is reshaped to."""
    nodes = [
        node("Reshape", "x shape", "r"),
        node("MatMul", "r weights", "z"),
        node("Softmax", "z", "probabilities", axis=1),
    ]
    constants = {"shape": np.array([n_fixed, 4]), "weights": np.eye(4, 3, dtype="f4")}
    ports = [port("x", "float32", [n_fixed, 4])], [port("probabilities", "float32", [n_fixed, 3])]
    return OnnxClassifier(build(nodes, *ports, constants))


@pytest.mark.parametrize(
    ("member", "kind", "message"),
    [
        (DummyClassifier(), "DummyClassifier", "skl2onnx has no converter for it"),
        (Own(), "Own", "register one with skl2onnx.update_registered_converter, or replace"),
        (make_pipeline(StandardScaler(), Own()), "Pipeline", "knows no converter for it"),
        (PrefitClassifier(np.asarray, [0, 1, 2]), "PrefitClassifier", "a function of Python"),
        (FrozenEstimator(Own().fit(X, y)), "Own", "knows no converter for it"),
        (only_the_first_row(2), "OnnxClassifier", "takes 2 rows at once.*with an open first axis"),
    ],
    ids=["dummy", "own", "own in a pipeline", "function", "frozen", "fixed rows"],
)
@pytest.mark.parametrize("stage", [0, 1])
def test_member_that_does_not_convert_is_named(member, kind, message, stage):
    """Check that name, stage and class are in the text and in attributes."""
    ends = (member, GaussianNB()) if stage == 0 else (GaussianNB(), member)
    with pytest.raises(UnconvertibleMemberError, match=message) as caught:
        to_onnx(cascade(*ends), X)
    name = ["first", "second"][stage]
    assert (caught.value.member, caught.value.stage, caught.value.kind) == (name, stage, kind)
    assert f"stage {stage} {name!r} ({kind}) cannot be exported" in str(caught.value)


@pytest.mark.parametrize("combine", ["mean", "most_confident"])
def test_confidence_without_onnx_operations_is_named(combine, monkeypatch):
    """Check that a measure known to cascades alone is refused with those that a file can hold."""
    monkeypatch.setitem(CONFIDENCES, "squared", lambda proba: (proba**2).sum(axis=1))
    monkeypatch.setitem(CascadeClassifier._parameter_constraints, "confidence", [str])
    fitted = cascade(confidence="squared", combine=combine)
    expected = "confidence='squared' has no ONNX operations; expected one of max_proba, margin, "
    with pytest.raises(ConversionError, match=expected):
        to_onnx(fitted, X)


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Rooted, "onnxruntime does not load its graph"), (Broken, "ZeroDivisionError: by design")],
    ids=["does not load", "converter fails"],
)
def test_failure_of_a_converter_is_reported_with_its_cause(kind, message):
    """Check a converter that raises, and one whose graph the runtime does not load."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    def convert(scope, operator, container):
        if kind is Broken:
            raise ZeroDivisionError("by design")
        given, (label, proba) = operator.inputs[0].full_name, operator.outputs
        container.add_node("ArgMax", given, label.full_name, axis=1, keepdims=0, name="label")
        container.add_node("Not", given, proba.full_name, name="proba", op_version=1)

    skl2onnx.update_registered_converter(
        kind,
        f"Test{kind.__name__}",
        calculate_linear_classifier_output_shapes,
        convert,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
    )
    with pytest.raises(UnconvertibleMemberError, match=message) as caught:
        to_onnx(cascade(GaussianNB(), kind()), X)
    assert caught.value.__cause__ is not None
    assert "stage 1 'second'" in str(caught.value)


def test_member_within_a_cascade_within_is_named():
    """Check that the error names the stages of both cascades."""
    inner = cascade(GaussianNB(), DummyClassifier())
    with pytest.raises(UnconvertibleMemberError, match="stage 0 'first'") as caught:
        to_onnx(cascade(inner, GaussianNB()), X)
    assert "stage 1 'second' (DummyClassifier)" in str(caught.value)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LogisticRegression().fit(X, y), "LogisticRegression contains no CascadeClassifier"),
        (make_pipeline(StandardScaler(), GaussianNB()).fit(X, y), "Pipeline contains no Cascade"),
        (cascade(confidence=lambda p: p.max(axis=1)), "confidence=.* is a function"),
        (cascade(allow_abstain=True), "allow_abstain=True cannot be exported"),
        (cascade(labels=y.astype(float)), "classes_=.*float64.*holds text or integers"),
        (
            CascadeSearchCV(
                [("a", GaussianNB()), ("b", LogisticRegression())], costs=[1, 2], cv=2, refit=False
            ).fit(X, y),
            "refit=False, so the search has no fitted cascade.*expected refit=True",
        ),
        (
            VotingClassifier([("a", cascade()), ("b", GaussianNB())]).fit(X, y),
            "VotingClassifier has no predict_proba",
        ),
    ],
    ids=["model", "pipeline", "confidence", "abstain", "labels", "refit", "hard vote"],
)
def test_estimator_is_refused(estimator, message):
    """Check the message of a refused estimator."""
    with pytest.raises(ConversionError, match=message):
        to_onnx(estimator, X)


@pytest.mark.parametrize(
    "estimator",
    [
        CascadeClassifier([("a", GaussianNB())]),
        AveragingEnsemble([("a", GaussianNB())]),
        CascadeSearchCV([("a", GaussianNB())]),
        make_pipeline(StandardScaler(), CascadeClassifier([("a", GaussianNB())])),
    ],
    ids=["cascade", "ensemble", "search", "pipeline"],
)
def test_unfitted_estimator_is_refused(estimator):
    """Check that an unfitted estimator is scikit-learn's own error."""
    with pytest.raises(NotFittedError, match="not fitted yet"):
        to_onnx(estimator, X)


def unknown_rows():
    """Return rows that no graph takes, and the message for each."""
    text = FRAME.assign(e=["u", None] * 60)
    return {
        "none": (None, "X=None; expected rows like those that the file will get"),
        "no rows": (X[:0], "X has no rows"),
        "no rows in a frame": (FRAME[:0], "X has no rows"),
        "sparse": (csr_matrix(X), "X is sparse.*X.toarray()"),
        "objects": (X.astype(object), "dtype object.*expected numbers as numbers"),
        "column of objects": (FRAME.astype({"c": object}), "c.*dtype object.*numbers as numbers"),
        "text with gaps": (text, "e.*text without missing values"),
        "times": (FRAME.assign(b=pd.date_range("2020", periods=120)), "b.*dtype datetime64"),
        "complex": (X.astype(complex), "X is of dtype complex"),
    }


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("case", list(unknown_rows()))
def test_rows_of_unknown_type_are_refused(case, verify):
    """Check that rows which define no inputs are refused, verified or not."""
    rows, message = unknown_rows()[case]
    with pytest.raises(ConversionError, match=message):
        to_onnx(cascade(), rows, verify=verify)


@pytest.mark.parametrize("columns", [["label"], ["cost", "exit_stage"], ["probabilities"]])
def test_columns_named_like_outputs_are_refused(columns):
    """Check that the columns are listed, where columns are inputs; a matrix has no such names."""
    rows = FRAME.rename(columns=dict(zip("bc", columns, strict=False)))
    named = cascade(by_name("a", *columns), by_name("d"), rows=rows)
    with pytest.raises(ConversionError, match=r"X has columns \['.*rename these columns") as caught:
        to_onnx(named, rows)
    assert str(columns) in str(caught.value)
    matrix = to_onnx(cascade(rows=rows), rows)
    assert [port.name for port in matrix.graph.input] == ["X"]


def test_columns_without_text_as_names_are_refused():
    """Check numbers as names of columns, where columns are inputs."""
    rows = pd.DataFrame({0: np.where(y > 0, "u", "v"), 1: np.where(y > 1, "u", "v")})
    member = make_pipeline(OneHotEncoder(), LogisticRegression())
    with pytest.raises(ConversionError, match=r"X has columns \[0, 1\] whose names are no text"):
        to_onnx(cascade(member, member, rows=rows), rows)


def test_text_among_numbers_is_refused_for_one_matrix():
    """Check a net, and a model of scikit-learn, that expect one matrix, on mixed columns."""
    rows = FRAME.assign(kind=np.where(y > 0, "u", "v"))
    encoder = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    for member in (net(), encoder):
        mixed = cascade(by_name("a", "b"), member, rows=rows)
        with pytest.raises(UnconvertibleMemberError, match="X mixes text with numbers") as caught:
            to_onnx(mixed, rows)
        assert "picks its columns by name" in str(caught.value)
        assert caught.value.stage == 1


def test_input_that_rows_lack_is_named():
    """Check a net with inputs that no column is called by."""
    nodes = [
        node("Concat", "height width", "x", axis=1),
        node("MatMul", "x weights", "z"),
        node("Softmax", "z", "probabilities", axis=1),
    ]
    ports = [port(name, "float32", ["n", 1]) for name in ("height", "width")]
    output = [port("probabilities", "float32", ["n", 3])]
    model = OnnxClassifier(build(nodes, ports, output, {"weights": np.eye(2, 3, dtype="f4")}))
    with pytest.raises(UnconvertibleMemberError, match=r"height.*width") as caught:
        to_onnx(cascade(by_name("a"), model, rows=FRAME), FRAME)
    assert str(list(FRAME.columns)) in str(caught.value)


def test_rows_of_another_width_are_refused():
    """Check that the members' error for too few columns is passed on."""
    with pytest.raises(MemberFailedError, match=r"stage 0 'first'.*X has 3 features"):
        to_onnx(cascade(), X[:, :3])


@pytest.mark.parametrize(
    ("target_opset", "message"),
    [
        (17, "target_opset=17; expected a version from 18, which the routing needs"),
        ({"": 12}, "expected a version from 18"),
        (999, "the newest that this skl2onnx converts to"),
        ("18", "expected a number, or a dict from domain to number"),
        ({"": "18"}, "target_opset="),
    ],
)
def test_version_of_operators_is_checked(target_opset, message):
    """Check versions that are too old, unknown, or none."""
    with pytest.raises(ConversionError, match=message):
        to_onnx(cascade(), X, target_opset=target_opset)
    with pytest.raises(ConversionError, match=message):
        to_onnx(make_pipeline(StandardScaler(), cascade()).fit(X, y), X, target_opset=target_opset)


def newer_net():
    """Return a net of opset 19."""
    model = linear_net()
    model.opset_import[0].version = 19
    return OnnxClassifier(model)


def test_net_newer_than_what_is_around_it_is_refused():
    """Check that the error has both versions, and that the net alone is exported."""
    inner = cascade(newer_net(), GaussianNB())
    piped = make_pipeline(StandardScaler(), inner).fit(X, y)
    with pytest.raises(
        UnconvertibleMemberError, match=r"of opset 19.* is converted to 18"
    ) as caught:
        to_onnx(piped, X, target_opset=18)
    assert "export the cascade by itself, or the net again at opset 18" in str(caught.value)
    alone = to_onnx(inner, X, target_opset=18)
    assert max(entry.version for entry in alone.opset_import if not entry.domain) == 19


def test_nets_alone_need_their_own_version():
    """Check a target below the nets' own, and below that of the routing, without skl2onnx."""
    nets = cascade(newer_net(), newer_net())
    with pytest.raises(ConversionError, match="target_opset=18; expected at least 19"):
        to_onnx(nets, X, target_opset=18)
    with pytest.raises(ConversionError, match="target_opset=17; expected at least 18"):
        to_onnx(cascade(net(), net()), X, target_opset=17)


def test_logits_are_refused_with_a_hint():
    """Check that a net which ends in logits gets the hint softmax=True, and then exports."""
    logits = linear_net(answer="logits")
    with pytest.raises(InvalidProbabilitiesError, match="softmax=True"):
        to_onnx(cascade(OnnxClassifier(logits), net()), X)
    model = to_onnx(cascade(OnnxClassifier(logits, softmax=True), net()), X)
    assert len(model.graph.output) == 4


@pytest.mark.parametrize("atol", [0, -1e-4, 1, np.nan, np.inf, "tiny", None])
def test_tolerance_is_checked(atol):
    """Check tolerances that can only be meant otherwise."""
    with pytest.raises(ValueError, match=r"atol=.*expected a number above 0 and below 1"):
        to_onnx(cascade(), X, atol=atol)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"owner": 3}, "metadata has 'owner': 3; expected text for text"),
        ({3: "owner"}, "metadata has 3: 'owner'"),
        ({"classes": "[1]"}, "'classes', which the file sets itself"),
        ({"verification": "trust me"}, "'verification', which the file sets itself"),
        ({"version_onnx": "1"}, "'version_onnx', which the file sets itself"),
        ("owner", "metadata='owner'; expected"),
        (5, "metadata=5; expected"),
    ],
)
def test_metadata_are_checked(metadata, message):
    """Check entries that are no text, or the file's own."""
    with pytest.raises(ConversionError, match=message):
        to_onnx(cascade(), X, metadata=metadata)
