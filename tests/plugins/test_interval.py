import re
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from clickstream.interval import (
    MAX_PREDICATE_CHARACTERS,
    Interval,
    hours_predicate,
    resolve,
)

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
HOUR = timedelta(hours=1)


def resolved(**values: Any) -> Interval:
    defaults: dict[str, Any] = {
        "form_date": None,
        "data_interval": None,
        "run_after": NEXT + timedelta(hours=7, minutes=12),
        "length": timedelta(days=1),
        "delivery_delay": timedelta(minutes=20),
    }
    return resolve(**{**defaults, **values})


def test_a_scheduled_run_cleans_its_own_interval_after_firehose_has_delivered() -> None:
    interval = resolved(data_interval=(DAY, NEXT))
    assert (interval.start, interval.end) == (DAY, NEXT)
    assert interval.ready_at == NEXT + timedelta(minutes=20)
    assert interval.raw_pattern == "year=2026/month=11/day=20/*"
    assert interval.arrival_hours == "year = 2026 AND month = 11 AND day = 20"
    assert interval.key == "2026-11-20"


def test_an_hourly_run_cleans_one_hour() -> None:
    start = DAY + 7 * HOUR
    interval = resolved(data_interval=(start, start + HOUR), length=HOUR)
    assert interval.raw_pattern == "year=2026/month=11/day=20/hour=07/*"
    assert interval.arrival_hours.endswith("AND hour = 7")
    assert interval.key == "2026-11-20T07"


def test_a_date_wins_over_the_runs_interval_and_is_not_waited_for() -> None:
    interval = resolved(form_date="2026-11-19", data_interval=(DAY, NEXT), delivery_delay=None)
    assert (interval.start, interval.end) == (DAY - timedelta(days=1), DAY)
    assert interval.ready_at <= interval.end


def test_a_date_means_the_whole_day_when_the_schedule_is_hourly_too() -> None:
    assert not resolved(form_date="2026-11-19", length=HOUR).is_hour


@pytest.mark.parametrize(
    ("length", "start", "end"),
    [(timedelta(days=1), DAY, NEXT), (HOUR, NEXT + 6 * HOUR, NEXT + 7 * HOUR)],
)
def test_a_run_with_no_interval_takes_the_last_one_that_was_complete_when_it_was_due(
    length: timedelta, start: datetime, end: datetime
) -> None:
    interval = resolved(length=length)
    assert (interval.start, interval.end) == (start, end)


@pytest.mark.parametrize("text", ["2026-02-30", "20.11.2026", "2026-11-20T00:00", "today", "../x"])
def test_a_bad_date_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="it must be a day like 2026-11-20") as caught:
        resolved(form_date=text)
    assert text in str(caught.value)


def test_a_date_in_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="has not begun; the latest is 2026-11-21"):
        resolved(form_date="2026-11-22")


def test_an_interval_that_is_neither_an_hour_nor_a_day_is_refused() -> None:
    with pytest.raises(ValueError, match="neither one UTC hour nor one UTC day"):
        resolved(data_interval=(DAY, DAY + 2 * HOUR))
    with pytest.raises(ValueError, match="neither one UTC hour nor one UTC day"):
        resolved(data_interval=(DAY + HOUR, NEXT + HOUR))


def test_an_interval_survives_xcom() -> None:
    interval = resolved(data_interval=(DAY, NEXT))
    assert Interval.from_xcom(interval.to_xcom()) == interval


def selected(predicate: str, hours: list[datetime]) -> list[datetime]:
    """Which of the hours the predicate holds for, by a real SQL engine."""
    rows = ", ".join(f"({h.year}, {h.month}, {h.day}, {h.hour})" for h in hours)
    found = duckdb.sql(
        f"SELECT * FROM (VALUES {rows}) AS t (year, month, day, hour) WHERE {predicate}"
    ).fetchall()
    return sorted(datetime(*row) for row in found)


def test_the_predicate_holds_for_exactly_the_touched_hours() -> None:
    every = [datetime(2026, 9, 29) + n * HOUR for n in range(24 * 60)]
    touched = [h for n, h in enumerate(every) if n % 7 == 0 or 200 < n < 300]
    touched = [h for h in touched if h != datetime(2026, 10, 9, 5)]  # a day that lacks one hour
    assert selected(hours_predicate(touched), every) == touched


def test_whole_days_of_a_month_share_one_term() -> None:
    hours = [datetime(2026, 11, 1) + n * HOUR for n in range(72)]
    assert hours_predicate(hours) == "((year = 2026 AND month = 11 AND day IN (1, 2, 3)))"


def test_no_touched_hour_selects_nothing() -> None:
    assert selected(hours_predicate([]), [datetime(2026, 1, 1)]) == []


def test_years_of_scattered_hours_still_fit_into_a_statement_and_miss_none() -> None:
    scattered = [datetime(2016, 1, 1) + n * 13 * HOUR for n in range(6000)]
    predicate = hours_predicate(scattered)
    assert len(predicate) < MAX_PREDICATE_CHARACTERS
    assert not re.search(r"\bhour\b", predicate)
    assert selected(predicate, scattered) == scattered
