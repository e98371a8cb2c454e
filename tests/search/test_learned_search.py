"""Tests of searches with learned confidences and "most_confident", and of cross-fitted scores."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_cascade import LearnedConfidence, search_cascades
from sklearn_cascade.core._learned_confidence import pair_columns
from sklearn_cascade.tuning._fit_confidence import TrainingData, fit_stage_confidence
from tests.search.pools import as_pairs, draw_pool


def services(n_samples=1200, seed=0):
    """Return pairs of a cheap service, wrong whenever it predicts 1, and of an expensive one."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n_samples)
    label = np.where(rng.random(n_samples) < 0.5, y, 1)
    cheap = rng.uniform(0.5, 1.0, n_samples), label
    right = rng.random(n_samples) < 0.95
    expensive = rng.uniform(0.5, 1.0, n_samples), np.where(right, y, (y + 1) % 3)
    return [cheap, expensive], y


def best_saving(front):
    """Return the share of the best single model's cost that the default choice saves."""
    single = max((row for row in front if row.kind == "single"), key=lambda row: row.score)
    return 1 - front.select().mean_cost / single.mean_cost


@pytest.mark.parametrize("labels", [[0, 1, 2], ["no", "perhaps", "yes"]])
def test_learned_confidence_tells_bare_labels_apart(labels):
    """Check that the label decides where confidences tell nothing, and new rows exit by it."""
    labels = np.array(labels)
    pairs, y = services()
    pairs, y = [(confidence, labels[column]) for confidence, column in pairs], labels[y]
    plain = search_cascades(pairs, y, costs=[1, 10], cv=None)
    learned = search_cascades(pairs, y, costs=[1, 10], confidence="learned", cv=None)
    assert best_saving(plain) < 0.1
    assert best_saving(learned) > 0.25
    new, truth = services(seed=1)
    new = [(confidence, labels[column]) for confidence, column in new]
    found = learned.apply(learned.select(), new)
    assert_array_equal(found.exit_stage, (new[0][1] == labels[1]).astype(int))
    assert found.proba is None
    assert np.mean(found.label == labels[truth]) > 0.95
    assert_array_equal(found.cost, np.where(found.exit_stage == 0, 1.0, 11.0))


def test_labels_that_the_search_never_saw_are_predicted():
    """Check that a model may give a new label, which is predicted where the row exits."""
    pairs, y = services()
    front = search_cascades(
        pairs, y, costs=[1, 10], confidence="learned", combine="most_confident", cv=None
    )
    new = [(np.array([0.9, 0.9]), np.array([7, 0])), (np.array([0.9, 0.9]), np.array([9, 0]))]
    row = max((row for row in front if row.kind == "cascade"), key=lambda row: row.mean_cost)
    assert set(front.apply(row, new).label) <= {0, 7, 9}


@pytest.mark.parametrize("as_labels", [False, True])
@pytest.mark.parametrize("confidence", ["max_proba", "learned"])
@pytest.mark.parametrize("combine", ["auto", "most_confident"])
def test_rows_of_the_table_are_what_applying_them_gives(as_labels, confidence, combine):
    """Check score and cost on the rows searched; learned confidences know them a little better."""
    pool, y, costs = draw_pool(3, 600)
    outputs = as_pairs(pool) if as_labels else pool
    front = search_cascades(
        outputs, y, costs=costs, confidence=confidence, combine=combine, n_thresholds=12, cv=None
    )
    allowed = {"atol": 1e-9} if confidence == "max_proba" else {"atol": 0.03}
    for row in front:
        found = front.apply(row, outputs)
        assert_allclose(np.mean(found.label == y), row.score, **allowed)
        assert_allclose(found.cost.mean() / costs[-1], row.mean_cost / costs[-1], **allowed)
        rates = np.bincount(found.exit_stage, minlength=len(row.members)) / len(y)
        assert_allclose(rates, row.exit_rates, **allowed)
    combinations = {row.combine for row in front if row.kind == "cascade"}
    assert combinations <= (
        {"most_confident"} if combine == "most_confident" else {"mean", "last", "most_confident"}
    )


def test_auto_takes_the_most_confident_stage_only_where_confidences_are_comparable():
    """Check which combinations are tried with each confidence."""
    pool, y, costs = draw_pool(4, 800, seed=3)
    combinations = {}
    for confidence in ("max_proba", "learned"):
        front = search_cascades(as_pairs(pool), y, costs=costs, confidence=confidence, cv=None)
        combinations[confidence] = {row.combine for row in front if row.kind == "cascade"}
    assert combinations["max_proba"] == {"last"}
    assert combinations["learned"] == {"last", "most_confident"}


def test_large_pools_are_learned_near_their_front(capsys):
    """Check that few of many sets get a learned confidence, and no others are on the front."""
    pool, y, costs = draw_pool(9, 400, seed=1)
    front = search_cascades(
        as_pairs(pool),
        y,
        costs=costs,
        confidence="learned",
        max_stages=3,
        n_thresholds=8,
        cv=None,
        verbose=1,
    )
    printed = re.search(r"(\d+) sets of models are searched", capsys.readouterr().out)
    assert len({row.members for row in front if row.kind == "cascade"}) <= int(printed[1]) <= 40
    assert {row.kind for row in front} == {"single", "cascade"}


@pytest.mark.parametrize("method", ["exhaustive", "greedy"])
def test_jobs_and_method_do_not_matter_to_small_pools(method):
    """Check that any number of threads, and either method, find the same learned cascades."""
    pool, y, costs = draw_pool(3, 500, seed=2)
    options = {"costs": costs, "confidence": "learned", "n_thresholds": 8, "cv": 3}
    one = search_cascades(pool, y, **options)
    two = search_cascades(pool, y, method=method, n_jobs=2, **options)
    assert list(one) == list(two)


def test_any_classifier_may_learn_in_a_search():
    """Check another learner, which is fitted for each prefix."""
    pairs, y = services()
    learner = LearnedConfidence(HistGradientBoostingClassifier(max_iter=5, random_state=0))
    front = search_cascades(pairs, y, costs=[1, 10], confidence=learner, cv=None)
    assert best_saving(front) > 0.25


def test_shared_work_and_weights_count_with_learned_confidences():
    """Check that weights of zero leave rows out, and that extra costs are paid."""
    pool, y, costs = draw_pool(3, 600, seed=4)
    weight = np.ones(700)
    weight[600:] = 0.0
    longer = [np.vstack([proba, proba[:100]]) for proba in pool]
    y_longer = np.concatenate([y, (y[:100] + 1) % 3])
    options = {"confidence": "learned", "n_thresholds": 8, "cv": None}
    left_out = search_cascades(longer, y_longer, costs=costs, sample_weight=weight, **options)
    assert list(left_out) == list(search_cascades(pool, y, costs=costs, **options))
    shared = search_cascades(pool, y, costs=costs, marginal_cost=lambda name, run: 1.0, **options)
    assert max(row.mean_cost for row in shared) <= 3.0


def test_fronts_with_learned_confidences_can_be_saved():
    """Check that a pickled front predicts the same."""
    pairs, y = services(400)
    front = search_cascades(pairs, y, costs=[1, 10], confidence="learned", cv=None)
    again = pickle.loads(pickle.dumps(front))
    assert_array_equal(again.apply(0, pairs).label, front.apply(0, pairs).label)
    assert_array_equal(
        again.apply(again.select(), pairs).cost, front.apply(front.select(), pairs).cost
    )


@pytest.mark.parametrize("cv", [2, 5, "folds"])
def test_cross_fitted_scores_are_lower_where_there_is_nothing_to_find(cv):
    """Check on noise that the tuned score is optimistic and the cross-fitted one is not."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    pairs = [(rng.random(300), rng.integers(0, 2, 300)) for _ in range(4)]
    cv = np.arange(300) % 3 if cv == "folds" else cv
    front = search_cascades(pairs, y, costs=[1, 1, 1, 1], cv=cv)
    best = front.select(max_cost=4)
    assert best.score > max(row.score for row in front if row.kind == "single")
    assert best.cross_fitted_score < best.score - 0.02
    assert best.cross_fitted_cost <= 4
    tuned = [row.cross_fitted_score is None for row in front if row.kind != "cascade"]
    assert all(tuned)


def test_cross_fitted_score_is_the_choice_without_each_fold():
    """Check cross-fitted score and cost against searches of the other folds, applied to each."""
    pool, y, costs = draw_pool(3, 240, seed=5)
    fold = np.arange(240) % 3
    options = {"costs": costs, "n_thresholds": 8}
    front = search_cascades(pool, y, cv=fold, **options)
    row = [row for row in front if row.cross_fitted_score is not None][-1]
    scores, paid = [], []
    for k in range(3):
        rest = [proba[fold != k] for proba in pool]
        other = search_cascades(rest, y[fold != k], cv=None, **options)
        chosen = other.select(max_cost=row.mean_cost)
        found = other.apply(chosen, [proba[fold == k] for proba in pool])
        scores.append(np.mean(found.label == y[fold == k]))
        paid.append(found.cost.mean())
    assert_allclose(
        [row.cross_fitted_score, row.cross_fitted_cost], [np.mean(scores), np.mean(paid)]
    )


def test_table_shows_cross_fitted_scores_beside_tuned_ones():
    """Check the column, and the sentence where nothing was cross-fitted."""
    pool, y, costs = draw_pool(3, 240)
    with_folds = str(search_cascades(pool, y, costs=costs, n_thresholds=8))
    without = str(search_cascades(pool, y, costs=costs, n_thresholds=8, cv=None))
    assert "cross-fitted" in with_folds.splitlines()[1]
    assert "chosen without the fold it is scored on" in with_folds
    assert "cross-fitted" not in without.splitlines()[1]
    assert "see the parameter cv" in without


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"cv": 1}, "cv=1; expected 'auto', None, a number of folds from 2 to 100"),
        ({"cv": 201}, "cv=201"),
        ({"cv": True}, "cv=True"),
        ({"cv": "five"}, "cv='five'"),
        ({"cv": [0, 1]}, "fold of each of the 200 rows"),
        ({"cv": [3] * 200}, "cv names 1 folds, '3' among them; expected from 2 to 100"),
        ({"cv": list(range(200))}, "cv names 200 folds"),
        ({"confidence": "learnt"}, "confidence='learnt'.*'learned'"),
        ({"confidence": "learned", "sample_weight": [1] * 99 + [0] * 101}, "with 99 held-out"),
    ],
)
def test_what_cannot_be_cross_fitted_is_refused(params, match):
    """Check that errors name the parameter, its value and what is accepted."""
    pool, y, costs = draw_pool(2, 200)
    with pytest.raises(ValueError, match=match):
        search_cascades(pool, y, costs=costs, **params)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda pool: pool[:1], ValueError, "proba has 1 entries; expected one for each of"),
        (lambda pool: {"model_0": pool[0]}, ValueError, "proba lacks 'model_1'"),
        (lambda pool: [pool[0], pool[1][:, :2]], ValueError, "shape"),
        (lambda pool: [pool[0], pool[1] * 2], ValueError, "model_1"),
    ],
)
def test_what_cannot_be_applied_is_refused(change, error, match):
    """Check that missing and misshapen entries are named."""
    pool, y, costs = draw_pool(2, 200)
    front = search_cascades(pool, y, costs=costs, cv=None, combine="last")
    row = next(row for row in front if len(row.members) == 2)
    with pytest.raises(error, match=match):
        front.apply(row, change(pool))


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("confidence", ["max_proba", "learned"])
def test_pools_with_nothing_to_tell_apart_leave_the_cheapest(right, confidence):
    """Check members that are all right, or all wrong, of one confidence."""
    y = np.arange(200) % 2
    pairs = [(np.full(200, 0.7), y if right else 1 - y)] * 2
    front = search_cascades(pairs, y, costs=[1, 5], confidence=confidence)
    assert front.select().members == ("model_0",)
    assert front.select().score == float(right)


def test_shares_of_many_classes_are_not_taken_for_knowledge():
    """Check on labels that are right by chance that no class is trusted more than another."""
    rng = np.random.default_rng(0)
    n_samples, n_classes = 2000, 100
    confidence, label = rng.uniform(0.4, 0.6, n_samples), rng.integers(0, n_classes, n_samples)
    rest = np.ones(n_samples), np.arange(n_samples) % 5, np.arange(n_samples)
    correct = rng.random(n_samples) < 0.5
    data = TrainingData(pair_columns(confidence), label, [], correct, *rest)
    stage = fit_stage_confidence(None, data, n_classes).model
    estimate = stage.predict(pair_columns(np.full(n_classes, 0.5)), np.arange(n_classes), [])
    assert np.std(estimate) < 0.03
    assert np.std(stage.table) > 0.05
