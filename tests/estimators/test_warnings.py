"""Tests that warnings point at the caller's own line, so that each is shown and found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklearn_cascade import AveragingEnsemble, CascadeClassifier
from sklearn_cascade.exceptions import (
    AllAbstainedWarning,
    IgnoredWeightsWarning,
    ScoreNotReachedWarning,
    StageFailedWarning,
    UnseenClassWarning,
)
from tests.probes import FailingMember, ScriptedMember, numbered_rows, scripted

X, Y = numbered_rows(6), np.array([0, 1] * 3)
ESTIMATORS = {"ensemble": AveragingEnsemble, "cascade": CascadeClassifier}
each_estimator = pytest.mark.parametrize("kind", ESTIMATORS)
each_question = pytest.mark.parametrize(
    "question", ["predict", "predict_proba", "predict_details", "cost_report"]
)


def build(kind, members, **params):
    """Return an unfitted estimator of one kind, without any tuning."""
    fixed = {"thresholds": 0.7} if kind == "cascade" else {}
    return ESTIMATORS[kind](members, **fixed, **params)


@each_estimator
def test_ignored_weights_point_at_fit(kind):
    """Check that the warning of a member without weights names the line that called fit."""
    estimator = build(kind, [("nb", GaussianNB()), ("knn", KNeighborsClassifier(1))])
    with pytest.warns(IgnoredWeightsWarning) as caught:
        estimator.fit(X, Y, sample_weight=np.ones(6))
    assert caught[0].filename == __file__


def test_unseen_class_points_at_fit():
    """Check that the warning of a stage that misses a class names the line that called fit."""
    first = ScriptedMember([[0.5, 0.5]] * 6, [0, 1])
    cascade = build("cascade", [("first", first), ("nb", GaussianNB())])
    with pytest.warns(UnseenClassWarning) as caught:
        cascade.fit(X, [0, 1, 2] * 2)
    assert caught[0].filename == __file__


def test_score_not_reached_points_at_fit():
    """Check that the warning of a score that is not reached names the line that called fit."""
    right = np.where(np.eye(2)[Y] == 1, 0.6, 0.4)
    members = scripted(np.where(np.eye(2)[Y] == 1, 0.1, 0.9), right)
    with pytest.warns(ScoreNotReachedWarning) as caught:
        CascadeClassifier(members, combine="mean", cv=3).fit(X, Y)
    assert caught[0].filename == __file__


@each_question
def test_failed_stage_points_at_the_call(question):
    """Check that the warning of a failed stage names the line of the call."""
    members = [("good", ScriptedMember([[0.6, 0.4]] * 6)), ("bad", FailingMember([[0.5, 0.5]] * 6))]
    cascade = build("cascade", members, on_stage_error="keep_previous").fit(X, Y)
    with pytest.warns(StageFailedWarning) as caught:
        getattr(cascade, question)(X)
    assert caught[0].filename == __file__


@each_estimator
@each_question
def test_abstention_points_at_the_call(kind, question):
    """Check that the warning of rows without prediction names the line of the call."""
    abstaining = [[np.nan, np.nan]] * 6
    estimator = build(kind, scripted(abstaining, abstaining), allow_abstain=True).fit(X, Y)
    with pytest.warns(AllAbstainedWarning) as caught:
        getattr(estimator, question)(X)
    assert caught[0].filename == __file__
