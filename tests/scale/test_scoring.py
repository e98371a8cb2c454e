"""Tests of scoring a table part by part on Dask and Spark, and of the merged report."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator

from sklearn_cascade import CascadeClassifier, PrefitClassifier
from tests.scale.conftest import WHERE
from tests.scale.guide_blocks import run_blocks
from tests.scale.pickling_members import MortalFunction

N_PARTS = 8
FEATURES = [f"x{k}" for k in range(8)]


@pytest.fixture(scope="module")
def expected(cascade, table):
    """Return the predictions of the cascade on one machine, as one table by row number."""
    found = cascade.predict_details(table[FEATURES])
    columns = {f"p_{label}": found.proba[:, label] for label in range(3)}
    rest = {"label": found.label, "exit_stage": found.exit_stage, "cost": found.cost}
    return pd.DataFrame({**columns, **rest}, index=table["id"])


@pytest.fixture
def frame(dask_client, table):
    """Return the table as a Dask frame of parts."""
    frames = pytest.importorskip("dask.dataframe", reason=f"dask is {WHERE}")
    return frames.from_pandas(table, npartitions=N_PARTS)


@pytest.fixture(scope="module")
def spark_table(spark, table):
    """Return the table as a Spark frame of as many parts."""
    return spark.createDataFrame(table).repartition(N_PARTS)


def assert_same(predictions, expected):
    """Check that each row was predicted once, as on one machine."""
    assert sorted(predictions.index) == list(expected.index)
    found = predictions.loc[expected.index, expected.columns]
    # Parts are matrix products of other shapes, so the last digits differ.
    pd.testing.assert_frame_equal(
        found, expected, rtol=1e-9, check_names=False, check_dtype=False, check_index_type=False
    )


def test_dask_frame_is_scored_part_by_part(frame, cascade, expected, tmp_path):
    """Check probabilities, label, exit stage and cost of every row of the files written."""
    run_blocks(
        "predict-part", "dask-frame", frame=frame, cascade=cascade, folder=str(tmp_path / "out")
    )
    written = sorted((tmp_path / "out").glob("*.parquet"))
    assert len(written) == N_PARTS
    assert expected["exit_stage"].value_counts().min() > 50
    assert_same(pd.concat(map(pd.read_parquet, written)), expected)


def test_part_without_rows_has_the_same_columns(frame, cascade, expected, tmp_path):
    """Check a frame that lost all rows of a part to a filter."""
    few = frame[frame["id"] >= 700]
    found = run_blocks(
        "predict-part", "dask-frame", frame=few, cascade=cascade, folder=str(tmp_path / "out")
    )
    assert_same(found["predictions"].compute(), expected.loc[700:])
    assert found["predictions"].get_partition(0).compute().dtypes.equals(found["empty"].dtypes)


def test_dask_array_is_scored_block_by_block(dask_client, table, cascade, expected):
    """Check the columns of the result, for an array with chunks along both axes."""
    arrays = pytest.importorskip("dask.array", reason=f"dask is {WHERE}")
    delayed = pytest.importorskip("dask", reason=f"dask is {WHERE}").delayed
    plain = CascadeClassifier(cascade.estimators, thresholds=[0.9, 0.7], costs=[1, 2, 8])
    plain.fit(table[FEATURES].to_numpy()[::2], table["y"][::2])
    array = arrays.from_array(table[FEATURES].to_numpy(), chunks=(500, 3))
    found = run_blocks("dask-array", array=array, cascade=plain, model=delayed(plain))
    assert found["predictions"].shape == (len(table), 6)
    answers = found["predictions"].compute()
    np.testing.assert_allclose(answers, expected.to_numpy(), rtol=1e-9, atol=1e-12)


def test_spark_frame_is_scored_part_by_part(spark, spark_table, cascade, expected, tmp_path):
    """Check the same of the files that Spark wrote."""
    folder = str(tmp_path / "out")
    run_blocks(
        "predict-part", "spark", spark=spark, table=spark_table, cascade=cascade, folder=folder
    )
    assert_same(pd.read_parquet(folder).set_index("id"), expected)


def test_dask_reports_of_parts_make_one(frame, cascade, table):
    """Check all figures of the merged report against the one of a single machine."""
    found = run_blocks("predict-part", "report-dask", **started_with(frame, cascade))
    assert len(found["others"]) == N_PARTS - 1
    expected = cascade.cost_report(table[FEATURES], table["y"], compare=False)
    assert found["total"].to_dict() == expected.to_dict()


def test_spark_reports_of_batches_make_one(spark, spark_table, cascade, table):
    """Check the same if every batch of a part makes a report."""
    model = spark.sparkContext.broadcast(cascade)
    found = run_blocks("report-spark", table=spark_table, model=model, pd=pd)
    assert len(found["others"]) >= 2 * N_PARTS - 1
    expected = cascade.cost_report(table[FEATURES], table["y"], compare=False)
    assert found["total"].to_dict() == expected.to_dict()


def mortal(cascade, marker, n_calls):
    """Return the cascade with a second member that kills its worker after some calls, once."""
    first, second, third = cascade.estimators_
    dying = MortalFunction(second.predict_proba, marker, n_calls)
    members = [
        ("nb", FrozenEstimator(first)),
        ("trees", PrefitClassifier(dying, cascade.classes_)),
        ("lr", FrozenEstimator(third)),
    ]
    copy = CascadeClassifier(members, thresholds=cascade.thresholds_, costs=cascade.costs_)
    # Members that are frozen are not fitted.
    return copy.fit(np.zeros((3, 8)), cascade.classes_)


def test_killed_dask_worker_costs_no_row(frame, cascade, expected, tmp_path):
    """Check all predictions if a worker dies in the middle of the table."""
    dying, folder = mortal(cascade, tmp_path / "died", 2), tmp_path / "out"
    run_blocks("predict-part", "dask-frame", frame=frame, cascade=dying, folder=str(folder))
    assert (tmp_path / "died").exists()
    assert_same(pd.read_parquet(folder), expected)


def test_killed_dask_worker_counts_no_row_twice(frame, cascade, table, tmp_path):
    """Check the merged report if a worker dies in the middle of the table."""
    dying = mortal(cascade, tmp_path / "died", 2)
    found = run_blocks("predict-part", "report-dask", **started_with(frame, dying))
    assert (tmp_path / "died").exists()
    expected = cascade.cost_report(table[FEATURES], table["y"], compare=False)
    assert found["total"].to_dict() == expected.to_dict()


def test_killed_spark_task_costs_no_row(spark, spark_table, cascade, expected, tmp_path):
    """Check all predictions if a task dies after the first batch of its part."""
    dying, folder = mortal(cascade, tmp_path / "died", 1), str(tmp_path / "out")
    run_blocks(
        "predict-part", "spark", spark=spark, table=spark_table, cascade=dying, folder=folder
    )
    assert (tmp_path / "died").exists()
    assert_same(pd.read_parquet(folder).set_index("id"), expected)


def test_killed_spark_task_counts_no_row_twice(spark, spark_table, cascade, table, tmp_path):
    """Check the merged report if a task dies after the report of its first batch."""
    model = spark.sparkContext.broadcast(mortal(cascade, tmp_path / "died", 1))
    found = run_blocks("report-spark", table=spark_table, model=model, pd=pd)
    assert (tmp_path / "died").exists()
    expected = cascade.cost_report(table[FEATURES], table["y"], compare=False)
    assert found["total"].to_dict() == expected.to_dict()


def started_with(frame, cascade):
    """Return the names that the block of Dask's frames defines, without writing a file."""
    dask = pytest.importorskip("dask", reason=f"dask is {WHERE}")
    return {"dask": dask, "frame": frame, "cascade": cascade, "model": dask.delayed(cascade)}
