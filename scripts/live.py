"""``make live``: the demo shop on this machine, and what the live path tells of its visitors.

A queue of its own hears the three topics; it goes when the program ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import botocore.exceptions
from clickstream.config import Config, ConfigError
from rich.console import Console
from rich.text import Text

from scripts.provision import client
from tracker.serve import make_server

#: The collector takes browsers' events from this origin's pages (live_path.allowed_origins).
SHOP_PORT = 8000
WAIT_SECONDS = 5

Client = Callable[[str], Any]


class LiveError(Exception):
    """One sentence for the user."""


@dataclass(frozen=True)
class Collector:
    """Where browsers send events, and the key they send along."""

    url: str
    key: str


def find_collector(names: Config, aws: Client, endpoint: str) -> Collector:
    """The collector of the embedded AWS on `endpoint`.

    Raises:
        LiveError: there is none.
    """
    gateway = aws("apigateway")
    apis = gateway.get_rest_apis(limit=500)["items"]
    ids = [api["id"] for api in apis if api["name"] == names.live.api]
    keys = gateway.get_api_keys(nameQuery=names.live.api_key, includeValues=True)["items"]
    if not ids or not keys:
        raise LiveError(f"there is no API {names.live.api} on {endpoint}: make provision")
    return Collector(
        f"{endpoint}/restapis/{ids[0]}/{names.live.stage}/_user_request_", keys[0]["value"]
    )


@contextmanager
def subscription(names: Config, aws: Client) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """A queue that hears the reactions, for as long as the block lasts.

    Yields:
        A function that waits up to some seconds (20 at most) and returns what has come, each
        message as the reaction wrote it: ``text``, ``kind``, and the key event's detail.
    """
    sns, sqs = aws("sns"), aws("sqs")
    queue = sqs.create_queue(QueueName=f"{names.name_prefix}-live-{uuid.uuid4().hex[:8]}")
    queue = queue["QueueUrl"]
    wanted = ["QueueArn"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=wanted)["Attributes"]["QueueArn"]
    topics = [
        f"arn:aws:sns:{names.region}:{names.account_id}:{topic}"
        for topic in (
            names.live.purchases_topic,
            names.live.push_topic,
            names.live.alerts_topic,
        )
    ]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topics}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    subscriptions = [
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=arn,
            # The topic of alerts tells of alarms, too: those have no kind.
            Attributes={"RawMessageDelivery": "true", "FilterPolicy": '{"kind":[{"exists":true}]}'},
        )["SubscriptionArn"]
        for topic in topics
    ]

    def receive(seconds: int) -> list[dict[str, Any]]:
        messages = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=seconds
        ).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    try:
        yield receive
    finally:
        for made in subscriptions:
            sns.unsubscribe(SubscriptionArn=made)
        sqs.delete_queue(QueueUrl=queue)


@contextmanager
def shop(collector: Collector) -> Iterator[str]:
    """The demo shop, served for as long as the block lasts; yields its address.

    Raises:
        LiveError: its port is taken.
    """
    try:
        server = make_server(collector.url, collector.key, SHOP_PORT)
    except OSError as error:
        raise LiveError(
            f"port {SHOP_PORT} cannot be used ({error.strerror}): the collector takes events from "
            "that address only, so stop what uses it"
        ) from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{SHOP_PORT}/"
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """Serve the shop and print what is told, until Ctrl-C."""
    endpoint = f"http://127.0.0.1:{os.environ.get('LOCALAWS_PORT', '4566')}"
    console = Console(highlight=False)
    try:
        names = Config.from_environment()

        def aws(service: str) -> Any:
            return client(service, endpoint)

        collector = find_collector(names, aws, endpoint)
        with subscription(names, aws) as receive, shop(collector) as address:
            console.print(f"the shop: {address} - buy something; Ctrl-C ends")
            while True:
                for message in receive(WAIT_SECONDS):
                    time, kind, text = datetime.now(), message["kind"], message["text"]
                    when, what = f"{time:%H:%M:%S}  ", (f"{kind:16}", "bold")
                    console.print(Text.assemble(when, what, f"  {text}"))
    except KeyboardInterrupt:
        return 0
    except (
        LiveError,
        ConfigError,
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
    ) as error:
        print(f"live: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
