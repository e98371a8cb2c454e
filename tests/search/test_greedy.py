"""Tests of the greedy search: the rule itself, table for table, and what it finds in a pool."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from sklearn_cascade import search_cascades
from sklearn_cascade.search._exhaustive import Settings
from sklearn_cascade.search._greedy import greedy_cascade, quantize
from sklearn_cascade.search._predictions import check_predictions

# Sums of a few hundred products, taken in another order.
CLOSE = {"rel": 1e-9, "abs": 1e-9}

# Eight rows, three models; the last one is the reference equally confident of every row.
CONFIDENCE = np.array(
    [
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2],
        [0.95, 0.9, 0.6, 0.85, 0.8, 0.5, 0.7, 0.4],
        [0.9] * 8,
    ]
)
RIGHT = np.array([[1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1, 0]])
COSTS = np.array([1.0, 3.0, 10.0])


def pool_of(confidence, right, costs, marginal_cost=None):
    """Return a quantized pool of models with these confidences and right labels."""
    y = np.arange(np.shape(right)[1]) % 2
    pairs = [(np.array(c), np.where(r, y, 1 - y)) for c, r in zip(confidence, right, strict=True)]
    names = [f"model_{m}" for m in range(len(pairs))]
    predictions = check_predictions(
        pairs, y, names=names, costs=np.array(costs), marginal_cost=marginal_cost
    )
    settings = Settings(("last",), 4, "cost", "max_proba", 64, "accuracy", None, 1, 10**7)
    return quantize(predictions, settings)


def describe_steps(pool, steps):
    """Return members, stage of each row, mean cost and accuracy of a greedy cascade."""
    members, levels = [step.model for step in steps], [step.level for step in steps[:-1]]
    score, cost = pool.evaluate(members, levels)
    return members, pool.exit_stages(members, levels), cost, score


def greedy_by_hand(confidence, right, costs, reference, tolerance):
    """Follow the published recipe row by row; return (model, lowest accepted) of each stage."""
    left, steps = set(range(right.shape[1])), []
    while left:
        candidates = []
        for model in set(range(len(costs))) - {m for m, _ in steps}:
            for lowest in sorted({confidence[model, i] for i in left}):
                answered = [i for i in left if confidence[model, i] >= lowest]
                if right[model, answered].sum() >= tolerance * right[reference, answered].sum():
                    ratio = len(answered) / costs[model]
                    candidates.append((-ratio, costs[model], model, lowest))
                    break
        _, _, model, lowest = min(candidates)
        steps.append((model, lowest))
        left -= {i for i in left if confidence[model, i] >= lowest}
    return steps


def random_instance(rng, n_models, n_samples):
    """Return confidences with ties, whether right, and rising costs that divide exactly."""
    confidence = rng.integers(0, 10, size=(n_models, n_samples)) / 10
    right = rng.uniform(size=(n_models, n_samples)) < 0.3 + 0.6 * confidence
    return confidence, right, np.sort(2.0 ** rng.integers(0, 6, size=n_models))


def large_pool(seed, n_models, n_samples=300):
    """Return (confidence, predicted) pairs of models of many strengths, labels and costs."""
    rng = np.random.default_rng(seed)
    difficulty, y = rng.normal(size=n_samples), rng.integers(4, size=n_samples)
    pairs = []
    for strength in np.sort(rng.uniform(-0.5, 2.0, size=n_models)):
        margin = strength - difficulty + 0.8 * rng.normal(size=n_samples)
        wrong = (y + rng.integers(1, 4, size=n_samples)) % 4
        confidence = np.abs(margin) + 0.4 * rng.normal(size=n_samples)
        pairs.append((confidence, np.where(margin > 0, y, wrong)))
    return pairs, y, np.exp(np.sort(rng.uniform(0, 4, size=n_models)))


def run_point(pairs, y, row, cost_of):
    """Run one point of a front on all samples; return score, mean and worst-case cost."""
    members = [int(name.removeprefix("model_")) for name in row.members]
    paid = np.cumsum([cost_of(row.members[k], row.members[:k]) for k in range(len(members))])
    stage = np.full(len(y), len(members) - 1)
    for k in reversed(range(len(row.thresholds))):
        stage[pairs[members[k]][0] >= row.thresholds[k]] = k
    predicted = np.array([pairs[m][1] for m in members])[stage, np.arange(len(y))]
    return np.mean(predicted == y), paid[stage].mean(), paid[-1]


def assert_true(front, pairs, y, cost_of):
    """Assert that every score and cost of a front is what running its points gives."""
    for row in front:
        figures = (row.score, row.mean_cost, row.worst_cost)
        assert figures == pytest.approx(run_point(pairs, y, row, cost_of), **CLOSE), row


FIXTURE = [
    (1.0, [0, 1, 2], [0.7, 0.7, 0.9], [0, 0, 0, 1, 1, 2, 1, 2], 5.375, 7 / 8, [3, 2, 0.8]),
    (0.8, [0, 1, 2], [0.5, 0.7, 0.9], [0, 0, 0, 0, 0, 2, 1, 2], 4.625, 6 / 8, [5, 8 / 3, 0.8]),
    (0.5, [0], [0.2], [0] * 8, 1.0, 4 / 8, [8, 8 / 3, 0.8]),
]


@pytest.mark.parametrize("tolerance, members, lowest, stage, cost, accuracy, ratios", FIXTURE)
def test_rule_gives_the_published_table(tolerance, members, lowest, stage, cost, accuracy, ratios):
    """Check that the worked example comes out figure by figure."""
    pool = pool_of(CONFIDENCE, RIGHT, COSTS)
    steps = greedy_cascade(pool, 2, tolerance, max_stages=3)
    found = describe_steps(pool, steps)
    assert found[0] == members
    assert found[1].tolist() == stage
    assert found[2:] == pytest.approx((cost, accuracy), **CLOSE)
    accepted = [CONFIDENCE[m][found[1] == k].min() for k, m in enumerate(members)]
    assert accepted == lowest
    shares = steps[0].ratios
    assert {m: 8 * share for m, share in shares.items()} == pytest.approx(dict(enumerate(ratios)))


def test_thresholds_part_the_rows_as_the_levels_do():
    """Check that the thresholds of a greedy cascade lie between the confidences they part."""
    pool = pool_of(CONFIDENCE, RIGHT, COSTS)
    steps = greedy_cascade(pool, 2, 1.0, max_stages=3)
    first, second = pool.thresholds([s.model for s in steps], [s.level for s in steps[:-1]])
    assert 0.6 < first <= 0.7 and 0.5 < second <= 0.7


@pytest.mark.parametrize("tolerance", [1.0, 0.875, 0.75])
def test_rule_follows_the_recipe(tolerance):
    """Check models, order and answered rows against the recipe on small random pools."""
    rng = np.random.default_rng(int(100 * tolerance))
    lengths = set()
    for _ in range(60):
        confidence, right, costs = random_instance(rng, int(rng.integers(2, 6)), 16)
        reference = int(rng.integers(len(costs)))
        pool = pool_of(confidence, right, costs)
        steps = greedy_cascade(pool, reference, tolerance, max_stages=len(costs))
        members, stage, _, _ = describe_steps(pool, steps)
        expected = greedy_by_hand(confidence, right, costs, reference, tolerance)
        lowest = [confidence[m][stage == k].min() for k, m in enumerate(members)]
        assert list(zip(members, lowest, strict=True)) == expected
        lengths.add(len(members))
    assert len(lengths) > 1


@pytest.mark.parametrize("max_stages", [1, 2, 3, 5])
@pytest.mark.parametrize("tolerance", [1.0, 0.97, 0.8])
def test_relative_accuracy_holds_on_each_stage_and_overall(tolerance, max_stages):
    """Check that neither a stage nor the cascade is less accurate than was tolerated."""
    rng = np.random.default_rng(max_stages)
    for _ in range(40):
        confidence, right, costs = random_instance(rng, 5, 40)
        reference = int(rng.integers(5))
        pool = pool_of(confidence, right, costs)
        steps = greedy_cascade(pool, reference, tolerance, max_stages=max_stages)
        members, stage, _, score = describe_steps(pool, steps)
        assert len(set(members)) == len(members) <= max_stages
        assert score >= tolerance * right[reference].mean() - 1e-12
        for k, model in enumerate(members):
            rows = stage == k
            assert right[model, rows].sum() >= tolerance * right[reference, rows].sum() - 1e-9


def cheapest_order(answered, costs):
    """Return the lowest cost per row of answering all rows, over every order of fixed sets."""
    lowest = np.inf
    for order in permutations(range(len(costs))):
        left, total = np.ones(answered.shape[1], dtype=bool), 0.0
        for model in order:
            total += left.sum() * costs[model]
            left &= ~answered[model]
        lowest = min(lowest, total / len(left))
    return lowest


def test_order_of_fixed_sets_is_within_a_factor_of_four():
    """Check the published bound where each model can answer one set of rows only."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(80):
        # Right on its set and wrong elsewhere: no other threshold is tolerated.
        answered = rng.uniform(size=(5, 12)) < rng.uniform(0.1, 0.9, size=(5, 1))
        costs = np.sort(np.exp(rng.normal(size=5)))
        answered[reference := int(rng.integers(5))] = True
        pool = pool_of(np.where(answered, 0.9, 0.1), answered, costs)
        steps = greedy_cascade(pool, reference, 1.0, max_stages=5)
        _, _, cost, score = describe_steps(pool, steps)
        assert score == pytest.approx(1.0)
        ratios.append(cost / cheapest_order(answered, costs))
    assert min(ratios) > 1 - 1e-9
    assert max(ratios) <= 4
    # Nearly always the best order; an order at random is not.
    assert np.mean(np.array(ratios) < 1 + 1e-9) > 0.8


def test_limit_of_the_worst_case_leaves_the_affordable_models():
    """Check that a limit keeps expensive models out, and that one below all gives no cascade."""
    pool = pool_of(CONFIDENCE, RIGHT, COSTS)
    steps = greedy_cascade(pool, 2, 1.0, max_stages=3, max_worst_cost=4.0)
    members, stage, _, _ = describe_steps(pool, steps)
    assert members == [0, 1]
    assert stage.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert greedy_cascade(pool, 2, 1.0, max_stages=3, max_worst_cost=0.5) == []


def test_shared_work_changes_the_choice():
    """Check that a model that others have paid for is taken where it otherwise would not be."""

    def marginal_cost(name, names_run):
        return 0.5 if name == "model_2" and names_run else dict(MODEL_COSTS)[name]

    pool = pool_of(CONFIDENCE, RIGHT, COSTS, marginal_cost)
    members, stage, cost, _ = describe_steps(pool, greedy_cascade(pool, 2, 1.0, max_stages=3))
    assert members == [0, 2]
    assert stage.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert cost == pytest.approx((8 * 1 + 5 * 0.5) / 8, **CLOSE)


MODEL_COSTS = [(f"model_{m}", cost) for m, cost in enumerate(COSTS)]


@pytest.mark.parametrize("seed, n_models", [(0, 9), (1, 14)])
def test_search_is_never_above_the_best_pair(seed, n_models):
    """Check that the figures are true, and that no pair or single model is cheaper."""
    pairs, y, costs = large_pool(seed, n_models)
    front = search_cascades(pairs, y, costs=costs, method="greedy", cv=None)
    simple = search_cascades(pairs, y, costs=costs, method="exhaustive", cv=None, max_stages=2)
    assert front.select().mean_cost <= simple.select().mean_cost * (1 + 1e-9)
    assert_true(front, pairs, y, lambda name, _: costs[int(name[6:])])
