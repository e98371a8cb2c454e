"""One member of a committee to one graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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

from sklearn_cascade.exceptions import ConversionError, OnnxModelError, UnconvertibleMemberError
from sklearn_cascade.export._cascade_graph import n_features_of
from sklearn_cascade.export._graph_builder import (
    LOWEST_OPSET,
    bring_to_opset,
    cut_to_output,
    newest_runnable_opset,
    open_session,
    opset_of,
    package,
    settle_opset,
)
from sklearn_cascade.export._member_io import (
    Member,
    OutputFormat,
    Source,
    elem_type_of,
    refuse_mixture,
)
from sklearn_cascade.export._models import ConvertedCascade, model_alone
from sklearn_cascade.export._preparation import iter_estimators, prepare, selects_by_name
from sklearn_cascade.export._spec import Blueprint, blueprint_of, is_used
from sklearn_cascade.members import (
    EnsemblePart,
    OnnxClassifier,
    PrefitClassifier,
    choose_output,
    first_line,
    open_model,
    parse,
)

# They look at float32 whatever they are given, and so has their graph.
_ROUNDING = (
    RandomForestClassifier,
    ExtraTreesClassifier,
    DecisionTreeClassifier,
    GradientBoostingClassifier,
)
# Shares are stored in float32, so that n of them miss a whole number by this much.
_FOREST_ROUNDING = 2e-7
_ON_FAILURE = {
    "LGBMClassifier": "LightGBM converts once onnxmltools is installed: "
    "pip install 'sklearn-cascade[boosters-onnx]'",
    "XGBClassifier": "XGBoost converts once onnxmltools is installed: "
    "pip install 'sklearn-cascade[boosters-onnx]'",
    "CatBoostClassifier": "save it with CatBoost's own save_model(format='onnx') and bring the "
    "file as an OnnxClassifier",
    "DummyClassifier": "skl2onnx has no converter for it",
}
_recorded: ContextVar[list | None] = ContextVar("recorded", default=None)


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
        reading=OutputFormat(),
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
    if any(_splits_on_missing(part) for part in iter_estimators(estimator)):
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
    ids = {id(part) for part in iter_estimators(estimator)}
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


def foreign_opset(classifier) -> int:
    """Return the version of the operators that a classifier's own graph imports."""
    content = classifier._read()
    return opset_of(parse(content.data, content.shown))


def foreign_member(empty: Member, classifier, sources: list[Source], opset: int) -> Member:
    """Return the member with the graph of an `OnnxClassifier`, brought to a version.

    Raises
    ------
    UnconvertibleMemberError
        If the graph cannot be cut or brought to the version, or takes some number of rows only.
    """
    try:
        classes = classifier.classes_
        content = classifier._read()
        opened = open_model(content, classifier.providers, classifier.n_threads)
        port = choose_output(
            opened.outputs, classifier.output_name, bool(classifier.softmax), opened.shown
        )
    except OnnxModelError as error:
        raise empty.refuse(str(error)) from error
    model = parse(content.data, content.shown)
    given = opset_of(model)
    if given > opset:
        raise empty.refuse(
            f"its graph is of opset {given}, and what surrounds the committee is converted to "
            f"{opset}; export the committee by itself, or the net again at opset {opset}"
        )
    try:
        output = cut_to_output(model, port.name)
        model = bring_to_opset(model, opset)
    except Exception as error:
        raise empty.refuse(
            f"its graph of opset {given} cannot be brought to {opset}: {first_line(error)}; export "
            f"the net again at opset {opset}"
        ) from error
    if port.is_map and output == port.name:
        raise empty.refuse("its answer is a dict per row that no ZipMap makes of a matrix")
    reading = OutputFormat(
        rank=2 if port.is_map else len(port.shape) or 2,
        softmax=bool(classifier.softmax),
        positive_only=len(classes) == 2 and not port.is_map and port.width == 1,
        rescaled=port.dtype == np.float16,
    )
    member = empty._replace(model=model, output=output, reading=reading)
    fixed = opened.inputs[0].n_fixed
    if fixed is not None:
        _check_rows(member, sources, fixed)
    return member


def _check_rows(member: Member, sources: list[Source], fixed: int) -> None:
    """Raise for a graph that takes some number of rows only, and does not merely say so."""
    dtype_of = package("onnx").helper.tensor_dtype_to_np_dtype
    try:
        session = open_session(model_alone(member, sources, elem_type_of(np.float32)))
        for n_rows in (1, fixed + 1):
            session.run(
                None,
                {
                    s.name: np.zeros(
                        (n_rows, *(n or 1 for n in s.shape[1:])), dtype_of(s.elem_type)
                    )
                    for s in sources
                },
            )
    except Exception as error:
        raise member.refuse(
            f"its graph takes {fixed} rows at once, and a cascade hands on any number; export the "
            f"net again with an open first axis ({first_line(error)[:120]})"
        ) from error


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
    votes = np.where(np.abs(votes - whole) <= _FOREST_ROUNDING, whole, votes)
    return votes.astype(shares.dtype if shares.dtype == np.float64 else np.float32)


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


def reason_for(estimator, error: Exception) -> str:
    """Return why a member did not convert: what would help, if known, and what skl2onnx said."""
    kinds = [type(part).__name__ for part in iter_estimators(estimator)]
    known = next((_ON_FAILURE[kind] for kind in kinds if kind in _ON_FAILURE), None)
    if known is None and "at most 1 input" in str(error):
        known = "it wants one matrix, and X has a column of its own for each feature"
    if known is None and type(error).__name__.startswith("Missing"):
        known = (
            "skl2onnx knows no converter for it: register one with "
            "skl2onnx.update_registered_converter, or replace the member"
        )
    said = f"{type(error).__name__}: {first_line(error)}"
    return f"{known} ({said[:200]})" if known else said


def hint_for_difference(estimator) -> str:
    """Return what is known of a member whose graph answers differently, put after the figures."""
    for part in iter_estimators(estimator):
        hint = _known_wrong(part)
        if hint:
            return f". {hint}"
    return ""


def _known_wrong(part) -> str | None:
    """Return the hint for one model that skl2onnx is known to convert wrongly."""
    kind = type(part).__name__
    if kind == "KNeighborsClassifier" and part.weights == "distance":
        return (
            "skl2onnx converts neighbours weighted by distance wrongly; weights='uniform' is right"
        )
    if kind == "CalibratedClassifierCV" and part.method == "isotonic":
        return (
            "skl2onnx takes the nearest knot of an isotonic calibration, where scikit-learn "
            "interpolates; method='sigmoid' is right"
        )
    if kind.startswith("Hist") and getattr(part, "is_categorical_", None) is not None:
        return (
            "skl2onnx ignores the categorical_features of gradient boosting; encode these columns "
            "in a pipeline before it"
        )
    if kind in ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier"):
        return (
            "if X has missing values: skl2onnx does not send them the way of scikit-learn's trees; "
            "put a SimpleImputer before it"
        )
    if kind == "OnnxClassifier":
        return "a net in float16 rounds as the graph around it lets it: if this is one, raise atol"
    if kind == "CalibratedClassifierCV" and _calibrates_a_pipeline(part):
        return (
            "skl2onnx calibrates the probabilities of a pipeline where scikit-learn calibrates its "
            "decision function; put the calibration into the pipeline: "
            "Pipeline([*steps, CalibratedClassifierCV(last)])"
        )
    return None


def _calibrates_a_pipeline(calibrated) -> bool:
    """Tell whether what is calibrated is a pipeline."""
    pieces = getattr(calibrated, "calibrated_classifiers_", [])
    return any(
        hasattr(part, "steps") for piece in pieces for part in iter_estimators(piece.estimator)[:1]
    )


@contextmanager
def recording():
    """Collect what is built for as long as this lasts."""
    built: list[ConvertedCascade] = []
    token = _recorded.set(built)
    try:
        yield built
    finally:
        _recorded.reset(token)


def build(committee, sources: list[Source], target: Target) -> ConvertedCascade:
    """Return a committee whose members have become graphs.

    Raises
    ------
    ConversionError
        If the committee does what no graph can, or a member or a learner does not convert.
    """
    blueprint = blueprint_of(committee)
    members = []
    for k, stage in enumerate(blueprint.stages):
        if not is_used(blueprint, k):
            members.append(None)
            continue
        empty, model = empty_member(stage, len(blueprint.classes)), member_estimator(stage)
        if is_foreign(model):
            members.append(foreign_member(empty, model, sources, target.foreign_opset))
        else:
            members.append(sklearn_member(empty, model, target))
    learners = learners_of(committee, blueprint, target)
    built = ConvertedCascade(committee, blueprint, members, learners, sources)
    if _recorded.get() is not None:
        _recorded.get().append(built)
    return built


def build_alone(committee, sources: list[Source], target_opset) -> ConvertedCascade:
    """Return a committee for a file of its own, in which nets may be newer than skl2onnx."""
    models = [member_estimator(stage) for stage in committee.fitted_.members.stages]
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
