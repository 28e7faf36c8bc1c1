"""The lake as a SQL engine sees it: Glue catalog tables over files in S3, as DuckDB relations.

Only partitions that the catalog knows are read, each from its own location, as on AWS.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions
import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from localaws import hive_types
from localaws.hive_types import HiveType
from localaws.service import Context

VIEW_PREFIX, VIEW_SUFFIX = "/* Presto View: ", " */"
#: A partition value that stands for NULL.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
#: The longest JSON line read (DuckDB sets buffers of this size aside).
MAX_JSON_LINE_BYTES = 16 << 20


class LakeError(Exception):
    """A table that cannot be read; its text starts with the code, as Athena's reasons do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Column:
    """A column as the catalog has it."""

    name: str
    type: HiveType
    comment: str = ""


@dataclass(frozen=True)
class LakeTable:
    """A table or view of the catalog."""

    database: str
    name: str
    columns: tuple[Column, ...]
    partition_keys: tuple[Column, ...]
    #: parquet, json or csv; empty for a view and for what cannot be read here.
    format: str
    location: str
    serde: str = ""
    serde_parameters: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    #: A view's decoded definition: originalSql, catalog, schema, columns.
    view: dict[str, Any] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Columns, then partition keys: the order of ``SELECT *``."""
        return self.columns + self.partition_keys


@dataclass(frozen=True)
class Partition:
    """One registered partition."""

    values: tuple[str, ...]
    location: str
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Relation:
    """A table ready to be read.

    Attributes:
        sql: a SELECT with the catalog's columns, names and types.
        files: the files it reads.
        scanned_bytes: what Athena and Spectrum would bill for it.
    """

    sql: str
    files: list[Path]
    scanned_bytes: int


class Lake:
    """The Glue catalog and the files under it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def _glue(self, operation: str, member: str, **request: Any) -> list[dict[str, Any]]:
        pages = self._context.client("glue").get_paginator(operation).paginate(**request)
        return [item for page in pages for item in page[member]]

    def databases(self) -> list[str]:
        """Names of the databases, sorted."""
        return sorted(item["Name"] for item in self._glue("get_databases", "DatabaseList"))

    def tables(self, database: str) -> list[LakeTable]:
        """The database's tables and views, sorted by name.

        Raises:
            LakeError: SCHEMA_NOT_FOUND.
        """
        try:
            found = self._glue("get_tables", "TableList", DatabaseName=database.lower())
        except self._context.client("glue").exceptions.EntityNotFoundException:
            raise LakeError("SCHEMA_NOT_FOUND", f"Schema '{database}' does not exist") from None
        return sorted((_table(item) for item in found), key=lambda table: table.name)

    def table(self, database: str, name: str) -> LakeTable:
        """One table or view.

        Raises:
            LakeError: TABLE_NOT_FOUND, or the reason why its definition cannot be read.
        """
        try:
            answer = self._context.client("glue").get_table(
                DatabaseName=database.lower(), Name=name.lower()
            )
        except self._context.client("glue").exceptions.EntityNotFoundException:
            full_name = f"awsdatacatalog.{database}.{name}".lower()
            raise LakeError("TABLE_NOT_FOUND", f"Table '{full_name}' does not exist") from None
        return _table(answer["Table"])

    def partitions(self, table: LakeTable) -> list[Partition]:
        """The registered partitions, in the order of their values."""
        found = self._glue(
            "get_partitions", "Partitions", DatabaseName=table.database, TableName=table.name
        )
        return sorted(
            (
                Partition(
                    tuple(item["Values"]),
                    item.get("StorageDescriptor", {}).get("Location") or table.location,
                    _columns(item.get("StorageDescriptor", {}).get("Columns", [])),
                )
                for item in found
            ),
            key=lambda partition: partition.values,
        )

    def files(self, location: str) -> Iterator[Path]:
        """The readable objects under an ``s3://`` location, in key order, at any depth.

        Raises:
            LakeError: when the location is not in S3 or its bucket does not exist.
        """
        address = urlsplit(location.replace("s3a://", "s3://", 1))
        bucket = self._context.s3_root / address.netloc
        if address.scheme != "s3" or not address.netloc:
            raise LakeError("HIVE_UNKNOWN_ERROR", f"'{location}' is not a location in S3")
        if not bucket.is_dir() and not self._bucket_exists(address.netloc):
            raise LakeError(
                "PERMISSION_DENIED", f"the bucket '{address.netloc}' of {location} does not exist"
            )
        self._context.trail.listing(address.netloc)
        for folder, folders, names in os.walk(bucket / address.path.strip("/")):
            folders[:] = sorted(name for name in folders if name[0] not in "._")
            # An object is what has a sidecar: a file without one is still being written.
            for name in sorted(names):
                if name.endswith(".meta.json") and name[0] not in "._":
                    sidecar = Path(folder, name)
                    path = sidecar.with_name(name.removesuffix(".meta.json"))
                    if path.exists() and not _is_delete_marker(sidecar):
                        yield path

    def _bucket_exists(self, bucket: str) -> bool:
        try:
            self._context.client("s3").head_bucket(Bucket=bucket)
        except botocore.exceptions.ClientError:
            return False
        return True

    def note_reads(self, files: Iterable[Path]) -> None:
        """Tell the trail that whoever acts now reads these files."""
        for folder in {path.parent for path in files}:
            bucket, _, key = folder.relative_to(self._context.s3_root).as_posix().partition("/")
            self._context.trail.objects("s3:GetObject", bucket, [f"{key}/"])

    def address(self, path: Path) -> str:
        """The ``s3://`` name of a file."""
        return f"s3://{path.relative_to(self._context.s3_root)}"

    def relation(
        self,
        table: LakeTable,
        connection: duckdb.DuckDBPyConnection,
        *,
        where: str = "TRUE",
        columns: Iterable[str] | None = None,
    ) -> Relation:
        """The table as a DuckDB SELECT over exactly the files it needs.

        Args:
            table: from `table`; not a view.
            connection: where `where` is evaluated and the SELECT will run.
            where: a DuckDB condition on partition columns alone. Partitions that it does not
                hold for are not read; the caller still filters the rows.
            columns: the columns the query touches (all when None); others may come out NULL,
                and their bytes are not counted where the format is columnar.

        Raises:
            LakeError: HIVE_BAD_DATA and the like.
        """
        if not table.format:
            raise LakeError(
                "HIVE_UNSUPPORTED_FORMAT",
                f"{table.database}.{table.name} is read by the SerDe '{table.serde}'; "
                "Parquet, JSON (OpenX, Hive) and CSV tables can be read",
            )
        partitions = [Partition((), table.location)]
        if table.partition_keys:
            partitions = self._prune(table, connection, where)
        files: list[Path] = []
        values: list[tuple[str, ...]] = []
        for partition in partitions:
            found = [path for path in self.files(partition.location) if path.stat().st_size]
            files += found
            values += [partition.values] * len(found)
        for path in files:
            if not {"*", "?", "["}.isdisjoint(str(path)):
                raise LakeError("NOT_SUPPORTED", f"a key with *, ? or [: {self.address(path)}")
        self.note_reads(files)
        used = {column.name for column in table.columns}
        if columns is not None:
            used &= {name.lower() for name in columns}
        if not files:
            nulls = (f"CAST(NULL AS {c.type.duckdb}) AS {_name(c.name)}" for c in table.all_columns)
            return Relation(f"SELECT {', '.join(nulls)} WHERE FALSE", [], 0)
        if table.format == "parquet":
            source, scanned = self._parquet(table, files, used)
        else:
            source = _json(table, files, used) if table.format == "json" else _csv(table, files)
            scanned = sum(path.stat().st_size for path in files)
        if not table.partition_keys:
            return Relation(f"SELECT * EXCLUDE (file_index) FROM ({source})", files, scanned)
        keys = ", ".join(f"p.{_name(key.name)}" for key in table.partition_keys)
        rows = _values(table, [(str(index), *value) for index, value in enumerate(values)])
        return Relation(
            f"SELECT f.* EXCLUDE (file_index), {keys} FROM ({source}) AS f "
            f"JOIN ({rows}) AS p ON f.file_index = p.file_index",
            files,
            scanned,
        )

    def _prune(
        self, table: LakeTable, connection: duckdb.DuckDBPyConnection, where: str
    ) -> list[Partition]:
        partitions = self.partitions(table)
        for partition in partitions:
            for column in partition.columns:
                _require_matching_type(table, partition, column)
        if not partitions:
            return []
        rows = _values(table, [(str(i), *p.values) for i, p in enumerate(partitions)])
        try:
            kept = connection.execute(
                f"SELECT file_index FROM ({rows}) WHERE {where} ORDER BY file_index"
            ).fetchall()
        except duckdb.ConversionException as error:
            raise LakeError(
                "HIVE_INVALID_PARTITION_VALUE",
                f"Invalid partition value in {table.database}.{table.name}: {error}",
            ) from None
        return [partitions[index] for (index,) in kept]

    def _parquet(self, table: LakeTable, files: list[Path], used: set[str]) -> tuple[str, int]:
        present: set[str] = set()
        scanned = 0
        for path in files:
            try:
                footer = pq.read_metadata(path)
            except (pa.ArrowException, OSError) as error:
                raise LakeError(
                    "HIVE_BAD_DATA", f"Not valid Parquet file: {self.address(path)}: {error}"
                ) from None
            found = {f.name.lower(): f.type for f in footer.schema.to_arrow_schema()}
            present |= found.keys()
            for column in table.columns:
                have = found.get(column.name)
                if have is not None and not column.type.reads(have):
                    raise LakeError(
                        "HIVE_BAD_DATA",
                        f"Field {column.name}'s type {str(have).upper()} in parquet file "
                        f"{self.address(path)} is incompatible with type {column.type.athena} "
                        "defined in table schema",
                    )
            for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
                for chunk in (group.column(i) for i in range(group.num_columns)):
                    if chunk.path_in_schema.split(".")[0].lower() in used:
                        scanned += chunk.total_compressed_size
        select = ", ".join(
            f"CAST({_name(c.name) if c.name in present else 'NULL'} AS {c.type.duckdb}) "
            f"AS {_name(c.name)}"
            for c in table.columns
        )
        source = f"read_parquet({_list(files)}, union_by_name = true)"
        return f"SELECT file_index, {select} FROM {source}", scanned


def _json(table: LakeTable, files: list[Path], used: set[str]) -> str:
    settings = table.serde_parameters
    ignore = settings.get("ignore.malformed.json", "").lower() == "true"
    keys = {
        column.name: settings.get(f"mapping.{column.name}", column.name).lower()
        for column in table.columns
        if column.name in used
    }
    structure = orjson.dumps(
        {keys[c.name]: c.type.duckdb for c in table.columns if c.name in keys}
    ).decode()
    # Hive's keys know no case; rewriting a line's keys is slow, so only lines that need it pay.
    names = "array_to_string(json_keys(line), '')"
    lowered = (
        f"CASE WHEN {names} = lower({names}) THEN line ELSE to_json(map_from_entries("
        "list_transform(json_keys(line), lambda k: "
        "(lower(k), json_extract(line, '$.\"' || k || '\"'))))) END"
    )
    fields = f"json_transform({lowered}, {_text(structure)})" if keys else "NULL"
    select = ", ".join(
        f"fields.{_name(keys[c.name])} AS {_name(c.name)}"
        if c.name in keys
        else f"CAST(NULL AS {c.type.duckdb}) AS {_name(c.name)}"
        for c in table.columns
    )
    return (
        f"SELECT file_index, {select} FROM (SELECT file_index, {fields} AS fields "
        f"FROM read_json({_list(files)}, "
        "format = 'newline_delimited', records = 'false', columns = {line: 'JSON'}, "
        f"maximum_object_size = {MAX_JSON_LINE_BYTES}, ignore_errors = {str(ignore).lower()}))"
    )


def _csv(table: LakeTable, files: list[Path]) -> str:
    quoted = "OpenCSV" in table.serde
    get = table.serde_parameters.get
    delimiter = get("separatorChar", ",") if quoted else get("field.delim", "\x01")
    options = {
        "delim": delimiter.encode().decode("unicode_escape"),
        "quote": get("quoteChar", '"') if quoted else "",
        "escape": get("escapeChar", '"') if quoted else "",
        "nullstr": "" if quoted else get("serialization.null.format", "\\N"),
    }
    texts = ", ".join(f"{_name(c.name)}: 'VARCHAR'" for c in table.columns)
    cast = "CAST" if quoted else "TRY_CAST"
    select = ", ".join(
        f"{cast}({_name(c.name)} AS {c.type.duckdb}) AS {_name(c.name)}" for c in table.columns
    )
    return (
        f"SELECT file_index, {select} FROM read_csv({_list(files)}, columns = {{{texts}}}, "
        f"{', '.join(f'{key} = {_text(value)}' for key, value in options.items())}, "
        f"header = false, skip = {int(table.parameters.get('skip.header.line.count', 0))}, "
        "auto_detect = false, null_padding = true, strict_mode = false)"
    )


def _values(table: LakeTable, rows: list[tuple[str, ...]]) -> str:
    """Partition values, typed, with the number of their file (or partition)."""
    keys = ", ".join(
        f"CAST({_name(key.name)} AS {key.type.duckdb}) AS {_name(key.name)}"
        for key in table.partition_keys
    )
    texts = ", ".join(
        f"({row[0]}, "
        + ", ".join("NULL" if value == NULL_PARTITION else _text(value) for value in row[1:])
        + ")"
        for row in rows
    )
    names = ", ".join(_name(key.name) for key in table.partition_keys)
    return f"SELECT file_index, {keys} FROM (VALUES {texts}) AS v(file_index, {names})"


def _require_matching_type(table: LakeTable, partition: Partition, column: Column) -> None:
    declared = next((c for c in table.columns if c.name == column.name), column)
    if not declared.type.accepts(column.type):
        values = "/".join(
            f"{key.name}={value}"
            for key, value in zip(table.partition_keys, partition.values, strict=True)
        )
        raise LakeError(
            "HIVE_PARTITION_SCHEMA_MISMATCH",
            "There is a mismatch between the table and partition schemas. The types are "
            f"incompatible and cannot be coerced. The column '{column.name}' in table "
            f"'{table.database}.{table.name}' is declared as type '{declared.type}', but "
            f"partition '{values}' declared column '{column.name}' as type '{column.type}'.",
        )


def _table(item: dict[str, Any]) -> LakeTable:
    descriptor = item.get("StorageDescriptor", {})
    serde = descriptor.get("SerdeInfo", {})
    view = _view(item)
    return LakeTable(
        database=item["DatabaseName"],
        name=item["Name"],
        columns=_columns(descriptor.get("Columns", [])),
        partition_keys=_columns(item.get("PartitionKeys", [])),
        format="" if view else _format(serde.get("SerializationLibrary", "")),
        location=descriptor.get("Location", ""),
        serde=serde.get("SerializationLibrary", ""),
        serde_parameters=serde.get("Parameters", {}),
        parameters=item.get("Parameters", {}),
        view=view,
        raw=item,
    )


def _view(item: dict[str, Any]) -> dict[str, Any] | None:
    if item.get("TableType") != "VIRTUAL_VIEW":
        return None
    text = item.get("ViewOriginalText", "").strip()
    if not text.startswith(VIEW_PREFIX):
        raise LakeError("INVALID_VIEW", f"{item['Name']} is not a view that Athena wrote")
    return orjson.loads(base64.b64decode(text.removeprefix(VIEW_PREFIX).removesuffix(VIEW_SUFFIX)))


def _format(library: str) -> str:
    for word, name in (("parquet", "parquet"), ("json", "json"), ("csv", "csv"), ("lazy", "csv")):
        if word in library.lower():
            return name
    return ""


def _columns(items: list[dict[str, Any]]) -> tuple[Column, ...]:
    try:
        return tuple(
            Column(
                item["Name"].lower(),
                hive_types.parse(item.get("Type", "string")),
                item.get("Comment", ""),
            )
            for item in items
        )
    except hive_types.HiveTypeError as error:
        raise LakeError("HIVE_INVALID_METADATA", str(error)) from None


def _is_delete_marker(sidecar: Path) -> bool:
    return bool(orjson.loads(sidecar.read_bytes()).get("is_delete_marker"))


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _list(files: list[Path]) -> str:
    return f"[{', '.join(_text(str(path)) for path in files)}]"
