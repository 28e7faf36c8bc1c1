"""Glue job: clean the raw events of one arrival interval into fact_clicks.

The same file runs on Glue 5.1, in the embedded AWS and in a test: plain argparse, plain Spark.
It prints the row it added to the ledger as one JSON line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from clickstream_contract.contract import MAX_LINE_BYTES
from clickstream_glue.arguments import Parser, folder, positive
from clickstream_glue.clean import CleanJob, run
from pyspark.sql import SparkSession


def read_arguments(arguments: Sequence[str]) -> CleanJob:
    """Reads the job's arguments."""
    parser = Parser("clean_events", __doc__)
    parser.add_lake()
    parser.add_interval()
    parser.add_argument("--raw-path", type=folder, required=True)
    parser.add_argument("--quarantine-path", type=folder, required=True)
    parser.add_argument("--tombstones-path", type=folder, required=True, help="who was erased")
    parser.add_argument("--files-per-hour", type=positive, default=1, help="per event hour")
    parser.add_argument("--max-line-bytes", type=positive, default=MAX_LINE_BYTES)
    return CleanJob(**parser.read(arguments))


def main() -> None:
    """Runs the job."""
    job = read_arguments(sys.argv[1:])
    spark = SparkSession.builder.appName(job.job_name).getOrCreate()
    row = asdict(run(spark, job))
    print(json.dumps(row, default=datetime.isoformat))


if __name__ == "__main__":
    main()
