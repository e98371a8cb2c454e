"""Ensembles whose members' probabilities add up to the whole, and how exactly they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import getattr_static
from itertools import pairwise

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.sparse import issparse
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

# Rows that a thread has to get, and rows times trees from which on threads are worth it.
_ROWS_PER_THREAD, _WORTH_THREADS = 500, 200_000


class AdditiveEnsemble(ABC):
    """One fitted ensemble as a sum over its members, in its own order of additions.

    Parameters
    ----------
    fitted : classifier
        The ensemble.
    """

    unit = "members"
    # Whether those that are left may be taken for a random draw from all members.
    exchangeable = True

    def __init__(self, fitted) -> None:
        self.fitted = fitted

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.fitted.estimators_)

    def divisor(self, stop: int) -> float:
        """Return what the sum of the first members is divided by."""
        return stop

    @abstractmethod
    def prepare(self, X):
        """Check X as the ensemble itself does, and convert it once for all members."""

    @abstractmethod
    def add(self, total: np.ndarray | None, X, start: int, stop: int) -> np.ndarray:
        """Return the running sum (n_samples, n_classes) with some members added, in place.

        `X` as `prepare` returns it; None starts a sum.
        """


class ForestSum(AdditiveEnsemble):
    """Random forests and extra trees: what each row's leaves say, tree by tree."""

    unit = "trees"

    def prepare(self, X):
        forest = self.fitted
        # The general check takes longer than a part of the forest does for a row.
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype.kind == "f"
            and X.shape[1] == forest.n_features_in_
            and not hasattr(forest, "feature_names_in_")
        ):
            with np.errstate(over="ignore"):
                converted = np.ascontiguousarray(X, dtype=np.float32)
            if np.isfinite(converted).all():
                return converted
        allow_nan = get_tags(forest).input_tags.allow_nan and not issparse(X)
        return validate_data(
            forest,
            X,
            dtype=np.float32,
            accept_sparse="csr",
            reset=False,
            ensure_all_finite="allow-nan" if allow_nan else True,
        )

    def add(self, total, X, start, stop):
        trees = self.fitted.estimators_[start:stop]
        n_samples = X.shape[0]
        if total is None:
            total = np.zeros((n_samples, len(self.fitted.classes_)))
        n_threads = 1
        if n_samples * len(trees) > _WORTH_THREADS and self.fitted.n_jobs is not None:
            n_threads = min(effective_n_jobs(self.fitted.n_jobs), n_samples // _ROWS_PER_THREAD)
        if n_threads < 2:
            _add_trees(total, X, trees)
            return total
        # Rows are shared out, not trees, so that the order of additions stays.
        bounds = np.linspace(0, n_samples, n_threads + 1).astype(int)
        Parallel(n_jobs=n_threads, require="sharedmem")(
            delayed(_add_trees)(total[first:last], X[first:last], trees)
            for first, last in pairwise(bounds)
        )
        return total


class BaggingSum(AdditiveEnsemble):
    """Bagging: each member on its own features, maybe without some of the classes."""

    def prepare(self, X):
        return validate_data(
            self.fitted,
            X,
            accept_sparse=["csr", "csc"],
            dtype=None,
            ensure_all_finite=False,
            reset=False,
        )

    def add(self, total, X, start, stop):
        bag = self.fitted
        if total is None:
            total = np.zeros((X.shape[0], bag.n_classes_))
        pairs = zip(bag.estimators_[start:stop], bag.estimators_features_[start:stop], strict=True)
        for member, features in pairs:
            part = X[:, features]
            if not hasattr(member, "predict_proba"):
                total[np.arange(len(total)), member.predict(part)] += 1
            elif len(member.classes_) == bag.n_classes_:
                total += member.predict_proba(part)
            else:
                total[:, member.classes_] += member.predict_proba(part)
        return total


class VotingSum(AdditiveEnsemble):
    """Soft voting: whole models, maybe with weights."""

    exchangeable = False

    @property
    def weights(self) -> np.ndarray:
        """Weight of each member, those that are dropped left out: shape (n_members,)."""
        voting = self.fitted
        weights = np.ones(len(voting.estimators)) if voting.weights is None else voting.weights
        kept = [
            weight
            for (_, m), weight in zip(voting.estimators, weights, strict=True)
            if not (isinstance(m, str) and m == "drop")
        ]
        return np.asarray(kept, dtype=np.float64)

    def divisor(self, stop):
        return float(np.sum(self.weights[:stop]))

    def prepare(self, X):
        return X

    def add(self, total, X, start, stop):
        weights = self.weights.tolist()
        for member, weight in zip(
            self.fitted.estimators_[start:stop], weights[start:stop], strict=True
        ):
            share = np.asarray(member.predict_proba(X), dtype=np.float64) * weight
            total = share if total is None else np.add(total, share, out=total)
        return total


_KINDS = (
    ((RandomForestClassifier, ExtraTreesClassifier), ForestSum),
    ((BaggingClassifier,), BaggingSum),
    ((VotingClassifier,), VotingSum),
)

_REASONS = {
    "Pipeline": "split its last step and put the cascade in its place: "
    "Pipeline([*pipeline.steps[:-1], ('cascade', cascade)])",
    "CalibratedClassifierCV": "calibration follows the sum: split the ensemble inside it, and "
    "calibrate the cascade",
    "StackingClassifier": "its final estimator wants the answers of all members at once, so its "
    "parts do not add up to the whole",
    "HistGradientBoostingClassifier": "it has no public way to run some of its iterations only, "
    "so there are no parts that add up to the whole",
    "AdaBoostClassifier": "its members' votes go through a softmax of the whole, so its parts do "
    "not add up to the whole",
    "GradientBoostingClassifier": "its iterations add up as raw scores, not as probabilities",
    "LGBMClassifier": "its iterations add up as raw scores, not as probabilities",
    "XGBClassifier": "its iterations add up as raw scores, not as probabilities",
    "CatBoostClassifier": "its iterations add up as raw scores, not as probabilities",
}


def sum_of(fitted) -> AdditiveEnsemble:
    """Return how a known ensemble adds up."""
    return next(kind(fitted) for bases, kind in _KINDS if isinstance(fitted, bases))


def check_additive(fitted) -> AdditiveEnsemble:
    """Return how an ensemble adds up, or raise saying why it does not."""
    if type(fitted) is FrozenEstimator:
        fitted = fitted.estimator
    base = next((b for bases, _ in _KINDS for b in bases if isinstance(fitted, b)), None)
    if base is None:
        raise TypeError(_refusal(fitted, "its parts do not add up to the whole"))
    own, known = (getattr_static(kind, "predict_proba") for kind in (type(fitted), base))
    if own is not known:
        raise TypeError(
            _refusal(
                fitted,
                "it has a predict_proba of its own, which need not be a sum over its members",
            )
        )
    if isinstance(fitted, VotingClassifier) and fitted.voting != "soft":
        raise TypeError(
            _refusal(
                fitted,
                f"voting={fitted.voting!r} counts labels, so its parts "
                f"do not add up to the probabilities of the whole",
            )
        )
    check_is_fitted(fitted)
    if isinstance(fitted.classes_, list):
        raise ValueError(
            f"fitted={type(fitted).__name__} answers {len(fitted.classes_)} outputs; "
            f"expected one label per row"
        )
    if len(fitted.classes_) < 2:
        raise ValueError(
            f"fitted={type(fitted).__name__} knows the class {fitted.classes_[0]!r} only; "
            f"expected two classes or more"
        )
    return sum_of(fitted)


def _refusal(fitted, reason: str) -> str:
    """Return the text of the error for what cannot be split."""
    names = [kind.__name__ for kind in type(fitted).__mro__]
    reason = next((_REASONS[name] for name in names if name in _REASONS), reason)
    return (
        f"fitted={type(fitted).__name__} cannot be split: {reason}. Expected a fitted "
        f"RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or soft VotingClassifier"
    )


def _add_trees(total: np.ndarray, X, trees) -> None:
    """Add what each tree says of each row, in the order of the trees."""
    for tree in trees:
        # `tree_` at once: `predict_proba` would check for every tree that it is fitted.
        total += tree.tree_.predict(X)
