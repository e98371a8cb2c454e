"""The ONNX graph of each kind of member against the member itself: differences and refusals."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime
import pandas as pd
import sklearn
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from benchmarks.tables import print_header, print_line
from sklearn_cascade import CascadeClassifier, OnnxClassifier, PrefitClassifier, to_onnx
from sklearn_cascade.exceptions import ConversionError

_N_FEATURES, _N_CLASSES = 20, 4


class Kind(NamedTuple):
    """A kind of member: how the table names it, how to fit it, and the rows that it takes."""

    name: str
    make: Callable  # of rows, labels and a number of trees; returns it fitted
    rows: Callable | None = None  # of an array; returns the rows in this member's form

    def prepare(self, X):
        """Return rows in this member's form."""
        return X if self.rows is None else self.rows(X)


class Own(ClassifierMixin, BaseEstimator):
    """A class without a converter, which predicts the same for each row."""

    def fit(self, X, y):
        """Keep the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        """Return the same for each row."""
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        """Return the first class."""
        return np.full(len(X), self.classes_[0])


def with_gaps(X):
    """Return rows with some missing values."""
    X = X.copy()
    X[np.abs(X) < 0.1] = np.nan
    return X


def with_kinds(X):
    """Return rows whose first column is a category."""
    X = X.copy()
    X[:, 0] = np.digitize(X[:, 0], [-1.5, 0, 1.5]) * 7 % 5
    return X


def as_frame(X):
    """Return rows as a frame of eight named columns, the last of them text."""
    frame = pd.DataFrame(X[:, :7], columns=[f"size{k}" for k in range(7)])
    frame["kind"] = np.where(X[:, 0] > 1, "large", np.where(X[:, 1] > 0, "middle", "small"))
    return frame


def as_images(X):
    """Return rows as images of one channel."""
    return X[:, :16].reshape(len(X), 1, 4, 4)


def kinds() -> list[Kind]:
    """Return each kind of member whose libraries are installed."""
    return [*_simple(), *_trees(), *_wrapped(), *_boosters(), *_without_converter()]


def _simple() -> list[Kind]:
    """Return linear models, nets, naive Bayes and nearest neighbours."""
    logistic = LogisticRegression(max_iter=500)
    sgd = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))
    return [
        _kind("LogisticRegression", logistic),
        _kind("LinearDiscriminantAnalysis", LinearDiscriminantAnalysis()),
        _kind("SGDClassifier, log_loss, scaled", sgd),
        _kind("MLPClassifier", MLPClassifier((16,), max_iter=60, random_state=0)),
        _kind("GridSearchCV(LogisticRegression)", GridSearchCV(logistic, {"C": [0.1, 1.0]}, cv=2)),
        _kind("GaussianNB", GaussianNB()),
        _kind("KNeighbors, uniform", KNeighborsClassifier()),
        _kind("KNeighbors, distance", KNeighborsClassifier(weights="distance")),
        Kind("net of convolutions (OnnxClassifier)", lambda *_: OnnxClassifier(_net()), as_images),
    ]


def _trees() -> list[Kind]:
    """Return members made of trees."""
    gradient = HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=8, random_state=0)
    categorical = sklearn.clone(gradient).set_params(categorical_features=[0])
    bagging = BaggingClassifier(LogisticRegression(max_iter=500), 5, random_state=0)
    return [
        _kind("DecisionTree", DecisionTreeClassifier(max_depth=5, random_state=0)),
        _forest("RandomForest", RandomForestClassifier),
        _forest("RandomForest, leaves of 3", RandomForestClassifier, min_samples_leaf=3),
        _forest(
            "RandomForest, leaves of 3, five times the trees",
            RandomForestClassifier,
            5,
            min_samples_leaf=3,
        ),
        _forest("ExtraTrees", ExtraTreesClassifier),
        _forest("GradientBoosting", GradientBoostingClassifier, max_depth=2),
        _kind("AdaBoost", AdaBoostClassifier(n_estimators=10, random_state=0)),
        _kind("Bagging(LogisticRegression)", bagging),
        _kind("HistGradientBoosting", gradient),
        _kind("HistGradientBoosting, missing values", gradient, with_gaps),
        _kind("HistGradientBoosting, categorical_features", categorical, with_kinds),
    ]


def _wrapped() -> list[Kind]:
    """Return members that hold others."""
    logistic, forest = LogisticRegression(max_iter=500), RandomForestClassifier(8, random_state=0)
    scaled = make_pipeline(StandardScaler(), logistic)
    pair = [("nb", GaussianNB()), ("linear", logistic)]
    columns = make_column_transformer(
        (StandardScaler(), [f"size{k}" for k in range(7)]),
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
    )
    found = [
        _kind("SVC in CalibratedClassifierCV", CalibratedClassifierCV(SVC(), cv=2)),
        _kind("Calibrated, sigmoid", CalibratedClassifierCV(GaussianNB(), cv=2)),
        _kind(
            "Calibrated, isotonic", CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2)
        ),
        _kind("Calibrated(Pipeline(scaler, LR))", CalibratedClassifierCV(scaled, cv=2)),
        _kind(
            "Pipeline(scaler, Calibrated(LR))",
            make_pipeline(StandardScaler(), CalibratedClassifierCV(logistic, cv=2)),
        ),
        Kind(
            "FrozenEstimator(GaussianNB)", lambda X, y, _: FrozenEstimator(GaussianNB().fit(X, y))
        ),
        Kind("Calibrated(FrozenEstimator(LR))", _calibrated_frozen),
        _kind("Stacking", StackingClassifier(pair, logistic, cv=2)),
        _kind("Voting, soft", VotingClassifier(pair, voting="soft")),
        _kind("Voting, weights", VotingClassifier(pair, voting="soft", weights=[1, 3])),
        _kind("Pipeline(ColumnTransformer), text", make_pipeline(columns, logistic), as_frame),
    ]
    if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8):
        temperature = CalibratedClassifierCV(forest, method="temperature", cv=2)
        found.append(_kind("Calibrated, temperature", temperature))
    return found


def _boosters() -> list[Kind]:
    """Return the boosters that are installed along with their converters."""
    if importlib.util.find_spec("onnxmltools") is None:
        return []
    found, few = [], {"n_estimators": 8, "max_depth": 3, "n_jobs": 1, "random_state": 0}
    if importlib.util.find_spec("lightgbm") is not None:
        from lightgbm import LGBMClassifier

        found.append(_kind("LightGBM", LGBMClassifier(**few, verbose=-1)))
    if importlib.util.find_spec("xgboost") is not None:
        from xgboost import XGBClassifier

        found.append(_kind("XGBoost", XGBClassifier(**few)))
    return found


def _without_converter() -> list[Kind]:
    """Return members that cannot be exported."""
    return [
        _kind("DummyClassifier", DummyClassifier()),
        _kind("a class of one's own", Own()),
        Kind("PrefitClassifier", lambda X, y, _: PrefitClassifier(_shares, np.unique(y))),
    ]


def _kind(name, estimator, rows=None) -> Kind:
    """Return a kind whose estimator is fitted with its own parameters."""
    return Kind(name, lambda X, y, _: sklearn.clone(estimator).fit(X, y), rows)


def _forest(name, make, factor=1, **parameters) -> Kind:
    """Return a kind with the given number of trees, or a multiple of it."""
    parameters["random_state"] = 0

    def fit(X, y, n_trees):
        return make(n_estimators=factor * n_trees, **parameters).fit(X, y)

    return Kind(name, fit)


def _calibrated_frozen(X, y, _):
    """Return a fitted model, calibrated as it is."""
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X[::2], y[::2]))
    return CalibratedClassifierCV(frozen).fit(X[1::2], y[1::2])


def _shares(X):
    """Return the same shares for each row."""
    return np.full((len(X), _N_CLASSES), 1 / _N_CLASSES)


def _net() -> bytes:
    """Return a net for images of four by four."""
    rng = np.random.default_rng(0)
    shapes = {"filters": (6, 1, 3, 3), "weights": (6, _N_CLASSES)}
    constants = [
        numpy_helper.from_array(rng.normal(size=shape).astype("f4"), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "weights"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
    ]
    tensors = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 4, 4]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", _N_CLASSES]),
    ]
    graph = helper.make_graph(nodes, "net", tensors[:1], tensors[1:], constants)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def problem(n_samples):
    """Return rows, and labels of four classes."""
    return make_classification(
        n_samples, _N_FEATURES, n_informative=10, n_classes=_N_CLASSES, random_state=0
    )


def run(*, quick=False):
    """Print one line per kind of member, with its largest difference of a probability."""
    n_train, n_test, n_trees = (200, 200, 5) if quick else (1500, 3500, 100)
    X, y = problem(n_train + n_test)
    print(
        f"Largest difference of a probability, {n_test:,} rows of {_N_FEATURES} columns, "
        f"{_N_CLASSES} classes, {n_trees} trees; and the outcome of `to_onnx`.\n"
    )
    print_header(["member", "float32 X", "float64 X", "to_onnx"])
    for kind in kinds():
        rows = kind.prepare(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            member = kind.make(rows[:n_train], y[:n_train], n_trees)
            found = [_outcome(member, _as(rows[n_train:], t)) for t in ("f4", "f8")]
        verdicts = list(dict.fromkeys(verdict for _, verdict in found))
        cells = [difference for difference, _ in found]
        print_line([kind.name, *cells, ", ".join(verdicts)])


def _as(X, dtype):
    """Return rows with their numbers in a dtype."""
    if not isinstance(X, pd.DataFrame):
        return X.astype(dtype)
    return X.astype({name: dtype for name in X.columns if X[name].dtype.kind == "f"})


def _outcome(member, X) -> tuple[str, str]:
    """Return a member's largest difference, and the exporter's verdict."""
    labels = np.resize(member.classes_, len(X))
    cascade = CascadeClassifier([("member", FrozenEstimator(member))]).fit(X, labels)
    try:
        model, verdict = to_onnx(cascade, X), "handed over"
    except ConversionError as error:
        verdict = type(error).__name__
        try:
            model = to_onnx(cascade, X, verify=False)
        except ConversionError:
            return "-", verdict
    difference = np.abs(_probabilities(model, X) - member.predict_proba(X))
    return f"{difference.max():.1e}", verdict


def _probabilities(model, X) -> np.ndarray:
    """Return the probabilities of a file."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    if isinstance(X, pd.DataFrame):
        feeds = {name: X[[name]].to_numpy() for name in X.columns}
    else:
        feeds = {session.get_inputs()[0].name: X}
    return session.run(["probabilities"], feeds)[0]
