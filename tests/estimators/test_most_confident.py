"""Tests of combine="most_confident", and of searches with a learned confidence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier, CascadeSearchCV, LearnedConfidence
from tests.probes import ScriptedMember, numbered_rows

ABSTAIN = [np.nan, np.nan]
# The most confident stage is no better than the last one here, so such a cascade warns.
unreached = pytest.mark.filterwarnings("ignore:combine='.*' reaches")


@pytest.fixture(scope="module")
def data():
    """Return rows of three classes, some easy."""
    return make_classification(600, 8, n_informative=6, n_classes=3, random_state=0)


def pool():
    """Return three members of unequal cost."""
    return [
        ("nb", GaussianNB()),
        ("lr", LogisticRegression(max_iter=500)),
        ("trees", ExtraTreesClassifier(20, random_state=0)),
    ]


def tables(*rows):
    """Return scripted members, one per table."""
    return [(f"m{k}", ScriptedMember(np.array(table))) for k, table in enumerate(rows)]


def test_earlier_stage_keeps_its_prediction_while_it_is_more_confident():
    """Check labels, exits and cost by hand: a row exits once its best confidence is enough."""
    members = tables(
        [[0.7, 0.3], [0.9, 0.1], [0.6, 0.4]],
        [[0.4, 0.6], [0.1, 0.9], [0.2, 0.8]],
        [[0.35, 0.65], [0.5, 0.5], [0.45, 0.55]],
    )
    cascade = CascadeClassifier(
        members, thresholds=[0.85, 0.75], combine="most_confident", costs=[1, 10, 100]
    )
    found = cascade.fit(numbered_rows(3), [0, 1, 1]).predict_details(numbered_rows(3))
    assert_allclose(found.proba, [[0.7, 0.3], [0.9, 0.1], [0.2, 0.8]])
    assert_array_equal(found.exit_stage, [2, 0, 1])
    assert_array_equal(found.cost, [111, 1, 11])
    assert "most confident stage run" in str(cascade.cost_report(numbered_rows(3)))


def test_members_that_abstain_or_fail_leave_the_most_confident_prediction():
    """Check rows of NaN with combine="most_confident"."""
    members = tables([[0.6, 0.4], ABSTAIN], [ABSTAIN, [0.3, 0.7]], [[0.45, 0.55], ABSTAIN])
    cascade = CascadeClassifier(
        members, thresholds=0.9, combine="most_confident", allow_abstain=True
    )
    proba = cascade.fit(numbered_rows(2), [0, 1]).predict_proba(numbered_rows(2))
    assert_allclose(proba, [[0.6, 0.4], [0.3, 0.7]])


@unreached
@pytest.mark.parametrize("confidence", ["max_proba", "margin", "learned"])
def test_tuned_cascade_predicts_alike_in_all_ways(data, confidence):
    """Check batches, single rows, copies and pickles of a tuned cascade."""
    X, y = data
    cascade = CascadeClassifier(
        pool(), combine="most_confident", confidence=confidence, costs=[1, 3, 30], cv=3
    ).fit(X, y)
    expected = cascade.predict_details(X)
    assert cascade.combine_ == "most_confident"
    assert_array_equal(expected.proba.argmax(axis=1), expected.label)
    rows = np.arange(0, 600, 23)
    alone = [cascade.predict_details(X[[row]]) for row in rows]
    assert_array_equal(np.concatenate([d.exit_stage for d in alone]), expected.exit_stage[rows])
    assert_allclose(np.concatenate([d.proba for d in alone]), expected.proba[rows], atol=1e-12)
    for copy in (pickle.loads(pickle.dumps(cascade)), clone(cascade).fit(X, y)):
        assert_array_equal(copy.predict_details(X).exit_stage, expected.exit_stage)
    assert 0 < cascade.cross_fitted_score_ <= 1
    report = cascade.with_thresholds(0.0).cost_report(X, y)
    assert report.mean_cost == pytest.approx(cascade.costs_[0])


def test_auto_considers_the_most_confident_stage_with_a_learned_confidence():
    """Check that the first stage keeps predictions of lower probability than others."""
    rng = np.random.default_rng(0)
    easy = rng.random(4000) < 0.5
    # The first predicts 0 or 1, right in 60 and 55 of 100; the second in 95, or 20 for class 3.
    y = np.where(
        easy,
        rng.choice([0, 2], size=4000, p=[0.6, 0.4]),
        rng.choice([1, 2, 3], size=4000, p=[0.55, 0.25, 0.2]),
    )
    first = np.where(easy, 0, 1)
    second = np.where(easy, np.where(rng.random(4000) < 0.95, y, 2 - y), 3)
    members = tables(*(np.eye(4)[predicted] * 0.6 + 0.1 for predicted in (first, second)))
    X = numbered_rows(4000)
    cascade = CascadeClassifier(members, costs=[1, 10], confidence="learned").fit(X, y)
    expected = np.where(easy, second, first)
    assert cascade.combine_ == "most_confident"
    assert_array_equal(cascade.predict(X), expected)
    assert CascadeClassifier(members, costs=[1, 10]).fit(X, y).combine_ in ("mean", "last")


@unreached
def test_confidence_of_the_last_stage_is_measured_if_it_is_used(data):
    """Check that the last stage's learned confidence has a cost only for "most_confident"."""
    X, y = data
    for combine, asked in (("most_confident", True), ("last", False), ("mean", False)):
        cascade = CascadeClassifier(
            pool(), combine=combine, confidence="learned", costs=[1, 3, 30], cv=3
        ).fit(X, y)
        assert cascade.confidence_seconds_.shape == (3,)
        assert (cascade.confidence_seconds_[:2] > 0).all()
        assert (cascade.confidence_seconds_[2] > 0) == asked


@unreached
def test_certificate_counts_the_most_confident_predictions(data):
    """Check that a certificate has the labels of the predictions."""
    X, y = data
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 600, 3000)
    new, truth = X[rows] + rng.normal(0, 1e-3, (3000, 8)), y[rows]
    cascade = CascadeClassifier(
        pool(), combine="most_confident", confidence="learned", costs=[1, 3, 30], cv=3
    ).fit(X, y)
    report = cascade.certify(new, truth, epsilon=0.05, on_refusal="warn")
    assert report.combine == "most_confident"
    details = cascade.with_thresholds(report).predict_details(new)
    never = cascade.with_thresholds(np.inf).predict(new)
    right, reference = details.label == truth, never == truth
    assert (report.regressions, report.corrections) == (
        int(np.sum(reference & ~right)),
        int(np.sum(right & ~reference)),
    )


def test_vote_margin_is_refused_for_most_confident():
    """Check that parts of one ensemble are averaged."""
    X, y = make_classification(200, random_state=0)
    cascade = CascadeClassifier(
        pool(), thresholds=1.0, confidence="vote_margin", combine="most_confident"
    )
    with pytest.raises(
        ValueError, match=r"'vote_margin'.*combine='most_confident'; expected .* mean"
    ):
        cascade.fit(X, y)


@pytest.mark.parametrize("combine", ["auto", "most_confident", "mean", "last"])
def test_search_builds_cascades_with_the_learned_confidence(data, combine):
    """Check operating points of a learned search against cascades fitted with these thresholds."""
    X, y = data
    search = CascadeSearchCV(
        pool(),
        costs={"nb": 1, "lr": 3, "trees": 30},
        confidence="learned",
        combine=combine,
        n_thresholds=12,
        cv=3,
        random_state=0,
    ).fit(X, y)
    rows = [row for row in search.front_ if row.kind == "cascade"]
    built = search.select(max_cost=rows[len(rows) // 2].mean_cost)
    row = search.front_.select(max_cost=rows[len(rows) // 2].mean_cost)
    asked = [member.predict_proba(X) for member in search.estimators_]
    expected = search.front_.apply(row, asked)
    found = built.predict_details(X)
    assert_array_equal(found.exit_stage, expected.exit_stage)
    assert_array_equal(found.cost, expected.cost)
    assert_allclose(found.proba, expected.proba, atol=1e-12)
    assert built.combine_ in (
        ("mean", "last", "most_confident") if combine == "auto" else (combine,)
    )


def test_search_reports_the_optimism_of_its_choice(data):
    """Check optimism_, and the cross-fitted figures in the results, beside those of the front."""
    X, y = data
    search = CascadeSearchCV(pool(), costs=[1, 3, 30], n_thresholds=12, cv=3).fit(X, y)
    assert search.optimism_ == search.best_score_ - search.cross_fitted_score_
    cross_fitted = search.cv_results_["cross_fitted_score"]
    cascades = np.array([row.kind == "cascade" for row in search.front_])
    assert np.isnan(cross_fitted[~cascades]).all()
    shown = cascades & search.front_.non_dominated
    assert np.isfinite(cross_fitted[shown]).all()
    assert np.mean(search.front_.score[shown] - cross_fitted[shown]) > -0.02
    assert "cross-fitted" in str(search.front_)


def test_measured_costs_of_a_search_include_the_seconds_of_the_confidence(data):
    """Check that cascades pay the time of the learner, and single members do not."""
    X, y = data
    search = CascadeSearchCV(pool(), confidence="learned", n_thresholds=8, cv=3).fit(X, y)
    costs = dict(zip([name for name, _ in pool()], search.costs_, strict=True))
    for row in search.front_:
        full = sum(costs[name] for name in row.members)
        if row.kind == "cascade":
            assert row.worst_cost > full
        else:
            assert row.worst_cost == pytest.approx(full)
    cascade = search.select(max_cost=max(search.front_.mean_cost))
    if len(cascade.costs_) > 1 and cascade.confidence_seconds_ is not None:
        assert_allclose(
            cascade.costs_ - cascade.confidence_seconds_,
            [costs[name] for name, _ in cascade.estimators],
        )


@pytest.mark.parametrize("learner", [None, LogisticRegression(C=0.1)])
def test_learner_of_a_search_is_the_given_one(data, learner):
    """Check that LearnedConfidence and its parameters reach the search and its cascades."""
    X, y = data
    search = CascadeSearchCV(
        pool()[:2], costs=[1, 3], confidence=LearnedConfidence(learner), n_thresholds=8, cv=3
    ).fit(X, y)
    rows = [row for row in search.front_ if row.kind == "cascade"]
    cascade = search.select(max_cost=rows[0].mean_cost)
    assert cascade.confidence.estimator is learner
    assert clone(search).confidence.estimator is not learner or learner is None


def test_too_few_rows_for_a_learner_are_refused_by_the_search():
    """Check that the error names the confidence and the number of rows."""
    X, y = make_classification(90, random_state=0)
    search = CascadeSearchCV(pool(), costs=[1, 3, 30], confidence="learned", cv=3)
    with pytest.raises(ValueError, match="confidence='learned' with 90 held-out rows"):
        search.fit(X, y)


@pytest.mark.parametrize("combine", ["mean", "last", "most_confident"])
@pytest.mark.parametrize("n_stages", [1, 5])
def test_any_number_of_stages_can_be_learned(data, combine, n_stages):
    """Check one to five stages, whose learners use all earlier stages."""
    X, y = data
    members = [(f"m{k}", GaussianNB(var_smoothing=10.0**-k)) for k in range(n_stages)]
    cascade = CascadeClassifier(
        members, thresholds=0.9, combine=combine, confidence="learned", cv=3
    ).fit(X, y)
    details = cascade.predict_details(X)
    assert details.exit_stage.max() < n_stages
    assert np.mean(details.label == y) > 0.5
