"""Glue job: rewrite the small files of the lake and the quarantine into few, without a changed row.

The same file runs on Glue 5.1, in the embedded AWS and in a test: plain argparse, plain Spark.
It prints what it did to each table as one JSON line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from clickstream_glue.arguments import Parser, folder, positive
from clickstream_glue.compaction import TARGET_BYTES, CompactJob, run
from pyspark.sql import SparkSession


def names(text: str) -> tuple[str, ...]:
    """Reads names of tables with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def read_arguments(arguments: Sequence[str]) -> CompactJob:
    """Reads the job's arguments."""
    parser = Parser("compact_lake", __doc__)
    parser.add_lake()
    parser.add_argument("--quarantine-path", type=folder, required=True)
    parser.add_argument("--tables", type=names, default=(), help="all when left out")
    parser.add_argument("--target-bytes", type=positive, default=TARGET_BYTES, help="of a file")
    return CompactJob(**parser.read(arguments))


def main() -> None:
    """Runs the job."""
    job = read_arguments(sys.argv[1:])
    spark = SparkSession.builder.appName(job.job_name).getOrCreate()
    print(json.dumps([asdict(table) for table in run(spark, job)]))


if __name__ == "__main__":
    main()
