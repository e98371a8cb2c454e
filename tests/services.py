"""A real HTTP service on the loopback interface that returns a classifier's probabilities."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

# Seconds, longer than the timeout of the tests' client.
DELAY = 0.45


class ClassifierService:
    """A service in threads of this process; a context manager that starts and closes it.

    ``POST /predict_proba`` takes ``{"rows": [...]}`` and returns ``{"proba": [...]}``.

    `fault` is what goes wrong with requests: "error 500", "delay", "garbage" or "wrong width";
    `n_faults` is how many requests it affects, None for all. `batches` are the rows of each
    request, successful or not.
    """

    def __init__(self, model):
        self.model = model
        self.fault: str | None = None
        self.n_faults: int | None = None
        self.batches: list[list[list[float]]] = []
        self.closed = False
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.service = self

    @property
    def url(self):
        """Address of the service."""
        return f"http://127.0.0.1:{self._server.server_port}/predict_proba"

    def break_down(self, fault, n_faults=None):
        """Let the next requests, or all, meet a fault."""
        self.fault, self.n_faults = fault, n_faults

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop listening; a second call does nothing."""
        if not self.closed:
            self.closed = True
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def record(self, rows):
        """Record a request, and return the fault that it meets."""
        with self._lock:
            self.batches.append(rows)
            if self.fault is None or self.n_faults == 0:
                return None
            if self.n_faults is not None:
                self.n_faults -= 1
            return self.fault

    def body(self, rows, fault):
        """Return the body of the response to some rows."""
        proba = self.model.predict_proba(np.array(rows))
        if fault == "garbage":
            return b"<html>It works!</html>"
        if fault == "wrong width":
            proba = proba[:, :-1]
        return json.dumps({"proba": proba.tolist()}).encode()


class _Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        service = self.server.service
        if service.closed:
            # A connection from before the service closed.
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        rows = json.loads(body)["rows"]
        fault = service.record(rows)
        if fault == "delay":
            time.sleep(DELAY)
        if fault == "error 500":
            self._send(500, b"out of memory")
        else:
            self._send(200, service.body(rows, fault))

    def _send(self, status, body):
        """Send a response; the client may have closed the connection."""
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_):
        """Log nothing."""
