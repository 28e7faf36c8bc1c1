"""The weekly upkeep, by the real scheduler: fewer files, the same rows, and nobody beside it."""

from __future__ import annotations

import io
import threading
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import pytest

from scripts.airflow_client import DagRun
from tests.e2e.conftest import DAG_ID, Pipeline
from tests.e2e.test_pipeline import digest, of_day, raw_objects, redshift_day, wait_for_running_job

pytestmark = pytest.mark.timeout(900)

MAINTENANCE = "clickstream_maintenance"
DAY = date(2026, 8, 10)


@pytest.fixture(scope="module")
def small_files(pipeline: Pipeline) -> int:
    """A cleaned day whose files have been cut into pieces; how many files its facts have now."""
    pipeline.put_raw(raw_objects(DAY, events=300, seed=11))
    run = pipeline.run(DAY)
    assert run.state == "success", run.error
    s3, bucket = pipeline.aws.client("s3"), pipeline.config.buckets.processed
    for key in keys(pipeline):
        table = pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
        for piece in range(3):
            body = io.BytesIO()
            pq.write_table(table.take(range(piece, table.num_rows, 3)), body)
            name = key.replace("part-", f"part-{piece}-")
            s3.put_object(Bucket=bucket, Key=name, Body=body.getvalue())
        s3.delete_object(Bucket=bucket, Key=key)
    return len(keys(pipeline))


def keys(pipeline: Pipeline) -> list[str]:
    """The files of the day's event hours."""
    s3, bucket = pipeline.aws.client("s3"), pipeline.config.buckets.processed
    prefix = f"{pipeline.config.prefixes.lake}fact_clicks/year={DAY.year}/month={DAY.month}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def maintain(pipeline: Pipeline) -> DagRun:
    form = {"is_dry_run": False}
    run = pipeline.client.run(MAINTENANCE, DAY, form, timeout=600, report=print)
    assert run.state == "success", run.error
    return run


def tasks(pipeline: Pipeline, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=200"
    return pipeline.client.call("GET", path)["task_instances"]


def test_small_files_become_few_and_no_row_changes(pipeline: Pipeline, small_files: int) -> None:
    hours = {key.rpartition("/")[0] for key in keys(pipeline)}
    assert small_files == 3 * len(hours) > 3
    before = digest(pipeline.facts()), digest(pipeline.quarantine())
    run = maintain(pipeline)
    assert len(keys(pipeline)) == len(hours)
    assert (digest(pipeline.facts()), digest(pipeline.quarantine())) == before
    # Nothing is a day old yet, so the rules of no bucket ask for anything.
    path = f"/dags/{MAINTENANCE}/dagRuns/{run.run_id}/taskInstances/expire_objects/xcomEntries"
    gone = pipeline.client.call("GET", f"{path}/return_value?stringify=false")["value"]
    buckets = pipeline.config.buckets
    assert gone.keys() == {buckets.processed, buckets.results, buckets.errors}
    assert {sum(expired.values()) for expired in gone.values()} == {0}


def test_a_daily_run_and_the_compaction_wait_for_each_other(
    pipeline: Pipeline, small_files: int
) -> None:
    before = digest(pipeline.facts()), redshift_day(pipeline, DAY)
    ended: list[DagRun] = []
    daily = threading.Thread(target=lambda: ended.append(pipeline.run(DAY)))
    daily.start()
    wait_for_running_job(pipeline)  # its task is deferred, and still holds its slot
    upkeep = maintain(pipeline)
    daily.join(timeout=600)
    assert [run.state for run in ended] == ["success"], ended
    (compaction,) = (
        task
        for task in tasks(pipeline, MAINTENANCE, upkeep.run_id)
        if task["task_id"] == "compact_lake"
    )
    others = tasks(pipeline, DAG_ID, ended[0].run_id)
    assert len(others) > 10
    beside = [
        task["task_id"]
        for task in others
        if task["start_date"] < compaction["end_date"]
        and compaction["start_date"] < task["end_date"]
    ]
    assert beside == []
    assert (digest(pipeline.facts()), redshift_day(pipeline, DAY)) == before
    assert len(of_day(pipeline.facts(), DAY)) == len(before[1])
