"""One raw line to one typed event, or the reason why it is none: the event contract, executed.

Standard library only: Spark's workers, the collector and the stream's Lambda function run it alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, NamedTuple

from clickstream_contract import contract as c
from clickstream_contract.json_lines import Json, Number, Object, Rejected, read_object, to_text

BLANK: Final = "BLANK"
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
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
EARLIEST: Final = (c.EARLIEST_EVENT - EPOCH) // MICROSECOND
LATEST_AFTER_ARRIVAL: Final = c.LATEST_AFTER_ARRIVAL // MICROSECOND
CLOCK_SKEW: Final = c.CLOCK_SKEW // MICROSECOND
# An alias by its own name, turned round.
ALIASES: Final = {alias: name for name, alias in c.ALIASES.items()}
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


UNREAD: Final = Agent(False, None, None, None, None)


def read_event(
    line: bytes,
    arrived_at: int,
    max_line_bytes: int = c.MAX_LINE_BYTES,
    read_agent: Callable[[str], Agent] = lambda agent: UNREAD,
) -> dict[str, Any]:
    """Reads one event.

    Args:
        line: the bytes as they lie, without line end and byte order mark.
        arrived_at: its arrival hour, in microseconds since 1970.
        max_line_bytes: a longer line is not parsed.
        read_agent: reads a user agent; left out, nobody looks at it.

    Returns:
        The columns of contract.EVENT_SCHEMA, in its order; event_timestamp like arrived_at.

    Raises:
        Rejected: with the first of contract.REASONS that applies, or BLANK.
    """
    return to_event(read_fields(line, max_line_bytes), line, arrived_at, read_agent)


def to_event(
    sent: dict[str, Json],
    line: bytes,
    arrived_at: int,
    read_agent: Callable[[str], Agent] = lambda agent: UNREAD,
) -> dict[str, Any]:
    """What `read_event` does with the fields of a line, once they are read (see `read_fields`)."""
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
    agent = read_agent(to_text(sent.get("user_agent")) or "")
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


def read_fields(line: bytes, max_line_bytes: int = c.MAX_LINE_BYTES) -> dict[str, Json]:
    """The fields of a line as it has them, each name once; raises Rejected as `read_event`."""
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
