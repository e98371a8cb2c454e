"""The client of the dear member: it answers in time, or it raises."""

import json
import time

import httpx
import numpy as np


class RemoteProba:
    """A classifier behind HTTP, as a function from an array to class probabilities.

    It tries once. `timeout` in seconds is the longest silence it bears, and an answer that
    comes in drips has to be complete by then, too. Threads share the connections.
    """

    def __init__(self, url, *, timeout=0.5, n_connections=32):
        self.url = url
        self.timeout = timeout
        limits = httpx.Limits(
            max_connections=n_connections, max_keepalive_connections=n_connections
        )
        self.client = httpx.Client(timeout=timeout, limits=limits)

    def __call__(self, X):
        deadline = time.monotonic() + self.timeout
        with self.client.stream("POST", self.url, json={"rows": X.tolist()}) as answer:
            answer.raise_for_status()
            body = self.read(answer, deadline, n_bytes=1000 * (len(X) + 1))
        return np.asarray(json.loads(body)["proba"], dtype=float)

    def read(self, answer, deadline, n_bytes):
        """Return the body of an answer, unless it is late or endless."""
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"no complete answer within {self.timeout} s")
            if len(body) > n_bytes:
                raise ValueError(f"the answer is longer than {n_bytes} bytes")
        return body

    def close(self):
        """Hang up."""
        self.client.close()
