"""A lake of made-up events, and what the model job makes of it."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from clickstream_contract.contract import FACT_SCHEMA, HOUR_COLUMNS, LEDGER_SCHEMA
from clickstream_glue import model
from clickstream_glue import model_tables as t
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from tests.glue import model_oracle

Row = dict[str, Any]

MONDAY = datetime(2026, 3, 2)
DAY = timedelta(days=1)
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
    """Times by their minutes after Monday's midnight."""
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
