"""Damage in an ONNX file that onnx's own checker lets pass and a runtime may crash on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError

_AT_LEAST_ONE = ("strides", "dilations", "kernel_shape", "group")
_LENGTHS = (*_AT_LEAST_ONE, "pads", "output_padding", "hidden_size")
# A kernel or a step of more is no net's.
_MOST = 2**24
# Runtimes pass these over where they do not fit.
_MAY_BE_SHORT = ("nodes_hitrates", "nodes_missing_value_tracks_true")
_LABELS = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")


def check_lengths(proto, shown: str) -> None:
    """Raise where a kernel, a step or a border has an impossible length."""
    for node in _nodes_of(proto.graph.node):
        values = _Attributes(node)
        for name in _LENGTHS:
            lengths = values[name]
            least = 1 if name in _AT_LEAST_ONE else 0
            # The operator Pad cuts with negative ones.
            if node.op_type != "Pad" and ((lengths < least) | (lengths > _MOST)).any():
                raise OnnxModelError(
                    shown,
                    f"node {node.name!r} ({node.op_type}) has {name}={lengths.tolist()}; the file "
                    f"is damaged",
                )


def check_nodes(proto, shapes: dict, shown: str) -> None:
    """Raise where the attributes of a node contradict each other or its input.

    Parameters
    ----------
    proto : onnx.ModelProto
        The model.
    shapes : dict from str to list
        Shape of each tensor, as far as known.
    shown : str
        The model in errors.
    """
    for node in _nodes_of(proto.graph.node):
        values = _Attributes(node)
        shape = shapes.get(node.input[0]) if node.input else None
        width = shape[-1] if shape else None
        problems = list(_problems(node.op_type, values, width))
        if node.op_type in ("LSTM", "GRU", "RNN") and len(node.input) > 2:
            recurrent = shapes.get(node.input[2]) or [None]
            problems += _problems_of_recurrence(values, recurrent[-1])
        for problem in problems:
            raise OnnxModelError(
                shown, f"node {node.name!r} ({node.op_type}) has {problem}; the file is damaged"
            )


class _Attributes:
    """The attributes of a node as arrays."""

    def __init__(self, node) -> None:
        self._found = {attribute.name: attribute for attribute in node.attribute}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values of one attribute, none where it is absent."""
        attribute = self._found.get(name)
        if attribute is None:
            return np.empty(0)
        values = attribute.ints or attribute.floats or attribute.strings
        if not values and attribute.HasField("i"):
            values = [attribute.i]
        return np.array(values)

    def lengths(self, prefix: str) -> set[int]:
        """Return the lengths of the attributes whose names begin alike, empty ones left out."""
        names = [n for n in self._found if n.startswith(prefix) and n not in _MAY_BE_SHORT]
        sizes = {len(self[name]) for name in names}
        return sizes - {0}

    def n_labels(self) -> int:
        """Return the number of class labels."""
        return max(len(self[name]) for name in _LABELS)


def _nodes_of(nodes) -> Iterator:
    """Yield nodes, those of graphs within graphs too."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes_of(graph.node)


def _problems(op_type: str, values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield what is wrong with one node."""
    if op_type.startswith("TreeEnsemble"):
        yield from _problems_of_trees(op_type, values, width)
    elif op_type.startswith("SVM"):
        yield from _problems_of_svm(values, width)
    elif op_type in ("LinearClassifier", "LinearRegressor"):
        n_rows = len(values["intercepts"])
        if n_rows and width is not None and len(values["coefficients"]) != n_rows * width:
            yield f"{len(values['coefficients'])} coefficients for {n_rows} times {width}"


def _problems_of_recurrence(values: _Attributes, n_hidden: int | None) -> Iterator[str]:
    """Yield what is wrong with a recurrent layer."""
    told = values["hidden_size"].tolist()
    if n_hidden is not None and told and told != [n_hidden]:
        yield f"hidden_size={told[0]} for weights of {n_hidden}"


def _problems_of_trees(op_type: str, values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield what is wrong with an ensemble of trees."""
    for prefix in ("nodes_", "class_", "target_", "leaf_"):
        if len(values.lengths(prefix)) > 1:
            yield f"attributes {prefix}* of unlike lengths"
    features = values["nodes_featureids"]
    if (features < 0).any() or (width is not None and (features >= width).any()):
        yield f"feature numbers from {features.min()} to {features.max()} for {width} columns"
    if len(values["nodes_nodeids"]) and not _is_forest(values):
        yield "nodes whose children are missing, or have two parents"
    targets = {"class_ids": values.n_labels(), "target_ids": values["n_targets"].sum()}
    for name, n_targets in targets.items():
        if len(values[name]) and not (values[name].min() >= 0 and values[name].max() < n_targets):
            yield f"{name} beyond {n_targets} classes or targets"


def _is_forest(values: _Attributes) -> bool:
    """Tell whether every child exists in its own tree and has one parent; else walks never end."""
    trees, nodes = values["nodes_treeids"], values["nodes_nodeids"]
    if len(trees) != len(nodes) or nodes.min() < 0 or nodes.max() >= 2**31:
        return False
    _, tree = np.unique(trees, return_inverse=True)
    keys = tree * 2**31 + nodes
    inner = values["nodes_modes"] != b"LEAF"
    children = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        child = values[name]
        if len(child) != len(nodes) or (child[inner] < 0).any() or (child[inner] >= 2**31).any():
            return False
        children.append(tree[inner] * 2**31 + child[inner])
    once = [len(np.unique(each)) == len(each) for each in (keys, np.concatenate(children))]
    if not all(once) or not np.isin(children, keys).all():
        return False
    return _all_reached(keys, inner, children)


def _all_reached(keys: np.ndarray, inner: np.ndarray, children: list[np.ndarray]) -> bool:
    """Tell whether walks down from the nodes without a parent reach every node."""
    order = np.argsort(keys)
    below = np.full((2, len(keys)), -1)
    below[:, inner] = order[np.searchsorted(keys, children, sorter=order)]
    level = np.setdiff1d(np.arange(len(keys)), below)
    n_reached = 0
    while len(level):
        n_reached += len(level)
        level = below[:, level].ravel()
        level = level[level >= 0]
    return n_reached == len(keys)


def _problems_of_svm(values: _Attributes, width: int | None) -> Iterator[str]:
    """Yield what is wrong with a support vector machine."""
    per_class, vectors = values["vectors_per_class"], values["support_vectors"]
    n_vectors = int(per_class.sum()) if len(per_class) else int(values["n_supports"].sum())
    n_labels = values.n_labels()
    if not n_vectors:
        return
    if (per_class < 0).any() or len(vectors) % n_vectors:
        yield f"{len(vectors)} numbers for {n_vectors} support vectors"
    elif width is not None and len(vectors) != n_vectors * width:
        yield f"{len(vectors)} numbers for {n_vectors} support vectors of {width} columns"
    if len(per_class) not in (0, n_labels):
        yield f"{len(per_class)} groups of support vectors for {n_labels} classes"
    if len(values["coefficients"]) != n_vectors * max(n_labels - 1, 1):
        yield f"{len(values['coefficients'])} coefficients for {n_vectors} support vectors"
    if len(values["kernel_params"]) not in (0, 3):
        yield f"{len(values['kernel_params'])} kernel_params"
    n_pairs = n_labels * (n_labels - 1) // 2
    for name in ("rho", "prob_a", "prob_b"):
        if len(per_class) and len(values[name]) not in (0, n_pairs):
            yield f"{len(values[name])} {name} for {n_pairs} pairs of classes"
