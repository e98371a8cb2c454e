"""Tests of the picture of exits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier
from sklearn_cascade.inspection._exit_display import ExitDisplay
from tests.probes import LABELS_W, members_w, numbered_rows

matplotlib = pytest.importorskip("matplotlib")
plt = pytest.importorskip("matplotlib.pyplot")

X = numbered_rows(6)
Y = np.array(LABELS_W)


def cascade_w():
    """Return the cascade counted by hand: its six rows exit at stages 0 0 2 1 0 2."""
    return CascadeClassifier(members_w(), thresholds=[0.75, 0.65]).fit(X, Y)


def display(**changes):
    """Return a small display, not drawn."""
    values = {
        "stage_names": ["small", "middle", "large"],
        "exit_rates": [0.7, 0.25, 0.05],
        "exit_counts": [1400, 500, 100],
        "exit_scores": [0.98, 0.8512, np.nan],
    }
    return ExitDisplay(**{**values, **changes})


def shown(labels):
    """Return what some texts say."""
    return [label.get_text() for label in labels]


def test_constructor_only_stores():
    """Check that every parameter is kept as it is, and nothing else is set."""
    values = {name: object() for name in vars(display())}
    assert vars(ExitDisplay(**values)) == values


def test_bars_show_shares_counts_and_scores():
    """Check lengths, order, texts and the column of scores."""
    drawn = display().plot(name="test rows")
    assert [bar.get_width() for bar in drawn.bars_] == [0.7, 0.25, 0.05]
    assert shown(drawn.texts_) == ["70.0% (1,400 rows)", "25.0% (500 rows)", "5.0% (100 rows)"]
    assert shown(drawn.ax_.get_yticklabels()) == ["0  small", "1  middle", "2  large"]
    assert shown(drawn.score_axis_.get_yticklabels()) == ["98.0", "85.1", "-"]
    assert drawn.score_axis_.get_ylabel() == "Accuracy (%)"
    assert drawn.ax_.get_xlabel() == "Share of rows (%)"
    assert drawn.ax_.get_title() == "test rows"
    # The first stage stands at the top.
    assert drawn.ax_.get_ylim()[0] > drawn.ax_.get_ylim()[1]


def test_scores_that_are_no_shares_are_plain_numbers():
    """Check four decimals, and the name of the score in words."""
    drawn = display(scoring="neg_log_loss", exit_scores=[-0.1, -0.25, -1.5]).plot()
    assert shown(drawn.score_axis_.get_yticklabels()) == ["-0.1000", "-0.2500", "-1.5000"]
    assert drawn.score_axis_.get_ylabel() == "Negative log loss"


def test_without_scores_there_are_only_bars():
    """Check that no column of scores is made."""
    drawn = display(exit_scores=None).plot()
    assert drawn.score_axis_ is None
    assert len(drawn.texts_) == 3


@pytest.mark.parametrize("size", [(6.4, 4.8), (3.4, 2.2)])
def test_texts_lie_within_the_axes(size):
    """Check that texts stay in the frame, within long bars and behind short ones."""
    _, ax = plt.subplots(figsize=size, layout="constrained")
    drawn = display(exit_rates=[0.97, 0.03, 0.0], exit_counts=[1234567, 38183, 0]).plot(ax=ax)
    drawn.figure_.draw_without_rendering()
    frame = drawn.ax_.get_window_extent()
    extents = [text.get_window_extent() for text in drawn.texts_]
    assert all(frame.x0 <= one.x0 and one.x1 <= frame.x1 for one in extents)
    ends = [bar.get_window_extent().x1 for bar in drawn.bars_]
    assert [one.x0 > end for one, end in zip(extents, ends, strict=True)] == [False, True, True]
    assert [text.get_color() for text in drawn.texts_] == ["white", "black", "black"]


def test_texts_get_shorter_where_there_is_no_room():
    """Check that counts and then decimals are left out on narrow axes."""
    figure = plt.figure()
    wide, narrow = figure.add_axes([0.1, 0.1, 0.18, 0.8]), figure.add_axes([0.6, 0.1, 0.09, 0.8])
    rates = {"exit_rates": [0.5, 0.45, 0.05], "exit_scores": None}
    assert shown(display(**rates).plot(ax=wide).texts_) == ["50.0%", "45.0%", "5.0%"]
    assert shown(display(**rates).plot(ax=narrow).texts_)[:2] == ["50%", "45%"]


def test_own_styles_win_in_short_and_long():
    """Check that user styles override the defaults, under either name of a property."""
    drawn = display().plot(
        bar_kwargs={"fc": "red", "lw": 3, "height": 0.5}, text_kwargs={"size": 5, "c": "blue"}
    )
    assert [bar.get_facecolor() for bar in drawn.bars_] == [(1, 0, 0, 1)] * 3
    assert {(bar.get_linewidth(), bar.get_height()) for bar in drawn.bars_} == {(3, 0.5)}
    assert {(text.get_size(), text.get_color()) for text in drawn.texts_} == {(5, "blue")}


def test_given_axes_are_drawn_on():
    """Check that no new figure is made, and that a title stays without a name."""
    figure, ax = plt.subplots()
    ax.set_title("mine")
    drawn = display().plot(ax=ax)
    assert (drawn.ax_, drawn.figure_, ax.get_title()) == (ax, figure, "mine")
    assert plt.get_fignums() == [figure.number]


def test_report_is_drawn():
    """Check the display of a report that is counted by hand, with and without labels."""
    report = cascade_w().cost_report(X, Y)
    drawn = ExitDisplay.from_report(report, name="six rows", bar_kwargs={"color": "0.5"})
    assert drawn.stage_names == ("a", "b", "c")
    assert drawn.exit_counts.tolist() == [3, 1, 2]
    assert drawn.exit_rates == pytest.approx([1 / 2, 1 / 6, 1 / 3])
    assert drawn.exit_scores.tolist() == [1, 1, 1]
    assert drawn.scoring == "accuracy"
    assert drawn.ax_.get_title() == "six rows"
    assert ExitDisplay.from_report(cascade_w().cost_report(X)).exit_scores is None


def test_cascade_is_asked_once_for_the_rows_that_reach_each_stage():
    """Check the figures, and the calls of the members."""
    cascade = cascade_w()
    drawn = ExitDisplay.from_estimator(cascade, X, Y, name="six rows")
    assert drawn.exit_counts.tolist() == [3, 1, 2]
    asked = [member.asked for member in cascade.estimators_]
    assert asked == [[[0, 1, 2, 3, 4, 5]], [[2, 3, 5]], [[2, 5]]]


def test_weights_and_scoring_reach_the_report():
    """Check shares by weight, and another score than the cascade's own."""
    weight = np.array([1, 1, 4, 2, 1, 1])
    drawn = ExitDisplay.from_estimator(
        cascade_w(), X, Y, sample_weight=weight, scoring="neg_log_loss"
    )
    assert drawn.exit_rates == pytest.approx([0.3, 0.2, 0.5])
    assert drawn.exit_counts.tolist() == [3, 1, 2]
    assert drawn.score_axis_.get_ylabel() == "Negative log loss"


def test_what_is_no_cascade_is_refused():
    """Check the errors for other estimators, unfitted cascades and other reports."""
    with pytest.raises(TypeError, match="GaussianNB without cost_report; expected a fitted"):
        ExitDisplay.from_estimator(GaussianNB(), X, Y)
    with pytest.raises(NotFittedError, match="CascadeClassifier"):
        ExitDisplay.from_estimator(CascadeClassifier(members_w()), X, Y)
    with pytest.raises(TypeError, match=r"report=\{\}; expected a CostReport"):
        ExitDisplay.from_report({})


@pytest.mark.parametrize("way", ["from_report", "from_estimator", "plot"])
def test_missing_matplotlib_is_named_before_anything_is_computed(monkeypatch, way):
    """Check the message of each way to draw, which comes before the argument is looked at."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    call = {
        "from_report": lambda: ExitDisplay.from_report(None),
        "from_estimator": lambda: ExitDisplay.from_estimator(None, X),
        "plot": lambda: display().plot(),
    }[way]
    with pytest.raises(ImportError, match=rf"ExitDisplay\.{way} needs matplotlib.*\[plot\]"):
        call()
