"""The packages that an export needs, and the versions of the format that they share."""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral

from sklearn_cascade._compat import import_optional
from sklearn_cascade.exceptions import ConversionError

# Reductions take their axes as an input from here on.
LOWEST_OPSET = 18
ML_DOMAIN = "ai.onnx.ml"


def package(name: str):
    """Return one of the packages that an export needs."""
    return import_optional(name, feature="to_onnx")


def open_session(model, *, n_threads: int = 1):
    """Return a session of the runtime that logs nothing and works alone."""
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def opset_of(model, domain: str = "") -> int:
    """Return the newest version of a domain that a model imports; 0 where it imports none."""
    alike = {"", "ai.onnx"} if domain in ("", "ai.onnx") else {domain}
    return max((entry.version for entry in model.opset_import if entry.domain in alike), default=0)


def settle_opset(target_opset) -> dict[str, int]:
    """Return the version of each domain for the parts that skl2onnx converts."""
    newest = package("skl2onnx.proto").get_latest_tested_opset_version()
    opsets = {ML_DOMAIN: 3}
    if not isinstance(target_opset, (Integral, dict, type(None))):
        raise ConversionError(
            f"target_opset={target_opset!r}; expected a number, or a dict from domain to number"
        )
    if isinstance(target_opset, dict):
        opsets.update(target_opset)
    elif target_opset is not None:
        opsets[""] = target_opset
    if opsets.get("") is None:
        opsets[""] = min(newest, newest_runnable_opset())
    if not (isinstance(opsets[""], Integral) and LOWEST_OPSET <= opsets[""] <= newest):
        raise ConversionError(
            f"target_opset={target_opset!r}; expected a version from {LOWEST_OPSET}, which the "
            f"routing needs, to {newest}, the newest that this skl2onnx converts to"
        )
    return opsets


@lru_cache(maxsize=1)
def newest_runnable_opset() -> int:
    """Return the newest version of the operators that the installed runtime loads."""
    newest = package("onnx").defs.onnx_opset_version()
    return next((v for v in range(newest, LOWEST_OPSET, -1) if _loads(v)), LOWEST_OPSET)


def ir_version_for(opsets: dict[str, int]) -> int:
    """Return the lowest version of the file format that holds these operators."""
    helper = package("onnx").helper
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.find_min_ir_version_for(imports, ignore_unknown=True)


def _loads(opset: int) -> bool:
    """Tell whether the runtime loads a graph of these operators."""
    onnx = package("onnx")
    info = onnx.helper.make_tensor_value_info
    ends = [info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "probe", ends[:1], ends[1:]
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=ir_version_for({"": opset}),
    )
    try:
        open_session(model)
    except Exception:  # the runtime has an error class for each reason
        return False
    return True
