"""The table of a search as people read it: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sklearn_cascade.inspection import Table, format_cost

if TYPE_CHECKING:
    from sklearn_cascade.search._front import ParetoFront
    from sklearn_cascade.search._front_row import OperatingPoint

# Rows shown of each kind; the frame has all.
_N_SHOWN = 12


def table_of(front: ParetoFront) -> Table:
    """Return the rows shown as a table."""
    cross_fitted = any(row.cross_fitted_score is not None for row in front)
    header = ["", "members", "thresholds", front.scoring, "cross-fitted", "mean cost", "worst case"]
    body = [_row(front, front[i]) for i in _shown(front)]
    if not cross_fitted:
        header, *body = [[*line[:4], *line[5:]] for line in (header, *body)]
    return Table(_title(front), header, body, _remarks(front, cross_fitted), n_words=3)


def _title(front: ParetoFront) -> str:
    """Return how much was found."""
    counts = dict.fromkeys(("single", "ensemble", "cascade"), 0)
    for row in front:
        counts[row.kind] += 1
    names = {"single": "single model", "ensemble": "ensemble", "cascade": "cascade"}
    found = ", ".join(
        f"{count:,} {names[kind]}{'' if count == 1 else 's'}" for kind, count in counts.items()
    )
    return f"{found}; {front.n_evaluated:,} threshold vectors looked at"


def _shown(front: ParetoFront) -> list[int]:
    """Return the rows to show: those on the front, and the single models, thinned evenly."""
    on_front = np.flatnonzero(front.non_dominated)
    singles = np.array([i for i, row in enumerate(front) if row.kind == "single"])
    return sorted({*_thinned(on_front), *_thinned(singles)})


def _thinned(rows: np.ndarray) -> list[int]:
    """Return a dozen of the rows, the first and the last among them."""
    if len(rows) > _N_SHOWN:
        rows = rows[np.linspace(0, len(rows) - 1, _N_SHOWN).astype(int)]
    return rows.tolist()


def _row(front: ParetoFront, row: OperatingPoint) -> list[str]:
    """Return one row as text."""
    shown = ", ".join("never" if t == np.inf else f"{t:.4g}" for t in row.thresholds)
    costs = (format_cost(cost, front.cost_unit) for cost in (row.mean_cost, row.worst_cost))
    thresholds = f"{shown} ({row.combine})" if row.kind == "cascade" else ""
    # Nothing is chosen in a single model, nor in an ensemble.
    cross_fitted = row.score if row.kind != "cascade" else row.cross_fitted_score
    scores = ["" if score is None else f"{score:.4f}" for score in (row.score, cross_fitted)]
    return [row.kind, row.label, thresholds, *scores, *costs]


def _remarks(front: ParetoFront, cross_fitted: bool) -> list[str]:
    """Return the sentences below the table."""
    n_hidden = len(front) - len(_shown(front))
    lines = [f"{n_hidden:,} more rows in to_frame()."] if n_hidden else []
    lines.append("Scores and costs are those of the rows searched on, hence optimistic.")
    if cross_fitted:
        lines.append(
            "Cross-fitted: the best of no higher cost, chosen without the fold it is scored on."
        )
    else:
        lines.append("None is cross-fitted here: see the parameter cv.")
    return lines
