"""Tests of nets of PyTorch, skorch and Keras as members, as the user guide brings them."""

from __future__ import annotations

import os
import pickle
import uuid
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_cascade import CascadeClassifier, PrefitClassifier

torch = pytest.importorskip("torch", reason="nets of PyTorch, skorch and Keras need torch")
# Workers inherit it; Keras reads it when it is imported.
os.environ["KERAS_BACKEND"] = "torch"

# Keras with PyTorch below it asks for arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N_TRAIN = 1200
DIGITS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep PyTorch to one thread, and send it to workers that know of the Keras above."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    get_reusable_executor().shutdown(wait=True)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    """Return scikit-learn's digits with string labels, brightness from 0 to 1."""
    X, y = load_digits(return_X_y=True)
    return X / 16, DIGITS[y]


@pytest.fixture(scope="module")
def codes(digits):
    """Return the position of each label among the sorted ones."""
    return np.unique(digits[1], return_inverse=True)[1]


class DigitNet(torch.nn.Module):
    """A small net that answers with logits; dropout tells training from use."""

    def __init__(self, n_hidden=64):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, n_hidden),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(n_hidden, 10),
        )

    def forward(self, X):
        return self.layers(X)


class TorchProba:
    """A PyTorch module as a function from an array to class probabilities."""

    def __init__(self, module):
        self.module = module

    def __call__(self, X):
        self.module.eval()
        with torch.inference_mode():
            logits = self.module(torch.as_tensor(np.asarray(X, dtype=np.float32)))
            return torch.softmax(logits, dim=1).numpy()


class KerasProba:
    """A Keras model as a function from an array to class probabilities."""

    def __init__(self, model):
        self.model = model

    def __call__(self, X):
        return self.model.predict(np.asarray(X, dtype=np.float32), verbose=0)

    def __getstate__(self):
        # The pickle of a Keras model holds the time, so that no two are equal.
        return {"config": self.model.to_json(), "weights": self.model.get_weights()}

    def __setstate__(self, state):
        import keras

        self.model = keras.models.model_from_json(state["config"])
        self.model.set_weights(state["weights"])


class Counted:
    """A function that notes the rows of each call, and leaves a file per unpickling."""

    def __init__(self, function, folder):
        self.function = function
        self.folder = Path(folder)
        self.asked = []

    def __call__(self, X):
        self.asked.append(len(X))
        return self.function(X)

    def __getstate__(self):
        return {"function": self.function, "folder": self.folder}

    def __setstate__(self, state):
        self.__init__(**state)
        (self.folder / f"{os.getpid()}-{uuid.uuid4().hex}").touch()

    def unpicklings(self):
        """Return the number of unpicklings of each process."""
        processes = [path.name.split("-")[0] for path in self.folder.iterdir()]
        return [processes.count(process) for process in set(processes)]


@pytest.fixture(scope="module")
def trained_torch(digits, codes):
    """Return a trained PyTorch module."""
    torch.manual_seed(0)
    module = DigitNet()
    X = torch.as_tensor(digits[0][:N_TRAIN], dtype=torch.float32)
    y = torch.as_tensor(codes[:N_TRAIN])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(X), y).backward()
        optimizer.step()
    return module


@pytest.fixture(scope="module")
def trained_keras(digits, codes):
    """Return a trained Keras model."""
    keras = pytest.importorskip("keras", reason="the Keras member needs keras")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy")
    model.fit(digits[0][:N_TRAIN], codes[:N_TRAIN], batch_size=200, epochs=10, verbose=0)
    return model


@pytest.fixture(params=["torch", "keras"])
def net(request):
    """Return a net as a function, and its answer to all digits computed without us."""
    model = request.getfixturevalue(f"trained_{request.param}")
    X = request.getfixturevalue("digits")[0].astype(np.float32)
    if request.param == "keras":
        return KerasProba(model), model.predict(X, verbose=0)
    model.eval()
    with torch.no_grad():
        expected = torch.softmax(model(torch.as_tensor(X)), dim=1).numpy()
    # As it comes out of training: whoever asks has to switch the dropout off.
    return TorchProba(model.train()), expected


def test_net_alone_answers_as_its_library(net, digits):
    """Check probabilities, labels and score of a net against its own library's answer."""
    function, expected = net
    X, y = digits
    model = PrefitClassifier(function, np.unique(y))
    # float32 in batches; rows of a batch may be added up in another order, and be rescaled.
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=0, atol=1e-5)
    labels = np.unique(y)[expected.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict(X), labels)
    assert model.score(X[N_TRAIN:], y[N_TRAIN:]) > 0.85


def test_net_sees_the_rows_that_reach_it(net, digits, tmp_path):
    """Check a tuned cascade that ends with a net: the rows it is asked, and its answers."""
    function, expected = net
    X, y = digits
    counted = Counted(function, tmp_path)
    members = [
        ("linear", LogisticRegression(C=0.01, max_iter=1000)),
        ("net", PrefitClassifier(counted, np.unique(y), cost=50)),
    ]
    cascade = CascadeClassifier(members, cv=3, combine="last", costs={"linear": 1})
    cascade.fit(X[:N_TRAIN], y[:N_TRAIN])
    # The net is fitted: one call tells what it says of all rows.
    assert counted.asked == [N_TRAIN]
    counted.asked.clear()
    found = cascade.predict_details(X[N_TRAIN:])
    reached = found.exit_stage == 1
    assert counted.asked == [reached.sum()]
    assert 0 < reached.sum() < len(reached)
    np.testing.assert_allclose(found.proba[reached], expected[N_TRAIN:][reached], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.cost, np.where(reached, 51, 1))


def test_weights_of_a_net_travel_once_per_worker(net, digits, tmp_path):
    """Check that twelve folds in two workers unpickle a net at most twice, with equal scores."""
    function, _ = net
    X, y = digits
    counted = Counted(function, tmp_path)
    model = PrefitClassifier(counted, np.unique(y))
    alone = cross_validate(model, X, y, cv=12)["test_score"]
    found = cross_validate(model, X, y, cv=12, n_jobs=2, error_score="raise")["test_score"]
    np.testing.assert_array_equal(found, alone)
    assert set(counted.unpicklings()) == {1}
    assert len(counted.unpicklings()) <= 2


def test_net_survives_pickle(net, digits):
    """Check that a pickled net answers as before."""
    function, expected = net
    X, y = digits
    again = pickle.loads(pickle.dumps(PrefitClassifier(function, np.unique(y))))
    np.testing.assert_allclose(again.predict_proba(X), expected, rtol=0, atol=1e-5)


def to_float32(X):
    """Return what PyTorch takes."""
    return X.astype(np.float32)


@pytest.fixture(scope="module")
def skorch_member():
    """Return a pipeline that ends with an unfitted skorch net."""
    skorch = pytest.importorskip("skorch", reason="the skorch member needs skorch")
    net = skorch.NeuralNetClassifier(
        DigitNet,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.02,
        max_epochs=8,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    return make_pipeline(StandardScaler(), FunctionTransformer(to_float32), net)


def skorch_cascade(member, **params):
    """Return a cascade whose second member is a skorch net."""
    members = [("linear", LogisticRegression(C=0.001, max_iter=1000)), ("net", member)]
    return CascadeClassifier(members, cv=3, costs=[1, 50], **params)


def test_skorch_net_is_a_member_like_any_other(skorch_member, digits):
    """Check a tuned cascade with a skorch net on string labels: fit, labels, score, pickles."""
    X, y = digits
    torch.manual_seed(0)
    cascade = skorch_cascade(skorch_member).fit(X[:N_TRAIN], y[:N_TRAIN])
    found = cascade.predict_details(X[N_TRAIN:])
    assert np.mean(found.label == y[N_TRAIN:]) > 0.9
    assert set(np.unique(found.exit_stage)) == {0, 1}
    assert not hasattr(skorch_member[-1], "module_")
    again = pickle.loads(pickle.dumps(cascade))
    np.testing.assert_array_equal(again.predict_proba(X), cascade.predict_proba(X))
    assert clone(cascade).get_params()["net"][-1].lr == 0.02


def test_cascade_without_exits_answers_as_the_skorch_net(skorch_member, digits, codes):
    """Check the answers of a cascade against the same pipeline fitted by hand on codes."""
    X, y = digits
    params = {"thresholds": np.inf, "combine": "last"}
    torch.manual_seed(0)
    cascade = skorch_cascade(skorch_member, **params).fit(X[:N_TRAIN], y[:N_TRAIN])
    torch.manual_seed(0)
    alone = clone(skorch_member).fit(X[:N_TRAIN], codes[:N_TRAIN])
    # The same weights on the same rows; probabilities may be rescaled to add up to one.
    np.testing.assert_allclose(cascade.predict_proba(X), alone.predict_proba(X), rtol=0, atol=1e-6)


def test_skorch_net_is_trained_in_workers(skorch_member, digits):
    """Check cross-validation of a cascade with a skorch net in two workers."""
    X, y = digits
    found = cross_validate(
        skorch_cascade(skorch_member, thresholds=0.5), X, y, cv=2, n_jobs=2, error_score="raise"
    )
    assert (found["test_score"] > 0.85).all()
