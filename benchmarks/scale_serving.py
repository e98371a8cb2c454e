"""A cascade behind a web server, with and without faults of its slow member: times and rows."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sklearn_cascade._compat import import_optional

SERVER = ("fastapi", "httpx", "prometheus_client", "uvicorn")
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "serving"
N_ROWS, RATE, STOP_RATE = 8, 20, 50
TIMEOUT, DELAY = 0.5, 0.75
# Shares of the slow service's requests that meet each fault.
SCENARIOS = [
    ("python", {}),
    ("onnx", {}),
    ("remote", {}),
    ("remote", {"delay": 0.1}),
    ("remote", {"error": 0.1}),
    ("remote", {"hang-up": 0.1}),
    ("remote", {"delay": 0.1, "error": 0.1, "hang-up": 0.1}),
    ("remote", {"delay": 1}),
]
FAULTS = {"delay": "late", "error": "HTTP 500", "hang-up": "hang-up"}


@dataclass(frozen=True)
class Process:
    """A process of the example that listens on the loopback interface."""

    process: subprocess.Popen
    url: str
    log: Path


def run(*, quick=False):
    """Print a table of loads, of monitors, and of a server stopped in the middle of a load."""
    for package in SERVER:
        import_optional(package, feature="this benchmark", extra="scale")
    n_requests, rate = (20, 100) if quick else (500, RATE)
    print(
        f"{n_requests} requests of {N_ROWS} rows, {rate} a second at random times, each timed from "
        f"when it was due; the slow service has {TIMEOUT:g} s; client, server and service share "
        f"{os.cpu_count()} cores.\n"
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        service = started("slow_service.py", folder, "--delay", str(DELAY))
        slow_service = stack.enter_context(service)
        url = f"{slow_service.url}/predict_proba"
        options = ["--service-url", url, "--service-timeout", str(TIMEOUT)]
        server = stack.enter_context(started("app.py", folder, *options))
        first = {name: monitor(server, name) for name in ("python", "onnx", "remote")}
        print_loads(server, slow_service, n_requests, rate)
        print_monitors(server, first)
        print_stop(server, slow_service, n_requests)


@contextmanager
def started(script, folder, *options):
    """Start a script of the example on a free port, wait until it listens, and end it."""
    log = Path(folder) / f"{Path(script).stem}-{time.monotonic_ns()}.log"
    command = [sys.executable, EXAMPLE / script, "--folder", folder, "--port", "0", *options]
    # No proxy on the way to this machine, and one thread for each process.
    settings = {"NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **settings}
        )
    try:
        yield Process(process, address(process, log), log)
    finally:
        process.kill()
        process.wait()


def address(process, log):
    """Return the address of a process, once it is in its log."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"running on (http://\S+)", log.read_text(), re.IGNORECASE)
        if found:
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[1]} did not start: {log.read_text()}")


def load_client():
    """Return the example's client as a module."""
    if "load" not in sys.modules:
        sys.path.insert(0, str(EXAMPLE))
        try:
            spec = importlib.util.spec_from_file_location("load", EXAMPLE / "load.py")
            module = importlib.util.module_from_spec(spec)
            sys.modules["load"] = module
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(EXAMPLE))
    return sys.modules["load"]


def send_load(server, model, n_requests, rate):
    """Return the report of a load."""
    options = {"n_requests": n_requests, "n_rows": N_ROWS, "rate": rate}
    return asyncio.run(load_client().send_load(server.url, model, **options))


def request(url, content=None):
    """Return the response to a GET, or to a POST of some content."""
    httpx = importlib.import_module("httpx")
    with httpx.Client(trust_env=False) as client:
        response = client.get(url) if content is None else client.post(url, json=content)
    response.raise_for_status()
    return response


def metric(text, name, **labels):
    """Return a figure of the metrics' text, 0 before its first count."""
    wanted = name + "{" + ",".join(f'{key}="{labels[key]}"' for key in sorted(labels)) + "} "
    found = [line for line in text.splitlines() if line.startswith(wanted)]
    return float(found[0].removeprefix(wanted)) if found else 0.0


def monitor(server, model):
    """Return the monitor's response for a model."""
    return request(f"{server.url}/models/{model}/monitor").json()


def print_loads(server, slow_service, n_requests, rate):
    """Print a row for each model and set of faults."""
    print(
        "| model | faults of the slow service | rows sent | rows returned | p50 ms | p99 ms "
        "| exit 0 | exit 1 | fallback rows: in responses, in metrics, injected | accuracy "
        "| USD per 1,000 rows |"
    )
    print("|---|---|" + "---:|" * 9)
    for model, faults in SCENARIOS:
        request(f"{slow_service.url}/faults", faults)
        before = fallback_rows(server, model)
        report = send_load(server, model, n_requests, rate)
        counted = fallback_rows(server, model) - before
        rows = request(f"{slow_service.url}/faults").json()["rows"]
        injected = sum(rows[fault] for fault in FAULTS)
        print_load(model, faults, report, f"{report.fallback_rows}, {counted}, {injected}")
    request(f"{slow_service.url}/faults", {})


def fallback_rows(server, model):
    """Return the fallback rows that the server has counted."""
    text = request(f"{server.url}/metrics").text
    return int(metric(text, "cascade_fallback_rows_total", model=model))


def print_load(model, faults, report, fallback):
    """Print one row."""
    np = importlib.import_module("numpy")
    p50, p99 = np.percentile(report.seconds, [50, 99]) * 1000
    n_rows = report.rows_answered
    shares = [report.rows_by_stage[stage] / n_rows for stage in (0, 1)]
    words = ", ".join(f"{share:.0%} {FAULTS[fault]}" for fault, share in faults.items())
    print(
        f"| {model} | {words or 'none'} | {report.rows_sent} | {n_rows} | {p50:.1f} | {p99:.1f} "
        f"| {shares[0]:.1%} | {shares[1]:.1%} | {fallback} | {report.correct / n_rows:.4f} "
        f"| {1000 * report.cost / n_rows:.3f} |",
        flush=True,
    )


def print_monitors(server, first):
    """Print the figures of each monitor, and how its state has grown."""
    print("\n| monitor | rows seen | drift found | bytes of state, before and now |")
    print("|---|---:|---|---:|")
    for model, before in first.items():
        now = monitor(server, model)
        sizes = [len(json.dumps(each["state"])) for each in (before, now)]
        drifted = "yes" if now["summary"]["drifted"] else "no"
        print(f"| {model} | {now['summary']['n_samples']} | {drifted} | {sizes[0]}, {sizes[1]} |")


def print_stop(server, slow_service, n_requests):
    """Stop the server in the middle of a load, and print the outcomes of the requests."""
    # A late service keeps many requests in flight.
    request(f"{slow_service.url}/faults", {"delay": 1})
    before = started_requests(request(f"{server.url}/metrics").text)
    report, in_flight = asyncio.run(stopped_load(server, n_requests))
    server.process.wait(60)
    last = started_requests((server.log.parent / "last.prom").read_text())
    outcomes = report.outcomes
    print(f"\n| stopped in a load of {STOP_RATE} a second, all of them late | requests |")
    print("|---|---:|")
    print(f"| sent | {report.n_requests} |")
    print(f"| in flight at that moment | {in_flight} |")
    print(f"| started by the server, before and after | {last - before} |")
    print(f"| complete responses | {outcomes[200]} |")
    print(f"| refused | {outcomes['refused']} |")
    print(f"| closed without a response | {outcomes['cut off']} |")


def started_requests(text):
    """Return how many batches the server has started and ended, whatever the outcome."""
    labels = {"path": "/models/{name}/predict"}
    return int(metric(text, "cascade_request_seconds_count", **labels))


async def stopped_load(server, n_requests):
    """Return the report of a load during which the server is stopped, and requests in flight."""
    client = load_client()
    report = client.LoadReport()
    options = {"n_requests": n_requests, "n_rows": N_ROWS, "rate": STOP_RATE, "report": report}
    task = asyncio.create_task(client.send_load(server.url, "remote", **options))
    while report.n_requests < n_requests // 2:
        await asyncio.sleep(0.01)
    in_flight = report.n_requests - report.outcomes.total()
    server.process.send_signal(signal.SIGTERM)
    return await task, in_flight
