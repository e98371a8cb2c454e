"""An ONNX file as a fitted classifier."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from numbers import Integral

import numpy as np
from scipy.special import expit

from sklearn_cascade.core._probabilities import check_proba
from sklearn_cascade.exceptions import InvalidProbabilitiesError, OnnxModelError
from sklearn_cascade.members._base import FittedClassifier
from sklearn_cascade.members._onnx_checks import multiply_adds
from sklearn_cascade.members._onnx_file import (
    ModelBytes,
    ShortReprBytes,
    first_line,
    is_path,
    parse,
    read_model,
)
from sklearn_cascade.members._onnx_inputs import (
    InputEncoder,
    TensorSpec,
    choose_inputs,
    choose_output,
    listed,
)
from sklearn_cascade.members._onnx_session import OpenModel, open_model
from sklearn_cascade.members._prefit import both_columns, check_labels

_KNOWN_WHEN_LOADED = ("classes_", "n_features_in_", "feature_names_in_", "multiply_adds_")


class OnnxClassifier(FittedClassifier):
    """Present an ONNX model as a fitted classifier, run by onnxruntime.

    It is used as it is: ``clone`` returns the same object and ``fit`` does nothing, so it keeps
    its weights in `cross_validate`, in `GridSearchCV` and as a member of a cascade or ensemble.
    Only the graph runs: no custom operators, no pickles, no weights from outside the file's folder.
    A path is read at first use; from then on, and in pickles, the classifier holds the bytes.
    Copies in one process share one session.

    Parameters
    ----------
    model : path, bytes, ndarray of uint8 or onnx.ModelProto
        The model.
    classes : array-like of shape (n_classes,), default=None
        Label of each column. By default those that the graph carries, as files of skl2onnx
        do, or a JSON list under "classes" in its metadata; else 0, 1, ...
    input_name : str, default=None
        Input that takes X; by default the only one. If there are several, each takes the column
        of its name from a data frame, or the array of its name from a dict.
    output_name : str, default=None
        Output that holds the probabilities; by default the only floating-point one, or the one
        named like probabilities. It may have one column per class, dicts from label to probability
        (skl2onnx's ZipMap), or, with two classes, the positive class only.
    softmax : bool, default=False
        Whether the output holds logits: takes their softmax, or the sigmoid of a single column.
    batch_size : int, default=None
        The most rows of one run; by default all. A graph with a fixed batch size always gets
        that many.
    providers : list, default=None
        Execution providers of onnxruntime, best first; the CPU by default.
    n_threads : int, default=1
        Threads of the session's own pool. 1 works well with joblib and threads; None leaves the
        choice to onnxruntime.
    cost : float, default=None
        Cost of one row, used by cascades and ensembles whose `costs` leave this member out; with
        ``costs=None`` either all members declare one or none does.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Label of each column.
    n_features_in_ : int
        Number of columns of X, where the graph fixes it.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X, where the graph takes each by its name.
    multiply_adds_ : int or None
        Multiplications with their additions for one row, in convolutions and matrix products;
        None where the graph holds operators that are not counted.

    See Also
    --------
    PrefitClassifier : The same for any function.
    CascadeClassifier : Run cheap members first.

    Notes
    -----
    X is cast to the type of the input, never scaled: uint8 images stay between 0 and 255 in a
    float32 input. A cast that would change a value, such as a fraction for an integer input, is an
    error; rounding to the graph's own precision is not.

    Examples
    --------
    >>> import numpy as np
    >>> from onnx import parser
    >>> from sklearn_cascade import OnnxClassifier
    >>> net = parser.parse_model(
    ...     '''<ir_version: 8, opset_import: ["": 17]>
    ...     net (float[n, 2] x) => (float[n, 2] probabilities) {
    ...         probabilities = Softmax(x)
    ...     }'''
    ... )
    >>> model = OnnxClassifier(net, classes=["no", "yes"])
    >>> model.predict(np.array([[1.0, 3.0], [2.0, 0.0]])).tolist()
    ['yes', 'no']

    A file works the same way, ``OnnxClassifier("net.onnx")``, and so does a model of skl2onnx,
    whose labels are found: ``OnnxClassifier(to_onnx(fitted, X[:1]))``.
    """

    def __init__(
        self,
        model,
        *,
        classes=None,
        input_name=None,
        output_name=None,
        softmax=False,
        batch_size=None,
        providers=None,
        n_threads=1,
        cost=None,
    ):
        self.model = model
        self.classes = classes
        self.input_name = input_name
        self.output_name = output_name
        self.softmax = softmax
        self.batch_size = batch_size
        self.providers = providers
        self.n_threads = n_threads
        self.cost = cost

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        # The inference plan depends on the parameters.
        self.__dict__.pop("_plan", None)
        if name == "model":
            self.__dict__.pop("_content", None)

    def get_params(self, deep=True):
        """Get the parameters of this classifier.

        Parameters
        ----------
        deep : bool, default=True
            Without effect: no parameter has parameters of its own.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        self._name_bytes()
        return super().get_params(deep=False)

    def predict_proba(self, X):
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like, sparse matrix, frame or dict, n_samples rows
            Rows of whatever shape the graph takes, first axis first; sparse matrices are made
            dense.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``. Rows of NaN mean "don't know".

        Raises
        ------
        OnnxModelError
            If the model cannot be used, or does not take X.
        InvalidProbabilitiesError
            If its outputs are not probabilities.
        """
        return self._planned().proba(X, allow_abstain=True)

    def _valid_proba(self, X):
        return self._planned().proba(X, allow_abstain=False)

    def outputs(self, X, names=None):
        """Run the graph and return its outputs as they are.

        Parameters
        ----------
        X : array-like, sparse matrix, frame or dict, n_samples rows
            As in `predict_proba`.
        names : list of str, default=None
            Outputs to return; by default all.

        Returns
        -------
        outputs : dict from str to ndarray or list
            The outputs of onnxruntime, by name.
        """
        return self._planned().outputs(X, names)

    @property
    def classes_(self):
        """Label of each column: ndarray of shape (n_classes,)."""
        return self._planned().classes

    @property
    def n_features_in_(self):
        """Number of columns of X."""
        inputs = self._inputs()
        if len(inputs) > 1:
            return len(self.feature_names_in_)
        if len(inputs[0].shape) != 2 or inputs[0].width is None:
            raise AttributeError("the graph does not fix the number of columns of X")
        return inputs[0].width

    @property
    def feature_names_in_(self):
        """Names of the columns of X: ndarray of str of shape (n_features,)."""
        inputs = self._inputs()
        if len(inputs) == 1 or any(spec.width != 1 for spec in inputs):
            raise AttributeError("the graph does not take columns by name")
        return np.array([spec.name for spec in inputs], dtype=object)

    @property
    def multiply_adds_(self):
        """Multiplications with their additions for one row: int, or None where unknown."""
        try:
            content = read_bytes(self)
            return multiply_adds(parse(content.data, content.display_name))
        except Exception:  # a figure for reports, never a reason to fail
            return None

    def _planned(self) -> InferencePlan:
        """Return the inference plan, made on first use in this process."""
        plan = self.__dict__.get("_plan")
        if plan is None or not plan.usable():
            model = open_model(read_bytes(self), self.providers, self.n_threads)
            plan = self.__dict__["_plan"] = InferencePlan(self, model)
        return plan

    def _name_bytes(self):
        """Give bytes a repr that does not print megabytes; they still equal the bytes given."""
        if type(self.model) in (bytes, bytearray):
            self.__dict__["model"] = ShortReprBytes(self.model)

    def _inputs(self):
        """Return the inputs; AttributeError if the model cannot be used, so that hasattr works."""
        try:
            return self._planned().inputs
        except OnnxModelError as error:
            raise AttributeError(str(error)) from error

    def __dir__(self):
        # Printers inspect every attribute, which must neither load the model nor fail.
        hidden = () if "_plan" in self.__dict__ else _KNOWN_WHEN_LOADED
        return [name for name in object.__dir__(self) if name not in hidden]

    # Copies share the bytes, which never change.
    def __copy__(self):
        again = type(self)(**{name: getattr(self, name) for name in self._get_param_names()})
        if "_content" in self.__dict__:
            again.__dict__["_content"] = self._content
        return again

    def __deepcopy__(self, memo):
        again = self.__copy__()
        for name in ("classes", "providers"):
            setattr(again, name, copy.deepcopy(getattr(again, name), memo))
        return again

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_plan", None)
        content = read_bytes(self)
        # The bytes are pickled once, as one array that joblib recognises.
        state["model"] = os.fspath(self.model) if is_path(self.model) else content.data
        state["_content"] = dict(content._asdict())
        return state

    def __setstate__(self, state):
        content = state["_content"]
        super().__setstate__({**state, "_content": ModelBytes(**content)})


def read_bytes(classifier: OnnxClassifier) -> ModelBytes:
    """Return the bytes of the model, read once."""
    content = classifier.__dict__.get("_content")
    if content is None:
        classifier._name_bytes()
        content = classifier.__dict__["_content"] = read_model(classifier.model)
    return content


class InferencePlan:
    """How a classifier runs its model: the inputs, the output and the classes (n_classes,)."""

    def __init__(self, classifier: OnnxClassifier, model: OpenModel) -> None:
        softmax = bool(classifier.softmax)
        self.inputs = choose_inputs(model.inputs, classifier.input_name, model.display_name)
        self._display_name = model.display_name
        self._outputs = model.outputs
        self._run = model.session.run
        self._encode = InputEncoder(self.inputs, model.display_name)
        self._n_fixed = self.inputs[0].n_fixed
        self._batch_size = self._n_fixed or _check_batch_size(classifier.batch_size)
        # A session does not survive a fork of its process.
        self._process = os.getpid()
        output = choose_output(model.outputs, classifier.output_name, softmax, model.display_name)
        self._names = [output.name]
        keys, self.classes = self._find_classes(model, output, classifier.classes)
        member = f"OnnxClassifier(model={model.display_name})"
        self._decode = OutputDecoder(len(self.classes), keys, softmax, member)

    def usable(self) -> bool:
        """Tell whether the session was made in this process."""
        return self._process == os.getpid()

    def proba(self, X, *, allow_abstain: bool) -> np.ndarray:
        """Return the probabilities of the rows of X."""
        feeds = self._encode(X)
        n_samples = len(feeds[self.inputs[0].name])
        if n_samples == 0:
            return np.empty((0, len(self.classes)))
        output = self._run_in_batches(self._names, feeds, n_samples)[0]
        return self._decode(output, n_samples, allow_abstain=allow_abstain)

    def outputs(self, X, names: Sequence[str] | None) -> dict:
        """Return outputs of the graph by name, as they are."""
        known = [spec.name for spec in self._outputs]
        names = known if names is None else list(names)
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise OnnxModelError(
                self._display_name, f"{unknown} are none of its outputs: {listed(self._outputs)}"
            )
        feeds = self._encode(X)
        n_samples = len(feeds[self.inputs[0].name])
        return dict(zip(names, self._run_in_batches(names, feeds, n_samples), strict=True))

    def _run_in_batches(self, names: list[str], feeds: dict, n_samples: int) -> list:
        """Return the outputs named, from as many calls as the batch size requires."""
        size = self._batch_size
        try:
            if size is None or (n_samples <= size and self._n_fixed is None):
                return self._run(names, feeds)
            starts = range(0, n_samples, size)
            parts = [self._run_batch(names, feeds, start, size) for start in starts]
        except Exception as error:
            self._encode.check_shapes(feeds)
            raise OnnxModelError(
                self._display_name, f"onnxruntime fails on X: {first_line(error)}"
            ) from error
        return [_join(outputs) for outputs in zip(*parts, strict=True)]

    def _run_batch(self, names: list[str], feeds: dict, start: int, size: int) -> list:
        """Return the outputs for some rows; the last is repeated to fill a fixed batch size."""
        batch = {name: array[start : start + size] for name, array in feeds.items()}
        n_rows = len(next(iter(batch.values())))
        if self._n_fixed is None or n_rows == size:
            return self._run(names, batch)
        batch = {
            name: np.concatenate([array, np.repeat(array[-1:], size - n_rows, axis=0)])
            for name, array in batch.items()
        }
        return [output[:n_rows] for output in self._run(names, batch)]

    def _find_classes(self, model: OpenModel, output: TensorSpec, classes):
        """Return the keys of the output's dicts, if it has such, and the label of each column."""
        found = model.labels.get(output.name, [])
        keys = found[0] if output.is_map and found else None
        width = len(keys) if keys else output.width
        # Then the labels behind the outputs that hold labels.
        for spec in model.outputs:
            if spec.dtype is not None and spec.dtype.kind in "iuObU":
                found = [*found, *model.labels[spec.name]]
        found = [*found, model.metadata_labels or []]
        if width is None and classes is None:
            width, keys = self._probe(output)
        fitting = [labels for labels in found if labels and len(labels) == _n_classes(width)]
        if classes is not None:
            labels = check_labels(classes)
            if width is not None and len(labels) != _n_classes(width):
                raise ValueError(
                    f"classes={classes!r} are {len(labels)}, and the output {output} of "
                    f"model={model.display_name} tells {_n_classes(width)} classes"
                )
        elif width is not None and width < 1:
            raise OnnxModelError(model.display_name, f"its output {output} has no column")
        else:
            labels = np.asarray(fitting[0] if fitting else range(_n_classes(width)))
        return (keys or labels.tolist()) if output.is_map else None, labels

    def _probe(self, output: TensorSpec):
        """Return the number of columns, and their keys, of the output for one row of zeros."""
        lengths = [length for spec in self.inputs for length in spec.shape[1:]]
        if not all(isinstance(n, int) for n in lengths) or not all(s.shape for s in self.inputs):
            raise OnnxModelError(
                self._display_name,
                f"neither its output {output} nor its inputs tell how many classes it has; name "
                f"them with classes. Inputs: {listed(self.inputs)}",
            )
        feeds = {
            spec.name: np.full(
                (spec.n_fixed or 1, *spec.shape[1:]),
                "" if spec.dtype.kind == "O" else 0,
                dtype=spec.dtype,
            )
            for spec in self.inputs
        }
        try:
            found = self._run([output.name], feeds)[0]
            keys = list(found[0]) if isinstance(found, list) else None
            matrix = _as_matrix(found, keys)
        except Exception as error:
            raise OnnxModelError(
                self._display_name, f"onnxruntime fails on a row of zeros: {first_line(error)}"
            ) from error
        return (1 if matrix.ndim < 2 else matrix.shape[1]), keys


def _n_classes(width):
    """Return the number of classes of some columns: a single one is the positive class's."""
    return 2 if width == 1 else width


def _join(outputs: Sequence):
    """Return the outputs for several batches as one."""
    if isinstance(outputs[0], list):
        return [row for output in outputs for row in output]
    return np.concatenate([np.atleast_1d(output) for output in outputs])


def _check_batch_size(batch_size) -> int | None:
    """Return the number of rows of a call, None for all of them."""
    if batch_size is None:
        return None
    if not isinstance(batch_size, Integral) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(
            f"batch_size={batch_size!r}; expected a number of rows of at least 1, or None for all"
        )
    return int(batch_size)


class OutputDecoder:
    """Converts an output, or logits, to probabilities with one column per class."""

    def __init__(self, n_classes: int, keys: Sequence | None, softmax: bool, member: str) -> None:
        self.n_classes = n_classes
        self.keys = keys  # of the dicts, in the order of the columns, where rows are dicts
        self.softmax = softmax
        self.member = member  # the classifier in errors

    def __call__(self, output, n_samples: int, *, allow_abstain: bool) -> np.ndarray:
        """Return the probabilities as float64 of shape (n_samples, n_classes)."""
        scores = _as_matrix(output, self.keys)
        if self.softmax:
            scores = _normalised(scores)
        try:
            proba = both_columns(scores, n_samples, self.n_classes, self.member)
            return check_proba(
                proba, n_samples, self.n_classes, member=self.member, allow_abstain=allow_abstain
            )
        except InvalidProbabilitiesError as error:
            if self.softmax or "logits" not in error.problem:
                raise
            hint = f"{error.problem}; OnnxClassifier does so with softmax=True"
            raise InvalidProbabilitiesError(self.member, hint) from None


def _as_matrix(output, keys) -> np.ndarray:
    """Return an output as an array of one or two axes, dicts in the order of the keys."""
    if isinstance(output, list):
        try:
            return np.array([[row[key] for key in keys] for row in output], dtype=np.float64)
        except (KeyError, TypeError):
            return np.empty((len(output), 0))
    if output.ndim > 2 and output.size == output.shape[0] * output.shape[1]:
        return output.reshape(output.shape[:2])
    return output


def _normalised(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits, or the sigmoid of a single column of them."""
    logits = logits.astype(np.float64)
    if logits.ndim == 1 or logits.shape[1] == 1:
        return expit(logits)
    if not logits.size:
        return logits
    # Infinite logits make NaN, which the check of the probabilities reports.
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
