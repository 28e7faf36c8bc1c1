"""The clean job against a DuckDB script that writes the same rows; prints one JSON line.

``python tests/bench/bench_clean.py --events 2000000``

Both are processes of their own on all cores of this machine, their start included; Spark has the
settings the embedded AWS gives it. They must agree on every row of fact_clicks (its key, its line,
its payload columns) and on the lines in quarantine. DuckDB is told
more than the job knows: that bytes are UTF-8 and numbers are short.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime(2026, 11, 20)
TORN_LINES = 300
DIRT = ["--duplicates=0.01", "--late=0.01", "--unknown-fields=0.01", "--collisions=0.001"]


def main() -> None:
    """Make a day of traffic, clean it twice, compare rows and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--driver-memory", default="3g")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_raw(folder / "raw", arguments.events)
        use_spark(arguments.driver_memory)
        spark_seconds, printed = run(
            ROOT / "glue" / "clean_events.py",
            "--interval-start=2026-11-20T00:00:00Z",
            "--interval-end=2026-11-21T00:00:00Z",
            f"--raw-path=file:{folder}/raw/",
            f"--lake-path=file:{folder}/spark/",
            f"--quarantine-path=file:{folder}/spark/quarantine/",
            f"--tombstones-path=file:{folder}/tombstones/",
        )
        sql_seconds, _ = run(
            ROOT / "tests" / "bench" / "clean_in_duckdb.py", folder / "raw", folder / "duckdb"
        )
        ledger = json.loads(printed)
        inside = datetime.fromisoformat(ledger["ended_at"]) - datetime.fromisoformat(
            ledger["started_at"]
        )
        assert ledger["residual"] == 0
        compare(folder)
        report = {
            "lines": ledger["line_count"],
            "loaded": ledger["loaded_count"],
            "duplicates": ledger["duplicate_count"],
            "quarantined": ledger["quarantined_by_reason"],
            "spark_seconds": round(spark_seconds, 1),
            "spark_seconds_after_start": round(inside.total_seconds(), 1),
            "duckdb_seconds": round(sql_seconds, 1),
            "rate_ratio": round(sql_seconds / spark_seconds, 2),
        }
        print(json.dumps(report))


def use_spark(driver_memory: str) -> None:
    """Give the Spark of later processes the settings that the embedded AWS gives it."""
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        f"--driver-memory {driver_memory} --driver-java-options=-XX:+UseParallelGC "
        f"--conf spark.sql.shuffle.partitions={4 * (os.cpu_count() or 1)} "
        "--conf spark.ui.enabled=false --conf spark.ui.showConsoleProgress=false pyspark-shell"
    )


def make_raw(raw: Path, events: int) -> None:
    """One gzip object per arrival hour, each with a few torn lines at its end."""
    for number in range(24):
        hour = DAY + timedelta(hours=number)
        folder = raw / f"{hour:year=%Y/month=%m/day=%d/hour=%H}"
        folder.mkdir(parents=True)
        span = [f"--start={hour:%Y-%m-%dT%H:00:00}", f"--end={hour + timedelta(hours=1):%FT%T}"]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "producer",
                "--sink=file",
                f"--out={folder}/events.gz",
                *span,
                *DIRT,
                f"--events={events // 24}",
                f"--seed={number}",
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        with gzip.open(folder / "events.gz", "ab") as more:
            more.writelines(b'{"event_id": "torn-%d", "event_ty\n' % n for n in range(TORN_LINES))


def run(script: Path, *arguments: str | Path) -> tuple[float, str]:
    """Run a process; its wall seconds and what it printed."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return time.monotonic() - start, done.stdout


def compare(folder: Path) -> None:
    """Fail where the two lakes differ."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    columns = (
        "event_id, is_event_id_derived, event_type, event_category, event_timestamp, user_id, "
        "anonymous_id, session_id, page, page_url, referrer_url, product_id, device_type, browser, "
        "location, user_type, price, quantity, currency, order_id, is_bot, is_clock_skewed, "
        "array_sort(map_entries(metadata)), source_line, year, month, day, hour"
    )
    for table, listed in (("fact_clicks", columns), ("quarantine", "source_line, raw_bytes")):
        spark, sql = (
            f"SELECT {listed}, regexp_extract(source_object, 'year=.*') "
            f"FROM read_parquet('{folder}/{side}/{table}/**/*.parquet')"
            for side in ("spark", "duckdb")
        )
        for less, more in ((spark, sql), (sql, spark)):
            rows = database.execute(f"({less}) EXCEPT ALL ({more}) LIMIT 3").fetchall()
            assert not rows, (table, rows)


if __name__ == "__main__":
    main()
