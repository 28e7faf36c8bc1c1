"""``make demo``: a day of dirty traffic through the whole pipeline, on this machine, for real."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import jinja2
from clickstream import quality
from clickstream.config import Config
from clickstream.quality_store import PARTS
from rich.console import Console
from rich.status import Status
from rich.table import Table

from scripts.airflow_client import AirflowClient, AirflowError
from scripts.airflow_environment import ROOT, airflow_environment
from scripts.provision import LOCALAWS_PYTHON

DAG_ID = "clickstream_daily"
SEED = 20260101
OUTPUT = ROOT / "build" / "demo"
#: Where the lake itself notes what the demo has sent, so that the note goes when the lake goes.
TRAFFIC_KEY = "demo/traffic.json"
DELIVERY_TIMEOUT_SECONDS = 300
QUERY_TIMEOUT_SECONDS = 300

Row = dict[str, str]


class Trouble(Exception):
    """One sentence for the user."""


class Demo:
    """One run: its steps, the seconds they took and what they found."""

    def __init__(self, events: int, aws_port: int, airflow_port: int, home: Path = ROOT) -> None:
        self.events, self.airflow_port = events, airflow_port
        self.airflow_home, self.localaws_home = home / ".airflow", home / ".localaws"
        self.aws_endpoint = f"http://127.0.0.1:{aws_port}"
        self.environment = airflow_environment(
            self.airflow_home, port=airflow_port, aws_endpoint=self.aws_endpoint
        ) | {"LOCALAWS_HOME": str(self.localaws_home), "LOCALAWS_PORT": str(aws_port)}
        os.environ.update(self.environment, AWS_ACCESS_KEY_ID="operator")
        self.config = Config.from_environment()
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = 110  # a log file has no width of its own; cut words help nobody
        self.seconds: dict[str, float] = {}
        self._sent_now = 0  # by this run; an earlier one may have sent the day already

    def run(self) -> dict[str, Any]:
        """All steps in order; returns the summary."""
        with self._step("embedded_aws", "start the embedded AWS"):
            self.command(LOCALAWS_PYTHON, "-m", "localaws", "start")
        with self._step("resources", "create buckets, streams, jobs and tables"):
            self.command(sys.executable, "-m", "scripts.provision")
        with self._step("airflow", "start Airflow and its PostgreSQL"):
            server = (sys.executable, "-m", "scripts.airflow_server")
            self.command(
                *(*server, "--home", self.airflow_home, "--port", str(self.airflow_port)),
                *("--aws-endpoint", self.aws_endpoint, "start"),
            )
        with self._step("traffic", f"send a day of traffic: {self.events:,} events, with dirt"):
            traffic = self._traffic()
        with self._step("delivery", "wait until Firehose has delivered it to S3"):
            self._await_delivery()
        day = date.fromisoformat(traffic["arrival_date"])
        with self._step("dag", f"run {DAG_ID} for {day}") as status:
            run = AirflowClient(self.airflow_port).run(DAG_ID, day, report=status.update)
            if run.state != "success":
                raise Trouble(f"{DAG_ID} for {day} ended {run.state}; {run.error}")
        with self._step("questions", "ask the lake and the warehouse"):
            answers = self._answers(traffic)
        with self._step("digest", "read every row of the lake"):
            # In the other environment, which has what reads Parquet.
            lake = json.loads(self.command(LOCALAWS_PYTHON, "-m", "scripts.lake_digest"))
        summary = {
            "sent": traffic["sent"],
            **_balance(answers["conservation"]),
            "athena_rows": int(answers["arrived_events"][0]["event_count"]),
            "redshift_rows": int(answers["arrived_events_redshift"][0]["event_count"]),
            "dag_state": run.state,
            "checks": self._checks(day, answers["conservation"]),
            **lake,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }
        OUTPUT.mkdir(parents=True, exist_ok=True)
        (OUTPUT / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        self._show(day, summary, answers)
        return summary

    def _traffic(self) -> dict[str, Any]:
        """Send the day once: a lake that has it already is left as it is."""
        s3, bucket = boto3.client("s3"), self.config.buckets.artifacts
        wanted = {"events": self.events, "seed": SEED}
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            note = json.load(s3.get_object(Bucket=bucket, Key=TRAFFIC_KEY)["Body"])
            if wanted.items() <= note.items():
                return note
        now = datetime.now(UTC)
        end = now.replace(minute=0, second=0, microsecond=0)
        summary = OUTPUT / "producer.json"
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.command(
            *(sys.executable, "-m", "producer", "--sink", "firehose"),
            *("--stream", self.config.firehose.direct, "--dirty"),
            *("--events", str(self.events), "--seed", str(SEED)),
            *("--start", (end - timedelta(days=1)).isoformat(), "--end", end.isoformat()),
            *("--spool", str(OUTPUT / "spool"), "--summary", str(summary)),
            shows_progress=True,
            AWS_ACCESS_KEY_ID=self.config.roles.producer,
        )
        self._sent_now = json.loads(summary.read_text())["sent"]
        note = {
            **wanted,
            "sent": self._sent_now,
            "first_date": (end - timedelta(days=1)).date().isoformat(),
            "last_date": now.date().isoformat(),
            "arrival_date": now.date().isoformat(),
        }
        s3.put_object(Bucket=bucket, Key=TRAFFIC_KEY, Body=json.dumps(note).encode())
        return note

    def _await_delivery(self) -> None:
        deadline = time.monotonic() + DELIVERY_TIMEOUT_SECONDS
        # Metrics come every few seconds: before the first, nothing seems to have arrived.
        while (arrived := self._metric("IncomingRecords")) < self._sent_now or (
            arrived > self._metric("DeliveryToS3.Records")
        ):
            if time.monotonic() > deadline:
                raise Trouble(
                    f"Firehose did not deliver all of its {arrived:,.0f} records within "
                    f"{DELIVERY_TIMEOUT_SECONDS} s; `make logs` shows why"
                )
            time.sleep(1)

    def _metric(self, name: str) -> float:
        now = datetime.now(UTC)
        answer = boto3.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Firehose",
            MetricName=name,
            Dimensions=[{"Name": "DeliveryStreamName", "Value": self.config.firehose.direct}],
            StartTime=now - timedelta(days=2),
            EndTime=now + timedelta(minutes=1),
            Period=86400,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in answer["Datapoints"])

    def _answers(self, traffic: dict[str, Any]) -> dict[str, list[Row]]:
        def question(name: str) -> str:
            text = (ROOT / "sql" / "analytics" / f"{name}.sql").read_text()
            template = jinja2.Template(text, undefined=jinja2.StrictUndefined)
            return template.render(names=self.config, **traffic)

        return {
            "conservation": self._athena(question("conservation")),
            "arrived_events": self._athena(question("arrived_events")),
            "arrived_events_redshift": self._redshift(question("arrived_events")),
            "event_types": self._athena(question("event_type_distribution")),
            "event_types_redshift": self._redshift(question("event_type_distribution")),
            "active_users": self._athena(question("daily_active_users")),
            "active_users_redshift": self._redshift(question("daily_active_users")),
        }

    def _athena(self, sql: str) -> list[Row]:
        athena: Any = boto3.client("athena")
        query = athena.start_query_execution(
            QueryString=sql, WorkGroup=self.config.athena.workgroup
        )["QueryExecutionId"]

        def status() -> dict[str, Any]:
            return athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]

        end = _await(lambda: status()["State"] not in ("QUEUED", "RUNNING") and status())
        if end["State"] != "SUCCEEDED":
            raise Trouble(f"Athena: {end.get('StateChangeReason', end['State'])}")
        pages = athena.get_paginator("get_query_results").paginate(QueryExecutionId=query)
        rows = [
            [cell.get("VarCharValue", "") for cell in row["Data"]]
            for page in pages
            for row in page["ResultSet"]["Rows"]
        ]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def _redshift(self, sql: str) -> list[Row]:
        redshift = boto3.client("redshift-data")
        statement = redshift.execute_statement(
            Sql=sql,
            WorkgroupName=self.config.redshift.workgroup,
            Database=self.config.redshift.database,
        )["Id"]

        def status() -> dict[str, Any]:
            return redshift.describe_statement(Id=statement)

        end = _await(lambda: status()["Status"] in ("FINISHED", "FAILED", "ABORTED") and status())
        if end["Status"] != "FINISHED":
            raise Trouble(f"Redshift: {end.get('Error', end['Status'])}")
        rows: list[Row] = []
        for page in redshift.get_paginator("get_statement_result").paginate(Id=statement):
            names = [column["name"] for column in page["ColumnMetadata"]]
            for record in page["Records"]:
                values = [str(next(iter(field.values()))) for field in record]
                rows.append(dict(zip(names, values, strict=True)))
        return rows

    def _checks(self, day: date, ledger: list[Row]) -> dict[str, int]:
        """How many quality checks the day's runs passed and failed."""
        s3, bucket = boto3.client("s3"), self.config.buckets.results
        runs = {f"{row['run_id']}.{part}.json" for row in ledger for part in PARTS}
        prefix = f"{self.config.prefixes.quality}{day}"
        found: list[bool] = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for key in (item["Key"] for item in page.get("Contents", [])):
                if key.rpartition("/")[2] in runs:
                    results = json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
                    found += [check.is_success for check in quality.checks(results)]
        return {"passed": found.count(True), "failed": found.count(False)}

    def _show(self, day: date, summary: dict[str, Any], answers: dict[str, list[Row]]) -> None:
        balance = Table(title=f"Every line that arrived on {day}", title_justify="left")
        balance.add_column("")
        balance.add_column("lines", justify="right")
        balance.add_row("sent by the producer", f"{summary['sent']:,}")
        balance.add_row("arrived in S3", f"{summary['lines']:,}", end_section=True)
        balance.add_row("loaded", f"{summary['loaded']:,}")
        balance.add_row("duplicates", f"{summary['duplicates']:,}")
        for reason, count in sorted(summary["quarantined"].items()):
            balance.add_row(f"quarantined: {reason}", f"{count:,}")
        # A demo erases nobody; a lake of one's own may have.
        erased = summary["erased"]
        balance.add_row("blank", f"{summary['blank']:,}", end_section=not erased)
        if erased:
            balance.add_row("erased", f"{erased:,}", end_section=True)
        balance.add_row("unaccounted for (residual)", f"{summary['residual']:,}", end_section=True)
        balance.add_row("rows in Athena", f"{summary['athena_rows']:,}")
        balance.add_row("rows in Redshift", f"{summary['redshift_rows']:,}")
        self.console.print(balance)
        self._show_question("Event types", "event_type", answers, "event_types")
        self._show_question("Daily active users", "event_date", answers, "active_users")
        lake = Table(title="The lake", title_justify="left")
        lake.add_column("table")
        lake.add_column("rows", justify="right")
        for name, count in summary["tables"].items():
            lake.add_row(name, f"{count:,}")
        self.console.print(lake)
        checks = summary["checks"]
        self.console.print(
            f"Digest of it:   {summary['digest'][:16]}… (the same rows give the same)\n"
            f"Quality checks: {checks['passed']} passed, {checks['failed']} failed (warnings)\n"
            f"Quality report: {(ROOT / 'build' / 'quality' / f'{day}.html').as_uri()}\n"
            f"Airflow:        http://127.0.0.1:{self.airflow_port}/dags/{DAG_ID}\n"
            f"Summary:        {(OUTPUT / 'summary.json').relative_to(ROOT)}\n"
            "Both servers are left running for you to look at; `make down` stops them."
        )

    def _show_question(
        self, title: str, key: str, answers: dict[str, list[Row]], name: str
    ) -> None:
        """A question's answer from Athena, with Redshift's count beside it."""
        rows = answers[name]
        redshift = {row[key]: row["event_count"] for row in answers[f"{name}_redshift"]}
        table = Table(title=title, title_justify="left")
        for column in rows[0] if rows else [key]:
            table.add_column(column, justify="right" if column != key else "left")
        table.add_column("event_count (Redshift)", justify="right")
        for row in rows:
            table.add_row(*row.values(), redshift.get(row[key], "-"))
        self.console.print(table)

    @contextlib.contextmanager
    def _step(self, name: str, text: str) -> Iterator[Status]:
        started = time.monotonic()
        with self.console.status(text) as status:
            yield status
        self.seconds[name] = time.monotonic() - started
        self.console.print(f"{text}  [dim]{self.seconds[name]:.1f} s[/dim]")

    def command(
        self, *command: str | Path, shows_progress: bool = False, **environment: str
    ) -> str:
        """Run a program and return what it printed; its last line is the message when it fails."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=None if shows_progress else subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stdout.strip().splitlines()
            raise Trouble(lines[-1] if lines else f"{command[2]} ended with {done.returncode}")
        return done.stdout


def _await(answer: Any) -> Any:
    deadline = time.monotonic() + QUERY_TIMEOUT_SECONDS
    while not (value := answer()):
        if time.monotonic() > deadline:
            raise Trouble(f"a query did not end within {QUERY_TIMEOUT_SECONDS} s")
        time.sleep(0.1)
    return value


def _balance(ledger: list[Row]) -> dict[str, Any]:
    """The day's counts, summed over its intervals (one, unless the schedule is hourly)."""
    quarantined: dict[str, int] = {}
    for row in ledger:
        for reason, count in json.loads(row["quarantined_by_reason"] or "{}").items():
            quarantined[reason] = quarantined.get(reason, 0) + count

    def total(column: str) -> int:
        return sum(int(row[column]) for row in ledger)

    return {
        "lines": total("line_count"),
        "loaded": total("loaded_count"),
        "duplicates": total("duplicate_count"),
        "quarantined": quarantined,
        "blank": total("blank_count"),
        "erased": total("erased_count"),
        "residual": total("residual"),
    }


def main() -> int:
    """Run the demo; 0 when everything agrees."""
    console = Console(stderr=True, highlight=False)
    try:
        events = os.environ.get("EVENTS", "200000")
        if not events.isdecimal() or not int(events):
            raise Trouble(f"EVENTS is {events!r}; it must be a whole number above 0")
        Demo(
            int(events),
            int(os.environ.get("LOCALAWS_PORT", "4566")),
            int(os.environ.get("AIRFLOW_PORT", "8080")),
        ).run()
    except (Trouble, AirflowError) as trouble:
        console.print(f"demo: {trouble}")
        return 1
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        console.print(f"demo: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
