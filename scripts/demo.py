"""``make demo``: a day of dirty traffic through the whole pipeline, on this machine, for real."""

from __future__ import annotations

import argparse
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
import jinja2
from clickstream.config import Config
from rich.console import Console
from rich.table import Table

from scripts.airflow_client import AirflowClient, AirflowError
from scripts.airflow_environment import ROOT

DAG_ID = "clickstream_daily"
OUTPUT = ROOT / "build" / "demo"
LOCALAWS_PYTHON = ROOT / ".venv-localaws" / "bin" / "python"
#: Where the demo notes, in the lake's own bucket, what it has sent: it goes when the lake goes.
TRAFFIC_KEY = "demo/traffic.json"
DELIVERY_TIMEOUT_SECONDS = 300
QUERY_TIMEOUT_SECONDS = 300

console = Console(highlight=False)


class Trouble(Exception):
    """One sentence for the user."""


class Demo:
    """One run: its steps, the seconds they took, and what they found."""

    def __init__(self, events: int, seed: int, aws_port: int, airflow_port: int) -> None:
        self.events, self.seed = events, seed
        self.aws_port, self.airflow_port = aws_port, airflow_port
        self.endpoint = f"http://127.0.0.1:{aws_port}"
        self.config = Config.from_environment()
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """All steps in order; returns the summary."""
        with self._step("embedded_aws", "Embedded AWS"):
            self._command(LOCALAWS_PYTHON, "-m", "localaws", "--port", str(self.aws_port), "start")
        with self._step("resources", "Buckets, streams, jobs, tables"):
            self._command(
                LOCALAWS_PYTHON, "-m", "localaws", "--port", str(self.aws_port), "provision"
            )
        with self._step("airflow", "Airflow and its PostgreSQL"):
            self._airflow("start")
        with self._step("traffic", f"A day of traffic, {self.events:,} events with dirt"):
            traffic = self._traffic()
        day = date.fromisoformat(traffic["arrival_date"])
        with self._step("dag", f"{DAG_ID} for {day}"):
            run = AirflowClient(self.airflow_port).run(DAG_ID, day, report=self._progress)
        if run.state != "success":
            raise Trouble(f"{DAG_ID} for {day} ended {run.state}; {run.error}")
        with self._step("questions", "The questions, in Athena and in Redshift"):
            answers = self._answers(day)
        summary = {"sent": traffic["sent"], **self._counts(day, answers), "dag_state": run.state}
        summary["checks"] = self._checks(day)
        summary["seconds"] = {name: round(value, 1) for name, value in self.seconds.items()}
        self._report(day, summary, answers)
        return summary
