"""Tests of the metadata of an exported file."""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    CascadeSearchCV,
    OnnxClassifier,
    to_onnx,
)
from tests.export.sessions import run

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("onnxruntime", reason="the export needs onnxruntime")
pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

# Small members take no longer than the routing.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning"),
]
ROUTING = {"stages", "weights", "costs", "thresholds", "cost_unit", "combine", "confidence"}
ALSTOPPING = {"classes", "verification", "verification_figures"}


@pytest.fixture(scope="module")
def rows(problem):
    """Return 200 rows to fit on, their labels, and 200 more."""
    return problem.X[:200], problem.y[:200], problem.more[:200]


def cascade(rows, labels=None, **parameters):
    """Return a fitted cascade of three stages."""
    X, y, _ = rows
    stages = [("nb", GaussianNB()), ("linear", LogisticRegression()), ("again", GaussianNB())]
    settings = {"thresholds": [0.9, 0.7], "costs": [0.5, 2, 30], **parameters}
    return CascadeClassifier(stages, **settings).fit(X, y if labels is None else labels)


def metadata_of(model):
    """Return the metadata of a file, once it was written and read."""
    again = onnx.load_model_from_string(model.SerializeToString())
    keys = [entry.key for entry in again.metadata_props]
    assert len(set(keys)) == len(keys)
    return {entry.key: entry.value for entry in again.metadata_props}


def versions(entries):
    """Return the entries for versions."""
    return {key: value for key, value in entries.items() if key.startswith("version_")}


@pytest.mark.parametrize("combine", ["mean", "last"])
@pytest.mark.parametrize("confidence", ["max_proba", "margin", "entropy"])
def test_routing_is_in_the_metadata(rows, combine, confidence):
    """Check thresholds, names, weights, costs, their unit, combination and confidence."""
    made = cascade(rows, weights=[1, 2, 4], cost_unit="ms", combine=combine, confidence=confidence)
    entries = metadata_of(to_onnx(made, rows[2]))
    assert json.loads(entries["stages"]) == ["nb", "linear", "again"]
    assert json.loads(entries["thresholds"]) == [0.9, 0.7]
    assert json.loads(entries["weights"]) == made.weights_.tolist()
    assert json.loads(entries["costs"]) == [0.5, 2, 30]
    assert entries["cost_unit"] == "ms"
    assert (entries["combine"], entries["confidence"]) == (combine, confidence)
    assert json.loads(entries["classes"]) == [0, 1, 2, 3]
    assert set(entries) - set(versions(entries)) == ROUTING | ALSTOPPING


def test_infinite_thresholds_are_in_the_metadata(rows):
    """Check that the entry is JSON that any reader takes, infinities being text."""
    entries = metadata_of(to_onnx(cascade(rows, thresholds=[np.inf, -np.inf]), rows[2]))

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(entries["thresholds"], parse_constant=refuse) == ["inf", "-inf"]
    assert json.loads(entries["verification_figures"], parse_constant=refuse)
    assert json.loads(entries["verification_figures"])["smallest_gap"] is None


def test_learned_settings_are_in_the_metadata(rows):
    """Check tuned thresholds, and the vote margin as confidence of a split forest."""
    X, y, more = rows
    tuned = CascadeClassifier(
        [("nb", GaussianNB()), ("linear", LogisticRegression())], thresholds="auto", costs=[1, 3]
    ).fit(X, y)
    entries = metadata_of(to_onnx(tuned, more))
    assert json.loads(entries["thresholds"]) == pytest.approx(tuned.thresholds_.tolist())
    assert entries["combine"] == tuned.combine_
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    split = CascadeClassifier.from_ensemble(forest, max_disagreement=0.05, X_tune=X)
    entries = metadata_of(to_onnx(split, more))
    assert entries["confidence"] == "vote_margin"
    assert len(json.loads(entries["stages"])) == len(split.costs_)
    assert json.loads(entries["costs"]) == pytest.approx(split.costs_.tolist())


def test_versions_are_in_the_metadata(rows):
    """Check the versions of the packages that made the file."""
    found = versions(metadata_of(to_onnx(cascade(rows), rows[2])))
    packages = ["scikit-learn", "skl2onnx", "onnx", "onnxruntime"]
    assert {f"version_{name}": version(name) for name in packages}.items() <= found.items()
    assert set(found) <= {f"version_{name}" for name in [*packages, "sklearn-cascade"]}


def test_verification_is_in_the_metadata(rows):
    """Check that text and figures of the comparison agree."""
    entries = metadata_of(to_onnx(cascade(rows), rows[2], atol=2e-4))
    figures = json.loads(entries["verification_figures"])
    assert (figures["n_samples"], figures["tolerance"]) == (200, 2e-4)
    assert entries["verification"].startswith("verified on 200 rows, tolerance 0.0002\n")
    for check in figures["members"]:
        line = (
            f"stage {check['stage']} {check['name']} ({check['kind']}): {check['n_reached']} rows"
        )
        assert line in entries["verification"]
    assert figures["advice"] in entries["verification"]
    assert figures["problems"] == []


@pytest.mark.parametrize("verify", [True, False])
def test_own_entries_are_kept(rows, verify):
    """Check the user's entries beside those of the file, with text of any kind."""
    given = {"owner": "the team", "note": "zwölf Zeilen\nund mehr", "empty": ""}
    entries = metadata_of(to_onnx(cascade(rows), rows[2], metadata=given, verify=verify))
    assert given.items() <= entries.items()
    assert ROUTING | {"classes", "verification"} <= set(entries)
    assert (entries["verification"] == "unverified") is not verify
    assert given == {"owner": "the team", "note": "zwölf Zeilen\nund mehr", "empty": ""}


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2, 3],
        [-7, 0, 30, 2**40],
        ["no", "perhaps", "yes", "öfter"],
        np.array(["a", "b", "c", "d"], dtype=object),
    ],
    ids=["from zero", "gapped", "text", "objects"],
)
def test_file_comes_back_with_its_classes(rows, labels):
    """Check that OnnxClassifier reads the labels, and predicts them."""
    _, y, more = rows
    made = cascade(rows, np.asarray(labels)[y])
    again = OnnxClassifier(to_onnx(made, more))
    assert again.classes_.tolist() == made.classes_.tolist()
    assert isinstance(again.classes_.tolist()[0], type(made.classes_.tolist()[0]))
    np.testing.assert_array_equal(again.predict(more), made.predict(more))


def test_truth_values_come_back_as_numbers(rows):
    """Check that truth values as labels are 0 and 1 in the file and its metadata."""
    _, y, more = rows
    made = cascade(rows, y > 1)
    model = to_onnx(made, more)
    assert json.loads(metadata_of(model)["classes"]) == [0, 1]
    np.testing.assert_array_equal(run(model, more)["label"], made.predict(more).astype(int))
    np.testing.assert_array_equal(OnnxClassifier(model).predict(more), made.predict(more))


@pytest.mark.parametrize(("average", "entry"), [("arithmetic", "mean"), ("geometric",) * 2])
def test_ensemble_has_its_mean_in_the_metadata(rows, average, entry):
    """Check that an ensemble has entries for weights and mean, and none for thresholds."""
    X, y, more = rows
    pair = [("nb", GaussianNB()), ("linear", LogisticRegression())]
    ensemble = AveragingEnsemble(pair, average=average, weights=[3, 1], costs=[1, 2]).fit(X, y)
    entries = metadata_of(to_onnx(ensemble, more))
    assert entries["combine"] == entry
    assert json.loads(entries["weights"]) == ensemble.weights_.tolist()
    assert not {"thresholds", "confidence"} & set(entries)


def test_routing_entries_are_of_the_only_cascade(rows):
    """Check a search in a pipeline, a cascade around another, and two side by side."""
    X, y, more = rows
    pair = [("nb", GaussianNB()), ("linear", LogisticRegression())]
    search = make_pipeline(StandardScaler(), CascadeSearchCV(pair, costs=[1, 3], cv=2)).fit(X, y)
    entries = metadata_of(to_onnx(search, more))
    best = search[-1].best_estimator_
    assert json.loads(entries["stages"]) == [name for name, _ in best.estimators]
    inner = FrozenEstimator(cascade(rows))
    outer = CascadeClassifier([("first", inner), ("last", GaussianNB())], thresholds=0.8)
    assert json.loads(metadata_of(to_onnx(outer.fit(X, y), more))["stages"]) == ["first", "last"]
    both = VotingClassifier([("a", inner), ("b", inner.estimator)], voting="soft").fit(X, y)
    entries = metadata_of(to_onnx(both, more))
    assert not ROUTING & set(entries)
    assert set(entries) >= ALSTOPPING
