"""A cascade of the parts of one fitted ensemble: made, tuned, and set beside the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_cascade.certification import binomial_rows, tune_margin
from sklearn_cascade.core import check_share, compute_confidence, exact_margins, serfling_margins
from sklearn_cascade.estimators._certify import fingerprints
from sklearn_cascade.estimators._routing import Stage
from sklearn_cascade.inspection import compare_with_whole
from sklearn_cascade.members import EnsemblePart, certain_checkpoints, split_ensemble

# Probability that a bound fails, where the caller names none: tuned, and by Serfling's inequality.
_TUNED_DELTA, _BOUND_DELTA = 0.05, 0.01


class FromEnsemble:
    """Mixin for the cascade: making one out of a single fitted ensemble."""

    @classmethod
    def from_ensemble(
        cls,
        fitted,
        *,
        max_disagreement=None,
        X_tune=None,
        stopping="probabilistic",
        checkpoints=None,
        costs=None,
        cost_unit=None,
        delta=None,
    ):
        """Turn one fitted forest, bagging or soft voting into a cascade of its own parts.

        **What it does not give**: better answers. Labels are kept; the probabilities of rows
        that exit early are those of the members run, hence rougher than the ensemble's,
        often with a worse log loss than an ensemble truncated to the same cost. Where
        probabilities matter, truncate, or calibrate the cascade.

        A row goes through as many members as it takes to know what all of them would say. No
        member is asked twice, and the members add to one running sum, so a row that never
        exits costs what it costs in the ensemble and gets its probabilities bit for bit
        (given that the ensemble's ``n_jobs`` does not reorder its own sum; members of a soft vote
        that answer in float32 are summed in float64 here, more finely than there).

        Parameters
        ----------
        fitted : classifier
            RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier or soft
            VotingClassifier, fitted. It is shared, not copied.
        max_disagreement : float, default=None
            Largest share of rows that may get another label than the ensemble's, for example
            0.005. The confidence is then "vote_margin", the lead of the leading class in standard
            errors, with one threshold for all parts, tuned on `X_tune`.
        X_tune : array-like of shape (n_samples, n_features), default=None
            Rows like those to come, without labels, and **none that the ensemble was trained
            on**: there it agrees with itself far too early.
        stopping : {"probabilistic", "exact"}, default="probabilistic"
            Where `max_disagreement` is None: exit once the probability that the answer differs
            from the ensemble's is at most `delta` by Serfling's inequality, which takes the
            members of a forest for a random draw; or only once no members left could turn it.
        checkpoints : sequence of int, default=None
            As in `split_ensemble`; for "exact", which nothing is before half of the members
            agree, 55 %, 60 % and so on of them.
        costs : array-like of shape (n_stages,), dict or "measured", default=None
            Cost of one row in each part. None counts members; the members of a voting classifier
            differ, so theirs are measured on `X_tune`. "measured" does so for any ensemble.
        cost_unit : str, default=None
            Unit of `costs`.
        delta : float, default=None
            Probability that the bound fails: of `max_disagreement` over draws of `X_tune`
            (None: 0.05), or of "probabilistic" for a row (None: 0.01).

        Returns
        -------
        cascade : CascadeClassifier
            Fitted. With `max_disagreement` it has ``tuned_disagreement_``, the share of
            `X_tune` with another label, and ``disagreement_bound_``, its upper confidence limit.

        Raises
        ------
        TypeError
            If the ensemble's parts do not add up to the whole.
        ValueError
            If a parameter is out of its range, or `X_tune` has too few rows to show that
            the disagreement is small enough.

        See Also
        --------
        split_ensemble : The stages alone.

        References
        ----------
        R. J. Serfling. "Probability Inequalities for the Sum in Sampling without Replacement."
        Annals of Statistics, 1974.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> from sklearn_cascade import CascadeClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> forest = RandomForestClassifier(200, random_state=0).fit(X[:900], y[:900])
        >>> cascade = CascadeClassifier.from_ensemble(forest)
        >>> bool((cascade.predict(X[900:]) == forest.predict(X[900:])).mean() > 0.99)
        True
        >>> bool(cascade.predict_details(X[900:]).cost.mean() < 150)
        True
        """
        delta = _check_options(max_disagreement, X_tune, stopping, delta)
        parts = split_ensemble(fitted, checkpoints)
        certain = stopping == "exact" and max_disagreement is None
        if certain and checkpoints is None and parts.total is not None:
            parts = split_ensemble(fitted, certain_checkpoints(parts.total))
        costs, unit = _resolve_costs(parts, costs, X_tune)
        tuned = max_disagreement is not None
        rule = {"confidence": "vote_margin" if tuned else "margin"}
        rule["thresholds"] = np.inf if tuned else _margins(parts, stopping, delta)
        cascade = cls(
            parts.estimators,
            combine=parts.combine,
            weights=parts.weights,
            costs=costs,
            cost_unit=cost_unit or unit,
            **rule,
        )
        cascade._become_parts(parts, X_tune)
        if tuned:
            cascade._tune_lead(X_tune, max_disagreement, delta)
            cascade._used_rows = fingerprints(X_tune)
        return cascade

    def _become_parts(self, parts, X_tune):
        """Become fitted with the parts of one ensemble."""
        classes = parts.estimators[0][1].classes_
        stages = [
            Stage(place, name, part, None, len(classes), False)
            for place, (name, part) in enumerate(parts.estimators)
        ]
        self._adopt_stages(stages, classes, X_tune)

    def _tune_lead(self, X, max_disagreement, delta):
        """Choose the one threshold on unlabelled rows."""
        X, n_samples = self._enter(X)
        needed = binomial_rows(max_disagreement, delta)
        if n_samples < needed:
            raise ValueError(
                f"X_tune has {n_samples} rows; max_disagreement={max_disagreement!r} at "
                f"delta={delta!r} needs {needed} or more, even if none of them disagrees"
            )
        leads, labels, total = [], [], None
        for place, stage in enumerate(self._stages):
            total = stage.add_to(total, X)
            proba = total / stage.estimator.divisor
            labels.append(proba.argmax(axis=1))
            if place < len(self._confidences) - 1:
                leads.append(compute_confidence(proba, self._confidences[place]))
        # A single part is the whole: nothing can differ.
        self.tuned_disagreement_ = self.disagreement_bound_ = 0.0
        if not leads:
            return
        tuned = tune_margin(leads, labels, max_disagreement=max_disagreement, delta=delta)
        self.thresholds = tuned.threshold
        self.thresholds_ = self._given_thresholds()
        self.tuned_disagreement_, self.disagreement_bound_ = tuned.disagreement, tuned.bound

    def _compare_with_whole(self, X, passage, alone):
        """Return how the cascade compares with the ensemble that it was split from."""
        if not self._stages[0].adds_up:
            return None
        ensemble = self._stages[0].estimator.ensemble
        never = self.with_thresholds(np.inf)
        return compare_with_whole(
            {
                "ensemble": ensemble.predict_proba,
                "no_exit": never.predict_proba,
                "cascade": self.predict_proba,
            },
            X,
            passage.exit_stage,
            passage.proba.argmax(axis=1),
            alone[-1].argmax(axis=1),
            self.classes_,
            tuple(stage.estimator.stop for stage in self._stages),
        )


def share_sum(stages: Sequence[Stage], weights, combine: str) -> list[Stage]:
    """Return the stages, marked where all of them are parts of one ensemble that add up to it."""
    parts = [stage.estimator for stage in stages]
    chained = (
        combine == "mean"
        and all(isinstance(part, EnsemblePart) for part in parts)
        and all(part.follows(before) for part, before in zip(parts, [None, *parts], strict=False))
        and all(stage.columns is None and not stage.allow_abstain for stage in stages)
    )
    if chained:
        # Other weights than their own would be another sum.
        shares = np.diff([0.0, *(part.divisor for part in parts)])
        chained = np.allclose(shares / shares.sum(), weights / np.sum(weights), rtol=1e-12)
    return [stage._replace(adds_up=bool(chained)) for stage in stages]


def _check_options(max_disagreement, X_tune, stopping, delta) -> float:
    """Raise for options that do not fit together; return delta with its default."""
    if stopping not in ("probabilistic", "exact"):
        raise ValueError(f"stopping={stopping!r}; expected 'probabilistic' or 'exact'")
    if max_disagreement is not None:
        check_share("max_disagreement", max_disagreement)
        if X_tune is None:
            raise ValueError(
                f"max_disagreement={max_disagreement!r} is tuned on rows that the ensemble has "
                f"not seen, without labels; expected them as X_tune"
            )
    if delta is None:
        return _BOUND_DELTA if max_disagreement is None else _TUNED_DELTA
    check_share("delta", delta)
    return float(delta)


def _resolve_costs(parts, costs, X_tune):
    """Return costs and unit; what cannot be counted is measured on the tuning rows."""
    if costs is None and parts.costs is not None:
        return parts.costs, parts.cost_unit
    if costs is not None and not isinstance(costs, str):
        return costs, None
    if costs not in (None, "measured"):
        raise ValueError(f"costs={costs!r}; expected numbers, 'measured' or None")
    if X_tune is None:
        raise ValueError(
            f"costs={costs!r}: the costs of these members have to be measured; expected rows to "
            f"measure them on as X_tune, or one cost for each of "
            f"{[name for name, _ in parts.estimators]}"
        )
    return "measured", None


def _margins(parts, stopping: str, delta: float) -> list[float]:
    """Return the margin from which on a row exits, for each part but the last."""
    part = parts.estimators[-1][1]
    bounds = [estimator.stop for _, estimator in parts.estimators]
    if stopping == "exact":
        run = np.array([estimator.divisor for _, estimator in parts.estimators], dtype=float)
        return exact_margins(run[:-1], run[-1]).tolist()
    if not part.exchangeable:
        raise ValueError(
            f"stopping='probabilistic' takes the members of {type(part.ensemble).__name__} for a random draw, "
            f"which they are not; expected stopping='exact', or max_disagreement with X_tune"
        )
    run = np.array(bounds[:-1], dtype=float)
    return serfling_margins(run, bounds[-1], len(part.classes_), delta).tolist()
