"""What the committees within a pipeline are asked when the pipeline is."""

from __future__ import annotations

from sklearn.base import BaseEstimator, ClassifierMixin

from sklearn_cascade.export._blueprint import committee_of
from sklearn_cascade.export._preparation import prepare


class Listener(ClassifierMixin, BaseEstimator):
    """A fitted classifier that answers as another does, and keeps what it was asked for.

    Parameters
    ----------
    committee : classifier
        Who answers.

    Attributes
    ----------
    asked : list
        Each X that it was asked for.
    """

    def __init__(self, committee):
        self.committee = committee
        self.asked = []

    @property
    def classes_(self):
        return self.committee.classes_

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        self.asked.append(X)
        return self.committee.predict(X)

    def predict_proba(self, X):
        self.asked.append(X)
        return self.committee.predict_proba(X)

    def __sklearn_is_fitted__(self):
        return True


def trace(estimator, X) -> dict[int, object]:
    """Ask an estimator for probabilities; return what each committee in it saw, by its id."""
    listeners: list[Listener] = []

    def listen(committee):
        listeners.append(Listener(committee))
        return listeners[-1]

    prepare(estimator, visit=listen).estimator.predict_proba(X)
    return {id(committee_of(one.committee)): one.asked[0] for one in listeners if one.asked}
