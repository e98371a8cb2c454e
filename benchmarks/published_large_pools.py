"""The greedy search against the exhaustive one, in large pools."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.published_pools import Half, read_pools
from benchmarks.tables import Table, spread

FILE = Path("predictions") / "imagenet_cnn34.npz"
TITLE = "Large pools: greedy against exhaustive"
CAPTION = """\
The 34 networks of ImageNet, and the 29 of them whose milliseconds are known. Both searches take
the same half of the 50,000 rows, one after the other on one thread, with {n_thresholds} thresholds
a stage; *seconds* are processor time. Each search chooses the cheapest cascade or ensemble that is
as accurate as the best single model on that half: *cost, searched half* is the greedy one's over
the exhaustive one's, above 1 if greedy loses (it can be below 1, since thresholds are tried on
grids). *cost* and *points* (greedy minus exhaustive) are the same on the other half, and *saving*
is the best single model's cost over that of greedy's choice there, with the points that it gains.
Mean ± standard deviation over {n_halves} halves.

Published (Streeter, ICML 2018, abstract): greedy cascades need up to 2 times fewer multiplications
on ImageNet at similar accuracy. `python -m benchmarks search` searches a pool of 500 models."""
HEADER = ["pool", "models x rows", "stages", "seconds, exhaustive", "seconds, greedy",
          "times faster", "cost, searched half", "cost", "points",
          "saving (published: up to 2)", "its points"]  # fmt: skip
STAGES = (2, 3, 4)


def table(folder: Path, *, quick: bool, n_halves: int) -> Table:
    """Return the table of a data folder."""
    n_halves, rows = min(n_halves, 3), []
    for pool in read_pools(folder / FILE):
        pool = pool.shrink() if quick else pool
        for stages in STAGES[:1] if quick else STAGES:
            halves = [_both(*pool.split(seed), stages) for seed in range(n_halves)]
            rows.append(_line(pool, stages, halves))
        n_thresholds = pool.n_thresholds
    caption = CAPTION.format(n_halves=n_halves, n_thresholds=n_thresholds)
    return Table("large_pools", TITLE, caption, HEADER, rows)


def _both(tuning, test, stages):
    """Return the fronts of both searches of one half."""
    found = []
    for method in ("exhaustive", "greedy"):
        start = process_time()
        front = tuning.search(max_stages=stages, method=method)
        found.append(Half(tuning, test, front, process_time() - start))
    return found


def _line(pool, stages, halves):
    """Return the line of a pool and a number of stages."""
    seconds = np.array([[half.seconds for half in both] for both in halves])
    tuned, cost, points, saving, gain = np.transpose([_compare(*both) for both in halves])
    return [
        pool.name,
        f"{len(pool.names)} x {len(pool.y):,}",
        str(stages),
        *(f"{value:.1f}" for value in seconds.mean(axis=0)),
        f"{np.mean(seconds[:, 0] / seconds[:, 1]):.2f}",
        spread(tuned, ".3f"),
        spread(cost, ".3f"),
        spread(points, "+.2f"),
        spread(saving),
        spread(gain, "+.2f"),
    ]


def _compare(exhaustive, greedy):
    """Return cost ratios on both halves and points on the other; saving and points of greedy."""
    best, near = exhaustive.front.select(), greedy.front.select()
    score, cost = exhaustive.evaluate([exhaustive.single, best])
    near_score, near_cost = (figure[0] for figure in greedy.evaluate([near]))
    points = 100 * (near_score - score)
    tuned = near.mean_cost / best.mean_cost
    return tuned, near_cost / cost[1], points[1], cost[0] / near_cost, points[0]
