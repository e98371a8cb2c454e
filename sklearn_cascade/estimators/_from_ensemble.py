"""A cascade of the parts of one fitted ensemble: made, tuned, and compared with the ensemble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sklearn_cascade.certification._disagreement import tune_margin
from sklearn_cascade.certification._noninferiority import min_binomial_samples
from sklearn_cascade.core._confidence import compute_confidence, exact_margins, serfling_margins
from sklearn_cascade.core._validation import check_share
from sklearn_cascade.estimators._base import check_thresholds, resolve_costs, resolve_weights
from sklearn_cascade.estimators._routing import RoutingResult, Stage
from sklearn_cascade.estimators._row_hashes import hash_rows
from sklearn_cascade.estimators._state import (
    FitRecord,
    FittedCascade,
    FittedMembers,
    TuningFigures,
    make_policy,
)
from sklearn_cascade.inspection._ensemble_comparison import (
    EnsembleComparison,
    compare_with_ensemble,
)
from sklearn_cascade.members._ensemble_parts import EnsemblePart, exact_checkpoints, split_ensemble

# Probability that a bound fails, where the caller names none: tuned, and by Serfling's inequality.
_TUNED_DELTA, _BOUND_DELTA = 0.05, 0.01


def cascade_of_parts(
    cls, ensemble, *, max_disagreement, X_tune, stopping, checkpoints, costs, cost_unit, delta
):
    """Return a fitted cascade (of the class `cls`) of the parts of a fitted ensemble."""
    delta = _check_options(max_disagreement, X_tune, stopping, delta)
    parts = split_ensemble(ensemble, checkpoints)
    tuned = max_disagreement is not None
    if stopping == "exact" and not tuned and checkpoints is None and parts.total is not None:
        parts = split_ensemble(ensemble, exact_checkpoints(parts.total))
    costs, unit = _choose_costs(parts, costs, X_tune)
    cascade = cls(
        parts.estimators,
        combine=parts.combine,
        weights=parts.weights,
        costs=costs,
        cost_unit=cost_unit or unit,
        confidence="vote_margin" if tuned else "margin",
        thresholds=np.inf if tuned else _margins(parts, stopping, delta),
    )
    classes = parts.estimators[0][1].classes_
    stages = tuple(
        Stage(k, name, part, None, len(classes), False)
        for k, (name, part) in enumerate(parts.estimators)
    )
    fitted = adopt_stages(cascade, stages, classes, X_tune)
    if not tuned:
        return cascade._with_fitted(fitted)
    cascade = cascade._with_fitted(replace(fitted, record=FitRecord(hash_rows(X_tune))))
    return _with_tuned_margin(cascade, X_tune, max_disagreement, delta)


def adopt_stages(
    cascade, stages: tuple[Stage, ...], classes: np.ndarray, X=None, *, learned: list | None = None
) -> FittedCascade:
    """Return the fitted state of a cascade at the thresholds given, of stages fitted elsewhere.

    A learned confidence has to be `learned` elsewhere, too: one model per stage.
    """
    costs = resolve_costs(cascade.costs, cascade.cost_unit, cascade.estimators, stages, X)
    members = FittedMembers(stages, classes, None, *costs)
    weights = resolve_weights(cascade.weights, cascade.estimators)
    thresholds = check_thresholds(cascade.thresholds, cascade.estimators)
    confidence = cascade.confidence if learned is None else learned
    policy = make_policy(members, cascade.combine, confidence, weights, thresholds)
    fitted = FittedCascade(members, policy)
    return replace(fitted, members=mark_additive_parts(fitted))


def mark_additive_parts(fitted: FittedCascade) -> FittedMembers:
    """Return the members, marked as additive where all are parts of one ensemble, in order.

    Additive parts share one running sum. They are not marked if a learned confidence needs the
    output of each part by itself.
    """
    members, policy = fitted.members, fitted.policy
    parts: list = [stage.estimator for stage in members.stages]
    chained = (
        policy.combine == "mean"
        and not policy.learned
        and all(isinstance(part, EnsemblePart) for part in parts)
        and all(
            part.is_next_after(before) for part, before in zip(parts, [None, *parts], strict=False)
        )
        and all(stage.columns is None and not stage.allow_abstain for stage in members.stages)
    )
    if chained:
        # Other weights than their own would be another sum.
        shares = np.diff([0.0, *(part.cumulative_weight for part in parts)])
        weights = np.array(policy.weights)
        chained = np.allclose(shares / shares.sum(), weights / weights.sum(), rtol=1e-12)
    stages = tuple(stage._replace(is_additive=bool(chained)) for stage in members.stages)
    return members._replace(stages=stages)


def compare_with_full_ensemble(
    cascade, X, result: RoutingResult, alone
) -> EnsembleComparison | None:
    """Return how a cascade compares with the ensemble it was split from; None for others."""
    stages = cascade.fitted_.members.stages
    if not stages[0].is_additive:
        return None
    no_exit = cascade.with_thresholds(np.inf)
    return compare_with_ensemble(
        {
            "ensemble": stages[0].estimator.ensemble.predict_proba,
            "no_exit": no_exit.predict_proba,
            "cascade": cascade.predict_proba,
        },
        X,
        result.exit_stage,
        result.proba.argmax(axis=1),
        alone[-1].argmax(axis=1),
        cascade.fitted_.members.classes,
        tuple(stage.estimator.stop for stage in stages),
    )


def _with_tuned_margin(cascade, X, max_disagreement: float, delta: float):
    """Return the cascade with its one threshold chosen on unlabelled rows."""
    X, n_samples = cascade._check_X(X)
    needed = min_binomial_samples(max_disagreement, delta)
    if n_samples < needed:
        raise ValueError(
            f"X_tune has {n_samples} rows; max_disagreement={max_disagreement!r} at "
            f"delta={delta!r} needs {needed} or more, even if none of them disagrees"
        )
    fitted = cascade.fitted_
    margins, labels, total = [], [], None
    for k, stage in enumerate(fitted.members.stages):
        total = stage.add_to(total, X)
        proba = total / stage.estimator.cumulative_weight
        labels.append(proba.argmax(axis=1))
        if k < len(fitted.members.stages) - 1:
            margins.append(compute_confidence(proba, fitted.policy.confidences[k]))
    # A single part is the full ensemble: nothing can differ.
    figures = TuningFigures(disagreement=0.0, disagreement_bound=0.0)
    if not margins:
        return cascade._with_fitted(replace(fitted, tuning=figures))
    tuned = tune_margin(margins, labels, max_disagreement=max_disagreement, delta=delta)
    figures = TuningFigures(disagreement=tuned.disagreement, disagreement_bound=tuned.bound)
    policy = fitted.policy._replace(thresholds=[float(tuned.threshold)] * len(margins))
    fitted = replace(fitted, policy=policy, tuning=figures)
    return cascade._with_fitted(fitted, thresholds=tuned.threshold)


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


def _choose_costs(parts, costs, X_tune):
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
        run = np.array(
            [estimator.cumulative_weight for _, estimator in parts.estimators], dtype=float
        )
        return exact_margins(run[:-1], run[-1]).tolist()
    if not part.exchangeable:
        raise ValueError(
            f"stopping='probabilistic' takes the members of {type(part.ensemble).__name__} for a "
            f"random draw, which they are not; expected stopping='exact', or max_disagreement with "
            f"X_tune"
        )
    run = np.array(bounds[:-1], dtype=float)
    return serfling_margins(run, bounds[-1], len(part.classes_), delta).tolist()
