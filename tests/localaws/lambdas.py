"""What the tests of the live path share: functions and queues made from a few lines."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

from tests.conftest import EmbeddedAws

ACCOUNT = "000000000000"
#: Terraform's topics and queues all refuse what does not come by TLS.
NOT_BY_TLS = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/react"


def unique(kind: str) -> str:
    """A name that no other test has."""
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def zipped(**modules: str) -> bytes:
    """A deployment package of these modules; ``a__b`` is ``a/b.py``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        for name, source in modules.items():
            package.writestr(f"{name.replace('__', '/')}.py", source)
    return buffer.getvalue()


def make_function(aws: EmbeddedAws, source: str, **settings: Any) -> str:
    """A function whose module has a `handler`; returns its ARN."""
    given = {"FunctionName": unique("function"), "Role": ROLE, "Timeout": 10} | settings
    made = aws.client("lambda").create_function(
        Runtime="python3.12", Handler="main.handler", Code={"ZipFile": zipped(main=source)}, **given
    )
    return str(made["FunctionArn"])


def admit(aws: EmbeddedAws, function: str, service: str, source: str) -> None:
    """Let a service invoke the function for `source`."""
    aws.client("lambda").add_permission(
        FunctionName=function,
        StatementId=unique("allow"),
        Action="lambda:InvokeFunction",
        Principal=f"{service}.amazonaws.com",
        SourceArn=source,
    )


def make_queue(aws: EmbeddedAws, admits: str = "events") -> tuple[str, str]:
    """A queue that a service may send to; returns URL and ARN."""
    name = unique("queue")
    arn = f"arn:aws:sqs:{aws.region}:{ACCOUNT}:{name}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": f"{admits}.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    plain = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": arn} | NOT_BY_TLS
    policy = {"Version": "2012-10-17", "Statement": [plain, statement] if admits else []}
    url = aws.client("sqs").create_queue(
        QueueName=name, Attributes={"Policy": json.dumps(policy)} if admits else {}
    )["QueueUrl"]
    return url, arn


def receive(aws: EmbeddedAws, url: str, seconds: float = 10) -> dict[str, Any]:
    """The next message, which must come within `seconds`."""
    found = aws.client("sqs").receive_message(
        QueueUrl=url, WaitTimeSeconds=int(seconds), MessageAttributeNames=["All"]
    )
    (message,) = found.get("Messages", [])
    aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return dict(message)


def attributes(message: dict[str, Any]) -> dict[str, str]:
    """A message's attributes by name."""
    return {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """What `condition` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return found
