"""A fitted committee to graphs of its members, whoever asks for it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from sklearn_cascade.exceptions import ConversionError
from sklearn_cascade.export._binding import Source
from sklearn_cascade.export._blueprint import blueprint_of, counts
from sklearn_cascade.export._foreign import foreign_member, foreign_opset
from sklearn_cascade.export._learners import learners_of
from sklearn_cascade.export._members import (
    Target,
    empty_member,
    is_foreign,
    member_estimator,
    sklearn_member,
)
from sklearn_cascade.export._models import Built
from sklearn_cascade.export._packages import LOWEST_OPSET, settle_opset

_recorded: ContextVar[list | None] = ContextVar("recorded", default=None)


@contextmanager
def recording():
    """Collect what is built for as long as this lasts."""
    built: list[Built] = []
    token = _recorded.set(built)
    try:
        yield built
    finally:
        _recorded.reset(token)


def build(committee, sources: list[Source], target: Target) -> Built:
    """Return a committee whose members have become graphs.

    Raises
    ------
    ConversionError
        If the committee does what no graph can, or a member or a learner does not convert.
    """
    blueprint = blueprint_of(committee)
    members = []
    for k, stage in enumerate(blueprint.stages):
        if not counts(blueprint, k):
            members.append(None)
            continue
        empty, model = empty_member(stage, len(blueprint.classes)), member_estimator(stage)
        if is_foreign(model):
            members.append(foreign_member(empty, model, sources, target.foreign_opset))
        else:
            members.append(sklearn_member(empty, model, target))
    learners = learners_of(committee, blueprint, target)
    built = Built(committee, blueprint, members, learners, sources)
    if _recorded.get() is not None:
        _recorded.get().append(built)
    return built


def build_alone(committee, sources: list[Source], target_opset) -> Built:
    """Return a committee for a file of its own, in which nets may be newer than skl2onnx."""
    models = [member_estimator(stage) for stage in committee._stages]
    foreign = [model for model in models if is_foreign(model)]
    newest = max([LOWEST_OPSET, *map(foreign_opset, foreign)])
    if len(foreign) == len(models):
        wanted = target_opset.get("") if isinstance(target_opset, dict) else target_opset
        if wanted is not None and wanted < newest:
            raise ConversionError(
                f"target_opset={target_opset!r}; expected at least {newest}: the routing needs "
                f"{LOWEST_OPSET}, and nets are not brought to an older version than their own"
            )
        newest = max(newest, wanted or 0)
        opsets = {"": newest}
    else:
        opsets = settle_opset(target_opset)
        newest = max(newest, opsets[""])
    return build(committee, sources, Target(sources, opsets, newest, {}))
