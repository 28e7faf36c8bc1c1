"""The model job against its oracle: any traffic, any order of runs, any kill.

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
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickstream_glue import clean, model, storage
from clickstream_glue import model_tables as t
from pyspark.sql import SparkSession

from tests.conftest import ROOT
from tests.glue.model_lake import DAY, MODEL, MONDAY, ModelLake, Row, event, wild_events


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
