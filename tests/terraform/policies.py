"""What must hold of every plan: rules that a scanner does not know, each named after what it asks.

A rule reads Terraform's own JSON of a plan and yields a sentence for each resource that breaks it.
`docs/security.md` says which control of AWS's Foundational Security Best Practices each one keeps.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Rule = Callable[["Plan"], Iterator[str]]
RULES: dict[str, Rule] = {}

#: Actions for which AWS's service authorization reference defines no resource.
WITHOUT_RESOURCE = {
    "cloudwatch:PutMetricData",
    "logs:DescribeLogGroups",
    "redshift-data:CancelStatement",
    "redshift-data:DescribeStatement",
    "redshift-data:GetStatementResult",
    "s3:GetAccountPublicAccessBlock",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
#: What carries a policy: of somebody who acts, and of something that is acted on.
IDENTITY_POLICIES = ("iam_role_policy", "iam_policy")
RESOURCE_POLICIES = (
    "cloudwatch_event_bus_policy",
    "kms_key",
    "s3_bucket_policy",
    "sns_topic_policy",
    "sqs_queue_policy",
)
#: AWS's own policies that a role may carry: each is what one service documents for one role.
AWS_POLICIES = {"arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"}
#: Services whose documented trust names no account: none can be given another account's role.
WITHOUT_SOURCE = {"apigateway.amazonaws.com"}
#: What may be asked without API Gateway's key: the function asks a beacon for it.
WITHOUT_KEY = {"GET /health", "OPTIONS /beacon", "OPTIONS /events", "POST /beacon"}
PROMISES = {
    "firehose-direct-stale",
    "firehose-direct-failing",
    "firehose-from_kinesis-stale",
    "firehose-from_kinesis-failing",
    "firehose-throttled",
    "kinesis-behind",
    "kinesis-throttled",
    "glue-failed",
    "glue-slow",
    "model-failed",
    "model-slow",
    "athena-failed",
    "athena-slow",
    "redshift-failed",
    "dead-letters",
    "collector-failing",
    "collector-slow",
    "collector-throttled",
    "stream-behind",
    "stream-failing",
    "stream-failures",
    "clock-failing",
    "react-failing",
}
_SECRET = re.compile(r"pass(word|wd|phrase)|secret|token|api[-_]?key|credential", re.I)
_YEAR_DAYS = 365
_GLUE_OLDEST = (5, 0)
_PYTHON_OLDEST = (3, 12)


@dataclass(frozen=True)
class Resource:
    """One planned resource: its address, type, name and attributes."""

    address: str
    type: str
    name: str
    values: dict[str, Any]


class Plan:
    """A plan's resources, as `terraform show -json` has them."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.variables = {name: v.get("value") for name, v in document["variables"].items()}
        self.resources = list(_resources(document["planned_values"]["root_module"]))

    def of(self, kind: str, name: str | None = None) -> list[Resource]:
        """The resources of a type (aws_ left out), all or those of one name."""
        return [
            resource
            for resource in self.resources
            if resource.type == f"aws_{kind}" and name in (None, resource.name)
        ]

    def statements(self, *kinds: str) -> Iterator[tuple[Resource, dict[str, Any]]]:
        """Every statement of the policies that resources of these types carry."""
        for resource in (found for kind in kinds for found in self.of(kind)):
            for statement in statements(resource.values):
                yield resource, statement


def _resources(module: dict[str, Any]) -> Iterator[Resource]:
    for found in module.get("resources", []):
        if found["mode"] == "managed":
            yield Resource(found["address"], found["type"], found["name"], found.get("values", {}))
    for child in module.get("child_modules", []):
        yield from _resources(child)


def statements(values: dict[str, Any]) -> list[dict[str, Any]]:
    """A policy's statements; none for one that only an apply would tell (see `unread`)."""
    return json.loads(values["policy"])["Statement"] if "policy" in values else []


def unread(plan: Plan) -> list[str]:
    """Policies that only an apply would tell: of these the rules can say nothing."""
    kinds = (*IDENTITY_POLICIES, *RESOURCE_POLICIES)
    found = (resource for kind in kinds for resource in plan.of(kind))
    return [resource.address for resource in found if not resource.values.get("policy")]


def findings(plan: Plan) -> list[str]:
    """What every rule says of a plan; empty when all of them hold."""
    return [f"{name}: {found}" for name, rule in RULES.items() for found in rule(plan)]


def rule(check: Rule) -> Rule:
    """Register a rule under its function's name."""
    RULES[check.__name__] = check
    return check


def listed(value: Any) -> list[Any]:
    """A policy's member that may stand alone or in a list."""
    return value if isinstance(value, list) else [value]


# ------------------------------------------------------------------ buckets


def _buckets(plan: Plan) -> list[str]:
    names = [bucket.values["bucket"] for bucket in plan.of("s3_bucket")]
    assert len(names) >= 5, "a plan without the five buckets says nothing"
    return names


def _each_bucket(plan: Plan, kind: str, holds: Callable[[dict[str, Any]], bool]) -> Iterator[str]:
    found = {item.values["bucket"]: item.values for item in plan.of(kind)}
    for bucket in _buckets(plan):
        if bucket not in found or not holds(found[bucket]):
            yield f"{bucket} has no fitting aws_{kind}"


@rule
def buckets_refuse_requests_without_tls(plan: Plan) -> Iterator[str]:
    """FSBP S3.5."""

    def holds(values: dict[str, Any]) -> bool:
        arn = f"arn:aws:s3:::{values['bucket']}"
        return any(
            statement["Effect"] == "Deny"
            and statement["Action"] == "s3:*"
            and statement["Principal"] == "*"
            and set(listed(statement["Resource"])) == {arn, f"{arn}/*"}
            and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            for statement in statements(values)
        )

    yield from _each_bucket(plan, "s3_bucket_policy", holds)


@rule
def buckets_refuse_other_keys(plan: Plan) -> Iterator[str]:
    """An upload that names a key names ours."""
    header = "s3:x-amz-server-side-encryption"

    def holds(values: dict[str, Any]) -> bool:
        return any(
            statement["Effect"] == "Deny"
            and "s3:PutObject" in listed(statement["Action"])
            and statement["Principal"] == "*"
            and statement.get("Condition")
            == {
                "Null": {header: "false"},
                "StringNotEqualsIfExists": {f"{header}-aws-kms-key-id": _data_key(plan)},
            }
            for statement in statements(values)
        )

    yield from _each_bucket(plan, "s3_bucket_policy", holds)


@rule
def buckets_encrypt_with_our_key(plan: Plan) -> Iterator[str]:
    """FSBP S3.17."""

    def holds(values: dict[str, Any]) -> bool:
        (default,) = values["rule"][0]["apply_server_side_encryption_by_default"]
        return default["sse_algorithm"] == "aws:kms" and default["kms_master_key_id"] == _data_key(
            plan
        )

    yield from _each_bucket(plan, "s3_bucket_server_side_encryption_configuration", holds)


@rule
def buckets_are_private(plan: Plan) -> Iterator[str]:
    """FSBP S3.1, S3.2, S3.3 and S3.8."""
    blocks = (
        "block_public_acls",
        "block_public_policy",
        "ignore_public_acls",
        "restrict_public_buckets",
    )
    yield from _each_bucket(
        plan, "s3_bucket_public_access_block", lambda values: all(values[name] for name in blocks)
    )


@rule
def buckets_have_no_acls(plan: Plan) -> Iterator[str]:
    """FSBP S3.12."""
    yield from _each_bucket(
        plan,
        "s3_bucket_ownership_controls",
        lambda values: values["rule"][0]["object_ownership"] == "BucketOwnerEnforced",
    )


@rule
def buckets_keep_versions(plan: Plan) -> Iterator[str]:
    """FSBP S3.14."""
    yield from _each_bucket(
        plan,
        "s3_bucket_versioning",
        lambda values: values["versioning_configuration"][0]["status"] == "Enabled",
    )


@rule
def buckets_tidy_up(plan: Plan) -> Iterator[str]:
    """FSBP S3.13: torn uploads go, and old versions."""
    yield from _each_bucket(
        plan,
        "s3_bucket_lifecycle_configuration",
        lambda values: (
            all(
                rule["status"] == "Enabled" and rule["abort_incomplete_multipart_upload"]
                for rule in values["rule"]
            )
            and any(rule["noncurrent_version_expiration"] for rule in values["rule"])
        ),
    )


@rule
def raw_events_outlive_the_replay_window(plan: Plan) -> Iterator[str]:
    """Whatever may have to be processed again is there."""
    for lifecycle in plan.of("s3_bucket_lifecycle_configuration"):
        if "-raw-" in lifecycle.values["bucket"]:
            for expiry in (e for rule in lifecycle.values["rule"] for e in rule["expiration"]):
                if expiry["days"] and expiry["days"] < plan.variables["replay_window_days"]:
                    yield f"{lifecycle.address} deletes raw events after {expiry['days']} days"


@rule
def protected_buckets_refuse_deletion(plan: Plan) -> Iterator[str]:
    """Deletion protection, where the environment asks for it; only the eraser is let through."""
    if not plan.variables["is_protected"]:
        return
    (eraser,) = (role.values["name"] for role in plan.of("iam_role", "eraser"))
    arn = f"arn:aws:iam::{plan.variables['account_id']}:role/{eraser}"

    def holds(values: dict[str, Any]) -> bool:
        denials = [
            (action, statement.get("Condition"))
            for statement in statements(values)
            if statement["Effect"] == "Deny" and statement["Principal"] == "*"
            for action in listed(statement["Action"])
        ]
        needed = [("s3:DeleteBucket", None)]
        if "-raw-" in values["bucket"]:
            exempt = {"ArnNotEquals": {"aws:PrincipalArn": arn}}
            needed.append(("s3:DeleteObjectVersion", exempt))
        return all(each in denials for each in needed)

    yield from _each_bucket(plan, "s3_bucket_policy", holds)


@rule
def code_changes_buckets_only_on_demand(plan: Plan) -> Iterator[str]:
    """Nothing empties a bucket by the way: only `make destroy` does, after a name was typed."""
    for bucket in plan.of("s3_bucket"):
        if bucket.values["force_destroy"]:
            yield f"{bucket.address} has force_destroy"


# ------------------------------------------------------------------ permissions


@rule
def permissions_name_their_actions(plan: Plan) -> Iterator[str]:
    """FSBP IAM.1 and IAM.21: no wildcard in any action that is allowed."""
    for resource, statement in plan.statements(*IDENTITY_POLICIES, *RESOURCE_POLICIES):
        for action in listed(statement.get("Action", "*")):
            if statement["Effect"] == "Allow" and "*" in action:
                yield f"{resource.address} allows {action}"


@rule
def permissions_name_their_resources(plan: Plan) -> Iterator[str]:
    """`*` stands only where AWS defines no resource."""
    for resource, statement in plan.statements("iam_role_policy", "iam_policy"):
        for place in listed(statement["Resource"]):
            is_everything = place == "*" or place.endswith((":*:*", ":::*"))
            actions = set(listed(statement["Action"]))
            if statement["Effect"] == "Allow" and is_everything and actions - WITHOUT_RESOURCE:
                yield f"{resource.address} allows {sorted(actions - WITHOUT_RESOURCE)} on {place}"


@rule
def no_role_deletes_raw_events(plan: Plan) -> Iterator[str]:
    """Raw is what everything else can be made from again."""
    (raw,) = (b.values["arn"] for b in plan.of("s3_bucket") if "-raw-" in b.values["bucket"])
    for resource, statement in plan.statements("iam_role_policy", "iam_policy"):
        deletes = [
            action
            for action in listed(statement["Action"])
            if action.startswith("s3:Delete") or fnmatch.fnmatchcase("s3:DeleteObject", action)
        ]
        if resource.name == "eraser":
            deletes = [action for action in deletes if action != "s3:DeleteObjectVersion"]
        for place in listed(statement["Resource"]):
            if deletes and fnmatch.fnmatchcase(f"{raw}/clickstream/x", place):
                yield f"{resource.address} allows {deletes} on {place}"


@rule
def only_the_eraser_changes_what_arrived(plan: Plan) -> Iterator[str]:
    """Old versions are nobody else's to read, those of raw not to list or delete either, and what
    Firehose wrote is not to be written anew. (Airflow deletes what the life cycle rules expire.)
    """
    (raw,) = (b.values["arn"] for b in plan.of("s3_bucket") if "-raw-" in b.values["bucket"])
    for resource, statement in plan.statements("iam_role_policy", "iam_policy"):
        actions = set(listed(statement["Action"]))
        places = listed(statement["Resource"])
        is_raw = any(
            fnmatch.fnmatchcase(name, place)
            for place in places
            for name in (raw, f"{raw}/clickstream/x")
        )
        versions = {"s3:GetObjectVersion"}
        if is_raw:
            versions |= {"s3:DeleteObjectVersion", "s3:ListBucketVersions"}
        if resource.name != "eraser" and actions & versions:
            yield f"{resource.address} allows {sorted(actions & versions)}"
        if resource.name not in ("eraser", "firehose") and is_raw and "s3:PutObject" in actions:
            yield f"{resource.address} allows s3:PutObject on raw events"


@rule
def roles_are_taken_on_by_named_principals(plan: Plan) -> Iterator[str]:
    """A service takes a role on for this account only; nobody else is let in by a wildcard."""
    for role in plan.of("iam_role"):
        for statement in json.loads(role.values["assume_role_policy"])["Statement"]:
            if statement["Principal"] not in [{"Service": name} for name in WITHOUT_SOURCE]:
                yield from _named_principals(role.address, statement, plan)


@rule
def roles_carry_policies_of_ours(plan: Plan) -> Iterator[str]:
    """What somebody else has written allows more than is asked for, and changes."""
    for attached in plan.of("iam_role_policy_attachment"):
        arn = attached.values["policy_arn"]
        if f":{plan.variables['account_id']}:" not in arn and arn not in AWS_POLICIES:
            yield f"{attached.address} gives {arn}"


@rule
def resources_trust_services_of_this_account_only(plan: Plan) -> Iterator[str]:
    """FSBP SNS.4, SQS.3 and KMS.5: the confused deputy finds no open door, on no bus either."""
    for resource, statement in plan.statements(*RESOURCE_POLICIES):
        if statement["Effect"] == "Allow":
            yield from _named_principals(resource.address, statement, plan)


def _named_principals(address: str, statement: dict[str, Any], plan: Plan) -> Iterator[str]:
    principal = statement["Principal"]
    if principal == "*" or "*" in [p for ps in principal.values() for p in listed(ps)]:
        yield f"{address} lets anybody in"
    elif "Service" in principal:
        account, condition = plan.variables["account_id"], statement.get("Condition", {})
        groups = listed(condition.get("ArnLike", {}).get("kms:EncryptionContext:aws:logs:arn", "*"))
        is_own_log_group = all(f":{account}:log-group:" in group for group in groups)
        if condition != {"StringEquals": {"aws:SourceAccount": account}} and not is_own_log_group:
            yield f"{address} trusts {principal['Service']} of any account"


@rule
def nothing_carries_a_secret(plan: Plan) -> Iterator[str]:
    """FSBP Lambda's and Glue's: settings that anybody may read hold no password."""
    for resource in plan.resources:
        for name in ("default_arguments", "airflow_configuration_options", "environment"):
            settings = resource.values.get(name) or {}
            if isinstance(settings, list):
                settings = {
                    k: v for block in settings for k, v in (block["variables"] or {}).items()
                }
            for key in settings:
                if _SECRET.search(key):
                    yield f"{resource.address} carries {key}"


# ------------------------------------------------------------------ streams


@rule
def delivery_streams_are_encrypted_and_logged(plan: Plan) -> Iterator[str]:
    """FSBP DataFirehose.1; what cannot be delivered lies apart from the table."""
    streams = plan.of("kinesis_firehose_delivery_stream")
    assert len(streams) == 2
    for stream in streams:
        (s3,) = stream.values["extended_s3_configuration"]
        log = s3["cloudwatch_logging_options"]
        encryption = stream.values["server_side_encryption"]
        if not stream.values["kinesis_source_configuration"] and (
            not encryption
            or not encryption[0]["enabled"]
            or encryption[0]["key_arn"] != _data_key(plan)
        ):
            yield f"{stream.address} does not encrypt with our key"
        if s3["kms_key_arn"] != _data_key(plan):
            yield f"{stream.address} delivers without our key"
        if not s3["error_output_prefix"] or s3["error_output_prefix"].startswith(
            s3["prefix"].split("year=")[0]
        ):
            yield f"{stream.address} has no error prefix apart from its data"
        if not log or not log[0]["enabled"] or not log[0]["log_group_name"]:
            yield f"{stream.address} does not log"
        if s3["compression_format"] != "GZIP":
            yield f"{stream.address} does not compress"


@rule
def event_streams_are_encrypted_and_keep_a_week(plan: Plan) -> Iterator[str]:
    """FSBP Kinesis.1 and Kinesis.3."""
    streams = plan.of("kinesis_stream")
    assert streams
    for stream in streams:
        if stream.values["encryption_type"] != "KMS" or stream.values["kms_key_id"] != _data_key(
            plan
        ):
            yield f"{stream.address} does not encrypt with our key"
        if stream.values["retention_period"] < 168:
            yield f"{stream.address} keeps {stream.values['retention_period']} hours"


@rule
def a_bad_record_holds_nothing_up(plan: Plan) -> Iterator[str]:
    """A batch that fails is halved and tried again, and in the end set aside; a shard goes on."""
    mappings = plan.of("lambda_event_source_mapping")
    assert mappings
    for mapping in mappings:
        values = mapping.values
        if not values["destination_config"] or not values["destination_config"][0]["on_failure"]:
            yield f"{mapping.address} loses what it cannot handle"
        if not 0 <= values["maximum_retry_attempts"] <= 100:
            yield f"{mapping.address} tries without end"
        if not 0 < values["maximum_record_age_in_seconds"] <= 24 * 3600:
            yield f"{mapping.address} tries for days"
        if not values["bisect_batch_on_function_error"]:
            yield f"{mapping.address} gives up whole batches"
        if "ReportBatchItemFailures" not in (values["function_response_types"] or []):
            yield f"{mapping.address} does not say which record failed"


@rule
def buses_say_who_may_tell(plan: Plan) -> Iterator[str]:
    """FSBP EventBridge.3."""
    buses = plan.of("cloudwatch_event_bus")
    assert buses
    named = {policy.values["event_bus_name"] for policy in plan.of("cloudwatch_event_bus_policy")}
    for bus in buses:
        if bus.values["name"] not in named:
            yield f"{bus.address} has no policy"


# ------------------------------------------------------------------ functions


def _functions(plan: Plan) -> list[Resource]:
    found = plan.of("lambda_function")
    assert len(found) >= 4, "a plan without the four functions says nothing"
    return found


@rule
def functions_run_on_a_supported_python(plan: Plan) -> Iterator[str]:
    """FSBP Lambda.2."""
    for function in _functions(plan):
        name, _, version = function.values["runtime"].partition("3.")
        if name != "python" or (3, int(version)) < _PYTHON_OLDEST:
            yield f"{function.address} runs on {function.values['runtime']}"


@rule
def functions_are_encrypted_logged_and_limited(plan: Plan) -> Iterator[str]:
    """Settings under our key, a log that we made, traces, a limit, and a place for what fails."""
    (key,) = (key.values["arn"] for key in plan.of("kms_key", "operations"))
    groups = {group.values["name"] for group in plan.of("cloudwatch_log_group")}
    for function in _functions(plan):
        values = function.values
        if values["kms_key_arn"] != key:
            yield f"{function.address} does not encrypt with our key"
        if not values["logging_config"] or values["logging_config"][0]["log_group"] not in groups:
            yield f"{function.address} logs where nobody looks"
        if not values["tracing_config"] or values["tracing_config"][0]["mode"] != "Active":
            yield f"{function.address} leaves no traces"
        if values["reserved_concurrent_executions"] < 1:
            yield f"{function.address} may use up the account, or never runs"
        if not values["dead_letter_config"]:
            yield f"{function.address} loses what fails"


@rule
def functions_are_invoked_from_here_only(plan: Plan) -> Iterator[str]:
    """FSBP Lambda.1: each by one thing of this account, and none by an address of its own."""
    place = rf"arn:aws:[a-z-]+:[a-z0-9-]+:{plan.variables['account_id']}:[^*]+(/\*)?"
    permissions = plan.of("lambda_permission")
    assert permissions
    for permission in permissions:
        values = permission.values
        if not values["principal"].endswith(".amazonaws.com"):
            yield f"{permission.address} lets {values['principal']} in"
        if not re.fullmatch(place, values["source_arn"] or ""):
            yield f"{permission.address} lets {values['source_arn']} invoke"
    for url in plan.of("lambda_function_url"):
        yield f"{url.address} opens a function to the internet"


# ------------------------------------------------------------------ the collector's API


def _stages(plan: Plan) -> list[Resource]:
    found = plan.of("api_gateway_stage")
    assert found, "a plan without the API's stage says nothing"
    return found


@rule
def browsers_send_events_with_a_key(plan: Plan) -> Iterator[str]:
    """API Gateway asks for it, and knows which plan it belongs to."""
    paths = {place.values["id"]: place.values["path"] for place in plan.of("api_gateway_resource")}
    methods = plan.of("api_gateway_method")
    assert methods
    for method in methods:
        place = f"{method.values['http_method']} {paths[method.values['resource_id']]}"
        if not method.values["api_key_required"] and place not in WITHOUT_KEY:
            yield f"{method.address} lets anybody in"
    if not plan.of("api_gateway_usage_plan_key"):
        yield "no key belongs to a usage plan"


@rule
def the_api_is_logged_traced_and_throttled(plan: Plan) -> Iterator[str]:
    """FSBP APIGateway.1 and APIGateway.3; its logs hold no event, no address and no key."""
    settings = {
        (found.values["stage_name"], found.values["method_path"]): found.values["settings"][0]
        for found in plan.of("api_gateway_method_settings")
    }
    for stage in _stages(plan):
        logs = stage.values["access_log_settings"]
        if not logs or not logs[0]["destination_arn"]:
            yield f"{stage.address} has no access log"
        elif re.search(r"identity|querystring|\.path\b|request\.", logs[0]["format"]):
            yield f"{stage.address} logs who asked"
        if not stage.values["xray_tracing_enabled"]:
            yield f"{stage.address} leaves no traces"
        its_own = settings.get((stage.values["stage_name"], "*/*"))
        if its_own is None:
            yield f"{stage.address} has no settings for its methods"
            continue
        if its_own["logging_level"] not in ("ERROR", "INFO"):
            yield f"{stage.address} does not log its errors"
        if its_own["data_trace_enabled"]:
            yield f"{stage.address} logs events"
        if its_own["throttling_rate_limit"] <= 0 or its_own["throttling_burst_limit"] <= 0:
            yield f"{stage.address} takes requests without limit"
    for usage in plan.of("api_gateway_usage_plan"):
        if not usage.values["throttle_settings"]:
            yield f"{usage.address} has no throttle"


@rule
def the_api_is_behind_a_firewall(plan: Plan) -> Iterator[str]:
    """FSBP APIGateway.4, WAF.10 and WAF.12: no address uses up what all may send."""
    guarded = {found.values["resource_arn"] for found in plan.of("wafv2_web_acl_association")}
    for stage in _stages(plan):
        if stage.values.get("arn") not in guarded:
            yield f"{stage.address} has no firewall"
    logged = {found.name: found.values for found in plan.of("wafv2_web_acl_logging_configuration")}
    for firewall in plan.of("wafv2_web_acl"):
        rules = firewall.values["rule"]
        if not any(
            each["statement"][0]["rate_based_statement"] and each["action"][0]["block"]
            for each in rules
        ):
            yield f"{firewall.address} lets one address use up the throttle"
        for each in rules:
            if each["override_action"] and each["override_action"][0]["count"]:
                yield f"{firewall.address} only counts what {each['name']} finds"
            if not each["visibility_config"][0]["cloudwatch_metrics_enabled"]:
                yield f"{firewall.address} does not count what {each['name']} finds"
        redacted = logged.get(firewall.name, {}).get("redacted_fields", [])
        headers = [each["name"] for field in redacted for each in field["single_header"]]
        if "x-api-key" not in headers or not any(field["query_string"] for field in redacted):
            yield f"{firewall.address} does not log, or logs the key"


# ------------------------------------------------------------------ live tables


def _tables(plan: Plan) -> list[Resource]:
    found = plan.of("dynamodb_table")
    assert len(found) >= 2, "a plan without the two tables says nothing"
    return found


@rule
def tables_are_encrypted_and_forget(plan: Plan) -> Iterator[str]:
    """FSBP DynamoDB.1 and DynamoDB.2; what is live is not kept."""
    for table in _tables(plan):
        values = table.values
        encryption, recovery = values["server_side_encryption"], values["point_in_time_recovery"]
        if not encryption or encryption[0]["kms_key_arn"] != _data_key(plan):
            yield f"{table.address} does not encrypt with our key"
        if not recovery or not recovery[0]["enabled"]:
            yield f"{table.address} cannot be set back"
        elif recovery[0]["recovery_period_in_days"] != 1:
            yield f"{table.address} has people in its backups whom it has forgotten"
        if not values["ttl"] or not values["ttl"][0]["enabled"]:
            yield f"{table.address} keeps rows for ever"
        if values["billing_mode"] != "PAY_PER_REQUEST":
            yield f"{table.address} does not grow with what is asked"


@rule
def protected_tables_refuse_deletion(plan: Plan) -> Iterator[str]:
    """FSBP DynamoDB.6, where the environment asks for it."""
    for table in _tables(plan):
        if plan.variables["is_protected"] and not table.values["deletion_protection_enabled"]:
            yield f"{table.address} may be deleted"


# ------------------------------------------------------------------ engines


@rule
def glue_is_current_and_encrypted(plan: Plan) -> Iterator[str]:
    """FSBP Glue.3 and Glue.4."""
    jobs, crawlers = plan.of("glue_job"), plan.of("glue_crawler")
    assert jobs
    assert crawlers
    for runner in jobs + crawlers:
        if not runner.values["security_configuration"]:
            yield f"{runner.address} has no security configuration"
    for job in jobs:
        version = tuple(int(part) for part in job.values["glue_version"].split("."))
        if version < _GLUE_OLDEST:
            yield f"{job.address} runs on Glue {job.values['glue_version']}"
        if job.values["execution_property"][0]["max_concurrent_runs"] != 1:
            yield f"{job.address} may rewrite an hour twice at once"
        if not job.values["timeout"] or job.values["timeout"] > 24 * 60:
            yield f"{job.address} may run for days"
    for configuration in plan.of("glue_security_configuration"):
        (modes,) = configuration.values["encryption_configuration"]
        if (
            modes["cloudwatch_encryption"][0]["cloudwatch_encryption_mode"] != "SSE-KMS"
            or modes["job_bookmarks_encryption"][0]["job_bookmarks_encryption_mode"] != "CSE-KMS"
            or modes["s3_encryption"][0]["s3_encryption_mode"] != "SSE-KMS"
        ):
            yield f"{configuration.address} leaves something unencrypted"


@rule
def crawlers_take_nothing_away(plan: Plan) -> Iterator[str]:
    """A crawler that deletes would drop tables that analysts use."""
    for crawler in plan.of("glue_crawler"):
        if crawler.values["schema_change_policy"][0]["delete_behavior"] != "LOG":
            yield f"{crawler.address} deletes"


@rule
def athena_limits_and_encrypts(plan: Plan) -> Iterator[str]:
    """FSBP Athena.4; a query has a price limit and cannot choose where its result goes."""
    groups = plan.of("athena_workgroup")
    assert groups
    for group in groups:
        (settings,) = group.values["configuration"]
        if not settings["enforce_workgroup_configuration"]:
            yield f"{group.address} lets a query choose its own settings"
        if not settings["bytes_scanned_cutoff_per_query"]:
            yield f"{group.address} has no cut-off"
        if not settings["publish_cloudwatch_metrics_enabled"]:
            yield f"{group.address} publishes no metrics"
        encryption = settings["result_configuration"][0]["encryption_configuration"]
        if (
            not encryption
            or encryption[0]["encryption_option"] != "SSE_KMS"
            or encryption[0]["kms_key_arn"] != _data_key(plan)
        ):
            yield f"{group.address} does not encrypt with our key"


@rule
def redshift_is_private_encrypted_and_logged(plan: Plan) -> Iterator[str]:
    """FSBP RedshiftServerless.1 to .7."""
    groups, namespaces = (
        plan.of("redshiftserverless_workgroup"),
        plan.of("redshiftserverless_namespace"),
    )
    assert groups
    assert namespaces
    for group in groups:
        parameters = {
            parameter["parameter_key"]: parameter["parameter_value"]
            for parameter in group.values["config_parameter"]
        }
        if group.values["publicly_accessible"]:
            yield f"{group.address} is public"
        if not group.values["enhanced_vpc_routing"]:
            yield f"{group.address} leaves the network"
        if parameters.get("require_ssl") != "true":
            yield f"{group.address} takes connections without TLS"
        if len(group.values["subnet_ids"]) < 3:
            yield f"{group.address} is in fewer than three zones"
        if group.values["max_capacity"] in (None, 0):
            yield f"{group.address} has no greatest capacity"
    for namespace in namespaces:
        if namespace.values["kms_key_id"] != _data_key(plan):
            yield f"{namespace.address} does not encrypt with our key"
        if set(namespace.values["log_exports"]) != {"connectionlog", "useractivitylog", "userlog"}:
            yield f"{namespace.address} does not export all its logs"
        if not namespace.values["manage_admin_password"]:
            yield f"{namespace.address} has a password that somebody typed"
        if namespace.values["admin_username"] in (None, "admin"):
            yield f"{namespace.address} has the default administrator"
        if namespace.values["db_name"] in (None, "dev"):
            yield f"{namespace.address} has the default database"
    if not plan.of("redshiftserverless_usage_limit"):
        yield "the warehouse has no usage limit"


# ------------------------------------------------------------------ keys, alarms, logs


def _data_key(plan: Plan) -> str:
    (key,) = plan.of("kms_key", "data")
    return str(key.values["arn"])


@rule
def keys_rotate_and_outlive_a_mistake(plan: Plan) -> Iterator[str]:
    """FSBP KMS.3 and KMS.4."""
    keys = plan.of("kms_key")
    assert len(keys) >= 2
    for key in keys:
        if not key.values["enable_key_rotation"]:
            yield f"{key.address} does not rotate"
        if key.values["deletion_window_in_days"] != 30:
            yield f"{key.address} is gone after {key.values['deletion_window_in_days']} days"


@rule
def alerts_are_encrypted_and_told_by_tls(plan: Plan) -> Iterator[str]:
    """FSBP SNS.1 and SQS.1."""
    for resource in plan.of("sns_topic") + plan.of("sqs_queue"):
        if not str(resource.values["kms_master_key_id"]).startswith("arn:aws:kms:"):
            yield f"{resource.address} has no key of ours"
    for kind, place, named in (("sns_topic", "arn", "arn"), ("sqs_queue", "queue_url", "url")):
        refusing = {
            policy.values[place]
            for policy, statement in plan.statements(f"{kind}_policy")
            if statement["Effect"] == "Deny"
            and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        }
        for resource in plan.of(kind):
            if resource.values[named] not in refusing:
                yield f"{resource.address} takes messages without TLS"


@rule
def failures_are_told_or_kept(plan: Plan) -> Iterator[str]:
    """Every rule has a target with retries and a dead-letter queue that keeps 14 days, also for
    what a function fails at after the rule has handed it over; once, not twice.
    """
    rules, targets = plan.of("cloudwatch_event_rule"), plan.of("cloudwatch_event_target")
    assert len(rules) >= 3
    if {rule.values["name"] for rule in rules} != {target.values["rule"] for target in targets}:
        yield "a rule has no target"
    for target in targets:
        if not target.values["dead_letter_config"] or not target.values["retry_policy"]:
            yield f"{target.address} loses what it cannot tell"
    patient = {
        patience.values["function_name"]: patience.values
        for patience in plan.of("lambda_function_event_invoke_config")
    }
    for function in _functions(plan):
        name = function.values["function_name"]
        if function.values["arn"] not in {target.values["arn"] for target in targets}:
            continue
        if name not in patient or not patient[name]["maximum_event_age_in_seconds"]:
            yield f"{function.address} tries stale events for hours"
        elif patient[name]["destination_config"]:
            yield f"{function.address} leaves two dead letters"
    for rule in rules:
        if rule.values["state"] == "DISABLED":
            yield f"{rule.address} is off"
    for queue in plan.of("sqs_queue"):
        if queue.values["message_retention_seconds"] != 14 * 24 * 3600:
            yield f"{queue.address} keeps {queue.values['message_retention_seconds']} seconds"


@rule
def every_promise_has_an_alarm(plan: Plan) -> Iterator[str]:
    """FSBP CloudWatch.15 and CloudWatch.17: it rings, and says what to do."""
    alarms = plan.of("cloudwatch_metric_alarm")
    prefix = plan.variables["name_prefix"]
    for missing in PROMISES - {a.values["alarm_name"].removeprefix(f"{prefix}-") for a in alarms}:
        yield f"{missing} has no alarm"
    for alarm in alarms:
        values = alarm.values
        if not values["alarm_actions"] or not values["ok_actions"]:
            yield f"{alarm.address} rings nowhere"
        if values["actions_enabled"] is False:
            yield f"{alarm.address} is switched off"
        if len(values["alarm_description"] or "") < 20:
            yield f"{alarm.address} does not say what to do"
    (dashboard,) = plan.of("cloudwatch_dashboard")
    shown = dashboard.values.get("dashboard_body")  # not known while an alarm changes
    for alarm in alarms:
        if shown and alarm.values["metric_name"] not in shown:
            yield f"{dashboard.address} does not show {alarm.values['metric_name']}"


@rule
def logs_are_encrypted_and_kept_a_year(plan: Plan) -> Iterator[str]:
    """FSBP CloudWatch.16."""
    groups = plan.of("cloudwatch_log_group")
    assert len(groups) >= 5
    for group in groups:
        if not group.values["kms_key_id"]:
            yield f"{group.address} has no key of ours"
        if not group.values["retention_in_days"] or group.values["retention_in_days"] < _YEAR_DAYS:
            yield f"{group.address} keeps {group.values['retention_in_days']} days"


@rule
def spending_is_watched(plan: Plan) -> Iterator[str]:
    """Somebody hears of it before the bill comes."""
    if not any(
        notification["subscriber_sns_topic_arns"]
        for budget in plan.of("budgets_budget")
        for notification in budget.values["notification"]
    ):
        yield "no budget tells anybody"


# ------------------------------------------------------------------ network


@rule
def the_network_has_no_way_in(plan: Plan) -> Iterator[str]:
    """FSBP EC2.2, EC2.6, EC2.15, EC2.18 and EC2.19."""
    networks = plan.of("vpc")
    assert networks
    defaults = plan.of("default_security_group")
    if len(defaults) != len(networks):
        yield "a network's default security group is as AWS made it"
    for group in defaults:
        if group.values["ingress"] or group.values["egress"]:
            yield f"{group.address} lets something through"
    for rule in plan.of("vpc_security_group_ingress_rule"):
        if rule.values["cidr_ipv4"] or rule.values["cidr_ipv6"]:
            yield f"{rule.address} lets addresses in"
    for rule in plan.of("vpc_security_group_egress_rule"):
        is_everywhere = rule.values["cidr_ipv4"] == "0.0.0.0/0" and rule.values["to_port"] != 443
        if is_everywhere or (rule.values["ip_protocol"] == "-1" and rule.values["cidr_ipv4"]):
            yield f"{rule.address} lets everything out"
    for subnet in plan.of("subnet"):
        if subnet.values["map_public_ip_on_launch"]:
            yield f"{subnet.address} gives out public addresses"
    if not any(log.values["traffic_type"] == "ALL" for log in plan.of("flow_log")):
        yield "the network has no flow log"


@rule
def the_network_reaches_s3_and_the_catalog_inside(plan: Plan) -> Iterator[str]:
    """Events never cross the internet on their way into the warehouse."""
    inside = {
        endpoint.values["service_name"].rpartition(".")[2] for endpoint in plan.of("vpc_endpoint")
    }
    for service in {"s3", "glue"} - inside:
        yield f"{service} has no endpoint"


@rule
def everything_says_whose_it_is(plan: Plan) -> Iterator[str]:
    """FSBP's tagging controls: what costs money names its environment."""
    for resource in plan.resources:
        tags = resource.values.get("tags_all")  # None: it takes none, or they are not known yet
        if tags is not None and tags.get("Environment") != plan.variables["name_prefix"]:
            yield f"{resource.address} does not name its environment"
