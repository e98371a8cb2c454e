"""Tests of the confidences: probabilities in, the confidence of each row out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from sklearn_cascade.core import _confidence
from sklearn_cascade.core._confidence import CONFIDENCES, compute_confidence
from sklearn_cascade.core._thresholds import exits
from tests.strategies import probabilities

NAMES = sorted(CONFIDENCES)


def spread_rows(n_samples=50, n_classes=4, seed=0):
    """Return rows of random probabilities, none of them uniform or certain."""
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), size=n_samples)


def test_named_confidences_are_the_three_documented():
    """Check that the names a user may type are exactly the documented ones."""
    assert NAMES == ["entropy", "margin", "max_proba"]


@pytest.mark.parametrize("name", NAMES)
@given(proba=probabilities())
@settings(max_examples=40, deadline=None)
def test_confidence_lies_between_zero_and_one(name, proba):
    """Check that each named confidence stays in [0, 1] without any slack for rounding."""
    values = compute_confidence(proba, name)
    assert values.shape == (len(proba),)
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_confidence_at_its_ends(n_classes):
    """Check that uniform rows are least confident and that certain rows have a confidence of 1."""
    uniform = np.full((2, n_classes), 1 / n_classes)
    certain = np.eye(n_classes)
    lowest = {"max_proba": 1 / n_classes, "margin": 0.0, "entropy": 0.0}
    for name in NAMES:
        # Rounding of 1 / n_classes reaches the entropy through a sum of n_classes terms.
        np.testing.assert_allclose(compute_confidence(uniform, name), lowest[name], atol=1e-15)
        np.testing.assert_array_equal(compute_confidence(certain, name), 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_uniform_rows_never_fall_below_zero(name):
    """Check that rounding of uniform rows, whatever their width, stays inside [0, 1]."""
    for n_classes in range(2, 100):
        value = compute_confidence(np.full((1, n_classes), 1 / n_classes), name)[0]
        assert 0 <= value <= 1


def test_confidence_of_a_known_row():
    """Check the three formulas on a row computed by other means."""
    proba = np.array([[0.2, 0.5, 0.3]])
    # Three terms of double precision.
    assert compute_confidence(proba, "max_proba") == 0.5
    assert compute_confidence(proba, "margin") == pytest.approx(0.2, abs=1e-15)
    expected = 1 - entropy(proba[0], base=3)
    assert compute_confidence(proba, "entropy") == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_confidence_falls_when_a_row_is_blurred(name):
    """Check that mixing a row with the uniform one lowers each confidence."""
    proba = spread_rows()
    blurred = 0.8 * proba + 0.2 / proba.shape[1]
    assert (compute_confidence(blurred, name) < compute_confidence(proba, name)).all()


@given(
    thousandths=st.lists(st.integers(500, 1000), min_size=2, max_size=30, unique=True),
    flip=st.lists(st.booleans(), min_size=30, max_size=30),
)
@settings(max_examples=40, deadline=None)
def test_binary_confidences_order_rows_alike(thousandths, flip):
    """Check that with two classes all confidences rank the rows the same, hence cut alike."""
    top = np.array(thousandths) / 1000
    proba = np.stack([top, 1 - top], axis=1)
    proba[flip[: len(top)]] = proba[flip[: len(top)]][:, ::-1]
    expected = np.argsort(top)
    for name in NAMES:
        np.testing.assert_array_equal(np.argsort(compute_confidence(proba, name)), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_confidence_by_blocks_equals_one_pass(name, n_classes, monkeypatch):
    """Check that cutting the rows into small blocks, the last one short, changes no value."""
    proba = spread_rows(n_classes=n_classes)
    at_once = compute_confidence(proba, name)
    monkeypatch.setattr(_confidence, "_BLOCK_SIZE", 3 * n_classes + 1)
    blocked = compute_confidence(proba, name)
    # A block of one row may be summed in another order.
    np.testing.assert_allclose(blocked, at_once, rtol=0, atol=1e-15)


def test_confidence_of_many_classes_works_by_single_rows(monkeypatch):
    """Check that rows longer than a block are still looked at, one by one."""
    monkeypatch.setattr(_confidence, "_BLOCK_SIZE", 2)
    proba = spread_rows(n_samples=5, n_classes=6)
    top = np.sort(proba, axis=1)
    margin = compute_confidence(proba, "margin")
    np.testing.assert_array_equal(margin, top[:, -1] - top[:, -2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_confidence_reads_any_layout_and_writes_to_none(name, n_classes):
    """Check that column-major, strided and read-only arrays give the values of a plain one."""
    proba = spread_rows(n_classes=n_classes)
    expected = compute_confidence(proba.copy(), name)
    strided = np.repeat(proba, 2, axis=1)[:, ::2]
    for layout in (proba, np.asfortranarray(proba), strided):
        before = layout.copy()
        layout.flags.writeable = False
        # The order of summation follows the layout.
        np.testing.assert_allclose(compute_confidence(layout, name), expected, atol=1e-15)
        np.testing.assert_array_equal(layout, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_row_of_nan_has_no_confidence(name, n_classes):
    """Check that a row of NaN is NaN, quietly, and leaves its neighbours alone."""
    proba = spread_rows(n_samples=4, n_classes=n_classes)
    expected = compute_confidence(proba, name)
    expected[[0, 2]] = np.nan
    proba[[0, 2]] = np.nan
    np.testing.assert_allclose(compute_confidence(proba, name), expected, atol=1e-15)


def test_callable_confidence_is_taken_as_it_is():
    """Check that a function of the probabilities is called on all rows and its values are kept."""
    proba = spread_rows(n_samples=3, n_classes=3)
    values = compute_confidence(proba, lambda p: list(10 * p[:, 1]))
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, 10 * proba[:, 1])


@pytest.mark.parametrize(
    "function",
    [
        lambda proba: 0.5,
        lambda proba: proba,
        lambda proba: proba[:, :1],
        lambda proba: proba[1:, 0],
    ],
    ids=["scalar", "matrix", "column", "short"],
)
def test_callable_of_another_shape_is_refused(function):
    """Check that a function that returns anything but one number per row is an error."""
    with pytest.raises(ValueError, match=r"one number per row: \(3,\)"):
        compute_confidence(spread_rows(n_samples=3), function)


def test_callable_of_infinities_keeps_never_and_always():
    """Check that not even infinite confidence exits at infinity, and that NaN never exits."""
    confidence = np.array([np.inf, 1.0, -np.inf, np.nan])
    values = compute_confidence(spread_rows(n_samples=4), lambda proba: confidence)
    assert exits(values, np.inf).tolist() == [False, False, False, False]
    assert exits(values, 1e300).tolist() == [True, False, False, False]
    assert exits(values, -np.inf).tolist() == [True, True, True, False]
    assert confidence[0] == np.inf
