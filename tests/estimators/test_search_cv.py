"""Tests of CascadeSearchCV: one fit per fold, one pass, the conventions of a search."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier, CascadeSearchCV, PrefitClassifier, search_cascades
from sklearn_cascade.exceptions import InfeasibleConstraintError
from tests.probes import CountingNB, log


@pytest.fixture(scope="module")
def data():
    """Return rows, some of them easy."""
    return make_classification(400, 10, n_informative=6, n_classes=3, class_sep=1.2, random_state=0)


def search(**params):
    """Return a small search with given costs."""
    members = [
        ("tree", DecisionTreeClassifier(max_depth=6, random_state=0)),
        ("nb", GaussianNB()),
        ("lr", LogisticRegression(max_iter=500)),
    ]
    params = {"costs": {"nb": 1, "tree": 2, "lr": 9}, "cv": 4, **params}
    return CascadeSearchCV(members, **params)


def test_results_have_the_columns_of_a_grid_search(data):
    """Check that names, shapes and means of cv_results_ are those of scikit-learn's searches."""
    fitted = search().fit(*data)
    results, n_rows = fitted.cv_results_, len(fitted.front_)
    splits = np.array([results[f"split{k}_test_score"] for k in range(4)])
    np.testing.assert_allclose(results["mean_test_score"], splits.mean(axis=0))
    np.testing.assert_allclose(results["std_test_score"], splits.std(axis=0))
    assert all(len(column) == n_rows for column in results.values())
    assert results["rank_test_score"].min() == 1
    assert results["params"][fitted.best_index_] == fitted.best_params_
    assert fitted.best_score_ == results["mean_test_score"][fitted.best_index_]


def test_results_agree_with_the_front(data):
    """Check that folds of equal size average to the figures of the front."""
    fitted = search().fit(*data)
    np.testing.assert_allclose(fitted.cv_results_["mean_test_score"], fitted.front_.score)
    np.testing.assert_allclose(fitted.cv_results_["mean_test_cost"], fitted.front_.mean_cost)


def test_members_are_fitted_once_per_fold_and_once_at_the_end(data):
    """Check that the number of combinations does not matter to the number of fits."""
    members = [("a", CountingNB("searched")), ("b", GaussianNB()), ("c", LogisticRegression())]
    CascadeSearchCV(members, costs=[1, 2, 3], cv=4).fit(*data)
    seen = log("searched")
    assert [n_rows for n_rows, _ in seen["fits"]] == [400, 300, 300, 300, 300]
    assert seen["predictions"] == [100, 100, 100, 100]


class WantsRows(GaussianNB):
    """A member that cannot be fitted on too few rows."""

    def __init__(self, n_wanted=0, *, priors=None, var_smoothing=1e-9):
        super().__init__(priors=priors, var_smoothing=var_smoothing)
        self.n_wanted = n_wanted

    def fit(self, X, y, sample_weight=None):
        if len(y) < self.n_wanted:
            raise ValueError(f"{len(y)} rows are too few")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(("n_wanted", "refit"), [(401, True), (400, True), (400, False)])
def test_members_that_cannot_be_fitted_fail_soon(data, n_wanted, refit):
    """Check that all members are fitted once before any is fitted again, then the last ones."""
    key = f"soon {n_wanted} {refit}"
    members = [("a", CountingNB(key)), ("b", WantsRows(n_wanted))]
    with pytest.raises(ValueError, match="rows are too few"):
        CascadeSearchCV(members, costs=[1, 2], cv=4, refit=refit).fit(*data)
    assert len(log(key)["fits"]) == 1


def test_frozen_members_are_called_once_for_all_rows(data):
    """Check that a search over fitted members costs one pass of each over the rows."""
    X, y = data
    asked = {"cheap": [], "expensive": []}

    def recorded(name, model):
        def answer(rows):
            asked[name].append(len(rows))
            return model.predict_proba(rows)

        return PrefitClassifier(answer, classes=[0, 1, 2], cost=len(name))

    members = [
        ("cheap", recorded("cheap", GaussianNB().fit(X[:200], y[:200]))),
        (
            "expensive",
            recorded("expensive", LogisticRegression(max_iter=500).fit(X[:200], y[:200])),
        ),
    ]
    CascadeSearchCV(members, costs=None).fit(X[200:], y[200:])
    assert asked == {"cheap": [200], "expensive": [200]}


@pytest.mark.parametrize("combine", ["mean", "last", "auto"])
def test_best_estimator_has_the_figures_of_the_chosen_point(data, combine):
    """Check that frozen members, searched and applied to the same rows, reach the same figures."""
    X, y = data
    models = [GaussianNB().fit(X[:200], y[:200]), LogisticRegression().fit(X[:200], y[:200])]
    members = [
        (name, PrefitClassifier(model.predict_proba, classes=model.classes_))
        for name, model in zip(["nb", "lr"], models, strict=True)
    ]
    fitted = CascadeSearchCV(members, costs=[1, 5], combine=combine).fit(X[200:], y[200:])
    for row in fitted.front_:
        cascade = fitted._build(row)
        details = cascade.predict_details(X[200:])
        assert accuracy_score(y[200:], details.label) == pytest.approx(row.score)
        assert details.cost.mean() == pytest.approx(row.mean_cost)


def test_honest_figures_are_chosen_without_the_fold_they_are_taken_on(data):
    """Check the cross-fitted figures against a search of the other folds, fold by fold."""
    X, y = data
    models = [GaussianNB().fit(X[:100], y[:100]), LogisticRegression().fit(X[:100], y[:100])]
    X, y = X[100:], y[100:]
    members = [
        (name, PrefitClassifier(model.predict_proba, classes=model.classes_))
        for name, model in zip(["nb", "lr"], models, strict=True)
    ]
    splits = list(KFold(3).split(X))
    fitted = CascadeSearchCV(members, costs=[1, 5], cv=splits).fit(X, y)
    figures = []
    for others, part in splits:
        proba = [model.predict_proba(X[others]) for model in models]
        row = search_cascades(proba, y[others], costs=[1, 5], names=["nb", "lr"]).select()
        details = fitted._build(row).predict_details(X[part])
        figures.append((accuracy_score(y[part], details.label), details.cost.mean()))
    cross_fitted = (fitted.cross_fitted_score_, fitted.cross_fitted_cost_)
    np.testing.assert_allclose(cross_fitted, np.mean(figures, axis=0))


def test_select_gives_another_operating_point_without_a_fit(data):
    """Check that `select` obeys its constraints and shares the fitted members."""
    fitted = search().fit(*data)
    cheap = fitted.select(max_cost=1.0)
    assert isinstance(cheap, CascadeClassifier)
    assert cheap.estimators_[0] is fitted.named_estimators_["nb"]
    assert fitted.select(max_worst_cost=3.0).costs_.sum() <= 3.0
    with pytest.raises(InfeasibleConstraintError, match="the best score is"):
        fitted.select(min_score=1.01)


def test_constraints_are_those_of_the_front(data):
    """Check that parameters of the search choose as `front_.select` does."""
    fitted = search(max_cost=4.0).fit(*data)
    assert fitted.front_[fitted.best_index_] == fitted.front_.select(max_cost=4.0)
    limited = search(max_worst_cost=3.0, max_score_loss=0.5).fit(*data)
    assert limited.best_estimator_.costs_.sum() <= 3.0


def test_infeasible_constraints_raise_with_the_nearest(data):
    """Check that the error of an infeasible search names the nearest point."""
    with pytest.raises(InfeasibleConstraintError, match=r"min_score=0\.999.*max_cost=0\.5"):
        search(min_score=0.999, max_cost=0.5).fit(*data)


def test_search_delegates_to_its_best_estimator(data):
    """Check predictions, report and score of a fitted search."""
    X, y = data
    fitted = search(scoring="neg_log_loss").fit(X, y)
    best = fitted.best_estimator_
    np.testing.assert_array_equal(fitted.predict_proba(X), best.predict_proba(X))
    np.testing.assert_array_equal(fitted.predict(X), best.predict(X))
    assert fitted.cost_report(X, y).scoring == "neg_log_loss"
    assert fitted.score(X, y) == pytest.approx(fitted.cost_report(X, y).score)


def test_search_works_in_pipelines_and_cross_validation(data):
    """Check nesting, cloning and pickling, with costs that are measured."""
    pipeline = make_pipeline(StandardScaler(), search(costs="measured", cv=3))
    scores = cross_validate(pipeline, *data, cv=2)["test_score"]
    assert scores.min() > 0.5
    fitted = pickle.loads(pickle.dumps(clone(pipeline).fit(*data)))[-1]
    assert fitted.cost_unit_ == "s"
    assert fitted.cost_conditions_["n_threads"] == 1


def test_search_can_be_searched(data):
    """Check that parameters of members are parameters of the search."""
    grid = GridSearchCV(search(cv=2), {"tree__max_depth": [1, 6]}, cv=2).fit(*data)
    assert grid.best_params_["tree__max_depth"] in (1, 6)


def test_search_without_refit_only_reports(data):
    """Check that refit=False gives the table, no predictions, and no measured costs."""
    fitted = search(refit=False).fit(*data)
    assert not hasattr(fitted, "predict")
    assert not hasattr(fitted, "best_estimator_")
    assert fitted.best_score_ > 0.5
    with pytest.raises(ValueError, match="costs='measured' with refit=False"):
        search(refit=False, costs="measured").fit(*data)


def test_jobs_do_not_change_the_result(data):
    """Check that one job and two give the same table."""
    one, two = (search(n_jobs=n).fit(*data).front_ for n in (1, 2))
    assert list(one) == list(two)


def test_rows_of_weight_zero_are_ignored(data):
    """Check that labels of rows of weight zero change no figure of the search."""
    X, y = data
    model = GaussianNB().fit(X[:100], y[:100])
    members = [
        ("nb", PrefitClassifier(model.predict_proba, classes=model.classes_)),
        ("lr", FrozenEstimator(LogisticRegression(max_iter=500).fit(X[:100], y[:100]))),
    ]
    weight = np.where(np.arange(len(y)) % 3, 1.0, 0.0)
    splits = list(KFold(4).split(X))
    tables = [
        CascadeSearchCV(members, costs=[1, 5], cv=splits).fit(X, labels, sample_weight=weight)
        for labels in (y, np.where(weight == 0, (y + 1) % 3, y))
    ]
    assert list(tables[0].front_) == list(tables[1].front_)
    assert tables[0].cross_fitted_score_ == tables[1].cross_fitted_score_


def test_a_single_split_has_no_honest_figure(data):
    """Check that one split leaves no rows to choose on."""
    fitted = search(cv=ShuffleSplit(1, random_state=0)).fit(*data)
    assert np.isnan(fitted.cross_fitted_score_)


def test_groups_reach_the_splitter(data):
    """Check that groups are routed to a splitter that asks for them."""
    X, y = data
    groups = np.arange(len(y)) % 7
    with sklearn.config_context(enable_metadata_routing=True):
        fitted = search(cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert fitted.n_splits_ == 3


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"max_stages": 0}, "max_stages=0"),
        ({"n_thresholds": 0}, "n_thresholds=0"),
        ({"order": "random"}, "order"),
        ({"costs": [1, 2]}, "2 values"),
        ({"costs": {"nb": 1, "tree": -2, "lr": 9}}, "none below zero"),
        ({"scoring": "nonsense"}, "nonsense"),
        ({"max_cost": "much"}, "max_cost"),
        ({"max_cost": np.nan}, "max_cost=nan; expected a finite number"),
    ],
)
def test_bad_parameters_are_refused(data, params, match):
    """Check that errors name the parameter and its value."""
    with pytest.raises(ValueError, match=match):
        search(**params).fit(*data)


def test_progress_reaches_callbacks(data):
    """Check that the parts of a fit reach a callback of scikit-learn 1.9 and later."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has no callbacks")

    class Recorder:
        """Records the names of the tasks."""

        def __init__(self):
            self.begun, self.torn_down = [], 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **kwargs):
            self.begun.append(context.task_name)

        def on_fit_task_end(self, estimator, context, **kwargs):
            pass

        def teardown(self, estimator, context):
            self.torn_down += 1

    recorder = Recorder()
    search().set_callbacks(recorder).fit(*data)
    assert recorder.begun == ["fit", "fits of members", "search"]
    assert recorder.torn_down == 1


def test_verbose_prints_the_number_of_cascades(data, capsys):
    """Check that the number of cascades is printed on request only."""
    search().fit(*data)
    assert capsys.readouterr().out == ""
    search(verbose=1).fit(*data)
    assert "8 cascades: exhaustive" in capsys.readouterr().out


def test_digits_are_classified_cheaply():
    """Check a real table: the cascade costs less than the best member at its score."""
    X, y = load_digits(return_X_y=True)
    members = [("nb", GaussianNB()), ("lr", LogisticRegression(max_iter=300))]
    fitted = CascadeSearchCV(members, costs=[1, 10], cv=3, scoring="f1_macro").fit(X / 16, y)
    singles = [row.score for row in fitted.front_ if row.kind == "single"]
    assert fitted.front_[fitted.best_index_].score >= max(singles)
