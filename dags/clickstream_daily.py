"""Clean the clicks of one interval, check them, and load them into the warehouse.

### Why
Analysts ask Athena and Redshift what people do in the shop. This DAG turns the raw lines that
Firehose delivers into `fact_clicks`, one row per event, proves that no line was lost, and builds
sessions, dimensions and marts of every day that the new events touch (docs/data-model.md).

### Schedule
Every UTC day at midnight (every hour with `CLICKSTREAM_SCHEDULE=hourly`: the same rows in the end),
20 minutes late, so that Firehose has delivered. No catch-up: a new deployment must not start with
years of empty days; backfill what you want instead. Runs take turns from `wait_for_turn` on.

### Reads / Writes
Reads raw objects by arrival hour. Writes `fact_clicks`, `quarantine`, `pipeline_runs`, the tables
of the model and `model_runs` in the lake, the same facts, dimensions and marts in Redshift, and
`quality/<interval>/` in the results bucket: what Great Expectations found, a report for people.

### If it fails
- `wait_for_raw`: nothing arrived. Look at Firehose; after a truly silent interval mark it success.
- `clean_events`, `build_model`: the message is the Glue script's own.
- `check_events`, `check_model`: the message names the expectation. Redshift is untouched.
- `check_agreement`: the message has the numbers. Objects that came in meanwhile: clear the run.

### Rerun
Clear the run at any time, in any order (a task: with all from `wait_for_turn` on): the rows come
out the same. For one day of your choice trigger with `date`. For many:
`airflow backfill create --dag-id clickstream_daily --max-active-runs 2 --from-date … --to-date …`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.amazon.aws.operators.glue_crawler import GlueCrawlerRunOperator
from airflow.providers.amazon.aws.operators.redshift_data import RedshiftDataOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import CronDataIntervalTimetable, Param, chain, dag
from clickstream import tasks
from clickstream.assets import FACT_CLICKS
from clickstream.config import Config
from clickstream.defaults import default_args
from clickstream.model_run import VIEWS, WAREHOUSE_TABLES
from clickstream.operators import ExistingGlueJobOperator, RawObjectSensor
from clickstream.sql_files import loads, refreshes, repairs

CONFIG = Config.from_environment()
POLL = CONFIG.settings.poll_seconds
WAREHOUSE = loads("fact_clicks", *WAREHOUSE_TABLES)
INTERVAL = "ti.xcom_pull(task_ids='resolve_interval')"
ATHENA = {
    "workgroup": CONFIG.athena.workgroup,
    "database": CONFIG.glue.database,
    "deferrable": True,
    "sleep_time": POLL,
    "max_polling_attempts": 3600 // POLL,
}
REDSHIFT = {
    "database": CONFIG.redshift.database,
    "workgroup_name": CONFIG.redshift.workgroup,
    "deferrable": True,
    "poll_interval": POLL,
}
JOB_RUN = {
    "script_args": {
        "--interval-start": f"{{{{ {INTERVAL}['start'] }}}}",
        "--interval-end": f"{{{{ {INTERVAL}['end'] }}}}",
    },
    "deferrable": True,
    "durable": True,
    "waiter_delay": POLL,
    "waiter_max_attempts": 6 * 3600 // POLL,
}


@dag(
    schedule=CronDataIntervalTimetable(CONFIG.settings.cron, timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=default_args(CONFIG),
    doc_md=__doc__,
    tags=["clickstream", "impact:tier-1"],
    template_searchpath=[str(CONFIG.settings.sql_folder)],
    user_defined_macros={
        "names": CONFIG,
        "touched_hours": tasks.touched_hours,
        "rebuilt_days": tasks.rebuilt_days,
    },
    params={
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="UTC day",
            description="Clean everything that arrived on this day. Empty: the run's own interval.",
        )
    },
)
def clickstream_daily() -> None:
    """The flow; every step is small, may be retried and may be cleared."""
    resolve_interval = tasks.resolve_interval()
    wait_for_delivery = DateTimeSensorAsync(
        task_id="wait_for_delivery", target_time=f"{{{{ {INTERVAL}['ready_at'] }}}}"
    )
    wait_for_raw = RawObjectSensor(
        task_id="wait_for_raw",
        bucket_name=CONFIG.buckets.raw,
        bucket_key=f"{CONFIG.prefixes.raw}{{{{ {INTERVAL}['raw_pattern'] }}}}",
        wildcard_match=True,
        deferrable=True,
        poke_interval=POLL,
        timeout=CONFIG.settings.raw_timeout_seconds,
    )
    repair_raw = AthenaOperator(
        task_id="repair_raw", query="athena/click_events_raw/repair.sql", **ATHENA
    )
    wait_for_turn = tasks.wait_for_turn()
    clean_events = ExistingGlueJobOperator(
        task_id="clean_events", job_name=CONFIG.glue.clean_job, **JOB_RUN
    )
    crawl_lake = GlueCrawlerRunOperator(
        task_id="crawl_lake",
        crawler_name=CONFIG.glue.crawler,
        fail_on_already_running=False,
        deferrable=True,
        poll_interval=POLL,
    )
    repair_lake = AthenaOperator.partial(task_id="repair_lake", **ATHENA).expand(
        query=repairs("fact_clicks", "quarantine", "pipeline_runs")
    )
    read_ledger = tasks.read_ledger(clean_events.output)
    check_partitions = tasks.check_partitions()
    check_events = tasks.check_events()
    build_model = ExistingGlueJobOperator(
        task_id="build_model", job_name=CONFIG.glue.model_job, **JOB_RUN
    )
    repair_model_runs = AthenaOperator(
        task_id="repair_model_runs", query="athena/model_runs/repair.sql", **ATHENA
    )
    read_model_run = tasks.read_model_run(build_model.output)
    # MSCK would list all days of all tables; the run knows which it has built.
    add_model_partitions = tasks.add_model_partitions()
    check_model = tasks.check_model()
    load_redshift = RedshiftDataOperator(
        task_id="load_redshift", sql=WAREHOUSE, outlets=[FACT_CLICKS], **REDSHIFT
    )
    refresh_views = RedshiftDataOperator.partial(task_id="refresh_views", **REDSHIFT).expand(
        sql=refreshes(*VIEWS)
    )
    check_agreement = tasks.check_agreement()
    # A teardown runs whatever failed before it and does not hide that it failed.
    publish_report = tasks.publish_report().as_teardown()

    chain(
        resolve_interval,
        wait_for_delivery,
        wait_for_raw,
        repair_raw,
        wait_for_turn,
        clean_events,
        crawl_lake,
        repair_lake,
        read_ledger,
        check_partitions,
        check_events,
        build_model,
        repair_model_runs,
        read_model_run,
        add_model_partitions,
        check_model,
        load_redshift,
        refresh_views,
        check_agreement,
        publish_report,
    )


clickstream_daily()
