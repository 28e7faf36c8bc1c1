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

from tests.sql.conftest import CONFIG, Lakehouse
from tests.sql.shop import DAYS, Row

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


def broken(rows: list[Row], **changes: Any) -> list[Row]:
    """The first row is another one, and stands there twice."""
    return [rows[0] | changes, *rows[1:], rows[0] | changes]


def test_unsound_rows_are_found(lakehouse: Lakehouse) -> None:
    sound = lakehouse.shop.rows
    unsound = {
        "fact_sessions": broken(sound["fact_sessions"]),
        "users_daily": broken(
            sound["users_daily"], user_key="nobody knows", robot_event_count=10**6, revenue=-1
        ),
        "engagement_daily": broken(sound["engagement_daily"], bounce_rate=1.5),
        "funnel_daily": broken(sound["funnel_daily"], checkout_count=10**6),
        "page_paths_daily": broken(sound["page_paths_daily"], to_page="/unheard of"),
        "dim_products": sound["dim_products"][1:],
        "dim_dates": [sound["dim_dates"][0], *sound["dim_dates"][2:]],
    }
    for table, rows in unsound.items():
        lakehouse.put(table, rows)
    try:
        failed = [one for one in check(lakehouse, *unsound) if not one.is_success]
    finally:
        for table in unsound:
            lakehouse.put(table, sound[table])
    assert all(one.observed for one in failed)
    assert {(one.table, one.column) for one in failed} >= {
        ("fact_sessions", "session_id"),
        ("users_daily", "user_key, partition_day"),
        ("users_daily", "user_orphan"),
        ("users_daily", "event_count, robot_event_count"),
        ("users_daily", "revenue"),
        ("engagement_daily", "bounce_rate"),
        ("funnel_daily", "carted_count, checkout_count"),
        ("page_paths_daily", "page_orphan"),
        ("dim_products", "*"),
        ("dim_dates", "days_since_last"),
    }
