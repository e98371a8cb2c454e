"""Tests of the list of members: its parameters, names, costs, tags and diagram."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_html_repr, get_tags

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier

both = pytest.mark.parametrize("estimator", [AveragingEnsemble, CascadeClassifier])


@both
def test_parameters_reach_into_the_members(estimator, three_members):
    """Check that members and their parameters are listed only with deep=True."""
    fitted = estimator(three_members, weights=[1, 2, 3])
    shallow, deep = fitted.get_params(deep=False), fitted.get_params()
    assert "nb" not in shallow
    assert shallow["estimators"] is three_members
    assert deep["tree"] is three_members[1][1]
    assert deep["tree__max_depth"] == 3
    assert deep["weights"] == [1, 2, 3]


@both
def test_parameters_reach_through_nested_estimators(estimator):
    """Check that a parameter is set three levels down, and only there."""
    inner = estimator([("pipe", make_pipeline(StandardScaler(), LogisticRegression(C=1)))])
    outer = AveragingEnsemble([("inner", inner), ("lr", LogisticRegression(C=2))])
    outer.set_params(inner__pipe__logisticregression__C=7, inner__weights=[3])
    assert outer.get_params()["inner__pipe__logisticregression__C"] == 7
    assert inner.weights == [3]
    assert outer.get_params()["lr__C"] == 2


@both
def test_setting_follows_a_fixed_order(estimator, three_members):
    """Check that the list is set first, then members in it, then their parameters."""
    new = [("a", GaussianNB()), ("b", GaussianNB())]
    fitted = estimator(three_members)
    returned = fitted.set_params(
        b__max_depth=5, b=DecisionTreeClassifier(), estimators=new, weights=[1, 2]
    )
    assert returned is fitted
    assert [name for name, _ in fitted.estimators] == ["a", "b"]
    assert fitted.get_params()["b__max_depth"] == 5
    assert fitted.weights == [1, 2]


@both
def test_setting_a_member_leaves_the_old_list_alone(estimator, three_members):
    """Check that the list given by the user is never written to."""
    before = list(three_members)
    fitted = estimator(three_members).set_params(tree="drop")
    assert three_members == before
    assert fitted.get_params()["tree"] == "drop"
    assert [name for name, _ in fitted.estimators] == ["nb", "tree", "lr"]


@both
def test_unknown_parameters_are_refused(estimator, three_members):
    """Check that a name that is no member and no parameter is an error."""
    with pytest.raises(ValueError, match="Invalid parameter 'forest'"):
        estimator(three_members).set_params(forest__max_depth=3)


@both
@pytest.mark.parametrize(
    "malformed", [None, 3, [], [GaussianNB()], [("a",)], [(1, GaussianNB())], "drop"]
)
def test_malformed_lists_are_only_reported_by_fit(estimator, malformed):
    """Check that parameters, clone, tags and repr accept any list, which fit then refuses."""
    broken = estimator(malformed)
    assert broken.get_params()["estimators"] is malformed
    assert repr(clone(broken))
    assert get_tags(broken).estimator_type == "classifier"
    with pytest.raises(ValueError, match="estimators"):
        broken.fit([[0], [1]], [0, 1])


@both
def test_members_are_cloned_and_frozen_ones_kept(estimator, iris):
    """Check that fit leaves given members unfitted, and shares frozen ones."""
    X, y = iris
    frozen, fresh = FrozenEstimator(GaussianNB().fit(X, y)), DecisionTreeClassifier()
    fitted = estimator([("frozen", frozen), ("tree", fresh)]).fit(X, y)
    assert fitted.named_estimators_.frozen is frozen
    assert fitted.named_estimators_.tree is fitted.estimators_[1] is not fresh
    assert not hasattr(fresh, "tree_")
    assert list(fitted.named_estimators_) == ["frozen", "tree"]


@pytest.mark.parametrize(
    ("dropped", "thresholds", "in_force"),
    [
        (["nb"], [0.7, 0.8], [0.8]),
        (["tree"], [0.7, 0.8], [0.7]),
        (["lr"], [0.7, 0.8], [0.7]),
        (["lr"], 0.9, [0.9]),
        (["nb", "lr"], [0.7, 0.8], []),
    ],
)
def test_dropped_stages_lose_their_thresholds(iris, three_members, dropped, thresholds, in_force):
    """Check that a cascade with a dropped stage equals one without it."""
    X, y = iris
    given = {"costs": {"nb": 1, "tree": 2, "lr": 4}, "weights": {"nb": 1, "tree": 2, "lr": 3}}
    cascade = CascadeClassifier(three_members, thresholds=thresholds, **given)
    found = cascade.set_params(**dict.fromkeys(dropped, "drop")).fit(X, y).predict_details(X)
    left = [(name, member) for name, member in three_members if name not in dropped]
    kept = {key: [values[name] for name, _ in left] for key, values in given.items()}
    expected = CascadeClassifier(left, thresholds=in_force, **kept).fit(X, y).predict_details(X)
    assert cascade.thresholds_.tolist() == in_force
    for ours, theirs in zip(found, expected, strict=True):
        assert_array_equal(ours, theirs)


def test_dropped_stages_are_left_out_of_the_tuning(iris, three_members):
    """Check that tuned thresholds count the stages that are left."""
    X, y = iris
    cascade = CascadeClassifier(three_members, cv=3).set_params(nb="drop").fit(X, y)
    expected = CascadeClassifier(three_members[1:], cv=3).fit(X, y)
    assert_array_equal(cascade.thresholds_, expected.thresholds_)
    assert cascade.tuned_score_ == expected.tuned_score_


def test_grid_search_reaches_stages_and_thresholds(iris, three_members):
    """Check a stock search over thresholds, a member's parameter and a dropped stage."""
    X, y = iris
    cascade = CascadeClassifier(three_members, thresholds=0.9)
    grid = {"thresholds": [-np.inf, np.inf], "nb": ["drop", GaussianNB()], "tree__max_depth": [1]}
    search = GridSearchCV(cascade, grid, cv=3).fit(X, y)
    found = {
        (p["nb"] == "drop", p["thresholds"]): score
        for p, score in zip(
            search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
        )
    }
    stump, bayes = DecisionTreeClassifier(max_depth=1, random_state=0), GaussianNB()
    assert found[True, -np.inf] == pytest.approx(cross_val_score(stump, X, y, cv=3).mean())
    assert found[False, -np.inf] == pytest.approx(cross_val_score(bayes, X, y, cv=3).mean())
    assert min(found[True, np.inf], found[False, np.inf]) > found[True, -np.inf]


BOOSTING, BAYES, COUNTS = HistGradientBoostingClassifier(), GaussianNB(), MultinomialNB()
KERNEL = SVC(kernel="precomputed")


@both
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([BOOSTING, BOOSTING], {"allow_nan": True, "sparse": False}),
        ([BOOSTING, BAYES], {"allow_nan": False, "sparse": False}),
        ([LogisticRegression(), COUNTS], {"sparse": True, "positive_only": True}),
        ([LogisticRegression(), LogisticRegression()], {"sparse": True, "positive_only": False}),
        ([LogisticRegression(), BAYES], {"sparse": False}),
        ([KERNEL, KERNEL], {"pairwise": True}),
        ([KERNEL, BAYES], {"pairwise": False}),
        ([LogisticRegression(), "drop"], {"sparse": True, "pairwise": False}),
    ],
)
def test_tags_follow_from_the_members(estimator, members, expected):
    """Check that the estimator accepts what all members accept, and needs what any one needs."""
    tags = get_tags(estimator([(f"m{k}", member) for k, member in enumerate(members)]))
    assert {name: getattr(tags.input_tags, name) for name in expected} == expected
    assert tags.classifier_tags.multi_class
    assert not tags.classifier_tags.multi_label
    assert not tags.array_api_support


@both
def test_tags_do_not_skip_the_checks_of_frozen_members(estimator, iris):
    """Check that a frozen member does not switch the estimator's own checks off."""
    frozen = FrozenEstimator(GaussianNB().fit(*iris))
    tags = get_tags(estimator([("frozen", frozen)]))
    assert not tags._skip_test
    assert tags.requires_fit


@both
@pytest.mark.parametrize("fit", [False, True])
def test_diagram_shows_every_member(estimator, iris, three_members, fit):
    """Check that the diagram has a box for each member, side by side or in order."""
    outer = estimator([*three_members, ("off", "drop")])
    if fit:
        outer.fit(*iris)
    boxes = estimator_html_repr(outer).split('class="sk-container"')[1]
    assert boxes.count("sk-estimator ") == 4
    # One row of four, or four rows of one.
    assert boxes.count('class="sk-parallel"') == (1 if estimator is AveragingEnsemble else 4)
    order = [boxes.index(f"<div>{text}</div>") for text in ("GaussianNB", "LogisticRegression")]
    assert order == sorted(order)


@both
def test_diagram_of_a_malformed_list_is_a_plain_box(estimator):
    """Check that the diagram does not fail if the list is no list of pairs."""
    boxes = estimator_html_repr(estimator([GaussianNB()])).split('class="sk-container"')[1]
    assert boxes.count("sk-estimator ") == 1
    assert f"<div>{estimator.__name__}</div>" in boxes


def half(X):
    """Return the same for all rows."""
    return np.full((len(X), 2), 0.5)


@pytest.mark.parametrize(
    ("declared", "costs", "unit", "expected", "named"),
    [
        ((None, None), None, None, [1, 1], "stages"),
        ((2, 5), None, None, [2, 5], "cost units"),
        ((2, 5), None, "USD", [2, 5], "USD"),
        ((2, 5), [3, 4], None, [3, 4], "cost units"),
        ((2, 5), {"b": 9}, "MFLOPs", [2, 9], "MFLOPs"),
        ((None, None), {"b": 9, "a": 0}, None, [0, 9], "cost units"),
    ],
)
@both
def test_costs_come_from_the_parameter_or_the_members(
    estimator, declared, costs, unit, expected, named
):
    """Check that given costs override declared ones, and that the default is one each."""
    members = [
        (name, PrefitClassifier(half, [0, 1], cost=cost))
        for name, cost in zip("ab", declared, strict=True)
    ]
    fixed = {"thresholds": np.inf} if estimator is CascadeClassifier else {}
    X = np.zeros((6, 1))
    fitted = estimator(members, costs=costs, cost_unit=unit, **fixed).fit(X, [0, 1] * 3)
    assert fitted.costs_.tolist() == expected
    assert fitted.cost_unit_ == named
    assert_array_equal(fitted.predict_details(X).cost, sum(expected))


def test_diagram_of_a_cascade_names_its_stages(three_members):
    """Check that the stages' names are labels in the diagram, in order."""
    html = CascadeClassifier([*three_members, ("off", "drop")])._repr_html_()
    places = [html.index(f"<label>{name}</label>") for name in ("nb", "tree", "lr", "off")]
    assert places == sorted(places)
