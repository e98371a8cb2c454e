"""A path of thresholds from dear to cheap, drawn on rows that certify nothing."""

from __future__ import annotations

import numpy as np

from sklearn_cascade.rules import candidate_thresholds, cumulative_costs, exits
from sklearn_cascade.search._outcomes import Outcomes
from sklearn_cascade.tuning._sweep import count_passed

# Vectors of thresholds that are looked at.
_MOST_CANDIDATES = 20_000
# Thresholds per stage beside "always" and "never": where one stage may exit early, two, or more.
_PER_STAGE = {1: 40, 2: 20}
_PER_STAGE_OF_MANY = 16
# With fewer than this per stage, all stages let the same share of the rows that reach them go.
_FEWEST_PER_STAGE = 3
_SHARES = np.linspace(0, 1, 61)
# Losses that an early exit of all rows counts for, so that candidates without a loss are ordered.
_CAUTION = 4.0


def cautious_path(outcomes: Outcomes) -> list[tuple[float, ...]]:
    """Return the thresholds that trade caution against cost best, dearest first.

    The caution of a candidate is ``max(regressions - corrections / 2, 0) + 4 * share of early exits``,
    against the worst of the references. The last term orders candidates that lose nothing, as
    most do on few rows: without it the path begins at the cheapest of these, where a test on other
    rows fails. It is no part of what is certified.

    Parameters
    ----------
    outcomes : Outcomes
        Of the tuning rows.

    Returns
    -------
    path : list of tuple of float
        One threshold per stage but the last.
    """
    vectors, sums = _Tree(outcomes).leaves()
    worst = np.maximum(sums[:, 2:], 0).max(axis=1)
    # Rounded, as sums in another order miss each other by the last digits.
    caution = np.round(worst + _CAUTION * sums[:, 1] / outcomes.n_samples, 9)
    dearest = outcomes.n_samples * float(np.sum(outcomes.costs))
    cost = np.round(sums[:, 0] / (dearest or 1.0), 12)
    order = np.lexsort((cost, caution))
    cheapest = np.minimum.accumulate(cost[order])
    kept = order[np.append(True, cheapest[1:] < cheapest[:-1])]
    return [vectors[place] for place in kept]


class _Tree:
    """Vectors of thresholds, where those of a stage are quantiles of the rows that reach it."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.confidence, self.n_gates = outcomes.confidence, len(outcomes.confidence)
        self.contributions = _contributions(outcomes)
        self.vectors: list[tuple[float, ...]] = []
        self.sums: list[np.ndarray] = []

    def leaves(self) -> tuple[list[tuple[float, ...]], np.ndarray]:
        """Return the vectors, and the sums over all rows of what each row contributes."""
        room = int(_MOST_CANDIDATES ** (1 / self.n_gates)) - 2
        per_stage = min(room, _PER_STAGE.get(self.n_gates, _PER_STAGE_OF_MANY))
        rows = np.arange(self.confidence.shape[1])
        start = (), rows, np.zeros(self.contributions.shape[1])
        if per_stage >= _FEWEST_PER_STAGE:
            self._walk(*start, lambda sure: _quantiles(sure, per_stage))
        else:
            for share in _SHARES:
                self._walk(*start, lambda sure, share=share: [_at_share(sure, share)])
        return self.vectors, np.array(self.sums)

    def _walk(self, vector, rows, before, choose) -> None:
        """Add the leaves below one vector of thresholds, which `rows` have passed."""
        stage = len(vector)
        sure = self.confidence[stage, rows]
        thresholds = choose(sure)
        if stage == self.n_gates - 1:
            self.vectors += [(*vector, threshold) for threshold in thresholds]
            self.sums += list(before + self._sums_at(np.array(thresholds), sure, rows))
            return
        for threshold in thresholds:
            leaving = exits(sure, threshold)
            gone = before + self.contributions[stage][:, rows[leaving]].sum(axis=1)
            self._walk((*vector, threshold), rows[~leaving], gone, choose)

    def _sums_at(self, thresholds: np.ndarray, sure: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return what some rows contribute at each threshold of the last gate, all in one go.

        A row exits at the thresholds, which ascend, whose boundaries are not above it.
        """
        n_passed = count_passed(sure, thresholds)
        length = len(thresholds) + 1
        early, late = (
            np.array([np.bincount(n_passed, weights=part, minlength=length) for part in parts])
            for parts in self.contributions[-2:][..., rows]
        )
        staying = np.cumsum(late, axis=1)[:, :-1]
        leaving = (early.sum(axis=1, keepdims=True) - np.cumsum(early, axis=1))[:, :-1]
        return (leaving + staying).T


def _contributions(outcomes: Outcomes) -> np.ndarray:
    """Return what a row adds if it exits at each stage: (n_stages, 2 + n_references, n_samples).

    Its cost, whether that is early, and its regressions less half of its corrections.
    """
    net = (outcomes.lost - 0.5 * outcomes.fixed).transpose(1, 0, 2)
    n_stages, _, n_samples = net.shape
    paid = np.repeat(cumulative_costs(outcomes.costs)[:, None], n_samples, axis=1)
    early = np.repeat((np.arange(n_stages) < n_stages - 1)[:, None], n_samples, axis=1)
    return np.concatenate([paid[:, None], early[:, None], net], axis=1)


def _quantiles(sure: np.ndarray, n_thresholds: int) -> list[float]:
    """Return "always", some quantiles and "never"; "never" alone where no row arrives."""
    if not np.isfinite(sure).any():
        return [np.inf]
    return [-np.inf, *candidate_thresholds(sure, n_thresholds).tolist(), np.inf]


def _at_share(sure: np.ndarray, share: float) -> float:
    """Return a threshold that about this share of the rows reaches."""
    candidates = _quantiles(sure, len(_SHARES))
    return candidates[round((1 - share) * (len(candidates) - 1))]
