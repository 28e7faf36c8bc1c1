"""``python -m scripts.tables``: run the SQL that makes the tables, in Athena and in Redshift.

It is what no other tool owns: Terraform makes databases, the crawler adds columns and partitions
(docs/adr/0004). Every statement may run again.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "plugins"))
from clickstream.config import Config, ConfigError  # noqa: E402

_TIMEOUT_SECONDS = 120
_END = re.compile(r";[ \t]*(?:\n|\Z)")


class TablesError(Exception):
    """Which file could not be run, and the engine's own reason."""


def create_tables(names: Config, client: Callable[[str], Any]) -> int:
    """Run every ``create.sql``, Redshift's schemas, views and grants; returns how many files.

    Args:
        names: the pipeline's names, which the SQL is rendered with.
        client: makes a boto3 (or botocore) client of a service.

    Raises:
        TablesError: a statement failed, or a file names what does not exist.
    """
    folder = names.settings.sql_folder
    athena, redshift = client("athena"), client("redshift-data")
    lake = sorted(folder.glob("athena/*/create.sql"))
    warehouse = [
        folder / "redshift" / "schemas.sql",
        *sorted(folder.glob("redshift/*/create.sql")),
        *sorted(folder.glob("redshift/*/create_view.sql")),
        folder / "redshift" / "grants.sql",
    ]

    def ask_athena(statement: str) -> Callable[[], tuple[str, str]]:
        query = athena.start_query_execution(
            QueryString=statement, WorkGroup=names.athena.workgroup
        )["QueryExecutionId"]

        def status() -> tuple[str, str]:
            found = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
            return found["State"], found.get("StateChangeReason", "")

        return status

    def ask_redshift(statement: str) -> Callable[[], tuple[str, str]]:
        query = redshift.execute_statement(
            WorkgroupName=names.redshift.workgroup, Database=names.redshift.database, Sql=statement
        )["Id"]

        def status() -> tuple[str, str]:
            found = redshift.describe_statement(Id=query)
            return found["Status"], found.get("Error", "")

        return status

    for paths, ask in ((lake, ask_athena), (warehouse, ask_redshift)):
        for path in paths:
            for statement in statements(path, names):
                _wait(path, ask(statement))
    return len(lake) + len(warehouse)


def statements(path: Path, names: Config) -> Iterator[str]:
    """A rendered file's statements; each ends with a semicolon at the end of a line."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    try:
        sql = environment.from_string(path.read_text(encoding="utf-8")).render(names=names)
    except (OSError, jinja2.TemplateError) as error:
        raise TablesError(f"{path}: {error}") from None
    for part in _END.split(sql):
        if re.sub(r"--.*", "", part).strip():
            yield part.strip()


def _wait(path: Path, status: Callable[[], tuple[str, str]]) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while (found := status())[0] not in ("SUCCEEDED", "FINISHED"):
        if found[0] in ("FAILED", "CANCELLED", "ABORTED"):
            raise TablesError(f"{path}: {found[1] or found[0]}")
        if time.monotonic() > deadline:
            raise TablesError(f"{path}: still {found[0]} after {_TIMEOUT_SECONDS} seconds")
        time.sleep(0.05)


def main() -> int:
    """Make the tables of the environment that the shell's settings name."""
    import boto3
    import botocore.exceptions

    client: Any = boto3.client  # its overloads want a literal for each service
    try:
        count = create_tables(Config.from_environment(), client)
    except (
        TablesError,
        ConfigError,
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
    ) as error:
        print(f"tables: {error}", file=sys.stderr)
        return 1
    print(f"tables: {count} SQL files applied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
