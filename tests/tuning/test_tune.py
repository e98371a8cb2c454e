"""Tests of the tuning: held-out probabilities in, combination and thresholds out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import accuracy_score, f1_score, make_scorer

from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._costs import row_costs
from sklearn_cascade.core._scoring import score_probabilities
from sklearn_cascade.core._thresholds import exit_stages
from sklearn_cascade.tuning._tune import tune_cascade
from tests.strategies import stage_probabilities

ADDITIVE = ["accuracy", "balanced_accuracy", "neg_log_loss", "neg_brier_score"]
OTHER = ["f1_macro", "roc_auc", make_scorer(f1_score, average="weighted", pos_label=None)]
# Scores and costs of at most a few hundred rows, summed in another order.
CLOSE = {"rel": 1e-9, "abs": 1e-9}


def tune(proba, y, costs, **overrides):
    """Tune with the defaults of a cascade and three interleaved folds."""
    settings = {
        "classes": np.arange(np.shape(proba)[2]),
        "combine": "auto",
        "confidence": "max_proba",
        "weights": np.ones(len(proba)),
        "scoring": "accuracy",
        "sample_weight": np.ones(len(y)),
        "fold": np.arange(len(y)) % 3,
    }
    return tune_cascade(proba, y, np.asarray(costs), **{**settings, **overrides})


def binary(*stages):
    """Return two-column probabilities from the probability of class 1 at each stage."""
    return [np.stack([1 - np.array(p), np.array(p)], axis=1) for p in stages]


def informative(n_samples=120, n_stages=3, n_classes=3, seed=0):
    """Return stages that get better, the true columns and weights of the rows."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % n_classes
    logits = 1.5 * rng.normal(size=(n_stages, n_samples, n_classes))
    logits[:, np.arange(n_samples), y] += np.linspace(1, 3, n_stages)[:, None]
    proba = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return list(proba), y, rng.integers(1, 4, size=n_samples).astype(float)


def combined_by(proba, combine):
    """Return the unweighted combination after each stage, none abstaining."""
    if combine == "last":
        return list(proba)
    return [np.mean(proba[: k + 1], axis=0) for k in range(len(proba))]


def apply_thresholds(proba, combine, thresholds):
    """Apply the thresholds to all rows; return the outputs and the exit stages."""
    outputs = combined_by(proba, combine)
    confidences = [compute_confidence(output, "max_proba") for output in outputs[:-1]]
    stage = exit_stages(confidences, thresholds)
    return np.array(outputs)[stage, np.arange(len(stage))], stage


def best_without_exits(proba, y, scoring, weight):
    """Return the best score of any stage alone and of either combination of all."""
    contenders = [*proba, combined_by(proba, "mean")[-1]]
    classes = np.arange(proba[0].shape[1])
    return max(score_probabilities(scoring, output, y, classes, weight) for output in contenders)


@given(drawn=stage_probabilities())
@settings(max_examples=60, deadline=None)
def test_tuning_does_no_harm(drawn):
    """Check that "auto" is not below any stage alone or all combined, nor costs more than all."""
    proba, y, costs = drawn
    tuned = tune(proba, y, costs)
    target_score = best_without_exits(proba, y, "accuracy", None)
    assert tuned.target_score == pytest.approx(target_score, **CLOSE)
    assert tuned.reaches_target
    output, stage = apply_thresholds(proba, tuned.combine, tuned.thresholds)
    assert accuracy_score(y, output.argmax(axis=1)) == pytest.approx(tuned.score, **CLOSE)
    assert tuned.score >= target_score - 1e-9
    assert row_costs(stage, costs).mean() == pytest.approx(tuned.cost, **CLOSE)
    assert costs[0] - 1e-9 <= tuned.cost <= costs.sum() + 1e-9


@pytest.mark.parametrize("combine", ["auto", "mean", "last"])
@pytest.mark.parametrize("n_copies", [2, 3])
def test_duplicate_of_a_stage_is_never_worth_running(combine, n_copies):
    """Check that with copies of one model every row exits at the first."""
    proba, y, _ = informative(n_stages=1)
    tuned = tune(proba * n_copies, y, [2.0] * n_copies, combine=combine)
    assert tuned.cost == pytest.approx(2.0, **CLOSE)
    assert tuned.cross_fitted_cost == pytest.approx(2.0, **CLOSE)
    assert tuned.score == pytest.approx(accuracy_score(y, proba[0].argmax(axis=1)), **CLOSE)
    assert tuned.reaches_target


def test_auto_combines_by_the_last_where_the_mean_hurts():
    """Check a weak but loud first stage and a strong but quiet last one."""
    y = np.array([0, 1] * 6)
    loud = np.where(np.arange(12) < 6, np.where(y == 1, 0.95, 0.05), np.where(y == 1, 0.05, 0.95))
    proba = binary(loud, np.where(y == 1, 0.6, 0.4))
    tuned = tune(proba, y, [1.0, 5.0])
    assert tuned.combine == "last"
    assert tuned.reaches_target
    assert (tuned.score, tuned.cost) == pytest.approx((1.0, 6.0), **CLOSE)
    forced = tune(proba, y, [1.0, 5.0], combine="mean")
    assert forced.combine == "mean"
    assert not forced.reaches_target
    # The best the mean can do is the first stage alone.
    assert (forced.score, forced.cost) == pytest.approx((0.5, 1.0), **CLOSE)
    assert forced.target_score == pytest.approx(1.0)


def test_auto_combines_by_the_mean_where_it_helps():
    """Check two stages whose errors differ and whose confidences are uninformative."""
    y, first_wrong = np.ones(12, dtype=int), np.arange(12) % 2 == 0
    proba = binary(np.where(first_wrong, 0.3, 0.7), np.where(first_wrong, 0.9, 0.4))
    tuned = tune(proba, y, [1.0, 5.0])
    assert tuned.combine == "mean"
    assert tuned.score == pytest.approx(1.0)
    assert tune(proba, y, [1.0, 5.0], combine="last").score == pytest.approx(0.5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scoring", [*ADDITIVE, *OTHER], ids=str)
def test_every_scoring_is_reached_and_truly_reported(scoring, weighted):
    """Check target, score and cost against the scorer applied to the outputs."""
    proba, y, weight = informative(n_classes=2)
    weight = weight if weighted else None
    rows = np.ones(len(y)) if weight is None else weight
    tuned = tune(proba, y, [1.0, 3.0, 9.0], scoring=scoring, sample_weight=rows)
    assert tuned.target_score == pytest.approx(
        best_without_exits(proba, y, scoring, weight), **CLOSE
    )
    assert tuned.reaches_target
    output, stage = apply_thresholds(proba, tuned.combine, tuned.thresholds)
    expected = score_probabilities(scoring, output, y, np.arange(2), weight)
    assert tuned.score == pytest.approx(expected, **CLOSE)
    cost = np.average(row_costs(stage, [1.0, 3.0, 9.0]), weights=weight)
    assert tuned.cost == pytest.approx(cost, **CLOSE)
    # Easy rows leave early, unless the score hangs on the order of all rows.
    assert tuned.cost < 13.0 or (scoring == "roc_auc" and (stage == 2).all())


def test_scorers_reach_a_middle_stage_that_accuracy_would_skip():
    """Check that the best stage by macro F1 is found although a cheaper one is more accurate."""
    y = np.repeat([0, 1], [90, 10])
    nobody = np.full(100, 0.2)
    eager = np.where(np.arange(100) >= 78, 0.8, 0.2)
    shy = np.where(np.isin(np.arange(100), [0, 90, 91, 92]), 0.8, 0.2)
    proba = binary(nobody, eager, shy)
    f1 = [f1_score(y, stage.argmax(axis=1), average="macro") for stage in proba]
    right = [accuracy_score(y, stage.argmax(axis=1)) for stage in proba]
    assert np.argmax(f1) == 1
    assert np.argmin(right) == 1
    tuned = tune(proba, y, [1.0, 1.0, 1.0], scoring="f1_macro")
    assert tuned.target_score == pytest.approx(max(f1), **CLOSE)
    assert tuned.reaches_target
    assert tuned.score >= max(f1) - 1e-9
    assert tuned.cost == pytest.approx(2.0, **CLOSE)


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro"])
def test_cross_fitted_estimate_of_two_unlike_folds_by_hand(scoring):
    """Check that each fold gets what the other one alone would choose."""
    # The first stage, equally confident on all rows, is right on fold 0 and wrong on fold 1.
    fold = np.repeat([0, 1], 4)
    y = np.array([0, 1, 0, 1] * 2)
    right = np.where(y == 1, 0.9, 0.1)
    proba = binary(np.where(fold == 0, right, 1 - right), right)
    tuned = tune(proba, y, [1.0, 10.0], combine="last", fold=fold, scoring=scoring)
    assert (tuned.score, tuned.cost) == pytest.approx((1.0, 11.0), **CLOSE)
    # Fold 1 leaves at once, as fold 0 implies, and is wrong; fold 0 goes all the way.
    assert tuned.cross_fitted_score == pytest.approx(0.5, **CLOSE)
    assert tuned.cross_fitted_cost == pytest.approx((11.0 + 1.0) / 2, **CLOSE)


@pytest.mark.parametrize("scoring", ["accuracy", make_scorer(accuracy_score)], ids=str)
def test_cross_fitted_estimate_lets_each_fold_combine_differently(scoring):
    """Check by hand two folds of which one favours the mean and the other the last stage."""
    y, fold = np.ones(8, dtype=int), np.repeat([0, 1], 4)
    first = [0.3, 0.7, 0.3, 0.7, 0.05, 0.05, 0.05, 0.05]
    second = [0.9, 0.4, 0.9, 0.4, 0.6, 0.6, 0.6, 0.6]
    tuned = tune(binary(first, second), y, [1.0, 5.0], fold=fold, scoring=scoring)
    # The last stage alone gets two rows of fold 0, the mean none of fold 1.
    assert tuned.cross_fitted_score == pytest.approx(2 / 8, **CLOSE)
    assert tuned.cross_fitted_cost == pytest.approx(6.0, **CLOSE)


@pytest.mark.parametrize("combine", ["auto", "mean", "last"])
def test_cross_fitted_estimate_is_tuning_on_the_other_folds(combine):
    """Check the pooled estimate against tuning afresh without each fold, weights included."""
    proba, y, weight = informative(n_samples=90, seed=3)
    costs, fold = [1.0, 3.0, 9.0], np.random.default_rng(0).integers(3, size=90)
    tuned = tune(proba, y, costs, combine=combine, fold=fold, sample_weight=weight)
    right, paid = np.empty(90), np.empty(90)
    for test_fold in range(3):
        rest, rows = fold != test_fold, fold == test_fold
        others = [stage[rest] for stage in proba]
        part = tune(others, y[rest], costs, combine=combine, sample_weight=weight[rest])
        held = [stage[rows] for stage in proba]
        output, stage = apply_thresholds(held, part.combine, part.thresholds)
        right[rows], paid[rows] = output.argmax(axis=1) == y[rows], row_costs(stage, costs)
    assert tuned.cross_fitted_score == pytest.approx(np.average(right, weights=weight), **CLOSE)
    assert tuned.cross_fitted_cost == pytest.approx(np.average(paid, weights=weight), **CLOSE)
    assert tuned.cross_fitted_score != tuned.score


def test_cross_fitted_estimate_leaves_out_copies_of_the_rows_it_scores():
    """Check by hand overlapping folds: no sample takes part in the choice that scores it."""
    # Four rows of fold 0 are right at the first stage; the others, in both folds, are wrong.
    fold, sample = np.repeat([0, 1], 8), np.array([*range(8), *range(4, 12)])
    y = np.array([0, 1] * 8)
    right = np.where(y == 1, 0.9, 0.1)
    proba = binary(np.where(sample < 4, right, 1 - right), right)
    tuned = tune(proba, y, [1.0, 10.0], combine="last", fold=fold, sample=sample)
    # Fold 1 is decided by samples 0 to 3 alone, fold 0 by samples 8 to 11.
    assert tuned.cross_fitted_score == pytest.approx(8 / 16, **CLOSE)
    assert tuned.cross_fitted_cost == pytest.approx((8 * 11.0 + 8 * 1.0) / 16, **CLOSE)
    without = tune(proba, y, [1.0, 10.0], combine="last", fold=fold)
    assert without.cross_fitted_score == pytest.approx(1.0, **CLOSE)
    twice = tune(proba, y, [1.0, 10.0], fold=fold, sample=np.tile(np.arange(8), 2))
    assert np.isnan([twice.cross_fitted_score, twice.cross_fitted_cost]).all()


def test_single_fold_has_no_cross_fitted_estimate():
    """Check that without other folds only the cross-fitted figures are NaN."""
    proba, y, _ = informative()
    tuned = tune(proba, y, [1.0, 3.0, 9.0], fold=np.zeros(len(y), dtype=int))
    assert np.isnan([tuned.cross_fitted_score, tuned.cross_fitted_cost]).all()
    assert np.isfinite([tuned.score, tuned.cost]).all()


def figures(tuned):
    """Return the numbers of a tuning result, thresholds first."""
    scores = [tuned.score, tuned.cross_fitted_score, tuned.target_score]
    return [*tuned.thresholds, *scores, tuned.cost, tuned.cross_fitted_cost]


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "neg_log_loss", "f1_macro"])
def test_weights_count_as_rows_and_order_does_not_matter(scoring):
    """Check that weight k is k rows, that weight 0 is none, and that order does not matter."""
    proba, y, weight = informative(n_samples=60, seed=1)
    weight[::2] = 0.0
    fold = np.random.default_rng(0).integers(3, size=len(y))

    def tuned_on(rows, weight):
        chosen = [stage[rows] for stage in proba]
        given = {"scoring": scoring, "fold": fold[rows], "sample_weight": weight}
        return tune(chosen, y[rows], [1.0, 3.0, 9.0], **given)

    everything = tuned_on(np.arange(len(y)), weight)
    repeated = np.repeat(np.arange(len(y)), weight.astype(int))
    counted = np.flatnonzero(weight)
    order = np.random.default_rng(1).permutation(len(y))
    for other in (
        tuned_on(repeated, np.ones(len(repeated))),
        tuned_on(counted, weight[counted]),
        tuned_on(order, weight[order]),
        tuned_on(np.arange(len(y)), weight * 5),
    ):
        assert other.combine == everything.combine
        assert figures(other) == pytest.approx(figures(everything), **CLOSE)


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro"])
@pytest.mark.parametrize("combine", ["auto", "mean", "last"])
def test_stage_that_always_abstains_costs_its_call_and_decides_nothing(scoring, combine):
    """Check that abstaining costs the call, decides nothing, and is not an error."""
    proba, y, _ = informative(n_stages=1)
    abstaining = np.full_like(proba[0], np.nan)
    tuned = tune(
        [abstaining, proba[0]],
        y,
        [1.0, 5.0],
        scoring=scoring,
        combine=combine,
        class_shares=np.full(3, 1 / 3),
    )
    expected = score_probabilities(scoring, proba[0], y, np.arange(3))
    assert (tuned.score, tuned.cost) == pytest.approx((expected, 6.0), **CLOSE)
    assert (tuned.cross_fitted_score, tuned.cross_fitted_cost) == pytest.approx(
        (expected, 6.0), **CLOSE
    )


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro"])
def test_tuning_writes_to_nothing_and_repeats_itself(scoring):
    """Check that everything handed in stays as it was, and that a second call agrees."""
    proba, y, weight = informative(n_samples=30)
    fold, costs = np.arange(30) % 3, np.array([1.0, 3.0, 9.0])
    for array in (*proba, y, weight, fold, costs):
        array.flags.writeable = False
    given_twice = {"sample_weight": weight, "fold": fold, "scoring": scoring}
    assert tune(proba, y, costs, **given_twice) == tune(proba, y, costs, **given_twice)


@pytest.mark.parametrize("seed", range(6))
def test_tuning_many_stages_does_no_harm(seed):
    """Check that seven stages of mixed skill, in any order, lose nothing against the best one."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=120)
    skill = rng.uniform(0.1, 0.5, size=7)
    proba = [np.eye(3)[y] * s + rng.dirichlet(np.ones(3) / 2, 120) * (1 - s) for s in skill]
    assert tune(proba, y, np.arange(1.0, 8.0)).reaches_target
