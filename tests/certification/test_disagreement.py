"""Tests of the threshold tuned for a bounded disagreement with the full ensemble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from sklearn_cascade.certification._disagreement import tune_margin
from sklearn_cascade.certification._noninferiority import min_binomial_samples


def tuned(margins, labels, max_disagreement=0.05, delta=0.05):
    """Return what `tune_margin` finds."""
    return tune_margin(margins, labels, max_disagreement=max_disagreement, delta=delta)


def one_stage(margin, differs):
    """Return margins and labels of two stages from the margin and which rows differ."""
    full = np.zeros(len(margin), dtype=int)
    return [np.asarray(margin, dtype=float)], [np.asarray(differs).astype(int), full]


def constant(n_samples, n_differing, margin=5.0):
    """Return rows of one margin, some of which differ."""
    return one_stage(np.full(n_samples, margin), np.arange(n_samples) < n_differing)


def test_rows_needed_for_half_a_percent():
    """Check the published number of rows, and that one fewer cannot show it."""
    assert min_binomial_samples(0.005, 0.05) == 598
    margins, labels = constant(598, 0)
    assert tuned(margins, labels, 0.005).threshold == 0
    margins, labels = constant(597, 0)
    assert tuned(margins, labels, 0.005) == (np.inf, 0, 0)


@given(share=st.floats(1e-4, 0.9), delta=st.floats(1e-6, 0.9))
@settings(max_examples=60, deadline=None)
def test_rows_needed_is_the_smallest_number_that_shows_it(share, delta):
    """Check that so many rows without any that differs bound the share, and one fewer do not."""
    needed = min_binomial_samples(share, delta)
    assert needed >= 1
    # The chance of no row that differs, at the share itself; relative to logs of 1e-6.
    assert (1 - share) ** needed <= delta * (1 + 1e-9)
    assert needed == 1 or (1 - share) ** (needed - 1) > delta * (1 - 1e-9)


@pytest.mark.parametrize("n_samples", [700, 5000])
@pytest.mark.parametrize("delta", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("n_differing", [0, 1, 7])
def test_bound_is_the_exact_binomial_limit(n_samples, delta, n_differing):
    """Check figures of the threshold returned against scipy's one-sided exact interval."""
    margins, labels = constant(n_samples, n_differing)
    found = tuned(margins, labels, max_disagreement=0.1, delta=delta)
    assert found.threshold == 0
    assert found.disagreement == n_differing / n_samples
    test = binomtest(n_differing, n_samples, alternative="less")
    exact = test.proportion_ci(confidence_level=1 - delta, method="exact")
    # Two solvers of the same equation.
    assert found.bound == pytest.approx(exact.high, rel=1e-9)
    assert binom.cdf(n_differing, n_samples, found.bound) == pytest.approx(delta, rel=1e-9)


def test_all_rows_that_differ_have_a_bound_of_one():
    """Check that nothing passes where every label differs, however much is allowed."""
    margins, labels = constant(50, 50)
    assert tuned(margins, labels, 0.999, 0.5) == (5.02, 0, pytest.approx(1 - 0.5 ** (1 / 50)))


def test_threshold_stops_above_the_first_lead_that_fails():
    """Check that the threshold is the grid point above the margin at which rows differ."""
    margin = np.concatenate([np.full(500, 7.0), np.full(500, 3.0)])
    differs = np.concatenate([np.zeros(500), np.ones(500)])
    found = tuned(*one_stage(margin, differs))
    # Steps of 0.02, and a margin equal to its threshold exits.
    assert found.threshold == pytest.approx(3.02, abs=1e-12)
    assert found.disagreement == 0
    # Half of the rows exit, and all of them are counted.
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 1000), rel=1e-9)


def crossing(n_samples=1000, n_crossing=200):
    """Return three stages where some rows differ after the second only, at a margin of five.

    At a threshold of 3 or less they exit at the first stage, which agrees.
    """
    crossing = np.arange(n_samples) < n_crossing
    margins = [np.where(crossing, 3.0, 0.0), np.where(crossing, 5.0, 9.0)]
    full = np.zeros(n_samples, dtype=int)
    return margins, [full, crossing.astype(int), full.copy()]


def test_first_failure_ends_the_tuning():
    """Check that lower thresholds which would pass again are not looked at."""
    found = tuned(*crossing())
    assert found.threshold == pytest.approx(5.02, abs=1e-12)
    # It is the failure between that hides them: fewer such rows are within the limit.
    found = tuned(*crossing(n_crossing=20))
    assert found.threshold == 0
    assert found.disagreement == 0


def test_rows_are_counted_where_they_exit():
    """Check that a row which differs before its exit, or after it, does not count."""
    margins, labels = crossing(n_crossing=20)
    # Rows that exit at the first stage of all, whatever the second one predicts.
    margins[0][500:] = 10.0
    labels[1][500:] = 1
    assert tuned(margins, labels).disagreement == 0
    # The first stage differs on rows that exit at the second one while they may.
    labels[0][20:500] = 1
    found = tuned(margins, labels)
    assert found.threshold == pytest.approx(0.02, abs=1e-12)
    assert found.disagreement == 0


def test_nothing_passes_where_the_most_confident_rows_differ():
    """Check that the threshold is infinite, with no disagreement, if the first step fails."""
    assert tuned(*constant(1000, 100, margin=50.0)) == (np.inf, 0, 0)


def test_labels_of_any_kind_are_compared():
    """Check strings as labels."""
    margins, (first, full) = constant(1000, 10)
    names = np.array(["low", "high"])
    assert tuned(margins, [names[first], names[full]]) == tuned(margins, [first, full])


@given(
    seed=st.integers(0, 2**32 - 1),
    n_stages=st.integers(1, 3),
    allowed=st.lists(st.floats(0.005, 0.3), min_size=2, max_size=2),
)
@settings(max_examples=25, deadline=None)
def test_figures_hold_and_a_larger_limit_exits_no_later(seed, n_stages, allowed):
    """Check disagreement <= bound <= limit, by a recount, and order in the limit."""
    rng = np.random.default_rng(seed)
    n_samples = 400
    margins = [rng.exponential(2 + k, n_samples) for k in range(n_stages)]
    differs = [rng.uniform(size=n_samples) < 0.2 * np.exp(-margin) for margin in margins]
    labels = [*(d.astype(int) for d in differs), np.zeros(n_samples, dtype=int)]
    low, high = sorted(allowed)
    strict, loose = (tuned(margins, labels, share) for share in (low, high))
    assert loose.threshold <= strict.threshold
    for found, share in [(strict, low), (loose, high)]:
        assert found.disagreement <= found.bound <= share
        exited, wrong = np.zeros(n_samples, bool), np.zeros(n_samples, bool)
        for margin, differing in zip(margins, differs, strict=True):
            # The tie tolerance above one is 1e-6, far below the distance of drawn margins.
            leaving = (margin >= found.threshold) & ~exited
            wrong |= leaving & differing
            exited |= leaving
        assert found.disagreement == wrong.mean()


def test_unseen_disagreement_exceeds_the_limit_no_more_often_than_delta():
    """Check the guarantee over 200 draws of tuning rows from a population known exactly."""
    rng = np.random.default_rng(0)
    n_draws, n_samples, allowed, delta = 200, 1200, 0.01, 0.1
    rate, scale, top = 0.2, 5.0, 10.0

    def true_disagreement(threshold):
        # Leads are uniform up to the top; at margin z a share rate * exp(-z / scale) differs.
        low = np.minimum(threshold, top)
        return rate * scale / top * (np.exp(-low / scale) - np.exp(-top / scale))

    assert true_disagreement(0) > allowed
    bounded, naive = [], []
    for _ in range(n_draws):
        margin = rng.uniform(0, top, n_samples)
        differs = rng.uniform(size=n_samples) < rate * np.exp(-margin / scale)
        bounded.append(tuned(*one_stage(margin, differs), allowed, delta).threshold)
        # What the tuning is not: the lowest threshold whose observed share is allowed.
        order = np.argsort(-margin)
        kept = np.flatnonzero(differs[order].cumsum() <= allowed * n_samples)
        naive.append(margin[order][kept[-1]])
    failures = int((true_disagreement(np.array(bounded)) > allowed).sum())
    # One draw in a thousand would go beyond by sampling error, were the rate delta.
    assert failures <= binom.ppf(0.999, n_draws, delta)
    assert (true_disagreement(np.array(naive)) > allowed).mean() > 2 * delta
    # It is not kept by never exiting: most of the limit is used.
    assert true_disagreement(np.median(bounded)) > allowed / 2
