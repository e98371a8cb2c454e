"""Tables of reports: aligned lines for a terminal, HTML for a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sklearn_cascade._compat import import_optional

if TYPE_CHECKING:
    import pandas

# Scores that are shares, whose differences are given in points.
SHARES = ("accuracy", "balanced_accuracy")
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class Table(NamedTuple):
    """A table of text, with a title above and remarks below."""

    title: str
    header: Sequence[str]
    # A text in place of a row is a heading of the rows after it, or an empty line.
    body: Sequence[Sequence[str] | str]
    remarks: Sequence[str]
    n_words: int = 1  # leading columns of words, aligned left; the others are aligned right

    def to_text(self) -> str:
        """Return the table as lines of text."""
        rows = [row for row in [self.header, *self.body] if not isinstance(row, str)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in [self.header, *self.body] if self.body else []:
            if isinstance(row, str):
                lines.append(row)
                continue
            cells = [
                cell.ljust(width) if k < self.n_words else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([self.title, *lines, *self.remarks])

    def to_html(self) -> str:
        """Return the table as HTML."""
        head = f"<thead>{self._html_row(self.header, 'th')}</thead>" if self.body else ""
        body = "".join(self._html_row(row, "td") for row in self.body)
        remarks = "<br>".join(escape(remark) for remark in self.remarks if remark)
        return (
            f"<table><caption>{escape(self.title)}</caption>{head}<tbody>{body}</tbody></table>"
            f"<p>{remarks}</p>"
        )

    def _html_row(self, row: Sequence[str] | str, tag: str) -> str:
        """Return one row as HTML; nothing for an empty text."""
        if isinstance(row, str):
            span = f'<tr><th colspan="{len(self.header)}">{escape(row)}</th></tr>'
            return span if row else ""
        cells = "".join(
            f'<{tag} style="text-align:{"left" if k < self.n_words else "right"};'
            f'white-space:nowrap">{escape(cell)}</{tag}>'
            for k, cell in enumerate(row)
        )
        return f"<tr>{cells}</tr>"


class Report(ABC):
    """Abstract base of the reports, which print as a table, in a notebook as an HTML table."""

    @abstractmethod
    def rows(self) -> list[dict]:
        """Return the table as a list of dicts."""

    @abstractmethod
    def _as_table(self) -> Table:
        """Return what is printed."""

    def to_frame(self) -> pandas.DataFrame:
        """Return the table as a pandas DataFrame."""
        pandas = import_optional("pandas", feature=f"{type(self).__name__}.to_frame")
        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        return self._as_table().to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._as_table().to_html()


def format_cost(value: float, unit: str, half_width: float | None = None) -> str:
    """Return a cost with its unit to three significant digits; seconds in a fitting multiple."""
    scale, rounded = 1.0, abs(float(f"{value:.3g}"))
    if unit == "s":
        scale, unit = next(((s, n) for s, n in _SECONDS if rounded >= s), _SECONDS[-1])
    spread = "" if half_width is None else f" ± {format_digits(half_width / scale)}"
    return f"{format_digits(value / scale)}{spread} {unit}"


def format_digits(value: float) -> str:
    """Return a number to three significant digits, without an exponent where that is readable."""
    rounded = abs(float(f"{value:.3g}"))
    if rounded == 0 or 1e-3 <= rounded < 1e6:
        decimals = 2 if rounded == 0 else max(0, 2 - int(np.floor(np.log10(rounded))))
        return f"{value:,.{decimals}f}"
    return f"{value:.2e}"


def as_plain(value):
    """Return figures as JSON holds them: lists for tuples, None for NaN, text for infinity."""
    if isinstance(value, (tuple, list)):
        return [as_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
