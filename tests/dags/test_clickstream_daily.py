"""What clickstream_daily asks of AWS: its templates, rendered by Airflow itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

RENDER = """
import json
from datetime import datetime, timedelta, UTC
from airflow.dag_processing.dagbag import DagBag
from clickstream.interval import hours_predicate, resolve

form_date, hourly = {arguments}
dag = DagBag("dags").dags["clickstream_daily"]
interval = resolve(
    form_date=form_date, data_interval=None, run_after=datetime(2026, 11, 21, 7, tzinfo=UTC),
    length=timedelta(hours=1) if hourly else timedelta(days=1), delivery_delay=None,
)

class Xcoms:
    def xcom_pull(self, task_ids, **_):
        touched = hours_predicate([datetime(2026, 11, 20, 23), datetime(2026, 11, 21, 0)])
        return {{
            "resolve_interval": interval.to_xcom(),
            "clean_events": "jr_1",
            "read_ledger": {{"touched_hours": touched}},
            "build_model": "jr_2",
            "read_model_run": {{
                "run_id": "jr_2",
                "touched_days": [],
                "rebuilt_days": {{
                    "fact_sessions": ["2026-11-20", "2026-11-21"], "users_daily": ["2026-11-20"],
                }},
                "row_counts": {{}},
            }},
        }}[task_ids]

rendered = {{}}
for task in dag.tasks:
    if task.is_mapped:
        continue
    task.render_template_fields({{
        "ti": Xcoms(), "dag": dag, "params": {{}},
        # A run of the REST API or of an asset has no logical date: these must not be needed.
        "data_interval_start": None, "logical_date": None,
    }})
    rendered[task.task_id] = {{
        name: getattr(task, name) for name in task.template_fields
        if isinstance(getattr(task, name, None), (str, list, dict))
    }}
rendered["cron"] = dag.timetable.expression
print(json.dumps(rendered, default=str))
"""


@pytest.fixture(scope="module")
def render(in_airflow: Callable[..., str]) -> Callable[..., dict]:
    def run(form_date: str | None, hourly: bool = False) -> dict:
        code = RENDER.format(arguments=(form_date, hourly))
        settings = {"CLICKSTREAM_SCHEDULE": "hourly" if hourly else "daily"}
        return json.loads(in_airflow(code, **settings).splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def daily(render: Callable[..., dict]) -> dict:
    return render("2026-11-20")


def test_a_days_run_waits_for_and_cleans_that_day(daily: dict) -> None:
    raw = daily["wait_for_raw"]
    assert raw["bucket_name"] == "clickstream-dev-raw-000000000000"
    assert raw["bucket_key"] == "clickstream/year=2026/month=11/day=20/*"
    assert daily["clean_events"]["job_name"] == "clickstream-dev-clean-events"
    assert daily["clean_events"]["script_args"] == {
        "--interval-start": "2026-11-20 00:00:00",
        "--interval-end": "2026-11-21 00:00:00",
    }
    assert daily["crawl_lake"]["crawler_name"] == "clickstream-dev-lake"
    assert daily["cron"] == "0 0 * * *"


def test_one_setting_makes_it_hourly(render: Callable[..., dict]) -> None:
    hourly = render(None, hourly=True)
    assert hourly["cron"] == "0 * * * *"
    assert hourly["wait_for_raw"]["bucket_key"].endswith("/day=21/hour=06/*")
    assert hourly["clean_events"]["script_args"]["--interval-end"] == "2026-11-21 07:00:00"


def test_a_load_is_one_transaction_over_what_the_run_has_written_and_no_more(daily: dict) -> None:
    session, *statements = [
        " ".join(line for line in sql.splitlines() if not line.startswith("--")).split()
        for sql in daily["load_redshift"]["sql"]
    ]
    assert session[0] == "SET"
    # What the Data API takes as one batch, which it runs as one transaction.
    assert 34 == len(statements) < 40
    loads = {
        delete[2].removeprefix("clickstream."): (delete, insert)
        for delete, insert in zip(statements[::2], statements[1::2], strict=True)
    }
    for table, (delete, insert) in loads.items():
        assert delete[:3] == ["DELETE", "FROM", f"clickstream.{table}"]
        assert insert[:3] == ["INSERT", "INTO", f"clickstream.{table}"]
    touched = (
        "((year = 2026 AND month = 11 AND day IN (21) AND hour IN (0)) OR "
        "(year = 2026 AND month = 11 AND day IN (20) AND hour IN (23)))"
    )
    predicates = {
        "fact_clicks": touched,
        "fact_sessions": "((year = 2026 AND month = 11 AND day IN (20, 21)))",
        "users_daily": "day IN ('2026-11-20')",
        "funnel_daily": "1 = 0",
        "dim_users": "",
    }
    for table, predicate in predicates.items():
        for statement in map(" ".join, loads[table]):
            assert (
                statement.endswith(f"WHERE {predicate}") if predicate else "WHERE" not in statement
            )
    assert "{" not in json.dumps(daily["load_redshift"]["sql"])


def test_the_repairs_are_whole_statements(daily: dict) -> None:
    assert (
        daily["repair_raw"]["query"]
        .strip()
        .endswith("MSCK REPAIR TABLE clickstream_raw.click_events_raw")
    )


TURN = """
import json
from types import SimpleNamespace
from unittest import mock
from clickstream import tasks

def may_go(report, run="running", turn="success"):
    ti = SimpleNamespace(
        dag_id="clickstream_daily", run_id="mine", task_id="wait_for_turn",
        get_task_states=lambda **_: {
            "mine": {"wait_for_turn": "running", "publish_report": None},
            "other": {"wait_for_turn": turn, "publish_report": report},
        },
        get_dagrun_state=lambda dag_id, run_id: run,
    )
    with mock.patch.object(tasks, "get_current_context", return_value={"ti": ti}):
        return tasks.wait_for_turn.function()

print(json.dumps({
    "working": may_go(None),
    "reporting": may_go("running"),
    "waiting, too": may_go(None, turn="up_for_reschedule"),
    "done": may_go("success"),
    "without ledger": may_go("skipped"),
    "ended by hand": may_go(None, run="failed"),
}))
"""


def test_a_run_waits_for_what_another_has_begun(in_airflow: Callable[..., str]) -> None:
    answers = json.loads(in_airflow(TURN).splitlines()[-1])
    assert [name for name, may_go in answers.items() if not may_go] == ["working", "reporting"]
