"""A committee of a front applied to other recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sklearn_cascade.inspection import CascadePrediction
from sklearn_cascade.rules import (
    RunningAnswer,
    RunningLabel,
    as_numbers,
    check_proba,
    exit_stages,
    row_costs,
)
from sklearn_cascade.search._committees import Plan
from sklearn_cascade.search._learners import Learners
from sklearn_cascade.search._recordings import Recordings

if TYPE_CHECKING:
    from sklearn_cascade.search._front_row import OperatingPoint


class Committee(NamedTuple):
    """What one committee does at each stage.

    Attributes
    ----------
    costs : ndarray of shape (n_stages,)
        Cost of one row.
    confidences : list of length n_stages
        How sure the answer is; None where nobody asks.
    seconds : ndarray of shape (n_stages,) or None
        What a learned confidence takes for a row; None where it is not learned, or from labels.
    """

    costs: np.ndarray
    confidences: list
    seconds: np.ndarray | None


class Application(NamedTuple):
    """What it takes to apply the committees of a front.

    Attributes
    ----------
    names : tuple of str
        Models of the pool, in the order in which they were given.
    classes : ndarray of shape (n_classes,)
        Label of each column; without columns, all labels that occurred.
    pairs : bool
        Whether the models give confidences and labels only.
    committees : dict from (combine, members, exits) to Committee
        Those of the front.
    """

    names: tuple[str, ...]
    classes: np.ndarray
    pairs: bool
    committees: dict[tuple, Committee]

    def committee(self, row: OperatingPoint) -> Committee:
        """Return what a committee does at each stage."""
        return self.committees[row.combine, row.members, row.kind == "cascade"]

    def apply(self, row: OperatingPoint, proba) -> CascadePrediction:
        """Return what a committee answers where its models have said `proba`."""
        committee = self.committee(row)
        said = [self._entry(proba, name) for name in row.members]
        n_samples = len(said[0][0] if self.pairs else said[0])
        if self.pairs:
            classes, said = _coded(self.classes, said, row.members, n_samples)
            running = RunningLabel(row.combine)
        else:
            classes = self.classes
            said = [
                check_proba(np.asarray(entry), n_samples, len(classes), member=name)
                for name, entry in zip(row.members, said, strict=True)
            ]
            running = RunningAnswer(row.combine, remember=True)
        answers, sure = [], []
        for k, (entry, confidence) in enumerate(zip(said, committee.confidences, strict=True)):
            answers.append(running.add(entry, 1.0, confidence))
            if k < len(row.thresholds):
                asked = row.kind == "cascade"
                sure.append(running.how_sure(confidence) if asked else np.zeros(n_samples))
        stage = exit_stages(sure, row.thresholds) if sure else np.zeros(n_samples, dtype=int)
        given = np.stack(answers)[stage, np.arange(n_samples)]
        label = classes[given if self.pairs else given.argmax(axis=1)]
        cost = row_costs(stage, committee.costs)
        return CascadePrediction(label, None if self.pairs else given, stage, cost)

    def _entry(self, proba, name: str):
        """Return what one model said."""
        if isinstance(proba, dict):
            if name not in proba:
                raise ValueError(f"proba lacks {name!r}, which this committee runs")
            return proba[name]
        if len(proba) != len(self.names):
            raise ValueError(
                f"proba has {len(proba)} entries; expected one for each of {list(self.names)}, "
                f"or a dict by name"
            )
        return proba[self.names.index(name)]


def application_of(
    recordings: Recordings, names: Sequence[str], plans: Sequence[Plan], confidence
) -> Application:
    """Return what it takes to apply some plans.

    Parameters
    ----------
    recordings : Recordings
        Answers of the pool.
    names : sequence of str
        Its models, in the order in which they were given.
    plans : sequence of Plan
        The committees.
    confidence : str, callable or Learners
        How sure an answer is.
    """
    committees, pairs = {}, recordings.proba is None
    for plan in plans:
        n_stages = len(plan.members)
        members = tuple(recordings.names[model] for model in plan.members)
        known, seconds = [confidence] * n_stages, None
        if plan.learned:
            known = confidence.stages(plan.combine, plan.members)
            known += [None] * (n_stages - len(known))
            seconds = None if pairs else confidence.seconds(plan.combine, n_stages)
        elif isinstance(confidence, Learners):
            # No early exit: nobody asks.
            known = [None] * n_stages
        committees[plan.combine, members, plan.exits] = Committee(plan.costs, known, seconds)
    return Application(tuple(names), recordings.classes, pairs, committees)


def _coded(classes, said, names, n_samples: int) -> tuple[np.ndarray, list]:
    """Return all classes and the pairs by class; labels that nobody knew come last."""
    checked = []
    for name, (sure, label) in zip(names, said, strict=True):
        sure, label = as_numbers(f"confidence of {name!r}", sure), np.asarray(label)
        if sure.shape != (n_samples,) or label.shape != (n_samples,):
            raise ValueError(
                f"proba: the pair of {name!r} has shapes {sure.shape} and {label.shape}; expected "
                f"one confidence and one label for each of {n_samples} rows"
            )
        checked.append((sure, label))
    seen = np.unique(np.concatenate([label for _, label in checked]))
    every = np.concatenate([classes, seen[~np.isin(seen, classes)]])
    order = np.argsort(every, kind="stable")
    return every, [(s, order[np.searchsorted(every, label, sorter=order)]) for s, label in checked]
