"""Least privilege, measured: what each role did in a run is what its policy allows."""

from __future__ import annotations

import base64
import fnmatch
import json
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from clickstream import retention
from clickstream.config import Config

from tests.conftest import ROOT, EmbeddedAws
from tests.e2e.conftest import Pipeline
from tests.e2e.test_live import LivePath, purchase

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

EVENTS = 5000
PERSON = "u-of-the-trail"
#: Allowed, and not seen here: what AWS needs all the same, and why.
AWS_ALONE_NEEDS = {
    ("airflow", "athena:StopQueryExecution"): "a query whose task is killed",
    ("airflow", "redshift-data:CancelStatement"): "a statement whose task is killed",
    ("airflow", "glue:GetDatabase"): "Athena asks for the database before the table",
    ("airflow", "s3:ListBucket"): "Athena looks whether the results bucket is there",
    ("airflow", "glue:BatchCreatePartition"): "partitions of the lake that the crawler has missed",
    ("airflow", "glue:GetJobRuns"): "a task that is tried again looks for the run it has started",
    ("eraser", "s3:GetObjectVersion"): "scripts that an upload has replaced",
    ("crawler", "glue:BatchGetPartition"): "AWS's crawler compares partitions before it adds any",
    ("crawler", "glue:UpdateTable"): "a column that is new",
    ("firehose", "s3:AbortMultipartUpload"): "large objects go up in parts",
    ("firehose", "s3:GetBucketLocation"): "AWS's Firehose looks for the bucket's region",
    ("firehose", "s3:ListBucket"): "AWS's Firehose looks whether the bucket is there",
    ("firehose", "s3:ListBucketMultipartUploads"): "large objects go up in parts",
    ("firehose", "s3:PutObject"): "errors, of which there are none here",
    ("firehose", "logs:PutLogEvents"): "errors, of which there are none here",
    **{
        (role, action): reason
        for role in ("collector", "stream", "react")
        for action, reason in (
            ("sqs:SendMessage", "what cannot be handled, which is nothing here"),
            ("kms:GenerateDataKey", "the queue encrypts what cannot be handled"),
        )
    },
    ("stream", "kinesis:DescribeStreamSummary"): "AWS's pollers look at the stream",
    ("stream", "dynamodb:GetItem"): "traffic that has changed, for which it takes minutes",
    ("react", "dynamodb:DeleteItem"): "a message that SNS did not take gives its key back",
    ("react", "dynamodb:GetItem"): "Powertools looks for a key whose item was not answered",
    ("react", "sns:Publish"): "traffic that has changed",
    ("react", "kms:Decrypt"): "DynamoDB decrypts for whoever asks",
    ("redshift", "glue:GetTables"): "AWS's Spectrum lists an external schema's tables",
}


@dataclass(frozen=True)
class Grant:
    """One action on one resource that a role's policy allows."""

    action: str
    resource: str

    def covers(self, call: dict[str, Any]) -> bool:
        """Whether the policy allows this call of the trail."""
        return call["action"] == self.action and fnmatch.fnmatchcase(
            call["resource"], self.resource
        )


@pytest.fixture(scope="module")
def trail(pipeline: Pipeline, deployed: Any) -> dict[str, list[dict[str, Any]]]:
    """What each role did while a day went from the shop to the warehouse, and after."""
    aws = pipeline.aws
    direct = pipeline.config.firehose.direct
    subprocess.run(
        [
            *(sys.executable, "-m", "producer", "--sink", "firehose", "--stream", direct),
            *("--events", str(EVENTS), "--dirty", "--endpoint-url", aws.endpoint),
        ],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "AWS_ACCESS_KEY_ID": pipeline.config.roles.producer,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": aws.region,
        },
        capture_output=True,
        check=True,
        timeout=120,
    )
    event = {"event_type": "view", "user_id": PERSON, "timestamp": datetime.now(UTC).isoformat()}
    aws.client("kinesis").put_record(
        StreamName=pipeline.config.kinesis_stream,
        PartitionKey=PERSON,
        Data=json.dumps(event).encode() + b"\n",  # Firehose puts nothing between records
    )
    _walk_live(pipeline)
    _await_delivery(aws, pipeline.config.buckets.raw)
    today = datetime.now(UTC).date()
    leave_traces(pipeline)
    assert pipeline.run(today).state == "success"
    # It runs the day again, which reads what the first run has written.
    assert pipeline.erase(PERSON, today).state == "success"
    _upkeep(pipeline, today)
    with urllib.request.urlopen(f"{aws.endpoint}/_localaws/trail") as answer:
        calls = json.load(answer)["calls"]
    found = defaultdict(list)
    for call in calls:
        found[call["principal"]].append(call)
    return found


def _walk_live(pipeline: Pipeline) -> None:
    """Somebody buys, and somebody leaves a cart."""
    path = LivePath(pipeline.aws)
    with urllib.request.urlopen(f"{path.url}/health") as answer:
        assert answer.status == 200
    path.send(purchase(), purchase(event_type="add_to_cart", order_id=None))
    assert path.alerts(within=60)
    later = {"time": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}
    clock = pipeline.config.live.clock
    pipeline.aws.client("lambda").invoke(FunctionName=clock, Payload=json.dumps(later))


def _upkeep(pipeline: Pipeline, day: date) -> None:
    """The weekly upkeep, and what it does in a year: nothing here is old enough yet."""
    run = pipeline.client().run("clickstream_maintenance", day, timeout=600, report=print)
    assert run.state == "success", run.error
    s3, buckets = pipeline.aws.client("s3"), pipeline.config.buckets
    for part in retention.BUCKETS:
        s3.create_multipart_upload(Bucket=getattr(buckets, part), Key="torn")
    airflow = pipeline.aws.client("s3", pipeline.config.roles.airflow)
    # What the first deletes, the second finds as old versions.
    for days in (500, 600):
        as_of = datetime.now(UTC) + timedelta(days=days)
        retention.expire(pipeline.config, airflow, as_of, is_dry_run=False)


def leave_traces(pipeline: Pipeline) -> None:
    """The person is in every place from which the eraser takes somebody out."""
    s3, buckets = pipeline.aws.client("s3"), pipeline.config.buckets
    hour = f"{datetime.now(UTC):year=%Y/month=%m/day=%d/hour=%H}"
    torn = f'{{"user_id":"{PERSON}"'.encode()
    record = json.dumps({"rawData": base64.b64encode(torn).decode()}).encode()
    for bucket, key, body in (
        (buckets.raw, f"{pipeline.config.prefixes.raw}{hour}/torn", torn),
        (buckets.raw, f"{pipeline.config.prefixes.delivery_errors}failed/{hour}/x", record),
        (buckets.results, f"{pipeline.config.prefixes.athena_results}x.csv", b'"' + torn),
    ):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        s3.put_object(Bucket=bucket, Key=key, Body=body)


def _await_delivery(aws: EmbeddedAws, bucket: str) -> None:
    today = datetime.now(UTC)
    prefix = f"clickstream/{today:year=%Y/month=%m/day=%d}/"
    deadline = time.monotonic() + 60
    while (
        len(aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())) < 2
    ):
        assert time.monotonic() < deadline, "Firehose did not deliver from both streams"
        time.sleep(0.5)


def grants(aws: EmbeddedAws, role: str) -> Iterator[Grant]:
    """What a role's inline policies allow, as IAM has them."""
    iam = aws.client("iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    assert names, f"{role} may do nothing"
    for name in names:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            actions, places = statement["Action"], statement["Resource"]
            for action in actions if isinstance(actions, list) else [actions]:
                for place in places if isinstance(places, list) else [places]:
                    yield Grant(action, place)


ROLES = tuple(vars(Config.from_environment({}).roles))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_all_that_it_did(
    pipeline: Pipeline, trail: dict[str, list[dict[str, Any]]], role: str
) -> None:
    name = getattr(pipeline.config.roles, role)
    allowed = list(grants(pipeline.aws, name))
    assert trail[name], f"{role} did nothing"
    refused = [
        f"{call['action']} on {call['resource']}"
        for call in trail[name]
        if not any(grant.covers(call) for grant in allowed)
    ]
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_else(
    pipeline: Pipeline, trail: dict[str, list[dict[str, Any]]], role: str
) -> None:
    name = getattr(pipeline.config.roles, role)
    unused = [
        f"{grant.action} on {grant.resource}"
        for grant in grants(pipeline.aws, name)
        if not any(grant.covers(call) for call in trail[name])
        and (role, grant.action) not in AWS_ALONE_NEEDS
    ]
    assert not unused, "\n".join(unused)


def test_what_only_aws_needs_is_still_allowed(pipeline: Pipeline, deployed: Any) -> None:
    allowed = {
        (role, grant.action)
        for role in ROLES
        for grant in grants(pipeline.aws, getattr(pipeline.config.roles, role))
    }
    assert AWS_ALONE_NEEDS.keys() <= allowed, "an exception that nobody needs any more"
