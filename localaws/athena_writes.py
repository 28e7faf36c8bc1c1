"""Athena's statements that write data: CREATE TABLE AS, INSERT and UNLOAD."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import duckdb
from sqlglot import exp

from localaws import athena_results, hive_types, trino
from localaws.athena_errors import QueryError
from localaws.hive_ddl import HiveDdl, descriptor, formats, partition_input
from localaws.information_schema import CATALOG
from localaws.lake import LakeTable

if TYPE_CHECKING:
    from localaws.athena_sql import Execution


@dataclass
class Outcome:
    """What a statement did."""

    location: str
    scanned_bytes: int = 0
    update_count: int | None = None
    manifest: str | None = None


@dataclass
class Writer:
    """Writes what a query finds."""

    query: Execution

    def create_table_as(self, tree: exp.Create) -> Outcome:
        """CREATE TABLE … AS: a new table of Hive over what the query finds."""
        table = tree.this.find(exp.Table)
        database, name = self.query.names(table)
        if database not in self.query.lake.databases():
            raise QueryError(f"SCHEMA_NOT_FOUND: Schema '{database}' does not exist")
        if any(existing.name == name for existing in self.query.lake.tables(database)):
            if tree.args.get("exists"):
                return self.query.text([], [])
            raise QueryError(
                f"TABLE_ALREADY_EXISTS: line 1:1: Destination table "
                f"'{CATALOG}.{database}.{name}' already exists"
            )
        given = _properties(tree.args.get("properties"))
        keys = [key.lower() for key in given.pop("partitioned_by", [])]
        location = given.pop("external_location", "")
        location = location or f"{self.query.output.rpartition('/')[0]}/tables/{self._id}/"
        written = given.pop("format", "parquet").lower()
        compression = _compression(given)
        given.pop("is_external", None)
        if unknown := set(given) - {"field_delimiter", "table_type"}:
            raise QueryError(
                f"INVALID_TABLE_PROPERTY: {', '.join(sorted(unknown))}: not supported here"
            )
        if given.get("table_type", "hive").lower() != "hive":
            raise QueryError("NOT_SUPPORTED: only Hive tables can be made here, not Iceberg")
        if next(self.query.lake.files(location), None):
            raise QueryError(
                "HIVE_PATH_ALREADY_EXISTS: Target directory for table "
                f"'{database}.{name}' already exists: {location}. You may need to manually clean "
                "the data at this location before retrying."
            )
        query = tree.expression
        sql, scanned = self.query.bound(query)
        relation = self.query.connection.sql(sql)
        columns = glue_columns(relation)
        names = [column["Name"] for column in columns]
        if names[len(names) - len(keys) :] != keys:
            raise QueryError(
                "HIVE_COLUMN_ORDER_MISMATCH: Partition keys must be the last columns in the table "
                "and in the same order as the table properties"
            )
        parameters, serde_parameters = {"EXTERNAL": "TRUE"}, {}
        if written == "textfile":
            serde_parameters["field.delim"] = given.get("field_delimiter", "\x01")
        if written not in ("parquet", "json", "textfile"):
            raise QueryError(f"NOT_SUPPORTED: format '{written}'; use PARQUET, JSON or TEXTFILE")
        plain = columns[: len(columns) - len(keys)]
        self.query.context.client("glue").create_table(
            DatabaseName=database,
            TableInput={
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "PartitionKeys": columns[len(plain) :],
                "Parameters": parameters,
                "StorageDescriptor": descriptor(
                    plain, location, formats(written.upper()), serde_parameters
                ),
            },
        )
        try:
            return self._write_table(
                self.query.lake.table(database, name), sql, names, scanned, compression
            )
        except BaseException:
            self.query.context.client("glue").delete_table(DatabaseName=database, Name=name)
            raise

    def insert(self, tree: exp.Insert) -> Outcome:
        """INSERT INTO: more files, and partitions, for a table."""
        target = tree.this
        node = target.find(exp.Table)
        database, name = self.query.names(node)
        table = self.query.lake.table(database, name)
        if table.view:
            raise QueryError(f"NOT_SUPPORTED: Inserting into views is not supported: {name}")
        all_names = [column.name for column in table.all_columns]
        given = (
            [column.name.lower() for column in target.expressions]
            if isinstance(target, exp.Schema)
            else all_names
        )
        if unknown := [column for column in given if column not in all_names]:
            raise QueryError(
                f"COLUMN_NOT_FOUND: line 1:1: Insert column name does not exist in target table: "
                f"{unknown[0]}"
            )
        sql, scanned = self.query.bound(tree.expression)
        found = len(self.query.connection.sql(sql).columns)
        if found != len(given):
            raise QueryError(
                f"MISMATCHED_COLUMN_COUNT: line 1:1: Insert query has {found} expression(s) but "
                f"expected {len(given)} target column(s)"
            )
        return self._write_table(table, sql, given, scanned, "")

    def _write_table(
        self, table: LakeTable, sql: str, given: list[str], scanned: int, compression: str
    ) -> Outcome:
        """Write a query's rows (whose columns are `given`) as files and partitions of a table."""
        select = ", ".join(
            f"CAST({_quoted(c.name) if c.name in given else 'NULL'} AS {c.type.duckdb}) "
            f"AS {_quoted(c.name)}"
            for c in table.all_columns
        )
        names = ", ".join(_quoted(name) for name in given)
        keys = [key.name for key in table.partition_keys]
        delimiter = table.serde_parameters.get("field.delim", "\x01")
        files, count = self._copy(
            f"SELECT {select} FROM ({sql}) AS q({names})",
            table.format,
            keys,
            compression,
            delimiter if "Lazy" in table.serde else ",",
        )
        locations = (
            {p.values: p.location for p in self.query.lake.partitions(table)} if keys else {}
        )
        new: dict[tuple[str, ...], str] = {}
        written = []
        for path in files:
            parts = path.relative_to(self.query.folder / "data").parts[: len(keys)]
            values = tuple(unquote(part.partition("=")[2]) for part in parts)
            base = table.location
            if keys:
                base = locations.get(values) or f"{table.location.rstrip('/')}/{'/'.join(parts)}/"
                if values not in locations:
                    new[values] = base
            written.append((path, f"{base.rstrip('/')}/{self._id}_{uuid.uuid4()}{path.suffix}"))
        manifest = self._upload(written)
        HiveDdl(self.query.context, self.query.lake, table.database).add(
            table, [partition_input(table, list(v), at) for v, at in new.items()], exists=True
        )
        return Outcome(self.query.output, scanned, count, manifest)

    def unload(self, sql: str) -> Outcome:
        """UNLOAD: files only."""
        start, depth = sql.find("("), 0
        end = -1
        for match in re.finditer(r"'(?:[^']|'')*'|[()]", sql):
            depth += {"(": 1, ")": -1}.get(match[0], 0)
            if depth == 0 and match[0] == ")":
                end = match.start()
                break
        to = re.fullmatch(r"(?is)\s*to\s+'([^']+)'(?:\s+with\s*(\(.*\)))?", sql[end + 1 :])
        if start < 0 or end < 0 or not to:
            raise QueryError("SYNTAX_ERROR: line 1:1: UNLOAD (query) TO 's3://…' WITH (…) expected")
        options = to[2] or "(format='')"
        made = trino.parse(f"CREATE TABLE t WITH {options} AS SELECT 1")
        given = _properties(made.args["properties"])
        location = to[1].rstrip("/")
        if next(self.query.lake.files(location), None):
            raise QueryError(
                f"HIVE_PATH_ALREADY_EXISTS: Target directory already exists: {location}/"
            )
        bound, scanned = self.query.bound(self.query.parsed(sql[start + 1 : end]))
        keys = [key.lower() for key in given.pop("partitioned_by", [])]
        written = given.pop("format", "").lower()
        if written not in ("parquet", "json", "textfile"):
            raise QueryError(
                f"INVALID_TABLE_PROPERTY: format '{written}'; UNLOAD WITH (format = …) takes "
                "PARQUET, JSON or TEXTFILE here"
            )
        files, count = self._copy(
            bound,
            "csv" if written == "textfile" else written,
            keys,
            _compression(given) or "gzip",
            given.pop("field_delimiter", "\x01"),
        )
        names = []
        for path in files:
            inside = path.relative_to(self.query.folder / "data").parent
            name = f"{inside}/" if str(inside) != "." else ""
            names.append((path, f"{location}/{name}{self._id}_{uuid.uuid4()}{path.suffix}"))
        return Outcome(self.query.output, scanned, count, self._upload(names))

    def _copy(
        self, sql: str, written: str, keys: list[str], compression: str, delimiter: str
    ) -> tuple[list[Path], int]:
        """Write a query's rows to files under ``folder/data``; returns them and the row count."""
        target = self.query.folder / "data"
        target.mkdir()
        compression = compression or ("zstd" if written == "parquet" else "gzip")
        suffix = (
            written
            if written == "parquet"
            else {"gzip": "gz", "none": written}.get(compression, "zst")
        )
        options = {"parquet": "FORMAT parquet", "json": "FORMAT json"}.get(
            written, f"FORMAT csv, HEADER false, DELIMITER {_text(delimiter)}, QUOTE ''"
        )
        options += f", COMPRESSION {'uncompressed' if compression == 'none' else compression}"
        if keys:
            columns = ", ".join(_quoted(key) for key in keys)
            options += f", PARTITION_BY ({columns}), FILE_EXTENSION {_text(suffix)}"
        path = target if keys else target / f"part.{suffix}"
        (count,) = self.query.connection.execute(
            f"COPY ({sql}) TO {_text(str(path))} ({options})"
        ).fetchone() or (0,)
        return (sorted(p for p in target.rglob("*") if p.is_file()) if count else []), count

    def _upload(self, files: list[tuple[Path, str]]) -> str:
        s3 = self.query.context.client("s3")
        for path, location in files:
            bucket, key = athena_results.split(location)
            with path.open("rb") as body:
                s3.put_object(Bucket=bucket, Key=key, Body=body)
        manifest = f"{self.query.output}-manifest.csv"
        bucket, key = athena_results.split(manifest)
        s3.put_object(
            Bucket=bucket, Key=key, Body="".join(f"{location}\n" for _, location in files).encode()
        )
        return manifest

    @property
    def _id(self) -> str:
        return self.query.output.rpartition("/")[2]


def glue_columns(relation: duckdb.DuckDBPyRelation) -> list[dict[str, str]]:
    """A query's columns as those of a new table or view."""
    names = [name.lower() for name in relation.columns]
    for position, name in enumerate(names, 1):
        if re.fullmatch(r"_col\d+", name):
            raise QueryError(
                "COLUMN_NAME_NOT_SPECIFIED: line 1:1: Column name not specified at position "
                f"{position}"
            )
        if name in names[: position - 1]:
            raise QueryError(
                f"DUPLICATE_COLUMN_NAME: line 1:1: Column name '{name}' specified more than once"
            )
    return [
        {"Name": name, "Type": str(_hive(kind))}
        for name, kind in zip(names, relation.types, strict=True)
    ]


def _hive(kind: Any) -> hive_types.HiveType:
    """The Hive type of a DuckDB type, for a table that is made of a query."""
    name = {
        "VARCHAR": "string", "BLOB": "binary", "HUGEINT": "bigint", "UBIGINT": "bigint",
        "UINTEGER": "bigint", "INTEGER": "int", "TIMESTAMP_S": "timestamp", "JSON": "string",
        "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    }.get(str(kind), str(kind).lower())  # fmt: skip
    children = dict(kind.children) if kind.id in ("list", "map", "struct") else {}
    if kind.id == "list":
        name = f"array<{_hive(children['child'])}>"
    elif kind.id == "map":
        name = f"map<{_hive(children['key'])},{_hive(children['value'])}>"
    elif kind.id == "struct":
        name = f"struct<{','.join(f'{field}:{_hive(child)}' for field, child in children.items())}>"
    try:
        return hive_types.parse(name)
    except hive_types.HiveTypeError:
        raise QueryError(f"NOT_SUPPORTED: Unsupported Hive type: {name}") from None


def _properties(properties: exp.Expression | None) -> dict[str, Any]:
    """WITH (…) as a dict: texts, and lists for ARRAY[…]."""
    found: dict[str, Any] = {}
    for item in properties.expressions if properties else []:
        if isinstance(item, exp.FileFormatProperty):
            found["format"] = item.this.name
        elif isinstance(item, exp.PartitionedByProperty):
            found["partitioned_by"] = [part.name for part in item.this.expressions]
        elif isinstance(item, exp.Property):
            name = item.name.lower()
            value = item.args.get("value")
            many = isinstance(value, exp.Array | exp.Schema | exp.Tuple)
            found[name] = [v.name for v in value.expressions] if many else value.name
    return found


def _compression(given: dict[str, Any]) -> str:
    value = ""
    for name in ("write_compression", "parquet_compression", "compression"):
        value = given.pop(name, value)
    given.pop("compression_level", None)
    if value.lower() not in ("", "gzip", "snappy", "zstd", "none", "lz4"):
        raise QueryError(f"INVALID_TABLE_PROPERTY: compression '{value}' is not supported here")
    return value.lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
