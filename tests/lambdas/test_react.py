"""The reactions on a real table, real topics and a real stream: one message for each key."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.experiments import assign
from lambdas.react import handler
from tests.conftest import EmbeddedAws

TOPICS = ("PURCHASE_TOPIC_ARN", "PUSH_TOPIC_ARN", "ALERT_TOPIC_ARN")
PURCHASE = {
    "event_id": "e-1",
    "user_id": "u-1",
    "anonymous_id": "a-1",
    "order_id": "o-1",
    "product_id": "p-1",
    "quantity": 3,
    "at": "2026-11-21T10:00:00.000Z",
    "revenue": "59.97",
    "currency": "EUR",
}
SESSION = {
    "session": "a-1/1763719200000",
    "user_id": None,
    "anonymous_id": "a-1",
    "started_at": "2026-11-21T10:00:00.000Z",
    "last_at": "2026-11-21T10:21:00.000Z",
    "seconds": 1260,
    "event_count": 17,
    "last_page": "cart",
    "cart": {"p-1": 2},
}


class Reactions:
    """The handler as Lambda invokes it, with a queue behind each topic."""

    def __init__(self, aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
        name = f"react-{uuid.uuid4().hex[:8]}"
        self.sns, self.sqs = aws.client("sns"), aws.client("sqs")
        self.kinesis, self.stream = aws.client("kinesis"), name
        self.kinesis.create_stream(StreamName=name, ShardCount=1)
        aws.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        self.queues = {}
        for number, variable in enumerate(TOPICS):
            topic = self.sns.create_topic(Name=f"{name}-{number}")["TopicArn"]
            self.queues[variable] = self.sqs.create_queue(QueueName=f"{name}-{number}")["QueueUrl"]
            queue = f"arn:aws:sqs:{aws.region}:000000000000:{name}-{number}"
            self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
            monkeypatch.setenv(variable, topic)
        monkeypatch.setenv("REACTIONS_TABLE", name)
        monkeypatch.setenv("STREAM", name)
        for variable, value in {
            "AWS_ENDPOINT_URL": aws.endpoint,
            "AWS_DEFAULT_REGION": aws.region,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_LAMBDA_FUNCTION_NAME": "react",
        }.items():
            monkeypatch.setenv(variable, value)

    def tell(self, kind: str, key: str, detail: dict[str, Any]) -> None:
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000)
        handler.handle({"detail-type": kind, "detail": {"key": key, **detail}}, context)

    def messages(self, variable: str) -> list[dict[str, Any]]:
        found = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.queues[variable], MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(
                    QueueUrl=self.queues[variable], ReceiptHandle=message["ReceiptHandle"]
                )
        return found

    def lines(self) -> list[dict[str, Any]]:
        iterator = self.kinesis.get_shard_iterator(
            StreamName=self.stream,
            ShardId="shardId-000000000000",
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        records = self.kinesis.get_records(ShardIterator=iterator)["Records"]
        return [json.loads(record["Data"]) for record in records]


@pytest.fixture
def reactions(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> Reactions:
    made = Reactions(aws, monkeypatch)
    for cached in (handler._react_once, handler._idempotency, handler._sns, handler._kinesis):
        cached.cache_clear()
    return made


def test_a_purchase_alerts_once_however_often_it_is_told(reactions: Reactions) -> None:
    for _ in range(3):
        reactions.tell("purchase", "purchase/e-1/1", PURCHASE)
    reactions.tell("purchase", "purchase/e-2/1", PURCHASE | {"event_id": "e-2"})
    sent = reactions.messages("PURCHASE_TOPIC_ARN")
    assert [message["Subject"] for message in sent] == ["Purchase: 59.97 EUR"] * 2
    assert [json.loads(message["Message"])["key"] for message in sent] == [
        "purchase/e-1/1",
        "purchase/e-2/1",
    ]
    assert sent[0]["MessageAttributes"]["kind"]["Value"] == "purchase"
    assert "o-1" in json.loads(sent[0]["Message"])["text"]


def test_a_subject_is_one_line_of_less_than_100_characters(reactions: Reactions) -> None:
    odd = PURCHASE | {"currency": "E\n\x85\u2028R" + "x" * 200}
    reactions.tell("purchase", "purchase/e-3/1", odd)
    (sent,) = reactions.messages("PURCHASE_TOPIC_ARN")
    assert sent["Subject"].startswith("Purchase: 59.97 E   Rxx")
    assert len(sent["Subject"]) == 99


def test_a_reaction_that_fails_is_made_at_the_next_try(
    reactions: Reactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PURCHASE_TOPIC_ARN", "arn:aws:sns:us-east-1:000000000000:nowhere")
        for _ in range(2):
            with pytest.raises(Exception, match="NotFound"):
                reactions.tell("purchase", "purchase/e-1/1", PURCHASE)
    for _ in range(2):
        reactions.tell("purchase", "purchase/e-1/1", PURCHASE)
    assert len(reactions.messages("PURCHASE_TOPIC_ARN")) == 1


def test_one_of_many_at_the_same_time_sends(reactions: Reactions) -> None:
    def tell(_: int) -> str | None:
        try:
            reactions.tell("purchase", "purchase/e-1/1", PURCHASE)
        except Exception as error:  # Lambda would try this one again
            return type(error).__name__
        return None

    with ThreadPoolExecutor(8) as threads:
        errors = set(threads.map(tell, range(16))) - {None}
    assert errors <= {"IdempotencyAlreadyInProgressError"}
    assert len(reactions.messages("PURCHASE_TOPIC_ARN")) == 1


def test_a_long_visit_is_pushed(reactions: Reactions) -> None:
    reactions.tell("long_session", "long_session/1", SESSION)
    (message,) = reactions.messages("PUSH_TOPIC_ARN")
    assert "21 minutes" in json.loads(message["Message"])["text"]
    assert reactions.messages("PURCHASE_TOPIC_ARN") == []


def test_a_cart_left_is_reminded_of_in_the_visitors_variant_and_the_lake_is_told(
    reactions: Reactions,
) -> None:
    visitors = [f"a-{number}" for number in range(8)]
    for _ in range(2):
        for visitor in visitors:
            session = SESSION | {"anonymous_id": visitor, "session": f"{visitor}/1"}
            reactions.tell("cart_abandoned", f"cart_abandoned/{visitor}", session)
    wanted = {v: assign("cart_reminder", v, {"control": 1, "discount": 1}) for v in visitors}
    assert set(wanted.values()) == {"control", "discount"}
    sent = {
        json.loads(message["Message"])["anonymous_id"]: message
        for message in reactions.messages("PUSH_TOPIC_ARN")
    }
    assert {v: m["MessageAttributes"]["variant"]["Value"] for v, m in sent.items()} == wanted
    texts = {wanted[v]: json.loads(m["Message"])["text"] for v, m in sent.items()}
    assert "5 %" in texts["discount"]
    assert "5 %" not in texts["control"]
    exposures = reactions.lines()
    assert {line["anonymous_id"]: line["metadata"]["variant"] for line in exposures} == wanted
    assert {line["event_type"] for line in exposures} == {"exposure"}
    assert len(exposures) == len(visitors)


def test_an_exposure_that_is_sent_again_is_the_same_event(
    reactions: Reactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PUSH_TOPIC_ARN", "arn:aws:sns:us-east-1:000000000000:nowhere")
        with pytest.raises(Exception, match="NotFound"):
            reactions.tell("cart_abandoned", "cart_abandoned/1", SESSION)
    reactions.tell("cart_abandoned", "cart_abandoned/1", SESSION)
    first, second = reactions.lines()
    assert first == second
    assert len(reactions.messages("PUSH_TOPIC_ARN")) == 1


@pytest.mark.parametrize("level", ["high", "low", "normal"])
def test_changed_traffic_is_an_alert(reactions: Reactions, level: str) -> None:
    detail = {"level": level, "minute": "2026-11-21T10:20Z", "events": 7, "average": 100.4}
    reactions.tell("traffic_changed", f"traffic/{level}", detail)
    (message,) = reactions.messages("ALERT_TOPIC_ARN")
    assert message["Subject"] == f"Traffic is {level}"
    assert "7 events in the minute 2026-11-21T10:20Z, against 100" in message["Message"]
