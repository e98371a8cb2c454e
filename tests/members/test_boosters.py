"""Tests of LightGBM, XGBoost and CatBoost as members, on tables with gaps and categories."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedKFold, cross_val_score, cross_validate

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CascadeSearchCV, PrefitClassifier
from tests.members.boosters import LIBRARIES, Gate, alone, booster, frozen, gate, open_rows, table

pytestmark = [
    # LightGBM 4.6 invents names for the columns of arrays, and then misses them.
    pytest.mark.filterwarnings("ignore:X does not have valid feature names, but LGBM:UserWarning"),
    # Wheels built for a newer numpy say so on import; numpy itself silences it outside pytest.
    pytest.mark.filterwarnings("ignore:numpy.ufunc size changed:RuntimeWarning"),
]

each_library = pytest.mark.parametrize("library", LIBRARIES)
each_table = pytest.mark.parametrize(
    ("n_classes", "container"), [(2, "frame"), (3, "frame"), (2, "array"), (3, "array")]
)
# XGBoost answers in float32, which has seven digits; batches and single rows may sum otherwise.
CLOSE = {"rtol": 0, "atol": 1e-6}


def same_rows(found, expected):
    """Assert that a member was asked for these rows, in the container they came in."""
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        assert_array_equal(found, expected)


@each_library
@each_table
@pytest.mark.parametrize("kept", ["trained", "frozen"])
def test_last_stage_answers_as_alone(library, n_classes, container, kept):
    """Check that a booster at the end answers the rows that reach it as it would alone."""
    X, y = table(n_classes, container)
    member = booster(library, container)
    expected = alone(member, X, y).predict_proba(X)
    if kept == "frozen":
        member, expected = frozen(library, X, y, container)
    members = [("gate", gate(y)), ("booster", member)]
    cascade = CascadeClassifier(members, thresholds=0.75, combine="last").fit(X, y)
    details = cascade.predict_details(X)
    reaching = ~open_rows(X)
    assert_array_equal(details.exit_stage, reaching)
    assert_allclose(details.proba[reaching], expected[reaching], **CLOSE)
    assert_array_equal(details.label[reaching], np.unique(y)[expected[reaching].argmax(axis=1)])
    never = cascade.with_thresholds(np.inf)
    assert_allclose(never.predict_proba(X), expected, **CLOSE)
    assert never.score(X, y) > 0.7
    # One row may take another way through a library than a batch.
    assert_allclose(never.predict_proba(X[:1]), expected[:1], **CLOSE)


@each_library
@each_table
def test_first_stage_exits_where_it_is_sure(library, n_classes, container):
    """Check that rows exit by the booster's own confidence, and the next stage sees the others."""
    X, y = table(n_classes, container)
    member = booster(library, container)
    expected = alone(member, X, y).predict_proba(X)
    last = Gate(n_classes)
    members = [("booster", member), ("gate", PrefitClassifier(last, np.unique(y)))]
    # Midway between two answers, as an answer on a threshold may fall on either side.
    sure = np.unique(expected.max(axis=1).round(5))
    limit = sure[len(sure) // 2 : len(sure) // 2 + 2].mean()
    cascade = CascadeClassifier(members, thresholds=limit, combine="last").fit(X, y)
    details = cascade.predict_details(X)
    going_on = expected.max(axis=1) < limit
    assert 0 < going_on.sum() < len(y)
    assert_array_equal(details.exit_stage, going_on)
    assert_allclose(details.proba[~going_on], expected[~going_on], **CLOSE)
    assert len(last.asked) == 1
    same_rows(last.asked[0], X[going_on])
    always = cascade.with_thresholds(-np.inf)
    assert_allclose(always.predict_proba(X), expected, **CLOSE)
    assert len(last.asked) == 1


@each_library
@each_table
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_ensemble_averages_what_boosters_answer_alone(library, n_classes, container, n_jobs):
    """Check the mean of a trained and a frozen booster, in this thread and in two."""
    X, y = table(n_classes, container)
    trained = booster(library, container)
    other, of_other = frozen(library, X, y, container, seed=1, learning_rate=0.05)
    members = [("trained", trained), ("frozen", other)]
    ensemble = AveragingEnsemble(members, n_jobs=n_jobs).fit(X, y)
    of_trained = alone(trained, X, y).predict_proba(X)
    assert not np.allclose(of_trained, of_other, atol=1e-3)
    assert_allclose(ensemble.predict_proba(X), (of_trained + of_other) / 2, **CLOSE)
    assert ensemble.classes_.tolist() == sorted(set(y))


@pytest.mark.parametrize(
    ("library", "change"),
    [
        ("lightgbm", {"dtype": "category"}),
        ("xgboost", {"dtype": "category"}),
        # CatBoost refuses NaN in a category, and takes text as it is.
        ("catboost", {"dtype": "category", "fill": "missing"}),
        ("catboost", {"dtype": "object", "fill": "missing"}),
    ],
)
def test_categories_with_gaps(library, change):
    """Check that what a booster does with a missing category, it does in a cascade."""
    X, y = table()
    kinds = X["kind"].astype(object)
    kinds[::5] = change.get("fill")
    X["kind"] = kinds.astype(change["dtype"])
    member = booster(library)
    expected = alone(member, X, y).predict_proba(X)
    members = [("gate", gate(y)), ("booster", member)]
    cascade = CascadeClassifier(members, thresholds=0.75, combine="last").fit(X, y)
    assert_allclose(cascade.predict_proba(X)[~open_rows(X)], expected[~open_rows(X)], **CLOSE)
    assert not np.allclose(expected, alone(member, *table()).predict_proba(table()[0]), atol=0.01)


def test_error_of_a_booster_while_it_is_fitted_is_its_own():
    """Check that what CatBoost refuses, a category that is NaN, comes with its words."""
    X, y = table()
    X.loc[3, "kind"] = np.nan
    member = booster("catboost")
    message = "cat_features must be integer or string.*NaN values should be converted to string"
    with pytest.raises(Exception, match=message):
        AveragingEnsemble([("booster", member)]).fit(X, y)


@each_library
@pytest.mark.parametrize("labels", [[3, 1, 2], [True, False]], ids=["numbers", "truth"])
def test_labels_other_than_text(library, labels):
    """Check that numbers with gaps and truth values come back as they were."""
    X, y = table(len(labels))
    y = np.array(labels)[np.searchsorted(["a", "m", "z"][:: 2 if len(labels) == 2 else 1], y)]
    members = [("gate", gate(y)), ("booster", booster(library))]
    cascade = CascadeClassifier(members, thresholds=np.inf, combine="last").fit(X, y)
    assert cascade.classes_.dtype == y.dtype
    assert cascade.classes_.tolist() == sorted(labels)
    assert cascade.predict(X).dtype == y.dtype
    assert cascade.score(X, y) > 0.7
    expected = alone(booster(library), X, y).predict_proba(X)
    assert_allclose(cascade.predict_proba(X), expected, **CLOSE)


@each_library
def test_weights_of_rows_reach_the_booster(library):
    """Check that sample weights change the booster as they do alone."""
    X, y = table()
    weight = np.where(y == "a", 9.0, 1.0)
    member = booster(library)
    cascade = CascadeClassifier([("booster", member)], thresholds=1.0)
    weighted = cascade.fit(X, y, sample_weight=weight).predict_proba(X)
    assert_allclose(weighted, alone(member, X, y, sample_weight=weight).predict_proba(X), **CLOSE)
    assert not np.allclose(weighted, cascade.fit(X, y).predict_proba(X), atol=0.01)


@each_library
def test_weights_of_rows_are_not_lost_by_routing(library):
    """Check that weights reach a booster under metadata routing, also CatBoost, which has none."""
    X, y = table()
    weight = np.where(y == "a", 9.0, 1.0)
    member = booster(library)
    expected = alone(member, X, y, sample_weight=weight).predict_proba(X)
    with config_context(enable_metadata_routing=True):
        if hasattr(member, "set_fit_request"):
            member.set_fit_request(sample_weight=True)
        cascade = CascadeClassifier([("booster", member)], thresholds=1.0)
        weighted = cascade.fit(X, y, sample_weight=weight).predict_proba(X)
    assert_allclose(weighted, expected, **CLOSE)


@each_library
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cross_validation_scores_as_alone(library, n_jobs):
    """Check that folds score a cascade of a booster as the booster, here and in workers."""
    X, y = table()
    member = booster(library)
    members = [("gate", gate(y)), ("booster", member)]
    cascade = CascadeClassifier(members, thresholds=np.inf, combine="last")
    found = cross_validate(cascade, X, y, cv=3, n_jobs=n_jobs, return_estimator=True)
    codes = np.unique(y, return_inverse=True)[1]
    expected = cross_val_score(member, X, codes, cv=3)
    assert_array_equal(found["test_score"], expected)
    assert [len(fitted.estimators_) for fitted in found["estimator"]] == [2, 2, 2]


@each_library
def test_tuning_is_told_held_out_answers(library):
    """Check that thresholds are tuned on what the booster says of folds it did not see."""
    X, y = table()
    member = booster(library)
    splits = list(StratifiedKFold(3).split(X, y))
    members = [("booster", member), ("gate", gate(y))]
    cascade = CascadeClassifier(members, cv=splits, costs=[1, 5]).fit(X, y)
    codes = np.unique(y, return_inverse=True)[1]
    # No worse than the better member alone, and never more expensive than both stages.
    held_out = cross_val_score(member, X, codes, cv=splits)
    sizes = [len(test) for _, test in splits]
    assert cascade.tuned_score_ >= np.average(held_out, weights=sizes) - 1e-12
    # A mean over rows, so that whole costs come with rounding.
    assert 1 - 1e-9 <= cascade.tuned_cost_ <= 6 + 1e-9
    assert set(cascade.predict(X)) <= {"a", "m", "z"}


@each_library
@pytest.mark.parametrize("rare", ["a", "m", "z"])
def test_fold_that_lacks_a_class(library, rare):
    """Check that a booster is fitted where the training part of a fold lacks a class."""
    X, y = table()
    splits = [(np.flatnonzero(y != rare), np.flatnonzero(y == rare))]
    members = [("booster", booster(library)), ("same", booster(library, seed=1))]
    cascade = CascadeClassifier(members, cv=splits).fit(X, y)
    assert cascade.tuned_score_ == 0
    assert cascade.score(X, y) > 0.7


@each_library
def test_estimator_of_boosters_is_cloned_and_pickled(library):
    """Check that an estimator comes back from pickle as it was, and that a clone fits alike."""
    X, y = table()
    other, _ = frozen(library, X, y, seed=1)
    members = [("booster", booster(library)), ("frozen", other)]
    cascade = CascadeClassifier(members, thresholds=0.6).fit(X, y)
    restored = pickle.loads(pickle.dumps(cascade))
    assert_array_equal(restored.predict_proba(X), cascade.predict_proba(X))
    again = clone(cascade)
    assert not hasattr(again, "classes_")
    assert again.get_params()["frozen"] is other
    assert_array_equal(again.fit(X, y).predict_proba(X), cascade.predict_proba(X))
    assert 0 < cascade.predict_details(X).exit_stage.mean() < 1


@each_library
def test_costs_are_measured_and_reported(library):
    """Check that a booster's cost is measured, and that the report knows its own score."""
    X, y = table()
    member = booster(library)
    members = [("gate", gate(y)), ("booster", member)]
    cascade = CascadeClassifier(members, thresholds=0.75, combine="last", costs="measured")
    cascade.fit(X, y)
    assert cascade.cost_unit_ == "s"
    # From 10 nanoseconds to 10 milliseconds a row: no machine is outside.
    assert ((cascade.costs_ > 1e-8) & (cascade.costs_ < 1e-2)).all()
    report = cascade.cost_report(X, y)
    expected = np.unique(y)[alone(member, X, y).predict_proba(X).argmax(axis=1)]
    assert report.member_scores[1] == pytest.approx((expected == y).mean(), abs=1e-12)
    assert report.exit_counts == (open_rows(X).sum(), (~open_rows(X)).sum())
    assert "booster" in str(report)


def test_search_over_boosters_scores_each_as_alone():
    """Check that a search over boosters holds each of them with its own held-out score."""
    X, y = table()
    members = [(library, booster(library)) for library in LIBRARIES]
    splits = list(StratifiedKFold(3).split(X, y))
    search = CascadeSearchCV(
        [("gate", gate(y)), *members], costs=[1, 10, 20, 30], cv=splits, n_thresholds=16
    )
    search.fit(X, y)
    codes = np.unique(y, return_inverse=True)[1]
    singles = {row.members: row.score for row in search.front_ if len(row.members) == 1}
    sizes = [len(test) for _, test in splits]
    for name, member in members:
        folds = cross_val_score(member, X, codes, cv=splits)
        assert singles[(name,)] == pytest.approx(np.average(folds, weights=sizes), abs=1e-12)
    assert search.best_score_ >= max(singles.values()) - 1e-12
    assert search.select(max_cost=15).score(X, y) > 0.5
    assert set(search.best_estimator_.predict(X)) <= {"a", "m", "z"}


@pytest.mark.parametrize(
    "named", [{"class_weights": {"z": 1, "a": 1, "m": 9}}, {"class_names": ["z", "a", "m"]}]
)
def test_catboost_parameters_name_labels(named):
    """Check that labels among CatBoost's parameters mean the labels of y, not their codes."""
    catboost = pytest.importorskip("catboost", reason="catboost is not installed")

    class Cloneable(catboost.CatBoostClassifier):
        """CatBoost that clones with a dict or a list among its parameters; 1.2.10 does not."""

        def __sklearn_clone__(self):
            return type(self)(**self.get_params())

    X, y = table(container="array")
    member = Cloneable(**booster("catboost", "array").get_params(), **named)
    expected = clone(member).fit(X, y)
    fitted = CascadeClassifier([("cat", member)], thresholds=1.0).fit(X, y)
    # Its columns follow the order in which the labels are named.
    assert expected.classes_.tolist() == ["z", "a", "m"]
    assert_allclose(fitted.predict_proba(X), expected.predict_proba(X)[:, [1, 2, 0]], **CLOSE)
    assert fitted.score(X, y) > 0.6


def test_frozen_xgboost_keeps_to_codes_and_says_so():
    """Check that a frozen XGBoost model among text labels is an error, and codes are none."""
    X, y = table()
    codes = np.unique(y, return_inverse=True)[1]
    member = FrozenEstimator(booster("xgboost").fit(X, codes))
    with pytest.raises(ValueError, match="Mix of label input types"):
        AveragingEnsemble([("xgb", member)]).fit(X, y)
    ensemble = AveragingEnsemble([("xgb", member)]).fit(X, codes)
    assert_allclose(ensemble.predict_proba(X), member.predict_proba(X), **CLOSE)


def test_names_of_columns_are_checked_by_the_booster():
    """Check that an array after a frame brings LightGBM's own warning, and frames bring none."""
    X, y = table()
    numbers = X[["size", "gate", "age"]]
    member = booster("lightgbm")
    cascade = CascadeClassifier([("booster", member)], thresholds=1.0).fit(numbers, y)
    expected = cascade.predict_proba(numbers)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but LGBM"):
        found = cascade.predict_proba(numbers.to_numpy())
    assert_array_equal(found, expected)
