"""Tests of the measured cost of a row."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, MeasuredCosts, measure_costs
from tests.probes import LABELS_W, CountingNB, ScriptedMember, log, members_w, numbered_rows

ESTIMATORS = pytest.mark.parametrize("estimator", [AveragingEnsemble, CascadeClassifier])


def scripted(n_rows):
    """Return one scripted member for some rows, in a list of members."""
    return [("a", ScriptedMember(np.full((n_rows, 2), 0.5)))]


def test_costs_are_a_mapping_with_unit_and_conditions():
    """Check names, order, sign, unit and conditions."""
    costs = measure_costs(members_w(), numbered_rows(6), batch_size=4, n_repeats=3)
    assert isinstance(costs, MeasuredCosts)
    assert isinstance(costs, Mapping)
    assert list(costs) == ["a", "b", "c"]
    assert len(costs) == 3
    assert all(isinstance(seconds, float) and seconds > 0 for seconds in costs.values())
    assert costs.unit == "s"
    conditions = {"batch_size": 4, "n_repeats": 3, "n_threads": 1}
    assert {key: costs.conditions[key] for key in conditions} == conditions
    assert "batch_size" in repr(costs)
    with pytest.raises(KeyError, match="d"):
        costs["d"]


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "asked"),
    [
        (6, 1000, [0, 1, 2, 3, 4, 5]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (6, 3, [0, 2, 5]),
        (101, 5, [0, 25, 50, 75, 100]),
        (6, 1, [0]),
    ],
)
def test_batch_is_spread_over_the_rows(n_samples, batch_size, asked):
    """Check which rows a member is asked for: at most the batch, evenly spread."""
    members = scripted(n_samples)
    costs = measure_costs(members, numbered_rows(n_samples), batch_size=batch_size, n_repeats=1)
    assert members[0][1].asked == [asked] * 2
    assert costs.conditions["batch_size"] == len(asked)


@pytest.mark.parametrize("n_repeats", [1, 4])
def test_each_member_is_called_once_to_warm_up_and_then_timed(n_repeats):
    """Check the number of calls of each member."""
    members = members_w()
    measure_costs(members, numbered_rows(6), n_repeats=n_repeats)
    assert [len(member.asked) for _, member in members] == [1 + n_repeats] * 3


def test_cost_is_the_median_call_over_the_rows_of_the_batch():
    """Check that the seconds fit into the call: half of the repeats take the median or more."""
    X = np.random.default_rng(0).normal(size=(1000, 20))
    members = [("nb", GaussianNB().fit(X, np.arange(1000) % 2))]
    start = perf_counter()
    costs = measure_costs(members, X, n_repeats=4)
    elapsed = perf_counter() - start
    # Seconds per batch instead of per row would exceed this by a factor of hundreds.
    assert 0 < 2 * 1000 * costs["nb"] <= elapsed


@ESTIMATORS
def test_fitted_estimator_may_be_measured_itself(estimator):
    """Check that the members of an estimator are measured, dropped ones left out."""
    members = members_w()
    members[1] = ("b", "drop")
    fitted = estimator(members, **_fixed(estimator)).fit(numbered_rows(6), LABELS_W)
    assert list(measure_costs(fitted, numbered_rows(6), n_repeats=1)) == ["a", "c"]


@ESTIMATORS
def test_estimators_accept_measured_costs(estimator):
    """Check that costs measured before are taken with their unit and conditions."""
    costs = measure_costs(members_w(), numbered_rows(6), n_repeats=2)
    fitted = estimator(members_w(), costs=costs, **_fixed(estimator))
    fitted.fit(numbered_rows(6), LABELS_W)
    assert fitted.costs_.tolist() == list(costs.values())
    assert fitted.cost_unit_ == "s"
    assert fitted.cost_conditions_ == costs.conditions
    fitted.set_params(cost_unit="seconds").fit(numbered_rows(6), LABELS_W)
    assert fitted.cost_unit_ == "seconds"


@ESTIMATORS
def test_estimators_measure_costs_themselves(estimator):
    """Check that "measured" times the fitted members on the rows of the fit."""
    key = f"measured-{estimator.__name__}"
    X = np.random.default_rng(0).normal(size=(40, 3))
    members = [("nb", CountingNB(key)), *scripted(40)]
    X[:, 0] = np.arange(40)
    fitted = estimator(members, costs="measured", **_fixed(estimator)).fit(X, np.arange(40) % 2)
    assert (fitted.costs_ > 0).all()
    assert fitted.cost_unit_ == "s"
    assert fitted.cost_conditions_["batch_size"] == 40
    n_calls = 1 + fitted.cost_conditions_["n_repeats"]
    assert log(key)["predictions"] == [40] * n_calls
    assert len(log(key)["fits"]) == 1


def _fixed(estimator):
    """Return thresholds for a cascade, so that nothing is tuned."""
    return {"thresholds": 0.6} if estimator is CascadeClassifier else {}


@pytest.mark.parametrize("form", ["list", "frame", "sparse"])
def test_rows_keep_their_type(form):
    """Check that a batch of a list, a frame or a sparse matrix is of the same type."""
    X = numbered_rows(6)
    if form == "list":
        X = X.tolist()
    elif form == "frame":
        X = pytest.importorskip("pandas").DataFrame(X, columns=["number"])
    else:
        X = csr_matrix(X)
    seen = []

    class Seeing:
        def predict_proba(self, batch):
            seen.append(batch)

    measure_costs([("m", Seeing())], X, batch_size=2, n_repeats=1)
    assert [type(batch) for batch in seen] == [type(X)] * 2
    assert np.shape(seen[0]) == (2, 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected an integer of at least 1"),
        ({"batch_size": -5}, "batch_size=-5; expected an integer of at least 1"),
        ({"batch_size": 2.5}, r"batch_size=2\.5; expected an integer of at least 1"),
        ({"n_repeats": 0}, "n_repeats=0; expected an integer of at least 1"),
        ({"n_threads": 0}, "n_threads=0; expected an integer of at least 1"),
        ({"X": numbered_rows(0)}, "X has 0 rows; at least one is needed"),
    ],
)
def test_wrong_arguments_are_named(params, message):
    """Check that nothing is measured where there is nothing to measure."""
    members = members_w()
    with pytest.raises(ValueError, match=message):
        measure_costs(members, **{"X": numbered_rows(6), **params})
    assert [member.asked for _, member in members] == [[], [], []]


@ESTIMATORS
def test_unfitted_estimator_cannot_be_measured(estimator):
    """Check that an estimator whose members are not fitted says so."""
    with pytest.raises(NotFittedError, match="not fitted"):
        measure_costs(estimator(members_w()), numbered_rows(6))
