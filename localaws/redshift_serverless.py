"""Redshift Serverless: namespaces (a database and its roles) and workgroups (what reaches it)."""

from __future__ import annotations

import json
import re
import secrets
import uuid
from datetime import timedelta
from typing import Any

from localaws.service import AwsError, Request, Response, Service, now, page
from localaws.state import Table

NAMESPACES, WORKGROUPS, TAGS, LIMITS = (
    "redshift_namespaces",
    "redshift_workgroups",
    "redshift_serverless_tags",
    "redshift_usage_limits",
)

_NAME = re.compile(r"[a-z0-9-]{3,64}")
_DATABASE = re.compile(r"[a-z][a-z0-9_]{0,126}")
#: Words that SQL cannot use as a database's name, or that this engine uses itself.
_RESERVED_DATABASES = {"temp", "memory", "system", "main", "localaws"}

#: What AWS sets when a workgroup is created without configParameters.
_DEFAULT_PARAMETERS = {
    "auto_mv": "true",
    "datestyle": "ISO, MDY",
    "enable_case_sensitive_identifier": "false",
    "enable_user_activity_logging": "true",
    "query_group": "default",
    "require_ssl": "true",
    "search_path": "$user, public",
    "use_fips_ssl": "false",
    "max_query_execution_time": "14400",
}
_QUOTA_PARAMETERS = {
    "max_query_blocks_read", "max_query_cpu_time", "max_query_cpu_usage_percent",
    "max_query_queue_time", "max_query_temp_blocks_to_disk", "max_scan_row_count",
    "max_return_row_count", "max_nested_loop_join_row_count", "max_join_row_count",
    "wlm_json_configuration",
}  # fmt: skip

_NAMESPACE_MEMBERS = (
    "adminPasswordSecretKmsKeyId", "adminUsername", "defaultIamRoleArn", "iamRoles", "kmsKeyId",
    "logExports",
)  # fmt: skip
_WORKGROUP_MEMBERS = (
    "baseCapacity", "enhancedVpcRouting", "extraComputeForAutomaticOptimization", "ipAddressType",
    "maxCapacity", "port", "pricePerformanceTarget", "publiclyAccessible", "securityGroupIds",
    "subnetIds", "trackName",
)  # fmt: skip


class RedshiftServerless(Service):
    """The control plane. Its passwords open nothing: SQL comes in through the Data API only."""

    scope = "redshift-serverless"

    @property
    def _namespaces(self) -> Table:
        return self.context.state.table(NAMESPACES)

    @property
    def _workgroups(self) -> Table:
        return self.context.state.table(WORKGROUPS)

    # ------------------------------------------------------------ namespaces

    def CreateNamespace(self, request: Request) -> Response:
        """Make a namespace; its database file appears with the first statement."""
        name = _valid_name(request, "namespaceName")
        if name in self._namespaces:
            raise AwsError("ConflictException", f"Namespace {name} already exists.")
        database = request.get("dbName") or "dev"
        if not _DATABASE.fullmatch(database) or database in _RESERVED_DATABASES:
            raise AwsError(
                "ValidationException",
                f"dbName '{database}' must be lower-case letters, digits and _, start with a "
                "letter, and not be a reserved word",
            )
        if request.get("manageAdminPassword") and request.get("adminUserPassword"):
            raise AwsError(
                "ValidationException",
                "adminUserPassword and manageAdminPassword exclude each other",
            )
        identifier = str(uuid.uuid4())
        record = {
            "adminUsername": "admin",
            "creationDate": _date(),
            "dbName": database,
            "iamRoles": [],
            "kmsKeyId": "AWS_OWNED_KMS_KEY",
            "logExports": [],
            "namespaceArn": self.context.arn("redshift-serverless", f"namespace/{identifier}"),
            "namespaceId": identifier,
            "namespaceName": name,
            "status": "AVAILABLE",
            **_given(request, _NAMESPACE_MEMBERS),
        }
        self._check_roles(record)
        if request.get("manageAdminPassword"):
            record["adminPasswordSecretArn"] = self._make_secret(record)
        self._tag(record["namespaceArn"], request.get("tags", []))
        self._namespaces[name] = record
        return {"namespace": record}

    def GetNamespace(self, request: Request) -> Response:
        """Describe a namespace."""
        return {"namespace": self._namespace(request)}

    def ListNamespaces(self, request: Request) -> Response:
        """List namespaces, oldest first."""
        items, token = _page(self._namespaces.values(), request)
        return {"namespaces": items, **token}

    def UpdateNamespace(self, request: Request) -> Response:
        """Change roles, administrator, key or log exports (one kind of change at a time on AWS)."""
        record = self._namespace(request) | _given(request, _NAMESPACE_MEMBERS)
        self._check_roles(record)
        self._namespaces[record["namespaceName"]] = record
        return {"namespace": record}

    def DeleteNamespace(self, request: Request) -> Response:
        """Delete a namespace with its data; no workgroup may use it any more."""
        record = self._namespace(request)
        name = record["namespaceName"]
        if any(group["namespaceName"] == name for group in self._workgroups.values()):
            raise AwsError(
                "ConflictException",
                f"Namespace {name} still has a workgroup; delete the workgroup first.",
            )
        self._namespaces.pop(name)
        if secret := record.get("adminPasswordSecretArn"):
            self.context.client("secretsmanager").delete_secret(
                SecretId=secret, ForceDeleteWithoutRecovery=True
            )
        self.context.state.table(TAGS).pop(record["namespaceArn"])
        for path in (self.context.home / "redshift").glob(f"{name}.duckdb*"):
            path.unlink()
        return {"namespace": record | {"status": "DELETING"}}

    def _make_secret(self, record: dict[str, Any]) -> str:
        """The administrator's password, where AWS keeps the one it makes itself."""
        password = {"username": record["adminUsername"], "password": secrets.token_urlsafe(32)}
        id = record.get("adminPasswordSecretKmsKeyId")
        key = {"KmsKeyId": id} if id else {}
        made = self.context.client("secretsmanager").create_secret(
            Name=f"redshift!{record['namespaceName']}-{record['adminUsername']}",
            SecretString=json.dumps(password),
            **key,
        )
        return str(made["ARN"])

    def _namespace(self, request: Request) -> dict[str, Any]:
        name = request.get("namespaceName", "")
        record = self._namespaces.get(name)
        if record is None:
            raise AwsError("ResourceNotFoundException", f"Namespace {name} doesn't exist.", 404)
        return record

    @staticmethod
    def _check_roles(record: dict[str, Any]) -> None:
        # Terraform sends plain ARNs; the console's answers read "IamRole(applyStatus=…)".
        default = record.get("defaultIamRoleArn")
        if default and default not in record["iamRoles"]:
            raise AwsError(
                "ValidationException", f"defaultIamRoleArn {default} must be one of iamRoles"
            )

    # ------------------------------------------------------------ usage limits

    @property
    def _limits(self) -> Table:
        return self.context.state.table(LIMITS)

    def CreateUsageLimit(self, request: Request) -> Response:
        """Keep a limit on a workgroup. Nothing costs anything here: it is never reached."""
        arn = request["resourceArn"]
        if arn not in {record["workgroupArn"] for record in self._workgroups.values()}:
            raise AwsError("ResourceNotFoundException", f"{arn} doesn't exist.", 404)
        key = (arn, request["usageType"], request.get("period") or "monthly")
        if key in {(x["resourceArn"], x["usageType"], x["period"]) for x in self._limits.values()}:
            raise AwsError("ConflictException", f"{arn} has a {key[2]} {key[1]} limit already.")
        identifier = str(uuid.uuid4())
        record = {
            "amount": request["amount"],
            "breachAction": request.get("breachAction") or "log",
            "period": key[2],
            "resourceArn": arn,
            "usageLimitArn": self.context.arn("redshift-serverless", f"usagelimit/{identifier}"),
            "usageLimitId": identifier,
            "usageType": key[1],
        }
        self._limits[identifier] = record
        return {"usageLimit": record}

    def GetUsageLimit(self, request: Request) -> Response:
        """Describe a limit."""
        return {"usageLimit": self._limit(request)}

    def UpdateUsageLimit(self, request: Request) -> Response:
        """Change a limit's amount or what happens when it is reached."""
        record = self._limit(request) | _given(request, ("amount", "breachAction"))
        self._limits[record["usageLimitId"]] = record
        return {"usageLimit": record}

    def DeleteUsageLimit(self, request: Request) -> Response:
        """Delete a limit."""
        record = self._limit(request)
        self._limits.pop(record["usageLimitId"])
        return {"usageLimit": record}

    def _limit(self, request: Request) -> dict[str, Any]:
        identifier = request.get("usageLimitId", "")
        record = self._limits.get(identifier)
        if record is None:
            raise AwsError("ResourceNotFoundException", f"Limit {identifier} doesn't exist.", 404)
        return record

    # ------------------------------------------------------------ workgroups

    def CreateWorkgroup(self, request: Request) -> Response:
        """Make a workgroup for a namespace (which can have one)."""
        name = _valid_name(request, "workgroupName")
        if name in self._workgroups:
            raise AwsError("ConflictException", f"Workgroup {name} already exists.")
        namespace = self._namespace(request)["namespaceName"]
        if any(group["namespaceName"] == namespace for group in self._workgroups.values()):
            raise AwsError("ConflictException", f"Namespace {namespace} already has a workgroup.")
        identifier = str(uuid.uuid4())
        port = request.get("port") or 5439
        host = f"{name}.{self.context.account}.{self.context.region}.redshift-serverless"
        record = {
            "baseCapacity": 128,
            "configParameters": _parameters(request.get("configParameters", []), {}),
            "creationDate": _date(),
            "crossAccountVpcs": [],
            "endpoint": {"address": f"{host}.amazonaws.com", "port": port, "vpcEndpoints": []},
            "enhancedVpcRouting": False,
            "ipAddressType": "ipv4",
            "namespaceName": namespace,
            "patchVersion": "patch 190",
            "port": port,
            "pricePerformanceTarget": {"status": "DISABLED"},
            "publiclyAccessible": False,
            "securityGroupIds": [],
            "status": "AVAILABLE",
            "subnetIds": [],
            "trackName": "current",
            "workgroupArn": self.context.arn("redshift-serverless", f"workgroup/{identifier}"),
            "workgroupId": identifier,
            "workgroupName": name,
            "workgroupVersion": "1.0.0",
            **_given(request, _WORKGROUP_MEMBERS),
        }
        _check_capacity(record)
        self._tag(record["workgroupArn"], request.get("tags", []))
        self._workgroups[name] = record
        return {"workgroup": record}

    def GetWorkgroup(self, request: Request) -> Response:
        """Describe a workgroup."""
        return {"workgroup": self._workgroup(request)}

    def ListWorkgroups(self, request: Request) -> Response:
        """List workgroups, oldest first."""
        items, token = _page(self._workgroups.values(), request)
        return {"workgroups": items, **token}

    def UpdateWorkgroup(self, request: Request) -> Response:
        """Change capacity, network settings or config parameters."""
        record = self._workgroup(request)
        if "configParameters" in request:
            have = {p["parameterKey"]: p["parameterValue"] for p in record["configParameters"]}
            record["configParameters"] = _parameters(request["configParameters"], have)
        record |= _given(request, _WORKGROUP_MEMBERS)
        record["endpoint"]["port"] = record["port"]
        _check_capacity(record)
        self._workgroups[record["workgroupName"]] = record
        return {"workgroup": record}

    def DeleteWorkgroup(self, request: Request) -> Response:
        """Delete a workgroup; its namespace and data stay."""
        record = self._workgroup(request)
        self._workgroups.pop(record["workgroupName"])
        for limit in self._limits.values():
            if limit["resourceArn"] == record["workgroupArn"]:
                self._limits.pop(limit["usageLimitId"])
        self.context.state.table(TAGS).pop(record["workgroupArn"])
        return {"workgroup": record | {"status": "DELETING"}}

    def GetCredentials(self, request: Request) -> Response:
        """A user name and a password of the moment, as the AWS identity would get."""
        if "workgroupName" not in request:
            raise AwsError("ValidationException", "workgroupName is required")
        self._workgroup(request)
        seconds = int(request.get("durationSeconds", 900))
        if not 900 <= seconds <= 3600:
            raise AwsError("ValidationException", "durationSeconds must be from 900 to 3600")
        expiration = now() + timedelta(seconds=seconds)
        return {
            "dbUser": f"IAM:{self.context.account}",
            "dbPassword": secrets.token_urlsafe(32),
            "expiration": expiration,
            "nextRefreshTime": expiration - timedelta(seconds=seconds / 2),
        }

    def _workgroup(self, request: Request) -> dict[str, Any]:
        name = request.get("workgroupName", "")
        record = self._workgroups.get(name)
        if record is None:
            raise AwsError("ResourceNotFoundException", f"Workgroup {name} doesn't exist.", 404)
        return record

    # ------------------------------------------------------------ tags

    def TagResource(self, request: Request) -> Response:
        """Add or change tags."""
        self._tag(self._existing(request), request["tags"])
        return {}

    def UntagResource(self, request: Request) -> Response:
        """Remove tags."""
        arn = self._existing(request)
        tags = self.context.state.table(TAGS).get(arn) or {}
        kept = {key: value for key, value in tags.items() if key not in request["tagKeys"]}
        self.context.state.table(TAGS)[arn] = kept
        return {}

    def ListTagsForResource(self, request: Request) -> Response:
        """List a resource's tags."""
        tags = self.context.state.table(TAGS).get(self._existing(request)) or {}
        return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}

    def _existing(self, request: Request) -> str:
        arn = request["resourceArn"]
        known = {record["namespaceArn"] for record in self._namespaces.values()}
        if arn not in known | {record["workgroupArn"] for record in self._workgroups.values()}:
            raise AwsError("ResourceNotFoundException", f"{arn} doesn't exist.", 404)
        return arn

    def _tag(self, arn: str, tags: list[dict[str, str]]) -> None:
        table = self.context.state.table(TAGS)
        merged = (table.get(arn) or {}) | {tag["key"]: tag["value"] for tag in tags}
        if len(merged) > 200:
            raise AwsError("TooManyTagsException", f"{arn} would have more than 200 tags.")
        table[arn] = merged


def _valid_name(request: Request, member: str) -> str:
    name = request.get(member, "")
    if not _NAME.fullmatch(name):
        raise AwsError(
            "ValidationException",
            f"{member} '{name}' must be 3 to 64 lower-case letters, digits and hyphens",
        )
    return name


def _given(request: Request, members: tuple[str, ...]) -> dict[str, Any]:
    return {member: request[member] for member in members if request.get(member) is not None}


def _page(items: list[Any], request: Request) -> tuple[list[Any], dict[str, str]]:
    try:
        return page(items, request, limit=100, size="maxResults", token="nextToken")
    except AwsError as error:
        raise AwsError("ValidationException", error.message) from None


def _parameters(given: list[dict[str, str]], have: dict[str, str]) -> list[dict[str, str]]:
    values = _DEFAULT_PARAMETERS | have
    for parameter in given:
        key = parameter["parameterKey"]
        if key not in _DEFAULT_PARAMETERS.keys() | _QUOTA_PARAMETERS:
            raise AwsError("ValidationException", f"Config parameter {key} is not valid.")
        values[key] = parameter["parameterValue"]
    return [{"parameterKey": key, "parameterValue": value} for key, value in values.items()]


def _check_capacity(record: dict[str, Any]) -> None:
    base, most = record["baseCapacity"], record.get("maxCapacity")
    if base != 4 and not (8 <= base <= 1024 and base % 8 == 0):
        raise AwsError("ValidationException", "baseCapacity must be 4, or 8 to 1024 in steps of 8")
    if most is not None and most < base:
        raise AwsError("ValidationException", "maxCapacity must not be below baseCapacity")


def _date() -> str:
    return now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
