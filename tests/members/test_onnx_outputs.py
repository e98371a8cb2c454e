"""Tests of what an ONNX graph may answer."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade import OnnxClassifier
from sklearn_cascade.exceptions import InvalidProbabilitiesError, OnnxModelError
from tests.members.graphs import (
    build,
    node,
    onnx,
    passing,
    port,
)

PROBA = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
LOGITS = np.array([[2.0, -1.0, 0.5], [1000.0, 998.0, -1000.0]])
# float32 keeps seven digits.
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("float32", ["n", 3]),
        ("float64", ["n", 3]),
        ("float16", ["n", 3]),
        ("float32", ["n", 3, 1, 1]),
    ],
)
def test_probabilities_of_any_floating_type(kind, shape):
    """Check tensors of probabilities, also with axes of length one behind."""
    model = OnnxClassifier(passing([port("p", kind, shape)], kind=kind, shape=shape))
    proba = model.predict_proba(PROBA.reshape(2, *shape[1:]))
    np.testing.assert_array_equal(proba, PROBA)
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [["n"], ["n", 1]])
def test_positive_class_is_completed(shape):
    """Check that a single column is the second class's probability."""
    model = OnnxClassifier(passing([port("p", "float32", shape)], shape=shape))
    # Half a unit of the last digit beyond one, as float32 sums leave behind.
    X = np.array([0.25, 1.0000001, 0.75], dtype="f4").reshape(3, *shape[1:])
    np.testing.assert_array_equal(model.predict_proba(X), [[0.75, 0.25], [0, 1], [0.25, 0.75]])
    assert model.classes_.tolist() == [0, 1]


def test_logits_become_probabilities():
    """Check the softmax of rows, far from zero too, and the sigmoid of a single column."""
    model = OnnxClassifier(
        passing([port("out", "float64", ["n", 3])], kind="float64"), softmax=True
    )
    expected = np.exp(LOGITS - LOGITS.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(LOGITS), expected, rtol=1e-12, atol=0)
    single = passing([port("out", "float64", ["n", 1])], kind="float64", shape=["n", 1])
    proba = OnnxClassifier(single, softmax=True).predict_proba([[0.0], [1000.0], [-1000.0], [1.0]])
    expected = [0.5, 1, 0, 1 / (1 + np.exp(-1))]
    np.testing.assert_allclose(proba[:, 1], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [["n", 3], ["n", 1], ["n"]])
def test_logits_without_softmax_are_an_error_that_names_it(shape):
    """Check that the error names the model and the parameter that helps."""
    model = OnnxClassifier(passing([port("out", "float32", shape)], shape=shape))
    X = LOGITS[:, : shape[1]] if len(shape) == 2 else LOGITS[:, 0]
    with pytest.raises(InvalidProbabilitiesError, match=r"model=ModelProto.*softmax=True"):
        model.predict_proba(X)


def test_wrong_probabilities_that_are_no_logits_are_refused():
    """Check that rows of NaN are no prediction, and that softmax is not offered where used."""
    model = OnnxClassifier(passing([port("out", "float32", ["n", 3])]), softmax=True)
    with pytest.raises(InvalidProbabilitiesError, match="is NaN in 1 rows") as caught:
        model.predict([[np.nan, 0, 0], [0, 0, 0]])
    assert "softmax=True" not in str(caught.value)


EXPORT = {"label": "int64", "probabilities": "float32", "exit_stage": "int64", "cost": "float32"}


def exported_cascade():
    """Return a graph with the outputs of an exported cascade."""
    nodes = [
        node("Identity", "x", "probabilities"),
        node("ArgMax", "x", "label", axis=1, keepdims=0),
        node("Identity", "label", "exit_stage"),
        node("ReduceSum", "x axis", "cost", keepdims=0),
    ]
    outputs = [port(k, v, ["n", 3] if k == "probabilities" else ["n"]) for k, v in EXPORT.items()]
    return passing(outputs, nodes, constants={"axis": [1]})


def test_outputs_of_a_cascade_are_told_apart():
    """Check that the probabilities are chosen by name and the other outputs can be read."""
    model = OnnxClassifier(exported_cascade())
    np.testing.assert_array_equal(model.predict_proba(PROBA), PROBA)
    found = model.outputs(PROBA, ["exit_stage", "cost"])
    assert list(found) == ["exit_stage", "cost"]
    assert found["exit_stage"].tolist() == [0, 1]
    assert found["cost"].tolist() == [1, 1]
    assert list(model.outputs(PROBA)) == list(EXPORT)
    by_name = OnnxClassifier(exported_cascade(), output_name="cost")
    np.testing.assert_array_equal(by_name.predict_proba(PROBA)[:, 1], [1, 1])


@pytest.mark.parametrize(
    ("names", "softmax", "chosen"),
    [
        (["a", "probs"], False, "probs"),
        (["class_probability", "features"], False, "class_probability"),
        (["prob_like", "probabilities"], False, "probabilities"),
        (["logits", "probabilities"], True, "logits"),
        (["a", "b"], False, None),
        (["prob_a", "prob_b"], False, None),
    ],
)
def test_outputs_are_chosen_by_name_or_listed(names, softmax, chosen):
    """Check the choice among several floating outputs, and the error where none stands out."""
    nodes = [node("Sqrt", "x", "other"), *(node("Identity", "x", n) for n in names if n == chosen)]
    nodes += [node("Identity", "other", n) for n in names if n != chosen]
    model = passing([port(n, "float32", ["n", 3]) for n in names], nodes)
    classifier = OnnxClassifier(model, softmax=softmax)
    if chosen is None:
        with pytest.raises(OnnxModelError, match=rf"'{names[0]}' tensor\(float\) \[n, 3\]; '"):
            classifier.predict(PROBA)
        return
    expected = classifier.outputs(PROBA, [chosen])[chosen].argmax(axis=1)
    np.testing.assert_array_equal(classifier.predict(PROBA), expected)
    if not softmax:
        np.testing.assert_array_equal(classifier.predict_proba(PROBA), PROBA)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"output_name": "p"}, r"output_name='p' is none of its outputs: 'label' tensor\(int64\)"),
        ({"output_name": "label"}, "output_name='label' is no probabilities"),
        (
            {"input_name": "y"},
            r"input_name='y' is none of its inputs: 'x' tensor\(float\) \[n, 3\]",
        ),
    ],
)
def test_names_that_do_not_fit_list_those_that_do(params, message):
    """Check the errors of names, which list what the graph has."""
    with pytest.raises(OnnxModelError, match=message):
        OnnxClassifier(exported_cascade(), **params).predict(PROBA)


def test_graphs_without_a_candidate_are_refused():
    """Check that a graph without floating output, or whose input is no tensor, is refused."""
    labels = passing(
        [port("label", "int64", ["n"])], [node("ArgMax", "x", "label", keepdims=0, axis=1)]
    )
    with pytest.raises(
        OnnxModelError, match=r"none of its outputs could .*'label' tensor\(int64\)"
    ):
        OnnxClassifier(labels).predict(PROBA)
    sequence = onnx.helper.make_tensor_sequence_value_info("x", 1, ["n", 3])
    nodes = [node("ConcatFromSequence", "x", "p", axis=0)]
    model = build(nodes, [sequence], [port("p", "float32", ["n", 3])])
    with pytest.raises(OnnxModelError, match="an input is no tensor"):
        OnnxClassifier(model).predict(PROBA)
    with pytest.raises(OnnxModelError, match=r"\['q'\] are none of its outputs"):
        OnnxClassifier(exported_cascade()).outputs(PROBA, ["q"])


def test_failures_of_the_runtime_are_named():
    """Check that an error met only while running comes as the one of the model."""
    nodes = [node("Reshape", "x shape", "p")]
    model = passing([port("p", "float32", ["n", 3])], nodes, constants={"shape": [5, 3]})
    with pytest.raises(OnnxModelError, match=r"onnxruntime fails on X: .*Reshape"):
        OnnxClassifier(model).predict(PROBA)
