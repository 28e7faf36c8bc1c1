"""Hive's DDL as Athena takes it: parsed by hand, done in the Glue catalog."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import botocore.exceptions

from localaws.hive_parser import Cursor, DdlError
from localaws.lake import Lake, LakeError, LakeTable
from localaws.service import Context

_SERDES = {
    "PARQUET": (
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    ),
    "TEXTFILE": (
        "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    ),
    "JSON": (
        "org.openx.data.jsonserde.JsonSerDe",
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    ),
}
#: Partitions created in one call of Glue.
_BATCH = 100


Output = tuple[list[str], list[str]]


class HiveDdl:
    """Runs one statement; its output is a list of column names and the lines of the answer."""

    def __init__(self, context: Context, lake: Lake, database: str) -> None:
        self._glue = context.client("glue")
        self._lake = lake
        self._database = database

    def run(self, sql: str) -> Output:
        """Run it.

        Raises:
            DdlError, LakeError: with the reason.
        """
        cursor = Cursor(sql)
        for words, statement in (
            (("CREATE", "DATABASE"), self._create_database),
            (("CREATE", "SCHEMA"), self._create_database),
            (("DROP", "DATABASE"), self._drop_database),
            (("DROP", "SCHEMA"), self._drop_database),
            (("CREATE", "EXTERNAL", "TABLE"), self._create_table),
            (("DROP", "TABLE"), self._drop_table),
            (("DROP", "VIEW"), self._drop_view),
            (("ALTER", "TABLE"), self._alter_table),
            (("MSCK", "REPAIR", "TABLE"), self._repair),
            (("SHOW", "DATABASES"), self._show_databases),
            (("SHOW", "SCHEMAS"), self._show_databases),
            (("SHOW", "TABLES"), self._show_tables),
            (("SHOW", "VIEWS"), self._show_views),
            (("SHOW", "PARTITIONS"), self._show_partitions),
            (("SHOW", "COLUMNS"), self._show_columns),
            (("SHOW", "CREATE", "TABLE"), self._show_create_table),
            (("SHOW", "CREATE", "VIEW"), self._show_create_view),
            (("SHOW", "TBLPROPERTIES"), self._show_properties),
            (("DESCRIBE",), self._describe),
            (("DESC",), self._describe),
        ):
            if cursor.accept(*words):
                try:
                    output = statement(cursor)
                except botocore.exceptions.ClientError as error:
                    raise _failed(error) from None
                return output or ([], [])
        if cursor.accept("CREATE", "TABLE"):
            raise DdlError(
                "FAILED: SemanticException: only CREATE EXTERNAL TABLE and CREATE TABLE AS SELECT "
                "can be used here; Iceberg tables are not supported"
            )
        raise cursor.error("a statement that Athena knows")

    def _qualified(self, cursor: Cursor) -> tuple[str, str]:
        first = cursor.name()
        if first == "awsdatacatalog" and cursor.accept("."):
            first = cursor.name()
        return (first, cursor.name()) if cursor.accept(".") else (self._database, first)

    def _table(self, cursor: Cursor) -> LakeTable:
        database, name = self._qualified(cursor)
        try:
            return self._lake.table(database, name)
        except LakeError as error:
            if error.code != "TABLE_NOT_FOUND":
                raise
            raise DdlError(
                f"FAILED: SemanticException [Error 10001]: Table not found {database}.{name}"
            ) from None

    # Databases

    def _create_database(self, cursor: Cursor) -> None:
        exists = cursor.accept("IF", "NOT", "EXISTS")
        given: dict[str, Any] = {"Name": cursor.name()}
        while cursor.text:
            if cursor.accept("COMMENT"):
                given["Description"] = cursor.string()
            elif cursor.accept("LOCATION"):
                given["LocationUri"] = cursor.string()
            else:
                cursor.expect("WITH", "DBPROPERTIES")
                given["Parameters"] = self._properties(cursor)
        try:
            self._glue.create_database(DatabaseInput=given)
        except self._glue.exceptions.AlreadyExistsException:
            if not exists:
                raise

    def _drop_database(self, cursor: Cursor) -> None:
        missing = cursor.accept("IF", "EXISTS")
        name = cursor.name()
        cascade = cursor.accept("CASCADE") or (cursor.accept("RESTRICT") and False)
        cursor.end()
        if name not in self._lake.databases():
            if missing:
                return
            raise DdlError(
                f"FAILED: SemanticException [Error 10072]: Database does not exist: {name}"
            )
        if self._tables(name) and not cascade:
            raise DdlError(
                "FAILED: Execution Error, return code 1 from "
                "org.apache.hadoop.hive.ql.exec.DDLTask. InvalidOperationException(message:"
                f"Database {name} is not empty. One or more tables exist.)"
            )
        for table in self._tables(name):
            self._glue.delete_table(DatabaseName=name, Name=table["Name"])
        self._glue.delete_database(Name=name)

    def _show_databases(self, cursor: Cursor) -> Output:
        pattern = _pattern(cursor)
        return ["database_name"], [name for name in self._lake.databases() if pattern(name)]

    # Tables

    def _tables(self, database: str) -> list[dict[str, Any]]:
        pages = self._glue.get_paginator("get_tables").paginate(DatabaseName=database)
        found = (table for page in pages for table in page["TableList"])
        return sorted(found, key=lambda table: table["Name"])

    def _show_tables(self, cursor: Cursor) -> Output:
        database = self._database
        if cursor.accept("IN") or cursor.accept("FROM"):
            database = cursor.name()
        pattern = _pattern(cursor)
        names = [table["Name"] for table in self._tables(database)]
        return ["tab_name"], [name for name in names if pattern(name)]

    def _show_views(self, cursor: Cursor) -> Output:
        database = self._database
        if cursor.accept("IN") or cursor.accept("FROM"):
            database = cursor.name()
        pattern = _pattern(cursor)
        views = [t["Name"] for t in self._tables(database) if t.get("TableType") == "VIRTUAL_VIEW"]
        return ["views"], [name for name in views if pattern(name)]

    def _create_table(self, cursor: Cursor) -> None:
        exists = cursor.accept("IF", "NOT", "EXISTS")
        database, name = self._qualified(cursor)
        columns = cursor.listed(lambda: _column(cursor))
        keys: list[dict[str, str]] = []
        serde, reads, writes = _SERDES["TEXTFILE"]
        serde_parameters: dict[str, str] = {}
        parameters = {"EXTERNAL": "TRUE"}
        location = comment = ""
        while cursor.text:
            if cursor.accept("COMMENT"):
                comment = cursor.string()
            elif cursor.accept("PARTITIONED", "BY"):
                keys = cursor.listed(lambda: _column(cursor))
            elif cursor.accept("ROW", "FORMAT", "SERDE"):
                serde = cursor.string()
            elif cursor.accept("WITH", "SERDEPROPERTIES"):
                serde_parameters |= self._properties(cursor)
            elif cursor.accept("ROW", "FORMAT", "DELIMITED"):
                serde_parameters |= _delimited(cursor)
            elif cursor.accept("STORED", "AS", "INPUTFORMAT"):
                reads = cursor.string()
                cursor.expect("OUTPUTFORMAT")
                writes = cursor.string()
            elif cursor.accept("STORED", "AS"):
                word = cursor.name().upper()
                if word not in _SERDES:
                    raise DdlError(
                        f"FAILED: SemanticException: STORED AS {word} cannot be read here; "
                        "use PARQUET, TEXTFILE or a JSON SerDe"
                    )
                found, reads, writes = _SERDES[word]
                serde = found if word != "TEXTFILE" else serde
            elif cursor.accept("LOCATION"):
                location = cursor.string()
            elif cursor.accept("TBLPROPERTIES"):
                parameters |= self._properties(cursor)
            else:
                raise cursor.error("PARTITIONED BY, ROW FORMAT, STORED AS, LOCATION, TBLPROPERTIES")
        if not location.startswith("s3://"):
            raise DdlError(
                "FAILED: SemanticException: No location was specified for table. "
                "An S3 location must be specified"
            )
        try:
            self._glue.create_table(
                DatabaseName=database,
                TableInput={
                    "Name": name,
                    "Description": comment,
                    "TableType": "EXTERNAL_TABLE",
                    "PartitionKeys": keys,
                    "Parameters": parameters,
                    "StorageDescriptor": descriptor(
                        columns, location, (serde, reads, writes), serde_parameters
                    ),
                },
            )
        except self._glue.exceptions.AlreadyExistsException:
            if not exists:
                raise

    def _drop_table(self, cursor: Cursor) -> None:
        missing = cursor.accept("IF", "EXISTS")
        database, name = self._qualified(cursor)
        cursor.accept("PURGE")
        cursor.end()
        try:
            self._glue.delete_table(DatabaseName=database, Name=name)
        except self._glue.exceptions.EntityNotFoundException:
            if not missing:
                raise DdlError(
                    f"FAILED: SemanticException [Error 10001]: Table not found {database}.{name}"
                ) from None

    def _drop_view(self, cursor: Cursor) -> None:
        missing = cursor.accept("IF", "EXISTS")
        database, name = self._qualified(cursor)
        cursor.end()
        try:
            view = self._lake.table(database, name).view
        except LakeError:
            if missing:
                return
            raise
        if not view:
            raise DdlError(f"FAILED: {database}.{name} is a table; use DROP TABLE")
        self._glue.delete_table(DatabaseName=database, Name=name)

    def _describe(self, cursor: Cursor) -> Output:
        cursor.accept("FORMATTED") or cursor.accept("EXTENDED")
        table = self._table(cursor)

        def line(name: str, kind: str, comment: str) -> str:
            return f"{name:<20}\t{kind:<20}\t{comment:<20}"

        lines = [line(c.name, str(c.type), c.comment) for c in table.all_columns]
        if table.partition_keys:
            lines += ["\t \t ", "# Partition Information\t \t "]
            lines += [line("# col_name", "data_type", "comment"), "\t \t "]
            lines += [line(c.name, str(c.type), c.comment) for c in table.partition_keys]
        return ["col_name", "data_type", "comment"], lines

    def _show_columns(self, cursor: Cursor) -> Output:
        if not cursor.accept("IN"):
            cursor.expect("FROM")
        database, name = self._qualified(cursor)
        if cursor.accept("IN") or cursor.accept("FROM"):
            database = cursor.name()
        return ["field"], [c.name for c in self._lake.table(database, name).all_columns]

    def _show_properties(self, cursor: Cursor) -> Output:
        table = self._table(cursor)
        wanted = cursor.listed(cursor.string) if cursor.text else list(table.parameters)
        return ["prpt_name", "prpt_value"], [
            f"{key}\t{table.parameters.get(key, f'Table does not have property: {key}')}"
            for key in wanted
        ]

    def _show_create_view(self, cursor: Cursor) -> Output:
        table = self._table(cursor)
        if not table.view:
            raise DdlError(f"FAILED: {table.name} is not a view")
        text = f"CREATE VIEW {table.database}.{table.name} AS\n{table.view['originalSql']}"
        return ["Create View"], text.splitlines()

    def _show_create_table(self, cursor: Cursor) -> Output:
        table = self._table(cursor)
        storage = table.raw["StorageDescriptor"]

        def columns(items: list[dict[str, str]]) -> list[str]:
            last = len(items) - 1
            return [
                f"  `{c['Name']}` {c.get('Type', 'string')}"
                + (f" COMMENT {_sql(c['Comment'])}" if c.get("Comment") else "")
                + ("," if index < last else ")")
                for index, c in enumerate(items)
            ]

        def properties(items: dict[str, str]) -> list[str]:
            last = len(items) - 1
            return [
                f"  {_sql(key)}={_sql(value)}" + (", " if index < last else ")")
                for index, (key, value) in enumerate(items.items())
            ]

        lines = [f"CREATE EXTERNAL TABLE `{table.database}.{table.name}`("]
        lines += columns(storage["Columns"])
        if table.partition_keys:
            lines += ["PARTITIONED BY ( ", *columns(table.raw["PartitionKeys"])]
        lines += ["ROW FORMAT SERDE ", f"  {_sql(table.serde)} "]
        if table.serde_parameters:
            lines += ["WITH SERDEPROPERTIES ( ", *properties(table.serde_parameters)]
        lines += ["STORED AS INPUTFORMAT ", f"  {_sql(storage.get('InputFormat', ''))} "]
        lines += ["OUTPUTFORMAT ", f"  {_sql(storage.get('OutputFormat', ''))}"]
        lines += ["LOCATION", f"  {_sql(table.location)}"]
        kept = {key: value for key, value in table.parameters.items() if key != "EXTERNAL"}
        if kept:
            lines += ["TBLPROPERTIES (", *properties(kept)]
        return ["createtab_stmt"], lines

    # Partitions

    def _show_partitions(self, cursor: Cursor) -> Output:
        table = self._table(cursor)
        _require_partitioned(table)
        return ["partition"], [_spec(table, p.values) for p in self._lake.partitions(table)]

    def _alter_table(self, cursor: Cursor) -> None:
        table = self._table(cursor)
        if cursor.accept("ADD", "PARTITION"):
            self._add_partitions(cursor, table, exists=False)
        elif cursor.accept("ADD", "IF", "NOT", "EXISTS", "PARTITION"):
            self._add_partitions(cursor, table, exists=True)
        elif cursor.accept("DROP", "PARTITION"):
            self._drop_partitions(cursor, table, missing=False)
        elif cursor.accept("DROP", "IF", "EXISTS", "PARTITION"):
            self._drop_partitions(cursor, table, missing=True)
        elif cursor.accept("PARTITION"):
            values = _partition_values(cursor, table)
            cursor.expect("SET", "LOCATION")
            location = cursor.string()
            cursor.end()
            self._glue.update_partition(
                DatabaseName=table.database,
                TableName=table.name,
                PartitionValueList=values,
                PartitionInput=partition_input(table, values, location),
            )
        else:
            self._alter_definition(cursor, table)

    def _alter_definition(self, cursor: Cursor, table: LakeTable) -> None:
        definition = table_input(table.raw)
        storage = definition["StorageDescriptor"]
        if cursor.accept("SET", "LOCATION"):
            storage["Location"] = cursor.string()
        elif cursor.accept("SET", "TBLPROPERTIES"):
            definition["Parameters"] = table.parameters | self._properties(cursor)
        elif cursor.accept("ADD", "COLUMNS"):
            added = cursor.listed(lambda: _column(cursor))
            for column in added:
                if column["Name"] in {c.name for c in table.all_columns}:
                    raise DdlError(
                        "FAILED: Execution Error, return code 1 from "
                        "org.apache.hadoop.hive.ql.exec.DDLTask. Duplicate column name: "
                        + column["Name"]
                    )
            storage["Columns"] = storage["Columns"] + added
        elif cursor.accept("REPLACE", "COLUMNS"):
            storage["Columns"] = cursor.listed(lambda: _column(cursor))
        else:
            raise cursor.error("ADD, DROP, PARTITION, SET or REPLACE")
        cursor.end()
        self._glue.update_table(DatabaseName=table.database, TableInput=definition)

    def _add_partitions(self, cursor: Cursor, table: LakeTable, *, exists: bool) -> None:
        inputs = []
        while True:
            values = _partition_values(cursor, table)
            location = f"{table.location.rstrip('/')}/{_spec(table, tuple(values))}/"
            if cursor.accept("LOCATION"):
                location = cursor.string()
            inputs.append(partition_input(table, values, location))
            if not cursor.accept("PARTITION"):
                break
        cursor.end()
        self.add(table, inputs, exists=exists)

    def add(self, table: LakeTable, inputs: list[dict[str, Any]], *, exists: bool) -> None:
        """Register partitions; those that are known already are an error unless `exists`."""
        for start in range(0, len(inputs), _BATCH):
            answer = self._glue.batch_create_partition(
                DatabaseName=table.database,
                TableName=table.name,
                PartitionInputList=inputs[start : start + _BATCH],
            )
            for error in answer.get("Errors", []):
                detail = error["ErrorDetail"]
                if detail["ErrorCode"] != "AlreadyExistsException" or not exists:
                    raise DdlError(
                        "FAILED: Execution Error, return code 1 from "
                        f"org.apache.hadoop.hive.ql.exec.DDLTask. {detail['ErrorCode']}(message:"
                        f"Partition {error['PartitionValues']}: {detail['ErrorMessage']})"
                    )

    def _drop_partitions(self, cursor: Cursor, table: LakeTable, *, missing: bool) -> None:
        chosen: list[tuple[str, ...]] = []
        while True:
            conditions = cursor.listed(lambda: _comparison(cursor, table))
            matched = [
                p.values
                for p in self._lake.partitions(table)
                if all(holds(p.values[index]) for index, holds in conditions)
            ]
            if not matched and not missing:
                raise DdlError("FAILED: SemanticException [Error 10006]: Partition not found")
            chosen += matched
            if not (cursor.accept(",", "PARTITION") or cursor.accept("PARTITION")):
                break
        cursor.end()
        for values in chosen:
            self._glue.delete_partition(
                DatabaseName=table.database, TableName=table.name, PartitionValues=list(values)
            )

    def _repair(self, cursor: Cursor) -> Output:
        table = self._table(cursor)
        cursor.end()
        _require_partitioned(table)
        known = {partition.values for partition in self._lake.partitions(table)}
        found: dict[tuple[str, ...], str] = {}
        base = table.location.rstrip("/")
        for path in self._lake.files(table.location):
            parts = self._lake.address(path).removeprefix(f"{base}/").split("/")[:-1]
            pairs = [part.partition("=") for part in parts[: len(table.partition_keys)]]
            if [pair[0].lower() for pair in pairs] == [key.name for key in table.partition_keys]:
                values = tuple(unquote(pair[2]) for pair in pairs)
                found[values] = f"{base}/{'/'.join(parts[: len(pairs)])}/"
        new = {values: location for values, location in found.items() if values not in known}
        if not new:
            return [], []
        # As on AWS, a value with a colon is named, and left out without a word.
        added = {v: location for v, location in new.items() if not any(":" in x for x in v)}
        self.add(
            table, [partition_input(table, list(v), at) for v, at in added.items()], exists=True
        )
        missing = "\t".join(f"{table.name}:{_spec(table, values)}" for values in new)
        return [], [
            f"Partitions not in metastore:\t{missing}",
            *(
                f"Repair: Added partition to metastore {table.name}:{_spec(table, values)}"
                for values in added
            ),
        ]

    def _properties(self, cursor: Cursor) -> dict[str, str]:
        def pair() -> tuple[str, str]:
            key = cursor.string()
            cursor.expect("=")
            return key, cursor.string()

        return dict(cursor.listed(pair))


def descriptor(
    columns: list[dict[str, str]],
    location: str,
    classes: tuple[str, str, str],
    serde_parameters: dict[str, str],
) -> dict[str, Any]:
    """A StorageDescriptor; `classes` are the SerDe and the input and output formats."""
    serde, reads, writes = classes
    return {
        "Columns": columns,
        "Location": location,
        "InputFormat": reads,
        "OutputFormat": writes,
        "SerdeInfo": {
            "SerializationLibrary": serde,
            "Parameters": {"serialization.format": "1", **serde_parameters},
        },
    }


def formats(name: str) -> tuple[str, str, str]:
    """The classes of a format: PARQUET, TEXTFILE or JSON."""
    return _SERDES[name]


def table_input(raw: dict[str, Any]) -> dict[str, Any]:
    """What UpdateTable takes of what GetTable answers."""
    names = (
        "Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys",
        "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters",
    )  # fmt: skip
    return {name: raw[name] for name in names if raw.get(name)}


def _column(cursor: Cursor) -> dict[str, str]:
    column = {"Name": cursor.name(), "Type": cursor.type()}
    if cursor.accept("COMMENT"):
        column["Comment"] = cursor.string()
    return column


def _delimited(cursor: Cursor) -> dict[str, str]:
    names = {
        ("FIELDS", "TERMINATED", "BY"): "field.delim",
        ("ESCAPED", "BY"): "escape.delim",
        ("COLLECTION", "ITEMS", "TERMINATED", "BY"): "colelction.delim",
        ("MAP", "KEYS", "TERMINATED", "BY"): "mapkey.delim",
        ("LINES", "TERMINATED", "BY"): "line.delim",
        ("NULL", "DEFINED", "AS"): "serialization.null.format",
    }
    found: dict[str, str] = {}
    while words := next((words for words in names if cursor.accept(*words)), None):
        found[names[words]] = cursor.tokens[cursor.at][1][1:-1]
        cursor.string()
    return found


def partition_input(table: LakeTable, values: list[str], location: str) -> dict[str, Any]:
    """Glue's PartitionInput for a partition at `location`."""
    storage = {**table.raw["StorageDescriptor"], "Location": location}
    return {"Values": values, "StorageDescriptor": storage}


def _partition_values(cursor: Cursor, table: LakeTable) -> list[str]:
    def pair() -> tuple[str, str]:
        name = cursor.name()
        cursor.expect("=")
        return name, cursor.value()

    given = dict(cursor.listed(pair))
    keys = [key.name for key in table.partition_keys]
    if sorted(given) != sorted(keys):
        raise DdlError(
            f"FAILED: SemanticException: the partition must name {', '.join(keys) or 'no column'}; "
            f"it names {', '.join(given)}"
        )
    return [given[key] for key in keys]


def _comparison(cursor: Cursor, table: LakeTable) -> tuple[int, Callable[[str], bool]]:
    name = cursor.name()
    keys = {key.name: (index, key) for index, key in enumerate(table.partition_keys)}
    if name not in keys:
        raise DdlError(f"FAILED: SemanticException: {name} is not a partition column")
    index, key = keys[name]
    sign = cursor.text
    if sign not in ("=", "<", ">", "<=", ">=", "<>", "!="):
        raise cursor.error("a comparison")
    cursor.at += 1
    cast: Callable[[str], Any] = (
        int if key.type.name in ("tinyint", "smallint", "int", "bigint") else str
    )
    wanted = cast(cursor.value())
    tests: dict[str, Callable[[Any], bool]] = {
        "=": lambda value: value == wanted,
        "<": lambda value: value < wanted,
        ">": lambda value: value > wanted,
        "<=": lambda value: value <= wanted,
        ">=": lambda value: value >= wanted,
        "<>": lambda value: value != wanted,
        "!=": lambda value: value != wanted,
    }
    return index, lambda value: tests[sign](cast(value))


def _spec(table: LakeTable, values: tuple[str, ...]) -> str:
    pairs = zip(table.partition_keys, values, strict=True)
    return "/".join(f"{key.name}={value}" for key, value in pairs)


def _require_partitioned(table: LakeTable) -> None:
    if not table.partition_keys:
        raise DdlError(
            "FAILED: Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. "
            f"Table {table.database}.{table.name} is not a partitioned table"
        )


def _pattern(cursor: Cursor) -> Callable[[str], bool]:
    cursor.accept("LIKE")
    text = cursor.string() if cursor.text else "*"
    cursor.end()
    pattern = re.compile(text.replace("*", ".*") if ".*" not in text else text, re.IGNORECASE)
    return lambda name: pattern.fullmatch(name) is not None


def _failed(error: botocore.exceptions.ClientError) -> DdlError:
    details = error.response["Error"]
    return DdlError(
        "FAILED: Execution Error, return code 1 from org.apache.hadoop.hive.ql.exec.DDLTask. "
        f"{details['Code']}(message:{details['Message']})"
    )


def _sql(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
