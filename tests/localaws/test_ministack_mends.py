"""What AWS answers where MiniStack alone forgets: each is what Terraform reads back."""

from __future__ import annotations

import io
import json
import urllib.request
import uuid
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws


@pytest.fixture
def vpc(aws: EmbeddedAws) -> str:
    return str(aws.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"])


def test_an_alarm_is_described_whole_by_the_query_protocol(aws: EmbeddedAws) -> None:
    cloudwatch, name = aws.client("cloudwatch"), f"alarm-{uuid.uuid4().hex[:8]}"
    given: dict[str, Any] = {
        "AlarmDescription": "look & see <first>",
        "ActionsEnabled": True,
        "AlarmActions": ["arn:aws:sns:us-east-1:000000000000:alerts"],
        "OKActions": ["arn:aws:sns:us-east-1:000000000000:alerts"],
        "MetricName": "Errors",
        "Namespace": "Test",
        "Statistic": "Sum",
        "Dimensions": [{"Name": "Stream", "Value": "a"}],
        "Period": 300,
        "EvaluationPeriods": 2,
        "Threshold": 1.5,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    cloudwatch.put_metric_alarm(AlarmName=name, **given)
    described = _by_query(aws, f"Action=DescribeAlarms&AlarmNames.member.1={name}")
    for text in (
        "<AlarmDescription>look &amp; see &lt;first&gt;</AlarmDescription>",
        "<ActionsEnabled>true</ActionsEnabled>",
        "<OKActions><member>arn:aws:sns:us-east-1:000000000000:alerts</member></OKActions>",
        "<Dimensions><member><Name>Stream</Name><Value>a</Value></member></Dimensions>",
        "<Period>300</Period>",
        "<Threshold>1.5</Threshold>",
        "<TreatMissingData>notBreaching</TreatMissingData>",
    ):
        assert text in described
    assert described.count("<MetricAlarms><member>") == 1
    (found,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert {key: found[key] for key in given} == given


def _by_query(aws: EmbeddedAws, body: str) -> str:
    """An answer as the query protocol has it, which boto3 does not speak to CloudWatch any more."""
    request = urllib.request.Request(
        aws.endpoint,
        data=f"{body}&Version=2010-08-01".encode(),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": "AWS4-HMAC-SHA256 "
            "Credential=test/20260101/us-east-1/monitoring/aws4_request, "
            "SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.read().decode())


def test_an_interface_endpoint_keeps_its_groups_and_its_name(aws: EmbeddedAws, vpc: str) -> None:
    ec2 = aws.client("ec2")
    groups = [
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        for name in ("one", "two")
    ]
    made = ec2.create_vpc_endpoint(
        VpcEndpointType="Interface",
        VpcId=vpc,
        ServiceName="com.amazonaws.us-east-1.glue",
        PrivateDnsEnabled=True,
        SecurityGroupIds=groups[:1],
    )["VpcEndpoint"]["VpcEndpointId"]

    def described() -> tuple[bool, list[str]]:
        (found,) = ec2.describe_vpc_endpoints(VpcEndpointIds=[made])["VpcEndpoints"]
        return found["PrivateDnsEnabled"], [group["GroupId"] for group in found["Groups"]]

    assert described() == (True, groups[:1])
    ec2.modify_vpc_endpoint(
        VpcEndpointId=made,
        PrivateDnsEnabled=False,
        AddSecurityGroupIds=groups[1:],
        RemoveSecurityGroupIds=groups[:1],
    )
    assert described() == (False, groups[1:])


def test_a_flow_log_says_who_writes_it_where_and_how_often(aws: EmbeddedAws, vpc: str) -> None:
    ec2 = aws.client("ec2")
    (made,) = ec2.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogDestinationType="cloud-watch-logs",
        LogDestination="arn:aws:logs:us-east-1:000000000000:log-group:/aws/vpc/test:*",
        DeliverLogsPermissionArn="arn:aws:iam::000000000000:role/flow-logs",
        MaxAggregationInterval=60,
        TagSpecifications=[
            {"ResourceType": "vpc-flow-log", "Tags": [{"Key": "Environment", "Value": "test"}]}
        ],
    )["FlowLogIds"]
    (found,) = ec2.describe_flow_logs(FlowLogIds=[made])["FlowLogs"]
    assert found["DeliverLogsPermissionArn"].endswith("role/flow-logs")
    assert found["LogGroupName"] == "/aws/vpc/test"
    assert found["MaxAggregationInterval"] == 60
    assert found["Tags"] == [{"Key": "Environment", "Value": "test"}]


def test_a_function_calls_in_the_name_of_its_role(aws: EmbeddedAws) -> None:
    client, name = aws.client("lambda"), f"function-{uuid.uuid4().hex[:8]}"
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr(
            "caller.py",
            "import boto3\n"
            "def handler(event, context):\n"
            "    boto3.client('sqs').list_queues()\n"
            "    return boto3.client('sts').get_caller_identity()['Account']\n",
        )
    client.create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=f"arn:aws:iam::000000000000:role/some/path/{name}-role",
        Handler="caller.handler",
        Code={"ZipFile": code.getvalue()},
        Timeout=30,
    )
    answer = client.invoke(FunctionName=name)
    client.delete_function(FunctionName=name)
    assert json.load(answer["Payload"]) == "000000000000"
    with urllib.request.urlopen(f"{aws.endpoint}/_localaws/trail") as trail:
        calls = json.load(trail)["calls"]
    used = {call["action"] for call in calls if call["principal"] == f"{name}-role"}
    assert used == {"sqs:ListQueues", "sts:GetCallerIdentity"}


def test_a_rule_may_name_a_prefix_list(aws: EmbeddedAws, vpc: str) -> None:
    ec2 = aws.client("ec2")
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    entry = {"PrefixListId": "pl-63a5400a", "Description": "the lake"}
    ec2.authorize_security_group_egress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [entry]}
        ],
    )
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    (found,) = (rule for rule in rules["SecurityGroupRules"] if rule.get("PrefixListId"))
    assert (found["PrefixListId"], found["Description"]) == ("pl-63a5400a", "the lake")
    assert found["IsEgress"] is True


def test_a_log_group_gets_and_loses_a_key(aws: EmbeddedAws) -> None:
    logs, name = aws.client("logs"), f"/test/{uuid.uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=name)

    def key() -> str | None:
        (found,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        return found.get("kmsKeyId")

    logs.associate_kms_key(logGroupName=name, kmsKeyId="arn:aws:kms:us-east-1:0:key/k")
    assert key() == "arn:aws:kms:us-east-1:0:key/k"
    logs.disassociate_kms_key(logGroupName=name)
    assert key() is None
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        logs.associate_kms_key(logGroupName="/nowhere", kmsKeyId="arn:aws:kms:us-east-1:0:key/k")


def test_a_stream_keeps_the_tags_and_metrics_it_is_given(aws: EmbeddedAws) -> None:
    kinesis, name = aws.client("kinesis"), f"stream-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=1, Tags={"Environment": "test"})
    tags = kinesis.list_tags_for_stream(StreamName=name)["Tags"]
    assert tags == [{"Key": "Environment", "Value": "test"}]
    kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["IncomingBytes"])
    for answer, member in (
        (kinesis.describe_stream(StreamName=name), "StreamDescription"),
        (kinesis.describe_stream_summary(StreamName=name), "StreamDescriptionSummary"),
    ):
        assert answer[member]["EnhancedMonitoring"] == [{"ShardLevelMetrics": ["IncomingBytes"]}]
