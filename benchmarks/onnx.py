"""What one ONNX file for a whole cascade saves, and what its routing adds to its members' time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.onnx_cascades import image_ladder, open_file, table_ladders

# Rows of a call: how many different calls are timed, and how often each, beside Python as well.
ONE, SOME, MANY, ALL = (1, 300, 21, 3), (32, 40, 15, 3), (1000, 5, 9, 5), (10_000, 1, 9, 5)
QUICK = (1, 2, 2, 2), (32, 2, 2, 2)


def run(*, data=None, quick=False):
    """Print what files hold, how long they take, and which kernels run.

    Times are the CPU time of the one thread that works, since other programs would drown what is
    to be seen. What is compared takes turns: each figure is the mean over different calls of the
    median over repetitions.

    Parameters
    ----------
    data : path, default=None
        Folder that holds `cifar10_family`, of which a cascade is timed as well.
    quick : bool, default=False
        Toy size, for the tests.
    """
    with threadpool_limits(1):
        sizes = QUICK if quick else (ONE, SOME, MANY, ALL)
        timed = [(ladder, sizes) for ladder in table_ladders(quick=quick)]
        if data is not None:
            ladder = image_ladder(Path(data) / "cifar10_family")
            timed.append((ladder, QUICK if quick else (ONE, SOME, (len(ladder.X), 1, 9, 5))))
        print_files([ladder for ladder, _ in timed])
        print_times(timed)
        print_kernels([ladder for ladder, _ in timed])
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


def print_files(ladders):
    """Print size and time of the files, and what the exporter says of them."""
    print("| ladder | members | rows that reach them | file | export | load |")
    print("|---|---|---|---|---|---|")
    for ladder in ladders:
        start = perf_counter()
        session = open_file(ladder.file)
        seconds = perf_counter() - start
        stage = session.run(["exit_stage"], {"X": ladder.X})[0]
        reached = " / ".join(f"{np.mean(stage >= k):.2f}" for k in range(len(ladder.sessions)))
        names = " > ".join(name for name, _ in ladder.cascade.estimators)
        print(
            f"| {ladder.title} | {names} | {reached} | {len(ladder.file) / 1e6:.1f} MB "
            f"| {ladder.export_seconds:.1f} s | {seconds:.2f} s |"
        )
    print()
    for ladder in ladders:
        metadata = open_file(ladder.file).get_modelmeta().custom_metadata_map
        print(f"* {ladder.title}: {json.loads(metadata['verification_figures'])['advice']}.")


def print_times(timed):
    """Print the file's time beside its members', the dearest member's and Python's."""
    print(
        "\n| ladder | rows a call | file | its members on the rows that reach them | difference "
        "| ratio | goal | dearest member / file | Python / file |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for ladder, sizes in timed:
        for size in sizes:
            _print_time(ladder, *size)


def _print_time(ladder, n_rows, n_calls, n_repeats, n_in_python):
    """Print one line: a mean over calls of medians over repetitions."""
    session = open_file(ladder.file)
    calls = [call_of(ladder, session, block) for block in blocks_of(ladder.X, n_rows, n_calls)]
    pairs = {"members": n_repeats, "dearest": n_repeats, "python": n_in_python}
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
    cells = " | ".join(f"{value * scale:.1f} {unit}" for value in (file, members, file - members))
    others = " | ".join(f"{times[name][1] / times[name][0]:.2f}" for name in ("dearest", "python"))
    print(
        f"| {ladder.title} | {n_rows:,} | {cells} | {ratio:.3f} | {goal}"
        f"{'' if met else ': missed'} | {others} |",
        flush=True,
    )


def blocks_of(X, n_rows, n_calls):
    """Return blocks of rows, one after another, from the start again where there are too few."""
    numbers = np.arange(n_rows * n_calls) % len(X)
    return [np.ascontiguousarray(X[part]) for part in np.split(numbers, n_calls)]


def call_of(ladder, session, X) -> dict[str, Callable]:
    """Return what is timed on a block of rows, as functions without arguments."""
    stage = session.run(["exit_stage"], {"X": X})[0]
    reached = [np.ascontiguousarray(X[stage >= k]) for k in range(len(ladder.sessions))]
    own = [
        (member, {"X": rows})
        for member, rows in zip(ladder.sessions, reached, strict=True)
        if len(rows)
    ]

    def members():
        for member, feeds in own:
            member.run(None, feeds)

    return {
        "file": lambda: session.run(None, {"X": X}),
        "members": members,
        "dearest": lambda: ladder.sessions[-1].run(None, {"X": X}),
        "python": lambda: ladder.cascade.predict_details(X),
    }


def _paired(firsts, seconds, n_repeats):
    """Return the mean over calls of their median CPU seconds, for two series taken in turns.

    A series is gone through as a whole, so that no call finds the caches warm of its own rows.
    """
    times = np.empty((2, n_repeats, len(firsts)))
    for turn in range(-1, n_repeats):
        for which, calls in ((0, firsts), (1, seconds))[:: 1 if turn % 2 else -1]:
            for place, call in enumerate(calls):
                start = thread_time()
                call()
                # Turn -1 warms up, and is written over.
                times[which, turn, place] = thread_time() - start
    return np.median(times, axis=1).mean(axis=1)


def print_kernels(ladders):
    """Print what the profiler sees for one row that exits at each stage."""
    print("\n| ladder | row exits at stage | kernels | in its members | in later members |")
    print("|---|---|---|---|---|")
    for ladder in ladders:
        stages = open_file(ladder.file).run(["exit_stage"], {"X": ladder.X})[0]
        for stage in np.unique(stages).tolist():
            row = int(np.flatnonzero(stages == stage)[0])
            kernels = kernels_of(ladder.file, ladder.X[row : row + 1])
            inside = [_stage_of(name) for name in kernels]
            run = sum(k is not None and k <= stage for k in inside)
            later = sum(k is not None and k > stage for k in inside)
            print(f"| {ladder.title} | {stage} | {len(kernels)} | {run} | {later} |")


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
    place, found, _ = name.partition("/member/")
    return int(place.rpartition("stage")[2]) if found else None
