"""The nodes of a committee: members in nested branches, and the routing between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_cascade.export._binding import Source, answer_of
from sklearn_cascade.export._blueprint import Blueprint
from sklearn_cascade.export._canvas import Canvas
from sklearn_cascade.export._combining import geometric_mean_of
from sklearn_cascade.export._hearing import Hearing, Running
from sklearn_cascade.export._packages import package


class Assembler:
    """Writes a committee's nodes.

    Parameters
    ----------
    blueprint : Blueprint
        What the committee does.
    members, learners : sequence of Member or None
        One per stage, None for one whose answer counts for nothing; and the graphs of learners
        of its confidence.
    elem_type : int
        Type of the probabilities.
    """

    def __init__(
        self, blueprint: Blueprint, members: Sequence, learners: Sequence, elem_type: int
    ) -> None:
        self._plan = blueprint
        self._members = members
        self._elem_type = elem_type
        self._hearing = Hearing(blueprint, members, learners, elem_type)
        self._root = ""

    def write(self, canvas: Canvas, sources: list[Source]) -> tuple[str, str, str, str]:
        """Write everything; return the names of label, probabilities, exit stage and cost."""
        self._root = canvas.prefix
        if self._plan.exits_early:
            proba, stage = self._stage(canvas, 0, Running(sources))
        else:
            proba, stage = self._ensemble(canvas, sources)
        canvas.prefix = f"{self._root}answer/"
        column = canvas.add("ArgMax", proba, axis=1, keepdims=0, name="column")
        classes = self._plan.classes
        labels = canvas.hold(classes, classes.dtype, "classes")
        costs = canvas.hold(self._plan.costs, np.float32, "cumulative_costs")
        label = canvas.add("Gather", labels, column, axis=0, name="label")
        return label, proba, stage, canvas.add("Gather", costs, stage, axis=0, name="cost")

    def _stage(self, canvas: Canvas, k: int, running: Running) -> tuple[str, str]:
        """Write a stage and all after it; return probabilities and exit stages of its rows."""
        canvas.prefix = f"{self._root}stage{k}/"
        last = k == len(self._members) - 1
        never = not last and not self._plan.exits_at(k)
        if never and self._members[k] is None:
            return self._stage(canvas, k + 1, running)
        running = self._hearing.hear(canvas, k, running)
        if last:
            return running.answer, self._fill(canvas, running.answer, k)
        if never:
            return self._stage(canvas, k + 1, running)
        deferred = self._deferred(canvas, k, running.sure)
        some = canvas.add("Size", deferred, name="n_deferred")
        some = canvas.add("Cast", some, to=package("onnx").TensorProto.BOOL, name="some")
        names = canvas.fresh_names("proba", "exit_stage")
        then = self._go_on(canvas.within(f"{self._root}stage{k}/on/"), k, deferred, running)
        stay = self._stay(canvas.within(f"{self._root}stage{k}/off/"), k, running.answer)
        canvas.place("If", [some], names, then_branch=then, else_branch=stay)
        return names[0], names[1]

    def _deferred(self, canvas: Canvas, k: int, sure: str) -> str:
        """Write the test of a stage; return the rows that go on, (1, n_deferred)."""
        boundary = self._hearing.boundary(canvas, k)
        # Not less than: NaN has to go on, as in Python.
        exits = canvas.add("GreaterOrEqual", sure, boundary, name="exits")
        return canvas.add("NonZero", canvas.add("Not", exits, name="stays"), name="deferred")

    def _go_on(self, canvas: Canvas, k: int, deferred: str, running: Running):
        """Write the branch of the stages after one; it hands out the answers to all its rows."""
        shape, answer = canvas.hold([-1], np.int64, "flat"), running.answer
        rows = canvas.add("Reshape", deferred, shape, name="rows")
        kept = running.of_rows(canvas, rows, keeps_answer=self._plan.combine == "most_confident")
        deeper, deeper_stage = self._stage(canvas, k + 1, kept)
        canvas.prefix = f"{self._root}stage{k}/on/"
        places = canvas.add("Unsqueeze", rows, canvas.hold([1], np.int64, "axis"), name="places")
        here = self._fill(canvas, answer, k)
        proba = canvas.add("ScatterND", answer, places, deeper, name="proba")
        stage = canvas.add("ScatterND", here, places, deeper_stage, name="exit_stage")
        return canvas.branch("deferred", self._handed_out(proba, stage))

    def _stay(self, canvas: Canvas, k: int, answer: str):
        """Write the branch where nobody goes on."""
        proba = canvas.add("Identity", answer, name="proba")
        stage = self._fill(canvas, answer, k)
        return canvas.branch("all_exit", self._handed_out(proba, stage))

    def _fill(self, canvas: Canvas, answer: str, k: int) -> str:
        """Write a stage's number for each of its rows."""
        shape = canvas.add("Shape", answer, start=0, end=1, name="n_rows")
        number = package("onnx").numpy_helper.from_array(np.array([k], dtype=np.int64))
        return canvas.add("ConstantOfShape", shape, value=number, name="exit_stage")

    def _ensemble(self, canvas: Canvas, sources: list[Source]) -> tuple[str, str]:
        """Write an ensemble of which every member runs for every row."""
        running, heard = Running(sources), []
        for k, member in enumerate(self._members):
            if member is None:
                continue
            canvas.prefix = f"{self._root}stage{k}/"
            if self._plan.combine == "geometric":
                proba = answer_of(canvas, member, sources, self._elem_type)
                heard.append((proba, self._plan.weights[k]))
            else:
                running = self._hearing.hear(canvas, k, running)
        canvas.prefix, answer = f"{self._root}mean/", running.answer
        if heard:
            answer = geometric_mean_of(canvas, heard, self._hearing.dtype)
        return answer, self._fill(canvas, answer, len(self._members) - 1)

    def _handed_out(self, proba: str, stage: str) -> list:
        """Return the description of what a branch hands out."""
        onnx = package("onnx")
        info = onnx.helper.make_tensor_value_info
        return [
            info(proba, self._elem_type, [None, len(self._plan.classes)]),
            info(stage, onnx.TensorProto.INT64, [None]),
        ]
