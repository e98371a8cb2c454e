"""
A paid service as the dear member
=================================

A cheap model runs here, a dear one answers over HTTP for 0.2 cents per row. A cascade sends only
the rows that the cheap one is unsure of, in batches, and keeps the cheap answers while the service
is down. The service of this example is a real server, on the loopback interface of this machine.
It needs ``pip install requests``.
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
# The client is a class, so that it pickles; time-outs, retries and their pauses are the work of
# requests and urllib3. It tries again where that may help: on lost connections, time-outs and
# overload; a row may then be billed twice. A session is made where it is first used, in every
# process anew.


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
        """Return a session that tries again."""
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
        return np.concatenate([self.ask(batch) for batch in batches])

    def ask(self, X):
        """Return the probabilities of one batch."""
        answer = self.session.post(self.url, json={"rows": X.tolist()}, timeout=self.timeout)
        answer.raise_for_status()
        proba = np.asarray(answer.json()["proba"], dtype=float)
        if proba.shape[:1] != (len(X),):
            raise ValueError(f"the service answered {len(X)} rows with shape {proba.shape}")
        return proba

    def __getstate__(self):
        return {**self.__dict__, "_session": None}


# %%
# Stands for the service: one thread that answers with a forest, and can be told to fail.


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
        """Say nothing."""


def start_service(model):
    """Serve a fitted model in a thread; return the server and its address."""
    Service.model = model
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/predict_proba"


# %%
# The cascade is tuned with the service as a member: it is asked once for the training rows. What
# counts is ``on_stage_error="keep_previous"``: rows that the service fails on keep the cheap answer.


def describe(found, y, n_requests):
    """Print what became of some rows, and what it took."""
    for stage, name in enumerate(["linear", "service"]):
        print(f"  answered by {name:8} {np.sum(found.exit_stage == stage):4} rows")
    print(f"  {n_requests} requests, {found.cost.sum():.2f} USD for {len(y)} rows")
    print(f"  accuracy {np.mean(found.label == y):.4f}")


def main():
    """Tune, predict, break the service and predict again."""
    # The service is on this machine: no proxy leads there.
    os.environ["NO_PROXY"] = "127.0.0.1"
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    X_theirs, X_ours, y_theirs, y_ours = train_test_split(X, y, test_size=0.5, random_state=0)
    server, url = start_service(ExtraTreesClassifier(100, random_state=0).fit(X_theirs, y_theirs))
    service = PrefitClassifier(RemoteProba(url), np.arange(10), name="service", cost=0.002)
    members = [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))),
        ("service", service),
    ]
    cascade = CascadeClassifier(
        members, costs={"linear": 0}, cost_unit="USD", on_stage_error="keep_previous"
    )
    cascade.fit(X_ours, y_ours)
    print(f"The tuning took {Service.n_requests} requests for {len(X_ours)} rows.")
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
    print(f"Rows concerned: {len(caught[0].message.rows)}, all answered")
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
