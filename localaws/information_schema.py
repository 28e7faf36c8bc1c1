"""Athena's information_schema, made from the Glue catalog."""

from __future__ import annotations

from localaws.lake import Lake, LakeError

CATALOG = "awsdatacatalog"


def information_schema(lake: Lake, name: str) -> str:
    """One of its tables as the text of a SELECT.

    Raises:
        LakeError: TABLE_NOT_FOUND for one that Athena does not have.
    """
    databases = lake.databases()
    if name == "schemata":
        return _rows(
            ["catalog_name", "schema_name"],
            [[CATALOG, d] for d in [*databases, "information_schema"]],
        )
    if name not in ("tables", "columns", "views"):
        raise LakeError(
            "TABLE_NOT_FOUND", f"Table '{CATALOG}.information_schema.{name}' does not exist"
        )
    tables = [table for d in databases for table in lake.tables(d)]
    head = ["table_catalog", "table_schema", "table_name"]
    if name == "tables":
        kinds = [[CATALOG, t.database, t.name, "VIEW" if t.view else "BASE TABLE"] for t in tables]
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
