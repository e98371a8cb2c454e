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
def dear(folder):
    """Return the dear member's service; its delays last until they are ended, or a minute."""
    with scale_serving.started("slow_service.py", folder, "--delay", "60") as process:
        yield process


@pytest.fixture(autouse=True)
def no_faults(dear):
    """Let the dear member be well before and after each test."""
    fail(dear)
    yield
    fail(dear)


@pytest.fixture(scope="package")
def start(folder, dear):
    """Return a context manager that starts a server, as patient as may be asked."""

    @contextmanager
    def start(*options, patience=30):
        url = f"{dear.url}/predict_proba"
        options = ["--service-url", url, "--service-timeout", str(patience), *options]
        limits = ["--max-rows", str(MAX_ROWS), "--max-bytes", str(MAX_BYTES)]
        with scale_serving.started("app.py", folder, *limits, *options) as server:
            yield server

    return start


@pytest.fixture(scope="package")
def server(start):
    """Return a server that waits for its dear member."""
    with start("--body-timeout", "0.2") as server:
        yield server


@pytest.fixture(scope="package")
def hasty_server(start):
    """Return a server that does not wait for long, and takes few connections."""
    with start("--max-connections", str(MAX_CONNECTIONS), patience=0.2) as server:
        yield server


@pytest.fixture
def client(server):
    """Return a client of the server."""
    with connect(server) as client:
        yield client


@pytest.fixture(scope="package")
def trained(dear, folder):
    """Return the cascade that is served, with rows that it has not learned from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(scale_serving.EXAMPLE)
        from models import load_or_train
    return load_or_train(folder)
