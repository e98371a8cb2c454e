"""Tables in Markdown: printed line by line or with a caption, and the cells that repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """A table with its caption; `topic` is part of the name of its file."""

    topic: str
    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]

    def to_markdown(self) -> str:
        """Return caption and table."""
        lines = [f"| {' | '.join(line)} |" for line in (self.header, *self.rows)]
        lines.insert(1, "|---" * len(self.header) + "|")
        return "\n".join([*self.caption.splitlines(), "", *lines, ""])


def print_header(columns: Sequence[str]) -> None:
    """Print the first two lines of a table."""
    print_line(columns)
    print("|---" * len(columns) + "|", flush=True)


def print_line(cells: Iterable[str]) -> None:
    """Print one line of a table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def spread(values, form: str = ".2f") -> str:
    """Return mean and standard deviation over the halves."""
    sd = f" ± {np.std(values, ddof=1):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{sd}"


def verdict_of(points) -> str:
    """Return whether a difference stands out from its spread over the halves."""
    mean, sd = np.mean(points), np.std(points, ddof=1) if len(points) > 1 else 0.0
    return "even" if abs(mean) <= sd else "wins" if mean > 0 else "**loses**"


def commonest(labels, most: int = 1) -> str:
    """Return the most frequent labels, each with its count."""
    counted = Counter(labels).most_common(most)
    return ", ".join(f"{label} ({count})" for label, count in counted)
