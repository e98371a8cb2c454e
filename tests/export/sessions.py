"""Running exported files, and comparing them with what they were made from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sklearn_cascade import to_onnx

# float32 sums of float64 models; the largest seen is 2e-6.
ATOL = 2e-5
OUTPUTS = ["label", "probabilities", "exit_stage", "cost"]


def session_of(model, **settings):
    """Return a session of a ModelProto or path, one thread; `settings` are session options."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs an exported file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    source = model.SerializeToString() if hasattr(model, "SerializeToString") else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def feeds_of(session, X) -> dict:
    """Return what the inputs of a session are fed: a matrix, or the columns of a frame."""
    ports = session.get_inputs()
    if len(ports) == 1 and not hasattr(X, "columns"):
        return {ports[0].name: X}
    return {port.name: np.asarray(X[port.name])[:, None] for port in ports}


def run(model, X) -> dict:
    """Return the outputs of a file (ModelProto, path or session) for rows, by name."""
    session = model if hasattr(model, "get_outputs") else session_of(model)
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds_of(session, X)), strict=True))


def assert_same(estimator, model, X, *, atol=ATOL):
    """Check that a file has the outputs of a cascade or ensemble."""
    outputs, expected = run(model, X), estimator.predict_details(X)
    assert list(outputs) == OUTPUTS
    np.testing.assert_array_equal(outputs["label"], expected.label)
    np.testing.assert_array_equal(outputs["exit_stage"], expected.exit_stage)
    np.testing.assert_allclose(outputs["probabilities"], expected.proba, rtol=0, atol=atol)
    # Costs are float32 in a file.
    np.testing.assert_allclose(outputs["cost"], expected.cost, atol=1e-6)


class Profiled:
    """A cascade, its file, and rows with the stages at which they leave."""

    def __init__(self, cascade, rows, folder):
        self.cascade, self.rows, self.folder = cascade, rows, folder
        self.model = to_onnx(cascade, rows, verify=False)
        self.stage = cascade.predict_details(rows).exit_stage

    def kernels(self, rows, **settings):
        """Return what the runtime ran for some rows: (name of the node, its inputs' shapes)."""
        session = session_of(
            self.model,
            enable_profiling=True,
            profile_file_prefix=str(self.folder / "profile"),
            **settings,
        )
        session.run(None, {"X": rows})
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
        ending = "_kernel_time"
        return [
            (event["name"].removesuffix(ending), event["args"].get("input_type_shape", []))
            for event in events
            if event["name"].endswith(ending)
        ]


def stages_run(kernels):
    """Return how many kernels ran of each member; the routing's own are not counted."""
    return [sum(name.startswith(f"stage{k}/member/") for name, _ in kernels) for k in range(3)]


def names_in(graph):
    """Yield the names of all nodes, those of branches included."""
    for node in graph.node:
        yield node.name
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from names_in(attribute.g)
