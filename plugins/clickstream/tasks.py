"""The DAGs' Python tasks: each reads its inputs from the run and calls one plain function."""

from __future__ import annotations

import logging
from datetime import UTC, timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from clickstream.config import Config
from clickstream.interval import Interval, resolve
from clickstream.ledger import LedgerEntry
from clickstream.model_run import ModelRun

log = logging.getLogger(__name__)

CONFIG = Config.from_environment()


def touched_hours(ti: Any) -> str:
    """Macro for SQL: the predicate of the event hours that this run has rewritten."""
    return ti.xcom_pull(task_ids="read_ledger")["touched_hours"]


def rebuilt_days(ti: Any, table: str) -> str:
    """Macro for SQL: the predicate of the rows of a table that this run has written anew."""
    return ModelRun(**ti.xcom_pull(task_ids="read_model_run")).days_of(table)


def _interval() -> Interval:
    return Interval.from_xcom(_pull("resolve_interval"))


def _entry() -> LedgerEntry:
    return LedgerEntry(**_pull("read_ledger"))


def _model_run() -> ModelRun:
    return ModelRun(**_pull("read_model_run"))


def _pull(task_id: str, key: str = "return_value") -> Any:
    return get_current_context()["ti"].xcom_pull(task_ids=task_id, key=key)


@task
def resolve_interval() -> dict[str, str]:
    """Which arrival hours this run cleans."""
    context = get_current_context()
    run = context["dag_run"]
    start, end = run.data_interval_start, run.data_interval_end
    try:
        interval = resolve(
            form_date=context["params"]["date"],
            data_interval=(start, end) if start and end else None,
            run_after=run.run_after.astimezone(UTC),
            length=CONFIG.settings.interval,
            delivery_delay=(
                None
                if run.run_type == "manual"
                else timedelta(seconds=CONFIG.settings.delivery_delay_seconds)
            ),
        )
    except ValueError as error:
        raise AirflowFailException(str(error)) from None
    return interval.to_xcom()


@task.sensor(
    mode="reschedule",
    # A task that is back before its executor has told that it went is taken for a lost one.
    poke_interval=max(15, CONFIG.settings.poll_seconds),
    timeout=timedelta(hours=12).total_seconds(),
    # Two that look at the same time would both go.
    max_active_tis_per_dag=1,
)
def wait_for_turn() -> bool:
    """Other runs have ended that came this far: two would rewrite and check the same partitions.

    `max_active_runs` counts neither backfills nor what other DAGs trigger beside them.
    """
    ti = get_current_context()["ti"]
    # What the run still has to do after its turn came ends with the report, whatever happens.
    first, last = ti.task_id, "publish_report"
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[first, last])
    busy = [
        run_id
        for run_id, tasks in states.items()
        if run_id != ti.run_id
        and tasks.get(first) == "success"
        and tasks.get(last) not in ("success", "failed", "skipped", "upstream_failed")
        and ti.get_dagrun_state(ti.dag_id, run_id) == "running"
    ]
    log.info("Runs that have not ended: %s", ", ".join(busy) or "none")
    return not busy


@task
def read_ledger(glue_run_id: str) -> dict[str, Any]:
    """What the clean job says it did."""
    from clickstream import ledger

    return ledger.read_ledger(CONFIG, _interval(), glue_run_id).to_xcom()


@task
def check_partitions() -> list[list[str]]:
    """Every touched hour is in the catalog; those that are missing are added."""
    from clickstream.partitions import hour_values

    return _add_partitions({"fact_clicks": [hour_values(hour) for hour in _entry().hours]})


@task
def check_events() -> int:
    """A failed `fail` expectation ends the run here; returns how many `warn` ones failed."""
    from clickstream import quality

    interval, entry = _interval(), _entry()
    return _judge("events", quality.check_events(CONFIG, interval, entry))


@task
def read_model_run(glue_run_id: str) -> dict[str, Any]:
    """What the model job says it did."""
    from clickstream import model_run

    return model_run.read_model_run(CONFIG, _interval(), glue_run_id).to_xcom()


@task
def add_model_partitions() -> list[list[str]]:
    """The catalog learns of every rebuilt day of every table that it does not know yet."""
    from clickstream.model_run import BY_YEAR
    from clickstream.partitions import day_values

    return _add_partitions(
        {
            table: [day_values(day) if table in BY_YEAR else [day] for day in days]
            for table, days in _model_run().rebuilt_days.items()
        }
    )


@task
def check_model() -> int:
    """As `check_events`, for the tables of the model."""
    from clickstream import quality

    return _judge("model", quality.check_model(CONFIG, _interval(), _model_run()))


@task
def check_agreement() -> None:
    """Athena, Redshift and the ledger agree, and every raw line is accounted for."""
    from clickstream import agreement

    entry = _entry()
    counts = agreement.count(CONFIG, _interval(), entry)
    found = agreement.disagreements(entry, counts)
    found += agreement.model_disagreements(CONFIG, _model_run())
    ti = get_current_context()["ti"]
    ti.xcom_push(key="counts", value=counts.to_xcom())
    ti.xcom_push(key="disagreements", value=found)
    if found:
        raise ValueError("; ".join(found))


@task
def publish_report() -> str:
    """The report for people, also of a run that failed; returns where it lies."""
    from clickstream import quality_store
    from clickstream.agreement import Counts
    from clickstream.quality_report import render_report

    if _pull("read_ledger") is None:
        raise AirflowSkipException("The clean job wrote no ledger entry: there is nothing to show.")
    interval, entry = _interval(), _entry()
    validations = quality_store.load_validations(CONFIG, interval, entry.run_id)
    counts = _pull("check_agreement", key="counts")
    found = _pull("check_agreement", key="disagreements") or []
    page = render_report(interval, entry, validations, Counts(**counts) if counts else None, found)
    return quality_store.save_report(CONFIG, interval, page)


def _add_partitions(wanted: dict[str, list[list[str]]]) -> list[list[str]]:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from clickstream.partitions import add_missing_partitions

    glue = AwsBaseHook(client_type="glue", region_name=CONFIG.region).conn
    added = [
        [table, *values]
        for table, partitions in wanted.items()
        for values in add_missing_partitions(CONFIG, glue, table, partitions)
    ]
    log.info("Partitions that the catalog did not know: %s", added or "none")
    return added


def _judge(part: str, validations: dict[str, Any]) -> int:
    """Keep what was found; fail on a failed `fail` expectation, count the `warn` ones."""
    from clickstream import quality, quality_store

    quality_store.save_validations(CONFIG, _interval(), _entry().run_id, part, validations)
    warnings = quality.failures(validations, "warn")
    for check in warnings:
        log.warning("%s", check)
    if failed := quality.failures(validations, "fail"):
        # The data is as it is: trying again would only say the same later.
        raise AirflowFailException("; ".join(map(str, failed)))
    return len(warnings)
