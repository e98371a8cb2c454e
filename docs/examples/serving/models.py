"""The cascade that is served: trained or loaded, written as an ONNX file, and checked.

The same cascade is served three times: by Python, by its ONNX file, and with its dear member
behind HTTP. They differ in who computes, so they have to give the same answers.
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
    """A fitted cascade, its ONNX file, and rows that neither has learned from."""

    cascade: CascadeClassifier
    onnx_file: Path
    X: np.ndarray
    y: np.ndarray


@dataclass
class Served:
    """One way to answer rows, and what is watched about it."""

    predict_details: object
    cascade: CascadeClassifier
    monitor: ExitMonitor
    n_threads: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, X):
        """Return the prediction for some rows, and which of them a failed stage left behind."""
        found = self.predict_details(X)
        with self.lock:
            self.monitor.update(found)
        return found, np.flatnonzero(is_fallback(found, self.cascade.costs_))


def is_fallback(found, costs):
    """Tell which rows paid for a stage that did not answer them: it failed."""
    # No warning has to be caught for that, which threads could not do.
    paid = np.cumsum(costs)[found.exit_stage]
    return found.cost > paid + np.min(costs) / 2


def load_or_train(folder):
    """Return the cascade of a folder, trained on scikit-learn's digits at the first time."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Pickles are of one version, and run code: load none but your own.
    versions = f"{sklearn.__version__}-{sklearn_cascade.__version__}"
    pickled, onnx_file = (folder / f"cascade-{versions}.{ending}" for ending in ("joblib", "onnx"))
    X, X_held_out, y, y_held_out = halves()
    if not (pickled.exists() and onnx_file.exists()):
        cascade = train(X, y)
        model = to_onnx(cascade, X_held_out)
        write_whole(onnx_file, lambda path: path.write_bytes(model.SerializeToString()))
        write_whole(pickled, lambda path: joblib.dump(cascade, path))
    return Trained(joblib.load(pickled), onnx_file, X_held_out, y_held_out)


def halves():
    """Return the rows to learn from, the others, and the labels of both."""
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


def write_whole(path, write):
    """Write a file under another name first, so that nobody reads half of it."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    write(unfinished)
    os.replace(unfinished, path)


def serve_all(trained, remote=None):
    """Return every way to answer rows, by name; the remote one where its client is given."""
    cascade, X = trained.cascade, trained.X
    file = OnnxCascade(trained.onnx_file)
    check_same(cascade.predict_details(X), file.predict_details(X), trained.onnx_file)
    # One walk over the calibration rows, and a monitor each.
    watch = ExitMonitor.from_estimator(cascade, X).to_dict()
    ways = {"python": (cascade, N_THREADS), "onnx": (file, N_THREADS)}
    if remote is not None:
        ways["remote"] = (with_remote_member(trained, remote), N_REMOTE_THREADS)
    return {
        name: Served(way.predict_details, cascade, ExitMonitor.from_dict(watch), n_threads)
        for name, (way, n_threads) in ways.items()
    }


def with_remote_member(trained, remote):
    """Return the cascade with its last member behind HTTP; nobody is asked for that."""
    cascade = trained.cascade
    linear, _ = cascade.estimators_
    members = [
        ("linear", FrozenEstimator(linear)),
        ("forest", PrefitClassifier(remote, cascade.classes_, name="forest")),
    ]
    there = CascadeClassifier(
        members,
        thresholds=cascade.thresholds_,
        combine=cascade.combine_,
        costs=cascade.costs_,
        cost_unit=cascade.cost_unit_,
        on_stage_error="keep_previous",
    )
    return there.fit(trained.X, trained.y)


class OnnxCascade:
    """A cascade in an ONNX file, asked without scikit-learn."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the server's threads share the cores
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def predict_details(self, X):
        """Return what the file says about some rows."""
        outputs = ["label", "probabilities", "exit_stage", "cost"]
        return CascadePrediction(*self.session.run(outputs, {"X": X}))


def check_same(expected, found, path):
    """Raise unless the file answers as the cascade does."""
    for name in ("label", "exit_stage", "cost", "proba"):
        ours, theirs = getattr(expected, name), getattr(found, name)
        if not np.allclose(ours, theirs, rtol=0, atol=1e-6):
            raise RuntimeError(f"{path} differs from the cascade in {name}: remove both files")
