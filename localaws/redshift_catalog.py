"""What a Redshift database knows of itself: tables of its own, system views, users and grants.

The tables lie in the schema ``localaws`` of the database file, so that a transaction covers them;
views and macros are made anew in DuckDB's memory database each time the file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import duckdb

from localaws.lake import Lake
from localaws.redshift_dialect import SqlError

#: Schemas that a user of the database never sees.
HIDDEN = "('localaws', 'main')"

_TABLES = """
CREATE SCHEMA IF NOT EXISTS public;
CREATE SCHEMA IF NOT EXISTS localaws;
CREATE TABLE IF NOT EXISTS localaws.external_schemas
    (schema_name VARCHAR, glue_database VARCHAR, iam_role VARCHAR);
CREATE TABLE IF NOT EXISTS localaws.views
    (schema_name VARCHAR, view_name VARCHAR, kind VARCHAR, search_path VARCHAR, definition VARCHAR);
CREATE TABLE IF NOT EXISTS localaws.principals (name VARCHAR, kind VARCHAR);
CREATE TABLE IF NOT EXISTS localaws.members (role_name VARCHAR, kind VARCHAR, name VARCHAR);
CREATE TABLE IF NOT EXISTS localaws.procedures
    (schema_name VARCHAR, procedure_name VARCHAR, body VARCHAR);
CREATE TABLE IF NOT EXISTS localaws.privileges
    (object_kind VARCHAR, schema_name VARCHAR, object_name VARCHAR, privilege VARCHAR,
     grantee_kind VARCHAR, grantee VARCHAR, is_admin BOOLEAN);
"""

_MACROS = """
CREATE MACRO memory.main.super_text(x JSON) AS json_extract_string(x, '$'), (x VARCHAR) AS x;
CREATE MACRO memory.main.date_or_trunc(x TIMESTAMP) AS CAST(x AS DATE), (x DATE) AS x,
    (x DOUBLE) AS trunc(x);
"""

#: System views by name; {db} is the database's name. What needs Glue is in `external_rows`.
_VIEWS = {
    "information_schema.schemata": "SELECT * FROM information_schema.schemata"
    f" WHERE catalog_name = '{{db}}' AND schema_name NOT IN {HIDDEN}",
    "information_schema.tables": "SELECT * FROM information_schema.tables"
    f" WHERE table_catalog = '{{db}}' AND table_schema NOT IN {HIDDEN}",
    "information_schema.columns": "SELECT * FROM information_schema.columns"
    f" WHERE table_catalog = '{{db}}' AND table_schema NOT IN {HIDDEN}",
    "information_schema.views": "SELECT '{db}' AS table_catalog, schema_name AS table_schema,"
    " view_name AS table_name, definition AS view_definition FROM \"{db}\".localaws.views"
    " WHERE kind <> 'materialized'",
    "pg_table_def": "SELECT table_schema AS schemaname, table_name AS tablename, column_name AS"
    " \"column\", lower(data_type) AS type, 'none' AS encoding, false AS distkey, 0 AS sortkey,"
    " is_nullable = 'NO' AS notnull FROM information_schema.columns"
    f" WHERE table_catalog = '{{db}}' AND table_schema NOT IN {HIDDEN}",
    "svv_tables": "SELECT table_catalog, table_schema, table_name, table_type, NULL AS remarks"
    " FROM information_schema.tables"
    f" WHERE table_catalog = '{{db}}' AND table_schema NOT IN {HIDDEN}",
    "svv_columns": "SELECT table_catalog, table_schema, table_name, column_name, ordinal_position,"
    " column_default, is_nullable, lower(data_type) AS data_type FROM information_schema.columns"
    f" WHERE table_catalog = '{{db}}' AND table_schema NOT IN {HIDDEN}",
    "svv_table_info": "SELECT database_name AS database, schema_name AS schema, table_oid AS"
    ' table_id, table_name AS "table", CAST(estimated_size AS DECIMAL(38, 0)) AS tbl_rows'
    f" FROM duckdb_tables() WHERE database_name = '{{db}}' AND schema_name NOT IN {HIDDEN}",
    "svv_external_schemas": "SELECT s.oid AS esoid, 1 AS eskind, e.schema_name AS schemaname,"
    " glue_database AS databasename, json_object('IAM_ROLE', iam_role) AS esoptions"
    ' FROM "{db}".localaws.external_schemas e JOIN duckdb_schemas() s'
    " ON s.schema_name = e.schema_name AND s.database_name = '{db}'",
    "svv_mv_info": "SELECT '{db}' AS database_name, schema_name, view_name AS name, false AS"
    " is_stale, 1 AS state, 'f' AS autorefresh FROM \"{db}\".localaws.views"
    " WHERE kind = 'materialized'",
    "svv_relation_privileges": "SELECT schema_name AS namespace_name, object_name AS"
    " relation_name, privilege AS privilege_type, grantee AS identity_name, grantee_kind AS"
    ' identity_type, is_admin AS admin_option FROM "{db}".localaws.privileges'
    " WHERE object_kind = 'table'",
    "svv_schema_privileges": "SELECT object_name AS namespace_name, privilege AS privilege_type,"
    " grantee AS identity_name, grantee_kind AS identity_type, is_admin AS admin_option"
    " FROM \"{db}\".localaws.privileges WHERE object_kind = 'schema'",
    "svv_default_privileges": "SELECT schema_name, 'RELATION' AS object_type, privilege AS"
    " privilege_type, grantee AS grantee_name, grantee_kind AS grantee_type, is_admin AS"
    " admin_option FROM \"{db}\".localaws.privileges WHERE object_kind = 'default'",
    "svv_user_info": "SELECT name AS user_name FROM \"{db}\".localaws.principals"
    " WHERE kind = 'user'",
    "svv_roles": "SELECT name AS role_name FROM \"{db}\".localaws.principals WHERE kind = 'role'",
    "svv_user_grants": 'SELECT name AS user_name, role_name FROM "{db}".localaws.members'
    " WHERE kind = 'user'",
    "pg_user": "SELECT name AS usename FROM \"{db}\".localaws.principals WHERE kind = 'user'",
    "pg_group": "SELECT name AS groname FROM \"{db}\".localaws.principals WHERE kind = 'group'",
}  # fmt: skip

_EXTERNAL_VIEWS = {
    "svv_external_tables": "schemaname, tablename, input_format, output_format, location,"
    " serialization_lib, serde_parameters, parameters, tabletype",
    "svv_external_columns": "schemaname, tablename, columnname, external_type, columnnum, part_key,"
    " is_nullable",
    "svv_external_partitions": 'schemaname, tablename, "values", location',
}

#: DuckDB's own pg_catalog views that a query may read as they are.
_PG_CATALOG = {
    "pg_attribute", "pg_class", "pg_constraint", "pg_database", "pg_description", "pg_index",
    "pg_namespace", "pg_proc", "pg_settings", "pg_tables", "pg_type", "pg_views",
}  # fmt: skip


def create(connection: duckdb.DuckDBPyConnection, database: str) -> None:
    """Make what is missing in the database file and, in memory, the views and macros."""
    connection.execute(f'USE "{database}"')
    connection.execute(_TABLES)
    connection.execute(_MACROS)
    for name, sql in _VIEWS.items():
        connection.execute(f'CREATE VIEW memory.main."{name}" AS {sql.format(db=database)}')


def system_relation(
    schema: str, name: str, cursor: duckdb.DuckDBPyConnection, lake: Lake
) -> str | None:
    """The DuckDB name of a system view, or None when `schema.name` is not one."""
    if schema == "information_schema":
        name = f"{schema}.{name}"
    elif schema not in ("", "pg_catalog"):
        return None
    if name in _VIEWS:
        return f'memory.main."{name}"'
    if name in _PG_CATALOG:
        return f"pg_catalog.{name}"
    if name in _EXTERNAL_VIEWS:
        columns = _EXTERNAL_VIEWS[name]
        cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} "
            f"({', '.join(column + ' VARCHAR' for column in columns.split(', '))})"
        )
        for row in _external_rows(name, cursor, lake):
            cursor.execute(
                f"INSERT INTO temp.{name} VALUES ({', '.join('?' * len(row))})", list(row)
            )
        return f"temp.main.{name}"
    return None


def _external_rows(
    name: str, cursor: duckdb.DuckDBPyConnection, lake: Lake
) -> Iterable[tuple[object, ...]]:
    schemas = cursor.execute(
        "SELECT schema_name, glue_database FROM localaws.external_schemas"
    ).fetchall()
    databases = set(lake.databases())
    for schema, database in schemas:
        for table in lake.tables(database) if database in databases else ():
            descriptor = table.raw.get("StorageDescriptor", {})
            if name == "svv_external_tables":
                yield (
                    schema, table.name, descriptor.get("InputFormat"),
                    descriptor.get("OutputFormat"), table.location, table.serde,
                    str(table.serde_parameters), str(table.parameters), "TABLE",
                )  # fmt: skip
            elif name == "svv_external_columns":
                for number, column in enumerate(table.all_columns, 1):
                    key = table.partition_keys.index(column) + 1 if (
                        column in table.partition_keys
                    ) else 0  # fmt: skip
                    yield schema, table.name, column.name, str(column.type), number, key, "true"
            elif table.partition_keys:
                for partition in lake.partitions(table):
                    values = ",".join(f'"{value}"' for value in partition.values)
                    yield schema, table.name, f"[{values}]", partition.location


# ---------------------------------------------------------------- users, groups, roles, grants
# They are recorded and listed but not enforced: every caller of the embedded AWS is its owner.

_PRINCIPAL = re.compile(
    r"(CREATE|DROP)\s+(USER|GROUP|ROLE)\s+(IF\s+EXISTS\s+)?(\S+?);?(\s.*)?", re.I | re.S
)
_GRANT = re.compile(
    r"(?P<verb>GRANT|REVOKE)\s+(?P<option>GRANT\s+OPTION\s+FOR\s+)?(?P<privileges>.+?)\s+ON\s+"
    r"(?:(?P<all>ALL\s+TABLES\s+IN\s+SCHEMA)\s+|(?P<kind>TABLE|SCHEMA|DATABASE)\s+)?(?P<objects>.+?)"
    r"\s+(?:TO|FROM)\s+(?P<grantees>.+?)(?P<admin>\s+WITH\s+GRANT\s+OPTION)?;?\s*",
    re.I | re.S,
)
_DEFAULTS = re.compile(
    r"ALTER\s+DEFAULT\s+PRIVILEGES\s+IN\s+SCHEMA\s+(?P<schemas>.+?)\s+(?P<verb>GRANT|REVOKE)\s+"
    r"(?P<privileges>.+?)\s+ON\s+TABLES\s+(?:TO|FROM)\s+(?P<grantees>.+?)"
    r"(?P<admin>\s+WITH\s+GRANT\s+OPTION)?;?\s*",
    re.I | re.S,
)
_MEMBERSHIP = re.compile(
    r"(?P<verb>GRANT|REVOKE)\s+ROLE\s+(?P<roles>.+?)\s+(?:TO|FROM)\s+(?P<grantees>.+?);?\s*",
    re.I | re.S,
)
_PRIVILEGES = {
    "table": {"SELECT", "INSERT", "UPDATE", "DELETE", "DROP", "TRUNCATE", "ALTER", "REFERENCES"},
    "schema": {"CREATE", "USAGE", "ALTER", "DROP"},
    "database": {"CREATE", "USAGE", "TEMPORARY", "TEMP", "ALTER"},
}


def change_principal(sql: str, cursor: duckdb.DuckDBPyConnection) -> None:
    """CREATE or DROP USER, GROUP or ROLE (options such as PASSWORD have no meaning here)."""
    match = _PRINCIPAL.fullmatch(sql.strip())
    if not match:
        raise SqlError(f"syntax error in: {sql.strip()[:80]}")
    kind, name = match[2].lower(), _unquoted(match[4])
    exists = _principal_exists(kind, name, cursor)
    if match[1].upper() == "CREATE":
        if exists:
            raise SqlError(f'{kind} "{name}" already exists')
        cursor.execute("INSERT INTO localaws.principals VALUES (?, ?)", [name, kind])
    elif exists:
        held = cursor.execute(
            "SELECT count(*) FROM localaws.privileges WHERE grantee_kind = ? AND grantee = ?",
            [kind, name],
        ).fetchone()
        if held and held[0]:
            raise SqlError(f'{kind} "{name}" cannot be dropped: it has privileges; revoke them')
        cursor.execute("DELETE FROM localaws.principals WHERE name = ? AND kind = ?", [name, kind])
        cursor.execute(
            "DELETE FROM localaws.members WHERE (kind = ? AND name = ?) OR role_name = ?",
            [kind, name, name if kind == "role" else ""],
        )
    elif not match[3]:
        raise SqlError(f'{kind} "{name}" does not exist')


def grant(
    sql: str,
    cursor: duckdb.DuckDBPyConnection,
    find: Callable[[str], tuple[str, str]],
    tables_of: Callable[[str], list[str]],
) -> None:
    """GRANT or REVOKE: privileges on tables, schemas and the database, or membership of a role.

    Args:
        sql: the statement.
        cursor: of the database.
        find: schema and name of a relation as it is written; raises when there is none.
        tables_of: the relations of a schema; raises when there is no such schema.
    """
    if match := _MEMBERSHIP.fullmatch(sql.strip()):
        for role in map(_unquoted, match["roles"].split(",")):
            _require_principal("role", role, cursor)
            for kind, name in _grantees(match["grantees"], cursor):
                row = [role, kind, name]
                cursor.execute(
                    "DELETE FROM localaws.members WHERE role_name = ? AND kind = ? AND name = ?",
                    row,
                )
                if match["verb"].upper() == "GRANT":
                    cursor.execute("INSERT INTO localaws.members VALUES (?, ?, ?)", row)
        return
    match = _GRANT.fullmatch(sql.strip())
    if not match:
        raise SqlError(f"syntax error in: {sql.strip()[:80]}")
    kind = (match["kind"] or "table").lower()
    objects: list[tuple[str, str]] = []
    for written in map(str.strip, match["objects"].split(",")):
        if match["all"]:
            objects += [(_unquoted(written), name) for name in tables_of(_unquoted(written))]
        elif kind == "schema":
            tables_of(_unquoted(written))
            objects.append(("", _unquoted(written)))
        else:
            objects.append(find(written) if kind == "table" else ("", _unquoted(written)))
    privileges = _known_privileges(match["privileges"], kind)
    for grantee in _grantees(match["grantees"], cursor):
        for schema, name in objects:
            for privilege in privileges:
                is_kept = match["verb"].upper() == "GRANT" or bool(match["option"])
                is_admin = (bool(match["admin"]) and not match["option"]) if is_kept else None
                _record(cursor, (kind, schema, name, privilege, *grantee), is_admin)


def change_defaults(
    sql: str, cursor: duckdb.DuckDBPyConnection, tables_of: Callable[[str], list[str]]
) -> None:
    """ALTER DEFAULT PRIVILEGES IN SCHEMA ... ON TABLES: what later tables and views get.

    Args:
        sql: the statement.
        cursor: of the database.
        tables_of: the relations of a schema; raises when there is no such schema.
    """
    match = _DEFAULTS.fullmatch(sql.strip())
    if not match:
        raise SqlError(
            "syntax error in ALTER DEFAULT PRIVILEGES: this engine reads IN SCHEMA name "
            "GRANT | REVOKE privileges ON TABLES TO | FROM grantees"
        )
    is_admin = bool(match["admin"]) if match["verb"].upper() == "GRANT" else None
    for schema in map(_unquoted, match["schemas"].split(",")):
        tables_of(schema)
        for grantee in _grantees(match["grantees"], cursor):
            for privilege in _known_privileges(match["privileges"], "table"):
                _record(cursor, ("default", schema, "", privilege, *grantee), is_admin)


def grant_defaults(cursor: duckdb.DuckDBPyConnection, schema: str, name: str) -> None:
    """Give a new table or view the privileges its schema has for such."""
    cursor.execute(
        "INSERT INTO localaws.privileges SELECT 'table', schema_name, ?, privilege, grantee_kind, "
        "grantee, is_admin FROM localaws.privileges "
        "WHERE object_kind = 'default' AND schema_name = ?",
        [name, schema],
    )


def _known_privileges(text: str, kind: str) -> list[str]:
    privileges = {re.sub(r"\s+", " ", privilege.strip().upper()) for privilege in text.split(",")}
    if privileges & {"ALL", "ALL PRIVILEGES"}:
        privileges = _PRIVILEGES[kind]
    if unknown := privileges - _PRIVILEGES[kind]:
        raise SqlError(f"invalid privilege type {', '.join(sorted(unknown))} for {kind}")
    return sorted(privileges)


def _record(cursor: duckdb.DuckDBPyConnection, row: tuple[str, ...], is_admin: bool | None) -> None:
    """Keep a privilege (object kind, schema, object, privilege, grantee's kind and name) or not."""
    cursor.execute(
        "DELETE FROM localaws.privileges WHERE object_kind = ? AND schema_name = ? "
        "AND object_name = ? AND privilege = ? AND grantee_kind = ? AND grantee = ?",
        row,
    )
    if is_admin is not None:
        cursor.execute(
            "INSERT INTO localaws.privileges VALUES (?, ?, ?, ?, ?, ?, ?)", [*row, is_admin]
        )


def _grantees(text: str, cursor: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    found = []
    for written in map(str.strip, text.split(",")):
        first, _, rest = written.partition(" ")
        kind = first.lower() if first.upper() in ("USER", "GROUP", "ROLE") and rest else "user"
        name = _unquoted(rest if rest else written)
        if name == "public":
            kind = "public"
        # Redshift makes the user of an IAM identity when it first connects.
        elif not name.startswith(("iam:", "iamr:")):
            _require_principal(kind, name, cursor)
        found.append((kind, name))
    return found


def _principal_exists(kind: str, name: str, cursor: duckdb.DuckDBPyConnection) -> bool:
    return bool(
        cursor.execute(
            "SELECT 1 FROM localaws.principals WHERE name = ? AND kind = ?", [name, kind]
        ).fetchone()
    )


def _require_principal(kind: str, name: str, cursor: duckdb.DuckDBPyConnection) -> None:
    if not _principal_exists(kind, name, cursor):
        raise SqlError(f'{kind} "{name}" does not exist')


def _unquoted(text: str) -> str:
    return text.strip().strip('"').lower()
