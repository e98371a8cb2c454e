"""What is accepted as a matrix of class probabilities, and which rows abstain."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_cascade.exceptions import InvalidProbabilitiesError

# Row sums this close to one are not rescaled: it is float32 rounding, and rows stay equal to
# those of the member.
_EXACT = 1e-6
# Farther from one than this is not rounding, whatever the precision of the net.
_TOLERATED = 0.02
# Forests and softmaxes in float32 can be this far below zero.
NEGATIVE_TOLERANCE = 1e-5


def check_proba(
    proba: Any,
    n_samples: int,
    n_classes: int,
    *,
    member: str,
    allow_abstain: bool = False,
    first_row: int = 0,
) -> np.ndarray:
    """Return one member's probabilities as float64 (n_samples, n_classes), or raise naming it.

    The array itself where it is in order, else a copy whose rows sum to one. An error for another
    shape, anything that is not a number, negative values, row sums that miss one by more than
    0.02, and NaN, except in rows that are NaN throughout where `allow_abstain` accepts them. The
    errors count rows from `first_row`, where these are some of many.
    """
    proba = _as_floats(proba, member)
    if proba.shape != (n_samples, n_classes):
        raise InvalidProbabilitiesError(
            member,
            f"has shape {proba.shape}; expected ({n_samples}, {n_classes}): one row per row of X "
            f"and one column per class",
        )
    if n_samples == 0 or (n_samples == 1 and _is_plain_row(proba[0].tolist())):
        return proba
    with np.errstate(invalid="ignore", over="ignore"):
        # A product sums short rows several times faster than a reduction along them.
        sums = proba @ np.ones(n_classes)
    # NaN fails every comparison, so this one check is enough in the usual case.
    if (
        np.minimum.reduce(proba, axis=None) >= 0
        and np.maximum.reduce(sums) - 1.0 <= _EXACT
        and 1.0 - np.minimum.reduce(sums) <= _EXACT
    ):
        return proba
    return _rescale(proba, sums, member, allow_abstain, first_row)


def abstentions(proba: np.ndarray) -> np.ndarray | None:
    """Return which rows of checked probabilities are NaN (n_samples,), or None if none is."""
    abstains = np.isnan(proba[:, 0])
    return abstains if abstains.any() else None


def _as_floats(proba: Any, member: str) -> np.ndarray:
    """Convert to float64; raise for text, complex numbers and ragged lists, naming the member."""
    if type(proba) is np.ndarray and proba.dtype == np.float64:
        return proba
    try:
        proba = np.asarray(proba)
    except Exception as error:
        raise InvalidProbabilitiesError(member, f"is not an array: {error}") from error
    if proba.dtype.kind not in "fiub":
        raise InvalidProbabilitiesError(
            member, f"has dtype {proba.dtype}; expected floating-point probabilities"
        )
    return proba.astype(np.float64, copy=False)


def _is_plain_row(row: list[float]) -> bool:
    """Return whether a single row is in order; for one row, lists are faster than arrays."""
    return min(row) >= 0 and abs(sum(row) - 1.0) <= _EXACT


def _rescale(
    proba: np.ndarray, sums: np.ndarray, member: str, allow_abstain: bool, first_row: int
) -> np.ndarray:
    """Rescale the rows whose sum is a little off; raise where it is far off."""
    missing = np.isnan(proba)
    abstains = missing.all(axis=1)
    if (missing.any(axis=1) & ~abstains).any():
        row = int(np.flatnonzero(missing.any(axis=1) & ~abstains)[0])
        where = f"in row {first_row + row}: {proba[row]}"
        raise InvalidProbabilitiesError(member, f"is partly NaN {where}; expected probabilities")
    if abstains.any() and not allow_abstain:
        raise InvalidProbabilitiesError(
            member,
            f"is NaN in {int(abstains.sum())} rows, the first of them row "
            f"{first_row + int(abstains.argmax())}; expected probabilities (with "
            f"allow_abstain=True such a row means that the member abstains)",
        )
    _refuse_logits(proba, sums, member, first_row)
    clipped = np.maximum(proba, 0.0)
    sums = clipped.sum(axis=1)
    # Rows in order stay as they are, whichever batch they come in.
    off = (np.abs(sums - 1.0) > _EXACT) | (proba < 0).any(axis=1)
    clipped[off] /= sums[off, None]
    return clipped


def _refuse_logits(proba: np.ndarray, sums: np.ndarray, member: str, first_row: int) -> None:
    """Raise for values below zero and for sums far from one, with the likely cause."""
    hint = "if these are logits, apply a softmax (or a sigmoid) first"
    with np.errstate(invalid="ignore"):
        negative = (proba < -NEGATIVE_TOLERANCE).any(axis=1)
        off = ~(np.abs(sums - 1.0) <= _TOLERATED) & ~np.isnan(sums)
    if negative.any():
        row = int(negative.argmax())
        raise InvalidProbabilitiesError(
            member,
            f"is negative in row {first_row + row}: {proba[row]}; expected probabilities, {hint}",
        )
    if off.any():
        row = int(off.argmax())
        raise InvalidProbabilitiesError(
            member,
            f"sums to {sums[row]:.6g} in row {first_row + row}: {proba[row]}; expected rows that "
            f"sum to one (within {_TOLERATED}), {hint}",
        )
