"""Tests on a family of image nets and real images, where these are at hand."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, OnnxClassifier, search_cascades
from tests.recorded import folder_with

pytest.importorskip("onnx", reason="ONNX models need onnx")
pytest.importorskip("onnxruntime", reason="ONNX models need onnxruntime")

NAMES = [
    *("resnet_1m", "resnet_3m", "resnet_3m_seed1", "resnet_10m", "resnet_10m_seed1"),
    *("resnet_21m", "resnet_40m"),
]


class Family:
    """The nets as members, what they answered when they were made, and the test images."""

    def __init__(self, folder):
        stored = np.load(folder / "predictions.npz", allow_pickle=False)
        chosen = [stored["model_names"].tolist().index(name) for name in NAMES]
        images = np.load(folder / "test_images_500.npz", allow_pickle=False)
        self.paths = {name: folder / f"{name}.onnx" for name in NAMES}
        self.costs = dict(zip(NAMES, stored["cost_mflops"][chosen], strict=True))
        self.valid = dict(zip(NAMES, stored["proba_valid"][chosen], strict=True))
        self.test = dict(zip(NAMES, stored["proba_test"][chosen][:, images["rows"]], strict=True))
        self.y_valid, self.y_test = stored["label_valid"], images["labels"]
        # The nets want RGB from 0 to 1; what is inside the graph scales no further.
        self.X = images["images"].astype("f4") / np.float32(255)

    def member(self, name):
        """Return one net as a member that declares its cost."""
        return name, OnnxClassifier(self.paths[name], cost=float(self.costs[name]))


@pytest.fixture(scope="module")
def family():
    """Return the family, or skip where no folder holds it."""
    return Family(folder_with("cifar10_family/predictions.npz") / "cifar10_family")


@pytest.mark.parametrize("name", NAMES)
def test_nets_answer_as_when_they_were_made(family, name):
    """Check probabilities, classes and multiply-adds against what is recorded of each net."""
    _, net = family.member(name)
    # Other processors round sums of products elsewhere.
    np.testing.assert_allclose(net.predict_proba(family.X), family.test[name], rtol=0, atol=1e-4)
    assert net.classes_.tolist() == list(range(10))
    assert net.multiply_adds_ / 1e6 == pytest.approx(family.costs[name], rel=1e-12)


@pytest.fixture(scope="module")
def front(family):
    """Return what a search over the stored validation predictions finds."""
    return search_cascades(
        [family.valid[name] for name in NAMES],
        family.y_valid,
        costs=[family.costs[name] for name in NAMES],
        names=NAMES,
        cost_unit="MFLOPs",
        max_stages=3,
        n_thresholds=24,
    )


def walk(family, row):
    """Return exit stages, answers and costs, from the stored predictions, stage by stage."""
    n_samples, n_stages = len(family.y_test), len(row.members)
    stage = np.full(n_samples, -1)
    answers, costs = np.zeros((n_samples, 10)), np.zeros(n_samples)
    travelling = np.ones(n_samples, dtype=bool)
    for k in range(n_stages):
        costs[travelling] += family.costs[row.members[k]]
        run = [family.test[name].astype(float) for name in row.members[: k + 1]]
        answer = run[-1] if row.combine == "last" else np.mean(run, axis=0)
        leaving = travelling.copy()
        if k < n_stages - 1:
            threshold = row.thresholds[k]
            allowance = np.clip((1 - threshold) / 10, 1e-6, 1e-5)
            leaving &= answer.max(axis=1) >= threshold - allowance
        stage[leaving], answers[leaving] = k, answer[leaving]
        travelling &= ~leaving
    return stage, answers, costs


@pytest.mark.parametrize("max_cost", [4.0, 9.6, 25.0])
def test_cascade_found_on_predictions_runs_as_predicted(family, front, max_cost):
    """Check exits, answers and costs of real nets on real images, row for row."""
    row = front.select(max_cost=max_cost)
    assert row.kind == "cascade"
    members = [family.member(name) for name in row.members]
    cascade = CascadeClassifier(members, thresholds=list(row.thresholds), combine=row.combine)
    cascade.fit(family.X[:100], family.y_test[:100])
    details = cascade.predict_details(family.X)
    stage, answers, costs = walk(family, row)
    np.testing.assert_array_equal(details.exit_stage, stage)
    np.testing.assert_allclose(details.proba, answers, rtol=0, atol=1e-4)
    # Sums of at most three costs, in another order.
    np.testing.assert_allclose(details.cost, costs, rtol=1e-12)
    assert len(np.unique(stage)) == len(row.members)
    # Far above the 10 % of guessing; 500 rows tell no finer.
    assert np.mean(details.label == family.y_test) > 0.7
    report = cascade.cost_report(family.X, family.y_test)
    assert report.mean_cost == pytest.approx(costs.mean())


def test_ensemble_of_nets_averages_what_they_answer(family):
    """Check the mean of two nets of the family, in batches, against the stored predictions."""
    names = ["resnet_1m", "resnet_3m"]
    members = [(n, OnnxClassifier(family.paths[n], batch_size=64, n_threads=2)) for n in names]
    ensemble = AveragingEnsemble(members).fit(family.X[:100], family.y_test[:100])
    expected = np.mean([family.test[name] for name in names], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(family.X), expected, rtol=0, atol=1e-4)
