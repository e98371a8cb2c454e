"""Learners of a confidence, other than a logistic regression, to graphs."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.exceptions import ConversionError, UnconvertibleMemberError
from sklearn_cascade.export._binding import Member, Source, elem_type_of
from sklearn_cascade.export._blueprint import Blueprint
from sklearn_cascade.export._learned import n_features_of
from sklearn_cascade.export._members import Target, empty_member, sklearn_member, unwrapped


def learners_of(committee, blueprint: Blueprint, target: Target) -> list[Member | None]:
    """Return the graph of the learner after each stage; None where there is none to convert.

    Raises
    ------
    ConversionError
        If a learner does not convert.
    """
    graphs: list[Member | None] = [None] * len(blueprint.stages)
    for k, confidence in enumerate(blueprint.confidences):
        learned = confidence.learned
        if learned is None or learned.model is None or not blueprint.judges(k):
            continue
        width = n_features_of(learned, len(blueprint.classes), blueprint.n_said(k))
        try:
            graphs[k] = _graph_of(learned.model, width, blueprint.stages[k], target)
        except UnconvertibleMemberError as error:
            raise ConversionError(
                f"confidence={committee.confidence!r} cannot be exported: the learner after stage "
                f"{k} {blueprint.stages[k].name!r} ({error.kind}): {error.problem}; expected a "
                f"learner that converts, or confidence='learned'"
            ) from error
    return graphs


def _graph_of(model, n_features: int, stage, target: Target) -> Member:
    """Return a learner as a graph that reads one matrix."""
    empty = empty_member(stage, 2)._replace(kind=type(model).__name__, columns=None)
    # In float64 where its operators can: what it reads is so.
    source = Source("features", "features", elem_type_of(np.float64), (None, n_features))
    return sklearn_member(empty, unwrapped(model), target._replace(sources=[source], options={}))
