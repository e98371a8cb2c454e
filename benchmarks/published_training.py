"""Cascades and ensembles against a bigger model that costs as much to train as all of theirs."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.published_pools import load_family
from benchmarks.tables import Table, commonest, spread, verdict_of

TITLE = "Training cost"
CAPTION = """\
The image family, the only data set here with recorded training costs. Each net in turn is the
bigger one. Among cascades and ensembles of cheaper nets that together cost no more to train than
the bigger net, and no more to run, the most accurate on one half of the rows is tested on the
other: *points* against the bigger net, mean ± standard deviation over {n_halves} halves; *wins* and
*loses*: points beyond one standard deviation. *training* and *running* are shares of the bigger
net's. Training is counted twice: in recorded seconds, which are rough (nets of one size took very
different times on a shared machine), and in multiply-adds (epochs, from the family's notes, times
those of a forward pass). *with the bigger net*: the cheapest cascade or ensemble of all nets that
is as accurate as the best one.

Published (Wang et al., the authors' article): two EfficientNet-B5, of similar accuracy to one B7,
took 96 TPU-days to train against 160: 0.60 of it. What saves at prediction need not save there: a
cascade with the bigger net has to train that net as well."""
HEADER = ["training counted in", "bigger net", "kind", "chosen (halves)",
          "training (published: 0.60)", "running", "points", "verdict"]  # fmt: skip
KINDS = ("ensemble", "cascade")


def table(folder: Path, *, quick: bool, n_halves: int) -> Table:
    """Return the table of a data folder."""
    pool = load_family(folder)
    pool = pool.shrink() if quick else pool._replace(n_thresholds=32)
    halves = [pool.split(seed) for seed in range(2 if quick else n_halves)]
    best = int(np.argmax([np.mean(p.argmax(axis=1) == pool.y) for p in pool.outputs]))
    with_bigger = [_as_accurate(half, best) for half in halves]
    rows = []
    for unit, train in training_costs(folder).items():
        by_cost = sorted(set(pool.costs.tolist()))
        for bigger in (int(np.flatnonzero(pool.costs == cost)[-1]) for cost in by_cost[1:]):
            models = affordable(pool, train, bigger)
            found = [_within(half, models, bigger) for half in halves]
            rows += [_line(unit, pool, train, bigger, *kind) for kind in _by_kind(found)]
        rows.append(_line(unit, pool, train, best, "any, with the bigger net", with_bigger))
    return Table("training", TITLE, CAPTION.format(n_halves=len(halves)), HEADER, rows)


def training_costs(folder: Path) -> dict[str, np.ndarray]:
    """Return the training costs of all nets, by unit."""
    home = folder / "cifar10_family"
    with np.load(home / "predictions.npz", allow_pickle=False) as file:
        names, mflops = file["model_names"].tolist(), file["cost_mflops"]
        costs = {"seconds": file["train_seconds"]}
    # | resnet_1m | 1m | 26 | ...: name, short name, epochs.
    line = re.compile(r"^\| (\w+) \| [\w']+ \| (\d+) \|", re.MULTILINE)
    epochs = dict(line.findall((home / "README.md").read_text(encoding="utf-8")))
    if epochs.keys() >= set(names):
        costs["multiply-adds"] = np.array([int(epochs[name]) for name in names]) * mflops
    return costs


def affordable(pool, train, bigger) -> list[tuple[int, ...]]:
    """Return the sets of cheaper models that train within the bigger one's cost.

    Subsets of others are left out: the search of the larger set covers them.
    """
    cheaper = np.flatnonzero(pool.costs < pool.costs[bigger]).tolist()
    found: list[tuple[int, ...]] = []
    for size in range(len(cheaper), 1, -1):
        for models in combinations(cheaper, size):
            if train[list(models)].sum() <= train[bigger] and not any(
                set(models) <= set(larger) for larger in found
            ):
                found.append(models)
    return found


def _within(half, sets, bigger):
    """Return the figures of the most accurate choice of each kind; None without one."""
    tuning, test = half
    limit, best = tuning.costs[bigger] * (1 + 1e-9), dict.fromkeys(KINDS)
    for models in sets:
        front = tuning.keep(models).search()
        for kind, found in best.items():
            rows = [row for row in front if row.kind == kind and row.mean_cost <= limit]
            row = max(rows, key=lambda row: (row.score, -row.mean_cost), default=None)
            if row is not None and (found is None or row.score > found[1].score):
                best[kind] = front, row
    return {kind: found and _tested(test, *found, bigger) for kind, found in best.items()}


def _by_kind(found):
    """Return each kind with its figures on the halves."""
    return [(kind, [half[kind] for half in found]) for kind in KINDS]


def _as_accurate(half, bigger):
    """Return the figures of the cheapest choice of all nets that is as accurate as one of them."""
    tuning, test = half
    front = tuning.search()
    alone = next(row.score for row in front if row.members == (tuning.names[bigger],))
    return _tested(test, front, front.select(min_score=alone), bigger)


def _tested(test, front, row, bigger):
    """Return an operating point, its share of the bigger net's cost, and the points it gains."""
    score, cost = test.evaluate(front, [row])
    alone = np.mean(test.outputs[bigger].argmax(axis=1) == test.y)
    return row, cost[0] / test.costs[bigger], 100 * (score[0] - alone)


def _line(unit, pool, train, bigger, kind, found):
    """Return the line of a bigger net and a kind of choice."""
    start = [unit, pool.names[bigger], kind]
    found = [figures for figures in found if figures is not None]
    if not found:
        return [*start, "none within its training", "", "", "", "**loses**"]
    rows, part, points = zip(*found, strict=True)
    totals = [sum(train[pool.names.index(name)] for name in row.members) for row in rows]
    cells = [f"{np.mean(totals) / train[bigger]:.2f}", f"{np.mean(part):.2f}"]
    verdict = verdict_of(points)
    label = commonest(row.label for row in rows)
    return [*start, label, *cells, spread(points, "+.2f"), verdict]
