"""Erase one person from every line, row, object and version, and prove it.

### Why
A person may ask to be forgotten. This DAG takes out of raw, lake, quarantine, results and warehouse
what is the person's, leaves a tombstone so that no replay or backfill brings it back, and reads
everything again to see that the id is nowhere.

### Schedule
None: somebody fills in the form. `user_id` is the id as the events have it, typed twice, since
nothing of this can be undone. `with_anonymous_ids` erases as well what the person's browsers sent
before the login: events without a user_id, with an anonymous_id that was seen beside this user_id.

### Reads / Writes
Reads every version of every object in all buckets. Replaces lines of raw objects and rows of
Parquet, deletes old versions and query results, deletes rows in Redshift. Runs clickstream_daily
for each arrival day concerned, so that ledger, model and warehouse follow. Writes `tombstones/` in
the artifacts bucket and `erasures/<digest>/proof.json` in the results bucket.

### If it fails
- `check_request`: the sentence says which field; nothing has happened yet.
- `erase_lake`: the message is the Glue script's own. What it had erased stays erased.
- `rerun_days`: a run of clickstream_daily failed: mend that run's cause, then clear this task.
- `publish_proof`: the message names what is left and where; see the runbook, *Erase a person*.

### Rerun
Clear any task, or trigger it again with the same id, at any time: what is gone is not missed, and
days that an earlier try has changed are remembered. Afterwards delete this DAG's run in the UI:
Airflow keeps the form's values with it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, chain, dag
from clickstream import erasure
from clickstream.config import Config
from clickstream.defaults import default_args
from clickstream.operators import ExistingGlueJobOperator

CONFIG = Config.from_environment()
POLL = CONFIG.settings.poll_seconds
LONGEST = timedelta(hours=24)
JOB = {
    "job_name": CONFIG.glue.erase_job,
    "deferrable": True,
    "durable": True,
    "waiter_delay": POLL,
    "waiter_max_attempts": int(LONGEST.total_seconds()) // POLL,
    "execution_timeout": LONGEST,
}
PERSON = {
    "--user": "{{ ti.xcom_pull(task_ids='check_request') }}",
    "--with-anonymous": "{{ params.with_anonymous_ids | string | lower }}",
}


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=7),
    default_args=default_args(CONFIG),
    doc_md=__doc__,
    tags=["clickstream", "impact:tier-1"],
    params={
        "user_id": Param("", type="string", title="user_id", description="As the events have it."),
        "confirm_user_id": Param(
            "", type="string", title="The same again", description="There is no way back."
        ),
        "with_anonymous_ids": Param(
            True,
            type="boolean",
            title="With the person's anonymous ids",
            description="Events before a login, by anonymous ids seen beside this user_id.",
        ),
    },
)
def clickstream_erase_user() -> None:
    """The flow; every step may be retried and cleared."""
    check_request = erasure.check_request()
    erase_lake = ExistingGlueJobOperator(
        task_id="erase_lake", script_args={"--step": "erase", **PERSON}, **JOB
    )
    erase_warehouse = erasure.erase_warehouse()
    read_plan = erasure.read_plan()
    rerun_days = TriggerDagRunOperator.partial(
        task_id="rerun_days",
        trigger_dag_id="clickstream_daily",
        logical_date=None,
        reset_dag_run=True,
        wait_for_completion=True,
        fail_when_dag_is_paused=True,
        deferrable=True,
        poke_interval=POLL,
        execution_timeout=LONGEST,
        max_active_tis_per_dagrun=1,
    ).expand_kwargs(read_plan)
    # Nothing to run again is no reason to prove nothing.
    prove_lake = ExistingGlueJobOperator(
        task_id="prove_lake",
        script_args={"--step": "prove", **PERSON},
        trigger_rule="none_failed",
        **JOB,
    )
    publish_proof = erasure.publish_proof()

    chain(
        check_request,
        erase_lake,
        erase_warehouse,
        read_plan,
        rerun_days,
        prove_lake,
        publish_proof,
    )


clickstream_erase_user()
