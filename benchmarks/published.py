"""Published experiments repeated on recorded predictions of real models; losses stay in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks import (
    published_cascades,
    published_ensembles,
    published_large_pools,
    published_latency,
    published_top5,
    published_training,
    published_worst_case,
)
from benchmarks.published_pools import Pool, halves_of, load_pools
from benchmarks.tables import Table

# Experiments on the same halves of every pool, which are searched once for all of them.
ON_HALVES = (published_ensembles, published_cascades, published_worst_case)
# Experiments with a search of their own, and the data that they need.
FAMILY = Path("cifar10_family")
ALONE = {
    published_latency: FAMILY,
    published_training: FAMILY,
    published_large_pools: published_large_pools.FILE,
}
# Models in a candidate, and fewer for the largest pools, so that a half takes seconds.
STAGES, STAGES_LARGE = 4, 3


def add_arguments(command):
    """Add the options that only this benchmark has to its command line."""
    command.add_argument("--out", type=Path, help="folder for the tables, besides the screen")


def run(*, data, quick=False, n_halves=10, out=None):
    """Print a table for each experiment, and write it to the folder `out` if there is one."""
    with threadpool_limits(1):
        for table in tables(Path(data), quick, n_halves):
            print(f"## {table.title}\n\n{table.to_markdown()}", flush=True)
            if out is not None:
                Path(out).mkdir(parents=True, exist_ok=True)
                path = Path(out) / f"published_{table.topic}.md"
                path.write_text(table.to_markdown(), encoding="utf-8")


def tables(folder: Path, quick: bool, n_halves: int) -> Iterator[Table]:
    """Yield the tables whose data are in the folder."""
    if not any(folder.glob("*/*.npz")):
        raise FileNotFoundError(f"data={str(folder)!r} holds no recorded predictions")
    rows = {experiment: [] for experiment in ON_HALVES}
    n_halves = 2 if quick else n_halves
    for pool in _all_pools(folder, quick):
        for experiment, measured in _measure(pool.shrink() if quick else pool, quick, n_halves):
            rows[experiment] += experiment.lines(pool, measured)
    figures = {"n_halves": n_halves, "stages": STAGES, "stages_large": STAGES_LARGE}
    for experiment in ON_HALVES:
        caption = experiment.CAPTION.format(**figures)
        yield Table(
            experiment.TOPIC, experiment.TITLE, caption, experiment.HEADER, rows[experiment]
        )
    for experiment, needed in ALONE.items():
        if (folder / needed).exists():
            yield experiment.table(folder, quick=quick, n_halves=n_halves)


def _all_pools(folder: Path, quick: bool) -> Iterator[Pool]:
    """Yield the recorded pools, and the one with probabilities of the five best classes."""
    yield from load_pools(folder)
    if (folder / published_top5.FILE).exists():
        yield published_top5.load_top5(folder, 400 if quick else None)


def _measure(pool: Pool, quick: bool, n_halves: int):
    """Return the measurements of each experiment on each half."""
    large = len(pool.names) > 20
    stages = 2 if quick else STAGES_LARGE if large else STAGES
    halves = halves_of(pool, n_halves, max_stages=stages)
    by_half = [[experiment.measure(half) for experiment in ON_HALVES] for half in halves]
    return zip(ON_HALVES, zip(*by_half, strict=True), strict=True)
