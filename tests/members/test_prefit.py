"""Tests of functions presented as fitted classifiers."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier
from sklearn_cascade.exceptions import InvalidProbabilitiesError
from tests.probes import numbered_rows

try:
    import cloudpickle  # a package of its own since joblib 1.6
except ImportError:
    from joblib.externals import cloudpickle

TABLE = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
X3 = numbered_rows(3)


def softmax_of_rows(X):
    """Return probabilities of three iris classes from one column; at the top level, so pickled."""
    score = -((np.asarray(X)[:, 2:3] - np.array([1.5, 4.3, 5.6])) ** 2)
    proba = np.exp(score)
    return proba / proba.sum(axis=1, keepdims=True)


def answering(table):
    """Return a function that answers with the same table, whatever it is asked."""
    return lambda X: table


def iris_model(**params):
    """Return a prefit model of the iris data."""
    return PrefitClassifier(softmax_of_rows, [0, 1, 2], **params)


@pytest.mark.parametrize(
    "answer",
    [TABLE, TABLE.tolist(), TABLE.astype("f4"), TABLE[:, 1], TABLE[:, 1:], TABLE[:, 1].tolist()],
    ids=["matrix", "lists", "float32", "positive", "positive-column", "positive-list"],
)
def test_predict_proba_completes_the_answer(answer):
    """Check that all forms of a binary answer become the same two float64 columns."""
    model = PrefitClassifier(answering(answer), ["no", "yes"])
    proba = model.predict_proba(X3)
    assert proba.dtype == np.float64
    # float32 keeps seven digits.
    np.testing.assert_allclose(proba, TABLE, rtol=0, atol=1e-7)
    assert model.predict(X3).tolist() == ["no", "yes", "no"]
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.score(X3, ["no", "yes", "yes"]) == pytest.approx(2 / 3)


def test_columns_follow_the_classes_as_given():
    """Check that labels are not sorted: the first column belongs to the first class."""
    proba = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]])
    model = PrefitClassifier(answering(proba), ["b", "c", "a"])
    assert model.predict(X3).tolist() == ["b", "a", "c"]
    np.testing.assert_array_equal(model.predict_proba(X3), proba)


@pytest.mark.parametrize("X", [["a text", "another"], np.zeros((2, 3, 4, 4)), {"a": 1, "b": 2}])
def test_input_reaches_the_function_untouched(X):
    """Check that the function gets the very object that the caller passed."""
    seen = []

    def look(given):
        seen.append(given)
        return np.full((2, 2), 0.5)

    PrefitClassifier(look, [0, 1]).predict_proba(X)
    assert len(seen) == 1
    assert seen[0] is X


LOGITS = np.array([[2.0, -1.0], [0.5, 0.3], [-3.0, 4.0]])


@pytest.mark.parametrize(
    ("answer", "classes", "message"),
    [
        (LOGITS, [0, 1], "'model' is negative in row 0.*if these are logits, apply a softmax"),
        (np.abs(LOGITS), [0, 1], "sums to 3 in row 0.*if these are logits, apply a softmax"),
        (LOGITS[:, 0], [0, 1], "'model' is 2 in row 0.*logits, apply a sigmoid"),
        (LOGITS[:, 1:], [0, 1], "'model' is -1 in row 0.*logits, apply a sigmoid"),
        (TABLE, [0, 1, 2], r"'model' has shape \(3, 2\); expected \(3, 3\)"),
        (TABLE[:, 1], [0, 1, 2], r"'model' has shape \(3,\); expected \(3, 3\)"),
        (TABLE[:2], [0, 1], r"'model' has shape \(2, 2\); expected \(3, 2\)"),
        (TABLE[:2, 1], [0, 1], r"'model' has shape \(2,\); expected \(3, 2\)"),
        ([["a", "b"]] * 3, [0, 1], "'model' has dtype"),
        ([[np.nan, 0.5]] * 3, [0, 1], "'model' is partly NaN in row 0"),
    ],
)
def test_invalid_answers_are_refused(answer, classes, message):
    """Check that what is no matrix of probabilities is refused, with the likely cause."""
    model = PrefitClassifier(answering(answer), classes, name="model")
    with pytest.raises(InvalidProbabilitiesError, match=message):
        model.predict_proba(X3)


@pytest.mark.parametrize(
    ("function", "classes", "error", "message"),
    [
        ("predict", [0, 1], TypeError, "predict_proba='predict'; expected a function of X"),
        (None, [0, 1], TypeError, "predict_proba=None; expected a function of X"),
        (answering(TABLE), [0, 0], ValueError, r"classes=\[0, 0\]; expected at least two diff"),
        (answering(TABLE), ["a"], ValueError, r"classes=\['a'\]; expected at least two diff"),
        (answering(TABLE), [], ValueError, r"classes=\[\]; expected at least two"),
        (answering(TABLE), [[0, 1]], ValueError, r"classes=\[\[0, 1\]\]; expected at least two"),
    ],
)
def test_wrong_parameters_are_named(function, classes, error, message):
    """Check that parameters that make no classifier are named when it is asked."""
    model = PrefitClassifier(function, classes)
    with pytest.raises(error, match=message):
        model.predict_proba(X3)


def test_error_of_the_function_passes_through():
    """Check that the function's own error reaches the caller as it is."""

    def fail(X):
        raise ConnectionError("no network")

    with pytest.raises(ConnectionError, match="no network"):
        PrefitClassifier(fail, [0, 1]).predict(X3)


def test_rows_of_nan_are_no_prediction_but_an_abstention_in_a_cascade():
    """Check that "don't know" raises alone and sends the row on in a cascade that allows it."""
    unsure = np.array([[0.9, 0.1], [np.nan, np.nan], [0.3, 0.7]])
    model = PrefitClassifier(answering(unsure), [0, 1], name="unsure")
    with pytest.raises(InvalidProbabilitiesError, match="'unsure' is NaN in 1 rows"):
        model.predict(X3)
    np.testing.assert_array_equal(model.predict_proba(X3), unsure)
    second = PrefitClassifier(answering(TABLE[1:2]), [0, 1], name="second")
    cascade = CascadeClassifier(
        [("unsure", model), ("second", second)], thresholds=0.6, allow_abstain=True
    ).fit(X3, [0, 1, 1])
    details = cascade.predict_details(X3)
    assert details.exit_stage.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(details.proba[1], TABLE[1])


def test_clone_fit_and_fitted_check_keep_the_object():
    """Check that cloning and fitting return the model itself, and that it counts as fitted."""
    model = iris_model()
    assert clone(model) is model
    assert clone(clone(model)) is model
    assert model.fit(X3, [0, 1, 1], sample_weight=[1, 1, 1]) is model
    check_is_fitted(model)


def test_parameters_are_listed_set_and_shown():
    """Check get_params, set_params and repr; the function comes back as it was given."""
    model = iris_model(name="rule", cost=2.5)
    assert model.get_params() == {
        "predict_proba": softmax_of_rows,
        "classes": [0, 1, 2],
        "name": "rule",
        "cost": 2.5,
    }
    other = answering(TABLE)
    assert model.set_params(predict_proba=other, classes=[0, 1], name=None) is model
    assert model.get_params()["predict_proba"] is other
    np.testing.assert_array_equal(model.predict_proba(X3), TABLE)
    shown = repr(iris_model(name="rule"))
    assert shown.startswith("PrefitClassifier(")
    assert "softmax_of_rows" in shown
    assert "name='rule'" in shown


def raw_scores(X):
    """Return logits."""
    return LOGITS


@pytest.mark.parametrize(
    ("function", "name", "shown"),
    [
        (raw_scores, None, "raw_scores"),
        (raw_scores, "mine", "mine"),
        (partial(raw_scores), None, "partial"),
    ],
)
def test_errors_name_the_model(function, name, shown):
    """Check that errors use the name given, else the function's, else its class's."""
    with pytest.raises(InvalidProbabilitiesError, match="softmax") as caught:
        PrefitClassifier(function, [0, 1], name=name).predict(X3)
    assert caught.value.member == shown


def test_cross_validation_keeps_the_model(iris):
    """Check that every fold scores the same function, alone and as a member."""
    X, y = iris
    model = iris_model()
    expected = [model.score(X[k::3], y[k::3]) for k in range(3)]
    rows = np.arange(len(y))
    splits = [(rows[rows % 3 != k], rows[rows % 3 == k]) for k in range(3)]
    np.testing.assert_array_equal(cross_val_score(model, X, y, cv=splits), expected)
    estimator = AveragingEnsemble([("m", model)])
    found = cross_validate(estimator, X, y, cv=splits, return_estimator=True)
    np.testing.assert_array_equal(found["test_score"], expected)
    assert all(fitted.estimators_[0] is model for fitted in found["estimator"])


@pytest.mark.parametrize("function", [softmax_of_rows, lambda X: softmax_of_rows(X)])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_a_cascade_keeps_the_model(iris, function, n_jobs):
    """Check a search with the model as a member, in this process and in workers."""
    X, y = iris
    members = [("rule", PrefitClassifier(function, [0, 1, 2])), ("nb", GaussianNB())]
    grid = {"thresholds": [-np.inf, 0.9], "nb__var_smoothing": [1e-9, 1e-3]}
    search = GridSearchCV(CascadeClassifier(members), grid, cv=3, n_jobs=n_jobs).fit(X, y)
    always = np.asarray(search.cv_results_["param_thresholds"] == -np.inf, dtype=bool)
    alone = cross_val_score(iris_model(), X, y, cv=3).mean()
    # Means of the same three scores, added up in another order.
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"][always], alone, rtol=0, atol=1e-12
    )
    assert search.predict(X).shape == y.shape


def test_pickle_keeps_a_top_level_function(iris):
    """Check that a model of a top-level function comes back from pickle, also as a member."""
    X, y = iris
    model = iris_model(name="rule", cost=3.0)
    again = pickle.loads(pickle.dumps(model))
    assert again.get_params() == model.get_params()
    cascade = CascadeClassifier([("rule", model), ("nb", GaussianNB())], costs=[1, 2], cv=3)
    cascade.fit(X, y)
    restored = pickle.loads(pickle.dumps(cascade))
    np.testing.assert_array_equal(restored.predict_proba(X), cascade.predict_proba(X))


@pytest.mark.parametrize("function", [lambda X: TABLE, answering(TABLE)], ids=["lambda", "closure"])
def test_pickle_names_the_function_that_cannot_be_pickled(function):
    """Check that the error of pickle tells which model and function, and the way out."""
    model = PrefitClassifier(function, [0, 1], name="mine")
    message = r"PrefitClassifier 'mine' cannot be pickled because its function predict_proba=<func"
    with pytest.raises(pickle.PicklingError, match=f"{message}.*top level of a module"):
        pickle.dumps(model)
    fitted = AveragingEnsemble([("m", model)]).fit(X3, [0, 1, 1])
    with pytest.raises(pickle.PicklingError, match=message):
        pickle.dumps(fitted)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, copy.copy, lambda model: pickle.loads(cloudpickle.dumps(model))],
    ids=["deepcopy", "copy", "cloudpickle"],
)
def test_copies_work_with_any_function(duplicate):
    """Check that copies, and the pickles that go to workers, take a lambda as well."""
    model = PrefitClassifier(lambda X: TABLE, ["no", "yes"], name="mine", cost=2.0)
    again = duplicate(model)
    assert again is not model
    np.testing.assert_array_equal(again.predict_proba(X3), TABLE)
    assert (again.classes, again.name, again.cost) == (["no", "yes"], "mine", 2.0)


@pytest.mark.parametrize("estimator", [AveragingEnsemble, CascadeClassifier])
def test_declared_costs_are_used_where_none_are_given(iris, estimator):
    """Check that what members declare counts, and what the estimator is given goes first."""
    X, y = iris
    members = [("a", iris_model(cost=2.5)), ("b", iris_model(cost=40))]
    assert estimator(members).fit(X, y).costs_.tolist() == [2.5, 40]
    assert estimator(members, costs=[1, 3]).fit(X, y).costs_.tolist() == [1, 3]
    partly = estimator([*members, ("nb", GaussianNB())], costs={"nb": 7, "a": 1})
    assert partly.fit(X, y).costs_.tolist() == [1, 40, 7]


@pytest.mark.parametrize("estimator", [AveragingEnsemble, CascadeClassifier])
def test_costs_declared_by_some_members_only_are_an_error(iris, estimator):
    """Check that a member without a cost is named where another declares one."""
    X, y = iris
    members = [("rule", iris_model(cost=2.5)), ("nb", GaussianNB())]
    with pytest.raises(ValueError, match=r"costs=.*leaves out \['nb'\].*'rule', 'nb'"):
        estimator(members).fit(X, y)
