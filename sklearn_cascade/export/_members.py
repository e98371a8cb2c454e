"""One member of a committee to one graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade.exceptions import ConversionError, UnconvertibleMemberError
from sklearn_cascade.export._binding import Member, Reading, Source, elem_type_of, refuse_mixture
from sklearn_cascade.export._forests import with_whole_votes
from sklearn_cascade.export._graph import cut_to_output
from sklearn_cascade.export._hints import reason_for
from sklearn_cascade.export._models import model_alone
from sklearn_cascade.export._packages import newest_runnable_opset, open_session, package
from sklearn_cascade.export._preparation import parts_of, prepare, selects_by_name
from sklearn_cascade.members import EnsemblePart, OnnxClassifier, PrefitClassifier, first_line

# They look at float32 whatever they are given, and so has their graph.
_ROUNDING = (
    RandomForestClassifier,
    ExtraTreesClassifier,
    DecisionTreeClassifier,
    GradientBoostingClassifier,
)


class Target(NamedTuple):
    """What members are converted for.

    Attributes
    ----------
    sources : list of Source
        The committee's inputs.
    opsets : dict from str to int
        Versions for what skl2onnx converts.
    foreign_opset : int
        Version for graphs that come from elsewhere.
    options : dict
        Options of skl2onnx's converters, by class or by ``id``.
    """

    sources: list[Source]
    opsets: dict[str, int]
    foreign_opset: int
    options: dict


def empty_member(stage, n_classes: int) -> Member:
    """Return a member that has no graph yet."""
    model = stage.estimator
    while type(model) is FrozenEstimator:
        model = model.estimator
    return Member(
        position=stage.position,
        name=stage.name,
        kind=type(model).__name__,
        model=None,
        output="",
        reading=Reading(),
        columns=stage.columns,
        n_classes=n_classes,
    )


def member_estimator(stage):
    """Return a stage's own model, in the form that converts; a part is a small ensemble."""
    return unwrapped(stage.estimator)


def sklearn_member(empty: Member, estimator, target: Target) -> Member:
    """Return the member with the graph that skl2onnx makes of it.

    Raises
    ------
    UnconvertibleMemberError
        If it has no converter, its converter fails, or the runtime does not load the outcome.
    """
    if isinstance(estimator, PrefitClassifier):
        raise empty.refuse(
            "it is a function of Python, which an ONNX file cannot hold; expected a model that "
            "converts, or an OnnxClassifier"
        )
    if any(_splits_on_missing(part) for part in parts_of(estimator)):
        raise empty.refuse(
            "its trees split on missing values, which skl2onnx does not carry over; put a "
            "SimpleImputer before it, or use HistGradientBoostingClassifier"
        )
    double = any(source.is_double for source in target.sources)
    if target.opsets[""] > newest_runnable_opset():
        # What is made for a newer runtime is tried at the newest version that this one has.
        runnable = {**target.opsets, "": newest_runnable_opset()}
        narrow = double and _attempt(empty, estimator, target._replace(opsets=runnable))[1]
        return _converted(empty, estimator, target, narrow=narrow)
    return _attempt(empty, estimator, target)[0]


def _splits_on_missing(part) -> bool:
    """Tell whether a tree parts missing values from all others; skl2onnx may never return then."""
    return hasattr(part, "tree_") and not np.isfinite(part.tree_.threshold).all()


def _attempt(empty: Member, estimator, target: Target) -> tuple[Member, bool]:
    """Return a member that loads, and whether it had to read float64 as float32."""
    double = any(source.is_double for source in target.sources)
    choices = [False, True] if double and not _adds_in_float32(estimator) else [double]
    for narrow in choices:
        try:
            member = _converted(empty, estimator, target, narrow=narrow)
            error = _load(member, target)
            if error is None:
                return member, narrow
            refusal = member.refuse(f"onnxruntime does not load its graph: {first_line(error)}")
        except UnconvertibleMemberError as given:
            refusal, error = given, given.__cause__
    raise refusal from error


def restricted(part: EnsemblePart):
    """Return the ensemble that consists of a part's members only; members are shared."""
    whole, start, stop = part.ensemble, part.start, part.stop
    other = copy.copy(whole)
    other.estimators_ = whole.estimators_[start:stop]
    if isinstance(whole, BaggingClassifier):
        # It divides by the parameter, not by the number of its members.
        other.n_estimators = stop - start
        other.estimators_features_ = whole.estimators_features_[start:stop]
    if isinstance(whole, VotingClassifier):
        kept = [k for k, (_, m) in enumerate(whole.estimators) if not isinstance(m, str)]
        other.estimators = [whole.estimators[k] for k in kept[start:stop]]
        if whole.weights is not None:
            other.weights = [whole.weights[k] for k in kept[start:stop]]
    return other


def unwrapped(estimator):
    """Return a member's model without wrappers, a part of an ensemble as one of its own."""
    estimator = prepare(estimator).estimator
    if isinstance(estimator, EnsemblePart):
        return prepare(restricted(estimator)).estimator
    return estimator


def _converted(empty: Member, estimator, target: Target, *, narrow: bool) -> Member:
    """Return the member by skl2onnx, on float32 inputs where asked to."""
    skl2onnx = package("skl2onnx")
    if not selects_by_name(estimator):
        refuse_mixture(empty, target.sources)
    inputs = _inputs_for(estimator, target.sources, narrow)
    try:
        model = skl2onnx.to_onnx(
            estimator,
            initial_types=inputs,
            target_opset=target.opsets,
            options=_options_for(estimator, target) or None,
        )
        output = cut_to_output(model, model.graph.output[1].name)
    except UnconvertibleMemberError as error:
        # A committee within a member tells of its own member.
        raise empty.refuse(str(error)) from error
    except ConversionError:
        raise
    except Exception as error:
        raise empty.refuse(reason_for(estimator, error)) from error
    member = empty._replace(model=model, output=output, rounds=isinstance(estimator, _ROUNDING))
    return with_whole_votes(member, estimator)


def _options_for(estimator, target: Target) -> dict:
    """Return the options that concern a member: those by class, and by ``id`` of its parts."""
    ids = {id(part) for part in parts_of(estimator)}
    return {k: dict(v) for k, v in target.options.items() if isinstance(k, type) or k in ids}


def _inputs_for(estimator, sources: Sequence[Source], narrow: bool) -> list:
    """Return the inputs that a member is converted for: columns by name, or one matrix."""
    if len(sources) > 1 and not selects_by_name(estimator):
        if any(source.is_text for source in sources):
            kind = object if all(source.is_text for source in sources) else np.float32
        else:
            kind = np.float64 if any(source.is_double for source in sources) else np.float32
        sources = [Source("X", "X", elem_type_of(kind), (None, len(sources)))]
    return skl2onnx_inputs(sources, narrow=narrow)


def skl2onnx_inputs(sources: Sequence[Source], *, narrow: bool = False) -> list:
    """Return inputs as skl2onnx declares them, float64 as float32 where asked to."""
    return [(source.label, _type_of(source, narrow)) for source in sources]


def _type_of(source: Source, narrow: bool):
    """Return skl2onnx's description of a source."""
    types = package("skl2onnx.common.data_types")
    kind = package("onnx").TensorProto
    by_number = {
        kind.FLOAT: types.FloatTensorType,
        kind.DOUBLE: types.FloatTensorType if narrow else types.DoubleTensorType,
        kind.INT64: types.Int64TensorType,
        kind.INT32: types.Int32TensorType,
        kind.STRING: types.StringTensorType,
        kind.BOOL: types.BooleanTensorType,
    }
    return by_number.get(source.elem_type, types.FloatTensorType)(list(source.shape))


def _adds_in_float32(estimator) -> bool:
    """Tell whether a model's double graph is known not to load, which would cost a try."""
    return type(estimator).__name__ in ("LGBMClassifier", "XGBClassifier", "HistogramBoosting")


def _load(member: Member, target: Target) -> Exception | None:
    """Return what the runtime has against a member's graph; None where it loads."""
    double = any(source.is_double for source in target.sources)
    try:
        open_session(
            model_alone(member, target.sources, elem_type_of(np.float64 if double else np.float32))
        )
    except UnconvertibleMemberError:
        raise
    except Exception as error:  # the runtime has an error class for each reason
        return error
    return None


def is_foreign(estimator) -> bool:
    """Tell whether a model is an ONNX graph already."""
    return isinstance(estimator, OnnxClassifier)
