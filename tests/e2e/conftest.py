"""A whole pipeline of its own: embedded AWS, its resources, Airflow with PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clickstream.config import Config

from scripts import terraform
from scripts.airflow_client import AirflowClient, DagRun
from tests.conftest import ROOT, EmbeddedAws

DAG_ID = "clickstream_daily"

Row = dict[str, Any]


class Pipeline:
    """The running parts, and what a test asks of them."""

    def __init__(self, aws: EmbeddedAws, folder: Path) -> None:
        self.aws, self.config = aws, Config.from_environment({})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.airflow_home = folder / "airflow"
        self._environment = {**os.environ, "CLICKSTREAM_REPORT_FOLDER": str(folder / "reports")}
        self.reports = folder / "reports"

    def airflow(self, command: str) -> None:
        """Start or stop this pipeline's Airflow."""
        subprocess.run(
            [
                *(sys.executable, "-m", "scripts.airflow_server", "--home", self.airflow_home),
                *("--port", str(self._port), "--aws-endpoint", self.aws.endpoint, command),
            ],
            cwd=ROOT,
            env=self._environment,
            check=True,
            timeout=300,
        )

    def run(self, day: date, timeout: float = 600) -> DagRun:
        """Run the DAG over what arrived on `day` and wait; a day that has run is cleared."""
        return self.client().run(DAG_ID, day, timeout=timeout, report=print)

    def client(self) -> AirflowClient:
        """Its Airflow's REST API."""
        return AirflowClient(self._port)

    def erase(self, user_id: str, day: date, **form: Any) -> DagRun:
        """Erase a user by the DAG and wait; `day` is the run's name only, `form` more values."""
        conf = {"user_id": user_id, "confirm_user_id": user_id, "with_anonymous_ids": True, **form}
        client = self.client()
        return client.run("clickstream_erase_user", day, conf, timeout=900, report=print)

    def put_raw(self, objects: dict[str, bytes]) -> None:
        """Put raw objects by their key."""
        for key, body in objects.items():
            self.aws.client("s3").put_object(Bucket=self.config.buckets.raw, Key=key, Body=body)

    def lake(self, bucket: str, prefix: str) -> list[Row]:
        """Every row of the Parquet objects under a prefix, read without any engine of ours."""
        s3 = self.aws.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        rows = []
        for key in (item["Key"] for page in pages for item in page.get("Contents", [])):
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            names = dict(part.split("=") for part in key.split("/") if "=" in part)
            folders = {
                name: int(text) if text.isdecimal() else text for name, text in names.items()
            }
            rows += [row | folders for row in pq.ParquetFile(BytesIO(body)).read().to_pylist()]
        return rows

    def table(self, name: str) -> list[Row]:
        """A table of the processed lake as it lies in S3."""
        return self.lake(self.config.buckets.processed, f"{self.config.prefixes.lake}{name}/")

    def facts(self) -> list[Row]:
        """fact_clicks as it lies in S3."""
        return self.table("fact_clicks")

    def quarantine(self) -> list[Row]:
        """The quarantine as it lies in S3."""
        return self.lake(self.config.buckets.errors, self.config.prefixes.quarantine)

    def redshift(self, sql: str) -> list[list[Any]]:
        """The rows of one statement in the warehouse."""
        client = self.aws.client("redshift-data")
        statement = client.execute_statement(
            Sql=sql,
            WorkgroupName=self.config.redshift.workgroup,
            Database=self.config.redshift.database,
        )["Id"]
        while (state := client.describe_statement(Id=statement))["Status"] != "FINISHED":
            assert state["Status"] not in ("FAILED", "ABORTED"), state["Error"]
            time.sleep(0.05)
        pages = client.get_paginator("get_statement_result").paginate(Id=statement)
        return [
            [None if "isNull" in field else next(iter(field.values())) for field in record]
            for page in pages
            for record in page["Records"]
        ]


@pytest.fixture(scope="package")
def pipeline(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """A pipeline that all end-to-end tests share; each uses arrival days of its own.

    It ends with them: an idle Airflow takes a fifth of a core from whatever is tested next.

    Terraform has made its resources where Terraform is, else the embedded AWS has.
    """
    # Not in pytest's own folder: every pytest that starts closes that to other users, and the
    # PostgreSQL of a root user is one.
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="e2e-", dir=build) as name,
        contextlib.ExitStack() as own,
    ):
        if terraform.is_usable():
            embedded = request.getfixturevalue("deployed")[0]
        else:
            embedded = own.enter_context(EmbeddedAws(Path(name) / "aws"))
            embedded.command("provision")
        made = Pipeline(embedded, Path(name))
        try:
            made.airflow("start")
            yield made
        finally:
            made.airflow("stop")
