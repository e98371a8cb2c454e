"""Tests of the picture of score against cost."""

from __future__ import annotations

import pickle
import sys
from itertools import combinations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sklearn_cascade.inspection._tradeoff_display import TradeoffDisplay
from sklearn_cascade.search._front import OperatingPoint

matplotlib = pytest.importorskip("matplotlib")
plt = pytest.importorskip("matplotlib.pyplot")


class Front(list):
    """What the displays need of a front."""

    def __init__(self, rows, cost_unit="MFLOPs", scoring="accuracy"):
        super().__init__(rows)
        self.cost_unit, self.scoring = cost_unit, scoring
        points = np.array([[row.mean_cost, -row.score] for row in rows])
        self.non_dominated = np.array(
            [not ((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points]
        )


def row(kind, members, score, cost):
    """Return one row with what is drawn of it."""
    return OperatingPoint(kind, tuple(members), "mean", (), score, cost, cost, (), None)


def family(n_singles=5, n_cascades=20):
    """Return rows of a family of growing models, all pairs, and cascades above them."""
    costs = np.geomspace(1, 50, n_singles)
    names = [f"net_{k}" for k in range(n_singles)]
    scores = 0.74 + 0.12 * np.linspace(0, 1, n_singles) ** 0.7
    rows = [row("single", [n], s, c) for n, s, c in zip(names, scores, costs, strict=True)]
    for i, j in combinations(range(n_singles), 2):
        score = max(scores[i], scores[j]) + 0.01 - 0.002 * (j - i)
        rows.append(row("ensemble", [names[i], names[j]], score, costs[i] + costs[j]))
    for k, cost in enumerate(np.geomspace(1.2, 40, n_cascades)):
        score = 0.755 + 0.125 * (k / n_cascades) ** 0.7
        rows.append(row("cascade", [names[0], names[1 + k % (n_singles - 1)]], score, cost))
    return rows


def display(**changes):
    """Return a small display, not drawn."""
    values = {
        "score": [0.7, 0.8, 0.78, 0.82, 0.81, 0.83],
        "cost": [1.0, 2.0, 2.0, 3.0, 3.0, 1.5],
        "kind": ["single", "single", "single", "ensemble", "ensemble", "cascade"],
        "label": ["a", "b", "c", "a + b", "a + c", "a > b"],
        "on_front": [True, False, False, False, False, True],
        "chosen": 5,
        "cost_unit": "USD",
    }
    return TradeoffDisplay(**{**values, **changes})


def points(line):
    """Return the points of a line as tuples."""
    return [tuple(point) for point in line.get_xydata().tolist()]


def boxes(drawn):
    """Return the frames of the names and of the legend, in pixels."""
    drawn.figure_.draw_without_rendering()
    texts = [matplotlib.text.Text.get_window_extent(text) for text in drawn.labels_]
    return [*texts, drawn.ax_.get_legend().get_window_extent()]


def test_constructor_only_stores():
    """Check that every parameter is kept as it is, and nothing else is set."""
    values = {name: object() for name in vars(display())}
    assert vars(TradeoffDisplay(**values)) == values


def test_front_is_stored_row_by_row():
    """Check the arrays that a front turns into, and the texts of its rows."""
    front = Front(
        [
            row("single", ["a"], 0.7, 1),
            row("ensemble", ["a", "b"], 0.8, 5),
            row("cascade", ["a", "b", "c"], 0.9, 3),
        ],
        cost_unit="USD",
        scoring="roc_auc",
    )
    drawn = TradeoffDisplay.from_front(front, chosen=2)
    assert drawn.score.tolist() == [0.7, 0.8, 0.9]
    assert drawn.cost.tolist() == [1, 5, 3]
    assert drawn.kind.tolist() == ["single", "ensemble", "cascade"]
    assert drawn.label == ["a", "a + b", "a > b > c"]
    assert drawn.on_front.tolist() == [True, False, True]
    assert (drawn.chosen, drawn.cost_unit, drawn.scoring) == (2, "USD", "roc_auc")
    assert drawn.ax_.get_ylabel() == "ROC AUC"


def test_each_kind_is_drawn_with_its_own_marker():
    """Check points, markers and lines of single models, ensembles, cascades and the chosen one."""
    drawn = display().plot()
    assert points(drawn.singles_) == [(1, 0.7), (2, 0.8)]
    assert points(drawn.dominated_) == [(2, 0.78)]
    assert points(drawn.ensembles_) == [(3, 0.82)]
    assert points(drawn.cascades_) == points(drawn.chosen_) == [(1.5, 0.83)]
    lines = (drawn.singles_, drawn.dominated_, drawn.ensembles_, drawn.cascades_)
    assert [line.get_marker() for line in lines] == ["o", "o", "s", "*"]
    assert [line.get_linestyle() for line in lines] == ["-", "None", "None", "-"]
    assert len({line.get_color() for line in (*lines[1:], drawn.chosen_)}) == 4
    legend = [text.get_text() for text in drawn.ax_.get_legend().get_texts()]
    assert legend == ["single models", "ensembles", "cascades", "chosen"]


def test_cross_fitted_scores_are_a_dashed_line():
    """Check the cross-fitted points of the cascades shown, by rising cost, and none if absent."""
    rows = family()
    for place, figures in ((-1, (0.8, 39.0)), (-3, (0.81, 41.0)), (0, (0.5, 1.0))):
        rows[place] = rows[place]._replace(
            cross_fitted_score=figures[0], cross_fitted_cost=figures[1]
        )
    drawn = TradeoffDisplay.from_front(Front(rows))
    assert points(drawn.cross_fitted_) == [(39.0, 0.8), (41.0, 0.81)]
    assert drawn.cross_fitted_.get_linestyle() == "--"
    legend = [text.get_text() for text in drawn.ax_.get_legend().get_texts()]
    assert "cascades, cross-fitted" in legend
    assert TradeoffDisplay.from_front(Front(family())).cross_fitted_ is None
    assert display().plot().cross_fitted_ is None


def test_single_models_are_joined_by_rising_cost():
    """Check the order of the line where the front lists them in another."""
    drawn = display(score=[0.8, 0.7, 0.6, 0.82, 0.81, 0.83], cost=[3, 2, 1, 9, 9, 2]).plot()
    assert points(drawn.singles_) == [(1, 0.6), (2, 0.7), (3, 0.8)]
    assert drawn.dominated_ is None


def test_cascades_off_the_front_are_left_out_but_for_the_chosen_one():
    """Check which cascades and ensembles are drawn, those chosen among them."""
    off = {"on_front": [False] * 6}
    assert display(**off, chosen=None).plot().cascades_ is None
    assert points(display(**off, chosen=5).plot().cascades_) == [(1.5, 0.83)]
    assert points(display(chosen=4).plot().ensembles_) == [(3, 0.82), (3, 0.81)]


def test_every_single_model_and_the_chosen_one_are_named():
    """Check the names of a family of five, the chosen one's first, broken into lines."""
    rows = family()
    rows[-5] = rows[-5]._replace(members=("a_rather_long_name", "another_long_name", "third"))
    drawn = TradeoffDisplay.from_front(Front(rows), chosen=len(rows) - 5)
    texts = [text.get_text() for text in drawn.labels_]
    assert texts[0] == "a_rather_long_name >\nanother_long_name > third"
    assert sorted(texts[1:]) == [f"net_{k}" for k in range(5)]


def test_chosen_single_model_is_named_once():
    """Check that a single model that was chosen has one name and one ring."""
    drawn = display(chosen=0).plot()
    assert sorted(text.get_text() for text in drawn.labels_) == ["a", "b", "c"]
    assert points(drawn.chosen_) == [(1, 0.7)]


@pytest.mark.parametrize("size", [(6.4, 4.8), (3.4, 2.6), (10, 3)])
@pytest.mark.parametrize("n_singles", [2, 7, 12, 34])
def test_names_cover_nothing(n_singles, size):
    """Check that names overlap neither each other, the legend, nor a marker, at several sizes."""
    _, ax = plt.subplots(figsize=size, layout="constrained")
    rows = family(n_singles)
    drawn = TradeoffDisplay.from_front(Front(rows), chosen=len(rows) - 9, ax=ax)
    frames = boxes(drawn)
    assert len(frames) > 1
    assert not any(one.overlaps(other) for one, other in combinations(frames, 2))
    markers = np.concatenate([ax.transData.transform(line.get_xydata()) for line in ax.lines])
    assert not any(frame.contains(*marker) for frame in frames[:-1] for marker in markers)


def test_legend_moves_where_it_would_cover_a_point():
    """Check that an expensive and poor model in the lower right corner drives the legend away."""
    rows = [*family(), row("single", ["poor"], 0.6, 50), row("single", ["poorer"], 0.59, 30)]
    drawn = TradeoffDisplay.from_front(Front(rows))
    legend = boxes(drawn)[-1]
    markers = drawn.ax_.transData.transform(drawn.dominated_.get_xydata())
    assert len(markers) == 2
    assert not any(legend.contains(*marker) for marker in markers)


def test_of_many_single_models_only_the_best_are_named():
    """Check that beyond twelve, models dominated by another single one have no name."""
    rng = np.random.default_rng(0)
    rows = [row("single", [f"m{k}"], s, k + 1) for k, s in enumerate(rng.uniform(0.5, 0.6, 28))]
    rows += [row("single", ["most_confident"], 0.9, 0.5)]
    drawn = TradeoffDisplay.from_front(Front(rows))
    assert [text.get_text() for text in drawn.labels_] == ["most_confident"]
    assert len(drawn.dominated_.get_xydata()) == 28


def test_of_many_cascades_only_some_have_stars():
    """Check that stars keep apart, and that both ends and the chosen one have theirs."""
    rows = family(5, 1000)
    drawn = TradeoffDisplay.from_front(Front(rows), chosen=len(rows) - 333)
    stars = drawn.cascades_.get_markevery()
    n_points = len(drawn.cascades_.get_xydata())
    assert n_points > 500
    assert 10 < len(stars) < 60
    assert {0, n_points - 1, n_points - 333} <= set(stars)
    pixels = drawn.ax_.transData.transform(drawn.cascades_.get_xydata()[stars])
    gaps = [np.hypot(*(one - other)) for one, other in combinations(pixels, 2)]
    assert min(gaps) >= drawn.cascades_.get_markersize() * drawn.figure_.dpi / 72


@pytest.mark.parametrize(
    ("costs", "scale"),
    [
        ([1, 2, 2, 3, 3, 9.9], "linear"),
        ([1, 2, 2, 3, 3, 11], "log"),
        ([1, 2, 2, 3, 3, 1e7], "log"),
        ([0, 1, 2, 3, 3, 9], "linear"),
        ([0, 1, 2, 3, 3, 200], "symlog"),
        ([0, 0, 0, 0, 0, 0], "linear"),
        ([5, 5, 5, 5, 5, 5], "linear"),
    ],
)
def test_cost_axis_is_logarithmic_beyond_a_decade(costs, scale):
    """Check the scale for narrow, wide, zero and equal costs, and that the picture is drawn."""
    drawn = display(cost=costs).plot()
    drawn.figure_.canvas.draw()
    assert drawn.ax_.get_xscale() == scale
    assert drawn.ax_.get_xlabel() == "Cost per row (USD)"


def test_scale_of_given_axes_stays():
    """Check that axes that come with a logarithmic scale keep it, zero costs or not."""
    _, ax = plt.subplots()
    ax.set_xscale("log")
    drawn = display(cost=[0, 2, 2, 3, 3, 200]).plot(ax=ax)
    drawn.figure_.canvas.draw()
    assert ax.get_xscale() == "log"


def test_seconds_are_shown_in_a_fitting_multiple():
    """Check the ticks of costs from microseconds to milliseconds, and of plain numbers."""
    drawn = display(cost=[2e-6, 5e-6, 5e-6, 9e-6, 9e-6, 3e-3], cost_unit="s").plot()
    drawn.figure_.canvas.draw()
    ticks = [tick.get_text() for tick in drawn.ax_.get_xticklabels()]
    assert {"10 µs", "100 µs", "1 ms"} <= set(ticks)
    assert drawn.ax_.get_xlabel() == "Cost per row"
    drawn = display(cost=[2, 5, 5, 9, 9, 3000]).plot()
    drawn.figure_.canvas.draw()
    assert {"10", "1,000"} <= {tick.get_text() for tick in drawn.ax_.get_xticklabels()}


@pytest.mark.parametrize(
    ("scoring", "label"),
    [
        ("accuracy", "Accuracy (%)"),
        ("balanced_accuracy", "Balanced accuracy (%)"),
        ("neg_log_loss", "Negative log loss"),
        ("neg_brier_score", "Negative Brier score"),
        ("f1_macro", "F1 macro"),
        ("score", "Score"),
    ],
)
def test_score_is_named_in_words(scoring, label):
    """Check the label of the axis of scores, and percent for accuracies alone."""
    drawn = display(scoring=scoring).plot()
    drawn.figure_.canvas.draw()
    assert drawn.ax_.get_ylabel() == label
    highest = max(float(tick.get_text()) for tick in drawn.ax_.get_yticklabels())
    assert (highest > 1) == label.endswith("%)")


def test_own_styles_win_in_short_and_long():
    """Check that user styles override the defaults, under either name of a property."""
    drawn = display().plot(
        single_kwargs={"c": "red", "lw": 5, "ls": "--"},
        ensemble_kwargs={"color": "green", "ms": 3},
        cascade_kwargs={"marker": "x", "label": "mine"},
        chosen_kwargs={"markersize": 20},
        label_kwargs={"size": 5, "c": "blue"},
    )
    assert [drawn.singles_.get_color(), drawn.dominated_.get_color()] == ["red", "red"]
    assert (drawn.singles_.get_linewidth(), drawn.singles_.get_linestyle()) == (5, "--")
    assert drawn.dominated_.get_linestyle() == "None"
    assert (drawn.ensembles_.get_color(), drawn.ensembles_.get_markersize()) == ("green", 3)
    assert (drawn.cascades_.get_marker(), drawn.cascades_.get_label()) == ("x", "mine")
    assert drawn.chosen_.get_markersize() == 20
    assert {(text.get_size(), text.get_color()) for text in drawn.labels_} == {(5, "blue")}


def test_two_fronts_share_axes_under_two_names():
    """Check that names enter the legend, and that the second front's labels avoid the first's."""
    _, ax = plt.subplots()
    rows = family()
    first = TradeoffDisplay.from_front(Front(rows), ax=ax, name="tuned")
    lower = [one._replace(score=one.score - 0.02) for one in rows]
    second = TradeoffDisplay.from_front(Front(lower), ax=ax, name="test")
    assert first.ax_ is second.ax_ is ax
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "single models, tuned"
    assert texts[-1] == "cascades, test"
    frames = boxes(first) + boxes(second)[:-1]
    assert not any(one.overlaps(other) for one, other in combinations(frames, 2))


def test_axes_inside_another_figure_will_do():
    """Check that axes of a subfigure are drawn on."""
    figure = plt.figure(layout="constrained")
    ax = figure.subfigures(1, 2)[1].subplots()
    drawn = display().plot(ax=ax)
    assert drawn.ax_ is ax
    assert len(drawn.labels_) == 4


def test_pool_of_one_is_one_circle():
    """Check a front with a single row."""
    drawn = TradeoffDisplay.from_front(Front([row("single", ["only"], 0.8, 2)]), chosen=0)
    assert points(drawn.singles_) == points(drawn.chosen_) == [(2, 0.8)]
    assert (drawn.dominated_, drawn.ensembles_, drawn.cascades_) == (None, None, None)
    assert [text.get_text() for text in drawn.labels_] == ["only"]


def test_points_without_a_score_are_left_out():
    """Check that NaN is skipped, and that nothing but NaN is refused."""
    drawn = display(score=[0.7, np.nan, 0.78, 0.82, 0.81, np.nan]).plot()
    assert points(drawn.singles_) == [(1, 0.7), (2, 0.78)]
    assert (drawn.cascades_, drawn.chosen_) == (None, None)
    with pytest.raises(ValueError, match="no point with finite numbers"):
        display(score=[np.nan] * 6).plot()


@pytest.mark.parametrize("as_row", [False, True])
def test_chosen_may_be_a_row_or_its_index(as_row):
    """Check both ways to say which row was chosen."""
    front = Front(family())
    drawn = TradeoffDisplay.from_front(front, chosen=front[3] if as_row else np.int64(3))
    assert drawn.chosen == 3


@pytest.mark.parametrize("chosen", [-1, 36, "net_0", row("single", ["stranger"], 0.5, 1)])
def test_chosen_outside_the_front_is_refused(chosen):
    """Check that an index out of range and a row of another front are errors."""
    with pytest.raises(ValueError, match=r"chosen=.*expected one of the 35 points or its index"):
        TradeoffDisplay.from_front(Front(family()), chosen=chosen)


class Search(BaseEstimator):
    """A search that finds a family."""

    def fit(self, X=None, y=None):
        self.front_, self.best_index_ = Front(family()), 30
        return self


def test_search_marks_what_it_chose():
    """Check the display of a fitted search, and that styles pass through."""
    search = Search().fit()
    drawn = TradeoffDisplay.from_search(search, name="mine", cascade_kwargs={"c": "red"})
    best = search.front_[30]
    assert points(drawn.chosen_) == [(best.mean_cost, best.score)]
    assert drawn.cascades_.get_color() == "red"
    assert drawn.cascades_.get_label() == "cascades, mine"


def test_search_has_to_be_fitted():
    """Check the error before fit."""
    with pytest.raises(NotFittedError, match="Search"):
        TradeoffDisplay.from_search(Search())


def test_picture_can_be_pickled():
    """Check that a drawn display survives pickling."""
    again = pickle.loads(pickle.dumps(TradeoffDisplay.from_front(Front(family()))))
    assert len(again.singles_.get_xydata()) == 5


@pytest.mark.parametrize("way", ["from_front", "from_search", "plot"])
def test_missing_matplotlib_is_named_before_anything_is_computed(monkeypatch, way):
    """Check the message of each way to draw, which comes before the argument is looked at."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    call = {
        "from_front": lambda: TradeoffDisplay.from_front(None),
        "from_search": lambda: TradeoffDisplay.from_search(None),
        "plot": lambda: display().plot(),
    }[way]
    with pytest.raises(ImportError, match=rf"TradeoffDisplay\.{way} needs matplotlib.*\[plot\]"):
        call()
