"""Tests of certifying a fitted cascade, and of certificates that travel with it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import (
    CascadeClassifier,
    CertificationReport,
    PrefitClassifier,
    paired_loss_pvalue,
)
from sklearn_cascade.exceptions import (
    CertificationError,
    InvalidProbabilitiesError,
    MemberFailedError,
    NotCertifiedWarning,
)
from tests.probes import FailingMember, ScriptedMember, numbered_rows, scripted

N_ROWS = 6000
X = numbered_rows(N_ROWS)
NAMES = np.array(["ape", "bee", "cat"])
COSTS = [1.0, 5.0, 25.0]


def made_up_answers(strengths=(1.0, 2.0, 3.0), seed=0):
    """Return the probabilities of members of different strength, and the true columns."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=N_ROWS)
    ease = rng.normal(size=N_ROWS)
    tables = []
    for strength in strengths:
        logits = rng.normal(size=(N_ROWS, 3))
        logits[np.arange(N_ROWS), y] += strength + 1.5 * ease
        tables.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    return tables, y


TABLES, COLUMNS = made_up_answers()
Y = NAMES[COLUMNS]


def frozen_cascade(tables=TABLES, y=Y, **params):
    """Return a fitted cascade of scripted members, whose fit used no rows at all."""
    params = {"thresholds": 0.9, "costs": COSTS[: len(tables)], **params}
    members = scripted(*tables, classes=np.unique(y))
    return CascadeClassifier(members, **params).fit(X[:9], y[:9])


def tuned_cascade(tables=TABLES, y=Y, **params):
    """Return a fitted cascade that tuned its thresholds on the first thousand rows."""
    members = scripted(*tables, classes=NAMES)
    return CascadeClassifier(members, costs=COSTS, **params).fit(X[:1000], y[:1000])


def losses_and_fixes(label, reference, y):
    """Return the counts of a paired comparison."""
    ours, theirs = label == y, reference == y
    return int((theirs & ~ours).sum()), int((ours & ~theirs).sum())


@pytest.mark.parametrize("combine", ["mean", "last"])
@pytest.mark.parametrize("confidence", ["max_proba", "margin", "entropy"])
def test_report_counts_what_predict_answers(combine, confidence):
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
    assert (report.losses, report.fixes) == counts
    assert report.p_value == paired_loss_pvalue(*counts, 5000, 0.02)
    assert report.p_value <= 0.1
    assert report.loss_estimate == (counts[0] - counts[1]) / 5000
    assert report.mean_cost == pytest.approx(details.cost.mean(), rel=1e-12)
    assert report.cost_interval[0] < report.mean_cost < report.cost_interval[1]
    assert report.mean_cost < report.mean_cost_upper < report.full_cost == sum(COSTS)
    assert report.saving > 1.2
    assert [stage["n_rows"] for stage in report.stages] == [
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


def test_certify_changes_nothing_and_asks_each_member_once():
    """Check the attributes, and the rows each member was asked for: all of them, in one call."""
    cascade = frozen_cascade()
    for member in cascade.estimators_:
        member.asked.clear()
    before = dict(vars(cascade))
    cascade.certify(X, Y)
    assert vars(cascade).keys() == before.keys()
    assert all(vars(cascade)[name] is value for name, value in before.items())
    assert [member.asked for member in cascade.estimators_] == [[list(range(N_ROWS))]] * 3


def test_rows_are_split_where_the_fit_tuned_nothing():
    """Check shares and numbers of rows set aside, and that they certify nothing."""
    cascade = frozen_cascade()
    report = cascade.certify(X, Y)
    assert (report.n_tuning, report.n_certification, report.tuned_on) == (1200, 4800, "split")
    report = cascade.certify(X, Y, tuning_size=0.5)
    assert (report.n_tuning, report.n_certification) == (3000, 3000)
    report = cascade.certify(X, Y, tuning_size=700)
    assert (report.n_tuning, report.n_certification) == (700, 5300)
    assert sum(stage["n_rows"] for stage in report.stages) == 5300


def test_tuning_size_overrides_the_rows_of_the_fit():
    """Check that a size given splits, though the fit left rows to draw the path."""
    report = tuned_cascade().certify(X[1000:], Y[1000:], tuning_size=0.2)
    assert (report.n_tuning, report.n_certification, report.tuned_on) == (1000, 4000, "split")


def test_repeated_calls_agree_and_seeds_differ():
    """Check that no seed is a fixed one."""
    cascade = frozen_cascade()
    first, again, other = (cascade.certify(X, Y, random_state=s).to_dict() for s in (None, None, 1))
    assert first == again
    assert first != other
    assert cascade.certify(X, Y, random_state=0).to_dict() == first


def test_members_that_are_trained_certify_on_held_out_rows(blobs):
    """Check a cascade of trained members, whose path comes from out-of-fold answers."""
    A, b = blobs
    members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=1000))]
    cascade = CascadeClassifier(members, costs=[1, 9]).fit(A[:200], b[:200])
    report = cascade.certify(A[200:], b[200:], epsilon=0.1)
    assert report.certified
    assert (report.n_tuning, report.n_certification) == (200, 200)


def test_certificate_travels_until_the_next_fit():
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
    shown = cascade.with_thresholds(report).compute_report(X, Y)
    assert shown.certificate is report
    assert report.message in str(shown)
    assert report.message in shown._repr_html_()
    assert shown.to_dict()["certificate"] == report.to_dict()
    assert cascade.compute_report(X, Y).certificate is None
    assert "ertified" not in str(cascade.compute_report(X, Y))


def test_certificate_survives_skops():
    """Check that a certified cascade can be saved without trusting other names than ours."""
    members = [("nb", GaussianNB()), ("lr", LogisticRegression())]
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(800, 3)), rng.integers(2, size=800)
    cascade = CascadeClassifier(members, cv=2).fit(A[:300], b[:300])
    report = cascade.certify(A[300:], b[300:], epsilon=0.3)
    saved = skops.io.dumps(cascade.with_thresholds(report))
    own = skops.io.get_untrusted_types(data=saved)
    assert all(name.startswith("sklearn_cascade.") for name in own)
    assert skops.io.loads(saved, trusted=own).certificate_.to_dict() == report.to_dict()


def test_report_of_another_cascade_is_refused():
    """Check that names and combination have to agree."""
    report = frozen_cascade().certify(X, Y)
    with pytest.raises(
        ValueError, match=r"report is about \['m0', 'm1', 'm2'\].* has \['m0', 'm1'"
    ):
        frozen_cascade(TABLES[:2]).with_thresholds(report)
    with pytest.raises(ValueError, match=r"combine='mean'; this cascade .* combine='last'"):
        frozen_cascade(combine="last").with_thresholds(report)


def test_too_few_rows_are_refused_before_anybody_is_asked():
    """Check the words, the rows needed, and that no member was called."""
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
    assert report.rows_needed == 288
    assert report.thresholds == (np.inf, np.inf)
    assert report.mean_cost is None
    assert [member.asked for member in cascade.estimators_] == [[], [], []]
    assert pickle.loads(pickle.dumps(caught.value)).report.rows_needed == 288


def test_as_many_rows_as_were_asked_for_suffice():
    """Check that 288 rows certify where nothing is lost, and 287 do not."""
    perfect = np.where(COLUMNS[:, None] == np.arange(3), 0.8, 0.1)
    perfect[::2] = perfect[::2] * 0.5 + 1 / 6
    cascade = frozen_cascade([perfect, perfect])
    assert cascade.certify(X[:288], Y[:288]).certified
    with pytest.raises(CertificationError, match=r"got 229 \(286 rows"):
        cascade.certify(X[:286], Y[:286])


def test_rows_held_out_by_the_fit_leave_all_rows_to_certify():
    """Check that a tuned cascade needs the minimum and no row more."""
    cascade = tuned_cascade()
    with pytest.raises(CertificationError, match=r"got 229 \(229 rows\). Pass at least 230 rows"):
        cascade.certify(X[1000:1229], Y[1000:1229])


def test_refusal_can_be_a_warning():
    """Check that the report returned never exits, can be put into force, and says so."""
    cascade = frozen_cascade()
    with pytest.warns(NotCertifiedWarning, match="needs at least 230") as caught:
        report = cascade.certify(X[:200], Y[:200], on_refusal="warn")
    assert caught[0].filename == __file__
    assert not report.certified
    copy = cascade.with_thresholds(report)
    assert (copy.predict_details(X[:50]).exit_stage == 2).all()
    assert not copy.certificate_.certified


def misled_cascade(every):
    """Return a cascade that is wrong on each so-manieth row at any thresholds, where m1 is right.

    The first member is wrong there, and so sure that it outvotes the second.
    """
    right = np.where(COLUMNS[:, None] == np.arange(3), 0.7, 0.15)
    sure = np.where(COLUMNS[:, None] == np.arange(3), 0.9, 0.05)
    sure[::every] = np.roll(sure[::every], 1, axis=1)
    return frozen_cascade([sure, right], combine="mean")


def test_refusal_tells_about_how_many_rows_would_do():
    """Check the words where the estimate is below epsilon, and the first step uncertain."""
    cascade = misled_cascade(160)
    with pytest.raises(CertificationError, match="at the most cautious setting") as caught:
        cascade.certify(X[:800], Y[:800], reference="m1")
    report = caught.value.report
    assert 0 < report.loss_estimate < 0.01
    assert report.p_value > 0.1
    assert report.losses == report.stopped_at["losses"][0]
    assert f"about {report.rows_needed} certification rows would certify it" in str(caught.value)
    assert report.rows_needed > 640
    # And twice as many do.
    enough = int(2 * report.rows_needed / 0.8)
    assert cascade.certify(X[:enough], Y[:enough], reference="m1").certified


def test_refusal_tells_where_no_rows_would_help():
    """Check the words where the estimated loss is above epsilon at the most cautious setting."""
    with pytest.raises(CertificationError, match="No number of rows is likely to help") as caught:
        misled_cascade(40).certify(X, Y, reference="m1")
    assert caught.value.report.rows_needed is None
    assert caught.value.report.thresholds == (np.inf,)


def test_epsilon_that_is_hopeless_for_exits_keeps_everything_running():
    """Check that a cascade whose early exits all lose is refused against itself."""
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
    """Check that abstentions throughout leave nothing to certify."""
    tables = [np.full((N_ROWS, 3), np.nan), TABLES[2]]
    cascade = frozen_cascade(tables, allow_abstain=True)
    with pytest.raises(CertificationError, match="no thresholds let a row exit early"):
        cascade.certify(X, Y)


def test_budget_is_promised_within_the_same_delta():
    """Check that half of delta certifies the loss, that the limit holds, and a refusal."""
    cascade = tuned_cascade()
    free = cascade.certify(X[1000:], Y[1000:])
    within = cascade.certify(X[1000:], Y[1000:], max_mean_cost=30.5)
    assert within.certified
    assert within.p_value <= 0.05
    assert within.mean_cost <= within.mean_cost_upper <= 30.5
    # Wider, as it holds for whichever step is taken.
    assert within.mean_cost_upper - within.mean_cost > free.mean_cost_upper - free.mean_cost
    with pytest.raises(CertificationError, match="loss is, but the mean cost is only known") as no:
        cascade.certify(X[1000:], Y[1000:], max_mean_cost=3)
    assert no.value.report.thresholds == (np.inf, np.inf)
    assert "max_mean_cost takes the other half" in refusal(cascade, 200, max_mean_cost=20)


def refusal(cascade, n, **params):
    """Return the words of a refusal for want of rows."""
    with pytest.raises(CertificationError) as caught:
        cascade.certify(X[1000 : 1000 + n], Y[1000 : 1000 + n], **params)
    return str(caught.value)


def test_smaller_epsilon_or_delta_certify_no_cheaper_thresholds():
    """Check that the promise costs: stricter ones stop no later on the same path."""
    cascade = tuned_cascade()
    loose = cascade.certify(X[1000:], Y[1000:], epsilon=0.02, delta=0.2)
    for promise in ({"epsilon": 0.01, "delta": 0.2}, {"epsilon": 0.02, "delta": 0.01}):
        strict = cascade.certify(X[1000:], Y[1000:], **promise)
        assert strict.mean_cost >= loose.mean_cost
        assert len(strict.path) <= len(loose.path)


def test_disagreement_needs_no_labels():
    """Check that answers are compared with those of no early exit, and counted like predict."""
    cascade = frozen_cascade()
    report = cascade.certify(X, risk="disagreement", epsilon=0.03)
    label = cascade.with_thresholds(report).predict(X)
    full = cascade.with_thresholds(np.inf).predict(X)
    assert report.fixes == 0
    assert 0 < report.losses / 4800 < 0.03
    # The rows set aside are among these.
    assert report.losses <= (label != full).sum() <= report.losses + 1200 * 0.06


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("cascade", ("no early exit",)),
        ("best_member", ("m2",)),
        ("every_member", ("m0", "m1", "m2")),
        ("m1", ("m1",)),
    ],
)
def test_reference_is_what_the_cascade_is_held_against(reference, names):
    """Check which answers are compared, by recounting against each of them."""
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
    """Check the error where neither the fit nor the rows have labels to choose with."""
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


@pytest.mark.parametrize("on_stage_error", ["raise", "answer"])
def test_member_that_fails_is_named(on_stage_error):
    """Check that nobody certifies what a member would have said, had it answered."""
    members = [*scripted(*TABLES[:2], classes=NAMES), ("net", FailingMember(TABLES[2], NAMES))]
    cascade = CascadeClassifier(members, thresholds=0.9, on_stage_error=on_stage_error)
    with pytest.raises(MemberFailedError, match=r"stage 2 'net' .* the service hung up"):
        cascade.fit(X[:9], Y[:9]).certify(X, Y)


def test_member_that_fails_now_and_then_is_named():
    """Check that a member that answers only when asked again certifies nothing."""

    class Flaky(ScriptedMember):
        def predict_proba(self, X):
            answer = super().predict_proba(X)
            if len(self.asked) == 1:
                raise ConnectionError("the service hung up")
            return answer

    members = [*scripted(TABLES[0], classes=NAMES), ("net", Flaky(TABLES[1], NAMES))]
    cascade = CascadeClassifier(members, thresholds=0.9).fit(X[:9], Y[:9])
    with pytest.raises(ValueError, match="the member 'net' failed on these rows, and answered"):
        cascade.certify(X, Y)


def test_member_that_answers_nonsense_is_named():
    """Check that probabilities that are none are an error and no loss."""
    broken = TABLES[2].copy()
    broken[5000] = [0.5, np.nan, 0.5]
    with pytest.raises(InvalidProbabilitiesError, match="'m2'"):
        frozen_cascade([TABLES[0], TABLES[1], broken]).certify(X, Y)


def test_abstaining_members_certify_as_they_predict():
    """Check that rows of NaN go on, and are counted as predict answers them."""
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
    losses, fixes = losses_and_fixes(label, full, Y)
    assert report.losses <= losses
    assert report.fixes <= fixes
    assert report.loss_estimate == pytest.approx((losses - fixes) / N_ROWS, abs=0.01)


def test_dropped_members_are_left_out():
    """Check names, thresholds and the copy where a member is switched off."""
    members = scripted(*TABLES, classes=NAMES)
    members.insert(1, ("off", "drop"))
    cascade = CascadeClassifier(members, thresholds=0.9).fit(X[:9], Y[:9])
    report = cascade.certify(X, Y)
    assert report.names == ("m0", "m1", "m2")
    assert_array_equal(cascade.with_thresholds(report).thresholds_, report.thresholds)


@pytest.mark.parametrize("options", [{}, {"max_disagreement": 0.05}], ids=["margin", "lead"])
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
    assert report.losses <= differs.sum() <= report.losses + 40
    assert certified.predict_details(A[1000:]).cost.mean() < 40
    against = cascade.certify(A[1000:], b[1000:], reference="best_member", epsilon=0.03)
    assert against.certified


def test_weight_zero_leaves_a_row_out():
    """Check that such rows are not asked about, and that equal weights keep every row."""
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


def test_weights_that_keep_too_few_rows_say_how_many_to_pass():
    """Check that the rows needed are those to be handed over."""
    weight = np.where(np.arange(1000) == 0, 10.0, 1.0)
    words = r"of them kept by their weights, \d\d % of them used for tuning"
    with pytest.raises(CertificationError, match=words) as caught:
        frozen_cascade().certify(X[:1000], Y[:1000], sample_weight=weight)
    assert 2000 < caught.value.report.rows_needed < 4500


def test_unknown_labels_are_wrong_for_both_sides():
    """Check that a label that no member knows is neither lost nor fixed."""
    y = Y.astype("<U4")
    cascade = frozen_cascade()
    known = cascade.certify(X, y, epsilon=0.02)
    y[::2] = "newt"
    report = cascade.certify(X, y, epsilon=0.02)
    assert report.certified
    assert report.mean_cost < known.mean_cost


@pytest.mark.parametrize("kind", ["right", "wrong", "one class", "constant"])
def test_degenerate_rows_certify_or_say_why(kind):
    """Check rows all right, all wrong, of one class, and answers that are all the same."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, size=N_ROWS)
    at = {"wrong": (COLUMNS + 1) % 3, "one class": np.zeros(N_ROWS, dtype=int)}.get(kind, COLUMNS)
    if kind == "constant":
        tables = [np.tile([0.5, 0.3, 0.2], (N_ROWS, 1))] * 2
    else:
        table = np.where(at[:, None] == np.arange(3), sure[:, None], (1 - sure[:, None]) / 2)
        tables = [table, table]
    y = np.full(N_ROWS, NAMES[0]) if kind == "one class" else Y
    cascade = CascadeClassifier(scripted(*tables, classes=NAMES), thresholds=0.9).fit(X[:9], Y[:9])
    report = cascade.certify(X, y)
    # The members say the same, so nothing is ever lost: all rows exit at once.
    assert report.certified
    assert (report.losses, report.fixes) == (0, 0)
    assert report.thresholds == (-np.inf,)
    assert report.mean_cost == 1


USED = np.random.default_rng(0).normal(size=(1500, 3))
LABELS = (USED[:, 0] > 0).astype(int)
CONTAINERS = {
    "array": lambda rows: USED[rows],
    "float32": lambda rows: USED[rows].astype(np.float32),
    "list": lambda rows: USED[rows].tolist(),
    "sparse": lambda rows: csr_matrix(USED[rows]),
    "frame": lambda rows: pytest.importorskip("pandas").DataFrame(USED[rows], columns=list("abc")),
    "polars": lambda rows: pytest.importorskip("polars").DataFrame(USED[rows], schema=list("abc")),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_rows_of_the_fit_are_refused(container):
    """Check that rows that trained or tuned are known again, all or a tenth, in any container."""
    take = CONTAINERS[container]
    kind = LogisticRegression if container == "sparse" else GaussianNB
    members = [("a", kind()), ("b", LogisticRegression(C=0.1))]
    cascade = CascadeClassifier(members, cv=2).fit(take(slice(0, 500)), LABELS[:500])
    with pytest.raises(ValueError, match="500 of the 500 rows looked at are rows that this cas"):
        cascade.certify(take(slice(0, 500)), LABELS[:500], epsilon=0.1)
    with pytest.raises(ValueError, match="100 of the 1000 rows"):
        cascade.certify(take(slice(400, 1400)), LABELS[400:1400], epsilon=0.1)
    copy = cascade.with_thresholds(0.9)
    with pytest.raises(ValueError, match="a certificate would be void"):
        copy.certify(take(slice(0, 500)), LABELS[:500], epsilon=0.1)
    assert cascade.certify(take(slice(500, 1500)), LABELS[500:], epsilon=0.1).n_certification


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_rows_that_are_no_vectors_are_known_again(kind):
    """Check texts, and pictures of which only some pixels are looked at."""
    rng = np.random.default_rng(0)
    if kind == "texts":
        rows = [" ".join(rng.choice(["a", "bb", "ccc", "dddd"], size=12)) for _ in range(900)]
        answer = [np.array([len(text) for text in rows]), lambda part: [len(t) for t in part]]
    else:
        rows = rng.normal(size=(900, 3, 20, 20))
        answer = [rows.mean(axis=(1, 2, 3)), lambda part: np.asarray(part).mean(axis=(1, 2, 3))]
    middle = np.median(answer[0])

    def predict_proba(part):
        p = 1 / (1 + np.exp((middle - np.asarray(answer[1](part))) / np.std(answer[0])))
        return np.column_stack([1 - p, p])

    y = (answer[0] > middle).astype(int)
    member = PrefitClassifier(predict_proba, [0, 1], cost=1)
    cascade = CascadeClassifier([("a", member), ("b", member)], cv=2).fit(rows[:300], y[:300])
    with pytest.raises(ValueError, match="100 of the 400 rows looked at"):
        cascade.certify(rows[200:600], y[200:600], epsilon=0.1)
    assert cascade.certify(rows[300:], y[300:], epsilon=0.1).certified


def test_rows_beyond_those_remembered_are_known_again():
    """Check that of more rows than are remembered, some are enough to know the others by."""
    A = np.random.default_rng(0).normal(size=(15_000, 2))
    b = (A[:, 0] > 0).astype(int)
    members = [("a", GaussianNB()), ("b", GaussianNB(var_smoothing=0.1))]
    cascade = CascadeClassifier(members, cv=2).fit(A, b)
    with pytest.raises(ValueError, match="of the 10000 rows looked at are rows that"):
        cascade.certify(A[::-1], b[::-1])
    with pytest.raises(ValueError, match="of the 2000 rows looked at are rows that"):
        cascade.certify(A[5000:7000], b[5000:7000])


def test_rows_that_cannot_be_read_are_taken_on_trust():
    """Check that lists of different lengths, which only the members understand, certify."""
    rng = np.random.default_rng(0)
    rows = [[0.0] * length for length in rng.integers(1, 9, size=900)]
    member = PrefitClassifier(
        lambda part: np.array([[0.9, 0.1] if len(row) > 4 else [0.2, 0.8] for row in part]), [0, 1]
    )
    y = np.array([int(len(row) <= 4) for row in rows])
    cascade = CascadeClassifier([("a", member), ("b", member)], cv=2).fit(rows[:300], y[:300])
    assert cascade.certify(rows, y).certified


def test_rows_of_weight_zero_in_the_fit_draw_no_path():
    """Check that held-out rows without weight are left out of those that draw the path."""
    cascade = CascadeClassifier(scripted(*TABLES, classes=NAMES), costs=COSTS)
    weight = np.arange(1000) % 4 > 0
    cascade.fit(X[:1000], Y[:1000], sample_weight=weight.astype(float))
    assert cascade.certify(X[1000:], Y[1000:]).n_tuning == 750


def test_rows_are_known_again_after_a_pickle():
    """Check that what is remembered means the same in a saved cascade."""
    cascade = pickle.loads(pickle.dumps(tuned_cascade()))
    with pytest.raises(ValueError, match="1000 of the 1000 rows"):
        cascade.certify(X[:1000], Y[:1000])


def test_rows_that_a_fit_did_not_use_are_welcome():
    """Check that frozen members at given thresholds leave the rows of the fit free."""
    cascade = CascadeClassifier(scripted(*TABLES, classes=NAMES), thresholds=0.9).fit(X, Y)
    assert cascade.certify(X, Y).n_certification == 4800


def test_equal_rows_of_few_values_are_no_rows_of_the_fit():
    """Check that data with few distinct rows, where every row is known, raise no alarm."""
    rng = np.random.default_rng(0)
    A = rng.integers(2, size=(1500, 3)).astype(float)
    b = (rng.uniform(size=1500) < 0.2 + 0.6 * A[:, 0]).astype(int)
    members = [("nb", GaussianNB()), ("lr", LogisticRegression())]
    cascade = CascadeClassifier(members, cv=2).fit(A[:500], b[:500])
    assert isinstance(cascade.certify(A[500:], b[500:], epsilon=0.1), CertificationReport)
