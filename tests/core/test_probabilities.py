"""Tests of what is accepted as a matrix of class probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from sklearn_cascade.core._probabilities import abstentions, check_proba
from sklearn_cascade.exceptions import InvalidProbabilitiesError
from tests.strategies import probabilities

GOOD = [0.25, 0.75]

# What is wrong, the output, the number of rows expected, the message.
BAD = [
    ("three columns", [[0.2, 0.3, 0.5]], 1, r"has shape \(1, 3\); expected \(1, 2\)"),
    ("one column", [[1.0]], 1, r"has shape \(1, 1\)"),
    ("flat", [0.5, 0.5], 1, r"has shape \(2,\)"),
    ("no rows", np.empty((0, 2)), 1, r"has shape \(0, 2\); expected \(1, 2\)"),
    ("too many rows", [GOOD, GOOD], 1, r"has shape \(2, 2\)"),
    ("three-dimensional", [[[0.5], [0.5]]], 1, r"has shape \(1, 2, 1\)"),
    ("nothing", None, 1, r"has dtype object"),
    ("partly NaN", [GOOD, [np.nan, 1.0]], 2, r"is partly NaN in row 1: \[nan +1\.\]"),
    ("one row partly NaN", [[1.0, np.nan]], 1, r"is partly NaN in row 0"),
    ("negative", [GOOD, [-0.1, 1.1]], 2, r"is negative in row 1: .* logits, apply a softmax"),
    ("one row negative", [[-0.1, 1.1]], 1, r"is negative in row 0"),
    ("logits", [GOOD, [2.0, 3.0]], 2, r"sums to 5 in row 1: .* logits, apply a softmax"),
    ("sigmoids", [GOOD, [0.2, 0.4]], 2, r"sums to 0\.6 in row 1"),
    ("just too much", [[0.5, 0.521]], 1, r"sums to 1\.021 in row 0"),
    ("just too little", [[0.5, 0.479]], 1, r"sums to 0\.979 in row 0"),
    ("zeros", [GOOD, [0.0, 0.0]], 2, r"sums to 0 in row 1"),
    ("infinite", [GOOD, [np.inf, 0.0]], 2, r"sums to inf in row 1"),
    ("negative infinite", [GOOD, [-np.inf, 0.0]], 2, r"is negative in row 1"),
    ("both infinite", [GOOD, [np.inf, -np.inf]], 2, r"in row 1: \[ *inf +-inf\]"),
    ("one row infinite", [[np.inf, -np.inf]], 1, r"in row 0: \[ *inf +-inf\]"),
    ("beyond doubles", [[1e308, 1e308]], 1, r"in row 0: \[1\.e\+308 1\.e\+308\]"),
    ("text", [["0.5", "0.5"]], 1, r"has dtype <U3"),
    ("complex", [[0.5 + 0j, 0.5]], 1, r"has dtype complex128"),
    ("objects", np.array([GOOD], dtype=object), 1, r"has dtype object"),
    ("ragged", [[0.5, 0.5], [1.0]], 2, r"is not an array"),
]


@pytest.mark.parametrize("allow_abstain", [False, True])
@pytest.mark.parametrize(
    ("output", "n_samples", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_outputs_are_refused_by_name(output, n_samples, message, allow_abstain):
    """Check that each kind of bad output raises an error that names the member and the cause."""
    with pytest.raises(InvalidProbabilitiesError, match=message) as caught:
        check_proba(output, n_samples, 2, member="net", allow_abstain=allow_abstain)
    assert caught.value.member == "net"
    assert str(caught.value).startswith("predict_proba of 'net' ")


@pytest.mark.parametrize("others", [[], [GOOD], [[0.25, 0.74]]])
def test_rows_of_nan_are_refused_with_the_way_out(others):
    """Check that rows of NaN are an error that counts them and mentions allow_abstain."""
    output = np.array([*others, [np.nan] * 2, [np.nan] * 2])
    message = rf"is NaN in 2 rows, the first of them row {len(others)}; .*allow_abstain=True"
    with pytest.raises(InvalidProbabilitiesError, match=message):
        check_proba(output, len(output), 2, member="net")


@given(proba=probabilities())
@settings(max_examples=40, deadline=None)
def test_good_outputs_come_back_as_the_same_object(proba):
    """Check that probabilities in order are neither copied nor touched."""
    before = proba.copy()
    proba.flags.writeable = False
    for n_samples in (1, len(proba)):
        part = proba[:n_samples]
        assert check_proba(part, n_samples, proba.shape[1], member="net") is part
    np.testing.assert_array_equal(proba, before)


@pytest.mark.parametrize("n_copies", [1, 3])
@pytest.mark.parametrize(
    "row", [[0.5, 0.519], [0.5, 0.481], [0.999, 2e-6], [1.0, -1e-6], [1 + 1e-6, -1e-6]]
)
def test_small_misses_are_rescaled(row, n_copies):
    """Check that rows within 0.02 of one come back summing to one, proportions kept."""
    given_rows = np.array([row] * n_copies)
    before = given_rows.copy()
    given_rows.flags.writeable = False
    proba = check_proba(given_rows, n_copies, 2, member="net")
    expected = np.maximum(before, 0.0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(proba, expected, rtol=1e-15)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    assert (proba >= 0).all()
    np.testing.assert_array_equal(given_rows, before)


@pytest.mark.parametrize("off", [5e-7, -5e-7])
def test_misses_of_single_precision_are_left_alone(off):
    """Check that rows which miss one by rounding of float32 stay equal to the member's."""
    proba = np.array([[0.5, 0.5 + off], GOOD])
    assert check_proba(proba, 2, 2, member="net") is proba
    assert check_proba(proba[:1], 1, 2, member="net")[0, 1] == 0.5 + off


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_half_and_single_precision_become_double(dtype):
    """Check that narrow floats are widened, and rescaled where they miss one by more."""
    rng = np.random.default_rng(0)
    exact = rng.dirichlet(np.ones(50), size=20)
    proba = check_proba(exact.astype(dtype), 20, 50, member="net")
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=0, atol=1e-6)
    # Half precision keeps eleven bits, single twenty-four.
    np.testing.assert_allclose(proba, exact, rtol=2 * np.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize(
    "output", [[[0, 1], [1, 0]], [[False, True], [True, False]], [[0.0, 1.0], [1.0, 0.0]]]
)
def test_lists_integers_and_booleans_are_probabilities(output):
    """Check that anything numeric that sums to one is taken, as doubles."""
    proba = check_proba(output, 2, 2, member="net")
    assert proba.dtype == np.float64
    assert proba.tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("others", [[[0.25, 0.75]], [[0.25, 0.74]], []])
def test_abstentions_pass_where_they_are_allowed(others):
    """Check that rows of NaN survive, beside exact rows, beside rescaled ones, and alone."""
    output = np.array([[np.nan, np.nan], *others])
    proba = check_proba(output, len(output), 2, member="net", allow_abstain=True)
    assert np.isnan(proba[0]).all()
    np.testing.assert_allclose(proba[1:].sum(axis=1), 1.0, rtol=1e-15)
    assert abstentions(proba).tolist() == [True] + [False] * len(others)


def test_no_abstentions_are_none():
    """Check that a matrix without rows of NaN needs no mask."""
    assert abstentions(np.array([GOOD])) is None


def test_no_rows_are_fine_in_the_right_width():
    """Check that an empty output passes, and that its width still counts."""
    empty = np.empty((0, 3))
    assert check_proba(empty, 0, 3, member="net") is empty
    with pytest.raises(InvalidProbabilitiesError, match=r"has shape \(0, 3\); expected \(0, 2\)"):
        check_proba(empty, 0, 2, member="net")


def test_row_that_is_off_leaves_its_batch_alone():
    """Check that a row within rounding is the same alone and beside one that is rescaled."""
    rows = np.array([[0.5, 0.5 + 9e-7], [0.5, 0.51]])
    together = check_proba(rows, 2, 2, member="net")
    alone = [check_proba(rows[[i]], 1, 2, member="net")[0] for i in range(2)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[0], rows[0])
