"""What counts as a matrix of class probabilities."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.exceptions import InvalidProbabilitiesError

# Row sums this far from one are left alone: float32 rounding, and equality with the member.
_EXACT = 1e-6
# Farther than this is no rounding, whatever the precision of the net.
_TOLERATED = 0.02
# Forests and softmaxes in float32 dip this far below zero.
ROUNDING = 1e-5


def check_proba(
    proba: np.ndarray,
    n_samples: int,
    n_classes: int,
    *,
    member: str,
    allow_abstain: bool = False,
    first_row: int = 0,
) -> np.ndarray:
    """Return the probabilities of one member as float64, or raise naming the member.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        What the member answered.
    n_samples, n_classes : int
        The shape it has to have.
    member : str
        Name for the error.
    allow_abstain : bool, default=False
        Accept rows that are NaN throughout.
    first_row : int, default=0
        Number of the first row in the errors, where these are some of many.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        The same array where it is in order, else rescaled to rows that sum to one.

    Raises
    ------
    InvalidProbabilitiesError
        For another shape, anything that is not a number, negative values, rows that miss one
        by more than 0.02, or NaN other than in rows that abstain where that is allowed.
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
    # NaN fails every comparison, so one look settles the usual case.
    if (
        np.minimum.reduce(proba, axis=None) >= 0
        and np.maximum.reduce(sums) - 1.0 <= _EXACT
        and 1.0 - np.minimum.reduce(sums) <= _EXACT
    ):
        return proba
    return _mend(proba, sums, member, allow_abstain, first_row)


def abstentions(proba: np.ndarray) -> np.ndarray | None:
    """Return the mask of the checked rows that are NaN (n_samples,), or None if there is none."""
    silent = np.isnan(proba[:, 0])
    return silent if silent.any() else None


def _is_plain_row(row: list[float]) -> bool:
    """Tell whether a single row needs no mending; for one row, lists are faster than arrays."""
    return min(row) >= 0 and abs(sum(row) - 1.0) <= _EXACT


def _as_floats(proba, member: str) -> np.ndarray:
    """Convert to float64, refusing text, complex numbers and ragged lists by name."""
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


def _mend(
    proba: np.ndarray, sums: np.ndarray, member: str, allow_abstain: bool, first_row: int
) -> np.ndarray:
    """Rescale rows that are a little off; raise for the others."""
    missing = np.isnan(proba)
    silent = missing.all(axis=1)
    if (missing.any(axis=1) & ~silent).any():
        row = int(np.flatnonzero(missing.any(axis=1) & ~silent)[0])
        where = f"in row {first_row + row}: {proba[row]}"
        raise InvalidProbabilitiesError(member, f"is partly NaN {where}; expected probabilities")
    if silent.any() and not allow_abstain:
        raise InvalidProbabilitiesError(
            member,
            f"is NaN in {int(silent.sum())} rows, the first of them row "
            f"{first_row + int(silent.argmax())}; expected probabilities (allow_abstain=True lets "
            f'a member say "don\'t know" this way)',
        )
    _refuse_logits(proba, sums, member, first_row)
    clipped = np.maximum(proba, 0.0)
    sums = clipped.sum(axis=1)
    # Rows in order stay as they are, whatever the batch they come in.
    off = (np.abs(sums - 1.0) > _EXACT) | (proba < 0).any(axis=1)
    clipped[off] /= sums[off, None]
    return clipped


def _refuse_logits(proba: np.ndarray, sums: np.ndarray, member: str, first_row: int) -> None:
    """Raise for values below zero and for sums away from one, with the likely cause."""
    hint = "if these are logits, apply a softmax (or a sigmoid) first"
    with np.errstate(invalid="ignore"):
        negative = (proba < -ROUNDING).any(axis=1)
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
