"""The definitions of docs/data-model.md, one case each, worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.glue.model_lake import DAY, MONDAY, ModelLake, Row, event, minutes


def visit(user: str, times: Iterable[datetime], **values: Any) -> list[Row]:
    return [event(time, user=user, **values) for time in times]


def campaign(source: str) -> Row:
    return {"metadata": [("utm_source", source)]}


SECOND = 1 / 60
LATE = 24 * 60
PAUSES = [
    *visit("rested", minutes(0, 30 - SECOND, 60 - SECOND, 90)),
    *visit("crossing", minutes(LATE - 5, LATE + 5, LATE + 34)),
    *visit("restless", minutes(*range(-5, 4 * LATE, 20))),
    event(MONDAY, user="campaigns"),
    *visit("campaigns", minutes(1, 2), **campaign("a")),
    *visit("campaigns", minutes(3)),
    *visit("campaigns", minutes(4), **campaign("a")),
    *visit("campaigns", minutes(5), **campaign("b")),
]
STITCHED = [
    event(MONDAY - DAY, user=None, anonymous_id="browser"),
    event(MONDAY + timedelta(hours=9), user=None, anonymous_id="browser"),
    event(MONDAY + timedelta(hours=10), user="ann", anonymous_id="browser"),
    event(MONDAY + timedelta(hours=12), user="bob", anonymous_id="browser"),
    event(MONDAY + timedelta(hours=15), user=None, anonymous_id="browser"),
]
HUGE = Decimal("99999999999999.9999")
#: What a user buys, and its orders, those in another currency, and its revenue.
AMOUNTS: dict[str, tuple[list[Row], tuple[int, int, Decimal]]] = {
    "foreign": ([{"price": Decimal(5), "currency": "eur"}], (1, 1, Decimal(0))),
    "unknown": ([{"price": Decimal(5)}], (1, 0, Decimal(5))),
    "lower": ([{"price": Decimal(5), "currency": "usd"}], (1, 0, Decimal(5))),
    "refund": ([{"price": Decimal("-5.5"), "quantity": 2}], (1, 0, Decimal(-11))),
    "huge": ([{"price": HUGE, "quantity": 2**31 - 1}], (1, 0, HUGE * (2**31 - 1))),
    "nothing": ([{}], (1, 0, Decimal(0))),
    "one order": ([{"order_id": "o", "price": Decimal(1)}] * 2, (1, 0, Decimal(2))),
    "no id": ([{"price": Decimal(1)}] * 2, (2, 0, Decimal(2))),
}
BOUGHT = [
    event(MONDAY, "purchase", user, **values)
    for user, (purchases, _) in AMOUNTS.items()
    for values in purchases
]
STEPS = ["view", "add_to_cart", "checkout", "purchase"]
#: What a user does, minute by minute, and the last step it reaches.
FUNNELS: dict[str, tuple[list[tuple[int, str]], int]] = {
    "all": (list(enumerate(STEPS)), 4),
    "tied": ([(0, step) for step in reversed(STEPS)], 4),
    "backwards": (list(enumerate(reversed(STEPS))), 1),
    "skipped": ([(0, "view"), (1, "checkout"), (2, "purchase")], 1),
    "again": ([(0, "add_to_cart"), (1, "view"), (2, "click"), (3, "add_to_cart")], 2),
    "no view": ([(0, "add_to_cart"), (1, "purchase")], 0),
}
WALKED = [
    event(MONDAY + timedelta(minutes=minute), kind, user)
    for user, (steps, _) in FUNNELS.items()
    for minute, kind in steps
]
LONG = [
    event(MONDAY + timedelta(seconds=n), user="long", page=f"p{n % 150}") for n in range(10_000)
]


@pytest.fixture(scope="module")
def scenes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> ModelLake:
    """All hand-made cases, each with users of its own, built at once."""
    lake = ModelLake(spark, tmp_path_factory.mktemp("scenes"))
    lake.arrive(MONDAY, [*PAUSES, *STITCHED, *BOUGHT, *WALKED, *LONG])
    lake.build(MONDAY)
    return lake


def sessions_of(lake: ModelLake, *users: str) -> list[Row]:
    """Their sessions by time, which is in minutes since Monday."""
    rows = [row for row in lake.rows("fact_sessions") if row["user_key"] in users]
    for row in rows:
        for name in ("started_at", "ended_at"):
            row[name] = (row[name].replace(tzinfo=None) - MONDAY) / timedelta(minutes=1)
    return sorted(rows, key=lambda row: (row["user_key"], row["started_at"]))


def test_a_pause_of_30_minutes_ends_a_session_and_one_of_29_59_does_not(scenes: ModelLake) -> None:
    found = sessions_of(scenes, "rested")
    assert [row["started_at"] for row in found] == pytest.approx([0, 60 - SECOND, 90])
    assert [row["ended_at"] for row in found] == pytest.approx([30 - SECOND, 60 - SECOND, 90])


def test_a_session_crosses_one_midnight_and_no_robot_two(scenes: ModelLake) -> None:
    (crossing,) = sessions_of(scenes, "crossing")
    assert (crossing["started_at"], crossing["ended_at"]) == (LATE - 5, LATE + 34)
    # It began on Sunday 23:55: Monday goes with it, from Tuesday on every day is one of its own.
    starts = [row["started_at"] for row in sessions_of(scenes, "restless")]
    assert starts == [-5, LATE + 15, 2 * LATE + 15, 3 * LATE + 15]


def test_another_campaign_begins_a_session_and_the_same_one_does_not(scenes: ModelLake) -> None:
    found = sessions_of(scenes, "campaigns")
    assert [(row["started_at"], row["source"]) for row in found] == [
        *[(0, "(direct)"), (1, "a"), (5, "b")]
    ]


def test_an_anonymous_visitor_becomes_the_user_first_known_that_day(scenes: ModelLake) -> None:
    found = sessions_of(scenes, "browser", "ann", "bob")
    assert [(row["user_key"], row["started_at"] // 60) for row in found] == [
        *[("ann", 9), ("ann", 10), ("ann", 15), ("bob", 12), ("browser", -24)]
    ]
    persons = {row["user_key"]: row["person_key"] for row in scenes.rows("dim_users")}
    assert [persons[name] for name in ("browser", "ann", "bob")] == ["ann", "ann", "bob"]


@pytest.mark.parametrize("user", AMOUNTS)
def test_an_odd_amount_has_the_documented_answer(scenes: ModelLake, user: str) -> None:
    (row,) = sessions_of(scenes, user)
    assert (row["order_count"], row["foreign_order_count"], row["revenue"]) == AMOUNTS[user][1]


@pytest.mark.parametrize("user", FUNNELS)
def test_the_funnel_goes_by_time_and_at_one_time_by_step(scenes: ModelLake, user: str) -> None:
    (row,) = sessions_of(scenes, user)
    assert row["funnel_step"] == FUNNELS[user][1]


def test_a_session_of_ten_thousand_events_is_one_row(scenes: ModelLake) -> None:
    (row,) = sessions_of(scenes, "long")
    assert (row["event_count"], row["duration_seconds"]) == (10_000, 9_999.0)
    assert row["page_path"] == [f"p{n}" for n in range(100)]
    steps = scenes.rows("page_paths_daily")
    assert sum(step["transition_count"] for step in steps) == 10_001


def test_the_cases_worked_out_by_hand_are_the_oracles_too(scenes: ModelLake) -> None:
    scenes.check()


def test_other_thresholds_are_arguments(spark: SparkSession, tmp_path: Path) -> None:
    lake = ModelLake(spark, tmp_path)
    events = [event(time, "purchase", price=Decimal(3), currency="EUR") for time in minutes(0, 7)]
    lake.arrive(MONDAY, events)
    lake.build(MONDAY, session_timeout_minutes=7, currency="eur", attribution_days=1)
    assert [row["revenue"] for row in sessions_of(lake, "u")] == [3, 3]
    lake.check(session_timeout=timedelta(minutes=7), currency="eur", attribution_days=1)
