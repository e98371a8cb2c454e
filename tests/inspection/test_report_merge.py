"""Tests of adding up reports of parts of a table."""

from __future__ import annotations

import functools
import itertools
import json
import pickle

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CostReport
from sklearn_cascade.exceptions import StageFailedWarning
from tests.probes import COSTS_W, LABELS_W, ScriptedMember, members_w, numbered_rows

ADDITIVE = ("accuracy", "balanced_accuracy", "neg_log_loss", "neg_brier_score")


@pytest.fixture(scope="module")
def cascade(blobs):
    """Return a cascade of two members that uses both on many rows."""
    members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))]
    return CascadeClassifier(members, thresholds=0.8, costs=[0.1, 0.7]).fit(*blobs)


def parts(n_rows, n_parts=5):
    """Return slices of very unequal size that make up all rows."""
    ends = [n_rows * k**2 // n_parts**2 for k in range(n_parts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def merged(estimator, X, y=None, weight=None, **options):
    """Return the report merged from parts."""
    reports = [
        estimator.cost_report(
            X[p], None if y is None else y[p], None if weight is None else weight[p], **options
        )
        for p in parts(len(X))
    ]
    return reports[0].merge(*reports[1:])


def flat(value, path=""):
    """Return the figures of a nested dict by path."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f"{path}.{key}").items()}
    if isinstance(value, list):
        items = enumerate(value)
        return {k: v for place, each in items for k, v in flat(each, f"{path}.{place}").items()}
    return {path: value}


def assert_equal(report, expected, exact=False):
    """Check that all figures of two reports are the same, but for rounding."""
    found, expected = flat(report.to_dict()), flat(expected.to_dict())
    if exact:
        assert found == expected
        return
    close = {path: value for path, value in expected.items() if isinstance(value, float)}
    # Sums in another order.
    assert {path: found[path] for path in close} == pytest.approx(close, rel=1e-11, abs=1e-13)
    assert {**found, **close} == expected


def test_merged_counts_give_the_very_same_report(cascade, blobs):
    """Check that without weights all figures of accuracy and cost agree to the last digit."""
    assert_equal(merged(cascade, *blobs), cascade.cost_report(*blobs), exact=True)


@pytest.mark.parametrize("scoring", ADDITIVE)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("compare", [False, True])
def test_merged_report_equals_that_of_all_rows(cascade, blobs, scoring, weighted, compare):
    """Check scores, costs, shares and the interval, for each score that is a sum over rows."""
    X, y = blobs
    weight = np.random.default_rng(0).integers(0, 3, len(y)) + 0.3 if weighted else None
    options = {"scoring": scoring, "compare": compare}
    expected = cascade.cost_report(X, y, weight, **options)
    assert_equal(merged(cascade, X, y, weight, **options), expected)


def test_means_of_parts_would_be_wrong(cascade, blobs):
    """Check on unequal parts that the merged score is not the mean of their scores."""
    X, y = blobs
    reports = [cascade.cost_report(X[p], y[p]) for p in parts(len(X))]
    mean = np.mean([report.score for report in reports])
    expected = cascade.cost_report(X, y).score
    assert reports[0].merge(*reports[1:]).score == expected
    assert abs(mean - expected) > 1e-3


def test_report_without_labels_merges(cascade, blobs):
    """Check costs and exit shares where no score is known."""
    assert_equal(merged(cascade, blobs[0]), cascade.cost_report(blobs[0]), exact=True)


def test_ensemble_reports_merge(blobs):
    """Check an estimator whose members all run, with labels that are words."""
    X, y = blobs[0], np.array(["a", "b", "c", "d"])[blobs[1]]
    ensemble = AveragingEnsemble([("nb", GaussianNB()), ("lr", LogisticRegression())]).fit(X, y)
    assert_equal(merged(ensemble, X, y), ensemble.cost_report(X, y), exact=True)


def test_any_grouping_gives_the_same_report(cascade, blobs):
    """Check a tree, a chain and another order against one report, as engines merge in any."""
    X, y = blobs
    a, b, c, d, e = (cascade.cost_report(X[p], y[p]) for p in parts(len(X)))
    expected = cascade.cost_report(X, y)
    assert_equal(a.merge(b).merge(c.merge(d.merge(e))), expected, exact=True)
    assert_equal(functools.reduce(CostReport.merge, [e, c, a, d, b]), expected, exact=True)


def test_merging_changes_neither_report(cascade, blobs):
    """Check that a report can be merged twice, and alone."""
    X, y = blobs
    first, second = cascade.cost_report(X[:100], y[:100]), cascade.cost_report(X[100:])
    before = first.to_dict()
    assert_equal(first.merge(), first, exact=True)
    with pytest.raises(ValueError, match="y for all parts"):
        first.merge(second)
    assert first.to_dict() == before


def test_reports_travel(cascade, blobs):
    """Check that a pickled report still merges, and that its figures fit into JSON."""
    X, y = blobs
    first, second = (
        pickle.loads(pickle.dumps(cascade.cost_report(X[k::2], y[k::2]))) for k in range(2)
    )
    report = first.merge(second)
    assert_equal(report, cascade.cost_report(X, y), exact=True)
    assert "_sums" not in json.loads(json.dumps(report.to_dict()))
    assert str(report) == str(cascade.cost_report(X, y))


def test_stage_that_answers_no_row_of_a_part_counts_nothing(cascade, blobs):
    """Check parts sorted by exit stage, so that each of them lacks one."""
    X, y = blobs
    stage = cascade.predict_details(X).exit_stage
    first, second = (cascade.cost_report(X[stage == k], y[stage == k]) for k in range(2))
    assert np.isnan(first.exit_scores[1])
    assert np.isnan(second.exit_scores[0])
    assert_equal(first.merge(second), cascade.cost_report(X, y), exact=True)


def test_label_that_nobody_knows_is_wrong_in_every_part(cascade, blobs):
    """Check that the accuracy counts rows of a new class, as it does for all rows at once."""
    X, y = blobs
    y = np.where(np.arange(len(y)) < 30, 17, y)
    report = cascade.cost_report(X, y)
    assert report.score < cascade.cost_report(*blobs).score
    assert_equal(merged(cascade, X, y), report, exact=True)


class FailsOnRowZero(ScriptedMember):
    """A member whose service hangs up on batches with row 0."""

    def predict_proba(self, X):
        if 0 in np.asarray(X)[:, 0]:
            raise ConnectionError("the service hung up")
        return super().predict_proba(X)


def test_member_that_failed_in_a_part_has_no_score():
    """Check that the score of a member that failed once is not known, as for all rows at once."""
    X, y = numbered_rows(6), LABELS_W
    members = members_w()
    members[2] = ("c", FailsOnRowZero(members[2][1].table))
    options = {"thresholds": 0.99, "costs": COSTS_W, "on_stage_error": "keep_previous"}
    cascade = CascadeClassifier(members, **options).fit(X, y)
    with pytest.warns(StageFailedWarning, match="hung up"):
        first = cascade.cost_report(X[:3], y[:3])
    second = cascade.cost_report(X[3:], y[3:])
    assert np.isfinite(second.member_scores).all()
    report = first.merge(second)
    assert np.isnan(report.member_scores[2])
    # The rows of the part that failed keep the output of the stage before; the call has its cost.
    assert report.exit_counts == (0, 3, 3)
    assert report.exit_costs[1] == sum(COSTS_W)


def test_parts_of_one_ensemble_merge(blobs):
    """Check the comparison with the ensemble: shares exactly, seconds as their mean by rows."""
    X, y = blobs
    forest = RandomForestClassifier(30, max_depth=4, random_state=0).fit(X[::2], y[::2])
    cascade = CascadeClassifier.from_ensemble(forest, max_disagreement=0.05, X_tune=X[1::2])
    reports = [cascade.cost_report(X[p], y[p]) for p in parts(len(X))]
    report, expected = reports[0].merge(*reports[1:]), cascade.cost_report(X, y)
    found, at_once = report.ensemble_comparison, expected.ensemble_comparison
    assert found.disagreement == at_once.disagreement
    assert found.exit_disagreements == pytest.approx(at_once.exit_disagreements, nan_ok=True)
    assert found.class_disagreements == pytest.approx(at_once.class_disagreements, nan_ok=True)
    assert found.n_timed == at_once.n_timed == len(X)
    taken = [
        r.ensemble_comparison.seconds["cascade"] * r.ensemble_comparison.n_timed for r in reports
    ]
    assert found.seconds["cascade"] == pytest.approx(sum(taken) / len(X))
    assert (report.score, report.member_scores) == (expected.score, expected.member_scores)


def test_scores_that_are_no_sums_do_not_merge(cascade, blobs):
    """Check that a merged F1 is refused, and that its reports without labels merge."""
    X, y = blobs
    reports = [cascade.cost_report(X[p], y[p], scoring="f1_macro") for p in parts(len(X), 2)]
    with pytest.raises(ValueError, match="scoring='f1_macro' is no sum over"):
        reports[0].merge(reports[1])
    costs = [cascade.cost_report(X[p], scoring="f1_macro") for p in parts(len(X), 2)]
    assert costs[0].merge(costs[1]).n_samples == len(X)


def test_reports_of_other_estimators_are_refused(cascade, blobs):
    """Check the errors for another threshold's title, other costs and no report at all."""
    X, y = blobs
    report = cascade.cost_report(X, y)
    costlier = CascadeClassifier(cascade.estimators, thresholds=0.8, costs=[1, 7]).fit(X, y)
    with pytest.raises(ValueError, match=r"another member_costs: \(1.0, 7.0\)"):
        report.merge(costlier.cost_report(X, y))
    with pytest.raises(ValueError, match="another scoring: 'neg_log_loss'"):
        report.merge(cascade.cost_report(X, y, scoring="neg_log_loss"))
    with pytest.raises(TypeError, match="other is a dict"):
        report.merge(report.to_dict())
