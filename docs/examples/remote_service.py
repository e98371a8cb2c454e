"""
A paid service as the expensive member
======================================

A cheap model runs locally; an expensive one is a service that costs 0.2 cents per row. A cascade
sends it only the rows on which the cheap model is not confident, in batches, and keeps the cheap
predictions while the service is down. The service of this example is a real server, on the loopback
interface of this machine. It needs ``pip install requests``.
"""

import json
import os
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from urllib3.util import Retry

from sklearn_cascade import CascadeClassifier, PrefitClassifier
from sklearn_cascade.exceptions import StageFailedWarning

# %%
# The client is a class, so that it pickles; requests and urllib3 handle time-outs, retries and the
# pauses between them. It retries where that may help: on lost connections, time-outs and overload.
# A row may then be billed twice. Each process opens a session of its own at the first use.


class RemoteProba:
    """A classifier behind HTTP, as a function from an array to class probabilities."""

    def __init__(self, url, *, batch_size=100, timeout=1.0, n_retries=2):
        self.url = url
        self.batch_size = batch_size
        self.timeout = timeout
        self.n_retries = n_retries
        self._session = None

    @property
    def session(self):
        """Connections, kept open between batches."""
        if self._session is None:
            self._session = self._connect()
        return self._session

    def _connect(self):
        """Return a session with retries."""
        retry = Retry(
            self.n_retries,
            allowed_methods=["POST"],
            status_forcelist=[500, 502, 503, 504],
            backoff_factor=0.05,
        )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return session

    def __call__(self, X):
        batches = (
            X[start : start + self.batch_size] for start in range(0, len(X), self.batch_size)
        )
        return np.concatenate([self.predict_batch(batch) for batch in batches])

    def predict_batch(self, X):
        """Return the probabilities of one batch."""
        response = self.session.post(self.url, json={"rows": X.tolist()}, timeout=self.timeout)
        response.raise_for_status()
        proba = np.asarray(response.json()["proba"], dtype=float)
        if proba.shape[:1] != (len(X),):
            raise ValueError(f"the service returned shape {proba.shape} for {len(X)} rows")
        return proba

    def __getstate__(self):
        return {**self.__dict__, "_session": None}


# %%
# The service: a forest behind a server in a thread, which can be made to fail.


class Service(BaseHTTPRequestHandler):
    """Handler of ``POST /predict_proba``."""

    model, healthy, n_requests = None, True, 0

    def do_POST(self):
        Service.n_requests += 1
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
        body = json.dumps({"proba": self.model.predict_proba(rows).tolist()}).encode()
        self.send_response(200 if self.healthy else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Log nothing."""


def start_service(model):
    """Serve a fitted model in a thread; return the server and its address."""
    Service.model = model
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/predict_proba"


# %%
# The cascade is tuned with the service as a member, which predicts the training rows once. With
# ``on_stage_error="keep_previous"``, rows on which the service fails keep the cheap prediction.


def describe(found, y, n_requests):
    """Print where rows exited, the requests, the cost and the accuracy."""
    for stage, name in enumerate(["linear", "service"]):
        print(f"  predicted by {name:8} {np.sum(found.exit_stage == stage):4} rows")
    print(f"  {n_requests} requests, {found.cost.sum():.2f} USD for {len(y)} rows")
    print(f"  accuracy {np.mean(found.label == y):.4f}")


def main():
    """Tune, predict, break the service and predict again."""
    # The service is on this machine, so no proxy is used.
    os.environ["NO_PROXY"] = "127.0.0.1"
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    X_service, X_train, y_service, y_train = train_test_split(X, y, test_size=0.5, random_state=0)
    server, url = start_service(ExtraTreesClassifier(100, random_state=0).fit(X_service, y_service))
    service = PrefitClassifier(RemoteProba(url), np.arange(10), name="service", cost=0.002)
    members = [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))),
        ("service", service),
    ]
    cascade = CascadeClassifier(
        members, costs={"linear": 0}, cost_unit="USD", on_stage_error="keep_previous"
    )
    cascade.fit(X_train, y_train)
    print(f"The tuning took {Service.n_requests} requests for {len(X_train)} rows.")
    before = Service.n_requests
    print("With the service:")
    describe(cascade.predict_details(X_test), y_test, Service.n_requests - before)

    Service.healthy, before = False, Service.n_requests
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StageFailedWarning)
        found = cascade.predict_details(X_test)
    print("While it is down, with the failed calls billed:")
    describe(found, y_test, Service.n_requests - before)
    print(f"StageFailedWarning: {caught[0].message}")
    print(f"Rows concerned: {len(caught[0].message.rows)}, all predicted by the linear model")
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
