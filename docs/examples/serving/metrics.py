"""The server's counters, in the text format of Prometheus."""

import numpy as np
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    write_to_textfile,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """A fixed set of counters, however long the server runs."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self):
        self.registry = CollectorRegistry()
        common = {"namespace": "cascade", "registry": self.registry}
        self.requests = Counter("requests", "Requests completed", ["path", "status"], **common)
        self.seconds = Histogram(
            "request_seconds",
            "Time to the end of the response",
            ["path"],
            buckets=SECONDS,
            **common,
        )
        self.rows = Counter("rows", "Rows by exit stage", ["model", "stage"], **common)
        self.fallback = Counter(
            "fallback_rows", "Rows on which a stage failed", ["model"], **common
        )
        self.cost = Counter("cost", "Costs, in the cascade's unit", ["model"], **common)
        self.drifted = Gauge(
            "drifted", "Whether served rows differ from the calibration rows", ["model"], **common
        )

    def count(self, name, served, found, fallback_rows):
        """Add a batch of predictions."""
        stages = list(served.cascade.named_estimators_)
        counts = np.bincount(found.exit_stage, minlength=len(stages))
        for stage, n_rows in zip(stages, counts.tolist(), strict=True):
            self.rows.labels(name, stage).inc(n_rows)
        self.fallback.labels(name).inc(len(fallback_rows))
        self.cost.labels(name).inc(float(found.cost.sum()))
        self.drifted.labels(name).set(served.monitor.drifted)

    def text(self):
        """Return all figures."""
        return generate_latest(self.registry)

    def write(self, path):
        """Write all figures to a file, when the server stops."""
        write_to_textfile(path, self.registry)


class CountRequests:
    """Middleware that counts each request by the pattern of its path and by its status."""

    def __init__(self, app, metrics):
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = 500

        async def note_status(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.metrics.seconds.labels(path_of(scope)).time():
            try:
                await self.app(scope, receive, note_status)
            finally:
                self.metrics.requests.labels(path_of(scope), status).inc()


def path_of(scope):
    """Return the pattern of the path; unknown paths share one."""
    parts = scope["path"].split("/")
    if len(parts) == 4 and parts[1] == "models" and parts[3] in ("predict", "monitor"):
        return f"/models/{{name}}/{parts[3]}"
    return scope["path"] if scope["path"] in ("/health", "/models", "/metrics") else "other"
