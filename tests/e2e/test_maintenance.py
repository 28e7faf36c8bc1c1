"""The weekly upkeep, by the real scheduler: fewer files, the same rows, and nobody beside it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.airflow_client import DagRun
from scripts.lake_digest import read_lake
from tests.e2e.conftest import DAG_ID, Pipeline
from tests.plugins.test_on_embedded_aws import FACT, event

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

MAINTENANCE = "clickstream_maintenance"
HOUR = datetime(2026, 8, 10, 7)
#: Nothing ever arrives on it: its daily run waits for raw objects, deferred.
EMPTY_DAY = date(2026, 8, 20)


def put_small_files(pipeline: Pipeline, hour: datetime) -> str:
    """Three files of an event hour, as three late arrivals may leave them; their folder."""
    folder = f"fact_clicks/year={hour.year}/month={hour.month}/day={hour.day}/hour={hour.hour}/"
    prefix = f"{pipeline.config.prefixes.lake}{folder}"
    for number in range(3):
        rows = [event(10 * number + n, hour) for n in range(5)]
        body = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=FACT), body)
        pipeline.aws.client("s3").put_object(
            Bucket=pipeline.config.buckets.processed,
            Key=f"{prefix}part-{number}.parquet",
            Body=body.getvalue(),
        )
    return prefix


def files(pipeline: Pipeline, prefix: str) -> list[str]:
    s3, bucket = pipeline.aws.client("s3"), pipeline.config.buckets.processed
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in found]


def maintain(pipeline: Pipeline, day: date) -> DagRun:
    return pipeline.client().run(MAINTENANCE, day, timeout=600, report=print)


def test_small_files_become_one_and_no_row_changes(pipeline: Pipeline) -> None:
    prefix = put_small_files(pipeline, HOUR)
    s3 = pipeline.aws.client("s3")
    before = read_lake(pipeline.config, s3)
    run = maintain(pipeline, HOUR.date())
    assert run.state == "success", run.error
    assert len(files(pipeline, prefix)) == 1
    assert read_lake(pipeline.config, s3) == before
    assert files(pipeline, f"{pipeline.config.prefixes.lake}_pending/compact/") == []
    # Nothing is a day old yet. What an erasure left, delete markers of nothing, may go at once.
    path = f"/dags/{MAINTENANCE}/dagRuns/{run.run_id}/taskInstances/expire_objects/xcomEntries"
    gone = pipeline.client().call("GET", f"{path}/return_value?stringify=false")["value"]
    buckets = pipeline.config.buckets
    assert gone.keys() == {buckets.processed, buckets.results, buckets.errors}
    assert {
        count for went in gone.values() for name, count in went.items() if name != "versions"
    } == {0}


def test_compaction_waits_for_a_deferred_task_and_others_wait_for_it(pipeline: Pipeline) -> None:
    put_small_files(pipeline, HOUR + timedelta(hours=1))
    start_daily(pipeline, "before")
    wait_until(lambda: task(pipeline, DAG_ID, "before", "wait_for_raw")["state"] == "deferred")
    ended: list[DagRun] = []
    day = HOUR.date() + timedelta(days=1)
    upkeep = threading.Thread(target=lambda: ended.append(maintain(pipeline, day)))
    upkeep.start()

    def compaction() -> dict[str, Any]:
        runs = pipeline.client().call("GET", f"/dags/{MAINTENANCE}/dagRuns?order_by=-run_after")
        run = next(r for r in runs["dag_runs"] if r["logical_date"].startswith(str(day)))
        return task(pipeline, MAINTENANCE, run["dag_run_id"], "compact_lake")

    time.sleep(5)
    wait_until(lambda: compaction()["state"] == "scheduled")
    time.sleep(5)
    assert compaction()["state"] == "scheduled"
    stop_daily(pipeline, "before")
    wait_until(lambda: compaction()["state"] == "deferred")
    start_daily(pipeline, "after")
    upkeep.join(timeout=600)
    assert [run.state for run in ended] == ["success"], ended
    wait_until(lambda: task(pipeline, DAG_ID, "after", "resolve_interval")["state"] == "success")
    first = task(pipeline, DAG_ID, "after", "resolve_interval")
    stop_daily(pipeline, "after")
    assert compaction()["end_date"] <= first["start_date"]


def start_daily(pipeline: Pipeline, run_id: str) -> None:
    client = pipeline.client()
    client.call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
    run = {"dag_run_id": run_id, "logical_date": None, "conf": {"date": str(EMPTY_DAY)}}
    client.call("POST", f"/dags/{DAG_ID}/dagRuns", run)


def stop_daily(pipeline: Pipeline, run_id: str) -> None:
    pipeline.client().call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", {"state": "failed"})


def task(pipeline: Pipeline, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    return pipeline.client().call("GET", path)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not is_true():
        assert time.monotonic() < deadline, "it did not come true within 240 s"
        time.sleep(0.5)
