"""Tests of the costs, and a fixture computed by hand, through all of core."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade.core._combination import ProbaCombiner
from sklearn_cascade.core._confidence import compute_confidence
from sklearn_cascade.core._costs import cumulative_costs, row_costs, worst_case_cost
from sklearn_cascade.core._thresholds import exit_stages, exits

# Fixture W: two classes, three stages, six rows; the figures below were computed on paper.
FIRST_COLUMN = [
    [0.90, 0.75, 0.60, 0.45, 0.20, 0.55],
    [0.50, 0.10, 0.20, 0.90, 0.50, 0.65],
    [0.50, 0.50, 0.10, 0.80, 0.50, 0.05],
]
STAGES = np.array([[[p, 1 - p] for p in stage] for stage in FIRST_COLUMN])
TRUTH = np.array([0, 0, 1, 0, 1, 1])
COSTS = np.array([1.0, 4.0, 10.0])
NEVER = np.inf

# thresholds, predictions, exit stages, mean cost, worst row, rows right
TABLE = [
    ((0.75, 0.65), [0, 0, 1, 0, 1, 1], [0, 0, 2, 1, 0, 2], 38 / 6, 15.0, 6),
    ((NEVER, NEVER), [0, 1, 1, 0, 1, 1], [2, 2, 2, 2, 2, 2], 15.0, 15.0, 5),
    ((0.0, 0.0), [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0], 1.0, 1.0, 3),
    ((0.75, NEVER), [0, 0, 1, 0, 1, 1], [0, 0, 2, 2, 0, 2], 8.0, 15.0, 6),
]


def route(thresholds):
    """Route the six rows through the stages as a cascade does; return outputs and exit stages."""
    proba, stage = np.full((6, 2), np.nan), np.full(6, -1)
    combiner, rows = ProbaCombiner("mean"), np.arange(6)
    for k in range(3):
        combined = combiner.add(STAGES[k, rows])
        out = np.full(len(rows), True)
        if k < 2:
            out = exits(compute_confidence(combined, "max_proba"), thresholds[k])
        proba[rows[out]], stage[rows[out]] = combined[out], k
        combiner.take(np.flatnonzero(~out))
        rows = rows[~out]
    return proba, stage


@pytest.mark.parametrize(("thresholds", "labels", "stages", "mean", "worst", "right"), TABLE)
def test_fixture_w_table_for_table(thresholds, labels, stages, mean, worst, right):
    """Check exits, predictions, costs and accuracy of the fixture; row 1 sits on 0.75."""
    proba, stage = route(thresholds)
    label = proba.argmax(axis=1)
    assert stage.tolist() == stages
    assert label.tolist() == labels
    assert (label == TRUTH).sum() == right
    paid = row_costs(stage, COSTS)
    assert paid.mean() == pytest.approx(mean, rel=1e-15)
    assert paid.max() == worst


@pytest.mark.parametrize(("thresholds", "stages"), [(row[0], row[2]) for row in TABLE])
def test_fixture_w_exits_from_every_stage(thresholds, stages):
    """Check that exit stages computed with every stage run on every row agree with the routing."""
    combiner = ProbaCombiner("mean")
    confidence = [compute_confidence(combiner.add(stage), "max_proba") for stage in STAGES[:2]]
    assert exit_stages(confidence, thresholds).tolist() == stages


def test_fixture_w_probabilities_of_the_first_class():
    """Check the outputs of the fixture's first line to the last digit given on paper."""
    proba, _ = route((0.75, 0.65))
    expected = [0.9, 0.75, 0.3, 0.675, 0.2, 1.25 / 3]
    np.testing.assert_allclose(proba[:, 0], expected, rtol=1e-15)


def test_row_pays_for_every_stage_that_ran():
    """Check that costs add up from the first stage to the last one called."""
    assert cumulative_costs(np.array([1, 4, 10])).tolist() == [1.0, 5.0, 15.0]
    assert row_costs(np.array([2, 0, 1, 0]), [1, 4, 10]).tolist() == [15.0, 1.0, 5.0, 1.0]
    assert worst_case_cost([1, 4, 10]) == 15.0


def test_costs_of_no_rows_and_of_one_stage():
    """Check that an empty batch costs nothing and that one stage is its own worst case."""
    assert row_costs(np.array([], dtype=int), COSTS).shape == (0,)
    assert row_costs(np.array([0, 0]), [2.5]).tolist() == [2.5, 2.5]
    assert worst_case_cost(np.array([2.5])) == 2.5


def test_costs_of_narrow_types_are_widened():
    """Check that small integers do not wrap around, and that single precision loses nothing."""
    costs = np.array([200, 100], dtype=np.uint8)
    assert cumulative_costs(costs).tolist() == [200.0, 300.0]
    assert worst_case_cost(costs) == 300.0
    costs = np.array([1e8, 1.0], dtype=np.float32)
    assert cumulative_costs(costs).tolist() == [1e8, 100_000_001.0]
    assert worst_case_cost(costs) == 100_000_001.0
