"""A lakehouse of a few made-up days, in Athena and in Redshift of an embedded AWS."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickstream.config import Config
from clickstream.engines import render
from clickstream_glue import model_tables
from clickstream_glue.model_tables import Table

from scripts import tables
from tests.conftest import EmbeddedAws
from tests.sql.shop import DAYS, Row, Shop, groups

CONFIG = Config.from_environment({"CLICKSTREAM_POLL_SECONDS": "1"})
ROLE = "arn:aws:iam::000000000000:role/warehouse"
MODEL = {table.name: table for table in vars(model_tables).values() if isinstance(table, Table)}
NOT_IN_WAREHOUSE = {"model_runs", "identities_daily"}
DATES = {"first_date": "2026-11-16", "last_date": "2026-11-21", "arrival_date": "2026-11-20"}


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a column of the catalog."""
    if match := re.fullmatch(r"decimal\((\d+),\s*(\d+)\)", kind):
        return pa.decimal128(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"array<(.+)>", kind):
        return pa.list_(arrow_type(match[1]))
    if match := re.fullmatch(r"map<(\w+),(.+)>", kind):
        return pa.map_(arrow_type(match[1]), arrow_type(match[2]))
    return {
        "string": pa.string(),
        "bigint": pa.int64(),
        "int": pa.int32(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "binary": pa.binary(),
    }[kind]


class Lakehouse:
    """The tables of sql/ in both engines, filled with a shop's rows."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws, self.shop = aws, Shop()
        self.athena, self.redshift = aws.client("athena"), aws.client("redshift-data")
        for bucket in vars(CONFIG.buckets).values():
            aws.client("s3").create_bucket(Bucket=bucket)
        for database in (CONFIG.glue.raw_database, CONFIG.glue.database):
            aws.client("glue").create_database(DatabaseInput={"Name": database})
        self.athena.create_work_group(
            Name=CONFIG.athena.workgroup,
            Configuration={
                "ResultConfiguration": {"OutputLocation": f"s3://{CONFIG.buckets.results}/athena/"}
            },
        )
        serverless = aws.client("redshift-serverless")
        serverless.create_namespace(
            namespaceName=CONFIG.redshift.namespace,
            dbName=CONFIG.redshift.database,
            iamRoles=[ROLE],
            defaultIamRoleArn=ROLE,
        )
        serverless.create_workgroup(
            workgroupName=CONFIG.redshift.workgroup, namespaceName=CONFIG.redshift.namespace
        )
        tables.create_tables(CONFIG, aws.client)
        for name, rows in self.shop.rows.items():
            self.put(name, rows)
        self.load()

    def load(self) -> None:
        """Send the load as the DAG does: one transaction."""
        self.run(*(self.text(f"redshift/{path}.sql") for path in self.load_order()))

    @staticmethod
    def load_order() -> list[str]:
        names = ["fact_clicks", *sorted(set(MODEL) - NOT_IN_WAREHOUSE)]
        return ["fact_clicks/serialize_maps"] + [
            f"{name}/{step}" for name in names for step in ("delete", "insert")
        ]

    def text(self, name: str, **values: Any) -> str:
        """A file of sql/ with this shop's days."""
        run = {"interval_start": "2026-11-20 00:00:00", "run_id": "jr_1"}
        values = {**DATES, "currency": "USD", **run, **values}
        by_day = f"day IN ({', '.join(repr(str(day)) for day in DAYS)})"
        by_numbers = (
            f"(year = 2026 AND month = 11 AND day IN ({', '.join(f'{d.day}' for d in DAYS)}))"
        )
        if name.startswith("redshift/"):
            values["ti"] = None
            values["touched_hours"] = lambda ti: by_numbers
            values["rebuilt_days"] = lambda ti, table: (
                by_numbers if table == "fact_sessions" else by_day
            )
        else:
            is_sessions = "/fact_sessions/" in name
            values.setdefault("rebuilt_days", by_numbers if is_sessions else by_day)
        return render(CONFIG, name, **values)

    def run(self, *statements: str) -> str:
        """Send statements to Redshift as one transaction; returns its id."""
        target = {
            "WorkgroupName": CONFIG.redshift.workgroup,
            "Database": CONFIG.redshift.database,
        }
        if len(statements) == 1:
            query = self.redshift.execute_statement(Sql=statements[0], **target)["Id"]
        else:
            query = self.redshift.batch_execute_statement(Sqls=list(statements), **target)["Id"]
        while (found := self.redshift.describe_statement(Id=query))["Status"] not in (
            *("FINISHED", "FAILED", "ABORTED"),
        ):
            time.sleep(0.02)
        assert found["Status"] == "FINISHED", found.get("Error")
        return query

    def ask_redshift(self, sql: str) -> list[Row]:
        """The rows of a query, plain."""
        answer = self.redshift.get_statement_result(Id=self.run(sql))
        names = [column["name"] for column in answer["ColumnMetadata"]]
        return [
            {
                name: None if "isNull" in field else plain(next(iter(field.values())))
                for name, field in zip(names, record, strict=True)
            }
            for record in answer["Records"]
        ]

    def run_athena(self, sql: str) -> str:
        """Send a statement to Athena; returns its id."""
        query = self.athena.start_query_execution(
            QueryString=sql, WorkGroup=CONFIG.athena.workgroup
        )["QueryExecutionId"]
        while True:
            found = self.athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]
            if (status := found["Status"])["State"] in ("SUCCEEDED", "FAILED"):
                break
            time.sleep(0.02)
        assert status["State"] == "SUCCEEDED", status["StateChangeReason"]
        return query

    def ask_athena(self, sql: str) -> list[Row]:
        """The rows of a query, plain."""
        query = self.run_athena(sql)
        answer = self.athena.get_query_results(QueryExecutionId=query)["ResultSet"]
        names = [column["Name"] for column in answer["ResultSetMetadata"]["ColumnInfo"]]
        return [
            {
                name: plain(field.get("VarCharValue"))
                for name, field in zip(names, row["Data"], strict=True)
            }
            for row in answer["Rows"][1:]
        ]

    def put(self, name: str, rows: list[Row]) -> None:
        """Write the rows as Glue does: a folder for each partition, and tell the catalog."""
        described = self.aws.client("glue").get_table(DatabaseName=CONFIG.glue.database, Name=name)
        table = described["Table"]
        keys = [key["Name"] for key in table["PartitionKeys"]]
        place = table["StorageDescriptor"]["Location"].removeprefix("s3://")
        bucket, _, prefix = place.partition("/")
        schema = pa.schema(
            [(c["Name"], arrow_type(c["Type"])) for c in table["StorageDescriptor"]["Columns"]]
        )
        for values, of_partition in groups(rows, lambda row: tuple(row[key] for key in keys)):
            filled = [{field: row.get(field) for field in schema.names} for row in of_partition]
            body = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(filled, schema), body)
            folder = "".join(f"{k}={v}/" for k, v in zip(keys, values, strict=True))
            self.aws.client("s3").put_object(
                Bucket=bucket, Key=f"{prefix}{folder}part-0.parquet", Body=body.getvalue()
            )
        if keys:
            self.run_athena(self.text(f"athena/{name}/repair.sql"))


def plain(value: Any) -> Any:
    """A value as both engines would write it: numbers to the sixth digit, times without zeros."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in ("true", "false"):
            return value == "true"
        if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", value):
            return value.rstrip("0").rstrip(".")
        if not re.fullmatch(r"-?\d+(\.\d+)?(E-?\d+)?", value):
            return value
    return float(round(Decimal(str(value)), 6))


@pytest.fixture(scope="session")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    """Both engines, with rows that a test must not change."""
    with EmbeddedAws(Path(tmp_path_factory.mktemp("lakehouse"))) as aws:
        yield Lakehouse(aws)
