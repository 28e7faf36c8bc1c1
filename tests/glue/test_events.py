"""One raw line in, one event or one reason out; all lines go through Spark in one job."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from clickstream_contract.contract import EVENT_COLUMNS, REASONS
from clickstream_contract.event import BLANK, read_event
from clickstream_glue.events import MOST_AGENTS, Agents, read_events
from clickstream_glue.raw_lines import read_lines
from pyspark.sql import SparkSession

from tests.glue import oracle

HOUR = "year=2026/month=11/day=20/hour=10/"
EVENT = {"event_id": "e", "event_type": "view", "event_timestamp": "2026-11-20T10:00:00Z"}
EVENT |= {"user_id": "u"}


def line(without: str = "", **fields: Any) -> bytes:
    event = {key: value for key, value in (EVENT | fields).items() if key != without}
    return json.dumps(event, ensure_ascii=False).encode()


def text(fields: str) -> bytes:
    """The event with fields given as JSON text."""
    return line()[:-1] + b", " + fields.encode("utf-8", "surrogatepass") + b"}"


MAX_LINE_BYTES = 250_000
DEEP = "[" * 99 + "]" * 99

# Lines by the reason they must get.
REJECTED: list[tuple[str, bytes]] = [
    ("JSON_SYNTAX", b'{"event_id": "torn'),
    ("JSON_SYNTAX", b"{'event_id': 'e'}"),
    ("JSON_SYNTAX", b"{event_id: 1}"),
    ("JSON_SYNTAX", line() + b" junk"),
    ("JSON_SYNTAX", line() + b"] junk"),
    ("JSON_SYNTAX", line() + b"},{"),
    ("JSON_SYNTAX", line() + b" 5 " + line()),
    ("JSON_SYNTAX", text('"quantity": 01')),
    ("JSON_SYNTAX", text('"page": "a\tb"')),
    ("JSON_SYNTAX", text('"page": "a",')),
    ("JSON_SYNTAX", line().decode().encode("utf-16-be")),
    ("JSON_SYNTAX", b"\xc2\xa0"),
    ("JSON_SYNTAX", text('"page": "x, 1.5, y", "price": 1.5 "x": 2')),
    ("CONCATENATED", line() + line(event_id="f")),
    ("CONCATENATED", line(page="}{") + b" " + line() + line()),
    ("NOT_AN_OBJECT", b"[" + line() + b"]"),
    ("NOT_AN_OBJECT", b"[1.5]"),
    ("NOT_AN_OBJECT", b"[]"),
    ("NOT_AN_OBJECT", b"17"),
    ("NOT_AN_OBJECT", b'"text"'),
    ("NOT_AN_OBJECT", b"null"),
    ("NUMERIC", text('"price": NaN')),
    ("NUMERIC", text('"price": -Infinity')),
    ("NUMERIC", text('"price": 1e999')),
    ("NUMERIC", text('"score": NaN')),
    ("NUMERIC", text('"quantity": ' + "9" * 5000)),
    ("NUMERIC", text('"score": ' + "9" * 5000)),
    ("NUMERIC", text('"price": 19.99999')),
    ("NUMERIC", text('"price": 0.1000000000000000055511151231257827')),
    ("NUMERIC", text('"price": 123456789012345.5')),
    ("NUMERIC", line(price="19,99")),
    ("NUMERIC", line(price="")),
    ("NUMERIC", line(price="1.5\n")),
    ("NUMERIC", line(price={"amount": 1})),
    ("NUMERIC", line(quantity=2**31)),
    ("NUMERIC", line(quantity=1.5)),
    ("NUMERIC", line(quantity=True)),
    ("DEPTH", text('"page": [' + DEEP + "]")),
    ("DEPTH", text('"page": ' + "[" * 100_000 + "]" * 100_000)),
    ("UNICODE", text('"page": "\\ud800"')),
    ("UNICODE", text('"page": "\\\\\\ud800"')),
    ("UNICODE", text('"page": "\\udc00\\ud83d"')),
    ("UTF8", line()[:-1] + b', "page": "\x80"}'),
    ("UTF8", line()[:-1] + b', "page": "\xed\xa0\x80"}'),
    ("UTF8", b"\xff\xfe" + line().decode().encode("utf-16-le")),
    ("UTF8", line() + b"\xe2\r"),
    ("DUP_KEY", text('"event_id": "other"')),
    ("DUP_KEY", text('"color": 1, "color": 1')),
    ("DUP_KEY", text('"metadata": {"a": 1, "a": 2}')),
    ("TYPE", line(page={"name": "home"})),
    ("TYPE", line(page=[])),
    ("TYPE", line(user_id=["u"])),
    ("TYPE", line(metadata="plain")),
    ("TYPE", line(metadata=[1])),
    ("TYPE", line(metadata='{"a": 1} x')),
    ("TYPE", line(additional_data=5)),
    ("MISSING_FIELD", b"{}"),
    ("MISSING_FIELD", line(without="event_type")),
    ("MISSING_FIELD", line(event_type=" ")),
    ("MISSING_FIELD", line(without="event_timestamp")),
    ("MISSING_FIELD", line(without="user_id")),
    ("MISSING_FIELD", line(user_id=None, anonymous_id="")),
    *(
        ("TIME", line(event_timestamp=time))
        for time in (
            "2026", "12:30", "2026-11-20", "2026-02-30T00:00:00Z", "2026-11-20T10:00:60Z",
            "2026-11-20T24:00:00Z", "1999-12-31T23:59:59Z", "9999-01-01T00:00:00Z",
            "2027-11-21T10:00:00Z", "2026-11-20T10:00:00+19:00", "2026-11-20T10:00:00 Berlin",
            1700000000, 0, "yesterday", "1970-01-01T00:00:00Z", "2026-11-20T10:00.5Z",
            "2026-11-20T10:00:00Z\n", "1763632800000Z",
        )
    ),
    ("TIME", line(event_timestamp={"at": 1})),
    ("OVERSIZE", line(page="x" * MAX_LINE_BYTES)),
    (BLANK, b""),
    (BLANK, b" \t "),
    (BLANK, b"\r"),
]  # fmt: skip

# Lines that load, with the columns each is about.
ACCEPTED: list[tuple[bytes, dict[str, Any]]] = [
    (line(), {"event_id": "e", "is_event_id_derived": False, "metadata": {}, "is_bot": False}),
    (line() + b"\r", {"event_id": "e"}),
    (b" \t" + line() + b"  ", {"event_id": "e"}),
    (b"\xef\xbb\xbf" + line(), {"event_id": "e"}),
    (line(without="event_id"), {"is_event_id_derived": True}),
    (line(event_id=" "), {"is_event_id_derived": True}),
    (line(event_id=12345678901234567890), {"event_id": "12345678901234567890"}),
    (line(event_type=" Page_View "), {"event_type": "view", "event_category": "browse"}),
    (line(event_type="hover"), {"event_type": "hover", "event_category": "other"}),
    (line(without="user_id", anonymous_id="a"), {"user_id": None, "anonymous_id": "a"}),
    (line(without="event_timestamp", timestamp="2026-11-20 10:00"), {"metadata": {}}),
    (line(timestamp="x"), {"metadata": {"timestamp": "x"}}),
    (line(event_timestamp=None, timestamp=1763632800000), {"metadata": {}}),
    (line(event_timestamp="1763632800123"), {}),
    (text('"timestamp": 1').replace(b'"2026-11-20T10:00:00Z"', b"1763632800123.456"), {}),
    (line(event_timestamp="2026-11-20T12:00:00+02:00"), {}),
    (line(event_timestamp="2026-11-20T04:30:00-0530"), {}),
    (line(event_timestamp="2026-11-20T10:00:00,123456789Z"), {}),
    (line(event_timestamp="2000-01-01T00:00:00Z"), {"is_clock_skewed": False}),
    (line(event_timestamp="2026-11-21T10:00:00Z"), {"is_clock_skewed": False}),
    (line(event_timestamp="2026-11-21T10:00:01Z"), {"is_clock_skewed": True}),
    (line(color="red", size=None), {"metadata": {"color": "red", "size": None}}),
    (line(color="red", metadata={"a": "b"}), {"metadata": {"color": "red", "a": "b"}}),
    (line(a="top", metadata={"a": "own"}), {"metadata": {"event.a": "top", "a": "own"}}),
    (line(metadata='{"a": "b"}'), {"metadata": {"a": "b"}}),
    (
        line(a=1, metadata={"a": "own", "event.a": "own too"}),
        {"metadata": {"a": "own", "event.a": "own too", "event.event.a": "1"}},
    ),
    (line(additional_data={"a": True}), {"metadata": {"a": "true"}}),
    (line(metadata={}, additional_data={"a": 1}), {"metadata": {"additional_data": '{"a":1}'}}),
    (line(color={"b": [1, "x\u001f", None]}), {"metadata": {"color": '{"b":[1,"x\\u001f",null]}'}}),
    (
        text('"a": 1.10, "b": 1e2, "c": [1.50, {"d": -0}], "e": 0.12345678901234567890'),
        {
            "metadata": {
                "a": "1.10",
                "b": "1e2",
                "c": '[1.50,{"d":-0}]',
                "e": "0.12345678901234567890",
            }
        },
    ),
    (text('"a": 1.10, "page": "x, 2.50, \\"y: 3.0}"'), {"page": 'x, 2.50, "y: 3.0}'}),
    (
        text('"metadata": "{\\"a\\": 2.50, \\"b\\": \\"[3.0]\\"}"'),
        {"metadata": {"a": "2.50", "b": "[3.0]"}},
    ),
    (
        text('"a": 123456789012345678901234567890'),
        {"metadata": {"a": "123456789012345678901234567890"}},
    ),
    (line(page='{"not": "an object"}'), {"page": '{"not": "an object"}'}),
    (
        line(page="\u2028 \u0085 \x00 Ω e\u0301 \U0001f600"),
        {"page": "\u2028 \u0085 \x00 Ω e\u0301 \U0001f600"},
    ),
    (text('"page": "\\ud83d\\ude00 \\\\ud800"'), {"page": "\U0001f600 \\ud800"}),
    (line(page="=cmd|' /C calc'!A1'; DROP TABLE x;--{{ 7*7 }}/../"), {}),
    (line(page=""), {"page": ""}),
    (line(price="19.990000", quantity="2"), {"quantity": 2}),
    (text('"price": 12345678901234.5678, "quantity": 2.0'), {"quantity": 2}),
    (text('"price": 1.5e1'), {}),
    (text('"price": -0.01'), {}),
    (line(quantity=-(2**31)), {"quantity": -(2**31)}),
    (
        line(user_agent="Mozilla/5.0 (iPhone) Mobile/15E", ip_address="10.1.2.3"),
        {"device_type": "mobile", "is_bot": False},
    ),
    (
        line(user_agent="Googlebot/2.1", device_type="tablet"),
        {"device_type": "tablet", "is_bot": True},
    ),
    (line(user_agent="Mozilla/5.0 (X11; Linux)"), {"device_type": "desktop"}),
    (
        line(
            user_agent="Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"
        ),
        {"agent_browser": "Chrome Mobile", "agent_os": "Android", "agent_device": "Pixel 8"},
    ),
    (line(), {"agent_browser": None, "agent_os": None, "agent_device": None}),
    # Known to ua-parser alone.
    (line(user_agent="facebookexternalhit/1.1"), {"agent_device": "Spider", "is_bot": True}),
    (line(user_agent="(" * 100_000), {"is_bot": False}),
    (
        line(ip="1.2.3.4", metadata={"User-Agent": "x", "clientIp": "y", "zip": "1"}),
        {"metadata": {"zip": "1"}},
    ),
    (line(note='no "ip": here'), {"metadata": {"note": 'no "ip": here'}}),
    (
        line(request={"headers": {"X-Forwarded-For": "1.2.3.4"}}, color="red"),
        {"metadata": {"color": "red"}},
    ),
    (
        line(request='{"ip_address": "1.2.3.4"}', color='{"zip": 1}'),
        {"metadata": {"color": '{"zip": 1}'}},
    ),
    (text('"page": ' + '"' + "\\\\" * 900 + '", "a": 1.5'), {"metadata": {"a": "1.5"}}),
]


@pytest.fixture(scope="module")
def rows(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All lines above, as one gzip object through Spark; the oracle's key is its place."""
    root = tmp_path_factory.mktemp("raw")
    path = root / HOUR / "all.gz"
    path.parent.mkdir(parents=True)
    content = b"\n".join([line for _, line in REJECTED] + [line for line, _ in ACCEPTED])
    path.write_bytes(gzip.compress(content))
    lines = read_lines(spark, f"file:{root}/", [f"file:{path}"])
    events = read_events(lines, max_line_bytes=MAX_LINE_BYTES).collect()
    return [row.asDict() for row in sorted(events, key=lambda row: row["source_line"])]


@pytest.mark.parametrize(
    ("number", "reason"), [(n, reason) for n, (reason, _) in enumerate(REJECTED)]
)
def test_a_bad_line_gets_its_reason_and_keeps_its_bytes(
    rows: list[dict[str, Any]], number: int, reason: str
) -> None:
    row, sent = rows[number], REJECTED[number][1]
    assert row["source_line"] == number + 1
    assert row["reason"] == reason
    assert bytes(row["raw_bytes"]) == sent.removesuffix(b"\r")


@pytest.mark.parametrize("number", range(len(ACCEPTED)))
def test_a_good_line_becomes_the_event_of_the_contract(
    rows: list[dict[str, Any]], number: int
) -> None:
    row, (sent, columns) = rows[len(REJECTED) + number], ACCEPTED[number]
    assert (row["reason"], row["detail"], row["raw_bytes"]) == (None, None, None)
    assert {name: row[name] for name in columns} == columns
    text = sent.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")
    wanted = oracle.read_event(text, oracle.arrival(HOUR), MAX_LINE_BYTES)
    row["event_timestamp"] = oracle.utc(row["event_timestamp"])
    assert {name: row[name] for name in wanted} == wanted


# The oracle counts blank lines before it reads events.
@pytest.mark.parametrize(
    "number", [number for number, (reason, _) in enumerate(REJECTED) if reason != BLANK]
)
def test_the_oracle_gives_the_same_reason(number: int) -> None:
    reason, sent = REJECTED[number]
    with pytest.raises(oracle.Rejected, match=f"^{reason}$"):
        oracle.read_event(sent.removesuffix(b"\r"), oracle.arrival(HOUR), MAX_LINE_BYTES)


def test_an_event_has_the_columns_in_the_order_of_their_schema() -> None:
    arrived_at = int(oracle.arrival(HOUR).timestamp()) * 1_000_000
    assert list(read_event(line(), arrived_at)) == EVENT_COLUMNS


def test_agents_are_kept_but_not_without_end() -> None:
    agents = Agents()
    for number in range(MOST_AGENTS + 1):
        assert agents[f"bot {number}"][:2] == (True, "desktop")
    assert len(agents) == 1


def test_every_reason_of_a_line_has_a_case() -> None:
    by_object_or_key = {"GZIP_TRUNCATED", "GZIP_CORRUPT", "ID_COLLISION"}
    assert {reason for reason, _ in REJECTED} == {*REASONS, BLANK} - by_object_or_key
