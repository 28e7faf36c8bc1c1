"""One winner per key: the earliest arrival. Copies vanish, other payloads become collisions."""

from __future__ import annotations

from clickstream_contract import contract as c
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F


def with_hour(events: DataFrame) -> DataFrame:
    """Adds year, month, day and hour of the event."""
    time = F.col("event_timestamp")
    return events.withColumns(
        {
            "year": F.year(time),
            "month": F.month(time),
            "day": F.dayofmonth(time),
            "hour": F.hour(time),
        }
    )


def rank_copies(events: DataFrame, files_per_hour: int = 1) -> DataFrame:
    """Adds `is_winner` and `winner` (payload_hash and line of its key's earliest row).

    A copy repeats its event's time, so a key never leaves its event hour: one shuffle by hour
    serves both the ranking and the files to write, and so does one sort.
    """
    share = F.pmod(F.xxhash64("event_id"), F.lit(files_per_hour)).cast("int")
    same_key = Window.partitionBy(*c.HOUR_COLUMNS, "_share", "event_timestamp", "event_id")
    in_order = same_key.orderBy(*c.ARRIVAL_ORDER)
    earliest = F.first(F.struct("payload_hash", "source_object", "source_line"))
    return (
        events.withColumn("_share", share)
        .repartition(*c.HOUR_COLUMNS, "_share")
        .withColumns(
            {
                "is_winner": F.row_number().over(in_order) == 1,
                "winner": earliest.over(in_order),
            }
        )
        .drop("_share")
    )


def is_copy() -> Column:
    """True for a ranked row that repeats its winner's payload."""
    return ~F.col("is_winner") & (F.col("payload_hash") == F.col("winner.payload_hash"))


def is_collision() -> Column:
    """True for a ranked row with its winner's key and another payload."""
    return ~F.col("is_winner") & (F.col("payload_hash") != F.col("winner.payload_hash"))


def is_displaced() -> Column:
    """True for a ranked row that another line beat; a row stored twice does not beat itself."""
    return (F.col("source_object") != F.col("winner.source_object")) | (
        F.col("source_line") != F.col("winner.source_line")
    )


def known_collisions(quarantine: DataFrame) -> DataFrame:
    """The collisions that earlier runs found, with the key and hash kept in their detail."""
    return (
        quarantine.filter(F.col("reason") == "ID_COLLISION")
        .withColumn("key", F.from_json("detail", c.COLLISION_DETAIL))
        .select(
            "key.event_id",
            F.timestamp_micros("key.event_micros").alias("event_timestamp"),
            "key.payload_hash",
            *c.ARRIVAL_ORDER,
        )
    )


def settle_collisions(ranked: DataFrame, known: DataFrame) -> DataFrame:
    """All losers, `known` ones included, of the keys that collide in `ranked`.

    `is_first` marks what belongs in quarantine: per key and payload the earliest line, the later
    ones being its copies. A line's fate thus hangs on the lines alone, not on which came first.
    """
    identity = [*c.KEY, "payload_hash", *c.ARRIVAL_ORDER]
    winner = F.col("winner.payload_hash").alias("winner_hash")
    colliding = ranked.filter(is_collision()).select(*identity, winner)
    same_key = Window.partitionBy(*c.KEY)
    same_payload = Window.partitionBy(*c.KEY, "payload_hash").orderBy(*c.ARRIVAL_ORDER)
    is_first = (F.row_number().over(same_payload) == 1) & (
        F.col("payload_hash") != F.col("winner_hash")
    )
    return (
        colliding.unionByName(known, allowMissingColumns=True)
        .withColumn("winner_hash", F.max("winner_hash").over(same_key))
        .filter(F.col("winner_hash").isNotNull())
        .dropDuplicates(c.ARRIVAL_ORDER)
        .withColumn("is_first", is_first)
    )


def collision_rows(losers: DataFrame, lines: DataFrame) -> DataFrame:
    """Quarantine rows of settled collisions, whose bytes only the raw lines still hold."""
    key = F.struct(
        "event_id", F.unix_micros("event_timestamp").alias("event_micros"), "payload_hash"
    )
    return (
        losers.filter("is_first")
        .withColumns({"reason": F.lit("ID_COLLISION"), "detail": F.to_json(key)})
        .select("reason", "detail", *c.ARRIVAL_ORDER)
        .join(lines, c.ARRIVAL_ORDER, "inner")
        .withColumnRenamed("line", "raw_bytes")
    )
