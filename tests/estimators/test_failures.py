"""Tests of failures: bad input, bad outputs, members that raise or abstain."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier
from sklearn_cascade.exceptions import InvalidProbabilitiesError, MemberFailedError
from tests.probes import FailingMember, ScriptedMember, numbered_rows, scripted

UNSURE, SURE, OTHER = [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]
SILENT = [np.nan, np.nan]
NB = [("a", GaussianNB()), ("b", GaussianNB())]
X, Y = numbered_rows(6), np.array([0, 1] * 3)

both = pytest.mark.parametrize("estimator", [AveragingEnsemble, CascadeClassifier])


@both
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"estimators": None}, "estimators=None; expected a list"),
        ({"estimators": GaussianNB()}, "expected a list of"),
        ({"estimators": dict(NB)}, "expected a list of"),
        ({"estimators": []}, "at least one"),
        ({"estimators": [GaussianNB()]}, "every entry has to be"),
        ({"estimators": [("a", GaussianNB(), 1)]}, "every entry has to be"),
        ({"estimators": [("a", GaussianNB()), ("a", GaussianNB())]}, "'a' occurs 2 times"),
        ({"estimators": [("a__b", GaussianNB())]}, "'a__b' cannot be used"),
        ({"estimators": [("costs", GaussianNB())]}, "'costs' cannot be used"),
        ({"estimators": [("splitter", GaussianNB())]}, "'splitter' cannot be used"),
        ({"estimators": [("", GaussianNB())]}, "'' cannot be used"),
        ({"estimators": [("a", "drop"), ("b", "drop")]}, "all members are 'drop'"),
        ({"estimators": [("a", GaussianNB)]}, "'a' is <class .*expected a classifier"),
        ({"estimators": [("a", "passthrough")]}, "'a' is 'passthrough'"),
        ({"estimators": [("a", len)]}, "becomes one through PrefitClassifier"),
        ({"estimators": [("a", FrozenEstimator(GaussianNB()))]}, "'a' is frozen but not fitted"),
        ({"costs": {"a": 1, "zoo": 2}}, r"names \['zoo'\], which are no estimators"),
        ({"costs": {"a": 1}}, r"leaves out \['b'\]"),
        ({"costs": [1, -2]}, "none below zero"),
        ({"costs": [1, np.nan]}, "expected finite numbers"),
        ({"costs": [1, np.inf]}, "expected finite numbers"),
        ({"costs": [1, 2, 3]}, "costs=.* has 3 values; expected one for each of the 2"),
        ({"costs": 5}, "costs=5 has 1 values"),
        ({"costs": ["cheap", "expensive"]}, "costs="),
        ({"costs": {"a": "cheap", "b": 1}}, "costs="),
        ({"costs": "measurd"}, "costs='measurd'; expected 'measured'"),
        ({"weights": "uniform"}, "weights='uniform'"),
        ({"weights": [1]}, "weights=.* has 1 values"),
        ({"weights": [1, -1]}, "none below zero"),
        ({"weights": [0, 0]}, "above zero"),
        ({"weights": {"a": 1, "c": 1}}, r"names \['c'\]"),
        ({"allow_abstain": "yes"}, "'allow_abstain' parameter"),
    ],
)
def test_wrong_parameters_are_named(estimator, params, message):
    """Check that fit refuses wrong parameters, with errors that name them."""
    with pytest.raises(ValueError, match=message):
        estimator(**{"estimators": NB, **params}).fit(X, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"thresholds": [0.5, 0.5]}, "has 2 values; expected 'auto', one number, or one for"),
        ({"thresholds": []}, "has 0 values"),
        ({"thresholds": [[0.5]]}, "has 1 values"),
        ({"thresholds": ["high"]}, "thresholds="),
        ({"thresholds": {"a": 0.5}}, "thresholds="),
        ({"thresholds": np.nan}, "holds NaN"),
        ({"thresholds": [np.nan]}, "holds NaN"),
        ({"weights": [1, 0]}, "expected numbers above zero"),
        ({"combine": "median"}, "'combine' parameter"),
        ({"confidence": "max"}, "'confidence' parameter"),
        ({"on_stage_error": "ignore"}, "'on_stage_error' parameter"),
        ({"cv": 5}, "no class has more than 3 rows"),
    ],
)
def test_wrong_parameters_of_a_cascade_are_named(params, message):
    """Check that fit refuses wrong thresholds and options of the cascade."""
    with pytest.raises(ValueError, match=message):
        CascadeClassifier(NB, **params).fit(X, Y)


@both
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros(6), ValueError, "y holds 1 class"),
        (np.eye(6, dtype=int)[:, :3], NotImplementedError, "multilabel-indicator"),
        (np.arange(12).reshape(6, 2), NotImplementedError, "multiclass-multioutput"),
        (np.linspace(0.1, 0.9, 6), ValueError, "Unknown label type"),
        ([0, 1], ValueError, "inconsistent numbers of samples"),
    ],
)
def test_wrong_labels_are_refused(estimator, y, error, message):
    """Check that labels which are not one class per row are an error."""
    with pytest.raises(error, match=message):
        estimator(NB).fit(X, y)


@both
@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.predict(X),
        lambda m: m.predict_proba(X),
        lambda m: m.predict_details(X),
        lambda m: m.cost_report(X),
        lambda m: m.score(X, Y),
    ],
)
def test_unfitted_estimators_raise(estimator, ask):
    """Check that every method of an unfitted estimator raises NotFittedError."""
    with pytest.raises(NotFittedError, match=estimator.__name__):
        ask(estimator(NB))
    if estimator is CascadeClassifier:
        with pytest.raises(NotFittedError):
            estimator(NB).with_thresholds(0.5)
    for attribute in ("classes_", "estimators_", "named_estimators_"):
        assert not hasattr(estimator(NB), attribute)


@both
@pytest.mark.parametrize("empty", [X[:0], [], np.empty((0, 1), dtype=object)])
def test_empty_x_is_refused(estimator, empty):
    """Check that no rows are an error in fit and in every other method."""
    with pytest.raises(ValueError):
        estimator(NB).fit(empty, [])
    fitted = estimator(NB, **{"cv": 2} if estimator is CascadeClassifier else {}).fit(X, Y)
    for ask in (fitted.predict, fitted.predict_proba, fitted.predict_details):
        with pytest.raises(ValueError, match="0 sample"):
            ask(empty)


BAD_ANSWERS = {
    "partly NaN": ([np.nan, 1.0], "is partly NaN in row 0"),
    "NaN": (SILENT, "is NaN in 1 rows.*allow_abstain"),
    "negative": ([-0.2, 1.2], "is negative in row 0.*logits"),
    "too large": ([0.9, 0.4], "sums to 1.3 in row 0.*logits"),
    "too small": ([0.5, 0.4], "sums to 0.9 in row 0"),
    "infinite": ([np.inf, 0.0], "sums to inf"),
}


@both
@pytest.mark.parametrize("problem", BAD_ANSWERS)
def test_error_for_bad_outputs_names_the_member(estimator, problem):
    """Check that an output that is no probability is an error, never an exit."""
    row, message = BAD_ANSWERS[problem]
    tables = [[UNSURE] * 6, [SURE] * 5 + [row]]
    fixed = {"thresholds": 0.7} if estimator is CascadeClassifier else {}
    fitted = estimator(scripted(*tables), **fixed).fit(X, Y)
    fitted.predict(X[:5])
    with pytest.raises(InvalidProbabilitiesError, match=f"'m1' {message}") as caught:
        fitted.predict(X[5:])
    assert caught.value.member == "m1"


@both
@pytest.mark.parametrize("width", [1, 3])
def test_error_for_outputs_of_a_wrong_width_names_the_member(estimator, width):
    """Check that the number of columns has to be that of the member's classes."""
    wide = ScriptedMember(np.full((6, width), 1 / width), classes=[0, 1])
    fixed = {"thresholds": 0.7} if estimator is CascadeClassifier else {}
    fitted = estimator([("good", ScriptedMember([UNSURE] * 6)), ("wide", wide)], **fixed)
    fitted.fit(X, Y)
    with pytest.raises(InvalidProbabilitiesError, match=rf"'wide' has shape \(6, {width}\)"):
        fitted.predict(X)


def test_small_errors_of_sums_are_rescaled():
    """Check that half-precision sums within 0.02 of one are scaled, not refused."""
    off = [[0.505, 0.505]] * 6, [[0.784, 0.2]] * 6
    first = (0.5 + 0.784 / 0.984) / 2
    for estimator, params in ((AveragingEnsemble, {}), (CascadeClassifier, {"thresholds": 0.7})):
        proba = estimator(scripted(*off), **params).fit(X, Y).predict_proba(X)
        assert_allclose(proba, [[first, 1 - first]] * 6, rtol=1e-12)


@both
@pytest.mark.parametrize("stage", [0, 1])
def test_failing_member_is_named_with_its_stage(estimator, stage):
    """Check that a member's error is raised with its name and stage, and kept as the cause."""
    members = [("good", ScriptedMember([UNSURE] * 6)), ("other", ScriptedMember([SURE] * 6))]
    members.insert(stage, ("bad", FailingMember([SURE] * 6)))
    fixed = {"thresholds": 0.7} if estimator is CascadeClassifier else {}
    fitted = estimator(members, **fixed).fit(X, Y)
    message = (
        rf"stage {stage} 'bad' \(FailingMember\) failed to predict: ConnectionError: the service"
    )
    with pytest.raises(MemberFailedError, match=message) as caught:
        fitted.predict(X)
    assert (caught.value.member, caught.value.stage) == ("bad", stage)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_error_while_fitting_is_the_members_own():
    """Check that a member's fit error is passed on unchanged."""
    with pytest.raises(ValueError, match="'C' parameter"):
        CascadeClassifier([("lr", LogisticRegression(C=-1))]).fit(X, Y)
