"""Drawing shared by the displays: axes, styles, score labels, and names without overlap."""

from __future__ import annotations

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.inspection._tables import SHARES

# Parts of the names of scorers that are not plain lower-case words.
_WORDS = {"neg": "negative", "auc": "AUC", "roc": "ROC", "brier": "Brier", "f1": "F1"}
# In points: the margin around a name, the distances from its point to try, and the distance beyond
# which a leader line connects them.
_MARGIN = 3
_DISTANCES = (0, 10, 22, 36, 52)
_LEADER_FROM = 15


def open_axes(ax, feature: str):
    """Return the axes, new ones for None, and their figure; raise if matplotlib is missing."""
    pyplot = import_optional("matplotlib.pyplot", feature=feature, extra="plot")
    if ax is None:
        _, ax = pyplot.subplots(layout="constrained")
    return ax, ax.figure


def styled(defaults: dict, own: dict | None, artist: str) -> dict:
    """Return the user's own style merged over the defaults, aliases such as "c" resolved.

    `artist` is the module and class of the artist, such as "lines.Line2D".
    """
    module, name = artist.split(".")
    cbook = import_optional("matplotlib.cbook", feature="plot", extra="plot")
    artists = import_optional(f"matplotlib.{module}", feature="plot", extra="plot")
    return {**defaults, **cbook.normalize_kwargs(own, getattr(artists, name))}


def score_label(scoring: str) -> str:
    """Return the name of a score in words, with its unit."""
    words = " ".join(_WORDS.get(word, word) for word in scoring.split("_"))
    return f"{words[:1].upper()}{words[1:]}" + (" (%)" if scoring in SHARES else "")


def format_score(score: float, scoring: str) -> str:
    """Return a score as shown on the axes; a dash where it is undefined."""
    if np.isnan(score):
        return "-"
    return f"{100 * score:.1f}" if scoring in SHARES else f"{score:.4f}"


def label_scores(axis, scoring: str) -> None:
    """Label an axis of scores, and show accuracies in percent."""
    axis.set_label_text(score_label(scoring))
    if scoring in SHARES:
        show_percent(axis)


def show_percent(axis) -> None:
    """Show shares in percent along an axis."""
    ticker = import_optional("matplotlib.ticker", feature="plot", extra="plot")
    axis.set_major_formatter(ticker.PercentFormatter(xmax=1, symbol=None))


def style_axes(ax) -> None:
    """Compute the layout, which has to be known before room can be measured."""
    # A subfigure has no layout of its own; the figure that holds it has.
    ax.figure.canvas.figure.draw_without_rendering()


def scale_costs(ax, cost: np.ndarray, unit: str) -> None:
    """Scale and label the horizontal axis for some costs; a scale set before is kept.

    Logarithmic where they span more than a decade, and linear up to the smallest one above zero
    where some are zero. Seconds are shown in a fitting multiple.
    """
    if not cost.size:
        raise ValueError("cost and score hold no point with finite numbers; expected at least one")
    ticker = import_optional("matplotlib.ticker", feature="plot", extra="plot")
    positive = cost[cost > 0]
    decades = np.log10(positive.max() / positive.min()) if positive.size else 0
    if decades > 1 and ax.get_xscale() == "linear":
        if positive.size == cost.size:
            ax.set_xscale("log")
            subs = (1, 2, 5) if decades < 3 else (1,)
            ax.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
        else:
            ax.set_xscale("symlog", linthresh=10 ** np.floor(np.log10(positive.min())))
    if ax.get_xscale() != "linear":
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        ax.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    if unit == "s":
        ax.xaxis.set_major_formatter(ticker.EngFormatter("s"))
    ax.set_xlabel("Cost per row" if unit == "s" else f"Cost per row ({unit})")


def place_legend(ax) -> None:
    """Put the legend below a rising curve, or elsewhere if it would cover something there."""
    legend = ax.legend(loc="lower right", fontsize="small")
    style_axes(ax)
    box = legend.get_window_extent().get_points()
    if any(_within(_line_pixels(line), box).any() for line in ax.lines):
        ax.legend(loc="best", fontsize="small")
        style_axes(ax)


def text_size(ax, text: str, style: dict) -> np.ndarray:
    """Return width and height of a text in pixels."""
    artist = ax.annotate(text, (0.5, 0.5), xycoords="axes fraction", **style)
    size = np.array(artist.get_window_extent().size)
    artist.remove()
    return size


def thin_markers(line, first: list[int]) -> None:
    """Leave out markers of a line that would overlap others; the first ones are kept."""
    points = _pixels_of(line)
    gap = line.get_markersize() * line.axes.figure.dpi / 72
    kept: list[int] = []
    for index in [*first, *range(len(points))]:
        if np.hypot(*(points[kept] - points[index]).T).min(initial=np.inf) >= gap:
            kept.append(index)
    line.set_markevery(sorted(kept))


def write_names(ax, wanted: list[tuple], style: dict) -> list:
    """Write names beside their points where they cover no text, line or legend; return those.

    The axes need their final limits, lines and legend. Each of `wanted` has a text, a point (2,),
    the preferred direction in degrees and the least distance in points.
    """
    taken = [artist.get_window_extent().get_points() for artist in [*ax.texts, ax.get_legend()]]
    occupied = np.concatenate([_line_pixels(line) for line in ax.lines])
    written = []
    for text, point, direction, distance in wanted:
        size = text_size(ax, text, style)
        for offset in _offsets(direction, distance):
            box, leader = _text_box(ax, point, offset, size)
            if _is_free(box, leader, ax.bbox.get_points(), occupied, taken):
                taken.append(box)
                occupied = np.concatenate([occupied, leader])
                written.append(_annotate(ax, text, point, offset, style))
                break
    return written


def _offsets(direction: float, distance: float) -> list[np.ndarray]:
    """Return offsets of a name from its point, in points: near ones first, then by direction."""
    turns = np.deg2rad(
        direction + 22.5 * np.array([0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6, 8])
    )
    directions = np.column_stack([np.cos(turns), np.sin(turns)]).round(6)
    return [unit * (distance + more) for more in _DISTANCES for unit in directions]


def _text_box(ax, point, offset, size) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a name with its margin, and points of its leader, in pixels."""
    scale = ax.figure.dpi / 72
    begin = ax.transData.transform(point)
    end = begin + offset * scale
    low = end - size * (1 - np.sign(offset)) / 2
    leader = end[np.newaxis]
    if np.hypot(*offset) > _LEADER_FROM:
        leader = np.linspace(begin, end, 12)[1:]
    return np.array([low - _MARGIN * scale, low + size + _MARGIN * scale]), leader


def _is_free(box, leader, frame, occupied, taken) -> bool:
    """Tell whether a name is in the frame and overlaps no line, leader or other text."""
    (low, high), (left, right) = box, frame
    if (low < left).any() or (high > right).any() or _within(occupied, box).any():
        return False
    return not any(
        ((low < other[1]) & (high > other[0])).all() or _within(leader, other).any()
        for other in taken
    )


def _within(points, box) -> np.ndarray:
    """Tell which points lie in a box."""
    return ((points > box[0]) & (points < box[1])).all(axis=1)


def _annotate(ax, text, point, offset, style):
    """Write a text at an offset from its point, with a leader line where it is far."""
    across, along = np.sign(offset)
    arrow = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
    return ax.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[across],
        va={1: "bottom", 0: "center", -1: "top"}[along],
        arrowprops=arrow if np.hypot(*offset) > _LEADER_FROM else None,
        **style,
    )


def _pixels_of(line) -> np.ndarray:
    """Return the points of a line in pixels: shape (n_points, 2)."""
    return line.get_transform().transform(line.get_xydata())


def _line_pixels(line) -> np.ndarray:
    """Return pixels along a line, or only its points if it is not drawn between them."""
    points = _pixels_of(line)
    if line.get_linestyle() in ("None", "none", "", " ") or len(points) < 2:
        return points
    steps = np.linspace(0, len(points) - 1, 20 * len(points))
    return np.column_stack([np.interp(steps, np.arange(len(points)), c) for c in points.T])
