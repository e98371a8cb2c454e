"""The tables of the benchmark of scale: one header for all jobs, on the screen and in a file."""

from __future__ import annotations

import sys
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path


class Copied(StringIO):
    """Text that is also written to the screen."""

    def __init__(self, screen):
        super().__init__()
        self.screen = screen

    def write(self, text):
        """Write to both."""
        self.screen.write(text)
        return super().write(text)

    def flush(self):
        """Show what was written."""
        self.screen.flush()


@contextmanager
def copied(folder, name):
    """Write the printed text to a file of a folder as well, if there is a folder."""
    if folder is None:
        yield
        return
    with redirect_stdout(Copied(sys.stdout)) as text:
        yield
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_text(text.getvalue().strip() + "\n", encoding="utf-8")


def print_header(last):
    """Print the head of a table."""
    print(f"| engine | 1 worker | 2 workers | ratio | peak | {last} |")
    print("|---|---|---|---|---|---|")


def print_row(name, times, peak, last):
    """Print one line of a table."""
    two = f"{times[1]:.1f} s | {times[0] / times[1]:.2f}x" if len(times) > 1 else "|"
    peak = "" if peak is None else f"{peak / 1e6:,.0f} MB"
    print(f"| {name} | {times[0]:.1f} s | {two} | {peak} | {last} |", flush=True)
