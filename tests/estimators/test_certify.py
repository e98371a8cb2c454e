"""Tests of certifying a fitted cascade, and of copies that keep the certificate."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier, noninferiority_pvalue
from tests.estimators.certified import (
    COSTS,
    N_ROWS,
    NAMES,
    X,
    Y,
    frozen_cascade,
    losses_and_fixes,
    made_up_answers,
    tuned_cascade,
)


@pytest.mark.parametrize("combine", ["mean", "last"])
@pytest.mark.parametrize("confidence", ["max_proba", "margin", "entropy"])
def test_report_counts_the_predictions(combine, confidence):
    """Check every figure at the certified thresholds against predictions there."""
    # Members nearly as good as each other, whose mean is better than any.
    tables, y = made_up_answers((2.0, 2.3, 2.5), seed=1)
    y = NAMES[y]
    cascade = tuned_cascade(tables, y, combine=combine, confidence=confidence)
    report = cascade.certify(X[1000:], y[1000:], epsilon=0.02)
    details = cascade.with_thresholds(report).predict_details(X[1000:])
    full = cascade.with_thresholds(np.inf).predict(X[1000:])
    counts = losses_and_fixes(details.label, full, y[1000:])
    assert report.certified
    assert (report.regressions, report.corrections) == counts
    assert report.p_value == noninferiority_pvalue(*counts, 5000, 0.02)
    assert report.p_value <= 0.1
    assert report.loss_estimate == (counts[0] - counts[1]) / 5000
    assert report.mean_cost == pytest.approx(details.cost.mean(), rel=1e-12)
    assert report.cost_interval[0] < report.mean_cost < report.cost_interval[1]
    assert report.mean_cost < report.mean_cost_upper < report.full_cost == sum(COSTS)
    assert report.saving > 1.2
    assert [stage["n_samples"] for stage in report.stages] == [
        int((details.exit_stage == k).sum()) for k in range(3)
    ]
    assert sum(stage["net"] for stage in report.stages) == pytest.approx(report.loss_estimate)
    assert report.n_certification == 5000
    assert (report.n_tuning, report.tuned_on) == (1000, "fit")


def test_report_shows_the_path_up_to_the_failure():
    """Check that all tested steps but the last passed, and that the failed one is shown."""
    report = tuned_cascade().certify(X[1000:], Y[1000:])
    passed = [step["passed"] for step in report.path]
    assert passed == [True] * (len(passed) - 1) + [False]
    assert report.path[-2]["thresholds"] == report.thresholds
    assert report.stopped_at["p_value"] > 0.1
    assert report.stopped_at["thresholds"] == report.path[-1]["thresholds"]
    assert len(report.path) <= report.path_length


def test_certify_changes_nothing_and_calls_each_member_once():
    """Check the attributes, and that each member was called once, for all rows."""
    cascade = frozen_cascade()
    for member in cascade.estimators_:
        member.asked.clear()
    before = dict(vars(cascade))
    cascade.certify(X, Y)
    assert vars(cascade).keys() == before.keys()
    assert all(vars(cascade)[name] is value for name, value in before.items())
    assert [member.asked for member in cascade.estimators_] == [[list(range(N_ROWS))]] * 3


def test_rows_are_split_if_the_fit_tuned_nothing():
    """Check shares and numbers of rows set aside, which are not used to certify."""
    cascade = frozen_cascade()
    report = cascade.certify(X, Y)
    assert (report.n_tuning, report.n_certification, report.tuned_on) == (1200, 4800, "split")
    report = cascade.certify(X, Y, tuning_size=0.5)
    assert (report.n_tuning, report.n_certification) == (3000, 3000)
    report = cascade.certify(X, Y, tuning_size=700)
    assert (report.n_tuning, report.n_certification) == (700, 5300)
    assert sum(stage["n_samples"] for stage in report.stages) == 5300


def test_tuning_size_overrides_the_rows_of_the_fit():
    """Check that a given size splits, although the fit held out rows for the path."""
    report = tuned_cascade().certify(X[1000:], Y[1000:], tuning_size=0.2)
    assert (report.n_tuning, report.n_certification, report.tuned_on) == (1000, 4000, "split")


def test_repeated_calls_agree_and_seeds_differ():
    """Check that the default seed is fixed."""
    cascade = frozen_cascade()
    first, again, other = (cascade.certify(X, Y, random_state=s).to_dict() for s in (None, None, 1))
    assert first == again
    assert first != other
    assert cascade.certify(X, Y, random_state=0).to_dict() == first


def test_members_that_are_trained_certify_on_held_out_rows(blobs):
    """Check a cascade of trained members, whose path comes from out-of-fold predictions."""
    A, b = blobs
    members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))]
    cascade = CascadeClassifier(members, costs=[1, 9]).fit(A[:200], b[:200])
    report = cascade.certify(A[200:], b[200:], epsilon=0.1)
    assert report.certified
    assert (report.n_tuning, report.n_certification) == (200, 200)


def test_certificate_is_kept_until_the_next_fit():
    """Check the copy, its pickle, its report and further copies."""
    cascade = frozen_cascade()
    report = cascade.certify(X, Y)
    certified = cascade.with_thresholds(report)
    assert certified.certificate_ is report
    assert_array_equal(certified.thresholds_, report.thresholds)
    assert cascade.certificate_ is None
    saved = pickle.loads(pickle.dumps(certified))
    assert saved.certificate_.to_dict() == report.to_dict()
    assert_array_equal(saved.predict(X[:50]), certified.predict(X[:50]))
    assert certified.with_thresholds(0.9).certificate_ is None
    assert not hasattr(clone(certified), "certificate_")
    assert certified.fit(X[:9], Y[:9]).certificate_ is None


def test_compute_report_shows_the_certificate():
    """Check text, HTML and dict of the report of a certified cascade, and of one that is not."""
    cascade = frozen_cascade()
    report = cascade.certify(X, Y)
    shown = cascade.with_thresholds(report).cost_report(X, Y)
    assert shown.certificate is report
    assert report.message in str(shown)
    assert report.message in shown._repr_html_()
    assert shown.to_dict()["certificate"] == report.to_dict()
    assert cascade.cost_report(X, Y).certificate is None
    assert "ertified" not in str(cascade.cost_report(X, Y))


def test_certificate_survives_skops():
    """Check that a certified cascade can be saved if only this package's names are trusted."""
    members = [("nb", GaussianNB()), ("lr", LogisticRegression())]
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(800, 3)), rng.integers(2, size=800)
    cascade = CascadeClassifier(members, cv=2).fit(A[:300], b[:300])
    report = cascade.certify(A[300:], b[300:], epsilon=0.3)
    saved = skops.io.dumps(cascade.with_thresholds(report))
    own = skops.io.get_untrusted_types(data=saved)
    assert all(name.startswith("sklearn_cascade.") for name in own)
    assert skops.io.loads(saved, trusted=own).certificate_.to_dict() == report.to_dict()
