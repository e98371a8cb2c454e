"""The plot of score against cost, in the style of the published figures."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from textwrap import fill
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import import_optional
from sklearn_cascade.inspection._plot_utils import (
    label_scores,
    open_axes,
    place_legend,
    scale_costs,
    styled,
    thin_markers,
    write_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Label, colour, marker, marker size and z-order. Okabe and Ito's colours can be distinguished by
# the colour-blind, and the markers in greyscale.
_STYLES = {
    "single": ("single models", "black", "o", 6, 3),
    "dominated": ("", "black", "o", 6, 2.5),
    "ensemble": ("ensembles", "#E69F00", "s", 6, 2),
    "cascade": ("cascades", "#0072B2", "*", 10, 4),
    "cross_fitted": ("cascades, cross-fitted", "#56B4E9", "", 0, 3.5),
    "chosen": ("chosen", "#D55E00", "o", 15, 5),
}
_EXTRA_STYLES = {
    "single": {"linewidth": 1.2},
    "dominated": {"markerfacecolor": "white"},
    "ensemble": {"linestyle": "none"},
    "cascade": {"linewidth": 0.8},
    "cross_fitted": {"linestyle": "--", "linewidth": 1.2},
    "chosen": {"linestyle": "none", "markerfacecolor": "none", "markeredgewidth": 2},
}
# With more single models than this, only the non-dominated ones are named.
_MAX_NAMES = 12


class _Front(Protocol):
    """What is drawn of a `ParetoFront`, which a later layer defines."""

    cost_unit: str
    scoring: str
    non_dominated: Any  # bool (n_points,)

    def __iter__(self) -> Iterator[Any]: ...


class TradeoffDisplay:
    """Draw score against cost: single models, ensembles and cascades.

    Single models are circles; a line joins the non-dominated ones in order of cost, and the others
    are hollow. Ensembles are squares, only those that no other ensemble dominates. Cascades are
    stars, only those on the Pareto front, and of many close together only some; a dashed line
    beside them shows their cross-fitted scores and costs. A ring marks the chosen point, which is
    named.

    Parameters
    ----------
    score : array-like of shape (n_points,)
        Score of each point, larger is better.
    cost : array-like of shape (n_points,)
        Mean cost of a row, in `cost_unit`.
    kind : array-like of str of shape (n_points,)
        "single", "ensemble" or "cascade".
    label : sequence of str of length n_points
        Name of each point.
    on_front : array-like of bool of shape (n_points,)
        Whether the point is on the Pareto front.
    chosen : int, default=None
        Index of the point to mark.
    cost_unit : str, default="stages"
        Unit of the costs; seconds ("s") are shown in a fitting multiple.
    scoring : str, default="accuracy"
        Name of the score; accuracies are shown in percent.
    cross_fitted : array-like of shape (n_points, 2), default=None
        Cost and score of each point, cross-fitted; NaN where there are none.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes and figure of the plot.
    singles_, dominated_, ensembles_, cascades_, cross_fitted_, chosen_ : matplotlib Line2D or None
        The lines drawn; None where there is no such point.
    labels_ : list of matplotlib Annotation
        Names of single models and of the chosen point; those without room are left out.

    See Also
    --------
    ExitDisplay : Share of rows and score by exit stage.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn_cascade import TradeoffDisplay
    >>> display = TradeoffDisplay(
    ...     score=[0.80, 0.87, 0.86],
    ...     cost=[3.1, 40.4, 17.9],
    ...     kind=["single", "single", "cascade"],
    ...     label=["small", "large", "small > large"],
    ...     on_front=[True, True, True],
    ...     chosen=2,
    ...     cost_unit="MFLOPs",
    ... )
    >>> display.plot(ax=Figure().subplots()).ax_.get_xlabel()
    'Cost per row (MFLOPs)'
    """

    def __init__(
        self,
        *,
        score,
        cost,
        kind,
        label,
        on_front,
        chosen=None,
        cost_unit="stages",
        scoring="accuracy",
        cross_fitted=None,
    ):
        self.score = score
        self.cost = cost
        self.kind = kind
        self.label = label
        self.on_front = on_front
        self.chosen = chosen
        self.cost_unit = cost_unit
        self.scoring = scoring
        self.cross_fitted = cross_fitted

    @classmethod
    def from_front(
        cls,
        front: _Front,
        *,
        chosen: int | tuple | None = None,
        ax: Axes | None = None,
        name: str | None = None,
        **plot_kwargs: dict | None,
    ) -> TradeoffDisplay:
        """Draw a Pareto front.

        Parameters
        ----------
        front : ParetoFront
            What `search_cascades` returns.
        chosen : int or OperatingPoint, default=None
            The point to mark, itself or its index; ``front.select(...)`` returns one.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        name : str, default=None
            Added to the entries of the legend.
        **plot_kwargs : dict
            Styles, as for `plot`.

        Returns
        -------
        display : TradeoffDisplay
            The drawn display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `chosen` is not in the front.
        """
        import_optional("matplotlib.pyplot", feature="TradeoffDisplay.from_front", extra="plot")
        points = list(front)
        display = cls(
            score=np.array([point.score for point in points], dtype=float),
            cost=np.array([point.mean_cost for point in points], dtype=float),
            kind=np.array([point.kind for point in points]),
            label=[(" > " if p.kind == "cascade" else " + ").join(p.members) for p in points],
            on_front=np.asarray(front.non_dominated, dtype=bool),
            chosen=_index_of(chosen, points),
            cost_unit=front.cost_unit,
            scoring=front.scoring,
            cross_fitted=np.array(
                [[p.cross_fitted_cost, p.cross_fitted_score] for p in points], dtype=float
            ),
        )
        return display.plot(ax=ax, name=name, **plot_kwargs)

    @classmethod
    def from_search(cls, search, *, ax=None, name=None, **plot_kwargs):
        """Draw the Pareto front of a fitted search, and mark its choice.

        Parameters
        ----------
        search : CascadeSearchCV
            A fitted search.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        name : str, default=None
            Added to the entries of the legend.
        **plot_kwargs : dict
            Styles, as for `plot`.

        Returns
        -------
        display : TradeoffDisplay
            The drawn display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If `search` is not fitted.
        """
        import_optional("matplotlib.pyplot", feature="TradeoffDisplay.from_search", extra="plot")
        check_is_fitted(search, ["front_", "best_index_"])
        plot_kwargs |= {"chosen": search.best_index_, "ax": ax, "name": name}
        return cls.from_front(search.front_, **plot_kwargs)

    def plot(
        self,
        ax=None,
        *,
        name=None,
        single_kwargs=None,
        ensemble_kwargs=None,
        cascade_kwargs=None,
        chosen_kwargs=None,
        cross_fitted_kwargs=None,
        label_kwargs=None,
    ):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default. A scale that was set before is kept.
        name : str, default=None
            Added to the entries of the legend.
        single_kwargs, ensemble_kwargs, cascade_kwargs, chosen_kwargs, cross_fitted_kwargs : dict
            Style of the lines and markers, as for ``ax.plot``.
        label_kwargs : dict, default=None
            Style of the names, as for ``ax.annotate``.

        Returns
        -------
        display : TradeoffDisplay
            This object.
        """
        self.ax_, self.figure_ = open_axes(ax, "TradeoffDisplay.plot")
        points = np.column_stack([self.cost, self.score]).astype(float)
        shown = self._shown(points)
        own = (single_kwargs, single_kwargs, ensemble_kwargs, cascade_kwargs, chosen_kwargs)
        lines = [
            self._draw(points[indices], kind, style, name)
            for (kind, indices), style in zip(shown.items(), own, strict=True)
        ]
        self.singles_, self.dominated_, self.ensembles_, self.cascades_, self.chosen_ = lines
        self.cross_fitted_ = self._draw(
            self._cross_fitted_points(shown), "cross_fitted", cross_fitted_kwargs, name
        )
        scale_costs(self.ax_, points[np.concatenate(list(shown.values())), 0], self.cost_unit)
        label_scores(self.ax_.yaxis, self.scoring)
        self.ax_.margins(0.08)
        place_legend(self.ax_)
        if self.cascades_ is not None:
            ends = np.isin(shown["cascade"], [*shown["chosen"], *shown["cascade"][[0, -1]]])
            thin_markers(self.cascades_, np.flatnonzero(ends).tolist())
        self.labels_ = self._write_labels(points, shown, label_kwargs)
        return self

    def _shown(self, points):
        """Return the indices of the points to draw, by kind, rising cost and falling score."""
        order = np.lexsort((-points[:, 1], points[:, 0]))
        order = order[np.isfinite(points[order]).all(axis=1)]
        kind, on_front = np.asarray(self.kind)[order], np.asarray(self.on_front, bool)[order]
        chosen = order == self.chosen
        singles, ensembles = order[kind == "single"], order[kind == "ensemble"]
        best = _non_dominated(points[singles])
        return {
            "single": singles[best],
            "dominated": singles[~best],
            "ensemble": ensembles[_non_dominated(points[ensembles]) | (ensembles == self.chosen)],
            "cascade": order[(kind == "cascade") & (on_front | chosen)],
            "chosen": order[chosen],
        }

    def _cross_fitted_points(self, shown):
        """Return the cross-fitted points of the cascades shown, by rising cost."""
        if self.cross_fitted is None:
            return np.empty((0, 2))
        cross_fitted = np.asarray(self.cross_fitted, dtype=float)[shown["cascade"]]
        cross_fitted = cross_fitted[np.isfinite(cross_fitted).all(axis=1)]
        return cross_fitted[np.argsort(cross_fitted[:, 0], kind="stable")]

    def _draw(self, points, kind, own, name):
        """Draw the points of a kind, and return the line; None where there is none."""
        if not len(points):
            return None
        label, color, marker, size, zorder = _STYLES[kind]
        label = label if name is None else f"{label}, {name}"
        style = {"label": label, "color": color, "marker": marker, "markersize": size}
        style = styled({**style, "zorder": zorder, **_EXTRA_STYLES[kind]}, own, "lines.Line2D")
        if kind == "dominated":
            # Regardless of the user's style of single models.
            style |= {"label": "_", "linestyle": "none"}
        return self.ax_.plot(*points.T, **style)[0]

    def _write_labels(self, points, shown, own):
        """Write the names of the chosen point and of single models where there is room."""
        singles = [*shown["single"], *shown["dominated"]]
        if len(singles) > _MAX_NAMES:
            singles = shown["single"]
        # From the bottom, since there is room below a rising curve, and above the best point.
        singles = sorted(set(singles) - set(shown["chosen"]), key=lambda index: points[index, 1])
        wanted = [(fill(self.label[k], 26), points[k], 135, 12) for k in shown["chosen"]]
        wanted += [(self.label[k], points[k], -45, 6) for k in singles]
        style = styled({"fontsize": 8, "zorder": 6}, own, "text.Text")
        return write_names(self.ax_, wanted, style)


def _index_of(chosen, points):
    """Return the index of the chosen point, which may be given itself."""
    if chosen is None:
        return None
    if isinstance(chosen, Integral) and 0 <= chosen < len(points):
        return int(chosen)
    if chosen in points:
        return points.index(chosen)
    raise ValueError(f"chosen={chosen!r}; expected one of the {len(points)} points or its index")


def _non_dominated(points: np.ndarray) -> np.ndarray:
    """Return which points (n_points, 2), by rising cost and falling score, beat all before."""
    highest = np.maximum.accumulate(points[:, 1])
    return np.diff(highest, prepend=-np.inf) > 0
