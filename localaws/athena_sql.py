"""One statement of Athena on its way from text to result; what writes data is in athena_writes."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import orjson
from sqlglot import exp
from sqlglot.errors import SqlglotError

from localaws import athena_results, hive_types, trino
from localaws.athena_errors import Cancelled, QueryError, reason_of, with_place
from localaws.athena_writes import Outcome, Writer, glue_columns
from localaws.hive_ddl import HiveDdl
from localaws.hive_parser import DdlError
from localaws.information_schema import CATALOG, information_schema
from localaws.lake import VIEW_PREFIX, VIEW_SUFFIX, Lake, LakeError, LakeTable
from localaws.lake_sql import Binder
from localaws.service import Context

_DDL = ("CREATE", "DROP", "ALTER", "MSCK", "PREPARE", "DEALLOCATE")
_UTILITY = ("SHOW", "DESCRIBE", "DESC", "EXPLAIN")
_QUERY = ("SELECT", "WITH", "VALUES", "TABLE", "(")


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
        encryption: how PutObject encrypts the result, when its bucket's default is not meant.
    """

    context: Context
    sql: str
    database: str
    output: str
    folder: Path
    memory_limit: str
    cutoff: int | None = None
    parameters: list[str] = field(default_factory=list)
    encryption: dict[str, str] = field(default_factory=dict)
    prepared: Callable[[str], str | None] = lambda name: None
    prepare: Callable[[str, str | None], None] = lambda name, sql: None
    _connection: duckdb.DuckDBPyConnection | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stop it, now or when it starts."""
        self._cancelled.set()
        threading.Thread(target=self._interrupt, daemon=True).start()

    def _interrupt(self) -> None:
        # DuckDB forgets an interrupt that comes between two of its statements.
        while connection := self._connection:
            connection.interrupt()
            time.sleep(0.05)

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
            raise QueryError(with_place(str(error), self.sql)) from None
        except SqlglotError as error:
            raise QueryError(f"SYNTAX_ERROR: {trino.explain(error)}") from None
        except duckdb.InterruptException:
            raise Cancelled("Query cancelled by user") from None
        except duckdb.Error as error:
            raise QueryError(reason_of(str(error), self.sql)) from None
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
            return Writer(self).unload(bare)
        if first in ("PREPARE", "EXECUTE", "DEALLOCATE"):
            return self._prepared(bare)
        if first.startswith(_QUERY) or first == "INSERT":
            tree = self.parsed(bare)
            return Writer(self).insert(tree) if isinstance(tree, exp.Insert) else self._select(tree)
        if re.match(r"(?is)create\s+(or\s+replace\s+)?(view\b|table\b.*?\sas[\s(])", bare):
            tree = self.parsed(bare)
            if isinstance(tree, exp.Create) and tree.kind == "VIEW":
                return self._create_view(tree, bare)
            if isinstance(tree, exp.Create):
                return Writer(self).create_table_as(tree)
        if first in ("DELETE", "UPDATE", "MERGE", "OPTIMIZE", "VACUUM"):
            raise QueryError(
                f"NOT_SUPPORTED: {first} is for Iceberg tables; a Hive table's rows cannot be "
                "modified, write its files anew"
            )
        names, lines = HiveDdl(self.context, self.lake, self.database).run(bare)
        return self.text(names, lines)

    def parsed(self, sql: str) -> exp.Expression:
        """One Trino statement, its parameters filled in."""
        try:
            tree = trino.parse(trino.fill(sql, self.parameters))
        except ValueError as error:
            raise QueryError(
                f"INVALID_PARAMETER_USAGE: Incorrect number of parameters: {error}"
            ) from None
        if isinstance(tree, exp.Command):
            raise QueryError(f"NOT_SUPPORTED: Queries of this type are not supported: {sql[:80]}")
        return tree

    def bound(self, query: exp.Expression) -> tuple[str, int]:
        """The query in DuckDB's SQL and the bytes it scans, which the work group must allow."""
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
        sql, scanned = self.bound(query)
        path = self.folder / "result.csv"
        columns, _ = athena_results.write_csv(self.connection, sql, path)
        location = f"{self.output}.csv"
        with path.open("rb") as body:
            athena_results.put(self.context, location, body, columns, self.encryption)
        return Outcome(location, scanned)

    def text(self, names: list[str], lines: list[str]) -> Outcome:
        """Answer with lines of text, as SHOW does."""
        location = f"{self.output}.txt"
        columns = [athena_results.text_column(name) for name in names]
        body = "".join(f"{line}\n" for line in lines).encode()
        athena_results.put(self.context, location, body, columns, self.encryption)
        return Outcome(location)

    def _explain(self, sql: str) -> Outcome:
        bound, _ = self.bound(self.parsed(sql))
        plan = self.connection.execute(f"EXPLAIN {bound}").fetchall()[0][1]
        return self.text(["Query Plan"], plan.splitlines())

    def _prepared(self, sql: str) -> Outcome:
        if match := re.fullmatch(r"(?is)prepare\s+(\w+)\s+from\s+(.+)", sql):
            self.prepare(match[1], match[2])
            return self.text([], [])
        if match := re.fullmatch(r"(?is)deallocate\s+prepare\s+(\w+)", sql):
            self.prepare(match[1], None)
            return self.text([], [])
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
        database, name = self.names(table)
        bound, _ = self.bound(tree.expression)
        relation = self.connection.sql(bound)
        columns = glue_columns(relation)
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
        return self.text([], [])

    # Names

    def names(self, table: exp.Table | None) -> tuple[str, str]:
        """The database and the name of a table in a statement."""
        if table is None:
            raise QueryError("SYNTAX_ERROR: line 1:1: a table's name is missing")
        return (table.db or self.database).lower(), table.name.lower()

    def _find(self, table: exp.Table, schema: str) -> LakeTable | str | None:
        if table.catalog and table.catalog.lower() != CATALOG:
            raise LakeError("CATALOG_NOT_FOUND", f"Catalog '{table.catalog}' does not exist")
        database = (table.db or schema).lower()
        if database == "information_schema":
            return information_schema(self.lake, table.name.lower())
        return self.lake.table(database, table.name)
