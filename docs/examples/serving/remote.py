"""The client of the expensive member: it returns in time, or it raises."""

import json
import time

import httpx
import numpy as np


class RemoteProba:
    """A classifier behind HTTP, as a function from an array to class probabilities.

    It tries once. `timeout` is the longest silence in seconds; a response that arrives in small
    parts has to be complete by then, too. Threads share the connections.
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
        with self.client.stream("POST", self.url, json={"rows": X.tolist()}) as response:
            response.raise_for_status()
            body = self.read(response, deadline, n_bytes=1000 * (len(X) + 1))
        return np.asarray(json.loads(body)["proba"], dtype=float)

    def read(self, response, deadline, n_bytes):
        """Return the body of a response, unless it is late or endless."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"no complete response within {self.timeout} s")
            if len(body) > n_bytes:
                raise ValueError(f"the response is longer than {n_bytes} bytes")
        return body

    def close(self):
        """Close the connections."""
        self.client.close()
