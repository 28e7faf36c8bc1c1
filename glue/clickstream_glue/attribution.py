"""Hands orders and revenue to the sessions that led to them, by four models.

Sums are of whole millionths and of 0.0001 of the currency: what is shared out is what there was.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from clickstream_glue.sessions import SOURCE

MILLIONTHS: Final = 1_000_000
POSITION_BASED: Final = 400_000
UNITS: Final = 10_000


def attribution_daily(
    sessions: DataFrame, identities: DataFrame, days: Iterable[date], look_back: timedelta
) -> DataFrame:
    """Hands each converted session's orders and revenue to the sessions that led to it.

    Args:
        sessions: fact_sessions of `days` and as many days before each as `look_back` has.
        identities: identities_daily of the same days.
        days: the days whose converted sessions are asked for.
        look_back: how much earlier than a converted session its touches may begin; whole days.
    """
    counted = sessions.filter(~F.col("is_bot"))
    day = F.to_date("started_at")
    converted = (
        counted.filter(F.col("is_converted") & day.isin(sorted(days)))
        .select("session_id", "started_at", "user_key", "user_id", "order_count", "revenue")
        .withColumn("day", day)
    )
    known = _known_as(counted, identities, converted.select("day").distinct(), look_back)
    conversions = (
        converted.join(known, ["day", "user_key"], "left")
        .withColumn("person", _person())
        .select(
            *["day", "person", "order_count", "revenue"],
            F.col("session_id").alias("conversion_id"),
            F.col("started_at").alias("converted_at"),
        )
    )
    persons = conversions.select("day", "person").distinct()
    # The user_keys under which a person's sessions may stand, on each of the days.
    names = persons.withColumn("user_key", F.col("person")).union(
        known.withColumnRenamed("known_as", "person")
        .join(persons, ["day", "person"], "inner")
        .select("day", "person", "user_key")
    )
    touches = (
        conversions.join(names.distinct(), ["day", "person"], "inner")
        .join(
            counted.select("session_id", "started_at", "user_key", "user_id", "channel", *SOURCE),
            "user_key",
            "inner",
        )
        .join(known, ["day", "user_key"], "left")
        .filter(
            (_person() == F.col("person"))
            & (F.col("started_at") >= F.col("converted_at") - F.lit(look_back))
            & (
                F.struct("started_at", "session_id")
                <= F.struct(
                    F.col("converted_at").alias("started_at"),
                    F.col("conversion_id").alias("session_id"),
                )
            )
        )
    )
    names_of_row = ["day", "model", "channel", *SOURCE]
    return (
        touches.transform(_share_out)
        .groupBy(*names_of_row)
        .agg(F.sum("credit").alias("credit"), F.sum("units").alias("units"))
        .select(
            *names_of_row,
            (F.col("credit").cast("decimal(20,0)") / MILLIONTHS).alias("order_credit"),
            (F.col("units") / UNITS).alias("revenue"),
        )
    )


def _person() -> Column:
    return F.coalesce("user_id", "known_as", "user_key")


def _known_as(
    sessions: DataFrame, identities: DataFrame, days: DataFrame, look_back: timedelta
) -> DataFrame:
    """Who anonymous user_keys of `sessions` are to those who look back from each of the days."""
    anonymous = sessions.filter(F.col("user_id").isNull()).select("user_key").distinct()
    age = F.datediff("day", "known_day")
    return (
        identities.select(
            F.col("anonymous_id").alias("user_key"), "user_id", F.to_date("day").alias("known_day")
        )
        .join(anonymous, "user_key", "left_semi")
        .join(F.broadcast(days), age.between(0, look_back.days), "inner")
        .groupBy("day", "user_key")
        .agg(F.min(F.struct("known_day", "user_id"))["user_id"].alias("known_as"))
    )


def _share_out(touches: DataFrame) -> DataFrame:
    """One row per touch and model with its part: `credit` in millionths, `units` of 0.0001."""
    of_conversion = Window.partitionBy("conversion_id")
    in_order = of_conversion.orderBy("started_at", "session_id")
    position, count = F.col("position"), F.col("touch_count")
    is_first, is_last = position == 1, position == count
    last_indirect = F.max(F.when(F.col("channel") != "Direct", position)).over(of_conversion)

    def split(total: int, parts: Column) -> Column:
        return F.floor(F.lit(total) / parts).cast("bigint")

    between = split(MILLIONTHS - 2 * POSITION_BASED, count - 2)
    shares = {
        "first_touch": F.when(is_first, MILLIONTHS),
        "last_non_direct": F.when(position == F.col("credited_position"), MILLIONTHS),
        "linear": F.when(is_last, MILLIONTHS - (count - 1) * split(MILLIONTHS, count)).otherwise(
            split(MILLIONTHS, count)
        ),
        "position_based": F.when(count == 1, MILLIONTHS)
        .when(count == 2, MILLIONTHS // 2)
        .when(is_first, POSITION_BASED)
        .when(is_last, MILLIONTHS - POSITION_BASED - (count - 2) * between)
        .otherwise(between),
    }
    model_shares = F.array(
        *(
            F.struct(F.lit(model).alias("model"), share.cast("bigint").alias("share"))
            for model, share in shares.items()
        )
    )
    units = (F.col("revenue") * UNITS).cast("decimal(38,0)")
    part = F.floor(units * F.col("share").cast("decimal(7,0)") / MILLIONTHS).cast("decimal(38,0)")
    rest = units - F.sum("units").over(Window.partitionBy("conversion_id", "model"))
    return (
        touches.withColumns(
            {
                "position": F.row_number().over(in_order),
                "touch_count": F.count(F.lit(1)).over(of_conversion),
            }
        )
        .withColumn("credited_position", F.coalesce(last_indirect, count))
        .withColumn("share", F.explode(model_shares))
        .withColumns({"model": F.col("share.model"), "share": F.col("share.share")})
        .filter("share > 0")
        .withColumns({"units": part, "credit": F.col("order_count") * F.col("share")})
        .withColumn("units", F.when(is_last, F.col("units") + rest).otherwise(F.col("units")))
    )
