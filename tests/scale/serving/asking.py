"""Requests to the server of the examples, and to its slow service."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from benchmarks import scale_serving

MAX_ROWS, MAX_BYTES, MAX_CONNECTIONS = 40, 20_000, 8
MODELS = ("python", "onnx", "remote")
# ONNX files hold costs in float32.
TOLERANCE = {"rtol": 1e-6}


def connect(server):
    """Return a client of a server, without a proxy."""
    httpx = pytest.importorskip("httpx", reason="the client of the server needs httpx")
    return httpx.Client(base_url=server.url, timeout=60, trust_env=False)


def predict(client, model, X):
    """Return the response to some rows."""
    response = client.post(f"/models/{model}/predict", json={"rows": X.tolist()})
    assert response.status_code == 200, response.text
    return response.json()


def fail(slow_service, shares=None):
    """Let shares of the service's requests meet faults, or none; faults in progress end."""
    scale_serving.request(f"{slow_service.url}/faults", shares or {})


def metric(client, name, **labels):
    """Return a figure of the metrics."""
    return scale_serving.metric(client.get("/metrics").text, name, **labels)


def predict_once(server, model, X):
    """Return the response to some rows over a connection of its own."""
    with connect(server) as client:
        return predict(client, model, X)


@dataclass
class HalfSent:
    """A request of which one half has arrived."""

    connection: socket.socket
    rest: bytes

    def send_rest(self):
        """Send the other half, and return the response."""
        self.connection.sendall(self.rest)
        head, _, body = b"".join(iter(lambda: self.connection.recv(65536), b"")).partition(
            b"\r\n\r\n"
        )
        assert head.startswith(b"HTTP/1.1 200 "), head
        return json.loads(body)


@contextmanager
def half_sent(server, model, X):
    """Send one half of a request, and check that the server has read it."""
    body = json.dumps({"rows": X.tolist()}).encode()
    head = (
        f"POST /models/{model}/predict HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.sendall(head + body[: len(body) // 2])
        # A later request has its response, so this half has been read.
        with connect(server) as client:
            assert client.get("/health").status_code == 200
        yield HalfSent(connection, body[len(body) // 2 :])


def wait_for_requests(slow_service, n_requests, fault="delay"):
    """Wait until so many requests have met a fault in the slow service."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (
            scale_serving.request(f"{slow_service.url}/faults").json()["requests"][fault]
            >= n_requests
        ):
            return
        time.sleep(0.02)
    raise AssertionError(f"fewer than {n_requests} requests arrived")


def wait_until_refused(server):
    """Wait until a server refuses connections."""
    url = urlsplit(server.url)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((url.hostname, url.port), timeout=60).close()
        except ConnectionError:
            return
        time.sleep(0.02)
    raise AssertionError("the server still accepts connections")
