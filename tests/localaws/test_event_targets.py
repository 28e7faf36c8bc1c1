"""What becomes of an event that EventBridge has accepted: delivered, tried again, or buried."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from localaws.server import read_trail
from tests.conftest import EmbeddedAws
from tests.localaws.lambdas import (
    ACCOUNT,
    admit,
    attributes,
    make_function,
    make_queue,
    receive,
    unique,
    wait_for,
)

#: Notes each event in a file; what follows decides how the invocation ends.
NOTE = """
import json, os, time

def handler(event, context):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(json.dumps(event) + "\\n")
"""
FAIL = NOTE + '    raise ValueError("no such visitor")\n'
FAIL_ONCE = (
    NOTE + '    if len(open(os.environ["NOTES"]).readlines()) == 1: raise ValueError("once")\n'
)


class Notes:
    """What a function was given, attempt by attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = {"Environment": {"Variables": {"NOTES": str(path)}}}

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def count(self) -> int:
        return len(self.read()) if self.path.exists() else 0


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


class Api:
    """An HTTP endpoint that answers with the given statuses, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                api.bodies.append(json.loads(body))
                self.send_response(statuses[min(len(api.bodies), len(statuses)) - 1])
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def destination(self, aws: EmbeddedAws) -> str:
        events = aws.client("events")
        connection = events.create_connection(
            Name=unique("connection"),
            AuthorizationType="API_KEY",
            AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "k", "ApiKeyValue": "v"}},
        )["ConnectionArn"]
        made = events.create_api_destination(
            Name=unique("api"),
            ConnectionArn=connection,
            InvocationEndpoint=f"http://127.0.0.1:{self.server.server_port}/",
            HttpMethod="POST",
        )
        return str(made["ApiDestinationArn"])


@pytest.fixture
def apis() -> Iterator[list[Api]]:
    made: list[Api] = []
    yield made
    for api in made:
        api.server.shutdown()
        api.server.server_close()


class Rule:
    """A rule on a bus of its own that takes every event of one source."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws, self.bus, self.name = aws, unique("bus"), unique("rule")
        events = aws.client("events")
        events.create_event_bus(Name=self.bus)
        self.arn = events.put_rule(
            Name=self.name,
            EventBusName=self.bus,
            EventPattern=json.dumps({"source": ["live"]}),
        )["RuleArn"]

    def target(self, arn: str, **settings: Any) -> None:
        """Give the rule a target, with settings that boto3 would not let pass too."""
        client = boto3.client(
            "events",
            region_name=self.aws.region,
            endpoint_url=self.aws.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(parameter_validation=False),
        )
        answer = client.put_targets(
            Rule=self.name,
            EventBusName=self.bus,
            Targets=[{"Id": unique("target"), "Arn": arn, **settings}],
        )
        assert answer["FailedEntryCount"] == 0

    def put(self, **detail: Any) -> None:
        entry = {
            "Source": "live",
            "DetailType": "finding",
            "Detail": json.dumps(detail),
            "EventBusName": self.bus,
        }
        assert self.aws.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


@pytest.fixture
def rule(aws: EmbeddedAws) -> Rule:
    return Rule(aws)


def test_an_event_reaches_a_queue_and_a_topic_that_let_the_rule_in(
    aws: EmbeddedAws, rule: Rule
) -> None:
    url, queue = make_queue(aws)
    topic_queue_url, topic_queue = make_queue(aws, admits="sns")
    sns = aws.client("sns")
    topic = sns.create_topic(Name=unique("topic"))["TopicArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule.arn}},
    }
    sns.set_topic_attributes(
        TopicArn=topic,
        AttributeName="Policy",
        AttributeValue=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=topic_queue,
        Attributes={"RawMessageDelivery": "true"},
    )
    rule.target(queue, InputPath="$.detail")
    rule.target(
        topic, InputTransformer={"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": "<n> seen"}
    )
    rule.put(n=7)
    assert json.loads(receive(aws, url)["Body"]) == {"n": 7}
    assert receive(aws, topic_queue_url)["Body"] == "7 seen"


def test_a_target_that_errs_is_tried_again_until_it_takes_the_event(
    aws: EmbeddedAws, rule: Rule, apis: list[Api]
) -> None:
    apis.append(api := Api(503, 429, 200))
    rule.target(api.destination(aws))
    rule.put(n=1)
    wait_for(lambda: len(api.bodies) == 3)
    time.sleep(1.5)
    assert [body["detail"] for body in api.bodies] == [{"n": 1}] * 3


def test_exhausted_attempts_end_in_the_dead_letter_queue(
    aws: EmbeddedAws, rule: Rule, apis: list[Api]
) -> None:
    apis.append(api := Api(500))
    url, queue = make_queue(aws)
    destination = api.destination(aws)
    rule.target(
        destination,
        RetryPolicy={"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60},
        DeadLetterConfig={"Arn": queue},
        InputPath="$.detail",
    )
    rule.put(n=2)
    message = receive(aws, url)
    assert json.loads(message["Body"])["detail"] == {"n": 2}
    assert len(api.bodies) == 3
    assert attributes(message) == {
        "RULE_ARN": rule.arn,
        "TARGET_ARN": destination,
        "ERROR_CODE": "ERROR_FROM_TARGET",
        "ERROR_MESSAGE": "The API destination answered with HTTP status 500.",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        "RETRY_ATTEMPTS": "2",
    }


def test_an_event_that_grows_too_old_ends_in_the_dead_letter_queue(
    aws: EmbeddedAws, rule: Rule, apis: list[Api]
) -> None:
    apis.append(api := Api(500))
    url, queue = make_queue(aws)
    rule.target(
        api.destination(aws),
        RetryPolicy={"MaximumEventAgeInSeconds": 2},  # AWS's least is 60
        DeadLetterConfig={"Arn": queue},
    )
    rule.put(n=3)
    found = attributes(receive(aws, url))
    assert found["EXHAUSTED_RETRY_CONDITION"] == "MaximumEventAgeInSeconds"
    assert int(found["RETRY_ATTEMPTS"]) == len(api.bodies) - 1 > 0


@pytest.mark.parametrize(("exists", "code"), [(False, "NO_RESOURCE"), (True, "NO_PERMISSIONS")])
def test_a_target_that_is_missing_or_closed_is_not_tried_again(
    aws: EmbeddedAws, rule: Rule, notes: Notes, exists: bool, code: str
) -> None:
    url, queue = make_queue(aws)
    function = f"arn:aws:lambda:{aws.region}:{ACCOUNT}:function:nowhere"
    if exists:
        function = make_function(aws, NOTE, **notes.settings)
        admit(aws, function, "events", f"{rule.arn}-other")
    rule.target(function, DeadLetterConfig={"Arn": queue})
    rule.put(n=4)
    found = attributes(receive(aws, url))
    assert (found["ERROR_CODE"], found["RETRY_ATTEMPTS"]) == (code, "0")
    assert "EXHAUSTED_RETRY_CONDITION" not in found
    assert notes.count() == 0


def test_a_dead_letter_queue_that_is_closed_gets_nothing(aws: EmbeddedAws, rule: Rule) -> None:
    url, queue = make_queue(aws, admits="")
    rule.target(f"{queue}-missing", DeadLetterConfig={"Arn": queue})
    rule.put(n=5)
    time.sleep(1)
    assert "Messages" not in aws.client("sqs").receive_message(QueueUrl=url)


def test_a_function_that_fails_once_gets_the_event_again(
    aws: EmbeddedAws, rule: Rule, notes: Notes
) -> None:
    function = make_function(aws, FAIL_ONCE, **notes.settings)
    admit(aws, function, "events", rule.arn)
    rule.target(function)
    rule.put(n=6)
    wait_for(lambda: notes.count() == 2)
    time.sleep(1.5)
    assert [event["detail"] for event in notes.read()] == [{"n": 6}] * 2


def test_a_function_that_fails_always_ends_at_its_destination_and_dead_letters(
    aws: EmbeddedAws, rule: Rule, notes: Notes
) -> None:
    told, destination = make_queue(aws, admits="")
    buried, dead_letters = make_queue(aws, admits="")
    function = make_function(
        aws, FAIL, DeadLetterConfig={"TargetArn": dead_letters}, **notes.settings
    )
    aws.client("lambda").put_function_event_invoke_config(
        FunctionName=function,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": destination}},
    )
    admit(aws, function, "events", rule.arn)
    rule.target(function, RetryPolicy={"MaximumRetryAttempts": 0})
    rule.put(n=8)
    record = json.loads(receive(aws, told)["Body"])
    assert notes.count() == 2
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": record["requestContext"]["requestId"],
        "functionArn": f"{function}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    }
    assert record["requestPayload"] == notes.read()[0]
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"]["errorMessage"] == "no such visitor"
    assert record["responsePayload"]["errorType"] == "ValueError"
    message = receive(aws, buried)
    assert json.loads(message["Body"]) == notes.read()[0]
    assert attributes(message) == {
        "RequestID": record["requestContext"]["requestId"],
        "ErrorCode": "200",
        "ErrorMessage": "no such visitor",
    }


def test_a_timeout_counts_as_a_failed_attempt(aws: EmbeddedAws, notes: Notes) -> None:
    url, queue = make_queue(aws, admits="")
    function = make_function(aws, NOTE + "    time.sleep(30)\n", **notes.settings | {"Timeout": 1})
    aws.client("lambda").put_function_event_invoke_config(
        FunctionName=function,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    aws.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=b'{"n": 9}')
    record = json.loads(receive(aws, url)["Body"])
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"]["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert notes.read() == [{"n": 9}] * 2


def test_a_function_without_concurrency_buries_at_once(aws: EmbeddedAws, notes: Notes) -> None:
    url, queue = make_queue(aws, admits="")
    function = make_function(aws, NOTE, DeadLetterConfig={"TargetArn": queue}, **notes.settings)
    aws.client("lambda").put_function_concurrency(
        FunctionName=function, ReservedConcurrentExecutions=0
    )
    aws.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=b'{"n": 1}')
    message = receive(aws, url)
    assert (json.loads(message["Body"]), attributes(message)["ErrorCode"]) == ({"n": 1}, "429")
    assert notes.count() == 0


def test_a_throttled_event_waits_for_the_function(aws: EmbeddedAws, notes: Notes) -> None:
    function = make_function(aws, NOTE + "    time.sleep(1)\n", **notes.settings)
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)
    client.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=0)
    for n in range(3):
        client.invoke(
            FunctionName=function, InvocationType="Event", Payload=json.dumps({"n": n}).encode()
        )
    wait_for(lambda: notes.count() == 3, seconds=15)
    assert sorted(event["n"] for event in notes.read()) == [0, 1, 2]


def test_what_a_destination_is_sent_is_sent_in_the_name_of_the_functions_role(
    aws: EmbeddedAws, notes: Notes
) -> None:
    url, queue = make_queue(aws, admits="")
    role = unique("role")
    function = make_function(
        aws, FAIL, Role=f"arn:aws:iam::{ACCOUNT}:role/{role}", **notes.settings
    )
    aws.client("lambda").put_function_event_invoke_config(
        FunctionName=function,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    aws.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=b"{}")
    receive(aws, url)
    assert ("sqs:SendMessage", queue) in used_by(aws, role)


def used_by(aws: EmbeddedAws, principal: str) -> set[tuple[str, str]]:
    """Actions and resources of one principal in the access trail."""
    calls = read_trail(aws.endpoint) or []
    return {(call["action"], call["resource"]) for call in calls if call["principal"] == principal}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(tmp_path / "home") as embedded:
        yield embedded


def test_a_kill_repeats_what_was_accepted_and_loses_nothing(
    own: EmbeddedAws, apis: list[Api], notes: Notes
) -> None:
    apis.append(api := Api(503, 503, 503, 200))
    rule = Rule(own)
    url, queue = make_queue(own)
    function = make_function(own, NOTE + "    time.sleep(3)\n", **notes.settings)
    admit(own, function, "events", rule.arn)
    for arn in (api.destination(own), queue, function):
        rule.target(arn)
    time.sleep(2)  # the control plane is saved each half second
    rule.put(n=10)
    wait_for(lambda: len(api.bodies) >= 2 and notes.count() == 1)
    own.kill()
    own.command("start")
    wait_for(lambda: len(api.bodies) >= 4 and notes.count() == 2)
    assert json.loads(receive(own, url)["Body"])["detail"] == {"n": 10}
    time.sleep(4)
    own.command("stop")
    own.command("start")
    time.sleep(2)
    assert (len(api.bodies), notes.count()) == (4, 2)
