"""Sharing work out among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def map_in_threads(work: Callable, tasks: Sequence, n_jobs: int) -> list:
    """Return the result of each task, in order.

    Threads, since numpy lets go of the interpreter lock and nothing needs to be copied. Nothing
    outlives the call: what the tasks hold may be hundreds of megabytes.

    Parameters
    ----------
    work : callable
        Function of one task.
    tasks : sequence
        The tasks.
    n_jobs : int
        Number of threads.

    Returns
    -------
    results : list
    """
    if n_jobs == 1 or len(tasks) < 2:
        return [work(task) for task in tasks]
    with ThreadPoolExecutor(n_jobs) as threads:
        return list(threads.map(work, tasks))
