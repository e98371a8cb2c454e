"""One fitted ensemble as stages that share it: its first members, the next ones, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, get_tags

from sklearn_cascade.members._additive import AdditiveEnsemble, check_additive, sum_of
from sklearn_cascade.members._fitted import FittedClassifier

# The first part of a forest: fewer trees gain little and are over-sure.
_FIRST_PART = 15


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
