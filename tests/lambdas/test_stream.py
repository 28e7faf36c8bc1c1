"""The stream's functions on a real table, bus and queue; records as Kinesis hands them over."""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest

from lambdas.stream import handler, traffic
from lambdas.stream.clicks import Click, read_record
from lambdas.stream.sessions import KeyEvent, Limits, Session, advance
from lambdas.stream.table import LiveTable
from lambdas.stream.windows import Totals
from tests.conftest import EmbeddedAws

T0 = datetime(2026, 11, 21, 10, tzinfo=UTC)
LIMITS = Limits(timedelta(minutes=10), timedelta(minutes=20))


def record(number: int, at: datetime, visitor: str = "a-1", **fields: Any) -> dict[str, Any]:
    """A record that came when its event happened; fields of None are left out."""
    event = {
        "event_id": f"e-{visitor}-{number}",
        "event_type": "view",
        "event_timestamp": at.isoformat(),
        "anonymous_id": visitor,
        **fields,
    }
    line = json.dumps({name: value for name, value in event.items() if value is not None})
    return raw_record(number, at, line.encode() + b"\n", visitor)


def raw_record(number: int, at: datetime, data: bytes, visitor: str = "a-1") -> dict[str, Any]:
    return {
        "kinesis": {
            "partitionKey": visitor,
            "sequenceNumber": str(10**55 + number),
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": at.timestamp(),
        }
    }


def clicks(*records: dict[str, Any]) -> list[Click]:
    return [click for one in records if (click := read_record(one))]


class Live:
    """The two functions with what they write to."""

    def __init__(self, aws: EmbeddedAws) -> None:
        name = f"live-{uuid.uuid4().hex[:8]}"
        self.bus, self.events, self.sqs = name, aws.client("events"), aws.client("sqs")
        dynamodb = boto3.resource(
            "dynamodb",
            region_name=aws.region,
            endpoint_url=aws.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "id", "AttributeType": "S"},
                {"AttributeName": "watch", "AttributeType": "S"},
                {"AttributeName": "due_at", "AttributeType": "N"},
            ],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "watch",
                    "KeySchema": [
                        {"AttributeName": "watch", "KeyType": "HASH"},
                        {"AttributeName": "due_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        self.table = LiveTable(dynamodb, name)
        arn = f"arn:aws:sqs:{aws.region}:000000000000:{name}"
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        created = self.sqs.create_queue(QueueName=name, Attributes={"Policy": policy})
        self.queue = created["QueueUrl"]
        self.events.create_event_bus(Name=name)
        pattern = json.dumps({"source": [handler.SOURCE]})
        self.events.put_rule(Name=name, EventBusName=name, EventPattern=pattern)
        target = {"Id": "queue", "Arn": arn}
        self.events.put_targets(Rule=name, EventBusName=name, Targets=[target])

    def batch(self, *records: dict[str, Any], **window: Any) -> dict[str, Any]:
        return handler.on_records({"Records": list(records), "shardId": "shard-0", **window}, None)

    def minute(self, now: datetime) -> None:
        handler.on_minute({"time": now.isoformat().replace("+00:00", "Z")}, None)

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What came to the bus since the last time."""
        handler._tell([KeyEvent("end", "end", {})])
        found: list[tuple[str, dict[str, Any]]] = []
        while "end" not in [kind for kind, _ in found]:
            found += self._received(wait=5)
        time.sleep(0.2)  # the end may have overtaken others
        while more := self._received(wait=0):
            found += more
        return [(kind, detail) for kind, detail in found if kind != "end"]

    def _received(self, wait: int) -> list[tuple[str, dict[str, Any]]]:
        messages = self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait
        ).get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        bodies = (json.loads(message["Body"]) for message in messages)
        return [(body["detail-type"], body["detail"]) for body in bodies]

    def session(self, visitor: str) -> Session:
        return self.table.sessions([visitor])[visitor]


@pytest.fixture
def live(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> Live:
    made = Live(aws)
    monkeypatch.setattr(handler, "_table", lambda: made.table)
    monkeypatch.setattr(handler, "_bus", lambda: made.events)
    monkeypatch.setattr(handler, "_limits", lambda: LIMITS)
    monkeypatch.setenv("EVENT_BUS", made.bus)
    monkeypatch.setenv("CURRENCY", "EUR")
    return made


# -- sessions


def test_a_session_grows_with_its_events(live: Live) -> None:
    live.batch(record(1, T0, page="home"), record(2, T0 + timedelta(seconds=9), page="product"))
    live.batch(record(3, T0 + timedelta(seconds=20), page=None, user_id="u-1"))
    session = live.session("a-1")
    assert (session.event_count, session.length) == (3, timedelta(seconds=20))
    assert (session.last_page, session.user_id) == ("product", "u-1")


@pytest.mark.parametrize(("silence", "count"), [(1799, 2), (1800, 1)])
def test_half_an_hour_of_silence_begins_a_new_session(silence: int, count: int) -> None:
    later = T0 + timedelta(seconds=silence)
    session, _ = advance(None, clicks(record(1, T0), record(2, later)), LIMITS)
    assert session
    assert session.event_count == count


def test_a_batch_that_comes_again_counts_once(live: Live) -> None:
    batch = [record(n, T0 + timedelta(seconds=n)) for n in range(1, 6)]
    for _ in range(3):
        live.batch(*batch)
    live.batch(*batch[2:], record(6, T0 + timedelta(seconds=6)))
    assert live.session("a-1").event_count == 6


def test_an_older_copy_does_not_overwrite_a_later_session(live: Live) -> None:
    old, _ = advance(None, clicks(record(1, T0)), LIMITS)
    new, _ = advance(old, clicks(record(2, T0)), LIMITS)
    assert old
    assert new
    for session in (new, old):
        live.table.keep([session], LIMITS.cart_abandoned_after)
    assert live.session("a-1").event_count == 2


def test_a_clock_that_runs_ahead_does_not_hold_a_session_open() -> None:
    ahead = read_record(record(1, T0, event_timestamp=(T0 + timedelta(days=300)).isoformat()))
    assert ahead
    later = clicks(record(2, T0 + timedelta(hours=1)))
    session, found = advance(None, [ahead, *later], LIMITS)
    assert session
    assert (session.event_count, found) == (1, [])


def test_many_visitors_are_kept_apart(live: Live) -> None:
    draw = random.Random(5)
    visitors = [f"a-{draw.randrange(230)}" for _ in range(500)]
    live.batch(*(record(n, T0, visitor) for n, visitor in enumerate(visitors)))
    kept = live.table.sessions(set(visitors))
    assert {name: one.event_count for name, one in kept.items()} == {
        name: visitors.count(name) for name in set(visitors)
    }


# -- key events


def test_a_purchase_is_told_with_what_was_paid(live: Live) -> None:
    bought = {"event_type": "purchase", "order_id": "o-1", "product_id": "p", "currency": "EUR"}
    live.batch(record(1, T0, price=19.99, quantity=3, **bought))
    ((kind, detail),) = live.told()
    assert kind == "purchase"
    assert detail["key"] == f"purchase/e-a-1-1/{int(T0.timestamp() * 1000)}"
    assert (detail["revenue"], detail["currency"], detail["order_id"]) == ("59.97", "EUR", "o-1")


def test_a_session_is_told_once_to_be_long(live: Live) -> None:
    minutes = [T0 + timedelta(minutes=n) for n in (0, 10, 19, 20, 30)]
    for number, at in enumerate(minutes, 1):
        live.batch(record(number, at))
    ((kind, detail),) = live.told()
    assert (kind, detail["seconds"], detail["event_count"]) == ("long_session", 1200, 4)


def test_a_cart_is_abandoned_after_its_time_and_once(live: Live) -> None:
    live.batch(
        record(1, T0, event_type="add_to_cart", product_id="p", quantity=2),
        record(2, T0 + timedelta(minutes=1)),
    )
    live.minute(T0 + timedelta(minutes=10))
    assert live.told() == []
    live.minute(T0 + timedelta(minutes=11))
    ((kind, detail),) = live.told()
    assert (kind, detail["cart"]) == ("cart_abandoned", {"p": 2})
    live.minute(T0 + timedelta(minutes=12))
    assert live.told() == []
    live.batch(record(3, T0 + timedelta(minutes=40)))  # back again, and gone again
    live.minute(T0 + timedelta(minutes=50))
    assert [kind for kind, _ in live.told()] == ["cart_abandoned"]


def test_a_cart_that_was_paid_or_emptied_is_not_abandoned(live: Live) -> None:
    add = {"event_type": "add_to_cart", "product_id": "p"}
    live.batch(record(1, T0, "a-1", **add), record(2, T0, "a-1", event_type="purchase"))
    live.batch(record(3, T0, "a-2", **add))
    live.batch(record(4, T0, "a-2", event_type="remove_from_cart", product_id="p"))
    live.batch(record(5, T0, "a-3", **add), record(6, T0, "a-3", **add))  # sent twice
    live.batch(record(7, T0, "a-3", event_type="purchase", product_id="p"))
    live.batch(record(8, T0, "a-4", **add), record(9, T0, "a-4", event_type="add_to_cart"))
    live.batch(record(10, T0, "a-4", event_type="purchase", product_id="q"))
    live.told()
    live.minute(T0 + timedelta(hours=1))
    found = [(detail["anonymous_id"], detail["cart"]) for _, detail in live.told()]
    assert found == [("a-4", {"p": 1})]


def test_a_cart_that_cannot_be_told_holds_up_no_other(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitors = [f"a-{number}" for number in range(25)]
    live.batch(
        *(
            record(number, T0, visitor, event_type="add_to_cart", product_id="p")
            for number, visitor in enumerate(visitors)
        )
    )
    tell, looked = handler._tell, []

    def refuse(events: list[KeyEvent]) -> None:
        if any(event.detail["anonymous_id"] == "a-3" for event in events):
            raise RuntimeError("the bus refuses")
        tell(events)

    monkeypatch.setattr(handler, "_tell", refuse)
    monkeypatch.setattr(handler, "_watch_traffic", looked.append)
    with pytest.raises(RuntimeError, match="1 of 4 parts of this minute's work failed"):
        live.minute(T0 + timedelta(hours=1))
    monkeypatch.setattr(handler, "_tell", tell)
    told = {detail["anonymous_id"] for _, detail in live.told()}
    assert len(told) == 15
    assert len(looked) == 1
    live.minute(T0 + timedelta(hours=1, minutes=1))
    assert told | {detail["anonymous_id"] for _, detail in live.told()} == set(visitors)


def test_texts_without_end_cost_no_batch(live: Live) -> None:
    huge = {"page": "p" * 500_000, "user_id": "😀" * 30_000}
    cart = [
        record(n, T0, event_type="add_to_cart", product_id=f"{n:03}" + "é" * 9000)
        for n in range(100)
    ]
    bought = {"event_type": "purchase", "page_url": "u" * 900_000, "currency": "E" * 9000}
    live.batch(*cart, record(100, T0, **huge), record(101, T0, "a-2", **bought))
    assert len(live.session("a-1").cart) == 20
    assert len(live.session("a-1").last_page or "") == 500
    live.minute(T0 + timedelta(hours=1))
    assert {kind for kind, _ in live.told()} == {"purchase", "cart_abandoned"}


def test_a_reminder_is_no_sign_of_life(live: Live) -> None:
    live.batch(record(1, T0, event_type="add_to_cart", product_id="p"))
    live.minute(T0 + timedelta(minutes=10))
    assert len(live.told()) == 1
    live.batch(record(2, T0 + timedelta(minutes=11), event_type="exposure"))
    live.minute(T0 + timedelta(minutes=30))
    assert live.told() == []


def test_a_bus_that_refuses_fails_the_batch_before_the_session_is_kept(live: Live) -> None:
    def refuse(parsed: dict[str, Any], **_: Any) -> None:
        parsed["FailedEntryCount"] = 1
        parsed["Entries"] = [{"ErrorCode": "ThrottlingException"}]

    bought = record(1, T0, event_type="purchase", price=1)
    live.events.meta.events.register("after-call.events.PutEvents", refuse)
    with pytest.raises(RuntimeError, match="did not take 1 of 1 key events: ThrottlingException"):
        live.batch(bought)
    assert live.table.sessions(["a-1"]) == {}
    live.events.meta.events.unregister("after-call.events.PutEvents", refuse)
    live.batch(bought)
    assert len({detail["key"] for _, detail in live.told()}) == 1
    assert live.session("a-1").event_count == 1


# -- windows


def window(start: datetime, *, final: bool = False, state: Any = None) -> dict[str, Any]:
    names = {"start": start, "end": start + timedelta(minutes=1)}
    return {
        "window": {name: at.isoformat().replace("+00:00", "Z") for name, at in names.items()},
        "isFinalInvokeForWindow": final,
        "state": state or {},
    }


def metrics(text: str) -> dict[tuple[str, str], float]:
    """Value by metric and its one dimension's value, of the embedded metric format."""
    found = {}
    for line in text.splitlines():
        entry = json.loads(line)
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Clickstream"
        (dimensions,) = directive["Dimensions"]
        assert entry["_aws"]["Timestamp"] == int((T0 + timedelta(minutes=1)).timestamp() * 1000)
        value = "/".join(entry[name] for name in dimensions)
        for metric in directive["Metrics"]:
            numbers = entry[metric["Name"]]
            found[metric["Name"], value] = numbers[0] if isinstance(numbers, list) else numbers
    return found


def test_a_windows_metrics_are_those_of_all_its_batches(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    paid = {"event_type": "purchase", "price": 2.5, "quantity": 2}
    first = live.batch(record(1, T0), record(2, T0, "a-2", currency="EUR", **paid), **window(T0))
    # The batch after it fails and comes again with the same state.
    for _ in range(2):
        second = live.batch(
            record(3, T0, currency="eur", **paid),
            record(4, T0, **paid),
            record(6, T0, "a-3", currency="SEK", **paid),
            record(7, T0, "a-4", event_type="exposure"),
            raw_record(5, T0, b"no event\n"),
            **window(T0, state=first["state"]),
        )
    assert capsys.readouterr().out == ""
    live.batch(**window(T0, final=True, state=json.loads(json.dumps(second["state"]))))
    assert metrics(capsys.readouterr().out) == {
        ("Events", "view"): 1,
        ("Events", "purchase"): 4,
        ("Events", "other"): 1,
        ("Revenue", "EUR"): 15,
        ("ActiveVisitors", ""): 3,
        ("RejectedRecords", ""): 1,
    }


def test_poison_is_counted_and_stops_nothing(live: Live) -> None:
    poison = [b"", b"\xff\xfe", b"[" * 100_000, b"null", b'{"event_type":{}}', b"\x00" * 100]
    records = [raw_record(n, T0, data) for n, data in enumerate(poison, 1)]
    answer = live.batch(*records, record(9, T0))
    assert answer["batchItemFailures"] == []
    assert answer["state"]["rejected"] == len(poison)
    assert live.session("a-1").event_count == 1


@pytest.mark.parametrize("count", [0, 1, 100, 10_000, 60_000])
def test_visitors_are_counted_within_two_percent_in_little_state(count: int) -> None:
    totals = Totals()
    for number in range(count):
        for _ in range(2):
            totals.add(Click(f"a-{number:016x}", "1", 0.0, {"event_type": "view"}), "EUR")
    assert totals.visitor_count == pytest.approx(count, rel=0.02)
    assert len(json.dumps(totals.to_state())) < 16_384
    assert Totals.from_state(totals.to_state()) == totals


def test_invented_types_make_no_metrics_without_end() -> None:
    totals = Totals()
    for number in range(200):
        totals.add(Click("a", "1", 0.0, {"event_type": f"type-{number}"}), "EUR")
    assert totals.events == {"other": 200}


def test_a_failure_in_the_midst_of_a_batch_is_gone_on_from(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record(n, T0, f"a-{n}") for n in range(250)]
    keep = live.table.keep

    def fail(sessions: list[Session], _: timedelta) -> None:
        if any(session.visitor == "a-120" for session in sessions):
            raise RuntimeError("the table is busy")
        keep(sessions, LIMITS.cart_abandoned_after)

    monkeypatch.setattr(live.table, "keep", fail)
    answer = live.batch(*records, **window(T0))
    (failed,) = answer["batchItemFailures"]
    assert failed == {"itemIdentifier": records[100]["kinesis"]["sequenceNumber"]}
    assert sum(answer["state"]["events"].values()) == 100
    with pytest.raises(RuntimeError, match="busy"):  # nothing of this one is done
        live.batch(*records[100:], **window(T0, state=answer["state"]))
    monkeypatch.setattr(live.table, "keep", keep)
    answer = live.batch(*records[100:], **window(T0, state=answer["state"]))
    assert answer["batchItemFailures"] == []
    assert sum(answer["state"]["events"].values()) == 250
    assert len(live.table.sessions([f"a-{n}" for n in range(250)])) == 250


# -- traffic


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([100] * 30 + [100], "normal"),
        ([100] * 30 + [199], "normal"),
        ([100] * 30 + [200], "high"),
        ([100] * 30 + [51], "normal"),
        ([100] * 30 + [50], "low"),
        ([100] * 30 + [0], "low"),
        ([0] * 20 + [100] * 10 + [100], "normal"),
        ([0] * 21 + [100] * 9 + [900], None),
        ([19] * 30 + [900], None),
        ([0] * 30 + [900], None),
    ],
)
def test_a_minute_is_judged_by_those_before_it(counts: list[int], wanted: str | None) -> None:
    found = traffic.level(counts)
    assert (found and found[0]) == wanted


def test_traffic_that_breaks_off_is_told_once_and_so_is_its_return(live: Live) -> None:
    counts = [100] * 20 + [0] * 3 + [100] * 2
    told = []
    for number, events in enumerate(counts):
        start = T0 + timedelta(minutes=number)
        if events:
            totals = Totals(Counter(view=events))
            for _ in range(3):  # told three times, counted once
                live.batch(**window(start, final=True, state=totals.to_state()))
        live.minute(start + timedelta(minutes=3, seconds=5))
        if number < 19:
            continue
        told += [(number, kind, detail["level"], detail["events"]) for kind, detail in live.told()]
    assert told == [(20, "traffic_changed", "low", 0), (23, "traffic_changed", "normal", 100)]


def test_two_shards_of_a_minute_add_up(live: Live) -> None:
    for shard, events in (("a", 3), ("b", 4), ("a", 3)):
        live.table.count_minute("2026-11-21T10:00Z", shard, events, 1)
    assert live.table.minutes(["2026-11-21T10:00Z", "2026-11-21T10:01Z"]) == [7, 0]


def test_revenue_is_exact() -> None:
    price = clicks(record(1, T0, event_type="purchase", price=0.1, quantity=3))
    assert price[0].revenue == Decimal("0.3")
    assert clicks(record(1, T0, price=5))[0].revenue == 0
    given = clicks(record(1, T0, event_type="purchase", price=5, quantity=0))
    assert given[0].revenue == 0
