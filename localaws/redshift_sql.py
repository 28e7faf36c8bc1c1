"""Runs Redshift SQL: a namespace's DuckDB file, the Glue catalog beside it, transactions.

Known differences from Redshift: division and averages of decimals are FLOAT8, SUM of BIGINT is
BIGINT, CHAR is not padded, lengths are cut in characters where they are cast (but checked in bytes
where they are stored), nested columns of the lake are always SUPER, and grants are recorded, not
enforced.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from localaws import redshift_catalog as catalog
from localaws import redshift_ddl as ddl
from localaws import redshift_dialect as dialect
from localaws import redshift_files as files
from localaws import redshift_procedures as procedures
from localaws.lake import Lake, LakeError
from localaws.redshift_dialect import SqlError
from localaws.service import Context
from localaws.trail import acting_as

MEMORY_LIMIT = "512MB"
BATCH_ROWS = 1000
#: How long a database stays open after its last statement.
IDLE_SECONDS = 5.0
#: How often a waiting statement looks whether it was cancelled.
POLL_SECONDS = 0.2


@dataclass
class Outcome:
    """What a statement gave: the number of rows it wrote, or the rows themselves.

    Attributes:
        rows: rows written; 0 for DDL.
        columns: name and DuckDB type of each result column, or None without a result set.
        batches: the result, to be read before the session runs anything else.
    """

    rows: int = 0
    columns: list[tuple[str, str]] | None = None
    batches: Iterator[pa.RecordBatch] | None = None


@dataclass(frozen=True)
class Found:
    """A relation and its kind: table, temp, view, late, materialized, external or system."""

    kind: str
    database: str
    schema: str
    name: str
    #: A view's query, a system view's DuckDB name, an external table's Glue database.
    definition: str = ""
    #: Where a view's query looks names up.
    search_path: str = ""

    def __str__(self) -> str:
        if self.kind == "temp":
            return f'temp.main."{self.name}"'
        return f'"{self.database}"."{self.schema}"."{self.name}"'


class TableLocks:
    """Redshift's write locks: one transaction at a time writes a table, others wait for its end.

    A transaction that had read before it waited fails with error 1023: what it read is old.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owners: dict[str, Session] = {}
        self._waiting: dict[Session, str] = {}
        self._written: dict[str, int] = {}
        self._clock = 0

    def now(self) -> int:
        """The number of transactions that have written."""
        return self._clock

    def acquire(self, session: Session, table: str) -> None:
        """Wait until `session` may write `table`.

        Raises:
            SqlError: on a deadlock, a cancel, or a serialization conflict.
        """
        with self._changed:
            try:
                while self._owners.get(table, session) is not session:
                    self._waiting[session] = table
                    owner = self._owners.get(table)
                    while owner is not None and owner in self._waiting:
                        owner = self._owners.get(self._waiting[owner])
                        if owner is session:
                            raise SqlError("deadlock detected")
                    session.raise_if_cancelled()
                    self._changed.wait(POLL_SECONDS)
            finally:
                self._waiting.pop(session, None)
            self._owners[table] = session
            if session.snapshot is not None and self._written.get(table, 0) > session.snapshot:
                raise SqlError(dialect.SERIALIZABLE_VIOLATION.format(table))

    def release(self, session: Session, *, committed: bool) -> None:
        """Give back all the session's locks."""
        with self._changed:
            held = [table for table, owner in self._owners.items() if owner is session]
            self._clock += bool(held and committed)
            for table in held:
                del self._owners[table]
                if committed:
                    self._written[table] = self._clock
            self._changed.notify_all()


class Warehouse:
    """A namespace's database file, open while statements run on it and for a moment after.

    Closing gives the memory back and checkpoints; a kill leaves the last committed state.

    Args:
        context: of the embedded AWS.
        lake: the Glue catalog.
        namespace: the namespace's record, as it is now.
    """

    def __init__(
        self, context: Context, lake: Lake, namespace: Callable[[], dict[str, Any]]
    ) -> None:
        self.context, self.lake, self._namespace = context, lake, namespace
        self.database: str = namespace()["dbName"]
        self.namespace_id: str = namespace()["namespaceId"]
        self.locks = TableLocks()
        self._lock = threading.Lock()
        self._root: duckdb.DuckDBPyConnection | None = None
        self._users = 0
        self._closer = threading.Timer(0, self.close)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session with settings and temporary tables of its own."""
        with self._lock:
            self._closer.cancel()
            if self._root is None:
                self._root = self._open()
            self._users += 1
            session = Session(self, self._root.cursor())
        try:
            yield session
        finally:
            session.close()
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._closer = threading.Timer(IDLE_SECONDS, self.close)
                    self._closer.daemon = True
                    self._closer.start()

    def close(self) -> None:
        """Close the file unless a session is open."""
        with self._lock:
            if not self._users and self._root is not None:
                self._root.close()
                self._root = None

    def _open(self) -> duckdb.DuckDBPyConnection:
        home = self.context.home / "redshift"
        name = self._namespace()["namespaceName"]
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        root = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": str(home / "tmp" / name),
                "threads": os.cpu_count() or 1,
                "preserve_insertion_order": False,
                "python_enable_replacements": False,
                "autoinstall_known_extensions": False,
            },
        )
        path = str(home / f"{name}.duckdb").replace("'", "''")
        root.execute(f"ATTACH '{path}' AS \"{self.database}\"")
        catalog.create(root, self.database)
        return root

    def assume(self, role: str) -> contextlib.AbstractContextManager[None]:
        """Do what follows with the permissions of `role` (see `require_role`)."""
        self.require_role(role)
        is_default = role.lower() == "default"
        return acting_as(self._namespace()["defaultIamRoleArn"] if is_default else role)

    def require_role(self, role: str) -> None:
        """Raise unless the namespace may assume `role` (an ARN or ``default``), as on AWS."""
        namespace = self._namespace()
        if role.lower() == "default":
            if not namespace.get("defaultIamRoleArn"):
                raise SqlError(
                    f"namespace {namespace['namespaceName']} has no default IAM role: set its "
                    "defaultIamRoleArn, or name a role"
                )
        elif role not in namespace["iamRoles"]:
            raise SqlError(
                f"User is not authorized to assume IAM Role {role}: add it to the iamRoles of "
                f"namespace {namespace['namespaceName']}"
            )


class Session:
    """One client's connection; `run` runs one statement inside the open `transaction`."""

    def __init__(self, warehouse: Warehouse, cursor: duckdb.DuckDBPyConnection) -> None:
        self.warehouse, self.cursor = warehouse, cursor
        self.search_path = ["public"]
        #: The locks' clock when this transaction first looked at data; None before it did.
        self.snapshot: int | None = None
        self._began = 0
        self._cancelled = threading.Event()
        self._views = 0

    def close(self) -> None:
        """End the session; what was not committed is undone."""
        self.cursor.close()
        self.warehouse.locks.release(self, committed=False)

    def cancel(self) -> None:
        """Make the running statement, and every later one, fail (from another thread)."""
        self._cancelled.set()
        self.cursor.interrupt()

    def raise_if_cancelled(self) -> None:
        """Raise when `cancel` was called."""
        if self._cancelled.is_set():
            raise SqlError("Query cancelled on user's request")

    # ------------------------------------------------------------ transactions

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements run within commit together, or none does.

        Raises:
            SqlError: when the commit itself fails.
        """
        self._begin()
        try:
            yield
            self._commit()
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                self.cursor.execute("ROLLBACK")
            raise
        finally:
            self.warehouse.locks.release(self, committed=False)

    def _begin(self) -> None:
        self.snapshot, self._began = None, self.warehouse.locks.now()
        self.cursor.execute("BEGIN")
        self.cursor.execute(
            f"SET search_path = '\"{self.warehouse.database}\".public,memory.main'; "
            "SET integer_division = true; SET TimeZone = 'UTC'"
        )

    def _commit(self) -> None:
        self.raise_if_cancelled()
        try:
            self.cursor.execute("COMMIT")
        except duckdb.Error as error:
            raise dialect.redshift_error(error) from None
        self.warehouse.locks.release(self, committed=True)

    def lock(self, *tables: str) -> None:
        """Take write locks; a transaction that has seen no data yet then sees the newest."""
        tables = tuple(table for table in tables if not table.startswith("temp."))  # one's own
        for table in tables:
            self.warehouse.locks.acquire(self, table)
        if tables and self.snapshot is None:
            self.cursor.execute("ROLLBACK")
            self._begin()
            self.snapshot = self._began

    # ------------------------------------------------------------ statements

    def run(self, sql: str) -> Outcome:
        """Run one statement.

        Raises:
            SqlError: with Redshift's words where they are known.
        """
        self.raise_if_cancelled()
        try:
            # Without the comments before it, and the semicolon after it.
            outcome = self._dispatch(dialect.clean(sql))
        except duckdb.Error as error:
            raise dialect.redshift_error(error) from None
        except LakeError as error:
            raise SqlError(f"Spectrum Scan Error: {error}") from None
        if self.snapshot is None:
            self.snapshot = self._began
        return outcome

    def _dispatch(self, sql: str) -> Outcome:
        sql = re.sub(r"(?i)^delete\s+(?!from\b)", "DELETE FROM ", sql)  # FROM is optional
        first = re.sub(r"[(']", " ", sql).upper().split()[:3]
        for prefix, command in _COMMANDS.items():
            if first[: len(prefix)] == list(prefix):
                result = command(self, sql)
                break
        else:
            tree = dialect.parse(sql)
            statement = next((_STATEMENTS[t] for t in _STATEMENTS if isinstance(tree, t)), None)
            if statement is None:
                raise SqlError(
                    f'syntax error at or near "{first[0]}" (no statement of this engine)'
                )
            result = statement(self, tree)
        return result if isinstance(result, Outcome) else Outcome(rows=result or 0)

    def count(self, sql: str) -> int:
        """Execute DuckDB SQL; returns the number of rows it wrote."""
        row = self.cursor.execute(sql).fetchone()
        return int(row[0]) if row and isinstance(row[0], int) else 0

    def query(self, tree: exp.Query) -> Outcome:
        """SELECT; with INTO it makes a table."""
        if into := tree.args.get("into"):
            tree.set("into", None)
            return Outcome(
                ddl.create_table(self, exp.Create(this=into.this, kind="TABLE", expression=tree))
            )
        relation = self.cursor.sql(dialect.write(self.bind(tree)))
        columns = list(zip(relation.columns, map(str, relation.types), strict=True))
        return Outcome(columns=columns, batches=_read(relation))

    def select(self, sql: str) -> str:
        """The DuckDB SQL of a Redshift query."""
        tree = dialect.parse(sql)
        if not isinstance(tree, exp.Query):
            raise SqlError(f'syntax error at or near "{sql.split()[0]}" (a SELECT is wanted)')
        return dialect.write(self.bind(tree))

    def explain(self, sql: str) -> Outcome:
        """EXPLAIN, with DuckDB's plan."""
        rows = self.cursor.execute(f"EXPLAIN {self.select(sql[len('explain') :])}").fetchall()
        lines = [line for row in rows for line in row[1].rstrip().splitlines()]
        batch = pa.RecordBatch.from_pydict({"QUERY PLAN": lines})
        return Outcome(columns=[("QUERY PLAN", "VARCHAR")], batches=iter([batch]))

    def write(self, tree: exp.Insert | exp.Update | exp.Delete) -> int:
        """INSERT, UPDATE or DELETE."""
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        self._bind_target(target, tree)
        return self.count(dialect.write(tree))

    def merge(self, tree: exp.Merge) -> int:
        """MERGE, which in Redshift has a table as its source and one clause of each kind."""
        self._require_merge_source(tree)
        whens = tree.args["whens"].expressions
        if sorted(bool(when.args["matched"]) for when in whens) != [False, True]:
            raise SqlError("MERGE needs one WHEN MATCHED and one WHEN NOT MATCHED clause")
        target = self.require(tree.this, writable=True)
        for insert in (when.args["then"] for when in whens):
            # sqlglot reads INSERT VALUES (...) without columns as a call of a function `values`.
            if isinstance(insert, exp.Insert) and not insert.expression:
                columns = [exp.column(column) for column in self.columns(target)]
                values = insert.this.expressions[0].expressions
                if len(values) > len(columns):
                    raise SqlError("INSERT has more expressions than target columns")
                insert.set("this", exp.Tuple(expressions=columns[: len(values)]))
                insert.set("expression", exp.Tuple(expressions=values))
        self._bind_target(tree.this, tree)
        return self.count(dialect.write(tree))

    def merge_or_replace(self, sql: str) -> int:
        """MERGE; REMOVE DUPLICATES replaces matched rows by the source's distinct rows."""
        body, duplicates = re.subn(r"(?i)\s+remove\s+duplicates$", "", sql)
        if not duplicates:
            tree = dialect.parse(sql)
            if not isinstance(tree, exp.Merge):
                raise SqlError('syntax error at or near "MERGE"')
            return self.merge(tree)
        tree = dialect.parse(f"{body} WHEN MATCHED THEN DELETE")
        self._require_merge_source(tree)
        target = self._bind_target(tree.this, tree)
        source, on = dialect.write(tree.args["using"]), dialect.write(tree.args["on"])
        self.count(f"DELETE FROM {target} USING {source} WHERE {on}")
        return self.count(f"INSERT INTO {target} SELECT DISTINCT * FROM {source}")

    def _require_merge_source(self, tree: exp.Expression) -> None:
        source = tree.args["using"]
        if not isinstance(source, exp.Table):
            raise SqlError('syntax error at or near "(" (the source of MERGE must be a table)')
        if self.require(source).kind not in ("table", "temp", "external"):
            raise SqlError(f'the source of MERGE must be a table, and "{source.name}" is none')

    def truncate(self, tree: exp.TruncateTable) -> int:
        """TRUNCATE commits what came before it and itself, as in Redshift."""
        target = self.require(tree.expressions[0], writable=True)
        self.lock(str(target))
        self._commit()
        self._begin()
        self.lock(str(target))
        rows = self.count(f"TRUNCATE {target}")
        self._commit()
        self._begin()
        return rows

    def maintain(self, sql: str) -> None:
        """ANALYZE and VACUUM: DuckDB keeps statistics and space itself; the table must exist."""
        options = (
            r"(?is)^(analyze|vacuum)(\s+(compression|verbose|full|sort\s+only|delete\s+only|reindex"
            r"|recluster))*|\s+to\s+\d+\s+percent|\s+boost$|\s+predicate\s+columns|\(.*\)"
        )
        if name := re.sub(options, "", sql).strip():
            self.require(dialect.table(name), writable=True)

    def lock_tables(self, sql: str) -> None:
        """LOCK."""
        names = re.sub(r"(?is)^lock\s+(table\s+)?", "", sql).split(",")
        tables = [self.require(dialect.table(name), writable=True) for name in names]
        self.lock(*map(str, tables))

    def set(self, sql: str) -> None:
        """SET of the search path, and of settings that cannot change a result here."""
        match = re.fullmatch(r"(?is)set\s+(?:session\s+)?(\w+)\s*(?:=|\s+to\s+)(.+)", sql)
        if not match:
            raise SqlError('syntax error at or near "SET"')
        name, value = match[1].lower(), match[2].strip()
        if name == "search_path":
            path = [part.strip().strip("\"'").lower() for part in value.split(",")]
            self.search_path = [part for part in path if part != "$user"] or ["public"]
        elif name == "timezone" and value.strip("'").upper() in ("UTC", "GMT"):
            return
        # A label, and how nested data is shown, which is always as JSON here.
        elif name not in ("query_group", "json_serialization_enable"):
            raise SqlError(f'configuration parameter "{name}" cannot be set in this engine')

    def grant(self, sql: str) -> None:
        """GRANT or REVOKE."""

        def find(written: str) -> tuple[str, str]:
            found = self.require(dialect.table(written))
            return found.schema, found.name

        catalog.grant(sql, self.cursor, find, lambda schema: [n for n, _ in self.tables(schema)])

    def change_defaults(self, sql: str) -> None:
        """ALTER DEFAULT PRIVILEGES."""
        catalog.change_defaults(
            sql, self.cursor, lambda schema: [n for n, _ in self.tables(schema)]
        )

    def refuse_transaction_control(self, sql: str) -> None:
        """BEGIN and the like: a request to the Data API is a transaction already."""
        raise SqlError(
            f"{sql.split()[0].upper()} is not supported: each request is one transaction; send the "
            "statements that belong together as one BatchExecuteStatement"
        )

    # ------------------------------------------------------------ names

    def find(self, table: exp.Table) -> Found | None:
        """The relation a name stands for, looked up along the search path."""
        if table.catalog and table.catalog != self.warehouse.database:
            raise SqlError(f'cross-database reference to "{table.catalog}" is not available')
        database, name = self.warehouse.database, table.name
        if system := catalog.system_relation(table.db, name, self.cursor, self.warehouse.lake):
            return Found("system", database, table.db, name, definition=system)
        for schema in [table.db] if table.db else ["temp", *self.search_path]:
            place = ["temp", "main"] if schema == "temp" else [database, schema]
            row = self.cursor.execute(
                "SELECT CASE database_name WHEN 'temp' THEN 'temp' "
                "ELSE coalesce(v.kind, 'table') END, v.definition, v.search_path "
                "FROM (SELECT database_name, schema_name, "
                "table_name FROM duckdb_tables() UNION ALL SELECT database_name, schema_name, "
                "view_name FROM duckdb_views()) AS t LEFT JOIN localaws.views AS v "
                "ON v.schema_name = t.schema_name AND v.view_name = t.table_name "
                "WHERE t.database_name = ? AND t.schema_name = ? AND t.table_name = ?",
                [*place, name],
            ).fetchone()
            if row and schema not in ("localaws", "main"):
                return Found(row[0], database, schema, name, row[1] or "", row[2] or "")
            if (glue := self.glue_database(schema)) is not None:
                try:
                    with self.spectrum(schema):
                        self.warehouse.lake.table(glue, name)
                    return Found("external", database, schema, name, definition=glue)
                except LakeError as error:
                    if error.code != "TABLE_NOT_FOUND":
                        raise
        return None

    def require(self, table: exp.Table, *, writable: bool = False) -> Found:
        """Like `find`, for a relation that must exist (and be a table that can be written)."""
        found = self.find(table)
        if found is None:
            if table.db and table.db not in self.schemas():
                raise SqlError(f'schema "{table.db}" does not exist')
            written = f"{table.db}.{table.name}" if table.db else table.name
            raise SqlError(f'relation "{written}" does not exist')
        if writable and found.kind not in ("table", "temp"):
            raise SqlError(f'"{table.name}" is not a table (it is of kind {found.kind})')
        return found

    def schemas(self) -> list[str]:
        """The schemas a user sees, sorted."""
        rows = self.cursor.execute(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = ? "
            f"AND schema_name NOT IN {catalog.HIDDEN} AND NOT internal ORDER BY 1",
            [self.warehouse.database],
        ).fetchall()
        return [row[0] for row in rows]

    def tables(self, schema: str) -> list[tuple[str, str]]:
        """Name and type (TABLE, VIEW, EXTERNAL TABLE) of a schema's relations, sorted."""
        if (database := self.glue_database(schema)) is not None:
            with self.spectrum(schema):
                known = database in self.warehouse.lake.databases()
                tables = self.warehouse.lake.tables(database) if known else []
            return [(table.name, "EXTERNAL TABLE") for table in tables]
        if schema not in self.schemas():
            raise SqlError(f'schema "{schema}" does not exist')
        rows = self.cursor.execute(
            "SELECT table_name, CASE table_type WHEN 'VIEW' THEN 'VIEW' ELSE 'TABLE' END "
            "FROM information_schema.tables "
            "WHERE table_catalog = ? AND table_schema = ? ORDER BY 1",
            [self.warehouse.database, schema],
        ).fetchall()
        return [(name, kind) for name, kind in rows]

    def columns(self, found: Found) -> dict[str, str]:
        """Names and DuckDB types of a relation's columns."""
        if found.kind == "external":
            with self.spectrum(found.schema):
                table = self.warehouse.lake.table(found.definition, found.name)
            return {
                column.name: "JSON" if column.type.children else column.type.duckdb
                for column in table.all_columns
            }
        rows = self.cursor.execute(f"DESCRIBE {found}").fetchall()
        return {row[0]: row[1] for row in rows}

    def glue_database(self, schema: str) -> str | None:
        """The Glue database of an external schema, None for another schema."""
        row = self.cursor.execute(
            "SELECT glue_database FROM localaws.external_schemas WHERE schema_name = ?", [schema]
        ).fetchone()
        return row[0] if row else None

    def spectrum(self, schema: str) -> contextlib.AbstractContextManager[None]:
        """Read an external schema with the permissions of its role."""
        rows = self.cursor.execute(
            "SELECT iam_role FROM localaws.external_schemas WHERE schema_name = ?", [schema]
        ).fetchall()
        return self.warehouse.assume(rows[0][0])

    def new_name(self, table: exp.Table, *, temporary: bool = False) -> str:
        """The full name of a relation that is about to be created."""
        if temporary or table.name.startswith("#"):
            return f'temp.main."{table.name}"'
        schema = table.db or self.search_path[0]
        if self.glue_database(schema) is not None:
            raise SqlError(f'"{schema}" is an external schema: create its tables in the catalog')
        if schema not in self.schemas():
            raise SqlError(f'schema "{schema}" does not exist')
        return f'"{self.warehouse.database}"."{schema}"."{table.name}"'

    # ------------------------------------------------------------ binding

    def bind(self, tree: exp.Expression, target: exp.Table | None = None) -> exp.Expression:
        """Put real relations in the place of names, then give the tree DuckDB's meaning.

        Views and external tables become temporary views, which end with the session.
        """
        dialect.name_columns(tree)
        ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
        for table in list(tree.find_all(exp.Table)):
            if table is target or (not table.db and table.name in ctes):
                continue
            if isinstance(table.this, exp.ExplodingGenerateSeries):
                continue
            if not isinstance(table.this, exp.Identifier):
                raise SqlError(f"function {table.this.sql('redshift')} is not available in FROM")
            found = self.require(table)
            if found.kind == "external":
                name = self._temporary_view(self._external_sql(found, table))
            elif found.kind in ("view", "late"):
                name = self._temporary_view(self.view_sql(found))
            else:
                name = found.definition if found.kind == "system" else str(found)
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
            _rename(table, name)
        schemas = set(self.schemas())
        for column in tree.find_all(exp.Column):
            if column.db in schemas:  # public.t.a: the table's alias is t
                column.set("db", None)
                column.set("catalog", None)
        return dialect.to_duckdb(tree)

    def _bind_target(self, table: exp.Table, tree: exp.Expression) -> Found:
        """Lock a statement's target and bind the statement."""
        target = self.require(table, writable=True)
        self.lock(str(target))
        _rename(table, str(target))
        self.bind(tree, table)
        return target

    def _temporary_view(self, sql: str) -> str:
        self._views += 1
        self.cursor.execute(f'CREATE TEMP VIEW "view {self._views}" AS {sql}')
        return f'temp.main."view {self._views}"'

    def view_sql(self, found: Found) -> str:
        """A view's query in DuckDB's SQL, bound along the search path it was made with."""
        saved, self.search_path = self.search_path, found.search_path.split(",")
        try:
            return self.select(found.definition)
        finally:
            self.search_path = saved

    def _external_sql(self, found: Found, table: exp.Table) -> str:
        """An external table's files in DuckDB's SQL; what is nested arrives as SUPER."""
        with self.spectrum(found.schema):
            return self._spectrum_sql(found, table)

    def _spectrum_sql(self, found: Found, table: exp.Table) -> str:
        external = self.warehouse.lake.table(found.definition, found.name)
        if external.view is not None:
            raise SqlError(f'"{found.schema}.{found.name}" is an Athena view: not for Redshift')
        condition = dialect.partition_condition(
            table, {key.name for key in external.partition_keys}
        )
        relation = self.warehouse.lake.relation(external, self.cursor, where=condition)
        nested = ", ".join(
            f'to_json("{column.name}") AS "{column.name}"'
            for column in external.all_columns
            if column.type.children
        )
        return f"SELECT * {f'REPLACE ({nested})' if nested else ''} FROM ({relation.sql})"


def _read(relation: duckdb.DuckDBPyRelation) -> Iterator[pa.RecordBatch]:
    """A query's rows; it fails here when it fails while it runs."""
    try:
        yield from relation.to_arrow_reader(BATCH_ROWS)
    except duckdb.Error as error:
        raise dialect.redshift_error(error) from None
    except (pa.ArrowException, OSError) as error:  # DuckDB's error as Arrow hands it on
        raise SqlError(str(error).partition("Error: ")[2] or str(error)) from None


def _rename(table: exp.Table, name: str) -> None:
    new = exp.to_table(name, dialect="duckdb")
    for part in ("this", "db", "catalog"):
        table.set(part, new.args.get(part))


def _principal(session: Session, sql: str) -> None:
    catalog.change_principal(sql, session.cursor)


#: Statements told apart by their first words, since sqlglot does not read them (rightly).
_COMMANDS: dict[tuple[str, ...], Callable[[Session, str], Any]] = {
    ("COPY",): files.copy,
    ("UNLOAD",): files.unload,
    ("CREATE", "EXTERNAL", "SCHEMA"): ddl.create_external_schema,
    ("CREATE", "SCHEMA"): ddl.create_schema,
    ("CREATE", "USER"): _principal,
    ("CREATE", "GROUP"): _principal,
    ("CREATE", "ROLE"): _principal,
    ("DROP", "USER"): _principal,
    ("DROP", "GROUP"): _principal,
    ("DROP", "ROLE"): _principal,
    ("DROP", "PROCEDURE"): procedures.drop,
    ("CALL",): procedures.call,
    ("CREATE",): ddl.create,
    ("ALTER", "DEFAULT", "PRIVILEGES"): Session.change_defaults,
    ("ALTER",): ddl.alter,
    ("REFRESH", "MATERIALIZED", "VIEW"): ddl.refresh,
    ("MERGE",): Session.merge_or_replace,
    ("GRANT",): Session.grant,
    ("REVOKE",): Session.grant,
    ("ANALYZE",): Session.maintain,
    ("VACUUM",): Session.maintain,
    ("LOCK",): Session.lock_tables,
    ("SET",): Session.set,
    ("EXPLAIN",): Session.explain,
    **dict.fromkeys(
        ((word,) for word in dialect.TRANSACTION_CONTROL), Session.refuse_transaction_control
    ),
}

_STATEMENTS: dict[type[exp.Expression], Callable[[Session, Any], Any]] = {
    exp.Query: Session.query,
    exp.Insert: Session.write,
    exp.Update: Session.write,
    exp.Delete: Session.write,
    exp.TruncateTable: Session.truncate,
    exp.Drop: ddl.drop,
    exp.Comment: ddl.comment,
}
