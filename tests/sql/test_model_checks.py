"""The checks of the model's tables, in Athena, on rows that are sound and on rows that are not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickstream import quality
from clickstream.interval import Interval
from clickstream.model_expectations import RULES
from clickstream.model_run import DAILY_TABLES, SNAPSHOTS, ModelRun

from tests.sql.conftest import CONFIG, DAYS, Lakehouse, Row

FIRST = datetime(DAYS[-1].year, DAYS[-1].month, DAYS[-1].day, tzinfo=UTC)
INTERVAL = Interval(FIRST, FIRST + timedelta(days=1), FIRST)


@pytest.fixture(autouse=True)
def connection(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's connection leads to the lakehouse, and so does everything else."""
    aws = lakehouse.aws
    extra = {"region_name": aws.region, "endpoint_url": aws.endpoint}
    value = {"conn_type": "aws", "login": "airflow", "password": "airflow", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    monkeypatch.setenv("CLICKSTREAM_POLL_SECONDS", "1")


def check(lakehouse: Lakehouse, *tables: str) -> list[quality.Check]:
    days = [str(day) for day in DAYS]
    run = ModelRun(
        run_id="jr_1",
        touched_days=days,
        rebuilt_days=dict.fromkeys(DAILY_TABLES, days),
        row_counts={table: len(lakehouse.shop.rows[table]) for table in tables},
    )
    return quality.checks(quality.check_model(CONFIG, INTERVAL, run))


def test_every_table_of_the_model_has_its_rules() -> None:
    assert set(RULES) == {*DAILY_TABLES, *SNAPSHOTS}


def test_sound_rows_pass_every_check(lakehouse: Lakehouse) -> None:
    found = check(lakehouse, *RULES)
    assert {one.table for one in found} == set(RULES)
    assert [str(one) for one in found if not one.is_success] == []


def twice(rows: list[Row]) -> list[Row]:
    return [*rows, rows[0]]


def with_first(**changes: Any) -> Any:
    return lambda rows: [rows[0] | changes, *rows[1:]]


@pytest.mark.parametrize(
    ("table", "break_rows", "column"),
    [
        ("fact_sessions", twice, "session_id"),
        ("users_daily", twice, "user_key, partition_day"),
        ("users_daily", with_first(user_key="nobody knows him"), "user_orphan"),
        ("users_daily", with_first(robot_event_count=10**6), "event_count, robot_event_count"),
        ("users_daily", with_first(revenue=-1), "revenue"),
        ("engagement_daily", with_first(bounce_rate=1.5), "bounce_rate"),
        ("funnel_daily", with_first(checkout_count=10**6), "carted_count, checkout_count"),
        ("page_paths_daily", with_first(to_page="/unheard of"), "page_orphan"),
        ("dim_products", lambda rows: rows[1:], "*"),
    ],
)
def test_an_unsound_row_is_found(
    lakehouse: Lakehouse, table: str, break_rows: Any, column: str
) -> None:
    rows = lakehouse.shop.rows[table]
    lakehouse.put(table, break_rows(rows))
    try:
        failed = [one for one in check(lakehouse, table) if not one.is_success]
    finally:
        lakehouse.put(table, rows)
    assert column in {one.column for one in failed}
    assert all(one.observed for one in failed)
