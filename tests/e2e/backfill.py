"""``make backfill-check``: Airflow's own backfill against one run over everything.

A month of dirty traffic, late events among it, is backfilled by the real scheduler, two runs at a
time and the newest day first. The same raw objects go through the two Glue jobs once, as one
interval, in another embedded AWS. Both lakes must have one digest. It prints one JSON line and ends
with 0 if they have.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from scripts.lake_digest import read_lake
from tests.conftest import ROOT, EmbeddedAws
from tests.e2e.conftest import DAG_ID, Pipeline

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RUNS_AT_A_TIME = 2


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="backfill", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events", type=int, default=30_000, help="in all")
    arguments = parser.parse_args()
    started = time.monotonic()
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="backfill-", dir=build) as name:
        raw = make_raw(arguments.days, arguments.events)
        with EmbeddedAws(Path(name) / "whole") as whole:
            whole.command("provision")
            at_once = Pipeline(whole, Path(name))
            at_once.put_raw(raw)
            for job in (at_once.config.glue.clean_job, at_once.config.glue.model_job):
                run_job(whole, job, arguments.days)
            wanted = read_lake(at_once.config, whole.client("s3"))
        with EmbeddedAws(Path(name) / "aws") as aws, contextlib.ExitStack() as after:
            aws.command("provision")
            pipeline = Pipeline(aws, Path(name))
            pipeline.put_raw(raw)
            pipeline.airflow("start")
            after.callback(pipeline.airflow, "stop")
            states = backfill(pipeline, arguments.days)
            found = read_lake(pipeline.config, aws.client("s3"))
    report = {
        "days": arguments.days,
        "runs_at_a_time": RUNS_AT_A_TIME,
        "states": states,
        "fact_clicks": found[0]["fact_clicks"],
        "fact_sessions": found[0]["fact_sessions"],
        "digest_equal": found == wanted,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(report))
    return 0 if report["digest_equal"] and states == {"success": arguments.days} else 1


def make_raw(days: int, events: int) -> dict[str, bytes]:
    """One object a day, at noon; late events come on the day of those they came with."""
    lines = subprocess.run(
        [
            *(sys.executable, "-m", "producer", "--sink", "stdout", "--dirty", "--seed", "30"),
            *("--events", str(events), "--start", FIRST.isoformat()),
            *("--end", (FIRST + days * DAY).isoformat()),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.splitlines(keepends=True)
    return {
        f"clickstream/{FIRST + n * DAY:year=%Y/month=%m/day=%d}/hour=12/part.gz": gzip.compress(
            b"".join(lines[len(lines) * n // days : len(lines) * (n + 1) // days]), mtime=0
        )
        for n in range(days)
    }


def run_job(aws: EmbeddedAws, job: str, days: int) -> None:
    """Run a Glue job over all days as one interval."""
    glue = aws.client("glue")
    span = {
        "--interval-start": FIRST.isoformat(),
        "--interval-end": (FIRST + days * DAY).isoformat(),
    }
    run_id = glue.start_job_run(JobName=job, Arguments=span)["JobRunId"]
    while (run := glue.get_job_run(JobName=job, RunId=run_id)["JobRun"])["JobRunState"] in (
        *("STARTING", "RUNNING", "WAITING"),
    ):
        time.sleep(1)
    assert run["JobRunState"] == "SUCCEEDED", run.get("ErrorMessage")


def backfill(pipeline: Pipeline, days: int) -> dict[str, int]:
    """Backfill all days, newest first, and wait; how many runs ended in which state."""
    client = pipeline.client()
    client.await_dag(DAG_ID)
    client.call("PATCH", f"/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
    client.call(
        "POST",
        "/backfills",
        {
            "dag_id": DAG_ID,
            "from_date": FIRST.isoformat(),
            "to_date": (FIRST + (days - 1) * DAY).isoformat(),
            "run_backwards": True,
            "max_active_runs": RUNS_AT_A_TIME,
            "reprocess_behavior": "none",
            "dag_run_conf": {},
        },
    )
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("backfill", total=days)
        while True:
            runs: list[dict[str, Any]] = client.call(
                "GET", f"/dags/{DAG_ID}/dagRuns?run_type=backfill&limit=100"
            )["dag_runs"]
            ended = [run["state"] for run in runs if run["state"] in ("success", "failed")]
            progress.update(bar, completed=len(ended))
            if len(ended) == days:
                return {state: ended.count(state) for state in sorted(set(ended))}
            time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
