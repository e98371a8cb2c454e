"""The class labels that an ONNX graph carries."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sklearn_cascade.members._onnx_source import constants_of

# The input along which a node passes labels, or the numbers of labels, on.
_PASSED_ON = {
    "Identity": 0,
    "Cast": 0,
    "Reshape": 0,
    "Squeeze": 0,
    "Unsqueeze": 0,
    "Flatten": 0,
    "Normalizer": 0,
    "Softmax": 0,
    "ZipMap": 0,
    "LabelEncoder": 0,
    "ArrayFeatureExtractor": 1,
    "Gather": 1,
}
_CLASS_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")


def labels_by_output(proto) -> dict[str, list[list]]:
    """Return the lists of labels met on the way back from each output, nearest first."""
    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    constants = constants_of(graph)
    return {output.name: list(_walk(output.name, producers, constants)) for output in graph.output}


def labels_in_metadata(metadata: dict[str, str]) -> list | None:
    """Return the list that the metadata hold, as JSON, under "classes"."""
    try:
        labels = json.loads(metadata.get("classes", ""))
    except ValueError:
        return None
    return labels if _are_labels(labels) else None


def _walk(name: str, producers: dict, constants: dict) -> Iterator[list]:
    """Yield the labels of the nodes behind one output, as long as these pass labels on."""
    seen = set()
    while name in producers and name not in seen:
        seen.add(name)
        node = producers[name]
        labels = _labels_of(node, constants)
        if _are_labels(labels):
            yield labels
        position = _PASSED_ON.get(node.op_type, len(node.input))
        if position >= len(node.input):
            return
        name = node.input[position]


def _are_labels(labels) -> bool:
    """Tell whether these are at least two different labels of one type."""
    if not isinstance(labels, list) or len(labels) < 2:
        return False
    types = {type(label) for label in labels}
    return types in ({int}, {str}, {bool}, {float}) and len(set(labels)) == len(labels)


def _labels_of(node, constants: dict) -> list | None:
    """Return the labels that a node itself holds."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for key in _CLASS_LABELS:
        if key in attributes:
            return _values(attributes[key])
    if node.op_type == "LabelEncoder":
        return _encoded(attributes)
    if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in constants:
        return _elements(constants[node.input[0]])
    return None


def _values(attribute) -> list:
    """Return a list attribute as integers or text."""
    return list(attribute.ints) or _texts(attribute.strings)


def _texts(values) -> list[str]:
    """Return bytes as text; damaged ones stay readable."""
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]


def _encoded(attributes: dict) -> list | None:
    """Return the labels a LabelEncoder gives to 0, 1, ..."""
    keys = attributes.get("keys_int64s")
    values = attributes.get("values_strings") or attributes.get("values_int64s")
    if keys is None or values is None or sorted(keys.ints) != list(range(len(keys.ints))):
        return None
    values = _values(values)
    return [values[k] for k in _order(keys.ints)] if len(values) == len(keys.ints) else None


def _order(keys) -> list[int]:
    """Return the positions of 0, 1, ... among some keys."""
    return sorted(range(len(keys)), key=keys.__getitem__)


def _elements(tensor) -> list | None:
    """Return the elements of a constant as labels."""
    from onnx import numpy_helper

    # Rows and columns of one label each are both met.
    if len([dim for dim in tensor.dims if dim != 1]) > 1:
        return None
    try:
        array = numpy_helper.to_array(tensor).ravel()
    except Exception:  # a damaged constant holds no labels; whether it matters, the runtime says
        return None
    return array.tolist() if array.dtype.kind in "ib" else _texts(array.tolist())
