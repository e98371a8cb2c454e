"""A cascade as one ONNX file against its members alone, the last of them and Python."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.onnx_cascades import image_cascade, open_file, table_cascades
from benchmarks.tables import print_header, print_line

# Rows in a call, different calls, repetitions of each, and repetitions against Python.
ONE, SOME, MANY, ALL = (1, 300, 21, 3), (32, 40, 15, 3), (1000, 5, 9, 5), (10_000, 1, 9, 5)
QUICK = (1, 2, 2, 2), (32, 2, 2, 2)
TIME_COLUMNS = [
    "cascade",
    "rows a call",
    "file",
    "its members on the rows that reach them",
    "difference",
    "ratio",
    "goal",
    "last member / file",
    "Python / file",
]


def run(*, data=None, quick=False):
    """Print size and time of the files, and which kernels run.

    Times are CPU times of the one thread that works, since other programs would hide differences
    this small. Compared calls take turns: each figure is the mean over different calls of the
    median over repetitions. If the folder `data` holds `cifar10_family`, a cascade of it is timed
    as well.
    """
    with threadpool_limits(1):
        sizes = QUICK if quick else (ONE, SOME, MANY, ALL)
        cascades = [(timed, sizes) for timed in table_cascades(quick=quick)]
        if data is not None:
            images = image_cascade(Path(data) / "cifar10_family")
            cascades.append((images, QUICK if quick else (ONE, SOME, (len(images.X), 1, 9, 5))))
        print_files([timed for timed, _ in cascades])
        print_times(cascades)
        print_kernels([timed for timed, _ in cascades])
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


def print_files(cascades):
    """Print size and time of the files, and the exporter's advice."""
    print_header(["cascade", "members", "rows that reach them", "file", "export", "load"])
    for timed in cascades:
        start = perf_counter()
        session = open_file(timed.file)
        seconds = perf_counter() - start
        stage = session.run(["exit_stage"], {"X": timed.X})[0]
        reached = " / ".join(f"{np.mean(stage >= k):.2f}" for k in range(len(timed.sessions)))
        names = " > ".join(name for name, _ in timed.cascade.estimators)
        size = f"{len(timed.file) / 1e6:.1f} MB"
        times = f"{timed.export_seconds:.1f} s", f"{seconds:.2f} s"
        print_line([timed.title, names, reached, size, *times])
    print()
    for timed in cascades:
        metadata = open_file(timed.file).get_modelmeta().custom_metadata_map
        print(f"* {timed.title}: {json.loads(metadata['verification_figures'])['advice']}.")


def print_times(cascades):
    """Print the file's time against its members', the last member's on all rows and Python's."""
    print()
    print_header(TIME_COLUMNS)
    for timed, sizes in cascades:
        for size in sizes:
            _print_time(timed, *size)


def _print_time(timed, n_rows, n_calls, n_repeats, n_in_python):
    """Print one line: a mean over calls of medians over repetitions."""
    session = open_file(timed.file)
    calls = [call_of(timed, session, block) for block in blocks_of(timed.X, n_rows, n_calls)]
    pairs = {"members": n_repeats, "last": n_repeats, "python": n_in_python}
    series = {name: [call[name] for call in calls] for name in ("file", *pairs)}
    times = {other: _paired(series["file"], series[other], n) for other, n in pairs.items()}
    file, members = times["members"]
    ratio, scale, unit = file / members, *((1e6, "µs") if file < 1e-3 else (1e3, "ms"))
    if n_rows == 1:
        goal, met = "difference <= 10 µs", file - members <= 10e-6
    elif n_rows >= 500:
        goal, met = "ratio <= 1.05", ratio <= 1.05
    else:
        goal, met = "", True
    cells = [f"{value * scale:.1f} {unit}" for value in (file, members, file - members)]
    others = [f"{times[name][1] / times[name][0]:.2f}" for name in ("last", "python")]
    goal += "" if met else ": missed"
    print_line([timed.title, f"{n_rows:,}", *cells, f"{ratio:.3f}", goal, *others])


def blocks_of(X, n_rows, n_calls):
    """Return blocks of rows, one after another, from the start again where there are too few."""
    numbers = np.arange(n_rows * n_calls) % len(X)
    return [np.ascontiguousarray(X[part]) for part in np.split(numbers, n_calls)]


def call_of(timed, session, X) -> dict[str, Callable]:
    """Return the calls that are timed on a block of rows."""
    stage = session.run(["exit_stage"], {"X": X})[0]
    reached = [np.ascontiguousarray(X[stage >= k]) for k in range(len(timed.sessions))]
    own = [
        (member, {"X": rows})
        for member, rows in zip(timed.sessions, reached, strict=True)
        if len(rows)
    ]

    def members():
        for member, feeds in own:
            member.run(None, feeds)

    return {
        "file": lambda: session.run(None, {"X": X}),
        "members": members,
        "last": lambda: timed.sessions[-1].run(None, {"X": X}),
        "python": lambda: timed.cascade.predict_details(X),
    }


def _paired(firsts, seconds, n_repeats):
    """Return the mean over calls of their median CPU seconds, for two series that take turns.

    All calls of a series follow each other, so that none finds its own rows in the caches.
    """
    times = np.empty((2, n_repeats, len(firsts)))
    for turn in range(-1, n_repeats):
        for which, calls in ((0, firsts), (1, seconds))[:: 1 if turn % 2 else -1]:
            for k, call in enumerate(calls):
                start = thread_time()
                call()
                # Turn -1 warms up, and is overwritten.
                times[which, turn, k] = thread_time() - start
    return np.median(times, axis=1).mean(axis=1)


def print_kernels(cascades):
    """Print the kernels that the profiler sees for one row that exits at each stage."""
    print()
    print_header(["cascade", "row exits at stage", "kernels", "in its members", "in later members"])
    for timed in cascades:
        stages = open_file(timed.file).run(["exit_stage"], {"X": timed.X})[0]
        for stage in np.unique(stages).tolist():
            row = int(np.flatnonzero(stages == stage)[0])
            kernels = kernels_of(timed.file, timed.X[row : row + 1])
            inside = [_stage_of(name) for name in kernels]
            run = sum(k is not None and k <= stage for k in inside)
            later = sum(k is not None and k > stage for k in inside)
            print_line(map(str, [timed.title, stage, len(kernels), run, later]))


def kernels_of(content, X):
    """Return the names of the nodes that run for some rows."""
    with TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "profile")
        session = open_file(content, enable_profiling=True, profile_file_prefix=prefix)
        session.run(None, {"X": X})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ending = "_kernel_time"
    return [e["name"].removesuffix(ending) for e in events if e["name"].endswith(ending)]


def _stage_of(name):
    """Return the stage of the member that a node belongs to; None for the routing."""
    prefix, found, _ = name.partition("/member/")
    return int(prefix.rpartition("stage")[2]) if found else None
