"""Tests of how the report reads, as text and as HTML."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_cascade import AveragingEnsemble, CascadeClassifier
from tests.probes import COSTS_W, LABELS_W, members_w, numbered_rows

X = numbered_rows(6)
Y = np.array(LABELS_W)


def cascade_w(**params):
    """Return the cascade that is counted by hand, fitted."""
    params = {"thresholds": [0.75, 0.65], "costs": COSTS_W, "cost_unit": "MFLOPs", **params}
    return CascadeClassifier(members_w(), **params).fit(X, Y)


def cells(report, start):
    """Return the cells of the line of the printed table that starts with some words."""
    (line,) = [line for line in str(report).splitlines() if line.startswith(start)]
    return line.removeprefix(start).split()


def test_text_shows_every_line_and_says_what_is_saved():
    """Check the printed table line by line."""
    report = cascade_w().cost_report(X, Y)
    lines = str(report).splitlines()
    assert repr(report) == str(report)
    assert lines[0] == "Cascade of 3 stages · mean of the stages run · max_proba, 6 rows"
    assert lines[1].split() == ["rows", "share", "cost", "per", "row", "accuracy"]
    assert cells(report, "exit 0 a") == ["3", "50.0%", "1.00", "MFLOPs", "1.0000"]
    assert cells(report, "exit 1 b") == ["1", "16.7%", "5.00", "MFLOPs", "1.0000"]
    assert cells(report, "exit 2 c") == ["2", "33.3%", "15.0", "MFLOPs", "1.0000"]
    # Costs 1 1 15 5 1 15: 1.96 times their standard deviation over the root of 6.
    half = f"{1.96 * np.std([1, 1, 15, 5, 1, 15]) / 6**0.5:.2f}"
    everything = ["6", "100.0%", "6.33", "±", half, "MFLOPs", "1.0000"]
    assert cells(report, "all rows") == everything
    assert cells(report, "alone c") == ["10.0", "MFLOPs", "0.8333"]
    assert cells(report, "no early exit") == ["15.0", "MFLOPs", "0.8333"]
    assert lines[-2:] == [
        "Worst case 15.0 MFLOPs per row.",
        "1.58 times cheaper than the best member alone ('c'), 16.67 points higher in accuracy.",
    ]


def test_html_shows_the_same_and_escapes_names():
    """Check the table of a notebook, with names that would be markup."""
    members = [("<b>", members_w()[0][1]), ("c & d", members_w()[2][1])]
    cascade = CascadeClassifier(members, thresholds=0.8, cost_unit="<i>").fit(X, Y)
    report = cascade.cost_report(X, Y)
    html = report._repr_html_()
    assert html.count("<tr>") == 2 + len(report.rows()) - 1
    assert "exit 0 &lt;b&gt;" in html
    assert "alone c &amp; d" in html
    assert "Worst case 2.00 &lt;i&gt; per row." in html
    assert "<b>" not in html
    assert "<i>" not in html


@pytest.mark.parametrize(
    ("cost", "unit", "shown"),
    [
        (2.0, "s", "2.00 s"),
        (0.0015, "s", "1.50 ms"),
        (65e-6, "s", "65.0 µs"),
        (3.21e-9, "s", "3.21 ns"),
        (3.21e-11, "s", "0.0321 ns"),
        (0.0, "s", "0.00 ns"),
        (0.0, "USD", "0.00 USD"),
        (0.00123, "USD", "0.00123 USD"),
        (0.000123, "USD", "1.23e-04 USD"),
        (12.34, "MFLOPs", "12.3 MFLOPs"),
        (9.996, "MFLOPs", "10.0 MFLOPs"),
        (123456, "MFLOPs", "123,456 MFLOPs"),
        (12345678, "MFLOPs", "1.23e+07 MFLOPs"),
        (0.9996e-3, "s", "1.00 ms"),
    ],
)
def test_costs_are_shown_to_three_digits(cost, unit, shown):
    """Check that costs keep their unit, and that seconds are shown in a fitting multiple."""
    ensemble = AveragingEnsemble(members_w()[:1], costs=[cost], cost_unit=unit).fit(X, Y)
    assert f"Worst case {shown} per row." in str(ensemble.cost_report(X))


def test_dash_stands_for_what_is_not_known():
    """Check the line of a stage at which no row exits."""
    report = cascade_w(thresholds=-np.inf).cost_report(X, Y)
    assert cells(report, "exit 1 b") == ["0", "0.0%", "5.00", "MFLOPs", "-"]


def test_without_labels_the_text_is_about_costs():
    """Check that scores are left out, and that the saving is against all members."""
    report = cascade_w().cost_report(X)
    assert "accuracy" not in str(report)
    assert cells(report, "alone c") == ["10.0", "MFLOPs"]
    assert "2.37 times cheaper than running all members." in str(report)
    assert "accuracy" not in report._repr_html_()


@pytest.mark.parametrize(
    ("scoring", "y", "sentence"),
    [
        (
            None,
            Y,
            "1.50 times more expensive than the best member alone ('c'), with the same accuracy.",
        ),
        ("neg_log_loss", Y, "('c'), neg_log_loss 0.0893 lower."),
        ("accuracy", [0, 0, 1, 0, 0, 1], "('c'), 33.33 points lower in accuracy."),
    ],
)
def test_verdict_says_how_the_scores_differ(scoring, y, sentence):
    """Check the sentence for an ensemble: points for shares, plain numbers for other scores."""
    ensemble = AveragingEnsemble(members_w(), costs=COSTS_W).fit(X, Y)
    assert sentence in str(ensemble.cost_report(X, y, scoring=scoring))


def test_measured_costs_come_with_their_conditions():
    """Check that the text says under which conditions seconds were measured."""
    cascade = cascade_w(costs="measured", cost_unit=None)
    line = str(cascade.cost_report(X)).splitlines()[-1]
    assert line.startswith("Cost: ")
    for part in ("seconds per row", "6 rows", "1 thread", "median of 5"):
        assert part in line
