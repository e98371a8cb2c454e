"""One fitted ensemble as stages that share it: its first members, the next ones, and so on."""

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

# The first part of a forest: fewer trees gain little and are over-sure.
_FIRST_PART = 15
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


class EnsemblePart(FittedClassifier):
    """Present some consecutive members of a fitted ensemble as a fitted classifier.

    Made by `split_ensemble`. All parts share the ensemble, so that a list of them takes the memory
    of one, also when pickled. Never fitted: ``clone`` returns the same object and ``fit``
    does nothing.

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
        # Only these: whatever else an ensemble knows is about all its members.
        if attribute in ("n_features_in_", "feature_names_in_") and "ensemble" in self.__dict__:
            return getattr(self.ensemble, attribute)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    @property
    def divisor(self):
        """Number that the sum of all members up to this part is divided by."""
        return self._whole.divisor(self.stop)

    @property
    def exchangeable(self):
        """Whether the members not run may be taken for a random draw from all."""
        return self._whole.exchangeable

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
        return total / (self.divisor - self._whole.divisor(self.start))

    def _answers(self, X):
        return self.predict_proba(X)

    def prepare(self, X):
        """Check and convert X, once for all parts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As the ensemble takes it.

        Returns
        -------
        X : object with n_samples rows
            For `add_to`.
        """
        return self._whole.prepare(X)

    def add_to(self, total, X):
        """Add the members of this part to a running sum.

        In the ensemble's own order of additions, so that the sum over all parts, divided by
        `divisor`, equals the ensemble's probabilities bit for bit.

        Parameters
        ----------
        total : ndarray of shape (n_samples, n_classes) or None
            Sum of the members before this part, which is written to; None starts one.
        X : object with n_samples rows
            As `prepare` returns it.

        Returns
        -------
        total : ndarray of shape (n_samples, n_classes)
            The sum.
        """
        return self._whole.add(total, X, self.start, self.stop)

    def follows(self, other):
        """Tell whether this part comes right after another of the same ensemble.

        Parameters
        ----------
        other : classifier or None
            Another part, or anything else; None asks whether this part is the first.

        Returns
        -------
        follows : bool
            True if the two can share a running sum.
        """
        if other is None:
            return self.start == 0
        same = isinstance(other, EnsemblePart) and other.ensemble is self.ensemble
        return same and other.stop == self.start

    @property
    def _whole(self) -> AdditiveEnsemble:
        """The ensemble as a sum."""
        return sum_of(self.ensemble)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = False
        tags.input_tags = get_tags(self.ensemble).input_tags
        return tags


def split_ensemble(fitted, checkpoints=None):
    """Split one fitted ensemble into stages that share its memory.

    The stages go into a `CascadeClassifier` with the weights given beside them, or through
    `CascadeClassifier.from_ensemble`, which also chooses when to stop. Labels are then kept;
    the probabilities of rows that exit early are rougher than the ensemble's.

    Parameters
    ----------
    fitted : RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or VotingClassifier
        Fitted; voting "soft". `sklearn.frozen.FrozenEstimator` around it is taken off.
    checkpoints : sequence of int, default=None
        Numbers of members, rising and below the total, after which a row may exit. None: 15
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
        If the ensemble's parts do not add up to the whole.
    ValueError
        If the checkpoints do not rise, or are not between 1 and the total less one.
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
    whole = check_additive(fitted)
    bounds = [0, *_checked(checkpoints, whole), whole.n_members]
    pairs = list(pairwise(bounds))
    counts = [stop - start for start, stop in pairs]
    shares = np.diff([whole.divisor(bound) for bound in bounds])
    weights = (shares * (whole.n_members / shares.sum())).tolist()
    return Bunch(
        estimators=[
            (f"members_{start}_{stop}", EnsemblePart(whole.fitted, start, stop))
            for start, stop in pairs
        ],
        weights=weights,
        costs=counts if whole.exchangeable else None,
        cost_unit=whole.unit,
        total=whole.n_members if whole.exchangeable else None,
        combine="mean",
    )


def default_checkpoints(n_members: int) -> list[int]:
    """Return the numbers of members after which a row may exit: 15, doubling, to two thirds."""
    points, point = [], _FIRST_PART
    while 3 * point <= 2 * n_members:
        points.append(point)
        point *= 2
    return points or ([n_members // 2] if n_members > 1 else [])


def certain_checkpoints(n_members: int) -> list[int]:
    """Return checkpoints beyond half of the members, before which nothing can be certain."""
    points = {-(-n_members * share // 20) for share in range(11, 20)}
    return sorted(points - {n_members})


def _checked(checkpoints: Sequence[int] | None, whole: AdditiveEnsemble) -> list[int]:
    """Return the checkpoints, those of the ensemble's kind by default."""
    n_members = whole.n_members
    if checkpoints is None:
        if whole.exchangeable:
            return default_checkpoints(n_members)
        masses = [whole.divisor(k) for k in range(n_members + 1)]
        return [k for k in range(1, n_members) if masses[k - 1] < masses[k] < masses[-1]]
    points = list(checkpoints) if np.iterable(checkpoints) else [checkpoints]
    integers = all(isinstance(p, Integral) and not isinstance(p, bool) for p in points)
    inside = integers and all(0 < point < n_members for point in points)
    if not inside or any(b <= a for a, b in pairwise(points)):
        raise ValueError(
            f"checkpoints={checkpoints!r}; expected rising numbers of members, from 1 to "
            f"{n_members - 1}: this ensemble has {n_members}"
        )
    masses = [whole.divisor(point) for point in [0, *points, n_members]]
    if (np.diff(masses) <= 0).any():
        raise ValueError(
            f"checkpoints={checkpoints!r}: members between two of them have no weight; expected "
            f"parts with an answer each"
        )
    return [int(point) for point in points]


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
