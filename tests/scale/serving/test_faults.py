"""Tests of a dear member that fails, and of a server that is told to stop."""

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
    ask_once,
    connect,
    fail,
    half_sent,
    metric,
    predict,
    wait_for_requests,
    wait_until_refused,
)

for package in ("httpx", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason=f"the server needs {package}")


# What the log says of each fault, and whether it takes a server in a hurry to see it.
FAULTS = {
    "delay": ("Timeout: timed out", True),
    "drip": ("Timeout: (timed out|no complete response within 0.2 s)", True),
    "error": ("HTTPStatusError: Server error '500 Internal Server Error'", False),
    "hang-up": ("RemoteProtocolError: Server disconnected", False),
    "garbage": ("could not convert string to float: 'It works!'", False),
    "endless": ("the response is longer than", False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_row_is_lost_when_the_dear_member_fails(dear, server, hasty_server, trained, fault):
    """Check that open rows get the cheap answer, are named and counted, and pay for the call."""
    X = trained.X[:MAX_ROWS]
    expected = trained.cascade.predict_details(X)
    open_rows = np.flatnonzero(expected.exit_stage == 1)
    cheap = trained.cascade.estimators_[0].predict(X)
    cause, in_a_hurry = FAULTS[fault]
    chosen = hasty_server if in_a_hurry else server
    with connect(chosen) as client:
        before = metric(client, "cascade_fallback_rows_total", model="remote")
        fail(dear, {fault: 1})
        answer = predict(client, "remote", X)
        assert len(open_rows) > 3
        assert_array_equal(answer["fallback_rows"], open_rows)
        assert_array_equal(answer["label"], cheap)
        assert_array_equal(answer["exit_stage"], 0)
        assert_allclose(answer["cost"], expected.cost, **TOLERANCE)
        now = metric(client, "cascade_fallback_rows_total", model="remote")
        assert now - before == len(open_rows)
    # A server in a hurry may be back before the service has counted.
    wait_for_requests(dear, 1, fault)
    assert re.search(f"stage 1 failed, so {len(open_rows)} rows.*{cause}", chosen.log.read_text())


def test_dear_member_is_asked_again_once_it_is_back(dear, client, trained):
    """Check that a passing fault leaves no trace, and that other models do not notice it."""
    X = trained.X[:MAX_ROWS]
    expected = trained.cascade.predict_details(X).label
    fail(dear, {"error": 1})
    assert_array_equal(predict(client, "python", X)["label"], expected)
    assert_array_equal(predict(client, "onnx", X)["label"], expected)
    assert not np.array_equal(predict(client, "remote", X)["label"], expected)
    fail(dear)
    answer = predict(client, "remote", X)
    assert_array_equal(answer["label"], expected)
    assert answer["fallback_rows"] == []


def test_hanging_member_does_not_hold_up_other_models(dear, server, trained):
    """Check that other models answer while every thread of the remote one waits."""
    X = trained.X[np.flatnonzero(trained.cascade.predict_details(trained.X).exit_stage == 1)[:1]]
    fail(dear, {"delay": 1})
    with ThreadPoolExecutor(50) as pool, connect(server) as client:
        waiting = [pool.submit(ask_once, server, "remote", X) for _ in range(50)]
        wait_for_requests(dear, 32)
        assert predict(client, "python", X)["exit_stage"] == [1]
        assert predict(client, "onnx", X)["exit_stage"] == [1]
        assert not any(future.done() for future in waiting)
        fail(dear)
        answers = [future.result() for future in waiting]
    assert [answer["fallback_rows"] for answer in answers] == [[]] * 50


def test_load_with_faults_loses_nothing(dear, server):
    """Check that answers, metrics and the service itself count the same rows that fell back."""
    with connect(server) as client:
        fail(dear, {"error": 0.3, "hang-up": 0.3})
        before = metric(client, "cascade_fallback_rows_total", model="remote")
        load = scale_serving.send_load(server, "remote", 40, 200)
        now = metric(client, "cascade_fallback_rows_total", model="remote")
    rows = scale_serving.ask(f"{dear.url}/faults").json()["rows"]
    assert load.outcomes == {200: 40}
    assert load.rows_answered == load.rows_sent == 40 * scale_serving.N_ROWS
    assert load.rows_by_stage[1] == rows["none"] > 0
    assert rows["error"] > 0
    assert rows["hang-up"] > 0
    assert load.fallback_rows == now - before == rows["error"] + rows["hang-up"]


def test_sigterm_loses_no_request_in_flight(start, dear, trained, folder):
    """Check that what hangs in the dear member, or has half arrived, is answered after SIGTERM."""
    X = trained.X[:MAX_ROWS]
    expected = trained.cascade.predict_details(X)
    with start() as server, ThreadPoolExecutor(6) as pool, half_sent(server, "python", X) as half:
        fail(dear, {"delay": 1})
        waiting = [pool.submit(ask_once, server, "remote", X) for _ in range(6)]
        wait_for_requests(dear, 6)
        server.process.terminate()
        wait_until_refused(server)
        assert not any(future.done() for future in waiting)
        fail(dear)
        answers = [half.send_rest(), *(future.result() for future in waiting)]
        # uvicorn ends by the signal itself, once all is done.
        assert server.process.wait(60) in (0, -signal.SIGTERM)
        assert "FrontEvaluator shutdown complete" in server.log.read_text()
    for answer in answers:
        assert_array_equal(answer["label"], expected.label)
        assert_array_equal(answer["exit_stage"], expected.exit_stage)
        assert answer["fallback_rows"] == []
    assert scale_serving.begun((folder / "last.prom").read_text()) == 7


def test_server_starts_while_the_dear_member_is_down(trained, monkeypatch):
    """Check that nobody is asked at the start, and that a refused connection is a fallback."""
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
    """Check that the load runs at toy size, and that no row and no answer is lost in it."""
    scale_serving.run(quick=True)
    _, loads, monitors, stop = capsys.readouterr().out.strip().split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in loads.splitlines()]
    assert [len(row) for row in rows] == [11] * (2 + len(scale_serving.SCENARIOS))
    for row in rows[2:]:
        assert row[2] == row[3] == str(20 * scale_serving.N_ROWS)
        in_answers, in_metrics, injected = (int(count) for count in row[8].split(","))
        # A busy machine is late by itself.
        assert in_answers == in_metrics >= injected
        assert float(row[6].rstrip("%")) + float(row[7].rstrip("%")) == pytest.approx(100, abs=0.2)
    assert len(monitors.splitlines()) == 5
    counts = dict(line.strip("| ").split(" | ") for line in stop.splitlines()[2:])
    assert counts["begun by the server, before and after"] == counts["answers that arrived whole"]
    left = int(counts["refused"]) + int(counts["closed without an answer"])
    assert int(counts["answers that arrived whole"]) + left == int(counts["sent"]) == 20
