"""Scorers that are no sum over rows: applied to the committees that the accuracy front holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sklearn_cascade.rules import exit_stages, score_answers, score_labels
from sklearn_cascade.search._committees import Found, Plan
from sklearn_cascade.search._dominance import non_dominated, round_score
from sklearn_cascade.search._exhaustive import unbeaten
from sklearn_cascade.search._learners import Learners
from sklearn_cascade.search._recorded_stages import RecordedStages
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
    confidence: str | Callable | Learners,
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
    scoring, confidence
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
        _score(recordings, plans[place], _known(thresholds), scoring, confidence, rows)
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


def _known(thresholds: np.ndarray) -> np.ndarray:
    """Return the thresholds without those beyond the last stage but one."""
    return thresholds[~np.isnan(thresholds)]


def _score(recordings, plan, thresholds, scoring, confidence, rows) -> float:
    """Return the score of one committee at one operating point."""
    given = give_answers(recordings, plan, thresholds, confidence)
    return score_given(recordings, given, scoring, rows)


def give_answers(recordings, plan, thresholds, confidence) -> np.ndarray:
    """Return what one committee answers: probabilities, or labels where no more is known."""
    given = np.concatenate(
        [
            _answer_block(recordings, plan, thresholds, confidence, block)
            for block in blocks_of(recordings, len(plan.members))
        ]
    )
    return recordings.classes[given] if given.ndim == 1 else given


def _answer_block(recordings, plan, thresholds, confidence, block) -> np.ndarray:
    """Return the answers to one piece of the rows."""
    said = RecordedStages(recordings, confidence, block)
    running, answers, sure = said.begin(plan.combine), [], []
    for k in range(len(plan.members)):
        judged = plan.exits and k < len(plan.members) - 1
        answer, how_sure = said.add(running, plan.combine, plan.members[: k + 1], judged=judged)
        answers.append(answer)
        sure.append(how_sure)
    if not plan.exits or len(answers) == 1:
        return answers[-1]
    stage = exit_stages(sure[:-1], thresholds)
    return np.stack(answers)[stage, np.arange(len(stage))]


def score_given(recordings, given, scoring, rows) -> float:
    """Return the score of recorded answers on some of the rows."""
    y = recordings.classes[recordings.y[rows]]
    weight = None if recordings.sample_weight is None else recordings.sample_weight[rows]
    if recordings.proba is None:
        return score_labels(scoring, given[rows], y, weight)
    return score_answers(scoring, given[rows], y, recordings.classes, weight)
