"""Any function that returns class probabilities, as a fitted classifier."""

from __future__ import annotations

import copy
import pickle

import numpy as np

from sklearn_cascade._compat import n_rows
from sklearn_cascade.core._probabilities import NEGATIVE_TOLERANCE, check_proba
from sklearn_cascade.exceptions import InvalidProbabilitiesError
from sklearn_cascade.members._base import FittedClassifier
from sklearn_cascade.members._parallel import pickling_context, shared_pickle


class PrefitClassifier(FittedClassifier):
    """Present any function that returns class probabilities as a fitted classifier.

    A deep net, a remote service, a model of another library: anything that returns probabilities.
    It is used as it is: ``clone`` returns the same object and ``fit`` does nothing, so it keeps its
    fit in `cross_validate`, in `GridSearchCV` and as a member of a cascade or ensemble.

    Parameters
    ----------
    predict_proba : callable
        Function of X that returns an array of shape (n_samples, n_classes) whose rows sum
        to one. With two classes, the probability of the second one, of shape (n_samples,) or
        (n_samples, 1), is enough. X is passed on as the caller gave it.
    classes : array-like of shape (n_classes,)
        Label of each column.
    name : str, default=None
        Name used in errors; the function's own by default.
    cost : float, default=None
        Cost of one row, used by cascades and ensembles whose `costs` leave this member out; with
        ``costs=None`` either all members declare one or none does.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Label of each column.

    See Also
    --------
    sklearn.frozen.FrozenEstimator : The same for a fitted scikit-learn estimator.
    CascadeClassifier : Run cheap members first.

    Notes
    -----
    A joblib worker receives the function once and shares it between its tasks, as one process
    does; it receives it again only if its pickle has changed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cascade import PrefitClassifier
    >>> def positive(X):
    ...     return 1 / (1 + np.exp(-X[:, 0]))
    >>> model = PrefitClassifier(positive, classes=["no", "yes"])
    >>> model.predict(np.array([[-2.0], [3.0]])).tolist()
    ['no', 'yes']
    """

    def __init__(self, predict_proba, classes, *, name=None, cost=None):
        self.predict_proba = predict_proba
        self.classes = classes
        self.name = name
        self.cost = cost

    @property
    def predict_proba(self):
        """Method ``predict_proba(X)``: the output of the function, validated."""
        # A parameter and a method share the name: the parameter is kept as `_function`, and what
        # callers get is the method that validates its output.
        return self._compute_proba

    @predict_proba.setter
    def predict_proba(self, function):
        self._function = function

    def get_params(self, deep=True):
        """Get the parameters of this classifier.

        Parameters
        ----------
        deep : bool, default=True
            Without effect: the function has no parameters of its own.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        return {
            "predict_proba": self._function,
            "classes": self.classes,
            "name": self.name,
            "cost": self.cost,
        }

    @property
    def classes_(self):
        """Label of each column: ndarray of shape (n_classes,)."""
        return np.asarray(self.classes)

    def _valid_proba(self, X):
        return self._compute_proba(X, allow_abstain=False)

    def _compute_proba(self, X, *, allow_abstain=True):
        """Return the output of the function as probabilities: (n_samples, n_classes).

        Rows of NaN mean "don't know"; a cascade or ensemble decides whether that is allowed.
        """
        if not callable(self._function):
            raise TypeError(
                f"predict_proba={self._function!r}; expected a function of X that returns "
                f"class probabilities"
            )
        n_samples, n_classes, name = n_rows(X), len(check_labels(self.classes)), self._label()
        proba = both_columns(self._function(X), n_samples, n_classes, name)
        return check_proba(proba, n_samples, n_classes, member=name, allow_abstain=allow_abstain)

    def _label(self):
        """Return the name used in errors."""
        return self.name or getattr(self._function, "__name__", type(self._function).__name__)

    # Copies avoid pickling, which not every function supports.
    def __copy__(self):
        return type(self)(**self.get_params())

    def __deepcopy__(self, memo):
        params = {key: copy.deepcopy(value, memo) for key, value in self.get_params().items()}
        return type(self)(**params)

    def __reduce_ex__(self, protocol):
        context = pickling_context()
        if context.cloud_pickler is None:
            self._check_picklable(protocol)
        reduced = super().__reduce_ex__(protocol)
        if context.cloud_pickler is None or not context.to_worker:
            return reduced
        function = shared_pickle(self, self._function, context.cloud_pickler)
        make, args, state, *rest = reduced
        return (make, args, {**state, "_function": function}, *rest)

    def _check_picklable(self, protocol):
        """Raise naming the cause where the function does not pickle."""
        try:
            pickle.dumps(self._function, protocol)
        except Exception as error:
            raise pickle.PicklingError(
                f"PrefitClassifier {self._label()!r} cannot be pickled because its function "
                f"predict_proba={self._function!r} cannot: {error}. Use a function defined at the "
                f"top level of a module, or an instance of a class that is"
            ) from error


def check_labels(classes) -> np.ndarray:
    """Return the classes as an array; raise unless they are at least two different labels."""
    labels = np.asarray(classes)
    if labels.ndim != 1 or len(labels) < 2 or len(set(labels.tolist())) < len(labels):
        raise ValueError(
            f"classes={classes!r}; expected at least two different labels, one per column of the "
            f"probabilities"
        )
    return labels


def both_columns(proba, n_samples, n_classes, name):
    """Complete the positive class's probabilities of a binary function to two columns."""
    shape = np.shape(proba)
    if n_classes != 2 or shape not in ((n_samples,), (n_samples, 1)):
        return proba
    positive = np.asarray(proba, dtype=np.float64).reshape(n_samples)
    rounded = np.clip(positive, 0, 1)
    # Nets in float32 exceed the bounds slightly.
    positive = np.where(np.abs(positive - rounded) <= NEGATIVE_TOLERANCE, rounded, positive)
    if (positive < 0).any() or (positive > 1).any():
        row = int(((positive < 0) | (positive > 1)).argmax())
        raise InvalidProbabilitiesError(
            name,
            f"is {positive[row]:.6g} in row {row}; expected the positive class's probability, "
            f"from 0 to 1: if these are logits, apply a sigmoid first",
        )
    return np.column_stack([1 - positive, positive])
