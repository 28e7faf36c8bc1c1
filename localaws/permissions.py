"""What IAM asks for: the actions and resources that a request needs, by IAM's own reference.

MiniStack has such a mapping for the services it knows; here is what it lacks (Redshift) or has too
coarse for a policy to be compared with (the Glue catalog's three resources, Athena's work groups).
https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

if TYPE_CHECKING:
    from localaws.service import Context

Needed = list[tuple[str, str]]

#: What use of the key goes with an action on what is encrypted with it.
KMS_ACTIONS = {
    "s3:GetObject": "kms:Decrypt",
    "s3:GetObjectVersion": "kms:Decrypt",
    "s3:PutObject": "kms:GenerateDataKey",
    "kinesis:GetRecords": "kms:Decrypt",
    "kinesis:PutRecord": "kms:GenerateDataKey",
    "kinesis:PutRecords": "kms:GenerateDataKey",
}
_KMS_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
#: The folders that are words: dates, ids and partitions below them would be keys without end.
_FOLDERS = re.compile(r"(?:[A-Za-z_.-]+/){0,2}")
#: Glue's actions on jobs and crawlers that IAM knows no resource for.
_WITHOUT_RESOURCE = {
    "CreateCrawler", "GetCrawlerMetrics", "GetCrawlers", "GetJobs", "ListCrawlers", "ListJobs",
}  # fmt: skip
_ON_WORKGROUP = {
    "BatchExecuteStatement", "DescribeTable", "ExecuteStatement", "ListDatabases", "ListSchemas",
    "ListTables",
}  # fmt: skip


def of_request(context: Context, service: str, action: str, request: dict[str, Any]) -> Needed:
    """What an action with a JSON request needs.

    Args:
        context: the embedded AWS.
        service: MiniStack's name of the service, which is mostly the signature's.
        action: the API's action.
        request: the body.
    """
    from ministack.core.iam_actions import SERVICE_TO_IAM_NAMESPACE

    name = f"{SERVICE_TO_IAM_NAMESPACE.get(service, service)}:{action.removesuffix('V2')}"
    if service in _RESOURCES:
        resources = _RESOURCES[service](context, action, request)
    else:
        resources = _as_ministack_says(context, service, action, request)
    needed = [(name, resource) for resource in resources]
    if service == "kinesis" and name in KMS_ACTIONS:
        needed += [(KMS_ACTIONS[name], key) for key in _stream_key(request)]
    if service == "redshift-data" and action in _ON_WORKGROUP and not request.get("SecretArn"):
        needed += [("redshift-serverless:GetCredentials", resource) for resource in resources]
    return needed


def of_http(
    context: Context,
    service: str,
    action: str,
    scope: Mapping[str, Any],
    body: bytes,
    answer: Mapping[str, Any],
) -> Needed:
    """What a request to MiniStack needs.

    Args:
        context: the embedded AWS.
        service: MiniStack's name of the service.
        action: the API's action where a header or the path names it, else empty.
        scope: of ASGI.
        body: may be empty where only an object's bytes are left out.
        answer: ASGI's start of the response.
    """
    from ministack.core import iam_actions

    if action:
        return of_request(context, service, action, _json(body))
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    parameters = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
    if "x-www-form-urlencoded" in headers.get("content-type", ""):
        parameters |= parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    call = (service, scope["method"], scope["path"], headers, body, parameters)
    name = iam_actions.extract_iam_action(*call) or f"{service}:Unknown"
    arn = iam_actions.extract_resource_arn(*call, context.region, context.account)
    if service != "s3":
        return [(name, arn)]
    needed = [(name, arn), *iam_actions.s3_additional_checks(*call[1:4], body, parameters)]
    if scope["method"] == "POST" and "delete" in parameters:
        # MiniStack takes the first key for one without a version.
        bucket = scope["path"].strip("/").partition("/")[0]
        (_, version), *_ = iam_actions._s3_batch_delete_targets(bucket, body) or [("", "")]
        needed[0] = ("s3:DeleteObjectVersion" if version else "s3:DeleteObject", arn)
    if answer["status"] == 404 and name in ("s3:GetObject", "s3:GetObjectVersion"):
        # Only who may list is told that a key is missing; to others it is forbidden.
        needed.append(("s3:ListBucket", arn.partition("/")[0]))
    given = dict(answer.get("headers", ())).get(_KMS_HEADER.encode(), b"").decode()
    found: Needed = []
    for name, arn in needed:
        bucket, slash, key = arn.removeprefix("arn:aws:s3:::").partition("/")
        found.append((name, object_arn(bucket, key) if slash else arn))
        if slash and name in KMS_ACTIONS and scope["method"] != "HEAD" and answer["status"] < 400:
            for kms_key in _key_arn(given) if given else bucket_key(bucket):
                found.append((KMS_ACTIONS[name], kms_key))
                if {"uploads", "uploadId"} & parameters.keys():
                    found.append(("kms:Decrypt", kms_key))  # the parts are put together
    return found


def object_arn(bucket: str, key: str) -> str:
    """An object's folder as a resource, so that there are as few as a policy would name."""
    folders = _FOLDERS.match(key)
    return f"arn:aws:s3:::{bucket}/{folders[0] if folders else ''}*"


def bucket_key(bucket: str) -> Iterator[str]:
    """The KMS key that a bucket's objects are encrypted with, if its use needs a permission."""
    from ministack.services import s3

    yield from _key_arn(s3._bucket_default_sse_headers(bucket).get(_KMS_HEADER, ""))


def _as_ministack_says(
    context: Context, service: str, action: str, request: dict[str, Any]
) -> list[str]:
    from ministack.core import iam_actions

    place = context.region, context.account
    # One request may name several tables, or buses.
    several = {
        "dynamodb": iam_actions.dynamodb_resource_arns,
        "events": iam_actions.eventbridge_resource_arns,
    }
    if service in several and (found := several[service](orjson.dumps(request), *place)):
        return found
    texts = {key: value for key, value in request.items() if isinstance(value, str)}
    target = {"x-amz-target": f".{action}"}
    return [
        iam_actions.extract_resource_arn(
            service, "POST", "/", target, orjson.dumps(texts), {}, *place
        )
    ]


def _glue(context: Context, action: str, request: dict[str, Any]) -> list[str]:
    def arns(kind: str, *names: str) -> list[str]:
        return [context.arn("glue", f"{kind}/{name}") for name in names]

    def named(kind: str) -> str:
        definition = request.get(f"{kind}Input") or {}
        return request.get(f"{kind}Name") or request.get("Name") or definition.get("Name") or "*"

    catalog = [context.arn("glue", "catalog")]
    if "ResourceArn" in request:
        return [request["ResourceArn"]]
    if action in _WITHOUT_RESOURCE:
        return ["*"]
    for kind, plural in (("Job", "JobNames"), ("Crawler", "CrawlerNames")):
        if kind.removesuffix("er") in action:
            return arns(kind.lower(), *(request.get(plural) or [named(kind)]))
    if "Database" in action:
        return catalog + arns("database", named("Database").lower())
    if "Table" in action or "Partition" in action:
        database = request.get("DatabaseName", "*").lower()
        tables = request.get("TablesToDelete") or [named("Table")]
        places = (f"{database}/{table.lower()}" for table in tables)
        return catalog + arns("database", database) + arns("table", *places)
    return ["*"]


def _athena(context: Context, action: str, request: dict[str, Any]) -> list[str]:
    if arn := request.get("ResourceARN"):
        return [arn]
    if action in ("ListDataCatalogs", "ListEngineVersions", "ListWorkGroups"):
        return ["*"]
    if catalog := request.get("CatalogName") or ("DataCatalog" in action and request.get("Name")):
        return [context.arn("athena", f"datacatalog/{catalog}")]
    groups = {request.get("WorkGroup") or ("WorkGroup" in action and request.get("Name"))}
    for member, table in (
        ("QueryExecutionId", "athena_executions"),
        ("NamedQueryId", "athena_named_queries"),
    ):
        known = context.state.table(table)
        ids = request.get(f"{member}s") or filter(None, [request.get(member)])
        groups |= {(known.get(id) or {}).get("WorkGroup", "*") for id in ids}
    named = {group for group in groups if group} or {"primary"}
    return [context.arn("athena", f"workgroup/{group}") for group in sorted(named)]


def _redshift_data(context: Context, action: str, request: dict[str, Any]) -> list[str]:
    if action not in _ON_WORKGROUP:  # of a statement, which IAM has no resource for
        return ["*"]
    return _redshift_serverless(context, action, {"workgroupName": request.get("WorkgroupName")})


def _redshift_serverless(context: Context, action: str, request: dict[str, Any]) -> list[str]:
    if request.get("resourceArn"):
        return [request["resourceArn"]]
    for kind in ("workgroup", "namespace"):
        if name := request.get(f"{kind}Name"):
            known = context.state.table(f"redshift_{kind}s").get(name) or {}
            return [known.get(f"{kind}Arn") or context.arn("redshift-serverless", f"{kind}/*")]
    return ["*"]


def _logs(context: Context, action: str, request: dict[str, Any]) -> list[str]:
    # One name for a group and its streams, which are as many as there are runs.
    group = request.get("logGroupName")
    return [context.arn("logs", f"log-group:{group}:*") if group else "*"]


_RESOURCES = {
    "glue": _glue,
    "athena": _athena,
    "redshift-data": _redshift_data,
    "redshift-serverless": _redshift_serverless,
    "logs": _logs,
}


def _json(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(orjson.JSONDecodeError):
        if isinstance(found := orjson.loads(body), dict):
            return found
    return {}


def _stream_key(request: dict[str, Any]) -> Iterator[str]:
    from ministack.services import kinesis

    _, stream = kinesis._resolve_stream(request)
    if stream and stream.get("EncryptionType") == "KMS":
        yield from _key_arn(stream.get("KeyId", ""))


def _key_arn(key: str) -> Iterator[str]:
    """The ARN of a customer's key; AWS's own (``alias/aws/s3``) are open to their service."""
    if key and "alias/aws/" not in key:
        from ministack.services import kms

        yield (kms._resolve_key(key) or {}).get("Arn", key)
