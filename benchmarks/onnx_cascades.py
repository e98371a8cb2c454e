"""Cascades to time as ONNX files: on a made-up table, and on images where they are at hand."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import NamedTuple

import numpy as np
import onnxruntime
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    OnnxClassifier,
    search_cascades,
    to_onnx,
)
from sklearn_cascade.exceptions import FewSamplesWarning, NoGainWarning
from sklearn_cascade.export._member_graphs import convert_alone
from sklearn_cascade.export._models import member_model
from sklearn_cascade.export._to_onnx import input_sources

# The members, and the share of the rows that is to reach each stage after the first.
CASCADES = {
    "A": (("linear", "small forest", "big forest"), (0.21, 0.20)),
    "B": (("linear", "net", "big forest"), (0.21, 0.08)),
    "C": (("linear", "net"), (0.21,)),
}
IMAGE_NETS = ("resnet_3m", "resnet_10m", "resnet_40m")


class TimedCascade(NamedTuple):
    """A cascade as a file, a session for each of its members, and rows to time them with."""

    title: str
    cascade: CascadeClassifier
    file: bytes
    export_seconds: float
    sessions: list
    X: np.ndarray


def table_cascades(*, quick):
    """Return cascades A, B and C on 30 features and 10 classes."""
    n_train, n_rows, n_trees = (300, 120, (5, 20)) if quick else (3000, 10_000, (20, 500))
    X, y = make_classification(
        n_train + n_rows, 30, n_informative=15, n_classes=10, class_sep=2.0, random_state=0
    )
    X = X.astype(np.float32)
    train, rows = (X[:n_train], y[:n_train]), X[n_train:]
    small, big = (RandomForestClassifier(n, random_state=0) for n in n_trees)
    members = {
        "linear": LogisticRegression(max_iter=300),
        "net": MLPClassifier((128,), max_iter=20 if quick else 60, random_state=0),
        "small forest": small,
        "big forest": big,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the net need not converge to be timed
        members = {name: FrozenEstimator(member.fit(*train)) for name, member in members.items()}
    probas = {name: member.predict_proba(rows) for name, member in members.items()}
    sessions = sessions_of(members, *train, rows)
    cascades = []
    for title, (names, shares) in CASCADES.items():
        cascade = CascadeClassifier(
            [(name, members[name]) for name in names],
            thresholds=thresholds_for([probas[name] for name in names], shares),
            combine="mean",
        ).fit(*train)
        cascades.append(exported(title, cascade, rows, [sessions[name] for name in names]))
    return cascades


def thresholds_for(probas, shares):
    """Return thresholds by which these shares of the rows are deferred."""
    rows, thresholds = np.arange(len(probas[0])), []
    for k, share in enumerate(shares):
        confidence = np.mean([proba[rows] for proba in probas[: k + 1]], axis=0).max(axis=1)
        part = share * len(probas[0]) / len(rows)
        thresholds.append(float(np.quantile(confidence, min(part, 1.0))))
        rows = rows[confidence < thresholds[-1]]
    return thresholds


def image_cascade(folder):
    """Return a cascade of three image nets, its thresholds found on recorded predictions."""
    stored = np.load(folder / "predictions.npz", allow_pickle=False)
    shown = np.load(folder / "test_images_500.npz", allow_pickle=False)
    chosen = [stored["model_names"].tolist().index(name) for name in IMAGE_NETS]
    costs = stored["cost_mflops"][chosen]
    front = search_cascades(
        list(stored["proba_valid"][chosen]),
        stored["label_valid"],
        costs=costs.tolist(),
        names=list(IMAGE_NETS),
        max_stages=3,
        n_thresholds=24,
    )
    best = max(point.score for point in front if point.kind == "single")
    point = min(
        (p for p in front if p.kind == "cascade" and p.members == IMAGE_NETS and p.score >= best),
        key=lambda p: p.mean_cost,
    )
    members = {
        name: OnnxClassifier(folder / f"{name}.onnx", cost=float(cost))
        for name, cost in zip(IMAGE_NETS, costs, strict=True)
    }
    X, y = shown["images"].astype(np.float32) / np.float32(255), shown["labels"]
    cascade = CascadeClassifier(
        list(members.items()), thresholds=list(point.thresholds), combine=point.combine
    ).fit(X, y)
    sessions = sessions_of(members, X, y, X)
    return exported("CIFAR-10", cascade, X, list(sessions.values()))


def sessions_of(members, X, y, rows):
    """Return a session for each fitted member alone, with its probabilities as the only output."""
    ensemble = AveragingEnsemble(list(members.items())).fit(X, y)
    foreign = all(isinstance(member, OnnxClassifier) for member in members.values())
    sources = input_sources(rows, by_column=False, keep_dtype=foreign)
    built = convert_alone(ensemble, sources, None)
    alone = [member_model(member, sources, built.elem_type) for member in built.members]
    return dict(zip(members, (open_file(m.SerializeToString()) for m in alone), strict=True))


def exported(title, cascade, rows, sessions):
    """Return a cascade with its verified file."""
    start = perf_counter()
    with warnings.catch_warnings():
        # The advice is printed in either case.
        warnings.simplefilter("ignore", NoGainWarning)
        warnings.simplefilter("ignore", FewSamplesWarning)
        content = to_onnx(cascade, rows[:1000]).SerializeToString()
    return TimedCascade(title, cascade, content, perf_counter() - start, sessions, rows)


def open_file(content, **settings):
    """Return a session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
