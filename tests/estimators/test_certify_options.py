"""Tests of the parameters of a certificate, and of the members and rows that it accepts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.ensemble import RandomForestClassifier

from sklearn_cascade import CascadeClassifier
from sklearn_cascade.exceptions import (
    CertificationError,
    InvalidProbabilitiesError,
    MemberFailedError,
)
from tests.estimators.certified import (
    COLUMNS,
    N_ROWS,
    NAMES,
    TABLES,
    X,
    Y,
    frozen_cascade,
    losses_and_fixes,
    made_up_answers,
    tuned_cascade,
)
from tests.probes import FailingMember, ScriptedMember, scripted


def test_disagreement_needs_no_labels():
    """Check that labels are compared with those without early exit, and counted like predict."""
    cascade = frozen_cascade()
    report = cascade.certify(X, risk="disagreement", epsilon=0.03)
    label = cascade.with_thresholds(report).predict(X)
    full = cascade.with_thresholds(np.inf).predict(X)
    assert report.corrections == 0
    assert 0 < report.regressions / 4800 < 0.03
    # The rows set aside are among these.
    assert report.regressions <= (label != full).sum() <= report.regressions + 1200 * 0.06


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("cascade", ("no early exit",)),
        ("best_member", ("m2",)),
        ("every_member", ("m0", "m1", "m2")),
        ("m1", ("m1",)),
    ],
)
def test_reference_is_what_the_cascade_is_compared_with(reference, names):
    """Check which labels are compared, by recounting against each of them."""
    tables, y = made_up_answers((2.0, 2.3, 2.5), seed=1)
    y = NAMES[y]
    cascade = frozen_cascade(tables, y)
    report = cascade.certify(X, y, reference=reference, epsilon=0.03)
    assert report.references == names
    label = cascade.with_thresholds(report).predict(X)
    answers = {f"m{k}": NAMES[table.argmax(axis=1)] for k, table in enumerate(tables)}
    answers["no early exit"] = cascade.with_thresholds(np.inf).predict(X)
    gaps = [np.mean(answers[name] == y) - np.mean(label == y) for name in names]
    # Within four standard errors, as some rows are set aside.
    assert report.loss_estimate == pytest.approx(max(gaps), abs=0.01)
    assert max(gaps) < 0.03


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epsilon": 0}, "epsilon=0; expected a number above 0 and below 1"),
        ({"epsilon": 1.5}, "epsilon=1.5; expected a number"),
        ({"delta": "0.1"}, "delta='0.1'; expected a number"),
        ({"risk": "error"}, "risk='error'; expected one of .*'accuracy_gap', 'disagreement'"),
        ({"reference": "m7"}, "reference='m7'; expected one of .*'every_member', 'm0', 'm1'"),
        ({"reference": 0}, "reference=0; expected one of"),
        ({"tuning_size": 0.0}, "tuning_size=0.0; expected None, a share"),
        ({"tuning_size": N_ROWS}, "tuning_size=6000; .* from 1 to 5999"),
        ({"tuning_size": True}, "tuning_size=True"),
        ({"max_mean_cost": -1}, "max_mean_cost=-1; expected None or a finite number"),
        ({"max_mean_cost": np.inf}, "max_mean_cost=inf"),
        ({"on_refusal": "ignore"}, "on_refusal='ignore'; expected 'raise' or 'warn'"),
        ({"max_weight": 2}, "max_weight=2 without sample_weight"),
        ({"sample_weight": np.full(N_ROWS, 3.0), "max_weight": 2}, "max_weight=2; .* up to 3"),
        ({"sample_weight": -np.ones(N_ROWS)}, "sample_weight holds -1"),
        ({"sample_weight": np.ones(3)}, "inconsistent numbers of samples"),
        ({"risk": "disagreement"}, "y is given with risk='disagreement'"),
        ({"y": None}, "y=None with risk='accuracy_gap'; expected the true labels"),
        ({"y": Y[:-1]}, "inconsistent numbers of samples"),
        ({"y": Y[:, None]}, r"y has shape \(6000, 1\); expected one label per row"),
        ({"y": COLUMNS}, "y holds none of the labels that the cascade knows"),
        ({"y": np.full(N_ROWS, np.nan)}, "Input y contains NaN"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    """Check that each error names the parameter, the value and what is accepted."""
    with pytest.raises(ValueError, match=message):
        frozen_cascade().certify(X, **{"y": Y, **params})


def test_best_member_cannot_be_chosen_without_labels():
    """Check the error if neither the fit nor the rows have labels to choose with."""
    with pytest.raises(ValueError, match="reference='best_member' has to be chosen on labelled"):
        frozen_cascade().certify(X, risk="disagreement", reference="best_member")
    report = tuned_cascade().certify(
        X[1000:], risk="disagreement", reference="best_member", epsilon=0.3
    )
    assert report.references == ("m2",)


def test_single_stage_is_refused():
    """Check that a cascade of one stage has nothing to certify."""
    with pytest.raises(ValueError, match="the cascade has one stage, 'm0'"):
        frozen_cascade(TABLES[:1]).certify(X, Y)


def test_unfitted_cascade_is_refused():
    """Check the usual error of a cascade that was never fitted."""
    with pytest.raises(ValueError, match="not fitted"):
        CascadeClassifier(scripted(*TABLES)).certify(X, Y)


@pytest.mark.parametrize("on_stage_error", ["raise", "keep_previous"])
def test_member_that_fails_is_named(on_stage_error):
    """Check that outputs of a failing member are not replaced by a guess."""
    members = [*scripted(*TABLES[:2], classes=NAMES), ("net", FailingMember(TABLES[2], NAMES))]
    cascade = CascadeClassifier(members, thresholds=0.9, on_stage_error=on_stage_error)
    with pytest.raises(MemberFailedError, match=r"stage 2 'net' .* the service hung up"):
        cascade.fit(X[:9], Y[:9]).certify(X, Y)


def test_member_that_fails_sometimes_is_named():
    """Check that a member that works only on the second call certifies nothing."""

    class Flaky(ScriptedMember):
        def predict_proba(self, X):
            answer = super().predict_proba(X)
            if len(self.asked) == 1:
                raise ConnectionError("the service hung up")
            return answer

    members = [*scripted(TABLES[0], classes=NAMES), ("net", Flaky(TABLES[1], NAMES))]
    cascade = CascadeClassifier(members, thresholds=0.9).fit(X[:9], Y[:9])
    with pytest.raises(
        ValueError, match="the member 'net' failed on these rows, and not when it was called again"
    ):
        cascade.certify(X, Y)


def test_member_with_invalid_probabilities_is_named():
    """Check that invalid probabilities are an error and no loss."""
    broken = TABLES[2].copy()
    broken[5000] = [0.5, np.nan, 0.5]
    with pytest.raises(InvalidProbabilitiesError, match="'m2'"):
        frozen_cascade([TABLES[0], TABLES[1], broken]).certify(X, Y)


def test_abstaining_members_certify_as_they_predict():
    """Check that rows of NaN are deferred, and counted as predict labels them."""
    tables = [table.copy() for table in TABLES]
    rng = np.random.default_rng(0)
    for table in tables:
        table[rng.uniform(size=N_ROWS) < 0.1] = np.nan
    cascade = frozen_cascade(tables, allow_abstain=True)
    report = cascade.certify(X, Y, epsilon=0.02, tuning_size=1000)
    assert report.certified
    with pytest.warns(UserWarning, match="every member abstained"):
        label = cascade.with_thresholds(report).predict(X)
    with pytest.warns(UserWarning, match="every member abstained"):
        full = cascade.with_thresholds(np.inf).predict(X)
    regressions, corrections = losses_and_fixes(label, full, Y)
    assert report.regressions <= regressions
    assert report.corrections <= corrections
    assert report.loss_estimate == pytest.approx((regressions - corrections) / N_ROWS, abs=0.01)


def test_dropped_members_are_left_out():
    """Check names, thresholds and the copy if a member is dropped."""
    members = scripted(*TABLES, classes=NAMES)
    members.insert(1, ("off", "drop"))
    cascade = CascadeClassifier(members, thresholds=0.9).fit(X[:9], Y[:9])
    report = cascade.certify(X, Y)
    assert report.names == ("m0", "m1", "m2")
    assert_array_equal(cascade.with_thresholds(report).thresholds_, report.thresholds)


@pytest.mark.parametrize("options", [{}, {"max_disagreement": 0.05}], ids=["margin", "vote_margin"])
def test_parts_of_one_ensemble_certify(options):
    """Check a split forest: its path, its counts, and the ensemble as best member."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(3000, 4))
    b = (A[:, 0] + 0.3 * rng.normal(size=3000) > 0).astype(int)
    forest = RandomForestClassifier(60, max_depth=4, random_state=0).fit(A[:500], b[:500])
    tune = {"X_tune": A[500:1000]} if options else {}
    cascade = CascadeClassifier.from_ensemble(forest, **options, **tune)
    report = cascade.certify(A[1000:], risk="disagreement", epsilon=0.02)
    certified = cascade.with_thresholds(report)
    differs = certified.predict(A[1000:]) != forest.predict(A[1000:])
    assert report.regressions <= differs.sum() <= report.regressions + 40
    assert certified.predict_details(A[1000:]).cost.mean() < 40
    against = cascade.certify(A[1000:], b[1000:], reference="best_member", epsilon=0.03)
    assert against.certified


def test_weight_zero_leaves_a_row_out():
    """Check that such rows are not predicted, and that equal weights keep every row."""
    cascade = frozen_cascade()
    weight = np.ones(N_ROWS)
    assert cascade.certify(X, Y, sample_weight=weight).n_certification == 4800
    weight[::3] = 0
    for member in cascade.estimators_:
        member.asked.clear()
    report = cascade.certify(X, Y, sample_weight=weight)
    assert report.n_certification == 3200
    asked = np.flatnonzero(weight).tolist()
    assert [member.asked for member in cascade.estimators_] == [[asked]] * 3


def test_weights_certify_the_weighted_loss():
    """Check that rows are kept in proportion to their weights, so that means are weighted."""
    cascade = frozen_cascade()
    weight = np.where(COLUMNS == 0, 3.0, 1.0)
    report = cascade.certify(X, Y, sample_weight=weight, epsilon=0.02)
    details = cascade.with_thresholds(report).predict_details(X)
    # Four standard errors of some 2,700 rows kept.
    assert report.mean_cost == pytest.approx(np.average(details.cost, weights=weight), abs=1.0)
    expected = 0.8 * weight.mean() / 3 * N_ROWS
    assert report.n_certification == pytest.approx(expected, rel=0.1)
    halved = cascade.certify(X, Y, sample_weight=weight, max_weight=6, epsilon=0.02)
    assert halved.n_certification == pytest.approx(expected / 2, rel=0.1)


def test_error_for_weights_that_keep_too_few_rows_names_the_rows_to_pass():
    """Check that the number of rows in the error is that to pass."""
    weight = np.where(np.arange(1000) == 0, 10.0, 1.0)
    words = r"of them kept by their weights, \d\d % of them used for tuning"
    with pytest.raises(CertificationError, match=words) as caught:
        frozen_cascade().certify(X[:1000], Y[:1000], sample_weight=weight)
    assert 2000 < caught.value.report.samples_needed < 4500


def test_unknown_labels_are_wrong_for_both_sides():
    """Check that a label that no member knows is neither a regression nor a correction."""
    y = Y.astype("<U4")
    cascade = frozen_cascade()
    known = cascade.certify(X, y, epsilon=0.02)
    y[::2] = "newt"
    report = cascade.certify(X, y, epsilon=0.02)
    assert report.certified
    assert report.mean_cost < known.mean_cost


@pytest.mark.parametrize("kind", ["right", "wrong", "one class", "constant"])
def test_degenerate_rows_certify_or_raise(kind):
    """Check rows all right, all wrong, of one class, and labels that are all the same."""
    rng = np.random.default_rng(0)
    top = rng.uniform(0.5, 1, size=N_ROWS)
    at = {"wrong": (COLUMNS + 1) % 3, "one class": np.zeros(N_ROWS, dtype=int)}.get(kind, COLUMNS)
    if kind == "constant":
        tables = [np.tile([0.5, 0.3, 0.2], (N_ROWS, 1))] * 2
    else:
        table = np.where(at[:, None] == np.arange(3), top[:, None], (1 - top[:, None]) / 2)
        tables = [table, table]
    y = np.full(N_ROWS, NAMES[0]) if kind == "one class" else Y
    cascade = CascadeClassifier(scripted(*tables, classes=NAMES), thresholds=0.9).fit(X[:9], Y[:9])
    report = cascade.certify(X, y)
    # The members agree, so there are no regressions: all rows exit at once.
    assert report.certified
    assert (report.regressions, report.corrections) == (0, 0)
    assert report.thresholds == (-np.inf,)
    assert report.mean_cost == 1
