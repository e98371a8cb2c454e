"""Tests of "most_confident": the most confident stage run so far is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_cascade.core._combination import LabelCombiner, ProbaCombiner
from sklearn_cascade.core._confidence import compute_confidence, is_more_confident
from sklearn_cascade.core._learned_confidence import ConfidenceModel, pair_columns
from tests.strategies import stage_probabilities


@given(drawn=stage_probabilities(), rule=st.sampled_from(["max_proba", "margin", "entropy"]))
@settings(max_examples=60, deadline=None)
def test_combination_is_the_most_confident_stage_of_every_prefix(drawn, rule):
    """Check output and confidence against a look at all stages, the last among equals."""
    probas, _, _ = drawn
    combiner = ProbaCombiner("most_confident")
    for k in range(len(probas)):
        combined = combiner.add(probas[k], 1.0, rule)
        confidence = np.stack([compute_confidence(proba, rule) for proba in probas[: k + 1]])
        winner = k - confidence[::-1].argmax(axis=0)
        assert_array_equal(combined, np.stack(probas[: k + 1])[winner, np.arange(len(combined))])
        assert_array_equal(combiner.confidence(rule), confidence.max(axis=0))


@pytest.mark.parametrize(
    ("later", "before", "expected"),
    [(0.5, 0.4, True), (0.4, 0.5, False), (0.5, 0.5, True), (np.nan, 0.1, False)]
    + [(0.1, np.nan, True), (np.nan, np.nan, True)],
)
def test_later_stage_wins_unless_it_is_less_confident(later, before, expected):
    """Check ties, and that a stage that abstains gives way."""
    assert is_more_confident(np.array([later]), np.array([before])).tolist() == [expected]


def test_abstaining_stage_never_wins():
    """Check that a row of NaN keeps the output before it, whatever a function returns for NaN."""
    first = np.array([[0.6, 0.4], [np.nan, np.nan]])
    second = np.array([[np.nan, np.nan], [0.3, 0.7]])
    combiner = ProbaCombiner("most_confident", allow_abstain=True)
    combiner.add(first, 1.0, lambda proba: np.ones(len(proba)))
    combined = combiner.add(second, 1.0, lambda proba: np.ones(len(proba)))
    assert_array_equal(combined, [[0.6, 0.4], [0.3, 0.7]])


def test_confidences_known_already_decide():
    """Check that arrays take the place of a rule."""
    first, second = np.array([[0.9, 0.1]] * 2), np.array([[0.2, 0.8]] * 2)
    combiner = ProbaCombiner("most_confident")
    combiner.add(first, 1.0, np.array([0.5, 0.5]))
    assert_array_equal(combiner.add(second, 1.0, np.array([0.4, 0.6])), [[0.9, 0.1], [0.2, 0.8]])
    assert_array_equal(combiner.confidence(None), [0.5, 0.6])


@pytest.mark.parametrize("combine", ["mean", "last", "most_confident"])
def test_copy_goes_on_as_the_combiner_would(combine):
    """Check that what is added to a copy leaves the original alone, remembered outputs too."""
    rng = np.random.default_rng(0)
    probas = rng.dirichlet(np.ones(3), size=(3, 5))
    original = ProbaCombiner(combine, remember=True)
    original.add(probas[0], 1.0, "max_proba")
    other = original.copy()
    other.add(probas[1], 1.0, "max_proba")
    assert original.previous_outputs() == []
    straight = ProbaCombiner(combine, remember=True)
    for proba in (probas[0], probas[2]):
        straight.add(proba, 1.0, "max_proba")
    assert_array_equal(original.add(probas[2], 1.0, "max_proba"), straight.proba)
    assert (
        len(original.previous_outputs())
        == len(straight.previous_outputs())
        == 2 - (combine != "mean")
    )


@pytest.mark.parametrize("combine", ["last", "most_confident"])
def test_labels_combine_as_their_probabilities_do(combine):
    """Check labels with confidences against the probabilities they come from."""
    rng = np.random.default_rng(1)
    combiner, labels = ProbaCombiner(combine), LabelCombiner(combine)
    for proba in rng.dirichlet(np.ones(4), size=(4, 50)):
        combined = combiner.add(proba, 1.0, "max_proba")
        label = labels.add((proba.max(axis=1), proba.argmax(axis=1)))
        assert_array_equal(label, combined.argmax(axis=1))
        assert_array_equal(labels.confidence(), combiner.confidence("max_proba"))


def test_learned_confidence_of_labels_uses_previous_outputs():
    """Check a learned confidence of labels against the formula, and a copy of them."""
    weights = np.array([0.3, -1.0, 2.0, 0.7, 0.1, -0.4, 0.0])
    second = ConfidenceModel(np.eye(3), weights, 0.2)
    confidence, label = np.array([[0.6, 0.8], [0.7, 0.9]]), np.array([[0, 1], [0, 2]])
    combiner = LabelCombiner("last")
    combiner.add((confidence[0], label[0]))
    other = combiner.copy()
    other.add((confidence[1], label[1]), None, second)
    odds, raw = pair_columns(confidence[1])
    features = np.column_stack([odds, raw, confidence[0], [1.0, 0.0], np.eye(3)[label[1]]])
    expected = 1 / (1 + np.exp(-(features @ weights + 0.2)))
    np.testing.assert_allclose(other.confidence(), expected, rtol=1e-14)
    assert_array_equal(combiner.label, label[0])
