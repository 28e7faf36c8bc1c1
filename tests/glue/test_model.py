"""The model job against its oracle and against cases worked out by hand.

The oracle (model_oracle.py) is plain Python written from docs/data-model.md alone.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickstream_glue import clean, model, storage
from clickstream_glue import model_tables as t
from clickstream_glue.contract import FACT_SCHEMA, LEDGER_SCHEMA
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from tests.conftest import ROOT
from tests.glue import model_oracle

Row = dict[str, Any]

MONDAY = datetime(2026, 3, 2)
DAY = timedelta(days=1)
HOUR_COLUMNS = ("year", "month", "day", "hour")
TABLES = [table for table in vars(t).values() if isinstance(table, t.Table)]
MODEL = [table.name for table in TABLES if table is not t.MODEL_RUNS]


class ModelLake:
    """A lake whose fact_clicks the test writes, and what the job makes of it."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self._facts = to_arrow_schema(spark.createDataFrame([], FACT_SCHEMA).schema)
        self._ledger = to_arrow_schema(spark.createDataFrame([], LEDGER_SCHEMA).schema)
        self._number = 0

    def arrive(self, day: datetime, events: Iterable[Row]) -> None:
        """Events that the clean job has loaded from one day's arrivals, and its ledger row."""
        hours: dict[datetime, list[Row]] = {}
        for event in events:
            time = event["event_timestamp"].replace(minute=0, second=0, microsecond=0)
            hours.setdefault(time, []).append(event)
        for time, rows in hours.items():
            names = (f"{name}={getattr(time, name)}" for name in HOUR_COLUMNS)
            self._write("fact_clicks/" + "/".join(names), rows, self._facts)
        run = {
            "interval_start": day,
            "interval_end": day + DAY,
            "touched_hours": sorted(hours),
        }
        schema = self._ledger.remove(self._ledger.get_field_index("day"))
        self._write(f"pipeline_runs/day={day:%Y-%m-%d}", [run], schema)

    def _write(self, folder: str, rows: list[Row], schema: pa.Schema) -> None:
        path = self.folder / folder
        path.mkdir(parents=True, exist_ok=True)
        self._number += 1
        with_utc = [
            {
                name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
                for name, value in row.items()
            }
            for row in rows
        ]
        table = pa.Table.from_pylist(with_utc, schema)
        pq.write_table(table, path / f"{self._number}.parquet")

    def build(self, start: datetime, days: int = 1, **options: Any) -> model.ModelRun:
        """Runs the job over the arrivals of some days."""
        job = model.ModelJob(
            interval_start=start.replace(tzinfo=UTC),
            interval_end=start.replace(tzinfo=UTC) + days * DAY,
            lake_path=f"file:{self.folder}/",
            job_name="model",
            run_id=f"run-{random.random()}",
            site_hosts=("shop.example",),
            **options,
        )
        return model.run(self.spark, job)

    def rows(self, table: str) -> list[Row]:
        """What lies in a table, its folders' names as columns; read without Spark."""
        found = []
        for path in sorted((self.folder / table).rglob("*.parquet")):
            names = dict(
                part.split("=") for part in path.relative_to(self.folder / table).parts[:-1]
            )
            parts = {k: int(v) if "year" in names else v for k, v in names.items()}
            found += [row | parts for row in pq.ParquetFile(path).read().to_pylist()]
        return found

    def files(self, table: str) -> set[Path]:
        """The files of a table."""
        return set((self.folder / table).rglob("*.parquet"))

    def tables(self) -> dict[str, Counter[tuple[Any, ...]]]:
        """The rows of all tables of the model, comparable."""
        return {name: comparable(self.rows(name)) for name in MODEL}

    def check(self, **options: Any) -> None:
        """Every row of every table is the oracle's."""
        expected = model_oracle.expected(self.rows("fact_clicks"), **options)
        assert set(expected) == set(MODEL)
        for name, rows in expected.items():
            found, wanted = comparable(self.rows(name)), comparable(rows)
            assert not found - wanted, (name, "too many", next(iter((found - wanted).items())))
            assert not wanted - found, (name, "missing", next(iter((wanted - found).items())))


def comparable(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    """Rows as a multiset; columns by name."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.replace(tzinfo=None)
        return tuple(value) if isinstance(value, list) else value

    return Counter(tuple((name, plain(row[name])) for name in sorted(row)) for row in rows)


ids = itertools.count()


def event(at: datetime, kind: str = "view", user: str | None = "u", **values: Any) -> Row:
    """One row of fact_clicks."""
    return {
        "event_id": f"e{next(ids):06}",
        "event_type": kind,
        "event_timestamp": at,
        "user_id": user,
        "is_bot": False,
        **values,
    }


def minutes(*offsets: float) -> list[datetime]:
    return [MONDAY + timedelta(minutes=offset) for offset in offsets]


def wild_events(seed: int, count: int, span: timedelta) -> list[Row]:
    """Few users, much that is odd: ties, gaps at the limit, shared browsers, blanks, robots."""
    dice = random.Random(seed)
    pick = dice.choice
    events = []
    moment = MONDAY
    for _ in range(count):
        step = pick([0, 0, 60, 600, 1799, 1800, 1801, 3600, pick([20_000, 90_000])])
        moment += timedelta(seconds=step)
        time = MONDAY + (moment - MONDAY) % span
        user = pick([None, None, "a", "b", "U", "V", "W"])
        events.append(
            event(
                time,
                pick([*["view"] * 3, "click", "add_to_cart", "checkout", "purchase", "search"]),
                user,
                anonymous_id=pick([None, "a", "b", "c"]) if user else pick("abc"),
                session_id=pick([None, "", "s1", "s2"]),
                is_bot=dice.random() < 0.03,
                price=pick([None, Decimal("-3.3333"), Decimal("10.01"), Decimal("9" * 14)]),
                quantity=pick([None, 0, -1, 3, 2**31 - 1]),
                currency=pick([None, "", "  ", "usd", "USD", "EUR"]),
                order_id=pick([None, " ", "o1", "o2", "o3"]),
                product_id=pick([None, " ", "p", "q"]),
                page=pick([None, "", "home", "cart", "café", "(exit)", "(entry)"]),
                page_url=pick([None, "", "//h", "https://h/p?x=1&utm_source=%zz&utm_medium=cpc"]),
                referrer_url=pick(
                    [
                        *[None, "", "//", "https://shop.example/x", "https://www.google.de/search"],
                        *["https://t.co/x", "android-app://com.mail/", "https://Blog.example:80/"],
                    ]
                ),
                device_type=pick([None, "", "mobile", "desktop", "a\nb", "a\\nb"]),
                agent_os=pick([None, "Windows"]),
                location=pick([None, "", "Lyon, FR", "Oslo", "x, ", ","]),
                metadata=pick(
                    [
                        *[None, [], [("product_name", "Lamp"), ("category", "home")]],
                        [("utm_source", "news letter"), ("utm_medium", "Email")],
                        [("utm_campaign", "eshop"), ("utm_source", None)],
                        # Joined by line feeds these two are one text.
                        [("utm_source", "a\nb"), ("utm_medium", "c"), ("utm_campaign", "d\\")],
                        [("utm_source", "a"), ("utm_medium", "b\nc"), ("utm_campaign", "d\\")],
                    ]
                ),
            )
        )
    return events


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> ModelLake:
    """An empty lake."""
    return ModelLake(spark, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_every_row_is_the_oracles_on_wild_traffic(lake: ModelLake, seed: int) -> None:
    lake.arrive(MONDAY, wild_events(seed, 1500, timedelta(days=(3, 20)[seed])))
    run = lake.build(MONDAY)
    lake.check()
    assert run.row_counts == {name: len(lake.rows(name)) for name in MODEL}


@pytest.mark.timeout(900)
def test_every_row_is_the_oracles_on_five_dirty_days(spark: SparkSession, tmp_path: Path) -> None:
    lines = subprocess.run(
        [
            *(sys.executable, "-m", "producer", "--sink", "stdout", "--dirty", "--seed", "5"),
            *("--events", "300000", "--start", f"{MONDAY:%FT%T}"),
            *("--end", f"{MONDAY + 5 * DAY:%FT%T}"),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout.splitlines(keepends=True)
    for number in range(20):
        hour = MONDAY + timedelta(hours=6 * number)
        path = tmp_path / f"raw/{hour:year=%Y/month=%m/day=%d/hour=%H}/part.gz"
        path.parent.mkdir(parents=True)
        part = lines[len(lines) * number // 20 : len(lines) * (number + 1) // 20]
        path.write_bytes(gzip.compress(b"".join(part), 1))
    lake = ModelLake(spark, tmp_path / "lake")
    done = clean.run(
        spark,
        clean.CleanJob(
            interval_start=MONDAY.replace(tzinfo=UTC),
            interval_end=MONDAY.replace(tzinfo=UTC) + 5 * DAY,
            raw_path=f"file:{tmp_path}/raw/",
            lake_path=f"file:{lake.folder}/",
            quarantine_path=f"file:{tmp_path}/quarantine/",
            tombstones_path=f"file:{tmp_path}/tombstones/",
            job_name="clean",
            run_id="clean",
        ),
    )
    assert done.loaded_count == 300_000
    assert min(done.duplicate_count, done.quarantined_count) > 1000
    lake.build(MONDAY, days=5)
    lake.check()
    crossing = [r for r in lake.rows("fact_sessions") if r["ended_at"].day != r["started_at"].day]
    assert len(crossing) > 50


def split_by_arrival(events: list[Row], days: int) -> list[list[Row]]:
    """Arrival days 0 to `days` - 1: most events on their own day, some days later."""
    dice = random.Random(1)
    arrivals: list[list[Row]] = [[] for _ in range(days)]
    for one in events:
        own = min((one["event_timestamp"] - MONDAY).days, days - 1)
        arrivals[own if dice.random() < 0.9 else dice.randrange(own, days)].append(one)
    return arrivals


@pytest.mark.timeout(900)
def test_days_in_any_order_and_twice_give_the_tables_of_one_interval(
    spark: SparkSession, tmp_path: Path
) -> None:
    arrivals = split_by_arrival(wild_events(7, 1200, 3 * DAY), 3)
    whole = ModelLake(spark, tmp_path / "whole")
    for number, events in enumerate(arrivals):
        whole.arrive(MONDAY + number * DAY, events)
    whole.build(MONDAY, days=3)
    whole.check()
    mixed = ModelLake(spark, tmp_path / "mixed")
    for number in (2, 0, 1):
        mixed.arrive(MONDAY + number * DAY, arrivals[number])
        mixed.build(MONDAY + number * DAY)
    assert mixed.tables() == whole.tables()
    mixed.build(MONDAY + DAY)
    assert mixed.tables() == whole.tables()


def test_a_late_event_rewrites_the_days_it_can_reach_and_no_other(lake: ModelLake) -> None:
    quiet = [
        event(MONDAY + number * DAY + timedelta(hours=hour), user=f"u{number % 7}")
        for number in range(40)
        for hour in (9, 9.2, 15)
    ]
    lake.arrive(MONDAY + 40 * DAY, quiet)
    lake.build(MONDAY + 40 * DAY)
    before = {name: lake.files(name) for name in MODEL}
    late_day = MONDAY + 4 * DAY
    lake.arrive(MONDAY + 41 * DAY, [event(late_day + timedelta(hours=12), "purchase", "u1")])
    run = lake.build(MONDAY + 41 * DAY)
    lake.check()
    assert run.touched_days == ["2026-03-06"]

    def rewritten(name: str) -> set[str]:
        changed = before[name] ^ lake.files(name)
        return {"/".join(path.relative_to(lake.folder / name).parts[:-1]) for path in changed}

    def days(first: int, last: int) -> list[date]:
        return [(MONDAY + number * DAY).date() for number in range(first, last + 1)]

    near = days(3, 6)
    assert rewritten("fact_sessions") == {f"year=2026/month=3/day={day.day}" for day in near}
    for name in ("users_daily", "engagement_hourly", "funnel_daily", "page_paths_daily"):
        assert rewritten(name) <= {f"day={day}" for day in near}
        assert run.rebuilt_days[name] == [str(day) for day in near]
    assert rewritten("engagement_daily") == {f"day={day}" for day in days(3, 35)}
    assert run.rebuilt_days["attribution_daily"] == [str(day) for day in days(3, 36)]


def test_an_earlier_first_session_takes_is_new_user_from_a_later_day(lake: ModelLake) -> None:
    lake.arrive(MONDAY + 9 * DAY, [event(MONDAY + 9 * DAY), event(MONDAY + 9 * DAY, user="v")])
    lake.build(MONDAY + 9 * DAY)
    assert [row["is_new_user"] for row in lake.rows("fact_sessions")] == [True, True]
    lake.arrive(MONDAY + 10 * DAY, [event(MONDAY)])
    run = lake.build(MONDAY + 10 * DAY)
    lake.check()
    assert run.rebuilt_days["fact_sessions"] == ["2026-03-02", "2026-03-11"]
    news = {(row["user_key"], row["day"]): row["is_new_user"] for row in lake.rows("fact_sessions")}
    assert news == {("u", 2): True, ("u", 11): False, ("v", 11): True}
    # The warehouse may not have heard of the far day when the run is cleared.
    again = lake.build(MONDAY + 10 * DAY)
    assert (again.rebuilt_days, again.row_counts) == (run.rebuilt_days, run.row_counts)


def test_runs_that_are_killed_leave_nothing_that_the_next_does_not_heal(
    lake: ModelLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the next run is another day's: the note names the days that are half done."""

    class Killed(Exception):
        pass

    def dying(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(left) <= 0:
                raise Killed
            return function(*arguments)

        return call

    lake.arrive(MONDAY, wild_events(11, 150, 2 * DAY))
    lake.build(MONDAY)
    lake.arrive(MONDAY + DAY, wild_events(12, 150, 2 * DAY))
    lake.arrive(MONDAY + 40 * DAY, [event(MONDAY + 40 * DAY)])
    for steps in (22, 3):
        left = itertools.count(steps, -1)
        with monkeypatch.context() as patch:
            for name in ("append", "delete_files"):
                patch.setattr(storage, name, dying(getattr(storage, name)))
            with pytest.raises(Killed):
                lake.build(MONDAY + DAY)
    lake.build(MONDAY + 40 * DAY)
    lake.check()
    assert not list((lake.folder / "_pending").rglob("*.json"))


def test_a_day_that_lost_its_last_event_loses_its_rows(lake: ModelLake) -> None:
    """Also one on which no session began: of one that crosses its first midnight it has a part."""
    late = MONDAY + timedelta(hours=23.9)
    crossing = [event(late), event(late + timedelta(minutes=12))]
    lake.arrive(MONDAY, [*crossing, event(MONDAY + 2 * DAY, "purchase"), event(MONDAY + 4 * DAY)])
    lake.build(MONDAY)
    for path in lake.files("fact_clicks"):
        if path.parent.parent.name in ("day=3", "day=4"):
            path.unlink()
    lake.build(MONDAY)
    lake.check()
    assert {row["day"] for row in lake.rows("users_daily")} == {"2026-03-02", "2026-03-06"}


def test_whose_a_chain_of_events_was_is_known_from_the_whole_day(lake: ModelLake) -> None:
    """Somebody logs in on Monday morning and is active from Monday night to Wednesday."""
    anonymous = [
        event(MONDAY + timedelta(hours=23, minutes=minute), user=None, anonymous_id="a")
        for minute in range(5, 56, 10)
    ]
    known = [event(MONDAY + DAY + timedelta(minutes=minute)) for minute in range(10, 1561, 20)]
    lake.arrive(MONDAY, [event(MONDAY + timedelta(hours=10), anonymous_id="a"), *anonymous, *known])
    lake.build(MONDAY)
    lake.arrive(MONDAY + 3 * DAY, [event(MONDAY + 3 * DAY + timedelta(hours=12), user="v")])
    lake.build(MONDAY + 3 * DAY)
    lake.check()


@pytest.mark.parametrize("step", ["replace", "count_rebuilt"])
def test_a_kill_after_a_far_day_was_mended_is_healed(
    lake: ModelLake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A late login takes a browser's first session, so its second one becomes the first."""
    near, far = MONDAY + timedelta(hours=9), MONDAY + 10 * DAY
    lake.arrive(
        MONDAY, [event(near, user=None, anonymous_id="a"), event(far, user=None, anonymous_id="a")]
    )
    lake.build(MONDAY)
    lake.arrive(MONDAY + 11 * DAY, [event(near + timedelta(minutes=10), anonymous_id="a")])
    real = getattr(model.Lake, step)

    def dying(self: model.Lake, *arguments: Any) -> Any:
        answer = real(self, *arguments)
        if not arguments or (arguments[0] is t.SESSIONS and far.date() in arguments[2]):
            raise RuntimeError("killed")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(model.Lake, step, dying)
        with pytest.raises(RuntimeError, match="killed"):
            lake.build(MONDAY + 11 * DAY)
    lake.arrive(MONDAY + 40 * DAY, [event(MONDAY + 40 * DAY, user="v")])
    run = lake.build(MONDAY + 40 * DAY)
    lake.check()
    # The warehouse is told, too: no run's row has named this day yet.
    assert str(far.date()) in run.rebuilt_days["fact_sessions"]
    assert {row["is_new_user"] for row in lake.rows("fact_sessions")} == {True}


def test_a_killed_compaction_is_healed_before_anything_is_read(lake: ModelLake) -> None:
    lake.arrive(MONDAY, [event(MONDAY)])
    (old,) = lake.files("fact_clicks")
    new = old.with_name("compacted.parquet")
    shutil.copyfile(old, new)
    told = {"folder": f"file:{old.parent}/", "old": [f"file:{old}"], "new": [f"file:{new}"]}
    notes = lake.folder / "_pending" / "compact" / "notes"
    notes.mkdir(parents=True)
    (notes / "killed.json").write_text(json.dumps(told))
    lake.build(MONDAY)
    lake.check()
    assert [row["event_count"] for row in lake.rows("fact_sessions")] == [1]


def test_an_interval_that_touched_nothing_builds_nothing(lake: ModelLake) -> None:
    run = lake.build(MONDAY)
    assert (run.touched_days, run.row_counts) == ([], {})
    assert {path.name for path in lake.folder.iterdir()} == {"model_runs"}


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


def test_other_thresholds_are_arguments(lake: ModelLake) -> None:
    events = [event(time, "purchase", price=Decimal(3), currency="EUR") for time in minutes(0, 7)]
    lake.arrive(MONDAY, events)
    lake.build(MONDAY, session_timeout_minutes=7, currency="eur", attribution_days=1)
    assert [row["revenue"] for row in sessions_of(lake, "u")] == [3, 3]
    lake.check(session_timeout=timedelta(minutes=7), currency="eur", attribution_days=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interval-end=2026-03-01"], "--interval-start must lie before --interval-end"),
        (["--session-timeout-minutes=0"], "'0' is no whole number above 0"),
        (["--session-timeout-minutes=61"], "61 is too long a pause: 60 minutes at most"),
        (["--lake-path=/"], "a folder is needed"),
        (["--currency="], "write a currency's code"),
    ],
)
def test_a_bad_argument_gets_one_sentence(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "glue" / "build_model.py", "--lake-path=lake/"),
            *("--interval-start=2026-03-02", "--interval-end=2026-03-03", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_script_prints_its_run(lake: ModelLake) -> None:
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "glue" / "build_model.py", f"--lake-path=file:{lake.folder}"),
            *(
                "--interval-start=2026-03-02",
                "--interval-end=2026-03-03",
                "--enable-metrics",
                "true",
            ),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    printed = json.loads(done.stdout)
    (row,) = lake.rows("model_runs")
    assert printed["run_id"] == row["run_id"]
    assert printed["touched_days"] == row["touched_days"] == []
