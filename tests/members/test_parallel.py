"""Tests of the way of a model to joblib's workers: its bytes once per worker, not per task."""

from __future__ import annotations

import os
import pickle
import uuid
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib._memmapping_reducer import get_memmapping_reducers
from joblib.externals.loky.backend import reduction
from sklearn.model_selection import cross_validate
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier

try:
    import cloudpickle  # a package of its own since joblib 1.6
except ImportError:
    from joblib.externals import cloudpickle

N_TASKS = 12
# More than the megabyte from which on joblib sends arrays as files.
LARGE = 200_000
X2 = np.zeros((2, 1))


class CountedNet:
    """A net with large weights that leaves a file per unpickling, named by process."""

    def __init__(self, folder, positive=0.25):
        self.folder = Path(folder)
        self.weights = np.full(LARGE, positive)

    def __call__(self, X):
        return np.full(len(X), self.weights.mean())

    def __getstate__(self):
        # A list of bytes, like the tensors of deep-learning libraries, is no array to joblib.
        return {"folder": self.folder, "weights": self.weights.tobytes()}

    def __setstate__(self, state):
        self.folder = state["folder"]
        self.weights = np.frombuffer(state["weights"])
        (self.folder / f"{os.getpid()}-{uuid.uuid4().hex}").touch()

    def unpicklings(self):
        """Return the number of unpicklings in each process."""
        processes = [path.name.split("-")[0] for path in self.folder.iterdir()]
        return {process: processes.count(process) for process in processes}


@pytest.fixture
def net(tmp_path):
    """Return a net that counts its unpicklings in a folder of its own."""
    folder = tmp_path / "unpicklings"
    folder.mkdir()
    return CountedNet(folder)


def run_tasks(function, *args, n_tasks=N_TASKS, **params):
    """Run a function in two workers, each task pickled by itself."""
    parallel = joblib.Parallel(n_jobs=2, batch_size=1, **params)
    return parallel(joblib.delayed(function)(*args, task) for task in range(n_tasks))


def positive_of(model, task):
    """Return the process, and what the model says of one row."""
    return os.getpid(), model.predict_proba(X2)[0, 1]


def packed_size(obj, folder):
    """Return the number of bytes that joblib sends to a worker besides files."""
    reducers, _ = get_memmapping_reducers(
        temp_folder_resolver=lambda: str(folder), unlink_on_gc_collect=False
    )
    return len(reduction.dumps(obj, reducers=reducers))


@pytest.mark.parametrize("estimator", [None, AveragingEnsemble, CascadeClassifier])
def test_worker_unpickles_a_model_once(net, estimator):
    """Check that many tasks cost one unpickling per worker, alone and as a member."""
    model = PrefitClassifier(net, [0, 1])
    if estimator is not None:
        model = estimator([("net", model)]).fit(X2, [0, 1])
    found = run_tasks(positive_of, model)
    assert {positive for _, positive in found} == {0.25}
    workers = {str(process) for process, _ in found}
    assert str(os.getpid()) not in workers
    assert net.unpicklings() == dict.fromkeys(workers, 1)


def test_cross_validation_unpickles_a_member_once_per_worker(net, iris):
    """Check the same for the folds of a cascade that is fitted in workers."""
    X, y = iris[0][:100], iris[1][:100]
    members = [("nb", GaussianNB()), ("net", PrefitClassifier(net, [0, 1]))]
    cascade = CascadeClassifier(members, thresholds=np.inf, combine="last")
    found = cross_validate(cascade, X, y, cv=N_TASKS, n_jobs=2, error_score="raise")
    # The net answers 0 for every row.
    assert found["test_score"].mean() == pytest.approx(0.5, abs=0.01)
    assert 1 <= len(net.unpicklings()) <= 2
    assert set(net.unpicklings().values()) == {1}


def test_tasks_carry_the_name_of_a_file(net, tmp_path):
    """Check that 1.6 MB of weights make tasks of under 2 kB, with one file for all of them."""
    folder = tmp_path / "joblib"
    model = PrefitClassifier(net, [0, 1])
    reducers, _ = get_memmapping_reducers(
        temp_folder_resolver=lambda: str(folder), unlink_on_gc_collect=False
    )
    sizes = [len(reduction.dumps((model, task), reducers=reducers)) for task in range(N_TASKS)]
    assert max(sizes) < 2000
    assert len(list(folder.iterdir())) == 1
    assert packed_size(net, folder) > 8 * LARGE


def test_change_of_the_model_reaches_the_workers(net):
    """Check that a net that is trained on between two calls is sent anew."""
    model = PrefitClassifier(net, [0, 1])
    assert {positive for _, positive in run_tasks(positive_of, model)} == {0.25}
    net.weights = np.full(LARGE, 0.75)
    assert {positive for _, positive in run_tasks(positive_of, model)} == {0.75}
    model.set_params(predict_proba=CountedNet(net.folder, 0.5))
    assert {positive for _, positive in run_tasks(positive_of, model)} == {0.5}


@pytest.mark.parametrize("size", [1, LARGE])
def test_functions_that_pickle_refuses_travel(size):
    """Check that workers get closures, small and large."""
    weights = [0.25] * size
    model = PrefitClassifier(lambda X: np.full(len(X), weights[-1]), [0, 1])
    assert {positive for _, positive in run_tasks(positive_of, model)} == {0.25}


def test_model_inside_of_a_function_travels(net):
    """Check a function that calls a cascade whose member is a net itself."""
    inner = CascadeClassifier([("net", PrefitClassifier(net, [0, 1]))]).fit(X2, [0, 1])
    model = PrefitClassifier(inner.predict_proba, [0, 1], name="inner")
    found = run_tasks(positive_of, model)
    assert {positive for _, positive in found} == {0.25}
    assert set(net.unpicklings().values()) == {1}


class MappedNet:
    """A net whose weights lie in a file."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, X):
        return np.full(len(X), self.weights[0])


@pytest.mark.parametrize("part", [slice(None), slice(LARGE // 2, None, 3)], ids=["all", "part"])
def test_weights_in_a_file_of_their_own_stay_there(tmp_path, part):
    """Check that a memory-mapped array is named, not copied, and that workers read it right."""
    values = np.linspace(0, 1, LARGE)
    np.save(tmp_path / "weights.npy", values)
    mapped = np.load(tmp_path / "weights.npy", mmap_mode="r")[part]
    model = PrefitClassifier(MappedNet(mapped), [0, 1])
    assert {positive for _, positive in run_tasks(positive_of, model)} == {values[part][0]}
    assert packed_size(model, tmp_path / "joblib") < 2000
    assert not (tmp_path / "joblib").exists()


def test_another_part_of_the_file_is_another_model(tmp_path):
    """Check that workers tell two nets apart that differ only in what part of a file they use."""
    values = np.linspace(0, 1, LARGE)
    np.save(tmp_path / "weights.npy", values)
    mapped = np.load(tmp_path / "weights.npy", mmap_mode="r")
    found = []
    for start in (0, 100_000):
        model = PrefitClassifier(MappedNet(mapped[start : start + 100]), [0, 1])
        found.append({positive for _, positive in run_tasks(positive_of, model)})
    assert found == [{values[0]}, {values[100_000]}]


def test_file_that_takes_the_place_of_another_is_noticed(tmp_path):
    """Check that workers do not go on with weights from a file that was replaced."""
    place, found = tmp_path / "weights.npy", []
    for value in (0.25, 0.75):
        np.save(tmp_path / "new.npy", np.full(LARGE, value))
        (tmp_path / "new.npy").replace(place)
        model = PrefitClassifier(MappedNet(np.load(place, mmap_mode="r")), [0, 1])
        found.append({positive for _, positive in run_tasks(positive_of, model)})
    assert found == [{0.25}, {0.75}]


def ask_all(models, task):
    """Ask many models."""
    return [float(model.predict_proba(X2)[0, 1]) for model in models]


def test_workers_keep_a_bounded_number_of_models(net):
    """Check that 65 models in turn are one too many, and that all answer right all the same."""
    others = [CountedNet(net.folder.parent, positive) for positive in np.linspace(0, 1, 64)]
    for each in [net, *others]:
        each.weights = each.weights[:1]
    models = [PrefitClassifier(each, [0, 1]) for each in [net, *others]]
    found = run_tasks(ask_all, models, n_tasks=4)
    assert found == [[0.25, *np.linspace(0, 1, 64)]] * 4
    # Each task found that the one before it in its worker had pushed the first model out.
    assert sum(net.unpicklings().values()) == 4


@pytest.mark.parametrize("package", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_copies_in_this_process_share_nothing(net, package):
    """Check that what is done to one copy does not show in another."""
    model = PrefitClassifier(net, [0, 1])
    first, second = (pickle.loads(package.dumps(model)) for _ in range(2))
    first.get_params()["predict_proba"].weights = np.ones(1)
    again = pickle.loads(package.dumps(model))
    assert [m.predict_proba(X2)[0, 1] for m in (first, second, again, model)] == [1, *[0.25] * 3]


def return_model(model, task):
    """Return a model from a worker."""
    return model


def test_models_come_back_from_workers(net):
    """Check that results with a model arrive, each with a function of its own."""
    first, second = run_tasks(return_model, PrefitClassifier(net, ["a", "b"], cost=2.0), n_tasks=2)
    first.get_params()["predict_proba"].weights = np.ones(1)
    assert second.predict(X2).tolist() == ["a", "a"]
    assert second.cost == 2.0
    assert first.predict(X2).tolist() == ["b", "b"]
