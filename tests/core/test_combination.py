"""Tests of the combinations: one output from the stages run so far."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean

from sklearn_cascade.core._combination import COMBINATIONS, ProbaCombiner, geometric_mean
from tests.strategies import stage_probabilities

# Sums of a handful of doubles below one.
ROUNDING = {"rtol": 0, "atol": 1e-14}


def spread_stages(n_stages=3, n_samples=6, n_classes=3, seed=0):
    """Return random probabilities of some stages, none of them zero."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n_classes), size=(n_stages, n_samples))


def combine_all(probas, combine, weights=None, *, allow_abstain=False):
    """Return the combined probabilities after each stage."""
    combiner = ProbaCombiner(combine, allow_abstain=allow_abstain)
    weights = np.ones(len(probas)) if weights is None else weights
    return [
        combiner.add(proba, weight, "max_proba")
        for proba, weight in zip(probas, weights, strict=True)
    ]


def mean_without_abstentions(probas, weights):
    """Return the weighted mean of the stages that do not abstain, row by row."""
    result = np.full(probas[0].shape, np.nan)
    for i in range(len(result)):
        voting = [k for k, proba in enumerate(probas) if not np.isnan(proba[i]).any()]
        if voting:
            rows = [probas[k][i] for k in voting]
            result[i] = np.average(rows, axis=0, weights=[weights[k] for k in voting])
    return result


@given(drawn=stage_probabilities(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_mean_equals_the_average_of_every_prefix(drawn, seed):
    """Check that "mean" is numpy's weighted average of the stages run so far."""
    probas, _, _ = drawn
    weights = np.random.default_rng(seed).uniform(0.1, 5, size=len(probas))
    for k, combined in enumerate(combine_all(probas, "mean", weights), start=1):
        expected = np.average(probas[:k], axis=0, weights=weights[:k])
        np.testing.assert_allclose(combined, expected, **ROUNDING)


def test_scaling_the_weights_changes_nothing():
    """Check that only the proportions of the weights count."""
    probas, weights = spread_stages(), np.array([0.5, 2.0, 3.0])
    for one, other in zip(
        combine_all(probas, "mean", weights),
        combine_all(probas, "mean", 7.3 * weights),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, **ROUNDING)


def test_last_is_the_latest_stage_whatever_the_weights():
    """Check that "last" is each stage by itself, as if no other had run."""
    probas = spread_stages()
    for combined, proba in zip(combine_all(probas, "last", [9.0, 1.0, 0.1]), probas, strict=True):
        np.testing.assert_array_equal(combined, proba)


def test_mean_leaves_abstaining_stages_out():
    """Check that a row's mean leaves out abstaining stages, and is NaN while all abstain."""
    probas, weights = spread_stages(), np.array([1.0, 2.0, 4.0])
    probas[0, [0, 1, 2]] = np.nan
    probas[1, [1, 2, 3]] = np.nan
    probas[2, [2, 4]] = np.nan
    for k, combined in enumerate(combine_all(probas, "mean", weights, allow_abstain=True), start=1):
        np.testing.assert_allclose(
            combined, mean_without_abstentions(probas[:k], weights), **ROUNDING
        )
    np.testing.assert_array_equal(np.isnan(combined).all(axis=1), np.arange(6) == 2)


def test_last_keeps_the_output_before_an_abstention():
    """Check that an abstaining stage keeps the output of the stages before it."""
    probas = spread_stages()
    probas[0, [0, 1]] = np.nan
    probas[1, [1, 2]] = np.nan
    probas[2, [1, 2, 3]] = np.nan
    _, second, third = combine_all(probas, "last", allow_abstain=True)
    np.testing.assert_array_equal(second[[0, 2, 3]], [probas[1, 0], probas[0, 2], probas[1, 3]])
    np.testing.assert_array_equal(third[[0, 2, 3]], [probas[2, 0], probas[0, 2], probas[1, 3]])
    assert np.isnan(third).all(axis=1).tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_stage_that_abstains_on_every_row_is_as_if_absent(combine):
    """Check that a stage that abstains throughout counts for nothing, wherever it runs."""
    first, second = spread_stages(n_stages=2)
    abstaining = np.full_like(first, np.nan)
    expected = combine_all([first, second], combine)[-1]
    for order in (
        [abstaining, first, second],
        [first, abstaining, second],
        [first, second, abstaining],
    ):
        result = combine_all(order, combine, allow_abstain=True)[-1]
        np.testing.assert_allclose(result, expected, **ROUNDING)
    assert np.isnan(combine_all([abstaining, abstaining], combine, allow_abstain=True)[-1]).all()


@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("rows", [[4, 1, 3], [2], []], ids=["some", "one", "none"])
@pytest.mark.parametrize("abstain", [False, True])
def test_going_on_with_some_rows_equals_those_rows_alone(combine, rows, abstain):
    """Check that take() leaves the remaining rows with what they would have had alone."""
    probas, weights = spread_stages(), [1.0, 0.5, 2.0]
    if abstain:
        probas[0, [1, 2]] = np.nan
        probas[1, [2, 3]] = np.nan
    combiner = ProbaCombiner(combine, allow_abstain=abstain)
    combiner.add(probas[0], weights[0], "max_proba")
    combiner.take(np.array(rows, dtype=int))
    alone = combine_all(probas[:, rows], combine, weights, allow_abstain=abstain)
    np.testing.assert_allclose(combiner.proba, alone[0], **ROUNDING)
    for k in (1, 2):
        combiner.add(probas[k][rows], weights[k], "max_proba")
        np.testing.assert_allclose(combiner.proba, alone[k], **ROUNDING)


@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("abstain", [False, True])
def test_combiner_writes_to_no_array_it_was_given_or_returned(combine, abstain):
    """Check that arrays handed in stay as they were, and arrays returned too."""
    probas = spread_stages()
    if abstain:
        probas[:, 0] = np.nan
    before = probas.copy()
    probas.flags.writeable = False
    combiner = ProbaCombiner(combine, allow_abstain=abstain)
    returned = []
    for proba in probas:
        combined = combiner.add(proba, 2.0, "max_proba")
        returned.append((combined, combined.copy()))
    combiner.take(np.array([1, 0]))
    np.testing.assert_array_equal(probas, before)
    for combined, as_it_was in returned:
        np.testing.assert_array_equal(combined, as_it_was)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 3.0], [2.0, 0.0, 1.0]])
def test_geometric_mean_equals_scipys_normalised(weights):
    """Check the geometric mean against scipy's, with rows brought to a sum of one."""
    probas = spread_stages()
    per_number = np.broadcast_to(np.reshape(weights, (3, 1, 1)), probas.shape)
    expected = gmean(probas, axis=0, weights=per_number)
    expected /= expected.sum(axis=1, keepdims=True)
    result = geometric_mean(list(probas), weights)
    # A logarithm and an exponential in double precision.
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_geometric_mean_gives_a_class_ruled_out_nothing():
    """Check that one zero rules a class out, unless the member with it has no weight."""
    probas = [np.array([[0.5, 0.25, 0.25]]), np.array([[0.5, 0.5, 0.0]])]
    ratio = np.sqrt(0.25 / 0.125)
    expected = [[ratio / (1 + ratio), 1 / (1 + ratio), 0.0]]
    np.testing.assert_allclose(geometric_mean(probas, [1, 1]), expected, **ROUNDING)
    np.testing.assert_allclose(geometric_mean(probas, [1, 0]), probas[0], **ROUNDING)


def test_geometric_mean_falls_back_where_members_rule_out_everything():
    """Check that rows with a zero in each class get the weighted arithmetic mean, others not."""
    probas = [np.array([[1.0, 0.0], [0.9, 0.1]]), np.array([[0.0, 1.0], [0.9, 0.1]])]
    result = geometric_mean(probas, [3.0, 1.0])
    np.testing.assert_allclose(result, [[0.75, 0.25], [0.9, 0.1]], **ROUNDING)


def test_geometric_mean_survives_tiny_probabilities():
    """Check that products far below the smallest double keep their proportions."""
    tiny = np.array([[1e-200, 3e-200, 1.0 - 4e-200]])
    flat = np.array([[0.5, 0.5, 0.0]])
    result = geometric_mean([tiny, tiny, tiny, flat], [1, 1, 1, 1])
    # The cube of the ratio, to the power of a quarter.
    assert result[0, 1] / result[0, 0] == pytest.approx(27**0.25, rel=1e-10)
    assert result.sum() == pytest.approx(1.0, abs=1e-14)


def test_geometric_mean_leaves_abstaining_members_out():
    """Check that a row's geometric mean leaves out abstaining members, NaN if all abstain."""
    probas, weights = spread_stages(n_samples=4), [1.0, 2.0, 3.0]
    full = geometric_mean(list(probas), weights)
    pair = geometric_mean([probas[0], probas[2]], [1.0, 3.0])
    single = probas[2]
    probas = probas.copy()
    probas[1, [1, 2, 3]] = np.nan
    probas[0, [2, 3]] = np.nan
    probas[2, 3] = np.nan
    before = probas.copy()
    probas.flags.writeable = False
    result = geometric_mean(list(probas), weights, allow_abstain=True)
    expected = [full[0], pair[1], single[2], np.full(3, np.nan)]
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    np.testing.assert_array_equal(probas, before)
