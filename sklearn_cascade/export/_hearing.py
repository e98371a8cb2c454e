"""Hearing one stage after the other: the answer so far, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sklearn_cascade.export._binding import Source, answer_of
from sklearn_cascade.export._blueprint import Blueprint
from sklearn_cascade.export._canvas import Canvas
from sklearn_cascade.export._combining import confidence_of
from sklearn_cascade.export._learned import Judge, Said, learned_confidence, peak_of
from sklearn_cascade.export._packages import package


class Running(NamedTuple):
    """The rows that have come to some stage.

    Attributes
    ----------
    sources : list of Source
        The committee's inputs, these rows only.
    total : str or None
        Weighted sum of the probabilities so far; None before the first stage, and where there is
        no mean.
    mass : float
        Sum of the weights so far.
    answer, sure : str or None
        The answer so far, and how sure it is where that matters.
    said : Said or None
        What the stages said by themselves, where a later confidence looks at it.
    """

    sources: list[Source]
    total: str | None = None
    mass: float = 0.0
    answer: str | None = None
    sure: str | None = None
    said: Said | None = None

    def of_rows(self, canvas: Canvas, rows: str, *, keeps_answer: bool) -> Running:
        """Write the same for some of the rows; a mean needs its sum only."""

        def take(name: str | None, wanted: str) -> str | None:
            return None if name is None else canvas.add("Gather", name, rows, axis=0, name=wanted)

        return self._replace(
            sources=[s._replace(name=take(s.name, "input")) for s in self.sources],
            total=take(self.total, "total"),
            answer=take(self.answer, "answer") if keeps_answer else None,
            sure=take(self.sure, "sure") if keeps_answer else None,
            said=None if self.said is None else self.said.of_rows(canvas, rows),
        )


class Hearing:
    """Writes what becomes of one member's answer.

    Parameters
    ----------
    blueprint : Blueprint
        What the committee does.
    members, learners : sequence of Member or None
        One per stage, None for one whose answer counts for nothing; and the graphs of learners.
    elem_type : int
        Type of the probabilities.

    Attributes
    ----------
    dtype : dtype
        The same as NumPy has it.
    """

    def __init__(
        self, blueprint: Blueprint, members: Sequence, learners: Sequence, elem_type: int
    ) -> None:
        self._plan = blueprint
        self._members, self._learners = members, learners
        self._elem_type = elem_type
        self.dtype = package("onnx").helper.tensor_dtype_to_np_dtype(elem_type)

    def hear(self, canvas: Canvas, k: int, running: Running) -> Running:
        """Write a member, the answer with its own in it, and how sure that is if it matters."""
        plan = self._plan
        own, heard = self._heard(canvas, k, running)
        if not (plan.judges(k) or plan.looks_back(k)):
            return heard
        if plan.confidence == "learned":
            heard = self._learned(canvas, k, own, heard)
        else:
            sure = confidence_of(canvas, heard.answer, plan.confidences[k], plan, self.dtype)
            heard = heard._replace(sure=sure)
        return (
            self._surest(canvas, k, running, heard) if plan.combine == "most_confident" else heard
        )

    def boundary(self, canvas: Canvas, k: int) -> str:
        """Write the smallest confidence that exits at a stage."""
        dtype = np.float64 if self._plan.confidence == "learned" else self.dtype
        return canvas.hold(self._plan.boundaries[k], dtype, "threshold")

    def _heard(self, canvas: Canvas, k: int, running: Running) -> tuple[str, Running]:
        """Write a member and what is made of its answer; return its own, and the answer so far."""
        member, weight = self._members[k], self._plan.weights[k]
        if self._plan.combine != "mean":
            own = answer_of(canvas, member, running.sources, self._elem_type)
            return own, running._replace(answer=own)
        # A part of a forest weighs as much as it has trees: its votes are the summand, and even
        # votes of all parts stay even.
        summed = member.reading.n_votes == weight
        if summed:
            member = member._replace(reading=member.reading._replace(summed=True))
        share = answer = own = answer_of(canvas, member, running.sources, self._elem_type)
        if weight != 1.0 and not summed:
            factor = canvas.hold(weight, self.dtype, "weight")
            share = canvas.add("Mul", own, factor, name="share")
        mass = running.mass + weight
        if running.total is not None:
            share = canvas.add("Add", running.total, share, name="total")
        if running.total is not None or summed:
            answer = canvas.add("Div", share, canvas.hold(mass, self.dtype, "mass"), name="answer")
        if summed and running.total is None:
            own = answer
        elif summed and self._plan.confidence == "learned":
            own = canvas.add("Div", own, canvas.hold(weight, self.dtype, "weight"), name="own")
        return own, running._replace(total=share, mass=mass, answer=answer)

    def _learned(self, canvas: Canvas, k: int, own: str, heard: Running) -> Running:
        """Write what a learned confidence looks at, now or later, and what it says if asked."""
        plan, before = self._plan, heard.said
        peak, averaged = peak_of(canvas, own), plan.combine == "mean" and k > 0
        if averaged or plan.looks_back(k):
            said = peak if before is None else before.followed_by(canvas, peak)
            heard = heard._replace(said=said)
        if not plan.judges(k):
            return heard
        if averaged:
            peak, before = peak_of(canvas, heard.answer), heard.said
        judge = Judge(plan.confidences[k].learned, self._learners[k], len(plan.classes))
        sure = learned_confidence(canvas, heard.answer, peak, before, judge, self.dtype)
        return heard._replace(sure=sure)

    def _surest(self, canvas: Canvas, k: int, before: Running, heard: Running) -> Running:
        """Write the answer of the surest stage; the later one among equals, as in Python."""
        if before.sure is None:
            return heard
        later = canvas.add("GreaterOrEqual", heard.sure, before.sure, name="later")
        # NaN, of an answer that says nothing, gives way to any other.
        silent = canvas.add("IsNaN", before.sure, name="silent")
        later = canvas.add("Or", later, silent, name="takes_over")
        axis = canvas.hold([1], np.int64, "axis")
        column = canvas.add("Unsqueeze", later, axis, name="takes_over")
        answer = canvas.add("Where", column, heard.answer, before.answer, name="answer")
        if k == len(self._members) - 1:
            return heard._replace(answer=answer)
        sure = canvas.add("Where", later, heard.sure, before.sure, name="sure")
        return heard._replace(answer=answer, sure=sure)
