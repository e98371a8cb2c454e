"""An ONNX file as a fitted classifier."""

from __future__ import annotations

import copy
import os

import numpy as np

from sklearn_cascade.exceptions import OnnxModelError
from sklearn_cascade.members._fitted import FittedClassifier
from sklearn_cascade.members._onnx_counting import multiply_adds
from sklearn_cascade.members._onnx_plan import Plan
from sklearn_cascade.members._onnx_sessions import open_model
from sklearn_cascade.members._onnx_source import Content, ModelBytes, is_path, parse, read_model

_KNOWN_WHEN_LOADED = ("classes_", "n_features_in_", "feature_names_in_", "multiply_adds_")


class OnnxClassifier(FittedClassifier):
    """Present an ONNX model as a fitted classifier, run by onnxruntime.

    It is used as it is: ``clone`` returns the same object and ``fit`` does nothing, so it keeps
    its weights in `cross_validate`, `GridSearchCV` and in a committee. Nothing but the graph
    runs: no custom operators, no pickles, no weights from outside of the file's folder. A path
    is read at first use; from then on, and in pickles, the classifier holds the bytes. Copies in
    one process share one session.

    Parameters
    ----------
    model : path, bytes, ndarray of uint8 or onnx.ModelProto
        The model.
    classes : array-like of shape (n_classes,), default=None
        Label of each column. By default those that the graph carries, as files of skl2onnx
        do, or a JSON list under "classes" in its metadata; else 0, 1, ...
    input_name : str, default=None
        Input that takes X; by default the only one. Where there are several, each takes the
        column of its name from a frame, or the array of its name from a dict.
    output_name : str, default=None
        Output that holds the probabilities; by default the only floating-point one, or the one
        whose name says so. It may have one column per class, dicts from label to probability
        (skl2onnx's ZipMap), or, with two classes, the positive class only.
    softmax : bool, default=False
        Whether the output holds logits: takes their softmax, or the sigmoid of a single column.
    batch_size : int, default=None
        The most rows of one run; by default all. A graph of a fixed batch size gets as many as
        it wants.
    providers : list, default=None
        Execution providers of onnxruntime, best first; the CPU by default.
    n_threads : int, default=1
        Threads of the session's own pool. 1 composes with joblib and threads; None leaves it to
        onnxruntime.
    cost : float, default=None
        Cost of one row, which committees use for what their `costs` leave out; with
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
        None where the graph does more than can be counted.

    See Also
    --------
    PrefitClassifier : The same for any function.
    CascadeClassifier : Run cheap members first.

    Notes
    -----
    X is cast to the type of the input, never scaled: images of uint8 stay between 0 and 255 in
    an input of float32. What would change a value, such as a fraction for an integer input, is an
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

    A file works the same, ``OnnxClassifier("net.onnx")``, and so does what skl2onnx returns,
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
        # What was settled rests on the parameters.
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
            If what it answers are no probabilities.
        """
        return self._planned().proba(X, allow_abstain=True)

    def _answers(self, X):
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
            What onnxruntime answers, by name.
        """
        return self._planned().outputs(X, names)

    @property
    def classes_(self):
        """Label of each column: ndarray of shape (n_classes,)."""
        return self._planned().classes

    @property
    def n_features_in_(self):
        """Number of columns of X."""
        ports = self._inputs()
        if len(ports) > 1:
            return len(self.feature_names_in_)
        if len(ports[0].shape) != 2 or ports[0].width is None:
            raise AttributeError("the graph does not fix the number of columns of X")
        return ports[0].width

    @property
    def feature_names_in_(self):
        """Names of the columns of X: ndarray of str of shape (n_features,)."""
        ports = self._inputs()
        if len(ports) == 1 or any(port.width != 1 for port in ports):
            raise AttributeError("the graph does not take columns by name")
        return np.array([port.name for port in ports], dtype=object)

    @property
    def multiply_adds_(self):
        """Multiplications with their additions for one row: int, or None where unknown."""
        try:
            content = self._read()
            return multiply_adds(parse(content.data, content.shown))
        except Exception:  # a figure for reports, never a reason to fail
            return None

    def _planned(self) -> Plan:
        """Return what is settled before any X is seen."""
        plan = self.__dict__.get("_plan")
        if plan is None or not plan.usable():
            model = open_model(self._read(), self.providers, self.n_threads)
            plan = self.__dict__["_plan"] = Plan(
                model,
                self.classes,
                self.input_name,
                self.output_name,
                bool(self.softmax),
                self.batch_size,
            )
        return plan

    def _name_bytes(self):
        """Give bytes a repr that does not print megabytes; they stay equal to what was given."""
        if type(self.model) in (bytes, bytearray):
            self.__dict__["model"] = ModelBytes(self.model)

    def _read(self) -> Content:
        """Return the bytes of the model, read once."""
        content = self.__dict__.get("_content")
        if content is None:
            self._name_bytes()
            content = self.__dict__["_content"] = read_model(self.model)
        return content

    def _inputs(self):
        """Return the inputs fed; of a model that cannot be used, nothing is known of them."""
        try:
            return self._planned().inputs
        except OnnxModelError as error:
            raise AttributeError(str(error)) from error

    def __dir__(self):
        # Printers look at every attribute, which must neither load the model nor fail on it.
        hidden = () if "_plan" in self.__dict__ else _KNOWN_WHEN_LOADED
        return [name for name in object.__dir__(self) if name not in hidden]

    # Copies share the bytes, which nobody changes.
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
        content = self._read()
        # The bytes travel once, as one array that joblib knows again.
        state["model"] = os.fspath(self.model) if is_path(self.model) else content.data
        state["_content"] = dict(content._asdict())
        return state

    def __setstate__(self, state):
        content = state["_content"]
        super().__setstate__({**state, "_content": Content(**content)})
