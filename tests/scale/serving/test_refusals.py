"""Tests of the server's refusals and limits."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.scale.serving.asking import (
    MAX_BYTES,
    MAX_CONNECTIONS,
    MAX_ROWS,
    MODELS,
    connect,
    predict,
)

for package in ("httpx", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason=f"the server needs {package}")

JSON = {"Content-Type": "application/json"}
GOOD_ROW = [0.0] * 64
BAD_BODIES = {
    "no JSON": (b'{"rows": [[1, 2', 400, "the body is not JSON: .*EOF"),
    "nothing": (b"", 400, "the body is not JSON"),
    "bytes": (b"\xff\xfe\x00", 400, "the body is not JSON"),
    "deep": (b"[" * 9000, 400, "recursion limit"),
    "no object": (b"[[1, 2]]", 422, "the body: Input should be an object"),
    "no rows": (b"{}", 422, "rows: Field required"),
    "empty": (b'{"rows": []}', 422, "rows is empty; expected at least one row"),
    "too narrow": (b'{"rows": [[1, 2]]}', 422, r"rows\[0\] has 2 numbers; expected 64"),
    "one too wide": (
        json.dumps({"rows": [GOOD_ROW, [*GOOD_ROW, 1]]}).encode(),
        422,
        r"rows\[1\] has 65 numbers; expected 64",
    ),
    "NaN": (b'{"rows": [[1, NaN]]}', 422, r"rows\[0\]\[1\]: Input should be a finite number"),
    "infinite": (b'{"rows": [[1], [1e999]]}', 422, r"rows\[1\]\[0\]: .*finite number"),
    "null": (b'{"rows": [[null]]}', 422, r"rows\[0\]\[0\]: Input should be a valid number"),
    "text": (b'{"rows": [["1"]]}', 422, r"rows\[0\]\[0\]: Input should be a valid number"),
    "too bright": (b'{"rows": [[17]]}', 422, r"rows\[0\]\[0\]: .*less than or equal to 16"),
    "unknown key": (b'{"rows": [[1]], "x": 1}', 422, "x: Extra inputs are not permitted"),
    "too many rows": (
        json.dumps({"rows": [[0] * 64] * (MAX_ROWS + 1)}).encode(),
        413,
        f"{MAX_ROWS + 1} rows; expected at most {MAX_ROWS}",
    ),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_bad_body_is_refused(client, kind):
    """Check status and text of each refusal, and that no part of the body is sent back."""
    body, status, text = BAD_BODIES[kind]
    rows_before = client.get("/models/python/monitor").json()["summary"]["n_samples"]
    response = client.post("/models/python/predict", content=body, headers=JSON)
    assert response.status_code == status
    assert list(response.json()) == ["detail"]
    assert re.search(text, response.json()["detail"])
    assert len(response.text) < 150
    assert client.get("/models/python/monitor").json()["summary"]["n_samples"] == rows_before


def test_unknown_model_and_method_are_refused(client):
    """Check that the error for an unknown address names the known ones."""
    for response in (
        client.post("/models/xgboost/predict", json={"rows": [GOOD_ROW]}),
        client.get("/models/xgboost/monitor"),
    ):
        assert response.status_code == 404
        expected = "no model 'xgboost'; expected one of ['onnx', 'python', 'remote']"
        assert response.json()["detail"] == expected
    assert client.get("/models/python/predict").status_code == 405
    assert client.get("/model").status_code == 404


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/csv"}, {}, {**JSON, "Content-Encoding": "gzip"}]
)
def test_other_media_types_are_refused(client, headers):
    """Check that only plain JSON is accepted."""
    response = client.post("/models/python/predict", content=b'{"rows": []}', headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize("in_chunks", [False, True])
def test_body_may_be_as_long_as_the_limit(client, in_chunks):
    """Check the limit in bytes, whether or not the length is declared."""
    start = json.dumps({"rows": [GOOD_ROW]}).encode()
    statuses = []
    for n_bytes in (MAX_BYTES, MAX_BYTES + 1, 50 * MAX_BYTES):
        body = start.ljust(n_bytes)
        parts = (body[k : k + 4096] for k in range(0, n_bytes, 4096))
        response = client.post(
            "/models/python/predict", content=parts if in_chunks else body, headers=JSON
        )
        statuses.append(response.status_code)
    assert statuses == [200, 413, 413]


def test_batch_may_have_as_many_rows_as_the_limit(client, trained):
    """Check that the largest batch is predicted."""
    assert len(predict(client, "python", trained.X[:MAX_ROWS])["label"]) == MAX_ROWS
    assert client.get("/models").json()["limits"] == {"max_rows": MAX_ROWS, "max_bytes": MAX_BYTES}


def test_slow_body_is_not_waited_for(server):
    """Check that a client that stops in the middle of its body gets 408 and is disconnected."""
    head = b"POST /models/python/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=60) as slow:
        slow.sendall(head + b'Content-Length: 100\r\n\r\n{"rows"')
        received = b"".join(iter(lambda: slow.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"the body took longer than 0.2 s" in received


def test_too_many_connections_get_503(impatient_server):
    """Check that the server refuses more connections, and accepts them again later."""
    url = urlsplit(impatient_server.url)
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection((url.hostname, url.port)))
        with connect(impatient_server) as client:
            assert client.get("/health").status_code == 503
    with connect(impatient_server) as client:
        deadline = time.monotonic() + 30
        while client.get("/health").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert client.get("/health").json() == {"status": "ok", "models": sorted(MODELS)}
