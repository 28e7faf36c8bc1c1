"""The ledger (pipeline_runs), as the jobs read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clickstream_contract import contract as c
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from clickstream_glue import storage


def touched_hours(
    spark: SparkSession, ledger: str, start: datetime, end: datetime
) -> set[datetime]:
    """The event hours that runs of the clean job have filled from arrivals of an interval.

    Args:
        spark: the session.
        ledger: the folder of pipeline_runs.
        start: the first arrival hour.
        end: the hour after the last.
    """
    # Runs lie by the day on which their interval starts; an interval is one day at most there.
    days = (end - start) // timedelta(days=1) + 2
    folders = [f"day={start + timedelta(days=number):%Y-%m-%d}/" for number in range(-1, days)]
    runs = storage.read_table(spark, storage.files_in(spark, ledger, folders), c.LEDGER_SCHEMA)
    overlaps = (F.col("interval_start") < F.lit(end)) & (F.col("interval_end") > F.lit(start))
    hours = runs.filter(overlaps).select(F.explode("touched_hours").alias("hour")).distinct()
    found = hours.select(F.unix_timestamp("hour")).collect()
    return {datetime.fromtimestamp(row[0], UTC) for row in found}
