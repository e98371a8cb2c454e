"""Tests of the report: its figures, counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, log_loss

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CostReport
from sklearn_cascade.exceptions import StageFailedWarning
from tests.probes import (
    COSTS_W,
    LABELS_W,
    STAGES_W,
    FailingMember,
    ScriptedMember,
    members_w,
    numbered_rows,
)
from tests.strategies import stage_probabilities, thresholds

X = numbered_rows(6)
Y = np.array(LABELS_W)
# Exit stages 0 0 2 1 0 2, so costs 1 1 15 5 1 15.
ROW_COSTS = np.array([1, 1, 15, 5, 1, 15])
THRESHOLDS = [0.75, 0.65]


def cascade_w(members=None, **params):
    """Return the cascade that is counted by hand, fitted."""
    params = {"thresholds": THRESHOLDS, "costs": COSTS_W, "cost_unit": "MFLOPs", **params}
    return CascadeClassifier(members or members_w(), **params).fit(X, Y)


def half_interval(cost, weight):
    """Return half a 95 % interval of a weighted mean, by the normal approximation."""
    share = weight / weight.sum()
    return 1.959963984540054 * np.sqrt(np.sum((share * (cost - share @ cost)) ** 2))


def test_figures_of_a_cascade_are_those_counted_by_hand():
    """Check every figure of the report on six rows."""
    report = cascade_w().cost_report(X, Y)
    assert isinstance(report, CostReport)
    assert (report.names, report.unit, report.n_samples) == (("a", "b", "c"), "MFLOPs", 6)
    assert (report.scoring, report.exits_early, report.conditions) == ("accuracy", True, None)
    assert report.exit_counts == (3, 1, 2)
    assert report.exit_rates == pytest.approx((1 / 2, 1 / 6, 1 / 3))
    assert report.exit_costs == (1, 5, 15)
    assert report.exit_scores == (1, 1, 1)
    assert report.mean_cost == pytest.approx(38 / 6)
    half = half_interval(ROW_COSTS, np.ones(6))
    assert report.cost_interval == pytest.approx((38 / 6 - half, 38 / 6 + half))
    assert report.worst_cost == 15
    assert report.score == 1
    assert report.member_costs == (1, 4, 10)
    assert report.member_scores == pytest.approx((3 / 6, 3 / 6, 5 / 6))
    assert report.full_score == pytest.approx(5 / 6)
    assert report.best_member == "c"
    assert report.saving == pytest.approx(10 / (38 / 6))


def test_weights_enter_every_figure():
    """Check shares, costs, scores and the interval where rows weigh unlike."""
    weight = np.array([1.0, 2, 3, 4, 5, 6])
    y = np.array([0, 1, 1, 0, 1, 0])
    report = cascade_w().cost_report(X, y, sample_weight=weight)
    assert report.exit_counts == (3, 1, 2)
    assert report.exit_rates == pytest.approx((8 / 21, 4 / 21, 9 / 21))
    assert report.exit_costs == pytest.approx((1, 5, 15))
    assert report.exit_scores == pytest.approx((6 / 8, 1, 3 / 9))
    assert report.mean_cost == pytest.approx(163 / 21)
    half = half_interval(ROW_COSTS, weight)
    assert report.cost_interval == pytest.approx((163 / 21 - half, 163 / 21 + half))
    assert report.score == pytest.approx(13 / 21)
    # Alone, a predicts 0 0 0 1 1 0, b 0 1 1 0 0 0, c 0 0 1 0 0 1; ties fall to the first class.
    assert report.member_scores == pytest.approx((12 / 21, 16 / 21, 8 / 21))
    # All together they predict 0 1 1 0 1 1.
    assert report.full_score == pytest.approx(15 / 21)


@given(drawn=stage_probabilities(), threshold=thresholds, data=st.data())
@settings(max_examples=30, deadline=None)
def test_figures_agree_with_the_details_of_the_rows(drawn, threshold, data):
    """Check that the report sums up what predict_details says of each row."""
    proba, y, costs = drawn
    rows = numbered_rows(len(y))
    members = [(f"m{k}", ScriptedMember(table)) for k, table in enumerate(proba)]
    combine = data.draw(st.sampled_from(["mean", "last"]))
    cascade = CascadeClassifier(members, thresholds=threshold, combine=combine, costs=costs)
    cascade.fit(rows, y)
    details, report = cascade.predict_details(rows), cascade.cost_report(rows, y)
    count = np.bincount(details.exit_stage, minlength=len(costs))
    assert report.exit_counts == tuple(count)
    assert report.exit_rates == pytest.approx(tuple(count / len(y)))
    assert report.mean_cost == pytest.approx(details.cost.mean())
    assert report.mean_cost == pytest.approx(np.dot(report.exit_rates, report.exit_costs))
    assert report.worst_cost == pytest.approx(sum(costs))
    assert report.score == pytest.approx(np.mean(details.label == y))
    scores = np.nan_to_num(report.exit_scores)
    assert report.score == pytest.approx(np.dot(report.exit_rates, scores))
    assert [np.isnan(s) for s in report.exit_scores] == [c == 0 for c in count]


def test_stage_that_answers_no_row_has_no_score_but_its_price():
    """Check a cascade that always exits at once."""
    report = cascade_w(thresholds=-np.inf).cost_report(X, Y)
    assert report.exit_counts == (6, 0, 0)
    assert report.exit_rates == (1, 0, 0)
    assert report.exit_costs == (1, 5, 15)
    assert report.exit_scores[0] == 0.5
    assert np.isnan(report.exit_scores[1:]).all()
    assert report.cost_interval == (1, 1)


def test_without_labels_there_are_no_scores():
    """Check that only costs are reported, from the rows that reach each member."""
    members = members_w()
    report = cascade_w(members).cost_report(X)
    assert report.mean_cost == pytest.approx(38 / 6)
    assert report.exit_scores is report.score is report.member_scores is report.full_score is None
    assert report.best_member is None
    assert report.saving == pytest.approx(15 / (38 / 6))
    assert [member.asked for _, member in members] == [[[0, 1, 2, 3, 4, 5]], [[2, 3, 5]], [[2, 5]]]


def test_compare_decides_what_members_are_asked():
    """Check that a comparison asks each member once for all rows, and none keeps to the stages."""
    everything = [0, 1, 2, 3, 4, 5]
    members = members_w()
    cascade = cascade_w(members)
    compared = cascade.cost_report(X, Y)
    assert [member.asked for _, member in members] == [[everything]] * 3
    for _, member in members:
        member.asked.clear()
    alone = cascade.cost_report(X, Y, compare=False)
    assert [member.asked for _, member in members] == [[everything], [[2, 3, 5]], [[2, 5]]]
    assert (alone.score, alone.mean_cost) == (compared.score, compared.mean_cost)
    assert alone.member_scores is alone.full_score is alone.best_member is None


def test_member_that_fails_has_no_score_of_its_own():
    """Check that a failure that is survived costs its call and spoils no other figure."""
    members = members_w()
    members[1] = ("b", FailingMember(members[1][1].table))
    cascade = cascade_w(members, on_stage_error="keep_previous")
    with pytest.warns(StageFailedWarning, match="stage 1 failed, so 3 rows"):
        report = cascade.cost_report(X, Y)
    # Rows 2, 3 and 5 keep the predictions 0 1 0 of the first stage, all wrong.
    assert report.exit_counts == (6, 0, 0)
    assert report.mean_cost == pytest.approx((3 * 1 + 3 * 5) / 6)
    assert report.score == 0.5
    assert np.isnan(report.member_scores[1])
    assert report.member_scores[::2] == pytest.approx((3 / 6, 5 / 6))
    # The mean of a and c: .7 .625 .35 .625 .35 .3.
    assert report.full_score == 1
    assert report.best_member == "c"
    with pytest.warns(StageFailedWarning, match="stage 1 failed, so 3 rows"):
        weighted = cascade.cost_report(X, sample_weight=[1, 2, 3, 4, 5, 6])
    assert weighted.exit_costs == pytest.approx(((8 * 1 + 13 * 5) / 21, 5, 15))


@pytest.mark.parametrize(("costs", "best"), [([3, 2], "b"), ([2, 3], "a"), ([2, 2], "a")])
def test_best_member_is_the_cheaper_of_equals(costs, best):
    """Check the member that others are compared with where scores are equal."""
    table = members_w()[0][1].table
    members = [("a", ScriptedMember(table)), ("b", ScriptedMember(table))]
    report = AveragingEnsemble(members, costs=costs).fit(X, Y).cost_report(X, Y)
    assert report.best_member == best


def test_report_of_an_ensemble_has_no_exits():
    """Check the figures and the text of an estimator whose members all run."""
    report = AveragingEnsemble(members_w(), costs=COSTS_W).fit(X, Y).cost_report(X, Y)
    assert not report.exits_early
    assert report.cost_interval == (report.mean_cost, report.mean_cost) == (15, 15)
    assert report.score == report.full_score == pytest.approx(5 / 6)
    assert [row["kind"] for row in report.rows()] == ["all rows", "alone", "alone", "alone"]
    assert "exit" not in str(report)


def test_scoring_is_the_one_asked_for_else_the_estimators_own():
    """Check named scorers and a function, for the estimator and for members alone."""
    cascade = cascade_w(scoring="neg_log_loss")
    details = cascade.predict_details(X)
    own = cascade.cost_report(X, Y)
    assert own.scoring == "neg_log_loss"
    assert own.score == pytest.approx(-log_loss(Y, details.proba))
    tables = [np.column_stack([p, 1 - np.array(p)]) for p in STAGES_W.values()]
    assert own.member_scores == pytest.approx([-log_loss(Y, table) for table in tables])
    assert own.full_score == pytest.approx(-log_loss(Y, np.mean(tables, axis=0)))
    asked = cascade.cost_report(X, 1 - Y, scoring="f1_macro")
    assert asked.score == pytest.approx(f1_score(1 - Y, details.label, average="macro"))
    counted = cascade.cost_report(X, Y, scoring=lambda est, rows, y: est.predict(rows).sum())
    assert (counted.scoring, counted.score) == ("score", 3)
    assert counted.exit_scores == (1, 0, 2)


def test_labels_may_be_text():
    """Check that scores are right where labels are strings."""
    names = np.array(["cat", "dog"])
    members = members_w(["dog", "cat"])
    cascade = CascadeClassifier(members, thresholds=THRESHOLDS).fit(X, names[1 - Y])
    report = cascade.cost_report(X, names[1 - Y])
    assert report.score == 1
    # Ties fall to "cat" now, which is the second class of before.
    assert report.member_scores == pytest.approx((3 / 6, 3 / 6, 4 / 6))


@pytest.mark.parametrize("y", [None, Y])
def test_dict_survives_json(y):
    """Check that all figures come back from JSON as they went in, with what follows from them."""
    report = cascade_w().cost_report(X, y)
    values = report.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["names"] == ["a", "b", "c"]
    assert values["mean_cost"] == report.mean_cost
    assert values["best_member"] == report.best_member
    assert values["saving"] == report.saving


def test_frame_holds_the_table():
    """Check the columns and lines of the table as pandas and as plain dicts."""
    pytest.importorskip("pandas")
    report = cascade_w().cost_report(X, Y)
    frame = report.to_frame()
    assert list(frame.columns) == ["kind", "name", "n_samples", "share", "cost", "score"]
    assert frame.to_dict("records") == report.rows()
    assert frame["kind"].tolist() == ["exit"] * 3 + ["all rows"] + ["alone"] * 3 + ["no early exit"]
    assert frame["name"].tolist() == ["a", "b", "c", "", "a", "b", "c", ""]
    assert frame["n_samples"].tolist() == [3, 1, 2, 6, 6, 6, 6, 6]
    assert frame["cost"].tolist() == pytest.approx([1, 5, 15, 38 / 6, 1, 4, 10, 15])
    assert frame["score"].tolist() == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 5 / 6, 5 / 6])


def test_conditions_of_measured_costs_are_kept():
    """Check that the report repeats how the costs were measured."""
    cascade = cascade_w(costs="measured", cost_unit=None)
    report = cascade.cost_report(X)
    assert report.unit == "s"
    assert report.conditions == cascade.cost_conditions_
    assert report.conditions["batch_size"] == 6


def test_unfitted_estimator_has_no_report():
    """Check that an unfitted estimator says so."""
    with pytest.raises(NotFittedError, match="CascadeClassifier instance is not fitted"):
        CascadeClassifier(members_w()).cost_report(X)


def test_dict_holds_none_where_a_figure_is_undefined():
    """Check that a stage at which no row exits has no score in the dict, ready for JSON."""
    cascade = CascadeClassifier(members_w(), thresholds=-np.inf).fit(numbered_rows(6), LABELS_W)
    values = cascade.cost_report(numbered_rows(6), LABELS_W).to_dict()
    assert values["exit_scores"] == [0.5, None, None]
    assert json.loads(json.dumps(values, allow_nan=False)) == values
