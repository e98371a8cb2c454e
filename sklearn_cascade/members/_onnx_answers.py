"""From an ONNX session's answers to probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from sklearn_cascade.exceptions import InvalidProbabilitiesError
from sklearn_cascade.members._prefit import both_columns
from sklearn_cascade.rules import check_proba


class Reader:
    """Turns the answer of one output into probabilities, one column per class.

    Parameters
    ----------
    n_classes : int
        Number of columns.
    keys : list or None
        Keys of the dicts, in the order of the columns, where rows are answered by dicts.
    softmax : bool
        Whether the answers are logits.
    member : str
        The classifier in errors.
    """

    def __init__(self, n_classes: int, keys: Sequence | None, softmax: bool, member: str) -> None:
        self.n_classes = n_classes
        self.keys = keys
        self.softmax = softmax
        self.member = member

    def __call__(self, answer, n_samples: int, *, allow_abstain: bool) -> np.ndarray:
        """Return the probabilities as float64 of shape (n_samples, n_classes)."""
        scores = as_matrix(answer, self.keys)
        if self.softmax:
            scores = self._normalised(scores)
        try:
            proba = both_columns(scores, n_samples, self.n_classes, self.member)
            return check_proba(
                proba, n_samples, self.n_classes, member=self.member, allow_abstain=allow_abstain
            )
        except InvalidProbabilitiesError as error:
            if self.softmax or "logits" not in error.problem:
                raise
            hint = f"{error.problem}; OnnxClassifier does so with softmax=True"
            raise InvalidProbabilitiesError(self.member, hint) from None

    def _normalised(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax of logits, or the sigmoid of a single column of them."""
        logits = logits.astype(np.float64)
        if logits.ndim == 1 or logits.shape[1] == 1:
            return expit(logits)
        if not logits.size:
            return logits
        # Infinite logits make NaN, which the check reports.
        with np.errstate(invalid="ignore"):
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            return powers / powers.sum(axis=1, keepdims=True)


def as_matrix(answer, keys: Sequence | None) -> np.ndarray:
    """Return an answer as an array of one or two axes, dicts by the order of the keys."""
    if isinstance(answer, list):
        try:
            return np.array([[row[key] for key in keys] for row in answer], dtype=np.float64)
        except (KeyError, TypeError):
            return np.empty((len(answer), 0))
    if answer.ndim > 2 and answer.size == answer.shape[0] * answer.shape[1]:
        return answer.reshape(answer.shape[:2])
    return answer
