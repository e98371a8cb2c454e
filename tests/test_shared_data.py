"""Tests on recorded predictions of real networks, if there is a folder of them."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from tests.recorded import folder_with

CIFAR_STAGES = ["resnet_3m", "resnet_10m_seed1", "resnet_21m", "resnet_40m"]
POOL_STAGES = ["mobilenet_v2", "vgg13_bn", "densenet161", "inception_v3"]


class Lookup:
    """A network that returns its recorded probabilities for row numbers, and records its calls."""

    def __init__(self, table):
        self.table = table
        self.calls = []

    def __call__(self, rows):
        self.calls.append(len(rows))
        return self.table[rows]


def load(name):
    """Return a recorded file, or skip where no folder holds it."""
    return np.load(folder_with(name) / name, allow_pickle=False)


class Recorded:
    """Stages of recorded networks: rows to tune on come first, then those to test on."""

    def __init__(self, names, tables, costs, y, n_tuning):
        self.costs = np.asarray(costs, dtype=float)
        self.tables = [np.asarray(table, dtype=float) for table in tables]
        self.networks = [Lookup(table) for table in self.tables]
        self.members = [
            (name, PrefitClassifier(network, np.arange(10), name=name, cost=float(cost)))
            for name, network, cost in zip(names, self.networks, costs, strict=True)
        ]
        self.y = y.astype(int)
        self.tuning, self.test = np.split(np.arange(len(y)), [n_tuning])

    def accuracy(self, label):
        """Return the accuracy of some labels on the test rows."""
        return np.mean(label == self.y[self.test])

    def best_single(self):
        """Return accuracy and cost of the network with the best accuracy on the test rows."""
        scores = [self.accuracy(table[self.test].argmax(axis=1)) for table in self.tables]
        return max(scores), self.costs[int(np.argmax(scores))]


def cifar_family():
    """Return our small networks, to tune on the validation rows."""
    data = load("cifar10_family/predictions.npz")
    chosen = [data["model_names"].tolist().index(name) for name in CIFAR_STAGES]
    tables = [np.vstack([data["proba_valid"][k], data["proba_test"][k]]) for k in chosen]
    y = np.concatenate([data["label_valid"], data["label_test"]])
    return Recorded(CIFAR_STAGES, tables, data["cost_mflops"][chosen], y, len(data["label_valid"]))


def cifar_pool():
    """Return networks that others published, to tune on half of the rows."""
    data = load("predictions/cifar10_cnn13.npz")
    chosen = [data["model_names"].tolist().index(name) for name in POOL_STAGES]
    order = np.random.default_rng(0).permutation(len(data["label"]))
    tables = [data["proba"][k][order] for k in chosen]
    return Recorded(POOL_STAGES, tables, data["cost"][chosen], data["label"][order], 5000)


@pytest.fixture(scope="module", params=[cifar_family, cifar_pool], ids=["family", "pool"])
def recorded(request):
    """Return the stages of one recorded pool."""
    return request.param()


@pytest.fixture(scope="module")
def cascade(recorded):
    """Return a cascade tuned on the recorded stages; members declare their costs."""
    cascade = CascadeClassifier(recorded.members, thresholds="auto")
    cascade.fit(recorded.tuning, recorded.y[recorded.tuning])
    recorded.calls_while_tuning = [list(network.calls) for network in recorded.networks]
    return cascade


def test_tuning_calls_each_frozen_network_once(cascade, recorded):
    """Check that tuning takes one call per network, for all tuning rows."""
    assert recorded.calls_while_tuning == [[len(recorded.tuning)]] * len(recorded.networks)


def test_tuned_cascade_is_cheaper_than_the_best_single_network(cascade, recorded):
    """Check that 40 % of the cost is saved for half a point at most, on the test rows."""
    details = cascade.predict_details(recorded.test)
    score, cost = recorded.best_single()
    np.testing.assert_array_equal(cascade.costs_, recorded.costs)
    # 20.96 of 40.40 MFLOPs here; a sweep that finds no early exit costs all.
    assert details.cost.mean() < 0.6 * cost
    assert recorded.accuracy(details.label) >= score - 0.005


def test_costs_of_rows_equal_a_count_by_hand(cascade, recorded):
    """Check exit stages and costs against a loop over the stages."""
    details = cascade.predict_details(recorded.test)
    deferred = np.ones(len(recorded.test), dtype=bool)
    cost, stage = np.zeros(len(recorded.test)), np.zeros(len(recorded.test), dtype=int)
    for k, table in enumerate(recorded.tables):
        cost[deferred] += recorded.costs[k]
        stage[deferred] = k
        proba = table if cascade.combine_ == "last" else np.mean(recorded.tables[: k + 1], axis=0)
        if k < len(recorded.tables) - 1:
            threshold = cascade.thresholds_[k]
            tolerance = min(max((1 - threshold) / 10, 1e-6), 1e-5)
            deferred &= proba[recorded.test].max(axis=1) < threshold - tolerance
    np.testing.assert_array_equal(details.exit_stage, stage)
    # Sums of at most four costs, in another order.
    np.testing.assert_allclose(details.cost, cost, rtol=1e-12)
    assert len(np.unique(stage)) > 1


def test_ensemble_of_recorded_networks_scores_as_published():
    """Check the average of the two most expensive networks of our family against its README."""
    recorded = cifar_family()
    ensemble = AveragingEnsemble(recorded.members[-2:])
    ensemble.fit(recorded.tuning, recorded.y[recorded.tuning])
    # 87.57 %, to the rounding of the table.
    assert recorded.accuracy(ensemble.predict(recorded.test)) == pytest.approx(0.8757, abs=5e-5)
