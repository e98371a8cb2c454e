"""Certify a cascade: how much accuracy its early exits cost at most on new rows.

`certify` chooses a path of thresholds on some rows and tests it on the others, from the most
cautious thresholds down (`certification._fixed_sequence`); what follows turns the counts into a
report.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student
from sklearn.utils import assert_all_finite, check_random_state

from sklearn_cascade._compat import take_rows
from sklearn_cascade.certification._fixed_sequence import (
    RISKS,
    PairedOutcomes,
    StagePredictions,
    TestedThresholds,
    collect_predictions,
    fixed_sequence_test,
    mean_cost_upper,
    pair_outcomes,
    projected_samples,
    threshold_path,
    worst_reference,
)
from sklearn_cascade.certification._noninferiority import binomial_upper_bound
from sklearn_cascade.core._combination import ProbaCombiner, combine_stages
from sklearn_cascade.core._costs import cumulative_costs, row_costs, within_limit
from sklearn_cascade.core._samples import evenly_spaced, label_columns
from sklearn_cascade.core._validation import check_one_of, check_sample_weight, check_share
from sklearn_cascade.estimators._fitting import HeldOut
from sklearn_cascade.estimators._routing import record_stages
from sklearn_cascade.estimators._row_hashes import count_used, hash_rows
from sklearn_cascade.estimators._state import FitRecord, FittedCascade
from sklearn_cascade.inspection._certification_report import CertificationReport

# Held-out rows of a fit that are kept to choose paths; more add little.
_MAX_TUNING_ROWS = 5000
# Share of the calibration rows that chooses the path, where no fit has done so.
DEFAULT_TUNING_SHARE = 0.2
# Level of the limits per stage, which only describe.
_STAGE_DELTA = 0.1
_NO_EARLY_EXIT = (
    "Not certified: on the tuning rows no thresholds let a row exit early for less than it costs "
    "to run every stage."
)
_REFERENCES = ("cascade", "best_member", "every_member")


def certify(
    fitted: FittedCascade,
    spec: CertificateSpec,
    X,
    y,
    *,
    original_X,
    n_samples: int,
    tuning_size,
    sample_weight,
    max_weight,
    random_state,
) -> CertificationReport:
    """Return the report of a certification.

    X holds the rows as the members take them, `original_X` as they were given.
    """
    members = fitted.members
    check_spec(spec, y)
    _refuse_used_rows(fitted, original_X)
    truth = None if y is None else _true_columns(y, members.classes)
    random = check_random_state(0 if random_state is None else random_state)
    kept = _draw_by_weight(check_sample_weight(sample_weight, X), max_weight, n_samples, random)
    tuning: Any = _held_out_predictions(fitted)
    n_tuning, source = 0, "fit"
    if tuning is None or tuning_size is not None:
        n_tuning, source = check_tuning_size(tuning_size, len(kept)), "split"
    n_known = n_tuning if source == "split" else tuning.n_samples
    counts = RowCounts(n_samples, len(kept), n_known, len(kept) - n_tuning, source)
    if counts.certifying < spec.fewest_rows:
        return ReportWriter(spec, counts).too_few_rows()
    if len(kept) < n_samples:
        X, truth = take_rows(X, kept), None if truth is None else truth[kept]
    predictions = _predict_all_stages(fitted, X, len(kept), truth)
    if source == "split":
        order = random.permutation(len(kept))
        tuning, predictions = predictions.take(order[:n_tuning]), predictions.take(order[n_tuning:])
    references = _reference_positions(spec, tuning)
    labelled = spec.risk == "accuracy_gap"
    path = threshold_path(pair_outcomes(tuning, references, members.costs, labelled=labelled))
    if references == [None]:
        # Against itself, no early exit loses nothing: there is nothing to test.
        path = [thresholds for thresholds in path if min(thresholds) < np.inf]
    outcomes = pair_outcomes(predictions, references, members.costs, labelled=labelled)
    steps = fixed_sequence_test(
        outcomes, path, risk=RISKS[spec.risk], epsilon=spec.epsilon, delta=spec.loss_delta
    )
    names = tuple("no early exit" if k is None else spec.names[k] for k in references)
    return ReportWriter(spec, counts, names).tested_path(outcomes, len(path), steps)


def certification_record(
    fitted: FittedCascade,
    X,
    *,
    unused: bool,
    held_out: HeldOut | None = None,
    labels: Any = None,
    sample_weight: np.ndarray | None = None,
) -> FitRecord:
    """Return what a certificate needs of a fit: which rows it used, and held-out predictions.

    `unused` says that no row trained or tuned anything.
    """
    row_hashes = None if unused else hash_rows(X)
    if held_out is None or len(fitted.members.stages) < 2:
        return FitRecord(row_hashes)
    chosen = np.arange(len(held_out.samples))
    if sample_weight is not None:
        chosen = chosen[sample_weight[held_out.samples] > 0]
    chosen = chosen[evenly_spaced(len(chosen), _MAX_TUNING_ROWS)]
    truth = labels.columns[held_out.samples[chosen]]
    predictions = _stage_predictions(fitted, [proba[chosen] for proba in held_out.proba], truth)
    # Small types and a plain dict, as this is saved with every cascade that was tuned.
    kept = {
        name: values.astype(np.float32 if name == "confidence" else np.int32)
        for name, values in predictions._asdict().items()
    }
    return FitRecord(row_hashes, kept)


def _refuse_used_rows(fitted: FittedCascade, X) -> None:
    """Raise where the fit of this cascade has used these rows."""
    n_used, n_compared = count_used(fitted.record.row_hashes, X)
    if n_used:
        raise ValueError(
            f"X: {n_used} of the {n_compared} rows looked at are rows that this cascade was "
            f"fitted or tuned on, where it looks better than it is, so that a certificate "
            f"would be void; expected rows that had no part in the fit"
        )


def _true_columns(y, classes: np.ndarray) -> np.ndarray:
    """Return the column of each label (n_samples,), -1 for those that no member knows."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}; expected one label per row")
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    found = label_columns(y, classes)
    if (found < 0).all():
        raise ValueError(
            f"y holds none of the labels that the cascade knows, {classes.tolist()[:10]}, but "
            f"such as {y[0].item() if hasattr(y[0], 'item') else y[0]!r}; expected labels like "
            f"those of the fit"
        )
    return found


def _draw_by_weight(weight, max_weight, n_samples: int, random) -> np.ndarray:
    """Return the rows kept, each with a probability in proportion to its weight."""
    if weight is None:
        if max_weight is not None:
            raise ValueError(f"max_weight={max_weight!r} without sample_weight; expected both")
        return np.arange(n_samples)
    largest = weight.max() if max_weight is None else max_weight
    if not np.isfinite(largest) or largest < weight.max():
        raise ValueError(
            f"max_weight={max_weight!r}; expected a finite number, and no weight above it: "
            f"sample_weight goes up to {weight.max():.6g}"
        )
    return np.flatnonzero(random.uniform(size=n_samples) * largest < weight)


def _held_out_predictions(fitted: FittedCascade) -> StagePredictions | None:
    """Return the predictions for rows that the fit held out; None where there are none."""
    predictions = fitted.record.predictions()
    if predictions is not None and fitted.members.stages[0].is_additive:
        return predictions._replace(alone=predictions.after)
    return predictions


def _predict_all_stages(fitted: FittedCascade, X, n_samples: int, truth) -> StagePredictions:
    """Call every member for all rows, once."""
    recorded = record_stages(fitted.members.stages, X, n_samples)
    for name, stage in zip(fitted.members.names, recorded, strict=True):
        if stage.proba is None:
            # The member says why it fails: nobody knows what it would have predicted.
            all_rows = np.arange(n_samples)
            if stage.is_additive:
                stage.add_to_sum(ProbaCombiner("mean"), all_rows)
            stage.predict_proba(all_rows, n_samples)
            raise ValueError(
                f"the member {name!r} failed on these rows, and not when it was called again; "
                f"expected a member that predicts each time"
            )
    outputs = [stage.proba for stage in recorded]
    if fitted.members.stages[0].is_additive:
        policy = fitted.policy
        return collect_predictions(outputs, outputs, policy.confidences, truth, policy.class_shares)
    return _stage_predictions(fitted, outputs, truth)


def _stage_predictions(fitted: FittedCascade, outputs: list, truth) -> StagePredictions:
    """Return the predictions after each stage and of each member alone."""
    policy = fitted.policy
    stages = combine_stages(
        policy.begin(), outputs, policy.confidences, policy.weights, n_gates=len(outputs) - 1
    )
    answers, confidences = zip(*stages, strict=True)
    return collect_predictions(
        list(answers), outputs, list(confidences[:-1]), truth, policy.class_shares
    )


def _reference_positions(spec: CertificateSpec, tuning: StagePredictions) -> list[int | None]:
    """Return the positions of the members that are references; None is no early exit."""
    if spec.reference == "cascade":
        return [None]
    if spec.reference == "every_member":
        return list(range(len(spec.names)))
    if spec.reference in spec.names:
        return [spec.names.index(spec.reference)]
    if tuning.truth is None:
        raise ValueError(
            "reference='best_member' has to be chosen on labelled rows, and there are none: the "
            "fit tuned no thresholds; expected the name of a member, or 'every_member'"
        )
    # Of equals the cheaper.
    ranked = np.lexsort((spec.costs, -tuning.accuracies()))
    return [int(ranked[0])]


class CertificateSpec(NamedTuple):
    """What is to be certified, as in ``certify``, and of which cascade."""

    risk: str
    reference: str
    epsilon: float
    delta: float
    max_mean_cost: float | None
    names: tuple[str, ...]
    combine: str
    unit: str
    costs: np.ndarray  # (n_stages,)

    @property
    def loss_delta(self) -> float:
        """Probability that the certificate of the loss fails; a budget takes the other half."""
        return self.delta if self.max_mean_cost is None else self.delta / 2

    @property
    def fewest_rows(self) -> int:
        """Certification rows that it takes at the very least."""
        return RISKS[self.risk].min_samples(self.epsilon, self.loss_delta)


class RowCounts(NamedTuple):
    """How many rows there are, and what each is used for."""

    given: int
    kept: int  # by their weights
    tuning: int  # choose the path of thresholds
    certifying: int
    tuned_on: str  # "fit" or "split"


def make_spec(fitted: FittedCascade, *asked: Any) -> CertificateSpec:
    """Return the spec for a cascade; `asked` are risk, reference, epsilon, delta and the budget."""
    members = fitted.members
    names, combine = tuple(members.names), fitted.policy.combine
    return CertificateSpec._make((*asked, names, combine, members.cost_unit, members.costs))


def check_spec(spec: CertificateSpec, y) -> None:
    """Raise for a certificate that makes no sense."""
    check_share("epsilon", spec.epsilon)
    check_share("delta", spec.delta)
    check_one_of("risk", spec.risk, tuple(RISKS))
    check_one_of("reference", spec.reference, _REFERENCES + spec.names)
    if spec.risk == "accuracy_gap" and y is None:
        raise ValueError(
            "y=None with risk='accuracy_gap'; expected the true labels, or risk='disagreement', "
            "which needs none"
        )
    if spec.risk == "disagreement" and y is not None:
        raise ValueError(
            "y is given with risk='disagreement', which compares predictions with predictions; "
            "expected y=None, or risk='accuracy_gap'"
        )
    budget = spec.max_mean_cost
    if budget is not None and not (isinstance(budget, Real) and 0 <= budget < np.inf):
        raise ValueError(
            f"max_mean_cost={budget!r}; expected None or a finite number, not below zero"
        )
    if len(spec.names) < 2:
        raise ValueError(
            f"the cascade has one stage, {spec.names[0]!r}, so no row can exit early and there "
            f"is nothing to certify; expected two or more"
        )


def check_tuning_size(tuning_size: Any, n_kept: int) -> int:
    """Return how many rows choose the path of thresholds."""
    size: Any = DEFAULT_TUNING_SHARE if tuning_size is None else tuning_size
    is_count = isinstance(size, Integral) and not isinstance(size, bool) and 0 < int(size) < n_kept
    if not is_count and not (isinstance(size, Real) and 0 < float(size) < 1):
        raise ValueError(
            f"tuning_size={tuning_size!r}; expected None, a share of the rows between 0 and 1, or "
            f"a number of rows from 1 to {n_kept - 1}"
        )
    return int(size) if is_count else max(1, int(size * n_kept))


class ReportWriter(NamedTuple):
    """Turns the counts of one certification into its report."""

    spec: CertificateSpec
    counts: RowCounts
    references: tuple[str, ...] = ()

    def report(self, message: str, **found) -> CertificationReport:
        """Return a report; what was not found is None, and nothing certified is no early exit."""
        figures = dict.fromkeys(
            ("regressions", "corrections", "loss_estimate", "loss_upper", "p_value", "mean_cost")
            + ("cost_interval", "mean_cost_upper", "samples_needed", "stopped_at")
        )
        figures.update(
            self.spec._asdict(),
            message=message,
            certified=False,
            references=self.references,
            thresholds=(np.inf,) * (len(self.spec.names) - 1),
            n_certification=self.counts.certifying,
            n_tuning=self.counts.tuning,
            tuned_on=self.counts.tuned_on,
            full_cost=float(cumulative_costs(self.spec.costs)[-1]),
            stages=(),
            path_length=0,
            path=(),
        )
        del figures["costs"]
        return CertificationReport(**{**figures, **found})

    def too_few_rows(self) -> CertificationReport:
        """Return the refusal for want of rows."""
        spec, counts = self.spec, self.counts
        fewest, n_used = spec.fewest_rows, counts.kept - counts.certifying
        needed = int(np.ceil(fewest * counts.kept / counts.certifying)) if n_used else fewest
        needed = int(np.ceil(needed * counts.given / max(counts.kept, 1)))
        notes = [f"{counts.given} rows"]
        if counts.kept < counts.given:
            notes.append(f"{counts.kept} of them kept by their weights")
        if n_used:
            notes.append(f"{n_used / counts.kept:.0%} of them used for tuning".replace("%", " %"))
        at = f"delta={spec.loss_delta:.6g}"
        if spec.max_mean_cost is not None:
            at += f" (half of {spec.delta:.6g}; max_mean_cost takes the other half)"
        message = (
            f"epsilon={spec.epsilon:.6g} at {at} needs at least {fewest} certification rows, even "
            f"if no row is lost; got {counts.certifying} ({', '.join(notes)}). Pass at least "
            f"{needed} rows, or a larger epsilon or delta."
        )
        return self.report(message, samples_needed=needed)

    def tested_path(
        self, outcomes: PairedOutcomes, path_length: int, steps: list[TestedThresholds]
    ) -> CertificationReport:
        """Return the report of a path that was tested."""
        spec = self.spec
        tested = {"path_length": path_length, "path": tuple(step._asdict() for step in steps)}
        if not steps:
            return self.report(_NO_EARLY_EXIT, **tested)
        accepted = [step for step in steps if step.passed]
        if not steps[-1].passed:
            _, p_value = self._worst(steps[-1])
            tested["stopped_at"] = {**steps[-1]._asdict(), "p_value": p_value}
        if not accepted:
            return self._first_step_failed(steps[0], tested)
        chosen = accepted[-1]
        worst, p_value = self._worst(chosen)
        tested.update(self._loss_figures(chosen, worst, p_value))
        costs = _cost_figures(spec, outcomes, chosen, path_length)
        if not within_limit(costs["mean_cost_upper"], spec.max_mean_cost):
            message = (
                f"Not certified: the loss is, but the mean cost is only known to be at most "
                f"{costs['mean_cost_upper']:.6g} {spec.unit} (estimate {costs['mean_cost']:.6g}), "
                f"above max_mean_cost={spec.max_mean_cost:.6g}."
            )
            return self.report(message, **tested)
        loss = {"accuracy_gap": "accuracy lost", "disagreement": "share of other labels"}
        message = (
            f"Certified: the {loss[spec.risk]} on new rows is at most {spec.epsilon:.6g}, with "
            f"probability {1 - spec.delta:.6g} ({self._count_words(chosen, worst)} of "
            f"{self.counts.certifying} rows, p = {p_value:.2g})."
        )
        return self.report(
            message,
            certified=True,
            thresholds=chosen.thresholds,
            stages=_stage_figures(spec, outcomes, chosen, worst),
            **tested,
            **costs,
        )

    def _first_step_failed(self, step: TestedThresholds, tested: dict) -> CertificationReport:
        """Return the refusal where the most cautious thresholds lose too much, or may do."""
        spec, n = self.spec, self.counts.certifying
        worst, p_value = self._worst(step)
        figures = self._loss_figures(step, worst, p_value)
        loss = figures["loss_estimate"]
        needed = projected_samples(
            step.regressions[worst],
            step.corrections[worst],
            n,
            epsilon=spec.epsilon,
            delta=spec.loss_delta,
            risk=RISKS[spec.risk],
        )
        advice = (
            f"No number of rows is likely to help: the estimated loss {loss * 100:.3g} % is not "
            f"below epsilon."
            if needed is None
            else f"If these rates are right, about {needed} certification rows would certify it "
            f"with probability 0.8."
        )
        message = (
            f"Not certified: at the most cautious setting the cascade "
            f"{self._count_words(step, worst)} of {n} rows (estimate {loss * 100:.2f} %, "
            f"p = {p_value:.2g} > {spec.loss_delta:.6g}). {advice}"
        )
        return self.report(message, samples_needed=needed, **tested, **figures)

    def _count_words(self, step: TestedThresholds, worst: int) -> str:
        """Return regressions and corrections in words."""
        if self.spec.risk == "disagreement":
            return f"gave another label on {step.regressions[worst]}"
        return f"lost {step.regressions[worst]} and fixed {step.corrections[worst]}"

    def _worst(self, step: TestedThresholds) -> tuple[int, float]:
        """Return the reference that a step is worst against, and the p-value there."""
        risk = RISKS[self.spec.risk]
        return worst_reference(step, risk, self.counts.certifying, self.spec.epsilon)

    def _loss_figures(self, step: TestedThresholds, worst: int, p_value: float) -> dict:
        """Return the figures about loss at one step."""
        lost, fixed, n = step.regressions[worst], step.corrections[worst], self.counts.certifying
        upper = RISKS[self.spec.risk].upper_bound(lost, fixed, n, self.spec.loss_delta)
        return {
            "regressions": lost,
            "corrections": fixed,
            "loss_estimate": (lost - fixed) / n,
            "loss_upper": upper,
            "p_value": p_value,
        }


def _cost_figures(
    spec: CertificateSpec, outcomes: PairedOutcomes, step: TestedThresholds, path_length: int
) -> dict:
    """Return the figures about cost at one step."""
    stage = outcomes.exit_stages(step.thresholds)
    paid, n = row_costs(stage, spec.costs), len(stage)
    half = student.ppf(0.975, n - 1) * paid.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    reaching = [int((stage >= k).sum()) for k in range(len(spec.costs))]
    delta = spec.delta
    if spec.max_mean_cost is not None:
        # Whichever step of the path is taken.
        delta = (spec.delta - spec.loss_delta) / path_length
    return {
        "mean_cost": float(paid.mean()),
        "cost_interval": (float(paid.mean() - half), float(paid.mean() + half)),
        "mean_cost_upper": mean_cost_upper(reaching, n, spec.costs.tolist(), delta),
    }


def _stage_figures(
    spec: CertificateSpec, outcomes: PairedOutcomes, step: TestedThresholds, worst: int
) -> tuple[dict, ...]:
    """Return the figures of each stage."""
    stage, n = outcomes.exit_stages(step.thresholds), outcomes.n_samples
    figures = []
    for k, name in enumerate(spec.names):
        here = stage == k
        count = int(here.sum())
        lost = int(outcomes.regressed[worst, k, here].sum())
        fixed = int(outcomes.corrected[worst, k, here].sum())
        figures.append(
            {
                "name": name,
                "n_samples": count,
                "share": count / n,
                "regressions": lost,
                "corrections": fixed,
                "net": (lost - fixed) / n,
                "loss_upper": binomial_upper_bound(lost, count, _STAGE_DELTA) if count else np.nan,
            }
        )
    return tuple(figures)
