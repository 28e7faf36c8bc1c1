"""The Glue data catalog: databases, tables with their versions, and partitions."""

from __future__ import annotations

import re
import threading
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from localaws import hive_types
from localaws.glue_tags import GlueTags
from localaws.service import AwsError, Context, Request, Response, now, page

_PAGE = 100
_PARTITION_PAGE = 1000
Item = dict[str, Any]


class GlueCatalog(GlueTags):
    """Every change is durable when its answer is sent. Names are folded to lower case."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._databases = context.state.table("glue_databases")
        self._tables = context.state.table("glue_tables")
        self._versions = context.state.table("glue_table_versions")
        self._partitions = context.state.table("glue_partitions")
        self._catalog_lock = threading.RLock()

    # Databases

    def CreateDatabase(self, request: Request) -> Response:
        """Add a database."""
        given = request["DatabaseInput"]
        name = _named(given)
        with self._catalog_lock:
            if name in self._databases:
                raise _exists(f"Database {name} already exists.")
            self._databases[name] = given | {
                "Name": name,
                "CreateTime": now().timestamp(),
                "CatalogId": self.context.account,
            }
        self._tag(f"database/{name}", request.get("Tags"))
        return {}

    def GetDatabase(self, request: Request) -> Response:
        """One database."""
        return {"Database": self._database(request["Name"])}

    def GetDatabases(self, request: Request) -> Response:
        """All databases."""
        found, rest = page(self._databases.values(), request, limit=_PAGE)
        return {"DatabaseList": found, **rest}

    def UpdateDatabase(self, request: Request) -> Response:
        """Replace a database's definition; its name stays."""
        with self._catalog_lock:
            old = self._database(request["Name"])
            kept = {name: old[name] for name in ("Name", "CreateTime", "CatalogId")}
            self._databases[old["Name"]] = request["DatabaseInput"] | kept
        return {}

    def DeleteDatabase(self, request: Request) -> Response:
        """Delete a database and its tables."""
        with self._catalog_lock:
            name = self._database(request["Name"])["Name"]
            for table in self._tables.values(_key(name, "")):
                self._drop(table)
            self._databases.pop(name)
        self._untag(f"database/{name}")
        return {}

    # Tables

    def CreateTable(self, request: Request) -> Response:
        """Add a table to a database."""
        given = request.get("TableInput") or {}
        name = _named(given)
        with self._catalog_lock:
            database = self._database(request["DatabaseName"])["Name"]
            if _key(database, name) in self._tables:
                raise _exists(f"Table {name} already exists.")
            created = now().timestamp()
            self._tables[_key(database, name)] = _definition(given) | {
                "Name": name,
                "DatabaseName": database,
                "CreateTime": created,
                "UpdateTime": created,
                "CatalogId": self.context.account,
                "VersionId": "0",
            }
        return {}

    def GetTable(self, request: Request) -> Response:
        """One table."""
        return {"Table": self._table(request["DatabaseName"], request["Name"])}

    def GetTables(self, request: Request) -> Response:
        """A database's tables, those whose name matches the expression."""
        database = self._database(request["DatabaseName"])["Name"]
        tables = self._tables.values(_key(database, ""))
        if request.get("Expression"):
            try:
                pattern = re.compile(request["Expression"])
            except re.error as error:
                raise _wrong(f"Expression is not a regular expression: {error}") from None
            tables = [table for table in tables if pattern.fullmatch(table["Name"])]
        found, rest = page(tables, request, limit=_PAGE)
        return {"TableList": found, **rest}

    def UpdateTable(self, request: Request) -> Response:
        """Replace a table's definition; the old one becomes a version unless SkipArchive is set."""
        given = request.get("TableInput") or {}
        with self._catalog_lock:
            old = self._table(request["DatabaseName"], request.get("Name") or _named(given))
            if request.get("VersionId", old["VersionId"]) != old["VersionId"]:
                raise AwsError(
                    "ConcurrentModificationException",
                    f"Table {old['Name']} is at version {old['VersionId']}, "
                    f"not {request['VersionId']}; read it again.",
                )
            key = _key(old["DatabaseName"], old["Name"])
            if not request.get("SkipArchive"):
                self._versions[f"{key}/{old['VersionId']}"] = old
            kept = [
                "Name",
                "DatabaseName",
                "CreateTime",
                "IsRegisteredWithLakeFormation",
                "CatalogId",
            ]
            self._tables[key] = _definition(given) | {
                **{name: old[name] for name in kept},
                "UpdateTime": now().timestamp(),
                "VersionId": str(int(old["VersionId"]) + 1),
            }
        return {}

    def DeleteTable(self, request: Request) -> Response:
        """Delete a table with its versions and partitions."""
        with self._catalog_lock:
            self._drop(self._table(request["DatabaseName"], request["Name"]))
        return {}

    def BatchDeleteTable(self, request: Request) -> Response:
        """Delete up to 100 tables; those that are not there are errors of their own."""
        names = _at_most(100, request["TablesToDelete"], "tablesToDelete")
        database = self._database(request["DatabaseName"])["Name"]
        errors = []
        for name in names:
            try:
                self.DeleteTable({"DatabaseName": database, "Name": name})
            except AwsError as error:
                errors.append({"TableName": name, "ErrorDetail": _detail(error)})
        return {"Errors": errors}

    def GetTableVersions(self, request: Request) -> Response:
        """The table's versions, the current one first."""
        table = self._table(request["DatabaseName"], request["TableName"])
        old = self._versions.values(_key(table["DatabaseName"], table["Name"], ""))
        found, rest = page([table, *reversed(old)], request, limit=_PAGE)
        return {
            "TableVersions": [{"Table": item, "VersionId": item["VersionId"]} for item in found],
            **rest,
        }

    # Partitions

    def CreatePartition(self, request: Request) -> Response:
        """Add a partition."""
        with self._catalog_lock:
            self._add(self._partitioned(request), request["PartitionInput"])
        return {}

    def BatchCreatePartition(self, request: Request) -> Response:
        """Add up to 100 partitions; those that are there are errors of their own."""
        given = _at_most(100, request["PartitionInputList"], "partitionInputList")
        errors = []
        with self._catalog_lock:
            table = self._partitioned(request)
            for partition in given:
                try:
                    self._add(table, partition)
                except AwsError as error:
                    values = partition.get("Values")
                    errors.append({"PartitionValues": values, "ErrorDetail": _detail(error)})
        return {"Errors": errors}

    def GetPartition(self, request: Request) -> Response:
        """One partition."""
        return {
            "Partition": self._partition(self._partitioned(request), request["PartitionValues"])
        }

    def GetPartitions(self, request: Request) -> Response:
        """A table's partitions, those whose values satisfy the expression."""
        table = self._partitioned(request)
        partitions = self._partitions.values(_key(table["DatabaseName"], table["Name"], ""))
        if request.get("Expression"):
            partitions = _satisfying(request["Expression"], table["PartitionKeys"], partitions)
        if segment := request.get("Segment"):
            partitions = partitions[segment["SegmentNumber"] :: segment["TotalSegments"]]
        found, rest = page(partitions, request, limit=_PARTITION_PAGE)
        return {"Partitions": found, **rest}

    def BatchGetPartition(self, request: Request) -> Response:
        """Up to 1000 partitions by their values; those that are not there are left out."""
        wanted = _at_most(1000, request["PartitionsToGet"], "partitionsToGet")
        table = self._partitioned(request)
        found = [self._partitions.get(_partition_key(table, item["Values"])) for item in wanted]
        return {"Partitions": [item for item in found if item], "UnprocessedKeys": []}

    def UpdatePartition(self, request: Request) -> Response:
        """Replace a partition's definition, or move it to other values."""
        with self._catalog_lock:
            self._change(
                self._partitioned(request), request["PartitionValueList"], request["PartitionInput"]
            )
        return {}

    def BatchUpdatePartition(self, request: Request) -> Response:
        """Replace up to 100 definitions; those that are not there are errors of their own."""
        errors = []
        with self._catalog_lock:
            table = self._partitioned(request)
            for entry in _at_most(100, request["Entries"], "entries"):
                values = entry["PartitionValueList"]
                try:
                    self._change(table, values, entry["PartitionInput"])
                except AwsError as error:
                    errors.append({"PartitionValueList": values, "ErrorDetail": _detail(error)})
        return {"Errors": errors}

    def DeletePartition(self, request: Request) -> Response:
        """Delete a partition."""
        with self._catalog_lock:
            table = self._partitioned(request)
            self._partition(table, request["PartitionValues"])
            self._partitions.pop(_partition_key(table, request["PartitionValues"]))
        return {}

    def BatchDeletePartition(self, request: Request) -> Response:
        """Delete up to 25 partitions; those that are not there are errors of their own."""
        names = {name: request[name] for name in ("DatabaseName", "TableName")}
        errors = []
        for item in _at_most(25, request["PartitionsToDelete"], "partitionsToDelete"):
            try:
                self.DeletePartition(names | {"PartitionValues": item["Values"]})
            except AwsError as error:
                errors.append({"PartitionValues": item["Values"], "ErrorDetail": _detail(error)})
        return {"Errors": errors}

    def _database(self, name: str) -> Item:
        found = self._databases.get(name.lower())
        if not found:
            raise _missing(f"Database {name} not found.")
        return found

    def _table(self, database: str, name: str) -> Item:
        found = self._tables.get(_key(self._database(database)["Name"], name.lower()))
        if not found:
            raise _missing(f"Table {name} not found in database {database}.")
        return found

    def _partitioned(self, request: Request) -> Item:
        return self._table(request["DatabaseName"], request["TableName"])

    def _partition(self, table: Item, values: list[str]) -> Item:
        found = self._partitions.get(_partition_key(table, values))
        if not found:
            raise _missing(f"Partition {values} not found in table {table['Name']}.")
        return found

    def _drop(self, table: Item) -> None:
        key = _key(table["DatabaseName"], table["Name"])
        self._tables.pop(key)
        self._versions.clear(f"{key}/")
        self._partitions.clear(f"{key}/")

    def _add(self, table: Item, given: Item) -> None:
        values = given.get("Values") or []
        keys = [key["Name"] for key in table["PartitionKeys"]]
        if len(values) != len(keys):
            raise _wrong(
                f"The number of partition keys ({', '.join(keys) or 'none'}) does not match the "
                f"number of partition values {values}."
            )
        if _partition_key(table, values) in self._partitions:
            raise _exists(f"Partition {values} already exists.")
        self._partitions[_partition_key(table, values)] = given | {
            "DatabaseName": table["DatabaseName"],
            "TableName": table["Name"],
            "CreationTime": now().timestamp(),
            "CatalogId": self.context.account,
        }

    def _change(self, table: Item, values: list[str], given: Item) -> None:
        old = self._partition(table, values)
        key = _partition_key(table, values)
        if given.get("Values", values) != values:
            self._add(table, given)
            self._partitions.pop(key)
            return
        kept = ("DatabaseName", "TableName", "CreationTime", "CatalogId")
        self._partitions[key] = {"Values": values} | given | {name: old[name] for name in kept}


def _named(given: Item) -> str:
    name = (given.get("Name") or "").lower()
    if not name:
        raise _wrong("Name is required.")
    return name


def _definition(given: Item) -> Item:
    return {
        "PartitionKeys": [],
        "Parameters": {},
        "StorageDescriptor": {},
        "IsRegisteredWithLakeFormation": False,
    } | given


def _key(*names: str) -> str:
    return "/".join(quote(name, safe="") for name in names)


def _partition_key(table: Item, values: list[str]) -> str:
    return _key(table["DatabaseName"], table["Name"], *values)


def _at_most(count: int, items: list[Any], member: str) -> list[Any]:
    if len(items) > count:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value at '{member}' failed to satisfy constraint: "
            f"Member must have length less than or equal to {count}",
        )
    return items


def _satisfying(expression: str, keys: list[Item], partitions: list[Item]) -> list[Item]:
    """The partitions for which a condition on the partition keys holds."""
    types = {key["Name"].lower(): hive_types.parse(key.get("Type") or "string") for key in keys}
    try:
        condition = sqlglot.parse_one(expression, read="hive")
        unknown = {column.name.lower() for column in condition.find_all(exp.Column)} - set(types)
        if unknown or condition.find(exp.Query, exp.Command, exp.DDL):
            raise _wrong(
                f"The expression {expression!r} may name the partition keys "
                f"{', '.join(types) or '(none)'} only."
            )
        given = pa.table(
            {
                f"key{index}": [partition["Values"][index] for partition in partitions]
                for index in range(len(types))
            }
            | {"row": range(len(partitions))}
        )
        columns = ", ".join(
            f'TRY_CAST(key{index} AS {type.duckdb}) AS "{name}"'
            for index, (name, type) in enumerate(types.items())
        )
        with duckdb.connect() as engine:
            engine.register("given", given)
            rows = engine.execute(
                f"SELECT row FROM (SELECT row, {columns} FROM given) "
                f"WHERE {condition.sql(dialect='duckdb')} ORDER BY row"
            ).fetchall()
    except (sqlglot.errors.SqlglotError, duckdb.Error) as error:
        reason = str(error).splitlines()[0]
        raise _wrong(f"The expression {expression!r} cannot be evaluated: {reason}") from None
    return [partitions[row] for (row,) in rows]


def _missing(message: str) -> AwsError:
    return AwsError("EntityNotFoundException", message)


def _exists(message: str) -> AwsError:
    return AwsError("AlreadyExistsException", message)


def _wrong(message: str) -> AwsError:
    return AwsError("InvalidInputException", message)


def _detail(error: AwsError) -> Item:
    return {"ErrorCode": error.code, "ErrorMessage": error.message}
