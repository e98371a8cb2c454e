"""Tests of how a certificate reads, as text, HTML, plain values and a table."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from sklearn_cascade import CascadeClassifier
from sklearn_cascade.exceptions import NotCertifiedWarning
from tests.probes import numbered_rows, scripted

N_ROWS = 1000
X = numbered_rows(N_ROWS)
Y = np.arange(N_ROWS) % 2


def tables():
    """Return two members: the first is wrong on every fourth row and on three others."""
    right = np.where(Y[:, None] == np.arange(2), 0.9, 0.1)
    first = right.copy()
    first[::4] = [0.45, 0.55]
    first[[101, 301, 501]] = first[[101, 301, 501], ::-1]
    return first, right


def cascade(names=("small", "large"), **params):
    """Return a fitted cascade of the two."""
    members = [(name, member) for name, (_, member) in zip(names, scripted(*tables()), strict=True)]
    params = {
        "thresholds": 0.8,
        "combine": "last",
        "costs": [1, 9],
        "cost_unit": "MFLOPs",
        **params,
    }
    return CascadeClassifier(members, **params).fit(X[:4], Y[:4])


@pytest.fixture(scope="module")
def report():
    """Return a certificate of 800 rows."""
    return cascade().certify(X, Y, tuning_size=0.2)


def cells(report, start):
    """Return the cells of the line of the printed table that starts with some words."""
    (line,) = [line for line in str(report).splitlines() if line.startswith(start)]
    return line.removeprefix(start).split()


def test_text_shows_guarantee_stages_cost_and_limits(report):
    """Check the printed certificate line by line, against counts by hand."""
    lines = str(report).splitlines()
    assert repr(report) == str(report)
    assert lines[0] == (
        "Certificate for small > large: accuracy lost at most 1.00% against no early exit, with "
        "probability 0.9"
    )
    assert lines[1].split() == [
        "threshold",
        "rows",
        "share",
        "lost",
        "fixed",
        "net",
        "lost",
        "at",
        "most",
    ]
    n_unconfident = report.stages[1]["n_samples"]
    assert 150 < n_unconfident < 250
    first = cells(report, "exit 0 small")
    share = f"{(800 - n_unconfident) / 800:.1%}"
    assert first[1:5] == [str(800 - n_unconfident), share, str(report.regressions), "0"]
    assert cells(report, "exit 1 large")[:4] == [
        str(n_unconfident),
        f"{n_unconfident / 800:.1%}",
        "0",
        "0",
    ]
    assert cells(report, "all rows")[:4] == ["800", "100.0%", str(report.regressions), "0"]
    assert report.message in lines
    cost = 1 + 9 * n_unconfident / 800
    assert any(
        line.startswith(f"Mean cost {cost:.2f} ± ")
        and line.endswith(f"10.0 MFLOPs without early exit: {10 / cost:.2f} times cheaper.")
        for line in lines
    )
    assert "800 rows certified; 200 others, set aside, determined the path of" in str(report)
    assert lines[-1].startswith("It holds for new rows drawn like these; if they drift")


def test_estimate_is_shown_with_its_bias(report):
    """Check that the estimate never stands without a word on who chose the thresholds."""
    assert "too low on average, as the thresholds were chosen for it" in str(report)
    assert f"at most {report.loss_upper:.2%} at these thresholds alone" in str(report)
    assert report.loss_estimate <= report.loss_upper <= report.epsilon + 1e-6


def test_html_shows_the_same_and_escapes_names():
    """Check the table of a notebook, with names that would be markup."""
    html = cascade(("<b>", "c & d")).certify(X, Y)._repr_html_()
    assert html.count("<tr>") == 4
    assert "exit 0 &lt;b&gt;" in html
    assert "exit 1 c &amp; d" in html
    assert "Certified: the accuracy lost" in html
    assert "<b>" not in html


def test_refusal_reads_without_a_table():
    """Check text and HTML where nothing was counted."""
    with pytest.warns(NotCertifiedWarning):
        refused = cascade().certify(X[:100], Y[:100], on_refusal="warn")
    first, second = str(refused).splitlines()[:2]
    assert first.startswith("No certificate for small > large: accuracy lost at most 1.00%")
    assert second == refused.message
    assert "It holds" not in str(refused)
    assert "<tr>" not in refused._repr_html_()
    assert refused.saving is None


def test_disagreement_has_its_own_wording():
    """Check heading and message where no labels are needed."""
    text = str(cascade().certify(X, risk="disagreement"))
    assert "predictions changed at most 1.00% against no early exit" in text
    assert "Certified: the share of other labels on new rows is at most 0.01" in text


def test_budget_is_shown_as_part_of_the_guarantee():
    """Check that the limit of the cost says whether it is guaranteed."""
    budgeted = cascade().certify(X, Y, max_mean_cost=5)
    assert "(guaranteed, within 5.00 MFLOPs)" in str(budgeted)
    assert "guaranteed, within" not in str(cascade().certify(X, Y))


def test_dict_is_ready_for_json(report):
    """Check that all figures are plain, infinity is text, and undefined ones are None."""
    figures = report.to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["thresholds"] == [pytest.approx(t) for t in report.thresholds]
    assert figures["saving"] == report.saving
    with pytest.warns(NotCertifiedWarning):
        refused = cascade().certify(X[:100], Y[:100], on_refusal="warn").to_dict()
    assert refused["thresholds"] == ["inf"]
    assert refused["mean_cost"] is None
    assert refused["certified"] is False


def test_rows_and_frame_hold_the_stages(report):
    """Check the table as dicts, which are copies, and as a frame."""
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    rows = report.rows()
    rows[0]["n_samples"] = 0
    assert report.stages[0]["n_samples"] > 0
    frame = report.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["name"].tolist() == ["small", "large"]
    assert frame["regressions"].sum() == report.regressions
    assert frame["share"].sum() == pytest.approx(1)


def test_report_cannot_be_changed(report):
    """Check that a report is frozen."""
    with pytest.raises(FrozenInstanceError):
        report.epsilon = 0.001


def test_saving_of_free_members_is_no_error():
    """Check that a first stage that costs nothing and predicts all rows divides nothing by zero."""
    right = tables()[1]
    members = scripted(right, right)
    free = CascadeClassifier(members, thresholds=0.8, costs=[0, 9]).fit(X[:4], Y[:4]).certify(X, Y)
    assert free.mean_cost == 0
    assert free.saving == np.inf
    assert "inf times cheaper" in str(free)
    assert free.to_dict()["saving"] == "inf"


def test_members_that_cost_nothing_leave_nothing_to_save():
    """Check that early exit that saves nothing is refused in words."""
    with pytest.warns(NotCertifiedWarning, match="for less than it costs to run every stage"):
        refused = cascade(costs=[0, 0]).certify(X, Y, on_refusal="warn")
    assert refused.full_cost == 0
