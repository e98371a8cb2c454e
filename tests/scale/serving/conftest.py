"""The processes of the example, shared by the tests of this folder."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from benchmarks import scale_serving
from tests.scale.serving.asking import MAX_BYTES, MAX_CONNECTIONS, MAX_ROWS, connect, fail


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """Return the folder that all processes share."""
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="package")
def slow_service(folder):
    """Return the slow service; its delays last until they are ended, or a minute."""
    with scale_serving.started("slow_service.py", folder, "--delay", "60") as process:
        yield process


@pytest.fixture(autouse=True)
def no_faults(slow_service):
    """End all faults of the slow service before and after each test."""
    fail(slow_service)
    yield
    fail(slow_service)


@pytest.fixture(scope="package")
def start(folder, slow_service):
    """Return a context manager that starts a server, with the service's timeout as an option."""

    @contextmanager
    def start(*options, timeout=30):
        url = f"{slow_service.url}/predict_proba"
        options = ["--service-url", url, "--service-timeout", str(timeout), *options]
        limits = ["--max-rows", str(MAX_ROWS), "--max-bytes", str(MAX_BYTES)]
        with scale_serving.started("app.py", folder, *limits, *options) as server:
            yield server

    return start


@pytest.fixture(scope="package")
def server(start):
    """Return a server that waits for the slow service."""
    with start("--body-timeout", "0.2") as server:
        yield server


@pytest.fixture(scope="package")
def impatient_server(start):
    """Return a server with a short timeout and few connections."""
    with start("--max-connections", str(MAX_CONNECTIONS), timeout=0.2) as server:
        yield server


@pytest.fixture
def client(server):
    """Return a client of the server."""
    with connect(server) as client:
        yield client


@pytest.fixture(scope="package")
def trained(slow_service, folder):
    """Return the served cascade, with rows that it was not fitted on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(scale_serving.EXAMPLE)
        from models import load_or_train
    return load_or_train(folder)
