"""Tests of a slow service that fails, and of a server that is stopped."""

from __future__ import annotations

import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import scale_serving
from sklearn_cascade.exceptions import StageFailedWarning
from tests.scale.serving.asking import (
    MAX_ROWS,
    TOLERANCE,
    connect,
    fail,
    half_sent,
    metric,
    predict,
    predict_once,
    wait_for_requests,
    wait_until_refused,
)

for package in ("httpx", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason=f"the server needs {package}")


# The log's message for each fault, and whether only a server with a short timeout meets it.
FAULTS = {
    "delay": ("Timeout: timed out", True),
    "drip": ("Timeout: (timed out|no complete response within 0.2 s)", True),
    "error": ("HTTPStatusError: Server error '500 Internal Server Error'", False),
    "hang-up": ("RemoteProtocolError: Server disconnected", False),
    "garbage": ("could not convert string to float: 'It works!'", False),
    "endless": ("the response is longer than", False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_row_is_lost_when_the_service_fails(
    slow_service, server, impatient_server, trained, fault
):
    """Check that deferred rows keep the cheap label, are counted, and pay for the call."""
    X = trained.X[:MAX_ROWS]
    expected = trained.cascade.predict_details(X)
    deferred = np.flatnonzero(expected.exit_stage == 1)
    cheap = trained.cascade.estimators_[0].predict(X)
    cause, needs_timeout = FAULTS[fault]
    chosen = impatient_server if needs_timeout else server
    with connect(chosen) as client:
        before = metric(client, "cascade_fallback_rows_total", model="remote")
        fail(slow_service, {fault: 1})
        response = predict(client, "remote", X)
        assert len(deferred) > 3
        assert_array_equal(response["fallback_rows"], deferred)
        assert_array_equal(response["label"], cheap)
        assert_array_equal(response["exit_stage"], 0)
        assert_allclose(response["cost"], expected.cost, **TOLERANCE)
        now = metric(client, "cascade_fallback_rows_total", model="remote")
        assert now - before == len(deferred)
    # After a short timeout, the response may arrive before the service has counted.
    wait_for_requests(slow_service, 1, fault)
    assert re.search(f"stage 1 failed, so {len(deferred)} rows.*{cause}", chosen.log.read_text())


def test_service_is_called_again_after_a_fault(slow_service, client, trained):
    """Check that a temporary fault leaves no trace, and does not affect other models."""
    X = trained.X[:MAX_ROWS]
    expected = trained.cascade.predict_details(X).label
    fail(slow_service, {"error": 1})
    assert_array_equal(predict(client, "python", X)["label"], expected)
    assert_array_equal(predict(client, "onnx", X)["label"], expected)
    assert not np.array_equal(predict(client, "remote", X)["label"], expected)
    fail(slow_service)
    response = predict(client, "remote", X)
    assert_array_equal(response["label"], expected)
    assert response["fallback_rows"] == []


def test_hanging_member_does_not_hold_up_other_models(slow_service, server, trained):
    """Check that other models respond while every thread of the remote one waits."""
    X = trained.X[np.flatnonzero(trained.cascade.predict_details(trained.X).exit_stage == 1)[:1]]
    fail(slow_service, {"delay": 1})
    with ThreadPoolExecutor(50) as pool, connect(server) as client:
        waiting = [pool.submit(predict_once, server, "remote", X) for _ in range(50)]
        wait_for_requests(slow_service, 32)
        assert predict(client, "python", X)["exit_stage"] == [1]
        assert predict(client, "onnx", X)["exit_stage"] == [1]
        assert not any(future.done() for future in waiting)
        fail(slow_service)
        responses = [future.result() for future in waiting]
    assert [response["fallback_rows"] for response in responses] == [[]] * 50


def test_load_with_faults_loses_nothing(slow_service, server):
    """Check that responses, metrics and the service count the same fallback rows."""
    with connect(server) as client:
        fail(slow_service, {"error": 0.3, "hang-up": 0.3})
        before = metric(client, "cascade_fallback_rows_total", model="remote")
        load = scale_serving.send_load(server, "remote", 40, 200)
        now = metric(client, "cascade_fallback_rows_total", model="remote")
    rows = scale_serving.request(f"{slow_service.url}/faults").json()["rows"]
    assert load.outcomes == {200: 40}
    assert load.rows_answered == load.rows_sent == 40 * scale_serving.N_ROWS
    assert load.rows_by_stage[1] == rows["none"] > 0
    assert rows["error"] > 0
    assert rows["hang-up"] > 0
    assert load.fallback_rows == now - before == rows["error"] + rows["hang-up"]


def test_sigterm_loses_no_request_in_flight(start, slow_service, trained, folder):
    """Check that requests that wait for the service or have half arrived complete after SIGTERM."""
    X = trained.X[:MAX_ROWS]
    expected = trained.cascade.predict_details(X)
    with start() as server, ThreadPoolExecutor(6) as pool, half_sent(server, "python", X) as half:
        fail(slow_service, {"delay": 1})
        waiting = [pool.submit(predict_once, server, "remote", X) for _ in range(6)]
        wait_for_requests(slow_service, 6)
        server.process.terminate()
        wait_until_refused(server)
        assert not any(future.done() for future in waiting)
        fail(slow_service)
        responses = [half.send_rest(), *(future.result() for future in waiting)]
        # uvicorn ends by the signal itself, after all requests.
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert "Application shutdown complete" in server.log.read_text()
    for response in responses:
        assert_array_equal(response["label"], expected.label)
        assert_array_equal(response["exit_stage"], expected.exit_stage)
        assert response["fallback_rows"] == []
    assert scale_serving.started_requests((folder / "last.prom").read_text()) == 7


def test_server_starts_while_the_service_is_down(trained, monkeypatch):
    """Check that no request is sent at the start, and that a refused connection is a fallback."""
    monkeypatch.syspath_prepend(scale_serving.EXAMPLE)
    from models import serve_all
    from remote import RemoteProba

    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with closing(RemoteProba(url, timeout=30)) as client:
        served = serve_all(trained, client)["remote"]
        with pytest.warns(StageFailedWarning, match="ConnectError"):
            found, fallback_rows = served.predict(trained.X[:MAX_ROWS])
    expected = trained.cascade.predict_details(trained.X[:MAX_ROWS])
    assert_array_equal(fallback_rows, np.flatnonzero(expected.exit_stage == 1))
    assert_array_equal(found.exit_stage, 0)


def test_benchmark_prints_its_tables(capsys):
    """Check that the load runs at toy size, and that no row and no response is lost in it."""
    scale_serving.run(quick=True)
    _, loads, monitors, stop = capsys.readouterr().out.strip().split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in loads.splitlines()]
    assert [len(row) for row in rows] == [11] * (2 + len(scale_serving.SCENARIOS))
    for row in rows[2:]:
        assert row[2] == row[3] == str(20 * scale_serving.N_ROWS)
        in_responses, in_metrics, injected = (int(count) for count in row[8].split(","))
        # On a busy machine, other requests may be late too.
        assert in_responses == in_metrics >= injected
        assert float(row[6].rstrip("%")) + float(row[7].rstrip("%")) == pytest.approx(100, abs=0.2)
    assert len(monitors.splitlines()) == 5
    counts = dict(line.strip("| ").split(" | ") for line in stop.splitlines()[2:])
    assert counts["started by the server, before and after"] == counts["complete responses"]
    left = int(counts["refused"]) + int(counts["closed without a response"])
    assert int(counts["complete responses"]) + left == int(counts["sent"]) == 20
