"""The cascade that is served: trained or loaded, written as an ONNX file, and checked.

The same cascade is served three times: by Python, by its ONNX file, and with its expensive member
behind HTTP. All three have to make the same predictions.
"""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import onnxruntime
import sklearn
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_cascade
from sklearn_cascade import (
    CascadeClassifier,
    CascadePrediction,
    ExitMonitor,
    PrefitClassifier,
    to_onnx,
)

COSTS = {"linear": 0.0001, "forest": 0.002}
LOWEST, HIGHEST = 0, 16  # pixels
N_THREADS, N_REMOTE_THREADS = 2, 32


@dataclass(frozen=True)
class Trained:
    """A fitted cascade, its ONNX file, and rows that it was not fitted on."""

    cascade: CascadeClassifier
    onnx_file: Path
    X: np.ndarray
    y: np.ndarray


@dataclass
class Served:
    """A served model with its monitor."""

    predict_details: object
    cascade: CascadeClassifier
    monitor: ExitMonitor
    n_threads: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, X):
        """Return the predictions for some rows, and the rows on which a stage failed."""
        found = self.predict_details(X)
        with self.lock:
            self.monitor.update(found)
        return found, np.flatnonzero(is_fallback(found, self.cascade.costs_))


def is_fallback(found, costs):
    """Return which rows paid for a stage later than their exit stage: that stage failed."""
    # Threads cannot catch warnings each for itself, so the costs are compared instead.
    paid = np.cumsum(costs)[found.exit_stage]
    return found.cost > paid + np.min(costs) / 2


def load_or_train(folder):
    """Return the cascade of a folder, trained on scikit-learn's digits the first time."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # A pickle is for one version, and runs code: load only your own.
    versions = f"{sklearn.__version__}-{sklearn_cascade.__version__}"
    pickled, onnx_file = (folder / f"cascade-{versions}.{ending}" for ending in ("joblib", "onnx"))
    X, X_held_out, y, y_held_out = halves()
    if not (pickled.exists() and onnx_file.exists()):
        cascade = train(X, y)
        model = to_onnx(cascade, X_held_out)
        write_atomically(onnx_file, lambda path: path.write_bytes(model.SerializeToString()))
        write_atomically(pickled, lambda path: joblib.dump(cascade, path))
    return Trained(joblib.load(pickled), onnx_file, X_held_out, y_held_out)


def halves():
    """Return the rows to fit on, the held-out rows, and the labels of both."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)


def train(X, y):
    """Return a cascade of a linear model and a forest, with tuned thresholds."""
    members = [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))),
        ("forest", ExtraTreesClassifier(100, random_state=0)),
    ]
    cascade = CascadeClassifier(members, combine="last", costs=COSTS, cost_unit="USD")
    return cascade.fit(X, y)


def write_atomically(path, write):
    """Write a file under another name first, so that no process reads half of it."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    write(unfinished)
    os.replace(unfinished, path)


def serve_all(trained, remote=None):
    """Return the served models by name; the remote one only if its client is given."""
    cascade, X = trained.cascade, trained.X
    file = OnnxCascade(trained.onnx_file)
    check_same(cascade.predict_details(X), file.predict_details(X), trained.onnx_file)
    # One pass over the calibration rows, and a monitor for each model.
    calibrated = ExitMonitor.from_estimator(cascade, X).to_dict()
    models = {"python": (cascade, N_THREADS), "onnx": (file, N_THREADS)}
    if remote is not None:
        models["remote"] = (with_remote_member(trained, remote), N_REMOTE_THREADS)
    return {
        name: Served(model.predict_details, cascade, ExitMonitor.from_dict(calibrated), n_threads)
        for name, (model, n_threads) in models.items()
    }


def with_remote_member(trained, remote):
    """Return the cascade with its last member behind HTTP; no request is sent yet."""
    cascade = trained.cascade
    linear, _ = cascade.estimators_
    members = [
        ("linear", FrozenEstimator(linear)),
        ("forest", PrefitClassifier(remote, cascade.classes_, name="forest")),
    ]
    remote_cascade = CascadeClassifier(
        members,
        thresholds=cascade.thresholds_,
        combine=cascade.combine_,
        costs=cascade.costs_,
        cost_unit=cascade.cost_unit_,
        on_stage_error="keep_previous",
    )
    return remote_cascade.fit(trained.X, trained.y)


class OnnxCascade:
    """A cascade in an ONNX file, which runs without scikit-learn."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the server's threads share the cores
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def predict_details(self, X):
        """Return the predictions of the file for some rows."""
        outputs = ["label", "probabilities", "exit_stage", "cost"]
        return CascadePrediction(*self.session.run(outputs, {"X": X}))


def check_same(expected, found, path):
    """Raise unless the file predicts as the cascade does."""
    for name in ("label", "exit_stage", "cost", "proba"):
        ours, theirs = getattr(expected, name), getattr(found, name)
        if not np.allclose(ours, theirs, rtol=0, atol=1e-6):
            raise RuntimeError(f"{path} differs from the cascade in {name}: remove both files")
