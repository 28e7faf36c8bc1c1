"""Push quarantined lines through again, once the code that refused them has been mended.

### Why
A line that the contract refuses is kept in `quarantine` with its reason. When the refusal was our
mistake, the mended code must see these lines again. The lake is a function of raw, so a replay is
to clean the days again on which they arrived: mended lines leave the quarantine and load, all
others stay exactly as they were, and nothing can be lost or loaded twice.

### Schedule
None: a person starts it with a reason (or all) and the first and last day of arrival, both
included. Deploy the mended code first.

### Reads / Writes
Reads `quarantine` in Athena. Starts `clickstream_daily` with `date` for each day that holds such
lines, one after the other, as the run `replay__<day>`; that run writes what a daily run writes.
Writes `quality/replay/<time>.json` in the results bucket: lines before, after and mended by day and
reason, which is also what `publish_remainder` returns.

### If it fails
- `count_quarantine`: the message names the value of the form that cannot be used.
- `replay_day`: the daily run of that day failed, or `clickstream_daily` is paused. Look at the run
  `replay__<day>`; a day of which raw objects have expired cannot be replayed, so begin after it.
- A green run whose remainder is not 0 is no failure: the code still refuses these lines. Their
  `detail` says why.

### Rerun
At any time: clear it, or start it again. Unmended lines stay as they are, mended ones are gone from
the count, and a day that was replayed before is cleared and run again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.amazon.aws.operators.athena import AthenaOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, chain, dag
from clickstream import replay_tasks as tasks
from clickstream.config import Config
from clickstream.defaults import default_args
from clickstream.replay import ALL, REASONS

CONFIG = Config.from_environment()
POLL = CONFIG.settings.poll_seconds


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=7),
    default_args=default_args(CONFIG),
    doc_md=__doc__,
    tags=["clickstream", "impact:tier-2"],
    template_searchpath=[str(CONFIG.settings.sql_folder)],
    user_defined_macros={"names": CONFIG},
    params={
        "reason": Param(
            ALL,
            type="string",
            enum=[ALL, *REASONS],
            title="Reason",
            description="Why the lines were refused (docs/data-model.md, quarantine).",
        ),
        "first_day": Param(
            type="string", format="date", title="First UTC day", description="Of arrival."
        ),
        "last_day": Param(
            type="string", format="date", title="Last UTC day", description="Of arrival, included."
        ),
    },
)
def clickstream_replay_quarantine() -> None:
    """Count, clean the days again, count again."""
    # A run that ended between writing and registering left days which Athena does not see.
    repair_quarantine = AthenaOperator(
        task_id="repair_quarantine",
        query="athena/quarantine/repair.sql",
        database=CONFIG.glue.database,
        workgroup=CONFIG.athena.workgroup,
        deferrable=True,
        sleep_time=POLL,
        max_polling_attempts=3600 // POLL,
    )
    count_quarantine = tasks.count_quarantine()
    resolve_days = tasks.resolve_days(count_quarantine)
    replay_day = TriggerDagRunOperator.partial(
        task_id="replay_day",
        trigger_dag_id="clickstream_daily",
        logical_date=None,
        reset_dag_run=True,
        fail_when_dag_is_paused=True,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=POLL,
        max_active_tis_per_dagrun=1,
        execution_timeout=timedelta(hours=12),
    ).expand_kwargs(resolve_days)
    publish_remainder = tasks.publish_remainder(count_quarantine)

    chain(repair_quarantine, count_quarantine, resolve_days, replay_day, publish_remainder)


clickstream_replay_quarantine()
