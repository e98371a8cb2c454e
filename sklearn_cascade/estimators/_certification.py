"""Certifying a cascade: how much early exit costs at most on new rows."""

from __future__ import annotations

import numpy as np
from sklearn.utils import assert_all_finite, check_random_state, indexable

from sklearn_cascade._compat import take_rows, warn_caller
from sklearn_cascade.estimators._certificate_parts import (
    Promise,
    Rows,
    check_promise,
    check_tuning_size,
    judge,
    too_few_rows,
)
from sklearn_cascade.estimators._recorded import record_stages
from sklearn_cascade.estimators._used_rows import count_known, fingerprints
from sklearn_cascade.exceptions import CertificationError, NotCertifiedWarning
from sklearn_cascade.rules import RunningAnswer, check_weights_of_rows
from sklearn_cascade.search import RISKS, Answers, cautious_path, collect_answers, compare, descend

# Held-out rows of a fit that are kept to draw paths; more add little.
_MOST_TUNING_ROWS = 5000


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
        promise = Promise(*asked, *about)
        check_promise(promise, y)
        if on_refusal not in ("raise", "warn"):
            raise ValueError(f"on_refusal={on_refusal!r}; expected 'raise' or 'warn'")
        self._refuse_used_rows(given)
        truth = None if y is None else _columns(y, self.classes_)
        random = check_random_state(0 if random_state is None else random_state)
        kept = _thin(check_weights_of_rows(sample_weight, X), max_weight, n_samples, random)
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
        path = cautious_path(drawn)
        if places == [None]:
            # Against itself, no early exit loses nothing: there is nothing to test.
            path = [thresholds for thresholds in path if min(thresholds) < np.inf]
        outcomes = compare(answers, places, self.costs_, labelled=labelled)
        steps = descend(
            outcomes,
            path,
            risk=RISKS[promise.risk],
            epsilon=promise.epsilon,
            delta=promise.loss_delta,
        )
        names = tuple("no early exit" if p is None else promise.names[p] for p in places)
        return judge(promise, rows, names, outcomes, len(path), steps)

    def _ask_about(self, X, n_samples, truth) -> Answers:
        """Ask every member for all rows, once."""
        recorded = record_stages(self._stages, X, n_samples)
        for name, stage in zip(self._stage_names(), recorded, strict=True):
            if stage.proba is None:
                # The member says why it fails: nobody knows what it would have answered.
                all_rows = np.arange(n_samples)
                if stage.adds_up:
                    stage.carry_on(RunningAnswer("mean"), all_rows)
                stage.ask(all_rows, n_samples)
                raise ValueError(
                    f"the member {name!r} failed on these rows, and answered when asked again; "
                    f"expected a member that answers each time"
                )
        return self._answers([stage.proba for stage in recorded], truth, self._stages[0].adds_up)

    def _answers(self, proba, truth, summed) -> Answers:
        """Return the answers after each stage and of each member alone."""
        policy = self._policy()
        if summed:
            return collect_answers(proba, proba, policy.confidences, truth, policy.class_shares)
        running, after, sure = policy.begin(), [], []
        for k, answer in enumerate(proba):
            after.append(running.add(answer, policy.weights[k], policy.confidences[k]))
            if k < len(proba) - 1:
                sure.append(running.how_sure(policy.confidences[k]))
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

    def _held_out_answers(self) -> Answers | None:
        """Return the answers to the rows that the fit held out; None where there are none."""
        kept = getattr(self, "_tuning_answers", None)
        if kept is None:
            return None
        answers = Answers(**kept)
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


def _reference_places(promise: Promise, tuning: Answers) -> list[int | None]:
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
