"""The whole job on small lakes: whatever the order, the faults and the repeats, one result."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickstream_contract.contract import FACT_SCHEMA, QUARANTINE_SCHEMA
from clickstream_glue import clean, storage
from clickstream_glue.clean import CleanJob, LedgerRow, MissingObject
from clickstream_glue.tombstones import ERASED_LINE, SALT, digest
from pyspark.sql import SparkSession

from tests.glue import oracle

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 11, 20, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS = [(START + HOUR * n, START + HOUR * (n + 1)) for n in range(3)]
WHOLE = (START, START + HOUR * 3)


class Lake:
    """A raw zone and the lake that the job makes of it, in one folder."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.raw = folder / "raw zone+1%" / "clickstream"

    def put(self, hour: datetime, name: str, content: bytes) -> None:
        """Stores one raw object."""
        path = self.raw / f"{hour:year=%Y/month=%m/day=%d/hour=%H}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.startswith("ok") else content)

    def job(self, interval: tuple[datetime, datetime], **options: Any) -> CleanJob:
        """One run's orders."""
        return CleanJob(
            *interval,
            raw_path=f"file:{self.raw}/",
            lake_path=f"file:{self.folder}/lake/",
            quarantine_path=f"file:{self.folder}/quarantine/",
            tombstones_path=f"file:{self.folder}/tombstones/",
            job_name="clean",
            run_id=f"run-{random.random()}",
            **options,
        )

    def run(self, *interval: datetime, **options: Any) -> LedgerRow:
        """Runs the job over an interval; its own balance must be right every time."""
        row = clean.run(self.spark, self.job(interval, **options))
        assert row.residual == 0, row
        return row

    def facts(self) -> list[dict[str, Any]]:
        """What lies in fact_clicks; each row in its own event hour."""
        table = self.spark.read.parquet(f"file:{self.folder}/lake/fact_clicks/")
        rows = rows_of(table)
        for row in rows:
            time = row["event_timestamp"]
            parts = [row.pop(name) for name in ("year", "month", "day", "hour")]
            assert parts == [time.year, time.month, time.day, time.hour]
            assert row.pop("payload_hash") is not None
        return rows

    def quarantine(self) -> list[dict[str, Any]]:
        """What lies in quarantine, each row in the day of its arrival."""
        folder = self.folder / "quarantine"
        rows = rows_of(self.spark.read.parquet(f"file:{folder}/")) if folder.exists() else []
        for row in rows:
            assert str(row.pop("day")) == f"{row['arrived_at']:%Y-%m-%d}"
            row.pop("detail")
        return rows

    def wanted(self, *intervals: tuple[datetime, datetime]) -> oracle.Expected:
        """What the oracle makes of the same raw objects."""
        paths = [path for path in self.raw.rglob("*") if path.is_file()]
        return oracle.expected(
            {str(path).lstrip("/"): path.read_bytes() for path in paths}, intervals
        )

    def check(self, *intervals: tuple[datetime, datetime]) -> oracle.Expected:
        """The lake is what the oracle says, row by row."""
        wanted = self.wanted(*intervals)
        assert in_order(self.facts()) == in_order(wanted.facts)
        assert in_order(self.quarantine()) == in_order(wanted.quarantine)
        return wanted


def rows_of(table: Any) -> list[dict[str, Any]]:
    rows = [row.asDict() for row in table.collect()]
    for row in rows:
        assert row.pop("processed_timestamp") is not None
        for name, value in row.items():
            if isinstance(value, datetime):
                row[name] = oracle.utc(value)
            elif isinstance(value, bytearray):
                row[name] = bytes(value)
    return rows


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["source_object"], row["source_line"]))


def dirty_lines(seed: int, count: int) -> list[bytes]:
    """Lines with many copies, collisions, late events and damage, out of a few keys."""
    dice = random.Random(seed)
    lines = []
    for _ in range(count):
        late = dice.choice([0, 0, 0, 1, 2, 30, 9600])
        time = START + timedelta(minutes=dice.randrange(4), hours=dice.randrange(2) - late)
        event = {
            "event_id": f"id-{dice.randrange(12)}",
            "event_type": dice.choice(["page_view", "click", "purchase", "Hover"]),
            "timestamp": time.isoformat(),
            "user_id": "u",
            "user_agent": dice.choice(["Googlebot", "Mozilla/5.0 (iPad)", "secret-agent/1"]),
            "ip_address": "203.0.113.7",
        }
        if event["event_type"] == "purchase":
            event |= {"price": 19.9, "quantity": 2, "color": dice.choice(["red", "blue"])}
        if dice.random() < 0.1:
            del event["event_id"]
        line = json.dumps(event).encode()
        lines.append(dice.choice([line] * 12 + [line[:40], b"", line + line, b"\xff" + line]))
    return lines


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """A raw zone of three hours across midnight, two objects each."""
    lake = Lake(spark, tmp_path)
    for number, (hour, _) in enumerate(HOURS):
        lines = dirty_lines(number, 120)
        lake.put(hour, "ok b+%20 c.gz", b"\n".join(lines[:60]))
        lake.put(hour, "plain", b"\r\n".join(lines[60:]) + b"\n")
    return lake


@pytest.mark.parametrize(("order", "files_per_hour"), [((2, 1, 0), 1), ((1, 2, 0), 3)])
def test_hours_in_any_order_give_the_lake_of_the_whole_day(
    lake: Lake, order: tuple[int, ...], files_per_hour: int
) -> None:
    rows = [lake.run(*HOURS[number], files_per_hour=files_per_hour) for number in order]
    wanted = lake.check(WHOLE)
    assert sum(row.line_count for row in rows) == wanted.counts["lines"]
    assert wanted.counts["ID_COLLISION"] > 10
    assert wanted.counts["duplicates"] > 10
    assert sum(row.displaced_count for row in rows) > 10


def test_the_ledger_counts_what_the_oracle_counts(lake: Lake) -> None:
    row = lake.run(*WHOLE)
    wanted = lake.check(WHOLE)
    assert (row.object_count, row.line_count) == (6, wanted.counts["lines"])
    assert row.loaded_count == wanted.counts["loaded"]
    assert row.duplicate_count == wanted.counts["duplicates"]
    assert row.blank_count == wanted.counts["blank"] > 0
    assert row.quarantined_count == wanted.counts["quarantined"]
    reasons = Counter(entry["reason"] for entry in wanted.quarantine)
    assert row.quarantined_by_reason == reasons
    hours = {time.replace(minute=0, second=0) for time in column(wanted, "event_timestamp")}
    assert row.touched_hours == sorted(hours)
    stored = lake.spark.read.parquet(f"file:{lake.folder}/lake/pipeline_runs/").collect()
    assert [(r.run_id, r.residual, str(r.day)) for r in stored] == [(row.run_id, 0, "2026-11-20")]
    assert "203.0.113.7" not in str(lake.facts())
    assert "secret-agent" not in str(lake.facts())


def column(wanted: oracle.Expected, name: str) -> list[Any]:
    return [row[name] for row in wanted.facts]


def test_a_killed_run_leaves_nothing_that_the_next_does_not_heal(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.run(*HOURS[2])
    lake.run(*HOURS[1])

    class Killed(BaseException):
        pass

    steps = {"append": storage.append, "delete_files": storage.delete_files}
    # The steps of one run, in order; the deletion is cut in the middle.
    for survived in range(4):
        left = itertools.count(survived, -1)

        def append(*arguments: Any, left: Any = left) -> None:
            if next(left) == 0:
                raise Killed
            steps["append"](*arguments)

        def delete_files(session: SparkSession, files: list[str], left: Any = left) -> None:
            if next(left) == 0:
                steps["delete_files"](session, files[::2])
                raise Killed
            steps["delete_files"](session, files)

        monkeypatch.setattr(storage, "append", append)
        monkeypatch.setattr(storage, "delete_files", delete_files)
        with pytest.raises(Killed):
            lake.run(*HOURS[0])
    monkeypatch.undo()
    lake.run(*HOURS[0])
    lake.check(WHOLE)


def test_broken_gzip_yields_its_whole_lines_and_quarantines_the_rest(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, tmp_path)
    lines = [
        json.dumps({"event_type": "view", "timestamp": START.isoformat(), "user_id": f"u{n}"})
        for n in range(400)
    ]
    parts = [
        gzip.compress("\n".join(lines[n : n + 50]).encode() + b"\n") for n in range(0, 400, 50)
    ]
    flipped = bytearray(parts[3])
    flipped[len(flipped) // 2] ^= 0xFF
    lake.put(START, "truncated.gz", parts[0][:-40])
    lake.put(START, "garbage.gz", parts[1] + b"trailing\ngarbage")
    lake.put(START, "not-gzip.gz", lines[0].encode())
    lake.put(START, "flipped.gz", bytes(flipped))
    lake.put(START, "members.gz", parts[4] + parts[5])
    lake.put(START, "empty.gz", b"")
    lake.put(START, "empty", b"")
    lake.put(START, "whole.gz", parts[6])
    row = lake.run(*HOURS[0])
    wanted = lake.check(HOURS[0])
    assert row.object_count == 8
    assert row.quarantined_by_reason == {"GZIP_CORRUPT": 3, "GZIP_TRUNCATED": 1}
    assert row.loaded_count == wanted.counts["loaded"] > 200
    assert lake.run(*HOURS[0]).loaded_count == row.loaded_count


def bury(lake: Lake, **ids: str) -> None:
    """Lays tombstones of these ids by their kind."""
    folder = lake.folder / "tombstones"
    folder.mkdir(exist_ok=True)
    (folder / SALT).write_text("5a17")
    for kind, id in ids.items():
        path = folder / kind / digest("5a17", kind, id.encode())
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")


def clicks(**who: str) -> list[bytes]:
    """Three events of somebody, and one that is none."""
    event = {"event_type": "view", **who}
    times = [(START + timedelta(minutes=n)).isoformat() for n in range(3)]
    lines = [
        json.dumps({**event, "event_id": str(who) + time, "timestamp": time}) for time in times
    ]
    return [line.encode() for line in (*lines, json.dumps(event))]


def test_an_erased_person_is_counted_and_kept_nowhere(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path)
    his = clicks(user_id="ann") + clicks(anonymous_id="b-1")
    others = clicks(user_id="bob", anonymous_id="b-1") + clicks(anonymous_id="b-2") + [b""]
    lake.put(START, "ok.gz", b"\n".join([*his, *others, his[0], ERASED_LINE]) + b"\n")
    lake.put(START, "torn.gz", gzip.compress(others[0] + b"\n" + his[1])[:-8])
    before = lake.run(*HOURS[0])
    assert (before.erased_count, before.loaded_count) == (1, 12)

    bury(lake, user="ann", anonymous="b-1")
    row = lake.run(*HOURS[0])
    assert row.line_count == before.line_count
    assert row.erased_count == len(his) + 3  # a copy, the marker, a torn line
    assert (row.loaded_count, row.duplicate_count, row.blank_count) == (6, 1, 1)
    assert row.quarantined_by_reason == {"MISSING_FIELD": 2}
    assert {(f["user_id"], f["anonymous_id"]) for f in lake.facts()} == {
        ("bob", "b-1"),
        (None, "b-2"),
    }
    assert b"ann" not in b"".join(entry["raw_bytes"] for entry in lake.quarantine())
    # The person's own hour is rebuilt although nothing accepted is left in it.
    assert row.touched_hours == before.touched_hours


def test_tombstones_without_their_salt_stop_the_run(lake: Lake) -> None:
    bury(lake, user="ann")
    (lake.folder / "tombstones" / SALT).unlink()
    with pytest.raises(MissingObject, match="tombstones/salt is gone: restore it"):
        lake.run(*HOURS[0])


def test_an_interval_without_input_touches_nothing(lake: Lake) -> None:
    lake.run(*HOURS[0])
    before = lake.facts(), lake.quarantine()
    row = lake.run(START + HOUR * 9, START + HOUR * 12)
    assert (row.object_count, row.line_count, row.touched_hours) == (0, 0, [])
    assert (lake.facts(), lake.quarantine()) == before


@pytest.mark.parametrize("kind", ["loaded", "rejected"])
def test_an_interval_is_let_be_of_which_raw_has_partly_expired(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    lake = Lake(spark, tmp_path)
    lake.put(START, "ok.gz", b"\n".join(clicks(user_id="ann")))
    lake.put(START, "old.json", clicks(user_id="bob")[0 if kind == "loaded" else 3])
    lake.run(*HOURS[0])
    before = lake.facts(), lake.quarantine()
    (expired,) = lake.raw.rglob("old.json")
    expired.unlink()
    with pytest.raises(MissingObject, match=r"are gone .*\(1, the first is .*hour=22/old\.json\)"):
        lake.run(*HOURS[0])
    assert (lake.facts(), lake.quarantine()) == before


def test_rows_that_the_code_no_longer_accepts_leave_the_lake(lake: Lake) -> None:
    lake.run(*HOURS[0])
    lake.run(*HOURS[1])
    row = lake.run(*HOURS[0], max_line_bytes=1)
    assert (row.loaded_count, set(row.quarantined_by_reason)) == (0, {"OVERSIZE"})
    kept = lake.facts()
    assert kept
    assert {fact["arrived_at"] for fact in kept} == {HOURS[1][0]}


def test_an_object_that_vanishes_fails_the_run_with_its_name(lake: Lake) -> None:
    gone = f"file:{lake.raw}/year=2026/month=11/day=20/hour=22/gone.gz"
    with pytest.raises(MissingObject, match=r"MISSING_OBJECT.*gone\.gz"):
        clean._read_and_parse(lake.spark, lake.job(HOURS[0]), [gone])


def test_the_tables_have_the_columns_of_the_data_model() -> None:
    prose = (ROOT / "docs" / "data-model.md").read_text()
    for reason in clean.c.REASONS:
        assert f"`{reason}`" in prose
    for schema in (FACT_SCHEMA, QUARANTINE_SCHEMA, clean.c.LEDGER_SCHEMA):
        for name in (part.split()[0] for part in schema.split(", ")):
            assert name in prose


def entry(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "glue" / "clean_events.py", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TZ": "America/New_York", "SPARK_LOCAL_IP": "127.0.0.1"},
    )


def test_the_script_prints_its_ledger_row(lake: Lake) -> None:
    job = lake.job(HOURS[0])
    done = entry(
        "--interval-start=2026-11-20T22:00:00Z",
        "--interval-end=2026-11-21T00:00:00+01:00",
        f"--raw-path={job.raw_path}",
        f"--lake-path={job.lake_path.rstrip('/')}",
        f"--quarantine-path={job.quarantine_path}",
        f"--tombstones-path={job.tombstones_path}",
        "--JOB_NAME=clean",
        "--JOB_RUN_ID=jr_1",
        "--enable-metrics=true",
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    wanted = lake.check(HOURS[0])
    assert (row["run_id"], row["residual"]) == ("jr_1", 0)
    assert row["loaded_count"] == wanted.counts["loaded"]
    assert row["interval_end"] == "2026-11-20T23:00:00+00:00"


PATHS = [f"--{name}-path=file:/x/" for name in ("raw", "lake", "quarantine", "tombstones")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interval-start=soon", "--interval-end=2026-11-20"], "'soon' is no ISO 8601 time"),
        (["--interval-start=2026-11-20T00:30", "--interval-end=2026-11-21"], "no whole hour"),
        (["--interval-start=2026-11-21", "--interval-end=2026-11-21"], "must lie before"),
        (["--interval-start=2026-11-21"], "required: --interval-end"),
        (
            ["--interval-start=2026-11-20", "--interval-end=2026-11-21", "--files-per-hour=0"],
            "'0' is no whole number above 0",
        ),
    ],
)
def test_a_bad_argument_gets_one_sentence(arguments: list[str], sentence: str) -> None:
    done = entry(*arguments, *PATHS)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
