"""The members of a cascade, and the models of its learned confidences, as ONNX graphs.

skl2onnx converts all members but `OnnxClassifier`, which has a graph of its own. What is known of
conversions that fail or are wrong is here too, for the error messages.
"""

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
    choose_opsets,
    cut_to_output,
    newest_runnable_opset,
    open_session,
    opset_of,
    package,
)
from sklearn_cascade.export._member_io import (
    Member,
    OutputFormat,
    Source,
    dtype_of,
    elem_type_of,
    float_type_of,
    refuse_mixed_columns,
)
from sklearn_cascade.export._models import ConvertedCascade, member_model
from sklearn_cascade.export._preparation import iter_estimators, prepare, selects_by_name
from sklearn_cascade.export._spec import CascadeSpec, spec_of, stages_of
from sklearn_cascade.members._ensemble_parts import EnsemblePart
from sklearn_cascade.members._onnx import OnnxClassifier, read_bytes
from sklearn_cascade.members._onnx_file import first_line, parse
from sklearn_cascade.members._onnx_inputs import choose_output
from sklearn_cascade.members._onnx_session import open_model
from sklearn_cascade.members._prefit import PrefitClassifier

# They round rows to float32 whatever they are given, and their graphs must do the same.
_ROUNDING = (
    RandomForestClassifier,
    ExtraTreesClassifier,
    DecisionTreeClassifier,
    GradientBoostingClassifier,
)
# Their graphs for float64 are known not to load, so that no time is spent on trying.
_FLOAT32_ONLY = ("LGBMClassifier", "XGBClassifier", "HistogramBoosting")
# Shares of votes are stored in float32: n times a share misses an integer by up to this.
_VOTE_ROUNDING = 2e-7
_BOOSTER_HINT = (
    "converts once onnxmltools is installed: pip install 'sklearn-cascade[boosters-onnx]'"
)
_ON_FAILURE = {
    "LGBMClassifier": f"LightGBM {_BOOSTER_HINT}",
    "XGBClassifier": f"XGBoost {_BOOSTER_HINT}",
    "CatBoostClassifier": "save it with CatBoost's own save_model(format='onnx') and bring the "
    "file as an OnnxClassifier",
    "DummyClassifier": "skl2onnx has no converter for it",
}
_recorded: ContextVar[list | None] = ContextVar("recorded", default=None)


class Target(NamedTuple):
    """What members are converted for."""

    sources: list[Source]  # the cascade's inputs
    opsets: dict[str, int]  # versions for what skl2onnx converts
    foreign_opset: int  # version for graphs that come from elsewhere
    options: dict  # of skl2onnx's converters, by class or by ``id``


@contextmanager
def record_conversions():
    """Yield a list to which every cascade converted within the context is added."""
    converted: list[ConvertedCascade] = []
    token = _recorded.set(converted)
    try:
        yield converted
    finally:
        _recorded.reset(token)


def convert_alone(cascade, sources: list[Source], target_opset) -> ConvertedCascade:
    """Convert a cascade for a file of its own, in which nets may be newer than skl2onnx."""
    models = [convertible(stage.estimator) for stage in stages_of(cascade)]
    foreign = [model for model in models if isinstance(model, OnnxClassifier)]
    contents = [read_bytes(model) for model in foreign]
    newest = max([LOWEST_OPSET, *(opset_of(parse(c.data, c.display_name)) for c in contents)])
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
        opsets = choose_opsets(target_opset)
        newest = max(newest, opsets[""])
    return convert_cascade(cascade, Target(sources, opsets, newest, {}))


def convert_cascade(cascade, target: Target) -> ConvertedCascade:
    """Convert the members of a cascade, and the models of its learned confidences."""
    spec = spec_of(cascade)
    members = [
        convert_member(stage, len(spec.classes), target) if spec.is_used(k) else None
        for k, stage in enumerate(spec.stages)
    ]
    confidence_models = _convert_confidence_models(cascade, spec, target)
    converted = ConvertedCascade(cascade, spec, members, confidence_models, target.sources)
    recorded = _recorded.get()
    if recorded is not None:
        recorded.append(converted)
    return converted


def convert_member(stage, n_classes: int, target: Target) -> Member:
    """Convert the member of a stage; raise UnconvertibleMemberError if there is no graph of it."""
    model, member = convertible(stage.estimator), _without_graph(stage, n_classes)
    if isinstance(model, OnnxClassifier):
        return _foreign_member(member, model, target)
    return _sklearn_member(member, model, target)


def convertible(estimator):
    """Return a model without wrappers; a part of an ensemble becomes a small ensemble."""
    estimator = prepare(estimator)
    if not isinstance(estimator, EnsemblePart):
        return estimator
    ensemble, start, stop = estimator.ensemble, estimator.start, estimator.stop
    part = copy.copy(ensemble)
    part.estimators_ = ensemble.estimators_[start:stop]
    if isinstance(ensemble, BaggingClassifier):
        # It divides by the parameter, not by the number of its members.
        part.n_estimators = stop - start
        part.estimators_features_ = ensemble.estimators_features_[start:stop]
    if isinstance(ensemble, VotingClassifier):
        kept = [k for k, (_, m) in enumerate(ensemble.estimators) if not isinstance(m, str)]
        part.estimators = [ensemble.estimators[k] for k in kept[start:stop]]
        if ensemble.weights is not None:
            part.weights = [ensemble.weights[k] for k in kept[start:stop]]
    return prepare(part)


def _without_graph(stage, n_classes: int) -> Member:
    """Return the description of a stage's member that has no graph yet."""
    model = stage.estimator
    while type(model) is FrozenEstimator:
        model = model.estimator
    return Member(
        position=stage.position,
        name=stage.name,
        kind=type(model).__name__,
        model=None,
        output="",
        output_format=OutputFormat(),
        columns=stage.columns,
        n_classes=n_classes,
    )


def _sklearn_member(member: Member, estimator, target: Target) -> Member:
    """Return the member with the graph that skl2onnx makes of its model, and that loads."""
    if isinstance(estimator, PrefitClassifier):
        raise member.error(
            "it is a function of Python, which an ONNX file cannot hold; expected a model that "
            "converts, or an OnnxClassifier"
        )
    # skl2onnx may never return from a tree that separates missing values from all others.
    if any(
        hasattr(part, "tree_") and not np.isfinite(part.tree_.threshold).all()
        for part in iter_estimators(estimator)
    ):
        raise member.error(
            "its trees split on missing values, which skl2onnx does not carry over; put a "
            "SimpleImputer before it, or use HistGradientBoostingClassifier"
        )
    double = any(source.is_double for source in target.sources)
    if target.opsets[""] > newest_runnable_opset():  # pragma: no cover, other versions
        # A version that this onnxruntime cannot load is tried with the newest that it can.
        runnable = {**target.opsets, "": newest_runnable_opset()}
        narrow = (
            double and _convert_and_load(member, estimator, target._replace(opsets=runnable))[1]
        )
        return _run_skl2onnx(member, estimator, target, narrow=narrow)
    return _convert_and_load(member, estimator, target)[0]


def _convert_and_load(member: Member, estimator, target: Target) -> tuple[Member, bool]:
    """Return a member that loads, and whether its graph had to read float64 as float32."""
    double = any(source.is_double for source in target.sources)
    try_double = double and type(estimator).__name__ not in _FLOAT32_ONLY
    for narrow in [False, True] if try_double else [double]:
        try:
            converted = _run_skl2onnx(member, estimator, target, narrow=narrow)
            try:
                elem_type = float_type_of(target.sources)
                open_session(member_model(converted, target.sources, elem_type))
                return converted, narrow
            except UnconvertibleMemberError:
                raise
            except Exception as error:  # onnxruntime has an error class for each reason
                message = f"onnxruntime does not load its graph: {first_line(error)}"
                raise member.error(message) from error
        except UnconvertibleMemberError as error:
            refusal = error
    raise refusal


def _run_skl2onnx(member: Member, estimator, target: Target, *, narrow: bool) -> Member:
    """Return the member with skl2onnx's graph, made for float32 instead of float64 if `narrow`."""
    sources: Sequence[Source] = target.sources
    if not selects_by_name(estimator):
        refuse_mixed_columns(member, target.sources)
        if len(sources) > 1:
            text = sources[0].is_text
            elem_type = elem_type_of(object) if text else float_type_of(sources)
            sources = [Source("X", "X", elem_type, (None, len(sources)))]
    ids = {id(part) for part in iter_estimators(estimator)}
    options = {k: dict(v) for k, v in target.options.items() if isinstance(k, type) or k in ids}
    try:
        model = package("skl2onnx").to_onnx(
            estimator,
            initial_types=initial_types(sources, narrow=narrow),
            target_opset=target.opsets,
            options=options or None,
        )
        output = cut_to_output(model, model.graph.output[1].name)
    except UnconvertibleMemberError as error:
        # A cascade within the member names a member of its own.
        raise member.error(str(error)) from error
    except ConversionError:
        raise
    except Exception as error:
        raise member.error(_reason_for(estimator, error)) from error
    rounds = isinstance(estimator, _ROUNDING)
    return _with_integer_votes(
        member._replace(model=model, output=output, rounds=rounds), estimator
    )


def initial_types(sources: Sequence[Source], *, narrow: bool = False) -> list:
    """Return inputs as skl2onnx declares them, float64 as float32 if `narrow`."""
    types = package("skl2onnx.common.data_types")
    kind = package("onnx").TensorProto
    by_number = {
        kind.DOUBLE: types.FloatTensorType if narrow else types.DoubleTensorType,
        kind.INT64: types.Int64TensorType,
        kind.INT32: types.Int32TensorType,
        kind.STRING: types.StringTensorType,
        kind.BOOL: types.BooleanTensorType,
    }
    return [
        (source.label, by_number.get(source.elem_type, types.FloatTensorType)(list(source.shape)))
        for source in sources
    ]


def _with_integer_votes(member: Member, estimator) -> Member:
    """Return a member whose forest, if it ends in one, sums votes and divides once.

    A converted forest sums n-ths. Fully grown trees vote with integers, whose sum is exact:
    confidences then compare with a threshold such as 0.9 as in Python, and tied votes stay tied.
    """
    estimator = last_step(estimator)
    if type(estimator) not in (RandomForestClassifier, ExtraTreesClassifier):
        return member
    producers = {name: node for node in member.model.graph.node for name in node.output if name}
    node = producers.get(member.output)
    while node is not None and node.op_type in ("Identity", "Cast"):
        node = producers.get(node.input[0])
    if node is None or node.op_type != "TreeEnsembleClassifier":
        return member
    n_trees, helper = len(estimator.estimators_), package("onnx").numpy_helper
    for attribute in node.attribute:
        if attribute.name == "class_weights":
            attribute.floats[:] = _votes(np.array(attribute.floats), n_trees)
        elif attribute.name == "class_weights_as_tensor":
            votes = _votes(helper.to_array(attribute.t), n_trees)
            attribute.t.CopyFrom(helper.from_array(votes, attribute.t.name))
    output_format = member.output_format._replace(
        n_votes=n_trees, positive_votes=len(estimator.classes_) == 2
    )
    return member._replace(output_format=output_format, output=node.output[1])


def last_step(estimator):
    """Return the last step of a pipeline, or of the pipeline that ends it."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def _votes(shares: np.ndarray, n_trees: int) -> np.ndarray:
    """Return shares of all trees as votes of one; near integers become integers."""
    votes = shares.astype(np.float64) * n_trees
    rounded = np.round(votes)
    votes = np.where(np.abs(votes - rounded) <= _VOTE_ROUNDING, rounded, votes)
    return votes.astype(shares.dtype if shares.dtype == np.float64 else np.float32)


def _foreign_member(member: Member, classifier: OnnxClassifier, target: Target) -> Member:
    """Return the member with the graph of an `OnnxClassifier`, brought to the target's version."""
    opset = target.foreign_opset
    try:
        classes = classifier.classes_
        content = read_bytes(classifier)
        opened = open_model(content, classifier.providers, classifier.n_threads)
        port = choose_output(
            opened.outputs, classifier.output_name, bool(classifier.softmax), opened.display_name
        )
    except OnnxModelError as error:
        raise member.error(str(error)) from error
    model = parse(content.data, content.display_name)
    given = opset_of(model)
    if given > opset:
        raise member.error(
            f"its graph is of opset {given}, and what surrounds the cascade is converted to "
            f"{opset}; export the cascade by itself, or the net again at opset {opset}"
        )
    try:
        output = cut_to_output(model, port.name)
        model = bring_to_opset(model, opset)
    except Exception as error:
        raise member.error(
            f"its graph of opset {given} cannot be brought to {opset}: {first_line(error)}; export "
            f"the net again at opset {opset}"
        ) from error
    if port.is_map and output == port.name:
        raise member.error("its output is a dict per row, not made by a ZipMap from a matrix")
    output_format = OutputFormat(
        rank=2 if port.is_map else len(port.shape) or 2,
        softmax=bool(classifier.softmax),
        positive_only=len(classes) == 2 and not port.is_map and port.width == 1,
        rescaled=port.dtype == np.float16,
    )
    member = member._replace(model=model, output=output, output_format=output_format)
    if opened.inputs[0].n_fixed is not None:
        _check_batch_sizes(member, target.sources, opened.inputs[0].n_fixed)
    return member


def _check_batch_sizes(member: Member, sources: list[Source], n_fixed: int) -> None:
    """Raise for a graph that declares a fixed number of rows and fails for other numbers."""
    try:
        session = open_session(member_model(member, sources, elem_type_of(np.float32)))
        for n_rows in (1, n_fixed + 1):
            feeds = {
                s.name: np.zeros((n_rows, *(n or 1 for n in s.shape[1:])), dtype_of(s.elem_type))
                for s in sources
            }
            session.run(None, feeds)
    except Exception as error:
        raise member.error(
            f"its graph takes {n_fixed} rows at once, and a cascade passes on any number; export "
            f"the net again with an open first axis ({first_line(error)[:120]})"
        ) from error


def _convert_confidence_models(cascade, spec: CascadeSpec, target: Target) -> list[Member | None]:
    """Return the graph of the confidence model after each stage; None where none is needed."""
    graphs: list[Member | None] = [None] * len(spec.stages)
    for k, confidence in enumerate(spec.confidences):
        learned, stage = confidence.model, spec.stages[k]
        if learned is None or learned.model is None or not spec.needs_confidence(k):
            continue
        # It reads float64, and computes in float64 where its operators can.
        n_features = n_features_of(learned, len(spec.classes), spec.n_history(k))
        source = Source("features", "features", elem_type_of(np.float64), (None, n_features))
        kind = type(learned.model).__name__
        member = _without_graph(stage, 2)._replace(kind=kind, columns=None)
        for_features = target._replace(sources=[source], options={})
        try:
            graphs[k] = _sklearn_member(member, convertible(learned.model), for_features)
        except UnconvertibleMemberError as error:
            raise ConversionError(
                f"confidence={cascade.confidence!r} cannot be exported: the model fitted after "
                f"stage {k} {stage.name!r} ({error.kind}): {error.problem}; expected a classifier "
                f"that converts, or confidence='learned'"
            ) from error
    return graphs


def _reason_for(estimator, error: Exception) -> str:
    """Return why skl2onnx failed: what would help, if that is known, and its own message."""
    kinds = [type(part).__name__ for part in iter_estimators(estimator)]
    known = next((_ON_FAILURE[kind] for kind in kinds if kind in _ON_FAILURE), None)
    if known is None and "at most 1 input" in str(error):
        known = "it expects one matrix, and X has a column of its own for each feature"
    if known is None and type(error).__name__.startswith("Missing"):
        known = (
            "skl2onnx knows no converter for it: register one with "
            "skl2onnx.update_registered_converter, or replace the member"
        )
    message = f"{type(error).__name__}: {first_line(error)}"
    return f"{known} ({message[:200]})" if known else message


def hint_for_difference(estimator) -> str:
    """Return what is known of a wrong conversion, to be put after the figures; else nothing."""
    hints = (_known_wrong(part) for part in iter_estimators(estimator))
    return next((f". {hint}" for hint in hints if hint), "")


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
            "if X has missing values: skl2onnx does not route them as scikit-learn's trees do; put "
            "a SimpleImputer before it"
        )
    if kind == "OnnxClassifier":
        return (
            "a net in float16 rounds differently within another graph: if this is one, raise atol"
        )
    if kind == "CalibratedClassifierCV" and any(
        hasattr(inner, "steps")
        for fold in getattr(part, "calibrated_classifiers_", [])
        for inner in iter_estimators(fold.estimator)[:1]
    ):
        return (
            "skl2onnx calibrates the probabilities of a pipeline where scikit-learn calibrates its "
            "decision function; put the calibration into the pipeline: "
            "Pipeline([*steps, CalibratedClassifierCV(last)])"
        )
    return None
