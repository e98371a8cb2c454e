"""Tests of ONNX models at work: in estimators, copies, pickles, workers and threads."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, OnnxClassifier
from sklearn_cascade.exceptions import MemberFailedError, OnnxModelError
from tests.members.graphs import ROWS, linear_answer, linear_net, node, onnx, passing, port

ROOT = Path(__file__).parents[2]
# float32 keeps seven digits.
CLOSE = {"rtol": 0, "atol": 1e-6}


def iris_net(petals=(2, 3), padding=0):
    """Return a graph that tells irises apart by their petals, with some bytes more."""
    weights, bias = np.zeros((4, 3), "f4"), np.array([9.0, 3.0, -9.0], "f4")
    weights[list(petals)] = [-3.0, 0.0, 2.0]
    nodes = [
        node("MatMul", "x weights", "product"),
        node("Add", "product bias", "logits"),
        node("Softmax", "logits", "p", axis=1),
    ]
    constants = {"weights": weights, "bias": bias}
    graph = passing([port("p", "float32", ["n", 3])], nodes, shape=["n", 4], constants=constants)
    onnx.helper.set_model_props(graph, {"padding": "." * padding} if padding else {})
    return graph


def iris_model(**params):
    """Return an ONNX model of the iris data."""
    return OnnxClassifier(iris_net().SerializeToString(), **params)


def test_clone_fit_and_fitted_check_keep_the_object(iris):
    """Check that cloning and fitting return the model itself, and that it counts as fitted."""
    X, y = iris
    model = iris_model()
    assert clone(model) is model
    assert model.fit(X, y, sample_weight=np.ones(len(y))) is model
    check_is_fitted(model)
    assert is_classifier(model)
    # Far from 1 / 3, which any constant reaches.
    assert model.score(X, y) > 0.8


def test_parameters_are_listed_and_set(iris):
    """Check get_params and set_params; what rests on a parameter is settled anew."""
    X, _ = iris
    model = iris_model(cost=2.5)
    assert model.get_params() == {
        "model": iris_net().SerializeToString(),
        "classes": None,
        "input_name": None,
        "output_name": None,
        "softmax": False,
        "batch_size": None,
        "providers": None,
        "n_threads": 1,
        "cost": 2.5,
    }
    assert model.classes_.tolist() == [0, 1, 2]
    before = model.predict(X)
    assert model.set_params(classes=["a", "b", "c"]) is model
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.predict(X).tolist() == np.array(["a", "b", "c"])[before].tolist()
    model.set_params(model=iris_net(petals=(0, 1)), classes=None)
    assert model.predict(X).tolist() != before.tolist()


def test_representations_neither_print_the_bytes_nor_load_the_model():
    """Check text and HTML of a model, alone and in an estimator, where a file is missing too."""
    model = OnnxClassifier(iris_net(padding=100_000).SerializeToString())
    small = OnnxClassifier("net.onnx")
    assert repr(small) == "OnnxClassifier(model='net.onnx')"
    n_bytes = len(model.get_params()["model"])
    assert repr(model) == f"OnnxClassifier(model=<bytes of length {n_bytes}>)"
    estimator = CascadeClassifier([("a", model), ("b", small)])
    shown = f"OnnxClassifier(model=<bytes of length {n_bytes}>)"
    assert shown in "".join(repr(estimator).split("\n"))
    assert "....." not in estimator_html_repr(estimator)
    assert len(estimator_html_repr(estimator)) < len(estimator_html_repr(small)) + 50_000


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected a number of rows of at least 1"),
        ({"batch_size": 2.5}, "batch_size=2.5; expected"),
        ({"n_threads": -1}, "n_threads=-1; expected a number of threads"),
        ({"n_threads": "all"}, "n_threads='all'; expected"),
        ({"providers": ["Abacus"]}, r"providers=\['Abacus'\]; .*\[.*'CPUExecutionProvider'"),
        (
            {"providers": "CPUExecutionProvider"},
            "providers='CPUExecutionProvider'; expected a list",
        ),
        ({"providers": []}, r"providers=\[\]; expected a list"),
    ],
)
def test_wrong_parameters_are_named(params, message):
    """Check that each parameter is named with its value and what is accepted."""
    with pytest.raises(ValueError, match=message):
        iris_model(**params).predict(np.zeros((1, 4)))


@pytest.mark.parametrize(
    "params",
    [
        {"n_threads": None},
        {"n_threads": 0},
        {"n_threads": 2},
        {"providers": ["CPUExecutionProvider"]},
        {"providers": [("CPUExecutionProvider", {})]},
        {"batch_size": 7},
    ],
)
def test_ways_to_run_change_no_answer(iris, params):
    """Check that threads, providers and batch size change nothing but the time."""
    X, _ = iris
    np.testing.assert_allclose(
        iris_model(**params).predict_proba(X), iris_model().predict_proba(X), **CLOSE
    )


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("form", ["path", "bytes", "proto"])
def test_copies_answer_the_same(tmp_path, iris, duplicate, used, form):
    """Check that copies and pickles answer like the original, used before or not."""
    X, _ = iris
    path = tmp_path / "net.onnx"
    onnx.save_model(iris_net(), path)
    source = {"path": path, "bytes": path.read_bytes(), "proto": iris_net()}[form]
    model = OnnxClassifier(source, classes=["a", "b", "c"], cost=2.0)
    if used:
        model.predict(X)
    again = duplicate(model)
    assert again is not model
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.classes_.tolist() == ["a", "b", "c"]
    assert again.cost == 2.0
    again.set_params(classes=["x", "y", "z"])
    assert model.classes_.tolist() == ["a", "b", "c"]


def test_pickle_holds_what_the_path_held(tmp_path, iris):
    """Check that a pickle works where the file is not, and says where it was."""
    X, _ = iris
    path = tmp_path / "net.onnx"
    onnx.save_model(iris_net(), path)
    packed = pickle.dumps(OnnxClassifier(path))
    path.unlink()
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.predict_proba(X), iris_model().predict_proba(X))
    assert again.get_params()["model"] == str(path)
    with pytest.raises(OnnxModelError, match="cannot be read"):
        pickle.dumps(OnnxClassifier(path))


def test_bytes_are_pickled_once():
    """Check that a pickle is hardly longer than the model, however it was given."""
    graph = iris_net(padding=200_000)
    n_bytes = graph.ByteSize()
    for source in (graph, graph.SerializeToString(), bytearray(graph.SerializeToString())):
        model = OnnxClassifier(source)
        assert n_bytes < len(pickle.dumps(model)) < n_bytes + 2000
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
        assert n_bytes < len(pickle.dumps(again)) < n_bytes + 2000


def place_of_bytes(model, X):
    """Return what a task sees: its process, the file that holds the bytes, and the answer."""
    data = model.get_params()["model"]
    return os.getpid(), getattr(data, "filename", None), data.nbytes, model.predict_proba(X)


def test_bytes_travel_once_to_the_workers(iris):
    """Check that twenty tasks on two workers find the bytes in one and the same file."""
    X, _ = iris
    model = OnnxClassifier(iris_net(padding=2_000_000).SerializeToString())
    found = Parallel(n_jobs=2, backend="loky")(delayed(place_of_bytes)(model, X) for _ in range(20))
    files = {filename for _, filename, _, _ in found}
    assert len(files) == 1
    assert None not in files
    assert os.getpid() not in {process for process, _, _, _ in found}
    assert {n_bytes for _, _, n_bytes, _ in found} == {len(model.get_params()["model"])}
    for *_, proba in found:
        np.testing.assert_allclose(proba, model.predict_proba(X), **CLOSE)


def live_sessions():
    """Return the sessions of the runtime that are alive in this process."""
    from onnxruntime import InferenceSession

    gc.collect()
    return [each for each in gc.get_objects() if type(each) is InferenceSession]


def test_copies_share_one_session():
    """Check that copies and pickles of one model take one session, and other threads another."""
    graph = linear_net(metadata={"unique": "to this test"})
    model = OnnxClassifier(graph.SerializeToString())
    # Held, so that none of them goes while the new ones are counted.
    before = live_sessions()
    model.predict(ROWS)
    copies = [copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    copies += [OnnxClassifier(graph), OnnxClassifier(graph, classes=["a", "b", "c"], batch_size=2)]
    for each in copies:
        each.predict(ROWS)
    assert len(live_sessions()) == len(before) + 1
    other = OnnxClassifier(graph, n_threads=2)
    other.predict(ROWS)
    assert len(live_sessions()) == len(before) + 2


def test_sessions_of_models_gone_are_let_go():
    """Check that the number of sessions kept for later copies is bounded."""
    before = live_sessions()
    for k in range(40):
        OnnxClassifier(linear_net(metadata={"number": str(k)})).predict(ROWS)
    assert len(live_sessions()) < len(before) + 40


def test_many_threads_share_a_model():
    """Check first use, and use, by several threads at the same time."""
    model = OnnxClassifier(linear_net(metadata={"threads": "many"}))
    X = np.random.default_rng(0).normal(size=(40, 5, 4))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.predict_proba, X))
    for rows, proba in zip(X, found, strict=True):
        np.testing.assert_allclose(proba, linear_answer(rows), **CLOSE)


FORKING = """
import os, sys
import numpy as np
from sklearn_cascade import OnnxClassifier
model = OnnxClassifier(sys.stdin.buffer.read(), n_threads=2)
X = np.random.default_rng(0).normal(size=(64, 4))
expected = model.predict_proba(X)
child = os.fork()
if child == 0:
    same = np.allclose(model.predict_proba(X), expected, rtol=0, atol=1e-6)
    os._exit(0 if same else 3)
status = os.waitpid(child, 0)[1]
assert np.allclose(model.predict_proba(X), expected, rtol=0, atol=1e-6)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_process_makes_a_session_of_its_own():
    """Check that a child of a process with a pool of threads answers instead of waiting."""
    data = linear_net().SerializeToString()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING],
        input=data,
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_skops_needs_to_trust_one_class_only(iris):
    """Check that skops saves and loads a model, alone and in an estimator."""
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    X, y = iris
    model = iris_model(classes=[0, 1, 2], providers=["CPUExecutionProvider"])
    data = skops.dumps(model)
    trusted = skops.get_untrusted_types(data=data)
    assert trusted == ["sklearn_cascade.members._onnx.OnnxClassifier"]
    again = skops.loads(data, trusted=trusted)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    estimator = AveragingEnsemble([("net", model), ("nb", GaussianNB())]).fit(X, y)
    data = skops.dumps(estimator)
    again = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    np.testing.assert_array_equal(again.predict_proba(X), estimator.predict_proba(X))


def cascade_with(position, **params):
    """Return a cascade whose first or last member is the ONNX model."""
    members = [("net", iris_model()), ("lr", LogisticRegression(max_iter=1000))]
    return CascadeClassifier(members[:: 1 if position == "first" else -1], cv=3, **params)


@pytest.mark.parametrize("position", ["first", "last"])
def test_cascades_tune_and_report(iris, position):
    """Check automatic thresholds, measured costs and the report with the model at either end."""
    X, y = iris
    cascade = cascade_with(position, thresholds="auto", costs="measured").fit(X, y)
    details = cascade.predict_details(X)
    assert details.label.shape == y.shape
    net = cascade.named_estimators_["net"]
    assert net is dict(cascade.estimators)["net"]
    assert (cascade.costs_ > 0).all()
    assert cascade.cost_report(X, y).n_samples == len(X)
    if position == "first":
        always = cascade.with_thresholds([-np.inf])
        np.testing.assert_allclose(always.predict_proba(X), net.predict_proba(X), **CLOSE)


@pytest.mark.parametrize("position", ["first", "last"])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cross_validation_keeps_the_weights(iris, position, n_jobs):
    """Check the folds of a cascade, in this process and in workers."""
    X, y = iris
    cascade = cascade_with(position, thresholds=np.inf if position == "last" else -np.inf)
    found = cross_validate(cascade, X, y, cv=3, n_jobs=n_jobs, return_estimator=True)
    if position == "first":
        alone = cross_val_score(iris_model(), X, y, cv=3)
        np.testing.assert_array_equal(found["test_score"], alone)
    for fitted in found["estimator"]:
        net = fitted.named_estimators_["net"]
        np.testing.assert_array_equal(net.predict_proba(X), iris_model().predict_proba(X))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_other_members(iris, n_jobs):
    """Check a search in which the model stands still and another member does not."""
    X, y = iris
    members = [("net", iris_model()), ("nb", GaussianNB())]
    grid = {"thresholds": [-np.inf, 0.9], "nb__var_smoothing": [1e-9, 1e-2]}
    search = GridSearchCV(CascadeClassifier(members), grid, cv=3, n_jobs=n_jobs).fit(X, y)
    always = np.asarray(search.cv_results_["param_thresholds"] == -np.inf, dtype=bool)
    alone = cross_val_score(iris_model(), X, y, cv=3).mean()
    # Means of the same three scores, added up in another order.
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"][always], alone, rtol=0, atol=1e-12
    )
    assert search.best_estimator_.named_estimators_["net"].predict(X).shape == y.shape


def test_averages_of_two_models(iris):
    """Check an ensemble of nothing but ONNX models, and the costs they declare."""
    X, y = iris
    nets = [iris_model(cost=1.5), OnnxClassifier(iris_net(petals=(0, 2)), cost=2.5)]
    ensemble = AveragingEnsemble([("a", nets[0]), ("b", nets[1])]).fit(X, y)
    mean = (nets[0].predict_proba(X) + nets[1].predict_proba(X)) / 2
    np.testing.assert_allclose(ensemble.predict_proba(X), mean, rtol=0, atol=1e-12)
    assert ensemble.costs_.tolist() == [1.5, 2.5]


def test_estimators_name_the_member_that_cannot_be_used(iris):
    """Check that a broken file is reported with the name of its member."""
    X, y = iris
    members = [("nb", GaussianNB()), ("net", OnnxClassifier("missing.onnx"))]
    with pytest.raises((MemberFailedError, OnnxModelError), match=r"missing\.onnx.*cannot be read"):
        CascadeClassifier(members, thresholds=0.9).fit(X, y).predict(X)
