"""The tables that benchmarks print, as cells."""

from __future__ import annotations


def cells_of(text):
    """Return the cells of the one table in a text, the header first."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    assert {len(row) for row in rows} == {len(header)}
    return header, *rows


def tables_of(text):
    """Return the cells of each table in a text; blank lines are between them."""
    return [cells_of(part) for part in text.split("\n\n") if "\n|---" in part]
