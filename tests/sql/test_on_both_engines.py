"""The SQL files run: on Athena and on Redshift of an embedded AWS, with the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import tables
from tests.sql.conftest import CONFIG, DATES, MODEL, NOT_IN_WAREHOUSE, Lakehouse
from tests.sql.shop import DAYS

SQL = Path(__file__).resolve().parents[2] / "sql"
QUESTIONS = sorted(path.stem for path in SQL.glob("analytics/*.sql"))
#: Questions about what only the lake has.
LAKE_ONLY = {"conservation": "pipeline_runs", "quarantine_by_reason": "quarantine"}
CHECKED = sorted(set(MODEL) - {"model_runs"})
VIEWS = sorted(path.parent.name for path in SQL.glob("redshift/*/create_view.sql"))


def ask(lakehouse: Lakehouse, name: str) -> list[dict[str, Any]]:
    return lakehouse.ask_athena(lakehouse.text(f"analytics/{name}.sql"))


def asked_for(lakehouse: Lakehouse, table: str) -> list[dict[str, Any]]:
    """A shop's rows of the days that the questions are about."""
    rows = lakehouse.shop.rows[table]
    first = DATES["first_date"]
    if table == "fact_sessions":
        return [row for row in rows if str(row["started_at"]) >= first and not row["is_bot"]]
    return [row for row in rows if row["day"] >= first]


def run_file(lakehouse: Lakehouse, name: str) -> None:
    """Run a file as scripts/tables.py does, statement by statement."""
    for statement in tables.statements(SQL / name, CONFIG):
        lakehouse.run(statement)


def test_there_are_questions_and_views() -> None:
    assert len(QUESTIONS) >= 15
    assert set(QUESTIONS) >= set(LAKE_ONLY)
    assert len(VIEWS) >= 2
    pairs = {path.stem for path in SQL.glob("analytics/redshift/*.sql")}
    assert pairs
    assert pairs <= set(QUESTIONS)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_the_same_answer_on_both_engines(lakehouse: Lakehouse, name: str) -> None:
    rows = ask(lakehouse, name)
    assert rows, "no rows prove nothing"
    assert all(any(row[column] is not None for row in rows) for column in rows[0])
    if name in LAKE_ONLY:
        assert f"clickstream.{LAKE_ONLY[name]}" in lakehouse.text(f"analytics/{name}.sql")
        return
    pair = f"analytics/redshift/{name}.sql"
    path = pair if (SQL / pair).exists() else f"analytics/{name}.sql"
    assert lakehouse.ask_redshift(lakehouse.text(path)) == rows


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_asks_about_the_given_days_only(lakehouse: Lakehouse, name: str) -> None:
    days = {"first_date": "2001-01-01", "last_date": "2001-01-02", "arrival_date": "2001-01-01"}
    rows = lakehouse.ask_athena(lakehouse.text(f"analytics/{name}.sql", **days))
    counts = [value for row in rows for column, value in row.items() if column.endswith("_count")]
    assert not any(counts)


# ---------------------------------------------------------------- what the questions answer


def test_stickiness_is_the_days_users_by_the_months(lakehouse: Lakehouse) -> None:
    days = {row["day"]: row for row in asked_for(lakehouse, "engagement_daily")}
    for row in ask(lakehouse, "stickiness"):
        day = days[row["event_date"]]
        rate = day["user_count"] / day["monthly_user_count"]
        assert row["monthly_stickiness_rate"] == pytest.approx(rate, abs=1e-4)


def test_conversion_by_channel_leaves_robots_out(lakehouse: Lakehouse) -> None:
    sessions = asked_for(lakehouse, "fact_sessions")
    rows = ask(lakehouse, "conversion_by_channel")
    assert sum(row["session_count"] for row in rows) == len(sessions)
    for row in rows:
        own = [session for session in sessions if session["channel"] == row["channel"]]
        rate = sum(session["is_converted"] for session in own) / len(own)
        assert row["conversion_rate"] == pytest.approx(rate, abs=1e-4)
        assert row["revenue"] == float(sum(session["revenue"] for session in own))


def test_each_rate_of_the_funnel_is_of_the_step_before(lakehouse: Lakehouse) -> None:
    rows = ask(lakehouse, "funnel_by_segment")
    kinds = {row["segment_kind"] for row in rows}
    assert kinds == {"device_type", "channel", "country"}
    for kind in kinds:
        found = sum(row["session_count"] for row in rows if row["segment_kind"] == kind)
        assert found == len(asked_for(lakehouse, "fact_sessions"))
    for row in rows:
        steps = [row[f"{step}_count"] for step in ("session", "viewed", "carted", "checkout")]
        rates = [row[f"{step}_rate"] for step in ("view", "cart", "checkout")]
        for before, after, rate in zip(steps, [*steps[1:]], rates, strict=False):
            assert rate == (pytest.approx(after / before, abs=1e-4) if before else None)


def test_an_order_in_a_foreign_currency_does_not_lower_the_average(lakehouse: Lakehouse) -> None:
    sessions = asked_for(lakehouse, "fact_sessions")
    assert any(session["foreign_order_count"] for session in sessions)
    for row in ask(lakehouse, "order_value_by_day"):
        own = [s for s in sessions if str(s["started_at"].date()) == row["session_date"]]
        revenue = sum(session["revenue"] for session in own)
        orders = sum(s["order_count"] - s["foreign_order_count"] for s in own)
        assert row["average_order_value"] == pytest.approx(float(revenue / orders), abs=0.01)


def test_a_repeat_buyer_is_a_person_under_whatever_name(lakehouse: Lakehouse) -> None:
    orders: dict[str, int] = {}
    for row in asked_for(lakehouse, "users_daily"):
        person = "u1" if row["user_key"].startswith("u1") else row["user_key"]
        orders[person] = orders.get(person, 0) + row["order_count"]
    (row,) = ask(lakehouse, "repeat_purchases")
    assert row["buyer_count"] == sum(count > 0 for count in orders.values())
    assert row["repeat_buyer_count"] == sum(count > 1 for count in orders.values())


def test_days_to_the_purchase_count_from_the_users_first_session(lakehouse: Lakehouse) -> None:
    seen: dict[str, Any] = {}
    bought: dict[str, Any] = {}
    for session in lakehouse.shop.rows["fact_sessions"]:
        day = session["started_at"].date()
        seen.setdefault(session["user_key"], day)
        if session["is_converted"] and not session["is_bot"]:
            bought.setdefault(session["user_key"], day)
    expected: dict[float, int] = {}
    for user, day in bought.items():
        if day != DAYS[0]:
            days = (day - seen[user]).days
            expected[days] = expected.get(days, 0) + 1
    rows = ask(lakehouse, "time_to_purchase")
    assert {row["day_count"]: row["user_count"] for row in rows} == expected


def test_a_product_that_nobody_buys_is_found(lakehouse: Lakehouse) -> None:
    assert [row["product_id"] for row in ask(lakehouse, "products_viewed_not_bought")] == ["p4"]


def test_ways_after_the_landing_page_are_the_sessions_own(lakehouse: Lakehouse) -> None:
    ways: dict[tuple[str, ...], int] = {}
    for session in asked_for(lakehouse, "fact_sessions"):
        if session["page_path"]:
            way = (*session["page_path"], "(exit)", "(exit)")[:3]
            ways[way] = ways.get(way, 0) + 1
    rows = ask(lakehouse, "landing_paths")
    found = {
        (row["entry_page"], row["second_page"], row["third_page"]): row["session_count"]
        for row in rows
    }
    assert len(found) <= 50
    assert found == {way: ways[way] for way in found}


def test_an_experiment_counts_what_came_after_the_first_exposure(lakehouse: Lakehouse) -> None:
    columns = (
        *("experiment", "variant", "is_control", "visitor_count", "crossover_count"),
        *("converted_visitor_count", "revenue", "visitor_share", "visitor_conversion_rate"),
        *("revenue_per_visitor", "conversion_lift", "z_score"),
    )
    # Worked out by hand from experiments.STORIES. A z of two proportions x/n and y/m, P together:
    # (y/m - x/n) / sqrt(P (1 - P) (1/n + 1/m)).
    answer = [
        # 20 + often, foreign, device, no browser; 3 + often, foreign, no browser; 30 + 10.75 + 3.25
        ("button", "control", True, 24, 1, 6, 44, 0.4, 0.25, 1.8333, None, None),
        # 20 + twice, before, the other before, logged in; 9 + all but before; 112.5 + 7 + 5 + 1;
        # 1/4 / sqrt(3/8 * 5/8 * 1/12) = 4 / sqrt(5)
        ("button", "big", False, 24, 1, 12, 125.5, 0.4, 0.5, 5.2292, 1, 1.7889),
        # -1/6 / sqrt(7/36 * 29/36 * 1/8) = -sqrt(288 / 203)
        ("button", "wide", False, 12, 0, 1, 8, 0.2, 0.0833, 0.6667, -0.6667, -1.1911),
        ("cart_reminder", "discount", True, 4, 0, 3, 30, 0.5, 0.75, 7.5, None, None),
        # -1/4 / sqrt(5/8 * 3/8 * 1/2) = -sqrt(8 / 15)
        ("cart_reminder", "reminder", False, 4, 0, 2, 25, 0.5, 0.5, 6.25, -0.3333, -0.7303),
        # Where nobody converts or nobody is left, there is nothing to compare.
        ("quiet", "a", True, 1, 0, 0, 0, 0.5, 0, 0, None, None),
        ("quiet", "b", False, 1, 0, 0, 0, 0.5, 0, 0, None, None),
        ("swap", "x", True, 0, 1, 0, 0, 0, None, None, None, None),
        ("swap", "y", False, 1, 0, 0, 0, 1, 0, 0, None, None),
    ]
    rows = ask(lakehouse, "experiment_results")
    assert rows == [dict(zip(columns, row, strict=True)) for row in answer]


def test_an_experiments_z_squared_is_pearsons_chi_square(lakehouse: Lakehouse) -> None:
    rows = ask(lakehouse, "experiment_results")
    compared = [row for row in rows if row["z_score"] is not None]
    assert len(compared) == 3
    for row in compared:
        (control,) = (
            other
            for other in rows
            if other["experiment"] == row["experiment"] and other["is_control"]
        )
        groups = [(it["converted_visitor_count"], it["visitor_count"]) for it in (control, row)]
        converted, everybody = (sum(numbers) for numbers in zip(*groups, strict=True))
        chi_square = 0.0
        for bought, size in groups:
            for seen, share in ((bought, converted), (size - bought, everybody - converted)):
                expected = size * share / everybody
                chi_square += (seen - expected) ** 2 / expected
        assert row["z_score"] ** 2 == pytest.approx(chi_square, abs=1e-3)


def test_an_experiments_revenue_is_in_the_currency_that_is_asked_for(lakehouse: Lakehouse) -> None:
    sql = lakehouse.text("analytics/experiment_results.sql", currency="EUR")
    rows = lakehouse.ask_athena(sql)
    revenue = {row["variant"]: row["revenue"] for row in rows if row["experiment"] == "button"}
    # Two purchases of 99 in euros; no currency, or a blank one, means whichever is asked for.
    assert revenue == {"control": 2 * 99 + 4.25, "big": 0, "wide": 0}


def test_an_experiment_knows_nothing_of_other_days(lakehouse: Lakehouse) -> None:
    days = {"first_date": "2026-11-14", "last_date": "2026-11-20"}
    sql = lakehouse.text("analytics/experiment_results.sql", **days)
    found = {
        row["variant"]: (
            *(row["visitor_count"], row["crossover_count"]),
            *(row["converted_visitor_count"], row["revenue"]),
        )
        for row in lakehouse.ask_athena(sql)
        if row["experiment"] == "button"
    }
    # The earlier exposures count now, one of them makes a cross-over; what was bought on the 21st
    # does not.
    assert found == {"control": (26, 2, 8, 109), "big": (23, 1, 10, 119.5), "wide": (12, 0, 1, 8)}


# ---------------------------------------------------------------- checks and loads


@pytest.mark.parametrize("name", CHECKED)
def test_the_checks_see_each_row_once_and_no_orphan(lakehouse: Lakehouse, name: str) -> None:
    rows = lakehouse.ask_athena(lakehouse.text(f"athena/{name}/quality.sql"))
    assert len(rows) == len(lakehouse.shop.rows[name]) > 0
    for row in rows:
        assert not [column for column, value in row.items() if column.endswith("orphan") and value]
        assert row.get("row_day", row.get("partition_day")) == row.get("partition_day")


@pytest.mark.parametrize(
    ("name", "dimension", "orphan"),
    [
        ("fact_sessions", "dim_users", "user_orphan"),
        ("fact_sessions", "dim_devices", "device_orphan"),
        ("fact_sessions", "dim_sources", "source_orphan"),
        ("fact_sessions", "dim_pages", "entry_page_orphan"),
        ("users_daily", "dim_users", "user_orphan"),
        ("product_performance_daily", "dim_products", "product_orphan"),
        ("page_paths_daily", "dim_pages", "page_orphan"),
        ("attribution_daily", "dim_sources", "source_orphan"),
    ],
)
def test_a_row_without_its_member_is_an_orphan(
    lakehouse: Lakehouse, name: str, dimension: str, orphan: str
) -> None:
    sql = lakehouse.text(f"athena/{name}/quality.sql")
    nobody = f"(SELECT * FROM clickstream.{dimension} WHERE 1 = 0)"
    assert f"clickstream.{dimension}" in sql
    rows = lakehouse.ask_athena(sql.replace(f"clickstream.{dimension}", nobody))
    expected = [
        int(row.get("entry_page") is not None or orphan != "entry_page_orphan")
        for row in lakehouse.shop.rows[name]
    ]
    assert sorted(row[orphan] for row in rows) == sorted(expected)


def test_the_checks_look_at_no_other_day(lakehouse: Lakehouse) -> None:
    sql = lakehouse.text("athena/users_daily/quality.sql", rebuilt_days="day IN ('2026-11-20')")
    assert {row["partition_day"] for row in lakehouse.ask_athena(sql)} == {"2026-11-20"}


def test_the_runs_entry_is_json_where_it_is_nested(lakehouse: Lakehouse) -> None:
    (row,) = lakehouse.ask_athena(lakehouse.text("athena/model_runs/read.sql"))
    assert row["run_id"] == "jr_1"
    assert json.loads(row["touched_days"]) == ["2026-11-20"]
    assert json.loads(row["rebuilt_days"]) == {"fact_sessions": ["2026-11-20", "2026-11-21"]}
    assert json.loads(row["row_counts"]) == {"fact_sessions": 80}
    assert lakehouse.ask_athena(lakehouse.text("athena/model_runs/read.sql", run_id="jr_2")) == []


@pytest.mark.parametrize("name", sorted(set(MODEL) - NOT_IN_WAREHOUSE))
def test_a_load_may_run_again_and_again(lakehouse: Lakehouse, name: str) -> None:
    steps = [lakehouse.text(f"redshift/{name}/{step}.sql") for step in ("delete", "insert")]
    lakehouse.run("SET json_serialization_enable TO TRUE", *steps)
    (row,) = lakehouse.ask_redshift(f"SELECT count(*) AS rows FROM clickstream.{name}")
    assert row["rows"] == len(lakehouse.shop.rows[name])


# ---------------------------------------------------------------- views and grants


def test_views_follow_their_tables_and_may_be_made_again(lakehouse: Lakehouse) -> None:
    for _ in range(2):
        for name in VIEWS:
            run_file(lakehouse, f"redshift/{name}/create_view.sql")
    for name in VIEWS:
        lakehouse.run(lakehouse.text(f"redshift/{name}/refresh.sql"))
    (row,) = lakehouse.ask_redshift(
        "SELECT sum(session_count) AS sessions, sum(revenue) AS revenue "
        "FROM clickstream.channel_kpis_daily"
    )
    sessions = [row for row in lakehouse.shop.rows["fact_sessions"] if not row["is_bot"]]
    revenue = float(sum(session["revenue"] for session in sessions))
    assert row == {"sessions": len(sessions), "revenue": revenue}
    (row,) = lakehouse.ask_redshift(
        "SELECT sum(event_count) AS events FROM clickstream.event_counts_hourly"
    )
    assert row["events"] == sum(not row["is_bot"] for row in lakehouse.shop.rows["fact_clicks"])
    products = lakehouse.ask_redshift(
        "SELECT month_date, view_count FROM clickstream.product_funnel_monthly"
    )
    views = sum(row["view_count"] for row in lakehouse.shop.rows["product_performance_daily"])
    assert {row["month_date"] for row in products} == {"2026-11-01"}
    assert sum(row["view_count"] for row in products) == views


def test_an_analyst_may_read_what_is_there_and_what_comes(lakehouse: Lakehouse) -> None:
    for _ in range(2):
        run_file(lakehouse, "redshift/grants.sql")
    lakehouse.run("CREATE TABLE clickstream.later (id BIGINT)")
    try:
        for name in VIEWS:
            run_file(lakehouse, f"redshift/{name}/create_view.sql")
        rows = lakehouse.ask_redshift(
            "SELECT relation_name, privilege_type FROM svv_relation_privileges "
            "WHERE identity_name = 'analyst' AND namespace_name = 'clickstream'"
        )
    finally:
        lakehouse.run("DROP TABLE clickstream.later")
    assert {row["privilege_type"] for row in rows} == {"SELECT"}
    readable = {"fact_clicks", "later", *VIEWS, *(set(MODEL) - NOT_IN_WAREHOUSE)}
    assert {row["relation_name"] for row in rows} == readable
    schemas = lakehouse.ask_redshift(
        "SELECT namespace_name, privilege_type FROM svv_schema_privileges "
        "WHERE identity_name = 'analyst' ORDER BY 1"
    )
    # Not on the lake's schema: the quarantine is in it.
    assert schemas == [{"namespace_name": "clickstream", "privilege_type": "USAGE"}]
