"""Tests of the features and the confidence of a confidence model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cascade.core._combination import ProbaCombiner
from sklearn_cascade.core._learned_confidence import (
    ConfidenceModel,
    class_table,
    confidence_features,
    proba_columns,
)
from tests.strategies import probabilities

PROBA = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
OTHER = (np.array([0.6, 0.9]), np.array([1, 2]))


def features(proba, previous, table):
    """Return the features of some probabilities."""
    return confidence_features(proba_columns(proba), proba.argmax(axis=1), previous, table)


def test_features_are_those_of_the_docstring():
    """Check the features of two rows by hand: odds, top three, margin, entropy, others, class."""
    found = features(PROBA, [OTHER], np.eye(3))
    entropy = -(PROBA * np.log(PROBA)).sum(axis=1) / np.log(3)
    expected = [
        [0.0, 0.5, 0.3, 0.2, 0.2, entropy[0], 0.6, 0.0, 1.0, 0.0, 0.0],
        [np.log(4), 0.8, 0.1, 0.1, 0.7, entropy[1], 0.9, 1.0, 0.0, 0.0, 1.0],
    ]
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_features_of_two_classes_and_of_certainty_are_finite():
    """Check that certain rows of two classes give finite numbers, and two top probabilities."""
    found = features(np.array([[1.0, 0.0], [0.5, 0.5]]), [], np.eye(2))
    assert found.shape == (2, 7)
    assert np.isfinite(found).all()


@settings(max_examples=40, deadline=None)
@given(probabilities())
def test_features_of_a_row_do_not_depend_on_the_batch(proba):
    """Check that each row alone has the features that it has in a batch."""
    together = features(proba, [], np.eye(proba.shape[1]))
    alone = [features(row[None], [], np.eye(proba.shape[1]))[0] for row in proba]
    assert_array_equal(together, np.array(alone).reshape(together.shape))


def test_many_classes_are_described_by_their_share_of_correct_predictions():
    """Check the smoothed share of each class, by weight, shrunk towards the share of all rows."""
    label, correct = np.array([0, 0, 1]), np.array([True, False, True])
    weight = np.array([1.0, 1.0, 2.0])
    found = class_table(label, correct, weight, 30)
    # Weights as shares of their mean, 4/3; ten rows of the overall share, 3/4.
    scaled = weight * 3 / 4
    expected = np.full(30, 0.75)
    expected[0] = (scaled[0] + 7.5) / (scaled[:2].sum() + 10)
    expected[1] = (scaled[2] + 7.5) / (scaled[2] + 10)
    assert_allclose(found[:, 0], expected)
    assert_array_equal(class_table(label, correct, weight, 20), np.eye(20))


@pytest.mark.parametrize(("combine", "others"), [("mean", [0, 2]), ("last", [0, 1])])
def test_combiner_remembers_the_outputs_of_each_stage(combine, others):
    """Check that a stage's own output is returned where it is not the combination so far."""
    combiner = ProbaCombiner(combine, remember=True)
    counts = []
    for proba in (PROBA, PROBA[::-1].copy()):
        combiner.add(proba)
        counts.append(len(combiner.previous_outputs()))
    assert counts == others
    combiner.take(np.array([1]))
    top, label = combiner.previous_outputs()[0]
    assert_array_equal(top, [0.8])
    assert_array_equal(label, [2])


def test_confidence_model_is_a_logistic_function_of_the_features():
    """Check the confidence after a stage against the formula, through a combiner too."""
    weights = np.linspace(-1, 1, 9)
    stage = ConfidenceModel(np.eye(3), weights, 0.3)
    expected = 1 / (1 + np.exp(-(features(PROBA, [], np.eye(3)) @ weights + 0.3)))
    assert_allclose(stage(PROBA, []), expected)
    combiner = ProbaCombiner("mean", remember=True)
    combiner.add(PROBA)
    assert_array_equal(combiner.confidence(stage), stage(PROBA, []))
