"""Raw lines to typed events: every line leaves with its columns, or with a reason."""

from __future__ import annotations

from functools import reduce
from itertools import chain
from operator import or_
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from clickstream_glue import contract as c
from clickstream_glue import json_lines as j

BLANK: Final = "BLANK"
BYTE_ORDER_MARK: Final = "\ufeff"
ISO_TIME: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?\z"
)
EPOCH_MILLIS: Final = r"^[0-9]{13}(?:\.[0-9]{1,6})?\z"
# Written so, a decimal fits decimal(18,4) (plain) or decimal(38,18) (scientific) with every digit.
PLAIN_DECIMAL: Final = r"^-?[0-9]{1,14}(?:\.[0-9]{1,4}0*)?\z"
SCIENTIFIC: Final = r"^-?[0-9]{1,9}(?:\.[0-9]{1,9})?[eE][+-]?0?[0-9]\z"
WHOLE_NUMBER: Final = r"^-?[0-9]{1,10}(?:\.0+)?\z"
# A personal key inside a JSON value, also where that value is JSON text inside JSON.
PERSONAL_KEY_INSIDE: Final = (
    rf'(?i)"(?:{"|".join("[_-]?".join(k) for k in c.PERSONAL_KEYS)})\\*"\s*:'
)


def read_events(lines: DataFrame, max_line_bytes: int = c.MAX_LINE_BYTES) -> DataFrame:
    """One row per line: the fact columns, `reason` and `detail` where it is not accepted.

    Args:
        lines: value string (the bytes as they lie, unchecked), arrived_at, source_object,
            source_line, and reason and detail of lines already known to be damaged.
        max_line_bytes: longer lines are not parsed.

    Returns:
        The columns of fact_clicks but processed_timestamp, then reason, detail, and raw_bytes
        of rejected lines only. Blank lines have the reason BLANK.
    """
    return (
        lines.transform(with_line_text)
        .transform(with_parsed_object, max_line_bytes)
        .transform(with_fields)
        .transform(with_metadata)
        .transform(with_wrong_types)
        .transform(with_typed_values)
        .transform(with_verdict)
        .transform(select_event)
    )


def with_line_text(lines: DataFrame) -> DataFrame:
    """Replaces `value` by `line`, without a byte order mark before it and a "\\r" after it."""
    value = F.col("value")
    unmarked = F.when(
        value.startswith(BYTE_ORDER_MARK),
        F.expr("cast(substr(cast(value AS binary), 4) AS string)"),
    ).otherwise(value)
    unreturned = F.when(
        F.col("line").endswith("\r"),
        F.expr("cast(substr(cast(line AS binary), 1, octet_length(line) - 1) AS string)"),
    ).otherwise(F.col("line"))
    return lines.withColumn("line", unmarked).drop("value").withColumn("line", unreturned)


def with_parsed_object(lines: DataFrame, max_line_bytes: int) -> DataFrame:
    """Adds `object`, the line as a map, and the reason where it cannot be one."""
    line = F.col("line")
    unreadable = (
        F.when(F.col("reason").isNotNull(), F.col("reason"))
        .when(~line.rlike(r"\S"), BLANK)
        .when(F.octet_length(line) > max_line_bytes, "OVERSIZE")
        .when(~j.is_utf8(line), "UTF8")
    )
    return (
        lines.withColumn("reason", unreadable)
        .withColumn("_text", F.when(F.col("reason").isNull(), line))
        .transform(j.with_object, "_text", "object")
        .withColumn(
            "reason",
            F.when(F.col("reason").isNull() & F.col("object").isNull(), j.syntax_reason(line))
            .when(F.col("reason").isNull() & j.has_lone_surrogate(line), "UNICODE")
            .otherwise(F.col("reason")),
        )
        .drop("_text")
    )


def with_fields(lines: DataFrame) -> DataFrame:
    """Adds the contract's fields as text, aliases resolved, under their own names."""
    fields = F.col("object")
    plain = [name for name in c.FIELDS if name not in {*c.ALIASES, *c.ALIASES.values()}]
    return lines.select(
        "*",
        *(fields[name].alias(name) for name in plain),
        *(F.coalesce(fields[name], fields[alias]).alias(name) for name, alias in c.ALIASES.items()),
    )


def with_metadata(lines: DataFrame) -> DataFrame:
    """Turns `metadata` into a map of its own entries and the fields the contract does not know.

    Where both have a key, metadata's entry keeps it and the field is stored as `event.<key>`.
    Personal keys are left out, and JSON values with such a key inside.
    """
    unknown = F.map_filter("object", lambda name, _: _is_unknown(name))
    clashing = F.arrays_overlap(F.map_keys("_unknown"), F.map_keys("_own"))
    renamed = F.transform_keys(
        "_unknown",
        lambda name, _: F.when(
            F.array_contains(F.map_keys("_own"), name), F.concat(F.lit("event."), name)
        ).otherwise(name),
    )
    entries = F.map_concat(
        F.when(clashing, renamed).otherwise(F.col("_unknown")),
        F.coalesce(F.col("_own"), F.create_map().cast("map<string,string>")),
    )
    impersonal = F.map_filter(
        "_entries",
        lambda name, value: (
            ~F.translate(F.lower(name), "_-", "").isin(c.PERSONAL_KEYS)
            & ~F.coalesce(_starts_container(value) & value.rlike(PERSONAL_KEY_INSIDE), F.lit(False))
        ),
    )
    return (
        lines.withColumn("_unknown", unknown)
        .transform(j.with_object, "metadata", "_own")
        .withColumn("_entries", entries)
        .withColumn("_metadata_text", F.col("metadata"))
        .withColumn("metadata", impersonal)
        .drop("_unknown", "_entries")
    )


def with_wrong_types(lines: DataFrame) -> DataFrame:
    """Adds `_wrong_types`, the text fields that were sent as an object or an array.

    As text both look like a string of JSON; only lines in which one does are parsed for it.
    """
    may_hold = reduce(or_, (_starts_container(F.col(name)) for name in c.STRING_FIELDS))
    return (
        lines.withColumn("_suspect", F.when(may_hold, F.col("line")))
        .transform(j.with_containers, "_suspect", c.STRING_FIELDS, "_wrong_types")
        .drop("_suspect")
    )


def with_typed_values(lines: DataFrame) -> DataFrame:
    """Adds the typed columns; null where the text does not fit."""
    agent = F.lower("user_agent")
    event_type = F.lower(F.trim("event_type"))
    return lines.withColumns(
        {
            "_time_text": F.col("event_timestamp"),
            "_price_text": F.col("price"),
            "_quantity_text": F.col("quantity"),
            "is_event_id_derived": _blank_to_null("event_id").isNull(),
            "event_id": F.coalesce(
                _blank_to_null("event_id"), F.sha2(F.col("line").cast("binary"), 256)
            ),
            "event_type": F.coalesce(_lookup(c.TYPE_SYNONYMS, event_type), event_type),
            "event_timestamp": _timestamp(F.col("event_timestamp")),
            "user_id": _blank_to_null("user_id"),
            "anonymous_id": _blank_to_null("anonymous_id"),
            "price": _decimal(F.col("price")),
            "quantity": _integer(F.col("quantity")),
            "is_bot": F.coalesce(
                reduce(or_, (agent.contains(mark) for mark in c.BOT_MARKS)), F.lit(False)
            ),
            "device_type": F.coalesce(_blank_to_null("device_type"), _device(agent)),
        }
    )


def with_verdict(lines: DataFrame) -> DataFrame:
    """Completes `reason` and `detail` by what the contract asks of the fields."""
    metadata_is_wrong = F.col("_metadata_text").isNotNull() & F.col("_own").isNull()
    missing = F.concat_ws(
        ", ",
        F.when(F.coalesce("event_type", F.lit("")) == "", "event_type"),
        F.when(_blank_to_null("_time_text").isNull(), "event_timestamp"),
        F.when(F.coalesce("user_id", "anonymous_id").isNull(), "user_id or anonymous_id"),
    )
    time = F.col("event_timestamp")
    latest = F.col("arrived_at") + F.expr(f"INTERVAL {c.LATEST_AFTER_ARRIVAL.days} DAYS")
    is_bad_time = time.isNull() | (time < F.lit(c.EARLIEST_EVENT)) | (time >= latest)
    bad_number = F.concat_ws(
        ", ",
        F.when(F.col("_price_text").isNotNull() & F.col("price").isNull(), "price"),
        F.when(F.col("_quantity_text").isNotNull() & F.col("quantity").isNull(), "quantity"),
    )
    metadata_name = F.when(F.col("object")["metadata"].isNull(), "additional_data")
    verdict = (
        F.when(F.col("reason").isNotNull(), F.struct("reason", "detail"))
        .when(j.has_equal_keys(F.col("object")), _verdict("DUP_KEY", F.lit("event")))
        .when(F.col("_wrong_types") != "", _verdict("TYPE", F.col("_wrong_types")))
        .when(metadata_is_wrong, _verdict("TYPE", F.coalesce(metadata_name, F.lit("metadata"))))
        .when(j.has_equal_keys(F.col("_own")), _verdict("DUP_KEY", F.lit("metadata")))
        .when(missing != "", _verdict("MISSING_FIELD", missing))
        .when(is_bad_time, _verdict("TIME", F.col("_time_text")))
        .when(bad_number != "", _verdict("NUMERIC", bad_number))
    )
    return (
        lines.withColumn("_verdict", verdict)
        .withColumn("reason", F.col("_verdict.reason"))
        .withColumn("detail", F.substring(F.col("_verdict.detail"), 1, 1000))
    )


def select_event(lines: DataFrame) -> DataFrame:
    """Selects the contract of `read_events`."""
    time = F.col("event_timestamp")
    # xxhash64 skips nulls, so that (null, "a") would equal ("a", null) without the flags.
    payload_hash = F.xxhash64(
        *c.PAYLOAD,
        F.sort_array(F.map_entries("metadata")),
        *(F.col(name).isNull() for name in c.PAYLOAD),
    )
    return lines.select(
        "event_id",
        "is_event_id_derived",
        "event_type",
        F.coalesce(_lookup(c.CATEGORIES, F.col("event_type")), F.lit(c.OTHER_CATEGORY)).alias(
            "event_category"
        ),
        "event_timestamp",
        "user_id",
        "anonymous_id",
        *(name for name in c.TEXT_FIELDS if name not in ("currency", "order_id")),
        "price",
        "quantity",
        "currency",
        "order_id",
        "is_bot",
        (time > F.col("arrived_at") + F.expr(f"INTERVAL {c.CLOCK_SKEW.days} DAYS")).alias(
            "is_clock_skewed"
        ),
        "metadata",
        payload_hash.alias("payload_hash"),
        "arrived_at",
        "source_object",
        "source_line",
        "reason",
        "detail",
        F.when(F.col("reason").isNotNull(), F.col("line").cast("binary")).alias("raw_bytes"),
    )


def _is_unknown(name: Column) -> Column:
    """An alias beside its own name is an unknown field as well."""
    idle_aliases = (
        (name == alias) & F.col("object")[own].isNotNull() for own, alias in c.ALIASES.items()
    )
    return reduce(or_, idle_aliases, ~name.isin(c.FIELDS))


def _starts_container(text: Column) -> Column:
    return F.coalesce(text.startswith("{") | text.startswith("["), F.lit(False))


def _verdict(reason: str, detail: Column) -> Column:
    return F.struct(F.lit(reason).alias("reason"), detail.alias("detail"))


def _blank_to_null(name: str) -> Column:
    return F.when(F.trim(name) != "", F.col(name))


def _lookup(table: dict[str, str], key: Column) -> Column:
    return F.create_map(*map(F.lit, chain(*table.items())))[key]


def _device(agent: Column) -> Column:
    return (
        F.when(agent.contains("ipad") | agent.contains("tablet"), "tablet")
        .when(agent.contains("mobi") | agent.contains("android"), "mobile")
        .when(agent != "", "desktop")
    )


def _timestamp(text: Column) -> Column:
    """ISO 8601 (no offset means UTC) or epoch milliseconds; Spark's own cast takes "2026" too."""
    micros = (text.cast("decimal(20,6)") * 1000).cast("bigint")
    return F.when(text.rlike(ISO_TIME), F.translate(text, ",", ".").cast("timestamp")).when(
        text.rlike(EPOCH_MILLIS), F.timestamp_micros(micros)
    )


def _decimal(text: Column) -> Column:
    """decimal(18,4), or null where a digit would be lost."""
    exact = text.cast("decimal(38,18)")
    return F.when(text.rlike(PLAIN_DECIMAL), text.cast("decimal(18,4)")).when(
        text.rlike(SCIENTIFIC) & (exact == exact.cast("decimal(18,4)")), exact.cast("decimal(18,4)")
    )


def _integer(text: Column) -> Column:
    whole = text.cast("decimal(38,0)")
    return F.when(text.rlike(WHOLE_NUMBER) & whole.between(-(2**31), 2**31 - 1), whole.cast("int"))
