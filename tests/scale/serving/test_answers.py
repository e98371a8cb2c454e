"""Tests of the server's predictions, metrics and monitors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import scale_serving
from sklearn_cascade import ExitMonitor, to_onnx
from tests.scale.serving.asking import MAX_ROWS, MODELS, TOLERANCE, connect, metric, predict

for package in ("httpx", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason=f"the server needs {package}")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_predicts_as_the_cascade(client, trained, model):
    """Check label, confidence, exit stage and cost of each row against `predict_details`."""
    expected = trained.cascade.predict_details(trained.X)
    parts = np.array_split(np.arange(len(trained.X)), 30)
    responses = [predict(client, model, trained.X[rows]) for rows in parts]
    found = {
        key: np.concatenate([response[key] for response in responses])
        for key in ("label", "confidence", "exit_stage", "cost", "fallback_rows")
    }
    assert {(response["model"], response["cost_unit"]) for response in responses} == {
        (model, "USD")
    }
    assert_array_equal(found["label"], expected.label)
    assert_array_equal(found["exit_stage"], expected.exit_stage)
    assert 50 < np.sum(found["exit_stage"] == 1) < 300
    assert_allclose(found["cost"], expected.cost, **TOLERANCE)
    assert_allclose(found["confidence"], expected.proba.max(axis=1), **TOLERANCE)
    assert len(found["fallback_rows"]) == 0


@pytest.mark.parametrize("model", MODELS)
def test_metrics_count_rows_and_costs(client, trained, model):
    """Check the counters against the responses that they count."""
    names = {"linear": 0, "forest": 1}
    before = {s: metric(client, "cascade_rows_total", model=model, stage=s) for s in names}
    cost_before = metric(client, "cascade_cost_total", model=model)
    response = predict(client, model, trained.X[:MAX_ROWS])
    for name, stage in names.items():
        now = metric(client, "cascade_rows_total", model=model, stage=name)
        assert now - before[name] == response["exit_stage"].count(stage)
    cost = metric(client, "cascade_cost_total", model=model) - cost_before
    assert cost == pytest.approx(sum(response["cost"]), rel=1e-6)


def test_metrics_count_requests_by_status(client):
    """Check that refusals are counted, and that clients cannot create new counters."""
    count = {"path": "/models/{name}/predict", "status": "404"}
    before = metric(client, "cascade_requests_total", **count)
    n_lines = []
    for number in range(4):
        client.post(f"/models/x{number}/predict", json={})
        client.get(f"/x{number}")
        n_lines.append(len(client.get("/metrics").text.splitlines()))
    assert metric(client, "cascade_requests_total", **count) == before + 4
    # The first round may be the first of its kind, and /metrics counts itself afterwards.
    assert n_lines[2] == n_lines[3]


def shape_of(state):
    """Return a state with types instead of numbers."""
    if isinstance(state, dict):
        return {key: shape_of(value) for key, value in state.items()}
    return [shape_of(value) for value in state] if isinstance(state, list) else type(state)


def test_monitor_returns_its_state(client, trained):
    """Check that the state is that of a monitor of the same rows, and no larger for more rows."""
    X = trained.X
    before = client.get("/models/python/monitor").json()
    expected_monitor = ExitMonitor.from_dict(before["state"])
    for start in range(0, 20 * MAX_ROWS, MAX_ROWS):
        rows = X[start : start + MAX_ROWS]
        predict(client, "python", rows)
        expected_monitor.update(trained.cascade.predict_details(rows))
    reported = client.get("/models/python/monitor").json()
    # JSON has no tuples.
    assert reported["state"] == json.loads(json.dumps(expected_monitor.to_dict()))
    assert reported["summary"] == expected_monitor.summary()
    assert reported["text"] == str(expected_monitor)
    assert reported["summary"]["n_samples"] == before["summary"]["n_samples"] + 20 * MAX_ROWS
    assert reported["summary"]["n_calibration"] == len(X)
    assert not reported["summary"]["drifted"]
    assert shape_of(reported["state"]) == shape_of(before["state"])


def test_monitor_finds_a_drift(impatient_server, trained):
    """Check that inverted images raise an alarm, in the monitor and in the metrics."""
    X = 16 - trained.X[: 10 * MAX_ROWS]
    with connect(impatient_server) as client:
        predict(client, "onnx", trained.X[:MAX_ROWS])
        assert metric(client, "cascade_drifted", model="onnx") == 0
        for start in range(0, len(X), MAX_ROWS):
            predict(client, "onnx", X[start : start + MAX_ROWS])
        assert client.get("/models/onnx/monitor").json()["summary"]["drifted"]
        assert metric(client, "cascade_drifted", model="onnx") == 1
        assert not client.get("/models/python/monitor").json()["summary"]["drifted"]


def test_file_that_differs_is_not_served(trained, tmp_path, monkeypatch):
    """Check that a server does not start with an ONNX file of another cascade."""
    monkeypatch.syspath_prepend(scale_serving.EXAMPLE)
    from models import serve_all

    other = tmp_path / "other.onnx"
    cascade = trained.cascade.with_thresholds([0.9])
    other.write_bytes(to_onnx(cascade, trained.X).SerializeToString())
    swapped = type(trained)(trained.cascade, other, trained.X, trained.y)
    with pytest.raises(RuntimeError, match=r"other\.onnx differs from the cascade in label"):
        serve_all(swapped)
