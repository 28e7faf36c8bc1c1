"""Athena's work groups, saved queries, tags and its view of the catalog."""

from __future__ import annotations

import uuid
from typing import Any

import botocore.exceptions

from localaws.service import AwsError, Request, Response, Service, now, page

CATALOG = "AwsDataCatalog"
PRIMARY = "primary"
ENGINE_VERSION = {
    "SelectedEngineVersion": "AUTO",
    "EffectiveEngineVersion": "Athena engine version 3",
}


def invalid(message: str) -> AwsError:
    """An InvalidRequestException."""
    return AwsError("InvalidRequestException", message, AthenaErrorCode="INVALID_INPUT")


class AthenaAdmin(Service):
    """The actions that run no query."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._groups = context.state.table("athena_work_groups")
        self._named = context.state.table("athena_named_queries")
        self._prepared = context.state.table("athena_prepared_statements")
        self._tags = context.state.table("athena_tags")
        if PRIMARY not in self._groups:
            self._groups[PRIMARY] = _group(PRIMARY, "", {"EnforceWorkGroupConfiguration": False})

    # Work groups

    def _group(self, name: str | None) -> dict[str, Any]:
        group = self._groups.get(name or PRIMARY)
        if group is None:
            raise invalid(f"WorkGroup {name} is not found.")
        return group

    def CreateWorkGroup(self, request: Request) -> None:
        """Make a work group."""
        name = request["Name"]
        if name in self._groups:
            raise invalid(f"WorkGroup {name} is already created")
        configuration = {
            "EnforceWorkGroupConfiguration": True,
            "PublishCloudWatchMetricsEnabled": True,
            "RequesterPaysEnabled": False,
            **request.get("Configuration", {}),
        }
        self._groups[name] = _group(name, request.get("Description", ""), configuration)
        self._tag(self._group_arn(name), request.get("Tags", []))

    def GetWorkGroup(self, request: Request) -> Response:
        """One work group."""
        return {"WorkGroup": self._group(request["WorkGroup"])}

    def ListWorkGroups(self, request: Request) -> Response:
        """All work groups."""
        groups, more = page(self._groups.values(), request, limit=50)
        names = ("Name", "State", "Description", "CreationTime")
        summaries = [
            {name: group[name] for name in names} | {"EngineVersion": ENGINE_VERSION}
            for group in groups
        ]
        return {"WorkGroups": summaries, **more}

    def UpdateWorkGroup(self, request: Request) -> None:
        """Change a work group."""
        group = self._group(request["WorkGroup"])
        for name in ("Description", "State"):
            group[name] = request.get(name, group[name])
        configuration = group["Configuration"]
        updates = dict(request.get("ConfigurationUpdates", {}))
        result = configuration.setdefault("ResultConfiguration", {})
        _update(result, updates.pop("ResultConfigurationUpdates", {}))
        managed = updates.pop("ManagedQueryResultsConfigurationUpdates", {})
        if managed:
            _update(configuration.setdefault("ManagedQueryResultsConfiguration", {}), managed)
        if "EngineVersion" in updates:
            updates["EngineVersion"] = ENGINE_VERSION | _selected(updates)
        _update(configuration, updates)
        self._groups[group["Name"]] = group

    def DeleteWorkGroup(self, request: Request) -> None:
        """Delete a work group."""
        name = self._group(request["WorkGroup"])["Name"]
        if name == PRIMARY:
            raise invalid("The primary workgroup cannot be deleted")
        saved = [
            *(query for query in self._named.values() if query["WorkGroup"] == name),
            *(query for query in self._prepared.values() if query["WorkGroupName"] == name),
        ]
        if saved and not request.get("RecursiveDeleteOption"):
            raise invalid(f"WorkGroup {name} is not empty")
        for query in saved:
            if "NamedQueryId" in query:
                self._named.pop(query["NamedQueryId"])
            else:
                self._prepared.pop(f"{name}/{query['StatementName']}")
        self._groups.pop(name)
        self._tags.pop(self._group_arn(name))

    def ListEngineVersions(self, request: Request) -> Response:
        """The engine versions."""
        return {"EngineVersions": [ENGINE_VERSION]}

    # Named queries

    def CreateNamedQuery(self, request: Request) -> Response:
        """Save a query; the same ClientRequestToken gives the same query."""
        group = self._group(request.get("WorkGroup"))["Name"]
        token = request.get("ClientRequestToken")
        for query in self._named.values():
            if token and query.get("ClientRequestToken") == token:
                return {"NamedQueryId": query["NamedQueryId"]}
        identity = str(uuid.uuid4())
        self._named[identity] = {**request, "WorkGroup": group, "NamedQueryId": identity}
        return {"NamedQueryId": identity}

    def _named_query(self, identity: str) -> dict[str, Any]:
        query = self._named.get(identity)
        if query is None:
            raise invalid(f"Named query {identity} does not exist")
        query.pop("ClientRequestToken", None)
        return query

    def GetNamedQuery(self, request: Request) -> Response:
        """One saved query."""
        return {"NamedQuery": self._named_query(request["NamedQueryId"])}

    def BatchGetNamedQuery(self, request: Request) -> Response:
        """Several saved queries."""
        wanted = request["NamedQueryIds"]
        return {
            "NamedQueries": [self._named_query(i) for i in wanted if i in self._named],
            "UnprocessedNamedQueryIds": [
                {
                    "NamedQueryId": identity,
                    "ErrorCode": "INVALID_INPUT",
                    "ErrorMessage": f"Named query {identity} does not exist",
                }
                for identity in wanted
                if identity not in self._named
            ],
        }

    def ListNamedQueries(self, request: Request) -> Response:
        """Ids of a work group's saved queries."""
        group = self._group(request.get("WorkGroup"))["Name"]
        found = [q["NamedQueryId"] for q in self._named.values() if q["WorkGroup"] == group]
        identities, more = page(found, request, limit=50)
        return {"NamedQueryIds": identities, **more}

    def UpdateNamedQuery(self, request: Request) -> None:
        """Change a saved query."""
        query = self._named_query(request["NamedQueryId"])
        self._named[request["NamedQueryId"]] = query | request

    def DeleteNamedQuery(self, request: Request) -> None:
        """Delete a saved query."""
        self._named_query(request["NamedQueryId"])
        self._named.pop(request["NamedQueryId"])

    # Prepared statements

    def _statement(self, request: Request) -> dict[str, Any]:
        name, group = request["StatementName"], self._group(request["WorkGroup"])["Name"]
        found = self._prepared.get(f"{group}/{name}")
        if found is None:
            raise AwsError(
                "ResourceNotFoundException", f"PreparedStatement {name} was not found in {group}"
            )
        return found

    def CreatePreparedStatement(self, request: Request) -> None:
        """Save a statement with parameters."""
        name, group = request["StatementName"], self._group(request["WorkGroup"])["Name"]
        if f"{group}/{name}" in self._prepared:
            raise invalid(f"PreparedStatement {name} already exists in {group}")
        self._prepared[f"{group}/{name}"] = {
            "StatementName": name,
            "QueryStatement": request["QueryStatement"],
            "WorkGroupName": group,
            "Description": request.get("Description", ""),
            "LastModifiedTime": now().timestamp(),
        }

    def GetPreparedStatement(self, request: Request) -> Response:
        """One prepared statement."""
        return {"PreparedStatement": self._statement(request)}

    def UpdatePreparedStatement(self, request: Request) -> None:
        """Change a prepared statement."""
        found = self._statement(request)
        found["QueryStatement"] = request["QueryStatement"]
        found["Description"] = request.get("Description", found["Description"])
        found["LastModifiedTime"] = now().timestamp()
        self._prepared[f"{found['WorkGroupName']}/{found['StatementName']}"] = found

    def ListPreparedStatements(self, request: Request) -> Response:
        """A work group's prepared statements."""
        group = self._group(request["WorkGroup"])["Name"]
        found = [
            {name: statement[name] for name in ("StatementName", "LastModifiedTime")}
            for statement in self._prepared.values()
            if statement["WorkGroupName"] == group
        ]
        statements, more = page(found, request, limit=50)
        return {"PreparedStatements": statements, **more}

    def DeletePreparedStatement(self, request: Request) -> None:
        """Delete a prepared statement."""
        found = self._statement(request)
        self._prepared.pop(f"{found['WorkGroupName']}/{found['StatementName']}")

    # The catalog

    def GetDataCatalog(self, request: Request) -> Response:
        """The one data catalog."""
        self._require_catalog(request["Name"])
        catalog_id = {"catalog-id": self.context.account}
        return {"DataCatalog": {"Name": CATALOG, "Type": "GLUE", "Parameters": catalog_id}}

    def ListDataCatalogs(self, request: Request) -> Response:
        """The data catalogs: Glue's."""
        return {"DataCatalogsSummary": [{"CatalogName": CATALOG, "Type": "GLUE"}]}

    def GetDatabase(self, request: Request) -> Response:
        """One database."""
        self._require_catalog(request["CatalogName"])
        answer = self._ask_glue("get_database", Name=request["DatabaseName"].lower())
        return {"Database": _database(answer["Database"])}

    def ListDatabases(self, request: Request) -> Response:
        """All databases."""
        self._require_catalog(request["CatalogName"])
        pages = self.context.client("glue").get_paginator("get_databases").paginate()
        found = sorted(
            (_database(item) for part in pages for item in part["DatabaseList"]),
            key=lambda database: database["Name"],
        )
        databases, more = page(found, request, limit=50)
        return {"DatabaseList": databases, **more}

    def GetTableMetadata(self, request: Request) -> Response:
        """One table."""
        self._require_catalog(request["CatalogName"])
        answer = self._ask_glue(
            "get_table",
            DatabaseName=request["DatabaseName"].lower(),
            Name=request["TableName"].lower(),
        )
        return {"TableMetadata": _table(answer["Table"])}

    def ListTableMetadata(self, request: Request) -> Response:
        """A database's tables, all or those a pattern matches."""
        self._require_catalog(request["CatalogName"])
        glue = self.context.client("glue")
        wanted = {"DatabaseName": request["DatabaseName"].lower()}
        self._ask_glue("get_database", Name=wanted["DatabaseName"])
        if request.get("Expression"):
            wanted["Expression"] = request["Expression"]
        pages = glue.get_paginator("get_tables").paginate(**wanted)
        found = sorted(
            (_table(item) for part in pages for item in part["TableList"]),
            key=lambda table: table["Name"],
        )
        tables, more = page(found, request, limit=50)
        return {"TableMetadataList": tables, **more}

    def _require_catalog(self, name: str) -> None:
        if name.lower() != CATALOG.lower():
            raise invalid(f"Data catalog {name} does not exist; the one here is {CATALOG}")

    def _ask_glue(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return getattr(self.context.client("glue"), operation)(**request)
        except botocore.exceptions.ClientError as error:
            details = error.response["Error"]
            # PyAthena reads the code out of this text, as Athena words it.
            raise AwsError(
                "MetadataException",
                f"{details['Message']} (Service: AmazonDataCatalog; Status Code: 400; "
                f"Error Code: {details['Code']}; Request ID: {uuid.uuid4()}; Proxy: null)",
            ) from None

    # Tags

    def _group_arn(self, name: str) -> str:
        return self.context.arn("athena", f"workgroup/{name}")

    def _tagged(self, arn: str) -> dict[str, str]:
        _, _, name = arn.partition(":workgroup/")
        if not name or name not in self._groups:
            raise AwsError("ResourceNotFoundException", f"{arn} does not exist", ResourceName=arn)
        return self._tags.get(arn) or {}

    def _tag(self, arn: str, tags: list[dict[str, str]]) -> None:
        self._tags[arn] = self._tagged(arn) | {tag["Key"]: tag["Value"] for tag in tags}

    def TagResource(self, request: Request) -> None:
        """Tag a work group."""
        self._tag(request["ResourceARN"], request["Tags"])

    def UntagResource(self, request: Request) -> None:
        """Take tags from a work group."""
        tags = self._tagged(request["ResourceARN"])
        self._tags[request["ResourceARN"]] = {
            key: value for key, value in tags.items() if key not in request["TagKeys"]
        }

    def ListTagsForResource(self, request: Request) -> Response:
        """A work group's tags."""
        found = [
            {"Key": key, "Value": value}
            for key, value in self._tagged(request["ResourceARN"]).items()
        ]
        tags, more = page(found, request, limit=75)
        return {"Tags": tags, **more}


def _group(name: str, description: str, configuration: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "State": "ENABLED",
        "Configuration": {
            "ResultConfiguration": {},
            **configuration,
            "EngineVersion": ENGINE_VERSION | _selected(configuration),
        },
        "Description": description,
        "CreationTime": now().timestamp(),
    }


def _selected(configuration: dict[str, Any]) -> dict[str, str]:
    """The engine version that was asked for; AUTO and the one there is are the same engine."""
    selected = configuration.get("EngineVersion", {}).get("SelectedEngineVersion")
    if selected in (None, "AUTO"):
        return {}
    if selected != ENGINE_VERSION["EffectiveEngineVersion"]:
        raise invalid(f"Engine version {selected} is not available")
    return {"SelectedEngineVersion": selected}


def _update(target: dict[str, Any], updates: dict[str, Any]) -> None:
    """Apply an Updates shape: ``RemoveX: true`` takes X away, anything else is set."""
    for name, value in updates.items():
        if name.startswith("Remove"):
            if value:
                target.pop(name.removeprefix("Remove"), None)
        else:
            target[name] = value


def _database(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("Name", "Description", "Parameters") if item.get(name)}


def _table(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": item["Name"],
        "CreateTime": item["CreateTime"],
        "TableType": item.get("TableType", ""),
        "Columns": [_column(c) for c in item.get("StorageDescriptor", {}).get("Columns", [])],
        "PartitionKeys": [_column(c) for c in item.get("PartitionKeys", [])],
        "Parameters": {
            **item.get("Parameters", {}),
            "location": item.get("StorageDescriptor", {}).get("Location", ""),
            "inputformat": item.get("StorageDescriptor", {}).get("InputFormat", ""),
            "outputformat": item.get("StorageDescriptor", {}).get("OutputFormat", ""),
            **_serde(item.get("StorageDescriptor", {}).get("SerdeInfo", {})),
        },
    }


def _serde(serde: dict[str, Any]) -> dict[str, str]:
    parameters = serde.get("Parameters", {})
    return {
        "serde.serialization.lib": serde.get("SerializationLibrary", ""),
        **{f"serde.param.{key}": value for key, value in parameters.items()},
    }


def _column(item: dict[str, Any]) -> dict[str, str]:
    column = {"Name": item["Name"], "Type": item.get("Type", "string")}
    return column | ({"Comment": item["Comment"]} if item.get("Comment") else {})
