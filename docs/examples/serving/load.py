"""An open-loop load: requests are sent on time, whether or not earlier ones have returned.

``python load.py`` sends requests to a running server, and prints the results and the times.
"""

import argparse
import asyncio
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np
from models import halves

HEADER = (
    "| requests | rows sent | rows answered | p50 ms | p99 ms | rows by stage | fallback rows "
    "| accuracy |\n|---:|---:|---:|---:|---:|---|---:|---:|"
)


@dataclass
class LoadReport:
    """The outcomes of a load's requests, added up."""

    n_requests: int = 0
    rows_sent: int = 0
    rows_answered: int = 0
    fallback_rows: int = 0
    correct: int = 0
    cost: float = 0.0
    # Of successful requests, from when they were due.
    seconds: list = field(default_factory=list)
    rows_by_stage: Counter = field(default_factory=Counter)
    # HTTP statuses, "refused" if no connection was made, "cut off" if one ended early.
    outcomes: Counter = field(default_factory=Counter)

    def add(self, found, y, seconds):
        """Add a response to rows whose labels are known."""
        per_row = (found[key] for key in ("label", "confidence", "exit_stage", "cost"))
        if {len(values) for values in per_row} != {len(y)}:
            raise ValueError(f"{len(y)} rows were sent; the response is of another length: {found}")
        self.seconds.append(seconds)
        self.rows_answered += len(y)
        self.fallback_rows += len(found["fallback_rows"])
        self.correct += int(np.sum(np.array(found["label"]) == y))
        self.cost += sum(found["cost"])
        self.rows_by_stage.update(found["exit_stage"])

    def row(self):
        """Return the figures as a row of `HEADER`."""
        shares = [self.rows_by_stage[k] / max(self.rows_answered, 1) for k in range(2)]
        p50, p99 = np.percentile(self.seconds or [np.nan], [50, 99]) * 1000
        return (
            f"| {self.n_requests} | {self.rows_sent} | {self.rows_answered} | {p50:.1f} "
            f"| {p99:.1f} | {shares[0]:.1%}, {shares[1]:.1%} | {self.fallback_rows} "
            f"| {self.correct / max(self.rows_answered, 1):.4f} |"
        )


async def send_load(url, model, *, n_requests, n_rows, rate, seed=0, report=None):
    """Send requests of some rows each at random times, `rate` per second; return the report."""
    report = report or LoadReport()
    rng = np.random.default_rng(seed)
    _, X, _, y = halves()
    due = np.cumsum(rng.exponential(1 / rate, n_requests))
    picks = rng.integers(len(X), size=(n_requests, n_rows))
    options = {
        "timeout": 30,
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=50),
        "trust_env": False,  # a proxy would add time of its own
    }
    async with httpx.AsyncClient(base_url=url, **options) as client:
        # Times count from the first connection.
        await client.get("/health")
        start = asyncio.get_running_loop().time()
        path = f"/models/{model}/predict"
        await asyncio.gather(
            *(
                send(client, path, X[rows], y[rows], start + when, report)
                for when, rows in zip(due, picks, strict=True)
            )
        )
    return report


async def send(client, path, X, y, due, report):
    """Send one request when it is due, and report its outcome."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    report.n_requests += 1
    report.rows_sent += len(X)
    try:
        response = await client.post(path, json={"rows": X.tolist()})
    except httpx.ConnectError:
        report.outcomes["refused"] += 1
    except httpx.TransportError:
        report.outcomes["cut off"] += 1
    else:
        report.outcomes[response.status_code] += 1
        if response.status_code == 200:
            report.add(response.json(), y, loop.time() - due)


def main():
    """Send the load that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="python", help="python, onnx or remote")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rows", type=int, default=8, help="rows of each request")
    parser.add_argument("--rate", type=float, default=50, help="requests per second")
    chosen = parser.parse_args()
    report = asyncio.run(
        send_load(
            chosen.url,
            chosen.model,
            n_requests=chosen.requests,
            n_rows=chosen.rows,
            rate=chosen.rate,
        )
    )
    print(HEADER)
    print(report.row())
    print(f"\nOutcomes: {dict(report.outcomes)}")


if __name__ == "__main__":
    main()
