"""What the clean job must produce, in plain Python, from the contract in docs/data-model.md.

It shares no code with glue/ and takes no care of speed: one line after the other, one dictionary.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import ua_parser

MAX_LINE_BYTES = 1 << 20
CATEGORY = {
    "view": "browse",
    "search": "browse",
    "click": "engage",
    "add_to_cart": "cart",
    "remove_from_cart": "cart",
    "checkout": "conversion",
    "purchase": "conversion",
    "login": "account",
    "signup": "account",
}
TEXTS = (
    "session_id",
    "page",
    "page_url",
    "referrer_url",
    "product_id",
    "device_type",
    "browser",
    "location",
    "user_type",
    "currency",
    "order_id",
)
STRINGS = ("event_id", "event_type", "user_id", "anonymous_id", *TEXTS)
KNOWN = {*STRINGS, "event_timestamp", "price", "quantity", "user_agent", "ip_address", "metadata"}
PERSONAL = {"useragent", "ip", "ipaddress", "ipaddr", "clientip", "remoteip", "remoteaddr"} | {
    "xforwardedfor",
    "xrealip",
}
BOTS = ("bot", "crawl", "spider", "slurp", "headless", "lighthouse", "curl/", "wget/", "python-")
BOTS += ("okhttp/", "go-http-client")


@dataclass
class Expected:
    """The lake after all intervals, in any order."""

    facts: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Rejected(Exception):
    """A line's reason."""


class Number(str):
    """A JSON number, as it was written."""


class Pairs(list):
    """A JSON object, as it was written: equal keys stay."""


def expected(
    raw_objects: dict[str, bytes],
    intervals: Iterable[tuple[datetime, datetime]],
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Expected:
    """Facts, quarantine and counts (lines, loaded, duplicates, quarantined, blank, reasons)."""
    result = Expected()
    copies: dict[tuple[str, datetime], list[dict[str, Any]]] = {}
    spans = list(intervals)
    for key in sorted(raw_objects):
        arrived_at = arrival(key)
        if not any(start <= arrived_at < end for start, end in spans):
            continue
        for number, (line, damage) in enumerate(lines_of(key, raw_objects[key]), 1):
            place = {"arrived_at": arrived_at, "source_object": key, "source_line": number}
            result.counts["lines"] += 1
            line = line.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")
            try:
                if damage:
                    raise Rejected(damage)
                if not line.strip(b" \t\v\f\r"):
                    result.counts["blank"] += 1
                    continue
                event = read_event(line, arrived_at, max_line_bytes) | place
            except Rejected as reason:
                result.quarantine.append({"reason": str(reason), "raw_bytes": line} | place)
            else:
                event["_line"] = line
                copies.setdefault((event["event_id"], event["event_timestamp"]), []).append(event)
    for events in copies.values():
        settle(events, result)
    result.counts["loaded"] = len(result.facts)
    result.counts["quarantined"] = len(result.quarantine)
    result.counts.update(row["reason"] for row in result.quarantine)
    return result


def settle(events: list[dict[str, Any]], result: Expected) -> None:
    """The earliest of a key loads; each other payload's earliest collides; the rest are copies."""
    seen = []
    for event in sorted(
        events, key=lambda e: (e["arrived_at"], e["source_object"], e["source_line"])
    ):
        payload = [event[name] for name in (*STRINGS[1:], "price", "quantity", "metadata")]
        line = event.pop("_line")
        if payload in seen:
            result.counts["duplicates"] += 1
        elif seen:
            place = {name: event[name] for name in ("arrived_at", "source_object", "source_line")}
            result.quarantine.append({"reason": "ID_COLLISION", "raw_bytes": line} | place)
        else:
            result.facts.append(event)
        seen.append(payload)


def utc(time: datetime) -> datetime:
    """What PySpark collects: a naive time of this machine's zone."""
    return time.astimezone(UTC)


def arrival(key: str) -> datetime:
    """The arrival hour in an object's key."""
    found = re.search(r"year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)/", key)
    assert found, key
    return datetime(*map(int, found.groups()), tzinfo=UTC)


def lines_of(key: str, content: bytes) -> Iterator[tuple[bytes, str | None]]:
    """Each line and what damaged it."""
    if not key.endswith(".gz"):
        yield from ((line, None) for line in without_last_empty(content.split(b"\n")))
        return
    text, rest = b"", content
    while rest:
        member = zlib.decompressobj(31)
        try:
            text += member.decompress(rest)
        except zlib.error:
            yield from ((line, None) for line in without_last_empty(text.split(b"\n")))
            yield rest, "GZIP_CORRUPT"
            return
        if not member.eof:
            *whole, torn = text.split(b"\n")
            yield from ((line, None) for line in whole)
            yield torn, "GZIP_TRUNCATED"
            return
        rest = member.unused_data
    yield from ((line, None) for line in without_last_empty(text.split(b"\n")))


def without_last_empty(lines: list[bytes]) -> list[bytes]:
    return lines if lines[-1] else lines[:-1]


def read_event(line: bytes, arrived_at: datetime, max_line_bytes: int) -> dict[str, Any]:
    """One accepted event, or the reason against it."""
    if len(line) > max_line_bytes:
        raise Rejected("OVERSIZE")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Rejected("UTF8") from None
    pairs = read_object(text)
    if re.search("[\ud800-\udfff]", repr_of(pairs)):
        raise Rejected("UNICODE")
    sent = dict(pairs)
    if len(sent) != len(pairs):
        raise Rejected("DUP_KEY")

    names = dict.fromkeys(KNOWN) | {name: name for name in KNOWN}
    for own, alias in (("event_timestamp", "timestamp"), ("metadata", "additional_data")):
        if sent.get(own) is None:
            names[own] = alias
    value = {name: sent.get(source) for name, source in names.items()}
    if any(isinstance(value[name], list) for name in STRINGS):
        raise Rejected("TYPE")
    own = own_metadata(value["metadata"])
    unknown = {k: v for k, v in sent.items() if k not in KNOWN and k not in names.values()}
    # An alias that lost to its own name is unknown; one that was not needed but is null is not.
    for own_name, alias in (("event_timestamp", "timestamp"), ("metadata", "additional_data")):
        if alias in sent and sent.get(own_name) is not None:
            unknown[alias] = sent[alias]
    structure = dict(own)
    for key, sent_value in unknown.items():
        while key in structure:
            key = "event." + key
        structure[key] = sent_value
    metadata = {k: as_text(v) for k, v in structure.items()}
    metadata = {k: v for k, v in metadata.items() if not is_personal(k, structure[k], v)}

    field_text = {name: as_text(value[name]) for name in KNOWN - {"metadata"}}
    event_type = (field_text["event_type"] or "").strip(" ").lower()
    ids = {name: none_if_blank(field_text[name]) for name in ("user_id", "anonymous_id")}
    time_text = none_if_blank(field_text["event_timestamp"])
    if not event_type or time_text is None or not any(v is not None for v in ids.values()):
        raise Rejected("MISSING_FIELD")
    time = read_time(time_text)
    if time is None or not (
        datetime(2000, 1, 1, tzinfo=UTC) <= time < arrived_at + timedelta(days=366)
    ):
        raise Rejected("TIME")
    event_id = none_if_blank(field_text["event_id"])
    agent = field_text["user_agent"] or ""
    told = ua_parser.parse(agent[:1000])
    families = [part and part.family for part in (told.user_agent, told.os, told.device)]
    event_type = "view" if event_type == "page_view" else event_type
    return {
        "event_id": event_id or hashlib.sha256(line).hexdigest(),
        "is_event_id_derived": event_id is None,
        "event_type": event_type,
        "event_category": CATEGORY.get(event_type, "other"),
        "event_timestamp": time,
        **ids,
        **{name: field_text[name] for name in TEXTS},
        "device_type": none_if_blank(field_text["device_type"]) or device(agent.lower()),
        "price": read_price(field_text["price"]),
        "quantity": read_quantity(field_text["quantity"]),
        **dict(zip(("agent_browser", "agent_os", "agent_device"), families, strict=True)),
        "is_bot": families[2] == "Spider" or any(mark in agent.lower() for mark in BOTS),
        "is_clock_skewed": time > arrived_at + timedelta(hours=24),
        "metadata": metadata,
    }


def read_object(text: str) -> Pairs:
    """The one JSON object of a line, or why it is none."""
    depth = deepest = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[{\]}]', text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark, 0)
        deepest = max(deepest, depth)
    numbers = re.findall(r'"(?:[^"\\]|\\.)*"|[0-9]+', text)
    if any(len(number) > 1000 and number[0] != '"' for number in numbers):
        raise Rejected("NUMERIC")
    if deepest > 100:
        raise Rejected("DEPTH")
    try:
        value = DECODER.decode(text)
    except ValueError:
        raise Rejected(why_not_json(text)) from None
    if not isinstance(value, Pairs):
        raise Rejected("NOT_AN_OBJECT")
    return value


def why_not_json(text: str) -> str:
    found, rest = 0, text.strip()
    try:
        while rest:
            value, end = DECODER.raw_decode(rest)
            if not isinstance(value, Pairs):
                break
            found, rest = found + 1, rest[end:].lstrip()
    except ValueError:
        found = 0
    if found > 1 and not rest:
        return "CONCATENATED"
    if re.search(r"[:,\[]\s*[-+]?(NaN|Infinity|INF)\s*[,}\]]", text):
        return "NUMERIC"
    return "JSON_SYNTAX"


def no_constant(name: str) -> None:
    raise ValueError(name)


DECODER = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_float=Number, parse_int=Number, parse_constant=no_constant
)


def own_metadata(value: Any) -> dict[str, Any]:
    """Metadata's own entries: an object, or text that holds one."""
    if value is None:
        return {}
    if isinstance(value, str) and not isinstance(value, Number):
        try:
            value = read_object(value)
        except Rejected:
            raise Rejected("TYPE") from None
    if not isinstance(value, Pairs):
        raise Rejected("TYPE")
    if len(dict(value)) != len(value):
        raise Rejected("DUP_KEY")
    return dict(value)


def is_personal(key: str, value: Any, text: str | None) -> bool:
    """A key that names the client's address or agent, at any depth."""
    if re.sub("[_-]", "", key.lower()) in PERSONAL:
        return True
    if isinstance(value, str) and text and text[:1] in "[{" and not isinstance(value, Number):
        try:
            value = DECODER.decode(value)
        except ValueError:
            return False
    return holds_personal(value)


def holds_personal(value: Any) -> bool:
    if isinstance(value, Pairs):
        return any(
            re.sub("[_-]", "", key.lower()) in PERSONAL or holds_personal(inner)
            for key, inner in value
        )
    return isinstance(value, list) and any(map(holds_personal, value))


def as_text(value: Any) -> str | None:
    """A string as it is, anything else as its JSON text without blanks."""
    if value is None or (isinstance(value, str) and not isinstance(value, Number)):
        return value
    return json_text(value)


def json_text(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json_text(k)}:{json_text(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def repr_of(value: Any) -> str:
    """All text inside a value, keys included."""
    if isinstance(value, Pairs):
        return "".join(k + repr_of(v) for k, v in value)
    if isinstance(value, list):
        return "".join(map(repr_of, value))
    return value if isinstance(value, str) else ""


def none_if_blank(text: str | None) -> str | None:
    return text if text and text.strip(" ") else None


def device(agent: str) -> str | None:
    if not agent:
        return None
    if "ipad" in agent or "tablet" in agent:
        return "tablet"
    return "mobile" if "mobi" in agent or "android" in agent else "desktop"


def read_time(text: str) -> datetime | None:
    if re.fullmatch(r"[0-9]{13}(\.[0-9]{1,6})?", text):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(Decimal(text) * 1000))
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?"
        r"(?:(Z)|([+-])(\d\d)(?::?(\d\d))?)?",
        text,
        re.ASCII,
    )
    if not found or (found[4] and not found[3]):
        return None
    try:
        time = datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3] or ':00'}+00:00")
        hours, minutes = int(found[7] or 0), int(found[8] or 0)
        if minutes > 59 or hours * 60 + minutes > 18 * 60:
            return None
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if found[6] == "-" else 1)
        return time.replace(microsecond=int((found[4] or "0").ljust(6, "0")[:6])) - offset
    except (ValueError, OverflowError):
        return None


def read_price(text: str | None) -> Decimal | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", text):
        raise Rejected("NUMERIC")
    try:
        stored = Decimal(text).quantize(Decimal("0.0001"))
    except InvalidOperation:
        raise Rejected("NUMERIC") from None
    if stored != Decimal(text) or abs(stored) >= 10**14:
        raise Rejected("NUMERIC")
    return stored


def read_quantity(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,10}(\.0+)?", text) or not -(2**31) <= Decimal(text) < 2**31:
        raise Rejected("NUMERIC")
    return int(Decimal(text))
