"""Tests of rows that a fit has used, which must not certify."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier, CertificationReport, PrefitClassifier
from tests.estimators.certified import (
    COSTS,
    NAMES,
    TABLES,
    X,
    Y,
    tuned_cascade,
)
from tests.probes import scripted

USED = np.random.default_rng(0).normal(size=(1500, 3))
LABELS = (USED[:, 0] > 0).astype(int)
CONTAINERS = {
    "array": lambda rows: USED[rows],
    "float32": lambda rows: USED[rows].astype(np.float32),
    "list": lambda rows: USED[rows].tolist(),
    "sparse": lambda rows: csr_matrix(USED[rows]),
    "frame": lambda rows: pytest.importorskip("pandas").DataFrame(USED[rows], columns=list("abc")),
    "polars": lambda rows: pytest.importorskip("polars").DataFrame(USED[rows], schema=list("abc")),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_rows_of_the_fit_are_refused(container):
    """Check that rows used by the fit are recognised, all or a tenth, in any container."""
    take = CONTAINERS[container]
    kind = LogisticRegression if container == "sparse" else GaussianNB
    members = [("a", kind()), ("b", LogisticRegression(C=0.1))]
    cascade = CascadeClassifier(members, cv=2).fit(take(slice(0, 500)), LABELS[:500])
    with pytest.raises(ValueError, match="500 of the 500 rows looked at are rows that this cas"):
        cascade.certify(take(slice(0, 500)), LABELS[:500], epsilon=0.1)
    with pytest.raises(ValueError, match="100 of the 1000 rows"):
        cascade.certify(take(slice(400, 1400)), LABELS[400:1400], epsilon=0.1)
    copy = cascade.with_thresholds(0.9)
    with pytest.raises(ValueError, match="a certificate would be void"):
        copy.certify(take(slice(0, 500)), LABELS[:500], epsilon=0.1)
    assert cascade.certify(take(slice(500, 1500)), LABELS[500:], epsilon=0.1).n_certification


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_rows_that_are_no_vectors_are_recognised(kind):
    """Check texts, and images of which only some pixels are hashed."""
    rng = np.random.default_rng(0)
    if kind == "texts":
        rows = [" ".join(rng.choice(["a", "bb", "ccc", "dddd"], size=12)) for _ in range(900)]
        answer = [np.array([len(text) for text in rows]), lambda part: [len(t) for t in part]]
    else:
        rows = rng.normal(size=(900, 3, 20, 20))
        answer = [rows.mean(axis=(1, 2, 3)), lambda part: np.asarray(part).mean(axis=(1, 2, 3))]
    middle = np.median(answer[0])

    def predict_proba(part):
        p = 1 / (1 + np.exp((middle - np.asarray(answer[1](part))) / np.std(answer[0])))
        return np.column_stack([1 - p, p])

    y = (answer[0] > middle).astype(int)
    member = PrefitClassifier(predict_proba, [0, 1], cost=1)
    cascade = CascadeClassifier([("a", member), ("b", member)], cv=2).fit(rows[:300], y[:300])
    with pytest.raises(ValueError, match="100 of the 400 rows looked at"):
        cascade.certify(rows[200:600], y[200:600], epsilon=0.1)
    assert cascade.certify(rows[300:], y[300:], epsilon=0.1).certified


def test_rows_beyond_the_stored_hashes_are_recognised():
    """Check that a sample of the rows is enough to recognise the others."""
    A = np.random.default_rng(0).normal(size=(15_000, 2))
    b = (A[:, 0] > 0).astype(int)
    members = [("a", GaussianNB()), ("b", GaussianNB(var_smoothing=0.1))]
    cascade = CascadeClassifier(members, cv=2).fit(A, b)
    with pytest.raises(ValueError, match="of the 10000 rows looked at are rows that"):
        cascade.certify(A[::-1], b[::-1])
    with pytest.raises(ValueError, match="of the 2000 rows looked at are rows that"):
        cascade.certify(A[5000:7000], b[5000:7000])


def test_rows_that_cannot_be_hashed_are_accepted():
    """Check that lists of different lengths, which only the members can read, certify."""
    rng = np.random.default_rng(0)
    rows = [[0.0] * length for length in rng.integers(1, 9, size=900)]
    member = PrefitClassifier(
        lambda part: np.array([[0.9, 0.1] if len(row) > 4 else [0.2, 0.8] for row in part]), [0, 1]
    )
    y = np.array([int(len(row) <= 4) for row in rows])
    cascade = CascadeClassifier([("a", member), ("b", member)], cv=2).fit(rows[:300], y[:300])
    assert cascade.certify(rows, y).certified


def test_rows_of_weight_zero_in_the_fit_have_no_part_in_the_path():
    """Check that held-out rows of weight zero are left out of the threshold path."""
    cascade = CascadeClassifier(scripted(*TABLES, classes=NAMES), costs=COSTS)
    weight = np.arange(1000) % 4 > 0
    cascade.fit(X[:1000], Y[:1000], sample_weight=weight.astype(float))
    assert cascade.certify(X[1000:], Y[1000:]).n_tuning == 750


def test_rows_are_recognised_after_a_pickle():
    """Check that the hashes are the same in a saved cascade."""
    cascade = pickle.loads(pickle.dumps(tuned_cascade()))
    with pytest.raises(ValueError, match="1000 of the 1000 rows"):
        cascade.certify(X[:1000], Y[:1000])


def test_rows_that_a_fit_did_not_use_are_accepted():
    """Check that a fit of frozen members at given thresholds uses no rows."""
    cascade = CascadeClassifier(scripted(*TABLES, classes=NAMES), thresholds=0.9).fit(X, Y)
    assert cascade.certify(X, Y).n_certification == 4800


def test_equal_rows_of_few_values_are_no_rows_of_the_fit():
    """Check that data with few distinct rows, which all match, are accepted."""
    rng = np.random.default_rng(0)
    A = rng.integers(2, size=(1500, 3)).astype(float)
    b = (rng.uniform(size=1500) < 0.2 + 0.6 * A[:, 0]).astype(int)
    members = [("nb", GaussianNB()), ("lr", LogisticRegression())]
    cascade = CascadeClassifier(members, cv=2).fit(A[:500], b[:500])
    assert isinstance(cascade.certify(A[500:], b[500:], epsilon=0.1), CertificationReport)
