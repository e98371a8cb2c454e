"""How the displays draw: axes, styles, scores in words, and names that cover nothing."""

from __future__ import annotations

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.inspection._tables import SHARES

# Parts of the names of scorers that are not plain lower-case words.
_WORDS = {"neg": "negative", "auc": "AUC", "roc": "ROC", "brier": "Brier", "f1": "F1"}
# In points: between a name and what it must not cover, steps away from its point, and how far
# away a line leads to it.
_MARGIN = 3
_STEPS = (0, 10, 22, 36, 52)
_NEAR = 15


def open_axes(ax, feature: str):
    """Return the axes, new ones for None, and their figure, or say that matplotlib is missing."""
    pyplot = import_optional("matplotlib.pyplot", feature=feature, extra="plot")
    if ax is None:
        _, ax = pyplot.subplots(layout="constrained")
    return ax, ax.figure


def styled(defaults: dict, own: dict | None, artist: str) -> dict:
    """Return the user's own style over the defaults, short names written out.

    Parameters
    ----------
    defaults : dict
        Full names of properties.
    own : dict or None
        The user's, "c" for "color" and the like allowed.
    artist : str
        Module and class of the artist, such as "lines.Line2D".

    Returns
    -------
    style : dict
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
    """Return a score as the axes show it; a dash where it is undefined."""
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
    """Let the layout find where things lie, which is needed before room can be measured."""
    # The figure of axes may be part of another one, which alone has a layout.
    ax.figure.canvas.figure.draw_without_rendering()


def scale_costs(ax, cost: np.ndarray, unit: str) -> None:
    """Scale and label the horizontal axis for some costs; a scale that was changed stays.

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
    """Put the legend below a rising curve, or elsewhere where it would cover something there."""
    legend = ax.legend(loc="lower right", fontsize="small")
    style_axes(ax)
    box = legend.get_window_extent().get_points()
    if any(_within(_course_of(line), box).any() for line in ax.lines):
        ax.legend(loc="best", fontsize="small")
        style_axes(ax)


def text_size(ax, text: str, style: dict) -> np.ndarray:
    """Return width and height of a text in pixels."""
    artist = ax.annotate(text, (0.5, 0.5), xycoords="axes fraction", **style)
    size = np.array(artist.get_window_extent().size)
    artist.remove()
    return size


def thin_markers(line, first: list[int]) -> None:
    """Leave out markers of a line that would overlap others; those that come first stay."""
    points = _pixels_of(line)
    gap = line.get_markersize() * line.axes.figure.dpi / 72
    kept: list[int] = []
    for place in [*first, *range(len(points))]:
        if np.hypot(*(points[kept] - points[place]).T).min(initial=np.inf) >= gap:
            kept.append(place)
    line.set_markevery(sorted(kept))


def write_names(ax, wanted: list[tuple], style: dict) -> list:
    """Write names beside their points, where they cover no text, line or legend.

    Parameters
    ----------
    ax : matplotlib Axes
        With its final limits, lines and legend.
    wanted : list of (str, array of shape (2,), float, float)
        Text, point, direction in degrees where it stands best, and least distance in points.
    style : dict
        Properties of the texts.

    Returns
    -------
    written : list of matplotlib Annotation
        Those that found room.
    """
    taken = [artist.get_window_extent().get_points() for artist in [*ax.texts, ax.get_legend()]]
    crowd = np.concatenate([_course_of(line) for line in ax.lines])
    written = []
    for text, at, direction, distance in wanted:
        size = text_size(ax, text, style)
        for offset in _offsets(direction, distance):
            box, leader = _place(ax, at, offset, size)
            if _is_free(box, leader, ax.bbox.get_points(), crowd, taken):
                taken.append(box)
                crowd = np.concatenate([crowd, leader])
                written.append(_annotate(ax, text, at, offset, style))
                break
    return written


def _offsets(direction: float, distance: float) -> list[np.ndarray]:
    """Return where a name may stand, in points from its own: near ones first, then by direction."""
    turns = np.deg2rad(
        direction + 22.5 * np.array([0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6, 8])
    )
    ways = np.column_stack([np.cos(turns), np.sin(turns)]).round(6)
    return [way * (distance + step) for step in _STEPS for way in ways]


def _place(ax, at, offset, size) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a name with its margin, and the way to it from its point, in pixels."""
    scale = ax.figure.dpi / 72
    point = ax.transData.transform(at)
    start = point + offset * scale
    low = start - size * (1 - np.sign(offset)) / 2
    way = np.linspace(point, start, 12)[1:] if np.hypot(*offset) > _NEAR else start[np.newaxis]
    return np.array([low - _MARGIN * scale, low + size + _MARGIN * scale]), way


def _is_free(box, leader, frame, crowd, taken) -> bool:
    """Tell whether a name stays in the frame, holds no point of the crowd, and meets no other."""
    (low, high), (left, right) = box, frame
    if (low < left).any() or (high > right).any() or _within(crowd, box).any():
        return False
    return not any(
        ((low < other[1]) & (high > other[0])).all() or _within(leader, other).any()
        for other in taken
    )


def _within(points, box) -> np.ndarray:
    """Tell which points lie in a box."""
    return ((points > box[0]) & (points < box[1])).all(axis=1)


def _annotate(ax, text, at, offset, style):
    """Write a text at an offset from its point, with a line to it from afar."""
    across, along = np.sign(offset)
    arrow = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
    return ax.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[across],
        va={1: "bottom", 0: "center", -1: "top"}[along],
        arrowprops=arrow if np.hypot(*offset) > _NEAR else None,
        **style,
    )


def _pixels_of(line) -> np.ndarray:
    """Return the points of a line in pixels: shape (n_points, 2)."""
    return line.get_transform().transform(line.get_xydata())


def _course_of(line) -> np.ndarray:
    """Return pixels along a line, or only its points where it joins them by none."""
    points = _pixels_of(line)
    if line.get_linestyle() in ("None", "none", "", " ") or len(points) < 2:
        return points
    steps = np.linspace(0, len(points) - 1, 20 * len(points))
    return np.column_stack([np.interp(steps, np.arange(len(points)), c) for c in points.T])
