"""Tests of the report on the parts of one ensemble, against the full ensemble."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier, split_ensemble
from sklearn_cascade.exceptions import StageFailedWarning
from tests.probes import FailingMember, ScriptedMember, numbered_rows

X, Y = load_digits(return_X_y=True)
NAMES = np.array([f"digit {y}" for y in Y])
TEST = slice(700, None)
COUNTS = (15, 30, 60, 100)


@pytest.fixture(scope="module")
def forest():
    """Return a forest of 100 trees that has seen 700 digits."""
    return RandomForestClassifier(100, random_state=0).fit(X[:700], NAMES[:700])


@pytest.fixture(scope="module")
def hasty(forest):
    """Return a cascade of its parts that exits too early for some rows."""
    tuned = CascadeClassifier.from_ensemble(forest, max_disagreement=0.1, X_tune=X[:700])
    return tuned.with_thresholds(0.7)


@pytest.fixture(scope="module")
def report(hasty):
    """Return the report on the rows that the forest has not seen."""
    return hasty.cost_report(X[TEST], NAMES[TEST])


def cut(forest, n_trees):
    """Return the forest truncated to its first trees, by public attributes alone."""
    first = copy.copy(forest)
    first.estimators_, first.n_estimators = forest.estimators_[:n_trees], n_trees
    return first


def test_disagreement_is_that_of_a_recount(report, hasty, forest):
    """Check the share of labels that differ: overall, by part and by the forest's label."""
    found = hasty.predict_details(X[TEST])
    full = forest.predict(X[TEST])
    differs = found.label != full
    assert 0.005 < differs.mean() < 0.2
    assert report.ensemble_comparison.counts == COUNTS
    assert report.ensemble_comparison.disagreement == differs.mean()
    by_part = [differs[found.exit_stage == k].mean() for k in range(4)]
    assert list(report.ensemble_comparison.exit_disagreements) == by_part
    assert by_part[0] > 0
    assert by_part[3] == 0
    by_class = {label: differs[full == label].mean() for label in np.unique(full).tolist()}
    assert report.ensemble_comparison.class_disagreements == by_class
    assert len(by_class) == 10


def test_alone_means_the_truncated_ensemble(report, forest):
    """Check names, costs and scores of the first k trees against forests cut to k."""
    assert report.alone_names == ("first 15", "first 30", "first 60", "first 100")
    assert report.member_costs == COUNTS
    expected = [accuracy_score(NAMES[TEST], cut(forest, k).predict(X[TEST])) for k in COUNTS]
    assert list(report.member_scores) == expected
    assert report.full_score == report.member_scores[-1] == forest.score(X[TEST], NAMES[TEST])
    alone = [row for row in report.rows() if row["kind"] == "alone"]
    assert [(row["name"], row["cost"], row["score"]) for row in alone] == list(
        zip(report.alone_names, COUNTS, expected, strict=True)
    )
    # The last of them is the row without early exit; it is not listed twice.
    assert not [row for row in report.rows() if row["kind"] == "no early exit"]


def test_truncated_scores_use_probabilities_too(hasty, forest):
    """Check another score of the first k trees, and of the cascade."""
    report = hasty.cost_report(X[TEST], NAMES[TEST], scoring="neg_log_loss")
    expected = [-log_loss(NAMES[TEST], cut(forest, k).predict_proba(X[TEST])) for k in (60, 100)]
    # A mean of a thousand logarithms in two orders.
    assert list(report.member_scores[2:]) == pytest.approx(expected, rel=1e-12)
    own = -log_loss(NAMES[TEST], hasty.predict_proba(X[TEST]))
    assert report.score == pytest.approx(own, rel=1e-12)


def test_saving_is_against_the_full_ensemble(report, hasty):
    """Check that the reference is all trees, even where fewer score as well."""
    cost = hasty.predict_details(X[TEST]).cost
    assert report.best_member == "first 100"
    assert report.mean_cost == pytest.approx(cost.mean(), rel=1e-12)
    assert report.saving == pytest.approx(100 / cost.mean(), rel=1e-12)
    assert report.worst_cost == 100


def test_cascade_that_never_exits_is_the_full_ensemble(hasty, forest):
    """Check that without early exit nothing differs, and parts without rows have no share."""
    report = hasty.with_thresholds(np.inf).cost_report(X[TEST], NAMES[TEST])
    assert report.ensemble_comparison.disagreement == 0
    assert np.isnan(report.ensemble_comparison.exit_disagreements[:3]).all()
    assert report.ensemble_comparison.exit_disagreements[3] == 0
    assert report.score == forest.score(X[TEST], NAMES[TEST])
    assert report.saving == 1
    assert "Labels are the ensemble's on every row" in str(report)


def test_labels_never_predicted_by_the_ensemble_have_no_share(hasty, forest):
    """Check that rows of one label leave NaN for the others."""
    rows = X[TEST][forest.predict(X[TEST]) == "digit 3"]
    shares = hasty.cost_report(rows).ensemble_comparison.class_disagreements
    assert [label for label, share in shares.items() if not np.isnan(share)] == ["digit 3"]


def test_report_works_without_labels(report, hasty):
    """Check that disagreement and times need no y, and that scores are then absent."""
    blind = hasty.cost_report(X[TEST])
    assert blind.ensemble_comparison.disagreement == report.ensemble_comparison.disagreement
    assert (
        blind.ensemble_comparison.exit_disagreements
        == report.ensemble_comparison.exit_disagreements
    )
    assert (blind.score, blind.member_scores, blind.exit_scores) == (None, None, None)
    assert blind.saving == pytest.approx(report.saving, rel=1e-12)
    assert "Labels differ from the ensemble's on" in str(blind)


@pytest.mark.parametrize("y", [None, NAMES[TEST]], ids=["blind", "scored"])
def test_nothing_is_compared_where_it_is_not_wanted(hasty, y):
    """Check that compare=False has no ensemble comparison, and keeps the costs."""
    report = hasty.cost_report(X[TEST], y, compare=False)
    assert report.ensemble_comparison is None
    assert report.member_scores is None
    assert report.mean_cost == pytest.approx(hasty.predict_details(X[TEST]).cost.mean())
    assert "ensemble's own" not in str(report)
    assert report.to_dict()["ensemble_comparison"] is None


def test_times_are_per_row_and_multiply(report):
    """Check that the three ways are timed, and that the factors explain the full gain."""
    found = report.ensemble_comparison
    assert list(found.seconds) == ["ensemble", "no_exit", "cascade"]
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.n_timed == report.n_samples == len(X[TEST])
    assert found.speedup == found.seconds["ensemble"] / found.seconds["cascade"]
    # Products of three quotients.
    assert found.exit_speedup * found.overhead_speedup == pytest.approx(found.speedup, rel=1e-12)


def test_large_tables_are_timed_on_some_rows():
    """Check that no more than ten thousand rows are timed, and that all are compared."""
    X, y = load_iris(return_X_y=True)
    fitted = RandomForestClassifier(4, max_depth=2, random_state=0).fit(X, y)
    cascade = CascadeClassifier.from_ensemble(fitted)
    report = cascade.cost_report(np.tile(X, (70, 1)))
    assert (report.n_samples, report.ensemble_comparison.n_timed) == (10_500, 10_000)


def test_text_tells_what_changes_and_what_saves_time(report):
    """Check the sentences below the table, in a terminal and in a notebook."""
    text = str(report)
    share = f"{report.ensemble_comparison.disagreement:.2%}"
    assert f"Labels differ from the ensemble's on {share} of rows" in text
    assert f"(members_0_15 {report.ensemble_comparison.exit_disagreements[0]:.2%}" in text
    assert "members_60_100 0.00%" not in text
    assert "probabilities of rows that exit early are rougher" in text
    assert f"{report.saving:.2f} times cheaper than the full ensemble" in text
    assert "Time per row, 1,097 in a call" in text
    assert "in the ensemble's own predict_proba" in text
    assert f"{report.ensemble_comparison.speedup:.1f}x in all" in text
    assert f"{report.ensemble_comparison.exit_speedup:.1f}x by early exit" in text
    assert (
        f"{report.ensemble_comparison.overhead_speedup:.1f}x by skipping overhead per member"
        in text
    )
    assert "alone first 60" in text
    html = report._repr_html_()
    assert "rougher" in html
    assert "alone first 60" in html


@pytest.mark.parametrize("labels", [NAMES, Y, Y.astype(float), Y > 4], ids=["str", "int", "f", "b"])
def test_dict_is_ready_for_json(labels):
    """Check that all figures survive JSON, with None where they are undefined."""
    fitted = RandomForestClassifier(24, max_depth=5, random_state=0).fit(X[:300], labels[:300])
    cascade = CascadeClassifier.from_ensemble(fitted).with_thresholds(-np.inf)
    report = cascade.cost_report(X[TEST], labels[TEST])
    figures = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    found = figures["ensemble_comparison"]
    assert found["counts"] == [15, 24]
    assert found["disagreement"] == report.ensemble_comparison.disagreement
    assert found["exit_disagreements"] == [report.ensemble_comparison.disagreement, None]
    assert len(found["class_disagreements"]) == len(np.unique(labels))
    assert found["seconds"] == report.ensemble_comparison.seconds
    assert figures["alone_names"] == ["first 15", "first 24"]


def test_frames_are_reported_by_their_names():
    """Check that the ensemble is called with the names it knows, without a warning."""
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    frame = pandas.DataFrame(X, columns=[f"p{k}" for k in range(64)])
    fitted = RandomForestClassifier(30, random_state=0).fit(frame[:700], Y[:700])
    cascade = CascadeClassifier.from_ensemble(fitted)
    report = cascade.cost_report(frame[TEST], Y[TEST])
    differs = cascade.predict(frame[TEST]) != fitted.predict(frame[TEST])
    assert report.ensemble_comparison.disagreement == differs.mean()
    assert list(report.to_frame()["kind"]) == ["exit"] * 2 + ["all rows"] + ["alone"] * 2


def unlike_members():
    """Return an unfitted soft vote with weights."""
    members = [
        ("nb", GaussianNB(var_smoothing=0.01)),
        ("tree", DecisionTreeClassifier(max_depth=8, random_state=0)),
        ("bush", DecisionTreeClassifier(min_samples_leaf=5, random_state=0)),
    ]
    return VotingClassifier(members, voting="soft", weights=[2, 1, 1])


@pytest.mark.parametrize(
    ("fitted", "checkpoints"),
    [
        (unlike_members(), [1, 2]),
        (BaggingClassifier(GaussianNB(var_smoothing=0.01), 9, random_state=0), [2, 5]),
    ],
    ids=["voting", "bagging"],
)
def test_other_ensembles_are_compared_alike(fitted, checkpoints):
    """Check votes and bags: disagreement by a recount, and the first members' scores."""
    fitted.fit(X[:700], NAMES[:700])
    cascade = CascadeClassifier.from_ensemble(
        fitted, stopping="exact", checkpoints=checkpoints, costs=[1, 2, 3]
    ).with_thresholds(0.6)
    report = cascade.cost_report(X[TEST], NAMES[TEST])
    differs = cascade.predict(X[TEST]) != fitted.predict(X[TEST])
    assert report.ensemble_comparison.disagreement == differs.mean() > 0
    assert report.alone_names[:2] == tuple(f"first {k}" for k in checkpoints)
    assert report.member_costs == (1, 3, 6)
    assert report.member_scores[0] == cascade.estimators_[0].score(X[TEST], NAMES[TEST])
    assert report.member_scores[2] == fitted.score(X[TEST], NAMES[TEST])


def test_parts_among_other_members_are_reported_as_members(forest):
    """Check that a cascade which is not one ensemble has no ensemble comparison."""
    linear = LogisticRegression(max_iter=20).fit(X[:700] / 16, NAMES[:700])
    members = [("linear", FrozenEstimator(linear)), *split_ensemble(forest, [50]).estimators]
    cascade = CascadeClassifier(members, thresholds=0.9).fit(X[:700], NAMES[:700])
    report = cascade.cost_report(X[TEST], NAMES[TEST])
    assert report.ensemble_comparison is None
    assert report.alone_names == ("linear", "members_0_50", "members_50_100")
    assert len(report.member_scores) == 3


def test_weights_of_rows_enter_scores_and_shares(hasty, forest):
    """Check that weighted scores of the truncated forests are those of the metric."""
    weight = np.random.default_rng(0).integers(1, 4, size=len(X[TEST])).astype(float)
    report = hasty.cost_report(X[TEST], NAMES[TEST], sample_weight=weight)
    expected = cut(forest, 15).score(X[TEST], NAMES[TEST], sample_weight=weight)
    # Sums of a thousand small numbers.
    assert report.member_scores[0] == pytest.approx(expected, rel=1e-12)
    cost = hasty.predict_details(X[TEST]).cost
    assert report.mean_cost == pytest.approx(np.average(cost, weights=weight), rel=1e-12)


def test_reporting_leaves_no_trace(hasty, forest):
    """Check that neither the cascade nor the forest changes."""
    before = pickle.dumps((hasty, forest))
    hasty.cost_report(X[TEST], NAMES[TEST])
    assert pickle.dumps((hasty, forest)) == before


def test_failing_part_keeps_the_report():
    """Check a later part that fails where outputs are kept: the rows concerned are reported."""
    confident = np.tile([[0.9, 0.1], [0.55, 0.45]], (5, 1))
    rows, y = numbered_rows(10), np.arange(10) % 2
    vote = VotingClassifier([("a", GaussianNB()), ("b", GaussianNB())], voting="soft").fit(rows, y)
    vote.estimators_ = [ScriptedMember(confident), FailingMember(confident)]
    cascade = CascadeClassifier.from_ensemble(vote, stopping="exact", costs=[1, 1])
    cascade = cascade.with_thresholds(0.5).set_params(on_stage_error="keep_previous")
    with pytest.warns(StageFailedWarning, match="members_1_2"):
        found = cascade.predict_details(rows)
    with pytest.warns(StageFailedWarning, match="members_1_2"):
        report = cascade.cost_report(rows, y)
    assert_array_equal(found.cost, [1, 2] * 5)
    assert report.mean_cost == 1.5
    assert report.score == np.mean(found.label == y)
    # What the full ensemble predicts is not known.
    assert report.ensemble_comparison is None
