"""Reacts to a key event of the bus: one SNS message for each key, however often it is told.

The key of a message that was sent is kept in DynamoDB for a week (AWS Lambda Powertools'
idempotency). An error gives the key back, so the next try sends; only a crash between SNS taking a
message and the key being kept can send it twice.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from lambdas.experiments import assign

WEEK_SECONDS: Final = 7 * 24 * 3600
#: SNS refuses a longer subject, and one with line ends or other controls in it.
MOST_SUBJECT: Final = 99
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Who left a cart is reminded in one of two ways; sql/analytics/experiment_results.sql decides.
CART_EXPERIMENT: Final = "cart_reminder"
CART_VARIANTS: Final = {"control": 1, "discount": 1}
CART_TEXTS: Final = {
    "control": "Your cart is waiting for you.",
    "discount": "Your cart is waiting for you, with 5 % off for the next hour.",
}


@dataclass(frozen=True)
class Message:
    """What a reaction sends.

    Attributes:
        topic: the environment variable that has the topic's ARN.
        subject: what a mail is called.
        text: for a person.
        attributes: for subscribers' filters.
    """

    topic: str
    subject: str
    text: str
    attributes: dict[str, str] = field(default_factory=dict)


def handle(event: dict[str, Any], context: Any) -> None:
    """React to one event of the bus."""
    _idempotency().register_lambda_context(context)
    _react_once()(kind=event["detail-type"], key=event["detail"]["key"], event=event)


@functools.cache
def _react_once() -> Callable[..., None]:
    store = DynamoDBPersistenceLayer(table_name=os.environ["REACTIONS_TABLE"])
    return idempotent_function(  # type: ignore[no-any-return]
        data_keyword_argument="key", persistence_store=store, config=_idempotency()
    )(_react)


@functools.cache
def _idempotency() -> IdempotencyConfig:
    return IdempotencyConfig(expires_after_seconds=WEEK_SECONDS)


def _react(*, kind: str, key: str, event: dict[str, Any]) -> None:
    detail = event["detail"]
    message = MESSAGES[kind](detail)
    if kind == "cart_abandoned":
        _expose(key, detail, message.attributes["variant"])
    _sns().publish(
        TopicArn=os.environ[message.topic],
        Subject=_CONTROLS.sub(" ", message.subject)[:MOST_SUBJECT],
        Message=json.dumps({"text": message.text, "kind": kind, **detail}, ensure_ascii=False),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value}
            for name, value in {"kind": kind, **message.attributes}.items()
        },
    )


def _purchase(detail: dict[str, Any]) -> Message:
    amount = f"{detail['revenue']} {detail['currency'] or ''}".strip()
    text = f"Order {detail['order_id']}: {detail['quantity']} x {detail['product_id']} for {amount}"
    return Message("PURCHASE_TOPIC_ARN", f"Purchase: {amount}", text)


def _long_session(detail: dict[str, Any]) -> Message:
    minutes = detail["seconds"] // 60
    text = f"On the site for {minutes} minutes, now at {detail['last_page']}. May we help?"
    return Message("PUSH_TOPIC_ARN", "A long visit", text)


def _cart_abandoned(detail: dict[str, Any]) -> Message:
    identity = detail["anonymous_id"] or detail["user_id"]
    variant = assign(CART_EXPERIMENT, identity, CART_VARIANTS)
    return Message("PUSH_TOPIC_ARN", "A cart was left", CART_TEXTS[variant], {"variant": variant})


def _traffic_changed(detail: dict[str, Any]) -> Message:
    text = (
        f"{detail['events']} events in the minute {detail['minute']}, against "
        f"{detail['average']:.0f} on average before. See docs/runbook.md, 'Traffic is high or low'."
    )
    return Message("ALERT_TOPIC_ARN", f"Traffic is {detail['level']}", text)


MESSAGES: Final[dict[str, Callable[[dict[str, Any]], Message]]] = {
    "purchase": _purchase,
    "long_session": _long_session,
    "cart_abandoned": _cart_abandoned,
    "traffic_changed": _traffic_changed,
}


def _expose(key: str, detail: dict[str, Any], variant: str) -> None:
    """An event that says who was shown what; the same one at every try, so the lake has it once."""
    exposure = {
        "event_id": hashlib.sha256(f"exposure/{key}".encode()).hexdigest(),
        "event_type": "exposure",
        "event_timestamp": detail["last_at"],
        "user_id": detail["user_id"],
        "anonymous_id": detail["anonymous_id"],
        "metadata": {"experiment": CART_EXPERIMENT, "variant": variant},
    }
    _kinesis().put_record(
        StreamName=os.environ["STREAM"],
        Data=json.dumps(exposure).encode() + b"\n",
        PartitionKey=detail["session"].rpartition("/")[0],
    )


@functools.cache
def _sns() -> Any:
    return boto3.client("sns")


@functools.cache
def _kinesis() -> Any:
    return boto3.client("kinesis")
