"""What must hold (fail) and what should hold (warn) of the model's tables.

Column names are those of sql/athena/<table>/quality.sql, which flags rows without a partner
(`…_orphan`) and gives each row its partition's day beside its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import great_expectations as gx
from great_expectations import expectations as gxe

from clickstream.expectations import FAIL, WARN
from clickstream.interval import Interval

#: Money that is believable for one row of a table.
REVENUE = (0, 10_000_000)
DAY = ["partition_day"]


@dataclass(frozen=True)
class Rules:
    """One table's rules.

    Attributes:
        grain: the columns that name a row: never null, never twice.
        orphans: the flags that must be 0: what they name is in its dimension.
        ranges: the least and the most of a column; None for no limit.
        pairs: (larger, smaller) columns.
        is_by_day: rows lie in the partition of their own day (`row_day`).
        newest: the time of which the greatest should lie in the interval or later.
    """

    grain: list[str]
    orphans: list[str] = field(default_factory=list)
    ranges: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    is_by_day: bool = False
    newest: str | None = None


COUNT: tuple[float | None, float | None] = (0, None)
SHARE: tuple[float | None, float | None] = (0, 1)
RATES: dict[str, tuple[float | None, float | None]] = {
    "engaged_rate": SHARE,
    "bounce_rate": SHARE,
    "conversion_rate": SHARE,
}
ENGAGED = [("event_count", "user_count"), ("event_count", "view_count")]
RULES = {
    "fact_sessions": Rules(
        grain=["session_id"],
        orphans=["user_orphan", "device_orphan", "source_orphan", "entry_page_orphan"],
        ranges={
            "duration_seconds": (0, 2 * 86_400),
            "event_count": (1, None),
            "funnel_step": (0, 4),
        },
        pairs=[("ended_at", "started_at"), ("order_count", "foreign_order_count")],
        is_by_day=True,
        newest="ended_at",
    ),
    "identities_daily": Rules(grain=["anonymous_id", *DAY], is_by_day=True),
    "users_daily": Rules(
        grain=["user_key", *DAY],
        orphans=["user_orphan"],
        pairs=[("event_count", "robot_event_count"), ("last_event_at", "first_event_at")],
        is_by_day=True,
        newest="last_event_at",
    ),
    "engagement_hourly": Rules(
        grain=["hour_at"], ranges=RATES, pairs=ENGAGED, is_by_day=True, newest="hour_at"
    ),
    "engagement_daily": Rules(
        grain=DAY,
        ranges=RATES,
        pairs=[
            *ENGAGED,
            ("monthly_user_count", "weekly_user_count"),
            ("weekly_user_count", "user_count"),
        ],
    ),
    "funnel_daily": Rules(
        grain=["device_type", "channel", "country", *DAY],
        pairs=[
            ("session_count", "viewed_count"),
            ("viewed_count", "carted_count"),
            ("carted_count", "checkout_count"),
            ("checkout_count", "purchased_count"),
        ],
    ),
    "product_performance_daily": Rules(
        grain=["product_id", *DAY],
        orphans=["product_orphan"],
        pairs=[("view_count", "viewer_count"), ("purchase_count", "buyer_count")],
        is_by_day=True,
    ),
    "page_paths_daily": Rules(
        grain=["from_page", "to_page", *DAY],
        orphans=["page_orphan"],
        ranges={"transition_count": COUNT},
    ),
    "attribution_daily": Rules(
        grain=["model", "channel", "source", "medium", "campaign", *DAY],
        orphans=["source_orphan"],
        ranges={"order_credit": COUNT},
    ),
    "dim_users": Rules(
        grain=["user_key"],
        orphans=["person_orphan"],
        pairs=[("last_seen_at", "first_seen_at"), ("event_count", "active_day_count")],
        newest="last_seen_at",
    ),
    "dim_products": Rules(grain=["product_id"], pairs=[("last_seen_at", "first_seen_at")]),
    "dim_pages": Rules(grain=["page"], pairs=[("last_seen_date", "first_seen_date")]),
    "dim_devices": Rules(grain=["device_key"]),
    "dim_sources": Rules(grain=["source_key"]),
    # No day is missing between the first and the last.
    "dim_dates": Rules(grain=["event_date"], ranges={"days_since_last": (1, 1)}),
    "retention_cohorts": Rules(
        grain=["cohort_week", "weeks_since"],
        ranges={"retention_rate": SHARE},
        pairs=[("cohort_size", "user_count")],
    ),
    "lifecycle_weekly": Rules(grain=["week"], ranges={"churned_count": COUNT}),
}
#: Tables with money, whose rows should be believable.
WITH_REVENUE = ("fact_sessions", "users_daily", "product_performance_daily", "attribution_daily")


def suite(table: str, row_count: int, interval: Interval) -> gx.ExpectationSuite:
    """The suite for the rows of sql/athena/<table>/quality.sql.

    Args:
        table: a table of RULES.
        row_count: the rows that the run has written of it.
        interval: whose arrivals the run has built.
    """
    expectations = list(_expectations(table, row_count, interval))
    return gx.ExpectationSuite(name=table, expectations=expectations)


def _expectations(table: str, row_count: int, interval: Interval) -> Iterator[gxe.Expectation]:
    rules = RULES[table]
    # A warning: a run of another interval may have built the same days in between.
    yield gxe.ExpectTableRowCountToEqual(
        value=row_count, severity=WARN, description="It holds the rows that the run has written"
    )
    yield _unique(rules.grain)
    for column in rules.grain:
        yield gxe.ExpectColumnValuesToNotBeNull(
            column=column, severity=FAIL, description=f"{column} is always there"
        )
    for column in rules.orphans:
        member = column.removesuffix("_orphan").replace("_", " ")
        yield gxe.ExpectColumnValuesToBeInSet(
            column=column, value_set=[0], severity=FAIL, description=f"Every {member} has its row"
        )
    for column, (least, most) in rules.ranges.items():
        limits = " and ".join(
            [f"at least {least}"] * (least is not None) + [f"at most {most}"] * (most is not None)
        )
        yield gxe.ExpectColumnValuesToBeBetween(
            column=column,
            min_value=least,
            max_value=most,
            severity=FAIL,
            description=f"{column} is {limits}",
        )
    for larger, smaller in rules.pairs:
        yield gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=larger,
            column_B=smaller,
            or_equal=True,
            severity=FAIL,
            description=f"{larger} is never below {smaller}",
        )
    if rules.is_by_day:
        yield gxe.ExpectColumnPairValuesToBeEqual(
            column_A="partition_day",
            column_B="row_day",
            severity=FAIL,
            description="A row lies in the partition of its own day",
        )
    if table in WITH_REVENUE:
        yield gxe.ExpectColumnValuesToBeBetween(
            column="revenue",
            min_value=REVENUE[0],
            max_value=REVENUE[1],
            severity=WARN,
            description=f"revenue is from {REVENUE[0]} to {REVENUE[1]:,}",
        )
    if rules.newest and row_count:
        yield gxe.ExpectColumnMaxToBeBetween(
            column=rules.newest,
            min_value=interval.start.replace(tzinfo=None),
            severity=WARN,
            description="The newest row is from the interval, not older",
        )


def _unique(columns: list[str]) -> gxe.Expectation:
    said = f"A row ({', '.join(columns)}) stands once"
    if len(columns) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=columns[0], severity=FAIL, description=said)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=columns, severity=FAIL, description=said)
