"""Tests of fit and search on joblib's backends of Dask and Ray."""

from __future__ import annotations

import os

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    CascadeSearchCV,
    LearnedConfidence,
    search_cascades,
)
from tests.scale.conftest import WHERE
from tests.scale.guide_blocks import run_blocks
from tests.scale.pickling_members import CountedWeights, MortalNB, WeightyNB

COSTS = [1, 2, 8]


@pytest.fixture(params=["dask", "ray"])
def engine(request):
    """Return the guide's block that fits on an engine, its names, and joblib's options."""
    if request.param == "dask":
        client = request.getfixturevalue("dask_client")
        return "fit-dask", {"address": client.scheduler.address}, {"backend": "dask"}
    request.getfixturevalue("ray_pool")
    pytest.importorskip("ray.util.joblib", reason=f"ray is {WHERE}").register_ray()
    return "fit-ray", {}, {"backend": "ray", "n_jobs": 2}


@pytest.fixture(scope="module")
def local(members, rows):
    """Return a search fitted in this process."""
    return CascadeSearchCV(members, costs=COSTS, cv=5).fit(*rows)


def assert_same_search(found, expected, X):
    """Check that two searches have the same fronts and predictions."""
    assert found.front_.to_frame().equals(expected.front_.to_frame())
    assert found.best_params_ == expected.best_params_
    assert (found.cross_fitted_score_, found.cross_fitted_cost_) == (
        expected.cross_fitted_score_,
        expected.cross_fitted_cost_,
    )
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_search_on_an_engine_finds_the_same(engine, local, members, rows):
    """Check the search of the guide's block against a local fit."""
    block, given, _ = engine
    X, y = rows
    found = run_blocks(block, members=members, costs=COSTS, X=X, y=y, **given)
    if "client" in found:
        found["client"].close()
    assert_same_search(found["search"], local, X)


def test_ensemble_and_search_of_arrays_are_the_same_on_an_engine(engine, local, members, rows):
    """Check AveragingEnsemble with weights, and search_cascades, in the engine's context."""
    X, y = rows
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    some = [members[0], members[1]]
    proba = [member.predict_proba(X) for member in local.estimators_]
    expected = AveragingEnsemble(some).fit(X, y, weight).predict_proba(X)
    front = search_cascades(proba, y, costs=COSTS).to_frame()
    with joblib.parallel_config(**engine[2]):
        ensemble = AveragingEnsemble(some).fit(X, y, weight)
        assert search_cascades(proba, y, costs=COSTS).to_frame().equals(front)
    np.testing.assert_array_equal(ensemble.predict_proba(X), expected)


def test_learned_confidences_are_the_same_on_an_engine(engine, members, rows):
    """Check thresholds and predictions of a cascade with a learned confidence."""
    X, y = rows
    cascade = CascadeClassifier(members, confidence=LearnedConfidence(), costs=COSTS)
    expected = clone(cascade).fit(X, y)
    with joblib.parallel_config(**engine[2]):
        cascade.fit(X, y)
    np.testing.assert_array_equal(cascade.thresholds_, expected.thresholds_)
    np.testing.assert_array_equal(cascade.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("estimator", [CascadeSearchCV, CascadeClassifier])
def test_member_is_sent_once_per_worker(engine, estimator, rows, tmp_path):
    """Check that one task for all rows and five for folds send a member once."""
    weights = CountedWeights(tmp_path)
    members = [("heavy", WeightyNB(weights)), ("lr", LogisticRegression(max_iter=1000))]
    with joblib.parallel_config(**engine[2]):
        estimator(members, costs=[1, 2], cv=5).fit(*rows)
    assert weights.counts("pickled")[os.getpid()] == 1
    unpickled = weights.counts("unpickled")
    assert unpickled and os.getpid() not in unpickled
    assert set(unpickled.values()) == {1}


def test_fit_survives_the_death_of_a_worker(dask_client, rows, members, tmp_path):
    """Check that only the tasks of a killed Dask worker are repeated."""
    X, y = rows
    mortal = [("mortal", MortalNB(tmp_path / "died", os.getpid())), *members[1:]]
    immortal = [("mortal", MortalNB(tmp_path / "none")), *members[1:]]
    (tmp_path / "none").touch()
    expected = CascadeSearchCV(immortal, costs=COSTS).fit(X, y)
    with joblib.parallel_config(backend="dask", scatter=[X]):
        found = CascadeSearchCV(mortal, costs=COSTS).fit(X, y)
    assert (tmp_path / "died").exists()
    assert_same_search(found, expected, X)


@pytest.mark.parametrize("runs", [True, False])
def test_fit_leaves_the_memory_manager_of_dask_as_it_was(dask_client, rows, members, runs):
    """Check that the memory manager runs after a fit, and after a failed one, only if it ran."""
    X, y = rows
    failing = [*members, ("failing", LogisticRegression(C=-1))]
    try:
        getattr(dask_client.amm, "start" if runs else "stop")()
        with joblib.parallel_config(backend="dask"):
            AveragingEnsemble(members).fit(X, y)
            assert dask_client.amm.running() is runs
            with pytest.raises(ValueError, match="'C' parameter"):
                AveragingEnsemble(failing).fit(X, y)
        assert dask_client.amm.running() is runs
    finally:
        dask_client.amm.start()


def test_ray_raises_if_a_worker_died_and_fits_again(ray_pool, rows, members, tmp_path):
    """Check that joblib on Ray raises where Dask repeats, and that the same call then works."""
    X, y = rows
    mortal = [("mortal", MortalNB(tmp_path / "died", os.getpid())), *members[1:]]
    pytest.importorskip("ray.util.joblib", reason=f"ray is {WHERE}").register_ray()
    with joblib.parallel_config(backend="ray", n_jobs=2):
        with pytest.raises(ray_pool.exceptions.RayError, match="died"):
            CascadeSearchCV(mortal, costs=COSTS).fit(X, y)
        found = CascadeSearchCV(mortal, costs=COSTS).fit(X, y)
    immortal = [("mortal", MortalNB(tmp_path / "died")), *members[1:]]
    assert_same_search(found, CascadeSearchCV(immortal, costs=COSTS).fit(X, y), X)
