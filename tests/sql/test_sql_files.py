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
from sqlfluff.core import FluffConfig, Linter

ROOT = Path(__file__).resolve().parents[2]
SQL = ROOT / "sql"
FILES = sorted(path.relative_to(SQL).as_posix() for path in SQL.rglob("*.sql"))
CONFIG = Config.from_environment({})
HOURS = "((year = 2026 AND month = 11 AND day IN (20)))"
VALUES = {
    "touched_hours": HOURS,
    "arrival_hours": "year = 2026 AND month = 11 AND day = 20",
    "interval_start": "2026-11-20 00:00:00",
    "interval_end": "2026-11-21 00:00:00",
    "run_id": "jr_1",
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
        values |= {"ti": None, "touched_hours": lambda ti: HOURS}
    return render(CONFIG, name, **values)


def parse_errors(name: str, dialect: str) -> list[str]:
    linter = Linter(config=FluffConfig(overrides={"dialect": dialect, "templater": "raw"}))
    return [str(violation) for violation in linter.parse_string(text(name)).violations]


def ddl_columns(name: str) -> list[str]:
    """Names in a CREATE TABLE, those of the partition included."""
    found = re.findall(r"^    `?(\w+)`? [A-Z]", text(name), re.MULTILINE)
    partition = re.search(r"PARTITIONED BY \((.+)\)", text(name))
    return found + [
        key.split()[0] for key in (partition[1] if partition else "").split(", ") if key
    ]


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


@pytest.mark.parametrize("name", FILES)
def test_no_star_crosses_a_boundary(name: str) -> None:
    assert not re.search(r"SELECT\s+\*", text(name))


def test_databases_have_the_same_name_on_both_engines() -> None:
    assert CONFIG.glue.database == CONFIG.redshift.schema


@pytest.mark.parametrize("table", ["fact_clicks", "quarantine", "pipeline_runs"])
def test_a_lake_table_has_the_columns_of_the_contract(table: str) -> None:
    assert ddl_columns(f"athena/{table}/create.sql") == documented_columns(table)


def test_the_warehouses_fact_has_the_lakes_columns_and_the_load_fills_all_in_order() -> None:
    lake = ddl_columns("athena/fact_clicks/create.sql")
    assert ddl_columns("redshift/fact_clicks/create.sql") == lake
    into, select = re.findall(
        r"^(?:INSERT INTO .*\(|SELECT)\n((?:    .+\n)+)",
        text("redshift/fact_clicks/insert.sql"),
        re.MULTILINE,
    )
    assert re.findall(r"(\w+),?\n", into) == lake
    assert re.findall(r"(\w+),?\n", select) == lake


@pytest.mark.parametrize("name", ["dim_dates/insert", "dim_users/merge"])
def test_a_dimensions_load_fills_all_of_its_columns(name: str) -> None:
    columns = ddl_columns(f"redshift/{name.split('/')[0]}/create.sql")
    written = re.search(r"INSERT[^(]*\(([^)]+)\)", text(f"redshift/{name}.sql"))
    assert written
    assert re.findall(r"\w+", written[1]) == columns


def test_every_reader_of_a_big_lake_table_filters_by_partition() -> None:
    for name in FILES:
        sql = re.sub(r"--.*", "", text(name))
        if "FROM clickstream.fact_clicks" in sql and not name.startswith("redshift/"):
            if name == "analytics/arrived_events.sql":
                continue  # by arrival: a late event may lie in any event hour
            assert re.search(r"\bWHERE\b[^;]*\byear\b", sql), name


@pytest.mark.parametrize(
    "folder",
    sorted(
        path.parent.relative_to(SQL).as_posix()
        for pattern in ("athena/*/create.sql", "redshift/*/create.sql")
        for path in SQL.glob(pattern)
    ),
)
def test_every_table_has_a_card(folder: str) -> None:
    card = yaml.safe_load((SQL / folder / "table.yaml").read_text(encoding="utf-8"))
    assert list(card) == [
        *("table", "engine", "owner", "grain", "partitioned_by"),
        *("written_by", "source", "personal_data"),
    ]
    assert card["engine"] == folder.split("/")[0]
    assert card["table"] in text(f"{folder}/create.sql")
    assert f"-- Grain:  {card['grain']}" in text(f"{folder}/create.sql")
