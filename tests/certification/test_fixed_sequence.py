"""Tests of lowering thresholds along a path, with an exact test at each step."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_cascade.certification._fixed_sequence import (
    RISKS,
    PairedOutcomes,
    collect_predictions,
    fixed_sequence_test,
    mean_cost_upper,
    pair_outcomes,
    projected_samples,
    threshold_path,
    worst_reference,
)
from sklearn_cascade.core._costs import cumulative_costs
from sklearn_cascade.tuning._sweep import prefix_probabilities
from tests.probes import COSTS_W, LABELS_W, STAGES_W

GAP, DISAGREEMENT = RISKS["accuracy_gap"], RISKS["disagreement"]
NEVER = np.inf


def predictions_w(combine="mean"):
    """Return the predictions of the stages that are counted by hand."""
    proba = [np.column_stack([p, 1 - np.array(p)]) for p in STAGES_W.values()]
    after = prefix_probabilities(proba, combine, [1.0] * 3, False)
    return collect_predictions(after, proba, ["max_proba"] * 2, np.array(LABELS_W), None)


def outcomes_w(references=(None,), labelled=True):
    """Return regressions and corrections of early exits on those stages."""
    return pair_outcomes(
        predictions_w(), references, np.array(COSTS_W, dtype=float), labelled=labelled
    )


@pytest.mark.parametrize(
    ("thresholds", "regressions", "corrections", "cost", "early"),
    [
        ((0.75, 0.65), 0, 1, 38 / 6, 4 / 6),
        ((NEVER, NEVER), 0, 0, 15, 0),
        ((0, 0), 3, 1, 1, 1),
        ((0.75, NEVER), 0, 1, 8, 0.5),
    ],
)
def test_outcome_is_as_counted_by_hand(thresholds, regressions, corrections, cost, early):
    """Check regressions, corrections, mean cost and early exits against the published table."""
    outcomes = outcomes_w()
    counted = outcomes.evaluate(thresholds)
    assert (counted[0].tolist(), counted[1].tolist()) == ([regressions], [corrections])
    assert counted[2] == pytest.approx(cost)
    assert np.mean(outcomes.exit_stages(thresholds) < 2) == pytest.approx(early)


def test_disagreement_counts_other_predictions_and_no_corrections():
    """Check that without labels a row counts where its prediction differs, correct or not."""
    regressions, corrections, _ = outcomes_w(labelled=False).evaluate((0, 0))
    assert (regressions.tolist(), corrections.tolist()) == ([4], [0])


def test_several_references_are_counted_apart():
    """Check regressions and corrections of exit at once against each member alone."""
    regressions, corrections, _ = outcomes_w(references=(0, 1, 2)).evaluate((0, 0))
    # Rows right alone: a 0 1 4; b 0 2 3 4 (a tie goes to the first class); c 0 1 2 3 5.
    right = [np.array(p) >= 0.5 for p in STAGES_W.values()]
    right = [np.where(np.array(LABELS_W) == 0, r, ~r) for r in right]
    assert regressions.tolist() == [int((r & ~right[0]).sum()) for r in right]
    assert corrections.tolist() == [int((right[0] & ~r).sum()) for r in right]


def test_unknown_label_is_wrong_for_both_sides():
    """Check that a row for which no class is correct is neither regression nor correction."""
    predictions = predictions_w()._replace(truth=np.full(6, -1))
    outcomes = pair_outcomes(predictions, (None, 0), np.array(COSTS_W, dtype=float), labelled=True)
    assert not outcomes.regressed.any()
    assert not outcomes.corrected.any()


def outcomes_of_counts(counts, n):
    """Return outcomes and a path whose k-th step, exit of all rows at stage k, has these counts."""
    n_steps = len(counts)
    regressed, corrected = np.zeros((2, 1, n_steps + 1, n), dtype=bool)
    for k, (regressions, corrections) in enumerate(counts):
        regressed[0, k, :regressions] = True
        corrected[0, k, regressions : regressions + corrections] = True
    confidence = np.zeros((n_steps, n))
    path = [
        tuple(-NEVER if k == step else NEVER for k in range(n_steps)) for step in range(n_steps)
    ]
    return PairedOutcomes(confidence, regressed, corrected, np.ones(n_steps + 1)), path


def test_fixed_sequence_stops_at_the_first_failure():
    """Check that the third step is the last certified, though the fifth would pass again."""
    counts = [(0, 0), (5, 0), (9, 5), (10, 5), (3, 0)]
    outcomes, path = outcomes_of_counts(counts, 1000)
    steps = fixed_sequence_test(outcomes, path, risk=GAP, epsilon=0.01, delta=0.1)
    assert [step.passed for step in steps] == [True, True, True, False]
    assert [(step.regressions[0], step.corrections[0]) for step in steps] == counts[:4]


def test_several_references_all_have_to_pass():
    """Check that a step fails which is certified against one reference and not the other."""
    outcomes, path = outcomes_of_counts([(5, 0)], 1000)
    both = outcomes._replace(
        regressed=np.concatenate([outcomes.regressed, outcomes.regressed]),
        corrected=np.concatenate([outcomes.corrected, outcomes.corrected]),
    )
    both.regressed[1, 0, :6] = True
    (step,) = fixed_sequence_test(both, path, risk=GAP, epsilon=0.01, delta=0.1)
    assert not step.passed
    assert worst_reference(step, GAP, 1000, 0.01)[0] == 1
    assert worst_reference(step, GAP, 1000, 0.01)[1] == pytest.approx(0.128877, abs=1e-6)


def test_fast_decision_equals_the_pvalue():
    """Check that critical values decide like p-values, on both sides of the edge."""
    for n, epsilon, delta in [(140, 0.02, 0.1), (1000, 0.01, 0.05), (3000, 0.005, 0.2)]:
        for corrections in (0, 1, 5, 20, 60):
            for regressions in range(0, 75, 1 if n < 200 else 3):
                p_value = GAP.pvalue(regressions, corrections, n, epsilon)
                assert GAP.passes(regressions, corrections, n, epsilon, delta) == (p_value <= delta)


@pytest.mark.parametrize(
    ("n", "epsilon", "most"),
    [
        (1000, 0.005, [1, 5, 16, 86]),
        (1000, 0.01, [5, 9, 21, 92]),
        (1000, 0.02, [13, 17, 30, 100]),
        (5000, 0.005, [18, 22, 35, 106]),
        (5000, 0.01, [40, 45, 58, 130]),
        (5000, 0.02, [86, 91, 104, 177]),
        (200, 0.02, [1, 4, 16]),
    ],
)
def test_most_losses_accepted_are_as_published(n, epsilon, most):
    """Check the largest number of regressions that passes with 0, 5, 20 and 100 corrections."""
    for corrections, regressions in zip((0, 5, 20, 100), most, strict=False):
        assert GAP.passes(regressions, corrections, n, epsilon, 0.1)
        assert not GAP.passes(regressions + 1, corrections, n, epsilon, 0.1)


@pytest.mark.parametrize(("n", "most"), [(200, 51), (1000, 280), (5000, 1458)])
def test_rows_that_differ_are_limited(n, most):
    """Check the published number of rows that may differ at all: beyond, no corrections help."""
    assert GAP.passes(0, most, n, 0.01, 0.1)
    assert not GAP.passes(0, most + 1, n, 0.01, 0.1)


def test_disagreement_is_the_exact_binomial_test():
    """Check p-value, decision, limit and rows of the test without labels."""
    assert DISAGREEMENT.pvalue(5, 0, 1000, 0.01) == pytest.approx(0.066140, abs=1e-6)
    assert DISAGREEMENT.passes(5, 0, 1000, 0.01, 0.1)
    assert not DISAGREEMENT.passes(6, 0, 1000, 0.01, 0.1)
    assert DISAGREEMENT.upper_bound(0, 0, 300, 0.1) == pytest.approx(1 - 0.1 ** (1 / 300))
    # Here the closed form is exact at every delta.
    assert DISAGREEMENT.min_samples(0.01, 0.01) == 459


@pytest.mark.parametrize(
    ("regressions", "corrections", "n", "rows"),
    [(5, 2, 600, 2400), (3, 0, 400, 7173), (9, 0, 600, None)],
)
def test_projected_samples_are_as_published(regressions, corrections, n, rows):
    """Check about how many rows would certify, and that none would where the loss is too large."""
    assert projected_samples(regressions, corrections, n, epsilon=0.01, delta=0.1, risk=GAP) == rows


def test_projected_samples_are_no_fewer_than_the_minimum():
    """Check that hardly any loss on few rows does not project a certificate on fewer."""
    assert projected_samples(0, 30, 400, epsilon=0.01, delta=0.1, risk=GAP) >= 230


def test_upper_limit_of_the_cost_is_as_published():
    """Check the limit counted by hand, to six digits."""
    limit = mean_cost_upper([1000, 300, 100], 1000, [1, 4, 10], 0.1)
    assert limit == pytest.approx(3.468930, abs=1e-6)


def random_outcomes(seed, n=800, n_stages=3, references=(None,), labelled=True):
    """Return outcomes of simulated stages that get better."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    ease = rng.normal(size=n)
    proba = []
    for k in range(n_stages):
        logits = rng.normal(size=(n, 3))
        logits[np.arange(n), y] += 1.5 + k + 1.5 * ease
        proba.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    after = prefix_probabilities(proba, "mean", [1.0] * n_stages, False)
    predictions = collect_predictions(after, proba, ["max_proba"] * (n_stages - 1), y, None)
    return pair_outcomes(predictions, references, 4.0 ** np.arange(n_stages), labelled=labelled)


def caution_of(outcomes, thresholds):
    """Return caution and mean cost of one vector, row by row."""
    stage = outcomes.exit_stages(thresholds)
    rows = np.arange(outcomes.n_samples)
    regressions = outcomes.regressed[:, stage, rows].sum(axis=1)
    corrections = outcomes.corrected[:, stage, rows].sum(axis=1)
    early = np.mean(stage < len(outcomes.costs) - 1)
    cost = cumulative_costs(outcomes.costs)[stage].mean()
    return np.maximum(regressions - corrections / 2, 0).max() + 4 * early, cost


@pytest.mark.parametrize("n_stages", [2, 3, 4, 5])
@pytest.mark.parametrize("references", [(None,), (0, 1)], ids=["cascade", "members"])
def test_path_falls_in_cost_and_in_caution(n_stages, references):
    """Check that caution rises and cost falls strictly, each recounted row by row."""
    outcomes = random_outcomes(0, n_stages=n_stages, references=references)
    path = threshold_path(outcomes)
    caution, cost = np.array([caution_of(outcomes, thresholds) for thresholds in path]).T
    assert len(path) > 10
    assert len(set(path)) == len(path)
    assert (np.diff(cost) < 0).all()
    assert (np.diff(caution) >= 0).all()
    if references == (None,):
        # Nothing is more cautious than to run everything.
        assert path[0] == (NEVER,) * (n_stages - 1)
        assert caution[0] == 0


def test_path_leaves_out_no_better_candidate_of_a_coarse_grid():
    """Check that for each of many vectors the path has one as cautious and as cheap, or nearly."""
    outcomes = random_outcomes(1)
    kept = np.array([caution_of(outcomes, thresholds) for thresholds in threshold_path(outcomes)])
    for first in (0.5, 0.7, 0.9, NEVER):
        for second in (0.4, 0.6, 0.8, NEVER):
            caution, cost = caution_of(outcomes, (first, second))
            # The quantiles of the path are not these thresholds: a twentieth of the cost apart.
            assert ((kept[:, 0] <= caution + 0.5) & (kept[:, 1] <= cost * 1.1)).any()


def test_path_of_many_stages_is_short_work():
    """Check that twelve stages, too many for a grid, have a path as well."""
    path = threshold_path(random_outcomes(2, n=300, n_stages=12))
    assert len(path) > 5
    assert path[0] == (NEVER,) * 11


def test_path_does_not_depend_on_the_order_of_rows():
    """Check that shuffled rows give the same path."""
    outcomes = random_outcomes(3)
    order = np.random.default_rng(0).permutation(outcomes.n_samples)
    shuffled = outcomes._replace(
        confidence=outcomes.confidence[:, order],
        regressed=outcomes.regressed[..., order],
        corrected=outcomes.corrected[..., order],
    )
    assert_array_equal(threshold_path(shuffled), threshold_path(outcomes))


def test_path_where_nothing_can_exit_is_no_early_exit():
    """Check that confidences of NaN, as of members that all abstain, never exit."""
    outcomes = random_outcomes(4)
    path = threshold_path(outcomes._replace(confidence=np.full_like(outcomes.confidence, np.nan)))
    assert path == [(NEVER, NEVER)]


def test_path_of_constant_confidences_knows_all_or_nothing():
    """Check that equally confident rows exit all or not at all."""
    outcomes = random_outcomes(5)
    path = threshold_path(outcomes._replace(confidence=np.full_like(outcomes.confidence, 0.5)))
    assert set(np.ravel(path)) <= {-NEVER, NEVER}
