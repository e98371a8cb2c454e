"""sklearn-cascade against peers on the same rows and members, in one run; losses stay in."""

from __future__ import annotations

import argparse
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import (
    peers_autogluon,
    peers_bargain,
    peers_fallback,
    peers_lightgbm,
    peers_mapie,
    peers_ours,
    peers_sklearn,
)
from benchmarks.forests import log_loss
from benchmarks.peers_tasks import Fitted, Method, Outcome, make_tasks

PEERS = {
    "scikit-fallback": peers_fallback,
    "MAPIE": peers_mapie,
    "BARGAIN": peers_bargain,
    "LightGBM": peers_lightgbm,
}
HEADER = (
    "data set",
    "method",
    "accuracy",
    "log loss",
    "cost paid",
    "cost claimed",
    "asked",
    "got",
    "fit, s",
    "predict, µs a row",
    "failures and notes",
)
HOW = """\
All methods get the same fitted members, frozen, the same rows to tune and the same rows to test, on
one thread. AutoGluon fits members of its own, of the same three kinds, on the rows to train and to
tune together; the lines with LightGBM in their name share one LightGBM model. Grids have ten levels
for each threshold, scikit-fallback's default; this package tries 64.

- cost paid: the test rows that each member predicted, counted, times its cost. Costs in µs are the
  members' own times in this run, credits are made-up prices. For LightGBM, rounds of boosting,
  counted by a replay that has to give the same scores; for AutoGluon, its own time. Costs are those
  of average rows in a full batch, so a cascade may take longer than it pays.
- cost claimed: the method's own estimate, if it gives one; for AutoGluon the time of its
  leaderboard on validation rows.
- asked and got: the limit, and the figure on the test rows, ± half a 95 % interval; **missed** if
  the interval is beyond the limit, too. What is certified or controlled holds with probability 0.9
  over draws of the rows to tune, and a line is one draw.
- fit: the time that a method adds to members that are fitted already. predict: all test rows in one
  call, the median of five in turns. Both are processor times on one thread, so that other work on
  the machine does not count.
- log loss: zeros become 1e-6.
"""
# A method that needs more seconds to predict the test rows is timed once.
SLOW = 2.0


def add_arguments(command):
    """Add the options that only this benchmark has to its command line."""
    command.add_argument("--out", type=Path, help="file for the table, besides the screen")
    command.add_argument("--autogluon", metavar="PYTHON", help="python that has autogluon.tabular")


def run(*, quick=False, out=None, autogluon=None):
    """Print the members of each data set, then a line for each method on each of them."""
    lines = []

    def write(text=""):
        lines.append(text)
        print(text, flush=True)

    with threadpool_limits(1):
        write(HOW)
        tasks = list(make_tasks(quick))
        for task in tasks:
            write(_describe(task))
        write()
        write(f"| {' | '.join(HEADER)} |")
        write(f"|{'---|' * len(HEADER)}")
        for task in tasks:
            for line in _compare(task, 1 if quick else 5, autogluon):
                write(line)
        for name, install in _missing(autogluon):
            write(f"| all | {name} |{' - |' * 8} not installed: {install} |")
    if out is not None:
        Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _describe(task):
    """Return a line about a task."""
    sizes = " / ".join(f"{len(part[1]):,}" for part in (task.train, task.tune, task.test))
    costs = ", ".join(
        f"{name} {cost:.3g}" for (name, _), cost in zip(task.members, task.costs, strict=True)
    )
    n_classes = len(np.unique(task.train[1]))
    return (
        f"- {task.name}: {n_classes} classes, {sizes} rows to train, tune and test; a row costs "
        f"{costs} {task.unit}; budget {task.budget:.3g}"
    )


def _missing(autogluon):
    """Yield the peers that are not installed, and how to install them."""
    for name, peer in PEERS.items():
        if find_spec(peer.PACKAGE) is None:
            yield name, f"`pip install 'sklearn-cascade[{peer.EXTRA}]'`"
    if autogluon is None:
        yield (
            "AutoGluon",
            "`pip install autogluon.tabular lightgbm` elsewhere, then `--autogluon PYTHON`",
        )


def _methods(task, autogluon):
    """Yield the methods for one data set."""
    yield from peers_sklearn.methods(task)
    yield from peers_ours.methods(task)
    for peer in PEERS.values():
        if find_spec(peer.PACKAGE) is not None:
            # Imported here, so that no fit pays for it; a failure is reported where it is used.
            with suppress(ImportError):
                import_module(peer.PACKAGE)
            yield from peer.methods(task)
    if autogluon is not None:
        yield from peers_autogluon.methods(task, autogluon)


@dataclass
class Line:
    """The figures of one method on one data set."""

    method: Method
    fitted: Fitted | None = None
    seconds: float = 0.0
    labels: np.ndarray | None = None
    proba: np.ndarray | None = None
    paid: tuple = (np.nan, 0.0)
    times: list = field(default_factory=list)
    notes: list = field(default_factory=list)


def _compare(task, n_turns, autogluon):
    """Let all methods fit and predict once, then time them in turns; yield their lines."""
    found = [Line(method) for method in _methods(task, autogluon)]
    for line in found:
        with warnings.catch_warnings(record=True) as caught, _silence():
            warnings.simplefilter("always")
            try:
                _try(line, task)
            except Exception as error:  # any error is a result
                line.fitted = None
                line.notes.append(f"{type(error).__name__}: {error}")
        line.notes = line.notes or _notes_of(caught)
    timed = [line for line in found if line.fitted is not None and line.fitted.micros is None]
    for _ in range(n_turns - 1):
        for line in timed:
            if line.times[0] < SLOW:
                with warnings.catch_warnings(), _silence():
                    warnings.simplefilter("ignore")
                    start = process_time()
                    line.fitted.predict(task.test[0])
                    line.times.append(process_time() - start)
    for line in found:
        yield _format(line, task)


@contextmanager
def _silence():
    """Keep the output of peers out of the table."""
    with redirect_stdout(StringIO()) as sink, redirect_stderr(sink):
        yield


def _try(line, task):
    """Fit and predict, counting the cost that is paid."""
    X = task.test[0]
    start = process_time()
    line.fitted = line.method.fit(task)
    line.seconds = process_time() - start
    task.reset_counts()
    start = process_time()
    line.labels = np.asarray(line.fitted.predict(X))
    line.times.append(process_time() - start)
    line.paid = (line.fitted.paid(X), 0.0) if line.fitted.paid else task.paid(len(X))
    if line.fitted.predict_proba is not None:
        line.proba = np.asarray(line.fitted.predict_proba(X))
    if line.fitted.note:
        line.notes.append(line.fitted.note)


def _notes_of(caught):
    """Return the first warning of each kind that is about the result."""
    others = DeprecationWarning | FutureWarning | ResourceWarning
    first = {w.category: w.message for w in reversed(caught) if not issubclass(w.category, others)}
    return [f"{kind.__name__}: {text}" for kind, text in first.items()]


def _format(line, task):
    """Return one line of the table."""
    notes = "; ".join(_short(note) for note in line.notes) or "-"
    if line.fitted is None:
        return f"| {task.name} | {line.method.name} |{' - |' * 8} {notes} |"
    fitted, truth = line.fitted, task.test[1]
    micros = fitted.micros or median(line.times) / len(truth) * 1e6
    unit = fitted.unit or task.unit
    asked, got = "-", "-"
    if fitted.guarantee is not None:
        outcome = Outcome(line.labels, truth, line.paid, micros)
        asked, got = fitted.guarantee.text, fitted.guarantee.describe(outcome)
    cells = (
        task.name,
        line.method.name,
        f"{np.mean(line.labels == truth):.4f}",
        "-" if line.proba is None else f"{log_loss(line.proba, truth):.3f}",
        f"{line.paid[0]:.4g} {unit}",
        "-" if fitted.claimed is None else f"{fitted.claimed:.4g} {unit}",
        asked,
        got,
        f"{line.seconds if fitted.seconds is None else fitted.seconds:.2f}",
        f"{micros:.3g}",
        notes,
    )
    return f"| {' | '.join(cells)} |"


def _short(text):
    """Return a note on one line, cut to a cell."""
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= 110 else f"{text[:107]}..."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="toy size, for the tests")
    add_arguments(parser)
    run(**vars(parser.parse_args()))
