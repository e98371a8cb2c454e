"""Ensembles without early exit against a bigger model, within its cost."""

from __future__ import annotations

from itertools import product

import numpy as np

from benchmarks.tables import commonest, spread, verdict_of

SIZES = (2, 3, 4)
TOPIC, TITLE = "ensembles", "An ensemble against a bigger model"
CAPTION = """\
Each model in turn is the bigger one. Among plain averages of at most k cheaper models, two are
chosen on one half of the rows: the most accurate within the bigger model's cost, and the cheapest
of no lower accuracy, whatever it costs. *points*, the ensemble's accuracy minus the bigger model's,
are of the other half: mean ± standard deviation over {n_halves} halves. *wins* and *loses*: points
beyond one standard deviation. *equal accuracy*: the bigger model's cost over that of the second
ensemble, below 1 if the ensemble is more expensive; in brackets, the halves in which there is one.

Published (Wang et al., the authors' article): an ensemble beats a bigger EfficientNet at its cost
only above about 5 GFLOPs, and two B5 are as accurate as one B7 at about half of the FLOPs. Costs
here are in GFLOPs, for cifar10_family in MFLOPs: only some of the ImageNet networks are beyond 5
GFLOPs. For those, the five best classes are averaged; the rest of the probability is unknown."""
HEADER = ["data set", "bigger model", "cost", "accuracy, %", "k", "ensemble (halves)",
          "part spent", "points", "equal accuracy (published: 2.0)", "its points",
          "verdict"]  # fmt: skip


def measure(half):
    """Return the figures of ensembles against each model, for each largest number of members."""
    if not half.test.has_proba:
        return {}
    singles = {row.label: row for row in half.front if row.kind == "single"}
    chosen = {}
    for bigger, most in product(singles.values(), SIZES):
        smaller = {name for name, row in singles.items() if row.mean_cost < bigger.mean_cost}
        averages = [
            row
            for row in half.front
            if row.kind == "ensemble"
            and len(row.members) <= most
            and smaller.issuperset(row.members)
        ]
        chosen[bigger.label, most] = (bigger, *_choose(bigger, averages))
    # Each is evaluated once, though it may be chosen against several models.
    points = list({point: None for three in chosen.values() for point in three if point})
    evaluated = dict(zip(points, zip(*half.evaluate(points), strict=True), strict=True))
    return {key: _compare(*three, evaluated) for key, three in chosen.items()}


def _choose(bigger, averages):
    """Return the most accurate ensemble within a model's cost, and the cheapest as accurate."""
    within = [row for row in averages if row.mean_cost <= bigger.mean_cost * (1 + 1e-9)]
    equal = [row for row in averages if row.score >= bigger.score - 1e-9]
    best = max(within, key=lambda row: (row.score, -row.mean_cost), default=None)
    return best, min(equal, key=lambda row: (row.mean_cost, -row.score), default=None)


def _compare(bigger, best, cheapest, evaluated):
    """Return accuracy and cost of a model, and the figures of both ensembles against it."""
    score, cost = evaluated[bigger]
    found = {"alone": (100 * score, cost), "within": None, "equal": None}
    if best:
        points = 100 * (evaluated[best][0] - score)
        found["within"] = best.label, evaluated[best][1] / cost, points
    if cheapest:
        found["equal"] = cost / evaluated[cheapest][1], 100 * (evaluated[cheapest][0] - score)
    return found


def lines(pool, measured):
    """Return a line for each bigger model, several for the best, one for all without ensemble."""
    if not measured[0]:
        return []
    found = {key: [half[key] for half in measured] for key in measured[0]}
    names = [name for name, most in found if most == SIZES[-1]]
    able = [name for name in names if any(half["within"] for half in found[name, SIZES[-1]])]
    best = max(able, key=lambda name: np.mean([h["alone"][0] for h in found[name, SIZES[-1]]]))
    without = ", ".join(name for name in names if name not in able)
    rows = [[pool.name, without, "", "", "", "none within their cost", *[""] * 4, "**loses**"]]
    for name in able:
        for most in SIZES if name == best else SIZES[-1:]:
            rows.append([pool.name, name, *_figures(found[name, most], most)])
    return rows


def _figures(found, most):
    """Return the cells of one bigger model and number of members."""
    score, cost = np.mean([half["alone"] for half in found], axis=0)
    within = [half["within"] for half in found if half["within"]]
    equal = [half["equal"] for half in found if half["equal"]]
    start = [f"{cost:.3g}", f"{score:.2f}", str(most)]
    if equal:
        ratio, its_points = np.transpose(equal)
        end = [f"{ratio.mean():.2f} ({len(equal)})", spread(its_points, "+.2f")]
    else:
        end = ["never", ""]
    if not within:
        return [*start, "none within its cost", "", "", *end, "**loses**"]
    labels, part, points = zip(*within, strict=True)
    cells = [commonest(labels), f"{np.mean(part):.2f}", spread(points, "+.2f")]
    return [*start, *cells, *end, verdict_of(points)]
