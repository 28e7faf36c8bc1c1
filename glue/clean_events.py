"""Glue job: clean the raw events of one arrival interval into fact_clicks.

The same file runs on Glue 5.1, in the embedded AWS and in a test: plain argparse, plain Spark.
It prints the row it added to the ledger as one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import NoReturn

from clickstream_glue.clean import CleanJob, run
from clickstream_glue.contract import MAX_LINE_BYTES
from pyspark.sql import SparkSession


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def hour(text: str) -> datetime:
    """Reads a whole UTC hour such as 2026-11-20T13:00:00Z; no offset means UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time, write e.g. 2026-11-20T13:00:00Z"
        ) from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if (time.minute, time.second, time.microsecond) != (0, 0, 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole hour, raw data lies in hours")
    return time


def folder(text: str) -> str:
    """Reads a URI or path of a folder."""
    if not text.strip("/"):
        raise argparse.ArgumentTypeError("a folder is needed, e.g. s3://bucket/prefix/")
    return text.rstrip("/") + "/"


def positive(text: str) -> int:
    """Reads a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def read_arguments(arguments: Sequence[str]) -> CleanJob:
    """Reads the job's arguments; Glue adds some of its own, which are left alone."""
    parser = Parser(prog="clean_events", description=__doc__, allow_abbrev=False)
    parser.add_argument("--interval-start", type=hour, required=True, help="first arrival hour")
    parser.add_argument("--interval-end", type=hour, required=True, help="hour after the last")
    parser.add_argument("--raw-path", type=folder, required=True)
    parser.add_argument("--lake-path", type=folder, required=True)
    parser.add_argument("--quarantine-path", type=folder, required=True)
    parser.add_argument("--tombstones-path", type=folder, required=True, help="who was erased")
    parser.add_argument("--files-per-hour", type=positive, default=1, help="per event hour")
    parser.add_argument("--max-line-bytes", type=positive, default=MAX_LINE_BYTES)
    parser.add_argument("--JOB_NAME", dest="job_name", default="clean_events")
    parser.add_argument("--JOB_RUN_ID", dest="run_id", default=f"jr_{uuid.uuid4().hex}")
    job = CleanJob(**vars(parser.parse_known_args(arguments)[0]))
    if job.interval_start >= job.interval_end:
        parser.error("--interval-start must lie before --interval-end")
    return job


def main() -> None:
    """Runs the job."""
    job = read_arguments(sys.argv[1:])
    spark = SparkSession.builder.appName(job.job_name).getOrCreate()
    row = asdict(run(spark, job))
    print(json.dumps(row, default=datetime.isoformat))


if __name__ == "__main__":
    main()
