"""AutoGluon for the comparison with peers, run by the Python of an environment of its own.

That Python runs this file as a program, which imports nothing else of this repository.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np

BATCH = 1000


def methods(task, python):
    """Yield AutoGluon's methods: its default ensemble, and one with a time limit."""
    from benchmarks.peers_tasks import SHARE, Method

    limit = float(SHARE * task.micros.sum())
    yield Method("AutoGluon, LR + GBM + XT", lambda task: _fit(task, python, None))
    yield Method("AutoGluon, infer_limit", lambda task: _fit(task, python, limit))


def _fit(task, python, limit):
    """Let AutoGluon fit, predict the test rows and time itself; `limit` is in µs per row."""
    from benchmarks.peers_tasks import Fitted, within_micros

    with tempfile.TemporaryDirectory() as folder:
        X, y = (np.concatenate(parts) for parts in zip(task.train, task.tune, strict=True))
        np.savez(Path(folder, "rows.npz"), X=X, y=y, X_test=task.test[0])
        command = [python, str(Path(__file__).resolve()), folder, json.dumps(limit)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **threads}
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        found = json.loads(Path(folder, "figures.json").read_text())
        predictions = dict(np.load(Path(folder, "predictions.npz")))
    guarantee = None if limit is None else within_micros(limit)
    return Fitted(
        lambda X: predictions["labels"],
        lambda X: predictions["proba"],
        found["claimed"],
        guarantee,
        paid=lambda X: found["micros"],
        unit="µs",
        micros=found["micros"],
        seconds=found["seconds"],
        note="own members: " + " + ".join(found["models"]),
    )


def main(folder, limit):
    """Fit on the rows in a folder, and write predictions and figures to it."""
    import pandas as pd
    from autogluon.tabular import TabularPredictor

    rows = np.load(Path(folder, "rows.npz"))
    names = [f"x{k}" for k in range(rows["X"].shape[1])]
    train = pd.DataFrame(rows["X"], columns=names).assign(label=rows["y"])
    test = pd.DataFrame(rows["X_test"], columns=names)
    options = {} if limit is None else {"infer_limit": limit / 1e6, "infer_limit_batch_size": BATCH}
    predictor = TabularPredictor("label", path=str(Path(folder, "fit")), verbosity=0)
    start = process_time()
    predictor.fit(train, hyperparameters={"LR": {}, "GBM": {}, "XT": {}}, num_cpus=1, **options)
    seconds = process_time() - start
    kept = predictor.persist()
    proba = predictor.predict_proba(test).to_numpy()
    best = predictor.model_best
    leaderboard = predictor.leaderboard().set_index("model")
    n_val = len(predictor.load_data_internal("val")[1])
    figures = {
        "seconds": seconds,
        "micros": _micros(predictor, test),
        "claimed": float(leaderboard.loc[best, "pred_time_val"]) / n_val * 1e6,
        "models": sorted({*kept} - {best}) or [best],
    }
    labels = predictor.predict(test).to_numpy()
    np.savez(Path(folder, "predictions.npz"), labels=labels, proba=proba)
    Path(folder, "figures.json").write_text(json.dumps(figures))


def _micros(predictor, test):
    """Return the median microseconds per row, all rows at once."""
    times = []
    for _ in range(5):
        start = process_time()
        predictor.predict(test)
        times.append(process_time() - start)
    return median(times) / len(test) * 1e6


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
