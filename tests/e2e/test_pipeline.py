"""The DAG from raw objects to the warehouse: real operators, real engines, a real scheduler.

Each test has an arrival day of its own, whose events happen on that day and the day before, so
that no test rewrites another's event hours.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickstream.model_run import WAREHOUSE_TABLES

from scripts.airflow_client import DagRun
from scripts.lake_digest import read_lake
from tests.conftest import ROOT
from tests.e2e.conftest import Pipeline, Row
from tests.glue import model_oracle
from tests.glue.oracle import expected

pytestmark = pytest.mark.timeout(1800)

DIRTY_DAY = date(2026, 3, 10)
RAISING_DAY = date(2026, 4, 10)
DOUBLED_DAY = date(2026, 5, 10)


def raw_objects(day: date, events: int, seed: int) -> dict[str, bytes]:
    """Dirty traffic of the 24 hours before 06:00 on `day`, in three arrivals of that day."""
    end = datetime(day.year, day.month, day.day, 6, tzinfo=UTC)
    traffic = subprocess.run(
        [
            *(sys.executable, "-m", "producer", "--sink", "stdout", "--dirty"),
            *("--events", str(events), "--seed", str(seed)),
            *("--start", (end - timedelta(days=1)).isoformat(), "--end", end.isoformat()),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.splitlines(keepends=True)
    third = len(traffic) // 3
    parts = [traffic[:third], traffic[third : 2 * third], traffic[2 * third :]]
    # A part of the second arrival comes once more in the third: Firehose delivers at least once.
    parts[2] += parts[1][:100]
    return {
        f"clickstream/{day:year=%Y/month=%m/day=%d}/hour={hour:02}/part-{hour}.gz": gzip.compress(
            b"".join(lines), mtime=0
        )
        for hour, lines in zip((6, 7, 9), parts, strict=True)
    }


def of_day(rows: list[Row], day: date) -> list[Row]:
    """The rows that arrived on `day`."""
    return [row for row in rows if row["arrived_at"].date() == day]


def comparable(row: Row, columns: list[str]) -> str:
    values: dict[str, Any] = {name: row[name] for name in columns}
    if values.get("metadata") is not None:
        values["metadata"] = sorted(dict(values["metadata"]).items())
    if values.get("price") is not None:
        values["price"] = f"{values['price']:.4f}"
    for name in ("event_timestamp", "arrived_at"):
        if name in values:
            values[name] = values[name].replace(tzinfo=None).isoformat()
    return json.dumps(values, default=str, sort_keys=True)


def redshift_day(pipeline: Pipeline, day: date) -> list[list[Any]]:
    return pipeline.redshift(
        "SELECT event_id, event_timestamp, event_type, user_id, price, source_object, source_line "
        f"FROM clickstream.fact_clicks WHERE trunc(arrived_at) = '{day}' ORDER BY 1, 2"
    )


@pytest.fixture(scope="module")
def dirty_day(pipeline: Pipeline) -> dict[str, bytes]:
    """A day of dirty traffic, cleaned and loaded."""
    objects = raw_objects(DIRTY_DAY, events=3000, seed=7)
    pipeline.put_raw(objects)
    run = pipeline.run(DIRTY_DAY)
    assert run.state == "success", run.error
    return objects


def test_dirty_traffic_becomes_exactly_the_rows_that_plain_python_expects(
    pipeline: Pipeline, dirty_day: dict[str, bytes]
) -> None:
    start = datetime(DIRTY_DAY.year, DIRTY_DAY.month, DIRTY_DAY.day, tzinfo=UTC)
    oracle = expected(dirty_day, [(start, start + timedelta(days=1))])
    facts = of_day(pipeline.facts(), DIRTY_DAY)
    columns = sorted(set(oracle.facts[0]) & set(facts[0]))
    assert {"event_id", "event_timestamp", "price", "metadata", "source_line"} <= set(columns)
    assert sorted(comparable(row, columns) for row in facts) == sorted(
        comparable(row, columns) for row in oracle.facts
    )
    rejected = ["reason", "raw_bytes", "source_object", "source_line"]
    assert sorted(
        comparable(row, rejected) for row in of_day(pipeline.quarantine(), DIRTY_DAY)
    ) == sorted(comparable(row, rejected) for row in oracle.quarantine)


def test_every_line_is_accounted_for_and_both_engines_agree(
    pipeline: Pipeline, dirty_day: dict[str, bytes]
) -> None:
    (ledger,) = [
        row
        for row in pipeline.lake(pipeline.config.buckets.processed, "lake/pipeline_runs/")
        if row["interval_start"].date() == DIRTY_DAY
    ]
    lines = sum(gzip.decompress(body).count(b"\n") for body in dirty_day.values())
    assert ledger["line_count"] == lines
    assert ledger["residual"] == 0
    assert lines == sum(
        ledger[f"{kind}_count"]
        for kind in ("loaded", "duplicate", "quarantined", "blank", "erased")
    )
    facts = of_day(pipeline.facts(), DIRTY_DAY)
    loaded = redshift_day(pipeline, DIRTY_DAY)
    assert ledger["loaded_count"] == len(facts) == len(loaded) > 0
    assert sorted(row["event_id"] for row in facts) == [row[0] for row in loaded]


def test_the_model_of_the_day_is_what_plain_python_expects_and_redshift_has_it(
    pipeline: Pipeline, dirty_day: dict[str, bytes]
) -> None:
    wanted = model_oracle.expected(of_day(pipeline.facts(), DIRTY_DAY))
    days = {str(DIRTY_DAY), str(DIRTY_DAY - timedelta(days=1))}
    for table in ("fact_sessions", "users_daily", "engagement_hourly", "page_paths_daily"):
        found = [row for row in pipeline.table(table) if day_of(row) in days]
        expected_rows = [row for row in wanted[table] if day_of(row) in days]
        assert len(found) > 20
        assert sorted(map(plain, found)) == sorted(map(plain, expected_rows)), table
    for table in WAREHOUSE_TABLES:
        ((count,),) = pipeline.redshift(f"SELECT count(*) FROM clickstream.{table}")
        assert count == len(pipeline.table(table)) > 0, table
    ((sessions,),) = pipeline.redshift(
        "SELECT sum(session_count) FROM clickstream.channel_kpis_daily"
    )
    assert int(sessions) == sum(not row["is_bot"] for row in pipeline.table("fact_sessions"))


def day_of(row: Row) -> str:
    parts = [row[name] for name in ("year", "month", "day")] if "year" in row else [row["day"]]
    return "-".join(f"{part:02}" if isinstance(part, int) else part for part in parts)


def plain(row: Row) -> str:
    def text(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat()
        return f"{value:f}" if isinstance(value, Decimal) else value

    return json.dumps({name: text(row[name]) for name in sorted(row)})


def test_no_personal_field_leaves_raw(pipeline: Pipeline, dirty_day: dict[str, bytes]) -> None:
    text = json.dumps(of_day(pipeline.facts(), DIRTY_DAY), default=str)
    raw = b"".join(gzip.decompress(body) for body in dirty_day.values())
    addresses = {
        json.loads(line)["ip_address"]
        for line in raw.splitlines()
        if line.startswith(b"{")
        and b'"ip_address":"' in line
        and line.endswith(b"}")
        and is_json(line)
    }
    assert len(addresses) > 10
    assert "Mozilla/" not in text
    assert not [address for address in addresses if address in text]


def is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def test_the_report_is_one_page_that_needs_no_network(
    pipeline: Pipeline, dirty_day: dict[str, bytes]
) -> None:
    page = (pipeline.reports / f"{DIRTY_DAY}.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_a_cleared_run_leaves_identical_rows_though_the_embedded_aws_is_killed_in_it(
    pipeline: Pipeline, dirty_day: dict[str, bytes]
) -> None:
    def everything() -> Any:
        lake = read_lake(pipeline.config, pipeline.aws.client("s3"))
        return *lake, redshift_day(pipeline, DIRTY_DAY)

    before = everything()
    assert before[0].keys() >= {"fact_clicks", "quarantine", *WAREHOUSE_TABLES}
    ended: list[DagRun] = []
    run = threading.Thread(target=lambda: ended.append(pipeline.run(DIRTY_DAY)))
    run.start()
    wait_for_running_job(pipeline)
    pipeline.aws.kill()
    time.sleep(1)
    pipeline.aws.command("start")
    run.join(timeout=600)
    assert [end.state for end in ended] == ["success"], ended
    assert everything() == before


def wait_for_running_job(pipeline: Pipeline) -> None:
    glue = pipeline.aws.client("glue")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = glue.get_job_runs(JobName=pipeline.config.glue.clean_job)["JobRuns"]
        if any(run["JobRunState"] == "RUNNING" for run in runs):
            return
        time.sleep(0.2)
    raise AssertionError("the Glue job did not start within 120 s")


@contextlib.contextmanager
def replaced_script(
    pipeline: Pipeline, text: str | bytes, name: str = "clean_events.py"
) -> Iterator[None]:
    """The Glue job runs another script, or has another package, for a while."""
    s3, bucket = pipeline.aws.client("s3"), pipeline.config.buckets.artifacts
    key = f"{pipeline.config.prefixes.scripts}{name}"
    original = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    # The tags are Terraform's, which would miss them.
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    s3.put_object(Bucket=bucket, Key=key, Body=text)
    try:
        yield
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=original)
        s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tags})


def test_a_glue_script_that_raises_fails_the_run_with_its_message(pipeline: Pipeline) -> None:
    pipeline.put_raw(raw_objects(RAISING_DAY, events=50, seed=8))
    with replaced_script(pipeline, "raise ValueError('the price list is upside down')\n"):
        run = pipeline.run(RAISING_DAY)
    assert run.state == "failed"
    assert run.error.startswith("clean_events")
    assert "ValueError: the price list is upside down" in run.error
    assert redshift_day(pipeline, RAISING_DAY) == []


def test_a_failed_check_stops_the_run_before_the_warehouse(pipeline: Pipeline) -> None:
    """A row that a broken writer left twice in an hour which the run touches."""
    pipeline.put_raw(raw_objects(DOUBLED_DAY, events=300, seed=9))
    with replaced_script(pipeline, doubling_script()):
        run = pipeline.run(DOUBLED_DAY)
    assert run.state == "failed"
    assert run.error.startswith("check_events"), run.error
    assert "event_id" in run.error
    assert redshift_day(pipeline, DOUBLED_DAY) == []


def doubling_script() -> str:
    """The real job, after which one file of the lake is written once more under another name."""
    real = (ROOT / "glue" / "clean_events.py").read_text().replace("    main()\n", "    double()\n")
    return real.replace(
        'if __name__ == "__main__":',
        """def double() -> None:
    main()
    import boto3

    s3, job = boto3.client("s3"), read_arguments(sys.argv[1:])
    bucket, _, prefix = job.facts.removeprefix("s3://").partition("/")
    start = job.interval_start
    hour = f"{prefix}year={start.year}/month={start.month}/day={start.day}/"
    key = s3.list_objects_v2(Bucket=bucket, Prefix=hour)["Contents"][0]["Key"]
    folder = key.rpartition("/")[0]
    s3.copy_object(Bucket=bucket, Key=f"{folder}/again.parquet", CopySource=f"{bucket}/{key}")


if __name__ == "__main__":""",
    )
