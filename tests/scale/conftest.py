"""Engines, a cascade and a table for the tests of scale."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier

WHERE = "an engine of the extra 'scale', which `make test-scale` installs"


def skip_without_java():
    """Skip a test of Spark if there is no Java."""
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java, and there is neither java on the path nor JAVA_HOME")


@pytest.fixture(scope="session")
def rows():
    """Return 2,400 rows of 3 classes, and their labels."""
    return make_classification(
        n_samples=2400, n_features=8, n_informative=6, n_classes=3, random_state=0
    )


@pytest.fixture(scope="session")
def members():
    """Return members with the same predictions wherever they are fitted."""
    return [
        ("nb", GaussianNB()),
        ("trees", ExtraTreesClassifier(20, max_depth=6, random_state=0)),
        ("lr", LogisticRegression(max_iter=1000)),
    ]


@pytest.fixture(scope="session")
def table(rows):
    """Return the rows as a pandas frame with labels y and row numbers."""
    X, y = rows
    frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(X.shape[1])])
    return frame.assign(y=y, id=np.arange(len(y)))


@pytest.fixture(scope="session")
def cascade(table, members):
    """Return a cascade fitted on named columns, with rows at each of its exits."""
    X, y = table.filter(like="x"), table["y"]
    return CascadeClassifier(members, thresholds=[0.9, 0.7], costs=[1, 2, 8]).fit(X[::2], y[::2])


@pytest.fixture(scope="session")
def dask_client():
    """Return a client of two Dask workers, each a process."""
    distributed = pytest.importorskip("distributed", reason=f"distributed is {WHERE}")
    dask = pytest.importorskip("dask", reason=f"dask is {WHERE}")
    # Copies that no task waits for are dropped at once, not every two seconds.
    often = {"distributed.scheduler.active-memory-manager.interval": "10ms"}
    with (
        dask.config.set(often),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit="2GiB"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def ray_pool():
    """Start Ray with two cores, and stop it."""
    ray = pytest.importorskip("ray", reason=f"ray is {WHERE}")
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def spark():
    """Return a session of Spark on two local cores, which tries a task four times."""
    sql = pytest.importorskip("pyspark.sql", reason=f"pyspark is {WHERE}")
    skip_without_java()
    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)
    session = (
        sql.SparkSession.builder.master("local[2,4]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "150")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()
    patch.undo()
