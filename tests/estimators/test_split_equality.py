"""Tests that parts add up to their ensemble bit for bit, with one call per member and row."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier, split_ensemble
from sklearn_cascade.members import _ensemble_parts as _additive
from tests.probes import CountingNB, log

CHECKPOINTS = [1, 4, 11, 20]


def table(n_classes=4):
    """Return 600 noisy rows with named classes."""
    X, y = make_classification(
        n_samples=600,
        n_features=8,
        n_informative=5,
        n_classes=n_classes,
        flip_y=0.2,
        random_state=n_classes,
    )
    return X, np.array(["d", "a", "c", "b"])[y]


def never(fitted, checkpoints=CHECKPOINTS):
    """Return the cascade of an ensemble's parts from which no row exits early."""
    parts = split_ensemble(fitted, checkpoints)
    cascade = CascadeClassifier.from_ensemble(
        fitted, stopping="exact", checkpoints=checkpoints, costs=[1] * len(parts.estimators)
    )
    return cascade.with_thresholds(np.inf)


def assert_adds_up(fitted, X, checkpoints=CHECKPOINTS):
    """Assert that the parts give the ensemble's own probabilities and labels, to the last bit."""
    cascade = never(fitted, checkpoints)
    expected = fitted.predict_proba(X)
    assert_array_equal(cascade.predict_proba(X), expected)
    assert_array_equal(cascade.predict(X), fitted.predict(X))
    # Single rows: sums over members must keep their order.
    for row in range(3):
        alone = X.iloc[[row]] if hasattr(X, "iloc") else X[row : row + 1]
        assert_array_equal(cascade.predict_proba(alone), fitted.predict_proba(alone))


FORESTS = {
    "pure": RandomForestClassifier(30, random_state=0),
    "soft leaves": RandomForestClassifier(30, min_samples_leaf=5, random_state=0),
    "weighted": RandomForestClassifier(30, class_weight="balanced_subsample", random_state=0),
    "no bootstrap": RandomForestClassifier(30, bootstrap=False, max_depth=4, random_state=0),
    "extra": ExtraTreesClassifier(30, min_samples_leaf=3, random_state=0),
}


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_forest_adds_up(name, n_classes):
    """Check forests of pure and of mixed leaves, for two classes and for four, by name."""
    X, y = table(n_classes)
    assert_adds_up(FORESTS[name].fit(X[:300], y[:300]), X)


LAYOUTS = {
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "int": lambda X: (10 * X).astype(int),
    "bool": lambda X: X > 0,
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "list": lambda X: X.tolist(),
    "object": lambda X: X.astype(object),
    "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
    "csr": lambda X: csr_matrix(np.where(np.abs(X) > 1, X, 0)),
    "csc": lambda X: csc_matrix(np.where(np.abs(X) > 1, X, 0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_forest_adds_up_in_any_layout(layout):
    """Check every type of X that a forest accepts."""
    X, y = table()
    assert_adds_up(FORESTS["soft leaves"].fit(X[:300], y[:300]), LAYOUTS[layout](X))


def test_forest_adds_up_for_coordinates():
    """Check a sparse matrix whose rows cannot be taken before it is converted."""
    X, y = table()
    forest = FORESTS["soft leaves"].fit(X[:300], y[:300])
    sparse = coo_matrix(np.where(np.abs(X) > 1, X, 0))
    assert_array_equal(never(forest).predict_proba(sparse), forest.predict_proba(sparse))


@pytest.mark.parametrize("name", ["soft leaves", "extra"])
def test_forest_adds_up_with_missing_values(name):
    """Check rows with NaN, which trees handle themselves."""
    X, y = table()
    X[np.random.default_rng(0).uniform(size=X.shape) < 0.2] = np.nan
    assert_adds_up(FORESTS[name].fit(X[:300], y[:300]), X)


def test_forest_adds_up_on_frames():
    """Check a forest with feature names."""
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    X, y = table()
    X = pandas.DataFrame(X, columns=[f"column {k}" for k in range(8)])
    assert_adds_up(FORESTS["pure"].fit(X[:300], y[:300]), X)


@pytest.mark.parametrize("layout", ["float32", "csr"])
def test_forest_adds_up_in_threads(layout, monkeypatch):
    """Check that threads divide the rows, so that the order of additions stays."""
    X, y = table()
    X = LAYOUTS[layout](X)
    forest = RandomForestClassifier(30, min_samples_leaf=5, random_state=0).fit(X[:300], y[:300])
    expected = forest.predict_proba(X)
    monkeypatch.setattr(_additive, "_WORTH_THREADS", 0)
    monkeypatch.setattr(_additive, "_ROWS_PER_THREAD", 100)
    forest.set_params(n_jobs=2)
    for exits in (np.inf, 2.0):
        cascade = never(forest).with_thresholds(exits)
        proba = cascade.predict_proba(X)
        forest.set_params(n_jobs=None)
        assert_array_equal(proba, cascade.predict_proba(X))
        forest.set_params(n_jobs=2)
    assert_array_equal(never(forest).predict_proba(X), expected)


BAGS = {
    "trees": BaggingClassifier(n_estimators=24, random_state=0),
    "soft trees": BaggingClassifier(
        DecisionTreeClassifier(min_samples_leaf=5), n_estimators=24, random_state=0
    ),
    "features": BaggingClassifier(
        GaussianNB(), n_estimators=24, max_features=0.5, bootstrap_features=True, random_state=0
    ),
    "labels": BaggingClassifier(LinearSVC(), n_estimators=24, random_state=0),
    "labels of subsets": BaggingClassifier(
        Perceptron(max_iter=20, tol=None), n_estimators=24, max_samples=0.2, random_state=0
    ),
}


@pytest.mark.parametrize("name", BAGS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_bagging_adds_up(name, n_classes):
    """Check members on all and on some features, with probabilities and with labels alone."""
    X, y = table(n_classes)
    assert_adds_up(BAGS[name].fit(X[:300], y[:300]), X)


@pytest.mark.parametrize("layout", ["csr", "csc", "list", "float32"])
@pytest.mark.parametrize("name", ["soft trees", "labels"])
def test_bagging_adds_up_in_any_layout(name, layout):
    """Check sparse rows and lists."""
    X, y = table()
    assert_adds_up(BAGS[name].fit(X[:300], y[:300]), LAYOUTS[layout](X))


def test_bagging_adds_up_where_members_lack_classes():
    """Check that the columns of a member without a class are placed correctly."""
    X, y = table()
    # Members that accept weights are fitted on all rows; neighbours accept none.
    member = KNeighborsClassifier(2)
    bag = BaggingClassifier(member, n_estimators=24, max_samples=4, random_state=0)
    bag.fit(X[:300], y[:300])
    assert {len(member.classes_) for member in bag.estimators_} >= {2, 3, 4}
    assert_adds_up(bag, X)


def voting(n_members=10, weights=None):
    """Return an unfitted soft vote of different members."""
    kinds = [
        lambda k: GaussianNB(var_smoothing=10.0 ** (k - 8)),
        lambda k: DecisionTreeClassifier(max_depth=2 + k, min_samples_leaf=3, random_state=k),
        lambda k: make_pipeline(StandardScaler(), LogisticRegression(C=0.1 * (k + 1))),
    ]
    members = [(f"m{k}", kinds[k % 3](k)) for k in range(n_members)]
    return VotingClassifier(members, voting="soft", weights=weights)


@pytest.mark.parametrize("n_members", [2, 10, 19])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_voting_adds_up(n_members, weighted, n_classes):
    """Check few members and more than eight, from which numpy sums pairwise."""
    X, y = table(n_classes)
    weights = np.random.default_rng(0).uniform(0.1, 3, n_members).tolist() if weighted else None
    fitted = voting(n_members, weights).fit(X[:300], y[:300])
    assert_adds_up(fitted, X, None)
    assert_adds_up(fitted, X, [n_members // 2])


def test_voting_adds_up_without_a_dropped_member():
    """Check that the weights stay with their members when one in between is dropped."""
    X, y = table()
    fitted = voting(5, [1, 7, 2, 0, 3]).set_params(m1="drop").fit(X[:300], y[:300])
    assert_adds_up(fitted, X, None)


def test_voting_adds_up_on_frames():
    """Check that a member that needs column names gets the frame."""
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    X, y = table()
    frame = pandas.DataFrame(X, columns=[f"f{k}" for k in range(8)])
    frame["kind"] = np.where(X[:, 0] > 0, "up", "down")
    encode = make_column_transformer((OneHotEncoder(), ["kind"]), ("passthrough", ["f1", "f2"]))
    first = make_column_transformer(("passthrough", ["f3", "f4", "f5"]))
    members = [
        ("encoded", make_pipeline(encode, DecisionTreeClassifier(max_depth=3, random_state=0))),
        ("nb", make_pipeline(first, GaussianNB())),
    ]
    fitted = VotingClassifier(members, voting="soft").fit(frame[:300], y[:300])
    assert_adds_up(fitted, frame, None)
    partly = never(fitted, None).with_thresholds(0.6).predict_details(frame)
    assert set(partly.exit_stage) == {0, 1}


def test_voting_in_single_precision_adds_up_in_double():
    """Check that members in float32 are summed in float64, unlike in the vote itself."""
    X, y = table()
    X = X.astype(np.float32)
    members = [
        (f"net{k}", MLPClassifier((4,), solver="lbfgs", max_iter=20, random_state=k))
        for k in range(3)
    ]
    fitted = VotingClassifier(members, voting="soft").fit(X[:300], y[:300])
    found = never(fitted, None).predict_proba(X)
    assert found.dtype == np.float64
    # Seven digits of float32.
    np.testing.assert_allclose(found, fitted.predict_proba(X), rtol=0, atol=3e-7)
    exact = np.mean([m.predict_proba(X).astype(float) for m in fitted.estimators_], axis=0)
    assert_array_equal(found, exact)


def test_exact_ties_are_broken_as_the_ensemble_does():
    """Check labels on a hundred tied rows, some of which averages of averages would change."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 10)), rng.integers(2, size=400)
    forest = RandomForestClassifier(124, max_features=1, random_state=0).fit(X, y)
    rows = rng.normal(size=(4000, 10))
    full = forest.predict_proba(rows)
    assert np.count_nonzero(full[:, 0] == full[:, 1]) > 100
    # In binary numbers a share of 107 votes, times 107, is not always the votes.
    first, second = (part for _, part in split_ensemble(forest, [17]).estimators)
    averaged = (17 * first.predict_proba(rows) + 107 * second.predict_proba(rows)) / 124
    assert (averaged.argmax(axis=1) != full.argmax(axis=1)).any()
    assert_adds_up(forest, rows, [17])
    np.testing.assert_allclose(averaged, full, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "fitted",
    [FORESTS["soft leaves"], BAGS["features"], voting(6)],
    ids=["forest", "bagging", "voting"],
)
def test_row_by_row_equals_the_batch(fitted):
    """Check that the output of a row does not depend on the other rows."""
    X, y = table()
    fitted.fit(X[:300], y[:300])
    cascade = never(fitted, [1, 2, 4]).with_thresholds([0.5, 0.4, 0.3])
    batch = cascade.predict_details(X)
    assert set(batch.exit_stage) == {0, 1, 2, 3}
    for row in range(250, 350):
        alone = cascade.predict_details(X[row : row + 1])
        # A product of matrices inside a linear member may be summed in another order.
        np.testing.assert_allclose(alone.proba[0], batch.proba[row], rtol=0, atol=1e-14)
        assert alone.exit_stage[0] == batch.exit_stage[row]
        assert alone.cost[0] == batch.cost[row]
        assert alone.label[0] == batch.label[row]


@pytest.mark.parametrize("kind", ["bagging", "voting"])
def test_each_member_is_called_once_for_the_rows_that_reach_it(kind, key):
    """Check by counting members that no row is predicted twice, nor after its exit."""
    X, y = table()
    if kind == "bagging":
        fitted = BaggingClassifier(CountingNB(key), n_estimators=6, random_state=0)
    else:
        members = [(f"m{k}", CountingNB(key, var_smoothing=10.0 ** -(k + 2))) for k in range(6)]
        fitted = VotingClassifier(members, voting="soft")
    cascade = never(fitted.fit(X[:300], y[:300]), [1, 3]).with_thresholds([0.6, 0.4])
    log(key)["predictions"].clear()
    found = cascade.predict_details(X)
    asked = list(log(key)["predictions"])
    reached = [int((found.exit_stage >= k).sum()) for k in range(3)]
    assert 600 == reached[0] > reached[1] > reached[2] > 0
    assert asked == [600, *[reached[1]] * 2, *[reached[2]] * 3]
    # If a batch exits at once, no other member is called.
    log(key)["predictions"].clear()
    cascade.with_thresholds(-np.inf).predict(X)
    assert log(key)["predictions"] == [600]
