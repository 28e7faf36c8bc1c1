"""One run of the model job: what an interval's clean run touched, and what hangs on it, anew.

Every table is a function of fact_clicks. A run that is killed leaves a note of the days it had
begun, and the next run, whatever its interval, builds those too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial, reduce
from typing import Final

from clickstream_contract import contract as c
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from clickstream_glue import attribution, compaction, marts, sessions, storage
from clickstream_glue import model_tables as t
from clickstream_glue.ledger import touched_hours
from clickstream_glue.model_tables import Table

SPARK_SETTINGS: Final = {
    **storage.SPARK_SETTINGS,
    # The other kind of aggregation loses the order of a group's rows when there are many groups.
    "spark.sql.execution.useObjectHashAggregateExec": "false",
}
DAY: Final = timedelta(days=1)
# From so many days before a touched day to so many after it a session may be another.
DAYS_BEFORE: Final = 1
DAYS_AFTER: Final = 2
# Tables written at a time: while the driver plans one, the cluster works on others.
AT_ONCE: Final = 4
# Of the day before the day before `_build_days` keeps an hour.
MAX_PAUSE_MINUTES: Final = 60
NOTES: Final = "_pending/build_model/"


@dataclass(frozen=True)
class ModelJob:
    """What one run is asked to do; the path is a URI that ends in a slash."""

    interval_start: datetime
    interval_end: datetime
    lake_path: str
    job_name: str
    run_id: str
    session_timeout_minutes: int = 30
    attribution_days: int = 30
    currency: str = "USD"
    site_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRun:
    """One run as model_runs keeps it."""

    run_id: str
    job_name: str
    interval_start: datetime
    interval_end: datetime
    started_at: datetime
    ended_at: datetime
    touched_days: list[str]
    rebuilt_days: dict[str, list[str]]
    row_counts: dict[str, int]
    day: str


class Lake:
    """The tables in their folders, and what this run has written to them."""

    def __init__(self, spark: SparkSession, path: str, note: str) -> None:
        """See the class; `note` names the file of the days that this run has begun."""
        self.spark, self.path = spark, path
        self.rebuilt: dict[Table, set[date]] = defaultdict(set)
        self.note = f"{path}{NOTES}{note}.json"
        self._begun: set[date] = set()

    def begin(self, days: set[date]) -> None:
        """Adds days to this run's note, before anything in them changes."""
        self._begun |= days
        storage.write_text(self.spark, self.note, json.dumps(_names(self._begun)))

    def days(self, name: str, partition: tuple[str, ...] = t.SESSIONS.partition) -> set[date]:
        """The days for which a table has a folder."""
        found = storage.partitions_in(self.spark, f"{self.path}{name}/", partition)
        return {
            date(*map(int, values)) if len(values) > 1 else date.fromisoformat(values[0])
            for values in found
        }

    def read(self, table: Table, days: Iterable[date] | None = None) -> DataFrame:
        """The rows of some days, or all."""
        files = self.files(table, days)
        return storage.read_table(self.spark, files, table.full_schema, f"{self.path}{table.name}/")

    def files(self, table: Table, days: Iterable[date] | None = None) -> list[str]:
        """The data files of some days, or all."""
        # One listing of a whole table costs less than one for each of many days.
        files = storage.files_in(self.spark, f"{self.path}{table.name}/", [""])
        if days is None:
            return files
        depth = len(table.partition)
        folders = {_folder(table, day) for day in days}
        return [file for file in files if "/".join(file.split("/")[-1 - depth : -1]) in folders]

    def read_facts(self, days: set[date]) -> DataFrame:
        """fact_clicks of all days on which a session that has events on `days` may have others.

        These are the day before and the day after; and the day before them, whose last hour tells
        whether a chain of events was under way, and whose other hours tell whose it was.
        """
        needed = {day + offset * DAY for day in days for offset in (-2, -1, 0, 1)}
        folders = [f"{_hive_folder(day)}/" for day in needed]
        files = storage.files_in(self.spark, f"{self.path}fact_clicks/", folders)
        return storage.read_table(self.spark, files, c.FACT_SCHEMA)

    def replace(self, table: Table, rows: DataFrame, days: Iterable[date] = ()) -> None:
        """Puts `rows` in the place of these days of a table, or of all of a snapshot.

        New files come first, the files they replace go last: a run that is killed between the two
        leaves rows twice, and its note.
        """
        old = self.files(table, days if table.partition else None)
        rows = table.conform(rows)
        if table.partition:
            rows = rows.repartition(*table.partition)
        storage.append(rows, f"{self.path}{table.name}/", list(table.partition))
        storage.delete_files(self.spark, old)
        self.rebuilt[table] |= set(days)

    def count_rebuilt(self) -> dict[str, int]:
        """How many rows each table has now where this run has written it."""
        counts = dict.fromkeys((table.name for table in self.rebuilt), 0)
        tables = [
            self.read(table, days if table.partition else None).select(F.lit(table.name))
            for table, days in self.rebuilt.items()
        ]
        if tables:
            named = reduce(DataFrame.union, tables).toDF("name")
            counts |= dict(named.groupBy("name").count().collect())
        return counts


def run(spark: SparkSession, job: ModelJob) -> ModelRun:
    """Builds what the clean runs of one arrival interval have touched."""
    for name, value in SPARK_SETTINGS.items():
        spark.conf.set(name, value)
    started_at = datetime.now(UTC)
    compaction.heal(spark, job.lake_path)
    lake = Lake(spark, job.lake_path, job.run_id)
    ledger = f"{job.lake_path}pipeline_runs/"
    hours = touched_hours(spark, ledger, job.interval_start, job.interval_end)
    touched = {hour.date() for hour in hours}
    notes = storage.files_in(spark, job.lake_path, [NOTES])
    for note in notes:
        touched |= set(map(date.fromisoformat, json.loads(storage.read_text(spark, note))))
    if touched:
        lake.begin(touched)
        _build(lake, job, touched)
        lake.rebuilt[t.SESSIONS] |= _told_before(lake, job)
    model_run = ModelRun(
        run_id=job.run_id,
        job_name=job.job_name,
        interval_start=job.interval_start,
        interval_end=job.interval_end,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        touched_days=_names(touched),
        rebuilt_days={
            table.name: _names(days) for table, days in lake.rebuilt.items() if table.partition
        },
        row_counts=lake.count_rebuilt(),
        day=f"{job.interval_start:%Y-%m-%d}",
    )
    row = spark.createDataFrame([tuple(asdict(model_run).values())], t.MODEL_RUNS.full_schema)
    storage.append(row.coalesce(1), f"{job.lake_path}{t.MODEL_RUNS.name}/", ["day"])
    if touched:
        # Last of all: as long as nobody is told what was rebuilt, it is to be done again.
        storage.delete_files(spark, {*notes, lake.note})
    return model_run


def _told_before(lake: Lake, job: ModelJob) -> set[date]:
    """The days of fact_sessions that earlier runs of the same interval have rebuilt.

    Of a far day they mended is_new_user. Whether it went further than to the lake nobody knows.
    """
    is_same = (F.col("interval_start") == F.lit(job.interval_start)) & (
        F.col("interval_end") == F.lit(job.interval_end)
    )
    runs = lake.read(t.MODEL_RUNS, [job.interval_start.date()]).filter(is_same)
    days = runs.select(F.explode(F.col("rebuilt_days")[t.SESSIONS.name])).distinct().collect()
    return {date.fromisoformat(row[0]) for row in days}


def _build(lake: Lake, job: ModelJob, touched: set[date]) -> None:
    fact_days, session_days = lake.days("fact_clicks"), lake.days(t.SESSIONS.name)
    offsets = range(-DAYS_BEFORE, DAYS_AFTER + 1)
    days = {day + offset * DAY for day in touched for offset in offsets}
    # A day without events has rows to lose if any table knows it.
    days &= fact_days.union(
        session_days, *(lake.days(table.name, table.partition) for table in t.DAILY)
    )
    by_day = _build_days(lake, job, days, session_days)
    _side_by_side(
        lambda: _replace_engagement_daily(lake, by_day, days, fact_days),
        lambda: _replace_attribution_daily(lake, job, days, fact_days),
        lambda: _replace_users(lake),
        *(partial(lake.replace, table, rows) for table, rows in _dimensions(lake).items()),
    )
    lake.spark.catalog.clearCache()


def _side_by_side(*steps: Callable[[], None]) -> None:
    """Takes AT_ONCE steps at a time; raises what the first of them has raised that failed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda step: step(), steps):
            pass


def _build_days(lake: Lake, job: ModelJob, days: set[date], session_days: set[date]) -> DataFrame:
    """The tables whose rows hang on nothing but the events around their day.

    Returns what such events say of engagement_daily.
    """
    facts = lake.read_facts(days)
    visits = sessions.read_visits(facts, job.currency, job.site_hosts)
    identities = sessions.identities_daily(visits).persist()
    near = {day + offset * DAY for day in days for offset in (-1, 0, 1)}
    visits = (
        visits.transform(sessions.with_known_user, identities)
        .filter(_is_on(sessions.TIME, near) | (F.hour(sessions.TIME) == 23))
        .transform(sessions.with_session, timedelta(minutes=job.session_timeout_minutes))
        .persist(StorageLevel.DISK_ONLY)
    )
    all_sessions = sessions.build_sessions(visits).persist(StorageLevel.DISK_ONLY)
    found = all_sessions.filter(_is_on("started_at", days))
    visits_of_days = visits.transform(marts.with_robots, all_sessions)
    events = visits_of_days.filter(_is_on(sessions.TIME, days))
    steps = visits_of_days.filter(_is_on("session_started_at", days))
    facts_of_days = facts.filter(_is_on(sessions.TIME, days))
    hours = marts.users_hourly(events).persist()
    purchases = marts.orders(events).persist()
    tables = {
        t.PRODUCT_PERFORMANCE_DAILY: marts.product_performance_daily(events, facts_of_days),
        t.PAGE_PATHS_DAILY: marts.page_paths_daily(steps, found),
        t.USERS_DAILY: marts.users_daily(hours, found, purchases),
        t.ENGAGEMENT_HOURLY: marts.engagement(hours, found, purchases, "hour", "hour_at"),
        t.FUNNEL_DAILY: marts.funnel_daily(found),
        t.IDENTITIES_DAILY: identities.filter(_is_on("day", days)),
    }
    _side_by_side(
        lambda: _replace_sessions(lake, found, days, session_days),
        *(partial(lake.replace, table, rows, days) for table, rows in tables.items()),
    )
    return marts.engagement(hours, found, purchases, "day", "day")


def _replace_sessions(
    lake: Lake, found: DataFrame, days: set[date], session_days: set[date]
) -> None:
    """Writes fact_sessions of `days`, and of the days on which somebody else is new now."""
    before = lake.read(t.SESSIONS, session_days & days)
    others = lake.read(t.SESSIONS, session_days - days)
    users = found.select("user_key").union(before.select("user_key")).distinct()
    of_users = others.join(users, "user_key", "left_semi")
    # A checkpoint: what is cached Spark reads anew when the table below it is written.
    firsts = sessions.first_sessions(found, of_users).localCheckpoint()
    is_first = F.col("session_id") == F.col("first_session_id")
    wrong = others.join(firsts, "user_key", "inner").filter(F.col("is_new_user") != is_first)
    further = {date(*row) for row in wrong.select(*t.SESSIONS.partition).distinct().collect()}
    if further:
        # Whoever goes on after a kill builds them whole: what told that they are wrong may be gone.
        lake.begin(further)
        rows = lake.read(t.SESSIONS, further)
        lake.replace(t.SESSIONS, rows.transform(sessions.with_is_new_user, firsts), further)
    lake.replace(t.SESSIONS, found.transform(sessions.with_is_new_user, firsts), days)


def _reached(days: set[date], fact_days: set[date], age: int) -> set[date]:
    """The days whose rows count what happened on `days`, up to so many days later."""
    return {day for day in fact_days if any(0 <= (day - d).days <= age for d in days)}


def _replace_engagement_daily(
    lake: Lake, by_day: DataFrame, days: set[date], fact_days: set[date]
) -> None:
    """Writes engagement_daily of `days`, and of later days that count users of `days`."""
    later = _reached(days, fact_days, marts.MONTH - 1) - days
    # A killed run may have left a row twice.
    later_rows = lake.read(t.ENGAGEMENT_DAILY, later).dropDuplicates(["day"])
    later_by_day = later_rows.drop("weekly_user_count", "monthly_user_count")
    for rows, of_days in ((by_day, days), (later_by_day, later)):
        if of_days:
            window = {day - age * DAY for day in of_days for age in range(marts.MONTH)}
            users = lake.read(t.USERS_DAILY, window)
            lake.replace(t.ENGAGEMENT_DAILY, marts.with_active_users(rows, users), of_days)


def _replace_attribution_daily(
    lake: Lake, job: ModelJob, days: set[date], fact_days: set[date]
) -> None:
    """Writes attribution_daily of `days`, and of later days that look back to them."""
    look_back = timedelta(days=job.attribution_days)
    converted = _reached(days, fact_days, job.attribution_days)
    window = {day - age * DAY for day in converted for age in range(look_back.days + 1)}
    window &= fact_days
    rows = attribution.attribution_daily(
        lake.read(t.SESSIONS, window), lake.read(t.IDENTITIES_DAILY, window), converted, look_back
    )
    lake.replace(t.ATTRIBUTION_DAILY, rows, converted | days)


def _replace_users(lake: Lake) -> None:
    """Writes dim_users, and the weekly marts of its persons."""
    users, identities = lake.read(t.USERS_DAILY), lake.read(t.IDENTITIES_DAILY)
    lake.replace(t.DIM_USERS, marts.dim_users(users, identities))
    weeks = marts.active_weeks(users, lake.read(t.DIM_USERS)).persist()
    lake.replace(t.RETENTION_COHORTS, marts.retention_cohorts(weeks))
    lake.replace(t.LIFECYCLE_WEEKLY, marts.lifecycle_weekly(weeks))


def _dimensions(lake: Lake) -> dict[Table, DataFrame]:
    """The other tables that are sums over all days."""
    all_sessions = lake.read(t.SESSIONS)
    return {
        t.DIM_PRODUCTS: marts.dim_products(lake.read(t.PRODUCT_PERFORMANCE_DAILY)),
        t.DIM_PAGES: marts.dim_pages(lake.read(t.PAGE_PATHS_DAILY)),
        t.DIM_DEVICES: marts.dim_devices(all_sessions),
        t.DIM_SOURCES: marts.dim_sources(all_sessions),
        t.DIM_DATES: marts.dim_dates(lake.read(t.USERS_DAILY)),
    }


def _is_on(time: str, days: Iterable[date]) -> Column:
    return F.to_date(time).isin(sorted(days))


def _names(days: Iterable[date]) -> list[str]:
    return sorted(map(str, days))


def _folder(table: Table, day: date) -> str:
    return _hive_folder(day) if "year" in table.partition else f"day={day}"


def _hive_folder(day: date) -> str:
    return f"year={day.year}/month={day.month}/day={day.day}"
