"""Tests of estimators that contain a cascade: labels and stages as in Python, with both calls."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    CascadeSearchCV,
    OnnxClassifier,
    register_onnx_converter,
    to_onnx,
)
from tests.export.sessions import ATOL, OUTPUTS, run

for package in ("onnx", "onnxruntime", "skl2onnx"):
    pytest.importorskip(package, reason=f"the export needs {package}")

# Small members take no longer than the routing, and few rows reach some stages.
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)
NETS = Path(__file__).parents[2] / "docs" / "examples" / "digit_nets"
# What both skl2onnx and the runtime know in their oldest versions.
OPSET = 18


class Composition(NamedTuple):
    """A fitted estimator, rows to predict, and whether skl2onnx alone can convert it."""

    estimator: object
    rows: object
    plain: bool = True


def three_stages(members=None, **parameters):
    """Return an unfitted cascade, of frozen members where these are given."""
    if members is None:
        stages = [
            ("nb", GaussianNB()),
            ("linear", make_pipeline(StandardScaler(), LogisticRegression())),
            ("forest", RandomForestClassifier(15, random_state=0)),
        ]
    else:
        stages = [(name, members[name]) for name in ("nb", "linear", "forest")]
    return CascadeClassifier(
        stages, **{"thresholds": [0.83, 0.72], "costs": [1, 2, 9], **parameters}
    )


def alone(problem, members):
    """Return a cascade by itself, on float32 rows."""
    cascade = three_stages(members).fit(problem.X, problem.y)
    return Composition(cascade, problem.more.astype(np.float32))


def in_a_pipeline(problem, members):
    """Return a cascade after a scaler."""
    pipeline = make_pipeline(StandardScaler(), three_stages()).fit(problem.X, problem.y)
    return Composition(pipeline, problem.more.astype(np.float32))


def frame_of(X):
    """Return rows as a frame of which the last two columns are text."""
    pandas = pytest.importorskip("pandas", reason="columns have names in a frame")
    frame = pandas.DataFrame(X[:, :6].astype(np.float32), columns=[f"number{k}" for k in range(6)])
    frame["colour"] = np.array(["red", "green", "blue"])[np.digitize(X[:, 6], [-0.5, 0.5])]
    frame["size"] = np.array(["small", "large"])[(X[:, 7] > 0).astype(int)]
    return frame


def by_name(numbers, words, last):
    """Return a pipeline that picks columns by their names."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = [("numbers", StandardScaler(), numbers), ("words", encoder, words)]
    # The members take dense rows only.
    columns = ColumnTransformer([p for p in parts if p[2]], sparse_threshold=0)
    return Pipeline([("columns", columns), ("last", last)])


def after_named_columns(problem, members):
    """Return a cascade after a transformer of named columns, numbers and text."""
    fit, more = frame_of(problem.X), frame_of(problem.more)
    names = list(fit.columns)
    pipeline = by_name(names[:6], names[6:], three_stages(thresholds=[0.8, 0.6]))
    return Composition(pipeline.fit(fit, problem.words), more)


def of_named_inputs(problem, members):
    """Return a cascade whose members read columns of their own, numbers and text."""
    fit, more = frame_of(problem.X), frame_of(problem.more)
    names = list(fit.columns)
    stages = [
        ("few", by_name(names[:3], [], GaussianNB())),
        ("words", by_name(names[2:6], ["colour"], LogisticRegression())),
        ("all", by_name(names[:6], names[6:], RandomForestClassifier(15, random_state=0))),
    ]
    cascade = CascadeClassifier(stages, thresholds=[0.5, 0.5]).fit(fit, problem.words)
    return Composition(cascade, more)


def in_a_vote(problem, members):
    """Return a soft vote of a cascade and a single model."""
    parts = [("cascade", three_stages()), ("nb", GaussianNB())]
    vote = VotingClassifier(parts, voting="soft", flatten_transform=False)
    # As a list, skl2onnx's own call fails on them.
    vote.set_params(weights=np.array([2.0, 1.0]))
    return Composition(vote.fit(problem.X, problem.y), problem.more)


def in_pipelines_of_a_vote(problem, members):
    """Return a pipeline around a vote of pipelines that end in a cascade."""
    parts = [
        (combine, make_pipeline(StandardScaler(), three_stages(combine=combine)))
        for combine in ("mean", "last")
    ]
    vote = VotingClassifier(parts, voting="soft", flatten_transform=False)
    pipeline = make_pipeline(StandardScaler(), vote).fit(problem.X, problem.y)
    return Composition(pipeline, problem.more)


def in_a_stack(problem, members):
    """Return a stack on a cascade and a single model."""
    parts = [("cascade", three_stages()), ("nb", GaussianNB())]
    stack = StackingClassifier(parts, LogisticRegression(max_iter=1000), cv=2)
    return Composition(stack.fit(problem.X, problem.words), problem.more)


def calibrated(problem, members):
    """Return a calibrated cascade."""
    model = CalibratedClassifierCV(three_stages(), cv=2).fit(problem.X, problem.y)
    return Composition(model, problem.more)


def searched_by_scikit_learn(problem, members):
    """Return a grid search over a cascade's parameters."""
    grid = {"combine": ["mean", "last"], "confidence": ["margin", "entropy"]}
    search = GridSearchCV(three_stages(thresholds=[0.6, 0.5]), grid, cv=2)
    return Composition(search.fit(problem.X, problem.y), problem.more)


def searched(problem, members):
    """Return a search for a cascade."""
    search = CascadeSearchCV([(n, members[n]) for n in ("nb", "linear", "forest")], cv=2)
    search.set_params(costs=[1, 2, 20])
    return Composition(search.fit(problem.X, problem.y), problem.more)


def within_another(problem, members):
    """Return a cascade whose second stage is a cascade, and whose last is an ensemble."""
    ensemble = AveragingEnsemble(
        [("net", members["net"]), ("forest", members["forest"])], average="geometric"
    )
    inner = CascadeClassifier(
        [("linear", members["linear"]), ("net", members["net"])], thresholds=0.7
    )
    stages = [("nb", members["nb"]), ("inner", inner), ("ensemble", ensemble)]
    outer = CascadeClassifier(stages, thresholds=[0.83, 0.72], costs=[1, 2, 9])
    return Composition(outer.fit(problem.X, problem.y), problem.more)


def frozen(problem, members):
    """Return a frozen cascade at the end of a frozen pipeline, of which skl2onnx knows nothing."""
    inner = FrozenEstimator(three_stages().fit(problem.X, problem.y))
    pipeline = FrozenEstimator(make_pipeline(StandardScaler(), inner).fit(problem.X, problem.y))
    return Composition(FrozenEstimator(pipeline), problem.more, plain=False)


def of_images(problem, members):
    """Return a cascade of convolutional nets, which read images."""
    digits = load_digits()
    images = digits.images[:, None].astype(np.float32)
    nets = [(name, OnnxClassifier(NETS / f"digits_{name}.onnx")) for name in ("1k", "44k", "213k")]
    cascade = CascadeClassifier(nets, thresholds=[0.9, 0.8], costs=[1.2, 44, 213])
    cascade.fit(images[:100], digits.target[:100])
    return Composition(cascade, np.concatenate([images, images[:, :, ::-1]])[:3000])


def of_integers(problem, members):
    """Return a cascade on int64 rows."""
    rows = [np.rint(5 * X).astype(np.int64) for X in (problem.X, problem.more)]
    return Composition(three_stages().fit(rows[0], problem.y), rows[1])


def of_float64(problem, members):
    """Return a cascade by itself, on float64 rows."""
    return Composition(three_stages(members).fit(problem.X, problem.y), problem.more)


def of_words(problem, members):
    """Return a cascade whose labels are text."""
    return Composition(three_stages().fit(problem.X, problem.words), problem.more)


COMPOSITIONS = [
    *(alone, in_a_pipeline, after_named_columns, of_named_inputs, in_a_vote, in_a_stack),
    *(
        in_pipelines_of_a_vote,
        calibrated,
        searched_by_scikit_learn,
        searched,
        within_another,
        frozen,
        of_images,
    ),
    *(of_integers, of_float64, of_words),
]


@pytest.fixture(scope="module", params=COMPOSITIONS, ids=lambda builder: builder.__name__)
def composition(request, problem, members):
    """Return each composition in turn, fitted once."""
    return request.param(problem, members)


def details_of(estimator, X):
    """Return `predict_details` of the cascade at the end of an estimator; None if there is none."""
    while not hasattr(estimator, "predict_details"):
        if hasattr(estimator, "steps"):
            X, estimator = estimator[:-1].transform(X), estimator[-1]
        elif type(estimator) is FrozenEstimator:
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return None
    return estimator.predict_details(X)


def assert_outputs(composition, model):
    """Check a file's outputs for all rows, seven, one and, around no other converter, none."""
    estimator, rows = composition.estimator, composition.rows
    outputs, details = run(model, rows), details_of(estimator, rows)
    label, proba, *routing = outputs.values()
    np.testing.assert_array_equal(label, estimator.predict(rows))
    np.testing.assert_allclose(proba, estimator.predict_proba(rows), rtol=0, atol=ATOL)
    if routing:
        np.testing.assert_array_equal(routing[0], details.exit_stage)
        np.testing.assert_allclose(routing[1], details.cost, atol=1e-6)
        assert len(np.unique(routing[0])) > 1
    # skl2onnx's vote, stack and calibration pick columns by an operator that refuses no rows.
    for n_samples in (7, 1, 0) if routing else (7, 1):
        part = run(model, rows[:n_samples])
        np.testing.assert_array_equal(next(iter(part.values())), label[:n_samples])
        assert [len(output) for output in part.values()] == [n_samples] * len(outputs)


def test_to_onnx_exports_a_cascade_wherever_it_is(composition):
    """Check the file of `to_onnx`, with all outputs where the cascade comes last."""
    model = to_onnx(composition.estimator, composition.rows)
    ends = details_of(composition.estimator, composition.rows[:1]) is not None
    outputs = OUTPUTS if ends else OUTPUTS[:2]
    assert [output.name for output in model.graph.output] == outputs
    assert_outputs(composition, model)


def initial_types(rows):
    """Return skl2onnx's description of rows."""
    types = pytest.importorskip("skl2onnx.common.data_types", reason="the export needs skl2onnx")
    by_dtype = {
        np.dtype(np.float32): types.FloatTensorType,
        np.dtype(np.float64): types.DoubleTensorType,
        np.dtype(np.int64): types.Int64TensorType,
    }
    if not hasattr(rows, "columns"):
        return [("X", by_dtype[rows.dtype]([None, *rows.shape[1:]]))]
    return [
        (name, by_dtype.get(rows[name].dtype, types.StringTensorType)([None, 1]))
        for name in rows.columns
    ]


def test_plain_skl2onnx_takes_it_too(composition):
    """Check skl2onnx's own call once our converters are registered."""
    skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")
    if not composition.plain:
        pytest.skip("skl2onnx has no converter for FrozenEstimator, which to_onnx takes off")
    register_onnx_converter()
    estimator = composition.estimator
    model = skl2onnx.to_onnx(
        estimator,
        initial_types=initial_types(composition.rows),
        target_opset=OPSET,
        options={id(estimator): {"zipmap": False}},
    )
    assert_outputs(composition, model)
