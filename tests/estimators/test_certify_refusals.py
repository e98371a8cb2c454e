"""Tests of certificates that are refused, and of the messages."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sklearn_cascade.exceptions import CertificationError, NotCertifiedWarning
from tests.estimators.certified import (
    COLUMNS,
    N_ROWS,
    TABLES,
    X,
    Y,
    frozen_cascade,
    tuned_cascade,
)


def test_report_of_another_cascade_is_refused():
    """Check that names and combination have to agree."""
    report = frozen_cascade().certify(X, Y)
    with pytest.raises(
        ValueError, match=r"report is about \['m0', 'm1', 'm2'\].* has \['m0', 'm1'"
    ):
        frozen_cascade(TABLES[:2]).with_thresholds(report)
    with pytest.raises(ValueError, match=r"combine='mean'; this cascade .* combine='last'"):
        frozen_cascade(combine="last").with_thresholds(report)


def test_too_few_rows_are_refused_before_any_call():
    """Check the message, the rows needed, and that no member was called."""
    cascade = frozen_cascade()
    for member in cascade.estimators_:
        member.asked.clear()
    with pytest.raises(CertificationError) as caught:
        cascade.certify(X[:200], Y[:200])
    assert str(caught.value) == (
        "epsilon=0.01 at delta=0.1 needs at least 230 certification rows, even if no row is lost; "
        "got 160 (200 rows, 20 % of them used for tuning). Pass at least 288 rows, or a larger "
        "epsilon or delta."
    )
    report = caught.value.report
    assert not report.certified
    assert report.samples_needed == 288
    assert report.thresholds == (np.inf, np.inf)
    assert report.mean_cost is None
    assert [member.asked for member in cascade.estimators_] == [[], [], []]
    assert pickle.loads(pickle.dumps(caught.value)).report.samples_needed == 288


def test_the_required_number_of_rows_suffices():
    """Check that 288 rows without a regression certify, and 287 do not."""
    perfect = np.where(COLUMNS[:, None] == np.arange(3), 0.8, 0.1)
    perfect[::2] = perfect[::2] * 0.5 + 1 / 6
    cascade = frozen_cascade([perfect, perfect])
    assert cascade.certify(X[:288], Y[:288]).certified
    with pytest.raises(CertificationError, match=r"got 229 \(286 rows"):
        cascade.certify(X[:286], Y[:286])


def test_all_rows_certify_if_the_fit_held_out_rows():
    """Check that a tuned cascade needs the minimum and no row more."""
    cascade = tuned_cascade()
    with pytest.raises(CertificationError, match=r"got 229 \(229 rows\). Pass at least 230 rows"):
        cascade.certify(X[1000:1229], Y[1000:1229])


def test_refusal_can_be_a_warning():
    """Check that the returned report never exits, can be applied, and has the message."""
    cascade = frozen_cascade()
    with pytest.warns(NotCertifiedWarning, match="needs at least 230") as caught:
        report = cascade.certify(X[:200], Y[:200], on_refusal="warn")
    assert caught[0].filename == __file__
    assert not report.certified
    copy = cascade.with_thresholds(report)
    assert (copy.predict_details(X[:50]).exit_stage == 2).all()
    assert not copy.certificate_.certified


def misled_cascade(every):
    """Return a cascade that errs on every n-th row at any thresholds, where m1 is right.

    The first member is wrong there, and so confident that it outvotes the second.
    """
    right = np.where(COLUMNS[:, None] == np.arange(3), 0.7, 0.15)
    wrong = np.where(COLUMNS[:, None] == np.arange(3), 0.9, 0.05)
    wrong[::every] = np.roll(wrong[::every], 1, axis=1)
    return frozen_cascade([wrong, right], combine="mean")


def test_refusal_estimates_the_rows_needed():
    """Check the message if the estimate is below epsilon, and the first step uncertain."""
    cascade = misled_cascade(160)
    with pytest.raises(CertificationError, match="at the most cautious setting") as caught:
        cascade.certify(X[:800], Y[:800], reference="m1")
    report = caught.value.report
    assert 0 < report.loss_estimate < 0.01
    assert report.p_value > 0.1
    assert report.regressions == report.stopped_at["regressions"][0]
    assert f"about {report.samples_needed} certification rows would certify it" in str(caught.value)
    assert report.samples_needed > 640
    # And twice as many do.
    enough = int(2 * report.samples_needed / 0.8)
    assert cascade.certify(X[:enough], Y[:enough], reference="m1").certified


def test_refusal_says_if_more_rows_would_not_help():
    """Check the message if the estimated loss is above epsilon at the highest thresholds."""
    with pytest.raises(CertificationError, match="No number of rows is likely to help") as caught:
        misled_cascade(40).certify(X, Y, reference="m1")
    assert caught.value.report.samples_needed is None
    assert caught.value.report.thresholds == (np.inf,)


def test_cascade_without_acceptable_exits_is_refused():
    """Check that a cascade whose early exits all lose too much is refused against itself."""
    wrong = np.where(
        COLUMNS[:, None] == np.arange(3),
        0.05,
        np.random.default_rng(0).uniform(0.3, 0.6, size=(N_ROWS, 3)),
    )
    wrong /= wrong.sum(axis=1, keepdims=True)
    right = np.where(COLUMNS[:, None] == np.arange(3), 0.9, 0.05)
    cascade = frozen_cascade([wrong, right], combine="last")
    with pytest.raises(CertificationError, match="most cautious setting the cascade lost"):
        cascade.certify(X, Y)


def test_members_that_exit_nowhere_are_refused():
    """Check that a cascade that always abstains has nothing to certify."""
    tables = [np.full((N_ROWS, 3), np.nan), TABLES[2]]
    cascade = frozen_cascade(tables, allow_abstain=True)
    with pytest.raises(CertificationError, match="no thresholds let a row exit early"):
        cascade.certify(X, Y)


def test_budget_is_certified_within_the_same_delta():
    """Check that half of delta certifies the loss, that the limit holds, and a refusal."""
    cascade = tuned_cascade()
    free = cascade.certify(X[1000:], Y[1000:])
    within = cascade.certify(X[1000:], Y[1000:], max_mean_cost=30.5)
    assert within.certified
    assert within.p_value <= 0.05
    assert within.mean_cost <= within.mean_cost_upper <= 30.5
    # Wider, since it holds for every step.
    assert within.mean_cost_upper - within.mean_cost > free.mean_cost_upper - free.mean_cost
    with pytest.raises(CertificationError, match="loss is, but the mean cost is only known") as no:
        cascade.certify(X[1000:], Y[1000:], max_mean_cost=3)
    assert no.value.report.thresholds == (np.inf, np.inf)
    assert "max_mean_cost takes the other half" in refusal(cascade, 200, max_mean_cost=20)


def refusal(cascade, n, **params):
    """Return the message of a refusal for too few rows."""
    with pytest.raises(CertificationError) as caught:
        cascade.certify(X[1000 : 1000 + n], Y[1000 : 1000 + n], **params)
    return str(caught.value)


def test_smaller_epsilon_or_delta_certify_no_cheaper_thresholds():
    """Check that stricter guarantees stop no later on the same path."""
    cascade = tuned_cascade()
    loose = cascade.certify(X[1000:], Y[1000:], epsilon=0.02, delta=0.2)
    for stricter in ({"epsilon": 0.01, "delta": 0.2}, {"epsilon": 0.02, "delta": 0.01}):
        strict = cascade.certify(X[1000:], Y[1000:], **stricter)
        assert strict.mean_cost >= loose.mean_cost
        assert len(strict.path) <= len(loose.path)
