"""Tests of failing stages with a fallback, and of members that abstain."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cascade import AveragingEnsemble, CascadeClassifier
from sklearn_cascade.exceptions import (
    AllAbstainedWarning,
    InvalidProbabilitiesError,
    MemberFailedError,
    StageFailedWarning,
)
from tests.probes import FailingMember, ScriptedMember, numbered_rows, scripted

UNSURE, SURE, OTHER = [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]
SILENT = [np.nan, np.nan]
X, Y = numbered_rows(6), np.array([0, 1] * 3)
BAD_ANSWERS = {
    "partly NaN": [np.nan, 1.0],
    "NaN": SILENT,
    "negative": [-0.2, 1.2],
    "off": [0.9, 0.4],
    "infinite": [np.inf, 0.0],
}


def fit_cascade(*members, **params):
    """Return a fitted cascade of members named m0, m1, ..."""
    named = [(f"m{k}", member) for k, member in enumerate(members)]
    return CascadeClassifier(named, **{"thresholds": 0.7, **params}).fit(X, Y)


FAILURES = {
    "raises": FailingMember([SURE] * 6),
    **{problem: ScriptedMember([row] * 6) for problem, row in BAD_ANSWERS.items()},
    "wide": ScriptedMember(np.full((6, 3), 1 / 3), classes=[0, 1]),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failed_stage_keeps_earlier_predictions_and_has_a_cost(failure):
    """Check that rows of a failed stage keep their prediction, pay for the call and exit."""
    first = ScriptedMember([SURE, UNSURE, SURE, UNSURE, SURE, UNSURE])
    last = ScriptedMember([OTHER] * 6)
    stages = (first, FAILURES[failure], last)
    cascade = fit_cascade(*stages, costs=[1, 10, 100], on_stage_error="keep_previous")
    with pytest.warns(StageFailedWarning, match="stage 1 failed, so 3 rows") as caught:
        found = cascade.predict_details(X)
    assert len(caught) == 1
    assert caught[0].message.stage == 1
    assert caught[0].message.rows.tolist() == [1, 3, 5]
    assert_array_equal(found.proba, first.table)
    assert_array_equal(found.exit_stage, 0)
    assert_array_equal(found.cost, [1, 11] * 3)
    assert last.asked == []
    with pytest.raises((MemberFailedError, InvalidProbabilitiesError)):
        cascade.set_params(on_stage_error="raise").predict(X)


def test_late_failure_keeps_the_mean_of_the_stages_before():
    """Check exits, costs and rows if the last of three stages fails."""
    first = ScriptedMember([SURE, UNSURE, UNSURE, UNSURE, SURE, UNSURE])
    second = ScriptedMember([SURE, SURE, OTHER, SURE, SURE, OTHER])
    stages = (first, second, FailingMember([SURE] * 6))
    cascade = fit_cascade(*stages, costs=[1, 10, 100], on_stage_error="keep_previous")
    with pytest.warns(StageFailedWarning) as caught:
        found = cascade.predict_details(X)
    assert caught[0].message.rows.tolist() == [2, 5]
    assert found.exit_stage.tolist() == [0, 1, 1, 1, 0, 1]
    assert found.cost.tolist() == [1, 11, 111, 11, 1, 111]
    mean = [0.9, 0.75, 0.4, 0.75, 0.9, 0.4]
    assert_allclose(found.proba[:, 0], mean, rtol=1e-12)


def test_first_stage_always_raises():
    """Check that a failing first stage raises, since there is no earlier prediction."""
    stages = FailingMember([SURE] * 6), ScriptedMember([SURE] * 6)
    cascade = fit_cascade(*stages, on_stage_error="keep_previous")
    with pytest.raises(MemberFailedError, match="stage 0"):
        cascade.predict(X)


@pytest.mark.parametrize("combine", ["mean", "last"])
def test_abstaining_rows_are_deferred_and_have_a_cost(combine):
    """Check that an abstention is no exit, does not change the output, and costs its call."""
    first = ScriptedMember([SILENT, SILENT, UNSURE, UNSURE, SURE, SILENT])
    second = ScriptedMember([SURE, UNSURE, SILENT, OTHER, SURE, SILENT])
    third = ScriptedMember([OTHER, OTHER, SILENT, OTHER, OTHER, SURE])
    cascade = fit_cascade(
        first, second, third, costs=[1, 10, 100], allow_abstain=True, combine=combine
    )
    found = cascade.predict_details(X)
    last = {"mean": [0.9, 0.4, 0.6, 1 / 3, 0.9, 0.9], "last": [0.9, 0.2, 0.6, 0.2, 0.9, 0.9]}
    stage = {"mean": [1, 2, 2, 2, 0, 2], "last": [1, 2, 2, 1, 0, 2]}[combine]
    assert_allclose(found.proba[:, 0], last[combine], rtol=1e-12)
    assert found.exit_stage.tolist() == stage
    assert_array_equal(found.cost, np.array([1, 11, 111])[stage])


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (AveragingEnsemble, {}),
        (AveragingEnsemble, {"average": "geometric"}),
        (CascadeClassifier, {"thresholds": 0.7}),
        (CascadeClassifier, {"thresholds": np.inf, "combine": "last"}),
    ],
)
def test_rows_without_prediction_get_the_class_shares(estimator, params):
    """Check that rows on which all abstain get the weighted class shares, with one warning."""
    tables = [[SILENT, SURE, SILENT, SILENT, SURE, SURE], [SILENT, SURE, SILENT, SURE, SURE, SURE]]
    members = scripted(*tables)
    weight = [3, 1, 1, 1, 1, 1]
    fitted = estimator(members, allow_abstain=True, **params).fit(X, Y, sample_weight=weight)
    with pytest.warns(AllAbstainedWarning, match="abstained on 2 rows") as caught:
        proba = fitted.predict_proba(X)
    assert len(caught) == 1
    assert_allclose(proba[[0, 2]], [[5 / 8, 3 / 8]] * 2, rtol=1e-15)
    # The geometric mean goes through logarithms.
    assert_allclose(proba[[1, 3, 4, 5]], [SURE] * 4, rtol=1e-12)


def test_abstentions_are_tuned_with():
    """Check that auto thresholds accept members that abstain, only if allowed."""
    y = np.tile([0, 1], 20)
    table = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    quiet = table.copy()
    quiet[:10] = np.nan
    members, rows = scripted(quiet, table), numbered_rows(40)
    cascade = CascadeClassifier(members, costs=[1, 10], cv=4, allow_abstain=True).fit(rows, y)
    # Ten of forty rows are deferred.
    assert cascade.tuned_cost_ == pytest.approx(1 + 10 / 4, rel=1e-12)
    assert cascade.score(rows, y) == 1
    with pytest.raises(InvalidProbabilitiesError, match="'m0' is NaN in 10 rows"):
        CascadeClassifier(members, cv=4).fit(rows, y)


def test_failure_after_abstention_gives_the_class_shares():
    """Check rows left to a failed stage: class shares, two warnings, both costs."""
    first = ScriptedMember([SILENT, UNSURE, SURE, SILENT, SURE, SURE])
    stages = (first, FailingMember([SURE] * 6))
    cascade = fit_cascade(
        *stages, costs=[1, 10], allow_abstain=True, on_stage_error="keep_previous"
    )
    with pytest.warns(StageFailedWarning), pytest.warns(AllAbstainedWarning, match="on 2 rows"):
        found = cascade.predict_details(X)
    assert_array_equal(found.proba, [[0.5, 0.5], UNSURE, SURE, [0.5, 0.5], SURE, SURE])
    assert found.cost.tolist() == [11, 11, 1, 11, 1, 1]


def test_failure_while_tuning_raises():
    """Check that thresholds are not tuned without a member that fails."""
    members = [("a", ScriptedMember([UNSURE] * 6)), ("b", FailingMember([SURE] * 6))]
    with pytest.raises(MemberFailedError, match="stage 1 'b'"):
        CascadeClassifier(members, cv=2, on_stage_error="keep_previous").fit(X, Y)


@pytest.mark.parametrize("known", [[1, 2], [0, 1], [0, 2]])
def test_abstention_is_about_every_class(known):
    """Check that an abstaining member with some of the classes changes no column."""
    some = ScriptedMember([SILENT, SURE] * 3, classes=known)
    full = ScriptedMember([[0.2, 0.3, 0.5]] * 6)
    ensemble = AveragingEnsemble([("some", some), ("full", full)], allow_abstain=True)
    proba = ensemble.fit(X, [0, 1, 2] * 2).predict_proba(X)
    assert_array_equal(proba[::2], full.table[::2])
    mean = np.array([0.1, 0.15, 0.25])
    mean[known] += np.array(SURE) / 2
    assert_allclose(proba[1::2], [mean] * 3, rtol=1e-15)
