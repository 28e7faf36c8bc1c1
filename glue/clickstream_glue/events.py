"""Raw lines to typed events: every line leaves with its columns, or with a reason.

`read_event` is plain Python, one line in, one event out; `read_events` runs it over a DataFrame in
Arrow batches. Spark's own JSON reader is neither strict enough nor faster: see docs/adr/0006.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import partial
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from ua_parser import parse

from clickstream_glue import contract as c
from clickstream_glue.json_lines import Json, Number, Object, Rejected, read_object, to_text
from clickstream_glue.tombstones import ERASED_LINE, Tombstones, salvage

BLANK: Final = "BLANK"
ERASED: Final = "ERASED"
ISO_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-9]{2}"
    r"(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-](?:(?:0[0-9]|1[0-7])(?::?[0-5][0-9])?|18(?::?00)?))?"
)
EPOCH_MILLIS: Final = re.compile(r"[0-9]{13}(?:\.[0-9]{1,6})?")
NUMBER: Final = re.compile(r"-?[0-9]{1,1000}(?:\.[0-9]{1,1000})?(?:[eE][+-]?[0-9]{1,3})?")
WHOLE_NUMBER: Final = re.compile(r"(-?[0-9]{1,10})(?:\.0+)?")
# A personal key inside a JSON value, also where that value is JSON text inside JSON.
PERSONAL_KEY_INSIDE: Final = re.compile(
    rf'"(?:{"|".join("[_-]?".join(key) for key in c.PERSONAL_KEYS)})\\*"\s*:', re.IGNORECASE
)
KNOWN: Final = frozenset(c.FIELDS)
OWN_NAMES: Final = KNOWN.difference(c.ALIASES.values())
PERSONAL_KEYS: Final = frozenset(c.PERSONAL_KEYS)
PLAIN: Final = frozenset({str, Number, type(None)})
MOST_AGENTS: Final = 10_000
MAX_AGENT_LENGTH: Final = 1000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
EARLIEST: Final = (c.EARLIEST_EVENT - EPOCH) // MICROSECOND
LATEST_AFTER_ARRIVAL: Final = c.LATEST_AFTER_ARRIVAL // MICROSECOND
CLOCK_SKEW: Final = c.CLOCK_SKEW // MICROSECOND
# An alias by its own name, turned round.
ALIASES: Final = {alias: name for name, alias in c.ALIASES.items()}
NO_EVENT: Final = (None,) * len(c.EVENT_COLUMNS)
NOTHING_KEPT: Final = (*NO_EVENT, ERASED, None, None)
PRICE_STEP: Final = Decimal("0.0001")
# decimal(18,4), or an error where a digit would be lost.
PRICE_CONTEXT: Final = Context(prec=18, traps=[Inexact, InvalidOperation])


class Agent(NamedTuple):
    """What a user agent tells about itself."""

    is_bot: bool
    device_type: str | None
    browser: str | None
    os: str | None
    device: str | None


class Agents(dict[str, Agent]):
    """User agents, read once each: few of them send many events, and to read one takes 0.2 ms."""

    def __missing__(self, text: str) -> Agent:
        """Looks at an agent for the first time."""
        if len(self) == MOST_AGENTS:
            self.clear()
        self[text] = _read_agent(text)
        return self[text]


def _read_agent(agent: str) -> Agent:
    # An agent has some 200 characters; a megabyte of text would keep the expressions busy.
    found = parse(agent[:MAX_AGENT_LENGTH])
    browser, os, device = (
        part.family if part else None for part in (found.user_agent, found.os, found.device)
    )
    text = agent.lower()
    device_type = "desktop" if text else None
    if "ipad" in text or "tablet" in text:
        device_type = "tablet"
    elif "mobi" in text or "android" in text:
        device_type = "mobile"
    is_bot = device == "Spider" or any(mark in text for mark in c.BOT_MARKS)
    return Agent(is_bot, device_type, browser, os, device)


AGENTS: Final = Agents()
NOBODY: Final = Tombstones()


def read_events(
    lines: DataFrame, max_line_bytes: int = c.MAX_LINE_BYTES, erased: Tombstones = NOBODY
) -> DataFrame:
    """One row per line: the event's columns, or why it is none.

    Args:
        lines: line binary, arrived_at, source_object, source_line, and reason and detail of lines
            already known to be damaged (see raw_lines).
        max_line_bytes: longer lines are not parsed.
        erased: whose lines nothing is kept of.

    Returns:
        EVENT_SCHEMA, REJECT_SCHEMA (raw_bytes of rejected lines only) and ARRIVAL_SCHEMA of the
        contract, and payload_hash. Blank lines have the reason BLANK, lines of erased persons the
        reason ERASED.
    """
    schema = f"{c.EVENT_SCHEMA}, {c.REJECT_SCHEMA}, {c.ARRIVAL_SCHEMA}"
    arrow_schema = to_arrow_schema(lines.mapInArrow(lambda batches: batches, schema).schema)

    def read_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            arrivals = batch["arrived_at"].cast(pa.int64())
            sent = (batch["line"], batch["reason"], batch["detail"], arrivals)
            rows = map(
                partial(to_columns, max_line_bytes=max_line_bytes, erased=erased),
                *(column.to_pylist() for column in sent),
            )
            columns = list(map(pa.array, zip(*rows, strict=True), arrow_schema.types))
            columns += (batch[name] for name in c.ARRIVAL_ORDER)
            yield pa.RecordBatch.from_arrays(columns, schema=arrow_schema)

    # xxhash64 skips nulls, so that (null, "a") would equal ("a", null) without the flags.
    payload_hash = F.xxhash64(
        *c.PAYLOAD,
        F.sort_array(F.map_entries("metadata")),
        *(F.col(name).isNull() for name in c.PAYLOAD),
    )
    return lines.mapInArrow(read_batches, schema).withColumn("payload_hash", payload_hash)


def to_columns(
    line: bytes,
    reason: str | None,
    detail: str | None,
    arrived_at: int,
    max_line_bytes: int = c.MAX_LINE_BYTES,
    erased: Tombstones = NOBODY,
) -> tuple[Any, ...]:
    """The columns of EVENT_SCHEMA and REJECT_SCHEMA; a `reason` already known stands."""
    if line == ERASED_LINE:
        return NOTHING_KEPT
    try:
        if reason:
            raise Rejected(reason, detail)
        event = read_event(line, arrived_at, max_line_bytes)
    except Rejected as error:
        if erased and erased.stand_in(salvage(line) if reason == "GZIP_CORRUPT" else line):
            return NOTHING_KEPT
        return *NO_EVENT, error.reason, error.detail and error.detail[:1000], line
    if erased and erased.cover(event["user_id"], event["anonymous_id"]):
        return NOTHING_KEPT
    return *event.values(), None, None, None


def read_event(
    line: bytes, arrived_at: int, max_line_bytes: int = c.MAX_LINE_BYTES
) -> dict[str, Any]:
    """Reads one event.

    Args:
        line: the bytes as they lie, without line end and byte order mark.
        arrived_at: its arrival hour, in microseconds since 1970.
        max_line_bytes: a longer line is not parsed.

    Returns:
        The columns of contract.EVENT_SCHEMA, in its order; event_timestamp like arrived_at.

    Raises:
        Rejected: with the first of contract.REASONS that applies, or BLANK.
    """
    sent = _read_fields(line, max_line_bytes)
    text = _read_texts(sent)
    metadata = _read_metadata(sent)
    event_type = (text["event_type"] or "").strip(" ").lower()
    user_id, anonymous_id = _blank_to_none(text["user_id"]), _blank_to_none(text["anonymous_id"])
    time_text = _blank_to_none(to_text(_own_or_alias(sent, "event_timestamp")))
    if not (event_type and time_text and (user_id or anonymous_id)):
        missing = {
            "event_type": event_type,
            "event_timestamp": time_text,
            "user_id or anonymous_id": user_id or anonymous_id,
        }
        names = (name for name, value in missing.items() if not value)
        raise Rejected("MISSING_FIELD", ", ".join(names))
    time = _read_time(time_text)
    if time is None or not EARLIEST <= time < arrived_at + LATEST_AFTER_ARRIVAL:
        raise Rejected("TIME", time_text)
    price = _read_price(to_text(sent.get("price")))
    quantity = _read_quantity(to_text(sent.get("quantity")))

    event_type = c.TYPE_SYNONYMS.get(event_type, event_type)
    event_id = _blank_to_none(text["event_id"])
    agent = AGENTS[to_text(sent.get("user_agent")) or ""]
    return {
        "event_id": event_id or hashlib.sha256(line).hexdigest(),
        "is_event_id_derived": event_id is None,
        "event_type": event_type,
        "event_category": c.CATEGORIES.get(event_type, c.OTHER_CATEGORY),
        "event_timestamp": time,
        "user_id": user_id,
        "anonymous_id": anonymous_id,
        "session_id": text["session_id"],
        "page": text["page"],
        "page_url": text["page_url"],
        "referrer_url": text["referrer_url"],
        "product_id": text["product_id"],
        "device_type": _blank_to_none(text["device_type"]) or agent.device_type,
        "browser": text["browser"],
        "location": text["location"],
        "user_type": text["user_type"],
        "price": price,
        "quantity": quantity,
        "currency": text["currency"],
        "order_id": text["order_id"],
        "agent_browser": agent.browser,
        "agent_os": agent.os,
        "agent_device": agent.device,
        "is_bot": agent.is_bot,
        "is_clock_skewed": time > arrived_at + CLOCK_SKEW,
        "metadata": metadata,
    }


def _read_fields(line: bytes, max_line_bytes: int) -> dict[str, Json]:
    if not line.strip():
        raise Rejected(BLANK)
    if len(line) > max_line_bytes:
        raise Rejected("OVERSIZE", f"{len(line)} bytes")
    try:
        return _unique(read_object(line.decode()), "event")
    except UnicodeDecodeError as error:
        raise Rejected("UTF8", f"byte {error.start}") from None


def _unique(pairs: Object, name: str) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Rejected("DUP_KEY", name)
    return fields


def _read_texts(sent: dict[str, Json]) -> dict[str, str | None]:
    values = {name: sent.get(name) for name in c.STRING_FIELDS}
    if PLAIN.issuperset(map(type, values.values())):
        return values
    if wrong := [name for name, value in values.items() if isinstance(value, (tuple, list))]:
        raise Rejected("TYPE", ", ".join(wrong))
    return {name: to_text(value) for name, value in values.items()}


def _read_metadata(sent: dict[str, Json]) -> list[tuple[str, str | None]]:
    """The entries of metadata and of the fields the contract does not know, personal ones not.

    Where both have a key, metadata's entry keeps it and the field is stored as `event.<key>`.
    """
    value = _own_or_alias(sent, "metadata")
    if isinstance(value, str) and not isinstance(value, Number):
        try:
            value = read_object(value)
        except Rejected as error:
            value = error
    if not isinstance(value, tuple | None):
        name = "additional_data" if sent.get("metadata") is None else "metadata"
        raise Rejected("TYPE", name)
    entries = _unique(value or (), "metadata")
    if not OWN_NAMES.issuperset(sent):
        for name, value in sent.items():
            if name not in KNOWN or (name in ALIASES and sent.get(ALIASES[name]) is not None):
                while name in entries:
                    name = f"event.{name}"
                entries[name] = value
    texts = [(name, to_text(value)) for name, value in entries.items()]
    return [entry for entry in texts if not _is_personal(*entry)]


def _is_personal(name: str, value: str | None) -> bool:
    if name.lower().replace("_", "").replace("-", "") in PERSONAL_KEYS:
        return True
    return value is not None and value[:1] in ("{", "[") and bool(PERSONAL_KEY_INSIDE.search(value))


def _own_or_alias(sent: dict[str, Json], name: str) -> Json:
    """The field under its own name; its alias where that is absent or null."""
    value = sent.get(name)
    return sent.get(c.ALIASES[name]) if value is None else value


def _blank_to_none(text: str | None) -> str | None:
    return text if text and text.strip(" ") else None


def _read_time(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time (no offset means UTC) or epoch milliseconds."""
    if ISO_TIME.fullmatch(text):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return None
        return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND
    if EPOCH_MILLIS.fullmatch(text):
        return int(Decimal(text) * 1000)
    return None


def _read_price(text: str | None) -> Decimal | None:
    """decimal(18,4); Rejected where a digit would be lost."""
    if text is None:
        return None
    try:
        if NUMBER.fullmatch(text):
            return PRICE_CONTEXT.quantize(Decimal(text), PRICE_STEP)
    except (Inexact, InvalidOperation):
        pass
    raise Rejected("NUMERIC", "price")


def _read_quantity(text: str | None) -> int | None:
    if text is None:
        return None
    found = WHOLE_NUMBER.fullmatch(text)
    if not found or not -(2**31) <= (number := int(found[1])) < 2**31:
        raise Rejected("NUMERIC", "quantity")
    return number
