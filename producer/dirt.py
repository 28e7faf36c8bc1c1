"""What goes wrong with real traffic, injected at a rate and counted by kind.

Dirt never costs an event: a late event or one with an unknown field still loads, and the other
kinds are lines added to the stream. A broken line has an identity of its own, so that a pipeline
that accepts it by mistake shows more rows than there were events.
"""

from __future__ import annotations

import codecs
import json
import random
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import orjson

from producer.journeys import Event

Breaker = Callable[[bytes, dict[str, Any], random.Random], bytes]

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
#: A copy comes up to this much later; often enough in another hour.
COPY_DELAY_MS = 2 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Rates:
    """Share of the events that each kind of dirt befalls; an event meets at most one."""

    duplicates: float = 0.0
    late: float = 0.0
    malformed: float = 0.0
    unknown_fields: float = 0.0
    collisions: float = 0.0
    blank: float = 0.0


#: ``--dirty``: what a busy public site sees, a little exaggerated.
DIRTY = Rates(
    duplicates=0.01, late=0.01, malformed=0.005, unknown_fields=0.01, collisions=0.001, blank=0.001
)


def soil(
    events: Iterable[Event], rates: Rates, late_days: float, rng: random.Random
) -> list[Event]:
    """The events with their share of dirt, sorted; ``Event.dirt`` says what each one is."""
    kinds = [field.name for field in fields(Rates)]
    limits = list(accumulate(getattr(rates, kind) for kind in kinds))
    draw, total = rng.random, limits[-1]
    soiled: list[Event] = []
    for event in events:
        if (uniform := draw()) >= total:
            soiled.append(event)
        else:
            kind = kinds[bisect_right(limits, uniform)]
            soiled += _SPOIL[kind](event, rng, late_days)
    soiled.sort()
    return soiled


def _duplicate(event: Event, rng: random.Random, late_days: float) -> list[Event]:
    return [event, event._replace(at=_copied_at(event, rng), dirt="duplicates")]


def _collide(event: Event, rng: random.Random, late_days: float) -> list[Event]:
    body = orjson.loads(event.line)
    if "event_id" not in body:  # its id is the hash of its text, which cannot collide
        return [event]
    twin = orjson.dumps({**body, "session_id": "s-collision", "browser": "Other"}) + b"\n"
    return [event, event._replace(at=_copied_at(event, rng), line=twin, dirt="collisions")]


def _delay(event: Event, rng: random.Random, late_days: float) -> list[Event]:
    body = orjson.loads(event.line)
    name = _time_field(body)
    back = HOUR_MS + int(rng.random() * max(0, late_days * DAY_MS - HOUR_MS))
    if isinstance(body[name], int):
        body[name] -= back
    else:
        suffix = "Z" if body[name].endswith("Z") else ""
        moved = datetime.fromisoformat(body[name]) - timedelta(milliseconds=back)
        body[name] = moved.replace(tzinfo=None).isoformat(timespec="milliseconds") + suffix
    return [event._replace(line=orjson.dumps(body) + b"\n", dirt="late")]


def _add_field(event: Event, rng: random.Random, late_days: float) -> list[Event]:
    body = orjson.loads(event.line)
    name, value = rng.choice(_NEW_FIELDS)
    return [event._replace(line=orjson.dumps({**body, name: value}) + b"\n", dirt="unknown_fields")]


def _break(event: Event, rng: random.Random, late_days: float) -> list[Event]:
    kind = rng.choice(list(MALFORMED))
    body = orjson.loads(event.line)
    body["event_id"] = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    line = MALFORMED[kind](event.line, body, rng) + b"\n"
    return [event, event._replace(line=line, dirt=f"malformed.{kind}")]


def _add_blank(event: Event, rng: random.Random, late_days: float) -> list[Event]:
    return [event, event._replace(line=b"\n", dirt="blank")]


_SPOIL = {
    "duplicates": _duplicate,
    "late": _delay,
    "malformed": _break,
    "unknown_fields": _add_field,
    "collisions": _collide,
    "blank": _add_blank,
}
_NEW_FIELDS: list[tuple[str, Any]] = [
    ("ab_variant", "checkout-b"),
    ("scroll_depth", 62),
    ("consent", True),
    ("viewport", {"width": 390, "height": 844}),
    ("experiments", ["free-shipping", "new-search"]),
    ("coupon", None),
]
_TIMES = ("event_timestamp", "timestamp")


def _time_field(body: dict[str, Any]) -> str:
    return next(name for name in _TIMES if name in body)


def _copied_at(event: Event, rng: random.Random) -> int:
    return event.at + int(rng.random() * COPY_DELAY_MS)


def _truncated(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
    return line[: rng.randrange(1, len(line) - 2)]


def _missing_field(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
    lost = rng.choice((("event_type",), _TIMES, ("user_id", "anonymous_id")))
    return orjson.dumps({name: value for name, value in body.items() if name not in lost})


def _bad_time(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
    body[_time_field(body)] = rng.choice(("2026-02-30T10:00:00Z", "yesterday", "", True))
    return orjson.dumps(body)


def _type_change(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
    return orjson.dumps({**body, "price": {"amount": 12, "currency": "USD"}})


def _with(name: str, value: bytes) -> Breaker:
    def breaker(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
        body.pop(name, None)
        return orjson.dumps(body)[:-1] + b',"%b":%b}' % (name.encode(), value)

    return breaker


def _repeat_key(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
    return orjson.dumps(body)[:-1] + b',"event_type":"purchase"}'


def _utf16(line: bytes, body: dict[str, Any], rng: random.Random) -> bytes:
    # ASCII only, so that no half of a character is a newline.
    return codecs.BOM_UTF16_LE + json.dumps(body).encode("utf-16-le")


_DEPTH = 5_000
#: How a line is broken. Each takes the line, its parsed body (with a new event_id) and a random
#: source and returns a line without its newline.
MALFORMED: dict[str, Breaker] = {
    "truncated": _truncated,
    "missing_field": _missing_field,
    "bad_time": _bad_time,
    "type_change": _type_change,
    "not_a_number": _with("price", b"NaN"),
    "infinite_number": _with("price", b"1e999"),
    "huge_number": _with("quantity", b"9" * 5_000),
    "duplicate_key": _repeat_key,
    "lone_surrogate": _with("page", rb'"\ud800"'),
    "invalid_utf8": _with("page", b'"caf\xe9"'),
    "too_deep": _with("metadata", b"[" * _DEPTH + b"]" * _DEPTH),
    "utf16": _utf16,
    "scalar": lambda line, body, rng: b"42",
    # These two hold good copies of an event; a reader may recover them as duplicates.
    "concatenated": lambda line, body, rng: line.rstrip() * 2,
    "array": lambda line, body, rng: b"[" + line.rstrip() + b"]",
}
