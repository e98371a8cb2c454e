"""The plot of the share of rows and the score by exit stage."""

from __future__ import annotations

import numpy as np

from sklearn_cascade._compat import import_optional
from sklearn_cascade.inspection._plot_utils import (
    format_score,
    open_axes,
    score_label,
    show_percent,
    style_axes,
    styled,
    text_size,
)


class ExitDisplay:
    """Draw the share of rows that exits at each stage, and their score.

    One bar for each stage, from the first at the top to the last, is labelled with the share and,
    where there is room, the number of rows. Scores are shown in a column to the right of the bars.

    Parameters
    ----------
    stage_names : sequence of str of length n_stages
        Members in running order.
    exit_rates : array-like of shape (n_stages,)
        Share of all rows that exits at each stage, from 0 to 1.
    exit_counts : array-like of int of shape (n_stages,)
        Number of rows that exit at each stage.
    exit_scores : array-like of shape (n_stages,), default=None
        Score on these rows; NaN where undefined.
    scoring : str, default="accuracy"
        Name of the scores; accuracies are shown in percent.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    bars_ : matplotlib BarContainer
        One bar per stage.
    texts_ : list of matplotlib Text
        Labels of the bars.
    score_axis_ : matplotlib SecondaryAxis or None
        Axis whose tick labels are the scores; None without scores.

    See Also
    --------
    TradeoffDisplay : Score against cost.
    CascadeClassifier.cost_report : The same figures as a table.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from sklearn_cascade import ExitDisplay
    >>> display = ExitDisplay(
    ...     stage_names=["small", "large"],
    ...     exit_rates=[0.8, 0.2],
    ...     exit_counts=[800, 200],
    ...     exit_scores=[0.97, 0.75],
    ... )
    >>> [text.get_text() for text in display.plot(ax=Figure().subplots()).texts_]
    ['80.0% (800 rows)', '20.0% (200 rows)']
    """

    def __init__(
        self, *, stage_names, exit_rates, exit_counts, exit_scores=None, scoring="accuracy"
    ):
        self.stage_names = stage_names
        self.exit_rates = exit_rates
        self.exit_counts = exit_counts
        self.exit_scores = exit_scores
        self.scoring = scoring

    @classmethod
    def from_report(cls, report, *, ax=None, name=None, **plot_kwargs):
        """Draw the exits of a cost report.

        Parameters
        ----------
        report : CostReport
            What ``cost_report`` returns.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        name : str, default=None
            Title of the axes.
        **plot_kwargs : dict
            Styles, as for `plot`.

        Returns
        -------
        display : ExitDisplay
            The drawn display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `report` is something else.
        """
        import_optional("matplotlib.pyplot", feature="ExitDisplay.from_report", extra="plot")
        if not hasattr(report, "exit_rates"):
            raise TypeError(f"report={report!r}; expected a CostReport")
        display = cls(
            stage_names=report.names,
            exit_rates=np.array(report.exit_rates),
            exit_counts=np.array(report.exit_counts),
            exit_scores=None if report.exit_scores is None else np.array(report.exit_scores),
            scoring=report.scoring,
        )
        return display.plot(ax=ax, name=name, **plot_kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        sample_weight=None,
        scoring=None,
        ax=None,
        name=None,
        **plot_kwargs,
    ):
        """Predict some rows with a fitted cascade, once, and draw where they exit.

        Parameters
        ----------
        estimator : CascadeClassifier
            A fitted cascade.
        X : array-like or object with n_samples rows
            Rows like those to come, preferably not those of the fit.
        y : array-like of shape (n_samples,), default=None
            True labels; without them no scores are shown.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        scoring : str or callable, default=None
            Scorer for `y`; by default that of the estimator, or accuracy.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        name : str, default=None
            Title of the axes.
        **plot_kwargs : dict
            Styles, as for `plot`.

        Returns
        -------
        display : ExitDisplay
            The drawn display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` has no ``cost_report``.
        """
        import_optional("matplotlib.pyplot", feature="ExitDisplay.from_estimator", extra="plot")
        if not hasattr(estimator, "cost_report"):
            raise TypeError(
                f"estimator is a {type(estimator).__name__} without cost_report; expected a "
                f"fitted CascadeClassifier"
            )
        report = estimator.cost_report(X, y, sample_weight, scoring=scoring, compare=False)
        return cls.from_report(report, ax=ax, name=name, **plot_kwargs)

    def plot(self, ax=None, *, name=None, bar_kwargs=None, text_kwargs=None):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        name : str, default=None
            Title of the axes.
        bar_kwargs : dict, default=None
            Style of the bars, as for ``ax.barh``.
        text_kwargs : dict, default=None
            Style of the labels of the bars, as for ``ax.text``.

        Returns
        -------
        display : ExitDisplay
            This object.
        """
        self.ax_, self.figure_ = open_axes(ax, "ExitDisplay.plot")
        positions = np.arange(len(self.stage_names))
        style = styled({"color": "#0072B2", "height": 0.7}, bar_kwargs, "patches.Patch")
        self.bars_ = self.ax_.barh(positions, self.exit_rates, **style)
        self.ax_.set_yticks(positions, labels=[f"{k}  {n}" for k, n in enumerate(self.stage_names)])
        self.ax_.set(xlim=(0, 1), ylim=(len(positions) - 0.4, -0.6))
        self.ax_.set(xlabel="Share of rows (%)", ylabel="Exit stage")
        show_percent(self.ax_.xaxis)
        if name is not None:
            self.ax_.set_title(name)
        self.score_axis_ = None
        if self.exit_scores is not None:
            self.score_axis_ = self.ax_.secondary_yaxis("right")
            scores = [format_score(score, self.scoring) for score in self.exit_scores]
            self.score_axis_.set_yticks(positions, labels=scores)
            self.score_axis_.tick_params(length=0)
            self.score_axis_.set_ylabel(score_label(self.scoring))
        style_axes(self.ax_)
        style = styled({"fontsize": 9}, text_kwargs, "text.Text")
        self.texts_ = [self._label_bar(position, style) for position in positions]
        return self

    def _label_bar(self, position, style):
        """Label a bar: to its right, or inside where there is no room to the right."""
        rate = self.exit_rates[position]
        room = self.ax_.bbox.width * np.array([rate, 1 - rate])
        texts = [f"{rate:.1%} ({self.exit_counts[position]:,} rows)", f"{rate:.1%}", f"{rate:.0%}"]
        widths = [text_size(self.ax_, f"{text}x", style)[0] for text in texts]
        chosen = next((k for k, width in enumerate(widths) if width < room.max()), -1)
        outside = widths[chosen] < room[1] or rate < 0.5
        side = {"ha": "left", "color": "black"} if outside else {"ha": "right", "color": "white"}
        return self.ax_.annotate(
            texts[chosen],
            (rate, position),
            xytext=(4 if outside else -4, 0),
            textcoords="offset points",
            **{"va": "center", **side, **style},
        )
