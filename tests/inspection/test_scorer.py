"""Tests of the scorer that weighs score against cost, alone and in stock searches."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.fixes import parse_version

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, make_cost_scorer
from tests.probes import COSTS_W, LABELS_W, members_w, numbered_rows

X_W, Y_W = numbered_rows(6), np.array(LABELS_W)
THRESHOLDS = [0.75, 0.65]
EVERYTHING = [0, 1, 2, 3, 4, 5]
# GridSearchCV hands weights to scorers since this version, with routing off.
FORWARDS_WEIGHTS = parse_version(sklearn.__version__) >= parse_version("1.7")


def cascade_w(members=None, thresholds=THRESHOLDS):
    """Return the cascade that is counted by hand, fitted: labels 0 0 1 0 1 1, mean cost 38/6."""
    cascade = CascadeClassifier(members or members_w(), thresholds=thresholds, costs=COSTS_W)
    return cascade.fit(X_W, Y_W)


def iris_cascade(routing=False):
    """Return an unfitted cascade that honours weights, with or without requests for them."""
    members = [GaussianNB(), LogisticRegression(max_iter=1000)]
    if routing:
        members = [member.set_fit_request(sample_weight=True) for member in members]
    return CascadeClassifier(
        list(zip(["nb", "lr"], members, strict=True)), thresholds=0.9, costs=[1, 20]
    )


def utilities(cascade, X, y, splits, fit_weight, score_weight):
    """Return the utility of each split, step by step; one unit of cost is worth 0.01."""
    found = []
    for train, test in splits:
        fitted = clone(cascade).fit(X[train], y[train], sample_weight=fit_weight[train])
        details = fitted.predict_details(X[test])
        score = np.average(details.label == y[test], weights=score_weight[test])
        found.append(score - 0.01 * np.average(details.cost, weights=score_weight[test]))
    return found


@pytest.fixture(scope="module")
def weighted(iris):
    """Return data, weights that matter, and splits."""
    X, y = iris
    X = X[:, :2]
    weight = np.random.default_rng(0).integers(1, 9, size=len(y)).astype(float)
    return X, y, weight, list(StratifiedKFold(3).split(X, y))


@pytest.mark.parametrize("cost_weight", [0.0, 0.01, 2])
def test_utility_is_the_score_less_the_weighted_mean_cost(cost_weight):
    """Check the value on six rows, for both estimators."""
    scorer = make_cost_scorer(cost_weight=cost_weight)
    assert scorer(cascade_w(), X_W, Y_W) == pytest.approx(1 - cost_weight * 38 / 6)
    ensemble = AveragingEnsemble(members_w(), costs=COSTS_W).fit(X_W, Y_W)
    assert scorer(ensemble, X_W, Y_W) == pytest.approx(5 / 6 - cost_weight * 15)


def test_multimetric_returns_score_cost_and_utility():
    """Check the dict, whose values are plain numbers, larger the better."""
    scorer = make_cost_scorer(cost_weight=0.01, multimetric=True)
    values = scorer(cascade_w(), X_W, Y_W.tolist())
    assert list(values) == ["score", "neg_cost", "utility"]
    assert values == pytest.approx({"score": 1, "neg_cost": -38 / 6, "utility": 1 - 0.38 / 6})
    assert {type(value) for value in values.values()} == {float}


def test_weights_enter_score_and_cost():
    """Check the value on six rows that weigh 1 to 6."""
    y, weight = [0, 1, 1, 0, 1, 0], [1, 2, 3, 4, 5, 6]
    scorer = make_cost_scorer(cost_weight=0.01, multimetric=True)
    values = scorer(cascade_w(), X_W, y, sample_weight=weight)
    assert values["score"] == pytest.approx(13 / 21)
    assert values["neg_cost"] == pytest.approx(-163 / 21)
    assert values["utility"] == pytest.approx((13 - 1.63) / 21)


def test_any_scoring_may_be_weighed_against_cost():
    """Check scorers by name and a function of the form scorer(estimator, X, y)."""
    cascade = cascade_w(thresholds=-np.inf)
    proba = cascade.predict_proba(X_W)
    expected = {
        "neg_log_loss": -log_loss(Y_W, proba),
        "f1_macro": f1_score(Y_W, proba.argmax(axis=1), average="macro"),
        lambda estimator, X, y: estimator.predict(X).sum(): 2.0,
    }
    for scoring, score in expected.items():
        value = make_cost_scorer(scoring, cost_weight=0.5)(cascade, X_W, Y_W)
        assert value == pytest.approx(score - 0.5)


@pytest.mark.parametrize("multimetric", [False, True])
def test_one_scoring_is_one_pass(multimetric):
    """Check that each member is asked once, for the rows that reach it."""
    members = members_w()
    make_cost_scorer(multimetric=multimetric)(cascade_w(members), X_W, Y_W)
    assert [member.asked for _, member in members] == [[EVERYTHING], [[2, 3, 5]], [[2, 5]]]


@pytest.mark.parametrize("multimetric", [False, True])
def test_search_takes_one_pass_per_candidate(multimetric):
    """Check a grid search over thresholds: calls of each member, and the candidate found."""
    members = members_w()
    search = GridSearchCV(
        CascadeClassifier(members, costs=COSTS_W),
        {"thresholds": [-np.inf, THRESHOLDS, np.inf]},
        scoring=make_cost_scorer(cost_weight=0.01, multimetric=multimetric),
        refit="utility" if multimetric else True,
        cv=[(EVERYTHING, EVERYTHING)],
    ).fit(X_W, Y_W)
    first, second, third = (member.asked for _, member in members)
    assert first == [EVERYTHING] * 3
    assert second == [[2, 3, 5], EVERYTHING]
    assert third == [[2, 5], EVERYTHING]
    key = "mean_test_utility" if multimetric else "mean_test_score"
    expected = [0.5 - 0.01, 1 - 0.38 / 6, 5 / 6 - 0.15]
    assert search.cv_results_[key] == pytest.approx(expected)
    assert search.best_params_ == {"thresholds": THRESHOLDS}
    assert search.best_score_ == search.score(X_W, Y_W) == pytest.approx(1 - 0.38 / 6)


def test_scorer_works_in_cross_validation(weighted):
    """Check cross_val_score and cross_validate, in one dict and beside another scorer."""
    X, y, _, splits = weighted
    ones = np.ones(len(y))
    expected = utilities(iris_cascade(), X, y, splits, ones, ones)
    scorer = make_cost_scorer(cost_weight=0.01)
    found = cross_val_score(iris_cascade(), X, y, cv=splits, scoring=scorer)
    assert found == pytest.approx(expected)
    several = make_cost_scorer(cost_weight=0.01, multimetric=True)
    found = cross_validate(iris_cascade(), X, y, cv=splits, scoring=several)
    assert found["test_utility"] == pytest.approx(expected)
    assert found["test_utility"] == pytest.approx(
        found["test_score"] + 0.01 * found["test_neg_cost"]
    )
    both = {"utility": scorer, "plain": "accuracy"}
    beside = cross_validate(iris_cascade(), X, y, cv=splits, scoring=both)
    assert beside["test_utility"] == pytest.approx(expected)
    assert beside["test_plain"] == pytest.approx(found["test_score"])


def test_scorer_works_in_a_randomized_search(weighted):
    """Check that a search refits the candidate with the best utility."""
    X, y, _, splits = weighted
    search = RandomizedSearchCV(
        iris_cascade(),
        {"thresholds": [0.5, 0.8, 0.99, np.inf]},
        n_iter=3,
        random_state=0,
        scoring=make_cost_scorer(cost_weight=0.01, multimetric=True),
        refit="utility",
        cv=splits,
    ).fit(X, y)
    utility = search.cv_results_["mean_test_utility"]
    assert len(set(utility)) > 1
    assert search.best_index_ == utility.argmax()
    assert search.best_estimator_.thresholds == search.best_params_["thresholds"]


def test_weights_reach_the_score_of_a_search_without_routing(weighted):
    """Check that weights given to a search count, as far as the version hands them on."""
    X, y, weight, splits = weighted
    scorer = make_cost_scorer(cost_weight=0.01)
    search = GridSearchCV(iris_cascade(), {"thresholds": [0.9]}, scoring=scorer, cv=splits)
    search.fit(X, y, sample_weight=weight)
    score_weight = weight if FORWARDS_WEIGHTS else np.ones(len(y))
    expected = utilities(iris_cascade(), X, y, splits, weight, score_weight)
    assert search.cv_results_["mean_test_score"] == pytest.approx([np.mean(expected)])
    unweighted = utilities(iris_cascade(), X, y, splits, np.ones(len(y)), np.ones(len(y)))
    assert np.mean(expected) != pytest.approx(np.mean(unweighted))


@pytest.mark.parametrize("multimetric", [False, True])
def test_weights_reach_the_score_with_routing(weighted, multimetric):
    """Check that weights are routed to the scorer without a request by the user."""
    X, y, weight, splits = weighted
    scorer = make_cost_scorer(cost_weight=0.01, multimetric=multimetric)
    with sklearn.config_context(enable_metadata_routing=True):
        cascade = iris_cascade(routing=True)
        expected = utilities(cascade, X, y, splits, weight, weight)
        params = {"sample_weight": weight}
        found = cross_validate(cascade, X, y, cv=splits, scoring=scorer, params=params)
        search = GridSearchCV(
            cascade,
            {"thresholds": [0.9]},
            scoring=scorer,
            cv=splits,
            refit="utility" if multimetric else True,
        ).fit(X, y, sample_weight=weight)
    name = "utility" if multimetric else "score"
    assert found[f"test_{name}"] == pytest.approx(expected)
    assert search.cv_results_[f"mean_test_{name}"] == pytest.approx([np.mean(expected)])


def test_estimator_is_found_in_a_pipeline_and_in_a_search(weighted):
    """Check that wrapped estimators get the score of the estimator on what reaches it."""
    X, y, weight, splits = weighted
    scorer = make_cost_scorer(cost_weight=0.01)
    scaler = StandardScaler().fit(X)
    fitted = iris_cascade().fit(scaler.transform(X), y)
    expected = scorer(fitted, scaler.transform(X), y, sample_weight=weight)
    pipeline = make_pipeline(StandardScaler(), iris_cascade()).fit(X, y)
    grid = {"cascadeclassifier__thresholds": [0.9]}
    search = GridSearchCV(pipeline, grid, scoring=scorer, cv=splits).fit(X, y)
    inside = make_pipeline(
        StandardScaler(), GridSearchCV(iris_cascade(), {"thresholds": [0.9]}, cv=splits)
    ).fit(X, y)
    deeper = make_pipeline("passthrough", pipeline)
    for wrapped in (pipeline, search, inside, make_pipeline(pipeline), deeper):
        assert scorer(wrapped, X, y, sample_weight=weight) == pytest.approx(expected)
    found = cross_val_score(pipeline, X, y, cv=splits, scoring=scorer)
    assert search.cv_results_["mean_test_score"] == pytest.approx([found.mean()])


def test_pipeline_is_passed_once():
    """Check that the members in a pipeline are asked once too."""
    members = members_w()
    pipeline = make_pipeline(FunctionTransformer(), cascade_w(members)).fit(X_W, Y_W)
    assert make_cost_scorer()(pipeline, X_W, Y_W) == 1
    assert [member.asked for _, member in members] == [[EVERYTHING], [[2, 3, 5]], [[2, 5]]]


@pytest.mark.parametrize("wrap", [lambda model: model, make_pipeline])
def test_other_estimators_are_refused(iris, wrap):
    """Check that the error names what was given and what is expected."""
    model = wrap(GaussianNB()).fit(*iris)
    with pytest.raises(TypeError, match=r"GaussianNB has no predict_details.*AveragingEnsemble"):
        make_cost_scorer()(model, *iris)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scoring": "accuracies"}, "'accuracies' is not a valid scoring"),
        ({"cost_weight": -0.1}, "cost_weight=-0.1; expected a finite number of at least 0"),
        ({"cost_weight": np.nan}, "cost_weight=nan; expected a finite number"),
        ({"cost_weight": np.inf}, "cost_weight=inf; expected a finite number"),
        ({"cost_weight": "much"}, "cost_weight='much'; expected a finite number"),
        ({"cost_weight": [0.1]}, r"cost_weight=\[0.1\]; expected a finite number"),
        ({"cost_weight": None}, "cost_weight=None; expected a finite number"),
    ],
)
def test_wrong_parameters_are_named(params, message):
    """Check that parameters are checked when the scorer is made."""
    with pytest.raises(ValueError, match=message):
        make_cost_scorer(**params)


@pytest.mark.parametrize("duplicate", [clone, lambda scorer: pickle.loads(pickle.dumps(scorer))])
def test_copies_score_alike(duplicate):
    """Check that a scorer survives clone and pickle, and shows its parameters."""
    scorer = make_cost_scorer("f1_macro", cost_weight=0.25)
    again = duplicate(scorer)
    cascade = cascade_w(thresholds=-np.inf)
    assert again is not scorer
    assert again(cascade, X_W, Y_W) == scorer(cascade, X_W, Y_W)
    for part in ("f1_macro", "cost_weight=0.25"):
        assert part in repr(again)
