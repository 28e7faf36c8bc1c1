"""What MiniStack forgets of what it was told, so that Terraform would see a change at every plan.

And whose calls a function makes, which the access trail must be able to say.

Each mend wraps one of its functions and goes when MiniStack's own answer is whole; the tests of
test_ministack_mends.py say for each what AWS answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

Parameters = Mapping[str, Any]


def install() -> None:
    """Put the mends into MiniStack's modules. Call it before it serves."""
    _mend_alarms()
    _mend_api_keys()
    _mend_api_stages()
    _mend_backups()
    _mend_bus_policies()
    _mend_dead_letters()
    _mend_endpoints()
    _mend_firewalls()
    _mend_flow_logs()
    _mend_function_credentials()
    _mend_invoke_configs()
    _mend_log_keys()
    _mend_metric_dimensions()
    _mend_prefix_list_rules()
    _mend_streams()
    _mend_usage_plans()


def _mend_alarms() -> None:
    """DescribeAlarms by the query protocol (Terraform's) tells less than by the JSON one."""
    from ministack.services import cloudwatch

    describe = cloudwatch._describe_alarms

    def describe_alarms(
        params: Parameters, data: dict[str, Any], is_cbor: bool, is_json: bool = False
    ) -> Any:
        if is_cbor or is_json:
            return describe(params, data, is_cbor, is_json)
        request: dict[str, Any] = {
            name: cloudwatch._p(params, name)
            for name in ("AlarmNamePrefix", "StateValue", "MaxRecords", "NextToken")
            if cloudwatch._p(params, name)
        }
        request["AlarmNames"] = list(_members(params, "AlarmNames"))
        request["AlarmTypes"] = list(_members(params, "AlarmTypes"))
        status, _, body = describe({}, request, False, True)
        if status != 200:
            return describe(params, data, False)
        answer = _query_xml(json.loads(body))
        return cloudwatch._xml(
            200, "DescribeAlarmsResponse", f"<DescribeAlarmsResult>{answer}</DescribeAlarmsResult>"
        )

    cloudwatch._describe_alarms = describe_alarms


def _mend_api_keys() -> None:
    """An API key whose value is left to AWS is sent with an empty one, a disabled one without."""
    from ministack.services import apigateway_v1

    create = apigateway_v1._create_api_key

    def create_api_key(data: dict[str, Any]) -> Any:
        given = {"enabled": False} | data
        if not given.get("value"):
            given.pop("value", None)
        return create(given)

    apigateway_v1._create_api_key = create_api_key


def _mend_api_stages() -> None:
    """A REST API's stage without access logs has no settings of them, not empty ones."""
    from ministack.services import apigateway_v1

    get = apigateway_v1._get_stage

    def get_stage(api: str, name: str) -> Any:
        status, headers, body = get(api, name)
        stage = json.loads(body)
        if stage.get("accessLogSettings") == {}:
            del stage["accessLogSettings"]
        return status, headers, json.dumps(stage).encode()

    apigateway_v1._get_stage = get_stage


def _members(params: Parameters, name: str) -> Iterator[str]:
    number = 1
    while value := params.get(f"{name}.member.{number}"):
        yield value[0] if isinstance(value, list) else value
        number += 1


def _query_xml(value: Any) -> str:
    """A JSON answer as the query protocol has it."""
    if isinstance(value, dict):
        return "".join(
            f"<{key}>{_query_xml(_time(key, item))}</{key}>"
            for key, item in value.items()
            if item is not None and item != ""
        )
    if isinstance(value, list):
        return "".join(f"<member>{_query_xml(item)}</member>" for item in value)
    return escape(json.dumps(value) if isinstance(value, bool) else str(value))


def _time(key: str, value: Any) -> Any:
    if key.endswith("Timestamp") and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).isoformat()
    return value


def _mend_backups() -> None:
    """How many days a table's continuous backups go back."""
    from ministack.services import dynamodb

    describe, update = dynamodb._describe_continuous_backups, dynamodb._update_continuous_backups
    most = 35

    def with_days(answer: Any, table: str) -> Any:
        days, (status, headers, body) = dynamodb._pitr_settings.get(table), answer
        if status != 200 or not days:
            return answer
        told = json.loads(body)
        described = told["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        described["RecoveryPeriodInDays"] = most if days is True else days
        return status, headers, json.dumps(told).encode()

    def describe_continuous_backups(data: dict[str, Any]) -> Any:
        return with_days(describe(data), dynamodb._normalize_table_name(data.get("TableName")))

    def update_continuous_backups(data: dict[str, Any]) -> Any:
        answer, table = update(data), dynamodb._normalize_table_name(data.get("TableName"))
        if answer[0] == 200 and dynamodb._pitr_settings[table]:
            given = data["PointInTimeRecoverySpecification"].get("RecoveryPeriodInDays", most)
            dynamodb._pitr_settings[table] = given
        return with_days(answer, table)

    dynamodb._describe_continuous_backups = describe_continuous_backups
    dynamodb._update_continuous_backups = update_continuous_backups


def _mend_bus_policies() -> None:
    """A bus's policy that is given whole, not as one statement's parts."""
    from ministack.services import eventbridge

    put = eventbridge._put_permission

    def put_permission(data: dict[str, Any]) -> Any:
        if not data.get("Policy"):
            return put(data)
        bus = data.get("EventBusName", "default")
        eventbridge._event_bus_policies[bus] = json.loads(data["Policy"])
        return eventbridge.json_response({})

    eventbridge._put_permission = put_permission


def _mend_dead_letters() -> None:
    """A function's dead-letter queue is taken away by an empty name."""
    from ministack.services import lambda_svc

    update = lambda_svc._update_config

    def update_config(name: str, data: dict[str, Any]) -> Any:
        answer = update(name, data)
        if answer[0] == 200 and data.get("DeadLetterConfig") == {"TargetArn": ""}:
            del lambda_svc._functions[name]["config"]["DeadLetterConfig"]
        return answer

    lambda_svc._update_config = update_config


def _mend_endpoints() -> None:
    """An interface endpoint's security groups and whether it answers to the service's name."""
    from ministack.services import ec2

    create, modify, fields = (
        ec2._create_vpc_endpoint,
        ec2._modify_vpc_endpoint,
        ec2._vpce_fields_xml,
    )

    def create_vpc_endpoint(params: Parameters) -> Any:
        before = set(ec2._vpc_endpoints)
        create(params)
        (made,) = (endpoint for id, endpoint in ec2._vpc_endpoints.items() if id not in before)
        made["PrivateDnsEnabled"] = ec2._p(params, "PrivateDnsEnabled") == "true"
        made["SecurityGroupIds"] = ec2._parse_member_list(params, "SecurityGroupId")
        answer = fields_xml(made, "vpcEndpoint")
        return ec2._xml(200, "CreateVpcEndpointResponse", answer)

    def modify_vpc_endpoint(params: Parameters) -> Any:
        endpoint = ec2._vpc_endpoints.get(ec2._p(params, "VpcEndpointId"))
        if endpoint:
            removed = ec2._parse_member_list(params, "RemoveSecurityGroupId")
            groups = endpoint.get("SecurityGroupIds", [])
            groups = [*groups, *ec2._parse_member_list(params, "AddSecurityGroupId")]
            endpoint["SecurityGroupIds"] = [id for id in groups if id not in removed]
            if dns := ec2._p(params, "PrivateDnsEnabled"):
                endpoint["PrivateDnsEnabled"] = dns == "true"
        return modify(params)

    def fields_xml(endpoint: dict[str, Any], tag: str = "item") -> str:
        groups = "".join(
            f"<item><groupId>{id}</groupId></item>" for id in endpoint.get("SecurityGroupIds", [])
        )
        dns = json.dumps(endpoint.get("PrivateDnsEnabled", False))
        more = f"<groupSet>{groups}</groupSet><privateDnsEnabled>{dns}</privateDnsEnabled>"
        text: str = fields(endpoint, tag)
        return text.replace("<state>", f"{more}<state>", 1)

    ec2._vpce_fields_xml = fields_xml
    ec2._ACTION_MAP["CreateVpcEndpoint"] = create_vpc_endpoint
    ec2._ACTION_MAP["ModifyVpcEndpoint"] = modify_vpc_endpoint


def _mend_firewalls() -> None:
    """Where a firewall's log goes."""
    from ministack.services import waf

    handle, member = waf.handle_request, "LoggingConfiguration"

    async def handle_request(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Parameters
    ) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action not in (f"Put{member}", f"Get{member}", f"Delete{member}"):
            return await handle(method, path, headers, body, query)
        data = json.loads(body)
        arn = data.get(member, data)["ResourceArn"]
        acl, error = waf._resolve_local_web_acl(arn)
        if error:
            return error
        if action == f"Delete{member}":
            acl.pop(member, None)
            return waf.json_response({})
        if action == f"Put{member}":
            acl[member] = data[member]
        if member not in acl:
            return waf._waf_err("WAFNonexistentItemException", f"{arn} logs nothing.")
        return waf.json_response({member: acl[member]})

    waf.handle_request = handle_request


def _mend_flow_logs() -> None:
    """Who writes a flow log, to which group, and how often."""
    from ministack.services import ec2

    create, describe = ec2._create_flow_logs, ec2._describe_flow_logs

    def create_flow_logs(params: Parameters) -> Any:
        before = set(ec2._flow_logs)
        answer = create(params)
        group = ec2._p(params, "LogGroupName")
        if ":log-group:" in (destination := ec2._p(params, "LogDestination")):
            group = destination.split(":log-group:")[1].removesuffix(":*")
        for id, log in ec2._flow_logs.items():
            if id not in before:
                ec2._parse_tag_specs(params, "vpc-flow-log", id)
                log["extra"] = {
                    "deliverLogsPermissionArn": ec2._p(params, "DeliverLogsPermissionArn"),
                    "logGroupName": group,
                    "maxAggregationInterval": ec2._p(params, "MaxAggregationInterval") or "600",
                }
        return answer

    def describe_flow_logs(params: Parameters) -> Any:
        status, headers, body = describe(params)
        text = body.decode()
        for id, log in ec2._flow_logs.items():
            mark = f"<flowLogId>{id}</flowLogId>"
            text = text.replace(mark, mark + _query_xml(log.get("extra", {})))
        return status, headers, text.encode()

    ec2._ACTION_MAP["CreateFlowLogs"] = create_flow_logs
    ec2._ACTION_MAP["DescribeFlowLogs"] = describe_flow_logs


def _mend_function_credentials() -> None:
    """A function's access key: its role's name, which the access trail takes for who calls.

    MiniStack gives it the account's number, by which it tells accounts apart; that stays so for
    every account but the one that any other key belongs to.
    """
    from ministack.core import lambda_runtime
    from ministack.core.responses import get_account_id
    from ministack.services import lambda_svc

    own, credentials = get_account_id(), lambda_runtime.execution_credentials

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = credentials(config)
        role = config.get("Role", "").rpartition("/")[2]
        if role and found["AWS_ACCESS_KEY_ID"] == own:
            found["AWS_ACCESS_KEY_ID"] = role
        return found

    lambda_runtime.execution_credentials = execution_credentials
    lambda_svc.execution_credentials = execution_credentials


def _mend_invoke_configs() -> None:
    """A function's settings for asynchronous invocations that were not given are not told."""
    from ministack.services import lambda_svc

    put = lambda_svc._put_event_invoke_config

    def put_event_invoke_config(name: str, qualifier: str | None, data: dict[str, Any]) -> Any:
        answer = put(name, qualifier, data)
        if answer[0] != 200:
            return answer
        config = lambda_svc._event_invoke_config(lambda_svc._functions[name], qualifier)
        for member in ("MaximumEventAgeInSeconds", "MaximumRetryAttempts"):
            if data.get(member) is None:
                config.pop(member, None)
        return lambda_svc.json_response(config)

    lambda_svc._put_event_invoke_config = put_event_invoke_config


def _mend_log_keys() -> None:
    """A log group's key that comes, or goes, after the group was made."""
    from ministack.services import cloudwatch_logs

    handle = cloudwatch_logs.handle_request

    async def handle_request(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Parameters
    ) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action not in ("AssociateKmsKey", "DisassociateKmsKey"):
            return await handle(method, path, headers, body, query)
        request = json.loads(body)
        name = request.get("logGroupName") or request["resourceIdentifier"].rpartition(":")[2]
        group = cloudwatch_logs._log_groups.get(name)
        if group is None:
            return cloudwatch_logs.error_response_json(
                "ResourceNotFoundException", "The specified log group does not exist.", 400
            )
        group["kmsKeyId"] = request.get("kmsKeyId")
        return cloudwatch_logs.json_response({})

    cloudwatch_logs.handle_request = handle_request


def _mend_metric_dimensions() -> None:
    """A metric without dimensions is one metric, not all of its name together."""
    from ministack.services import cloudwatch

    class Dimensions(dict[str, str]):
        def __bool__(self) -> bool:
            return True  # MiniStack takes what is false for "any"

    from_list = cloudwatch._dims_from_list
    cloudwatch._dims_from_list = lambda given: Dimensions(from_list(given))


def _mend_prefix_list_rules() -> None:
    """A security group's rule for a prefix list (S3's, say) instead of an address range."""
    from ministack.services import ec2

    parse, rule_xml = ec2._parse_ip_permissions, ec2._sg_rule_xml

    def parse_ip_permissions(params: Parameters, prefix: str) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = parse(params, prefix)
        for number, rule in enumerate(rules, 1):
            start = f"{prefix}.{number}.PrefixListIds.1"
            if id := ec2._p(params, f"{start}.PrefixListId"):
                entry = {"PrefixListId": id, "Description": ec2._p(params, f"{start}.Description")}
                rule["PrefixListIds"] = [entry]
        return rules

    def sg_rule_xml(group: str, rule: dict[str, Any], is_egress: bool = False) -> str:
        text: str = rule_xml(group, rule, is_egress)
        for entry in rule.get("PrefixListIds", []):
            more = f"<prefixListId>{entry['PrefixListId']}</prefixListId>"
            text = text.replace("<groupId>", f"{more}<groupId>", 1)
        return text

    ec2._parse_ip_permissions = parse_ip_permissions
    ec2._sg_rule_xml = sg_rule_xml


def _mend_streams() -> None:
    """A Kinesis stream's tags given at its creation, and its shard-level metrics."""
    from ministack.services import kinesis

    create = kinesis._create_stream

    def create_stream(data: dict[str, Any]) -> Any:
        answer = create(data)
        if answer[0] == 200:
            kinesis._streams[data["StreamName"]]["tags"].update(data.get("Tags") or {})
        return answer

    def with_metrics(describe: Any, member: str) -> Any:
        def answer(data: dict[str, Any]) -> Any:
            status, headers, body = describe(data)
            _, stream = kinesis._resolve_stream(data)
            if status == 200 and stream:
                found = json.loads(body)
                metrics = stream.get("ShardLevelMetrics", [])
                found[member]["EnhancedMonitoring"] = [{"ShardLevelMetrics": metrics}]
                body = json.dumps(found).encode()
            return status, headers, body

        return answer

    kinesis._create_stream = create_stream
    for name, member in (
        ("_describe_stream", "StreamDescription"),
        ("_describe_stream_summary", "StreamDescriptionSummary"),
    ):
        setattr(kinesis, name, with_metrics(getattr(kinesis, name), member))


def _mend_usage_plans() -> None:
    """A usage plan without a quota or a throttle has none, not empty ones."""
    from ministack.services import apigateway_v1

    create = apigateway_v1._create_usage_plan

    def create_usage_plan(data: dict[str, Any]) -> Any:
        status, headers, body = create(data)
        kept = {
            name: value
            for name, value in json.loads(body).items()
            if name not in ("quota", "throttle") or value
        }
        apigateway_v1._usage_plans[kept["id"]] = kept
        return status, headers, json.dumps(kept).encode()

    apigateway_v1._create_usage_plan = create_usage_plan
