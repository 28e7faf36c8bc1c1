"""Sessions and their events to daily marts, daily marts to dimensions and weekly ones.

Each function returns one table of docs/data-model.md, without casts: model_tables.py has those.
`visits` are rows of sessions.with_session with is_robot, `sessions` rows of build_sessions.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from clickstream_glue.channels import NOT_SET, without_blank
from clickstream_glue.sessions import (
    DEVICE,
    ENTRY,
    EXIT,
    IN_ORDER,
    SESSION,
    SOURCE,
    TIME,
    is_step,
)

WEEK: Final = 7
MONTH: Final = 30


def is_counted() -> Column:
    """True for an event outside robots' sessions."""
    return ~F.col("is_robot")


def is_active() -> Column:
    """True for a user's hour or day with such an event."""
    return F.col("event_count") > F.col("robot_event_count")


def with_robots(visits: DataFrame, sessions: DataFrame) -> DataFrame:
    """Adds is_robot: whether the event's session is a robot's."""
    robots = sessions.filter("is_bot").select(
        F.col("user_key"),
        F.col("started_at").alias("session_started_at"),
        "session_event_id",
        F.lit(True).alias("is_robot"),
    )
    return visits.join(robots, SESSION, "left").fillna(False, ["is_robot"])


def orders(visits: DataFrame) -> DataFrame:
    """The purchases that count, one row each: user_key, when, order_key, amount."""
    return visits.filter((F.col("event_type") == "purchase") & is_counted()).select(
        "user_key", TIME, "order_key", "amount"
    )


def users_hourly(visits: DataFrame) -> DataFrame:
    """What each user did in each hour; users_daily and engagement are sums of it."""
    return visits.groupBy("user_key", F.date_trunc("hour", TIME).alias("hour_at")).agg(
        F.count(F.lit(1)).alias("event_count"),
        F.count_if("is_robot").alias("robot_event_count"),
        F.count_if((F.col("event_type") == "view") & is_counted()).alias("view_count"),
        F.max(F.col("user_id").isNotNull()).alias("is_known"),
        F.min(TIME).alias("first_event_at"),
        F.max(TIME).alias("last_event_at"),
    )


def users_daily(hours: DataFrame, sessions: DataFrame, purchases: DataFrame) -> DataFrame:
    """One row per user and day, from `users_hourly`."""
    grain = ["user_key", "day"]
    users = hours.groupBy("user_key", F.to_date("hour_at").alias("day")).agg(
        F.sum("event_count").alias("event_count"),
        F.sum("robot_event_count").alias("robot_event_count"),
        (~F.max("is_known")).alias("is_anonymous"),
        F.min("first_event_at").alias("first_event_at"),
        F.max("last_event_at").alias("last_event_at"),
    )
    started = (
        sessions.filter(~F.col("is_bot"))
        .groupBy("user_key", F.to_date("started_at").alias("day"))
        .agg(F.count(F.lit(1)).alias("session_count"))
    )
    bought = purchases.groupBy("user_key", F.to_date(TIME).alias("day")).agg(*_order_sums())
    counts = ["session_count", "order_count", "revenue"]
    return users.join(started, grain, "left").join(bought, grain, "left").fillna(0, counts)


def engagement(
    hours: DataFrame, sessions: DataFrame, purchases: DataFrame, span: str, name: str
) -> DataFrame:
    """Events, users, sessions, orders and rates of each `span` ("hour" or "day"), named `name`."""

    def spans(time: str) -> Column:
        return F.date_trunc(span, time).alias(name)

    events = (
        hours.filter(is_active())
        .groupBy(spans("hour_at"))
        .agg(
            F.sum(F.col("event_count") - F.col("robot_event_count")).alias("event_count"),
            F.sum("view_count").alias("view_count"),
            F.countDistinct("user_key").alias("user_count"),
        )
    )
    flags = {
        "engaged_session_count": "is_engaged",
        "bounce_count": "is_bounce",
        "converted_session_count": "is_converted",
    }
    rates = {
        "engaged_rate": "engaged_session_count",
        "bounce_rate": "bounce_count",
        "conversion_rate": "converted_session_count",
    }
    started = (
        sessions.filter(~F.col("is_bot"))
        .groupBy(spans("started_at"))
        .agg(
            F.count(F.lit(1)).alias("session_count"),
            *(F.count_if(flag).alias(count) for count, flag in flags.items()),
        )
    )
    bought = purchases.groupBy(spans(TIME)).agg(*_order_sums())
    return (
        events.join(started, name, "left")
        .join(bought, name, "left")
        .fillna(0, ["session_count", *flags, "order_count", "revenue"])
        .withColumns({rate: F.col(count) / F.col("session_count") for rate, count in rates.items()})
        .withColumn("day", F.to_date(name))
    )


def _order_sums() -> list[Column]:
    return [
        F.countDistinct("order_key").alias("order_count"),
        F.sum("amount").alias("revenue"),
    ]


def with_active_users(days: DataFrame, users: DataFrame) -> DataFrame:
    """Adds weekly_user_count and monthly_user_count to engagement by day, from users_daily."""
    age = F.datediff("day", "active_day")
    counts = (
        users.filter(is_active())
        .select("user_key", F.to_date("day").alias("active_day"))
        .join(F.broadcast(days.select("day")), age.between(0, MONTH - 1), "inner")
        .groupBy("day", "user_key")
        .agg(F.min(age).alias("age"))
        .groupBy("day")
        .agg(
            F.count_if(F.col("age") < WEEK).alias("weekly_user_count"),
            F.count(F.lit(1)).alias("monthly_user_count"),
        )
    )
    return days.join(counts, "day", "left")


def funnel_daily(sessions: DataFrame) -> DataFrame:
    """Sessions by the steps they reached."""
    steps = ["viewed_count", "carted_count", "checkout_count", "purchased_count"]
    names = ["device_type", "channel", "country"]
    return (
        sessions.filter(~F.col("is_bot"))
        .groupBy(
            F.to_date("started_at").alias("day"),
            *(F.coalesce(name, F.lit(NOT_SET)).alias(name) for name in names),
        )
        .agg(
            F.count(F.lit(1)).alias("session_count"),
            *(
                F.count_if(F.col("funnel_step") >= number).alias(name)
                for number, name in enumerate(steps, 1)
            ),
        )
    )


def product_performance_daily(visits: DataFrame, facts: DataFrame) -> DataFrame:
    """What happened to each product on each day; `facts` are the fact_clicks of the visits."""
    event_type = F.col("event_type")
    kinds = ["view", "click", "add_to_cart", "remove_from_cart", "purchase"]
    # By user first: rows lie together by user, so that only sums travel.
    by_user = (
        visits.filter(F.col("product_id").isNotNull())
        .groupBy("user_key", "product_id", F.to_date(TIME).alias("day"))
        .agg(
            *(
                F.count_if((event_type == kind) & is_counted()).alias(f"{kind}_count")
                for kind in kinds
            ),
            F.sum(F.when(is_counted(), F.col("quantity"))).alias("quantity"),
            F.sum(F.when(is_counted(), F.col("amount"))).alias("revenue"),
        )
    )
    counts = by_user.groupBy("product_id", "day").agg(
        *(F.sum(f"{kind}_count").alias(f"{kind}_count") for kind in kinds),
        F.coalesce(F.sum("quantity"), F.lit(0)).alias("quantity"),
        F.coalesce(F.sum("revenue"), F.lit(0)).alias("revenue"),
        F.count_if(F.col("view_count") > 0).alias("viewer_count"),
        F.count_if(F.col("purchase_count") > 0).alias("buyer_count"),
    )
    return counts.join(_product_attributes(facts), ["product_id", "day"], "inner")


def _product_attributes(facts: DataFrame) -> DataFrame:
    """What events say of each product and day; of several values the last."""
    values = {
        "product_name": without_blank(F.col("metadata")["product_name"]),
        "category": without_blank(F.col("metadata")["category"]),
        "price": F.col("price"),
    }
    return (
        facts.withColumns({"product_id": without_blank(F.col("product_id")), **values})
        .filter(F.col("product_id").isNotNull())
        .groupBy("product_id", F.to_date(TIME).alias("day"))
        .agg(
            *(
                F.max(F.when(F.col(name).isNotNull(), F.struct(*IN_ORDER, name)))[name].alias(name)
                for name in values
            ),
            F.min(TIME).alias("first_event_at"),
            F.max(TIME).alias("last_event_at"),
        )
    )


def page_paths_daily(visits: DataFrame, sessions: DataFrame) -> DataFrame:
    """Steps from page to page in the sessions of each day, entries and exits among them."""
    inner = visits.filter(is_step() & F.col("previous_page").isNotNull()).select(
        F.to_date("session_started_at").alias("day"),
        F.col("previous_page").alias("from_page"),
        F.col("page").alias("to_page"),
        "is_robot",
    )
    with_pages = sessions.filter(F.col("entry_page").isNotNull())
    day, is_robot = F.to_date("started_at").alias("day"), F.col("is_bot").alias("is_robot")
    entries = with_pages.select(day, F.lit(ENTRY), "entry_page", is_robot)
    exits = with_pages.select(day, "exit_page", F.lit(EXIT), is_robot)
    return (
        inner.union(entries)
        .union(exits)
        .groupBy("day", "from_page", "to_page")
        .agg(F.count_if(is_counted()).alias("transition_count"))
    )


def dim_users(users: DataFrame, identities: DataFrame) -> DataFrame:
    """Every user_key of users_daily, and the person it belongs to."""
    sums = ["event_count", "session_count", "order_count", "revenue"]
    known = identities.groupBy(F.col("anonymous_id").alias("user_key")).agg(
        F.min(F.struct("day", "user_id"))["user_id"].alias("known_as")
    )
    return (
        users.groupBy("user_key")
        .agg(
            F.min("is_anonymous").alias("is_anonymous"),
            (~F.max(is_active())).alias("is_bot"),
            F.min("first_event_at").alias("first_seen_at"),
            F.max("last_event_at").alias("last_seen_at"),
            F.count_if(is_active()).alias("active_day_count"),
            *(F.sum(name).alias(name) for name in sums),
        )
        .join(known, "user_key", "left")
        .withColumn(
            "person_key",
            F.coalesce(F.when(F.col("is_anonymous"), F.col("known_as")), F.col("user_key")),
        )
    )


def dim_products(products: DataFrame) -> DataFrame:
    """Every product of product_performance_daily, as its last day describes it."""
    return products.groupBy("product_id").agg(
        *(
            F.max(F.when(F.col(name).isNotNull(), F.struct("day", name)))[name].alias(name)
            for name in ("product_name", "category", "price")
        ),
        F.min("first_event_at").alias("first_seen_at"),
        F.max("last_event_at").alias("last_seen_at"),
    )


def dim_pages(paths: DataFrame) -> DataFrame:
    """Every page of page_paths_daily."""
    count = F.col("transition_count")
    reached = paths.select(
        F.col("to_page").alias("page"),
        "day",
        count.alias("views"),
        F.when(F.col("from_page") == ENTRY, count).alias("entries"),
        F.lit(0).alias("exits"),
    )
    left = paths.filter(F.col("to_page") == EXIT).select(
        F.col("from_page").alias("page"), "day", F.lit(0), F.lit(0), count
    )
    return (
        reached.union(left)
        .filter(F.col("page") != EXIT)
        .groupBy("page")
        .agg(
            F.min("day").alias("first_seen_date"),
            F.max("day").alias("last_seen_date"),
            F.sum("views").alias("view_count"),
            F.coalesce(F.sum("entries"), F.lit(0)).alias("entry_count"),
            F.sum("exits").alias("exit_count"),
        )
    )


def dim_devices(sessions: DataFrame) -> DataFrame:
    """Every device of fact_sessions."""
    names = (F.coalesce(name, F.lit(NOT_SET)).alias(name) for name in DEVICE)
    return sessions.select("device_key", *names, "is_bot").distinct()


def dim_sources(sessions: DataFrame) -> DataFrame:
    """Every source of fact_sessions."""
    return sessions.select("source_key", *SOURCE, "channel").distinct()


def dim_dates(users: DataFrame) -> DataFrame:
    """The calendar from the first to the last day of users_daily."""
    day = F.col("event_date")
    span = users.agg(F.to_date(F.min("day")).alias("first"), F.to_date(F.max("day")).alias("last"))
    return (
        span.filter(F.col("first").isNotNull())
        .select(F.explode(F.sequence("first", "last")).alias("event_date"))
        .select(
            day,
            F.year(day).alias("year"),
            F.quarter(day).alias("quarter"),
            F.month(day).alias("month"),
            F.dayofmonth(day).alias("day"),
            F.weekofyear(day).alias("iso_week"),
            (F.dayofweek(day) - 1).alias("weekday"),
            F.dayofweek(day).isin(1, 7).alias("is_weekend"),
        )
    )


def active_weeks(users: DataFrame, members: DataFrame) -> DataFrame:
    """The weeks in which each person was active, with its first; from users_daily and dim_users."""
    first = F.min("week").over(Window.partitionBy("person_key"))
    return (
        users.filter(is_active())
        .join(members.select("user_key", "person_key"), "user_key", "inner")
        .select("person_key", F.to_date(F.date_trunc("week", "day")).alias("week"))
        .distinct()
        .withColumn("cohort_week", first)
    )


def retention_cohorts(weeks: DataFrame) -> DataFrame:
    """How many of each week's new persons are active in later weeks, from `active_weeks`."""
    weeks_since = (F.datediff("week", "cohort_week") / WEEK).cast("int").alias("weeks_since")
    size = F.max(F.when(F.col("weeks_since") == 0, F.col("user_count"))).over(
        Window.partitionBy("cohort_week")
    )
    return (
        weeks.groupBy("cohort_week", weeks_since)
        .agg(F.count(F.lit(1)).alias("user_count"))
        .withColumn("cohort_size", size)
        .withColumn("retention_rate", F.col("user_count") / F.col("cohort_size"))
    )


def lifecycle_weekly(weeks: DataFrame) -> DataFrame:
    """New, retained, returning and churned persons of each week, from `active_weeks`."""
    of_person = Window.partitionBy("person_key").orderBy("week")
    previous, following = F.lag("week").over(of_person), F.lead("week").over(of_person)
    next_week = F.date_add("week", WEEK)
    week = F.col("week")
    moves = weeks.select(
        week,
        next_week.alias("next_week"),
        F.when(week == F.col("cohort_week"), "new")
        .when(previous == F.date_sub("week", WEEK), "retained")
        .otherwise("returning")
        .alias("kind"),
        (following.isNull() | (following != next_week)).alias("is_last_for_now"),
    )
    churned = moves.filter("is_last_for_now").select("next_week", F.lit("churned"))
    kinds = ["new", "retained", "returning", "churned"]
    span = weeks.agg(F.min("week").alias("first"), F.max("week").alias("last"))
    calendar = span.filter(F.col("first").isNotNull()).select(
        F.explode(F.sequence("first", "last", F.expr("INTERVAL 7 DAYS"))).alias("week")
    )
    return (
        calendar.join(moves.select("week", "kind").union(churned), "week", "left")
        .groupBy("week")
        .agg(*(F.count_if(F.col("kind") == kind).alias(f"{kind}_count") for kind in kinds))
    )
