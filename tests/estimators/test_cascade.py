"""Tests of routing rows through the stages at given thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._thresholds import exit_stages
from tests.probes import numbered_rows, scripted
from tests.strategies import stage_probabilities, thresholds

# Two classes; probabilities of class 0 of three members for six rows, from the reference notes.
W_FIRST = {
    "A": [0.90, 0.75, 0.60, 0.45, 0.20, 0.55],
    "B": [0.50, 0.10, 0.20, 0.90, 0.50, 0.65],
    "C": [0.50, 0.50, 0.10, 0.80, 0.50, 0.05],
}
W_TABLES = [np.column_stack([p, 1 - np.array(p)]) for p in W_FIRST.values()]
W_Y = np.array([0, 0, 1, 0, 1, 1])

quick = settings(max_examples=40, deadline=None)
confidences = st.sampled_from(["max_proba", "margin", "entropy"])
combinations = st.sampled_from(["mean", "last"])


def fit_scripted(tables, **params):
    """Return a fitted cascade of scripted members, and the rows of their tables."""
    X = numbered_rows(len(tables[0]))
    y = np.arange(len(X)) % tables[0].shape[1]
    return CascadeClassifier(scripted(*tables), **params).fit(X, y), X


def draw_thresholds(data, tables):
    """Draw one threshold for each stage but the last."""
    n = len(tables) - 1
    return data.draw(st.lists(thresholds, min_size=n, max_size=n))


@pytest.mark.parametrize(
    ("combine", "limits", "labels", "stages", "mean_cost"),
    [
        ("mean", (0.75, 0.65), [0, 0, 1, 0, 1, 1], [0, 0, 2, 1, 0, 2], 38 / 6),
        ("mean", (np.inf, np.inf), [0, 1, 1, 0, 1, 1], [2] * 6, 15),
        ("mean", (0, 0), [0, 0, 0, 1, 1, 0], [0] * 6, 1),
        ("mean", (0.75, np.inf), [0, 0, 1, 0, 1, 1], [0, 0, 2, 2, 0, 2], 8),
        ("last", (0.75, 0.65), [0, 0, 1, 0, 1, 0], [0, 0, 1, 1, 0, 1], 3),
        ("last", (np.inf, np.inf), [0, 0, 1, 0, 0, 1], [2] * 6, 15),
    ],
)
def test_fixture_equals_the_calculation_by_hand(combine, limits, labels, stages, mean_cost):
    """Check that labels, exits and costs of a small case equal those computed by hand."""
    members = scripted(*W_TABLES)
    cascade = CascadeClassifier(members, thresholds=limits, combine=combine, costs=[1, 4, 10])
    X = numbered_rows(6)
    found = cascade.fit(X, W_Y).predict_details(X)
    assert found.label.tolist() == labels
    assert found.exit_stage.tolist() == stages
    assert_array_equal(found.cost, np.array([1, 5, 15])[stages])
    assert found.cost.mean() == pytest.approx(mean_cost, rel=1e-15)


def test_fixture_averages_the_stages_run():
    """Check that each output of the small case is the mean of the stages that ran for the row."""
    cascade, X = fit_scripted(W_TABLES, thresholds=[0.75, 0.65])
    expected = [0.9, 0.75, 0.3, 0.675, 0.2, 1.25 / 3]
    assert_allclose(cascade.predict_proba(X)[:, 0], expected, rtol=1e-15)


@given(stages=stage_probabilities(), combine=combinations, confidence=confidences)
@quick
def test_minus_infinity_runs_the_first_stage_only(stages, combine, confidence):
    """Check that at minus infinity only the first member is called."""
    tables, _, costs = stages
    cascade, X = fit_scripted(
        tables, thresholds=-np.inf, combine=combine, confidence=confidence, costs=costs
    )
    found = cascade.predict_details(X)
    assert_array_equal(found.proba, tables[0])
    assert_array_equal(found.exit_stage, 0)
    assert_array_equal(found.cost, costs[0])
    assert [len(member.asked) for member in cascade.estimators_] == [1] + [0] * (len(tables) - 1)


@given(stages=stage_probabilities(), seed=st.integers(0, 999), confidence=confidences)
@quick
def test_infinity_equals_the_full_ensemble(stages, seed, confidence):
    """Check that at infinity the cascade is the weighted averaging ensemble of its members."""
    tables, y, costs = stages
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=len(tables))
    cascade, X = fit_scripted(
        tables, thresholds=np.inf, weights=weights, confidence=confidence, costs=costs
    )
    ensemble = AveragingEnsemble(scripted(*tables), weights=weights, costs=costs).fit(X, y)
    found, full = cascade.predict_details(X), ensemble.predict_details(X)
    for ours, theirs in zip(found, full, strict=True):
        assert_array_equal(ours, theirs)
    # A weighted sum of at most four numbers in another order.
    assert_allclose(found.proba, np.average(tables, axis=0, weights=weights), rtol=0, atol=1e-14)
    assert_allclose(found.cost, costs.sum(), rtol=1e-15)


@given(stages=stage_probabilities(), data=st.data(), combine=combinations, confidence=confidences)
@quick
def test_raising_a_threshold_never_exits_earlier(stages, data, combine, confidence):
    """Check that no row exits earlier or gets cheaper when any one threshold rises."""
    tables, _, costs = stages
    low = draw_thresholds(data, tables)
    high = list(low)
    k = data.draw(st.integers(0, len(low) - 1))
    high[k] = max(low[k], data.draw(thresholds))
    cascade, X = fit_scripted(
        tables, thresholds=low, combine=combine, confidence=confidence, costs=costs
    )
    before = cascade.predict_details(X)
    after = cascade.with_thresholds(high).predict_details(X)
    assert (after.exit_stage >= before.exit_stage).all()
    assert (after.cost >= before.cost).all()


@given(stages=stage_probabilities(), data=st.data(), combine=combinations, confidence=confidences)
@quick
def test_order_and_batches_change_nothing(stages, data, combine, confidence):
    """Check that shuffled or single rows have the predictions of one batch."""
    tables, _, costs = stages
    limits = draw_thresholds(data, tables)
    cascade, X = fit_scripted(
        tables, thresholds=limits, combine=combine, confidence=confidence, costs=costs
    )
    batch = cascade.predict_details(X)
    order = np.array(data.draw(st.permutations(range(len(X)))))
    for ours, shuffled in zip(batch, cascade.predict_details(X[order]), strict=True):
        assert_array_equal(ours[order], shuffled)
    singles = [cascade.predict_details(X[[row]]) for row in range(len(X))]
    for ours, single in zip(batch, zip(*singles, strict=True), strict=True):
        assert_array_equal(ours, np.concatenate(single))


@given(stages=stage_probabilities(), data=st.data(), combine=combinations, confidence=confidences)
@quick
def test_each_member_is_called_once_for_the_rows_that_reach_it(stages, data, combine, confidence):
    """Check that exits follow the rules, and members see exactly the rows that reach them."""
    tables, _, _ = stages
    limits = draw_thresholds(data, tables)
    cascade, X = fit_scripted(tables, thresholds=limits, combine=combine, confidence=confidence)
    found = cascade.predict_details(X)
    so_far = [
        np.mean(tables[: k + 1], axis=0) if combine == "mean" else tables[k]
        for k in range(len(tables))
    ]
    stage = exit_stages([compute_confidence(p, confidence) for p in so_far[:-1]], limits)
    assert_array_equal(found.exit_stage, stage)
    # The mean of at most four numbers, summed in another order.
    expected = np.array(so_far)[stage, np.arange(len(X))]
    assert_allclose(found.proba, expected, rtol=0, atol=1e-15)
    for k, member in enumerate(cascade.estimators_):
        reached = np.flatnonzero(stage >= k).tolist()
        assert member.asked == ([reached] if reached else [])


@given(stages=stage_probabilities(), data=st.data(), combine=combinations, abstain=st.booleans())
@quick
def test_arrays_of_the_members_are_never_written_to(stages, data, combine, abstain):
    """Check that members may return their own tables: routing does not change them."""
    tables, y, _ = stages
    kept = [table.copy() for table in tables]
    members = [
        (f"m{k}", PrefitClassifier(own_table(table), range(table.shape[1])))
        for k, table in enumerate(tables)
    ]
    X = numbered_rows(len(y))
    limits = draw_thresholds(data, tables)
    params = {"combine": combine, "allow_abstain": abstain}
    CascadeClassifier(members, thresholds=limits, **params).fit(X, y).predict_details(X)
    for average in ("arithmetic", "geometric"):
        AveragingEnsemble(members, average=average).fit(X, y).predict_proba(X)
    for table, before in zip(tables, kept, strict=True):
        assert_array_equal(table, before)


def own_table(table):
    """Return a function that returns the table itself for all rows, and a copy for some."""
    return lambda X: table if len(X) == len(table) else table[X[:, 0].astype(int)]


@pytest.mark.parametrize("limits", ["auto", 0.7, []])
def test_one_stage_equals_the_model(iris, limits):
    """Check that a cascade of one stage is its model, at one stage's cost."""
    X, y = iris
    model = LogisticRegression(max_iter=1000)
    cascade = CascadeClassifier([("lr", model)], thresholds=limits, costs=[7]).fit(X, y)
    found = cascade.predict_details(X)
    assert_array_equal(found.proba, clone(model).fit(X, y).predict_proba(X))
    assert_array_equal(found.exit_stage, 0)
    assert_array_equal(found.cost, 7)
    assert cascade.thresholds_.shape == (0,)


@pytest.mark.parametrize("combine", ["auto", "mean", "last"])
def test_predict_is_the_most_probable_class(iris, three_members, combine):
    """Check that predict, predict_proba and predict_details agree."""
    X, y = iris
    names = np.array(["a", "b", "c"])[y]
    cascade = CascadeClassifier(three_members, thresholds=0.95, combine=combine).fit(X, names)
    found, proba = cascade.predict_details(X), cascade.predict_proba(X)
    assert len(set(found.exit_stage.tolist())) > 1
    assert_array_equal(found.proba, proba)
    assert_array_equal(cascade.predict(X), cascade.classes_[proba.argmax(axis=1)])
    assert_array_equal(found.label, cascade.predict(X))
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)


def test_real_members_predict_single_rows_as_in_a_batch(blobs, three_members):
    """Check that tuned thresholds route single rows of real members as in a batch."""
    X, y = blobs
    cascade = CascadeClassifier(three_members).fit(X[:300], y[:300])
    batch = cascade.predict_details(X[300:])
    singles = [cascade.predict_details(X[[row]]) for row in range(300, len(X))]
    label, proba, stage, _ = (np.concatenate(values) for values in zip(*singles, strict=True))
    assert 0 < np.count_nonzero(stage) < len(stage)
    assert_array_equal(batch.label, label)
    assert_array_equal(batch.exit_stage, stage)
    # BLAS sums one row in another order than many.
    assert_allclose(batch.proba, proba, rtol=0, atol=1e-12)


def test_with_thresholds_copies_and_shares_the_members(iris, three_members):
    """Check that another operating point shares the members, and that the first is unchanged."""
    X, y = iris
    cascade = CascadeClassifier(three_members, cv=3).fit(X, y)
    before = cascade.predict_details(X)
    tuned = cascade.thresholds_.copy()
    other = cascade.with_thresholds([np.inf, -np.inf])
    assert other.thresholds_.tolist() == other.get_params()["thresholds"] == [np.inf, -np.inf]
    assert_array_equal(other.predict_details(X).exit_stage, 1)
    assert all(a is b for a, b in zip(other.estimators_, cascade.estimators_, strict=True))
    assert not hasattr(other, "tuned_score_")
    assert hasattr(cascade, "tuned_score_")
    assert cascade.thresholds == "auto"
    assert_array_equal(cascade.thresholds_, tuned)
    assert_array_equal(cascade.predict_details(X).exit_stage, before.exit_stage)


@pytest.mark.parametrize("wrong", [[0.5], [0.5, np.nan], np.nan, "auto"])
def test_with_thresholds_refuses_what_fit_refuses(wrong):
    """Check that a wrong number of thresholds, NaN and text are refused here too."""
    cascade, _ = fit_scripted(W_TABLES, thresholds=0.5)
    with pytest.raises(ValueError, match="thresholds="):
        cascade.with_thresholds(wrong)


def test_callable_confidence_is_used_and_nan_never_exits():
    """Check that a callable gives the confidence, and that NaN defers."""

    def second_class(proba):
        return np.where(proba[:, 1] > 0.5, np.nan, proba[:, 1])

    cascade, X = fit_scripted(W_TABLES, thresholds=[0.3, np.inf], confidence=second_class)
    # Second column of A: .10 .25 .40 .55 .80 .45; the two above one half are NaN.
    assert cascade.predict_details(X).exit_stage.tolist() == [2, 2, 0, 2, 2, 0]
    # Means of A and B in rows 3 and 4: .325 and .65.
    copy = cascade.with_thresholds(-np.inf)
    assert copy.predict_details(X).exit_stage.tolist() == [0, 0, 0, 1, 2, 0]


def test_callable_confidence_of_a_wrong_shape_is_refused():
    """Check that the error for a confidence that is not one number per row names it."""
    cascade, X = fit_scripted(W_TABLES, thresholds=0.5, confidence=lambda proba: proba)
    with pytest.raises(ValueError, match=r"confidence=.*returned shape \(6, 2\)"):
        cascade.predict(X)


def test_with_thresholds_refuses_estimators_changed_since_the_fit(iris, three_members):
    """Check that another operating point of members that were never fitted is refused."""
    cascade = CascadeClassifier(three_members, thresholds=0.9).fit(*iris)
    cascade.set_params(tree="drop")
    with pytest.raises(ValueError, match=r"estimators=.* changed since the fit"):
        cascade.with_thresholds([0.9, 0.9])
