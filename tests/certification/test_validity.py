"""Simulations with known truth: certificates fail as rarely as they guarantee."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade.certification._fixed_sequence import (
    RISKS,
    collect_predictions,
    fixed_sequence_test,
    pair_outcomes,
    threshold_path,
)
from sklearn_cascade.tuning._sweep import prefix_probabilities

N_DRAWS, DELTA, EPSILON = 200, 0.1, 0.02
COSTS = np.array([1.0, 4.0, 16.0])


def population(seed, combine="mean", digits=None, classes=(1, 1, 1), strengths=(1.0, 2.0, 3.0)):
    """Return the predictions of three correlated members for 20,000 rows.

    `digits` rounds the probabilities, so that confidences tie; `classes` are the odds of the
    classes; `strengths` says how good the members are.
    """
    rng = np.random.default_rng(seed)
    n, odds = 20_000, np.array(classes) / np.sum(classes)
    y = rng.choice(len(odds), size=n, p=odds)
    ease, shared = rng.normal(size=n), rng.normal(size=(n, len(odds)))
    proba = []
    for strength in strengths:
        own = rng.normal(size=(n, len(odds)))
        logits = np.log(odds) + own + 0.4 * shared
        logits[np.arange(n), y] += strength + 1.3 * ease
        stage = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        proba.append(stage if digits is None else np.round(stage, digits))
    after = prefix_probabilities(proba, combine, [1.0] * 3, False)
    return collect_predictions(after, proba, ["max_proba"] * 2, y, None)


POPULATIONS = {
    "mean": (population(0), (None,), "accuracy_gap"),
    "last, ties": (population(1, "last", digits=1), (None,), "accuracy_gap"),
    "imbalance": (population(2, classes=(96, 3, 1)), (None,), "accuracy_gap"),
    "best member": (population(3, strengths=(2.0, 2.3, 2.5)), (2,), "accuracy_gap"),
    "every member": (population(4, strengths=(2.0, 2.3, 2.5)), (0, 1, 2), "accuracy_gap"),
    "disagreement": (population(5), (None,), "disagreement"),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_certificates_fail_no_more_often_than_guaranteed(name):
    """Check violations over draws with known truth, against the guarantee plus sampling error."""
    predictions, references, risk = POPULATIONS[name]
    truth = pair_outcomes(predictions, references, COSTS, labelled=risk == "accuracy_gap")
    rng = np.random.default_rng(7)
    violated = certified = 0
    for _ in range(N_DRAWS):
        rows = rng.integers(truth.n_samples, size=600)
        thresholds = certify(truth, rows[:120], rows[120:], risk)
        if thresholds is None:
            continue
        certified += 1
        regressions, corrections, _ = truth.evaluate(thresholds)
        violated += max(regressions - corrections) / truth.n_samples > EPSILON
    # Twice the standard deviation of a binomial of 200 draws.
    assert violated / N_DRAWS <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / N_DRAWS)
    assert certified > N_DRAWS / 3


def certify(truth, tuning, certifying, risk):
    """Return the last thresholds certified on one draw, or None."""
    path = [t for t in threshold_path(take(truth, tuning)) if min(t) < np.inf]
    steps = fixed_sequence_test(
        take(truth, certifying), path, risk=RISKS[risk], epsilon=EPSILON, delta=DELTA
    )
    passed = [step.thresholds for step in steps if step.passed]
    return passed[-1] if passed else None


def take(outcomes, rows):
    """Return the outcomes of some rows."""
    return outcomes._replace(
        confidence=outcomes.confidence[:, rows],
        regressed=outcomes.regressed[..., rows],
        corrected=outcomes.corrected[..., rows],
    )


def test_naive_tuning_fails_far_more_often():
    """Check that the cheapest thresholds with an estimate within epsilon are often wrong.

    Without this, the test above might pass on populations where nothing can go wrong.
    """
    predictions, references, _ = POPULATIONS["mean"]
    truth = pair_outcomes(predictions, references, COSTS, labelled=True)
    rng = np.random.default_rng(7)
    violated = 0
    for _ in range(N_DRAWS):
        drawn = take(truth, rng.integers(truth.n_samples, size=600))
        counted = [(t, *drawn.evaluate(t)) for t in threshold_path(drawn)]
        within = [(cost, t) for t, i, j, cost in counted if i[0] - j[0] <= EPSILON * 600]
        regressions, corrections, _ = truth.evaluate(min(within)[1])
        violated += (regressions[0] - corrections[0]) / truth.n_samples > EPSILON
    assert violated / N_DRAWS > 0.25
