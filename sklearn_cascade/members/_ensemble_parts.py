"""One fitted ensemble split into stages that share it: its first members, the next, and so on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import getattr_static
from itertools import pairwise
from numbers import Integral

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
from sklearn.utils import Bunch, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_cascade.members._base import FittedClassifier

# Trees in the first part of a forest: fewer save little and are overconfident.
_FIRST_PART = 15
# Least number of rows per thread, and of rows times trees from which threads pay off.
_ROWS_PER_THREAD, _WORTH_THREADS = 500, 200_000


class EnsemblePart(FittedClassifier):
    """Present some consecutive members of a fitted ensemble as a fitted classifier.

    Made by `split_ensemble`. All parts share the ensemble, so a list of them takes the memory of
    one, also when pickled. Never fitted: ``clone`` returns the same object and ``fit`` does
    nothing.

    Parameters
    ----------
    ensemble : classifier
        The fitted ensemble.
    start, stop : int
        The first member, and the one after the last.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the ensemble.
    """

    def __init__(self, ensemble, start, stop):
        self.ensemble = ensemble
        self.start = start
        self.stop = stop

    @property
    def classes_(self):
        """Labels of the ensemble: ndarray of shape (n_classes,)."""
        return self.ensemble.classes_

    def __getattr__(self, attribute):
        # Only these: other attributes of an ensemble describe all its members.
        if attribute in ("n_features_in_", "feature_names_in_") and "ensemble" in self.__dict__:
            return getattr(self.ensemble, attribute)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    @property
    def cumulative_weight(self) -> float:
        """Weight of all members up to this part, by which their sum is divided."""
        return self._sum.cumulative_weight(self.stop)

    @property
    def exchangeable(self) -> bool:
        """Whether the members not run can be regarded as a random draw from all."""
        return self._sum.exchangeable

    def predict_proba(self, X):
        """Average the probabilities of the members of this part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As the ensemble takes it.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns as in `classes_`.
        """
        total = self.add_to(None, self.prepare(X))
        return total / (self.cumulative_weight - self._sum.cumulative_weight(self.start))

    def _valid_proba(self, X):
        return self.predict_proba(X)

    def prepare(self, X):
        """Validate and convert X once for all parts; the result is for `add_to`."""
        return self._sum.prepare(X)

    def add_to(self, total: np.ndarray | None, X) -> np.ndarray:
        """Add the members of this part to the sum of those before, in place (None: no such).

        The additions are in the ensemble's own order, so the sum over all parts (n_samples,
        n_classes), divided by `cumulative_weight`, equals the ensemble's probabilities bit for bit.
        """
        return self._sum.add(total, X, self.start, self.stop)

    def is_next_after(self, other) -> bool:
        """Tell whether this part can continue the sum of another; None: whether it is the first."""
        if other is None:
            return self.start == 0
        same = isinstance(other, EnsemblePart) and other.ensemble is self.ensemble
        return same and other.stop == self.start

    @property
    def _sum(self) -> AdditiveEnsemble:
        return _additive(self.ensemble)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = False
        tags.input_tags = get_tags(self.ensemble).input_tags
        return tags


def split_ensemble(fitted, checkpoints=None):
    """Split one fitted ensemble into stages that share its memory.

    Pass the stages to a `CascadeClassifier` with the weights returned beside them, or use
    `CascadeClassifier.from_ensemble`, which also chooses when to stop. Labels are then kept; the
    probabilities of rows that exit early are rougher than the ensemble's.

    Parameters
    ----------
    fitted : RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or VotingClassifier
        The fitted ensemble; voting "soft". A `sklearn.frozen.FrozenEstimator` around it is removed.
    checkpoints : sequence of int, default=None
        Numbers of members, increasing and below the total, after which a row may exit. None: 15
        and doubling up to two thirds of the members; half of them where there are fewer than 23;
        after each member of a `VotingClassifier`.

    Returns
    -------
    parts : Bunch
        ``estimators``, a list of (name, classifier); ``weights``, the share of each in the mean,
        in members; ``costs``, the number of members of each, or None for a `VotingClassifier`,
        whose members differ; ``cost_unit``, "trees" or "members"; ``total``, the cost of all;
        ``combine``, "mean".

    Raises
    ------
    TypeError
        If the ensemble's parts do not add up to the full ensemble.
    ValueError
        If the checkpoints do not increase, or are not between 1 and the total minus one.
    sklearn.exceptions.NotFittedError
        If the ensemble is not fitted.

    See Also
    --------
    CascadeClassifier.from_ensemble : The cascade of these stages, ready to predict.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_cascade import split_ensemble
    >>> forest = RandomForestClassifier(random_state=0).fit(*load_iris(return_X_y=True))
    >>> parts = split_ensemble(forest)
    >>> [name for name, _ in parts.estimators], parts.costs
    (['members_0_15', 'members_15_30', 'members_30_60', 'members_60_100'], [15, 15, 30, 40])
    """
    additive = _check_additive(fitted)
    bounds = [0, *_check_checkpoints(checkpoints, additive), additive.n_members]
    pairs = list(pairwise(bounds))
    shares = np.diff([additive.cumulative_weight(bound) for bound in bounds])
    return Bunch(
        estimators=[
            (f"members_{start}_{stop}", EnsemblePart(additive.fitted, start, stop))
            for start, stop in pairs
        ],
        weights=(shares * (additive.n_members / shares.sum())).tolist(),
        costs=[stop - start for start, stop in pairs] if additive.exchangeable else None,
        cost_unit=additive.unit,
        total=additive.n_members if additive.exchangeable else None,
        combine="mean",
    )


def exact_checkpoints(n_members: int) -> list[int]:
    """Return checkpoints beyond half of the members, before which no label can be certain."""
    points = {-(-n_members * twentieths // 20) for twentieths in range(11, 20)}
    return sorted(points - {n_members})


def default_checkpoints(n_members: int) -> list[int]:
    """Return the default checkpoints of a forest: 15 and doubling up to two thirds of the trees."""
    points, point = [], _FIRST_PART
    while 3 * point <= 2 * n_members:
        points.append(point)
        point *= 2
    return points or ([n_members // 2] if n_members > 1 else [])


def _check_checkpoints(checkpoints: Sequence[int] | None, additive: AdditiveEnsemble) -> list[int]:
    """Return the checkpoints, by default those for the kind of ensemble."""
    n_members = additive.n_members
    if checkpoints is None:
        if additive.exchangeable:
            return default_checkpoints(n_members)
        weights = [additive.cumulative_weight(k) for k in range(n_members + 1)]
        return [k for k in range(1, n_members) if weights[k - 1] < weights[k] < weights[-1]]
    points = list(checkpoints) if np.iterable(checkpoints) else [checkpoints]
    integers = all(isinstance(p, Integral) and not isinstance(p, bool) for p in points)
    inside = integers and all(0 < point < n_members for point in points)
    if not inside or any(b <= a for a, b in pairwise(points)):
        raise ValueError(
            f"checkpoints={checkpoints!r}; expected increasing numbers of members, from 1 to "
            f"{n_members - 1}: this ensemble has {n_members}"
        )
    weights = [additive.cumulative_weight(point) for point in [0, *points, n_members]]
    if (np.diff(weights) <= 0).any():
        raise ValueError(
            f"checkpoints={checkpoints!r}: members between two of them have no weight; expected "
            f"checkpoints with some weight between them"
        )
    return [int(point) for point in points]


class AdditiveEnsemble(ABC):
    """One fitted ensemble as a sum over its members, in its own order of additions."""

    unit = "members"
    # Whether the members not run can be regarded as a random draw from all.
    exchangeable = True

    def __init__(self, fitted) -> None:
        self.fitted = fitted

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.fitted.estimators_)

    def cumulative_weight(self, stop: int) -> float:
        """Return the weight of the first members, by which their sum is divided."""
        return stop

    @abstractmethod
    def prepare(self, X):
        """Validate X as the ensemble itself does, and convert it once for all members."""

    @abstractmethod
    def add(self, total: np.ndarray | None, X, start: int, stop: int) -> np.ndarray:
        """Return the sum (n_samples, n_classes) with some members added, in place; None is zero.

        `X` is what `prepare` returned.
        """


class ForestSum(AdditiveEnsemble):
    """Random forests and extra trees: the class shares of each row's leaves, tree by tree."""

    unit = "trees"

    def prepare(self, X):
        forest = self.fitted
        # The general check takes longer than a part of the forest for a single row.
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
        # Threads split the rows, not the trees, which keeps the order of additions.
        bounds = np.linspace(0, n_samples, n_threads + 1).astype(int)
        Parallel(n_jobs=n_threads, require="sharedmem")(
            delayed(_add_trees)(total[first:last], X[first:last], trees)
            for first, last in pairwise(bounds)
        )
        return total


class BaggingSum(AdditiveEnsemble):
    """Bagging: each member on its own features, possibly without some of the classes."""

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
    """Soft voting: models of any kind, possibly with weights."""

    exchangeable = False

    @property
    def weights(self) -> np.ndarray:
        """Weight of each member that is not dropped: (n_members,)."""
        voting = self.fitted
        weights = np.ones(len(voting.estimators)) if voting.weights is None else voting.weights
        kept = [
            weight
            for (_, m), weight in zip(voting.estimators, weights, strict=True)
            if not (isinstance(m, str) and m == "drop")
        ]
        return np.asarray(kept, dtype=np.float64)

    def cumulative_weight(self, stop):
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


def _add_trees(total: np.ndarray, X, trees) -> None:
    """Add the output of each tree, in the order of the trees."""
    for tree in trees:
        # Through `tree_`, since `predict_proba` would validate every tree.
        total += tree.tree_.predict(X)


_KINDS = (
    ((RandomForestClassifier, ExtraTreesClassifier), ForestSum),
    ((BaggingClassifier,), BaggingSum),
    ((VotingClassifier,), VotingSum),
)


def _additive(fitted) -> AdditiveEnsemble:
    """Return a supported ensemble as a sum."""
    return next(kind(fitted) for bases, kind in _KINDS if isinstance(fitted, bases))


_REASONS = {
    "Pipeline": "split its last step and put the cascade in its place: "
    "Pipeline([*pipeline.steps[:-1], ('cascade', cascade)])",
    "CalibratedClassifierCV": "calibration follows the sum: split the ensemble inside it, and "
    "calibrate the cascade",
    "StackingClassifier": "its final estimator needs the outputs of all members at once, so its "
    "parts do not add up to the full ensemble",
    "HistGradientBoostingClassifier": "it has no public way to run some of its iterations only, "
    "so there are no parts that add up to the full ensemble",
    "AdaBoostClassifier": "its members' votes go through a softmax of their sum, so its parts do "
    "not add up to the full ensemble",
    **dict.fromkeys(
        ("GradientBoostingClassifier", "LGBMClassifier", "XGBClassifier", "CatBoostClassifier"),
        "its iterations add up as raw scores, not as probabilities",
    ),
}


def _check_additive(fitted) -> AdditiveEnsemble:
    """Return an ensemble as a sum, or raise with the reason why it is not one."""
    if type(fitted) is FrozenEstimator:
        fitted = fitted.estimator
    base = next((b for bases, _ in _KINDS for b in bases if isinstance(fitted, b)), None)
    if base is None:
        raise _cannot_split(fitted, "its parts do not add up to the full ensemble")
    own, known = (getattr_static(kind, "predict_proba") for kind in (type(fitted), base))
    if own is not known:
        raise _cannot_split(
            fitted, "it has a predict_proba of its own, which need not be a sum over its members"
        )
    if isinstance(fitted, VotingClassifier) and fitted.voting != "soft":
        raise _cannot_split(
            fitted,
            f"voting={fitted.voting!r} counts labels, so its parts do not add up to the "
            f"probabilities of the full ensemble",
        )
    check_is_fitted(fitted)
    if isinstance(fitted.classes_, list):
        raise ValueError(
            f"fitted={type(fitted).__name__} predicts {len(fitted.classes_)} outputs; "
            f"expected one label per row"
        )
    if len(fitted.classes_) < 2:
        raise ValueError(
            f"fitted={type(fitted).__name__} has the class {fitted.classes_[0]!r} only; "
            f"expected two classes or more"
        )
    return _additive(fitted)


def _cannot_split(fitted, reason: str) -> TypeError:
    """Return the error for what cannot be split."""
    names = [kind.__name__ for kind in type(fitted).__mro__]
    reason = next((_REASONS[name] for name in names if name in _REASONS), reason)
    return TypeError(
        f"fitted={type(fitted).__name__} cannot be split: {reason}. Expected a fitted "
        f"RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or soft VotingClassifier"
    )
