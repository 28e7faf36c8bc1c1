"""The SQL files: each parses in its dialect, and all agree on the contract's columns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clickstream.config import Config
from clickstream.engines import render
from clickstream_glue import model_tables
from clickstream_glue.model_tables import Table
from sqlfluff.core import FluffConfig, Linter

ROOT = Path(__file__).resolve().parents[2]
SQL = ROOT / "sql"
FILES = sorted(path.relative_to(SQL).as_posix() for path in SQL.rglob("*.sql"))
CONFIG = Config.from_environment({})
HOURS = "((year = 2026 AND month = 11 AND day IN (20)))"
DAYS = "day IN ('2026-11-20')"
#: The tables of the model, as the Glue job writes them.
MODEL = {table.name: table for table in vars(model_tables).values() if isinstance(table, Table)}
#: What stays in the lake: nobody asks a dashboard for it.
NOT_IN_WAREHOUSE = {"model_runs", "identities_daily"}
WAREHOUSE = sorted(set(MODEL) - NOT_IN_WAREHOUSE)
VALUES = {
    "touched_hours": HOURS,
    "rebuilt_days": DAYS,
    "tables": {"fact_sessions": HOURS, "users_daily": DAYS, "dim_users": "1 = 1"},
    "arrival_hours": "year = 2026 AND month = 11 AND day = 20",
    "interval_start": "2026-11-20 00:00:00",
    "interval_end": "2026-11-21 00:00:00",
    "run_id": "jr_1",
    "currency": "USD",
    "first_date": "2026-11-20",
    "last_date": "2026-11-21",
    "arrival_date": "2026-11-20",
    "table": "fact_clicks",
    "person": "sha2('salt:user:' || user_id, 256) IN ('0')",
}
DOCUMENT = (ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
#: Files that say so of themselves.
SHARED = [
    name
    for name in FILES
    if "same text runs in Athena and in Redshift" in (SQL / name).read_text(encoding="utf-8")
]


def text(name: str) -> str:
    values: dict = dict(VALUES)
    if name.startswith("redshift/"):
        values |= {
            "ti": None,
            "touched_hours": lambda ti: HOURS,
            "rebuilt_days": lambda ti, table: f"rebuilt_days_of_{table}",
        }
    return render(CONFIG, name, **values)


def parse_errors(name: str, dialect: str) -> list[str]:
    linter = Linter(config=FluffConfig(overrides={"dialect": dialect, "templater": "raw"}))
    return [str(violation) for violation in linter.parse_string(text(name)).violations]


def ddl_types(name: str) -> dict[str, str]:
    """Names and types in a CREATE TABLE, those of the partition included, in lower case."""
    found = re.findall(
        r"^    `?(\w+)`? ([A-Z].*?)(?: NOT NULL)?,?(?: --.*)?$", text(name), re.MULTILINE
    )
    partition = re.search(r"PARTITIONED BY \((.+)\)", text(name))
    if partition:
        found += [tuple(key.split()) for key in partition[1].split(", ")]
    return {column: re.sub(r",\s+", ",", kind).lower() for column, kind in found}


def ddl_columns(name: str) -> list[str]:
    """Names in a CREATE TABLE, those of the partition included."""
    return list(ddl_types(name))


def spark_types(table: Table) -> dict[str, str]:
    """Names and types of a table as Spark writes it, those of the partition included."""
    columns = re.split(r",\s+(?=\w+ \w)", table.full_schema)
    return {name: kind for name, kind in (column.split(maxsplit=1) for column in columns)}


def redshift_type(column: str, kind: str) -> str:
    """What holds a Spark column in the warehouse; of text, any width will do."""
    if kind == "string":
        return "date" if column == "day" else "varchar"
    return {"int": "integer", "double": "double precision", "array<string>": "super"}.get(
        kind, kind
    )


def documented_columns(heading: str) -> list[str]:
    """Names in the contract (docs/data-model.md) under a heading, in its order."""
    section = DOCUMENT.split(f"### {heading} —")[1].split("\n###")[0]
    if "| column |" in section:
        rows = re.findall(r"^\| ([a-z_, ]+) \|", section.split("|---|---|---|")[1], re.MULTILINE)
        return [name.strip() for row in rows for name in row.split(",")]
    listing = re.sub(r"\([^)]*\)", "", section.split("\n\n")[0].split("\n", 1)[1])
    listing = listing.replace("\n", " ")
    groups = [item.split() for item in listing.split("·")]
    return [name.strip(",") for group in groups for name in group[:-1] if name.isascii()]


def test_there_is_sql_of_every_kind() -> None:
    assert {name.split("/")[0] for name in FILES} == {"athena", "redshift", "analytics", "checks"}
    assert len(SHARED) >= 4


@pytest.mark.parametrize("name", FILES)
def test_a_file_starts_with_what_grain_and_source(name: str) -> None:
    head = (SQL / name).read_text(encoding="utf-8").splitlines()[:3]
    assert all(line.startswith("-- ") for line in head)
    assert head[0].startswith("-- What:   ")
    assert "Grain:" in "".join(head)
    assert "Source:" in "".join(head)


def test_every_file_is_lint_clean_in_its_folders_dialect() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlfluff", "lint", "sql", "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {Path(record["filepath"]): record["violations"] for record in json.loads(done.stdout)}
    assert sorted(path.relative_to("sql").as_posix() for path in found) == FILES
    assert {path: violations for path, violations in found.items() if violations} == {}


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_file_parses_in_both_dialects(name: str) -> None:
    assert parse_errors(name, "athena") == []
    assert parse_errors(name, "redshift") == []


@pytest.mark.parametrize("name", [name for name in FILES if re.match(r"analytics/\w+\.sql", name)])
def test_a_date_is_all_of_its_literal(name: str) -> None:
    """Terraform makes named queries of these: a date, with quotes around it, becomes `?`."""
    sql = re.sub(r"(?m)^--.*\n", "", (SQL / name).read_text(encoding="utf-8"))
    sql = sql.replace("{{ names.glue.database }}", "").replace("{{ currency }}", "")
    dates = list(re.finditer(r"(\w+ )?(\'?)\{\{ (\w+_date)\b[^}]* \}\}(\'?)", sql))
    assert len(dates) == sql.count("{{")
    for date in dates:
        keyword, before, parameter, after = date.groups("")
        assert before == after
        assert keyword.strip() not in {"DATE", "TIMESTAMP"}
        assert parameter in VALUES


@pytest.mark.parametrize("name", FILES)
def test_no_star_crosses_a_boundary(name: str) -> None:
    assert not re.search(r"SELECT\s+\*", text(name))


def test_databases_have_the_same_name_on_both_engines() -> None:
    assert CONFIG.glue.database == CONFIG.redshift.schema


@pytest.mark.parametrize("table", ["fact_clicks", "quarantine", "pipeline_runs"])
def test_a_lake_table_has_the_columns_of_the_contract(table: str) -> None:
    assert ddl_columns(f"athena/{table}/create.sql") == documented_columns(table)


@pytest.mark.parametrize("table", MODEL.values(), ids=MODEL)
def test_a_table_of_the_model_has_its_files(table: Table) -> None:
    wanted = {"create", "repair", "quality"} if table.partition else {"create", "quality"}
    if table.name == "model_runs":
        wanted = wanted - {"quality"} | {"read"}
    assert {path.stem for path in SQL.glob(f"athena/{table.name}/*.sql")} == wanted
    loaded = {path.stem for path in SQL.glob(f"redshift/{table.name}/*.sql")}
    assert loaded == (set() if table.name in NOT_IN_WAREHOUSE else {"create", "delete", "insert"})


@pytest.mark.parametrize("table", MODEL.values(), ids=MODEL)
def test_a_lake_table_has_the_columns_that_spark_writes(table: Table) -> None:
    lake = ddl_types(f"athena/{table.name}/create.sql")
    assert list(lake.items()) == list(spark_types(table).items())


@pytest.mark.parametrize("name", WAREHOUSE)
def test_a_table_of_the_warehouse_has_the_columns_that_spark_writes(name: str) -> None:
    found = ddl_types(f"redshift/{name}/create.sql")
    wanted = {
        column: redshift_type(column, kind) for column, kind in spark_types(MODEL[name]).items()
    }
    short = {column: kind.split("(")[0] for column, kind in found.items() if "varchar" in kind}
    assert list((found | short).items()) == list(wanted.items())


def test_the_warehouses_fact_has_the_lakes_columns() -> None:
    lake = ddl_columns("athena/fact_clicks/create.sql")
    assert ddl_columns("redshift/fact_clicks/create.sql") == lake


@pytest.mark.parametrize("name", ["fact_clicks", *WAREHOUSE])
def test_a_load_fills_all_columns_in_order_and_replaces_what_it_deletes(name: str) -> None:
    insert, delete = (text(f"redshift/{name}/{step}.sql") for step in ("insert", "delete"))
    into, select = re.findall(
        r"^(?:INSERT INTO .*\(|SELECT)\n((?:    .+\n)+)", insert, re.MULTILINE
    )
    columns = ddl_columns(f"redshift/{name}/create.sql")
    assert re.findall(r"(\w+),?\n", into) == columns
    assert re.findall(r"(\w+),?\n", select) == columns
    assert f"INTO clickstream.{name} " in insert
    assert f"FROM lake.{name}\n" in insert + "\n"
    deleted, inserted = (
        re.split(r"FROM \w+\.\w+", statement.rstrip())[1] for statement in (delete, insert)
    )
    assert deleted == inserted
    partition = MODEL[name].partition if name in MODEL else ("year",)
    touched = f"rebuilt_days_of_{name}" if name in MODEL else HOURS
    assert deleted.split() == (["WHERE", *touched.split()] if partition else [])


@pytest.mark.parametrize("name", sorted(set(MODEL) - {"model_runs"}))
def test_the_checks_look_at_the_rebuilt_days_or_at_the_whole_snapshot(name: str) -> None:
    sql = " ".join(text(f"athena/{name}/quality.sql").split())
    is_partitioned = bool(MODEL[name].partition)
    assert (f"FROM clickstream.{name} WHERE {DAYS}" in sql) == is_partitioned
    assert sql.count("WHERE") == is_partitioned


def test_every_reader_of_a_big_lake_table_filters_by_partition() -> None:
    keys = {"fact_clicks": "year", "fact_sessions": "year"}
    keys |= {name: "day" for name, table in MODEL.items() if table.partition == ("day",)}
    for name in FILES:
        sql = re.sub(r"--.*", "", text(name))
        if name.startswith("redshift/") or name == "analytics/arrived_events.sql":
            continue  # the latter by arrival: a late event may lie in any event hour
        for table, rest in re.findall(r"FROM clickstream\.(\w+)\b([^;]*?)(?=\bFROM\b|\Z)", sql):
            if table in keys:
                own = {keys[table]} | ({"day"} if "quality" in name else set())
                found = re.search(r"\bWHERE\b(.*)", rest, re.DOTALL)
                assert found, name
                assert own & set(re.findall(r"\w+", found[1])), name


@pytest.mark.parametrize(
    "folder",
    sorted(
        path.parent.relative_to(SQL).as_posix()
        for pattern in ("athena/*/create.sql", "redshift/*/create*.sql")
        for path in SQL.glob(pattern)
    ),
)
def test_every_table_has_a_card(folder: str) -> None:
    card = yaml.safe_load((SQL / folder / "table.yaml").read_text(encoding="utf-8"))
    assert list(card) == [
        *("table", "engine", "owner", "grain", "partitioned_by"),
        *("written_by", "source", "personal_data"),
    ]
    (create,) = (SQL / folder).glob("create*.sql")
    sql = text(f"{folder}/{create.name}")
    assert card["engine"] == folder.split("/")[0]
    assert card["table"] in sql
    assert f"-- Grain:  {card['grain']}" in sql


def test_a_view_is_refreshed_by_a_statement_of_its_own() -> None:
    views = sorted(SQL.glob("redshift/*/create_view.sql"))
    assert views
    for view in views:
        name = view.parent.name
        refresh = re.sub(r"--.*\n", "", text(f"redshift/{name}/refresh.sql")).strip()
        assert refresh == f"REFRESH MATERIALIZED VIEW clickstream.{name}"
