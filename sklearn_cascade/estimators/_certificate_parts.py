"""From counts on rows to the report of a certificate."""

from __future__ import annotations

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from sklearn_cascade.inspection import CertificationReport
from sklearn_cascade.rules import check_share, cumulative_costs, row_costs, within_limit
from sklearn_cascade.search import (
    RISKS,
    Outcomes,
    Step,
    binomial_upper,
    mean_cost_upper,
    rows_projected,
    worst_reference,
)

# Part of the calibration rows that draws the path, where no fit has done so.
DEFAULT_TUNING_SHARE = 0.2
# Level of the limits per stage, which only describe.
_STAGE_DELTA = 0.1
_NO_EARLY_EXIT = (
    "Not certified: on the tuning rows no thresholds let a row exit early for less than it costs "
    "to run every stage."
)
SEVERAL = ("cascade", "best_member", "every_member")


class Promise(NamedTuple):
    """What is to be certified of which cascade.

    Attributes
    ----------
    risk, reference, epsilon, delta, max_mean_cost
        As in ``certify``.
    names : tuple of str
        Members of the cascade.
    combine, unit : str
        How they are combined; unit of their costs.
    costs : ndarray of shape (n_stages,)
        Cost of one row in each stage.
    """

    risk: str
    reference: str
    epsilon: float
    delta: float
    max_mean_cost: float | None
    names: tuple[str, ...]
    combine: str
    unit: str
    costs: np.ndarray

    @property
    def loss_delta(self) -> float:
        """Probability that the certificate of the loss fails; a budget takes the other half."""
        return self.delta if self.max_mean_cost is None else self.delta / 2

    @property
    def fewest_rows(self) -> int:
        """Certification rows that it takes at the very least."""
        return RISKS[self.risk].fewest(self.epsilon, self.loss_delta)


class Rows(NamedTuple):
    """How many rows there are, and what each serves.

    Attributes
    ----------
    given : int
        Rows handed over.
    kept : int
        Those kept by their weights.
    tuning, certifying : int
        Those that draw the path, and those that certify.
    tuned_on : str
        "fit" or "split".
    """

    given: int
    kept: int
    tuning: int
    certifying: int
    tuned_on: str


def check_promise(promise: Promise, y) -> None:
    """Raise for a promise that makes no sense."""
    check_share("epsilon", promise.epsilon)
    check_share("delta", promise.delta)
    _check_among("risk", promise.risk, tuple(RISKS))
    _check_among("reference", promise.reference, SEVERAL + promise.names)
    if promise.risk == "accuracy_gap" and y is None:
        raise ValueError(
            "y=None with risk='accuracy_gap'; expected the true labels, or risk='disagreement', "
            "which needs none"
        )
    if promise.risk == "disagreement" and y is not None:
        raise ValueError(
            "y is given with risk='disagreement', which compares answers with answers; expected "
            "y=None, or risk='accuracy_gap'"
        )
    budget = promise.max_mean_cost
    if budget is not None and not (isinstance(budget, Real) and 0 <= budget < np.inf):
        raise ValueError(
            f"max_mean_cost={budget!r}; expected None or a finite number, not below zero"
        )
    if len(promise.names) < 2:
        raise ValueError(
            f"the cascade has one stage, {promise.names[0]!r}, so no row can exit early and there "
            f"is nothing to certify; expected two or more"
        )


def check_tuning_size(tuning_size, n_kept: int) -> int:
    """Return how many rows draw the path."""
    size = DEFAULT_TUNING_SHARE if tuning_size is None else tuning_size
    whole = isinstance(size, Integral) and not isinstance(size, bool) and 0 < size < n_kept
    if not whole and not (isinstance(size, Real) and 0 < size < 1):
        raise ValueError(
            f"tuning_size={tuning_size!r}; expected None, a share of the rows between 0 and 1, or "
            f"a number of rows from 1 to {n_kept - 1}"
        )
    return int(size) if whole else max(1, int(size * n_kept))


def too_few_rows(promise: Promise, rows: Rows) -> CertificationReport:
    """Return the refusal for want of rows."""
    fewest, delta = promise.fewest_rows, promise.loss_delta
    used = rows.kept - rows.certifying
    whole = fewest if not used else int(np.ceil(fewest * rows.kept / rows.certifying))
    whole = int(np.ceil(whole * rows.given / max(rows.kept, 1)))
    notes = [f"{rows.given} rows"]
    if rows.kept < rows.given:
        notes.append(f"{rows.kept} of them kept by their weights")
    if used:
        notes.append(f"{used / rows.kept:.0%} of them used for tuning".replace("%", " %"))
    at = f"delta={delta:.6g}"
    if promise.max_mean_cost is not None:
        at += f" (half of {promise.delta:.6g}; max_mean_cost takes the other half)"
    message = (
        f"epsilon={promise.epsilon:.6g} at {at} needs at least {fewest} certification rows, even "
        f"if no row is lost; got {rows.certifying} ({', '.join(notes)}). Pass at least {whole} "
        f"rows, or a larger epsilon or delta."
    )
    return _report(promise, rows, (), message=message, samples_needed=whole)


def judge(
    promise: Promise,
    rows: Rows,
    references: tuple[str, ...],
    outcomes: Outcomes,
    path_length: int,
    steps: list[Step],
) -> CertificationReport:
    """Return the report of a path that was tested."""
    tested = {"path_length": path_length, "path": tuple(step._asdict() for step in steps)}
    if not steps:
        return _report(promise, rows, references, message=_NO_EARLY_EXIT, **tested)
    accepted = [step for step in steps if step.passed]
    if not steps[-1].passed:
        _, p_value = _worst(promise, rows, steps[-1])
        tested["stopped_at"] = {**steps[-1]._asdict(), "p_value": p_value}
    if not accepted:
        return _first_step_failed(promise, rows, references, steps[0], tested)
    worst, p_value = _worst(promise, rows, accepted[-1])
    tested.update(_counts(promise, rows, accepted[-1], worst, p_value))
    costs = _cost_figures(promise, outcomes, accepted[-1], path_length)
    if not within_limit(costs["mean_cost_upper"], promise.max_mean_cost):
        message = _over_budget(promise, **costs)
        return _report(promise, rows, references, message=message, **tested)
    return _report(
        promise,
        rows,
        references,
        certified=True,
        message=_certified(promise, rows, accepted[-1], worst, p_value),
        thresholds=accepted[-1].thresholds,
        stages=_stages(promise, outcomes, accepted[-1], worst),
        **tested,
        **costs,
    )


def _certified(promise: Promise, rows: Rows, step: Step, worst: int, p_value: float) -> str:
    """Return the words of a certificate."""
    what = {"accuracy_gap": "accuracy lost", "disagreement": "share of other answers"}
    return (
        f"Certified: the {what[promise.risk]} on new rows is at most {promise.epsilon:.6g}, with "
        f"probability {1 - promise.delta:.6g} ({_count_words(promise, step, worst)} of "
        f"{rows.certifying} rows, p = {p_value:.2g})."
    )


def _over_budget(promise: Promise, mean_cost, mean_cost_upper, cost_interval) -> str:
    """Return the words where the loss is certified and the cost is not."""
    return (
        f"Not certified: the loss is, but the mean cost is only known to be at most "
        f"{mean_cost_upper:.6g} {promise.unit} (estimate {mean_cost:.6g}), above "
        f"max_mean_cost={promise.max_mean_cost:.6g}."
    )


def _first_step_failed(promise, rows, references, step: Step, tested) -> CertificationReport:
    """Return the refusal where the most cautious thresholds lose too much, or may do."""
    worst, p_value = _worst(promise, rows, step)
    counted = _counts(promise, rows, step, worst, p_value)
    loss = counted["loss_estimate"]
    needed = rows_projected(
        step.regressions[worst],
        step.corrections[worst],
        rows.certifying,
        epsilon=promise.epsilon,
        delta=promise.loss_delta,
        risk=RISKS[promise.risk],
    )
    if needed is None:
        advice = (
            f"No number of rows is likely to help: the estimated loss {loss * 100:.3g} % is not "
            f"below epsilon."
        )
    else:
        advice = (
            f"If these rates are right, about {needed} certification rows would certify it with "
            f"probability 0.8."
        )
    message = (
        f"Not certified: at the most cautious setting the cascade "
        f"{_count_words(promise, step, worst)} of {rows.certifying} rows (estimate "
        f"{loss * 100:.2f} %, p = {p_value:.2g} > {promise.loss_delta:.6g}). {advice}"
    )
    return _report(
        promise, rows, references, message=message, samples_needed=needed, **tested, **counted
    )


def _count_words(promise: Promise, step: Step, worst: int) -> str:
    """Return regressions and corrections in words."""
    if promise.risk == "disagreement":
        return f"answered otherwise on {step.regressions[worst]}"
    return f"lost {step.regressions[worst]} and fixed {step.corrections[worst]}"


def _worst(promise: Promise, rows: Rows, step: Step) -> tuple[int, float]:
    """Return the reference that a step is worst against, and the p-value there."""
    return worst_reference(step, RISKS[promise.risk], rows.certifying, promise.epsilon)


def _counts(promise: Promise, rows: Rows, step: Step, worst: int, p_value: float) -> dict:
    """Return the figures about loss at one step."""
    regressions, corrections, n = step.regressions[worst], step.corrections[worst], rows.certifying
    return {
        "regressions": regressions,
        "corrections": corrections,
        "loss_estimate": (regressions - corrections) / n,
        "loss_upper": RISKS[promise.risk].upper(regressions, corrections, n, promise.loss_delta),
        "p_value": p_value,
    }


def _cost_figures(promise: Promise, outcomes: Outcomes, step: Step, path_length: int) -> dict:
    """Return the figures about cost at one step."""
    stage = outcomes.exit_stages(step.thresholds)
    paid, n = row_costs(stage, promise.costs), len(stage)
    half = student.ppf(0.975, n - 1) * paid.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    reaching = [int((stage >= k).sum()) for k in range(len(promise.costs))]
    delta = promise.delta
    if promise.max_mean_cost is not None:
        # Whichever step of the path is taken.
        delta = (promise.delta - promise.loss_delta) / path_length
    return {
        "mean_cost": float(paid.mean()),
        "cost_interval": (float(paid.mean() - half), float(paid.mean() + half)),
        "mean_cost_upper": mean_cost_upper(reaching, n, promise.costs.tolist(), delta),
    }


def _stages(promise: Promise, outcomes: Outcomes, step: Step, worst: int) -> tuple[dict, ...]:
    """Return one line of the table per stage."""
    stage, n = outcomes.exit_stages(step.thresholds), outcomes.n_samples
    lines = []
    for k, name in enumerate(promise.names):
        here = stage == k
        regressions = int(outcomes.lost[worst, k, here].sum())
        corrections = int(outcomes.fixed[worst, k, here].sum())
        count = int(here.sum())
        limit = binomial_upper(regressions, count, _STAGE_DELTA) if count else float("nan")
        figures = (
            name,
            count,
            count / n,
            regressions,
            corrections,
            (regressions - corrections) / n,
            limit,
        )
        keys = ("name", "n_rows", "share", "regressions", "corrections", "net", "loss_upper")
        lines.append(dict(zip(keys, figures, strict=True)))
    return tuple(lines)


def _report(
    promise: Promise, rows: Rows, references: tuple[str, ...], **found
) -> CertificationReport:
    """Return a report; what was not found is None, and nothing certified is no early exit."""
    nothing = dict.fromkeys(
        ("regressions", "corrections", "loss_estimate", "loss_upper", "p_value", "mean_cost")
        + ("cost_interval", "mean_cost_upper", "samples_needed", "stopped_at")
    )
    asked = promise._asdict()
    costs = asked.pop("costs")
    figures = {
        **asked,
        **nothing,
        "certified": False,
        "references": references,
        "thresholds": (np.inf,) * (len(promise.names) - 1),
        "n_certification": rows.certifying,
        "n_tuning": rows.tuning,
        "tuned_on": rows.tuned_on,
        "full_cost": float(cumulative_costs(costs)[-1]),
        "stages": (),
        "path_length": 0,
        "path": (),
    }
    return CertificationReport(**{**figures, **found})


def _check_among(parameter: str, value, accepted: tuple[str, ...]) -> None:
    """Raise unless a value is one of the words accepted."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{parameter}={value!r}; expected one of {list(accepted)}")
