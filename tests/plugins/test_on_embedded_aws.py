"""The checks and the load against real engines: a small lake in an embedded AWS of its own."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickstream import agreement, engines, ledger, partitions, quality
from clickstream.config import Config
from clickstream.interval import Interval, hours_predicate

from tests.conftest import EmbeddedAws

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime(2026, 11, 20)
SEVEN, EIGHT = DAY + timedelta(hours=7), DAY + timedelta(hours=8)
INTERVAL = Interval(DAY.replace(tzinfo=UTC), DAY.replace(tzinfo=UTC) + timedelta(days=1), DAY)

FACT = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id",)),
        ("is_event_id_derived", pa.bool_()),
        *((name, pa.string()) for name in ("event_type", "event_category")),
        ("event_timestamp", pa.timestamp("us")),
        *(
            (name, pa.string())
            for name in (
                *("user_id", "anonymous_id", "session_id", "page", "page_url", "referrer_url"),
                *("product_id", "device_type", "browser", "location", "user_type"),
            )
        ),
        ("price", pa.decimal128(18, 4)),
        ("quantity", pa.int32()),
        *((name, pa.string()) for name in ("currency", "order_id")),
        *((f"agent_{name}", pa.string()) for name in ("browser", "os", "device")),
        *((name, pa.bool_()) for name in ("is_bot", "is_clock_skewed")),
        ("metadata", pa.map_(pa.string(), pa.string())),
        ("payload_hash", pa.int64()),
        ("arrived_at", pa.timestamp("us")),
        ("source_object", pa.string()),
        ("source_line", pa.int64()),
        ("processed_timestamp", pa.timestamp("us")),
    ]
)
QUARANTINE = pa.schema(
    [
        *((name, pa.string()) for name in ("reason", "detail", "source_object")),
        ("raw_bytes", pa.binary()),
        ("source_line", pa.int64()),
        *((name, pa.timestamp("us")) for name in ("arrived_at", "processed_timestamp")),
    ]
)
LEDGER = pa.schema(
    [
        *((name, pa.string()) for name in ("run_id", "job_name")),
        *(
            (name, pa.timestamp("us"))
            for name in ("interval_start", "interval_end", "started_at", "ended_at")
        ),
        *(
            (name, pa.int64())
            for name in (
                *("object_count", "line_count", "loaded_count", "duplicate_count"),
                *("quarantined_count", "blank_count", "erased_count", "displaced_count"),
                "residual",
            )
        ),
        ("quarantined_by_reason", pa.map_(pa.string(), pa.int64())),
        ("touched_hours", pa.list_(pa.timestamp("us"))),
    ]
)


def event(number: int, hour: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "is_event_id_derived": False,
        "event_type": "view",
        "event_category": "browse",
        "event_timestamp": hour + timedelta(minutes=number % 60),
        "user_id": f"u{number % 3}",
        "is_bot": False,
        "is_clock_skewed": False,
        "metadata": {"campaign": 'a "quoted" one'},
        "payload_hash": number,
        "arrived_at": SEVEN,
        "source_object": "clickstream/year=2026/month=11/day=20/hour=07/part-0.gz",
        "source_line": number + 1,
        "processed_timestamp": DAY,
        **changes,
    }


@dataclass
class Lake:
    aws: EmbeddedAws
    config: Config

    def put(self, key: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
        self.aws.client("s3").put_object(
            Bucket=self.config.buckets.processed,
            Key=f"{self.config.prefixes.lake}{key}",
            Body=buffer.getvalue(),
        )

    def put_hour(self, hour: datetime, rows: list[dict[str, Any]]) -> None:
        folder = f"year={hour.year}/month={hour.month}/day={hour.day}/hour={hour.hour}"
        self.put(f"fact_clicks/{folder}/part-0.parquet", rows, FACT)

    def repair(self, table: str) -> None:
        athena = self.aws.client("athena")
        query = athena.start_query_execution(
            QueryString=engines.render(self.config, f"athena/{table}/repair.sql"),
            WorkGroup=self.config.athena.workgroup,
        )["QueryExecutionId"]
        while True:
            status = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                assert status["State"] == "SUCCEEDED", status
                return
            time.sleep(0.05)

    def load(self, hours: list[datetime]) -> None:
        """The DAG's load of fact_clicks: its files, in its order, as one batch."""
        names = ("serialize_maps", "delete", "insert")
        touched = hours_predicate(hours)
        data = self.aws.client("redshift-data")
        statement = data.batch_execute_statement(
            WorkgroupName=self.config.redshift.workgroup,
            Database=self.config.redshift.database,
            Sqls=[
                engines.render(self.config, file, ti=None, touched_hours=lambda ti: touched)
                for file in (f"redshift/fact_clicks/{name}.sql" for name in names)
            ],
        )["Id"]
        while (found := data.describe_statement(Id=statement))["Status"] != "FINISHED":
            assert found["Status"] not in ("FAILED", "ABORTED"), found["Error"]
            time.sleep(0.05)

    def warehouse(self, sql: str, tmp_path: Path) -> list[tuple[Any, ...]]:
        (tmp_path / "query.sql").write_text(sql)
        settings = {"CLICKSTREAM_SQL_FOLDER": str(tmp_path)}
        rows = engines.redshift_rows(Config.from_environment(settings), "query.sql")
        return [tuple(row.values()) for row in rows]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    aws = EmbeddedAws(tmp_path_factory.mktemp("localaws"))
    with pytest.MonkeyPatch.context() as environment:
        extra = {"region_name": aws.region, "endpoint_url": aws.endpoint}
        connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
        environment.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        environment.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        aws.command("start")
        try:
            aws.command("provision")
            lake = Lake(aws, Config.from_environment({"CLICKSTREAM_POLL_SECONDS": "1"}))
            lake.put_hour(SEVEN, [event(n, SEVEN) for n in range(10)])
            lake.put_hour(EIGHT, [event(n, EIGHT) for n in range(100, 104)])
            entry = {
                "run_id": "jr_1",
                "job_name": "clean",
                "object_count": 1,
                "line_count": 16,
                "loaded_count": 14,
                "duplicate_count": 1,
                "quarantined_count": 0,
                "blank_count": 1,
                "erased_count": 0,
                "displaced_count": 0,
                "residual": 0,
                "quarantined_by_reason": {},
                "touched_hours": [EIGHT, SEVEN],
            }
            lake.put("pipeline_runs/day=2026-11-20/part-0.parquet", [entry], LEDGER)
            lake.repair("pipeline_runs")
            lake.repair("fact_clicks")
            yield lake
        finally:
            aws.command("stop")


@pytest.fixture
def entry(lake: Lake) -> ledger.LedgerEntry:
    return ledger.read_ledger(lake.config, INTERVAL, "jr_1")


def test_the_ledger_is_read_with_its_touched_hours(entry: ledger.LedgerEntry) -> None:
    assert (entry.line_count, entry.loaded_count, entry.residual) == (16, 14, 0)
    assert entry.hours == ["2026-11-20T07", "2026-11-20T08"]
    assert entry.touched_hours == hours_predicate([SEVEN, EIGHT])
    assert ledger.LedgerEntry(**json.loads(json.dumps(entry.to_xcom()))) == entry


def test_a_run_without_a_ledger_entry_is_an_error_that_says_so(lake: Lake) -> None:
    with pytest.raises(LookupError, match=r"0 entries for run jr_2 of 2026-11-20, not one"):
        ledger.read_ledger(lake.config, INTERVAL, "jr_2")


def test_the_checks_are_evaluated_in_athena(lake: Lake, entry: ledger.LedgerEntry) -> None:
    found = quality.checks(quality.check_events(lake.config, INTERVAL, entry))
    assert {check.table for check in found} == {"fact_clicks", "pipeline_runs", "quarantine"}
    assert [str(check) for check in found if not check.is_success] == []
    assert {check.observed for check in found} == {"as it should be"}


def test_a_line_that_is_rejected_twice_or_under_another_day_fails(
    lake: Lake, entry: ledger.LedgerEntry
) -> None:
    line = {"reason": "JSON_SYNTAX", "source_object": "o", "source_line": 1, "arrived_at": DAY}
    rows = [
        line,
        line,
        {"reason": None, "source_object": "p", "arrived_at": DAY + timedelta(days=2)},
    ]
    body = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE), body)
    place = {
        "Bucket": lake.config.buckets.errors,
        "Key": f"{lake.config.prefixes.quarantine}day=2026-11-20/part-0.parquet",
    }
    s3 = lake.aws.client("s3")
    s3.put_object(**place, Body=body.getvalue())
    lake.repair("quarantine")
    try:
        claimed = replace(entry, quarantined_count=4)
        failed = quality.failures(quality.check_events(lake.config, INTERVAL, claimed), "fail")
    finally:
        s3.delete_object(**place)
    assert {(check.table, check.column) for check in failed} == {
        ("quarantine", name)
        for name in ("*", "source_object, source_line", "reason", "partition_day, row_day")
    }


def test_a_double_event_in_the_lake_fails_before_the_load(
    lake: Lake, entry: ledger.LedgerEntry
) -> None:
    lake.put_hour(EIGHT, [event(100, EIGHT), *(event(n, EIGHT) for n in range(100, 104))])
    try:
        validations = quality.check_events(lake.config, INTERVAL, entry)
    finally:
        lake.put_hour(EIGHT, [event(n, EIGHT) for n in range(100, 104)])
    (check,) = quality.failures(validations, "fail")
    assert check.column == "event_id, event_timestamp"
    assert check.observed == "2 of 15 rows break it"
    assert check.samples
    assert check.samples[0].startswith("e100 / 2026-11-20")


def test_partitions_that_the_catalog_lacks_are_added(lake: Lake) -> None:
    late = DAY + timedelta(hours=9)
    lake.put_hour(late, [event(900, late)])
    glue = lake.aws.client("glue")
    wanted = [partitions.hour_values(hour) for hour in ("2026-11-20T07", "2026-11-20T09")]
    ask = (lake.config, glue, "fact_clicks", wanted)
    assert partitions.add_missing_partitions(*ask) == [["2026", "11", "20", "9"]]
    assert partitions.add_missing_partitions(*ask) == []
    rows = engines.athena_rows(
        lake.config, "checks/count_fact_clicks.sql", touched_hours=hours_predicate([late])
    )
    assert rows == [{"event_count": 1}]


def test_loading_twice_leaves_the_same_rows(lake: Lake, tmp_path: Path) -> None:
    digest = (
        "SELECT event_id, event_timestamp, user_id, is_bot, metadata.campaign, hour "
        "FROM clickstream.fact_clicks ORDER BY event_id"
    )
    lake.load([SEVEN, EIGHT])
    first = lake.warehouse(digest, tmp_path)
    lake.load([SEVEN, EIGHT])
    assert lake.warehouse(digest, tmp_path) == first
    assert len(first) == 14
    assert json.loads(first[0][4]) == 'a "quoted" one'


def test_the_tables_agree_after_the_load(lake: Lake, entry: ledger.LedgerEntry) -> None:
    lake.load([SEVEN, EIGHT])
    body = b"".join(b'{"event_id": "e%d"}\n' % n for n in range(14)) + b"not json\n\n"
    lake.aws.client("s3").put_object(
        Bucket=lake.config.buckets.raw,
        Key=f"{lake.config.prefixes.raw}year=2026/month=11/day=20/hour=07/part-0",
        Body=body,
    )
    lake.repair("click_events_raw")
    counts = agreement.count(lake.config, INTERVAL, entry)
    assert (counts.athena_rows, counts.redshift_rows, counts.loaded) == (14, 14, 14)
    assert agreement.disagreements(entry, counts) == []


def test_an_object_that_athena_cannot_read_is_counted_by_the_ledger(
    lake: Lake, entry: ledger.LedgerEntry
) -> None:
    key = f"{lake.config.prefixes.raw}year=2026/month=11/day=20/hour=08/torn.gz"
    s3, bucket = lake.aws.client("s3"), lake.config.buckets.raw
    s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(b'{"event_id": "x"}\n' * 999)[:-20])
    lake.repair("click_events_raw")
    try:
        counts = agreement.count(lake.config, INTERVAL, entry)
    finally:
        s3.delete_object(Bucket=bucket, Key=key)
    assert counts.raw_lines is None
    assert counts.athena_rows == 14


def test_a_row_that_redshift_lacks_is_found(
    lake: Lake, entry: ledger.LedgerEntry, tmp_path: Path
) -> None:
    lake.load([SEVEN, EIGHT])
    data = lake.aws.client("redshift-data")
    statement = data.execute_statement(
        WorkgroupName=lake.config.redshift.workgroup,
        Database=lake.config.redshift.database,
        Sql="DELETE FROM clickstream.fact_clicks WHERE event_id = 'e3'",
    )["Id"]
    while data.describe_statement(Id=statement)["Status"] != "FINISHED":
        time.sleep(0.05)
    counts = agreement.count(lake.config, INTERVAL, entry)
    assert "13 is not 14 (-1)" in "; ".join(agreement.disagreements(entry, counts))
    lake.load([SEVEN, EIGHT])
