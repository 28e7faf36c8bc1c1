"""Events to sessions: whose they are, where one visit ends and the next begins.

docs/data-model.md has the definitions. Nothing here looks further than a session can reach: to
the day before an event and the day after it, and half an hour beyond.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from clickstream_contract.contract import KEY
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from clickstream_glue import channels
from clickstream_glue.channels import NOT_SET, without_blank

MAX_PATH_LENGTH: Final = 100
ENGAGED_VIEWS: Final = 2
ENGAGED_AFTER: Final = timedelta(seconds=10)
FUNNEL: Final = {"view": 1, "add_to_cart": 2, "checkout": 3, "purchase": 4}
PATH_OF_URL: Final = r"^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*)?([^?#]*)"

TIME: Final = "event_timestamp"
IN_ORDER: Final = [TIME, "event_id"]
SESSION: Final = ["user_key", "session_started_at", "session_event_id"]
DEVICE: Final = ["device_type", "browser", "agent_browser", "agent_os", "agent_device"]
SOURCE: Final = ["source", "medium", "campaign"]
#: What page_paths_daily names the two ends of a session; no page may be called so.
ENTRY: Final = "(entry)"
EXIT: Final = "(exit)"


def read_visits(facts: DataFrame, currency: str, site_hosts: Iterable[str]) -> DataFrame:
    """What the model needs of an event, and no more: rows travel by user from here on."""
    page_of_url = F.regexp_extract("page_url", PATH_OF_URL, 1)
    path = F.when(page_of_url == "", "/").otherwise(page_of_url)
    page = F.coalesce(
        without_blank(F.col("page")), F.when(without_blank(F.col("page_url")).isNotNull(), path)
    )
    is_purchase = F.col("event_type") == "purchase"
    sent_currency = without_blank(F.col("currency"))
    is_foreign = is_purchase & (F.upper(sent_currency) != currency.upper())
    price = F.coalesce("price", F.lit(0).cast("decimal(18,4)"))
    amount = price * F.coalesce("quantity", F.lit(1)).cast("decimal(10,0)")
    events = channels.with_referrer_host(channels.with_campaign(facts), site_hosts)
    return events.select(
        *KEY,
        "event_type",
        "user_id",
        "anonymous_id",
        F.coalesce("user_id", "anonymous_id").alias("user_key"),
        without_blank(F.col("session_id")).alias("client_session_id"),
        F.when(~page.isin(ENTRY, EXIT), page).alias("page"),
        "campaign",
        "referrer_host",
        without_blank(F.col("product_id")).alias("product_id"),
        *(without_blank(F.col(name)).alias(name) for name in [*DEVICE, "location"]),
        F.when(is_purchase, F.coalesce("quantity", F.lit(1))).alias("quantity"),
        F.when(is_purchase & ~F.coalesce(is_foreign, F.lit(False)), amount)
        .cast("decimal(38,4)")
        .alias("amount"),
        # Of an order without an id every purchase is one.
        F.when(
            is_purchase,
            F.coalesce(without_blank(F.col("order_id")), F.concat(F.lit("\n"), F.col("event_id"))),
        ).alias("order_key"),
        F.coalesce(is_foreign, F.lit(False)).alias("is_foreign"),
        "is_bot",
    )


def identities_daily(visits: DataFrame) -> DataFrame:
    """Who an anonymous_id is known as on a day: the user of its first event that holds both.

    Returns:
        identities_daily, and has_anonymous: whether an event of that day lacks the user_id.
    """
    known = F.when(F.col("user_id").isNotNull(), F.struct(*IN_ORDER, "user_id"))
    return (
        visits.filter(F.col("anonymous_id").isNotNull())
        .groupBy("anonymous_id", F.to_date(TIME).alias("day"))
        .agg(F.min(known).alias("known"), F.max(F.col("user_id").isNull()).alias("has_anonymous"))
        .filter(F.col("known").isNotNull())
        .select(
            "anonymous_id",
            "known.user_id",
            F.col(f"known.{TIME}").alias("known_at"),
            "has_anonymous",
            "day",
        )
    )


def with_known_user(visits: DataFrame, identities: DataFrame) -> DataFrame:
    """Gives events without a user_id the one that their anonymous_id is known as on that day."""
    known = identities.filter("has_anonymous").select(
        F.col("anonymous_id").alias("known_anonymous_id"),
        F.col("user_id").alias("known_user_id"),
        F.col("day").alias("known_day"),
    )
    is_same = (
        F.col("user_id").isNull()
        & (F.col("anonymous_id") == F.col("known_anonymous_id"))
        & (F.to_date(TIME) == F.col("known_day"))
    )
    user_id = F.coalesce("user_id", "known_user_id")
    return (
        visits.join(known, is_same, "left")
        .withColumns({"user_id": user_id, "user_key": F.coalesce(user_id, "anonymous_id")})
        .drop("known_anonymous_id", "known_user_id", "known_day")
    )


def with_session(visits: DataFrame, timeout: timedelta) -> DataFrame:
    """Adds session_started_at and session_event_id, which with user_key name the session.

    Also previous_page, the last page before the event in its session. The rows of a session leave
    together and in their order, which `build_sessions` relies on.
    """
    time = F.col(TIME)
    of_user = Window.partitionBy("user_key").orderBy(*IN_ORDER)
    before = of_user.rowsBetween(Window.unboundedPreceding, -1)
    so_far = of_user.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    midnight = F.date_trunc("day", time)
    is_part_start, is_start = F.col("is_part_start"), F.col("is_start")
    is_other_campaign = F.col("campaign").isNotNull() & ~F.col("campaign").eqNullSafe(
        F.col("last_campaign.campaign")
    )
    return (
        visits.withColumn("previous_at", F.lag(TIME).over(of_user))
        .withColumn(
            "is_chain_start",
            F.col("previous_at").isNull() | (time - F.col("previous_at") >= F.lit(timeout)),
        )
        .withColumn(
            "chain_started_at", F.last(F.when(F.col("is_chain_start"), time), True).over(so_far)
        )
        .withColumn(
            "is_part_start",
            F.col("is_chain_start")
            | (F.col("previous_at") < midnight)
            & (F.col("chain_started_at") < midnight - F.lit(timedelta(days=1))),
        )
        # A part's first row counts even without a campaign: it forgets those before it.
        .withColumn(
            "last_campaign",
            F.last(
                F.when(is_part_start | F.col("campaign").isNotNull(), F.struct("campaign")), True
            ).over(before),
        )
        .withColumn("is_start", is_part_start | is_other_campaign)
        .withColumns(
            {
                "session": F.last(F.when(is_start, F.struct(*IN_ORDER)), True).over(so_far),
                "last_page": F.last(
                    F.when(is_start | F.col("page").isNotNull(), F.struct("page")), True
                ).over(before),
            }
        )
        .withColumns(
            {
                "session_started_at": F.col(f"session.{TIME}"),
                "session_event_id": F.col("session.event_id"),
                "previous_page": F.when(~is_start, F.col("last_page.page")),
            }
        )
        .drop(
            *["previous_at", "is_chain_start", "chain_started_at", "is_part_start", "is_start"],
            *["last_campaign", "last_page", "session"],
        )
        .sortWithinPartitions(*SESSION, *IN_ORDER)
    )


def build_sessions(visits: DataFrame) -> DataFrame:
    """One row per session of `with_session`; all of fact_sessions but is_new_user."""
    event_type = F.col("event_type")
    is_purchase = event_type == "purchase"
    step = F.coalesce(*(F.when(event_type == name, number) for name, number in FUNNEL.items()))

    def first(name: str) -> Column:
        return F.first(name, ignorenulls=True).alias(name)

    def count_distinct_orders(is_counted: Column) -> Column:
        return F.size(F.collect_set(F.when(is_counted, F.col("order_key")))).cast("bigint")

    sessions = visits.groupBy(*SESSION).agg(
        first("client_session_id"),
        F.first("user_id", ignorenulls=True).alias("user_id"),
        first("anonymous_id"),
        F.max(TIME).alias("ended_at"),
        F.count(F.lit(1)).alias("event_count"),
        F.count_if(event_type == "view").alias("view_count"),
        F.count_if(event_type == "click").alias("click_count"),
        F.first("page", ignorenulls=True).alias("entry_page"),
        F.last("page", ignorenulls=True).alias("exit_page"),
        F.collect_list(F.when(is_step(), F.col("page"))).alias("page_path"),
        F.first(F.struct("campaign", "referrer_host")).alias("arrival"),
        *(first(name) for name in [*DEVICE, "location"]),
        F.max("is_bot").alias("is_bot"),
        F.max(is_purchase).alias("is_converted"),
        F.min(F.when(step == 1, F.col(TIME))).alias("viewed_at"),
        F.collect_list(
            F.when(step > 1, F.struct(F.col(TIME).alias("at"), step.alias("step")))
        ).alias("steps"),
        count_distinct_orders(is_purchase).alias("order_count"),
        count_distinct_orders(F.col("is_foreign")).alias("foreign_order_count"),
        F.coalesce(F.sum("amount"), F.lit(0)).cast("decimal(38,4)").alias("revenue"),
    )
    duration = F.col("ended_at") - F.col("session_started_at")
    micros = F.unix_micros("ended_at") - F.unix_micros("session_started_at")
    arrival = channels.source_of(F.col("arrival.campaign"), F.col("arrival.referrer_host"))
    country = F.trim(F.element_at(F.split("location", ","), -1))
    return (
        sessions.withColumn("arrival", arrival)
        .withColumns({name: F.col(f"arrival.{name}") for name in SOURCE})
        .withColumns(
            {
                "session_id": key_of(
                    F.col("user_key"),
                    F.unix_micros("session_started_at").cast("string"),
                    F.col("session_event_id"),
                ),
                "duration_seconds": micros / F.lit(1e6),
                "page_path": F.slice("page_path", 1, MAX_PATH_LENGTH),
                "channel": channels.channel_of(*map(F.col, SOURCE)),
                "source_key": key_of(*map(F.col, SOURCE)),
                "device_key": key_of(
                    *(F.coalesce(name, F.lit(NOT_SET)) for name in DEVICE),
                    F.col("is_bot").cast("string"),
                ),
                "country": without_blank(country),
                "is_engaged": (F.col("view_count") >= ENGAGED_VIEWS)
                | (duration >= F.lit(ENGAGED_AFTER))
                | F.col("is_converted"),
                "is_bounce": F.col("event_count") == 1,
                "funnel_step": _funnel_step(F.col("viewed_at"), F.col("steps")),
            }
        )
        .withColumnRenamed("session_started_at", "started_at")
        .withColumns(
            {
                "year": F.year("started_at"),
                "month": F.month("started_at"),
                "day": F.dayofmonth("started_at"),
            }
        )
        .drop("arrival", "viewed_at", "steps")
    )


def first_sessions(found: DataFrame, others: DataFrame) -> DataFrame:
    """The id of the first session of each user_key, in both."""
    columns = ["user_key", "started_at", "session_id"]
    return (
        found.select(columns)
        .union(others.select(columns))
        .groupBy("user_key")
        .agg(F.min(F.struct("started_at", "session_id"))["session_id"].alias("first_session_id"))
    )


def with_is_new_user(sessions: DataFrame, firsts: DataFrame) -> DataFrame:
    """Sets is_new_user of the users in `firsts`; others keep what they have."""
    is_first = F.col("session_id") == F.col("first_session_id")
    kept = [F.col("is_new_user")] if "is_new_user" in sessions.columns else []
    return (
        sessions.join(firsts, "user_key", "left")
        .withColumn("is_new_user", F.coalesce(is_first, *kept))
        .drop("first_session_id")
    )


def is_step() -> Column:
    """True for an event whose page is another than the one before it in its session."""
    return F.col("page").isNotNull() & ~F.col("page").eqNullSafe(F.col("previous_page"))


def key_of(*values: Column) -> Column:
    """A dimension's key: 32 hexadecimal digits of SHA-256 over the values, one a line.

    A line feed within a value is written as backslash and n: it would make two values one key.
    """
    lines = (
        F.replace(F.replace(value, F.lit("\\"), F.lit("\\\\")), F.lit("\n"), F.lit("\\n"))
        for value in values
    )
    return F.substring(F.sha2(F.concat_ws("\n", *lines), 256), 1, 32)


def _funnel_step(viewed_at: Column, steps: Column) -> Column:
    """The last step reached: 1 with the first view, then one by one those that follow in time."""
    later = F.filter(F.array_sort(steps), lambda step: step["at"] >= viewed_at)
    reached = F.aggregate(
        later,
        F.lit(1),
        lambda step, event: F.when(event["step"] == step + 1, event["step"]).otherwise(step),
    )
    return F.when(viewed_at.isNull(), 0).otherwise(reached)
