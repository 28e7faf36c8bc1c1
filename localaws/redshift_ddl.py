"""Redshift's DDL: schemas, tables, views and materialized views in a namespace's DuckDB file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from localaws import redshift_catalog as catalog
from localaws import redshift_dialect as dialect
from localaws import redshift_procedures as procedures
from localaws.redshift_dialect import SqlError

if TYPE_CHECKING:
    from localaws.redshift_sql import Found, Session

_EXTERNAL_SCHEMA = re.compile(
    r"""create \s+ external \s+ schema \s+ (if \s+ not \s+ exists \s+)? "?(\w+)"?
    \s+ from \s+ data \s+ catalog \s+ database \s+ '([^']+)' (?: \s+ region \s+ '[^']+')?
    \s+ iam_role \s+ (default|'[^']+')
    (\s+ create \s+ external \s+ database \s+ if \s+ not \s+ exists)?""",
    re.IGNORECASE | re.VERBOSE,
)
_SCHEMA = re.compile(
    r'create\s+schema\s+(if\s+not\s+exists\s+)?"?(\w+)"?(\s+(authorization|quota)\s.*)?',
    re.IGNORECASE | re.DOTALL,
)
#: Changes of how rows lie on disk, which nothing here depends on.
_LAYOUT = re.compile(
    r"alter\s+table\s+(\S+)\s+alter\s+(?:(?:compound\s+)?sortkey|distkey|diststyle|encode"
    r"|column\s+\w+\s+encode)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_LIKE = re.compile(
    r"create\s+(?:(?:local\s+)?(temp|temporary)\s+)?table\s+(if\s+not\s+exists\s+)?"
    r"([^\s(]+)\s*\(\s*like\s+(\S+?)(?:\s+(including|excluding)\s+defaults)?\s*\)\s*",
    re.IGNORECASE,
)


def create_schema(session: Session, sql: str) -> None:
    """CREATE SCHEMA (its owner and quota are not held)."""
    match = _SCHEMA.fullmatch(sql)
    if not match:
        raise SqlError("syntax error in CREATE SCHEMA")
    name = match[2].lower()
    if name not in session.schemas():
        session.cursor.execute(f'CREATE SCHEMA "{session.warehouse.database}"."{name}"')
    elif not match[1]:
        raise SqlError(f'Schema "{name}" already exists')


def create_external_schema(session: Session, sql: str) -> None:
    """CREATE EXTERNAL SCHEMA over a database of the Glue catalog, which each statement reads."""
    match = _EXTERNAL_SCHEMA.fullmatch(sql)
    if not match:
        raise SqlError(
            "syntax error in CREATE EXTERNAL SCHEMA: this engine reads name FROM DATA CATALOG "
            "DATABASE 'name' IAM_ROLE 'arn' | default [CREATE EXTERNAL DATABASE IF NOT EXISTS]"
        )
    name, database, role = match[2].lower(), match[3].lower(), match[4].strip("'")
    if name in session.schemas():
        if match[1]:
            return
        raise SqlError(f'Schema "{name}" already exists')
    with session.warehouse.assume(role):
        glue = session.warehouse.context.client("glue")
        try:
            glue.get_database(Name=database)
        except glue.exceptions.EntityNotFoundException:
            if not match[5]:
                raise SqlError(
                    f'external database "{database}" does not exist in the Glue catalog'
                ) from None
            glue.create_database(DatabaseInput={"Name": database})
    session.cursor.execute(f'CREATE SCHEMA "{session.warehouse.database}"."{name}"')
    session.cursor.execute(
        "INSERT INTO localaws.external_schemas VALUES (?, ?, ?)", [name, database, role]
    )


def create(session: Session, sql: str) -> int:
    """CREATE TABLE, TABLE AS, [MATERIALIZED] VIEW or PROCEDURE; returns the rows written."""
    if procedures.is_create(sql):
        procedures.create(session, sql)
        return 0
    sql = dialect.without_attributes(sql)
    if match := _LIKE.fullmatch(sql):
        return _create_like(session, *match.groups())
    tree = dialect.parse(sql)
    if not isinstance(tree, exp.Create) or tree.kind not in ("TABLE", "VIEW"):
        raise SqlError(f'syntax error at or near "{" ".join(sql.split()[:3])}"')
    if tree.kind == "VIEW":
        return _create_view(session, tree, sql)
    return create_table(session, tree)


def create_table(session: Session, tree: exp.Create) -> int:
    """CREATE TABLE, with columns or as a query."""
    table = _target(tree)
    name = session.new_name(table, temporary=bool(tree.find(exp.TemporaryProperty)))
    kind = "TEMP TABLE" if name.startswith("temp.") else "TABLE"
    session.lock(name)
    if tree.args.get("exists") and session.find(table):
        return 0
    if tree.expression:
        columns = ""
        if isinstance(tree.this, exp.Schema):
            names = [column.sql("duckdb", identify=True) for column in tree.this.expressions]
            columns = f"({', '.join(names)})"
        query = dialect.write(session.bind(tree.expression))
        written = session.count(f"CREATE {kind} {name} {columns} AS {query}")
        _grant_defaults(session, table, name)
        return written
    # PRIMARY KEY, UNIQUE and REFERENCES only inform Redshift's planner: nothing holds them.
    keys = {each.name for key in tree.this.find_all(exp.PrimaryKey) for each in key.expressions}
    lines = []
    for column in tree.this.find_all(exp.ColumnDef):
        if column.name in keys:
            column.append("constraints", exp.ColumnConstraint(kind=exp.NotNullColumnConstraint()))
        lines += _column(session, name, column)
    written = session.count(f"CREATE {kind} {name} ({', '.join(lines)})")
    _grant_defaults(session, table, name)
    return written


def _grant_defaults(session: Session, table: exp.Table, name: str) -> None:
    if not name.startswith("temp."):
        catalog.grant_defaults(session.cursor, table.db or session.search_path[0], table.name)


def _column(session: Session, table: str, column: exp.ColumnDef) -> list[str]:
    """A column's DuckDB definition and, for text, the check of its length in bytes."""
    if column.kind is None:
        raise SqlError(f'column "{column.name}" has no type')
    line = f'"{column.name}" {dialect.data_type(column.kind).sql("duckdb")}'
    for constraint in column.constraints:
        kind = constraint.kind
        if (
            isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null")
        ) or isinstance(kind, exp.PrimaryKeyColumnConstraint):
            line += "" if line.endswith(" NOT NULL") else " NOT NULL"
        elif isinstance(kind, exp.DefaultColumnConstraint):
            line += f" DEFAULT ({dialect.write(dialect.to_duckdb(kind.this))})"
        elif isinstance(kind, exp.GeneratedAsIdentityColumnConstraint):
            bare = table.replace('"', "")
            sequence = f'localaws."{bare}.{column.name}"'
            session.cursor.execute(
                f"CREATE SEQUENCE {sequence} MINVALUE -9223372036854775808 "
                f"START {kind.args['start'].name} INCREMENT {kind.args['increment'].name}"
            )
            line += f" NOT NULL DEFAULT nextval('{sequence}')"
    length = dialect.length(column.kind)
    return [line, f'CHECK (strlen("{column.name}") <= {length})'] if length else [line]


def _create_like(
    session: Session, temporary: str, exists: str, written: str, like: str, defaults: str
) -> int:
    table, source = dialect.table(written), session.require(dialect.table(like), writable=True)
    name = session.new_name(table, temporary=bool(temporary))
    session.lock(name)
    if exists and session.find(table):
        return 0
    definition = _definition(session, source)
    for column in definition.find_all(exp.ColumnDef):
        for constraint in list(column.constraints):
            if isinstance(constraint.kind, exp.DefaultColumnConstraint) and (
                (defaults or "").lower() != "including" or "nextval" in constraint.sql().lower()
            ):
                constraint.pop()
    definition.this.set("this", exp.to_table(name, dialect="duckdb"))
    if name.startswith("temp."):
        definition.set("properties", exp.Properties(expressions=[exp.TemporaryProperty()]))
    return session.count(dialect.write(definition))


def _definition(session: Session, found: Found) -> exp.Create:
    """A table's definition as DuckDB keeps it."""
    database, schema = (
        ("temp", "main") if found.kind == "temp" else (session.warehouse.database, found.schema)
    )
    row = session.cursor.execute(
        "SELECT sql FROM duckdb_tables() "
        "WHERE database_name = ? AND schema_name = ? AND table_name = ?",
        [database, schema, found.name],
    ).fetchone()
    tree = dialect.read_duckdb(row[0]) if row else None
    if not isinstance(tree, exp.Create):
        raise SqlError(f'relation "{found.name}" does not exist')
    return tree


def _create_view(session: Session, tree: exp.Create, sql: str) -> int:
    """Keep the query's text; the DuckDB view only shows its columns to the catalog."""
    table = _target(tree)
    name = session.new_name(table)
    schema = table.db or session.search_path[0]
    found = session.find(exp.table_(table.name, db=schema))
    if found and (found.kind != "view" or not tree.args.get("replace")):
        raise SqlError(f'Relation "{table.name}" already exists')
    definition, is_late = dialect.view_query(sql)
    if isinstance(tree.this, exp.Schema):
        columns = ", ".join(column.name for column in tree.this.expressions)
        definition = f"SELECT * FROM ({definition}) AS v({columns})"
    session.lock(name)
    written = 0
    is_materialized = bool(tree.find(exp.MaterializedProperty))
    try:
        query = dialect.write(session.bind(dialect.parse(definition)))
        shape = session.cursor.execute(f"DESCRIBE {query}").fetchall()
    except SqlError:
        if not is_late:
            raise
        shape = [("unknown", "VARCHAR")]  # what it reads need not exist yet
    if is_materialized:
        written = session.count(f"CREATE TABLE {name} AS {query}")
    else:
        columns = ", ".join(f'CAST(NULL AS {row[1]}) AS "{row[0]}"' for row in shape)
        session.cursor.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT {columns}")
    session.cursor.execute(
        "DELETE FROM localaws.views WHERE schema_name = ? AND view_name = ?", [schema, table.name]
    )
    session.cursor.execute(
        "INSERT INTO localaws.views VALUES (?, ?, ?, ?, ?)",
        [
            schema,
            table.name,
            "materialized" if is_materialized else "late" if is_late else "view",
            ",".join(session.search_path),
            definition,
        ],
    )
    if found is None:
        _grant_defaults(session, table, name)
    return written


def refresh(session: Session, sql: str) -> int:
    """REFRESH MATERIALIZED VIEW: its table is filled anew."""
    found = session.require(dialect.table(re.sub(r"(?is)^.*\s", "", sql)))
    if found.kind != "materialized":
        raise SqlError(f'"{found.name}" is not a materialized view')
    session.lock(str(found))
    session.cursor.execute(f"DELETE FROM {found}")
    return session.count(f"INSERT INTO {found} {session.view_sql(found)}")


def drop(session: Session, tree: exp.Drop) -> None:
    """DROP TABLE, VIEW, MATERIALIZED VIEW or SCHEMA."""
    kind, cascade = tree.args["kind"].lower(), bool(tree.args["cascade"])
    wanted = "materialized view" if tree.args["materialized"] else kind
    if kind not in ("table", "view", "schema"):
        raise SqlError(f"DROP {kind.upper()} is not a statement of this engine")
    for table in tree.args["tables"]:
        if kind == "schema":
            name = table.db or table.name
            if name in session.schemas() or not tree.args["exists"]:
                _drop_schema(session, name, cascade=cascade)
            continue
        found = session.find(table) if tree.args["exists"] else session.require(table)
        if found is None:
            continue
        if _KINDS.get(found.kind) != wanted:
            raise SqlError(f'"{table.name}" is not a {wanted}')
        _drop_relation(session, found, cascade=cascade)


#: What DROP calls a relation of each kind.
_KINDS = {
    "table": "table",
    "temp": "table",
    "view": "view",
    "late": "view",
    "materialized": "materialized view",
}


def _drop_relation(session: Session, found: Found, *, cascade: bool) -> None:
    for dependent in _dependents(session, found):
        if not cascade:
            raise SqlError(
                f"cannot drop {_KINDS[found.kind]} {found.name} because other objects depend on "
                f"it\n  Hint: Use DROP ... CASCADE to drop {dependent.name} too."
            )
        _drop_relation(session, dependent, cascade=True)
    session.lock(str(found))
    if _KINDS[found.kind] == "view":
        session.cursor.execute(f"DROP VIEW {found}")
    else:
        definition = _definition(session, found).sql("duckdb")
        session.cursor.execute(f"DROP TABLE {found}")
        for sequence in re.findall(r"(?i)nextval\('(localaws\.\"[^\"]+\")'\)", definition):
            session.cursor.execute(f"DROP SEQUENCE IF EXISTS {sequence}")
    for record, column in (("views", "view_name"), ("privileges", "object_name")):
        session.cursor.execute(
            f"DELETE FROM localaws.{record} WHERE schema_name = ? AND {column} = ?",
            [found.schema, found.name],
        )


def _dependents(session: Session, found: Found) -> list[Found]:
    """The views (not late binding ones) whose query names the relation."""
    rows = session.cursor.execute(
        "SELECT schema_name, view_name, kind, search_path, definition FROM localaws.views "
        "WHERE kind <> 'late'"
    ).fetchall()
    return [
        type(found)(kind, found.database, schema, name, definition, path)
        for schema, name, kind, path, definition in rows
        for table in dialect.parse(definition).find_all(exp.Table)
        if table.name == found.name and found.schema in (table.db or path.split(","))
    ]


def _drop_schema(session: Session, name: str, *, cascade: bool) -> None:
    if name not in session.schemas():
        raise SqlError(f'schema "{name}" does not exist')
    if session.glue_database(name) is None and session.tables(name) and not cascade:
        raise SqlError(f"cannot drop schema {name} because other objects depend on it")
    session.cursor.execute(f'DROP SCHEMA "{session.warehouse.database}"."{name}" CASCADE')
    for record in ("views", "external_schemas", "privileges"):
        session.cursor.execute(f"DELETE FROM localaws.{record} WHERE schema_name = ?", [name])


def alter(session: Session, sql: str) -> None:
    """ALTER TABLE: rename it, or add, drop, rename or retype a column."""
    if match := _LAYOUT.fullmatch(sql):
        session.require(dialect.table(match[1]), writable=True)
        return
    tree = dialect.parse(dialect.without_attributes(sql))
    if not isinstance(tree, exp.Alter) or tree.args["kind"] != "TABLE":
        raise SqlError(f'syntax error at or near "{" ".join(sql.split()[:3])}"')
    target = session.require(tree.this, writable=True)
    session.lock(str(target))
    for action in tree.args["actions"]:
        if isinstance(action, exp.AlterRename):
            session.cursor.execute(f'ALTER TABLE {target} RENAME TO "{action.this.name}"')
        elif isinstance(action, exp.RenameColumn):
            old, new = action.this.name, action.args["to"].name
            session.cursor.execute(f'ALTER TABLE {target} RENAME COLUMN "{old}" TO "{new}"')
        elif isinstance(action, exp.ColumnDef):
            _rebuild(session, target, action.name, action)
        elif isinstance(action, exp.AlterColumn) and action.args.get("dtype"):
            column = exp.ColumnDef(this=action.this, kind=action.args["dtype"])
            _rebuild(session, target, action.name, column, replace=True)
        elif isinstance(action, exp.Drop):
            _rebuild(session, target, action.args["tables"][0].name, None, replace=True)
        else:
            raise SqlError(f"ALTER TABLE ... {action.sql('redshift')} is not available here")


def _rebuild(
    session: Session,
    target: Found,
    name: str,
    column: exp.ColumnDef | None,
    *,
    replace: bool = False,
) -> None:
    """Add, retype or drop (None) a column by copying the table: DuckDB cannot alter its checks."""
    columns = list(session.columns(target))
    if (name in columns) is not replace:
        state = "does not exist" if replace else "already exists"
        raise SqlError(f'column "{name}" of relation "{target.name}" {state}')
    lines: list[str] = []
    for part in _definition(session, target).this.expressions:
        if isinstance(part, exp.ColumnDef) and part.name == name:
            if column is not None:
                rest = " ".join(each.sql("duckdb", identify=True) for each in part.constraints)
                definition, *checks = _column(session, str(target), column)
                lines = [*lines, f"{definition} {rest}", *checks]
        elif isinstance(part, exp.ColumnDef) or name not in {
            each.name for each in part.find_all(exp.Column)
        }:
            lines.append(part.sql("duckdb", identify=True))
    if column is None:
        columns.remove(name)
    elif not replace:
        lines += _column(session, str(target), column)
    # DuckDB wants the columns before the checks.
    lines.sort(key=lambda line: line.startswith("CHECK"))
    copy = str(target).removesuffix('"') + '__new"'
    names = ", ".join(f'"{each}"' for each in columns)
    session.cursor.execute(f"CREATE TABLE {copy} ({', '.join(lines)})")
    session.cursor.execute(f"INSERT INTO {copy} ({names}) SELECT {names} FROM {target}")
    session.cursor.execute(f"DROP TABLE {target}")
    session.cursor.execute(f'ALTER TABLE {copy} RENAME TO "{target.name}"')


def comment(session: Session, tree: exp.Comment) -> None:
    """COMMENT ON TABLE or COLUMN."""
    column = tree.this if isinstance(tree.this, exp.Column) else None
    found = session.require(exp.table_(column.table, db=column.db) if column else tree.this)
    what = f'COLUMN {found}."{column.name}"' if column else f"TABLE {found}"
    session.cursor.execute(f"COMMENT ON {what} IS {tree.expression.sql('duckdb')}")


def _target(tree: exp.Create) -> exp.Table:
    return tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
