"""Whether a cascade pays for single rows, from the times of its members' own graphs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter

import numpy as np

# What routing adds to a call with one row, and a learned confidence after each stage, as measured.
OVERHEAD = 8e-6
LEARNED_OVERHEAD = 7e-6
_N_CALLS = 50


def seconds_per_call(session, feeds: dict[str, np.ndarray]) -> float:
    """Return the median time of a call with one row, over some of the rows."""
    n_samples = len(next(iter(feeds.values())))
    rows = [
        {name: array[row : row + 1] for name, array in feeds.items()}
        for row in np.arange(_N_CALLS) % n_samples
    ]
    session.run(None, rows[0])
    times = []
    for row in rows:
        start = perf_counter()
        session.run(None, row)
        times.append(perf_counter() - start)
    return median(times)


def advise(
    names: Sequence[str],
    seconds: Sequence[float],
    reached: Sequence[float],
    *,
    parts: bool,
    n_learned: float = 0.0,
) -> tuple[bool, str]:
    """Return whether a cascade pays for single rows, and that in words.

    Parameters
    ----------
    names : sequence of str
        The members.
    seconds : sequence of float
        Time of a call of each with one row.
    reached : sequence of float
        Share of the rows that reach each.
    parts : bool
        Whether the members are parts of one ensemble, so that the alternative is all of them;
        else it is the dearest of them alone.
    n_learned : float, default=0.0
        Learned confidences that a row pays for, on average.
    """
    overhead = OVERHEAD + LEARNED_OVERHEAD * n_learned
    expected = float(np.dot(seconds, reached)) + overhead
    dearest = int(np.argmax(seconds))
    alone = sum(seconds) if parts else seconds[dearest]
    other = "the whole ensemble" if parts else f"{names[dearest]!r} alone"
    pays = expected < alone
    text = (
        f"one row at a time takes about {expected * 1e6:.0f} us ({overhead * 1e6:.0f} us of it for "
        f"the routing), {other} {alone * 1e6:.0f} us: the cascade "
        f"{'pays' if pays else 'does not pay for single rows'}"
    )
    if parts:
        return pays, text
    # What is spent on all else, against what each row that leaves early saves of the dearest.
    limit = 1 - (expected - reached[dearest] * alone) / alone
    if limit > 0:
        text += f"; it does while fewer than {limit:.0%} of the rows reach {names[dearest]!r}"
    elif not pays:
        text += ", however few rows go on"
    return pays, text
