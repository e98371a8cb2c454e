"""Tests of what a search is given: odd pools, odd rows, and errors that tell what is wrong."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sklearn_cascade import search_cascades
from sklearn_cascade.exceptions import InfeasibleConstraintError, InvalidProbabilitiesError

Y = np.array([0, 1, 1, 0])
A = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
B = np.array([[0.6, 0.4], [0.3, 0.7], [0.4, 0.6], [0.8, 0.2]])
NAN = np.where(np.arange(8).reshape(4, 2) == 4, np.nan, A)
PAIR = (A.max(axis=1), A.argmax(axis=1))


def test_a_pool_of_one_is_one_single_model():
    """Check that a single model is its own front."""
    front = search_cascades([A], Y, costs=[3])
    assert [(row.kind, row.score, row.mean_cost) for row in front] == [("single", 0.75, 3.0)]
    assert front.select() == front[0]


def test_equal_models_leave_the_cheapest():
    """Check that copies of one model gain nothing."""
    front = search_cascades([A, A, A], Y, costs=[2, 1, 3], names=["b", "a", "c"])
    assert front.select().members == ("a",)
    assert all(row.kind != "cascade" for row in front)


def test_constant_confidences_leave_no_cascade_worth_having():
    """Check that no row exits early where all confidences are equal."""
    flat = [np.where(matrix > 0.5, 0.8, 0.2) for matrix in (A, B)]
    front = search_cascades(flat, Y, costs=[1, 5], combine="last")
    assert front.select().members == ("model_1",)


def test_one_row_can_be_searched():
    """Check a table of a single row."""
    front = search_cascades([A[:1], B[:1]], Y[:1], costs=[1, 5], classes=[0, 1])
    assert front.select().members == ("model_0",)


def test_thousands_of_ties_are_cut_as_one():
    """Check that rows of equal confidence exit together."""
    confidence = np.repeat([0.6, 0.9], 3000)
    y = np.zeros(6000, dtype=int)
    first = (confidence, np.repeat([1, 0], 3000))
    front = search_cascades([first, (np.ones(6000), y)], y, costs=[1, 10])
    cascade = front.select()
    assert cascade.exit_rates == (0.5, 0.5)
    assert 0.6 < cascade.thresholds[0] < 0.9


def test_labels_may_be_text_and_some_may_be_missing():
    """Check text labels, and classes that no row has."""
    labels = np.array(["cat", "dog"])[Y]
    assert search_cascades([A, B], labels, costs=[1, 5]).select().score == 1.0
    wide = [np.column_stack([matrix, np.zeros(4)]) for matrix in (A, B)]
    assert search_cascades(wide, Y, costs=[1, 5]).select().score == 1.0
    named = search_cascades(wide, labels, costs=[1, 5], classes=["cat", "dog", "eel"])
    assert named.select().score == 1.0


def test_costs_may_be_zero_and_come_by_name():
    """Check free models and a mapping of costs."""
    front = search_cascades([A, B], Y, costs={"b": 5, "a": 0}, names=["a", "b"])
    assert front.select(max_cost=0).members == ("a",)


def test_shared_work_is_credited():
    """Check that `marginal_cost` sets what a stage costs after others."""

    def marginal_cost(name, names_run):
        return {"a": 1.0, "b": 4.0}[name] - (0.5 if names_run else 0)

    front = search_cascades([A, B], Y, costs=[1, 4], names=["a", "b"], marginal_cost=marginal_cost)
    assert max(row.worst_cost for row in front) == 4.5


def test_training_costs_are_summed():
    """Check the training cost of each row."""
    front = search_cascades([A, B], Y, costs=[1, 4], train_costs=[10, 30])
    assert {row.train_cost for row in front} == {10.0, 30.0, 40.0}


@pytest.mark.parametrize("weighted", [False, True])
def test_other_scorers_are_applied_to_the_accuracy_front(weighted):
    """Check a scorer that is no sum over rows, on probabilities and on labels."""
    weight = np.array([1.0, 2, 3, 4]) if weighted else None
    for pool in ([A, B], [PAIR, (B.max(axis=1), B.argmax(axis=1))]):
        front = search_cascades(pool, Y, costs=[1, 4], scoring="f1_macro", sample_weight=weight)
        assert front.scoring == "f1_macro"
        assert front.select().score == 1.0
    with pytest.raises(ValueError, match="wants probabilities"):
        search_cascades([PAIR], Y, costs=[1], scoring="roc_auc")


def test_impossible_constraints_tell_the_nearest_figures():
    """Check the error, its attributes, and that it survives a pickle."""
    front = search_cascades([A, B], Y, costs=[1, 4], cost_unit="USD")
    with pytest.raises(InfeasibleConstraintError, match=r"max_cost=0\.5.*1\.00 USD") as raised:
        front.select(max_cost=0.5)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert copy.constraints == {"max_cost": 0.5}
    assert str(copy) == str(raised.value)
    with pytest.raises(InfeasibleConstraintError, match=r"best score within these costs is 0\.75"):
        front.select(min_score=1.0, max_worst_cost=1.0)


def test_front_prints_pickles_and_becomes_a_frame():
    """Check text, HTML, pickling, slices and the frame."""
    front = search_cascades([A, B], Y, costs=[1, 4], names=["<a>", "b"])
    assert list(pickle.loads(pickle.dumps(front))) == list(front)
    assert "2 single models, 1 ensemble" in str(front)
    assert "&lt;a&gt;" in front._repr_html_()
    assert front[:2] == list(front)[:2]
    pytest.importorskip("pandas")
    frame = front.to_frame()
    assert frame["score"].tolist() == front.score.tolist()
    assert frame["non_dominated"].tolist() == front.non_dominated.tolist()


@pytest.mark.parametrize(
    ("pool", "params", "match"),
    [
        ([], {}, r"proba=\[\]; expected one array"),
        ([A, B[:3]], {}, r"'model_1' has shape \(3, 2\); expected \(4, 2\)"),
        ([A, A[:, 0]], {}, r"'model_1' has shape \(4,\)"),
        ([A, B], {"costs": [1]}, "1 values"),
        ([A, B], {"costs": [1, -1]}, "none below zero"),
        ([A, B], {"costs": [1, np.nan]}, "finite"),
        ([A, B], {"costs": {"model_0": 1}}, "leaves out"),
        ([A, B], {"names": ["a", "a"]}, "2 different names"),
        ([A, B], {"classes": [0, 5]}, r"labels \[1\] that are not in classes"),
        ([A, B], {"classes": [0, 1, 2]}, "2 different labels"),
        ([A, B], {"order": "name"}, "order='name'"),
        ([A, B], {"combine": "median"}, "combine='median'"),
        ([A, B], {"method": "random"}, "method='random'"),
        ([A, B], {"confidence": "odds"}, "confidence='odds'"),
        ([A, B], {"max_stages": 0}, "max_stages=0"),
        ([A, B], {"n_thresholds": 2.5}, "n_thresholds=2.5"),
        ([A, B], {"max_worst_cost": np.nan}, "max_worst_cost=nan"),
        ([A, B], {"max_worst_cost": "low"}, "max_worst_cost='low'; expected a finite number"),
        ([A, B], {"sample_weight": [1, 2]}, "inconsistent"),
        ([PAIR, A], {}, "1 of 2 entries"),
        ([PAIR, PAIR], {"combine": "mean"}, "combine='mean'"),
        ([PAIR, PAIR], {"scoring": "neg_log_loss"}, "no probabilities"),
        ([PAIR, (PAIR[0][:2], PAIR[1])], {}, "one confidence and one label"),
        ([(np.full(4, np.nan), PAIR[1])] * 2, {}, "expected finite numbers"),
    ],
)
def test_bad_input_is_refused(pool, params, match):
    """Check that errors name the parameter, its value and what is accepted."""
    params = {"costs": [1, 5], **params}
    with pytest.raises(ValueError, match=match):
        search_cascades(pool, Y, **params)


@pytest.mark.parametrize(("matrix", "match"), [(NAN, "partly NaN in row 2"), (A * 3, "sums to")])
def test_what_is_no_probability_names_model_and_row(matrix, match):
    """Check NaN and logits."""
    with pytest.raises(InvalidProbabilitiesError, match=f"'model_1' .*{match}"):
        search_cascades([A, matrix], Y, costs=[1, 5])
