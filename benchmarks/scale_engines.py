"""The engines of the benchmark of scale, with one worker or two, and their memory."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits


@contextmanager
def dask_workers(n_workers):
    """Start Dask workers of one thread; yield joblib's options, and a function of their peak."""
    from distributed import Client, LocalCluster

    options = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None}
    # Dask leaves variables set in this process, such as MALLOC_TRIM_THRESHOLD_, which slow down
    # processes that start later.
    settings = dict(os.environ)
    try:
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            yield {"backend": "dask"}, lambda: max(client.run(peak_of_this_process).values())
    finally:
        os.environ.clear()
        os.environ.update(settings)


@contextmanager
def ray_workers(n_workers):
    """Start Ray; yield joblib's options, and no peak, since its workers end with each call."""
    import ray
    from ray.util.joblib import register_ray

    # Messages about workers that joblib ends would break the table.
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=n_workers, **options)
    register_ray()
    try:
        # joblib runs a single job in this process.
        yield (
            {"backend": "ray" if n_workers > 1 else "sequential", "n_jobs": n_workers},
            lambda: None,
        )
    finally:
        ray.shutdown()


@contextmanager
def loky_workers(n_workers):
    """Yield the options of joblib's own processes."""
    yield {"backend": "loky", "n_jobs": n_workers}, lambda: None


FIT_ENGINES = {"loky": loky_workers, "dask": dask_workers, "ray": ray_workers}


@contextmanager
def sampled_memory():
    """Yield a list of this process's memory growth from now on, without that of files."""
    before, growth, stop = kilobytes("RssAnon"), [0], Event()

    def sample():
        while not stop.wait(0.01):
            growth.append(1024 * (kilobytes("RssAnon") - before))

    sampler = Thread(target=sample)
    sampler.start()
    try:
        yield growth
    finally:
        stop.set()
        sampler.join()


def kilobytes(name):
    """Return a memory figure of this process from Linux."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))


def not_installed(engine):
    """Return which package an engine lacks; an empty text if none."""
    needed = {"dask": ("dask", "distributed"), "loky": ()}.get(engine, (engine,))
    absent = [name for name in needed if find_spec(name) is None]
    if engine == "pyspark" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        absent.append("java")
    return f"{absent[0]} is not installed" if absent else ""


def timed(call):
    """Return the seconds of a call, and its result."""
    start = perf_counter()
    result = call()
    return perf_counter() - start, result


def peak_of_this_process():
    """Return the largest resident set so far, in bytes."""
    return 1024 * kilobytes("VmHWM")


def print_load(when, quick):
    """Print the load of the machine, and the gain of a second process that shares nothing."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        list(workers.map(fit_alone, [400, 400]))  # untimed, so that both have their imports
        one, _ = timed(lambda: list(workers.map(fit_alone, [400 if quick else 10_000])))
        two, _ = timed(lambda: list(workers.map(fit_alone, [400 if quick else 10_000] * 2)))
    print(
        f"load at the {when}: {load} on {os.cpu_count()} cores; two processes that share nothing "
        f"do {2 * one / two:.2f} times the work of one\n",
        flush=True,
    )


def fit_alone(n_rows):
    """Fit one member on one thread."""
    with threadpool_limits(1):
        X, y = make_classification(n_rows, 20, n_informative=12, n_classes=5, random_state=0)
        HistGradientBoostingClassifier(max_iter=20, early_stopping=False).fit(X, y)
