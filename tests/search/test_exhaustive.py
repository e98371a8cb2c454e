"""An exhaustive search finds what row-by-row enumeration of every cascade finds."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations, product
from math import inf, log

import numpy as np

from sklearn_cascade.exceptions import InfeasibleConstraintError

SCORINGS = ["accuracy", "balanced_accuracy", "neg_log_loss", "neg_brier_score"]
# Sums of a few numbers near one, taken in another order, differ by less.
CLOSE = 1e-9


def lattice(rng, n_samples, n_classes=3, parts=64):
    """Draw probabilities that are multiples of 1 / parts: sums are exact, ties are ties."""
    alpha = rng.choice([0.3, 1.0, 3.0])
    counts = [rng.multinomial(parts, rng.dirichlet([alpha] * n_classes)) for _ in range(n_samples)]
    return np.array(counts) / parts


def draw(seed, n_models, n_samples=6, weights="None"):
    """Draw a pool, labels, costs and weights."""
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, 4))
    proba = [lattice(rng, n_samples, n_classes) for _ in range(n_models)]
    y = rng.integers(n_classes, size=n_samples)
    costs = rng.choice([1.0, 2.0, 3.0, 5.0, 8.0, 13.0], size=n_models)
    weight = None if weights == "None" else rng.uniform(0.5, 3, size=n_samples)
    if weights == "zeros":
        weight[rng.permutation(n_samples)[:2]] = 0
    return proba, y, costs, weight


def row_score(scoring, answer, label):
    """Return what one row counts, before weights."""
    if scoring in ("accuracy", "balanced_accuracy"):
        return float(max(range(len(answer)), key=lambda c: answer[c]) == label)
    if scoring == "neg_log_loss":
        eps = np.finfo(float).eps
        return log(min(max(answer[label], eps), 1 - eps))
    distance = sum((p - (c == label)) ** 2 for c, p in enumerate(answer))
    return -distance / (2 if len(answer) == 2 else 1)


def average(scoring, values, y, weight):
    """Return the score of all rows."""
    if scoring != "balanced_accuracy":
        return sum(w * v for w, v in zip(weight, values, strict=False)) / sum(weight)
    recalls = []
    for label in set(y):
        inside = [i for i in range(len(y)) if y[i] == label]
        mass = sum(weight[i] for i in inside)
        if mass > 0:
            recalls.append(sum(weight[i] * values[i] for i in inside) / mass)
    return sum(recalls) / len(recalls)


def ladder_points(proba, y, costs, weight, members, way, scoring):
    """Yield (score, mean cost, worst-case cost) of every vector of thresholds."""
    answers = []
    for k in range(1, len(members) + 1):
        run = members[:k] if way == "mean" else members[k - 1 : k]
        answers.append((sum(proba[m] for m in run) / len(run)).tolist())
    sure = [[max(row) for row in stage] for stage in answers]
    value = [
        [row_score(scoring, row, label) for row, label in zip(stage, y, strict=False)]
        for stage in answers
    ]
    paid = np.cumsum([costs[m] for m in members]).tolist()
    grids = []
    for stage in sure[:-1]:
        seen = sorted({round(s, 9) for s in stage})
        grids.append([-inf, *((a + b) / 2 for a, b in pairwise(seen)), inf])
    for vector in product(*grids):
        stage = [
            next((k for k, t in enumerate(vector) if sure[k][i] >= t), len(vector))
            for i in range(len(y))
        ]
        values = [value[k][i] for i, k in enumerate(stage)]
        cost = sum(w * paid[k] for w, k in zip(weight, stage, strict=False)) / sum(weight)
        yield average(scoring, values, y, weight), cost, paid[-1]


def all_points(proba, y, costs, weight, *, scoring, combine, order, max_stages=4):
    """Return the points of every single model, ensemble and cascade."""
    y = y.tolist()
    weight = [1.0] * len(y) if weight is None else weight.tolist()
    ways = ["mean", "last"] if combine == "auto" else [combine]
    by_cost = sorted(range(len(proba)), key=lambda m: costs[m])
    arrange = combinations if order == "cost" else permutations
    points = []
    for n_stages in range(1, min(max_stages, len(proba)) + 1):
        for members in arrange(by_cost, n_stages):
            for way in ways:
                points += ladder_points(proba, y, costs, weight, members, way, scoring)
            if combine == "last":
                # All of them averaged, without exits, whatever the combination of cascades.
                points.append(
                    max(
                        ladder_points(proba, y, costs, weight, members, "mean", scoring),
                        key=lambda point: point[1],
                    )
                    if n_stages == 1
                    else ensemble_point(proba, y, costs, weight, members, scoring)
                )
    return np.array(points)


def ensemble_point(proba, y, costs, weight, members, scoring):
    """Return score and cost of the plain mean of some models."""
    mean = (sum(proba[m] for m in members) / len(members)).tolist()
    values = [row_score(scoring, row, label) for row, label in zip(mean, y, strict=False)]
    cost = float(sum(costs[m] for m in members))
    return average(scoring, values, y, weight), cost, cost


def pareto(score, cost):
    """Return the (score, cost) pairs that no other beats, by rising cost."""
    kept = []
    for s, c in sorted(zip(score, cost, strict=False), key=lambda p: (round(p[1], 9), -p[0])):
        if not kept or s > kept[-1][0] + CLOSE:
            kept.append((s, c))
    return np.array(kept)


def pick(front, **constraints):
    """Return the best row, or None if there is none."""
    try:
        return front.best(**constraints)
    except InfeasibleConstraintError:
        return None


def best_point(points, floor, max_cost, max_worst_cost):
    """Return (score, cost) of the best point under constraints by plain filtering."""
    score, cost, worst = points.T
    fits = (cost <= max_cost + CLOSE) & (worst <= max_worst_cost + CLOSE)
    if floor is None:
        good = [(-s, c) for s, c, fit in zip(score, cost, fits, strict=False) if fit]
        return min(((round(s, 9), c) for s, c in good), default=None)
    good = [
        (round(c, 9), -s)
        for s, c, f in zip(score, cost, fits, strict=False)
        if f and s >= floor - CLOSE
    ]
    best = min(good, default=None)
    return None if best is None else (best[1], best[0])
