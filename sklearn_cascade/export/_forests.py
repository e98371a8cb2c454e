"""Forests that count votes: whole numbers add up exactly in float32, shares of them do not."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from sklearn_cascade.export._binding import Member
from sklearn_cascade.export._packages import package

# Shares are stored in float32, so that n of them miss a whole number by this much.
_ROUNDING = 2e-7


def with_whole_votes(member: Member, estimator) -> Member:
    """Return a member whose forest, if it ends in one, adds up votes and divides once.

    A converted forest adds n-ths. Full-grown trees vote with whole numbers, whose sum is exact:
    confidences then meet a typed threshold as in Python, and even votes stay even.
    """
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    if type(estimator) not in (RandomForestClassifier, ExtraTreesClassifier):
        return member
    node = _producer(member)
    n_trees = len(estimator.estimators_)
    if node is None or node.op_type != "TreeEnsembleClassifier":
        return member
    for attribute in node.attribute:
        if attribute.name == "class_weights":
            attribute.floats[:] = _votes(np.array(attribute.floats), n_trees)
        elif attribute.name == "class_weights_as_tensor":
            helper = package("onnx").numpy_helper
            votes = _votes(helper.to_array(attribute.t), n_trees)
            attribute.t.CopyFrom(helper.from_array(votes, attribute.t.name))
    binary = len(estimator.classes_) == 2
    reading = member.reading._replace(n_votes=n_trees, positive_votes=binary)
    return member._replace(reading=reading, output=node.output[1])


def _producer(member: Member):
    """Return the node behind a member's answer."""
    producers = {name: node for node in member.model.graph.node for name in node.output if name}
    node = producers.get(member.output)
    while node is not None and node.op_type in ("Identity", "Cast"):
        node = producers.get(node.input[0])
    return node


def _votes(shares: np.ndarray, n_trees: int) -> np.ndarray:
    """Return shares of all trees as votes of one, whole ones whole."""
    votes = shares.astype(np.float64) * n_trees
    whole = np.round(votes)
    votes = np.where(np.abs(votes - whole) <= _ROUNDING, whole, votes)
    return votes.astype(shares.dtype if shares.dtype == np.float64 else np.float32)
