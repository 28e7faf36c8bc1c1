"""Keep the lake quick to read and free of what is over.

### Why
Small files make every query slow: each costs a request, whatever it holds. The lake gets them from
hourly runs, late events and the ledger. And query results, replaced versions and torn uploads cost
money for ever unless somebody removes them.

### Schedule
Every Sunday at 03:00 UTC, no catch-up. Compaction never runs beside another DAG of this pipeline:
each of their tasks holds a slot of the pool `clickstream_lake`, `compact_lake` takes all of them.
So it waits for running tasks, also of runs that a person started or cleared, and they wait for it.
A Glue job started by hand is not in the pool: do not, or stop Airflow first.

### Reads / Writes
`compact_lake` rewrites partitions of the lake and the quarantine that have more files than their
bytes need (`--target-bytes`, 256 MiB). No row changes: the job compares count and hash of all
columns before it deletes an old file. It also removes what killed jobs left under `_temporary` and
`_pending/compact`. `expire_objects` does what the life cycle rules of the buckets say (processed,
results, errors; never raw), to the day: on AWS, S3 has done it before. It returns how much went by
bucket; with `is_dry_run` it counts only.

### If it fails
- `compact_lake`: the message is the Glue script's own. A rewrite that changed a row, or a writer
  beside it, keeps the old files and is named with its folder. Killed at any moment, a partition may
  hold rows twice: the next try, or the next `clean_events`, deletes what is too much first.
- `compact_lake` stays scheduled: tasks hold slots (Admin, Pools), or the pool is missing
  (`airflow pools import plugins/clickstream/pools.json`).
- `expire_objects`: the message names the object that S3 did not delete, and why.

### Rerun
At any time, in any order: a second run finds nothing to do. To look first, trigger it with
`is_dry_run`, which leaves the compaction as it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import CronDataIntervalTimetable, Param, chain, dag
from clickstream import maintenance_tasks as tasks
from clickstream.config import Config
from clickstream.defaults import LAKE_SLOTS, default_args
from clickstream.operators import ExistingGlueJobOperator

CONFIG = Config.from_environment()
POLL = CONFIG.settings.poll_seconds


@dag(
    schedule=CronDataIntervalTimetable("0 3 * * SUN", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=default_args(CONFIG),
    doc_md=__doc__,
    tags=["clickstream", "impact:tier-3"],
    params={
        "is_dry_run": Param(
            False,
            type="boolean",
            title="Count only",
            description="Say what would expire, and delete none of it.",
        )
    },
)
def clickstream_maintenance() -> None:
    """Compact, then expire: what compaction replaced is noncurrent from now on."""
    compact_lake = ExistingGlueJobOperator(
        task_id="compact_lake",
        job_name=CONFIG.glue.compact_job,
        pool_slots=LAKE_SLOTS,
        deferrable=True,
        durable=True,
        waiter_delay=POLL,
        waiter_max_attempts=6 * 3600 // POLL,
    )
    expire_objects = tasks.expire_objects()

    chain(compact_lake, expire_objects)


clickstream_maintenance()
