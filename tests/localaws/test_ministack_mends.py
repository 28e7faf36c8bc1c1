"""What AWS answers where MiniStack alone forgets: each is what Terraform reads back."""

from __future__ import annotations

import json
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws
from tests.localaws.lambdas import ROLE, make_function, make_queue, zipped


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


def test_a_metric_without_dimensions_is_not_the_sum_of_all(aws: EmbeddedAws) -> None:
    cloudwatch, namespace = aws.client("cloudwatch"), f"space-{uuid.uuid4().hex[:8]}"
    of_shop = {"MetricName": "hits", "Value": 5, "Dimensions": [{"Name": "site", "Value": "shop"}]}
    for datum in ({"MetricName": "hits", "Value": 2}, of_shop):
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=[datum])
    now = datetime.now(UTC)
    (point,) = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName="hits",
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert point["Sum"] == 2


def test_an_api_key_is_made_as_terraform_asks_and_can_be_switched_off(aws: EmbeddedAws) -> None:
    gateway = aws.client("apigateway")
    made = gateway.create_api_key(name="site", value="", enabled=True)
    assert len(made["value"]) >= 20
    gateway.update_api_key(
        apiKey=made["id"],
        patchOperations=[{"op": "replace", "path": "/enabled", "value": "false"}],
    )
    assert gateway.get_api_key(apiKey=made["id"])["enabled"] is False
    assert gateway.create_api_key(name="other")["enabled"] is False


def test_a_stage_without_access_logs_has_no_settings_of_them(aws: EmbeddedAws) -> None:
    gateway = aws.client("apigateway")
    api = gateway.create_rest_api(name="any")["id"]
    deployment = gateway.create_deployment(restApiId=api)["id"]
    gateway.create_stage(restApiId=api, stageName="live", deploymentId=deployment)
    assert "accessLogSettings" not in gateway.get_stage(restApiId=api, stageName="live")


def test_a_bus_has_the_policy_that_was_given_whole(aws: EmbeddedAws) -> None:
    events, name = aws.client("events"), f"bus-{uuid.uuid4().hex[:8]}"
    arn = events.create_event_bus(Name=name)["EventBusArn"]
    statement = {
        "Sid": "One",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:role/teller"},
        "Action": "events:PutEvents",
        "Resource": arn,
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    events.put_permission(EventBusName=name, Policy=json.dumps(policy))
    assert json.loads(events.describe_event_bus(Name=name)["Policy"]) == policy
    events.remove_permission(EventBusName=name, RemoveAllPermissions=True)
    assert "Policy" not in events.describe_event_bus(Name=name)


def test_a_firewall_says_where_its_log_goes(aws: EmbeddedAws) -> None:
    firewall = aws.client("wafv2")
    shown = {
        "SampledRequestsEnabled": False,
        "CloudWatchMetricsEnabled": True,
        "MetricName": "any",
    }
    made = firewall.create_web_acl(
        Name=f"acl-{uuid.uuid4().hex[:8]}",
        Scope="REGIONAL",
        DefaultAction={"Allow": {}},
        VisibilityConfig=shown,
    )
    arn = made["Summary"]["ARN"]
    with pytest.raises(ClientError, match="WAFNonexistentItemException"):
        firewall.get_logging_configuration(ResourceArn=arn)
    group = "arn:aws:logs:us-east-1:000000000000:log-group:aws-waf-logs-any"
    given = {"ResourceArn": arn, "LogDestinationConfigs": [group]}
    firewall.put_logging_configuration(LoggingConfiguration=given)
    found = firewall.get_logging_configuration(ResourceArn=arn)["LoggingConfiguration"]
    assert found == given
    firewall.delete_logging_configuration(ResourceArn=arn)
    with pytest.raises(ClientError, match="WAFNonexistentItemException"):
        firewall.get_logging_configuration(ResourceArn=arn)


def test_a_tables_backups_go_back_as_many_days_as_was_said(aws: EmbeddedAws) -> None:
    dynamodb, name = aws.client("dynamodb"), f"t-{uuid.uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def days() -> int | None:
        found = dynamodb.describe_continuous_backups(TableName=name)
        recovery = found["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        return recovery.get("RecoveryPeriodInDays")

    assert days() is None
    for settings, wanted in (({}, 35), ({"RecoveryPeriodInDays": 1}, 1)):
        specification = {"PointInTimeRecoveryEnabled": True, **settings}
        dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification=specification
        )
        assert days() == wanted


def test_a_usage_plan_without_limits_has_none(aws: EmbeddedAws) -> None:
    gateway = aws.client("apigateway")
    throttle, quota = {"rateLimit": 5.0, "burstLimit": 9}, {"limit": 3, "period": "DAY"}
    for given in ({}, {"throttle": throttle}, {"throttle": throttle, "quota": quota}):
        made = gateway.create_usage_plan(name="any", **given)
        found = gateway.get_usage_plan(usagePlanId=made["id"])
        assert {"throttle", "quota"} & found.keys() == given.keys()


def test_a_rest_api_is_patched_in_the_types_of_its_members(aws: EmbeddedAws) -> None:
    gateway = aws.client("apigateway")
    api = gateway.create_rest_api(name="any", binaryMediaTypes=["*/*", "image/png"])["id"]
    gateway.update_rest_api(
        restApiId=api,
        patchOperations=[
            {"op": "add", "path": "/binaryMediaTypes/application~1json"},
            {"op": "remove", "path": "/binaryMediaTypes/*~1*"},
            {"op": "replace", "path": "/minimumCompressionSize", "value": "1024"},
        ],
    )
    found = gateway.get_rest_api(restApiId=api)
    assert found["binaryMediaTypes"] == ["image/png", "application/json"]
    assert found["minimumCompressionSize"] == 1024
    (root,) = gateway.get_resources(restApiId=api)["items"]
    place = {"restApiId": api, "resourceId": root["id"], "httpMethod": "POST"}
    gateway.put_method(**place, authorizationType="NONE", apiKeyRequired=True)
    gateway.put_integration(**place, type="MOCK", timeoutInMillis=5000)
    gateway.update_method(
        **place,
        patchOperations=[
            {"op": "replace", "path": "/apiKeyRequired", "value": "false"},
            {"op": "add", "path": "/requestParameters/method.request.header.a", "value": "true"},
        ],
    )
    gateway.update_integration(
        **place, patchOperations=[{"op": "replace", "path": "/timeoutInMillis", "value": "6000"}]
    )
    method = gateway.get_method(**place)
    assert method["apiKeyRequired"] is False
    assert method["requestParameters"] == {"method.request.header.a": True}
    assert method["methodIntegration"]["timeoutInMillis"] == 6000


def test_a_usage_plan_gets_and_loses_stages_and_limits(aws: EmbeddedAws) -> None:
    gateway = aws.client("apigateway")
    plan = gateway.create_usage_plan(
        name="sites",
        apiStages=[{"apiId": "a", "stage": "old"}, {"apiId": "a", "stage": "live"}],
        quota={"limit": 10, "period": "DAY"},
    )["id"]
    limits = "/apiStages/a:live/throttle/~1collect~1POST"
    gateway.update_usage_plan(
        usagePlanId=plan,
        patchOperations=[
            {"op": "remove", "path": "/apiStages", "value": "a:old"},
            {"op": "add", "path": "/apiStages", "value": "b:live"},
            {"op": "replace", "path": f"{limits}/rateLimit", "value": "2.5"},
            {"op": "replace", "path": f"{limits}/burstLimit", "value": "5"},
            {"op": "replace", "path": "/throttle/rateLimit", "value": "50"},
            {"op": "remove", "path": "/quota"},
        ],
    )
    found = gateway.get_usage_plan(usagePlanId=plan)
    assert found["apiStages"] == [
        {
            "apiId": "a",
            "stage": "live",
            "throttle": {"/collect/POST": {"rateLimit": 2.5, "burstLimit": 5}},
        },
        {"apiId": "b", "stage": "live"},
    ]
    assert found["throttle"] == {"rateLimit": 50}
    assert "quota" not in found


def test_what_a_function_was_not_given_is_not_told(aws: EmbeddedAws) -> None:
    client = aws.client("lambda")
    _, queue = make_queue(aws, admits="")
    function = make_function(
        aws, "def handler(event, context): pass", DeadLetterConfig={"TargetArn": queue}
    )
    client.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=0)
    config = client.get_function_event_invoke_config(FunctionName=function)
    assert (config["MaximumRetryAttempts"], "MaximumEventAgeInSeconds" in config) == (0, False)
    client.update_function_configuration(FunctionName=function, DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in client.get_function_configuration(FunctionName=function)


def test_new_code_replaces_the_process_that_runs_the_old(aws: EmbeddedAws, bucket: str) -> None:
    """A package with libraries at its top level, by way of S3, as Terraform brings it."""

    def package(version: int) -> dict[str, str]:
        source = "import lib.core\ndef handler(event, context): return lib.core.VERSION"
        body = zipped(main=source, lib__core=f"VERSION = {version}")
        aws.client("s3").put_object(Bucket=bucket, Key=f"{version}.zip", Body=body)
        return {"S3Bucket": bucket, "S3Key": f"{version}.zip"}

    client = aws.client("lambda")
    name = client.create_function(
        FunctionName=f"function-{uuid.uuid4().hex[:8]}",
        Role=ROLE,
        Runtime="python3.12",
        Handler="main.handler",
        Code=package(1),
    )["FunctionName"]
    assert client.invoke(FunctionName=name)["Payload"].read() == b"1"
    client.update_function_code(FunctionName=name, **package(2))
    assert client.invoke(FunctionName=name)["Payload"].read() == b"2"
