"""Bodies nobody would send: the collector answers each, and loses nothing that it accepted.

`make test` tries a few hundred; `make fuzz-check` 100,000.
"""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lambdas.test_collector import Collector, collector, stream

__all__ = ["collector", "stream"]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))

TEXT = st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
TIMES = st.datetimes().map(lambda at: at.isoformat()) | st.integers(0, 10**14) | TEXT
EVENTS = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(["view", "purchase", "x", ""]) | VALUES,
        "event_timestamp": st.just("2026-11-21T10:00:00Z") | TIMES,
    },
    optional={
        "event_id": TEXT | VALUES,
        "anonymous_id": TEXT | VALUES,
        "user_id": st.just("u-1") | VALUES,
        "page_url": st.sampled_from(["/a?email=x@y&b", "https://s/?token=&#"]) | VALUES,
        "price": st.decimals(allow_nan=True).map(str) | VALUES,
        "quantity": st.integers() | VALUES,
        "metadata": VALUES,
        "ip_address": VALUES,
        "received_at": VALUES,
        "user_agent": VALUES,
        "timestamp": TIMES,
    },
)
GOOD = st.fixed_dictionaries(
    {
        "event_id": st.uuids().map(str) | TEXT,
        "event_type": st.sampled_from(["view", "purchase", "made_up"]),
        "event_timestamp": st.just("2026-11-21T10:00:00Z"),
        "anonymous_id": st.just("a-1") | st.text("aé😀\u2028 ", min_size=1).map(lambda t: f"a{t}"),
    },
    optional={
        "page_url": st.sampled_from(["/a?email=x@y&b", "https://s/?token=&#"]) | TEXT,
        "metadata": st.dictionaries(TEXT, VALUES, max_size=3),
        "ip_address": VALUES,
        "received_at": VALUES,
        "user_agent": VALUES,
        "unknown": VALUES,
    },
)
JSON = st.builds(
    lambda value, is_ascii: json.dumps(value, ensure_ascii=is_ascii).encode(errors="surrogatepass"),
    GOOD | EVENTS | st.lists(GOOD | EVENTS | VALUES, max_size=6) | st.lists(GOOD) | VALUES,
    st.booleans(),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body with some bytes cut out, doubled or changed."""
    body = bytearray(draw(JSON))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(body)))
        end = min(len(body), place + draw(st.integers(0, 12)))
        body[place:end] = draw(st.binary(max_size=6) | st.just(bytes(body[place:end]) * 2))
    return bytes(body)


BODIES = JSON | damaged() | st.binary(max_size=200)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """A body and its headers."""
    body = draw(BODIES)
    headers = {"Content_Type": "application/json"}
    packing = draw(st.sampled_from([None, None, "gzip", "torn", "claimed"]))
    if packing:
        headers["Content_Encoding"] = "gzip"
    if packing in ("gzip", "torn"):
        body = gzip.compress(body, 1)
    if packing == "torn":
        body = body[: draw(st.integers(0, len(body)))]
    return body, headers


@pytest.mark.timeout(7200)
def test_no_body_makes_an_error_of_the_servers_or_loses_an_event(collector: Collector) -> None:
    wanted: list[str] = []
    lines: list[bytes] = []
    counts = {"requests": 0, "lines": 0}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def send(request: tuple[bytes, dict[str, str]]) -> None:
        status, answer = collector.post(request[0], **request[1])
        assert status in (202, 400), (status, answer)
        assert answer["accepted"] == len(answer.get("ids", ()))
        rejected: list[Any] = answer.get("rejected", [])
        assert bool(rejected) == (status == 400) or answer["accepted"] == 0
        counts["requests"] += 1
        counts["lines"] += answer["accepted"] + len(rejected)
        wanted.extend(answer.get("ids", ()))
        if counts["requests"] % 5_000 == 0:
            lines.extend(collector.lines())  # a place in the stream is known for five minutes
            print(f"{counts['requests']:,} bodies, {len(wanted):,} events accepted", flush=True)

    send()
    lines += collector.lines()
    assert counts["requests"] >= EXAMPLES
    assert len(lines) == counts["lines"]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    kept = [event_id(line) for line in lines]
    assert not set(wanted) - set(kept)
    assert len(set(wanted)) > EXAMPLES / 20  # it is not all refused


def event_id(line: bytes) -> str | None:
    """The id of a line that is an event as the tests know it, read by another parser."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict):
        return None
    id = event.get("event_id")
    return id if isinstance(id, str) else json.dumps(id)
