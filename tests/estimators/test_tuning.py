"""Tests of thresholds="auto": its fits, its predictions, and its choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, get_scorer, make_scorer
from sklearn.model_selection import (
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier
from sklearn_cascade.exceptions import ScoreNotReachedWarning
from tests.probes import LOGS, CountingNB, ScriptedMember, log, numbered_rows, scripted
from tests.strategies import stage_probabilities

TUNED = ("tuned_score_", "tuned_cost_", "cross_fitted_score_", "cross_fitted_cost_")
# A scorer that is no sum over rows.
MACRO_F1 = make_scorer(f1_score, average="macro", zero_division=0.0)


def noisy_tables(n_samples, seed=0, n_classes=3, skill=(1.0, 2.0, 3.0)):
    """Return true classes, and tables of members of growing accuracy."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    tables = []
    for factor in skill:
        logits = rng.normal(size=(n_samples, n_classes)) + factor * np.eye(n_classes)[y]
        proba = np.exp(2 * logits)
        tables.append(proba / proba.sum(axis=1, keepdims=True))
    return y, tables


@pytest.mark.parametrize("n_members", [2, 4])
@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro"])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_each_member_is_fitted_once_per_fold_and_once_on_all_rows(
    iris, key, n_members, scoring, n_folds
):
    """Check the fits and predictions of trainable members, whatever the thresholds tried."""
    X, y = iris
    members = [(f"m{k}", CountingNB(f"{key}-{k}")) for k in range(n_members)]
    CascadeClassifier(members, scoring=scoring, cv=n_folds).fit(X, y)
    for k in range(n_members):
        sizes = sorted(size for size, _ in LOGS.pop(f"{key}-{k}")["fits"])
        assert sizes == [150 - 150 // n_folds] * n_folds + [150]


def test_each_member_predicts_each_held_out_row_once(iris, key):
    """Check that a trainable member predicts every fold once, and a frozen one all rows once."""
    X, y = iris
    X = np.column_stack([np.arange(150), X])
    frozen = ScriptedMember(np.eye(3)[y])
    CascadeClassifier([("nb", CountingNB(key)), ("frozen", frozen)], cv=5).fit(X, y)
    assert log(key)["predictions"] == [30] * 5
    assert frozen.asked == [list(range(150))]


@given(
    stages=stage_probabilities(), scoring=st.sampled_from(["accuracy", "neg_log_loss", MACRO_F1])
)
@settings(max_examples=40, deadline=None)
def test_tuning_is_no_worse_than_any_member_and_reports_true_figures(stages, scoring):
    """Check that no member is better on the tuning rows, and that score and cost are true."""
    tables, y, costs = stages
    assume(len(y) > 1 and (scoring == "accuracy" or len(set(y.tolist())) == tables[0].shape[1]))
    if scoring == "neg_log_loss":
        # scikit-learn's scorer takes one minus the second column for the first.
        tables = [0.999 * table + 0.001 / table.shape[1] for table in tables]
    X = numbered_rows(len(y))
    cascade = CascadeClassifier(scripted(*tables), costs=costs, scoring=scoring, cv=KFold(2)).fit(
        X, y
    )
    scorer = get_scorer(scoring)
    singles = [scorer(member, X, y) for member in map(Answering, tables)]
    everything = scorer(cascade.with_thresholds(np.inf), X, y)
    # Sums over rows taken in another order.
    assert cascade.tuned_score_ >= max(*singles, everything) - 1e-9
    assert cascade.tuned_score_ == pytest.approx(scorer(cascade, X, y), abs=1e-9)
    assert cascade.tuned_cost_ == pytest.approx(cascade.predict_details(X).cost.mean(), abs=1e-9)


class Answering(ScriptedMember):
    """A scripted member with predict, for scorers."""

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def test_easy_rows_make_the_cascade_cheap():
    """Check that tuning defers only rows on which the first member is not confident and wrong."""
    y = np.tile([0, 1], 50)
    cheap = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    cheap[:20] = [0.4, 0.6]
    expensive = np.where(np.eye(2)[y] == 1, 0.8, 0.2)
    cascade = CascadeClassifier(scripted(cheap, expensive), costs=[1, 10], cv=5)
    cascade.fit(numbered_rows(100), y)
    # A sum of a hundred shares of 0.01.
    assert cascade.tuned_score_ == pytest.approx(1, rel=1e-12)
    # All pay 1, and the 20 deferred rows 10 more.
    assert cascade.tuned_cost_ == pytest.approx(3, rel=1e-12)
    assert cascade.thresholds_[0] == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "neg_log_loss", MACRO_F1])
def test_weights_count_as_rows_repeated(scoring):
    """Check that weighted rows give the same thresholds as repeated rows."""
    y, tables = noisy_tables(90)
    weight = np.random.default_rng(1).integers(1, 5, size=90)
    X = np.column_stack([numbered_rows(90), np.concatenate(tables, axis=1)[:, :2]])
    copies = np.repeat(np.arange(90), weight)
    splits = list(KFold(3).split(X))
    repeated = [tuple(np.flatnonzero(np.isin(copies, part)) for part in s) for s in splits]
    # The default smoothing is a share of the variance without weights.
    members = [("nb", GaussianNB(var_smoothing=0)), *scripted(*tables)]
    params = {"scoring": scoring, "costs": [1, 2, 4, 8]}
    weighted = CascadeClassifier(members, cv=splits, **params)
    weighted.fit(X, y, sample_weight=weight.astype(float))
    longer = CascadeClassifier(members, cv=repeated, **params).fit(X[copies], y[copies])
    plain = CascadeClassifier(members, cv=splits, **params).fit(X, y)
    assert weighted.combine_ == longer.combine_
    # Naive Bayes of weighted rows and of repeated rows sums in another order.
    assert_allclose(weighted.thresholds_, longer.thresholds_, rtol=0, atol=1e-9)
    for attribute in TUNED:
        assert getattr(weighted, attribute) == pytest.approx(getattr(longer, attribute), abs=1e-9)
    assert not np.allclose(weighted.thresholds_, plain.thresholds_)


def test_rows_of_weight_zero_do_not_tune():
    """Check that rows of weight zero have no effect on tuning."""
    y, tables = noisy_tables(60)
    weight = np.tile([1.0, 1.0, 0.0], 20)
    kept = np.flatnonzero(weight)
    X, splits = numbered_rows(60), [(np.arange(60), np.arange(60))]
    with_them = CascadeClassifier(scripted(*tables), cv=splits).fit(X, y, sample_weight=weight)
    splits = [(np.arange(40), np.arange(40))]
    without = CascadeClassifier(scripted(*tables), cv=splits).fit(X[kept], y[kept])
    everyone = CascadeClassifier(scripted(*tables), cv=[(np.arange(60),) * 2]).fit(X, y)
    assert_array_equal(with_them.thresholds_, without.thresholds_)
    assert with_them.tuned_score_ == pytest.approx(without.tuned_score_, abs=1e-12)
    assert with_them.tuned_cost_ != everyone.tuned_cost_


@pytest.mark.parametrize(
    ("cv", "n_splits"),
    [
        (RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0), 6),
        (ShuffleSplit(4, test_size=0.3, random_state=0), 4),
        (KFold(3), 3),
        (None, 5),
        ([(np.arange(0, 150, 2), np.arange(1, 150, 2))], 1),
    ],
)
def test_any_splitter_holds_rows_out(iris, key, cv, n_splits):
    """Check that splitters, also with overlapping or partial test sets, are followed."""
    X, y = iris
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order], y[order]
    members = [("nb", CountingNB(key)), ("tree", DecisionTreeClassifier(max_depth=1))]
    cascade = CascadeClassifier(members, cv=cv).fit(X, y)
    splits = cv if isinstance(cv, list) else list((cv or StratifiedKFold(5)).split(X, y))
    sizes = sorted(size for size, _ in log(key)["fits"])
    # One fit for each split, and one on all rows.
    assert sizes == sorted([150] + [len(train) for train, _ in splits])
    assert log(key)["predictions"] == [len(test) for _, test in splits]
    assert len(splits) == n_splits
    assert np.isnan(cascade.cross_fitted_score_) == (n_splits == 1)


@pytest.mark.parametrize("random_state", [None, 0, 1])
def test_random_state_shuffles_the_folds(iris, key, random_state):
    """Check that folds keep the order of the rows, or are shuffled by the given seed."""
    X, y = iris
    # The weights that reach the member identify the rows of each fold.
    row = np.arange(150.0)
    members = [("nb", CountingNB(key)), ("tree", DecisionTreeClassifier(max_depth=1))]
    cascade = CascadeClassifier(members, cv=3, random_state=random_state)
    cascade.fit(X, y, sample_weight=row + 1)
    shuffle = random_state is not None
    folds = StratifiedKFold(3, shuffle=shuffle, random_state=random_state).split(X, y)
    trained_on = [weight - 1 for size, weight in log(key)["fits"] if size < 150]
    for ours, (train, _) in zip(trained_on, folds, strict=True):
        assert_array_equal(ours, train)


def test_jobs_change_nothing(blobs):
    """Check that two processes tune and fit as one does."""
    X, y = blobs
    members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=500))]
    serial = CascadeClassifier(members, random_state=0).fit(X, y)
    parallel = CascadeClassifier(members, random_state=0, n_jobs=2).fit(X, y)
    assert_array_equal(serial.thresholds_, parallel.thresholds_)
    assert_array_equal(serial.predict_proba(X), parallel.predict_proba(X))
    assert [getattr(serial, a) for a in TUNED] == [getattr(parallel, a) for a in TUNED]


@pytest.mark.parametrize(("n_members", "limits"), [(2, 0.7), (2, [0.7]), (1, "auto"), (1, 0.7)])
def test_fitting_again_forgets_the_tuning(iris, three_members, n_members, limits):
    """Check that a fit without tuning has no tuned or cross-fitted score from an earlier one."""
    X, y = iris
    cascade = CascadeClassifier(three_members, cv=3).fit(X, y)
    assert all(np.isfinite(getattr(cascade, attribute)) for attribute in TUNED)
    cascade.set_params(estimators=three_members[:n_members], thresholds=limits).fit(X, y)
    fresh = CascadeClassifier(three_members[:n_members], thresholds=limits).fit(X, y)
    assert not any(hasattr(cascade, attribute) for attribute in TUNED)
    assert cascade.thresholds_.tolist() == fresh.thresholds_.tolist() == [0.7] * (n_members - 1)
    assert_array_equal(cascade.predict_proba(X), fresh.predict_proba(X))


def test_cross_fitted_score_is_lower_where_tuning_overfits():
    """Check that the cross-fitted score of members that only guess is no better than guessing."""
    y, tables = noisy_tables(60, seed=5, skill=(0.0, 0.0, 0.0), n_classes=2)
    cascade = CascadeClassifier(scripted(*tables), cv=5).fit(numbered_rows(60), y)
    assert cascade.tuned_score_ > cascade.cross_fitted_score_ + 0.03
    assert cascade.cross_fitted_score_ == pytest.approx(0.5, abs=0.05)


def test_cross_fitted_score_never_chooses_on_the_rows_it_scores():
    """Check that holding the same rows out twice leaves the cross-fitted score as it is."""
    y, tables = noisy_tables(60, skill=(0.0, 0.0, 0.0), n_classes=2)
    X, splits = numbered_rows(60), list(StratifiedKFold(5).split(tables[0], y))
    once = CascadeClassifier(scripted(*tables), cv=splits).fit(X, y)
    twice = CascadeClassifier(scripted(*tables), cv=splits + splits).fit(X, y)
    assert twice.tuned_score_ == pytest.approx(once.tuned_score_, abs=1e-12)
    assert twice.cross_fitted_score_ == pytest.approx(once.cross_fitted_score_, abs=1e-12)


def test_score_not_reached_warns():
    """Check the warning if the mean cannot equal the best member, and that "last" can."""
    y = np.tile([0, 1], 10)
    right = np.where(np.eye(2)[y] == 1, 0.6, 0.4)
    members, X = scripted(np.where(np.eye(2)[y] == 1, 0.1, 0.9), right), numbered_rows(20)
    with pytest.warns(ScoreNotReachedWarning, match=r"combine='mean' reaches 0 .* 1 is reached"):
        mean = CascadeClassifier(members, combine="mean", cv=2).fit(X, y)
    assert mean.tuned_score_ == 0
    either = CascadeClassifier(members, combine="auto", cv=2).fit(X, y)
    assert either.combine_ == "last"
    assert either.tuned_score_ == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_ranking_scorers_are_no_worse_than_any_member(best):
    """Check that a scorer unlike accuracy is at least as high as for the best member alone."""
    skill = [0.2, 0.2, 0.2]
    skill[best] = 1.2
    for seed in range(4):
        y, tables = noisy_tables(40, seed, skill=skill)
        X = numbered_rows(40)
        cascade = CascadeClassifier(scripted(*tables), scoring="roc_auc_ovr", cv=KFold(2))
        scorer = get_scorer("roc_auc_ovr")
        singles = [scorer(Answering(table), X, y) for table in tables]
        assert cascade.fit(X, y).tuned_score_ >= max(singles) - 1e-12


@pytest.mark.parametrize(
    ("scoring", "n_classes"),
    [
        ("accuracy", 3),
        ("balanced_accuracy", 3),
        ("neg_log_loss", 3),
        ("neg_brier_score", 2),
        ("f1_macro", 3),
        ("roc_auc_ovr", 3),
        (get_scorer("neg_log_loss"), 3),
        (MACRO_F1, 3),
    ],
)
def test_scorers_are_accepted_by_name_and_as_objects(scoring, n_classes):
    """Check that the tuned score is the scorer's own, of the cascade on the tuning rows."""
    y, tables = noisy_tables(80, n_classes=n_classes)
    X, scorer = numbered_rows(80), get_scorer(scoring)
    cascade = CascadeClassifier(scripted(*tables), costs=[1, 3, 9], scoring=scoring).fit(X, y)
    singles = [scorer(Answering(table), X, y) for table in tables]
    assert cascade.tuned_score_ == pytest.approx(scorer(cascade, X, y), abs=1e-12)
    assert cascade.tuned_score_ >= max(singles) - 1e-12
    assert 1 < cascade.tuned_cost_ <= 13


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cv": 5}, "cv=5 asks for 5 folds, but no class has more than 4 rows"),
        ({"cv": StratifiedKFold(6)}, "asks for 6 folds"),
        ({"cv": []}, "holds no rows out"),
        ({"cv": 2, "scoring": "nonsense"}, "'nonsense' is not a valid scoring value"),
        ({"thresholds": "best"}, "'thresholds' parameter"),
    ],
)
def test_impossible_tuning_is_refused(params, message):
    """Check the errors for impossible folds and unknown options."""
    members = scripted(*noisy_tables(12)[1])
    with pytest.raises(ValueError, match=message):
        CascadeClassifier(members, **params).fit(numbered_rows(12), np.repeat([0, 1, 2], 4))
