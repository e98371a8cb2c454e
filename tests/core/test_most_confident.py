"""Tests of "most_confident": the surest stage run so far answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_cascade.core import (
    ConfidenceModel,
    LabelCombiner,
    ProbaCombiner,
    compute_confidence,
    is_more_confident,
    pair_columns,
)
from tests.strategies import ladders


@given(drawn=ladders(), confidence=st.sampled_from(["max_proba", "margin", "entropy"]))
@settings(max_examples=60, deadline=None)
def test_best_is_the_surest_of_every_prefix(drawn, confidence):
    """Check answer and confidence against a look at all stages, the last among equals."""
    probas, _, _ = drawn
    running = ProbaCombiner("most_confident")
    for k in range(len(probas)):
        answer = running.add(probas[k], 1.0, confidence)
        sure = np.stack([compute_confidence(proba, confidence) for proba in probas[: k + 1]])
        surest = k - sure[::-1].argmax(axis=0)
        assert_array_equal(answer, np.stack(probas[: k + 1])[surest, np.arange(len(answer))])
        assert_array_equal(running.confidence(confidence), sure.max(axis=0))


@pytest.mark.parametrize(
    ("later", "before", "expected"),
    [(0.5, 0.4, True), (0.4, 0.5, False), (0.5, 0.5, True), (np.nan, 0.1, False)]
    + [(0.1, np.nan, True), (np.nan, np.nan, True)],
)
def test_later_stage_takes_over_unless_it_is_less_sure(later, before, expected):
    """Check ties, and that an answer that says nothing gives way."""
    assert is_more_confident(np.array([later]), np.array([before])).tolist() == [expected]


def test_abstaining_stage_never_takes_over():
    """Check that a row of NaN keeps the answer before, whatever a function makes of NaN."""
    first = np.array([[0.6, 0.4], [np.nan, np.nan]])
    second = np.array([[np.nan, np.nan], [0.3, 0.7]])
    running = ProbaCombiner("most_confident", allow_abstain=True)
    running.add(first, 1.0, lambda proba: np.ones(len(proba)))
    answer = running.add(second, 1.0, lambda proba: np.ones(len(proba)))
    assert_array_equal(answer, [[0.6, 0.4], [0.3, 0.7]])


def test_confidences_known_already_decide():
    """Check that arrays take the place of a rule."""
    first, second = np.array([[0.9, 0.1]] * 2), np.array([[0.2, 0.8]] * 2)
    running = ProbaCombiner("most_confident")
    running.add(first, 1.0, np.array([0.5, 0.5]))
    assert_array_equal(running.add(second, 1.0, np.array([0.4, 0.6])), [[0.9, 0.1], [0.2, 0.8]])
    assert_array_equal(running.confidence(None), [0.5, 0.6])


@pytest.mark.parametrize("combine", ["mean", "last", "most_confident"])
def test_branch_goes_on_as_the_answer_would(combine):
    """Check that what is added to a branch leaves the trunk alone, remembered answers too."""
    rng = np.random.default_rng(0)
    probas = rng.dirichlet(np.ones(3), size=(3, 5))
    trunk = ProbaCombiner(combine, remember=True)
    trunk.add(probas[0], 1.0, "max_proba")
    branch = trunk.copy()
    branch.add(probas[1], 1.0, "max_proba")
    assert trunk.previous_outputs() == []
    straight = ProbaCombiner(combine, remember=True)
    for proba in (probas[0], probas[2]):
        straight.add(proba, 1.0, "max_proba")
    assert_array_equal(trunk.add(probas[2], 1.0, "max_proba"), straight.proba)
    assert (
        len(trunk.previous_outputs()) == len(straight.previous_outputs()) == 2 - (combine != "mean")
    )


@pytest.mark.parametrize("combine", ["last", "most_confident"])
def test_labels_combine_as_their_probabilities_do(combine):
    """Check labels with confidences against the probabilities they come from."""
    rng = np.random.default_rng(1)
    running, labels = ProbaCombiner(combine), LabelCombiner(combine)
    for proba in rng.dirichlet(np.ones(4), size=(4, 50)):
        answer = running.add(proba, 1.0, "max_proba")
        label = labels.add((proba.max(axis=1), proba.argmax(axis=1)))
        assert_array_equal(label, answer.argmax(axis=1))
        assert_array_equal(labels.confidence(), running.confidence("max_proba"))


def test_labels_are_judged_by_what_was_said_before():
    """Check a learned confidence of labels against the formula, and a branch of them."""
    weights = np.array([0.3, -1.0, 2.0, 0.7, 0.1, -0.4, 0.0])
    second = ConfidenceModel(np.eye(3), weights, 0.2)
    sure, label = np.array([[0.6, 0.8], [0.7, 0.9]]), np.array([[0, 1], [0, 2]])
    running = LabelCombiner("last")
    running.add((sure[0], label[0]))
    branch = running.copy()
    branch.add((sure[1], label[1]), None, second)
    odds, raw = pair_columns(sure[1])
    features = np.column_stack([odds, raw, sure[0], [1.0, 0.0], np.eye(3)[label[1]]])
    expected = 1 / (1 + np.exp(-(features @ weights + 0.2)))
    np.testing.assert_allclose(branch.confidence(), expected, rtol=1e-14)
    assert_array_equal(running.label, label[0])
