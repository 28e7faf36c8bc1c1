from __future__ import annotations

from pathlib import Path

import pytest
from clickstream.config import Config

from scripts.tables import TablesError, statements

NAMES = Config.from_environment({})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("-- only a comment\n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;\nSELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1; \n-- the end\n", ["SELECT 1"]),
        ("SELECT ';' AS a;\n", ["SELECT ';' AS a"]),
        ("CREATE SCHEMA {{ names.redshift.schema }};", ["CREATE SCHEMA clickstream"]),
    ],
)
def test_a_semicolon_at_the_end_of_a_line_ends_a_statement(
    tmp_path: Path, sql: str, expected: list[str]
) -> None:
    (tmp_path / "a.sql").write_text(sql)
    assert list(statements(tmp_path / "a.sql", NAMES)) == expected


@pytest.mark.parametrize("sql", ["{{ names.nobody }}", "{{ names. }}"])
def test_what_cannot_be_rendered_names_its_file(tmp_path: Path, sql: str) -> None:
    (tmp_path / "a.sql").write_text(sql)
    with pytest.raises(TablesError, match=r"a\.sql: "):
        list(statements(tmp_path / "a.sql", NAMES))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TablesError, match=r"none\.sql"):
        list(statements(tmp_path / "none.sql", NAMES))
