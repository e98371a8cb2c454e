"""An ONNX model with everything settled that does not depend on X."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._onnx_answers import Reader, as_matrix
from sklearn_cascade.members._onnx_feeds import Feeder
from sklearn_cascade.members._onnx_ports import Port, choose_inputs, choose_output, listed
from sklearn_cascade.members._onnx_sessions import OpenModel
from sklearn_cascade.members._onnx_source import first_line


class Plan:
    """How one classifier runs its model.

    Parameters
    ----------
    model : OpenModel
        The model with its session.
    classes, input_name, output_name, softmax, batch_size : object
        As in `OnnxClassifier`.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Label of each column.
    inputs : list of Port
        The inputs fed.
    """

    def __init__(self, model, classes, input_name, output_name, softmax, batch_size) -> None:
        self.inputs = choose_inputs(model.inputs, input_name, model.shown)
        self._shown = model.shown
        self._outputs = model.outputs
        self._run = model.session.run
        self._feed = Feeder(self.inputs, model.shown)
        self._n_fixed = self.inputs[0].n_fixed
        self._batch_size = self._n_fixed or _check_batch_size(batch_size)
        # A session does not outlive a fork of its process.
        self._process = os.getpid()
        output = choose_output(model.outputs, output_name, softmax, model.shown)
        self._names = [output.name]
        keys, self.classes = self._settle_classes(model, output, classes)
        member = f"OnnxClassifier(model={model.shown})"
        self._read = Reader(len(self.classes), keys, softmax, member)

    def usable(self) -> bool:
        """Tell whether the session was made in this very process."""
        return self._process == os.getpid()

    def proba(self, X, *, allow_abstain: bool) -> np.ndarray:
        """Return the probabilities of the rows of X."""
        feeds = self._feed(X)
        n_samples = len(feeds[self.inputs[0].name])
        if n_samples == 0:
            return np.empty((0, len(self.classes)))
        answer = self._answers(self._names, feeds, n_samples)[0]
        return self._read(answer, n_samples, allow_abstain=allow_abstain)

    def outputs(self, X, names: Sequence[str] | None) -> dict:
        """Return outputs of the graph by name, as they are."""
        names = [port.name for port in self._outputs] if names is None else list(names)
        unknown = sorted(set(names) - {port.name for port in self._outputs})
        if unknown:
            raise OnnxModelError(
                self._shown, f"{unknown} are none of its outputs: {listed(self._outputs)}"
            )
        feeds = self._feed(X)
        n_samples = len(feeds[self.inputs[0].name])
        return dict(zip(names, self._answers(names, feeds, n_samples), strict=True))

    def _answers(self, names: list[str], feeds: dict, n_samples: int) -> list:
        """Return the session's answers, from as many calls as the batch size asks for."""
        size = self._batch_size
        try:
            if size is None or (n_samples <= size and self._n_fixed is None):
                return self._run(names, feeds)
            parts = [self._chunk(names, feeds, start, size) for start in range(0, n_samples, size)]
        except Exception as error:
            self._feed.check_shapes(feeds)
            raise OnnxModelError(
                self._shown, f"onnxruntime fails on X: {first_line(error)}"
            ) from error
        return [_joined(answers) for answers in zip(*parts, strict=True)]

    def _chunk(self, names: list[str], feeds: dict, start: int, size: int) -> list:
        """Return the answers to some rows; a graph of a fixed batch size gets its last row again.

        Repeated rows are taken off the answers.
        """
        chunk = {name: array[start : start + size] for name, array in feeds.items()}
        n_rows = len(next(iter(chunk.values())))
        if self._n_fixed is None or n_rows == size:
            return self._run(names, chunk)
        chunk = {name: _padded(array, size) for name, array in chunk.items()}
        return [answer[:n_rows] for answer in self._run(names, chunk)]

    def _settle_classes(self, model: OpenModel, output: Port, classes):
        """Return the keys of the answer's dicts, if it has such, and the label of each column."""
        found = model.labels.get(output.name, [])
        keys = found[0] if output.is_map and found else None
        width = len(keys) if keys else output.width
        found = [*found, *_labels_behind(model), model.metadata_labels]
        fitting = [labels for labels in found if labels and len(labels) == _n_classes(width)]
        if width is None and classes is None:
            width, keys = self._probe(output)
            fitting = [labels for labels in found if labels and len(labels) == _n_classes(width)]
        if classes is not None:
            labels = _check_classes(classes, width, output, model.shown)
        elif width is not None and width < 1:
            raise OnnxModelError(model.shown, f"its output {output} has no column")
        else:
            labels = np.asarray(fitting[0] if fitting else range(_n_classes(width)))
        return (keys or labels.tolist()) if output.is_map else None, labels

    def _probe(self, output: Port):
        """Return the number of columns, and their keys, of the answer to one row of zeros."""
        lengths = [length for port in self.inputs for length in port.shape[1:]]
        if not all(isinstance(n, int) for n in lengths) or not all(p.shape for p in self.inputs):
            raise OnnxModelError(
                self._shown,
                f"neither its output {output} nor its inputs tell how many classes it has; name "
                f"them with classes. Inputs: {listed(self.inputs)}",
            )
        feeds = {port.name: _zeros(port) for port in self.inputs}
        try:
            answer = self._run([output.name], feeds)[0]
            keys = list(answer[0]) if isinstance(answer, list) else None
            matrix = as_matrix(answer, keys)
        except Exception as error:
            raise OnnxModelError(
                self._shown, f"onnxruntime fails on a row of zeros: {first_line(error)}"
            ) from error
        return (1 if matrix.ndim < 2 else matrix.shape[1]), keys


def _n_classes(width: int | None) -> int | None:
    """Return the number of classes of some columns: a single one is the positive class's."""
    return 2 if width == 1 else width


def _labels_behind(model: OpenModel) -> list[list]:
    """Return the labels behind the outputs that give labels."""
    return [
        labels
        for port in model.outputs
        if port.dtype is not None and port.dtype.kind in "iuObU"
        for labels in model.labels[port.name]
    ]


def _zeros(port: Port) -> np.ndarray:
    """Return a row of zeros, or of empty text, for an input; as many rows as it wants."""
    shape = (port.n_fixed or 1, *port.shape[1:])
    return np.full(shape, "" if port.dtype.kind == "O" else 0, dtype=port.dtype)


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """Return the array with its last row repeated up to a number of rows."""
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _joined(answers: Sequence):
    """Return the answers to several chunks as one."""
    if isinstance(answers[0], list):
        return [row for answer in answers for row in answer]
    return np.concatenate([np.atleast_1d(answer) for answer in answers])


def _check_classes(classes, width: int | None, output: Port, shown: str) -> np.ndarray:
    """Return the labels given, different ones, as many as the output has columns."""
    labels = np.asarray(classes)
    if labels.ndim != 1 or len(labels) < 2 or len(set(labels.tolist())) < len(labels):
        raise ValueError(
            f"classes={classes!r}; expected at least two different labels, one per column of the "
            f"probabilities"
        )
    if width is not None and len(labels) != _n_classes(width):
        raise ValueError(
            f"classes={classes!r} are {len(labels)}, and the output {output} of model={shown} "
            f"tells {_n_classes(width)} classes"
        )
    return labels


def _check_batch_size(batch_size) -> int | None:
    """Return the number of rows of a call, None for all of them."""
    if batch_size is None:
        return None
    if not isinstance(batch_size, Integral) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(
            f"batch_size={batch_size!r}; expected a number of rows of at least 1, or None for all"
        )
    return int(batch_size)
