"""What one run of the model job says it did (`model_runs`), and the model's tables by name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from clickstream.config import Config
from clickstream.interval import Interval, hours_predicate

#: Written day by day; a run replaces some of their days.
DAILY_TABLES = (
    "fact_sessions",
    "identities_daily",
    "users_daily",
    "engagement_hourly",
    "engagement_daily",
    "funnel_daily",
    "product_performance_daily",
    "page_paths_daily",
    "attribution_daily",
)
#: Written as a whole by every run.
SNAPSHOTS = (
    "dim_users",
    "dim_products",
    "dim_pages",
    "dim_devices",
    "dim_sources",
    "dim_dates",
    "retention_cohorts",
    "lifecycle_weekly",
)
#: Partitioned by year, month and day; the other daily tables are by `day`.
BY_YEAR = frozenset({"fact_sessions"})
#: All but the one that only the lake has: who is who is not for every analyst.
WAREHOUSE_TABLES = tuple(name for name in (*DAILY_TABLES, *SNAPSHOTS) if name != "identities_daily")

#: Materialized in the warehouse.
VIEWS = ("channel_kpis_daily", "event_counts_hourly", "product_funnel_monthly")


@dataclass(frozen=True)
class ModelRun:
    """One run: the days its interval had touched, the days it rebuilt by table, rows written."""

    run_id: str
    touched_days: list[str]
    rebuilt_days: dict[str, list[str]]
    row_counts: dict[str, int]

    def to_xcom(self) -> dict[str, Any]:
        """JSON that `ModelRun(**…)` takes back."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> ModelRun:
        """The run of one row of sql/athena/model_runs/read.sql."""
        parsed = {name: json.loads(text) for name, text in row.items() if name != "run_id"}
        return cls(run_id=row["run_id"], **parsed)

    def days_of(self, table: str) -> str:
        """SQL predicate of the rows that the run has written, by the table's partition columns."""
        if table in SNAPSHOTS:
            return "1 = 1"
        days = self.rebuilt_days.get(table, [])
        if table in BY_YEAR:
            return hours_predicate(
                datetime.fromisoformat(day) + timedelta(hours=hour)
                for day in days
                for hour in range(24)
            )
        return f"day IN ({_quoted(days)})" if days else "1 = 0"


def read_model_run(config: Config, interval: Interval, run_id: str) -> ModelRun:
    """The row that the model job's run wrote.

    Raises:
        LookupError: it wrote none, or Athena cannot see it.
    """
    from clickstream.engines import athena_rows

    rows = athena_rows(
        config,
        "athena/model_runs/read.sql",
        run_id=run_id,
        interval_start=interval.to_xcom()["start"],
    )
    if len(rows) != 1:
        raise LookupError(
            f"model_runs has {len(rows)} rows for run {run_id} of {interval.key}, not one; the "
            "model job ended without writing it, or MSCK REPAIR of model_runs was skipped"
        )
    return ModelRun.from_row(rows[0])


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
