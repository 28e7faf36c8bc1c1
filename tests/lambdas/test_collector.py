"""The collector against a real stream: what it answers, and what then lies in the stream."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from clickstream_contract.contract import REASONS
from clickstream_contract.event import read_event
from clickstream_contract.json_lines import Rejected

from lambdas.collector import body, handler
from tests.conftest import EmbeddedAws

KEY = "browser-key"
SHOP = "https://shop.example"
NOW = int(datetime.now(UTC).timestamp() * 1_000_000)


class Collector:
    """The handler as API Gateway invokes it, and the stream behind it."""

    def __init__(self, aws: EmbeddedAws, stream: str) -> None:
        self.kinesis, self.stream = aws.client("kinesis"), stream
        shards = self.kinesis.list_shards(StreamName=stream)["Shards"]
        self._iterators = [
            self.kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for shard in shards
        ]

    def request(
        self, method: str, path: str, content: bytes = b"", query: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        answer = handler.handle(
            {
                "httpMethod": method,
                "path": path,
                "headers": {name.replace("_", "-"): value for name, value in headers.items()},
                "queryStringParameters": query,
                "requestContext": {"identity": {"sourceIp": "203.0.113.77"}},
                "body": base64.b64encode(content).decode(),
                "isBase64Encoded": True,
            },
            None,
        )
        text = answer["body"]
        return answer["statusCode"], json.loads(text) if text else {}, answer["headers"]

    def post(self, content: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content_Type": "application/json"} | headers
        return self.request("POST", "/events", data, **headers)[:2]

    def lines(self) -> list[bytes]:
        """What came to the stream since the last time, by shard."""
        found = []
        for number, iterator in enumerate(self._iterators):
            while True:
                answer = self.kinesis.get_records(ShardIterator=iterator, Limit=1000)
                iterator = self._iterators[number] = answer["NextShardIterator"]
                if not answer["Records"]:
                    break
                found += [record["Data"] for record in answer["Records"]]
        return found

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture(scope="module")
def stream(aws: EmbeddedAws) -> Iterator[str]:
    name = f"events-{uuid.uuid4().hex[:8]}"
    aws.client("kinesis").create_stream(StreamName=name, ShardCount=2)
    yield name
    aws.client("kinesis").delete_stream(StreamName=name)


@pytest.fixture
def collector(aws: EmbeddedAws, stream: str, monkeypatch: pytest.MonkeyPatch) -> Collector:
    client = aws.client("kinesis")
    monkeypatch.setattr(handler, "_kinesis", lambda: client)
    monkeypatch.setattr(handler, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(handler, "BACKOFF_BASE_SECONDS", 0.001)
    monkeypatch.setenv("STREAM", stream)
    monkeypatch.setenv("ALLOWED_ORIGINS", f"{SHOP},http://localhost:8000")
    monkeypatch.setenv("WRITE_KEYS_SHA256", hashlib.sha256(KEY.encode()).hexdigest())
    handler._stream_state.cache_clear()
    made = Collector(aws, stream)
    made.lines()
    return made


@pytest.fixture
def refusals(collector: Collector) -> Callable[[Callable[[int], list[int]]], list[int]]:
    """Have Kinesis refuse records: a function of the attempt gives their places."""

    def install(places: Callable[[int], list[int]]) -> list[int]:
        sizes: list[int] = []

        def refuse(parsed: dict[str, Any], **_: Any) -> None:
            sizes.append(len(parsed["Records"]))
            for place in places(len(sizes)):
                parsed["Records"][place] = {"ErrorCode": "ProvisionedThroughputExceededException"}

        handler._kinesis().meta.events.register("after-call.kinesis.PutRecords", refuse)
        return sizes

    return install


def event(**fields: Any) -> dict[str, Any]:
    return {
        "event_id": uuid.uuid4().hex,
        "event_type": "view",
        "event_timestamp": "2026-11-21T10:00:00.000Z",
        "anonymous_id": "a-1",
        "user_agent": "Mozilla/5.0",
        **fields,
    }


def test_one_event_or_a_list_is_accepted_with_its_ids(collector: Collector) -> None:
    one, two, three = event(), event(), event()
    assert collector.post(one) == (202, {"accepted": 1, "ids": [one["event_id"]]})
    status, answer = collector.post([two, three])
    assert (status, answer["ids"]) == (202, [two["event_id"], three["event_id"]])
    sent = {each["event_id"]: each for each in collector.events()}
    assert sent.keys() == {one["event_id"], two["event_id"], three["event_id"]}
    assert all(one.items() <= sent[one["event_id"]].items() for one in (one, two, three))


def test_an_event_is_told_when_and_from_which_network_it_came(collector: Collector) -> None:
    forged = event(ip_address="198.51.100.9", received_at="1999-01-01", user_agent=None)
    before = datetime.now(UTC)
    assert collector.post(forged, User_Agent="Browser/1.0")[0] == 202
    (sent,) = collector.events()
    assert sent["ip_address"] == "203.0.113.0"
    assert sent["user_agent"] == "Browser/1.0"
    assert before <= datetime.fromisoformat(sent["received_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("unknown", None),
        ("", None),
    ],
)
def test_an_address_loses_what_tells_one_household(address: str, kept: str | None) -> None:
    assert body.network(address) == kept


def test_an_events_own_user_agent_stays(collector: Collector) -> None:
    assert collector.post(event(user_agent="App/2"), User_Agent="Server/1")[0] == 202
    assert collector.events()[0]["user_agent"] == "App/2"


def test_a_body_may_have_line_ends_and_a_line_has_none(collector: Collector) -> None:
    sent = [event(page="a\nb"), event()]
    text = json.dumps(sent, indent=2).replace("\n", "\r\n")
    assert collector.post(text.encode())[0] == 202
    lines = collector.lines()
    assert [line.count(b"\n") for line in lines] == [1, 1]
    assert not any(b"\r" in line for line in lines)
    assert {json.loads(line).get("page") for line in lines} == {"a\nb", None}


def test_an_event_without_an_id_gets_the_same_one_at_every_try(collector: Collector) -> None:
    anonymous = event()
    del anonymous["event_id"]
    first, second = collector.post(anonymous), collector.post(anonymous)
    assert first == second
    (id,) = first[1]["ids"]
    assert [each["event_id"] for each in collector.events()] == [id, id]
    assert id == hashlib.sha256(json.dumps(anonymous).encode()).hexdigest()


def test_numbers_keep_every_digit(collector: Collector) -> None:
    text = json.dumps(event(event_type="purchase")).replace("}", ', "price": 19.990000000000001}')
    assert collector.post(text.encode())[0] == 400  # more than the column holds
    text = text.replace("19.990000000000001", "19.9900").replace("}", ', "ip_address": "x"}')
    assert collector.post(text.encode())[0] == 202
    assert b'"price":19.9900' in collector.lines()[-1].replace(b" ", b"")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://s.example/a?email=a%40b.c&q=1#top", "https://s.example/a?q=1#top"),
        ("https://s.example/a?q=1&token=x", "https://s.example/a?q=1"),
        ("/a?Password=x", "/a"),
        ("/a?q=email=x", "/a?q=email=x"),
        ("/a?utm_source=x&code=SALE", "/a?utm_source=x&code=SALE"),
    ],
)
def test_a_url_does_not_tell_who_it_is_or_what_opens_a_door(
    collector: Collector, url: str, kept: str
) -> None:
    assert collector.post(event(page_url=url, referrer_url=url))[0] == 202
    (sent,) = collector.events()
    assert (sent["page_url"], sent["referrer_url"]) == (kept, kept)


def test_a_visitors_events_share_a_partition_key(collector: Collector) -> None:
    origin = body.Origin(datetime.now(UTC))
    keys = [
        body.read_body(json.dumps(each).encode(), False, origin)[0].key
        for each in (event(), event(user_id="u-1"), event(anonymous_id=None, user_id="u-1"))
    ]
    assert keys == ["a-1", "a-1", "u-1"]


def test_a_bad_event_is_named_by_place_and_reason_and_the_good_ones_are_taken(
    collector: Collector,
) -> None:
    good = event(), event()
    bad = event(event_timestamp="30 February"), event(price="cheap")
    status, answer = collector.post([good[0], bad[0], bad[1], good[1]])
    assert status == 400
    assert answer["accepted"] == 2
    assert answer["ids"] == [each["event_id"] for each in good]
    assert answer["rejected"] == [
        {"index": 1, "reason": "TIME", "detail": "30 February"},
        {"index": 2, "reason": "NUMERIC", "detail": "price"},
    ]
    lines = collector.lines()
    assert sorted(json.loads(line)["event_id"] for line in lines) == sorted(
        each["event_id"] for each in (*good, *bad)
    )
    kept = {json.loads(line)["event_id"]: line for line in lines}
    assert kept[bad[0]["event_id"]] == json.dumps(bad[0]).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no json", "JSON_SYNTAX"),
        (b'{"a": 1', "JSON_SYNTAX"),
        (b"[{}] []", "JSON_SYNTAX"),
        (b"[{},]", "JSON_SYNTAX"),
        (b"[1", "JSON_SYNTAX"),
        (b"17", "NOT_AN_OBJECT"),
        (b"[[]]", "NOT_AN_OBJECT"),
        (b"{}\n{}", "CONCATENATED"),
        (b'{"a":"1\n2"}', "JSON_SYNTAX"),
        (b'[{"a":"1\n2"}]', "JSON_SYNTAX"),
        (b'{\n"a":\n1}', "MISSING_FIELD"),
        (b"[NaN]", "NUMERIC"),
        (b'{"a":"\xff"}', "UTF8"),
        (b"[" * 100_000, "DEPTH"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "DEPTH"),
        (b'{"a":1,"a":2}', "DUP_KEY"),
        (b'{"a":"\\ud800"}', "UNICODE"),
        (b"\xef\xbb\xbf{}", "MISSING_FIELD"),
    ],
)
def test_what_is_no_event_is_answered_400_and_kept(
    collector: Collector, content: bytes, reason: str
) -> None:
    status, answer = collector.post(content)
    assert status == 400
    assert [(one["index"], one["reason"]) for one in answer["rejected"]] == [(0, reason)]
    assert reason in REASONS
    (line,) = collector.lines()
    assert line.count(b"\n") == 1
    encoded = line.removeprefix(b"base64:")
    kept = base64.b64decode(encoded) if encoded != line else line[:-1]
    assert kept.replace(b" ", b"\n") in content.replace(b" ", b"\n")
    with pytest.raises(Rejected):
        read_event(line.rstrip(b"\n"), NOW)


@pytest.mark.parametrize("content", [b"", b"  \n", b"[]", b"[ ]"])
def test_a_body_without_an_event_says_so(collector: Collector, content: bytes) -> None:
    status, answer = collector.post(content)
    assert (status, answer["accepted"]) == (400, 0)
    assert "holds no event" in answer["message"]
    assert collector.lines() == []


def test_a_gzipped_body_is_unpacked(collector: Collector) -> None:
    sent = event()
    packed = gzip.compress(json.dumps([sent]).encode())
    assert collector.post(packed, Content_Encoding="gzip")[0] == 202
    assert collector.events()[0]["event_id"] == sent["event_id"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:20],
        lambda packed: packed[5:],
        lambda packed: packed[:10] + b"\xff" * 20 + packed[30:],
    ],
    ids=["cut", "headless", "changed"],
)
def test_torn_gzip_is_answered_400_and_kept(
    collector: Collector, damage: Callable[[bytes], bytes]
) -> None:
    packed = damage(gzip.compress(json.dumps([event()]).encode()))
    status, answer = collector.post(packed, Content_Encoding="gzip")
    assert (status, answer["rejected"][0]["reason"]) == (400, "GZIP_CORRUPT")
    (line,) = collector.lines()
    assert base64.b64decode(line.removeprefix(b"base64:")) == packed


@pytest.mark.parametrize(
    ("content", "headers", "said"),
    [
        (b" " * (1 << 20) + b"1", {}, "1,048,577 bytes"),
        (gzip.compress(b"[" + b" " * (1 << 20) + b"]"), {"Content_Encoding": "gzip"}, "unpacks"),
        (json.dumps([event()] * 501).encode(), {}, "501 events"),
        (json.dumps(event(page="x" * ((1 << 20) - 1000))).encode(), {}, "an event takes"),
        (b"\xff" * 900_000, {}, "an event takes 1,200,008 bytes"),
        (b"\xff" * 900_000, {"Content_Encoding": "gzip"}, "an event takes"),
        (b"x" * (1 << 20), {}, "an event takes"),
    ],
)
def test_too_much_is_refused_whole(
    collector: Collector, content: bytes, headers: dict[str, str], said: str
) -> None:
    status, answer = collector.post(content, **headers)
    assert status == 413
    assert said in answer["message"]
    assert collector.lines() == []


def test_500_events_are_taken(collector: Collector) -> None:
    status, answer = collector.post([event(anonymous_id=f"a-{n}") for n in range(500)])
    assert (status, answer["accepted"]) == (202, 500)
    assert {each["event_id"] for each in collector.events()} == set(answer["ids"])


@pytest.mark.parametrize(
    "headers",
    [{"Content_Type": "text/plain"}, {"Content_Type": ""}, {"Content_Encoding": "br"}],
)
def test_another_content_type_is_refused(collector: Collector, headers: dict[str, str]) -> None:
    assert collector.post([event()], **headers)[0] == 415
    assert collector.lines() == []


def test_a_beacon_brings_its_key_as_a_parameter(collector: Collector) -> None:
    sent = event()
    plain = {"Content_Type": "text/plain;charset=UTF-8"}
    content = json.dumps([sent]).encode()
    for query in (None, {"key": "wrong"}, {"key": ""}):
        assert collector.request("POST", "/beacon", content, query, **plain)[0] == 403
    assert collector.lines() == []
    assert collector.request("POST", "/beacon", content, {"key": KEY}, **plain)[0] == 202
    assert [each["event_id"] for each in collector.events()] == [sent["event_id"]]


def test_without_any_key_configured_no_key_is_known(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WRITE_KEYS_SHA256")
    content = json.dumps(event()).encode()
    plain = {"Content_Type": "text/plain"}
    assert collector.request("POST", "/beacon", content, {"key": ""}, **plain)[0] == 403


def test_only_refused_lines_are_offered_again(
    collector: Collector, refusals: Callable[..., list[int]]
) -> None:
    sizes = refusals(lambda attempt: [1, 3] if attempt == 1 else [0] if attempt == 2 else [])
    assert collector.post([event() for _ in range(5)])[0] == 202
    assert sizes == [5, 2, 1]


def test_202_needs_every_line(collector: Collector, refusals: Callable[..., list[int]]) -> None:
    refusals(lambda attempt: [0])
    status, answer, headers = collector.request(
        "POST", "/events", json.dumps(event()).encode(), Content_Type="application/json"
    )
    assert (status, headers["Retry-After"]) == (503, "2")
    assert "send all of them again" in answer["message"]


def test_an_error_shows_no_stack_trace(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(handler, "read_body", fail)
    status, answer = collector.post(event())
    assert (status, list(answer)) == (503, ["message"])
    assert "secret" not in json.dumps(answer)
    assert "a secret" in caplog.text


def test_an_origin_on_the_list_may_read_and_another_may_not(collector: Collector) -> None:
    status, _, headers = collector.request("OPTIONS", "/events", Origin=SHOP)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, SHOP)
    assert "x-api-key" in headers["Access-Control-Allow-Headers"]
    status, _, headers = collector.request("OPTIONS", "/events", Origin="https://evil.example")
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers
    content = json.dumps(event()).encode()
    kind = {"Content_Type": "application/json"}
    headers = collector.request("POST", "/events", content, Origin=SHOP, **kind)[2]
    assert headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/events", 405), ("POST", "/", 404), ("PUT", "/x", 404)]
)
def test_other_ways_in_are_named(collector: Collector, method: str, path: str, status: int) -> None:
    answer = collector.request(method, path)
    assert answer[0] == status
    assert answer[1]["message"]


def test_health_looks_at_the_stream(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    assert collector.request("GET", "/health")[:2] == (200, {"status": "ok"})
    handler._stream_state.cache_clear()
    monkeypatch.setenv("STREAM", "nowhere")
    assert collector.request("GET", "/health")[0] == 503
