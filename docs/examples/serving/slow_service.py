"""A stand-in for a paid service: a forest behind HTTP, which can be made slow or faulty.

``POST /predict_proba`` takes ``{"rows": [...]}`` and returns ``{"proba": [...]}``. ``POST /faults``
sets the share of requests that meet each fault from then on, such as ``{"delay": 0.1}``;
``GET /faults`` returns how many requests and rows met each. A delay ends early when the faults are
set again. A drip sends one byte at a time, an endless response as much as the client reads.
"""

import argparse
import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from models import load_or_train

FAULTS = ("delay", "drip", "error", "hang-up", "garbage", "endless")


class Faults:
    """Draws the fault of each request, and counts the faults."""

    def __init__(self):
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.set({})

    def set(self, shares):
        """Set new shares of requests, and count from zero."""
        with self.lock:
            self.over.set()
            self.over = threading.Event()
            self.shares = {fault: float(shares.get(fault, 0)) for fault in FAULTS}
            self.random = random.Random(1)
            self.requests = dict.fromkeys(("none", *FAULTS), 0)
            self.rows = dict.fromkeys(("none", *FAULTS), 0)

    def draw(self, n_rows):
        """Return the fault of the next request, or "none", and what ends a delay."""
        with self.lock:
            kinds = list(self.shares)
            shares = [*self.shares.values(), 1 - sum(self.shares.values())]
            fault = self.random.choices([*kinds, "none"], shares)[0]
            self.requests[fault] += 1
            self.rows[fault] += n_rows
            return fault, self.over

    def counted(self):
        """Return requests and rows by fault."""
        with self.lock:
            return {"requests": dict(self.requests), "rows": dict(self.rows)}


class Service(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send(200, self.server.faults.counted())

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/faults":
            self.server.faults.set(request)
            return self.send(200, self.server.faults.shares)
        fault, over = self.server.faults.draw(len(request["rows"]))
        self.respond(fault, over, np.array(request["rows"]))

    def respond(self, fault, over, rows):
        """Send the probabilities of some rows, or act out the fault."""
        if fault == "hang-up":
            self.close_connection = True
        elif fault == "error":
            self.send(500, {"detail": "out of memory"})
        elif fault == "garbage":
            self.send(200, {"proba": "It works!"})
        elif fault == "endless":
            self.send_parts(b" " * 65536 for _ in iter(over.is_set, True))
        elif fault == "drip":
            self.send_parts(b" " for _ in iter(lambda: over.wait(0.02), True))
        else:
            if fault == "delay":
                over.wait(self.server.delay)
            self.send(200, {"proba": self.server.model.predict_proba(rows).tolist()})

    def send(self, status, content):
        """Send a response; the client may have closed the connection."""
        body = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def send_parts(self, parts):
        """Send a response that never ends."""
        self.close_connection = True
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(10**9))
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
        except ConnectionError:
            pass

    def log_message(self, *_):
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server with a thread for each connection."""

    request_queue_size = 128
    daemon_threads = True


def main():
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="output/serving", help="where the cascade is kept")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--delay", type=float, default=0.5, help="seconds of that fault")
    chosen = parser.parse_args()
    server = Server(("127.0.0.1", chosen.port), Service)
    server.model = load_or_train(chosen.folder).cascade.estimators_[1]
    server.faults, server.delay = Faults(), chosen.delay
    print(f"running on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
