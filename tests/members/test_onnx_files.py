"""Tests of where a model comes from: forms, files, weights in files of their own."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade import OnnxClassifier
from sklearn_cascade.exceptions import OnnxModelError
from tests.members.graphs import (
    ROWS,
    conv_net,
    linear_answer,
    linear_net,
    node,
    onnx,
    passing,
    port,
)


def foreign_operator(domain=""):
    """Return the bytes of a graph with an operator that nobody knows."""
    graph = passing([port("p", "float32", ["n", 3])], [node("Frobnicate", "x", "p", domain=domain)])
    if domain:
        graph.opset_import.add(domain=domain, version=1)
    return graph.SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "onnx finds it invalid"),
        (b"PK\x03\x04 an archive", "this is no ONNX file"),
        (b"\x80\x04\x95 a pickle", "this is no ONNX file|onnx finds it invalid"),
        (linear_net().SerializeToString()[:-40], "this is no ONNX file, or one that was cut short"),
        (foreign_operator(), "Frobnicate"),
        (foreign_operator("org.example"), "org.example.*Frobnicate"),
    ],
    ids=["empty", "archive", "pickle", "cut", "operator", "domain"],
)
def test_files_that_are_no_model_are_one_error(tmp_path, content, message):
    """Check that path and bytes get the same error, which names them and the cause."""
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    for model, shown in [(path, repr(str(path))), (content, f"bytes of length {len(content)}")]:
        with pytest.raises(OnnxModelError, match=message) as caught:
            OnnxClassifier(model).predict(np.zeros((2, 4)))
        assert str(caught.value).startswith(f"model={shown}: ")
        assert caught.value.model == shown


def test_paths_without_a_file_are_named(tmp_path):
    """Check a missing file and a folder, when the model is asked and not before."""
    for path in (tmp_path / "missing.onnx", tmp_path, "no\0path"):
        model = OnnxClassifier(path)
        assert repr(model).startswith("OnnxClassifier(model=")
        with pytest.raises(OnnxModelError, match="the file cannot be read"):
            model.predict(ROWS)
        assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("model", [None, 3, np.zeros((2, 2), "u1"), np.zeros(3), conv_net().graph])
def test_what_is_no_model_is_named(model):
    """Check the error for objects of other types."""
    message = f"model={type(model).__name__} object: expected a path, bytes or a loaded ModelProto"
    with pytest.raises(OnnxModelError, match=message):
        OnnxClassifier(model).predict(ROWS)


@pytest.mark.parametrize("form", ["path", "str", "bytes", "bytearray", "array", "proto"])
def test_models_come_in_many_forms(tmp_path, form):
    """Check that each form answers the same, and is returned by get_params as it was given."""
    data = linear_net().SerializeToString()
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    model = {
        "path": path,
        "str": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "array": np.frombuffer(data, np.uint8),
        "proto": linear_net(),
    }[form]
    classifier = OnnxClassifier(model)
    np.testing.assert_allclose(classifier.predict_proba(ROWS), linear_answer(ROWS), atol=1e-6)
    assert np.all(classifier.get_params()["model"] == model)
    assert isinstance(
        classifier.get_params()["model"], type(model) if form != "bytearray" else bytes
    )


def test_a_path_is_read_once(tmp_path):
    """Check that the file may change or go after first use, until the parameter is set anew."""
    path = tmp_path / "net.onnx"
    onnx.save_model(linear_net(), path)
    model = OnnxClassifier(path)
    model.predict(ROWS)
    path.unlink()
    np.testing.assert_allclose(model.predict_proba(ROWS), linear_answer(ROWS), atol=1e-6)
    model.set_params(softmax=True)
    assert model.predict_proba(ROWS).max() < linear_answer(ROWS).max()
    with pytest.raises(OnnxModelError, match="cannot be read"):
        model.set_params(model=path).predict(ROWS)


def with_external_weights(folder, location="weights.bin"):
    """Save a net whose weights lie in another file, and return its path."""
    path = folder / "net.onnx"
    onnx.save_model(
        linear_net(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    graph = onnx.load(path, load_external_data=False)
    for entry in graph.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = str(location)
    path.write_bytes(graph.SerializeToString())
    return path


def test_weights_in_other_files_are_taken_in(tmp_path):
    """Check that weights beside the model are loaded with it, and travel along."""
    path = with_external_weights(tmp_path)
    assert len(path.read_bytes()) < len(linear_net().SerializeToString()) + 100
    model = OnnxClassifier(path)
    np.testing.assert_allclose(model.predict_proba(ROWS), linear_answer(ROWS), atol=1e-6)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(OnnxModelError, match="weights in other files cannot be loaded"):
        OnnxClassifier(path).predict(ROWS)


@pytest.mark.parametrize(
    "place", ["../secret", "inner/../../secret", "absolute", "link", "no\0name"]
)
def test_weights_from_outside_of_the_folder_are_refused(tmp_path, place):
    """Check that no file beyond the model's own folder is read, whatever way leads there."""
    secret, folder = tmp_path / "secret", tmp_path / "models"
    (folder / "inner").mkdir(parents=True)
    path = with_external_weights(folder, secret if place == "absolute" else place)
    secret.write_bytes((folder / "weights.bin").read_bytes())
    if place == "link":
        (folder / "link").symlink_to(secret)
    with pytest.raises(OnnxModelError, match="it refers to weights outside its own folder"):
        OnnxClassifier(path).predict(ROWS)


def test_bytes_with_weights_elsewhere_are_refused(tmp_path, monkeypatch):
    """Check that a model without a place of its own finds no weights in the working folder."""
    path = with_external_weights(tmp_path)
    monkeypatch.chdir(tmp_path)
    for model in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(OnnxModelError, match="its weights are in other files; give its path"):
            OnnxClassifier(model).predict(ROWS)


def test_weights_elsewhere_are_found_in_inner_graphs(tmp_path):
    """Check that a tensor of an attribute of a graph in a graph is looked at as well."""
    then = passing([port("p", "float32", ["n", 3])]).graph
    graph = linear_net()
    hidden = onnx.TensorProto(
        data_location=onnx.TensorProto.EXTERNAL, data_type=1, dims=[1], name="w"
    )
    hidden.external_data.add(key="location", value="../secret")
    constant = node("Constant", "", "w", value=hidden)
    del then.node[:], then.input[:]
    then.node.append(constant)
    graph.graph.node.append(node("If", "probabilities", "q", then_branch=then, else_branch=then))
    path = tmp_path / "net.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(OnnxModelError, match="outside its own folder"):
        OnnxClassifier(path).predict(ROWS)
