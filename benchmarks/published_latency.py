"""Throughput and online latency of real nets: a cascade, and its ONNX file, against one net."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.onnx_cascades import exported
from benchmarks.published_pools import Half, Pool
from benchmarks.tables import Table
from sklearn_cascade import CascadeClassifier, OnnxClassifier, latency_report

TITLE = "Throughput and online latency"
CAPTION = """\
The ONNX nets of the image family, run on {n_images} images: a single net, a cascade, and the same
cascade as one ONNX file, in turns on one thread, by `latency_report`; the median of {n_runs} runs,
the extremes in brackets. The cascade is the cheapest in multiply-adds that is as accurate as the
net on the 5,000 validation rows; *points* and *multiply-adds* (of the net over those of the
cascade) are of the 10,000 test rows. A net without a line has no such cascade. All other figures
are speed-ups over the net, **a loss below 1**: in a batch of all images, and one row at a time,
where *mean* is what a service pays and *p99* what its slowest callers wait.
{same} % of the images get the recorded label. Load average {load:.1f} on {n_cores} cores at the
end: other programs blur p99 most.

Published (Wang et al.): 2.3 times as fast as ViT-L-384 at its accuracy (abstract), and an online
latency 5.5 times lower on average than EfficientNet-B7's (the authors' article), with far bigger
nets on an accelerator."""
HEADER = ["single net", "cascade", "points", "multiply-adds", "batch (published: 2.3)",
          "one row, mean (published: 5.5)", "one row, p99", "file: batch", "file: one row, mean",
          "file: one row, p99"]  # fmt: skip


def table(folder: Path, *, quick: bool, n_halves: int) -> Table:
    """Return the table of a data folder; `n_halves` is not used, since the data are split."""
    home = folder / "cifar10_family"
    found = tuned_on_valid(home)
    images, shown = load_images(home, found.test, 60 if quick else None)
    n_runs, rows, same = 1 if quick else 5, [], []
    for net, row in as_accurate(found.front)[-1 if quick else 0 :]:
        members = {name: open_net(home, name, found.test) for name in {net, *row.members}}
        cascade = build(members, row, images, shown.y)
        file = exported(net, cascade, images, []).file
        timed = {
            "net": members[net],
            "cascade": cascade,
            "file": OnnxClassifier(file, output_name="probabilities"),
        }
        ratios = [speedups(timed, images) for _ in range(n_runs)]
        recorded = found.front.apply(row, dict(zip(shown.names, shown.outputs, strict=True)))
        same.append(np.mean(cascade.predict(images) == recorded.label))
        rows.append(_line(net, row, found, ratios))
    figures = {
        "n_images": len(images),
        "n_runs": n_runs,
        "same": f"{100 * min(same):.4g}",
        "load": os.getloadavg()[0],
        "n_cores": os.cpu_count(),
    }
    return Table("latency", TITLE, CAPTION.format(**figures), HEADER, rows)


def tuned_on_valid(home: Path) -> Half:
    """Return the front of the validation rows, and the test rows."""
    with np.load(home / "predictions.npz", allow_pickle=False) as file:
        tuning, test = (
            Pool(
                part,
                list(file[f"proba_{part}"]),
                file[f"label_{part}"],
                file["cost_mflops"],
                file["model_names"].tolist(),
                24,
            )
            for part in ("valid", "test")
        )
    return Half(tuning, test, tuning.search(), 0.0)


def load_images(home: Path, test: Pool, most: int | None) -> tuple[np.ndarray, Pool]:
    """Return images between 0 and 1, and their recorded predictions."""
    with np.load(home / "test_images_500.npz", allow_pickle=False) as file:
        images, rows = file["images"][:most], file["rows"][:most]
    return images.astype(np.float32) / 255, test.take(rows)


def as_accurate(front) -> list:
    """Return names of nets, by cost, each with the cheapest cascade of equal accuracy."""
    singles = [row for row in front if row.kind == "single"]
    chosen = [(row.label, front.select(min_score=row.score)) for row in singles]
    return [(name, row) for name, row in chosen if row.kind == "cascade"]


def open_net(home: Path, name: str, pool: Pool) -> OnnxClassifier:
    """Return a net of the family with its cost."""
    return OnnxClassifier(home / f"{name}.onnx", cost=float(pool.costs[pool.names.index(name)]))


def build(nets, row, images, y) -> CascadeClassifier:
    """Return an operating point as a fitted cascade."""
    members = [(name, nets[name]) for name in row.members]
    thresholds = list(row.thresholds)
    return CascadeClassifier(members, thresholds=thresholds, combine=row.combine).fit(images, y)


def speedups(timed, images) -> list[float]:
    """Return the speed-ups of the cascade and of its file over the net."""
    n_images, figures = len(images), {}
    for size, n_repeats in ((n_images, 9), (1, n_images)):
        report = latency_report(
            list(timed.items()), images, batch_sizes=(size,), n_repeats=n_repeats
        )
        figures |= {(line["name"], size): line for line in report.rows()}
    wanted = [(n_images, "median"), (1, "mean"), (1, "p99")]
    return [
        figures["net", size][figure] / figures[other, size][figure]
        for other in ("cascade", "file")
        for size, figure in wanted
    ]


def _line(net, row, found, ratios):
    """Return the line of a net and a cascade."""
    single = next(point for point in found.front if point.members == (net,))
    score, cost = found.evaluate([single, row])
    cells = [
        f"{middle:.2f} ({low:.2f} to {high:.2f})"
        for low, middle, high in np.percentile(ratios, [0, 50, 100], axis=0).T
    ]
    label = f"{row.label}, {row.combine}"
    points, fewer = f"{100 * (score[1] - score[0]):+.2f}", f"{cost[0] / cost[1]:.2f}"
    return [net, label, points, fewer, *cells]
