"""Glue job: build sessions, dimensions and marts of all days that an arrival interval touched.

The same file runs on Glue 5.1, in the embedded AWS and in a test: plain argparse, plain Spark.
It prints the row it added to model_runs as one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from clickstream_glue.arguments import Parser, positive
from clickstream_glue.model import MAX_PAUSE_MINUTES, ModelJob, run
from pyspark.sql import SparkSession


def pause(text: str) -> int:
    """Reads the minutes of silence that end a session."""
    minutes = positive(text)
    if minutes > MAX_PAUSE_MINUTES:
        raise argparse.ArgumentTypeError(
            f"{text} is too long a pause: {MAX_PAUSE_MINUTES} minutes at most, so that one hour "
            "tells what was under way at midnight"
        )
    return minutes


def currency(text: str) -> str:
    """Reads a currency's code."""
    if not text.strip():
        raise argparse.ArgumentTypeError("write a currency's code, e.g. USD")
    return text.strip().upper()


def hosts(text: str) -> tuple[str, ...]:
    """Reads host names with commas between them."""
    return tuple(host.strip().lower() for host in text.split(",") if host.strip())


def read_arguments(arguments: Sequence[str]) -> ModelJob:
    """Reads the job's arguments."""
    parser = Parser("build_model", __doc__)
    parser.add_lake()
    parser.add_interval()
    parser.add_argument("--session-timeout-minutes", type=pause, default=30)
    parser.add_argument("--attribution-days", type=positive, default=30, help="how far back")
    parser.add_argument(
        "--currency", type=currency, default="USD", help="that revenue is reported in"
    )
    parser.add_argument("--site-hosts", type=hosts, default=(), help="of the shop: no referrers")
    return ModelJob(**parser.read(arguments))


def main() -> None:
    """Runs the job."""
    job = read_arguments(sys.argv[1:])
    spark = SparkSession.builder.appName(job.job_name).getOrCreate()
    row = asdict(run(spark, job))
    print(json.dumps(row, default=datetime.isoformat))


if __name__ == "__main__":
    main()
