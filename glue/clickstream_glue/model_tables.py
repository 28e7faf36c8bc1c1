"""The tables of the model: their columns, as Spark writes them, and how they are partitioned.

docs/data-model.md is the prose of this file; a column changes in both or in neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Table:
    """One table; `partition` is empty for a snapshot, which every run writes as a whole."""

    name: str
    schema: str
    partition: tuple[str, ...] = ()

    @property
    def full_schema(self) -> str:
        """The columns, and those that the folders' names hold."""
        kind = "int" if "year" in self.partition else "string"
        return ", ".join([self.schema, *(f"{name} {kind}" for name in self.partition)])

    def conform(self, rows: DataFrame) -> DataFrame:
        """Exactly the table's columns, in its order and of its types."""
        fields = rows.sparkSession.createDataFrame([], self.schema).schema.fields
        return rows.select(
            *(F.col(field.name).cast(field.dataType) for field in fields), *self.partition
        )


SESSIONS: Final = Table(
    "fact_sessions",
    """session_id string, client_session_id string, user_key string, user_id string,
    anonymous_id string, started_at timestamp, ended_at timestamp, duration_seconds double,
    event_count bigint, view_count bigint, click_count bigint, entry_page string,
    exit_page string, page_path array<string>, source string, medium string, campaign string,
    channel string, source_key string, device_type string, browser string, agent_browser string,
    agent_os string, agent_device string, device_key string, location string, country string,
    is_bot boolean, is_new_user boolean, is_engaged boolean, is_bounce boolean,
    is_converted boolean, funnel_step int, order_count bigint, foreign_order_count bigint,
    revenue decimal(38,4)""",
    ("year", "month", "day"),
)
IDENTITIES_DAILY: Final = Table(
    "identities_daily", "anonymous_id string, user_id string, known_at timestamp", ("day",)
)
USERS_DAILY: Final = Table(
    "users_daily",
    """user_key string, is_anonymous boolean, event_count bigint, robot_event_count bigint,
    session_count bigint, order_count bigint, revenue decimal(38,4), first_event_at timestamp,
    last_event_at timestamp""",
    ("day",),
)
_ENGAGEMENT: Final = """session_count bigint, engaged_session_count bigint, bounce_count bigint,
    converted_session_count bigint, engaged_rate double, bounce_rate double,
    conversion_rate double, order_count bigint, revenue decimal(38,4)"""
ENGAGEMENT_HOURLY: Final = Table(
    "engagement_hourly",
    f"hour_at timestamp, event_count bigint, view_count bigint, user_count bigint, {_ENGAGEMENT}",
    ("day",),
)
ENGAGEMENT_DAILY: Final = Table(
    "engagement_daily",
    f"""event_count bigint, view_count bigint, user_count bigint, weekly_user_count bigint,
    monthly_user_count bigint, {_ENGAGEMENT}""",
    ("day",),
)
FUNNEL_DAILY: Final = Table(
    "funnel_daily",
    """device_type string, channel string, country string, session_count bigint,
    viewed_count bigint, carted_count bigint, checkout_count bigint, purchased_count bigint""",
    ("day",),
)
PRODUCT_PERFORMANCE_DAILY: Final = Table(
    "product_performance_daily",
    """product_id string, product_name string, category string, price decimal(18,4),
    view_count bigint, click_count bigint, add_to_cart_count bigint,
    remove_from_cart_count bigint, purchase_count bigint, quantity bigint, revenue decimal(38,4),
    viewer_count bigint, buyer_count bigint, first_event_at timestamp, last_event_at timestamp""",
    ("day",),
)
PAGE_PATHS_DAILY: Final = Table(
    "page_paths_daily", "from_page string, to_page string, transition_count bigint", ("day",)
)
ATTRIBUTION_DAILY: Final = Table(
    "attribution_daily",
    """model string, channel string, source string, medium string, campaign string,
    order_credit decimal(38,6), revenue decimal(38,4)""",
    ("day",),
)
DIM_USERS: Final = Table(
    "dim_users",
    """user_key string, person_key string, is_anonymous boolean, is_bot boolean,
    first_seen_at timestamp, last_seen_at timestamp, active_day_count bigint, event_count bigint,
    session_count bigint, order_count bigint, revenue decimal(38,4)""",
)
DIM_PRODUCTS: Final = Table(
    "dim_products",
    """product_id string, product_name string, category string, price decimal(18,4),
    first_seen_at timestamp, last_seen_at timestamp""",
)
DIM_PAGES: Final = Table(
    "dim_pages",
    """page string, first_seen_date date, last_seen_date date, view_count bigint,
    entry_count bigint, exit_count bigint""",
)
DIM_DEVICES: Final = Table(
    "dim_devices",
    """device_key string, device_type string, browser string, agent_browser string,
    agent_os string, agent_device string, is_bot boolean""",
)
DIM_SOURCES: Final = Table(
    "dim_sources",
    "source_key string, source string, medium string, campaign string, channel string",
)
DIM_DATES: Final = Table(
    "dim_dates",
    """event_date date, year int, quarter int, month int, day int, iso_week int, weekday int,
    is_weekend boolean""",
)
RETENTION_COHORTS: Final = Table(
    "retention_cohorts",
    """cohort_week date, weeks_since int, user_count bigint, cohort_size bigint,
    retention_rate double""",
)
LIFECYCLE_WEEKLY: Final = Table(
    "lifecycle_weekly",
    """week date, new_count bigint, retained_count bigint, returning_count bigint,
    churned_count bigint""",
)
MODEL_RUNS: Final = Table(
    "model_runs",
    """run_id string, job_name string, interval_start timestamp, interval_end timestamp,
    started_at timestamp, ended_at timestamp, touched_days array<string>,
    rebuilt_days map<string,array<string>>, row_counts map<string,bigint>""",
    ("day",),
)
#: The tables that have a folder for each day, but for fact_sessions.
DAILY: Final = (
    IDENTITIES_DAILY,
    USERS_DAILY,
    ENGAGEMENT_HOURLY,
    ENGAGEMENT_DAILY,
    FUNNEL_DAILY,
    PRODUCT_PERFORMANCE_DAILY,
    PAGE_PATHS_DAILY,
    ATTRIBUTION_DAILY,
)
