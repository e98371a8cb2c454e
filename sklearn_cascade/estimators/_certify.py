"""Certifying a cascade: how much early exit costs at most on new rows."""

from __future__ import annotations

from hashlib import blake2b
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from scipy.stats import binom
from scipy.stats import t as student
from sklearn.utils import assert_all_finite, check_random_state, indexable

from sklearn_cascade._compat import n_rows, take_rows, warn_caller
from sklearn_cascade.certification import (
    RISKS,
    PairedOutcomes,
    StagePredictions,
    TestedThresholds,
    binomial_upper,
    collect_answers,
    compare,
    fixed_sequence_test,
    mean_cost_upper,
    rows_projected,
    threshold_path,
    worst_reference,
)
from sklearn_cascade.core import (
    ProbaCombiner,
    check_one_of,
    check_sample_weight,
    check_share,
    cumulative_costs,
    row_costs,
    within_limit,
)
from sklearn_cascade.estimators._routing import record_stages
from sklearn_cascade.exceptions import CertificationError, NotCertifiedWarning
from sklearn_cascade.inspection import CertificationReport

# Held-out rows of a fit that are kept to draw paths; more add little.
_MOST_TUNING_ROWS = 5000
# Part of the calibration rows that draws the path, where no fit has done so.
DEFAULT_TUNING_SHARE = 0.2
# Level of the limits per stage, which only describe.
_STAGE_DELTA = 0.1
_NO_EARLY_EXIT = (
    "Not certified: on the tuning rows no thresholds let a row exit early for less than it costs "
    "to run every stage."
)
SEVERAL = ("cascade", "best_member", "every_member")
# Rows remembered, and numbers of each row looked at; both spread evenly.
_MOST_ROWS, _MOST_NUMBERS = 10_000, 256
# Chance that rows which are all new are taken for used ones.
_FALSE_ALARM = 1e-6


class Certifies:
    """Mixin for the cascade: certifying a loss."""

    def certify(
        self,
        X,
        y=None,
        *,
        risk="accuracy_gap",
        reference="cascade",
        epsilon=0.01,
        delta=0.1,
        tuning_size=None,
        sample_weight=None,
        max_weight=None,
        max_mean_cost=None,
        on_refusal="raise",
        random_state=None,
    ):
        """Find the cheapest thresholds whose loss on new rows is certainly small.

        With probability 1 - `delta` over draws of the certification rows, early exit at the
        thresholds returned costs at most `epsilon` of accuracy on new rows, or nothing is
        certified. Nothing changes on this cascade: ``cascade.with_thresholds(report)`` puts them
        into force.

        **The certificate holds for new rows drawn like the calibration rows; if the population
        drifts it can fail without any visible sign - a new segment making up one percent of the
        rows, on which an early model is confidently wrong, is enough to break a one-percent
        promise - so keep running every model on a small random sample of production rows and
        re-certify.**

        **It is void where the rows chose anything**: those that members were trained on,
        thresholds, confidence or calibration were tuned on, or that a search or an earlier
        ``certify`` with other settings has seen (to try k settings, divide `delta` by k).
        Rows that this cascade's own fit used are recognised and refused; others cannot be. Rows
        have to be independent: of rows that belong together pass one.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Calibration rows, drawn like those to come. Every member is asked for all of them, once.
        y : array-like of shape (n_samples,), default=None
            True labels; None for "disagreement". A label that no member knows counts as wrong
            for the cascade and its reference.
        risk : {"accuracy_gap", "disagreement"}, default="accuracy_gap"
            What is bounded: the accuracy of the reference minus the cascade's, by the exact paired
            test of `noninferiority_pvalue`; or the share of rows answered otherwise than by the
            reference, which needs no labels, by the exact binomial test.
        reference : {"cascade", "best_member", "every_member"} or str, default="cascade"
            What the cascade is held against: itself without early exit; the member that is best on
            the tuning rows; each member; or the member of this name. For the parts of one
            ensemble a member is the ensemble up to that part.
        epsilon : float, default=0.01
            Largest loss, as a share of the rows.
        delta : float, default=0.1
            Probability that the certificate is wrong.
        tuning_size : float or int, default=None
            Rows of `X` set aside at random to draw the path of thresholds, which then certify
            nothing: a share or a number. None: 0.2, or no row where the fit tuned thresholds, as
            its held-out rows serve.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows: the loss is then the weighted mean. Row i is kept with probability
            ``sample_weight[i] / max_weight``, and the rows kept count alike.
        max_weight : float, default=None
            Largest weight that a row can have. None takes the largest given, which is
            exact only if that is known to be the largest there is.
        max_mean_cost : float, default=None
            Also promise, within `delta`, half of which this takes, that the mean cost of new rows
            is no larger.
        on_refusal : {"raise", "warn"}, default="raise"
            Where nothing can be certified: raise, or warn and return the report, whose thresholds
            never exit.
        random_state : int, RandomState instance or None, default=None
            Draws the rows set aside and those kept by weight. None is a fixed seed: trying seeds
            until one certifies makes the certificate void.

        Returns
        -------
        report : CertificationReport
            Prints as a table; ``to_dict()``, ``to_frame()``.

        Raises
        ------
        CertificationError
            If nothing can be certified and `on_refusal` is "raise"; its ``report`` tells why.
        ValueError
            If a parameter is out of its range, or the fit has used the rows.

        See Also
        --------
        noninferiority_pvalue : The test.
        min_certification_samples : Rows that it takes at the very least.

        References
        ----------
        A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei. "Learn then Test:
        Calibrating Predictive Algorithms to Achieve Risk Control." 2021.

        Examples
        --------
        >>> from sklearn.datasets import make_classification
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn_cascade import CascadeClassifier
        >>> X, y = make_classification(3000, 8, n_informative=6, random_state=0)
        >>> members = [("linear", LogisticRegression()), ("neighbors", KNeighborsClassifier())]
        >>> cascade = CascadeClassifier(members, costs=[1, 20]).fit(X[:1000], y[:1000])
        >>> report = cascade.certify(X[1000:], y[1000:], epsilon=0.02)
        >>> report.certified, report.saving > 1
        (True, True)
        >>> certified = cascade.with_thresholds(report)
        >>> certified.certificate_ is report
        True
        """
        given = X
        X, n_samples = self._enter(X)
        indexable(X, y)
        asked = (risk, reference, epsilon, delta, max_mean_cost)
        about = (tuple(self._stage_names()), self.combine_, self.cost_unit_, self.costs_)
        promise = CertificateSpec(*asked, *about)
        check_promise(promise, y)
        if on_refusal not in ("raise", "warn"):
            raise ValueError(f"on_refusal={on_refusal!r}; expected 'raise' or 'warn'")
        self._refuse_used_rows(given)
        truth = None if y is None else _columns(y, self.classes_)
        random = check_random_state(0 if random_state is None else random_state)
        kept = _thin(check_sample_weight(sample_weight, X), max_weight, n_samples, random)
        report = self._certify(promise, X, n_samples, truth, kept, tuning_size, random)
        if not report.certified:
            if on_refusal == "raise":
                raise CertificationError(report.message, report)
            warn_caller(report.message, NotCertifiedWarning)
        return report

    def _certify(self, promise, X, n_samples, truth, kept, tuning_size, random):
        """Split the rows, draw the path on some, and go down it on the others."""
        tuning, n_tuning, source = self._held_out_answers(), 0, "fit"
        if tuning is None or tuning_size is not None:
            n_tuning, source = check_tuning_size(tuning_size, len(kept)), "split"
        known = n_tuning if source == "split" else tuning.n_samples
        rows = Rows(n_samples, len(kept), known, len(kept) - n_tuning, source)
        if rows.certifying < promise.fewest_rows:
            return too_few_rows(promise, rows)
        whole = len(kept) == n_samples
        X, truth = (X, truth) if whole else (take_rows(X, kept), _take(truth, kept))
        answers = self._ask_about(X, len(kept), truth)
        if source == "split":
            order = random.permutation(len(kept))
            tuning, answers = answers.take(order[:n_tuning]), answers.take(order[n_tuning:])
        places = _reference_places(promise, tuning)
        labelled = promise.risk == "accuracy_gap"
        drawn = compare(tuning, places, self.costs_, labelled=labelled)
        path = threshold_path(drawn)
        if places == [None]:
            # Against itself, no early exit loses nothing: there is nothing to test.
            path = [thresholds for thresholds in path if min(thresholds) < np.inf]
        outcomes = compare(answers, places, self.costs_, labelled=labelled)
        steps = fixed_sequence_test(
            outcomes,
            path,
            risk=RISKS[promise.risk],
            epsilon=promise.epsilon,
            delta=promise.loss_delta,
        )
        names = tuple("no early exit" if p is None else promise.names[p] for p in places)
        return judge(promise, rows, names, outcomes, len(path), steps)

    def _ask_about(self, X, n_samples, truth) -> StagePredictions:
        """Ask every member for all rows, once."""
        recorded = record_stages(self._stages, X, n_samples)
        for name, stage in zip(self._stage_names(), recorded, strict=True):
            if stage.proba is None:
                # The member says why it fails: nobody knows what it would have answered.
                all_rows = np.arange(n_samples)
                if stage.adds_up:
                    stage.add_to_sum(ProbaCombiner("mean"), all_rows)
                stage.predict_proba(all_rows, n_samples)
                raise ValueError(
                    f"the member {name!r} failed on these rows, and answered when asked again; "
                    f"expected a member that answers each time"
                )
        return self._answers([stage.proba for stage in recorded], truth, self._stages[0].adds_up)

    def _answers(self, proba, truth, summed) -> StagePredictions:
        """Return the answers after each stage and of each member alone."""
        policy = self._policy()
        if summed:
            return collect_answers(proba, proba, policy.confidences, truth, policy.class_shares)
        running, after, sure = policy.begin(), [], []
        for k, answer in enumerate(proba):
            after.append(running.add(answer, policy.weights[k], policy.confidences[k]))
            if k < len(proba) - 1:
                sure.append(running.confidence(policy.confidences[k]))
        return collect_answers(after, proba, sure, truth, policy.class_shares)

    def _remember_fit(self, X, members, held_out=None, labels=None, sample_weight=None):
        """Keep what a certificate needs of a fit: which rows it used, and held-out answers."""
        tuned = held_out is not None
        unused = not tuned and all(member.frozen for member in members)
        self._used_rows = None if unused else fingerprints(X)
        self._tuning_answers = None
        if not tuned or len(members) < 2:
            return
        rows = np.arange(len(held_out.rows))
        if sample_weight is not None:
            rows = rows[sample_weight[held_out.rows] > 0]
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_TUNING_ROWS)).astype(int)]
        truth = labels.columns[held_out.rows[rows]]
        answers = self._answers([proba[rows] for proba in held_out.proba], truth, False)
        # Small types and a plain dict, as this is saved with every cascade that was tuned.
        self._tuning_answers = {
            name: values.astype(np.float32 if name == "confidence" else np.int32)
            for name, values in answers._asdict().items()
        }

    def _held_out_answers(self) -> StagePredictions | None:
        """Return the answers to the rows that the fit held out; None where there are none."""
        kept = getattr(self, "_tuning_answers", None)
        if kept is None:
            return None
        answers = StagePredictions(**kept)
        return answers._replace(alone=answers.after) if self._stages[0].adds_up else answers

    def _refuse_used_rows(self, X):
        """Raise where the fit of this cascade has used these rows."""
        found, looked_at = count_known(getattr(self, "_used_rows", None), X)
        if found:
            raise ValueError(
                f"X: {found} of the {looked_at} rows looked at are rows that this cascade was "
                f"fitted or tuned on, where it looks better than it is, so that a certificate "
                f"would be void; expected rows that had no part in the fit"
            )


def _thin(weight, max_weight, n_samples: int, random) -> np.ndarray:
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


def _columns(y, classes: np.ndarray) -> np.ndarray:
    """Return the column of each label, -1 for those that no member knows."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}; expected one label per row")
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    column = {label: place for place, label in enumerate(classes.tolist())}
    found = np.array([column.get(label, -1) for label in y.tolist()], dtype=np.intp)
    if (found < 0).all():
        raise ValueError(
            f"y holds none of the labels that the cascade knows, {classes.tolist()[:10]}, but "
            f"such as {y[0].item() if hasattr(y[0], 'item') else y[0]!r}; expected labels like "
            f"those of the fit"
        )
    return found


def _take(values, rows):
    """Return some of the values; None stays None."""
    return None if values is None else values[rows]


def _reference_places(promise: CertificateSpec, tuning: StagePredictions) -> list[int | None]:
    """Return the positions of the members that are references; None is no early exit."""
    if promise.reference == "cascade":
        return [None]
    if promise.reference == "every_member":
        return list(range(len(promise.names)))
    if promise.reference in promise.names:
        return [promise.names.index(promise.reference)]
    if tuning.truth is None:
        raise ValueError(
            "reference='best_member' has to be chosen on labelled rows, and there are none: the "
            "fit tuned no thresholds; expected the name of a member, or 'every_member'"
        )
    # Of equals the cheaper.
    ranked = np.lexsort((promise.costs, -tuning.accuracies()))
    return [int(ranked[0])]


class CertificateSpec(NamedTuple):
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


def check_promise(promise: CertificateSpec, y) -> None:
    """Raise for a promise that makes no sense."""
    check_share("epsilon", promise.epsilon)
    check_share("delta", promise.delta)
    check_one_of("risk", promise.risk, tuple(RISKS))
    check_one_of("reference", promise.reference, SEVERAL + promise.names)
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


def too_few_rows(promise: CertificateSpec, rows: Rows) -> CertificationReport:
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
    promise: CertificateSpec,
    rows: Rows,
    references: tuple[str, ...],
    outcomes: PairedOutcomes,
    path_length: int,
    steps: list[TestedThresholds],
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


def _certified(
    promise: CertificateSpec, rows: Rows, step: TestedThresholds, worst: int, p_value: float
) -> str:
    """Return the words of a certificate."""
    what = {"accuracy_gap": "accuracy lost", "disagreement": "share of other answers"}
    return (
        f"Certified: the {what[promise.risk]} on new rows is at most {promise.epsilon:.6g}, with "
        f"probability {1 - promise.delta:.6g} ({_count_words(promise, step, worst)} of "
        f"{rows.certifying} rows, p = {p_value:.2g})."
    )


def _over_budget(promise: CertificateSpec, mean_cost, mean_cost_upper, cost_interval) -> str:
    """Return the words where the loss is certified and the cost is not."""
    return (
        f"Not certified: the loss is, but the mean cost is only known to be at most "
        f"{mean_cost_upper:.6g} {promise.unit} (estimate {mean_cost:.6g}), above "
        f"max_mean_cost={promise.max_mean_cost:.6g}."
    )


def _first_step_failed(
    promise, rows, references, step: TestedThresholds, tested
) -> CertificationReport:
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


def _count_words(promise: CertificateSpec, step: TestedThresholds, worst: int) -> str:
    """Return regressions and corrections in words."""
    if promise.risk == "disagreement":
        return f"answered otherwise on {step.regressions[worst]}"
    return f"lost {step.regressions[worst]} and fixed {step.corrections[worst]}"


def _worst(promise: CertificateSpec, rows: Rows, step: TestedThresholds) -> tuple[int, float]:
    """Return the reference that a step is worst against, and the p-value there."""
    return worst_reference(step, RISKS[promise.risk], rows.certifying, promise.epsilon)


def _counts(
    promise: CertificateSpec, rows: Rows, step: TestedThresholds, worst: int, p_value: float
) -> dict:
    """Return the figures about loss at one step."""
    regressions, corrections, n = step.regressions[worst], step.corrections[worst], rows.certifying
    return {
        "regressions": regressions,
        "corrections": corrections,
        "loss_estimate": (regressions - corrections) / n,
        "loss_upper": RISKS[promise.risk].upper(regressions, corrections, n, promise.loss_delta),
        "p_value": p_value,
    }


def _cost_figures(
    promise: CertificateSpec, outcomes: PairedOutcomes, step: TestedThresholds, path_length: int
) -> dict:
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


def _stages(
    promise: CertificateSpec, outcomes: PairedOutcomes, step: TestedThresholds, worst: int
) -> tuple[dict, ...]:
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
    promise: CertificateSpec, rows: Rows, references: tuple[str, ...], **found
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


def fingerprints(X) -> np.ndarray | None:
    """Return one number per row, for some of the rows; None for rows that cannot be read.

    Equal rows have equal numbers, whether they come as an array or a frame.
    """
    n_samples = n_rows(X)
    if n_samples > _MOST_ROWS:
        X = take_rows(X, np.linspace(0, n_samples - 1, _MOST_ROWS).astype(int))
    try:
        return np.array([_number(row) for row in _as_bytes(X)], dtype=np.uint64)
    except (TypeError, ValueError, AttributeError):
        return None


def count_known(known: np.ndarray | None, X) -> tuple[int, int]:
    """Return how many of the rows looked at are surely known, and how many were looked at.

    Data with few distinct rows hold known ones by chance: about as many as there are twins among
    the known ones. Up to there nothing is sure, and the first number is zero.
    """
    new = None if known is None else fingerprints(X)
    if new is None:
        return 0, n_rows(X)
    distinct, counts = np.unique(known, return_counts=True)
    found = int(np.isin(new, distinct).sum())
    by_chance = min(1.0, 2 * (counts[counts > 1].sum() + 1) / len(known))
    sure = binom.sf(found - 1, len(new), by_chance) < _FALSE_ALARM
    return found if sure else 0, len(new)


def _as_bytes(X):
    """Yield the content of each row."""
    if issparse(X):
        rows = X.tocsr().sorted_indices()
        columns, values = rows.indices.astype(np.int64), rows.data.astype(np.float64)
        for row in map(slice, rows.indptr[:-1], rows.indptr[1:]):
            yield columns[row].tobytes() + values[row].tobytes()
        return
    array = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
    array = array.reshape(len(array), -1)
    array = array[:, :: max(1, -(-array.shape[1] // _MOST_NUMBERS))]
    if array.dtype.kind in "biuf":
        # Zero has two signs.
        for row in array.astype(np.float64) + 0.0:
            yield row.tobytes()
    else:
        for row in array:
            yield repr(row.tolist()).encode()


def _number(content: bytes) -> int:
    """Return a number that is equal for equal contents, in every process."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
