"""The statements of Athena: what each does, and how it fails."""

from __future__ import annotations

import base64
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import orjson
from sqlglot import exp
from sqlglot.errors import SqlglotError

from localaws import athena_results, hive_types, trino
from localaws.hive_ddl import (
    DdlError,
    HiveDdl,
    descriptor,
    formats,
    partition_input,
)
from localaws.lake import VIEW_PREFIX, VIEW_SUFFIX, Lake, LakeError, LakeTable
from localaws.lake_sql import Binder
from localaws.service import Context

CATALOG = "awsdatacatalog"
_DDL = ("CREATE", "DROP", "ALTER", "MSCK", "PREPARE", "DEALLOCATE")
_UTILITY = ("SHOW", "DESCRIBE", "DESC", "EXPLAIN")
_QUERY = ("SELECT", "WITH", "VALUES", "TABLE", "(")
_NO_COLUMN = (
    "Column '{0}' cannot be resolved or requester is not authorized to access requested resources"
)
#: DuckDB's message, Athena's code, Athena's message.
_FAILURES: tuple[tuple[str, str, str], ...] = (
    (r'Referenced column "([^"]+)" not found', "COLUMN_NOT_FOUND", _NO_COLUMN),
    (r'Referenced table "([^"]+)" not found', "COLUMN_NOT_FOUND", _NO_COLUMN),
    (r'does not have a column named "([^"]+)"', "COLUMN_NOT_FOUND", _NO_COLUMN),
    (
        r'Function with name "?(\w+)"? does not exist',
        "FUNCTION_NOT_FOUND",
        "Function '{0}' not registered",
    ),
    (
        r'column "([^"]+)" must appear in the GROUP BY',
        "EXPRESSION_NOT_AGGREGATE",
        "'{0}' must be an aggregate expression or appear in GROUP BY clause",
    ),
    (r"Division by zero", "DIVISION_BY_ZERO", "Division by zero"),
    (
        r"Could not convert string '(.*)' to (\S+)",
        "INVALID_CAST_ARGUMENT",
        "Cannot cast '{0}' to {1}",
    ),
    (
        r'Ambiguous reference to column name "?([^"\s]+)',
        "AMBIGUOUS_NAME",
        "Column '{0}' is ambiguous",
    ),
    (r"^Out of Memory Error", "EXCEEDED_MEMORY_LIMIT", "Query exceeded the memory limit"),
    (
        r'^Invalid Input Error: Malformed JSON in file "([^"]*)"([^\n]*)',
        "HIVE_BAD_DATA",
        "Error parsing JSON of {0}{1}",
    ),
    (
        r"No function matches the given name and argument types '(\w+)\(",
        "FUNCTION_NOT_FOUND",
        "Unexpected parameters for function {0}",
    ),
    (
        r'Could not choose a best candidate function for the function call "(\w+)',
        "TYPE_MISMATCH",
        "Unexpected parameters for function {0}",
    ),
    (r"^(?:Binder|Parser) Error: ([^\n]*)", "SYNTAX_ERROR", "{0}"),
    (r"^IO Error: ([^\n]*)", "HIVE_CANNOT_OPEN_SPLIT", "{0}"),
    (
        r"^(?:Conversion|Invalid Input|Out of Range) Error: ([^\n]*)",
        "INVALID_FUNCTION_ARGUMENT",
        "{0}",
    ),
)


class QueryError(Exception):
    """A failed query; the text is its StateChangeReason."""


class Cancelled(Exception):
    """The query was stopped; the text is its StateChangeReason."""


@dataclass
class Outcome:
    """What a statement did."""

    location: str
    scanned_bytes: int = 0
    update_count: int | None = None
    manifest: str | None = None


def classify(sql: str) -> tuple[str, str]:
    """StatementType and SubstatementType of a statement, by its first words."""
    words = re.sub(r"--[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL).upper().split()
    first = words[0] if words else ""
    if first == "CREATE" and "TABLE" in words[:2] and "AS" in words:
        return "DDL", "CREATE_TABLE_AS_SELECT"
    if first in _UTILITY or first in _DDL:
        named = re.sub(r"\W.*", "", words[1]) if len(words) > 1 else ""
        return ("UTILITY" if first in _UTILITY else "DDL"), f"{first}_{named}".strip("_")
    return "DML", "SELECT" if first.startswith(_QUERY) else re.sub(r"\W.*", "", first)


@dataclass
class Execution:
    """One run of one statement.

    Attributes:
        output: ``s3://…/<id>``, the result's name without a suffix.
        folder: a folder of its own for what is on its way to S3.
    """

    context: Context
    sql: str
    database: str
    output: str
    folder: Path
    memory_limit: str
    cutoff: int | None = None
    parameters: list[str] = field(default_factory=list)
    prepared: Callable[[str], str | None] = lambda name: None
    prepare: Callable[[str, str | None], None] = lambda name, sql: None
    _connection: duckdb.DuckDBPyConnection | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stop it, now or when it starts."""
        self._cancelled.set()
        if self._connection:
            self._connection.interrupt()

    def run(self) -> Outcome:
        """Run the statement to its end.

        Raises:
            QueryError: with the reason.
            Cancelled: after `cancel`.
        """
        self.lake = Lake(self.context)
        self.sql = self.sql.strip().rstrip(";").strip()
        try:
            self._require_running()
            self._connection = trino.connect(
                self.memory_limit, str(self.folder), [str(self.context.s3_root)]
            )
            with self._connection:
                self._require_running()
                return self._statement(self.sql)
        except (LakeError, DdlError) as error:
            raise QueryError(self._with_place(str(error))) from None
        except SqlglotError as error:
            raise QueryError(f"SYNTAX_ERROR: {trino.explain(error)}") from None
        except duckdb.InterruptException:
            raise Cancelled("Query cancelled by user") from None
        except duckdb.Error as error:
            raise QueryError(self._explained(str(error))) from None
        finally:
            self._connection = None

    def _require_running(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("Query cancelled by user")

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB of this execution."""
        assert self._connection is not None
        return self._connection

    # Statements

    def _statement(self, sql: str) -> Outcome:
        bare = re.sub(r"^(\s|--[^\n]*\n|/\*.*?\*/)+", "", sql, flags=re.DOTALL)
        first = bare.split(None, 1)[0].upper() if bare else ""
        if first == "EXPLAIN":
            return self._explain(re.sub(r"(?is)^explain\s+(analyze\s+)?(\([^)]*\)\s*)?", "", bare))
        if first == "UNLOAD":
            return self._unload(bare)
        if first in ("PREPARE", "EXECUTE", "DEALLOCATE"):
            return self._prepared(bare)
        if first.startswith(_QUERY) or first == "INSERT":
            tree = self._parsed(bare)
            return self._insert(tree) if isinstance(tree, exp.Insert) else self._select(tree)
        if re.match(r"(?is)create\s+(or\s+replace\s+)?(view\b|table\b.*?\sas[\s(])", bare):
            tree = self._parsed(bare)
            if isinstance(tree, exp.Create) and tree.kind == "VIEW":
                return self._create_view(tree, bare)
            if isinstance(tree, exp.Create):
                return self._create_table_as(tree)
        if first in ("DELETE", "UPDATE", "MERGE", "OPTIMIZE", "VACUUM"):
            raise QueryError(
                f"NOT_SUPPORTED: {first} is for Iceberg tables; a Hive table's rows cannot be "
                "modified, write its files anew"
            )
        names, lines = HiveDdl(self.context, self.lake, self.database).run(bare)
        return self._text(names, lines)

    def _parsed(self, sql: str) -> exp.Expression:
        try:
            tree = trino.parse(trino.fill(sql, self.parameters))
        except ValueError as error:
            raise QueryError(
                f"INVALID_PARAMETER_USAGE: Incorrect number of parameters: {error}"
            ) from None
        if isinstance(tree, exp.Command):
            raise QueryError(f"NOT_SUPPORTED: Queries of this type are not supported: {sql[:80]}")
        return tree

    def _bound(self, query: exp.Expression) -> tuple[str, int]:
        binder = Binder(self.lake, self.connection, self._find, trino.to_duckdb)
        sql = binder.sql(query, self.database)
        if self.cutoff is not None and binder.scanned_bytes > self.cutoff:
            raise Cancelled(
                f"Bytes scanned limit was exceeded: the query needs {binder.scanned_bytes} bytes, "
                f"its work group allows {self.cutoff}"
            )
        self._require_running()
        return sql, binder.scanned_bytes

    def _select(self, query: exp.Expression) -> Outcome:
        sql, scanned = self._bound(query)
        path = self.folder / "result.csv"
        columns, _ = athena_results.write_csv(self.connection, sql, path)
        location = f"{self.output}.csv"
        with path.open("rb") as body:
            athena_results.put(self.context, location, body, columns)
        return Outcome(location, scanned)

    def _text(self, names: list[str], lines: list[str]) -> Outcome:
        location = f"{self.output}.txt"
        columns = [athena_results.text_column(name) for name in names]
        body = "".join(f"{line}\n" for line in lines).encode()
        athena_results.put(self.context, location, body, columns)
        return Outcome(location)

    def _explain(self, sql: str) -> Outcome:
        bound, _ = self._bound(self._parsed(sql))
        plan = self.connection.execute(f"EXPLAIN {bound}").fetchall()[0][1]
        return self._text(["Query Plan"], plan.splitlines())

    def _prepared(self, sql: str) -> Outcome:
        if match := re.fullmatch(r"(?is)prepare\s+(\w+)\s+from\s+(.+)", sql):
            self.prepare(match[1], match[2])
            return self._text([], [])
        if match := re.fullmatch(r"(?is)deallocate\s+prepare\s+(\w+)", sql):
            self.prepare(match[1], None)
            return self._text([], [])
        match = re.fullmatch(r"(?is)execute\s+(\w+)(?:\s+using\s+(.+))?", sql)
        if not match:
            raise QueryError(f"SYNTAX_ERROR: line 1:1: mismatched input in '{sql[:80]}'")
        statement = self.prepared(match[1])
        if statement is None:
            raise QueryError(f"PREPARED_STATEMENT_NOT_FOUND: {match[1]} was not prepared")
        if match[2]:
            values = trino.parse(f"SELECT {match[2]}").expressions
            self.parameters = [value.unalias().sql(dialect="trino") for value in values]
        return self._statement(statement)

    def _create_view(self, tree: exp.Create, sql: str) -> Outcome:
        table = tree.find(exp.Table)
        assert table is not None
        database, name = self._names(table)
        bound, _ = self._bound(tree.expression)
        relation = self.connection.sql(bound)
        columns = _glue_columns(relation)
        original = re.split(r"(?is)\bas\b", sql, maxsplit=1)[1].strip()
        view = {
            "originalSql": original,
            "catalog": CATALOG,
            "schema": self.database,
            "columns": [
                {"name": c["Name"], "type": hive_types.parse(c["Type"]).athena} for c in columns
            ],
        }
        glue = self.context.client("glue")
        definition = {
            "Name": name,
            "TableType": "VIRTUAL_VIEW",
            "Parameters": {"presto_view": "true", "comment": "Presto View"},
            "PartitionKeys": [],
            "ViewOriginalText": VIEW_PREFIX
            + base64.b64encode(orjson.dumps(view)).decode()
            + VIEW_SUFFIX,
            "ViewExpandedText": "/* Presto View */",
            "StorageDescriptor": {
                "Columns": columns,
                "Location": "",
                "SerdeInfo": {},
            },
        }
        try:
            glue.create_table(DatabaseName=database, TableInput=definition)
        except glue.exceptions.AlreadyExistsException:
            if not tree.args.get("replace") or not self.lake.table(database, name).view:
                raise QueryError(
                    f"TABLE_ALREADY_EXISTS: line 1:1: '{CATALOG}.{database}.{name}' already exists"
                ) from None
            glue.update_table(DatabaseName=database, TableInput=definition)
        except glue.exceptions.EntityNotFoundException:
            raise QueryError(f"SCHEMA_NOT_FOUND: Schema '{database}' does not exist") from None
        return self._text([], [])

    # Statements that write data

    def _create_table_as(self, tree: exp.Create) -> Outcome:
        table = tree.this.find(exp.Table)
        database, name = self._names(table)
        if database not in self.lake.databases():
            raise QueryError(f"SCHEMA_NOT_FOUND: Schema '{database}' does not exist")
        if any(existing.name == name for existing in self.lake.tables(database)):
            if tree.args.get("exists"):
                return self._text([], [])
            raise QueryError(
                f"TABLE_ALREADY_EXISTS: line 1:1: Destination table "
                f"'{CATALOG}.{database}.{name}' already exists"
            )
        given = _properties(tree.args.get("properties"))
        keys = [key.lower() for key in given.pop("partitioned_by", [])]
        location = given.pop("external_location", "")
        location = location or f"{self.output.rpartition('/')[0]}/tables/{self._id}/"
        written = given.pop("format", "parquet").lower()
        compression = _compression(given)
        given.pop("is_external", None)
        if unknown := set(given) - {"field_delimiter", "table_type"}:
            raise QueryError(
                f"INVALID_TABLE_PROPERTY: {', '.join(sorted(unknown))}: not supported here"
            )
        if given.get("table_type", "hive").lower() != "hive":
            raise QueryError("NOT_SUPPORTED: only Hive tables can be made here, not Iceberg")
        if next(self.lake.files(location), None):
            raise QueryError(
                "HIVE_PATH_ALREADY_EXISTS: Target directory for table "
                f"'{database}.{name}' already exists: {location}. You may need to manually clean "
                "the data at this location before retrying."
            )
        query = tree.expression
        sql, scanned = self._bound(query)
        relation = self.connection.sql(sql)
        columns = _glue_columns(relation)
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
        self.context.client("glue").create_table(
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
                self.lake.table(database, name), sql, names, scanned, compression
            )
        except BaseException:
            self.context.client("glue").delete_table(DatabaseName=database, Name=name)
            raise

    def _insert(self, tree: exp.Insert) -> Outcome:
        target = tree.this
        node = target.find(exp.Table)
        database, name = self._names(node)
        table = self.lake.table(database, name)
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
        sql, scanned = self._bound(tree.expression)
        found = len(self.connection.sql(sql).columns)
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
        locations = {p.values: p.location for p in self.lake.partitions(table)} if keys else {}
        new: dict[tuple[str, ...], str] = {}
        written = []
        for path in files:
            parts = path.relative_to(self.folder / "data").parts[: len(keys)]
            values = tuple(unquote(part.partition("=")[2]) for part in parts)
            base = table.location
            if keys:
                base = locations.get(values) or f"{table.location.rstrip('/')}/{'/'.join(parts)}/"
                if values not in locations:
                    new[values] = base
            written.append((path, f"{base.rstrip('/')}/{self._id}_{uuid.uuid4()}{path.suffix}"))
        manifest = self._upload(written)
        HiveDdl(self.context, self.lake, table.database).add(
            table, [partition_input(table, list(v), at) for v, at in new.items()], exists=True
        )
        return Outcome(self.output, scanned, count, manifest)

    def _unload(self, sql: str) -> Outcome:
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
        if next(self.lake.files(location), None):
            raise QueryError(
                f"HIVE_PATH_ALREADY_EXISTS: Target directory already exists: {location}/"
            )
        bound, scanned = self._bound(self._parsed(sql[start + 1 : end]))
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
            inside = path.relative_to(self.folder / "data").parent
            name = f"{inside}/" if str(inside) != "." else ""
            names.append((path, f"{location}/{name}{self._id}_{uuid.uuid4()}{path.suffix}"))
        return Outcome(self.output, scanned, count, self._upload(names))

    def _copy(
        self, sql: str, written: str, keys: list[str], compression: str, delimiter: str
    ) -> tuple[list[Path], int]:
        """Write a query's rows to files under ``folder/data``; returns them and the row count."""
        target = self.folder / "data"
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
        (count,) = self.connection.execute(
            f"COPY ({sql}) TO {_text(str(path))} ({options})"
        ).fetchone() or (0,)
        return (sorted(p for p in target.rglob("*") if p.is_file()) if count else []), count

    def _upload(self, files: list[tuple[Path, str]]) -> str:
        s3 = self.context.client("s3")
        for path, location in files:
            bucket, key = athena_results.split(location)
            with path.open("rb") as body:
                s3.put_object(Bucket=bucket, Key=key, Body=body)
        manifest = f"{self.output}-manifest.csv"
        bucket, key = athena_results.split(manifest)
        s3.put_object(
            Bucket=bucket, Key=key, Body="".join(f"{location}\n" for _, location in files).encode()
        )
        return manifest

    @property
    def _id(self) -> str:
        return self.output.rpartition("/")[2]

    # Names

    def _names(self, table: exp.Table | None) -> tuple[str, str]:
        if table is None:
            raise QueryError("SYNTAX_ERROR: line 1:1: a table's name is missing")
        return (table.db or self.database).lower(), table.name.lower()

    def _find(self, table: exp.Table, schema: str) -> LakeTable | str | None:
        if table.catalog and table.catalog.lower() != CATALOG:
            raise LakeError("CATALOG_NOT_FOUND", f"Catalog '{table.catalog}' does not exist")
        database = (table.db or schema).lower()
        if database == "information_schema":
            return self._information_schema(table.name.lower())
        return self.lake.table(database, table.name)

    def _information_schema(self, name: str) -> str:
        databases = self.lake.databases()
        if name == "schemata":
            return _rows(
                ["catalog_name", "schema_name"],
                [[CATALOG, d] for d in [*databases, "information_schema"]],
            )
        if name not in ("tables", "columns", "views"):
            raise LakeError(
                "TABLE_NOT_FOUND", f"Table '{CATALOG}.information_schema.{name}' does not exist"
            )
        tables = [table for d in databases for table in self.lake.tables(d)]
        head = ["table_catalog", "table_schema", "table_name"]
        if name == "tables":
            kinds = [
                [CATALOG, t.database, t.name, "VIEW" if t.view else "BASE TABLE"] for t in tables
            ]
            return _rows([*head, "table_type"], kinds)
        if name == "views":
            views = [[CATALOG, t.database, t.name, t.view["originalSql"]] for t in tables if t.view]
            return _rows([*head, "view_definition"], views)
        columns = [
            [
                CATALOG, t.database, t.name, c.name, str(index), "YES", c.type.athena,
                c.comment, "partition key" if c in t.partition_keys else "",
            ]
            for t in tables
            for index, c in enumerate(t.all_columns, 1)
        ]  # fmt: skip
        names = ["column_name", "ordinal_position", "is_nullable", "data_type", "comment"]
        sql = _rows([*head, *names, "extra_info"], columns)
        return (
            f"SELECT * REPLACE (CAST(ordinal_position AS BIGINT) AS ordinal_position), "
            f"CAST(NULL AS VARCHAR) AS column_default FROM ({sql})"
        )

    # Failures

    def _explained(self, text: str) -> str:
        for pattern, code, message in _FAILURES:
            if match := re.search(pattern, text):
                groups = [group or "" for group in match.groups()]
                line = f"{code}: {message.format(*groups)}"
                line = line.replace("INT32", "INT").replace("INT64", "BIGINT")
                return self._with_place(line, groups[0] if groups else "")
        return f"GENERIC_INTERNAL_ERROR: {text.splitlines()[0]}"

    def _with_place(self, reason: str, name: str = "") -> str:
        """Put ``line 1:15:`` behind the code, where the name at fault stands in the query."""
        code, _, rest = reason.partition(": ")
        if code == "TABLE_NOT_FOUND":
            name = rest.split("'")[1].rpartition(".")[2]
        if code not in (
            "TABLE_NOT_FOUND", "COLUMN_NOT_FOUND", "FUNCTION_NOT_FOUND", "SYNTAX_ERROR",
            "EXPRESSION_NOT_AGGREGATE", "AMBIGUOUS_NAME", "TYPE_MISMATCH",
        ):  # fmt: skip
            return reason
        found = re.search(rf"\b{re.escape(name)}\b", self.sql, re.IGNORECASE) if name else None
        at = found.start() if found else 0
        line, column = self.sql.count("\n", 0, at) + 1, at - self.sql.rfind("\n", 0, at)
        return f"{code}: line {line}:{column}: {rest}"


def _glue_columns(relation: duckdb.DuckDBPyRelation) -> list[dict[str, str]]:
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


def _rows(names: list[str], rows: list[list[str]]) -> str:
    columns = ", ".join(_quoted(name) for name in names)
    if not rows:
        return (
            f"SELECT {', '.join(f'CAST(NULL AS VARCHAR) AS {_quoted(n)}' for n in names)} WHERE 0"
        )
    values = ", ".join(f"({', '.join(_text(value) for value in row)})" for row in rows)
    return f"SELECT * FROM (VALUES {values}) AS v({columns})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
