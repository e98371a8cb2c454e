"""An exhaustive search finds what row-by-row enumeration of every cascade finds."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations, product
from math import inf, log
from zlib import crc32

import numpy as np
import pytest

from sklearn_cascade import CascadeClassifier, PrefitClassifier, search_cascades
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


def row_score(scoring, proba, label):
    """Return what one row counts, before weights."""
    if scoring in ("accuracy", "balanced_accuracy"):
        return float(max(range(len(proba)), key=lambda c: proba[c]) == label)
    if scoring == "neg_log_loss":
        eps = np.finfo(float).eps
        return log(min(max(proba[label], eps), 1 - eps))
    distance = sum((p - (c == label)) ** 2 for c, p in enumerate(proba))
    return -distance / (2 if len(proba) == 2 else 1)


def average(scoring, values, y, weight):
    """Return the score of all rows."""
    if scoring != "balanced_accuracy":
        return sum(w * v for w, v in zip(weight, values, strict=True)) / sum(weight)
    recalls = []
    for label in set(y):
        inside = [i for i in range(len(y)) if y[i] == label]
        mass = sum(weight[i] for i in inside)
        if mass > 0:
            recalls.append(sum(weight[i] * values[i] for i in inside) / mass)
    return sum(recalls) / len(recalls)


def cascade_points(proba, y, costs, weight, members, combine, scoring):
    """Yield (score, mean cost, worst-case cost) of every vector of thresholds."""
    outputs = []
    for k in range(1, len(members) + 1):
        run = members[:k] if combine == "mean" else members[k - 1 : k]
        outputs.append((sum(proba[m] for m in run) / len(run)).tolist())
    confidence = [[max(row) for row in stage] for stage in outputs]
    value = [
        [row_score(scoring, row, label) for row, label in zip(stage, y, strict=True)]
        for stage in outputs
    ]
    paid = np.cumsum([costs[m] for m in members]).tolist()
    grids = []
    for stage in confidence[:-1]:
        seen = sorted({round(s, 9) for s in stage})
        grids.append([-inf, *((a + b) / 2 for a, b in pairwise(seen)), inf])
    for vector in product(*grids):
        stage = [
            next((k for k, t in enumerate(vector) if confidence[k][i] >= t), len(vector))
            for i in range(len(y))
        ]
        values = [value[k][i] for i, k in enumerate(stage)]
        cost = sum(w * paid[k] for w, k in zip(weight, stage, strict=True)) / sum(weight)
        yield average(scoring, values, y, weight), cost, paid[-1]


def all_points(proba, y, costs, weight, *, scoring, combine, order, max_stages=4):
    """Return the points of every single model, ensemble and cascade."""
    y = y.tolist()
    weight = [1.0] * len(y) if weight is None else weight.tolist()
    tried = ["mean", "last"] if combine == "auto" else [combine]
    by_cost = sorted(range(len(proba)), key=lambda m: costs[m])
    arrange = combinations if order == "cost" else permutations
    points = []
    for n_stages in range(1, min(max_stages, len(proba)) + 1):
        for members in arrange(by_cost, n_stages):
            for some in tried:
                points += cascade_points(proba, y, costs, weight, members, some, scoring)
            if combine == "last":
                # All of them averaged, without exits, whatever the combination of cascades.
                points.append(ensemble_point(proba, y, costs, weight, members, scoring))
    return np.array(points)


def ensemble_point(proba, y, costs, weight, members, scoring):
    """Return score and cost of the plain mean of some models."""
    mean = (sum(proba[m] for m in members) / len(members)).tolist()
    values = [row_score(scoring, row, label) for row, label in zip(mean, y, strict=True)]
    cost = float(sum(costs[m] for m in members))
    return average(scoring, values, y, weight), cost, cost


def pareto(score, cost):
    """Return the (score, cost) pairs that no other beats, by rising cost."""
    kept = []
    for s, c in sorted(zip(score, cost, strict=True), key=lambda p: (round(p[1], 9), -p[0])):
        if not kept or s > kept[-1][0] + CLOSE:
            kept.append((s, c))
    return np.array(kept)


def pick(front, **constraints):
    """Return the best row, or None if there is none."""
    try:
        return front.select(**constraints)
    except InfeasibleConstraintError:
        return None


def best_point(points, floor, max_cost, max_worst_cost):
    """Return (score, cost) of the cheapest point that is good enough and within the limits."""
    good = [
        (round(cost, 9), -score)
        for score, cost, worst in points
        if score >= floor - CLOSE and cost <= max_cost + CLOSE and worst <= max_worst_cost + CLOSE
    ]
    return (-min(good)[1], min(good)[0]) if good else None


def search(drawn, **params):
    """Search a drawn pool."""
    proba, y, costs, weight = drawn
    classes = range(proba[0].shape[1])
    params = {"cv": None, **params}
    return search_cascades(proba, y, costs=costs, classes=classes, sample_weight=weight, **params)


@pytest.mark.parametrize("weights", ["None", "random", "zeros"])
@pytest.mark.parametrize("order", ["cost", "any"])
@pytest.mark.parametrize("combine", ["mean", "last", "auto"])
@pytest.mark.parametrize("scoring", SCORINGS)
def test_front_equals_brute_force(scoring, combine, order, weights):
    """Check the whole front, and the best under constraints, on random instances."""
    # Other pools for each setting.
    first = crc32(f"{scoring} {combine} {order} {weights}".encode())
    for seed in range(first, first + 5):
        drawn = draw(seed, n_models=3, n_samples=5, weights=weights)
        front = search(drawn, scoring=scoring, combine=combine, order=order)
        points = all_points(*drawn, scoring=scoring, combine=combine, order=order)
        expected = pareto(points[:, 0], points[:, 1])
        rows = front.non_dominated
        found = pareto(front.score[rows], front.mean_cost[rows])
        np.testing.assert_allclose(found, expected, atol=CLOSE)
        cap, floor = np.median(points[:, 2]), np.median(points[:, 0])
        for max_cost in (inf, np.median(points[:, 1])):
            limit = None if max_cost == inf else max_cost
            row = pick(front, min_score=floor, max_cost=limit, max_worst_cost=cap)
            best = best_point(points, floor, max_cost, cap)
            assert (row is None) == (best is None)
            if row is not None:
                assert (row.score, row.mean_cost) == pytest.approx(best, abs=CLOSE)


@pytest.mark.parametrize("scoring", SCORINGS)
def test_four_models_equal_brute_force(scoring):
    """Check cascades of four stages in order of cost."""
    first = crc32(scoring.encode())
    for seed in range(first, first + 3):
        drawn = draw(seed, n_models=4, n_samples=5)
        front = search(drawn, scoring=scoring)
        points = all_points(*drawn, scoring=scoring, combine="auto", order="cost")
        rows = front.non_dominated
        found = pareto(front.score[rows], front.mean_cost[rows])
        np.testing.assert_allclose(found, pareto(points[:, 0], points[:, 1]), atol=CLOSE)


@pytest.mark.parametrize("order", ["cost", "any"])
def test_one_more_model_never_worsens_the_optimum(order):
    """Check that the best score at any cost does not fall when a model joins the pool."""
    for seed in range(20):
        proba, y, costs, weight = draw(seed, n_models=4)
        fewer = search((proba[:3], y, costs[:3], weight), order=order)
        more = search((proba, y, costs, weight), order=order)
        for row in fewer:
            assert more.select(max_cost=row.mean_cost).score >= row.score - CLOSE


def test_limit_of_the_worst_case_is_the_same_before_and_after():
    """Check that the front treats a limit of the worst case like a search under it."""
    for seed in range(20):
        drawn = draw(seed, n_models=4, n_samples=12)
        front = search(drawn)
        for cap in np.unique(front.worst_cost):
            before = pick(search(drawn, max_worst_cost=cap), max_score_loss=0.1)
            assert pick(front, max_score_loss=0.1, max_worst_cost=cap) == before


def test_rows_are_what_a_cascade_does():
    """Check every row of a front against the classifier with its members and thresholds."""
    for seed in range(10):
        proba, y, costs, _ = draw(seed, n_models=3, n_samples=20)
        classes = list(range(proba[0].shape[1]))
        X = np.arange(len(y)).reshape(-1, 1)
        for row in search((proba, y, costs, None)):
            members = [
                (
                    name,
                    PrefitClassifier(lambda X, p=proba[int(name[-1])]: p[X[:, 0]], classes),
                )
                for name in row.members
            ]
            paid = [costs[int(name[-1])] for name in row.members]
            cascade = CascadeClassifier(
                members, thresholds=row.thresholds, combine=row.combine, costs=paid
            )
            details = cascade.fit(X, y).predict_details(X)
            assert (details.label == y).mean() == pytest.approx(row.score)
            assert details.cost.mean() == pytest.approx(row.mean_cost)
            rates = np.bincount(details.exit_stage, minlength=len(paid)) / len(y)
            np.testing.assert_allclose(rates, row.exit_rates)


def test_threads_and_types_do_not_change_the_result(tmp_path):
    """Check one thread against two, and memory maps of float16 against arrays."""
    proba, y, costs, weight = draw(7, n_models=4, n_samples=60)
    front = search((proba, y, costs, weight))
    assert list(search((proba, y, costs, weight), n_jobs=2)) == list(front)
    mapped = []
    for k, matrix in enumerate(proba):
        # Multiples of 1 / 64 are exact in half precision.
        np.save(tmp_path / f"{k}.npy", matrix.astype(np.float16))
        mapped.append(np.load(tmp_path / f"{k}.npy", mmap_mode="r"))
    assert list(search((mapped, y, costs, weight))) == list(front)


def test_pairs_are_searched_like_their_probabilities():
    """Check confidences and labels against the probabilities they come from."""
    proba, y, costs, weight = draw(3, n_models=4, n_samples=40)
    pairs = [(matrix.max(axis=1), matrix.argmax(axis=1)) for matrix in proba]
    front = search_cascades(pairs, y, costs=costs)
    expected = search((proba, y, costs, weight), combine="last")
    cascades = [row for row in expected if row.kind != "ensemble"]
    assert front.select(max_cost=3.0) in cascades
    assert [r.score for r in front if r.kind == "single"] == [
        r.score for r in cascades if r.kind == "single"
    ]
