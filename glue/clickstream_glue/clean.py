"""One run of the clean job: raw lines of an arrival interval to fact_clicks, quarantine, ledger.

The order of the steps is what makes a kill harmless: new files are added first, the files they
replace are deleted last. Between the two a partition holds rows twice, and the next run, which
takes other arrivals' rows from whatever lies there and keeps one of each key, heals it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, Final, NamedTuple

from clickstream_contract import contract as c
from clickstream_contract.event import BLANK
from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from clickstream_glue import compaction, dedupe, raw_lines, storage
from clickstream_glue.events import ERASED, read_events
from clickstream_glue.ledger import touched_hours
from clickstream_glue.tombstones import KINDS, SALT, Tombstones

SPARK_SETTINGS: Final = {
    **storage.SPARK_SETTINGS,
    # A batch of the longest lines must stay below Arrow's 2 GiB.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
}
# How Spark and Hadoop say that a listed file is gone.
GONE: Final = re.compile(
    r"(?:PATH_NOT_FOUND|FileNotFoundException|Input path does not exist)[^\n]*"
)


class MissingObject(RuntimeError):
    """A raw object is needed that is not there (any more)."""


@dataclass(frozen=True)
class CleanJob:
    """What one run is asked to do; paths are URIs that end in a slash."""

    interval_start: datetime
    interval_end: datetime
    raw_path: str
    lake_path: str
    quarantine_path: str
    tombstones_path: str
    job_name: str
    run_id: str
    files_per_hour: int = 1
    max_line_bytes: int = c.MAX_LINE_BYTES

    @property
    def hours(self) -> list[datetime]:
        """The arrival hours of the interval."""
        hour = timedelta(hours=1)
        count = (self.interval_end - self.interval_start) // hour
        return [self.interval_start + hour * number for number in range(count)]

    @property
    def has_arrival(self) -> Column:
        """True for rows that arrived in the interval."""
        start, end = F.lit(self.interval_start), F.lit(self.interval_end)
        return (F.col("arrived_at") >= start) & (F.col("arrived_at") < end)

    @property
    def facts(self) -> str:
        """The folder of fact_clicks."""
        return f"{self.lake_path}fact_clicks/"

    @property
    def ledger(self) -> str:
        """The folder of pipeline_runs."""
        return f"{self.lake_path}pipeline_runs/"


@dataclass(frozen=True)
class LedgerRow:
    """One run as pipeline_runs keeps it; every count is measured, only the residual is derived."""

    run_id: str
    job_name: str
    interval_start: datetime
    interval_end: datetime
    started_at: datetime
    ended_at: datetime
    object_count: int
    line_count: int = 0
    loaded_count: int = 0
    duplicate_count: int = 0
    quarantined_count: int = 0
    blank_count: int = 0
    erased_count: int = 0
    displaced_count: int = 0
    residual: int = 0
    quarantined_by_reason: dict[str, int] = field(default_factory=dict)
    touched_hours: list[datetime] = field(default_factory=list)
    day: str = ""


class ParsedLines(NamedTuple):
    """The interval's lines, parsed and kept; how many there are by reason and event hour."""

    damaged: set[str]
    events: DataFrame
    line_count: int
    tally: list[Row]


def run(spark: SparkSession, job: CleanJob) -> LedgerRow:
    """Cleans one arrival interval; returns the row it added to the ledger."""
    for name, value in SPARK_SETTINGS.items():
        spark.conf.set(name, value)
    started_at = datetime.now(UTC)
    for root in (job.lake_path, job.quarantine_path):
        compaction.heal(spark, root)
    folders = [f"{hour:year=%Y/month=%m/day=%d/hour=%H}/" for hour in job.hours]
    objects = storage.files_in(spark, job.raw_path, folders)
    # An interval without input is no reason to touch what is there.
    measured = _clean(spark, job, objects, started_at) if objects else {}
    ledger_row = LedgerRow(
        run_id=job.run_id,
        job_name=job.job_name,
        interval_start=job.interval_start,
        interval_end=job.interval_end,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        object_count=len(objects),
        day=f"{job.interval_start:%Y-%m-%d}",
        **measured,
    )
    row = spark.createDataFrame([tuple(asdict(ledger_row).values())], c.LEDGER_SCHEMA)
    storage.append(row.coalesce(1), job.ledger, ["day"])
    return ledger_row


def _clean(
    spark: SparkSession, job: CleanJob, objects: list[str], started_at: datetime
) -> dict[str, Any]:
    parsed = _read_and_parse(spark, job, objects)
    events = parsed.events.withColumn("processed_timestamp", F.lit(started_at))
    accepted_hours = {
        datetime.fromtimestamp(row["hour"] * 3600, UTC)
        for row in parsed.tally
        if row["reason"] is None
    }
    # An hour that an earlier run of the interval filled may get nothing from this run's code.
    hours = sorted(
        accepted_hours | touched_hours(spark, job.ledger, job.interval_start, job.interval_end)
    )
    hour_folders = [
        f"year={hour.year}/month={hour.month}/day={hour.day}/hour={hour.hour}/" for hour in hours
    ]
    old_facts = storage.files_in(spark, job.facts, hour_folders)
    days = {f"{hour:%Y-%m-%d}" for hour in job.hours}
    _require_objects(spark, job, objects, old_facts, days)
    ranked = _rank_with_stored(spark, job, events, old_facts)
    copies, collisions, displaced = _append_winners(job, ranked)

    losers = None
    if collisions:
        known = _read_quarantine(spark, job, storage.files_in(spark, job.quarantine_path, [""]))
        losers = dedupe.settle_collisions(ranked, dedupe.known_collisions(known))
        # What is cached keeps its 200 shuffle partitions, nearly all of them empty.
        losers = losers.coalesce(spark.sparkContext.defaultParallelism).persist()
        copies += losers.filter(~F.col("is_first") & job.has_arrival).count()
        days |= {row["day"] for row in losers.select(_day()).distinct().collect()}
    day_folders = [f"day={day}/" for day in sorted(days)]
    old_quarantine = storage.files_in(spark, job.quarantine_path, day_folders)
    sound = {*objects} - parsed.damaged
    _append_rejected(spark, job, events, losers, sound, old_quarantine, started_at)

    storage.delete_files(spark, old_facts + old_quarantine)
    # In this order: Spark plans what is left of a cache anew, and unkept this plan is enormous.
    if losers:
        losers.unpersist()
    parsed.events.unpersist()

    # What the ledger claims is read back from what now lies there.
    facts = storage.files_in(spark, job.facts, hour_folders)
    loaded = storage.read_table(spark, facts, c.FACT_SCHEMA).filter(job.has_arrival).count()
    quarantine = storage.files_in(spark, job.quarantine_path, day_folders)
    rejected = storage.read_table(spark, quarantine, c.QUARANTINE_SCHEMA).filter(job.has_arrival)
    by_reason: dict[str, int] = dict(rejected.groupBy("reason").count().orderBy("reason").collect())
    blank, erased = (
        sum(row["count"] for row in parsed.tally if row["reason"] == reason)
        for reason in (BLANK, ERASED)
    )
    quarantined = sum(by_reason.values())
    return {
        "line_count": parsed.line_count,
        "loaded_count": loaded,
        "duplicate_count": copies,
        "quarantined_count": quarantined,
        "blank_count": blank,
        "erased_count": erased,
        "displaced_count": displaced,
        "residual": parsed.line_count - loaded - copies - quarantined - blank - erased,
        "quarantined_by_reason": by_reason,
        "touched_hours": hours,
    }


def _read_and_parse(spark: SparkSession, job: CleanJob, objects: list[str]) -> ParsedLines:
    """Reads the objects once; where gzip is broken, those objects again and in Python."""
    try:
        return _parse(spark, job, objects, damaged=set())
    except (Py4JJavaError, AnalysisException) as error:
        if gone := GONE.search(str(error)):
            raise MissingObject(
                f"MISSING_OBJECT: a raw object vanished while it was read; raw is immutable, "
                f"so restore it and run the interval again: {gone[0]}"
            ) from error
        damaged = raw_lines.damaged_objects(spark, [o for o in objects if o.endswith(".gz")])
        if not damaged:
            raise
    return _parse(spark, job, objects, set(damaged))


def _parse(
    spark: SparkSession, job: CleanJob, objects: list[str], damaged: set[str]
) -> ParsedLines:
    scan = Observation()
    lines = raw_lines.read_lines(spark, job.raw_path, objects, damaged)
    counted = lines.observe(scan, F.count(F.lit(1)).alias("lines"))
    erased = read_tombstones(spark, job.tombstones_path)
    events = read_events(counted, job.max_line_bytes, erased).persist(StorageLevel.DISK_ONLY)
    hour = F.when(F.col("reason").isNull(), F.floor(F.unix_timestamp("event_timestamp") / 3600))
    tally = events.groupBy("reason", hour.alias("hour")).count().collect()
    return ParsedLines(damaged, events, scan.get["lines"], tally)


def _require_objects(
    spark: SparkSession, job: CleanJob, objects: list[str], facts: list[str], days: set[str]
) -> None:
    """Every raw object that stored rows of the interval came from is still there.

    Raises:
        MissingObject: one has expired; what it brought could not be made again, only lost.
    """
    quarantine = storage.files_in(spark, job.quarantine_path, [f"day={day}/" for day in days])
    stored = [
        storage.read_table(spark, files, schema).filter(job.has_arrival).select("source_object")
        for files, schema in ((facts, c.FACT_SCHEMA), (quarantine, c.QUARANTINE_SCHEMA))
        if files
    ]
    if not stored:
        return
    keys = [key for (key,) in reduce(DataFrame.union, stored).distinct().collect()]
    gone = sorted({raw_lines.object_path(job.raw_path, key) for key in keys} - set(objects))
    if gone:
        raise MissingObject(
            f"MISSING_OBJECT: raw objects are gone from which rows of this interval came "
            f"({len(gone)}, the first is {gone[0]}); cleaning it again would lose these rows, so "
            f"restore the objects, or leave the interval as it is"
        )


def read_tombstones(spark: SparkSession, path: str) -> Tombstones:
    """Everybody who was erased; the objects' names say it all.

    Raises:
        MissingObject: there are tombstones, but not the salt that makes sense of them.
    """
    names = [file.rsplit("/", 2)[1:] for file in storage.files_in(spark, path, [""])]
    digests = {kind: [name for folder, name in names if folder == kind] for kind in KINDS}
    if not any(digests.values()):
        return Tombstones()
    if not any(name == SALT for _, name in names):
        raise MissingObject(f"{path}{SALT} is gone: restore it, or the erased persons come back")
    ((salt,),) = spark.read.text(f"{path}{SALT}").collect()
    return Tombstones(salt, *digests.values())


def _rank_with_stored(
    spark: SparkSession, job: CleanJob, events: DataFrame, old_facts: list[str]
) -> DataFrame:
    """The interval's accepted events beside what the touched hours hold of other arrivals."""
    accepted = events.filter(F.col("reason").isNull()).drop("reason", "detail", "raw_bytes")
    if old_facts:
        stored = storage.read_table(spark, old_facts, c.FACT_SCHEMA)
        accepted = accepted.unionByName(stored.filter(~job.has_arrival))
    return accepted.transform(dedupe.with_hour).transform(dedupe.rank_copies, job.files_per_hour)


def _append_winners(job: CleanJob, ranked: DataFrame) -> tuple[int, int, int]:
    """Adds the touched hours' new files; counts copies, collisions and displaced stored rows."""
    tally = Observation()
    observed = ranked.observe(
        tally,
        F.count_if(dedupe.is_copy() & job.has_arrival).alias("copies"),
        F.count_if(dedupe.is_collision()).alias("collisions"),
        F.count_if(dedupe.is_displaced() & ~job.has_arrival).alias("displaced"),
    )
    winners = observed.filter("is_winner").drop("is_winner", "winner")
    storage.append(winners, job.facts, c.HOUR_COLUMNS)
    return tally.get["copies"], tally.get["collisions"], tally.get["displaced"]


def _append_rejected(
    spark: SparkSession,
    job: CleanJob,
    events: DataFrame,
    losers: DataFrame | None,
    sound_objects: set[str],
    old_quarantine: list[str],
    started_at: datetime,
) -> None:
    """Adds the touched days' new files: this run's rejects and what other arrivals left there."""
    # A killed run may have left a row twice.
    stored = _read_quarantine(spark, job, old_quarantine).dropDuplicates(c.ARRIVAL_ORDER)
    rejected = events.filter(~F.col("reason").isin(BLANK, ERASED)).select(stored.columns)
    if losers:
        keys = losers.filter("is_first").select("source_object").distinct().collect()
        objects = [raw_lines.object_path(job.raw_path, key) for (key,) in keys]
        doubtful = {*objects} - sound_objects
        lines = raw_lines.read_lines(spark, job.raw_path, objects, doubtful).select(
            *c.ARRIVAL_ORDER, "line"
        )
        collisions = dedupe.collision_rows(losers, lines).withColumn(
            "processed_timestamp", F.lit(started_at)
        )
        rejected = rejected.unionByName(collisions.select(stored.columns))
        stored = stored.join(losers, c.ARRIVAL_ORDER, "left_anti").select(stored.columns)
    rows = rejected.unionByName(stored).withColumn("day", _day())
    storage.append(rows.repartition("day"), job.quarantine_path, ["day"])


def _read_quarantine(spark: SparkSession, job: CleanJob, files: list[str]) -> DataFrame:
    """The quarantine of other intervals' arrivals; this interval's is written anew."""
    return storage.read_table(spark, files, c.QUARANTINE_SCHEMA).filter(~job.has_arrival)


def _day() -> Column:
    return F.date_format("arrived_at", "yyyy-MM-dd").alias("day")
