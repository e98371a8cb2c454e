"""Tests of a service behind HTTP as the expensive member, with the client of the example."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_validate
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier, PrefitClassifier
from sklearn_cascade.exceptions import (
    InvalidProbabilitiesError,
    MemberFailedError,
    StageFailedWarning,
)
from tests.services import ClassifierService

pytest.importorskip("requests", reason="the client of a remote service needs requests")

try:
    import cloudpickle  # a package of its own since joblib 1.6
except ImportError:
    from joblib.externals import cloudpickle

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "remote_service.py"
BATCH = 100
PRICE = 0.002
THRESHOLD = 0.9
# Each fault with its error, and the requests that 2 batches make, each tried once more at most.
FAULTS = {
    "refused": (MemberFailedError, "ConnectionError.*Max retries", 0),
    "error 500": (MemberFailedError, "RetryError.*too many 500", 2),
    "delay": (MemberFailedError, "ConnectionError.*Read timed out", 2),
    "garbage": (MemberFailedError, "JSONDecodeError", 1),
    "wrong width": (InvalidProbabilitiesError, r"has shape \(\d+, 3\); expected \(\d+, 4\)", 2),
}


def load_example():
    """Return the example as a module that travels to workers by its source."""
    spec = importlib.util.spec_from_file_location("remote_service", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["remote_service"] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


RemoteProba = load_example().RemoteProba


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Ask the loopback interface directly."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def forest(blobs):
    """Return the model behind the service."""
    X, y = blobs
    return RandomForestClassifier(10, random_state=0).fit(X[:200], y[:200])


@pytest.fixture
def service(forest):
    """Return a running service."""
    with ClassifierService(forest) as service:
        yield service


@pytest.fixture
def client(service):
    """Return a client of the service that is patient, and tries a second time."""
    client = RemoteProba(service.url, batch_size=BATCH, timeout=20, n_retries=1)
    yield client
    client.session.close()


@pytest.fixture
def member(client):
    """Return the service as a member."""
    return PrefitClassifier(client, np.arange(4), name="service", cost=PRICE)


def fit_cascade(member, blobs, **params):
    """Return a cascade that asks the service where naive Bayes is unsure."""
    members = [("nb", GaussianNB()), ("service", member)]
    params = {"thresholds": THRESHOLD, "costs": {"nb": 0}, **params}
    return CascadeClassifier(members, **params).fit(blobs[0][:200], blobs[1][:200])


def cheap_answer(cascade, X):
    """Return what the first member says, and the rows that it leaves open."""
    proba = cascade.estimators_[0].predict_proba(X)
    return proba, np.flatnonzero(proba.max(axis=1) < THRESHOLD)


def break_down(service, client, fault, n_faults=None):
    """Let a service go wrong; only where it is to time out, the client is in a hurry."""
    if fault == "delay":
        client.timeout = 0.2
    if fault == "refused":
        service.close()
    else:
        service.break_down(fault, n_faults)


def test_service_answers_the_open_rows_in_batches(service, member, blobs, forest):
    """Check answers, prices and requests: each open row is sent once, in as few as can be."""
    X = blobs[0][200:]
    cascade = fit_cascade(member, blobs, combine="last")
    assert service.batches == []
    found = cascade.predict_details(X)
    _, still_open = cheap_answer(cascade, X)
    assert BATCH < len(still_open) < 2 * BATCH
    assert [len(batch) for batch in service.batches] == [BATCH, len(still_open) - BATCH]
    assert_array_equal(np.concatenate(service.batches), X[still_open])
    # JSON writes floats with all their digits.
    assert_array_equal(found.proba[still_open], forest.predict_proba(X[still_open]))
    assert_array_equal(np.flatnonzero(found.exit_stage == 1), still_open)
    assert_array_equal(np.flatnonzero(found.cost == PRICE), still_open)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_row_is_lost_when_the_service_fails(service, client, member, blobs, fault):
    """Check that open rows keep the cheap answer, are named, and pay for the call that failed."""
    X = blobs[0][200:]
    cascade = fit_cascade(member, blobs, on_stage_error="keep_previous")
    break_down(service, client, fault)
    with pytest.warns(StageFailedWarning, match=FAULTS[fault][1]) as caught:
        found = cascade.predict_details(X)
    proba, still_open = cheap_answer(cascade, X)
    assert len(caught) == 1
    assert caught[0].message.stage == 1
    assert_array_equal(caught[0].message.rows, still_open)
    assert_array_equal(found.proba, proba)
    assert_array_equal(found.label, proba.argmax(axis=1))
    assert_array_equal(found.exit_stage, 0)
    assert_array_equal(np.flatnonzero(found.cost == PRICE), still_open)
    assert np.count_nonzero(found.cost) == len(still_open)
    assert len(service.batches) == FAULTS[fault][2]


@pytest.mark.parametrize("fault", FAULTS)
def test_failed_service_raises_where_that_is_asked_for(service, client, member, blobs, fault):
    """Check that the default tells which member failed, and why."""
    cascade = fit_cascade(member, blobs)
    break_down(service, client, fault)
    error, message, n_requests = FAULTS[fault]
    with pytest.raises(error, match=message) as caught:
        cascade.predict(blobs[0][200:])
    assert caught.value.member == "service"
    assert len(service.batches) == n_requests


@pytest.mark.parametrize("fault", FAULTS)
def test_service_that_comes_first_always_raises(service, client, member, blobs, fault):
    """Check that there is nothing to keep where the service is the first to be asked."""
    X, y = blobs
    members = [("service", member), ("nb", GaussianNB())]
    params = {"thresholds": THRESHOLD, "costs": [1, 1], "on_stage_error": "keep_previous"}
    cascade = CascadeClassifier(members, **params).fit(X[:200], y[:200])
    break_down(service, client, fault)
    with pytest.raises(FAULTS[fault][0], match=FAULTS[fault][1]):
        cascade.predict(X[200 : 200 + 2 * BATCH])


@pytest.mark.parametrize("fault", ["error 500", "delay"])
def test_passing_fault_is_healed_by_a_retry(service, client, member, blobs, fault):
    """Check that one failed request is sent once more, and that nobody notices."""
    X = blobs[0][200:]
    cascade = fit_cascade(member, blobs, on_stage_error="keep_previous")
    expected = cascade.predict_proba(X)
    service.batches.clear()
    break_down(service, client, fault, n_faults=1)
    assert_array_equal(cascade.predict_proba(X), expected)
    first, again, second = service.batches
    assert first == again
    assert len(first) == BATCH
    assert len(second) < BATCH


def test_service_recovers(service, member, blobs):
    """Check that the cascade uses the service again as soon as it is back."""
    X = blobs[0][200:]
    cascade = fit_cascade(member, blobs, on_stage_error="keep_previous")
    expected = cascade.predict_proba(X)
    service.break_down("garbage")
    with pytest.warns(StageFailedWarning):
        failed = cascade.predict_proba(X)
    service.break_down(None)
    assert not np.array_equal(failed, expected)
    assert_array_equal(cascade.predict_proba(X), expected)


def test_pickled_cascade_connects_anew(service, member, blobs):
    """Check that a cascade with an open connection pickles, and answers as before."""
    X = blobs[0][200:]
    cascade = fit_cascade(member, blobs)
    expected = cascade.predict_proba(X)
    again = pickle.loads(pickle.dumps(cascade))
    assert_array_equal(again.predict_proba(X), expected)
    assert len(service.batches) == 4
    again.estimators_[1].get_params()["predict_proba"].session.close()


def test_workers_ask_the_service(service, member, blobs):
    """Check folds scored in two workers: the same scores, each row sent once."""
    X, y = blobs
    params = {"thresholds": np.inf, "combine": "last", "costs": {"nb": 0}}
    cascade = CascadeClassifier([("nb", GaussianNB()), ("service", member)], **params)
    expected = cross_validate(cascade, X, y, cv=4)["test_score"]
    service.batches.clear()
    found = cross_validate(cascade, X, y, cv=4, n_jobs=2, error_score="raise")["test_score"]
    assert_array_equal(found, expected)
    assert_array_equal(np.unique(np.concatenate(service.batches), axis=0), np.unique(X, axis=0))
    assert sum(len(batch) for batch in service.batches) == len(X)


def test_example_runs():
    """Check that the example finishes, and that its cascade survives the broken service."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "StageFailedWarning: stage 1 failed, so" in done.stdout
    healthy, broken = (
        int(line.split()[3]) for line in done.stdout.splitlines() if "predicted by service" in line
    )
    assert healthy > 0
    assert broken == 0
    assert f"Rows concerned: {healthy}, all predicted by the linear model" in done.stdout
