"""Tests of the stage statistics: confidence and contribution after each stage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._scoring import is_additive, score_probabilities
from sklearn_cascade.tuning._sweep import prefix_probabilities, stage_statistics
from tests.core.test_costs import COSTS, STAGES, TABLE, TRUTH
from tests.strategies import stage_probabilities, statistics_of_stages


def default_statistics(proba, y, costs, **overrides):
    """Return stage statistics with the defaults of a cascade."""
    settings = {
        "combine": "mean",
        "confidence": "max_proba",
        "weights": np.ones(len(proba)),
        "scoring": "accuracy",
        "sample_weight": np.ones(len(y)),
    }
    return stage_statistics(proba, y, costs, **{**settings, **overrides})


@given(
    drawn=stage_probabilities(), combine=st.sampled_from(["mean", "last"]), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_statistics_hold_confidence_and_gain_of_every_prefix(drawn, combine, seed):
    """Check each stage's confidence and contribution against the average of the stages up to it."""
    proba, y, costs = drawn
    rng = np.random.default_rng(seed)
    weights, rows = rng.uniform(0.5, 2, size=len(proba)), rng.uniform(0.5, 2, size=len(y))
    statistics = default_statistics(
        proba,
        y,
        costs,
        combine=combine,
        weights=weights,
        scoring="neg_log_loss",
        sample_weight=rows,
    )
    assert statistics.n_stages == len(proba)
    assert statistics.confidence.shape == (len(proba) - 1, len(y))
    np.testing.assert_allclose(statistics.sample_weight, rows / rows.sum(), rtol=1e-14)
    for k in range(len(proba)):
        mean = np.average(proba[: k + 1], axis=0, weights=weights[: k + 1])
        combined = mean if combine == "mean" else proba[k]
        if k < len(proba) - 1:
            # Sums of at most four doubles below one.
            expected = compute_confidence(combined, "max_proba")
            np.testing.assert_allclose(statistics.confidence[k], expected, atol=1e-14)
        truth = np.clip(combined[np.arange(len(y)), y], np.finfo(float).eps, 1)
        expected = np.log(truth) * rows / rows.sum()
        # The logarithm of a probability near the clip turns rounding into digits.
        np.testing.assert_allclose(statistics.contribution[k], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "neg_log_loss"])
@pytest.mark.parametrize("combine", ["mean", "last"])
def test_gains_of_the_last_stage_sum_to_the_score_without_exits(combine, scoring):
    """Check that the contributions without exits sum to the scorer's value for the last output."""
    rng = np.random.default_rng(0)
    proba, y = rng.dirichlet(np.ones(3), size=(3, 60)), np.arange(60) % 3
    weight = rng.uniform(0.5, 2, size=60)
    statistics = default_statistics(
        proba, y, COSTS, combine=combine, scoring=scoring, sample_weight=weight
    )
    combined = proba.mean(axis=0) if combine == "mean" else proba[-1]
    expected = score_probabilities(scoring, combined, y, np.arange(3), weight)
    score, cost = statistics.evaluate((np.inf, np.inf))
    assert score == pytest.approx(expected, rel=1e-12)
    assert cost == pytest.approx(15.0, rel=1e-14)


@pytest.mark.parametrize(("thresholds", "_", "stages", "mean", "worst", "right"), TABLE)
def test_statistics_evaluate_fixture_w(thresholds, _, stages, mean, worst, right):
    """Check exit stages, mean cost and accuracy of the hand-checkable fixture."""
    statistics = default_statistics(STAGES, TRUTH, COSTS)
    assert statistics.exit_stages(thresholds).tolist() == stages
    # Shares of a sixth, summed.
    assert statistics.evaluate(thresholds) == pytest.approx((right / 6, mean), rel=1e-14)
    assert statistics.costs[: max(stages) + 1].sum() == worst


@given(statistics=statistics_of_stages(), seed=st.integers(0, 99), threshold=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_statistics_of_parts_of_the_rows_add_up(statistics, seed, threshold):
    """Check that rows taken apart keep their weights, so that scores and costs add up."""
    part = np.random.default_rng(seed).uniform(size=statistics.contribution.shape[1]) < 0.5
    thresholds = (threshold,) * (statistics.n_stages - 1)
    sides = [statistics.take(np.flatnonzero(side)).evaluate(thresholds) for side in (part, ~part)]
    # Sums of 25 terms in another order.
    expected = statistics.evaluate(thresholds)
    np.testing.assert_allclose(np.sum(sides, axis=0), expected, rtol=1e-10, atol=1e-12)


def test_all_rows_exit_at_a_single_stage():
    """Check that one stage has no confidence and one exit stage."""
    statistics = default_statistics(STAGES[:1], TRUTH, COSTS[:1])
    assert statistics.confidence.shape == (0, 6)
    assert statistics.exit_stages(()).tolist() == [0] * 6
    assert statistics.evaluate(()) == pytest.approx((0.5, 1.0))


def test_abstentions_are_replaced_by_the_class_shares():
    """Check that abstained rows have no confidence, and the contribution of the class shares."""
    proba = STAGES.copy()
    proba[0, [0, 1]] = np.nan
    proba[1, [1, 2]] = np.nan
    shares = np.array([0.3, 0.7])
    statistics = default_statistics(proba, TRUTH, COSTS, class_shares=shares)
    assert np.isnan(statistics.confidence).tolist() == [
        [True, True, False, False, False, False],
        [False, True, False, False, False, False],
    ]
    # After the first stage: the shares predict class 1 for rows 0 and 1, which are class 0.
    assert (statistics.contribution[0] * 6).round().tolist() == [0, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(statistics.confidence[1, [0, 2]], [0.5, 0.6], rtol=1e-15)
    assert statistics.exit_stages((-np.inf, -np.inf)).tolist() == [1, 2, 0, 0, 0, 0]
    np.testing.assert_array_equal(proba[0, 2:], STAGES[0, 2:])


@pytest.mark.parametrize("combine", ["mean", "last"])
def test_prefix_probabilities_stay_as_they_were_given(combine):
    """Check that outputs collected one by one are not overwritten by later stages."""
    collected = list(prefix_probabilities(STAGES, combine, np.ones(3), False))
    for k in range(3):
        alone = list(prefix_probabilities(STAGES[: k + 1], combine, np.ones(k + 1), False))[-1]
        np.testing.assert_array_equal(collected[k], alone)


@pytest.mark.parametrize(
    ("scoring", "additive"),
    [
        ("accuracy", True),
        ("balanced_accuracy", True),
        ("neg_log_loss", True),
        ("neg_brier_score", True),
        ("f1_macro", False),
        ("roc_auc", False),
        (len, False),
    ],
)
def test_sums_over_rows_are_known(scoring, additive):
    """Check which scorings are swept exactly; a function is never assumed to be a sum."""
    assert is_additive(scoring) is additive
