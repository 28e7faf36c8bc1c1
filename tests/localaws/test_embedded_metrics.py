"""Log lines in the embedded metric format, and the log lines of functions around them."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localaws.server import read_trail
from tests.conftest import EmbeddedAws
from tests.localaws.lambdas import ACCOUNT, make_function, unique, wait_for


def line(namespace: str, at: float | None = None, **changes: Any) -> dict[str, Any]:
    """A log line with one count, by site and page and by site alone."""
    directive = {
        "Namespace": namespace,
        "Dimensions": [["site", "page"], ["site"]],
        "Metrics": [{"Name": "hits", "Unit": "Count"}],
    }
    stamp = int((at or time.time()) * 1000)
    return {
        "_aws": {
            "Timestamp": stamp,
            "CloudWatchMetrics": [directive | changes.pop("directive", {})],
        },
        "site": "shop",
        "page": "home",
        "hits": 3,
    } | changes


def put(aws: EmbeddedAws, *lines: dict[str, Any]) -> str:
    """Put the lines into a log group of their own; returns its name."""
    logs, names = aws.client("logs"), {"logGroupName": unique("/test"), "logStreamName": "s"}
    logs.create_log_group(logGroupName=names["logGroupName"])
    logs.create_log_stream(**names)
    stamp = int(time.time() * 1000)
    events = [{"timestamp": stamp, "message": json.dumps(line)} for line in lines]
    logs.put_log_events(**names, logEvents=events)
    return names["logGroupName"]


def statistics(
    aws: EmbeddedAws, namespace: str, metric: str, at: float | None = None, **dimensions: str
) -> dict[str, Any]:
    """What CloudWatch tells of one metric in the minutes around `at`."""
    around = datetime.fromtimestamp(at or time.time(), UTC)
    found = aws.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=around - timedelta(minutes=5),
        EndTime=around + timedelta(minutes=5),
        Period=3600,
        Statistics=["Sum", "SampleCount", "Minimum", "Maximum"],
    )["Datapoints"]
    return dict(found[0]) if found else {}


def test_a_line_is_a_metric_for_each_of_its_sets_of_dimensions(aws: EmbeddedAws) -> None:
    namespace = unique("space")
    put(aws, line(namespace), line(namespace, page="cart"), {"hits": 1})
    home = statistics(aws, namespace, "hits", site="shop", page="home")
    assert (home["Sum"], home["SampleCount"], home["Unit"]) == (3, 1, "Count")
    assert statistics(aws, namespace, "hits", site="shop")["Sum"] == 6
    assert statistics(aws, namespace, "hits") == {}


def test_an_array_is_as_many_values(aws: EmbeddedAws) -> None:
    namespace = unique("space")
    metric = {"Name": "wait", "Unit": "Milliseconds"}
    directive = {"Metrics": [metric], "Dimensions": [[]]}
    put(aws, line(namespace, directive=directive, wait=[5, 1.5, 5, 9]))
    found = statistics(aws, namespace, "wait")
    assert (found["SampleCount"], found["Sum"]) == (4, 20.5)
    assert (found["Minimum"], found["Maximum"], found["Unit"]) == (1.5, 9, "Milliseconds")


def test_a_metric_is_of_the_lines_own_time(aws: EmbeddedAws) -> None:
    namespace, past = unique("space"), time.time() - 7200
    put(aws, line(namespace, at=past))
    assert statistics(aws, namespace, "hits", site="shop") == {}
    assert statistics(aws, namespace, "hits", at=past, site="shop")["Sum"] == 3
    answer = aws.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {
                "Id": "hits",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": "hits",
                        "Dimensions": [{"Name": "site", "Value": "shop"}],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
        ],
        StartTime=datetime.fromtimestamp(past - 120, UTC),
        EndTime=datetime.fromtimestamp(past + 120, UTC),
    )
    assert answer["MetricDataResults"][0]["Values"] == [3]


@pytest.mark.parametrize(
    "changes",
    [
        {"hits": "three"},
        {"hits": True},
        {"hits": [1] * 101},
        {"site": 7},
        {"directive": {"Metrics": [{"Name": "missing"}]}},
        {"directive": {"Metrics": [{"Name": "hits", "Unit": "Pages"}]}},
        {"directive": {"Dimensions": "site"}},
        {"directive": {"Namespace": None}},
        {"at": time.time() + 3 * 3600},
        {"_aws": "metrics"},
    ],
)
def test_a_malformed_line_is_a_log_line_only(aws: EmbeddedAws, changes: dict[str, Any]) -> None:
    namespace = unique("space")
    written = line(namespace, **changes)
    group = put(aws, written)
    (event,) = aws.client("logs").filter_log_events(logGroupName=group)["events"]
    assert json.loads(event["message"]) == written
    assert aws.client("cloudwatch").list_metrics(Namespace=namespace)["Metrics"] == []


HANDLER = """
import json, logging, os, time

logging.getLogger().setLevel("INFO")

def handler(event, context):
    print("seen", event["n"])
    logging.info("by the logger")
    print(json.dumps({
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [{
            "Namespace": event["namespace"], "Dimensions": [["function"]],
            "Metrics": [{"Name": "windows"}]}]},
        "function": context.function_name, "windows": event["n"]}))
    if event["n"] == 3:
        raise KeyError("n")
    return {"stream": context.log_stream_name, "process": os.getpid()}
"""


def invoke(aws: EmbeddedAws, function: str, **event: Any) -> dict[str, Any]:
    answer = aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    return dict(json.loads(answer["Payload"].read()))


def test_an_invocation_is_logged_from_start_to_report(aws: EmbeddedAws) -> None:
    role, name, namespace = unique("role"), unique("function"), unique("space")
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    function = make_function(aws, HANDLER, FunctionName=name, Role=arn)
    first = invoke(aws, function, n=1, namespace=namespace)
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", first["stream"])
    failed = invoke(aws, function, n=3, namespace=namespace)
    assert (failed["errorType"], failed["errorMessage"]) == ("KeyError", "'n'")
    assert "handler" in failed["stackTrace"][0]
    assert invoke(aws, function, n=2, namespace=namespace) == first  # it has outlived the error
    group = f"/aws/lambda/{name}"
    events = aws.client("logs").get_log_events(
        logGroupName=group, logStreamName=first["stream"], startFromHead=True
    )["events"]
    messages = [event["message"] for event in events]
    request = messages[0].split()[2]
    assert messages[0] == f"START RequestId: {request} Version: $LATEST"
    assert messages[1] == "seen 1"
    assert re.fullmatch(rf"\[INFO\]\t[-\d]+T[:.\d]+Z\t{request}\tby the logger", messages[2])
    assert messages[4] == f"END RequestId: {request}"
    assert re.fullmatch(
        rf"REPORT RequestId: {request}\tDuration: [.\d]+ ms\tBilled Duration: \d+ ms"
        r"\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\tInit Duration: [.\d]+ ms\t",
        messages[5],
    )
    assert "[ERROR] KeyError: 'n'" in messages
    assert sum(message.startswith("REPORT") for message in messages) == 3
    assert statistics(aws, namespace, "windows", function=name)["Sum"] == 6
    assert statistics(aws, "AWS/Lambda", "Invocations", FunctionName=name)["Sum"] == 3
    assert statistics(aws, "AWS/Lambda", "Errors", FunctionName=name)["Sum"] == 1
    used = {call["action"] for call in read_trail(aws.endpoint) or [] if call["principal"] == role}
    assert used == {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("import nowhere", "Runtime.ImportModuleError", "No module named 'nowhere'"),
        ("def handler(event, context): return {1, 2}", "Runtime.MarshalError", "marshal"),
        ("import os\ndef handler(event, context): os._exit(3)", "Runtime.ExitError", "exited"),
        ("import time\ndef handler(event, context): time.sleep(9)", "Sandbox.Timedout", "1.00"),
    ],
)
def test_what_the_runtime_cannot_do_is_the_functions_error(
    aws: EmbeddedAws, source: str, kind: str, message: str
) -> None:
    function = make_function(aws, source, Timeout=1)
    failed = invoke(aws, function)
    assert failed["errorType"] == kind
    assert message in failed["errorMessage"]
    group = f"/aws/lambda/{function.rpartition(':')[2]}"
    events = aws.client("logs").filter_log_events(logGroupName=group)["events"]
    assert any(message in event["message"] for event in events)


def test_a_functions_calls_are_its_roles(aws: EmbeddedAws) -> None:
    role = unique("role")
    source = """
import boto3
def handler(event, context):
    return boto3.client("sqs").get_queue_url(QueueName=event["queue"])["QueueUrl"]
"""
    function = make_function(aws, source, Role=f"arn:aws:iam::{ACCOUNT}:role/{role}")
    queue = unique("queue")
    aws.client("sqs").create_queue(QueueName=queue)
    answer = aws.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps({"queue": queue}).encode()
    )
    assert json.loads(answer["Payload"].read()).endswith(queue)
    calls = wait_for(
        lambda: [call for call in read_trail(aws.endpoint) or [] if call["principal"] == role]
    )
    needed = ("sqs:GetQueueUrl", f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}")
    assert needed in {(call["action"], call["resource"]) for call in calls}
