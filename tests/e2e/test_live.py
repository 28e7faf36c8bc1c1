"""The live path end to end: over HTTP into the collector, out of a topic as an alert."""

from __future__ import annotations

import gzip
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from clickstream.config import Config

from scripts.live import find_collector
from tests.conftest import EmbeddedAws

NAMES = Config.from_environment({})
SHOP = "http://127.0.0.1:8000"
ALERT_SECONDS = 10


class LivePath:
    """An embedded AWS with the live path's resources, and a subscriber to each topic."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws = aws
        collector = find_collector(NAMES, aws.client, aws.endpoint)
        self.url, self.key = collector.url, collector.key
        self.queues = {name: self._subscribe(name) for name in (NAMES.live.purchases_topic,)}

    def _subscribe(self, topic: str) -> str:
        arn = f"arn:aws:sqs:us-east-1:000000000000:{topic}-test"
        topic_arn = f"arn:aws:sns:us-east-1:000000000000:{topic}"
        queue = self.aws.client("sqs").create_queue(QueueName=f"{topic}-test")["QueueUrl"]
        self.aws.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        return queue

    def post(self, path: str, content: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """POST to the API; the answer's status and body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, content, named)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def send(self, *events: dict[str, Any]) -> list[str]:
        """Send events as a browser does; the ids that were accepted."""
        content = json.dumps(events).encode()
        kind = {"content_type": "application/json", "x_api_key": self.key}
        status, answer = self.post("/events", content, **kind)
        assert status == 202, answer
        return answer["ids"]

    def alerts(self, within: float, at_least: int = 1) -> list[dict[str, Any]]:
        """The purchase alerts that come, until there are enough or the time is over."""
        sqs, queue = self.aws.client("sqs"), self.queues[NAMES.live.purchases_topic]
        deadline, found = time.monotonic() + within, []
        while len(found) < at_least and (left := deadline - time.monotonic()) > 0:
            answer = sqs.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=min(5, int(left) + 1)
            )
            for message in answer.get("Messages", []):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(json.loads(message["Body"])["Message"]))
        return found

    def logged(self, function: str, text: str) -> int:
        """How many messages with this text a function has logged."""
        events = self.aws.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")
        return sum(text in event["message"] for event in events["events"])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePath]:
    with EmbeddedAws(tmp_path_factory.mktemp("live")) as aws:
        aws.command("provision")
        yield LivePath(aws)


def purchase(**fields: Any) -> dict[str, Any]:
    return {
        "event_id": uuid.uuid4().hex,
        "event_type": "purchase",
        "event_timestamp": datetime.now(UTC).isoformat(),
        "anonymous_id": f"a-{uuid.uuid4().hex[:8]}",
        "order_id": f"o-{uuid.uuid4().hex[:8]}",
        "product_id": "p-1",
        "price": 19.99,
        "quantity": 2,
        "currency": "EUR",
        **fields,
    }


def wait(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_a_purchase_alerts_once_and_soon(live: LivePath) -> None:
    live.send(purchase())  # the functions start
    assert len(live.alerts(within=60)) == 1
    sent = purchase()
    started = time.monotonic()
    live.send(sent)
    (alert,) = live.alerts(within=ALERT_SECONDS)
    assert time.monotonic() - started < ALERT_SECONDS
    assert (alert["event_id"], alert["order_id"]) == (sent["event_id"], sent["order_id"])
    assert (alert["revenue"], alert["currency"]) == ("39.98", "EUR")
    assert live.alerts(within=2) == []


def test_an_event_that_is_sent_three_times_alerts_once(live: LivePath) -> None:
    sent = purchase()
    for _ in range(3):
        live.send(sent)
    assert len(live.alerts(within=ALERT_SECONDS)) == 1
    assert live.alerts(within=3) == []


def test_a_batch_that_kinesis_delivers_three_times_alerts_once(live: LivePath) -> None:
    client, names = live.aws.client("lambda"), NAMES.live
    stream = f"arn:aws:kinesis:us-east-1:000000000000:stream/{NAMES.kinesis_stream}"
    ends = live.logged(names.stream, "END RequestId")
    more = [
        client.create_event_source_mapping(
            FunctionName=names.stream,
            EventSourceArn=stream,
            StartingPosition="LATEST",
            TumblingWindowInSeconds=60,
        )["UUID"]
        for _ in range(2)
    ]
    try:
        live.send(purchase())
        wait(lambda: live.logged(names.stream, "END RequestId") >= ends + 3)
        assert len(live.alerts(within=ALERT_SECONDS)) == 1
        assert live.alerts(within=3) == []
    finally:
        for mapping in more:
            client.delete_event_source_mapping(UUID=mapping)


def test_a_reaction_that_fails_twice_alerts_once(live: LivePath) -> None:
    client, react = live.aws.client("lambda"), NAMES.live.react
    variables = client.get_function_configuration(FunctionName=react)["Environment"]["Variables"]
    nowhere = variables | {"PURCHASE_TOPIC_ARN": variables["PURCHASE_TOPIC_ARN"] + "-gone"}
    client.update_function_configuration(FunctionName=react, Environment={"Variables": nowhere})
    failures = live.logged(react, "[ERROR] NotFoundException")
    try:
        live.send(purchase())
        wait(lambda: live.logged(react, "[ERROR] NotFoundException") >= failures + 2, 60)
    finally:
        client.update_function_configuration(
            FunctionName=react, Environment={"Variables": variables}
        )
    assert len(live.alerts(within=60)) == 1
    assert live.alerts(within=3) == []


def test_poison_in_the_stream_holds_nothing_up(live: LivePath) -> None:
    kinesis, sqs = live.aws.client("kinesis"), live.aws.client("sqs")
    poison = [b"\xff" * 1000, b"[" * 200_000, b"", b"null", b'{"event_type":"purchase"}\n' * 50]
    records = [{"Data": data, "PartitionKey": str(n)} for n in range(20) for data in poison]
    assert (
        kinesis.put_records(StreamName=NAMES.kinesis_stream, Records=records)["FailedRecordCount"]
        == 0
    )
    for number in range(4):  # on both shards
        live.send(purchase(anonymous_id=f"a-{number}"))
    assert len(live.alerts(within=ALERT_SECONDS, at_least=4)) == 4
    queue = sqs.get_queue_url(QueueName=NAMES.live.failures_queue)["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)


def test_the_api_asks_for_its_key_and_takes_gzip_and_beacons(live: LivePath) -> None:
    content = json.dumps([purchase(event_type="view")]).encode()
    kind = {"content_type": "application/json"}
    assert live.post("/events", content, **kind)[0] == 403
    assert live.post("/events", content, **kind, x_api_key="wrong")[0] == 403
    packed = {**kind, "content_encoding": "gzip", "x_api_key": live.key}
    assert live.post("/events", gzip.compress(content), **packed)[0] == 202
    plain = {"content_type": "text/plain"}
    assert live.post(f"/beacon?key={live.key}", content, **plain)[0] == 202
    assert live.post("/beacon?key=wrong", content, **plain)[0] == 403
    with urllib.request.urlopen(f"{live.url}/health") as answer:
        assert json.load(answer) == {"status": "ok"}
    preflight = urllib.request.Request(f"{live.url}/events", method="OPTIONS")
    preflight.add_header("Origin", SHOP)
    with urllib.request.urlopen(preflight) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, SHOP)


def test_a_window_becomes_metrics(live: LivePath) -> None:
    cloudwatch = live.aws.client("cloudwatch")
    live.send(*(purchase(event_type="view", anonymous_id=f"a-{n}") for n in range(30)))
    # All events so far were sent within the last minutes; their windows end within one.
    started = datetime.now(UTC).timestamp() - 600

    def views() -> float:
        answer = cloudwatch.get_metric_statistics(
            Namespace="Clickstream",
            MetricName="Events",
            Dimensions=[{"Name": "EventType", "Value": "view"}],
            StartTime=started,
            EndTime=started + 1200,
            Period=60,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in answer["Datapoints"])

    wait(lambda: views() >= 30, seconds=75)
