"""Tests of the exact paired score test, with values counted by hand and by enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from sklearn_cascade import (
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)

# The published figures have six digits.
SIX = 1e-6


def score_by_hand(regressions, corrections, n, epsilon):
    """Return the score statistic, written out once more from the likelihood equation."""
    # (2n) q^2 - b q - j e (1 - e) = 0 is what the derivative of the likelihood comes to.
    b = regressions * (1 + epsilon) + corrections * (1 - epsilon) - 2 * n * epsilon
    rate = max(np.roots([2 * n, -b, -corrections * epsilon * (1 - epsilon)]).real.max(), 0)
    variance = n * (2 * rate + epsilon - epsilon**2)
    return (regressions - corrections - n * epsilon) / np.sqrt(variance)


def pvalue_by_enumeration(regressions, corrections, n, epsilon):
    """Return the p-value from every outcome of n rows, over a fine grid of correction rates."""
    table = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    score = np.array([score_by_hand(i, j, n, epsilon) for i, j, _ in table])
    region = np.array(table)[score <= score_by_hand(regressions, corrections, n, epsilon) + 1e-9]
    sizes = [
        multinomial.pmf(region, n, [rate + epsilon, rate, 1 - 2 * rate - epsilon]).sum()
        for rate in np.linspace(0, (0.3 - epsilon) / 2, 301)
    ]
    return max(*sizes, binom.cdf(regressions + corrections, n, 0.3))


@pytest.mark.parametrize(
    ("regressions", "corrections", "n", "epsilon", "p_value"),
    [
        (0, 0, 10, 0.2, 0.8**10),
        (0, 0, 5, 0.25, 0.75**5),
        (0, 0, 20, 0.1, 0.9**20),
        (0, 0, 230, 0.01, 0.09910482),
        (0, 0, 229, 0.01, 0.10010587),
        (5, 0, 1000, 0.01, 0.066140),
        (6, 0, 1000, 0.01, 0.128877),
        (9, 5, 1000, 0.01, 0.075376),
        (10, 5, 1000, 0.01, 0.128877),
        (21, 20, 1000, 0.01, 0.086453),
        (22, 20, 1000, 0.01, 0.128877),
        (1, 1, 10, 0.2, 0.382783),
        (1, 0, 10, 0.2, 0.375810),
        (1, 1, 20, 0.1, 0.157476),
        (0, 1, 10, 0.2, 0.149308),
        (0, 2, 20, 0.1, 0.035483),
        (1, 3, 30, 0.1, 0.030155),
    ],
)
def test_pvalue_is_as_published(regressions, corrections, n, epsilon, p_value):
    """Check the figures counted by hand, each to all its digits."""
    assert noninferiority_pvalue(regressions, corrections, n, epsilon) == pytest.approx(
        p_value, abs=SIX
    )


def test_pvalue_of_many_rows_is_not_the_binomial():
    """Check that from some 400 rows on, rows that differ both ways make up most of the error."""
    p_value = noninferiority_pvalue(0, 0, 459, 0.01)
    assert p_value == pytest.approx(0.0157, abs=5e-5)
    assert p_value > 0.99**459 + 0.005


@pytest.mark.parametrize("regressions", [0, 3, 5, 9])
def test_pvalue_without_corrections_is_binomial(regressions):
    """Check that the test of the regressions alone is met where there are no corrections."""
    expected = binom.cdf(regressions, 1000, 0.01)
    # From p = 0.2 on, rows that differ both ways are likelier.
    if expected < 0.2:
        assert noninferiority_pvalue(regressions, 0, 1000, 0.01) == pytest.approx(
            expected, abs=0.003
        )


def test_pvalue_falls_below_that_of_the_regressions_alone():
    """Check that corrections make up for regressions: 9 and 5 pass, 9 alone are far from it."""
    assert noninferiority_pvalue(9, 5, 1000, 0.01) < 0.1 < binom.cdf(9, 1000, 0.01)


@pytest.mark.parametrize(("n", "epsilon"), [(1, 0.2), (2, 0.1), (7, 0.05), (7, 0.2), (11, 0.1)])
def test_pvalue_equals_full_enumeration(n, epsilon):
    """Check every outcome of a few rows against sums over all outcomes."""
    for regressions in range(n + 1):
        for corrections in range(n + 1 - regressions):
            ours = noninferiority_pvalue(regressions, corrections, n, epsilon)
            # The grid of the enumeration is coarse: it may miss the top by this much.
            expected = pvalue_by_enumeration(regressions, corrections, n, epsilon)
            assert ours == pytest.approx(expected, abs=2e-4), (regressions, corrections)
            assert ours >= expected - 1e-5


@pytest.mark.parametrize(("n", "epsilon"), [(60, 0.05), (200, 0.02), (400, 0.01)])
@pytest.mark.parametrize("delta", [0.1, 0.05])
def test_false_certificates_are_as_rare_as_guaranteed(n, epsilon, delta):
    """Check the exact error on the boundary, where the loss is epsilon."""
    certified, regressions = [], -1
    for corrections in range(25):
        while noninferiority_pvalue(regressions + 1, corrections, n, epsilon) <= delta:
            regressions += 1
        certified.append(regressions)
    errors = []
    for rate in np.linspace(0, 0.02, 21):
        corrections = np.arange(25)
        passing = binom.cdf(certified, n - corrections, (rate + epsilon) / (1 - rate))
        errors.append(float(binom.pmf(corrections, n, rate) @ passing))
    assert max(errors) <= delta + 1e-5
    assert max(errors) > 0.5 * delta


# A search over a few hundred rates takes milliseconds, or many on a busy machine.
@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(1, 300),
    epsilon=st.floats(0.002, 0.9),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_pvalue_is_a_probability_and_rises_with_regressions(n, epsilon, shares):
    """Check the range, one more regression never lowers it, one more correction never raises it."""
    regressions = int(shares[0] * n)
    corrections = int(shares[1] * (n - regressions))
    p_value = noninferiority_pvalue(regressions, corrections, n, epsilon)
    assert 0 <= p_value <= 1 + 1e-9
    if regressions + corrections < n:
        # The search over correction rates is exact to 1e-5.
        assert noninferiority_pvalue(regressions + 1, corrections, n, epsilon) >= p_value - 1e-5
    if regressions:
        # A correction instead of a regression.
        assert noninferiority_pvalue(regressions - 1, corrections + 1, n, epsilon) <= p_value + 1e-5


# A search over a few hundred rates takes milliseconds, or many on a busy machine.
@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(20, 300),
    counts=st.tuples(st.integers(0, 10), st.integers(0, 10)),
    delta=st.sampled_from([0.01, 0.05, 0.1, 0.3]),
)
def test_upper_bound_inverts_the_pvalue(n, counts, delta):
    """Check that the test passes at the bound, and not a little below."""
    upper = noninferiority_upper_bound(*counts, n, delta)
    assert max(0, (counts[0] - counts[1]) / n) <= upper <= 1
    if 0 < upper < 1:
        assert noninferiority_pvalue(*counts, n, upper) <= delta
        assert noninferiority_pvalue(*counts, n, upper - 2e-7) > delta


@pytest.mark.parametrize(
    ("counts", "upper"),
    [
        ((0, 0, 300), 1 - 0.1 ** (1 / 300)),
        ((3, 1, 1000), 0.005483),
        ((25, 20, 1000), 0.014169),
        ((25, 0, 1000), 0.0326),
    ],
)
def test_upper_bound_is_as_published(counts, upper):
    """Check the bounds counted by hand; the last has four digits."""
    assert noninferiority_upper_bound(*counts) == pytest.approx(
        upper, abs=5e-5 if upper == 0.0326 else SIX
    )


@pytest.mark.parametrize(("counts", "upper"), [((10, 0, 10), 1.0), ((0, 0, 1), 0.9)])
def test_upper_bound_of_hardly_any_rows(counts, upper):
    """Check that regressions throughout exclude nothing, and that one row bounds a little."""
    assert noninferiority_upper_bound(*counts) == pytest.approx(upper, abs=SIX)


def test_upper_bound_is_zero_where_corrections_abound():
    """Check that the bound is floored: certainly no loss is not a negative loss."""
    assert noninferiority_upper_bound(0, 60, 1000) == 0


@pytest.mark.parametrize(
    ("epsilon", "delta", "rows"),
    [
        (0.005, 0.2, 322),
        (0.005, 0.1, 460),
        (0.005, 0.05, 598),
        (0.005, 0.01, 1077),
        (0.01, 0.2, 161),
        (0.01, 0.1, 230),
        (0.01, 0.05, 299),
        (0.01, 0.01, 535),
        (0.02, 0.2, 80),
        (0.02, 0.1, 114),
        (0.02, 0.05, 149),
        (0.02, 0.01, 265),
        (0.05, 0.2, 32),
        (0.05, 0.1, 45),
        (0.05, 0.05, 59),
        (0.05, 0.01, 102),
    ],
)
def test_fewest_rows_are_as_published_and_no_row_too_many(epsilon, delta, rows):
    """Check the table, and that a row less does not certify."""
    assert min_certification_samples(epsilon, delta) == rows
    assert noninferiority_pvalue(0, 0, rows, epsilon) <= delta
    assert noninferiority_pvalue(0, 0, rows - 1, epsilon) > delta


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noninferiority_pvalue(-1, 0, 10, 0.1), "regressions=-1; expected a whole number"),
        (
            lambda: noninferiority_pvalue(1, 0.5, 10, 0.1),
            "corrections=0.5; expected a whole number",
        ),
        (lambda: noninferiority_pvalue(0, 0, 0, 0.1), "n=0 rows; expected at least one row"),
        (
            lambda: noninferiority_pvalue(6, 5, 10, 0.1),
            "regressions=6 and corrections=5 of n=10 rows",
        ),
        (lambda: noninferiority_pvalue(1, 1, 10, 0), "epsilon=0; expected a number above 0"),
        (lambda: noninferiority_pvalue(1, 1, 10, 1.0), "epsilon=1.0; expected .* below 1"),
        (lambda: noninferiority_upper_bound(1, 1, 10, "0.1"), "delta='0.1'; expected a number"),
        (
            lambda: noninferiority_upper_bound(True, 1, 10),
            "regressions=True; expected a whole number",
        ),
        (lambda: min_certification_samples(0.01, 2), "delta=2; expected a number above 0"),
        (lambda: min_certification_samples(float("nan")), "epsilon=nan"),
    ],
)
def test_impossible_counts_are_refused(call, message):
    """Check that each error names the parameter, the value and what is accepted."""
    with pytest.raises(ValueError, match=message):
        call()


def test_counts_may_be_of_numpy():
    """Check that counts taken from arrays are as good as plain ones."""
    counts = np.array([9, 5, 1000])
    assert noninferiority_pvalue(*counts, 0.01) == noninferiority_pvalue(9, 5, 1000, 0.01)
    assert noninferiority_upper_bound(*counts) == noninferiority_upper_bound(9, 5, 1000)
