"""Scorers that are no sum over rows: applied to the committees that the accuracy front holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sklearn_cascade.rules import (
    RunningAnswer,
    compute_confidence,
    exits,
    score_answers,
    score_labels,
)
from sklearn_cascade.search._committees import Found, Plan
from sklearn_cascade.search._dominance import non_dominated, round_score
from sklearn_cascade.search._exhaustive import unbeaten
from sklearn_cascade.search._recordings import Recordings
from sklearn_cascade.search._statistics import blocks_of

# Cascades that are scored, at most.
MAX_SCORED = 256


def rescore(
    recordings: Recordings,
    plans: Sequence[Plan],
    found: Found,
    *,
    scoring: str | Callable,
    confidence: str | Callable,
    rows: np.ndarray | None,
) -> Found:
    """Return the committees of the accuracy front with the score of another scorer.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    plans : sequence of Plan
        What `found` counts by.
    found : Found
        Committees and their accuracy.
    scoring, confidence : str or callable
        As in `search_cascades`.
    rows : ndarray of int or None
        The rows to score; None: all.

    Returns
    -------
    found : Found
        Single models, ensembles, and those of an even choice of cascades that nothing beats.
    """
    found = found.take(_evenly_chosen(plans, found))
    rows = np.arange(recordings.n_samples) if rows is None else rows
    score = [
        _score(recordings, plans[place], thresholds, scoring, confidence, rows)
        for place, thresholds in zip(found.plan, found.thresholds, strict=True)
    ]
    return unbeaten(plans, found._replace(score=np.array(score)))


def _evenly_chosen(plans, found: Found) -> np.ndarray:
    """Return the rows without early exit, and an even choice of the accuracy front."""
    exiting = np.array([plans[place].exits for place in found.plan])
    front = non_dominated(
        round_score(found.score), found.cost, np.zeros(len(found.plan)), np.arange(len(found.plan))
    )
    # In order of cost, so that the choice is even along the front.
    front = front[np.argsort(found.cost[front], kind="stable")]
    front = front[exiting[front]]
    if len(front) > MAX_SCORED:
        front = front[np.linspace(0, len(front) - 1, MAX_SCORED).astype(int)]
    return np.union1d(np.flatnonzero(~exiting), front)


def _score(recordings, plan, thresholds, scoring, confidence, rows) -> float:
    """Return the score of one committee at one operating point."""
    given = give_answers(recordings, plan, thresholds, confidence)
    return score_given(recordings, given, scoring, rows)


def give_answers(recordings, plan, thresholds, confidence) -> np.ndarray:
    """Return what one committee answers: probabilities, or labels where no more is known."""
    answer = _labels if recordings.proba is None else _probabilities
    blocks = blocks_of(recordings, len(plan.members))
    return np.concatenate(
        [answer(recordings, plan, thresholds, confidence, block) for block in blocks]
    )


def score_given(recordings, given, scoring, rows) -> float:
    """Return the score of recorded answers on some of the rows."""
    y = recordings.classes[recordings.y[rows]]
    weight = None if recordings.sample_weight is None else recordings.sample_weight[rows]
    if recordings.proba is None:
        return score_labels(scoring, given[rows], y, weight)
    return score_answers(scoring, given[rows], y, recordings.classes, weight)


def _probabilities(recordings, plan, thresholds, confidence, block) -> np.ndarray:
    """Return the probabilities that one committee answers with: (n_rows, n_classes)."""
    running = RunningAnswer(plan.combine)
    last = len(plan.members) - 1
    for k, model in enumerate(plan.members):
        answer = running.add(recordings.read_proba(model, block))
        if k == 0:
            given, open_rows = answer.copy(), np.ones(len(answer), dtype=bool)
        given[open_rows] = answer[open_rows]
        if k < last:
            open_rows &= ~exits(compute_confidence(answer, confidence), thresholds[k])
    return given


def _labels(recordings, plan, thresholds, confidence, block) -> np.ndarray:
    """Return the labels that one committee answers with: (n_rows,)."""
    last = len(plan.members) - 1
    for k, model in enumerate(plan.members):
        sure, predicted = recordings.read_answers(model, block)
        if k == 0:
            given, open_rows = predicted.copy(), np.ones(len(predicted), dtype=bool)
        given[open_rows] = predicted[open_rows]
        if k < last:
            open_rows &= ~exits(sure, thresholds[k])
    return given
